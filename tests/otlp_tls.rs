//! OTLP over TLS, with certificates of our own on both sides, and to another receiver after a reload.
#![cfg(feature = "agent")]

mod support;

use serde_json::Value;
use std::fs;
use support::agent::Agent;
use support::agentctl::Answer;
use support::python;
use support::rotel::{Ports, Receiver};
use support::servers::free_port;
use support::target::{Target, wait_until};
use support::tls::{Authority, Front};
use tokio::io::AsyncReadExt as _;

const PROTOCOLS: [(&str, &str); 2] = [("grpc", "h2"), ("http/protobuf", "http/1.1")];

/// A configuration that watches a program, and sends as `otlp` says.
fn config(target: &Target, otlp: &str) -> String {
    format!(
        "web: {{listen: 127.0.0.1:0}}\ndiscovery: {{interval: 100ms}}\n\
         targets: [{{name: shop, match: {{pid: {}}}, interval: 100ms}}]\n\
         exporters:\n  otlp: {{{otlp}}}\n",
        target.pid()
    )
}

fn exports(agent: &Agent, signal: &str, result: &str) -> f64 {
    let labels = format!("signal=\"{signal}\",result=\"{result}\"");
    let name = format!("asyncio_agent_otlp_exports_total{{{labels}}}");
    agent.value(&name).unwrap_or(0.0)
}

fn wait_for_another(agent: &Agent, result: &str) {
    for signal in ["metrics", "traces"] {
        let before = exports(agent, signal, result);
        wait_until(&format!("{signal}: {result}"), || {
            exports(agent, signal, result) > before
        });
    }
}

fn rounds(agent: &Agent) -> f64 {
    let name = "asyncio_agent_scans_total{target=\"shop\",result=\"ok\"}";
    agent.value(name).unwrap_or(0.0)
}

/// The trace that the snapshot with the first finding was sent in.
fn trace_of_finding(agent: &Agent) -> String {
    let mut trace = None;
    wait_until("the finding has a trace", || {
        let (_, body) = agent.get("/api/v1/findings");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        trace = body["findings"][0]["trace_id"].as_str().map(str::to_owned);
        trace.is_some()
    });
    trace.expect("it was waited for")
}

fn has_trace(receiver: &Receiver, trace: &str) -> bool {
    let spans = receiver.spans();
    spans.iter().any(|span| span.field("Trace ID") == trace)
}

/// The values of a header in all requests that a front was told of.
fn header(front: &Front, protocol: &str, name: &str) -> Vec<String> {
    let told = front.told();
    let connections = told.iter();
    match protocol {
        "grpc" => connections.flat_map(|told| of_grpc(told, name)).collect(),
        _ => connections
            .flat_map(|told| {
                let text = String::from_utf8_lossy(told).into_owned();
                let values: Vec<String> = text
                    .lines()
                    .filter_map(|line| line.strip_prefix(&format!("{name}: ")))
                    .map(|value| value.trim_end().to_owned())
                    .collect();
                values
            })
            .collect(),
    }
}

/// The same, of what was told on a connection of HTTP/2.
fn of_grpc(told: &[u8], name: &str) -> Vec<String> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (mut values, mut unanswered) = (Vec::new(), Vec::new());
        let told = without_data(told);
        // Nothing comes after what was told. At an end what came before it would not be given out.
        let (nothing, _open) = tokio::io::duplex(1);
        let stream = tokio::io::join(told.as_slice().chain(nothing), tokio::io::sink());
        let connection = tokio::select! {
            biased;
            connection = h2::server::handshake(stream) => connection,
            () = std::future::ready(()) => return values,
        };
        let mut connection = connection.expect("it is HTTP/2");
        loop {
            let request = tokio::select! {
                biased;
                request = connection.accept() => request,
                () = std::future::ready(()) => return values,
            };
            let request = request.expect("it is open").expect("it is HTTP/2");
            let all = request.0.headers().get_all(name).iter();
            values.extend(all.filter_map(|value| Some(value.to_str().ok()?.to_owned())));
            unanswered.push(request);
        }
    })
}

/// The frames of a connection of HTTP/2 (RFC 9113, 4.1) but those with data, of which a server takes no more than
/// it allowed.
fn without_data(told: &[u8]) -> Vec<u8> {
    let (preface, mut rest) = told.split_at_checked(24).unwrap_or((told, &[]));
    let mut kept = preface.to_vec();
    while let [a, b, c, kind, ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some((frame, after)) = rest.split_at_checked(9 + length) else {
            break;
        };
        if *kind != 0 {
            kept.extend_from_slice(frame);
        }
        rest = after;
    }
    kept
}

