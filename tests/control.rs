//! Asking the agent over its socket: what `agentctl` shows of it, and what clients that mean no good can do. Who may ask
//! for what is in `rights.rs`. The agent is in process, with made-up processes, or a program of its own.
//!
//! As root, whoever asks is another user: a child with another user id. Anybody else is the owner of its own
//! processes and a stranger to root's.
#![cfg(all(feature = "agent", feature = "cli"))]
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod support;

use asyncio_agent::config::WebFile;
use asyncio_agent::protocol::{FrameKind, Request, read_header, read_payload, write_frame};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Duration;
use support::agent::{Agent, agent};
use support::agentctl::Answer;
use support::place::{Place, a_group, check_done, check_refused};
use support::python;
use support::target::{Target, wait_until};
use support::zoo::{Act, Running, Zoo, own_user};

const DONE: i32 = 0;
const CYCLE: i32 = 1;
const USAGE: i32 = 2;
const NO_SUCH_PROCESS: i32 = 3;
const NOT_ALLOWED: i32 = 4;
const UNREACHABLE: i32 = 6;

/// Users that this machine has no names for.
const OWNER: u32 = 61_234;
const STRANGER: u32 = 61_235;

fn is_root() -> bool {
    own_user() == 0
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn rows(answer: &Answer) -> Vec<Vec<&str>> {
    let lines = answer.stdout.lines();
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
fn what_the_agent_knows_is_shown() {
    let zoo = Zoo::with(&[
        (10, "web", Act::Chain(3)),
        (11, "ring", Act::Ring(2)),
        (12, "sh", Act::NotPython),
    ]);
    let place = Place::new();
    let targets = "[{name: web, match: {command: web}, interval: 20ms}, {name: ring, match: {command: ring}, \
                   interval: 20ms}, {name: none, match: {command: never}, interval: 20ms}]";
    let config = place.config("", targets);
    let running = Running::start_with(&zoo, &config, &WebFile::default());
    running.eventually("the cycle is found", |_| {
        rows(&place.ask(&["findings"])).len() == 2
    });

    // Processes that are not watched can be asked for as well.
    let answer = place.ask(&["ps", "10"]);
    check_done(&answer);
    assert_eq!(rows(&answer).len(), 2 + 3, "{answer:?}");
    let answer = place.ask(&["pstree", "--agent", "11"]);
    assert_eq!(answer.status, CYCLE, "{answer:?}");
    let answer = place.ask(&["snapshot", "10"]);
    check_done(&answer);
    assert!(json(&answer)["stats"]["duration_seconds"].is_number());
    check_refused(&place.ask(&["ps", "12"]), 5, &["process 12", "hint:"]);
    check_refused(&place.ask(&["ps", "13"]), NO_SUCH_PROCESS, &["13", "hint:"]);
    // Without the agent there are no such processes.
    let answer = place.ask(&["ps", "--direct", &i32::MAX.to_string()]);
    assert_eq!(answer.status, NO_SUCH_PROCESS);

    let answer = place.ask(&["findings"]);
    assert_eq!((answer.status, &*answer.stderr), (CYCLE, ""));
    let found = &rows(&answer)[1];
    assert_eq!(
        (found[0], found[1], found[2]),
        ("ring", "11", "await_cycle")
    );
    let answer = place.ask(&["findings", "--format", "json"]);
    assert_eq!(json(&answer)["findings"][0]["pid"], 11);
    if is_root() {
        // What is told over HTTP is the same.
        let http = running.get("/api/v1/findings");
        let http: Value = serde_json::from_str(http.split_once("\r\n\r\n").unwrap().1).unwrap();
        let path = |answer: &Value| answer["findings"][0]["path"].clone();
        assert_eq!(path(&http), path(&json(&answer)));
    }

    let answer = place.ask(&["targets", "--agent"]);
    check_done(&answer);
    let web = rows(&answer).into_iter().find(|row| row[0] == "web");
    assert_eq!(web.unwrap()[..4], ["web", "10", "ok", "3"]);
    let answer = place.ask(&["targets", "--agent", "--format=json"]);
    let names: Vec<_> = json(&answer)["targets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|target| target["name"].as_str().unwrap().to_owned())
        .collect();
    // Targets without processes are nobody's but root's.
    let expected: &[&str] = if is_root() {
        &["web", "ring", "none"]
    } else {
        &["web", "ring"]
    };
    assert_eq!(names, expected);
}

#[test]
fn what_is_in_the_way_of_made_up_processes_is_told() {
    let zoo = Zoo::with(&[
        (10, "web", Act::Chain(3)),
        (11, "web", Act::Chain(2)),
        (12, "web", Act::Denied),
        (13, "web", Act::Panics),
    ]);
    let place = Place::new();
    let config = place.config("", "[{name: web, match: {command: web}, interval: 20ms}]");
    let config = format!("{config}limits: {{processes: 1}}\n");
    let running = Running::start_with(&zoo, &config, &WebFile::default());
    running.eventually("the first is watched", |_| {
        place
            .ask(&["explain", "10"])
            .stdout
            .contains("watched: yes, as \"web\", by targets[0].match")
    });
    let answer = json(&place.ask(&["explain", "11", "--format=json"]));
    assert_eq!(answer["watched"]["state"], "left_out", "{answer:#}");
    assert_eq!(
        answer["fixes"][0]["text"],
        "raise limits.processes, which is 1"
    );
    for command in ["findings", "targets"] {
        let told = place.ask(&[command, "--agent"]).stderr;
        let says = "3 processes more than limits.processes allows are not watched";
        assert!(told.contains(says), "{command}: {told}");
    }
    assert_eq!(answer["found"]["tasks"], 2);
    let answer = place.ask(&["explain", "12", "--format=json"]);
    assert_eq!(
        (answer.status, &*answer.stderr),
        (NOT_ALLOWED, ""),
        "{answer:?}"
    );
    assert_eq!(json(&answer)["readable"]["is_readable"], false);
    assert_eq!(json(&answer)["found"]["error"]["code"], "permission_denied");
    check_refused(
        &place.ask(&["explain", "13"]),
        7,
        &["a defect of the agent"],
    );
    check_refused(
        &place.ask(&["explain", "14"]),
        NO_SUCH_PROCESS,
        &["14", "hint:"],
    );
}

#[test]
fn wrong_ways_to_ask_are_explained() {
    let place = Place::new();
    for arguments in [
        &["ps", "--agent", "--direct", "1"][..],
        &["ps", "--agent", "--from", "x"],
        &["targets", "--agent", "--config", "x"],
        &["explain", "--agent", "--direct", "1"],
        &["explain", "--agent", "--config", "x", "1"],
        &["explain"],
        &["targets", "--direct", "--format", "json"],
        &["findings", "--direct"],
    ] {
        let answer = place.ask(arguments);
        assert_eq!(answer.status, USAGE, "{arguments:?}: {answer:?}");
    }
    let why = "findings are known only to a running agent";
    check_refused(&place.ask(&["findings", "--direct"]), USAGE, &[why]);
}

#[test]
fn an_agent_that_is_not_there_is_only_missed_by_who_asks_for_it() {
    let place = Place::new();
    let target = Target::start(python::all()[0].program("music"));
    let pid = target.pid_text();
    let socket = format!("--agent={}", place.socket.display());
    let check_missed = |why: &str| {
        check_done(&place.ask(&["ps", &pid]));
        check_done(&place.ask(&["ps", "--direct", &pid]));
        for arguments in [
            &["ps", "--agent", &pid][..],
            &["ps", &socket, &pid],
            &["findings"],
            &["targets", "--agent"],
            &["targets", "--format", "json"],
        ] {
            let says = ["cannot reach the agent", why, "hint:"];
            check_refused(&place.ask(arguments), UNREACHABLE, &says);
        }
    };
    check_missed("No such file");
    let findings = place.ask(&["findings"]);
    let why = "findings are known only to a running agent";
    check_refused(&findings, UNREACHABLE, &[why]);
    assert!(!findings.stderr.contains("--direct"), "{findings:?}");
    let given = place.ask(&["ps", "--agent", &pid]);
    let says = "with --direct in place of --agent a process is read";
    check_refused(&given, UNREACHABLE, &[says]);
    // One that was killed has left its socket behind.
    drop(UnixListener::bind(&place.socket).unwrap());
    check_missed("refused");
}

#[test]
fn an_agent_that_talks_nonsense_is_told() {
    let place = Place::new();
    let listener = UnixListener::bind(&place.socket).unwrap();
    let answers = [
        (&b""[..], UNREACHABLE, "without an answer"),
        (b"AIOA\0\x01\0\x02\0\0\0\x09{}", 7, "gave up sending"),
        (b"AIOA\0\x07\0\x02\0\0\0\x09", UNREACHABLE, "version 7"),
        (b"HTTP/1.1 400 Bad Request\r\n", 7, "not the protocol"),
        (b"AIOA\0\x01\0\x02\xff\xff\xff\xff", 7, "at most"),
        (b"AIOA\0\x01\0\x02\0\0\0\x02{}", 7, "cannot be used"),
        (b"AIOA\0\x01\0\x03\0\0\0\x02{}", 7, "cannot be used"),
    ];
    for (bytes, status, says) in answers {
        let server = std::thread::scope(|scope| {
            let asking = scope.spawn(|| place.ask(&["ps", "7"]));
            let (mut stream, _) = listener.accept().unwrap();
            let header = read_header(&mut stream, &[FrameKind::Request]).unwrap();
            // What is left unread would end the connection in another way.
            read_payload(header, &mut stream).unwrap();
            stream.write_all(bytes).unwrap();
            drop(stream);
            asking.join().unwrap()
        });
        check_refused(&server, status, &[says, "hint:", "--direct"]);
        assert!(!server.stderr.contains("--agent"), "{server:?}");
        assert!(!server.stderr.contains("not answered yet"), "{server:?}");
        assert!(!server.stderr.contains("panicked"), "{server:?}");
    }
}

/// Nothing bounds what an agent says that is none.
#[test]
fn an_agent_that_says_very_much_is_cut_short() {
    let place = Place::new();
    let listener = UnixListener::bind(&place.socket).unwrap();
    let hints = vec!["h".repeat(1_000); 50_000];
    let error = serde_json::json!({"code": "x", "message": "m".repeat(100_000), "hints": hints});
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| place.ask(&["ps", "7"]));
        let (mut stream, _) = listener.accept().unwrap();
        let header = read_header(&mut stream, &[FrameKind::Request]).unwrap();
        read_payload(header, &mut stream).unwrap();
        write_frame(FrameKind::Error, error.to_string().as_bytes(), &mut stream).unwrap();
        asking.join().unwrap()
    });
    check_refused(&answer, 7, &["hint: hhh", "and 49980 more hints"]);
    assert!(answer.stderr.len() < 30_000, "{}", answer.stderr.len());
}

