//! VictoriaMetrics, which takes metrics over OTLP and answers PromQL.

use super::agent::get;
use super::servers::{Server, free_port, percent_encoded};
use super::target::wait_until;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpStream;
use tempfile::TempDir;

/// A series: its name and its labels, the name as `__name__`.
pub type Series = BTreeMap<String, String>;

/// A running VictoriaMetrics.
pub struct VictoriaMetrics {
    port: u16,
    _folder: TempDir,
    _server: Server,
}

impl VictoriaMetrics {
    /// Starts it with these flags, and waits until it listens.
    pub fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let mut arguments = vec![
            format!("-httpListenAddr=127.0.0.1:{port}"),
            format!("-storageDataPath={}", folder.path().join("data").display()),
            "-retentionPeriod=1d".to_owned(),
            // What is there is shown.
            "-search.latencyOffset=0s".to_owned(),
        ];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let server = Server::start("victoria-metrics", &arguments, folder.path());
        wait_until("VictoriaMetrics listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self {
            port,
            _folder: folder,
            _server: server,
        }
    }

    /// Where metrics are sent to.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/opentelemetry", self.port)
    }

    /// The series and values that an expression has now.
    pub fn query(&self, expression: &str) -> BTreeMap<Series, f64> {
        // What came just now is not yet in any answer otherwise.
        self.call("/internal/force_flush");
        let query = percent_encoded(expression);
        let answer = self.json(&format!("/api/v1/query?nocache=1&query={query}"));
        let results = answer["data"]["result"].as_array().expect("a list").iter();
        results
            .map(|result| {
                let metric = serde_json::from_value(result["metric"].clone()).expect("labels");
                let value = result["value"][1].as_str().expect("a number in a text");
                (metric, value.parse().expect("a number"))
            })
            .collect()
    }

    /// Type, unit and help of each metric.
    pub fn metadata(&self) -> Value {
        self.json("/api/v1/metadata?limit=1000")["data"].clone()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.call(path)).expect("JSON")
    }

    fn call(&self, path: &str) -> String {
        let (status, body) = get(&format!("127.0.0.1:{}", self.port), path, "*/*");
        assert!(status.contains(" 200 "), "{path}: {status}\n{body}");
        body
    }
}
