//! What the supervisor keeps of each process.

use super::otlp::{Sent, TOO_LARGE};
use super::sampler::Kept;
use crate::analysis::{FindingKind, Fingerprint, Observation};
use crate::metrics::{ProgramView, RoundOutcome, Scan, Totals};
use crate::spans::TraceId;
use crate::time::{Monotonic, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A process that is watched.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) target: usize,
    /// Since when it is watched.
    pub(super) since: Timestamp,
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
    /// Whose it was when that was read.
    pub(super) owner: Option<u32>,
    pub(super) totals: Totals,
    /// In which traces its findings were sent.
    pub(super) traces: Arc<BTreeMap<Fingerprint, u128>>,
    /// Its findings that no trace tells, though one could: there was no room, or it did not arrive.
    untold: BTreeSet<Fingerprint>,
    /// When they were last to be told.
    told_at: Option<Monotonic>,
}

/// Time between two attempts to tell a finding.
const TELL_AGAIN: Duration = Duration::from_secs(15);

impl Watched {
    /// One that is watched since then, of which nothing is known yet.
    pub(super) fn new(since: Timestamp) -> Self {
        Self {
            since,
            ..Self::default()
        }
    }

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

    /// The findings that a round which begins now is to tell because none has told them.
    pub(super) fn take_untold(&mut self, now: Monotonic) -> Vec<Fingerprint> {
        let is_soon = self.told_at.is_some_and(|at| now.since(at) < TELL_AGAIN);
        if self.untold.is_empty() || is_soon {
            return Vec::new();
        }
        self.told_at = Some(now);
        self.untold.iter().copied().collect()
    }

    /// What became of its findings as traces. Those that are closed are forgotten.
    pub(super) fn note_sent(&mut self, observation: &Observation, sent: Sent, now: Monotonic) {
        let Sent { told, untold, .. } = sent;
        if !told.is_empty() || !untold.is_empty() {
            self.told_at = Some(now);
        }
        for (finding, why) in untold {
            if why != TOO_LARGE {
                self.untold.insert(finding);
            }
        }
        if told.is_empty() && observation.closed.is_empty() {
            return;
        }
        let traces = Arc::make_mut(&mut self.traces);
        for (finding, trace) in told {
            self.untold.remove(&finding);
            traces.insert(finding, trace.0);
        }
        let is_open = |it: &Fingerprint| {
            let mut findings = observation.findings.iter();
            findings.any(|finding| finding.fingerprint == *it)
        };
        traces.retain(|finding, _| is_open(finding));
        self.untold.retain(is_open);
    }

    /// Whose it was in a round. What it ran as another's is not told as this one's.
    pub(super) fn note_owner(&mut self, owner: Option<u32>, outcome: RoundOutcome) {
        if outcome != RoundOutcome::Gone && self.owner != owner {
            self.program = None;
            self.owner = owner;
        }
    }

    /// A trace has not arrived.
    pub(super) fn note_lost(&mut self, lost: TraceId) {
        let is_it = |(_, trace): &(&Fingerprint, &u128)| **trace == lost.0;
        let findings: Vec<Fingerprint> = self
            .traces
            .iter()
            .filter(is_it)
            .map(|(it, _)| *it)
            .collect();
        if !findings.is_empty() {
            let traces = Arc::make_mut(&mut self.traces);
            traces.retain(|_, trace| *trace != lost.0);
            self.untold.extend(findings);
        }
        self.totals.forget_trace(lost.0);
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
