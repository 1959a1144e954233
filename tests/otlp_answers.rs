//! What becomes of spans, and of the findings that they tell, when a receiver does not take them, or not all.

mod support;

use serde_json::Value;
use std::thread;
use std::time::Duration;
use support::agent::{Agent, get};
use support::answering::{Answer, Answering};
use support::python;
use support::target::{Target, wait_until};

const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];

fn agent(target: &Target, receiver: &Answering, protocol: &str, more: &str) -> Agent {
    Agent::start(&format!(
        "web: {{listen: 127.0.0.1:0}}\ndiscovery: {{interval: 100ms}}\n\
         targets: [{{name: shop, match: {{pid: {}}}, interval: 200ms}}]\n\
         exporters: {{otlp: {{endpoint: 'http://127.0.0.1:{}', protocol: {protocol}, \
         headers: {{authorization: hunter2}}, {more}}}}}\n",
        target.pid(),
        receiver.port,
    ))
}

/// The finding, if there is one: whether it has a trace.
fn has_trace(agent: &Agent) -> Option<bool> {
    let (_, body) = agent.get("/api/v1/findings");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let finding = body["findings"].as_array()?.first()?;
    Some(finding["trace_id"].is_string())
}

fn has_exemplar(agent: &Agent) -> bool {
    let (_, text) = get(agent.address(), "/metrics", "application/openmetrics-text");
    text.contains("trace_id=")
}

fn dropped(agent: &Agent, reason: &str) -> f64 {
    let name = format!("asyncio_agent_otlp_dropped_spans_total{{reason=\"{reason}\"}}");
    agent.value(&name).unwrap_or(0.0)
}

fn exports(agent: &Agent, signal: &str, result: &str) -> f64 {
    let labels = format!("signal=\"{signal}\",result=\"{result}\"");
    let name = format!("asyncio_agent_otlp_exports_total{{{labels}}}");
    agent.value(&name).unwrap_or(0.0)
}

#[test]
fn a_finding_that_was_refused_has_no_trace_and_is_sent_again() {
    for protocol in PROTOCOLS {
        let refusal = Answer::Refuse(400, 3, "no spans of hunter2 \"today\"");
        let receiver = Answering::start(protocol, refusal);
        let target = Target::start(python::all()[0].program("cycle_of_two"));
        let more = "metrics: {enabled: false}, spans: {ratio: 0}";
        let agent = agent(&target, &receiver, protocol, more);
        wait_until("it is refused", || dropped(&agent, "refused") > 0.0);
        wait_until("nothing leads there", || {
            has_trace(&agent) == Some(false) && !has_exemplar(&agent)
        });
        thread::sleep(Duration::from_secs(3));
        // The tree of the cycle, and those beside it.
        assert!(receiver.asked("trace").len() <= 2, "again and again");
        receiver.set(Answer::Take);
        wait_until("it is sent again", || {
            has_trace(&agent) == Some(true) && has_exemplar(&agent)
        });
        wait_until("it is taken", || exports(&agent, "traces", "ok") > 0.0);
        let (_, log) = agent.end_with("TERM");
        assert!(log.contains("no spans of <hidden> \\\"today\\\""), "{log}");
        assert!(
            log.contains("is_final=true") && !log.contains("hunter2"),
            "{log}"
        );
        assert!(
            log.contains("sent as a trace, which it was not before"),
            "{log}"
        );
        assert!(target.end().success());
    }
}

#[test]
fn what_is_refused_of_a_request_is_dropped() {
    for protocol in PROTOCOLS {
        let receiver = Answering::start(protocol, Answer::TakeAllBut(1, "one is too old"));
        let target = Target::start(python::all()[0].program("gather"));
        let more = "metrics: {interval: 1s}, spans: {ratio: 1}";
        let agent = agent(&target, &receiver, protocol, more);
        wait_until("some are refused", || dropped(&agent, "refused") >= 2.0);
        wait_until("metrics as well", || {
            exports(&agent, "metrics", "partial") >= 2.0
        });
        let (refused, partly) = (
            dropped(&agent, "refused"),
            exports(&agent, "traces", "partial"),
        );
        assert!((refused - partly).abs() <= 2.0, "{refused} {partly}");
        assert_eq!(exports(&agent, "traces", "ok"), 0.0);
        receiver.set(Answer::Take);
        wait_until("all are taken", || {
            exports(&agent, "traces", "ok") > 0.0 && exports(&agent, "metrics", "ok") > 0.0
        });
        let (_, log) = agent.end_with("TERM");
        // Once for each signal.
        assert_eq!(log.matches("only a part").count(), 2, "{log}");
        assert_eq!(log.matches("one is too old").count(), 2, "{log}");
        assert_eq!(log.matches("takes again").count(), 2, "{log}");
        assert!(target.end().success());
    }
}

