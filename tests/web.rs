//! What the agent's HTTP interface shows of made-up processes, to whom, and how its configuration is replaced.
#![cfg(feature = "agent")]
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod support;

use asyncio_agent::config::{ClientAuth, Secret, TlsSettings, TlsVersion, WebFile};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::zoo::{Act, Running, Zoo, header, status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

const WEB: &str = "web: {listen: 127.0.0.1:0, reload: true}\ndiscovery: {interval: 20ms}\n";

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn json(answer: &str) -> Value {
    assert_eq!(status(answer), 200, "{answer}");
    assert_eq!(header(answer, "content-type"), Some("application/json"));
    serde_json::from_str(body(answer)).unwrap()
}

/// The value of a series without labels.
fn value(agent: &Running, name: &str) -> f64 {
    let text = agent.get("/metrics");
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[test]
fn a_new_configuration_replaces_the_old_one_whole() {
    let zoo = Zoo::with(&[(10, "web", Act::Chain(3)), (11, "worker", Act::Chain(2))]);
    let target = |name: &str, pid: u32| {
        format!("- {{name: {name}, match: {{pid: {pid}}}, interval: 20ms}}\n")
    };
    let text = format!("{WEB}targets:\n{}", target("web", 10));
    let agent = Running::start_with(&zoo, &text, &WebFile::default());
    let is_up =
        |agent: &Running, name: &str| agent.metric("asyncio_target_up").get(name) == Some(&1.0);
    agent.eventually("web is up", |agent| is_up(agent, "web"));
    let scans = |agent: &Running| {
        let text = agent.get("/metrics");
        let prefix = "asyncio_agent_scans_total{target=\"web\",result=\"ok\"} ";
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(prefix)?.parse::<f64>().ok())
    };
    let before = scans(&agent).unwrap();

    agent.write_config(&format!("{text}{}", target("worker", 11)));
    let answer = agent.post("/-/reload");
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(
        body(&answer),
        "the configuration was read again; changed: targets[1]\n"
    );
    agent.eventually("worker is up", |agent| is_up(agent, "worker"));
    assert!(is_up(&agent, "web"));
    assert!(scans(&agent).unwrap() >= before, "its counters go on");
    assert_eq!(
        value(&agent, "asyncio_agent_config_last_reload_successful"),
        1.0
    );

    agent.write_config("targets: [{nam: x}]\nlimits: {rounds: many}\n");
    let answer = agent.post("/-/reload");
    assert_eq!(status(&answer), 400, "{answer}");
    for problem in ["test:1:12: targets[0].nam:", "test:2:18: limits.rounds:"] {
        assert!(body(&answer).contains(problem), "{answer}");
    }
    agent.eventually("the failure shows", |agent| {
        value(agent, "asyncio_agent_config_last_reload_successful") == 0.0
    });
    assert!(is_up(&agent, "web") && is_up(&agent, "worker"));

    // A signal does the same as a request. The web target is gone, and reloads by request are off.
    let text = text.replace("reload: true", "reload: false");
    agent.write_config(&text.replace("web, match: {pid: 10}", "worker, match: {pid: 11}"));
    agent.reload();
    agent.eventually("web is gone", |agent| {
        let up = agent.metric("asyncio_target_up");
        up.len() == 1 && up["worker"] == 1.0
    });
    assert_eq!(
        value(&agent, "asyncio_agent_config_last_reload_successful"),
        1.0
    );
    assert_eq!(status(&agent.post("/-/reload")), 403);
    assert_eq!(status(&agent.get("/-/reload")), 405);
}

#[test]
fn what_a_running_agent_cannot_change_is_said() {
    let agent = Running::start_with(&Zoo::default(), WEB, &WebFile::default());
    agent.write_config(&WEB.replace("127.0.0.1:0", "127.0.0.1:1"));
    let expected =
        "the configuration was read again; nothing changed; takes a restart: web.listen\n";
    for _ in 0..2 {
        assert_eq!(body(&agent.post("/-/reload")), expected);
    }
}

#[test]
fn what_changes_in_the_file_with_users_and_tls_is_told_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "server");
    certificate(folder.path(), "client");
    for (file, part) in [
        (users(), "basic_auth_users"),
        (tls(folder.path(), ClientAuth::None), "tls_server_config"),
    ] {
        let agent = Running::start_with(&Zoo::default(), WEB, &WebFile::default());
        agent.write_web_file(&file);
        let answer = agent.post("/-/reload");
        let expected =
            format!("the configuration was read again; changed: {part} of web.config_file\n");
        assert_eq!(body(&answer), expected);
    }
}

