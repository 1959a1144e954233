//! The servers that `tests/servers.sh` brings: Prometheus and its tools, Alertmanager, VictoriaMetrics.

use super::agent::get;
use super::target::wait_until;
use serde_json::Value;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A program that `tests/servers.sh` brings.
pub fn program(name: &str) -> Command {
    let servers = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers/bin");
    let path = servers.join(name);
    assert!(
        path.exists(),
        "{} is missing: run `make servers`, which brings it (`make test` does)",
        path.display()
    );
    Command::new(path)
}

/// A server that is ended with the test.
pub struct Server(Child);

impl Server {
    /// Starts a program; what it says goes to `PROGRAM.log` in the folder.
    pub fn start(name: &str, arguments: &[String], folder: &Path) -> Self {
        let log = File::create(folder.join(format!("{name}.log"))).expect("our own folder");
        let child = program(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{name} does not start: {error}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A running Prometheus.
pub struct Prometheus {
    folder: TempDir,
    port: u16,
    _server: Server,
}

impl Prometheus {
    /// Starts it with this configuration, and these files beside it.
    pub fn start(config: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        for (name, text) in files.iter().chain(&[("prometheus.yaml", config)]) {
            fs::write(path(name), text).expect("our own folder");
        }
        let port = free_port();
        let arguments = [
            format!("--config.file={}", path("prometheus.yaml")),
            format!("--storage.tsdb.path={}", path("data")),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--enable-feature=exemplar-storage".to_owned(),
        ];
        let server = Server::start("prometheus", &arguments, folder.path());
        Self {
            folder,
            port,
            _server: server,
        }
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("prometheus.log")).unwrap_or_default()
    }

    /// Waits until an expression has a result.
    pub fn wait_for(&self, expression: &str) {
        wait_until(&format!("a result of {expression}"), || {
            // Nothing is answered before it has started.
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
                && self.is_ready()
                && !self.query(expression).is_empty()
        });
    }

    fn is_ready(&self) -> bool {
        get(&self.address(), "/-/ready", "*/*").0.contains(" 200 ")
    }

    /// The series that an expression has as its result now.
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let query = percent_encoded(expression);
        self.results(&format!("query?query={query}"), expression)
    }

    /// The series that an expression had in the last seconds.
    pub fn query_range(&self, expression: &str, seconds: u32) -> Vec<Value> {
        let now = self.query("vector(time())");
        let now = now[0]["value"][0].as_f64().expect("a time");
        let start = now - f64::from(seconds);
        let query = percent_encoded(expression);
        let call = format!("query_range?query={query}&start={start}&end={now}&step=1");
        self.results(&call, expression)
    }

    /// The exemplars of the series that an expression has, of the last hour: their labels and values.
    pub fn exemplars(&self, expression: &str) -> Vec<(Value, Value)> {
        let now = self.query("vector(time())");
        let now = now[0]["value"][0].as_f64().expect("a time");
        let query = percent_encoded(expression);
        let start = now - 3_600.0;
        let call = format!("query_exemplars?query={query}&start={start}&end={now}");
        let answer = self.call(&call, expression);
        let series = answer["data"].as_array().expect("a list").iter();
        let exemplars = series.flat_map(|of| {
            let all = of["exemplars"].as_array().expect("a list").iter();
            all.map(|it| (of["seriesLabels"].clone(), it.clone()))
        });
        exemplars.collect()
    }

    /// The values that a label has in the series that match.
    pub fn label_values(&self, label: &str, matching: &str) -> Vec<String> {
        let matching = percent_encoded(matching);
        let answer = self.call(&format!("label/{label}/values?match[]={matching}"), label);
        let values = answer["data"].as_array().expect("a list").iter();
        values
            .map(|value| value.as_str().expect("a text").to_owned())
            .collect()
    }

    fn results(&self, call: &str, expression: &str) -> Vec<Value> {
        let answer = self.call(call, expression);
        answer["data"]["result"].as_array().expect("a list").clone()
    }

    fn call(&self, call: &str, what: &str) -> Value {
        let (status, body) = get(&self.address(), &format!("/api/v1/{call}"), "*/*");
        assert!(status.contains(" 200 "), "{what}: {status}\n{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

pub fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
