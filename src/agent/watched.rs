//! What the supervisor keeps of each process.

use super::sampler::Kept;
use crate::analysis::{FindingKind, Fingerprint, Observation};
use crate::metrics::{ProgramView, Scan, Totals};
use crate::spans::TraceId;
use crate::time::Monotonic;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A process that is watched.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) target: usize,
    /// Time between two rounds.
    pub(super) interval: Duration,
    /// When the latest round began that confirms cycles.
    pub(super) confirmed_at: Option<Monotonic>,
    /// Its round hangs.
    pub(super) hangs: bool,
    /// It should have been read long ago.
    pub(super) is_overdue: bool,
    /// It is read less often than it should.
    pub(super) is_postponed: bool,
    pub(super) kept: Kept,
    pub(super) latest: Option<Scan>,
    /// Why the latest round failed.
    pub(super) failure: Option<Arc<str>>,
    pub(super) program: Option<Arc<ProgramView>>,
    pub(super) totals: Totals,
    /// In which traces its findings were sent.
    pub(super) traces: Arc<BTreeMap<Fingerprint, u128>>,
}

impl Watched {
    /// The trace of a cycle that was not sent before.
    pub(super) fn new_trace_of_cycle(
        &self,
        observation: &Observation,
        new: &[(Fingerprint, TraceId)],
    ) -> Option<TraceId> {
        let is_new = |finding: &Fingerprint| {
            let mut cycles = observation
                .findings
                .iter()
                .filter(|it| it.kind == FindingKind::AwaitCycle);
            !self.traces.contains_key(finding) && cycles.any(|it| it.fingerprint == *finding)
        };
        let found = new.iter().find(|(finding, _)| is_new(finding));
        found.map(|(_, trace)| *trace)
    }

    /// Findings were sent in these traces. Those that are closed are forgotten.
    pub(super) fn note_traces(
        &mut self,
        observation: &Observation,
        new: Vec<(Fingerprint, TraceId)>,
    ) {
        if new.is_empty() && observation.closed.is_empty() {
            return;
        }
        let traces = Arc::make_mut(&mut self.traces);
        traces.extend(new.into_iter().map(|(finding, trace)| (finding, trace.0)));
        let is_open = |it: &Fingerprint| {
            let mut findings = observation.findings.iter();
            findings.any(|finding| finding.fingerprint == *it)
        };
        traces.retain(|finding, _| is_open(finding));
    }

    /// Whether a round that begins now confirms cycles: those do between which there is about an interval. Others
    /// that a task needs which may be stuck follow each other more closely.
    pub(super) fn confirms(&mut self, now: Monotonic) -> bool {
        let half = self.interval / 2;
        let confirms = self.confirmed_at.is_none_or(|at| now.since(at) >= half);
        if confirms {
            self.confirmed_at = Some(now);
        }
        confirms
    }
}