#[test]
fn an_agent_that_says_nothing_is_told_before_it_is_given_up() {
    let place = Place::new();
    let listener = UnixListener::bind(&place.socket).unwrap();
    for (arguments, has_way_out) in [(&["ps", "7"][..], true), (&["findings"], false)] {
        let answer = std::thread::scope(|scope| {
            let asking = scope.spawn(|| place.ask(arguments));
            let (stream, _) = listener.accept().unwrap();
            std::thread::sleep(Duration::from_secs(5));
            drop(stream);
            asking.join().unwrap()
        });
        let says = format!(
            "agentctl: the agent at {} has not answered yet",
            place.socket.display()
        );
        check_refused(&answer, UNREACHABLE, &[&says]);
        let told = answer.stderr.contains("--direct");
        assert_eq!(told, has_way_out, "{answer:?}");
    }
}

#[test]
fn a_process_that_only_the_caller_sees_can_be_read_directly() {
    let place = Place::new();
    let zoo = Zoo::with(&[]);
    let _running = Running::start_with(&zoo, &place.config("", "[]"), &WebFile::default());
    let target = Target::start(python::all()[0].program("music"));
    let hint = "there is such a process here; --direct tries to read it as you";
    for command in ["ps", "explain"] {
        let answer = place.ask(&[command, &target.pid_text()]);
        check_refused(&answer, NO_SUCH_PROCESS, &["no process", hint]);
        let answer = place.ask(&[command, &i32::MAX.to_string()]);
        check_refused(&answer, NO_SUCH_PROCESS, &["no process"]);
        assert!(!answer.stderr.contains(hint), "{answer:?}");
    }
    check_done(&place.ask(&["ps", "--direct", &target.pid_text()]));
}

