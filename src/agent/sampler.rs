//! One round over one process: attach if need be, read, work out the figures. Blocks.

use super::clock::Clock;
use super::source::{AttachedProcess, ProcessSource};
use crate::analysis::summarize;
use crate::graph::{Snapshot, find_cycles};
use crate::ids::ProcessId;
use crate::metrics::{RoundOutcome, Scan};
use crate::process::ProcessError;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a round leaves behind.
pub(super) struct RoundReport {
    pub(super) process: ProcessId,
    /// The attached process, for the next round; lost with a round that failed.
    pub(super) attached: Option<Box<dyn AttachedProcess>>,
    pub(super) scan: Scan,
    /// Why it could not be read, as a code and as a text.
    pub(super) failure: Option<(&'static str, String)>,
    /// Problems met, by their code.
    pub(super) problems: BTreeMap<String, u64>,
}

/// Reads `process` once. A panic on the way costs this round and what was attached.
pub(super) fn run_round(
    source: &dyn ProcessSource,
    process: ProcessId,
    attached: Option<Box<dyn AttachedProcess>>,
    clock: Clock,
) -> RoundReport {
    let began = clock.now();
    let read = catch_unwind(AssertUnwindSafe(|| read(source, process, attached)));
    let mut report = RoundReport {
        process,
        attached: None,
        scan: Scan {
            at: clock.timestamp(),
            took: clock.now().since(began),
            outcome: RoundOutcome::Panicked,
            summary: None,
        },
        failure: None,
        problems: BTreeMap::new(),
    };
    match read {
        Ok(Ok((attached, snapshot))) => {
            report.attached = Some(attached);
            report.problems = problems_of(&snapshot);
            report.scan.outcome = if snapshot.complete {
                RoundOutcome::Ok
            } else {
                RoundOutcome::Partial
            };
            let cycles = || find_cycles(&snapshot.graph, 0);
            let summary = catch_unwind(|| summarize(&snapshot.graph, &cycles()));
            report.scan.summary = summary.ok();
            if report.scan.summary.is_none() {
                report.panicked();
            }
        }
        Ok(Err(error)) => {
            report.scan.outcome = outcome_of(&error);
            report.failure = Some((error.code(), error.to_string()));
            if report.scan.outcome.is_failure() {
                report.problems.insert(error.code().to_owned(), 1);
            }
        }
        Err(_) => report.panicked(),
    }
    report
}

impl RoundReport {
    fn panicked(&mut self) {
        self.scan.outcome = RoundOutcome::Panicked;
        self.failure = Some(("panicked", "a defect of the agent".to_owned()));
        self.problems.insert("panicked".to_owned(), 1);
    }
}

fn read(
    source: &dyn ProcessSource,
    process: ProcessId,
    attached: Option<Box<dyn AttachedProcess>>,
) -> Result<(Box<dyn AttachedProcess>, Snapshot), ProcessError> {
    let mut attached = match attached {
        Some(attached) => attached,
        None => source.attach(process)?,
    };
    let snapshot = attached.snapshot()?;
    Ok((attached, snapshot))
}

fn outcome_of(error: &ProcessError) -> RoundOutcome {
    match error {
        ProcessError::NotFound { .. } | ProcessError::Gone { .. } => RoundOutcome::Gone,
        ProcessError::NotPython { .. } | ProcessError::NoAsyncio { .. } => RoundOutcome::Unsuitable,
        _ => RoundOutcome::Failed,
    }
}

/// The snapshot's problems by code. Those that were only counted get a code of their own.
fn problems_of(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    let mut by_code = BTreeMap::new();
    for problem in &snapshot.problems {
        *by_code.entry(problem.code.clone()).or_insert(0) += 1;
    }
    let listed = snapshot.problems.len() as u64;
    let unlisted = snapshot.stats.problems.saturating_sub(listed);
    if unlisted > 0 {
        *by_code.entry("other".to_owned()).or_insert(0) += unlisted;
    }
    by_code
}