#[test]
fn targets_and_findings_are_told() {
    let zoo = Zoo::with(&[
        (10, "web", Act::Ring(3)),
        (11, "web", Act::Chain(4)),
        (12, "web", Act::Denied),
    ]);
    let agent = Running::start(
        &zoo,
        "- {name: '<web>', match: {command: web}, interval: 20ms}\n",
    );
    agent.eventually("the cycle is found", |agent| {
        !json(&agent.get("/api/v1/findings"))["findings"]
            .as_array()
            .unwrap()
            .is_empty()
    });
    let findings = json(&agent.get("/api/v1/findings"));
    let finding = &findings["findings"][0];
    assert_eq!(finding["target"], "<web>");
    assert_eq!(finding["pid"], 10);
    assert_eq!(finding["kind"], "await_cycle");
    assert_eq!(finding["tasks"].as_array().unwrap().len(), 3);
    assert!(finding["path"].as_str().unwrap().contains(" -> "));

    let targets = json(&agent.get("/api/v1/targets"));
    let target = &targets["targets"][0];
    assert_eq!(target["up"], false);
    let states: Vec<_> = target["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["state"])
        .collect();
    assert_eq!(states, ["ok", "ok", "failed"]);
    assert_eq!(target["processes"][1]["pending_tasks"], 4);
    assert!(
        target["processes"][2]["error"]
            .as_str()
            .unwrap()
            .contains("/proc/1/maps")
    );

    let tree = agent.get("/api/v1/targets/11/pstree");
    assert_eq!(
        (status(&tree), header(&tree, "content-type")),
        (200, Some("text/plain; charset=utf-8"))
    );
    assert!(body(&tree).contains("Task-3"), "{tree}");
    assert!(body(&agent.get("/api/v1/targets/10/ps")).contains("Task-0"));
    let snapshot = json(&agent.get("/api/v1/targets/11/snapshot"));
    assert_eq!(
        snapshot["threads"][0]["tasks"].as_array().map(Vec::len),
        Some(4)
    );

    let page = agent.get("/");
    assert!(
        page.contains("&lt;web&gt;") && !page.contains("<web>"),
        "{page}"
    );
    assert!(page.contains("Await cycle") && page.contains("/api/v1/targets/10/pstree"));
    for (path, expected) in [
        ("/api/v1/targets/99/ps", 404),
        ("/api/v1/targets/10/rm", 404),
        ("/api/v1/nothing", 404),
        ("/api/v1/targets?x=1", 400),
        ("/api/v1/targets/12/ps", 502),
    ] {
        assert_eq!(status(&agent.get(path)), expected, "{path}");
    }
    assert_eq!(status(&agent.post("/api/v1/targets")), 405);
}

#[test]
fn other_machines_are_shown_no_names() {
    let zoo = Zoo::with(&[(10, "web", Act::Ring(3))]);
    let text =
        "web: {listen: '0.0.0.0:0'}\ntargets: [{name: web, match: {pid: 10}, interval: 20ms}]\n";
    let open = Running::start_with(&zoo, text, &WebFile::default());
    open.eventually("ready", |agent| status(&agent.get("/-/ready")) == 200);
    assert_eq!(status(&open.get("/api/v1/findings")), 403);
    assert_eq!(status(&open.get("/api/v1/targets/10/ps")), 403);
    assert!(!open.get("/").contains("Findings"));
    assert_eq!(status(&open.get("/metrics")), 200);
}

#[test]
fn on_a_loopback_address_programs_can_be_kept_for_users() {
    let zoo = Zoo::with(&[(10, "web", Act::Ring(3))]);
    let text = format!("{WEB}targets: [{{name: web, match: {{pid: 10}}, interval: 20ms}}]\n");
    let kept = text.replace("reload: true", "reload: true, details: users");
    let agent = Running::start_with(&zoo, &text, &WebFile::default());
    agent.eventually("the cycle is found", |agent| {
        agent.get("/").contains("Task-0")
    });
    let internals = [
        "/api/v1/targets",
        "/api/v1/findings",
        "/api/v1/targets/10/ps",
    ];
    let check_kept = |is_kept: bool| {
        let page = agent.get("/");
        assert_eq!(status(&page), 200, "{page}");
        // The target is no secret.
        assert!(page.contains(">web<"), "{page}");
        for shown in ["Task-0", "/api/v1/"] {
            assert_eq!(page.contains(shown), !is_kept, "{shown} {page}");
        }
        for path in internals {
            let answer = agent.get(path);
            assert_eq!(status(&answer) == 403, is_kept, "{path} {answer}");
            assert_eq!(body(&answer).contains("web.details"), is_kept, "{answer}");
        }
        for path in ["/metrics", "/-/healthy", "/-/ready"] {
            assert_eq!(status(&agent.get(path)), 200, "{path}");
        }
        // Pages of others get at nothing, as before.
        assert_eq!(status(&agent.get_from("evil.example", "/metrics")), 403);
    };
    check_kept(false);
    for (text, is_kept) in [(&kept, true), (&text, false), (&kept, true)] {
        agent.write_config(text);
        let answer = agent.post("/-/reload");
        assert!(body(&answer).contains("changed: web.details"), "{answer}");
        check_kept(is_kept);
    }
    // Whoever says who they are is shown everything.
    let closed = Running::start_with(&zoo, &kept, &users());
    let get = |path: &str| {
        closed.exchange(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\n\
             Authorization: Basic YW5uOnNlY3JldA==\r\nConnection: close\r\n\r\n"
        ))
    };
    closed.eventually("it is shown", |_| get("/").contains("Task-0"));
    for path in internals {
        assert_eq!(status(&get(path)), 200, "{path}");
        assert_eq!(status(&closed.get(path)), 401, "{path}");
    }
}

