//! The answers of the agent's HTTP interface and of its socket, as JSON.

use super::layout::OneLine;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Serializer;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The answer of `/api/v1/targets`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetsAnswer {
    /// The targets, in the order of the configuration.
    pub targets: Vec<TargetAnswer>,
    /// Processes of which it cannot be found out whether they belong to a target.
    #[serde(default)]
    pub hidden_processes: u64,
    /// How far the agent is.
    #[serde(flatten)]
    pub progress: ProgressAnswer,
}

/// Whether the agent has looked at everything, without which nothing that is missing says that it is not there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProgressAnswer {
    /// Whether the processes that were there when it started have all been looked at once, as `/-/ready` says; an agent
    /// that does not say so is older and may or may not have done it.
    #[serde(default = "not_told_otherwise")]
    pub ready: bool,
    /// For how long it has run, in seconds; `None` if it does not say so.
    #[serde(default)]
    pub running_seconds: Option<f64>,
    /// What it lacks to read processes of all users, as advice; `None`: nothing that it knows of.
    #[serde(default)]
    pub lacks: Option<String>,
    /// Processes that belong to targets and are not watched, because there are more than `limits.processes` allows.
    #[serde(default)]
    pub left_out_processes: u64,
}

fn not_told_otherwise() -> bool {
    true
}

/// A target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetAnswer {
    /// Its name: the label `target`.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is up, as `asyncio_target_up` says.
    pub up: bool,
    /// Its processes.
    pub processes: Vec<ProcessAnswer>,
}

/// A process of a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessAnswer {
    /// Its id.
    pub pid: i32,
    /// How its latest round ended, as the label `result` says; `new` before the first, `hangs` while a round
    /// takes much too long, `late` when one should have ended long ago.
    pub state: Cow<'static, str>,
    /// Why it could not be read, or not all of it; empty if all was read.
    pub error: String,
    /// When its latest round ended, in seconds since the Unix epoch.
    pub scanned_at: Option<f64>,
    /// How long that took, in seconds.
    pub scan_seconds: Option<f64>,
    /// The version of Python that it runs.
    pub python_version: Option<String>,
    /// Its executable file.
    pub executable: Option<String>,
    /// Tasks that are not done, those included that were only counted.
    pub pending_tasks: Option<u64>,
    /// Cycles that are confirmed and present; `None` if nothing is known of its tasks.
    pub await_cycles: Option<u64>,
    /// Tasks that are stuck; `None` likewise.
    pub stuck_tasks: Option<u64>,
}

/// The answer of `/api/v1/findings`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindingsAnswer {
    /// Those that are open, by target and process; of one process cycles come first.
    pub findings: Vec<FindingAnswer>,
    /// What is open besides, and not told one by one because there is so much of it in one process.
    #[serde(default)]
    pub omitted: Vec<OmittedFindings>,
    /// How far the agent is.
    #[serde(flatten)]
    pub progress: ProgressAnswer,
}

/// Findings of a process that are only counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OmittedFindings {
    /// The target of their process.
    pub target: String,
    /// Their process.
    pub pid: i32,
    /// What kind they are, as of a finding.
    pub kind: Cow<'static, str>,
    /// How many there are.
    pub count: u64,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindingAnswer {
    /// The target of its process.
    pub target: String,
    /// Its process.
    pub pid: i32,
    /// `await_cycle` or `stuck_task`.
    pub kind: Cow<'static, str>,
    /// Stays the same from round to round.
    pub fingerprint: String,
    /// When it was first seen, in seconds since the Unix epoch.
    pub first_seen: f64,
    /// For how long it has been seen, in seconds.
    pub age_seconds: f64,
    /// All of it in one line.
    pub path: String,
    /// The trace in which it was sent over OTLP, or waits to be; none if that was dropped or refused.
    pub trace_id: Option<String>,
    /// Its tasks. Of a cycle each awaits the next, the last awaits the first.
    pub tasks: Vec<FindingTaskAnswer>,
    /// How many more there are.
    pub tasks_omitted: u64,
}

/// A task of a finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindingTaskAnswer {
    /// Its address, in hexadecimal digits.
    pub task_id: String,
    /// Its name.
    pub task_name: String,
    /// The qualified name of its coroutine function.
    pub coroutine: String,
    /// Its stack, innermost frame first.
    pub coroutine_stack: Vec<FindingFrameAnswer>,
}

/// Where a frame stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindingFrameAnswer {
    /// Qualified name of the function.
    pub funcname: String,
    /// Its file.
    pub filename: String,
    /// The line, from 1.
    pub lineno: Option<u32>,
}

/// An answer as JSON and a final line feed.
pub fn answer_to_json(answer: &impl Serialize) -> Vec<u8> {
    // None of the answers has a part that could fail: no map with other keys than text.
    let mut json = Vec::new();
    let _ = answer.serialize(&mut Serializer::with_formatter(&mut json, OneLine));
    json.push(b'\n');
    json
}

/// Reads what [`answer_to_json`] writes. What a newer agent has added is left out.
///
/// # Errors
///
/// When it is something else.
pub fn answer_from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(json)
}
