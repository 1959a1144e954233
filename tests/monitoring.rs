//! What stands between a program that hangs and the person who is called: Prometheus and Alertmanager as they
//! are, the rules of `dashboards/`, and the agent that watches real programs.

mod support;

use asyncio_agent::metrics::CATALOG;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use support::agent::Agent;
use support::python;
use support::servers::{Prometheus, Server, free_port, program};
use support::target::{Target, wait_until};
use tempfile::TempDir;

fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut child = program("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("promtool ends")
}

fn assert_good(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}

#[test]
fn the_rules_are_good_and_fire_when_they_should() {
    let path = |name: &str| dashboards().join(name).display().to_string();
    let check = [
        "check",
        "rules",
        "--lint=all",
        "--lint-fatal",
        &path("rules.yaml"),
    ];
    assert_good(&promtool(&check, ""));
    for tests in ["rules_test.yaml", "rules_days_test.yaml"] {
        assert_good(&promtool(&["test", "rules", &path(tests)], ""));
    }
}

#[test]
fn every_alert_has_a_page_and_a_test_and_knows_its_metrics() {
    let rules = fs::read_to_string(dashboards().join("rules.yaml")).expect("our own file");
    let tests = fs::read_to_string(dashboards().join("rules_test.yaml")).expect("our own file");
    let after = |key: &str| -> BTreeSet<String> {
        let lines = rules.lines();
        let names = lines.filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix(key));
        names.map(|name| name.trim().to_owned()).collect()
    };
    let alerts = after("alert:");
    assert!(alerts.len() >= 10);
    let pages = fs::read_dir(dashboards().join("runbooks")).expect("our own folder");
    let pages: BTreeSet<String> = pages
        .map(|page| page.expect("an entry").path())
        .map(|page| {
            page.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(alerts, pages, "alerts, and pages in runbooks/");
    let runbooks = after("runbook_url:");
    for alert in &alerts {
        assert!(
            runbooks.contains(&format!(
                "http://{{{{ $labels.instance }}}}/runbooks/{alert}"
            )),
            "{alert}"
        );
        let is_tested = |expected: &str| {
            let mut lines = tests.lines();
            lines.any(|line| line.contains(expected))
        };
        assert!(
            is_tested(&format!("alertname: {alert}")),
            "{alert} has no test"
        );
    }
    let records = after("record:");
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    for word in rules.split(|c| !is_name(c)) {
        let is_metric = word.starts_with("asyncio_") || word.starts_with("target:");
        let is_known = CATALOG.iter().any(|metric| metric.name == word) || records.contains(word);
        assert!(!is_metric || is_known, "{word} is no metric");
    }
}

/// A program of the tests that is watched under the name of it.
fn agent_config(target: &Target, program: &str) -> String {
    format!(
        "web: {{listen: 127.0.0.1:0}}\ndiscovery: {{interval: 100ms}}\n\
         targets: [{{name: {program}, match: {{pid: {}}}, interval: 200ms}}]\n",
        target.pid()
    )
}

#[test]
fn what_the_agent_serves_is_to_promtools_liking() {
    let target = Target::start(python::all()[0].program("cycle_of_two"));
    let agent = Agent::start(&agent_config(&target, "cycle"));
    agent.wait_for_value("asyncio_await_cycles{target=\"cycle\"}", 1.0);
    let (_, metrics) = agent.get("/metrics");
    let checked = promtool(&["check", "metrics"], &metrics);
    assert_good(&checked);
}

/// Takes the alerts that are posted to it.
struct Webhook {
    port: u16,
    received: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(alerts) = take_post(stream) {
                    taken.lock().expect("nobody panicked").extend(alerts);
                }
            }
        });
        Self { port, received }
    }

    /// The first alert of this name and status.
    fn alert(&self, name: &str, status: &str) -> Option<Value> {
        let received = self.received.lock().expect("nobody panicked");
        let mut alerts = received.iter();
        alerts
            .find(|alert| alert["labels"]["alertname"] == name && alert["status"] == status)
            .cloned()
    }
}

/// Reads one request, answers it, and gives the alerts in its body.
fn take_post(stream: TcpStream) -> Option<Vec<Value>> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    reader.get_mut().write_all(answer).ok()?;
    let body: Value = serde_json::from_slice(&body).ok()?;
    body["alerts"].as_array().cloned()
}