#[test]
fn a_process_that_has_ended_is_not_shown_even_if_its_next_round_is_far_off() {
    let zoo = Zoo::with(&[(10, "web", Act::Ring(3)), (11, "web", Act::Chain(4))]);
    let text = "web: {listen: 127.0.0.1:0}\ndiscovery: {interval: 1h}\n\
                targets: [{name: web, match: {command: web}, interval: 1h, per_process: true}]\n";
    let agent = Running::start_with(&zoo, text, &WebFile::default());
    agent.eventually("ready", |agent| status(&agent.get("/-/ready")) == 200);
    assert!(agent.get("/metrics").contains("pid=\"10\""));
    zoo.remove(10);
    for path in ["/metrics", "/api/v1/targets", "/"] {
        let answer = agent.get(path);
        for shown in ["pid=\"10\"", "\"pid\":10,", "/10/"] {
            assert!(!answer.contains(shown), "{answer}");
        }
    }
    let processes = agent.metric("asyncio_target_processes");
    assert_eq!(processes["web"], 1.0);
    assert_eq!(status(&agent.get("/api/v1/targets/10/ps")), 404);
}

#[test]
fn names_of_others_that_lead_here_are_shown_no_programs() {
    let zoo = Zoo::with(&[(10, "web", Act::Ring(3))]);
    let text =
        "web: {listen: 127.0.0.1:0, reload: true}\ntargets: [{name: web, match: {pid: 10}}]\n";
    let agent = Running::start_with(&zoo, text, &WebFile::default());
    agent.eventually("ready", |agent| status(&agent.get("/-/ready")) == 200);
    let internals = [
        "/",
        "/metrics",
        "/api/v1/targets",
        "/api/v1/findings",
        "/api/v1/targets/10/ps",
    ];
    let port = agent.address.port();
    for path in internals {
        let answer = agent.get_from("evil.example", path);
        assert_eq!(status(&answer), 403, "{path}");
        assert!(
            body(&answer).contains("Host") && !answer.contains("Task-"),
            "{answer}"
        );
        for host in [format!("127.0.0.1:{port}"), "[::1]".to_owned()] {
            assert_eq!(status(&agent.get_from(&host, path)), 200, "{host} {path}");
        }
    }
    let reload = "POST /-/reload HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&agent.exchange(reload)), 403);
    // Whether it runs is for everybody.
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(status(&agent.get_from("evil.example", path)), 200, "{path}");
    }
    // Whoever has to say who they are may call the agent what they like.
    let closed = Running::start_with(&zoo, text, &users());
    let get = "GET /api/v1/targets HTTP/1.1\r\nHost: agent.example\r\n\
               Authorization: Basic YW5uOnNlY3JldA==\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&closed.exchange(get)), 200);
}

