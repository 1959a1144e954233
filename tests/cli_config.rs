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

/// A certificate and its key, and those of somebody else.
fn with_certificates(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = folder(files);
    for name in ["own", "other"] {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let write = |kind, text: String| {
            fs::write(folder.path().join(format!("{name}.{kind}")), text).unwrap();
        };
        write("crt", made.cert.pem());
        write("key", made.signing_key.serialize_pem());
    }
    fs::write(folder.path().join("token"), "a\u{7}b").unwrap();
    fs::write(folder.path().join("text"), "no certificate\n").unwrap();
    folder
}

/// What checking a configuration, and the file of `web.config_file`, gives.
fn checked(folder: &tempfile::TempDir, settings: &str, web: &str) -> (i32, String, String) {
    fs::write(folder.path().join("agent.yaml"), settings).unwrap();
    fs::write(folder.path().join("web.yaml"), web).unwrap();
    run(folder, &["config", "check", "agent.yaml"])
}

fn assert_good((status, out, err): (i32, String, String)) {
    let expected = (0, "agent.yaml: ok, 1 target\n", "");
    assert_eq!((status, out.as_str(), err.as_str()), expected);
}

fn assert_bad((status, out, err): (i32, String, String), why: &str) {
    assert_eq!((status, out.as_str()), (2, ""), "{why}");
    let expected = format!("agentctl: agent.yaml cannot be used: {why}");
    assert!(err.starts_with(&expected), "{expected}\n{err}");
    assert!(err.lines().count() == 1 && !err.contains('\u{7}'), "{err}");
}

#[test]
#[cfg(feature = "agent")]
fn the_files_of_the_server_are_checked_as_a_start_would() {
    let folder = with_certificates(&[]);
    let check = |cert: &str, key: &str, more: &str| {
        let tls = format!("tls_server_config: {{cert_file: {cert}, key_file: {key}{more}}}\n");
        checked(&folder, "web: {config_file: web.yaml}\n", &tls)
    };
    let ca = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ";
    assert_good(check("own.crt", "own.key", ""));
    assert_good(check("own.crt", "own.key", &format!("{ca}other.crt")));
    for (cert, key, more, place, why) in [
        (
            "none.crt",
            "own.key",
            String::new(),
            "1:32: tls_server_config.cert_file",
            "\"none.crt\": No such file",
        ),
        (
            "own.crt",
            "none.key",
            String::new(),
            "1:51: tls_server_config.key_file",
            "\"none.key\": No such file",
        ),
        (
            "text",
            "own.key",
            String::new(),
            "1:32: tls_server_config.cert_file",
            "\"text\": no certificate in it",
        ),
        (
            "own.crt",
            "own.key",
            format!("{ca}text"),
            "1:122: tls_server_config.client_ca_file",
            "\"text\": no cert",
        ),
    ] {
        assert_told(check(cert, key, &more), &format!("web.yaml:{place}: {why}"));
    }
    let why = "web.config_file: tls_server_config: cert_file and key_file: ";
    assert_bad(check("own.crt", "other.key", ""), why);
}

/// One problem, told with its place and what was expected.
fn assert_told((status, out, err): (i32, String, String), what: &str) {
    assert_eq!((status, out.as_str()), (2, ""), "{what}");
    assert!(
        err.starts_with(what) && err.contains(", expected a "),
        "{what}\n{err}"
    );
    assert!(err.ends_with(".yaml cannot be used: 1 problem\n"), "{err}");
}