/// The log tells once that the receiver does not take what is sent, and once that it does again.
fn check_told_once(log: &str) {
    for signal in ["metrics", "traces"] {
        let of_signal = |text: &str| {
            let lines = log.lines().filter(|line| line.contains(text));
            lines.filter(|line| line.contains(signal)).count()
        };
        assert_eq!(of_signal("does not take what is sent"), 1, "{log}");
        assert_eq!(of_signal("takes again what is sent"), 1, "{log}");
    }
}

#[test]
fn both_sides_show_certificates() {
    for (protocol, alpn) in PROTOCOLS {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ours = Authority::new(folder.path(), "ours");
        let others = Authority::new(folder.path(), "others");
        let (certificate, key) = ours.sign_into(folder.path(), "agent");
        let token = folder.path().join("token");
        fs::write(&token, "first-secret\n").expect("our own file");
        let ports = Ports::free();
        let receiver = Receiver::start(ports);
        let front = Front::start(&ours, alpn, ports.of(protocol));
        let target = Target::start(python::all()[0].program("cycle_of_two"));
        let with = |tls: &str| {
            let otlp = format!(
                "endpoint: 'https://localhost:{}', protocol: {protocol}, timeout: 1s, \
                 headers: {{x-shelf: '7'}}, headers_file: {{x-token: {}}}, tls: {{{tls}}}, \
                 metrics: {{interval: 1s}}, spans: {{ratio: 1, traces_per_minute: 1000}}",
                front.port,
                token.display()
            );
            config(&target, &otlp)
        };
        let own = format!(
            "cert_file: {}, key_file: {}",
            certificate.display(),
            key.display()
        );
        // The receiver's certificate is signed by somebody who is not trusted.
        let mut agent = Agent::start(&with(&format!("ca_file: {}, {own}", others.file.display())));
        let trace = trace_of_finding(&agent);
        wait_for_another(&agent, "failed");
        let before = rounds(&agent);
        wait_until("rounds go on", || rounds(&agent) >= before + 10.0);
        assert!(agent.log().contains("UnknownIssuer"), "{}", agent.log());
        // The agent shows no certificate.
        agent.reload(&with(&format!("ca_file: {}", ours.file.display())));
        wait_until("it is not let in", || {
            let refusals = front.refusals();
            refusals.iter().any(|why| why.contains("no certificates"))
        });
        wait_for_another(&agent, "failed");
        assert_eq!(header(&front, protocol, "x-token"), [""; 0]);
        assert!(!has_trace(&receiver, &trace));
        // Both do; what has waited arrives.
        let good = with(&format!("ca_file: {}, {own}", ours.file.display()));
        agent.reload(&good);
        wait_until("the trace arrives", || has_trace(&receiver, &trace));
        wait_for_another(&agent, "ok");
        assert!(
            receiver
                .metrics()
                .contains(&"asyncio.pending_tasks".to_owned())
        );
        assert!(
            header(&front, protocol, "x-shelf")
                .iter()
                .all(|it| it == "7")
        );
        let tokens = || header(&front, protocol, "x-token");
        assert!(
            tokens().iter().all(|it| it == "first-secret"),
            "{:?}",
            tokens()
        );
        // A secret that was renewed.
        fs::write(&token, "second-secret\n").expect("our own file");
        agent.reload(&good);
        wait_until("it is shown", || {
            tokens().contains(&"second-secret".to_owned())
        });
        let (_, log) = agent.end_with("TERM");
        check_told_once(&log);
        assert!(!log.contains("-secret"), "{log}");
        assert!(target.end().success());
    }
}

