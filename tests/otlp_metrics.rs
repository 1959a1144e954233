//! Metrics over OTLP, as VictoriaMetrics has them, against what `/metrics` serves.

mod support;

use asyncio_agent::metrics::{CATALOG, Kind};
use std::collections::BTreeMap;
use std::fs;
use support::agent::Agent;
use support::python;
use support::rotel::{Ports, Receiver};
use support::servers::free_port;
use support::target::{Target, wait_until};
use support::victoria::{Series, VictoriaMetrics};

/// Names and labels as Prometheus has them, and no others.
const PROMETHEUS_NAMES: [&str; 3] = [
    "-opentelemetry.usePrometheusNaming",
    "-opentelemetry.promoteAllResourceAttributes=false",
    "-opentelemetry.promoteScopeMetadata=false",
];

/// One target for each process.
fn config(targets: &[(&str, u32)], interval: &str, otlp: &str) -> String {
    let targets: Vec<String> = targets
        .iter()
        .map(|(name, pid)| {
            format!(
                "{{name: {name}, match: {{pid: {pid}}}, interval: {interval}, per_process: true, \
                 labels: {{team: a}}}}"
            )
        })
        .collect();
    format!(
        "web: {{listen: 127.0.0.1:0}}\ndiscovery: {{interval: {interval}}}\n\
         targets: [{}]\nexporters: {{otlp: {{{otlp}}}}}\n",
        targets.join(", ")
    )
}

fn otlp(endpoint: &str, more: &str) -> String {
    format!(
        "endpoint: '{endpoint}', protocol: http/protobuf, timeout: 2s, spans: {{enabled: false}}, {more}"
    )
}

/// What `/metrics` serves of ours.
fn served(agent: &Agent) -> BTreeMap<Series, f64> {
    let (_, body) = agent.get("/metrics");
    let lines = body.lines().filter(|line| line.starts_with("asyncio_"));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split_terminator("\",");
            let mut series: Series = labels
                .map(|label| {
                    let (key, value) = label.split_once("=\"").expect("a value");
                    (key.to_owned(), value.trim_end_matches('"').to_owned())
                })
                .collect();
            series.insert("__name__".to_owned(), name.to_owned());
            (series, value.parse().expect("a number"))
        })
        .collect()
}

/// What is in only one of both, or differs by more than a receiver rounds.
fn difference(served: &BTreeMap<Series, f64>, received: &BTreeMap<Series, f64>) -> Vec<String> {
    let all = served.keys().chain(received.keys());
    let mut told: Vec<String> = all
        .filter_map(|series| {
            let [here, there] = [served.get(series), received.get(series)];
            let is_same = here.zip(there).is_some_and(|(here, there)| {
                (here - there).abs() <= here.abs().max(there.abs()) * 1e-12
            });
            (!is_same).then(|| format!("{series:?}: {here:?} {there:?}"))
        })
        .collect();
    told.sort();
    told.dedup();
    told
}

/// Waits until what was received is what is served.
fn wait_until_equal(agent: &Agent, received: impl Fn() -> BTreeMap<Series, f64>) {
    let mut n_looks = 0;
    wait_until("what was received is what is served", || {
        let differs = difference(&served(agent), &received());
        n_looks += 1;
        assert!(n_looks < 500 || differs.is_empty(), "{differs:#?}");
        differs.is_empty()
    });
}

const OURS: &str = "{__name__=~\"asyncio_.*\"}";

/// What counters grew by in all requests.
const SUMS: &str = "sum_over_time({__name__=~\"asyncio_.*_total\"}[1h]) keep_metric_names";

/// All that was received, if counters were told by what they grew by.
fn added_up(receiver: &VictoriaMetrics) -> BTreeMap<Series, f64> {
    let mut all = receiver.query(OURS);
    all.retain(|series, _| !series["__name__"].ends_with("_total"));
    all.extend(receiver.query(SUMS));
    all
}

#[test]
fn the_numbers_are_those_of_prometheus() {
    let target = Target::start(python::all()[0].program("cycle_of_two"));
    let targets = [("shop", target.pid())];
    for temporality in ["cumulative", "delta"] {
        let receiver = VictoriaMetrics::start(&PROMETHEUS_NAMES);
        let otlp = otlp(
            &receiver.endpoint(),
            &format!("compression: gzip, metrics: {{interval: 1s, temporality: {temporality}}}"),
        );
        let mut agent = Agent::start(&config(&targets, "100ms", &otlp));
        let labels = format!("{{target=\"shop\",team=\"a\",pid=\"{}\"}}", target.pid());
        agent.wait_for_value(&format!("asyncio_await_cycles{labels}"), 1.0);
        // From now on nothing is read, so the numbers stay.
        agent.reload(&config(&targets, "1h", &otlp));
        match temporality {
            "cumulative" => wait_until_equal(&agent, || receiver.query(OURS)),
            _ => wait_until_equal(&agent, || added_up(&receiver)),
        }
        check_metadata(&receiver);
    }
    assert!(target.end().success());
}

