//! What a receiver of OpenTelemetry gets that is not ours, and what becomes of the agent when one does not take it.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use support::agent::Agent;
use support::python;
use support::rotel::{Ports, ReceivedSpan, Receiver};
use support::target::{Target, wait_until};

/// An agent that watches a program and sends to a receiver.
fn agent(target: &Target, otlp: &str) -> Agent {
    Agent::start(&format!(
        "web: {{listen: 127.0.0.1:0}}\ndiscovery: {{interval: 100ms}}\n\
         targets: [{{name: shop, match: {{pid: {}}}, interval: 200ms, labels: {{team: a}}}}]\n\
         exporters:\n  otlp: {{{otlp}}}\n",
        target.pid()
    ))
}

fn findings(agent: &Agent) -> Vec<Value> {
    let (_, body) = agent.get("/api/v1/findings");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    body["findings"].as_array().cloned().unwrap_or_default()
}

/// The trace that the snapshot with the first finding was sent in.
fn trace_of_finding(agent: &Agent) -> Option<String> {
    let findings = findings(agent);
    Some(findings.first()?["trace_id"].as_str()?.to_owned())
}

/// The tasks of a cycle say which one it is, of which process they are, and one link closes it.
fn check_members(tasks: &[&ReceivedSpan], fingerprint: &str, pid: u32) {
    let mut n_closing = 0;
    for task in tasks {
        assert_eq!(task.attribute("asyncio.finding.fingerprint"), fingerprint);
        assert_eq!(task.field("Status code"), "STATUS_CODE_ERROR");
        let closes = |link: &&BTreeMap<String, String>| {
            let closes = link.get("asyncio.link.closes_cycle");
            closes.is_some_and(|it| it == "true")
        };
        n_closing += task.links.iter().filter(closes).count();
        assert_eq!(task.resource["service.name"], "shop");
        assert_eq!(task.resource["team"], "a");
        assert_eq!(task.resource["process.pid"], pid.to_string());
        assert!(task.resource["process.runtime.version"].starts_with("3.1"));
    }
    assert_eq!(n_closing, 1);
}

#[test]
fn the_tree_of_a_cycle_arrives_span_by_span() {
    for protocol in ["grpc", "http/protobuf"] {
        let ports = Ports::free();
        let receiver = Receiver::start(ports);
        let port = ports.of(protocol);
        let target = Target::start(python::all()[0].program("cycle_of_two"));
        let agent = agent(
            &target,
            &format!(
                "endpoint: 'http://127.0.0.1:{port}', protocol: {protocol}, compression: gzip, \
                 metrics: {{enabled: false}}, spans: {{ratio: 0}}"
            ),
        );
        let mut trace = None;
        wait_until("the finding has a trace", || {
            trace = trace_of_finding(&agent);
            trace.is_some()
        });
        let trace = trace.expect("it was waited for");
        let of_trace = || -> Vec<ReceivedSpan> {
            let spans = receiver.spans().into_iter();
            spans
                .filter(|span| span.field("Trace ID") == trace)
                .collect()
        };
        wait_until("the trace arrives", || of_trace().len() >= 4);
        let spans = of_trace();
        let tasks: Vec<&ReceivedSpan> = spans
            .iter()
            .filter(|span| !span.attribute("asyncio.task.id").is_empty())
            .collect();
        let names: Vec<&str> = tasks
            .iter()
            .map(|it| it.attribute("asyncio.task.name"))
            .collect();
        assert!(
            names.contains(&"cycle a") && names.contains(&"cycle b"),
            "{names:?}"
        );
        let fingerprint = findings(&agent)[0]["fingerprint"]
            .as_str()
            .expect("text")
            .to_owned();
        check_members(&tasks, &fingerprint, target.pid());
        // Frames below tasks, with the place in the code.
        let frame = spans
            .iter()
            .find(|span| !span.attribute("code.line.number").is_empty());
        let frame = frame.expect("a frame");
        assert!(
            frame
                .attribute("code.file.path")
                .ends_with("cycle_of_two.py")
        );
        let parents: Vec<&str> = spans.iter().map(|span| span.field("ID")).collect();
        for span in &spans {
            let parent = span.field("Parent ID");
            assert!(parent.is_empty() || parents.contains(&parent), "{span:?}");
        }
        // The log leads there too.
        let (_, log) = agent.end_with("TERM");
        assert!(log.contains(&format!("trace_id={trace}")), "{log}");
        assert!(target.end().success());
    }
}

