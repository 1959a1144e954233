//! `agentctl explain` on real processes: rule by rule, with and without the rights to read, of what is no Python; and
//! through a running agent.
#![cfg(all(feature = "agent", feature = "cli"))]

mod support;

use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;
use support::agent::Agent;
use support::agentctl::{self, Answer};
use support::python::{self, Python};
use support::target::{Target, wait_until};
use support::zoo::own_user;
use tempfile::TempDir;

const DENIED: i32 = 4;
const NOT_SUPPORTED: i32 = 5;
const NOBODY: u32 = 65_534;

/// A folder that everybody may enter, with an `agentctl` that everybody may run.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let copy = folder.path().join("agentctl");
        fs::copy(env!("CARGO_BIN_EXE_agentctl"), &copy).expect("a copy");
        for path in [folder.path(), &copy] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).expect("our own file");
        }
        Self(folder)
    }

    /// Part of the command lines of this test's programs, and of no other's.
    fn name(&self) -> &str {
        let name = self.0.path().file_name().and_then(|name| name.to_str());
        name.expect("a plain name")
    }

    fn start(&self, python: &Python, program: &str) -> Target {
        let path = self
            .0
            .path()
            .join(format!("shop-{}.{}.py", python.version.0, python.version.1));
        if !path.exists() {
            symlink(python::program_path(program), &path).expect("a new link");
        }
        let mut command = python.command();
        command.arg(path);
        Target::start(command)
    }

    fn config(&self, targets: &str) -> PathBuf {
        let path = self.0.path().join("agent.yaml");
        let targets = targets.replace("NAME", self.name());
        fs::write(&path, format!("targets: {targets}\n")).expect("our own file");
        path
    }

    /// What is said of a process by a configuration, which ends with this status.
    fn explain(&self, pid: &str, targets: &str, status: i32) -> Value {
        let config = self.config(targets);
        let config = config.to_string_lossy();
        let answer = agentctl::run(&["explain", pid, "--config", &config, "--format=json"]);
        json(&answer, status)
    }

    /// Runs `agentctl` by way of setpriv(1).
    fn run_by(&self, setpriv: &[&str], arguments: &[&str]) -> Answer {
        let mut command = Command::new("setpriv");
        command
            .env("ASYNCIO_AGENT_SOCKET", "")
            .current_dir("/")
            .args(setpriv)
            .arg(self.0.path().join("agentctl"))
            .args(arguments);
        Answer::of(command)
    }
}

