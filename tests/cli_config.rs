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
    let says = "agentctl: the defaults; with --config FILE what that file makes of them\n";
    assert_eq!((status, err.as_str()), (0, says));
    assert_eq!(config::parse("shown", &out), Ok(Settings::default()));
}

#[cfg(feature = "agent")]
#[test]
fn what_only_the_service_has_is_not_checked() {
    let token = "/run/credentials/asyncio-agent.service/token";
    let config = |token: &str| {
        format!(
            "exporters: {{otlp: {{endpoint: 'http://localhost:4317', headers_file: {{authorization: {token}}}}}}}\n\
             targets: []\n"
        )
    };
    let folder = folder(&[
        ("good.yaml", &config(token)),
        ("bad.yaml", &config("/nowhere/token")),
    ]);
    let (status, out, err) = run(&folder, &["config", "check", "good.yaml"]);
    let says = format!(
        "agentctl: {token} and what else is secret is not checked: only the service has it\n"
    );
    assert_eq!(
        (status, &*out, err),
        (0, "good.yaml: ok, 0 targets\n", says)
    );
    let (status, out, err) = run(&folder, &["config", "check", "bad.yaml"]);
    assert_eq!((status, &*out), (2, ""));
    assert!(err.contains("/nowhere/token"), "{err}");
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
        bad.yaml:1:15: web.listen: <hidden> is not an address to listen on, expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'
            web: {listen: <hidden>
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
            "./text",
            "own.key",
            String::new(),
            "1:32: tls_server_config.cert_file",
            "\"./text\": no certificate in it",
        ),
        (
            "own.crt",
            "own.key",
            format!("{ca}./text"),
            "1:122: tls_server_config.client_ca_file",
            "\"./text\": no cert",
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
                tls: {ca_file: <hidden>
                               ^
        agent.yaml:5:39: exporters.otlp.tls.cert_file: "none.crt": No such file or directory (os error 2), expected a PEM file with certificates (-----BEGIN CERTIFICATE-----)
                tls: {ca_file: <hidden>
                               ^
        agent.yaml:5:59: exporters.otlp.tls.key_file: "none.key": No such file or directory (os error 2), expected a PEM file with a private key (-----BEGIN PRIVATE KEY-----)
                tls: {ca_file: <hidden>
                               ^
        agent.yaml:6:23: exporters.otlp.headers_file.x: the file that it names (not shown, as it may be a secret): No such file or directory (os error 2), expected a file with the value of the header, one line of ASCII
                headers_file: {<hidden>
                               ^
        web.yaml:1:1: basic_auth: unknown key, expected one of: tls_server_config, basic_auth_users
            <hidden>
            ^
        web.yaml:3:14: tls_server_config.cert_file: "a.crt": No such file or directory (os error 2), expected a PEM file with certificates (-----BEGIN CERTIFICATE-----)
              cert_file: <hidden>
                         ^
        web.yaml:4:13: tls_server_config.key_file: "a.key": No such file or directory (os error 2), expected a PEM file with a private key (-----BEGIN PRIVATE KEY-----)
              key_file: <hidden>
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
            web: {config_file: <hidden>
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
                tls("./text", "own.crt", "own.key"),
                "tls.ca_file",
                "\"./text\": no certificate in it",
            ),
            (
                tls("own.crt", "./text", "own.key"),
                "tls.cert_file",
                "\"./text\": no certificate in it",
            ),
            (
                tls("own.crt", "own.crt", "./text"),
                "tls.key_file",
                "\"./text\": no private key in it",
            ),
            (
                check("headers_file: {x: ./none}"),
                "headers_file.x",
                "\"./none\": No such file",
            ),
            (
                check("headers_file: {x: ./token}"),
                "headers_file.x",
                "\"./token\": it has characters that no header may have",
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

/// Secrets in places where none belong, which their problem is about: it has its place and its path, and tells nothing of
/// them, in its line neither.
#[test]
fn problems_tell_no_secrets() {
    let long = "u".repeat(95);
    let otlp = |what: &str| format!("exporters: {{otlp: {{{what}}}}}\n");
    for (config, place) in [
        (
            otlp("headers_file: {authorization: Bearer hunter2}"),
            "1:50: exporters.otlp.headers_file.authorization",
        ),
        (
            otlp("headers_file: {x: hunter2}"),
            "1:38: exporters.otlp.headers_file.x",
        ),
        (
            otlp("headers_file: 'Authorization=hunter2'"),
            "1:34: exporters.otlp.headers_file",
        ),
        (otlp("headers_file: 4711"), "1:34: exporters.otlp.headers_file"),
        (otlp("headers: {'x: hunter2': y}"), "1:30: exporters.otlp.headers.x:<hidden>"),
        (
            otlp("tls: {key_file: \"-----BEGIN PRIVATE KEY-----\\nhunter2\\n\"}"),
            "1:36: exporters.otlp.tls.key_file",
        ),
        (
            "exporters:\n  otlp:\n    tls:\n      key_file: |\n        -----BEGIN PRIVATE KEY-----\n        hunter2\n"
                .to_owned(),
            "4:17: exporters.otlp.tls.key_file",
        ),
        (otlp("tls: hunter2"), "1:25: exporters.otlp.tls"),
        (
            format!("{}\n", "exporters: {otlp: 'http://user:hunter2@host'}"),
            "1:19: exporters.otlp",
        ),
        (
            otlp(&format!("protocol: 'http://{long}:hunter2@host'")),
            "1:30: exporters.otlp.protocol",
        ),
        (otlp("timeout: Bearer hunter2"), "1:29: exporters.otlp.timeout"),
        ("exporters: hunter2\n".to_owned(), "1:12: exporters"),
        ("web: {config_file: hunter2}\n".to_owned(), "1:20: web.config_file"),
        ("web: {listen: 'https://eva:hunter2@host'}\n".to_owned(), "1:15: web.listen"),
        (
            "exporters:\n  otlp:\n    headers:\n    x-key: hunter2\n".to_owned(),
            "4:5: exporters.otlp.x-key: unknown key",
        ),
    ] {
        let folder = folder(&[]);
        let (status, out, err) = checked(&folder, &config, "");
        assert_eq!((status, out.as_str()), (2, ""), "{config}");
        assert!(err.contains(&format!("agent.yaml:{place}")), "{config}{err}");
        assert!(!err.contains("hunter2") && !err.contains("4711"), "{config}{err}");
    }
}

#[test]
fn problems_of_the_file_for_the_server_tell_no_secrets() {
    let named = "web: {config_file: web.yaml}\n";
    for (web, place) in [
        (
            "basic_auth_users: {'eva:hunter2': x}\n",
            "1:20: basic_auth_users.eva:<hidden>: no user name",
        ),
        ("basic_auth_users:\neva: hunter2\n", "2:1: eva: unknown key"),
        ("basic_auth_users: hunter2\n", "1:19: basic_auth_users"),
        ("tls_server_config: hunter2\n", "1:20: tls_server_config"),
        (
            "tls_server_config: {key_file: hunter2, cert_file: hunter2}\n",
            "1:31: tls_server_config.key_file",
        ),
        ("hunter2\n", "1:1: a text, expected"),
        ("eva:hunter2\n", "1:1: a text, expected"),
    ] {
        let folder = folder(&[]);
        let (status, _, err) = checked(&folder, named, web);
        assert_eq!(status, 2, "{web}");
        assert!(err.contains(&format!("web.yaml:{place}")), "{web}{err}");
        assert!(!err.contains("hunter2"), "{web}{err}");
    }
}

/// What is below `otlp` or beside it, and where which problem is told.
const MISTYPED: [(&str, &str); 15] = [
    (
        "    headers:\n\tx-team: hunter2",
        "agent.yaml:5:1: not valid",
    ),
    (
        "    metrics: {endpoint: 'eva:hunter2@collector:4318'}",
        "agent.yaml:4:25: exporters.otlp.metrics.endpoint",
    ),
    (
        "    x-team: hunter2",
        "agent.yaml:4:5: exporters.otlp.x-team: unknown",
    ),
    (
        "    headers\n      x-team: hunter2",
        "agent.yaml:5:13: not valid",
    ),
    (
        "    spans: {endpoint: 'http://h/v1?key=hunter2'}",
        "agent.yaml:4:23: exporters.otlp.spans.endpoint",
    ),
    (
        "    hedaers: hunter2",
        "agent.yaml:4:5: exporters.otlp.hedaers",
    ),
    (
        "    tls: {key: hunter2}",
        "agent.yaml:4:11: exporters.otlp.tls.key",
    ),
    ("    headers = {k: hunter2}", "agent.yaml:4:"),
    (
        "    headers:\n      a: b\n     x: hunter2",
        "agent.yaml:6:6: not valid",
    ),
    (
        "    ? headers\n    : {k: [hunter2]}",
        "agent.yaml:5:11: exporters.otlp.headers.k",
    ),
    (
        "    \"head\\x65rs\": {k: [hunter2]}",
        "agent.yaml:4:23: exporters.otlp.headers.k",
    ),
    (
        "    headers: {\"Authorization hunter2\": a}",
        "agent.yaml:4:15: exporters.otlp.headers.Authorization <hidden>",
    ),
    (
        "    protocol: hunter2",
        "agent.yaml:4:15: exporters.otlp.protocol",
    ),
    (
        "    protocol: ${NONE:-hunter2}",
        "agent.yaml:4:15: exporters.otlp.protocol: <hidden>, expected grpc",
    ),
    ("headers: {a: hunter2}", "agent.yaml:4:1: headers: unknown"),
];
/// The same of whole files.
const MISTYPED_FILES: [(&str, &str); 2] = [
    ("web: {auth: hunter2}\n", "agent.yaml:1:7: web.auth"),
    (
        "limits: {otlp: {headers: {a: hunter2}}}\n",
        "agent.yaml:1:10: limits.otlp",
    ),
];
/// The same of the web file.
const MISTYPED_WEB_FILES: [(&str, &str); 5] = [
    (
        "basic_auth_usres: {eva: hunter2}\n",
        "web.yaml:1:1: basic_auth_usres",
    ),
    (
        "basic_auth_users\n  eva: hunter2\n",
        "web.yaml:2:6: not valid",
    ),
    ("eva: hunter2\n", "web.yaml:1:1: eva: unknown"),
    (
        "root:$y$j9T$hunter2:20228:0:99999:7:::\n",
        "web.yaml:1:1: root:<hidden>",
    ),
    (
        "basic_auth_users: {\"eva:hunter2\": x}\n",
        "web.yaml:1:20: basic_auth_users.eva:<hidden>",
    ),
];

/// Whatever is mistyped: what stands where secrets belong, or may have been meant to, is not shown.
#[test]
fn mistyped_configurations_tell_no_secrets() {
    let otlp = |what: &str| format!("exporters:\n  otlp:\n    endpoint: http://h:4318\n{what}\n");
    let below = MISTYPED.iter().map(|(what, place)| (otlp(what), "", place));
    let whole = MISTYPED_FILES.iter();
    let whole = whole.map(|(config, place)| ((*config).to_owned(), "", place));
    let named = "web: {config_file: web.yaml}\n";
    let webs = MISTYPED_WEB_FILES.iter();
    let webs = webs.map(|(web, place)| (named.to_owned(), *web, place));
    for (config, web, place) in below.chain(whole).chain(webs) {
        let folder = folder(&[]);
        let (status, out, err) = checked(&folder, &config, web);
        assert_eq!((status, out.as_str()), (2, ""), "{config}{web}");
        assert!(err.contains(place), "{config}{web}{err}");
        assert!(!err.contains("hunter2"), "{config}{web}{err}");
    }
}

#[test]
fn groups_that_are_numbers_or_the_units_own_are_told() {
    for (group, status, told) in [
        (
            "103",
            2,
            "control.group: \"103\", expected the name of a group, no number",
        ),
        (
            "'103'",
            2,
            "control.group: \"103\", expected the name of a group, no number",
        ),
        ("asyncio-agent", 0, "keeps the systemd unit from starting"),
    ] {
        let control = format!("control: {{group: {group}}}\n");
        let folder = folder(&[("agent.yaml", &control)]);
        let (ended, _, err) = run(&folder, &["config", "check", "agent.yaml"]);
        assert_eq!(ended, status, "{err}");
        assert!(err.contains(told), "{err}");
    }
}
