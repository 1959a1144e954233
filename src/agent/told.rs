//! What the log says of processes and of what was found in them: once for each change of state.

use super::otlp::Sent;
use crate::analysis::{Finding, Observation};
use crate::ids::ProcessId;
use crate::metrics::{RoundOutcome, Scan, limit_label};
use crate::sanitize::escape_start;
use std::sync::Arc;

/// Characters of the path of a finding in the log.
const PATH_CHARS_MAX: usize = 4_096;

/// One line for each finding that is new, and for each that has ended.
pub(super) fn log_findings(
    target: &str,
    process: ProcessId,
    observation: &Observation,
    sent: &Sent,
) {
    let pid = process.pid.as_raw();
    for finding in &observation.findings {
        let trace = sent.told.iter().find(|(it, _)| *it == finding.fingerprint);
        let trace_id = trace.map(|(_, trace)| tracing::field::display(*trace));
        if observation.opened.contains(&finding.fingerprint) {
            let (kind, fingerprint) = (finding.kind.as_str(), finding.fingerprint);
            let (path, age_s) = (finding.to_string(), finding.age.as_secs());
            let path = escape_start(&path, PATH_CHARS_MAX);
            let untold = sent.untold.iter().find(|(it, _)| *it == fingerprint);
            let no_trace = untold.map(|(_, why)| why);
            tracing::warn!(target, pid, kind, %fingerprint, age_s, trace_id, no_trace, %path, "found");
        } else if let Some(trace_id) = trace_id {
            let (kind, fingerprint) = (finding.kind.as_str(), finding.fingerprint);
            tracing::info!(target, pid, kind, %fingerprint, trace_id, "sent as a trace, which it was not before");
        }
    }
    log_ended(target, process, &observation.closed);
}

/// One line for each finding that has ended, by itself or with its process.
pub(super) fn log_ended<'f>(
    target: &str,
    process: ProcessId,
    findings: impl IntoIterator<Item = &'f Arc<Finding>>,
) {
    let pid = process.pid.as_raw();
    for finding in findings {
        let (kind, fingerprint) = (finding.kind.as_str(), finding.fingerprint);
        let age_s = finding.age.as_secs();
        tracing::info!(target, pid, kind, %fingerprint, age_s, "found no more");
    }
}

/// One line when the outcome is of another kind than that of the round before.
pub(super) fn log_change(
    target: &str,
    process: ProcessId,
    before: Option<RoundOutcome>,
    now: RoundOutcome,
    failure: Option<(&'static str, String)>,
) {
    let kind = |outcome: RoundOutcome| (outcome.is_read(), outcome.is_failure());
    if before.map(kind) == Some(kind(now)) || now == RoundOutcome::Gone {
        return;
    }
    let pid = process.pid.as_raw();
    let (code, error) = failure.unwrap_or_default();
    if now.is_failure() {
        tracing::warn!(target, pid, code, error, "process cannot be read");
    } else if now.is_read() {
        tracing::info!(target, pid, "process is read");
    } else {
        tracing::info!(target, pid, code, error, "process is not one to read");
    }
}

/// One line when a process is over limits that it was not over in the round before, and one when it is over none
/// any more.
pub(super) fn log_limits(target: &str, process: ProcessId, before: Option<&Scan>, now: &Scan) {
    let pid = process.pid.as_raw();
    let limits_before = before.map(|scan| scan.limit_hits).unwrap_or_default();
    if now.limit_hits == limits_before || !now.outcome.is_read() {
        return;
    }
    let limits: Vec<&str> = now.limit_hits.names().map(limit_label).collect();
    let (limits, n_tasks) = (limits.join(","), now.tasks_read().unwrap_or(0));
    let n_counted = now.tasks_counted;
    if now.limit_hits.is_costly() {
        tracing::warn!(
            target,
            pid,
            limits,
            n_tasks,
            n_counted,
            "the process is over a limit: the rest of its tasks is at most counted, and it is read less and less often"
        );
    } else if limits.is_empty() {
        tracing::info!(target, pid, "the process is within the limits again");
    } else {
        tracing::warn!(
            target,
            pid,
            limits,
            "a part of the process is over a limit and left out"
        );
    }
}
