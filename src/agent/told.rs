//! What the log says of processes and of what was found in them: once for each change of state, as far as there is room
//! for its user.

use super::log_share::{About, LogShares, Says};
use super::otlp::Sent;
use crate::analysis::{Finding, Observation};
use crate::metrics::{RoundOutcome, Scan, limit_label};
use std::sync::Arc;
use tracing::Level;

/// Which part of the program its lines are of.
pub(super) const MODULE: &str = module_path!();

/// Says it.
#[derive(Debug)]
pub(super) struct Teller {
    shares: LogShares,
}

impl Teller {
    pub(super) fn new() -> Self {
        Self {
            shares: LogShares::new(),
        }
    }

    /// Whether a line of level `info` about what became of a process is to be written.
    fn is_told(&self, about: &About, says: Says) -> bool {
        tracing::enabled!(Level::INFO) && self.shares.take(about, says, "")
    }

    /// Whether a warning about what became of a process is to be written.
    pub(super) fn may_warn(&self, about: &About) -> bool {
        self.shares.take(about, Says::OfProcess, "")
    }

    /// The end: tells what is still to be told together.
    pub(super) fn stop(&self) {
        self.shares.tell_all();
    }

    /// One line for each finding that is new, and for each that has ended.
    pub(super) fn findings(&self, about: &About, observation: &Observation, sent: &Sent) {
        let (target, pid) = (&*about.target, about.process.pid.as_raw());
        for finding in &observation.findings {
            let (kind, fingerprint) = (finding.kind.as_str(), finding.fingerprint);
            let trace = sent.told.iter().find(|(it, _)| *it == fingerprint);
            let trace_id = trace.map(|(_, trace)| tracing::field::display(*trace));
            if observation.opened.contains(&fingerprint) {
                let (path, age_s) = (finding.to_string(), finding.age.as_secs());
                let untold = sent.untold.iter().find(|(it, _)| *it == fingerprint);
                let no_trace = untold.map(|(_, why)| why);
                if self.shares.take(about, Says::Opened, &path) {
                    tracing::warn!(target, pid, kind, %fingerprint, age_s, trace_id, no_trace, %path, "found");
                }
            } else if let Some(trace_id) = trace_id
                && self.is_told(about, Says::Sent)
            {
                tracing::info!(target, pid, kind, %fingerprint, trace_id, "sent as a trace, which it was not before");
            }
        }
        self.ended(about, &observation.closed);
    }

    /// One line for each finding that has ended, by itself or with its process.
    pub(super) fn ended<'f>(
        &self,
        about: &About,
        findings: impl IntoIterator<Item = &'f Arc<Finding>>,
    ) {
        let (target, pid) = (&*about.target, about.process.pid.as_raw());
        for finding in findings {
            let (kind, fingerprint) = (finding.kind.as_str(), finding.fingerprint);
            let age_s = finding.age.as_secs();
            if self.is_told(about, Says::Closed) {
                tracing::info!(target, pid, kind, %fingerprint, age_s, "found no more");
            }
        }
    }

    /// It is watched from now on.
    pub(super) fn process_found(&self, about: &About) {
        let (target, pid) = (&*about.target, about.process.pid.as_raw());
        if self.is_told(about, Says::OfProcess) {
            tracing::info!(target, pid, "process found");
        }
    }

    /// It is watched no more.
    pub(super) fn process_gone(&self, about: &About) {
        let (target, pid) = (&*about.target, about.process.pid.as_raw());
        if self.is_told(about, Says::OfProcess) {
            tracing::info!(target, pid, "process gone");
        }
    }

    /// Reading it hung, and has ended after `took_s` seconds.
    pub(super) fn hangs_no_more(&self, about: &About, took_s: u64) {
        let (target, pid) = (&*about.target, about.process.pid.as_raw());
        if self.is_told(about, Says::OfProcess) {
            tracing::info!(target, pid, took_s, "reading the process hangs no more");
        }
    }

    /// One line when the outcome is of another kind than that of the round before.
    pub(super) fn change(
        &self,
        about: &About,
        before: Option<RoundOutcome>,
        now: RoundOutcome,
        failure: Option<(&'static str, String)>,
    ) {
        let kind = |outcome: RoundOutcome| (outcome.is_read(), outcome.is_failure());
        if before.map(kind) == Some(kind(now)) || now == RoundOutcome::Gone {
            return;
        }
        let is_level = now.is_failure() || tracing::enabled!(Level::INFO);
        let (code, error) = failure.unwrap_or_default();
        if !is_level || !self.shares.take(about, Says::OfProcess, &error) {
            return;
        }
        let (target, pid) = (&*about.target, about.process.pid.as_raw());
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
    pub(super) fn limits(&self, about: &About, before: Option<&Scan>, now: &Scan) {
        let limits_before = before.map(|scan| scan.limit_hits).unwrap_or_default();
        if now.limit_hits == limits_before || !now.outcome.is_read() {
            return;
        }
        let (target, pid) = (&*about.target, about.process.pid.as_raw());
        let limits: Vec<&str> = now.limit_hits.names().map(limit_label).collect();
        let (limits, n_tasks) = (limits.join(","), now.tasks_read().unwrap_or(0));
        let n_counted = now.tasks_counted;
        let is_level = !limits.is_empty() || tracing::enabled!(Level::INFO);
        if !is_level || !self.may_warn(about) {
            return;
        }
        if limits.is_empty() {
            tracing::info!(target, pid, "the process is within the limits again");
        } else if now.limit_hits.is_costly() {
            tracing::warn!(
                target,
                pid,
                limits,
                n_tasks,
                n_counted,
                "the process is over a limit: the rest of its tasks is at most counted, and it is read less and less often"
            );
        } else {
            tracing::warn!(
                target,
                pid,
                limits,
                "a part of the process is over a limit and left out"
            );
        }
    }
}
