//! The command line tool as its users meet it: the binary, its streams and its exit status. Text of
//! the views is the golden tests' business; processes that run Python are the live tests'.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use expect_test::{Expect, expect};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_agentctl");
/// Larger than any process id that Linux gives.
const NO_PID: &str = "2147483647";

struct Run {
    status: i32,
    out: String,
    err: String,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(args)
        .env_remove("NO_COLOR")
        // No agent that this machine may have.
        .env("ASYNCIO_AGENT_SOCKET", "")
        .stdin(Stdio::null());
    command
}

fn run_of(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        status: output.status.code().expect("not ended by a signal"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn agentctl(args: &[&str]) -> Run {
    run_of(&mut command(args))
}

fn agentctl_reading(args: &[&str], input: &[u8]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    fs::write(&path, input).unwrap();
    run_of(command(args).stdin(File::open(path).unwrap()))
}

fn sample(name: &str) -> String {
    format!("{}/tests/snapshots/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Checks status and standard error, and that nothing was printed.
fn check_failure(args: &[&str], status: i32, expected: Expect) {
    let run = agentctl(args);
    expected.assert_eq(&run.err);
    assert_eq!((run.status, run.out.as_str()), (status, ""));
}

#[test]
fn saved_snapshots_are_shown() {
    let example = sample("example.json");
    for args in [
        ["ps", "--from", &example, "--style=agent"],
        ["ps", "--from", &example, "--style=cpython"],
        ["ps", "--from", &example, "--style=classic"],
        ["ps", "--from", &example, "--format=csv"],
        ["ps", "--from", &example, "--format=json"],
        ["pstree", "--from", &example, "--style=agent"],
        ["pstree", "--from", &example, "--style=cpython"],
        ["pstree", "--from", &example, "--style=classic"],
        ["pstree", "--from", &example, "--format=json"],
    ] {
        let run = agentctl(&args);
        assert_eq!((run.status, run.err.as_str()), (0, ""), "{args:?}");
        for name in ["Task-1", "Sundowning", "TMBTE", "Levitate", "Aqua Regia"] {
            assert!(run.out.contains(name), "{args:?} {name}:\n{}", run.out);
        }
        assert!(!run.out.contains('\u{1b}'), "no colours into a pipe");
    }
}

#[test]
fn the_classic_tree_is_the_first_versions() {
    let example = sample("example.json");
    let run = agentctl(&["pstree", "--style=classic", "--from", &example]);
    expect![[r#"
        └── (T) Task-1
            └──  main
                └──  __aexit__
                    └──  _aexit
                        ├── (T) Sundowning
                        │   └──  album
                        │       └──  __aexit__
                        │           └──  _aexit
                        │               ├── (T) TNDNBTG
                        │               └── (T) Levitate
                        └── (T) TMBTE
                            └──  album
                                └──  __aexit__
                                    └──  _aexit
                                        ├── (T) DYWTYLM
                                        └── (T) Aqua Regia
    "#]]
    .assert_eq(&run.out);
}

#[test]
fn cycles_are_told_with_every_form() {
    let cycle = sample("cycle.json");
    for view in ["ps", "pstree"] {
        let run = agentctl(&[view, "--format=json", "--from", &cycle]);
        assert!(
            run.err.ends_with("cycle: cyc-a → cyc-b → cyc-a\n"),
            "{}",
            run.err
        );
    }
    let run = agentctl(&["ps", "--format=csv", "--from", &cycle]);
    assert!(
        run.err.ends_with("cycle: cyc-a → cyc-b → cyc-a\n"),
        "{}",
        run.err
    );
}

#[test]
fn views_do_not_change_by_saving() {
    for name in ["example.json", "cycle.json", "partial.json", "by_hand.json"] {
        let saved = sample(name);
        let json = agentctl(&["ps", "--format=json", "--from", &saved]);
        for view in [
            ["ps", "--style=agent"],
            ["ps", "--style=cpython"],
            ["ps", "--style=classic"],
            ["ps", "--format=csv"],
            ["pstree", "--style=agent"],
            ["pstree", "--style=cpython"],
            ["pstree", "--style=classic"],
            ["pstree", "--format=json"],
        ] {
            let first = agentctl(&[view[0], view[1], "--from", &saved]);
            let again = agentctl_reading(&[view[0], view[1], "--from", "-"], json.out.as_bytes());
            assert_eq!(first.out, again.out, "{name} {view:?}");
            assert_eq!(first.err, again.err, "{name} {view:?}");
            assert_eq!(first.status, again.status, "{name} {view:?}");
        }
    }
}

#[test]
fn a_filter_is_a_regular_expression() {
    let example = sample("example.json");
    let run = agentctl(&[
        "ps",
        "--format=csv",
        "--from",
        &example,
        "--filter",
        "^(Lev|DYW)",
    ]);
    assert_eq!(run.status, 0);
    assert!(run.out.contains("Levitate") && run.out.contains("DYWTYLM"));
    assert!(!run.out.contains("Aqua Regia"));
    let run = agentctl(&[
        "pstree",
        "--format=json",
        "--from",
        &example,
        "--filter",
        "^play$",
    ]);
    let value: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    let tasks = value["threads"][0]["tasks"].as_array().unwrap();
    let names: Vec<_> = tasks.iter().map(|task| &task["task_name"]).collect();
    // As in the tree, those who await them are there too.
    assert_eq!(names.len(), 7);
    let run = agentctl(&[
        "ps",
        "--format=json",
        "--from",
        &example,
        "--filter",
        "^play$",
    ]);
    let value: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    let tasks = value["threads"][0]["tasks"].as_array().unwrap();
    let names: Vec<_> = tasks.iter().map(|task| &task["task_name"]).collect();
    assert_eq!(names, ["TNDNBTG", "Levitate", "DYWTYLM", "Aqua Regia"]);
}

#[test]
fn cycles_are_told_by_the_status() {
    let cycle = sample("cycle.json");
    for (args, status) in [
        (["ps", "--style=agent"], 1),
        (["ps", "--style=cpython"], 0),
        (["ps", "--style=classic"], 0),
        (["ps", "--format=csv"], 1),
        (["ps", "--format=json"], 1),
        (["pstree", "--style=agent"], 1),
        (["pstree", "--style=cpython"], 1),
        (["pstree", "--style=classic"], 1),
        (["pstree", "--format=json"], 1),
    ] {
        let run = agentctl(&[args[0], args[1], "--from", &cycle]);
        assert_eq!(run.status, status, "{args:?}: {}", run.err);
    }
    let run = agentctl(&["pstree", "--from", &cycle]);
    assert!(run.out.contains("bystander"), "{}", run.out);
    assert!(run.err.contains("cyc-a"), "{}", run.err);
}

#[test]
fn a_partial_snapshot_is_said_and_done() {
    for view in ["ps", "pstree"] {
        let run = agentctl(&[view, "--from", &sample("partial.json")]);
        assert_eq!(run.status, 0);
        assert!(run.out.contains("survivor"));
        expect![[r#"
            agentctl: snapshot of 4242 is partial: 2 of 3 tasks unreadable (task_vanished 2, frame_unreadable 1)
        "#]]
        .assert_eq(&run.err);
    }
    let unnamed =
        br#"{"threads": [], "complete": false, "problems": [{"code": "a\u001b[31m\u202e"}]}"#;
    let run = agentctl_reading(&["ps", "--from", "-"], unnamed);
    expect![[r#"
        agentctl: snapshot of <stdin> is partial: 1 problem (a\x1b[31m\u202e 1)
    "#]]
    .assert_eq(&run.err);
    let code = "x".repeat(1 << 20);
    let long =
        format!(r#"{{"threads": [], "complete": false, "problems": [{{"code": "{code}"}}]}}"#);
    let run = agentctl_reading(&["ps", "--from", "-"], long.as_bytes());
    assert!(
        run.err.contains("xxx… 1)") && run.err.len() < 200,
        "{}",
        run.err
    );
    // What ended is told, and is no gap.
    for (tasks, edges, told) in [
        (0, 0, ""),
        (1, 0, "1 task"),
        (0, 2, "2 awaits"),
        (3, 1, "3 tasks and 1 await"),
    ] {
        let stats = format!(r#"{{"tasks_ended": {tasks}, "edges_ended": {edges}}}"#);
        let ended = format!(r#"{{"threads": [], "stats": {stats}}}"#);
        let run = agentctl_reading(&["ps", "--from", "-"], ended.as_bytes());
        let said = match told {
            "" => String::new(),
            told => format!("agentctl: {told} of <stdin> ended while it was read\n"),
        };
        assert_eq!((run.status, run.err), (0, said));
    }
    let mute = br#"{"threads": [], "complete": false}"#;
    let run = agentctl_reading(&["ps", "--from", "-"], mute);
    expect![[r#"
        agentctl: snapshot of <stdin> is partial: it does not say why
    "#]]
    .assert_eq(&run.err);
}

#[test]
fn output_can_be_bounded() {
    let example = sample("example.json");
    for view in ["ps", "pstree"] {
        let all = agentctl(&[view, "--from", &example]);
        let zero = agentctl(&[view, "--from", &example, "--max-lines=0"]);
        assert_eq!(all.out, zero.out);
        let few = agentctl(&[view, "--from", &example, "--max-lines=3"]);
        assert_eq!(few.status, 0);
        assert!(few.out.lines().count() <= 4, "{}", few.out);
    }
}

#[test]
fn wrong_arguments_are_explained() {
    let example = sample("example.json");
    for (args, part) in [
        (&["ps"][..], "<PID|--from <FILE>>"),
        (&["pstree"], "<PID|--from <FILE>>"),
        (&["snapshot"], "<PID>"),
        (&["ps", "0"], "not a process id: a whole number from 1 to"),
        (&["ps", "-1"], "not a process id"),
        (&["ps", "2147483648"], "not a process id"),
        (&["ps", "99999999999999999999"], "not a process id"),
        (&["ps", "python"], "invalid value 'python'"),
        (&["ps", "1.5"], "not a process id"),
        (&["ps", ""], "not a process id"),
        (&["snapshot", "-7"], "not a process id"),
        (&["ps", "1", "--from", &example], "cannot be used with"),
        (&["ps", "1", "2"], "unexpected argument '2'"),
        (&["ps", "--from"], "a value is required"),
        (
            &["ps", "--from", &example, "--filter", "(a"],
            "unclosed group",
        ),
        (
            &["ps", "--from", &example, "--style", "x"],
            "agent, cpython, classic",
        ),
        (
            &["ps", "--from", &example, "--format", "tree"],
            "table, json, csv",
        ),
        (
            &["pstree", "--from", &example, "--format", "csv"],
            "tree, json",
        ),
        (
            &["ps", "--from", &example, "--depth", "3"],
            "unexpected argument '--depth'",
        ),
        (&["pstree", "--from", &example, "--depth", "-3"], "--depth"),
        (
            &["pstree", "--from", &example, "--max-lines", "many"],
            "invalid value 'many'",
        ),
        (
            &["pstree", "--from", &example, "--color", "red"],
            "auto, always, never",
        ),
        (&["ps", "1", "--freeze", "10ms"], "written --freeze=10ms\n"),
        (
            &["snapshot", "--freeze", "2s", "1"],
            "written --freeze=2s\n",
        ),
        (&["top"], "unrecognized subcommand 'top'"),
        (&["man", "top"], "one of ps, pstree, snapshot"),
        (&["completions", "cmd"], "bash"),
    ] {
        let run = agentctl(args);
        assert_eq!((run.status, run.out.as_str()), (2, ""), "{args:?}");
        assert!(run.err.contains(part), "{args:?}: {}", run.err);
    }
    let nothing = agentctl(&[]);
    assert_eq!(nothing.status, 2);
    assert!(nothing.err.contains("Usage: agentctl"), "{}", nothing.err);
}

#[test]
fn limits_of_a_pause() {
    for command in ["ps", "pstree", "snapshot"] {
        for limit in ["", "=1ms", "=50ms", "=10s", "=1s500ms"] {
            let run = agentctl(&[command, NO_PID, &format!("--freeze{limit}")]);
            assert_eq!(run.status, 3, "{limit}: {}", run.err);
        }
        for (limit, says) in [
            ("5", "has no unit"),
            ("0ms", "1ms to 10s"),
            ("11s", "1ms to 10s"),
            ("soon", "a duration such as 15s"),
        ] {
            let run = agentctl(&[command, NO_PID, &format!("--freeze={limit}")]);
            assert_eq!((run.status, run.out.as_str()), (2, ""), "{limit}");
            assert!(run.err.contains(says), "{}", run.err);
        }
    }
    // What was saved stands still already.
    let example = sample("example.json");
    for command in ["ps", "pstree"] {
        let run = agentctl(&[command, "--from", &example, "--freeze"]);
        assert_eq!((run.status, run.out.as_str()), (2, ""));
        assert!(run.err.contains("cannot be used with"), "{}", run.err);
    }
}

#[test]
fn help_is_for_newcomers() {
    let help = agentctl(&["--help"]);
    assert_eq!((help.status, help.err.as_str()), (0, ""));
    for part in [
        "ps",
        "pstree",
        "snapshot",
        "Examples:",
        "Exit status:",
        "sudo",
    ] {
        assert!(help.out.contains(part), "{part}");
    }
    for view in ["ps", "pstree", "snapshot", "trace"] {
        let help = agentctl(&[view, "--help"]);
        let same = agentctl(&["help", view]);
        assert_eq!((same.status, &same.out), (0, &help.out));
        // Saving a snapshot says nothing of cycles.
        let says_cycles = help
            .out
            .contains("  1  tasks wait for each other in a cycle");
        assert_eq!(says_cycles, view != "snapshot");
        assert_eq!((help.status, help.err.as_str()), (0, ""));
        for part in ["Examples:", "Exit status:", "PID"] {
            assert!(help.out.contains(part), "{view} {part}");
        }
        assert!(help.out.lines().all(|line| line.chars().count() <= 100));
    }
    let version = agentctl(&["--version"]);
    assert_eq!(
        version.out,
        format!("agentctl {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn where_to_send_traces_is_checked_first() {
    let trace = |args: &[&str], variables: &[(&str, &str)], expected: Expect| {
        let args = [&["trace", NO_PID], args].concat();
        let mut command = command(&args);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
            command.env_remove(name);
        }
        let run = run_of(command.envs(variables.iter().copied()));
        expected.assert_eq(&run.err);
        assert_eq!((run.status, run.out.as_str()), (2, ""));
    };
    trace(
        &["--otlp", "localhost:4317", "--timeout", "5"],
        &[],
        expect![[r#"
            agentctl: --otlp: no http:// or https:// in front, expected one such as http://localhost:4317
            agentctl: --timeout: "5" has no unit: write 5s for seconds, 5ms for milliseconds, expected a duration such as 15s, 500ms or 1m30s
        "#]],
    );
    trace(
        &["--otlp"],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1/x"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon\n"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ],
        expect![[r#"
            agentctl: OTEL_EXPORTER_OTLP_PROTOCOL: <hidden>, expected grpc or http/protobuf
            agentctl: OTEL_EXPORTER_OTLP_ENDPOINT: grpc has no paths, expected one such as http://localhost:4317
            agentctl: OTEL_EXPORTER_OTLP_HEADERS: an entry without =, expected name=value,name=value
        "#]],
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.yaml");
    fs::write(&path, "exporters: {otlp: {enabled: false}}\n").unwrap();
    let run = agentctl(&["trace", NO_PID, "--config", path.to_str().unwrap()]);
    assert_eq!(run.status, 2);
    assert!(
        run.err.contains("has no section exporters.otlp"),
        "{}",
        run.err
    );
    let mut run = command(&["trace", NO_PID, "--otlp"]);
    let run = run_of(run.env("OTEL_EXPORTER_OTLP_CERTIFICATE", "none.pem"));
    assert_eq!(run.status, 2);
    assert!(run.err.contains("none.pem: "), "{}", run.err);
    let run = agentctl(&["trace", NO_PID, "--print", "--for", "1d"]);
    assert_eq!(run.status, 2);
    assert!(run.err.contains("100ms to 1h"), "{}", run.err);
    let run = agentctl(&["trace", NO_PID]);
    assert!(
        run.err.contains("--otlp") && run.err.contains("--print"),
        "{}",
        run.err
    );
    let run = agentctl(&["trace", NO_PID, "--print"]);
    assert_eq!(run.status, 3, "{}", run.err);
}

#[test]
fn pages_are_printed() {
    let schema = agentctl(&["schema"]);
    assert_eq!(schema.out, asyncio_agent::protocol::SNAPSHOT_SCHEMA);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = agentctl(&["completions", shell]);
        assert_eq!(script.status, 0);
        assert!(script.out.contains("pstree"), "{shell}");
        let script = agentctl(&["completions", shell, "asyncio-agent"]);
        assert!(script.out.contains("log-level"), "{shell}");
    }
    let man = agentctl(&["man"]);
    assert!(man.out.contains(".TH agentctl 1") && man.out.contains("Exit status:"));
    let man = agentctl(&["man", "pstree"]);
    assert!(man.out.contains(".TH agentctl-pstree 1"), "{}", man.out);
    let man = agentctl(&["man", "config-check"]);
    assert!(man.out.contains("agentctl config check"), "{}", man.out);
    let man = agentctl(&["man", "asyncio-agent"]);
    assert!(man.out.contains(".TH asyncio-agent 8"), "{}", man.out);
}

#[test]
fn bad_files_are_told_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.json");
    let name = path.to_str().unwrap();
    let answer = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        let run = agentctl(&["ps", "--from", name]);
        assert_eq!((run.status, run.out.as_str()), (7, ""));
        run.err.replace(name, "bad.json")
    };
    expect![[r#"
        agentctl: bad.json:2:15: threads[0].tasks[0].task_id: invalid type: null, expected an id: a string such as "0x7f12ab" or "123", or a whole number from 0
          hint: 'agentctl schema' prints the form of a snapshot file
    "#]]
    .assert_eq(&answer(b"{\"threads\":[{\"tasks\":[\n{\"task_id\":null}]}]}"));
    expect![[r#"
        agentctl: bad.json: empty; expected a JSON object with "threads"
          hint: 'agentctl schema' prints the form of a snapshot file
    "#]]
    .assert_eq(&answer(b""));
    expect![[r#"
        agentctl: bad.json:1:2: not UTF-8 text
    "#]]
    .assert_eq(&answer(b"\"\xff\""));
    // Escapes of the file do not reach the terminal.
    assert!(!answer(b"{\"\\u001b[31m\": [").contains('\u{1b}'));
    File::create(&path).unwrap().set_len((1 << 30) + 1).unwrap();
    let run = agentctl(&["pstree", "--from", name]);
    assert_eq!((run.status, run.out.as_str()), (7, ""));
    expect![[r#"
        agentctl: bad.json: larger than 1024 MiB, the most that is read
    "#]]
    .assert_eq(&run.err.replace(name, "bad.json"));
}

#[test]
fn files_that_cannot_be_opened() {
    check_failure(
        &["ps", "--from", "no/such.json"],
        7,
        expect![[r#"
            agentctl: cannot read no/such.json: No such file or directory (os error 2)
        "#]],
    );
    check_failure(
        &["ps", "--from", "/"],
        7,
        expect![[r#"
            agentctl: cannot read /: Is a directory (os error 21)
        "#]],
    );
    let run = agentctl_reading(&["ps", "--from", "-"], b"[]");
    assert_eq!(run.status, 7);
    assert!(
        run.err
            .starts_with("agentctl: <stdin>:1:1: invalid type: array")
    );
}

#[test]
fn a_process_that_is_not_there() {
    for view in ["ps", "pstree", "snapshot"] {
        let run = agentctl(&[view, NO_PID]);
        assert_eq!((run.status, run.out.as_str()), (3, ""));
        assert!(
            run.err
                .starts_with("agentctl: no process 2147483647\n  hint: ")
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.json");
    fs::write(&path, "kept").unwrap();
    let run = agentctl(&["snapshot", NO_PID, "-o", path.to_str().unwrap()]);
    assert_eq!(run.status, 3);
    assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
}

#[test]
fn a_process_that_is_not_python() {
    let mut sleep = Command::new("sleep").arg("60").spawn().unwrap();
    let run = agentctl(&["ps", &sleep.id().to_string()]);
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    assert_eq!((run.status, run.out.as_str()), (5, ""), "{}", run.err);
    assert!(run.err.contains("\n  hint: "), "{}", run.err);
}

#[test]
fn a_process_of_somebody_else() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let folder = tempfile::tempdir().unwrap();
    let mut command = if is_root {
        // Anybody may run this copy; the original may lie in a folder of root's own.
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let copy = folder.path().join("agentctl");
        fs::copy(BINARY, &copy).unwrap();
        let mut command = Command::new(copy);
        command.uid(65534).gid(65534).current_dir("/");
        command
    } else {
        Command::new(BINARY)
    };
    let run = run_of(command.args(["ps", "1"]).stdin(Stdio::null()));
    assert_eq!((run.status, run.out.as_str()), (4, ""), "{}", run.err);
    assert!(run.err.contains("permission denied"), "{}", run.err);
    assert!(run.err.contains("sudo"), "{}", run.err);
}

/// A snapshot whose views do not fit into a pipe's buffer.
fn large_snapshot(folder: &Path) -> PathBuf {
    let path = folder.join("large.json");
    let tasks: Vec<_> = (1..9000)
        .map(|id| format!("{{\"task_id\": {id}, \"task_name\": \"{id} with a long name\"}}"))
        .collect();
    let text = format!("{{\"threads\": [{{\"tasks\": [{}]}}]}}", tasks.join(","));
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let large = large_snapshot(folder.path());
    for view in [
        ["ps", "--style=agent"],
        ["ps", "--style=cpython"],
        ["ps", "--format=csv"],
        ["ps", "--format=json"],
        ["pstree", "--style=classic"],
    ] {
        let mut child = command(&[view[0], view[1], "--from", large.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 10]).unwrap();
        drop(out);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{view:?}");
        assert_eq!(output.stderr, b"", "{view:?}");
    }
}

#[test]
fn a_closed_standard_error_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let partial = sample("partial.json");
    let status = command(&["ps", "--from", &partial])
        .stdout(Stdio::null())
        .stderr(writer.try_clone().unwrap())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    let status = command(&["ps", NO_PID]).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(3));
}

#[test]
fn a_full_disk_is_an_error() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for view in ["ps", "pstree"] {
        let run = run_of(command(&[view, "--from", &sample("example.json")]).stdout(full()));
        assert_eq!(run.status, 7);
        expect![[r#"
            agentctl: cannot write standard output: No space left on device (os error 28)
        "#]]
        .assert_eq(&run.err);
    }
    assert_eq!(run_of(command(&["schema"]).stdout(full())).status, 7);
}

#[test]
fn colours_follow_the_terminal_and_the_environment() {
    let example = sample("example.json");
    let is_coloured = |run: Run| run.out.contains("\u{1b}[");
    let always = ["pstree", "--from", &example, "--color=always"];
    assert!(is_coloured(agentctl(&always)));
    assert!(is_coloured(run_of(command(&always).env("NO_COLOR", "1"))));
    // `script` runs a command on a terminal of its own.
    let on_terminal = |color: &str, no_color: Option<&str>| {
        let mut script = Command::new("script");
        let line = format!("'{BINARY}' pstree --from '{example}' --color={color}");
        script
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null());
        script.envs(no_color.map(|value| ("NO_COLOR", value)));
        let run = run_of(&mut script);
        assert!(run.out.contains("Sundowning"), "{} {}", run.out, run.err);
        is_coloured(run)
    };
    assert!(on_terminal("auto", None));
    assert!(on_terminal("auto", Some("")));
    assert!(!on_terminal("auto", Some("1")));
    assert!(!on_terminal("never", None));
}