#[test]
fn a_receiver_that_asks_for_a_pause_has_it_and_gets_all_of_it() {
    for protocol in PROTOCOLS {
        let receiver = Answering::start(protocol, Answer::Later(4));
        let target = Target::start(python::all()[0].program("cycle_of_two"));
        let more = "metrics: {enabled: false}, spans: {ratio: 0}";
        let agent = agent(&target, &receiver, protocol, more);
        wait_until("it is asked twice", || receiver.asked("trace").len() >= 2);
        let asked = receiver.asked("trace");
        let pause = asked[1] - asked[0];
        assert!(pause >= Duration::from_secs(4), "{pause:?}");
        assert_eq!(has_trace(&agent), Some(true));
        receiver.set(Answer::Take);
        wait_until("it is taken", || exports(&agent, "traces", "ok") > 0.0);
        for reason in ["failed", "queue_bytes", "queue_full", "refused"] {
            assert_eq!(dropped(&agent, reason), 0.0);
        }
        receiver.set(Answer::Later(100));
        drop(agent);
        assert!(target.end().success());
    }
}

#[test]
fn that_a_slow_receiver_costs_spans_is_told_once() {
    let slow = Answer::TakeAfter(Duration::from_millis(700));
    let receiver = Answering::start("grpc", slow);
    let target = Target::start(python::all()[0].program("gather"));
    // Room for what one round sends: it is full, and empty again each time that the receiver has taken that.
    let more = "metrics: {enabled: false}, \
                spans: {ratio: 1, traces_per_minute: 10000, spans_per_trace: 20, queue: 20}";
    let agent = agent(&target, &receiver, "grpc", more);
    wait_until("many are taken", || exports(&agent, "traces", "ok") >= 8.0);
    let before = dropped(&agent, "queue_full");
    wait_until("and dropped", || dropped(&agent, "queue_full") > before);
    assert!(before > 0.0);
    let (_, log) = agent.end_with("TERM");
    assert_eq!(log.matches("why=\"queue_full\"").count(), 1, "{log}");
    assert!(target.end().success());
}

#[test]
fn at_the_end_nobody_is_asked_again_and_again() {
    for (protocol, answer) in [
        ("grpc", Answer::Later(0)),
        ("http/protobuf", Answer::Later(100)),
        ("http/protobuf", Answer::Refuse(500, 13, "no")),
    ] {
        let receiver = Answering::start(protocol, answer);
        let target = Target::start(python::all()[0].program("gather"));
        let more = "metrics: {enabled: false}, spans: {ratio: 1}";
        let agent = agent(&target, &receiver, protocol, more);
        wait_until("spans fail", || exports(&agent, "traces", "failed") > 0.0);
        thread::sleep(Duration::from_secs(2));
        let before = receiver.asked("trace").len();
        let (status, log) = agent.end_with("TERM");
        assert!(status.success(), "{log}");
        let more = receiver.asked("trace").len() - before;
        assert!(more <= 3, "{more} times: {log}");
        assert!(log.contains("why=\"failed\""), "{log}");
        assert!(target.end().success());
    }
}

#[test]
fn a_minute_has_no_more_traces_than_it_may_and_findings_have_their_part() {
    let receiver = Answering::start("grpc", Answer::Take);
    let target = Target::start(python::all()[0].program("cycle_of_two"));
    let more = "metrics: {enabled: false}, spans: {ratio: 1, traces_per_minute: 8}";
    let agent = agent(&target, &receiver, "grpc", more);
    let hits = || {
        let name = "asyncio_agent_limit_hits_total{limit=\"traces_per_minute\"}";
        agent.value(name).unwrap_or(0.0)
    };
    wait_until("the limit is reached", || hits() >= 10.0);
    // Samples had used up theirs when the cycle was found, or shortly after.
    assert_eq!(has_trace(&agent), Some(true));
    wait_until("it is taken", || exports(&agent, "traces", "ok") > 0.0);
    thread::sleep(Duration::from_secs(2));
    let n_requests = receiver.asked("trace").len();
    assert!((2..=8).contains(&n_requests), "{n_requests}");
    drop(agent);
    assert!(target.end().success());
}

#[test]
fn a_target_has_a_ratio_of_its_own() {
    let receiver = Answering::start("grpc", Answer::Take);
    let target = Target::start(python::all()[0].program("gather"));
    let agent = Agent::start(&format!(
        "web: {{listen: 127.0.0.1:0}}\ndiscovery: {{interval: 100ms}}\n\
         targets: [{{name: shop, match: {{pid: {}}}, interval: 200ms, spans: {{ratio: 1}}}}]\n\
         exporters: {{otlp: {{endpoint: 'http://127.0.0.1:{}', \
         metrics: {{enabled: false}}, spans: {{ratio: 0}}}}}}\n",
        target.pid(),
        receiver.port,
    ));
    wait_until("spans arrive", || !receiver.asked("trace").is_empty());
    drop(agent);
    assert!(target.end().success());
}