#[test]
fn metrics_and_spans_may_go_to_different_receivers() {
    let target = Target::start(python::all()[0].program("cycle_of_two"));
    let numbers = VictoriaMetrics::start(&PROMETHEUS_NAMES);
    let ports = Ports::free();
    let traces = Receiver::start(ports);
    let otlp = "timeout: 2s, metrics: {interval: 1s, protocol: http/protobuf}, spans: {ratio: 1}";
    let agent = Agent::start_with(
        &config(&[("shop", target.pid())], "100ms", otlp),
        &[
            // Nobody listens where all signals would go.
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
            (
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                &format!("{}/v1/metrics", numbers.endpoint()),
            ),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                &format!("http://127.0.0.1:{}", ports.grpc),
            ),
        ],
    );
    wait_until("both arrive", || {
        !numbers.query(OURS).is_empty() && !traces.spans().is_empty()
    });
    drop(agent);
    assert!(target.end().success());
}

/// Kinds and explanations are those of the catalogue.
fn check_metadata(receiver: &VictoriaMetrics) {
    let metadata = receiver.metadata();
    for def in CATALOG {
        let told = &metadata[def.name][0];
        let kind = match def.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert_eq!(told["type"], kind, "{}", def.name);
        assert_eq!(told["help"], def.help, "{}", def.name);
    }
}

