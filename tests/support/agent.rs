//! The agent as a program of its own, asked over a socket.

use super::target::{text_of, wait_until};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// A running agent.
pub struct Agent {
    child: Child,
    log: File,
    address: String,
    folder: TempDir,
}

impl Agent {
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// With more in its environment.
    pub fn start_with(config: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_command(config, |path| {
            let mut command = agent(path);
            command.envs(environment.iter().copied());
            command
        })
    }

    /// By a command of one's own, which is told where the configuration is.
    pub fn start_command(config: &str, command: impl FnOnce(&Path) -> Command) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("agent.yaml");
        fs::write(&path, config).expect("our own file");
        let log = tempfile::tempfile().expect("a temporary file");
        let child = command(&path)
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log.try_clone().expect("a second handle"))
            .spawn()
            .expect("the agent starts");
        let mut agent = Self {
            child,
            log,
            address: String::new(),
            folder,
        };
        wait_until("the agent listens", || {
            let log = text_of(&mut agent.log);
            let ended = agent.child.try_wait().expect("our own child");
            assert!(ended.is_none(), "the agent ended: {ended:?}\n{log}");
            agent.address = address_in(&log).unwrap_or_default();
            !agent.address.is_empty()
        });
        agent
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What is served at a path: the status line and the body.
    pub fn get(&self, path: &str) -> (String, String) {
        self.get_as(path, "*/*")
    }

    /// The same, in the format that is asked for.
    pub fn get_as(&self, path: &str, accept: &str) -> (String, String) {
        get(&self.address, path, accept)
    }

    /// The value of a metric with these labels, if it is served.
    pub fn value(&self, metric: &str) -> Option<f64> {
        let (status, body) = self.get("/metrics");
        assert!(status.contains(" 200 "), "{status}");
        let line = body
            .lines()
            .find(|line| line.rsplit_once(' ').is_some_and(|l| l.0 == metric))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    pub fn wait_for_value(&self, metric: &str, expected: f64) {
        wait_until(&format!("{metric} is {expected}"), || {
            self.value(metric) == Some(expected)
        });
    }

    /// Replaces its configuration, which it reads when it is told to.
    pub fn rewrite(&self, config: &str) {
        fs::write(self.folder.path().join("agent.yaml"), config).expect("our own file");
    }

    /// Gives it another configuration, and waits until it has it.
    pub fn reload(&mut self, config: &str) {
        self.rewrite(config);
        let read_again = "the configuration was read again";
        let n_before = self.log().matches(read_again).count();
        self.signal("HUP");
        wait_until("the configuration is read again", || {
            self.log().matches(read_again).count() > n_before
        });
    }

    /// What it has said so far.
    pub fn log(&mut self) -> String {
        text_of(&mut self.log)
    }

    pub fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        let sent = Command::new("sh")
            .args(["-c", &kill])
            .status()
            .expect("a shell");
        assert!(sent.success());
    }

    /// Sends a signal and waits for the end.
    pub fn end_with(mut self, signal: &str) -> (ExitStatus, String) {
        self.signal(signal);
        let mut status = None;
        wait_until("the agent ends", || {
            status = self.child.try_wait().expect("our own child");
            status.is_some()
        });
        (status.expect("it ended"), text_of(&mut self.log))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server has at a path: the status line and the body.
pub fn get(address: &str, path: &str, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    )
    .expect("the server reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the server answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.lines().next().unwrap_or_default().to_owned();
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        return (status, dechunked(body));
    }
    (status, body.to_owned())
}

pub fn agent(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asyncio-agent"));
    command
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .env("NO_COLOR", "1");
    command
}

fn address_in(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("listening"))?;
    let address = line.split("address=").nth(1)?;
    let address = address.split_whitespace().next()?.trim_matches('"');
    address.contains(':').then(|| address.to_owned())
}

fn dechunked(body: &str) -> String {
    let mut rest = body;
    let mut whole = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 {
            break;
        }
        whole.push_str(&after[..length]);
        rest = after[length..].trim_start_matches("\r\n");
    }
    whole
}