fn json(answer: &Answer, status: i32) -> Value {
    assert_eq!((answer.status, &*answer.stderr), (status, ""), "{answer:?}");
    serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn texts(fixes: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let fixes = fixes["fixes"].as_array().expect("a list").iter();
    fixes
        .map(|fix| (text(&fix["about"]), text(&fix["text"])))
        .collect()
}

/// The parts of the kernel's rule that stand in the way.
fn blocking(answer: &Value) -> Vec<&str> {
    let checks = answer["readable"]["checks"]
        .as_array()
        .expect("a list")
        .iter();
    let blocking = checks.filter(|check| check["verdict"] == "blocks");
    blocking
        .filter_map(|check| check["check"].as_str())
        .collect()
}

#[test]
fn a_process_that_the_second_rule_has() {
    for python in python::all() {
        let place = Place::new();
        let target = place.start(python, "music");
        let pid = target.pid_text();
        let targets = format!(
            "[{{name: shop, match: [{{command: 'NAME/never', user: {user}}}, {{command: 'NAME/shop', user: {user}}}], \
             exclude: {{pid: 1}}}}, {{match: auto}}]",
            user = own_user()
        );
        let answer = place.explain(&pid, &targets, 0);
        let watched = &answer["watched"];
        assert_eq!(watched["state"], "would_be", "{watched:#}");
        assert_eq!(
            (&watched["target"], &watched["rule"]),
            (&"shop".into(), &"targets[0].match[1]".into())
        );
        let rules = watched["rules"].as_array().expect("a list").iter();
        let rules: Vec<_> = rules
            .map(|rule| {
                (
                    rule["path"].as_str().expect("a path"),
                    rule["holds"].as_bool(),
                )
            })
            .collect();
        let expected = [
            ("targets[0].match[0]", Some(false)),
            ("targets[0].match[1]", Some(true)),
            ("targets[0].exclude", Some(false)),
            ("targets[1].match", Some(true)),
        ];
        assert_eq!(rules, expected);
        assert_eq!(watched["rules"][0]["conditions"][0]["holds"], false);
        assert_eq!(watched["rules"][0]["conditions"][1]["holds"], true);
        assert_eq!(watched["rules"][3]["note"], "an earlier target has it");
        assert_eq!(answer["readable"]["is_readable"], true);
        assert_eq!(blocking(&answer), [""; 0]);
        let found = &answer["found"];
        assert_eq!(found["python_version"], python.full_version);
        assert_eq!((&found["loops"], &found["tasks"]), (&1.into(), &7.into()));
        assert_eq!(found["tables"][0]["section"], ".PyRuntime");
        assert!(
            found["tables"][0]["file"]
                .as_str()
                .expect("a file")
                .contains("python")
        );
        assert_eq!(texts(&answer), []);
        assert_eq!(answer["reader"]["program"], "agentctl");

        let text = agentctl::run(&["explain", &pid]);
        for said in [
            &format!("process {pid}: "),
            "\nwatched: it would be, as \"shop-",
            "\n  auto: holds, decides\n",
            "\nreadable: yes\n",
            "\n  trial           ok         opening its list of mappings works, process_vm_readv works\n",
            &format!("\nfound: Python {}\n", python.full_version),
            "\n  event loops     1\n  tasks           7 in 1 threads\n  complete        yes\n",
            "\nfix\n  nothing stands in the way\n",
        ] {
            assert!(text.stdout.contains(said), "no {said:?} in {}", text.stdout);
        }
    }
}

#[test]
fn a_process_that_no_rule_has() {
    let python = &python::all()[0];
    let place = Place::new();
    let target = place.start(python, "music");
    let pid = target.pid_text();
    let user = own_user();
    for (targets, why, fix) in [
        (
            "[{name: a, match: {command: NAME}, exclude: [{pid: 1}, {command: shop}]}]",
            "targets[0].match holds, but targets[0].exclude[1] leaves it out",
            "if it is to be watched, change targets[0].exclude[1]".to_owned(),
        ),
        (
            "[{name: a, match: {command: NAME, user: 4000000000}}]",
            "no rule holds",
            format!(
                "if targets[0].match is to hold, change user: it wants 4000000000, and the process has {user}"
            ),
        ),
        (
            "[{name: a, match: {command: never, user: 4000000000}}]",
            "no rule holds",
            "if it is to be watched, add a target to the configuration, such as - {".to_owned(),
        ),
        (
            "[]",
            "no targets are configured",
            "if it is to be watched, add a target to the configuration, such as - {".to_owned(),
        ),
    ] {
        let answer = place.explain(&pid, targets, 0);
        let watched = &answer["watched"];
        assert_eq!(
            (&watched["state"], &watched["why"]),
            (&"no".into(), &why.into())
        );
        let [(about, text)] = &texts(&answer)[..] else {
            panic!("{answer:#}");
        };
        assert!(
            about == "watched" && text.contains(&fix),
            "no {fix:?} in {text}"
        );
        // The target that is offered has the process.
        if let Some((_, offered)) = text.split_once("such as - ") {
            let answer = place.explain(&pid, &format!("[{offered}]"), 0);
            assert_eq!(
                answer["watched"]["state"], "would_be",
                "{offered}: {answer:#}"
            );
        }
    }
}

#[test]
fn what_runs_no_asyncio() {
    let place = Place::new();
    let sleeper = Target::start({
        let mut command = Command::new("sh");
        command.args(["-c", "echo '{}'; exec sleep 1000"]);
        command
    });
    for python in python::all() {
        let plain = Target::start(python.program("no_asyncio"));
        for (target, code) in [(&sleeper, "not_python"), (&plain, "no_asyncio")] {
            let answer = place.explain(&target.pid_text(), "auto", NOT_SUPPORTED);
            assert_eq!(answer["found"]["error"]["code"], code, "{answer:#}");
            assert_eq!(answer["watched"]["state"], "no");
            // It could be read if there was anything.
            assert_eq!(answer["readable"]["is_readable"], true);
            let [(about, _)] = &texts(&answer)[..] else {
                panic!("{answer:#}");
            };
            assert_eq!(about, "found");
        }
    }
    let nobody = agentctl::run(&["explain", &i32::MAX.to_string()]);
    assert_eq!((nobody.status, &*nobody.stdout), (3, ""));
    assert!(nobody.stderr.contains("hint: "), "{nobody:?}");
}

/// As nobody with and without the capability, as root without it, and of a process that is not dumpable: what stands in
/// the way, and that other commands give the same advice.
#[test]
fn with_and_without_the_right_to_read() {
    if own_user() != 0 {
        // It takes root to be somebody else.
        let answer = agentctl::run(&["explain", "1", "--format=json"]);
        assert_eq!(
            json(&answer, DENIED)["found"]["error"]["code"],
            "permission_denied"
        );
        return;
    }
    let python = &python::all()[0];
    let place = Place::new();
    let of_root = place.start(python, "music");
    let of_nobody = python_of_nobody(python, 1);
    let undumpable = python_of_nobody(python, 0);
    let nobody: &[&str] = &["--reuid=65534", "--regid=65534", "--clear-groups"];
    let capable = [
        nobody,
        &["--inh-caps=+sys_ptrace", "--ambient-caps=+sys_ptrace"],
    ]
    .concat();
    let rootless: &[&str] = &["--bounding-set=-sys_ptrace"];
    let says = format!(
        "process {} belongs to user 0, and agentctl runs as user 65534",
        of_root.pid()
    );
    for (setpriv, target, blocks, says, fix) in [
        (
            nobody,
            &of_root,
            Some("user"),
            &*says,
            "run agentctl with sudo",
        ),
        (
            rootless,
            &of_root,
            Some("capabilities"),
            "(CAP_SYS_PTRACE)",
            "--cap-add=SYS_PTRACE",
        ),
        (
            nobody,
            &undumpable,
            Some("dumpable"),
            "is not dumpable",
            "run agentctl with sudo",
        ),
        (nobody, &of_nobody, None, "both run as user 65534", ""),
        (&capable, &of_root, None, "agentctl has CAP_SYS_PTRACE", ""),
        (&capable, &undumpable, None, "is not dumpable", ""),
    ] {
        let way = blocks.map(|blocks| (blocks, fix));
        check_right(&place, setpriv, &target.pid_text(), way, says);
    }
}

/// What stands in the way, with what to do about it, if anything does; and what is said in any case.
fn check_right(place: &Place, setpriv: &[&str], pid: &str, way: Option<(&str, &str)>, says: &str) {
    let answer = place.run_by(setpriv, &["explain", pid, "--format=json"]);
    let answer = json(&answer, if way.is_some() { DENIED } else { 0 });
    let readable = &answer["readable"];
    assert_eq!(readable["is_readable"], way.is_none(), "{readable:#}");
    let said = readable.to_string();
    assert!(said.contains(says), "no {says} in {readable:#}");
    let fixes = texts(&answer);
    let Some((blocks, fix)) = way else {
        assert_eq!((blocking(&answer), fixes), (vec![], vec![]));
        return;
    };
    assert!(blocking(&answer).contains(&blocks), "{readable:#}");
    assert_eq!(answer["watched"]["state"], "unclear");
    let mut fixes = fixes.iter().filter(|(about, _)| about == "readable");
    let (Some((_, to_do)), None) = (fixes.next(), fixes.next()) else {
        panic!("{answer:#}");
    };
    assert!(to_do.contains(fix), "no {fix} in {to_do}");
    // Whoever could not read it is told the same.
    let refused = place.run_by(setpriv, &["ps", pid]);
    assert_eq!(refused.status, DENIED, "{refused:?}");
    for text in [says, to_do] {
        assert!(refused.stderr.contains(text), "no {text} in {refused:?}");
    }
}

/// A Python of nobody's with this `PR_SET_DUMPABLE`.
fn python_of_nobody(python: &Python, dumpable: u8) -> Target {
    let mut command = python.command();
    command.arg("-c").arg(format!(
        "import asyncio, ctypes, os\n\
         PR_SET_DUMPABLE = 4\n\
         async def main():\n\
         \x20   os.write(1, b'{{}}\\n')\n\
         \x20   await asyncio.sleep(1000)\n\
         os.setgroups([])\n\
         os.setresgid({NOBODY}, {NOBODY}, {NOBODY})\n\
         os.setresuid({NOBODY}, {NOBODY}, {NOBODY})\n\
         assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, {dumpable}, 0, 0, 0) == 0\n\
         asyncio.run(main())"
    ));
    Target::start(command)
}

#[test]
fn the_agent_explains_by_its_own_settings() {
    let python = &python::all()[0];
    let place = Place::new();
    let target = place.start(python, "music");
    let pid = target.pid_text();
    let socket = place.0.path().join("agent.sock");
    let config = |targets: &str| {
        format!(
            "web: {{listen: 127.0.0.1:0}}\ncontrol: {{socket: '{}'}}\ndiscovery: {{interval: 20ms}}\n\
             targets: {}\n",
            socket.display(),
            targets.replace("NAME", place.name())
        )
    };
    let mut agent = Agent::start(&config(
        "[{name: shop, match: {command: NAME}, interval: 20ms}]",
    ));
    let ask = |pid: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentctl"));
        command
            .env("ASYNCIO_AGENT_SOCKET", &socket)
            .args(["explain", pid])
            .args(more);
        Answer::of(command)
    };
    let told = |pid: &str| json(&ask(pid, &["--format=json"]), 0);
    wait_until("it is watched", || {
        told(&pid)["watched"]["now"]["state"] == "ok"
    });
    let answer = told(&pid);
    assert_eq!(answer["watched"]["state"], "watched");
    assert_eq!(answer["watched"]["target"], "shop");
    assert_eq!(answer["reader"]["program"], "asyncio-agent");
    assert_eq!(answer["reader"]["pid"], agent.pid());
    assert_eq!(answer["found"]["python_version"], python.full_version);
    assert_eq!(
        answer["readable"]["checks"].as_array().map(Vec::len),
        Some(10)
    );
    let text = ask(&pid, &["--agent"]);
    assert!(
        text.stdout
            .contains("\nwatched: yes, as \"shop\", by targets[0].match\n  latest round: ok; "),
        "{text:?}"
    );
    // What the user who asks finds out without it.
    let direct = json(&ask(&pid, &["--direct", "--format=json"]), 0);
    assert_eq!(direct["reader"]["program"], "agentctl");
    assert_eq!(direct["watched"]["rule"], "auto");

    let own = ask(&agent.pid().to_string(), &["--format=json"]);
    let own = json(&own, NOT_SUPPORTED);
    assert_eq!(own["watched"]["state"], "left_out", "{own:#}");

    agent.reload(&config("[{name: shop, match: {command: never}}]"));
    wait_until("it is watched no more", || {
        told(&pid)["watched"]["state"] == "no"
    });
    let [(about, fix)] = &texts(&told(&pid))[..] else {
        panic!("{:#}", told(&pid));
    };
    assert!(
        about == "watched" && fix.starts_with("if targets[0].match is to hold, change command: "),
        "{fix}"
    );
    let log = agent.log();
    let mut lines = log.lines().filter(|line| line.contains("result="));
    let line = lines.find(|line| line.contains("asks=\"explain\""));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(
        line.contains(&format!("pid={pid} allowed=true")) && line.contains("result=\"ok\""),
        "{line}"
    );
}