#[test]
fn all_that_is_wrong_with_files_is_told_with_everything_else() {
    let folder = folder(&[
        (
            "agent.yaml",
            "web: {config_file: web.yaml}
limits: {rounds: 0}
exporters:
  otlp:
    tls: {ca_file: ca.pem, cert_file: none.crt, key_file: none.key}
    headers_file: {x: none}
",
        ),
        (
            "web.yaml",
            "basic_auth: {}\ntls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n",
        ),
        ("ca.pem", "nothing\n"),
    ]);
    let (status, out, err) = run(&folder, &["config", "check", "agent.yaml"]);
    assert_eq!((status, out.as_str()), (2, ""));
    expect_test::expect![[r#"
        agent.yaml:2:18: limits.rounds: "0", expected a whole number from 1 to 64
            limits: {rounds: 0}
                             ^
        agent.yaml:5:20: exporters.otlp.tls.ca_file: "ca.pem": no certificate in it, expected a PEM file with certificates (-----BEGIN CERTIFICATE-----)
                tls: {ca_file: ca.pem, cert_file: none.crt, key_file: none.key}
                               ^
        agent.yaml:5:39: exporters.otlp.tls.cert_file: "none.crt": No such file or directory (os error 2), expected a PEM file with certificates (-----BEGIN CERTIFICATE-----)
                tls: {ca_file: ca.pem, cert_file: none.crt, key_file: none.key}
                                                  ^
        agent.yaml:5:59: exporters.otlp.tls.key_file: "none.key": No such file or directory (os error 2), expected a PEM file with a private key (-----BEGIN PRIVATE KEY-----)
                tls: {ca_file: ca.pem, cert_file: none.crt, key_file: none.key}
                                                                      ^
        agent.yaml:6:23: exporters.otlp.headers_file.x: "none": No such file or directory (os error 2), expected a file with the value of the header, one line of ASCII
                headers_file: {x: none}
                                  ^
        web.yaml:1:1: basic_auth: unknown key, expected one of: tls_server_config, basic_auth_users
            basic_auth: {}
            ^
        web.yaml:3:14: tls_server_config.cert_file: "a.crt": No such file or directory (os error 2), expected a PEM file with certificates (-----BEGIN CERTIFICATE-----)
              cert_file: a.crt
                         ^
        web.yaml:4:13: tls_server_config.key_file: "a.key": No such file or directory (os error 2), expected a PEM file with a private key (-----BEGIN PRIVATE KEY-----)
              key_file: a.key
                        ^
        agentctl: agent.yaml cannot be used: 8 problems
    "#]].assert_eq(&err);
    // What is turned off needs no files.
    let off = "exporters: {otlp: {enabled: false, tls: {ca_file: none}}}\n";
    assert_good(checked(&folder, off, ""));
    let (status, _, err) = checked(&folder, "web: {config_file: none.yaml}\n", "");
    assert_eq!(status, 2);
    expect_test::expect![[r#"
        agent.yaml:1:20: web.config_file: "none.yaml": No such file or directory (os error 2), expected a YAML file with tls_server_config or basic_auth_users
            web: {config_file: none.yaml}
                               ^
        agentctl: agent.yaml cannot be used: 1 problem
    "#]].assert_eq(&err);
}

#[test]
#[cfg(feature = "agent")]
fn the_files_of_exporters_are_checked_as_a_start_would() {
    let folder = with_certificates(&[]);
    for protocol in ["grpc", "http/protobuf"] {
        let check = |what: &str| {
            let otlp = format!("exporters: {{otlp: {{protocol: {protocol}, {what}}}}}\n");
            checked(&folder, &otlp, "")
        };
        let tls = |ca: &str, cert: &str, key: &str| {
            check(&format!(
                "tls: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}"
            ))
        };
        assert_good(tls("own.crt", "own.crt", "own.key"));
        for (checked, path, why) in [
            (
                check("tls: {ca_file: none.crt}"),
                "tls.ca_file",
                "\"none.crt\": No such file",
            ),
            (
                tls("text", "own.crt", "own.key"),
                "tls.ca_file",
                "\"text\": no certificate in it",
            ),
            (
                tls("own.crt", "text", "own.key"),
                "tls.cert_file",
                "\"text\": no certificate in it",
            ),
            (
                tls("own.crt", "own.crt", "text"),
                "tls.key_file",
                "\"text\": no private key in it",
            ),
            (
                check("headers_file: {x: none}"),
                "headers_file.x",
                "\"none\": No such file",
            ),
            (
                check("headers_file: {x: token}"),
                "headers_file.x",
                "\"token\": it has characters that no header may have",
            ),
        ] {
            let (_, _, err) = &checked;
            assert!(
                err.contains(&format!(": exporters.otlp.{path}: {why}")),
                "{err}"
            );
            assert!(!err.contains('\u{7}'), "{err}");
            assert_told(checked, "agent.yaml:1:");
        }
    }
}

#[test]
fn users_that_there_are_not_are_told_and_are_no_error() {
    let targets = "targets: [{name: a, match: {user: nobody-has-this-name}}]\n";
    let folder = folder(&[("agent.yaml", targets)]);
    let told = "agentctl: targets[0]: there is no user nobody-has-this-name on this machine; until there \
                is, no process runs as it\n";
    let (status, out, err) = run(&folder, &["config", "check", "agent.yaml"]);
    assert_eq!((status, out.as_str()), (0, "agent.yaml: ok, 1 target\n"));
    assert_eq!(err, told);
    let (status, _, err) = run(&folder, &["targets", "--config", "agent.yaml"]);
    assert_eq!(status, 0);
    assert!(err.starts_with(told), "{err}");
}

#[test]
fn a_group_that_there_is_not_is_told_and_is_no_error() {
    let control = "control: {group: nobody-has-this-name}\ntargets: []\n";
    let folder = folder(&[("agent.yaml", control)]);
    let (status, out, err) = run(&folder, &["config", "check", "agent.yaml"]);
    assert_eq!((status, out.as_str()), (0, "agent.yaml: ok, 0 targets\n"));
    let told = "agentctl: control.group: there is no group nobody-has-this-name on this machine; until there \
                is, root alone may ask for everything\n";
    assert_eq!(err, told);
}