#[test]
fn findings_and_targets_are_those_of_own_processes() {
    let zoo = Zoo::with(&[
        (10, "user=61234 ring", Act::Ring(2)),
        (11, "user=0 ring", Act::Ring(3)),
    ]);
    let place = Place::new();
    let targets = "[{name: a, match: {pid: 10}, interval: 20ms}, {name: b, match: {pid: 11}, interval: 20ms}]";
    let config = place.config("no-such-group", targets);
    let running = Running::start_with(&zoo, &config, &WebFile::default());
    running.eventually("both are found", |agent| {
        agent.metric("asyncio_await_cycles").values().sum::<f64>() == 2.0
    });
    let pids = |answer: &Answer| -> Vec<String> {
        let rows = rows(answer).into_iter().skip(1);
        rows.map(|row| row[1].to_owned()).collect()
    };
    if !is_root() {
        // Neither is of whoever runs this test.
        for arguments in [&["findings"][..], &["targets", "--agent"]] {
            let answer = place.ask(arguments);
            assert_eq!((answer.status, pids(&answer)), (DONE, vec![]), "{answer:?}");
        }
        return;
    }
    for arguments in [&["findings"][..], &["targets", "--agent"]] {
        let all = place.ask(arguments);
        assert_eq!(pids(&all), ["10", "11"], "{all:?}");
        let own = place.ask_as(OWNER, OWNER, arguments);
        assert_eq!(pids(&own), ["10"], "{own:?}");
        let none = place.ask_as(STRANGER, STRANGER, arguments);
        assert_eq!(none.status, DONE, "{none:?}");
        assert!(pids(&none).is_empty() && none.stderr.starts_with("agentctl: nothing "));
    }
    let root = ["snapshot", "11"];
    check_done(&place.ask(&root));
    check_refused(&place.ask_as(OWNER, OWNER, &root), NOT_ALLOWED, &["user 0"]);
    check_done(&place.ask_as(OWNER, OWNER, &["snapshot", "10"]));
    // Who is in the group may have changed since the agent started: with a new configuration, at once.
    let (group, id) = a_group();
    running.write_config(&place.config(&group, targets));
    running.reload();
    wait_until("the group counts", || {
        place.ask_as(STRANGER, id, &["snapshot", "11"]).status == DONE
    });
    let hint = format!("the group {group}");
    let answer = place.ask_as(STRANGER, STRANGER, &root);
    check_refused(&answer, NOT_ALLOWED, &[&hint]);
}

