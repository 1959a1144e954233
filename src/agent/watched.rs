//! What the supervisor keeps of each process.

use super::log_share::About;
use super::otlp::{Sent, TOO_LARGE};
use super::sampler::Kept;
use crate::analysis::{FindingKind, Fingerprint, Observation};
use crate::ids::ProcessId;
use crate::metrics::{ProcessView, RoundOutcome};
use crate::spans::TraceId;
use crate::time::{Monotonic, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A process that is watched.
pub(super) struct Watched {
    pub(super) target: usize,
    /// The person that it runs as, if that is known.
    pub(super) person: Option<u32>,
    /// What is published of it: with thousands of processes, most stay as they are from one publication to the next.
    view: Arc<ProcessView>,
    /// Time between two rounds.
    pub(super) interval: Duration,
    /// When the latest round began that confirms cycles.
    pub(super) confirmed_at: Option<Monotonic>,
    /// It is read less often than it should.
    pub(super) is_postponed: bool,
    pub(super) kept: Kept,
    /// How many tasks the latest round may read of it.
    pub(super) allowed: u32,
    /// Its findings that no trace tells, though one could: there was no room, or it did not arrive.
    untold: BTreeSet<Fingerprint>,
    /// When they were last to be told.
    told_at: Option<Monotonic>,
}

/// Time between two attempts to tell a finding.
const TELL_AGAIN: Duration = Duration::from_secs(15);

impl Watched {
    /// One that is watched since then, of which nothing is known yet.
    pub(super) fn new(process: ProcessId, since: Timestamp) -> Self {
        let view = ProcessView {
            since,
            ..ProcessView::new(process)
        };
        Self {
            target: 0,
            person: None,
            view: Arc::new(view),
            interval: Duration::ZERO,
            confirmed_at: None,
            is_postponed: false,
            kept: Kept::default(),
            allowed: 0,
            untold: BTreeSet::new(),
            told_at: None,
        }
    }

    /// What lines of the log about it, one of this target, are about.
    pub(super) fn about(&self, process: ProcessId, target: &Arc<str>) -> About {
        About {
            target: Arc::clone(target),
            process,
            person: self.person,
        }
    }

    /// What is published of it.
    pub(super) fn view(&self) -> &Arc<ProcessView> {
        &self.view
    }

    /// What is published of it from the next time on.
    pub(super) fn view_mut(&mut self) -> &mut ProcessView {
        Arc::make_mut(&mut self.view)
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
            !self.view.traces.contains_key(finding) && cycles.any(|it| it.fingerprint == *finding)
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
        let traces = Arc::make_mut(&mut Arc::make_mut(&mut self.view).traces);
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

    /// How many tasks it had at its latest look, those included that were only counted; 0 if that is not known. A round
    /// that hangs may have read all that it was allowed to, and holds it.
    pub(super) fn n_tasks(&self) -> u64 {
        let latest = self.view.latest.as_ref();
        let summary = latest.and_then(|scan| scan.summary.as_ref());
        let n_seen = summary.map_or(0, |summary| summary.n_pending_tasks);
        match self.view.hangs {
            true => n_seen.max(self.allowed.into()),
            false => n_seen,
        }
    }

    /// Whose it was in a round. What it ran as another's is not told as this one's.
    pub(super) fn note_owner(&mut self, owner: Option<u32>, outcome: RoundOutcome) {
        if outcome != RoundOutcome::Gone && self.view.owner != owner {
            let view = self.view_mut();
            view.program = None;
            view.owner = owner;
        }
    }

    /// A trace has not arrived.
    pub(super) fn note_lost(&mut self, lost: TraceId) {
        let is_it = |(_, trace): &(&Fingerprint, &u128)| **trace == lost.0;
        let traces = self.view.traces.iter();
        let findings: Vec<Fingerprint> = traces.filter(is_it).map(|(it, _)| *it).collect();
        let view = self.view_mut();
        if !findings.is_empty() {
            Arc::make_mut(&mut view.traces).retain(|_, trace| *trace != lost.0);
        }
        view.totals.forget_trace(lost.0);
        self.untold.extend(findings);
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
