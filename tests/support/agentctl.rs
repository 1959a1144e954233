//! Running `agentctl`, and what it answers.

use serde_json::Value;
use std::process::{Command, Output, Stdio};

/// What a command wrote and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// Runs a command to its end.
    pub fn of(mut command: Command) -> Self {
        let output: Output = command
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `agentctl`, which asks no agent that this machine may have; one that hangs ends with status 124.
pub fn run(arguments: &[&str]) -> Answer {
    let mut command = Command::new("timeout");
    command
        .env("ASYNCIO_AGENT_SOCKET", "")
        .arg("120")
        .arg(env!("CARGO_BIN_EXE_agentctl"))
        .args(arguments);
    Answer::of(command)
}

/// The snapshot of a process that can be read in full.
pub fn snapshot(pid: u32) -> Value {
    let answer = run(&["snapshot", &pid.to_string()]);
    assert_eq!(
        (answer.status, answer.stderr.as_str()),
        (0, ""),
        "agentctl snapshot {pid}"
    );
    serde_json::from_str(&answer.stdout).expect("a snapshot is JSON")
}