#[test]
fn what_was_read_as_another_users_is_not_told_to_the_owner_of_now() {
    if !is_root() {
        return;
    }
    let zoo = Zoo::with(&[
        (10, "user=0 ring", Act::Ring(2)),
        (11, "user=0 ring", Act::Ring(3)),
    ]);
    let place = Place::new();
    let targets =
        "[{name: a, match: {pid: 10}, interval: 1h}, {name: b, match: {pid: 11}, interval: 20ms}]";
    let config = place.config("no-such-group", targets);
    let running = Running::start_with(&zoo, &config, &WebFile::default());
    running.eventually("both are read", |agent| {
        agent.metric("asyncio_target_up").values().sum::<f64>() == 2.0
    });
    let own = |arguments: &[&str]| {
        let answer = place.ask_as(OWNER, OWNER, arguments);
        assert!(answer.status <= 1, "{answer:?}");
        let rows = rows(&answer).into_iter().skip(1);
        rows.map(|row| row[1].to_owned()).collect::<Vec<_>>()
    };
    assert!(own(&["targets", "--agent"]).is_empty());
    // They give up root. Only one is read since.
    for pid in [10, 11] {
        zoo.set(pid, "user=61234 ring", Act::Ring(2));
    }
    wait_until("what is read now is told", || own(&["findings"]) == ["11"]);
    assert_eq!(own(&["targets", "--agent"]), ["11"]);
    assert!(!own(&["findings"]).contains(&"10".to_owned()));
    let all = place.ask(&["targets", "--agent"]);
    assert_eq!(rows(&all).len(), 3, "{all:?}");
}

#[test]
fn whoever_makes_reads_hang_keeps_others_from_none() {
    let zoo = Zoo::with(&[
        (10, "user=61234 a", Act::Hangs),
        (11, "user=61234 b", Act::Hangs),
        (12, "fine", Act::Chain(1)),
    ]);
    if !is_root() {
        // It takes somebody who may ask for everything, and somebody who may not.
        return;
    }
    let place = Place::new();
    let config = place.config("", "[]");
    let _running = Running::start_with(&zoo, &config, &WebFile::default());
    std::thread::scope(|scope| {
        let (place, zoo) = (&place, &zoo);
        let ask = |pid| scope.spawn(move || place.ask_as(OWNER, OWNER, &["ps", pid]));
        let hanging = [ask("10"), ask("11")];
        for _ in 0..3 {
            check_done(&place.ask(&["ps", "12"]));
        }
        for (asking, pid) in hanging.into_iter().zip([10, 11]) {
            zoo.set(pid, "user=61234 a", Act::Chain(1));
            let answer = asking.join().unwrap();
            assert!([DONE, 7].contains(&answer.status), "{answer:?}");
        }
    });
}

