//! Targets on real processes: what `agentctl targets` lists, and what the agent watches of its own accord.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use support::agentctl::{self, Answer};
use support::python::{self, Python};
use support::target::{Target, text_of, wait_until};
use tempfile::TempDir;

/// A folder with programs under names that no other test's processes have.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// A command that runs a program under another name.
    fn program(&self, python: &Python, program: &str, name: &str) -> Command {
        let path = self.0.path().join(name);
        // Python looks for a script's neighbours where the link leads to.
        symlink(python::program_path(program), &path).expect("a new link");
        let mut command = python.command();
        command.arg(path);
        command
    }

    fn config(&self, text: &str) -> PathBuf {
        let path = self.0.path().join("agent.yaml");
        fs::write(&path, text).expect("our own file");
        path
    }

    fn name(&self) -> &str {
        let name = self.0.path().file_name().and_then(|name| name.to_str());
        name.expect("a plain name")
    }
}

/// The line about a process, as its columns; the last is the command.
fn row(answer: &Answer, pid: u32) -> Option<Vec<String>> {
    let lines = answer.stdout.lines().skip(1);
    let mut rows = lines.map(|line| line.split_whitespace().map(str::to_owned).collect());
    rows.find(|row: &Vec<String>| row.get(1) == Some(&pid.to_string()))
}

fn targets(folder: &Folder, config: &str) -> Answer {
    let config = folder.config(config);
    let answer = agentctl::run(&["targets", "--config", &config.to_string_lossy()]);
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(answer.stdout.starts_with("TARGET"), "{answer:?}");
    answer
}

#[test]
fn two_pythons_and_the_rules_by_which_they_belong() {
    for python in python::all() {
        let folder = Folder::new();
        let music = Target::start(folder.program(python, "music", "music-shop.py"));
        let plain = Target::start(folder.program(python, "no_asyncio", "plain-cart.py"));
        let name = folder.name();
        let answer = targets(
            &folder,
            &format!(
                "targets:\n- name: 'app-${{app}}'\n  match:\n  - {{pid: 1, command: '(?P<app>never)'}}\n  \
                 - {{command: '{name}/\\w+-(?P<app>\\w+)\\.py', executable: '*ld-linux*', user: {}}}\n  \
                 - {{command: '{name}/\\w+-(?P<app>\\w+)\\.py'}}\n",
                own_uid()
            ),
        );
        assert_eq!(answer.stdout.lines().count(), 3, "{answer:?}");
        let shop = row(&answer, music.pid()).expect("the first program is listed");
        assert_eq!((shop[0].as_str(), shop[3].as_str()), ("app-shop", "yes"));
        assert!(shop[2].starts_with("targets[0].match["), "{shop:?}");
        let cart = row(&answer, plain.pid()).expect("the second program is listed");
        assert_eq!(
            (cart[0].as_str(), cart[3].as_str()),
            ("app-cart", "no_asyncio")
        );
        assert!(
            answer.stderr.contains("has not imported asyncio"),
            "{answer:?}"
        );
        // Without a configuration, only what can be watched is listed, and named by itself.
        let answer = agentctl::run(&["targets"]);
        let shop = row(&answer, music.pid()).expect("it uses asyncio");
        let expected = ["music-shop.py", &music.pid_text(), "auto", "yes"];
        assert_eq!(shop[..4], expected);
        assert_eq!(row(&answer, plain.pid()), None, "{answer:?}");
    }
}

#[test]
fn children_join_their_parent() {
    let python = &python::all()[0];
    let folder = Folder::new();
    let program = folder.program(python, "music", "worker.py");
    let arguments: Vec<_> = program.get_args().collect();
    let mut shell = Command::new("sh");
    // A command after it keeps the shell from becoming the program.
    shell
        .args([
            "-c",
            "\"$@\"; exit $?",
            &format!("{}-parent", folder.name()),
        ])
        .arg(program.get_program())
        .args(arguments);
    let mut worker = Target::start(shell);
    let parent = worker.pid();
    worker.look_at_child();
    let answer = targets(
        &folder,
        &format!(
            "targets: [{{name: pool, match: {{parent: {{command: '{}-parent'}}}}}}]\n",
            folder.name()
        ),
    );
    let child = row(&answer, worker.pid()).expect("the child is listed");
    assert_eq!((child[0].as_str(), child[3].as_str()), ("pool", "yes"));
    let parent = row(&answer, parent).expect("the parent is listed");
    assert_eq!(
        (parent[0].as_str(), parent[3].as_str()),
        ("pool", "not_python")
    );
}

