//! What a receiver of OpenTelemetry gets that is not ours, and what becomes of the agent when one does not take it.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use support::agent::{Agent, get};
use support::agentctl::Answer;
use support::python;
use support::rotel::{Ports, ReceivedSpan, Receiver};
use support::servers::{Prometheus, free_port};
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

#[test]
fn the_counter_of_cycles_leads_to_the_trace() {
    let ports = Ports::free();
    let receiver = Receiver::start(ports);
    let target = Target::start(python::all()[0].program("cycle_of_two"));
    let agent = agent(
        &target,
        &format!(
            "endpoint: 'http://127.0.0.1:{}', metrics: {{enabled: false}}, spans: {{ratio: 1}}",
            ports.grpc
        ),
    );
    let scrape = format!(
        "global: {{scrape_interval: 500ms}}\n\
         scrape_configs: [{{job_name: agent, static_configs: [{{targets: ['{}']}}]}}]\n",
        agent.address()
    );
    let prometheus = Prometheus::start(&scrape, &[]);
    let counter = "asyncio_await_cycle_detections_total";
    let series = format!("{counter}{{target=\"shop\"}}");
    prometheus.wait_for(&format!("{series} == 1"));
    let exemplars = prometheus.exemplars(&series);
    assert_eq!(exemplars.len(), 1, "{exemplars:?}");
    let (labels, exemplar) = &exemplars[0];
    assert_eq!(labels["team"], "a");
    assert_eq!(exemplar["value"], "1");
    let trace = exemplar["labels"]["trace_id"].as_str().expect("a text");
    wait_until("the trace arrives", || {
        let spans = receiver.spans();
        let mut of_trace = spans.iter().filter(|it| it.field("Trace ID") == trace);
        of_trace.any(|span| span.attribute("asyncio.finding.kind") == "await_cycle")
    });
    // The log line of the finding names the same.
    let (_, openmetrics) = get(agent.address(), "/metrics", "application/openmetrics-text");
    let line = openmetrics.lines().find(|line| line.starts_with(counter));
    let expected =
        format!("{counter}{{target=\"shop\",team=\"a\"}} 1 # {{trace_id=\"{trace}\"}} 1 ");
    assert!(
        line.is_some_and(|line| line.starts_with(&expected)),
        "{line:?}"
    );
    let (_, classic) = agent.get("/metrics");
    assert!(classic.contains(counter) && !classic.contains("trace_id"));
    let (_, log) = agent.end_with("TERM");
    assert!(log.contains(&format!("trace_id={trace}")), "{log}");
    assert!(target.end().success());
}

/// `agentctl trace` with these arguments after the id of the process.
fn trace(target: &Target, arguments: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentctl"));
    command.args(["trace", &target.pid_text()]).args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
        command.env_remove(name);
    }
    Answer::of(command)
}

#[test]
fn one_snapshot_is_sent_at_once() {
    let target = Target::start(python::all()[0].program("cycle_of_two"));
    let ports = Ports::free();
    let receiver = Receiver::start(ports);
    for (protocol, port) in [("grpc", ports.grpc), ("http/protobuf", ports.http)] {
        let endpoint = format!("http://127.0.0.1:{port}");
        let mut sent = None;
        // It takes a moment until the receiver listens.
        wait_until("it is sent", || {
            let more = ["--otlp", &endpoint, "--protocol", protocol, "--print"];
            let time = ["--for", "300ms", "--service", "shop"];
            let answer = trace(&target, &[more.as_slice(), &time].concat());
            let is_sent = answer.status == 1;
            sent = is_sent.then_some(answer);
            is_sent
        });
        let sent = sent.expect("it was waited for");
        assert!(sent.stderr.contains("cycle: cycle "), "{}", sent.stderr);
        let path = if protocol == "grpc" { "" } else { "/v1/traces" };
        let told =
            format!("sent to {endpoint}{path}, {protocol}, as service shop: traces: 2, spans: 10");
        assert!(sent.stdout.contains(&told), "{}", sent.stdout);
        let ids: Vec<&str> = sent
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("sent trace ")?.split(':').next())
            .collect();
        assert_eq!(ids.len(), 2);
        let of_trace = |id: &str| -> Vec<ReceivedSpan> {
            let spans = receiver.spans().into_iter();
            spans.filter(|span| span.field("Trace ID") == id).collect()
        };
        for id in &ids {
            assert!(
                sent.stdout.contains(&format!("trace {id}: ")),
                "{}",
                sent.stdout
            );
            wait_until("the trace arrives", || of_trace(id).len() >= 4);
        }
        let spans = of_trace(ids[0]);
        let tasks = spans
            .iter()
            .filter(|span| !span.attribute("asyncio.task.id").is_empty());
        let tasks: Vec<&ReceivedSpan> = tasks.collect();
        assert_eq!(tasks.len(), 2);
        for task in tasks {
            // What was printed is what was sent.
            let printed = format!("id={}", task.attribute("asyncio.task.id"));
            assert!(sent.stdout.contains(&printed), "{printed}\n{}", sent.stdout);
            assert_eq!(task.field("Status code"), "STATUS_CODE_ERROR");
            assert_eq!(task.resource["service.name"], "shop");
            assert_eq!(task.resource["process.pid"], target.pid().to_string());
            assert_ne!(task.field("Start time"), task.field("End time"));
        }
    }
    assert!(target.end().success());
}

#[test]
fn why_nothing_was_sent_is_told_with_what_to_do() {
    let target = Target::start(python::all()[0].program("gather"));
    let told = |arguments: &[&str], status: i32, what: &[&str]| {
        let answer = trace(&target, arguments);
        assert_eq!(answer.status, status, "{}", answer.stderr);
        for what in what {
            assert!(answer.stderr.contains(what), "{what}: {}", answer.stderr);
        }
    };
    let nobody = format!("http://127.0.0.1:{}", free_port());
    for protocol in ["grpc", "http/protobuf"] {
        let arguments = ["--otlp", &nobody, "--protocol", protocol];
        let what = [
            "cannot connect to 127.0.0.1:",
            "refused",
            "hint: is a receiver",
        ];
        told(&arguments, 7, &what);
    }
    for (answer, what, hint) in [
        (
            Some("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
            "401",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
        (
            Some("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            "404",
            "--protocol grpc",
        ),
        (
            Some(
                "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n",
            ),
            "429",
            "hint: it asks for a pause of 3600s",
        ),
        (Some("nonsense\r\n\r\n"), "invalid HTTP", "--protocol grpc"),
        (None, "does not take spans", "did not answer in time"),
    ] {
        let endpoint = format!("http://127.0.0.1:{}", broken_receiver(answer));
        let timeout = ["--protocol", "http/protobuf", "--timeout", "200ms"];
        told(
            &[&["--otlp", &endpoint], timeout.as_slice()].concat(),
            7,
            &[what, hint],
        );
    }
    let no_tls = format!("https://127.0.0.1:{}", broken_receiver(Some("nonsense")));
    told(&["--otlp", &no_tls], 7, &["does not speak TLS"]);
    assert!(target.end().success());
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
