//! What waits to be sent: batches of spans, of which those with findings come first and are dropped last. A batch
//! stays here until all of it was taken, or refused for good, or its room is needed.

use crate::export::otlp::ProcessResource;
use crate::ids::ProcessId;
use crate::spans::{Trace, TraceId};
use std::collections::VecDeque;
use std::sync::Arc;

/// Batches that wait, however small they are.
const BATCHES_MAX: usize = 10_000;
/// After so many attempts another batch has its turn: it may be this one that the receiver cannot stand.
const ATTEMPTS_IN_A_ROW: u32 = 8;

/// Traces of one snapshot.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) resource: ProcessResource,
    pub(super) traces: Vec<Trace>,
    /// A finding is told by each of these traces.
    pub(super) is_finding: bool,
}

impl Batch {
    fn n_spans(&self) -> usize {
        self.traces.iter().map(|trace| trace.spans.len()).sum()
    }

    /// The traces that `n_spans` spans from the beginning of that one belong to.
    pub(super) fn lost(&self, first: usize, n_spans: usize) -> Vec<(ProcessId, TraceId)> {
        let mut left = n_spans;
        let traces = self.traces.iter().skip(first);
        let lost = traces.take_while(|trace| {
            let is_one = left > 0;
            left = left.saturating_sub(trace.spans.len());
            is_one
        });
        lost.map(|trace| (self.resource.process, trace.id))
            .collect()
    }
}

/// What was not sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) n_spans: usize,
    /// The traces in which findings were to be told.
    pub(super) traces: Vec<(ProcessId, TraceId)>,
}

/// A batch whose turn it is.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) id: u64,
    pub(super) batch: Arc<Batch>,
    /// Traces that were sent, and spans of the next one.
    pub(super) n_sent: (usize, usize),
}

#[derive(Debug)]
struct Entry {
    turn: Turn,
    n_left: usize,
    n_attempts: u32,
}

/// What waits.
#[derive(Debug)]
pub(super) struct Waiting {
    entries: VecDeque<Entry>,
    n_spans: usize,
    spans_max: usize,
    next_id: u64,
    /// What is being sent now: nobody knows whether the receiver takes it.
    on_its_way: Option<u64>,
}

impl Waiting {
    pub(super) fn new(spans_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            n_spans: 0,
            spans_max,
            next_id: 0,
            on_its_way: None,
        }
    }

    /// How many spans may wait.
    pub(super) fn spans_max(&self) -> usize {
        self.spans_max
    }

    /// From now on so many spans may wait; what waits already does.
    pub(super) fn set_spans_max(&mut self, spans_max: usize) {
        self.spans_max = spans_max;
    }

    /// Puts a batch at the end, and drops what its room is taken from: batches without a finding, the oldest first;
    /// for a finding then older findings. Says whether it found room.
    pub(super) fn offer(&mut self, batch: Batch) -> (bool, Dropped) {
        let (n_spans, is_finding) = (batch.n_spans(), batch.is_finding);
        let mut dropped = Dropped::default();
        while self.n_spans + n_spans > self.spans_max || self.entries.len() >= BATCHES_MAX {
            let victim = match self.victim(is_finding) {
                Some(at) if n_spans <= self.spans_max => self.entries.remove(at),
                _ => None,
            };
            let Some(victim) = victim else {
                dropped.n_spans += n_spans;
                return (false, dropped);
            };
            self.n_spans -= victim.n_left;
            dropped.add(&victim);
        }
        self.n_spans += n_spans;
        self.next_id += 1;
        self.entries.push_back(Entry {
            turn: Turn {
                id: self.next_id,
                batch: Arc::new(batch),
                n_sent: (0, 0),
            },
            n_left: n_spans,
            n_attempts: 0,
        });
        (true, dropped)
    }

    /// What is to be dropped first.
    fn victim(&self, for_finding: bool) -> Option<usize> {
        let is_waiting = |entry: &&(usize, &Entry)| Some(entry.1.turn.id) != self.on_its_way;
        let all = || self.entries.iter().enumerate();
        let ordinary = all()
            .filter(|it| is_waiting(&it))
            .find(|it| !it.1.turn.batch.is_finding);
        let finding = || all().find(|it| for_finding && is_waiting(&it));
        ordinary.or_else(finding).map(|(at, _)| at)
    }

    /// What is sent next.
    pub(super) fn next(&mut self) -> Option<Turn> {
        let next = self.entries.iter().min_by_key(|entry| {
            let turn = &entry.turn;
            (
                entry.n_attempts / ATTEMPTS_IN_A_ROW,
                !turn.batch.is_finding,
                turn.id,
            )
        })?;
        self.on_its_way = Some(next.turn.id);
        Some(next.turn.clone())
    }

    /// So many more spans of the batch on its way are sent.
    pub(super) fn note_sent(&mut self, n_spans: usize) {
        let Some(at) = self.landed() else {
            return;
        };
        self.n_spans -= n_spans;
        let entry = &mut self.entries[at];
        entry.n_left -= n_spans;
        entry.n_attempts = 0;
        let Turn { batch, n_sent, .. } = &mut entry.turn;
        n_sent.1 += n_spans;
        while let Some(trace) = batch.traces.get(n_sent.0)
            && n_sent.1 >= trace.spans.len()
        {
            n_sent.1 -= trace.spans.len();
            n_sent.0 += 1;
        }
        if entry.n_left == 0 {
            self.entries.remove(at);
        }
    }

    /// The batch on its way was not taken, and is to be sent again.
    pub(super) fn note_failed(&mut self) {
        if let Some(at) = self.landed() {
            let n_attempts = &mut self.entries[at].n_attempts;
            *n_attempts = n_attempts.saturating_add(1);
        }
    }

    /// The batch on its way will never be taken.
    pub(super) fn drop_refused(&mut self) -> Dropped {
        let mut dropped = Dropped::default();
        let entry = self.landed().and_then(|at| self.entries.remove(at));
        if let Some(entry) = entry {
            self.n_spans -= entry.n_left;
            dropped.add(&entry);
        }
        dropped
    }

    /// Nothing is sent any more.
    pub(super) fn drop_all(&mut self) -> Dropped {
        let mut dropped = Dropped::default();
        for entry in std::mem::take(&mut self.entries) {
            dropped.add(&entry);
        }
        self.n_spans = 0;
        dropped
    }

    /// Where the batch is that was on its way.
    fn landed(&mut self) -> Option<usize> {
        let id = self.on_its_way.take()?;
        self.entries.iter().position(|entry| entry.turn.id == id)
    }
}

