//! What `agentctl` and the agent say of the machine around them: namespaces, the configuration of the service, too few threads,
//! a system call that is not there.
#![cfg(all(feature = "agent", feature = "cli"))]
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod support;

use asyncio_agent::config::WebFile;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use support::agent::{Agent, agent};
use support::agentctl::Answer;
use support::place::{Place, check_done, check_refused};
use support::python;
use support::target::{Target, wait_until};
use support::zoo::{Act, Running, Zoo, own_user};

const USAGE: i32 = 2;
const DENIED: i32 = 4;
const UNREACHABLE: i32 = 6;
const FAILED: i32 = 7;

/// Users that this machine has no names for.
const FEW_THREADS: u32 = 61_240;
const NO_MORE_THREADS: u32 = 61_241;

fn is_root() -> bool {
    own_user() == 0
}

/// The command in namespaces of its own.
fn unshare(namespaces: &[&str], command: &Command) -> Command {
    let mut unshared = Command::new("unshare");
    if !is_root() {
        unshared.arg("--map-root-user");
    }
    unshared
        .args(namespaces)
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir("/");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => unshared.env(name, value),
            None => unshared.env_remove(name),
        };
    }
    unshared
}

const PID_NAMESPACE: [&str; 4] = ["--pid", "--fork", "--kill-child", "--mount-proc"];

/// Starts a Python program and runs `agentctl` with its id in place of PID, all in one pid namespace.
fn ask_in_namespace(place: &Place, arguments: &[&str]) -> Answer {
    let program = python::all()[0].program("music");
    let mut sh = Command::new("sh");
    sh.envs(
        program
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    )
    .env("ASYNCIO_AGENT_SOCKET", &place.socket)
    .env("AGENTCTL", place.folder.path().join("agentctl"))
    .env("SAID", tempfile::NamedTempFile::new().unwrap().path())
    .env("ARGUMENTS", arguments.join(" "))
    .args([
        "-c",
        "sleep 1000 | \"$@\" >\"$SAID\" & \
             until [ -s \"$SAID\" ]; do sleep 0.1; done; \
             exec \"$AGENTCTL\" $(echo \"$ARGUMENTS\" | sed \"s/PID/$!/\")",
        "sh",
    ])
    .arg(program.get_program())
    .args(program.get_args());
    Answer::of(unshare(&PID_NAMESPACE, &sh))
}

#[test]
fn an_agent_outside_of_our_pid_namespace_is_not_asked_for_another_process() {
    let place = Place::new();
    let _agent = Agent::start(&place.config("", "[]"));
    let elsewhere = "is outside of the pid namespace (container) that agentctl is in";
    for command in ["ps", "pstree", "snapshot", "explain"] {
        let answer = ask_in_namespace(&place, &[command, "PID"]);
        assert_eq!(answer.status, 0, "{answer:?}");
        let own = if command == "explain" {
            "looked at by agentctl"
        } else {
            "Sundowning"
        };
        assert!(answer.stdout.contains(own), "{answer:?}");
        for says in [elsewhere, "so it is not asked; process"] {
            assert!(answer.stderr.contains(says), "{answer:?}");
        }
        let answer = ask_in_namespace(&place, &[command, "--agent", "PID"]);
        let says = [
            "cannot ask for process",
            elsewhere,
            "hint: to ask it, run agentctl on its host",
        ];
        check_refused(&answer, UNREACHABLE, &says);
    }
    let answer = ask_in_namespace(&place, &["findings"]);
    assert!(
        answer.status == 0 && answer.stderr.contains(elsewhere),
        "{answer:?}"
    );
    // Nothing is said of it to who is where it is, or does not ask it.
    let answer = ask_in_namespace(&place, &["ps", "--direct", "PID"]);
    assert!(answer.status == 0 && answer.stderr.is_empty(), "{answer:?}");
    check_done(&place.ask(&["targets", "--agent", "--format=json"]));
}

#[test]
fn an_agent_in_a_pid_namespace_within_ours_is_not_asked_for_another_process() {
    let place = Place::new();
    let _agent = Agent::start_command(&place.config("", "[]"), |config| {
        unshare(&PID_NAMESPACE, &agent(config))
    });
    let target = Target::start(python::all()[0].program("music"));
    let pid = target.pid_text();
    let elsewhere = "is in a pid namespace (container) of its own";
    let answer = place.ask(&["ps", &pid]);
    assert!(
        answer.status == 0 && answer.stdout.contains("Sundowning"),
        "{answer:?}"
    );
    for says in [elsewhere, &format!("process {pid} is read from here")] {
        assert!(answer.stderr.contains(says), "{answer:?}");
    }
    let answer = place.ask(&["explain", "--agent", &pid]);
    check_refused(
        &answer,
        UNREACHABLE,
        &[elsewhere, "hint: to ask it, run agentctl in its container"],
    );
    for arguments in [&["targets", "--agent"][..], &["findings", "--format=json"]] {
        let answer = place.ask(arguments);
        assert!(
            answer.status == 0 && answer.stderr.contains(elsewhere),
            "{answer:?}"
        );
    }
}