/// Prometheus with our rules, which alert after seconds in place of minutes.
fn start_prometheus(agent: &Agent, alertmanager_port: u16) -> Prometheus {
    let rules = fs::read_to_string(dashboards().join("rules.yaml")).expect("our own file");
    let mut sooner = rules;
    for (late, soon) in [
        ("        for: 1m\n", "        for: 1s\n"),
        ("keep_firing_for: 5m\n", "keep_firing_for: 1s\n"),
    ] {
        assert!(sooner.contains(late));
        sooner = sooner.replace(late, soon);
    }
    let config = format!(
        "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\n\
         rule_files: [rules.yaml]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager_port}']}}]}}]}}\n\
         scrape_configs: [{{job_name: asyncio-agent, static_configs: [{{targets: ['{}']}}]}}]\n",
        agent.address()
    );
    Prometheus::start(&config, &[("rules.yaml", &sooner)])
}

/// Alertmanager, which tells the webhook.
fn start_alertmanager(folder: &TempDir, webhook: &Webhook, port: u16) -> Server {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config = format!(
        "global: {{resolve_timeout: 5s}}\n\
         route: {{receiver: hook, group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
         receivers: [{{name: hook, webhook_configs: [{{url: 'http://127.0.0.1:{}/', send_resolved: true}}]}}]\n",
        webhook.port
    );
    fs::write(path("alertmanager.yaml"), config).expect("our own folder");
    let arguments = [
        format!("--config.file={}", path("alertmanager.yaml")),
        format!("--storage.path={}", path("alertmanager")),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".to_owned(),
    ];
    Server::start("prometheus-alertmanager", &arguments, folder.path())
}

#[test]
fn a_cycle_calls_somebody_and_its_end_calls_off() {
    let target = Target::start(python::all()[0].program("cycle_of_two"));
    let agent = Agent::start(&agent_config(&target, "shop"));
    let webhook = Webhook::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let alertmanager = start_alertmanager(&folder, &webhook, port);
    let prometheus = start_prometheus(&agent, port);
    let logs = || {
        let log = folder.path().join("prometheus-alertmanager.log");
        prometheus.log() + &fs::read_to_string(log).unwrap_or_default()
    };
    let called = |status: &str| webhook.alert("AsyncioAwaitCycle", status);
    let wait = |status: &str| {
        let wait = std::panic::AssertUnwindSafe(|| {
            wait_until(status, || called(status).is_some());
        });
        assert!(
            std::panic::catch_unwind(wait).is_ok(),
            "not {status}:\n{}",
            logs()
        );
    };
    wait("firing");
    let alert = called("firing").expect("it was waited for");
    assert_eq!(alert["labels"]["severity"], "critical");
    assert_eq!(alert["labels"]["target"], "shop");
    let at_agent = |url: &str| {
        let path = url.strip_prefix(&format!("http://{}", agent.address()));
        let (status, body) = agent.get(path.unwrap_or_else(|| panic!("{url}")));
        assert!(status.contains(" 200 "), "{url}: {status}");
        body
    };
    let runbook = alert["annotations"]["runbook_url"].as_str();
    let runbook = at_agent(runbook.expect("a text"));
    assert!(runbook.starts_with("# AsyncioAwaitCycle\n"), "{runbook}");

    // The annotation leads to the path.
    let description = alert["annotations"]["description"]
        .as_str()
        .expect("a text");
    let url = description
        .split_whitespace()
        .find(|word| word.contains("/api/"));
    let findings = at_agent(url.unwrap_or_else(|| panic!("{description}")));
    let findings: Value = serde_json::from_str(&findings).expect("JSON");
    assert_eq!(findings["findings"][0]["pid"], target.pid());
    let (status, others) = agent.get("/api/v1/findings?target=shop2");
    assert!(status.contains(" 404 "), "{status}: {others}");
    let path = findings["findings"][0]["path"].as_str().expect("a path");
    assert!(
        path.contains("cycle_of_two.py:") && path.contains(" -> "),
        "{path}"
    );

    assert!(target.end().success());
    wait("resolved");
    drop((prometheus, alertmanager));
}