#[test]
fn web_pages_do_not_reload() {
    let page = [
        "Origin: http://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
    ];
    for (listen, file) in [
        ("127.0.0.1:0", WebFile::default()),
        ("0.0.0.0:0", WebFile::default()),
        ("0.0.0.0:0", users()),
    ] {
        let text = format!("web: {{listen: '{listen}', reload: true}}\n");
        let agent = Running::start_with(&Zoo::default(), &text, &file);
        let reload = |more: &str| {
            // The browser knows the password.
            let answer = agent.exchange(&format!(
                "POST /-/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n{more}\r\n\
                 Authorization: Basic YW5uOnNlY3JldA==\r\nConnection: close\r\n\r\n"
            ));
            status(&answer)
        };
        for header in page {
            assert_eq!(reload(header), 403, "{listen} {header}");
        }
        assert_eq!(reload("User-Agent: curl/8.5.0"), 200, "{listen}");
    }
}

#[test]
fn other_machines_get_metrics_by_whatever_name() {
    let text = "web: {listen: '0.0.0.0:0'}\n";
    let agent = Running::start_with(&Zoo::default(), text, &WebFile::default());
    for host in ["agent.example:9849", "10.1.2.3", "127.0.0.1"] {
        assert_eq!(status(&agent.get_from(host, "/metrics")), 200, "{host}");
    }
}

fn users() -> WebFile {
    // The lowest cost there is.
    users_at_cost(4)
}

fn users_at_cost(cost: u32) -> WebFile {
    let hash = bcrypt::hash("secret", cost).unwrap();
    WebFile {
        users: [("ann".to_owned(), Secret::Inline(hash))].into(),
        tls: None,
    }
}

#[test]
fn users_need_their_password() {
    let agent = Running::start_with(&Zoo::default(), "web: {listen: '0.0.0.0:0'}\n", &users());
    let get = |authorization: &str| {
        agent.exchange(&format!(
            "GET /api/v1/targets HTTP/1.1\r\nHost: a\r\n{authorization}Connection: close\r\n\r\n"
        ))
    };
    // Probes, as those of Kubernetes, have no password; they are told nothing of programs.
    agent.eventually("ready", |agent| status(&agent.get("/-/ready")) == 200);
    assert_eq!(body(&agent.get("/-/healthy")), "healthy\n");
    assert_eq!(status(&agent.post("/-/healthy")), 405);
    for path in ["/metrics", "/", "/-/healthy/", "/-/reload", "/nothing"] {
        let answer = agent.get(path);
        assert_eq!(status(&answer), 401, "{path}");
        assert!(
            header(&answer, "www-authenticate")
                .unwrap()
                .starts_with("Basic ")
        );
    }
    assert_eq!(status(&get("Authorization: Basic YW5uOndyb25n\r\n")), 401);
    let answer = get("Authorization: Basic YW5uOnNlY3JldA==\r\n");
    assert_eq!(status(&answer), 200, "{answer}");
}

/// Asks for what is not there, on a connection that stays open, with what `ann:password` is in base64: whoever is let in is
/// told so.
async fn is_let_in(stream: &mut TcpStream, credentials: &str) -> bool {
    let request =
        format!("GET /nothing HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {credentials}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !(answer.ends_with(b"see /\n") || answer.ends_with(b"needed\n")) {
        answer.push(stream.read_u8().await.unwrap());
    }
    answer.starts_with(b"HTTP/1.1 404")
}

#[test]
fn wrong_passwords_keep_nobody_out() {
    let text = "web: {listen: '0.0.0.0:0'}\n";
    // Checks take longer than all else.
    let agent = Running::start_with(&Zoo::default(), text, &users_at_cost(6));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(guess_while_somebody_asks(agent.address));
}