#[test]
fn ids_of_another_pid_namespace_are_not_taken_for_ours() {
    let place = Place::new();
    let target = Target::start(python::all()[0].program("music"));
    let pid = target.pid_text();
    let mut sh = Command::new("sh");
    sh.env("ASYNCIO_AGENT_SOCKET", "")
        .args(["-c", "\"$@\"; exit $?", "sh"])
        .arg(place.folder.path().join("agentctl"))
        .args(["ps", &pid]);
    // Without a /proc of its own.
    let answer = Answer::of(unshare(&["--pid", "--fork", "--kill-child"], &sh));
    check_refused(
        &answer,
        FAILED,
        &[
            &format!("cannot read process {pid}: /proc is that of another pid namespace"),
            "hint: /proc is that of another one, in which processes have other ids: run agentctl in the pid namespace",
        ],
    );
}

/// Runs `agentctl` where `text` is the configuration of the service, with this mode.
fn with_configuration(place: &Place, text: &str, mode: &str, arguments: &[&str]) -> Answer {
    let file = place.folder.path().join("service.yaml");
    fs::write(&file, text).unwrap();
    let mut sh = Command::new("sh");
    sh.env("ASYNCIO_AGENT_SOCKET", "")
        .args([
            "-c",
            // Not even root may read a file without these capabilities if its mode does not say so.
            "set -e; mount -t tmpfs none /etc; mkdir /etc/asyncio-agent; cp \"$1\" /etc/asyncio-agent/agent.yaml; \
             chmod \"$2\" /etc/asyncio-agent/agent.yaml; shift 2; \
             exec setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all \"$@\"",
            "sh",
        ])
        .arg(&file)
        .arg(mode)
        .arg(place.folder.path().join("agentctl"))
        .args(arguments);
    Answer::of(unshare(&["--mount"], &sh))
}

#[test]
fn without_an_agent_the_rules_of_the_service_hold() {
    let place = Place::new();
    let target = Target::start(python::all()[0].program("music"));
    let pid = target.pid_text();
    let rules = format!("targets: [{{name: shop, match: {{pid: {pid}}}}}]\n");
    for arguments in [
        &["explain", &*pid][..],
        &["explain", "--direct", &*pid],
        &["targets"],
    ] {
        let answer = with_configuration(&place, &rules, "644", arguments);
        let says = "agentctl: by the rules of /etc/asyncio-agent/agent.yaml\n";
        assert!(answer.stderr.starts_with(says), "{answer:?}");
        assert!(
            answer.status == 0 && answer.stdout.contains("shop"),
            "{answer:?}"
        );
        // Its own file comes first.
        let answer = with_configuration(&place, "targets: [{broken}]\n", "644", arguments);
        let says = ["/etc/asyncio-agent/agent.yaml cannot be used"];
        check_refused(&answer, USAGE, &says);
        let answer = with_configuration(&place, &rules, "000", arguments);
        let says = "agentctl: /etc/asyncio-agent/agent.yaml cannot be read (Permission denied (os error 13)), so this is \
                    not by its rules, but by 'targets: auto'\n";
        assert!(
            answer.stderr.starts_with(says) && answer.status == 0,
            "{answer:?}"
        );
        assert!(!answer.stdout.contains("shop"), "{answer:?}");
    }
    let check = ["config", "check", "/etc/asyncio-agent/agent.yaml"];
    let answer = with_configuration(&place, &rules, "000", &check);
    check_refused(
        &answer,
        USAGE,
        &[
            "Permission denied",
            "hint: the user that reads it must be able to",
        ],
    );
}

