//! rotel, a receiver of OpenTelemetry that is not ours (`tests/receivers.sh` brings it), and what it received.

use super::servers::free_port;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running rotel, which writes down what it receives.
pub struct Receiver {
    child: Child,
    folder: TempDir,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Receiver {
    /// Starts it.
    pub fn start(ports: Ports) -> Self {
        let detailed = ["--debug-log-verbosity", "detailed"];
        let all = ["--debug-log", "traces", "--debug-log", "metrics"];
        Self::start_with(ports, &[&all[..], &detailed].concat())
    }

    /// Starts one that writes down nothing, for measurements.
    pub fn start_quiet(ports: Ports) -> Self {
        Self::start_with(ports, &[])
    }

    fn start_with(ports: Ports, arguments: &[&str]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/receivers/bin/rotel");
        assert!(
            path.exists(),
            "{} is missing: run `make receivers`, which brings it (`make test` does)",
            path.display()
        );
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("log")).expect("our own folder");
        let child = Command::new(path)
            .arg("start")
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{}", ports.grpc)])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{}", ports.http)])
            .args(["--exporter", "blackhole"])
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("rotel starts");
        Self { child, folder }
    }

    pub fn log(&self) -> String {
        let path: PathBuf = self.folder.path().join("log");
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
    }

    /// The spans that it received so far.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        let mut spans: Vec<ReceivedSpan> = Vec::new();
        let mut resource = BTreeMap::new();
        let mut is_resource = false;
        for line in self.log().lines() {
            let text = line.trim();
            if text.starts_with("ResourceSpans #") {
                resource = BTreeMap::new();
                is_resource = true;
            } else if text.starts_with("ResourceMetrics #") || text.starts_with("ScopeMetrics #") {
                is_resource = false;
            } else if text.starts_with("Span #") {
                is_resource = false;
                spans.push(ReceivedSpan {
                    resource: resource.clone(),
                    ..ReceivedSpan::default()
                });
            } else if text.starts_with("SpanLink #") {
                if let Some(span) = spans.last_mut() {
                    span.links.push(BTreeMap::new());
                }
            } else if let Some((key, value)) = field(text) {
                let is_attribute = text.starts_with("->");
                match spans.last_mut() {
                    _ if is_resource && is_attribute => {
                        resource.insert(key, value);
                    }
                    Some(span) => span.take(key, value, is_attribute),
                    None => {}
                }
            }
        }
        spans
    }

    /// The names of metrics that it received so far, of each request.
    pub fn metrics(&self) -> Vec<String> {
        let metrics = self.units().into_iter();
        metrics.map(|(name, _)| name).collect()
    }

    /// The data points of metrics that it received so far, those of histograms left out.
    pub fn points(&self) -> Vec<ReceivedPoint> {
        let mut points: Vec<ReceivedPoint> = Vec::new();
        let (mut metric, mut temporality, mut is_number) = (String::new(), String::new(), false);
        for line in self.log().lines() {
            let text = line.trim();
            if text.starts_with("NumberDataPoints #") {
                is_number = true;
                points.push(ReceivedPoint {
                    metric: metric.clone(),
                    temporality: temporality.clone(),
                    ..ReceivedPoint::default()
                });
            } else if ["ResourceMetrics #", "Descriptor:", "Histogram"]
                .iter()
                .any(|it| text.starts_with(it))
            {
                is_number = false;
            } else if let Some((key, value)) = field(text) {
                let is_attribute = text.starts_with("->");
                let point = points.last_mut().filter(|_| is_number);
                match (point, &*key) {
                    (Some(point), _) if is_attribute => {
                        point.attributes.insert(key, value);
                    }
                    (Some(point), "StartTimestamp") => point.start = value.parse().unwrap_or(0),
                    (Some(point), "Timestamp") => point.time = value.parse().unwrap_or(0),
                    (None, "Name") => (metric, temporality) = (value, String::new()),
                    (None, "AggregationTemporality") => temporality = value,
                    _ => {}
                }
            }
        }
        points
    }

    /// The same, with their units.
    pub fn units(&self) -> Vec<(String, String)> {
        let log = self.log();
        let after = |line: &str, key: &str| {
            let value = line.trim().strip_prefix(key)?;
            Some(value.trim_start().to_owned())
        };
        let mut metrics: Vec<(String, String)> = Vec::new();
        for line in log.lines() {
            if let Some(name) = after(line, "-> Name:") {
                metrics.push((name, String::new()));
            } else if let (Some(unit), Some(metric)) = (after(line, "-> Unit:"), metrics.last_mut())
            {
                metric.1 = unit;
            }
        }
        metrics
    }
}

/// `key : value`, with or without an arrow before it; texts without their type.
fn field(text: &str) -> Option<(String, String)> {
    let text = text.strip_prefix("-> ").unwrap_or(text);
    let (key, value) = text.split_once(':')?;
    let value = value.trim_start_matches(':').trim();
    let inner = ["Str(", "Int(", "Bool(", "Double("];
    let inner = inner
        .iter()
        .find_map(|kind| value.strip_prefix(kind)?.strip_suffix(')'));
    Some((key.trim().to_owned(), inner.unwrap_or(value).to_owned()))
}

/// A data point of a metric; times in nanoseconds.
#[derive(Debug, Default, Clone)]
pub struct ReceivedPoint {
    pub metric: String,
    pub temporality: String,
    pub attributes: BTreeMap<String, String>,
    pub start: u64,
    pub time: u64,
}

#[derive(Debug, Default, Clone)]
pub struct ReceivedSpan {
    pub resource: BTreeMap<String, String>,
    pub fields: BTreeMap<String, String>,
    pub attributes: BTreeMap<String, String>,
    pub links: Vec<BTreeMap<String, String>>,
}

impl ReceivedSpan {
    fn take(&mut self, key: String, value: String, is_attribute: bool) {
        match (self.links.last_mut(), is_attribute) {
            (Some(link), true) => link.insert(key, value),
            (None, true) => self.attributes.insert(key, value),
            (_, false) => self.fields.insert(key, value),
        };
    }

    pub fn field(&self, key: &str) -> &str {
        self.fields.get(key).map_or("", String::as_str)
    }

    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub grpc: u16,
    pub http: u16,
}

impl Ports {
    /// The one of a protocol.
    pub fn of(self, protocol: &str) -> u16 {
        match protocol {
            "grpc" => self.grpc,
            _ => self.http,
        }
    }

    pub fn free() -> Self {
        let (grpc, http) = (free_port(), free_port());
        Self { grpc, http }
    }
}