#[test]
fn metrics_arrive_under_names_that_become_those_of_prometheus() {
    for protocol in ["grpc", "http/protobuf"] {
        let ports = Ports::free();
        let receiver = Receiver::start(ports);
        let port = ports.of(protocol);
        let target = Target::start(python::all()[0].program("gather"));
        let agent = agent(
            &target,
            &format!(
                "endpoint: 'http://127.0.0.1:{port}', protocol: {protocol}, \
                 metrics: {{interval: 1s}}, spans: {{enabled: false}}"
            ),
        );
        wait_until("metrics arrive", || {
            let received = receiver.units();
            let all = asyncio_agent::metrics::CATALOG.iter();
            let mut expected = all.map(|def| def.in_opentelemetry());
            expected.all(|(name, unit)| received.contains(&(name.to_owned(), unit.to_owned())))
        });
        let exported = "asyncio_agent_otlp_exports_total{signal=\"metrics\",result=\"ok\"}";
        wait_until("it is counted", || {
            agent.value(exported).is_some_and(|n| n >= 1.0)
        });
        drop(agent);
        assert!(target.end().success());
    }
}

/// Answers each connection with the same bytes, or never if there are none.
fn broken_receiver(answer: Option<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if let Some(answer) = answer {
                let mut request = [0; 1 << 16];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(answer.as_bytes());
            }
            open.push(stream);
            // The oldest ones are given up.
            if open.len() > 50 {
                open.remove(0);
            }
        }
    });
    port
}

#[test]
fn rounds_go_on_whatever_the_receiver_does() {
    let answers = [
        None,
        Some("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"),
        Some("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
        Some("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        Some("nonsense\r\n\r\n"),
    ];
    let mut agents = Vec::new();
    let target = Target::start(python::all()[0].program("gather"));
    for answer in answers {
        let port = broken_receiver(answer);
        agents.push(agent(
            &target,
            &format!(
                "endpoint: 'http://127.0.0.1:{port}', protocol: http/protobuf, timeout: 300ms, \
                 metrics: {{interval: 1s}}, spans: {{ratio: 1, queue: 200}}"
            ),
        ));
    }
    for agent in &agents {
        let failed = |signal: &str| {
            let name = format!(
                "asyncio_agent_otlp_exports_total{{signal=\"{signal}\",result=\"failed\"}}"
            );
            agent.value(&name).is_some_and(|n| n >= 1.0)
        };
        wait_until("spans fail", || failed("traces"));
        wait_until("metrics fail", || failed("metrics"));
        let dropped = "asyncio_agent_otlp_dropped_spans_total{reason=\"queue_full\"}";
        wait_until("spans are dropped", || {
            agent.value(dropped).is_some_and(|n| n > 0.0)
        });
        // Rounds go on meanwhile.
        let rounds = || {
            agent
                .value("asyncio_agent_scans_total{target=\"shop\",result=\"ok\",team=\"a\"}")
                .unwrap_or(0.0)
        };
        let before = rounds();
        wait_until("rounds go on", || rounds() >= before + 10.0);
    }
    for agent in agents {
        let (status, log) = agent.end_with("TERM");
        assert!(status.success(), "{log}");
        // Once for each change.
        let told = log
            .matches("the receiver does not take what is sent")
            .count();
        assert!((1..=2).contains(&told), "{told} times:\n{log}");
        assert_eq!(log.matches("panicked").count(), 0, "{log}");
    }
    assert!(target.end().success());
}

#[test]
fn a_receiver_that_comes_late_gets_what_waited() {
    let ports = Ports::free();
    let target = Target::start(python::all()[0].program("cycle_of_two"));
    let agent = agent(
        &target,
        &format!(
            "endpoint: 'http://127.0.0.1:{}', timeout: 300ms, metrics: {{interval: 1s}}, spans: {{ratio: 0}}",
            ports.grpc
        ),
    );
    let failed = "asyncio_agent_otlp_exports_total{signal=\"traces\",result=\"failed\"}";
    wait_until("spans fail", || {
        agent.value(failed).is_some_and(|n| n >= 1.0)
    });
    let receiver = Receiver::start(ports);
    let trace = trace_of_finding(&agent).expect("it was put into the queue");
    wait_until("the trace arrives", || {
        receiver
            .spans()
            .iter()
            .any(|span| span.field("Trace ID") == trace)
    });
    let (_, log) = agent.end_with("TERM");
    assert!(
        log.contains("the receiver takes again what is sent"),
        "{log}"
    );
    assert!(target.end().success());
}