#[test]
fn who_may_not_read_a_process_is_told() {
    let python = &python::all()[0];
    let folder = Folder::new();
    let target = Target::start(folder.program(python, "music", "secret.py"));
    let pid = target.pid();
    let config = folder.config(&format!("targets: [{{name: a, match: {{pid: {pid}}}}}]\n"));
    let run = |more: &[&str]| {
        let mut command = if own_uid() == "0" {
            // Anybody may run this copy; the original may lie in a folder of root's own.
            let copy = folder.0.path().join("agentctl");
            fs::copy(env!("CARGO_BIN_EXE_agentctl"), &copy).expect("a copy");
            let anybody = PermissionsExt::from_mode(0o755);
            fs::set_permissions(folder.0.path(), anybody).expect("our own folder");
            let mut command = Command::new(copy);
            command.uid(65534).gid(65534).current_dir("/");
            command
        } else {
            // Without root there is one process that is somebody else's for sure.
            fs::write(&config, "targets: [{name: a, match: {pid: 1}}]\n").expect("our own file");
            Command::new(env!("CARGO_BIN_EXE_agentctl"))
        };
        command.arg("targets").args(more);
        Answer::of(command)
    };
    let answer = run(&["--config", &config.to_string_lossy()]);
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(answer.stdout.contains("permission_denied"), "{answer:?}");
    assert!(answer.stderr.contains("permission denied"), "{answer:?}");
    // Whether a rule holds depends on what may not be looked at: on the executable, or on asyncio.
    let rules = folder.config("targets: [{name: a, match: {executable: no-such-program}}]\n");
    let by_executable = run(&["--config", &rules.to_string_lossy()]);
    for answer in [run(&[]), by_executable] {
        for said in [
            " could not be looked at, so whether they belong to a target is not known: permission denied; --all",
            "hint: ",
        ] {
            assert!(answer.stderr.contains(said), "{answer:?}");
        }
        assert!(!answer.stdout.contains("permission_denied"), "{answer:?}");
    }
    let answer = run(&["--all", "--config", &rules.to_string_lossy()]);
    let hidden = answer.stdout.lines().filter(|line| line.starts_with("?  "));
    assert!(hidden.clone().count() > 0, "{answer:?}");
    assert!(
        hidden
            .clone()
            .all(|line| line.contains("  permission_denied  "))
    );
    let is_listed = |line: &str| line.contains(&format!("  {pid}  ")) && line.contains("secret.py");
    assert!(
        own_uid() != "0" || hidden.clone().any(is_listed),
        "{answer:?}"
    );
}

#[test]
fn an_agent_tells_what_it_may_not_look_at() {
    if own_uid() != "0" {
        // Somebody else's processes are on every machine; they end and begin, so there may be any number.
        return;
    }
    let python = &python::all()[0];
    let folder = Folder::new();
    let _target = Target::start(folder.program(python, "music", "secret.py"));
    let copy = folder.0.path().join("asyncio-agent");
    fs::copy(env!("CARGO_BIN_EXE_asyncio-agent"), &copy).expect("a copy");
    let anybody = PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.0.path(), anybody).expect("our own folder");
    for rule in [
        "{name: a, match: {executable: no-such-program}}",
        "{match: auto}",
    ] {
        let mut agent = support::agent::Agent::start_command(
            &format!(
                "{{web: {{listen: 127.0.0.1:0}}, discovery: {{interval: 50ms}}, targets: [{rule}]}}"
            ),
            |config| {
                let mut command = Command::new(&copy);
                fs::set_permissions(
                    config.parent().expect("a folder"),
                    PermissionsExt::from_mode(0o755),
                )
                .expect("our own folder");
                command
                    .arg("--config")
                    .arg(config)
                    .uid(65534)
                    .gid(65534)
                    .current_dir("/");
                command
            },
        );
        wait_until("it is counted", || {
            agent.value("asyncio_agent_hidden_processes") > Some(0.0)
        });
        let (_, page) = agent.get("/");
        assert!(page.contains("The agent may not look at"), "{page}");
        let (_, json) = agent.get("/api/v1/targets");
        assert!(
            json.contains("\"hidden_processes\":") && !json.contains("\"hidden_processes\":0"),
            "{json}"
        );
        let log = agent.log();
        let told =
            "it cannot be found out whether these processes belong to a target: permission denied";
        let line = log.lines().find(|line| line.contains(told));
        let line = line.unwrap_or_else(|| panic!("{log}"));
        for part in [
            "level=warn",
            "processes=",
            "example_pid=",
            "agentctl explain PID",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }
}

#[test]
fn nothing_matches() {
    let folder = Folder::new();
    let answer = targets(&folder, "targets: []");
    assert_eq!(answer.stdout.lines().count(), 1);
    assert_eq!(answer.stderr, "agentctl: no process matches\n");
    let config = folder.config("targets: 7");
    let answer = agentctl::run(&["targets", "--config", &config.to_string_lossy()]);
    assert_eq!((answer.status, answer.stdout.as_str()), (2, ""));
    assert!(
        answer.stderr.contains("targets: the number 7"),
        "{answer:?}"
    );
}

/// An agent that is killed with the test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_agent_finds_programs_by_itself() {
    let python = &python::all()[0];
    let folder = Folder::new();
    let name = format!("found-{}.py", folder.name());
    let config = folder.config("web: {listen: 127.0.0.1:0}\ndiscovery: {interval: 50ms}\n");
    let mut log = tempfile::tempfile().expect("a temporary file");
    let agent = Command::new(env!("CARGO_BIN_EXE_asyncio-agent"))
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a second handle"))
        .spawn()
        .expect("the agent starts");
    let _agent = Agent(agent);
    let target = Target::start(folder.program(python, "music", &name));
    let pid = target.pid_text();
    let line = |log: &str, what: &str| {
        let mut lines = log.lines();
        lines.any(|line| line.contains(what) && line.contains(&name) && line.contains(&pid))
    };
    wait_until("the program is found and read", || {
        line(&text_of(&mut log), "process is read")
    });
    target.end();
    wait_until("the program is gone", || {
        line(&text_of(&mut log), "process gone")
    });
}

fn own_uid() -> String {
    let answer = Answer::of({
        let mut id = Command::new("id");
        id.arg("-u");
        id
    });
    answer.stdout.trim().to_owned()
}