#[test]
fn a_reload_changes_where_things_go() {
    for (protocol, _) in PROTOCOLS {
        let (first_ports, second_ports) = (Ports::free(), Ports::free());
        let (first, second) = (Receiver::start(first_ports), Receiver::start(second_ports));
        let target = Target::start(python::all()[0].program("gather"));
        let to = |port: u16| {
            let otlp = format!(
                "endpoint: 'http://127.0.0.1:{port}', protocol: {protocol}, timeout: 1s, \
                 metrics: {{interval: 1s}}, spans: {{ratio: 1, traces_per_minute: 1000}}"
            );
            config(&target, &otlp)
        };
        let received = |receiver: &Receiver| (receiver.metrics().len(), receiver.spans().len());
        let wait_for_more = |receiver: &Receiver| {
            let (n_metrics, n_spans) = received(receiver);
            wait_until("metrics and spans arrive", || {
                let now = received(receiver);
                now.0 > n_metrics && now.1 > n_spans
            });
        };
        let mut agent = Agent::start(&to(first_ports.of(protocol)));
        wait_for_more(&first);
        agent.reload(&to(second_ports.of(protocol)));
        wait_for_more(&second);
        // What was on its way has arrived.
        let before = received(&first);
        wait_for_more(&second);
        assert_eq!(received(&first), before);
        // Nothing is sent any more. What is there still is, within seconds.
        agent.reload(&config(&target, "enabled: false"));
        let mut before = received(&second);
        let mut rounds_before = rounds(&agent);
        wait_until("nothing arrives in fifty rounds", || {
            let now = received(&second);
            if now != before {
                (before, rounds_before) = (now, rounds(&agent));
            }
            rounds(&agent) >= rounds_before + 50.0
        });
        // And again.
        agent.reload(&to(first_ports.of(protocol)));
        wait_for_more(&first);
        assert_eq!(received(&second), before);
        let (status, log) = agent.end_with("TERM");
        assert!(status.success(), "{log}");
        assert!(!log.contains("does not take"), "{log}");
        assert!(target.end().success());
    }
}

#[test]
fn what_could_not_be_sent_is_counted_when_sending_ends() {
    let target = Target::start(python::all()[0].program("gather"));
    let otlp = format!(
        "endpoint: 'http://127.0.0.1:{}', timeout: 1s, metrics: {{enabled: false}}, \
         spans: {{ratio: 1, traces_per_minute: 1000}}",
        free_port()
    );
    let mut agent = Agent::start(&config(&target, &otlp));
    wait_until("spans fail", || exports(&agent, "traces", "failed") >= 1.0);
    let dropped = "asyncio_agent_otlp_dropped_spans_total{reason=\"failed\"}";
    let before = agent.value(dropped).unwrap_or(0.0);
    agent.reload(&config(&target, "enabled: false"));
    wait_until("they are counted", || {
        agent.value(dropped).is_some_and(|n| n > before)
    });
    let (_, log) = agent.end_with("TERM");
    assert!(log.contains("spans are dropped"), "{log}");
    assert!(target.end().success());
}

#[test]
fn whose_certificate_is_not_good_is_said() {
    let target = Target::start(python::all()[0].program("gather"));
    for (protocol, alpn) in PROTOCOLS {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ours = Authority::new(folder.path(), "ours");
        let others = Authority::new(folder.path(), "others");
        let (certificate, key) = others.sign_into(folder.path(), "stranger");
        let front = Front::start(&ours, alpn, free_port());
        let run = |variables: &[(&str, &std::path::Path)]| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_agentctl"));
            command.args([
                "trace",
                &target.pid_text(),
                "--protocol",
                protocol,
                "--timeout",
                "2s",
            ]);
            command.arg(format!("--otlp=https://localhost:{}", front.port));
            for (signal, file) in variables {
                command.env(format!("OTEL_EXPORTER_OTLP_{signal}"), file);
            }
            let answer = Answer::of(command);
            assert_eq!(answer.status, 7, "{}", answer.stderr);
            answer.stderr
        };
        // The reason that the other side gives may be lost, and over gRPC it always is.
        let is_about_ours = |told: &str, reason: &str| {
            let says = told.contains(reason) || told.contains("it ended the connection");
            says && told.contains("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE")
        };
        let told = run(&[("CERTIFICATE", &*ours.file)]);
        assert!(
            is_about_ours(&told, "it wants a certificate of ours"),
            "{told}"
        );
        let told = run(&[("CERTIFICATE", &*others.file)]);
        assert!(told.contains("UnknownIssuer"), "{told}");
        assert!(
            told.contains("hint: OTEL_EXPORTER_OTLP_CERTIFICATE"),
            "{told}"
        );
        let told = run(&[
            ("CERTIFICATE", &*ours.file),
            ("CLIENT_CERTIFICATE", &*certificate),
            ("CLIENT_KEY", &*key),
        ]);
        assert!(
            is_about_ours(&told, "it does not accept our certificate"),
            "{told}"
        );
    }
    assert!(target.end().success());
}
