//! Metrics over OTLP as rotel has them: more than a receiver takes at once, and since when counters count.

mod support;

use asyncio_agent::metrics::CATALOG;
use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;
use support::agent::Agent;
use support::answering::{Answer, Answering};
use support::rotel::{Ports, ReceivedPoint, Receiver};
use support::target::wait_until;

/// So many targets that nothing belongs to, with labels as long as they may be.
fn config(n_targets: usize, port: u16, metrics: &str) -> String {
    let targets = (0..n_targets).map(|n| {
        let labels = ["a", "b"].map(|key| format!("{key}: '{}'", key.repeat(200)));
        format!(
            "{{name: 'service-{n}', match: {{executable: /nowhere}}, labels: {{{}}}}}",
            labels.join(", ")
        )
    });
    format!(
        "web: {{listen: 127.0.0.1:0}}\nlimits: {{target_names: 2000}}\ndiscovery: {{interval: 1s}}\ntargets: [{}]\n\
         exporters: {{otlp: {{endpoint: 'http://127.0.0.1:{port}', metrics: {{interval: 1s{metrics}}}, \
         spans: {{enabled: false}}}}}}\n",
        targets.collect::<Vec<_>>().join(", ")
    )
}

type Series = (String, BTreeMap<String, String>);

/// The series that `/metrics` serves, by their names in OpenTelemetry.
fn served(agent: &Agent) -> BTreeSet<Series> {
    let (_, body) = agent.get("/metrics");
    let lines = body.lines().filter(|line| line.starts_with("asyncio_"));
    lines
        .map(|line| {
            let (series, _) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split_terminator("\",");
            let labels = labels.map(|label| {
                let (key, value) = label.split_once("=\"").expect("a value");
                (key.to_owned(), value.trim_end_matches('"').to_owned())
            });
            let def = CATALOG.iter().find(|def| def.name == name);
            let (name, _) = def.expect("it is listed").in_opentelemetry();
            (name.to_owned(), labels.collect())
        })
        .collect()
}

fn value_of(agent: &Agent, result: &str) -> f64 {
    let labels = format!("signal=\"metrics\",result=\"{result}\"");
    let name = format!("asyncio_agent_otlp_exports_total{{{labels}}}");
    agent.value(&name).unwrap_or(0.0)
}

#[test]
fn more_series_than_a_receiver_takes_at_once_all_arrive() {
    let ports = Ports::free();
    let receiver = Receiver::start(ports);
    let agent = Agent::start(&config(500, ports.grpc, ""));
    let served = served(&agent);
    assert!(served.len() > 6_000, "{}", served.len());
    // One moment is told in several requests, and each of them is taken.
    wait_until("some are taken", || value_of(&agent, "ok") >= 4.0);
    assert_eq!(value_of(&agent, "failed"), 0.0);
    let (_, log) = agent.end_with("TERM");
    assert!(!log.contains("does not take"), "{log}");
    let points = receiver.points();
    let received = points
        .iter()
        .map(|it| (it.metric.clone(), it.attributes.clone()));
    let received: BTreeSet<Series> = received.collect();
    let missing: Vec<&Series> = served.difference(&received).collect();
    assert!(
        missing.is_empty(),
        "{} such as {:?}",
        missing.len(),
        missing[0]
    );
    // No series is told twice at the same time.
    let key = |point: &ReceivedPoint| (point.metric.clone(), point.attributes.clone(), point.time);
    assert_eq!(
        points.iter().map(key).collect::<BTreeSet<_>>().len(),
        points.len()
    );
}

#[test]
fn each_request_has_an_answer_of_its_own() {
    let receiver = Answering::start("grpc", Answer::Refuse(413, 3, "too much"));
    let agent = Agent::start(&config(500, receiver.port, ""));
    let wait_for_more = |n: usize| {
        let before = receiver.asked("metrics").len();
        wait_until("it is asked", || {
            receiver.asked("metrics").len() >= before + n
        });
    };
    wait_for_more(6);
    // Three requests of each moment, then the others are left for the next one.
    let asked = receiver.asked("metrics");
    let pauses = asked
        .windows(2)
        .filter(|it| it[1] - it[0] > Duration::from_millis(500));
    assert!(asked.len() <= 3 * (pauses.count() + 1), "{asked:?}");
    receiver.set(Answer::TakeAllBut(1, "one is too old"));
    wait_for_more(4);
    receiver.set(Answer::Take);
    wait_for_more(10);
    // What asks for a pause is not asked again, nor for the rest.
    receiver.set(Answer::Later(100));
    wait_for_more(1);
    thread::sleep(Duration::from_secs(1));
    let n_asked = receiver.asked("metrics").len();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(receiver.asked("metrics").len(), n_asked);
    wait_until("all are counted", || {
        let counted = ["failed", "partial", "ok"].map(|result| value_of(&agent, result));
        counted[0] >= 7.0
            && counted[1] >= 1.0
            && counted[2] >= 4.0
            && counted.iter().sum::<f64>() >= n_asked as f64
    });
    let (_, log) = agent.end_with("TERM");
    for (text, count) in [
        ("does not take what is sent", 2),
        ("takes only a part", 1),
        ("takes again what is sent", 1),
    ] {
        assert_eq!(log.matches(text).count(), count, "{text}: {log}");
    }
}

#[test]
fn a_counter_counts_from_the_same_moment_for_all_its_life() {
    let ports = Ports::free();
    let receiver = Receiver::start(ports);
    let mut agent = Agent::start(&config(2, ports.grpc, ""));
    let of_first = |temporality: &str| -> Vec<ReceivedPoint> {
        let mut points = receiver.points();
        points.retain(|it| {
            it.metric == "asyncio.agent.scans"
                && it.attributes["target"] == "service-0"
                && it.attributes["result"] == "ok"
                && it.temporality.ends_with(temporality)
        });
        points
    };
    let mut n_told = 0;
    for (n_targets, metrics, temporality) in [
        (2, "", "CUMULATIVE"),
        (400, ", compression: gzip", "CUMULATIVE"),
        (400, ", temporality: delta", "DELTA"),
        (3, "", "CUMULATIVE"),
    ] {
        agent.reload(&config(n_targets, ports.grpc, metrics));
        n_told = of_first(temporality).len();
        wait_until("it is told twice more", || {
            of_first(temporality).len() >= n_told + 2
        });
    }
    let starts: BTreeSet<u64> = of_first("CUMULATIVE").iter().map(|it| it.start).collect();
    assert_eq!(
        starts.len(),
        1,
        "{starts:?}, {n_told} before the last change"
    );
    assert!(starts.first().is_some_and(|start| *start > 0));
    // What is told of each span of time follows what was told before.
    let deltas = of_first("DELTA");
    let pairs = deltas.iter().zip(&deltas[1..]);
    assert!(deltas.len() > 1 && pairs.clone().all(|(one, next)| next.start == one.time));
    drop(agent);
}