#[test]
fn what_the_agent_has_not_looked_at_is_no_all_clear() {
    // Nothing says yet that it hangs.
    let zoo = Zoo::with(&[(1, "stuck", Act::Hangs), (2, "fine", Act::Chain(1))]);
    let place = Place::new();
    let targets = "[{name: stuck, match: {command: stuck}, interval: 20ms}, {name: fine, match: {command: fine}, \
                   interval: 20ms}]";
    let running = Running::start_with(&zoo, &place.config("", targets), &WebFile::default());
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    for command in ["findings", "targets"] {
        let http = running.get(&format!("/api/v1/{command}"));
        let http = json(http.split_once("\r\n\r\n").unwrap().1);
        assert_eq!(http["ready"], false, "{http}");
        for format in ["--format=text", "--format=json"] {
            let answer = place.ask(&[command, "--agent", format]);
            assert_eq!(answer.status, 0, "{answer:?}");
            let says = "s ago and has not yet looked at all processes: ask again\n";
            assert!(
                answer
                    .stderr
                    .starts_with("agentctl: the agent has started ")
                    && answer.stderr.ends_with(says)
                    && answer.stderr.lines().count() == 1,
                "{answer:?}"
            );
        }
    }
    running.eventually("ready", |_| {
        let answer = place.ask(&["findings", "--agent", "--format=json"]);
        let told = json(&answer.stdout);
        assert!(told["running_seconds"].as_f64().unwrap() > 0.0);
        told["ready"] == true && answer.stderr.is_empty()
    });
}

/// A copy of the agent and of a configuration that every user may read.
fn agent_for_all(folder: &Path, config: &str) -> Command {
    let copy = folder.join("asyncio-agent");
    let file = folder.join("all.yaml");
    fs::copy(env!("CARGO_BIN_EXE_asyncio-agent"), &copy).unwrap();
    fs::write(&file, config).unwrap();
    for path in [folder, &copy] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new(copy);
    command.arg("--config").arg(file);
    command
}

/// The command as a user whose threads are counted; root may have as many as it likes.
fn as_user(user: u32, command: &Command) -> Command {
    let mut by = Command::new("env");
    if is_root() {
        by = Command::new("setpriv");
        by.arg(format!("--reuid={user}"));
        by.args(["--regid=65534", "--clear-groups"]);
    }
    by.arg(command.get_program()).args(command.get_args());
    by.current_dir("/");
    by
}

#[test]
fn an_agent_that_gets_too_few_threads_ends() {
    let config = "web: {listen: 127.0.0.1:0}\ncontrol: {socket: none}\ntargets: []\n";
    // The first one is for the log, then come two that work and one that waits for them. Others of ours have more already.
    let n_max = if is_root() { 4 } else { 1 };
    for n in 1..=n_max {
        for format in ["logfmt", "json"] {
            let folder = tempfile::tempdir().unwrap();
            let agent = agent_for_all(folder.path(), config);
            let mut limited = Command::new("prlimit");
            limited.arg(format!("--nproc={n}"));
            limited.arg(agent.get_program()).args(agent.get_args());
            limited.args(["--log-format", format]);
            let limited = as_user(FEW_THREADS, &limited);
            // One that hangs ends with another status.
            let mut in_time = Command::new("timeout");
            in_time.args(["--signal=KILL", "30"]);
            in_time.arg(limited.get_program()).args(limited.get_args());
            in_time.current_dir("/");
            let answer = Answer::of(in_time);
            assert_eq!(answer.status, FAILED, "{n}: {answer:?}");
            let last = answer.stderr.lines().last().unwrap_or_default();
            let says = "give the agent more threads: TasksMax=";
            assert!(last.contains(says), "{n}: {answer:?}");
            assert!(
                answer.stderr.contains("cannot start its threads: "),
                "{n}: {answer:?}"
            );
            if format == "json" {
                let line: Value = serde_json::from_str(last).unwrap();
                assert_eq!(line["msg"], "the agent cannot run");
            }
        }
    }
}