fn ends_with_an_error(place: &Place, status: i32, says: &str) {
    let path = place.folder.path().join("second.yaml");
    fs::write(&path, place.config("", "[]")).unwrap();
    let answer = Answer::of(agent(&path));
    assert_eq!(answer.status, status, "{answer:?}");
    for text in ["control.socket", says] {
        assert!(answer.stderr.contains(text), "no {text:?} in {answer:?}");
    }
}

#[test]
fn a_socket_that_is_left_over_is_replaced_and_no_other() {
    let place = Place::new();
    let config = place.config("", "[]");
    let first = Agent::start(&config);
    ends_with_an_error(&place, 7, "another agent listens there");
    check_done(&place.ask(&["targets", "--agent", "--format=json"]));
    first.end_with("KILL");
    assert!(place.socket.exists());
    let second = Agent::start(&config);
    check_done(&place.ask(&["targets", "--agent", "--format=json"]));
    drop(second);
    fs::remove_file(&place.socket).unwrap();
    fs::write(&place.socket, "precious").unwrap();
    ends_with_an_error(&place, 2, "something else than a socket");
    assert_eq!(fs::read_to_string(&place.socket).unwrap(), "precious");
}

/// What fails for want of file descriptors leaves no socket behind, wherever that is.
#[test]
fn an_agent_that_cannot_start_leaves_no_socket() {
    let place = Place::new();
    let path = place.folder.path().join("agent.yaml");
    fs::write(&path, place.config("", "[]")).unwrap();
    let mut said = String::new();
    // From too few for threads on to the last that the socket lacks; with more the agent may run, and is ended.
    for n_files in 5..=12 {
        let mut command = Command::new("timeout");
        command.args(["20", "prlimit", &format!("--nofile={n_files}"), "--"]);
        let agent = agent(&path);
        command.arg(agent.get_program()).args(agent.get_args());
        let answer = Answer::of(command);
        assert_ne!(answer.status, DONE, "{answer:?}");
        assert!(!place.socket.exists(), "{n_files}: {answer:?}");
        said.push_str(&answer.stderr);
    }
    assert!(said.contains("control.socket: cannot listen"), "{said}");
}

#[test]
fn systemd_says_where_the_socket_is() {
    let place = Place::new();
    let folders = format!("{}:/nowhere", place.folder.path().display());
    let config = "web: {listen: 127.0.0.1:0}\ntargets: []\n";
    let environment = [("RUNTIME_DIRECTORY", &*folders)];
    let agent = Agent::start_with(config, &environment);
    check_done(&place.ask(&["targets", "--agent", "--format=json"]));
    // What there is stays, whatever a new configuration says.
    agent.rewrite(&format!("{config}control: {{socket: none}}\n"));
    agent.signal("HUP");
    check_done(&place.ask(&["targets", "--agent", "--format=json"]));
    let (_, log) = agent.end_with("TERM");
    assert!(!place.socket.exists());
    assert!(log.contains("agentctl is answered"), "{log}");
    // Without it there is none, and nothing is missed.
    let agent = Agent::start(config);
    let (status, log) = agent.end_with("TERM");
    assert!(status.success() && !log.contains("agentctl"), "{log}");
}

/// The file descriptors that a process has open, and its memory in KiB.
fn resources_of(pid: u32) -> (usize, u64) {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = memory.unwrap().trim().trim_end_matches(" kB");
    (fds, memory.parse().unwrap())
}