#[test]
fn names_are_dotted_and_the_agent_is_their_resource() {
    let receiver = VictoriaMetrics::start(&[]);
    let target = Target::start(python::all()[0].program("gather"));
    let otlp = otlp(&receiver.endpoint(), "metrics: {interval: 1s}");
    let agent = Agent::start(&config(&[("shop", target.pid())], "100ms", &otlp));
    let expression = "{__name__=\"asyncio.pending_tasks\"}";
    wait_until("metrics arrive", || !receiver.query(expression).is_empty());
    let received = receiver.query(expression);
    let (series, value) = received.first_key_value().expect("it is there");
    assert_eq!((received.len(), *value), (1, 5.0));
    assert_eq!(series["service.name"], "asyncio-agent");
    assert_eq!(series["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(series["host.name"], series["service.instance.id"]);
    assert_eq!(series["scope.name"], "asyncio-agent");
    assert_eq!(series["scope.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&*series["target"], &*series["team"]), ("shop", "a"));
    drop(agent);
    assert!(target.end().success());
}

#[test]
fn series_of_what_is_gone_end() {
    let receiver = VictoriaMetrics::start(&PROMETHEUS_NAMES);
    let start = || Target::start(python::all()[0].program("gather"));
    let (shop, mail, bank) = (start(), start(), start());
    let targets = [
        ("shop", shop.pid()),
        ("mail", mail.pid()),
        ("bank", bank.pid()),
    ];
    let otlp = otlp(&receiver.endpoint(), "metrics: {interval: 1s}");
    let mut agent = Agent::start(&config(&targets, "100ms", &otlp));
    // Of the latest requests only.
    let of = |metric: &str, target: &str| {
        let expression = format!("last_over_time({metric}{{target=\"{target}\"}}[3s])");
        receiver.query(&expression)
    };
    for (target, _) in targets {
        wait_until("all are told", || {
            !of("asyncio_pending_tasks", target).is_empty()
        });
    }
    // A process that ends, and a target that is configured no more.
    assert!(mail.end().success());
    agent.reload(&config(&targets[..2], "100ms", &otlp));
    for (metric, target) in [
        ("asyncio_pending_tasks", "mail"),
        ("asyncio_await_depth_count", "mail"),
        ("asyncio_process_info", "mail"),
        ("asyncio_target_up", "bank"),
        ("asyncio_agent_scans_total", "bank"),
    ] {
        wait_until("they end", || of(metric, target).is_empty());
        assert!(!of(metric, "shop").is_empty(), "{metric}");
    }
    let up = of("asyncio_target_up", "mail");
    assert_eq!(up.into_values().collect::<Vec<_>>(), [0.0]);
    drop(agent);
    assert!(shop.end().success() && bank.end().success());
}

#[test]
fn what_counters_grew_by_is_told_once_whatever_happens() {
    let receiver = VictoriaMetrics::start(&PROMETHEUS_NAMES);
    let target = Target::start(python::all()[0].program("gather"));
    let targets = [("shop", target.pid())];
    let delta = "metrics: {interval: 1s, temporality: delta}";
    let good = otlp(&receiver.endpoint(), delta);
    let mut agent = Agent::start(&config(&targets, "100ms", &good));
    let exports = |agent: &Agent, result: &str| {
        let labels = format!("signal=\"metrics\",result=\"{result}\"");
        let name = format!("asyncio_agent_otlp_exports_total{{{labels}}}");
        agent.value(&name).unwrap_or(0.0)
    };
    let wait_for = |agent: &Agent, result: &str| {
        let before = exports(agent, result);
        wait_until(result, || exports(agent, result) >= before + 2.0);
    };
    wait_for(&agent, "ok");
    // Nobody is there for a while.
    let bad = otlp(&format!("http://127.0.0.1:{}", free_port()), delta);
    agent.reload(&config(&targets, "100ms", &bad));
    wait_for(&agent, "failed");
    agent.reload(&config(&targets, "100ms", &good));
    wait_for(&agent, "ok");
    // Nothing is sent for a while.
    let rounds = |agent: &Agent| {
        let name = "asyncio_agent_scans_total{target=\"shop\",result=\"ok\",team=\"a\"}";
        agent.value(name).unwrap_or(0.0)
    };
    let nothing = config(&targets, "100ms", "enabled: false");
    agent.reload(&nothing);
    let before = rounds(&agent);
    wait_until("rounds go on", || rounds(&agent) >= before + 10.0);
    agent.reload(&config(&targets, "100ms", &good));
    wait_for(&agent, "ok");
    // Other settings of the same receiver.
    let other = good.replace("interval: 1s", "interval: 2s");
    agent.reload(&config(&targets, "100ms", &other));
    wait_for(&agent, "ok");
    agent.reload(&config(&targets, "1h", &other));
    wait_until_equal(&agent, || added_up(&receiver));
    drop(agent);
    assert!(target.end().success());
}

#[test]
fn what_counters_grew_by_is_told_once_whatever_labels_they_have() {
    let receiver = VictoriaMetrics::start(&PROMETHEUS_NAMES);
    let target = Target::start(python::all()[0].program("gather"));
    let targets = [("shop", target.pid())];
    let delta = "metrics: {interval: 1s, temporality: delta}";
    let labeled = |team: &str, interval: &str, per_process: bool| {
        config(&targets, interval, &otlp(&receiver.endpoint(), delta))
            .replace("team: a", &format!("team: {team}"))
            .replace("per_process: true", &format!("per_process: {per_process}"))
    };
    let mut agent = Agent::start(&labeled("a", "100ms", false));
    let wait_for_team = |team: &str| {
        let of_team = format!("{{__name__=~\"asyncio_.*_total\",team=\"{team}\"}}");
        wait_until("it is told", || !receiver.query(&of_team).is_empty());
    };
    wait_for_team("a");
    for (team, per_process) in [("b", false), ("c", true), ("d", false)] {
        agent.reload(&labeled(team, "100ms", per_process));
        wait_for_team(team);
    }
    agent.reload(&labeled("d", "1h", false));
    let without_team = |all: BTreeMap<Series, f64>| {
        let counters = all.into_iter().filter(|(series, _)| {
            series["__name__"].ends_with("_total") && series.contains_key("target")
        });
        let mut sums: BTreeMap<Series, f64> = BTreeMap::new();
        for (mut series, value) in counters {
            series.remove("team");
            series.remove("pid");
            *sums.entry(series).or_default() += value;
        }
        sums
    };
    wait_until("the sums are those that are served", || {
        let differs = difference(
            &without_team(served(&agent)),
            &without_team(receiver.query(SUMS)),
        );
        differs.is_empty()
    });
    drop(agent);
    assert!(target.end().success());
}

#[test]
fn a_secret_that_was_renewed_is_used_after_a_reload() {
    let users = ["-httpAuth.username=agent", "-httpAuth.password=secret"];
    let receiver = VictoriaMetrics::start(&users);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("authorization");
    // agent:wrong
    fs::write(&file, "Basic YWdlbnQ6d3Jvbmc=\n").expect("our own file");
    let target = Target::start(python::all()[0].program("gather"));
    let more = format!(
        "headers_file: {{authorization: {}}}, metrics: {{interval: 1s}}",
        file.display()
    );
    let config = config(
        &[("shop", target.pid())],
        "100ms",
        &otlp(&receiver.endpoint(), &more),
    );
    let mut agent = Agent::start(&config);
    let exports = |result: &str| {
        format!("asyncio_agent_otlp_exports_total{{signal=\"metrics\",result=\"{result}\"}}")
    };
    wait_until("it is refused", || {
        agent.value(&exports("failed")).is_some_and(|n| n >= 1.0)
    });
    assert_eq!(agent.value(&exports("ok")), Some(0.0));
    assert!(agent.log().contains("401"), "{}", agent.log());
    // agent:secret
    fs::write(&file, "Basic YWdlbnQ6c2VjcmV0\n").expect("our own file");
    agent.reload(&config);
    wait_until("it is let in", || {
        agent.value(&exports("ok")).is_some_and(|n| n >= 1.0)
    });
    let (_, log) = agent.end_with("TERM");
    assert!(log.contains("files of exporters.otlp"), "{log}");
    assert!(!log.contains("YWdlbnQ"), "{log}");
    assert!(target.end().success());
}