/// Programs end while they are watched.
#[test]
fn of_a_process_that_ends_what_was_seen_is_shown() {
    let target = Target::start(python::all()[0].program("gather"));
    let pid = target.pid_text();
    let watching = thread::spawn(move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_agentctl"));
        command.args(["trace", &pid, "--print", "--for", "20s"]);
        support::agentctl::Answer::of(command)
    });
    thread::sleep(Duration::from_secs(3));
    assert!(target.end().success());
    let answer = watching.join().expect("it ends");
    assert!(answer.stdout.starts_with("trace "), "{}", answer.stderr);
    assert!(
        answer
            .stderr
            .contains("the process ended; this is what was seen"),
        "{}",
        answer.stderr
    );
}

#[test]
fn the_fingerprint_of_a_cycle_is_that_of_the_agent() {
    let receiver = Answering::start("grpc", Answer::Take);
    let target = Target::start(python::all()[0].program("cycle_of_two"));
    let agent = agent(&target, &receiver, "grpc", "spans: {ratio: 0}");
    wait_until("it is found", || has_trace(&agent).is_some());
    let (_, body) = agent.get("/api/v1/findings");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let fingerprint = body["findings"][0]["fingerprint"].as_str().expect("text");
    for _ in 0..2 {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_agentctl"));
        command.args(["trace", &target.pid_text(), "--print"]);
        let answer = support::agentctl::Answer::of(command);
        assert!(answer.stdout.contains(fingerprint), "{}", answer.stdout);
    }
    drop(agent);
    assert!(target.end().success());
}

#[test]
fn that_the_agent_sends_no_spans_is_said_and_they_are_sent() {
    let target = Target::start(python::all()[0].program("gather"));
    let receiver = Answering::start("grpc", Answer::Take);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("agent.yaml");
    let trace = |otlp: &str| {
        let endpoint = format!("http://127.0.0.1:{}", receiver.port);
        let text = format!("exporters: {{otlp: {{endpoint: '{endpoint}', {otlp}}}}}\n");
        std::fs::write(&config, text).expect("our own file");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_agentctl"));
        command
            .args(["trace", &target.pid_text(), "--config"])
            .arg(&config);
        support::agentctl::Answer::of(command)
    };
    let answer = trace("spans: {enabled: false}");
    assert_eq!(answer.status, 0, "{}", answer.stderr);
    assert!(
        answer.stderr.contains("spans are off in"),
        "{}",
        answer.stderr
    );
    assert!(
        answer.stdout.contains("sent to http://127.0.0.1:"),
        "{}",
        answer.stdout
    );
    assert_eq!(receiver.asked("trace").len(), 1);
    // Nothing is sent where the whole section is off.
    let answer = trace("enabled: false");
    assert_eq!(answer.status, 2, "{}", answer.stderr);
    assert!(
        answer
            .stderr
            .contains("no section exporters.otlp, or it is off"),
        "{}",
        answer.stderr
    );
    assert_eq!(receiver.asked("trace").len(), 1);
    assert!(target.end().success());
}

#[test]
fn what_the_file_says_of_headers_and_compression_holds_whatever_the_environment_says() {
    let target = Target::start(python::all()[0].program("cycle_of_two"));
    for protocol in PROTOCOLS {
        let receiver = Answering::start(protocol, Answer::Take);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("agent.yaml");
        let otlp = format!(
            "exporters: {{otlp: {{endpoint: 'http://127.0.0.1:{}', protocol: {protocol}, headers: {{x-mine: file}}}}}}\n",
            receiver.port
        );
        std::fs::write(&config, otlp).expect("our own file");
        let sent = |variables: &[(&str, &str)]| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_agentctl"));
            command
                .args(["trace", &target.pid_text(), "--config"])
                .arg(&config);
            command.envs(variables.iter().copied());
            support::agentctl::Answer::of(command)
        };
        let answer = sent(&[
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-mine=env,x-other=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-third=2"),
        ]);
        assert_eq!(answer.status, 1, "{}", answer.stderr);
        let headers = receiver.headers();
        let ours: Vec<&String> = headers.iter().filter(|it| it.starts_with("x-")).collect();
        assert_eq!(ours, ["x-mine: file"], "{protocol}: {headers:?}");
        assert!(headers.iter().any(|it| it.starts_with("content-type: ")));
        // The file says nothing of compression, so the variable does.
        let answer = sent(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
        assert_eq!(answer.status, 1, "{}", answer.stderr);
        let encoding = if protocol == "grpc" {
            "grpc-encoding: gzip"
        } else {
            "content-encoding: gzip"
        };
        assert!(
            receiver.headers().iter().any(|it| it == encoding),
            "{protocol}"
        );
        let text = std::fs::read_to_string(&config).expect("our own file");
        let text = text.replace("headers:", "compression: none, headers:");
        std::fs::write(&config, text).expect("our own file");
        let answer = sent(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
        assert_eq!(answer.status, 2, "{}", answer.stderr);
        assert!(
            answer.stderr.contains("the variable must go"),
            "{}",
            answer.stderr
        );
    }
}