#[test]
fn clients_that_mean_no_good_leave_nothing_behind() {
    let place = Place::new();
    let agent = Agent::start(&place.config("", "[]"));
    let ask_for_targets = || {
        let answer = place.ask(&["targets", "--agent", "--format=json"]);
        answer.status == DONE
    };
    wait_until("it answers", ask_for_targets);
    let (fds, memory) = resources_of(agent.pid());

    // As many at once as this process may have open, and more than the agent takes.
    let held: Vec<_> = (0..900).map(|_| place.connect()).collect();
    if is_root() {
        // Who opened them has no more places, everybody else has.
        let answer = place.ask_as(STRANGER, STRANGER, &["findings"]);
        assert_eq!(answer.status, DONE, "{answer:?}");
    }
    assert!(agent.get("/-/healthy").0.contains("200"));
    drop(held);
    wait_until("it answers again", ask_for_targets);
    let mut request = Vec::new();
    write_frame(
        FrameKind::Request,
        &Request::Targets.to_json(),
        &mut request,
    )
    .unwrap();
    for round in 0..600 {
        let mut stream = place.connect();
        // Each may be ended by the agent at any moment.
        let _ = match round % 4 {
            0 => stream.write_all(&request),
            1 => stream.write_all(&request[..round % request.len()]),
            2 => stream.write_all(&[b'x'; 100_000]),
            _ => {
                let _ = stream.write_all(b"AIOA\0\x01\0\x01\xff\xff\xff\xff");
                stream.write_all(&[0; 100_000])
            }
        };
        // Half a request would be waited for.
        if round % 4 != 1 && round % 3 == 0 {
            let _ = stream.read(&mut [0; 10]);
        }
    }
    wait_until("it answers as ever", ask_for_targets);
    wait_until("all connections are gone", || {
        resources_of(agent.pid()).0 <= fds
    });
    let grown = resources_of(agent.pid()).1.saturating_sub(memory);
    assert!(grown < 32 << 10, "{grown} KiB more than before");
    let (status, log) = agent.end_with("TERM");
    assert!(status.success() && !log.contains("panicked"), "{log}");
    assert!(log.contains("result=\"too_long\""), "{log}");
    let requests = || log.lines().filter(|it| it.contains("on-demand request"));
    let lacks = requests().find(|it| it.contains("allowed=") && !it.contains(" why="));
    assert_eq!(lacks, None);
    let is_refused = |line: &str| line.contains("result=\"too_long\"");
    let says = |line: &str| line.contains("allowed=false why=\"4294967295 bytes; at most ");
    assert!(requests().filter(|it| is_refused(it)).all(says), "{log}");
}

#[test]
fn who_has_much_to_tell_is_read_in_full_and_whoever_does_not_listen_makes_room() {
    const TASKS: usize = 12_000;
    let target = Target::start(python::all()[0].with_long_names(TASKS));
    let place = Place::new();
    let agent = Agent::start(&place.config("", "[]"));
    let mut slow = place.connect();
    let pid = target.pid_text().parse().unwrap();
    let request = Request::Snapshot { pid, freeze: None }.to_json();
    write_frame(FrameKind::Request, &request, &mut slow).unwrap();
    let header = read_header(&mut slow, &[FrameKind::Answer]).unwrap();
    assert!(header.length > 8 << 20, "{header:?}");
    // There is one such answer at a time, and the one that is not taken makes room.
    let answer = place.ask(&["snapshot", "--agent", &target.pid_text()]);
    assert_eq!(answer.status, DONE, "{}", answer.stderr);
    let threads = json(&answer)["threads"].clone();
    let n_tasks = threads.as_array().unwrap().iter();
    let n_tasks: usize = n_tasks
        .map(|it| it["tasks"].as_array().unwrap().len())
        .sum();
    assert_eq!(n_tasks, TASKS + 1);
    assert!(read_payload(header, &mut slow).is_err());
    let (status, log) = agent.end_with("TERM");
    assert!(status.success(), "{log}");
    // Both are in the log before they are read, and afterwards with what was sent.
    let lines = |says: &str| {
        log.lines()
            .filter(|it| it.contains(says))
            .collect::<Vec<_>>()
    };
    assert_eq!(lines("msg=\"on-demand request begins\"").len(), 2, "{log}");
    let [given_up, whole] = lines("msg=\"on-demand request\"")[..] else {
        panic!("{log}");
    };
    assert!(
        given_up.contains("request=1 ") && given_up.contains("result=\"ok, not taken\""),
        "{log}"
    );
    assert!(
        whole.contains("request=2 ") && whole.contains("result=\"ok\""),
        "{log}"
    );
    let sent = |line: &str| {
        line.rsplit("bytes=")
            .next()
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    assert!(
        sent(given_up) < header.length && sent(whole) > 8 << 20,
        "{log}"
    );
}