impl Dropped {
    fn add(&mut self, entry: &Entry) {
        self.n_spans += entry.n_left;
        let Turn { batch, n_sent, .. } = &entry.turn;
        if batch.is_finding {
            let process = batch.resource.process;
            let left = batch.traces.iter().skip(n_sent.0);
            self.traces.extend(left.map(|trace| (process, trace.id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Pid, ProcessId, StartTime};
    use crate::spans::{Span, SpanId};
    use crate::time::Timestamp;
    use std::collections::BTreeSet;

    fn batch(number: u128, n_spans: u64, is_finding: bool) -> Batch {
        let at = Timestamp::default();
        let spans = (1..=n_spans).map(|id| Span {
            id: SpanId(id),
            parent: None,
            name: String::new(),
            start: at,
            end: at,
            attributes: Vec::new(),
            links: Vec::new(),
            n_links_omitted: 0,
            error: None,
        });
        Batch {
            resource: ProcessResource {
                service: String::new(),
                labels: Vec::new(),
                process: process(),
                started: None,
                executable: String::new(),
                python_version: String::new(),
                host: String::new(),
            },
            traces: vec![Trace {
                id: TraceId(number),
                spans: spans.collect(),
                findings: BTreeSet::new(),
            }],
            is_finding,
        }
    }

    fn process() -> ProcessId {
        ProcessId {
            pid: Pid::new(7).unwrap(),
            start: StartTime(1),
        }
    }

    fn turn(waiting: &mut Waiting) -> Option<(u128, usize)> {
        let turn = waiting.next()?;
        Some((turn.batch.traces[0].id.0, turn.n_sent.1))
    }

    #[test]
    fn findings_come_first_and_are_dropped_last() {
        let mut waiting = Waiting::new(100);
        assert_eq!(
            waiting.offer(batch(1, 40, false)),
            (true, Dropped::default())
        );
        assert_eq!(
            waiting.offer(batch(2, 40, true)),
            (true, Dropped::default())
        );
        assert_eq!(turn(&mut waiting), Some((2, 0)));
        waiting.note_failed();
        // The oldest one makes room for what is new.
        let (is_taken, dropped) = waiting.offer(batch(3, 50, false));
        assert!(is_taken && dropped.traces.is_empty() && dropped.n_spans == 40);
        let (is_taken, dropped) = waiting.offer(batch(4, 60, true));
        assert!(is_taken && dropped.traces.is_empty() && dropped.n_spans == 50);
        // No sample costs a finding.
        let (is_taken, dropped) = waiting.offer(batch(5, 1, false));
        assert!(!is_taken && dropped.n_spans == 1);
        let (is_taken, dropped) = waiting.offer(batch(6, 30, true));
        assert!(is_taken);
        assert_eq!(dropped.traces, [(process(), TraceId(2))]);
        let (is_taken, dropped) = waiting.offer(batch(7, 101, true));
        assert!(!is_taken && dropped.n_spans == 101);
        assert_eq!(turn(&mut waiting), Some((4, 0)));
        assert_eq!(waiting.drop_refused().traces, [(process(), TraceId(4))]);
        assert_eq!(waiting.drop_all().n_spans, 30);
        assert!(waiting.entries.is_empty());
    }

    #[test]
    fn what_is_on_its_way_is_not_dropped() {
        let mut waiting = Waiting::new(100);
        waiting.offer(batch(1, 90, false));
        assert_eq!(turn(&mut waiting), Some((1, 0)));
        assert!(!waiting.offer(batch(2, 90, true)).0);
        waiting.note_sent(60);
        assert_eq!(turn(&mut waiting), Some((1, 60)));
        waiting.note_failed();
        let (is_taken, dropped) = waiting.offer(batch(3, 90, true));
        assert!(is_taken && dropped.n_spans == 30);
        assert_eq!(turn(&mut waiting), Some((3, 0)));
        waiting.note_sent(90);
        assert!(waiting.entries.is_empty() && turn(&mut waiting).is_none());
    }

    #[test]
    fn a_batch_that_always_fails_lets_others_pass() {
        let mut waiting = Waiting::new(100);
        waiting.offer(batch(1, 10, true));
        waiting.offer(batch(2, 10, false));
        for _ in 0..ATTEMPTS_IN_A_ROW {
            assert_eq!(turn(&mut waiting), Some((1, 0)));
            waiting.note_failed();
        }
        assert_eq!(turn(&mut waiting), Some((2, 0)));
    }
}