async fn guess_while_somebody_asks(address: SocketAddr) {
    let n_wrong = Arc::new(AtomicUsize::new(0));
    let connect = || async move { TcpStream::connect(address).await.unwrap() };
    // Each asks anew as soon as it was refused.
    let mut guesses = Vec::new();
    let (tell, mut refused) = tokio::sync::mpsc::channel(100);
    for _ in 0..100 {
        let (mut stream, n_wrong) = (connect().await, Arc::clone(&n_wrong));
        let tell = tell.clone();
        guesses.push(tokio::spawn(async move {
            assert!(!is_let_in(&mut stream, "YW5uOndyb25n").await);
            tell.send(()).await.unwrap();
            loop {
                assert!(!is_let_in(&mut stream, "YW5uOndyb25n").await);
                n_wrong.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    for _ in 0..100 {
        refused.recv().await.unwrap();
    }
    // The first time it waits for a few of them, not for all; then for none.
    let before = n_wrong.load(Ordering::SeqCst);
    assert!(is_let_in(&mut connect().await, "YW5uOnNlY3JldA==").await);
    let waited_for = n_wrong.load(Ordering::SeqCst) - before;
    assert!(waited_for < 50, "waited for {waited_for} others");
    assert!(is_let_in(&mut connect().await, "YW5uOnNlY3JldA==").await);
    assert!(guesses.iter().all(|guess| !guess.is_finished()));
    guesses.iter().for_each(|guess| guess.abort());
}

/// A certificate for `localhost`, signed by itself, and its key, as files in `folder`.
fn certificate(folder: &Path, name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), certificate.cert.pem()).unwrap();
    let key = certificate.signing_key.serialize_pem();
    std::fs::write(folder.join(format!("{name}.key")), key).unwrap();
    certificate
}

/// A connection to the agent over TLS; shows the certificate `me` if there is one.
async fn connect(
    agent: &Running,
    server: &rcgen::CertifiedKey<rcgen::KeyPair>,
    me: Option<&rcgen::CertifiedKey<rcgen::KeyPair>>,
) -> std::io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};
    let mut roots = RootCertStore::empty();
    roots.add(server.cert.der().clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match me {
        None => config.with_no_client_auth(),
        Some(me) => {
            let key = PrivateKeyDer::try_from(me.signing_key.serialize_der()).unwrap();
            let chain = vec![me.cert.der().clone()];
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = tokio::net::TcpStream::connect(agent.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, stream).await
}

/// Asks for `/-/healthy` over TLS; shows the certificate `me` if there is one.
async fn ask(
    agent: &Running,
    server: &rcgen::CertifiedKey<rcgen::KeyPair>,
    me: Option<&rcgen::CertifiedKey<rcgen::KeyPair>>,
) -> std::io::Result<String> {
    let mut stream = connect(agent, server, me).await?;
    let request = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = String::new();
    // The server closes the connection without saying so first.
    let _ = stream.read_to_string(&mut answer).await;
    Ok(answer)
}

/// Asks on a connection that stays open.
async fn ask_on(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<String> {
    let request = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"see /\n")
        && !answer.ends_with(b"d\n")
        && !answer.ends_with(b"again\n")
    {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8(answer).unwrap())
}

/// What comes on a connection until it ends.
async fn rest_of(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut rest).await;
    rest
}

/// The server's certificate, and who may connect.
fn tls(folder: &Path, client_auth: ClientAuth) -> WebFile {
    WebFile {
        tls: Some(TlsSettings {
            cert_file: folder.join("server.pem"),
            key_file: folder.join("server.key"),
            client_ca_file: Some(folder.join("client.pem")),
            client_auth,
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
        }),
        ..WebFile::default()
    }
}

#[test]
fn connections_do_not_outlive_the_rules_that_let_them_in() {
    let folder = tempfile::tempdir().unwrap();
    let server = certificate(folder.path(), "server");
    certificate(folder.path(), "client");
    let tls = |client_auth| tls(folder.path(), client_auth);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for before in [WebFile::default(), tls(ClientAuth::None)] {
        let agent = Running::start_with(&Zoo::default(), WEB, &before);
        let is_plain = before.tls.is_none();
        runtime.block_on(async {
            let mut stream: Box<dyn Stream> = match is_plain {
                true => Box::new(tokio::net::TcpStream::connect(agent.address).await.unwrap()),
                false => Box::new(connect(&agent, &server, None).await.unwrap()),
            };
            assert!(ask_on(&mut stream).await.unwrap().ends_with("see /\n"));
            agent.write_web_file(&tls(ClientAuth::Require));
            agent.reload();
            // It says no more, it ends, long before it would have been idle for too long.
            let rest = tokio::time::timeout(Duration::from_secs(20), rest_of(&mut stream));
            assert_eq!(rest.await.unwrap(), b"");
        });
    }
}

#[test]
fn a_connection_goes_on_if_its_users_are_asked_again_and_again() {
    let agent = Running::start_with(&Zoo::default(), WEB, &WebFile::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut stream = tokio::net::TcpStream::connect(agent.address).await.unwrap();
        assert_eq!(status(&ask_on(&mut stream).await.unwrap()), 404);
        agent.write_web_file(&users());
        agent.reload();
        // The reload takes a moment.
        let mut answer = ask_on(&mut stream).await.unwrap();
        while status(&answer) == 404 {
            answer = ask_on(&mut stream).await.unwrap();
        }
        assert_eq!(status(&answer), 401);
    });
}

#[test]
fn tls_is_spoken_with_those_who_may() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = (
        certificate(folder.path(), "server"),
        certificate(folder.path(), "client"),
    );
    let tls = |client_auth| tls(folder.path(), client_auth);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let open = Running::start_with(
        &Zoo::default(),
        "web: {listen: 127.0.0.1:0}\n",
        &tls(ClientAuth::None),
    );
    let answer = runtime.block_on(ask(&open, &server, None)).unwrap();
    assert!(answer.ends_with("healthy\n"), "{answer}");
    // Who speaks no TLS gets no answer.
    let mut plain = std::net::TcpStream::connect(open.address).unwrap();
    std::io::Write::write_all(&mut plain, b"GET /-/healthy HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("healthy"));

    let closed = Running::start_with(
        &Zoo::default(),
        "web: {listen: 127.0.0.1:0}\n",
        &tls(ClientAuth::Require),
    );
    let answer = runtime
        .block_on(ask(&closed, &server, Some(&client)))
        .unwrap();
    assert!(answer.ends_with("healthy\n"), "{answer}");
    for other in [None, Some(&server)] {
        let answer = runtime
            .block_on(ask(&closed, &server, other))
            .unwrap_or_default();
        assert!(!answer.contains("healthy"), "{answer}");
    }
}

#[test]
fn files_that_make_no_server_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "server");
    let file = WebFile {
        tls: Some(TlsSettings {
            cert_file: folder.path().join("server.pem"),
            key_file: folder.path().join("none.key"),
            client_ca_file: None,
            client_auth: ClientAuth::None,
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
        }),
        ..WebFile::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let files = support::zoo::Files::new(WEB, &file);
    let started = runtime.block_on(support::zoo::start(Arc::new(Zoo::default()), &files));
    let message = started.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("none.key"), "{message}");
}

#[test]
fn whoever_asks_for_openmetrics_gets_it() {
    let zoo = Zoo::with(&[(10, "web", Act::Chain(3))]);
    let agent = Running::start(&zoo, "- {name: 'a\\b', match: {pid: 10}, interval: 20ms}\n");
    agent.eventually("ready", |agent| status(&agent.get("/-/ready")) == 200);
    let answer = agent.exchange(
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Accept: application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1\r\n\r\n",
    );
    let content_type = header(&answer, "content-type");
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(content_type, Some(expected));
    let text = body(&answer);
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in [
        "# TYPE asyncio_agent_scans counter",
        "asyncio_agent_scans_total{target=\"a\\\\b\",result=\"failed\"} 0",
        "asyncio_pending_tasks{target=\"a\\\\b\"} 3",
        "asyncio_await_depth_bucket{target=\"a\\\\b\",le=\"1.0\"} 1",
        "asyncio_await_depth_bucket{target=\"a\\\\b\",le=\"+Inf\"} 3",
        "asyncio_await_depth_count{target=\"a\\\\b\"} 3",
        "# TYPE process_cpu_seconds counter",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
}
