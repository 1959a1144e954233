//! The file of `web.config_file`: TLS and users.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its end")]
#![cfg(feature = "agent")]
#![expect(
    clippy::too_many_lines,
    reason = "most of them are the texts compared with"
)]

use asyncio_agent::config::{self, ClientAuth, Secret, Surroundings, TlsVersion};
use expect_test::{Expect, expect};
use std::path::{Path, PathBuf};

#[test]
fn web_files() {
    let read = |text: &str| {
        let surroundings = Surroundings {
            variables: &|_| None,
            base: Some(Path::new("/etc/agent")),
            files: None,
        };
        config::parse_web_file(surroundings, "web.yaml", text)
    };
    let hash = "$2y$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234";
    let file = read(&format!(
        "tls_server_config:
  {{cert_file: a.pem, key_file: /b.pem, client_ca_file: c, client_auth_type: RequireAndVerifyClientCert,
   min_version: TLS13}}
basic_auth_users: {{alice: {hash}}}
"
    ))
    .unwrap();
    let tls = file.tls.unwrap();
    assert_eq!(tls.cert_file, PathBuf::from("/etc/agent/a.pem"));
    assert_eq!(tls.key_file, PathBuf::from("/b.pem"));
    assert_eq!(tls.client_auth, ClientAuth::Require);
    assert_eq!(tls.min_version, TlsVersion::Tls13);
    assert_eq!(file.users["alice"], Secret::Inline(hash.to_owned()));
    let bad = |text: &str, expected: &Expect| {
        let error = read(text).expect_err("it was accepted").to_string();
        expected.assert_eq(&(error + "\n"));
    };
    bad(
        &format!(
            "tls_server_config: {{client_auth_type: RequireAndVerifyClientCert, min_version: TLS10}}
basic_auth_users: {{a: secret, 'b:c': {hash}, d: 7, e: {}, e: x}}
rate_limit: {{}}
",
            hash.replace("$10$", "$31$")
        ),
        &expect![[r#"
            web.yaml:1:20: tls_server_config.cert_file: missing, expected the path of a PEM file
                tls_server_config: {client_auth_type: RequireAndVerifyClientCert, min_version: TLS10}
                                   ^
            web.yaml:1:20: tls_server_config.key_file: missing, expected the path of a PEM file
                tls_server_config: {client_auth_type: RequireAndVerifyClientCert, min_version: TLS10}
                                   ^
            web.yaml:1:20: tls_server_config.client_ca_file: missing, expected the authorities of clients, as client_auth_type requires certificates
                tls_server_config: {client_auth_type: RequireAndVerifyClientCert, min_version: TLS10}
                                   ^
            web.yaml:1:80: tls_server_config.min_version: "TLS10", expected TLS12 or TLS13
                tls_server_config: {client_auth_type: RequireAndVerifyClientCert, min_version: TLS10}
                                                                                               ^
            web.yaml:2:23: basic_auth_users.a: not a bcrypt hash, expected one such as `htpasswd -nBC 10 USER` prints after the colon
                basic_auth_users: {<hidden>
                                   ^
            web.yaml:2:31: basic_auth_users.b:<hidden>: no user name, expected one without a colon
                basic_auth_users: {<hidden>
                                   ^
            web.yaml:2:103: basic_auth_users.d: a number, expected a text: put it in quotes
                basic_auth_users: {<hidden>
                                   ^
            web.yaml:2:109: basic_auth_users.e: its cost is out of range, expected 04 to 16, such as 10
                basic_auth_users: {<hidden>
                                   ^
            web.yaml:2:171: basic_auth_users.e: duplicate key, expected it once
                basic_auth_users: {<hidden>
                                   ^
            web.yaml:3:1: rate_limit: unknown key, expected one of: tls_server_config, basic_auth_users
                <hidden>
                ^
        "#]],
    );
    // It would keep nobody out.
    bad(
        "",
        &expect![[r#"
            web.yaml:1:1: nothing, expected tls_server_config or basic_auth_users with at least one user: without a file, leave out web.config_file
        "#]],
    );
    bad(
        "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c, min_version: TLS13, max_version: TLS12}
basic_auth_users: [a]
",
        &expect![[r#"
            web.yaml:1:20: tls_server_config.client_auth_type: missing, expected RequireAndVerifyClientCert, as client_ca_file has no effect otherwise
                tls_server_config: {cert_file: <hidden>
                                   ^
            web.yaml:1:20: tls_server_config: min_version is newer than max_version, expected at least one version between
                tls_server_config: {cert_file: <hidden>
                                   ^
            web.yaml:2:19: basic_auth_users: a list, expected a map from user names to bcrypt hashes
                basic_auth_users: [<hidden>
                                  ^
        "#]],
    );
}