#[test]
fn a_thread_that_cannot_be_started_is_no_process_that_hangs() {
    let place = Place::new();
    let config = place.config("", "auto");
    let mut running = Agent::start_command(&config, |file| {
        let config = fs::read_to_string(file).unwrap();
        let command = agent_for_all(place.folder.path(), &config);
        fs::set_permissions(place.folder.path(), Permissions::from_mode(0o777)).unwrap();
        as_user(NO_MORE_THREADS, &command)
    });
    let start = || {
        let mut command = python::all()[0].program("music");
        if is_root() {
            command.uid(NO_MORE_THREADS).gid(65_534);
        }
        Target::start(command)
    };
    let is_watched = |pid: &str| {
        let answer = place.ask(&["targets", "--agent"]);
        answer.stdout.split_whitespace().any(|word| word == pid)
    };
    let first = start();
    wait_until("it is watched", || is_watched(&first.pid_text()));
    // A user may do that to its own processes.
    let agent_pid = running.pid().to_string();
    let prlimit = |arguments: &[&str]| {
        let mut command = Command::new("prlimit");
        command.args(["--pid", &agent_pid]).args(arguments);
        let answer = Answer::of(as_user(NO_MORE_THREADS, &command));
        assert_eq!((answer.status, &*answer.stderr), (0, ""), "{answer:?}");
        answer.stdout.trim().to_owned()
    };
    let before = prlimit(&["--nproc", "--noheadings", "--output=SOFT"]);
    prlimit(&["--nproc=1:"]);
    let second = start();
    let pid = second.pid_text();
    let says = "no more threads can be started, so it cannot be found out whether these processes use asyncio";
    wait_until("it is said", || running.log().contains(says));
    let log = running.log();
    assert!(log.contains("TasksMax=") && !log.contains("hangs"), "{log}");
    let hits = |limit: &str| {
        running
            .value(&format!(
                "asyncio_agent_limit_hits_total{{limit=\"{limit}\"}}"
            ))
            .unwrap()
    };
    assert_eq!(hits("probes_hanging"), 0.0);
    wait_until("it is counted", || hits("threads") > 0.0);
    // Those that were asked before are watched on.
    assert!(is_watched(&first.pid_text()) && !is_watched(&pid));
    let answer = place.ask(&["explain", "--agent", &pid]);
    let says = "it can start no more threads; it is asked again";
    assert!(
        answer.stdout.contains(says)
            && answer
                .stdout
                .contains("watched: give the agent more threads"),
        "{answer:?}"
    );
    prlimit(&[&format!("--nproc={before}:")]);
    wait_until("it is watched in the end", || is_watched(&pid));
    wait_until("that is said", || {
        running.log().contains("threads can be started again")
    });
}

/// Runs a command for which there is no `process_vm_readv`, as a filter of a container or an old kernel may have it.
const WITHOUT_PROCESS_VM_READV: &str = r"
import ctypes, os, platform, struct, sys
NUMBER = {'x86_64': 310, 'aarch64': 270}[platform.machine()]
LOAD, EQUAL, RETURN, ALLOW, ERRNO = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000
ENOSYS, NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 38, 22, 2
code = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, NUMBER), (RETURN, 0, 0, ERRNO | ENOSYS), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in code))
program = struct.pack('HxxxxxxP', 4, ctypes.addressof(code))
prctl = ctypes.CDLL(None, use_errno=True).prctl
assert prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
assert prctl(SET_SECCOMP, FILTER, ctypes.c_char_p(program), 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn a_system_call_that_is_not_there_is_told_as_what_it_is() {
    let place = Place::new();
    let target = Target::start(python::all()[0].program("music"));
    let pid = target.pid_text();
    let ask = |arguments: &[&str]| {
        let mut command = python::all()[0].command();
        command
            .env("ASYNCIO_AGENT_SOCKET", "")
            .args(["-c", WITHOUT_PROCESS_VM_READV])
            .arg(place.folder.path().join("agentctl"))
            .args(arguments);
        Answer::of(command)
    };
    let answer = ask(&["ps", &pid]);
    let explain = format!("'agentctl explain {pid}' says what stands in the way");
    let says = [
        "permission denied (process_vm_readv is not available)",
        "process_vm_readv is not available (ENOSYS) even for its own memory: allow process_vm_readv in that filter",
        &*explain,
    ];
    check_refused(&answer, DENIED, &says);
    assert!(!answer.stderr.contains("report it"), "{answer:?}");
    let answer = ask(&["explain", &pid]);
    assert_eq!(answer.status, DENIED, "{answer:?}");
    assert!(
        answer
            .stdout
            .contains("a filter restricts agentctl; process_vm_readv is not available (ENOSYS)"),
        "{answer:?}"
    );
}

#[test]
fn a_process_that_is_stopped_is_explained_as_such() {
    let place = Place::new();
    let target = Target::start(python::all()[0].program("music"));
    let pid = target.pid_text();
    check_done(&place.ask(&["explain", &pid]));
    target.stop();
    let answer = place.ask(&["explain", &pid]);
    assert_eq!(answer.status, 0, "{answer:?}");
    let says = format!(
        "process {pid} is stopped, as by SIGSTOP or Ctrl-Z; 'kill -CONT {pid}' lets it go on\n"
    );
    assert!(answer.stderr.ends_with(&says), "{answer:?}");
    target.go_on();
}

#[test]
fn the_page_of_the_agent_tells_how_it_ends_and_what_it_hears() {
    let page = support::agentctl::run(&["man", "asyncio-agent"]);
    let page = page.stdout.replace("\\-", "-");
    for says in [
        "Exit status",
        "Signals",
        "SIGHUP",
        "/etc/asyncio-agent/agent.yaml",
    ] {
        assert!(page.contains(says), "{says}: {page}");
    }
}
