//! `agentctl config`: what it prints, and its exit status.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its end")]
#![cfg(feature = "cli")]

use asyncio_agent::config::{self, Settings};
use std::fs;
use std::process::{Command, Stdio};

/// Exit status, standard output and standard error, the folder's path left out of both.
fn run(folder: &tempfile::TempDir, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_agentctl"))
        .args(args)
        .current_dir(folder.path())
        .env("AGENT_TEST_PORT", "8123")
        .env("AGENT_TEST_TOKEN", "hunter2")
        .env_remove("AGENT_TEST_UNSET")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn the_defaults_are_the_shipped_file() {
    let folder = folder(&[]);
    let (status, out, err) = run(&folder, &["config", "defaults"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert_eq!(out, include_str!("../config/agent.yaml"));
    let (status, out, err) = run(&folder, &["config", "show"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert_eq!(config::parse("shown", &out), Ok(Settings::default()));
}

#[test]
fn a_configuration_is_checked() {
    let folder = folder(&[
        ("good.yaml", "targets: [{name: a, match: {pid: 1}}]\n"),
        ("bad.yaml", "web: {listen: nowhere}\nlimits: {rounds: 0}\n"),
        ("with.yaml", "web: {config_file: web.yaml}\n"),
        ("web.yaml", "basic_auth: {}\n"),
    ]);
    let checked = |file| run(&folder, &["config", "check", file]);
    let nothing = String::new();
    assert_eq!(
        checked("good.yaml"),
        (0, "good.yaml: ok, 1 target\n".to_owned(), nothing)
    );
    let (status, out, err) = checked("bad.yaml");
    assert_eq!((status, out.as_str()), (2, ""));
    expect_test::expect![[r#"
        bad.yaml:1:15: web.listen: "nowhere" is not an address to listen on, expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'
            web: {listen: nowhere}
                          ^
        bad.yaml:2:18: limits.rounds: "0", expected a whole number from 1 to 64
            limits: {rounds: 0}
                             ^
        agentctl: bad.yaml cannot be used: 2 problems
    "#]]
    .assert_eq(&err);
    let (status, _, err) = checked("with.yaml");
    assert_eq!(status, 2);
    assert!(
        err.starts_with("web.yaml:1:1: basic_auth: unknown key"),
        "{err}"
    );
    let (status, _, err) = checked("missing.yaml");
    assert_eq!(status, 2);
    let expected = "agentctl: cannot read missing.yaml: No such file or directory (os error 2)\n";
    assert_eq!(err, expected);
}

#[test]
fn what_is_in_effect_is_shown_without_secrets() {
    let folder = folder(&[(
        "agent.yaml",
        "web: {listen: '127.0.0.1:${AGENT_TEST_PORT}'}
exporters:
  otlp: {headers: {authorization: 'Bearer ${AGENT_TEST_TOKEN}'}, headers_file: {x: token}}
",
    )]);
    let (status, out, err) = run(&folder, &["config", "show", "--config", "agent.yaml"]);
    assert_eq!((status, err.as_str()), (0, ""));
    for shown in [
        "- 127.0.0.1:8123\n",
        "authorization: <hidden>\n",
        "x: token\n",
        "scan_time: 2s",
    ] {
        assert!(out.contains(shown), "{shown:?} in\n{out}");
    }
    assert!(!out.contains("hunter2"));
    let unset = "web: {listen: '${AGENT_TEST_UNSET}'}\n";
    fs::write(folder.path().join("agent.yaml"), unset).unwrap();
    let (status, out, err) = run(&folder, &["config", "show", "--config", "agent.yaml"]);
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(
        err.contains("the environment variable AGENT_TEST_UNSET is not set"),
        "{err}"
    );
}
