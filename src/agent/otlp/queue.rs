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
    pub(super) fn n_spans(&self) -> usize {
        self.traces.iter().map(|trace| trace.spans.len()).sum()
    }

    fn n_bytes(&self) -> usize {
        self.traces.iter().map(Trace::n_bytes).sum()
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

/// Why something was dropped, and what.
pub(super) type Lost = (&'static str, Dropped);

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
    /// Memory that it takes until all of it is sent.
    n_bytes: usize,
    n_attempts: u32,
}

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) spans: usize,
    pub(super) bytes: usize,
}

/// Why something is dropped: there is no room for more spans.
pub(super) const QUEUE_FULL: &str = "queue_full";
/// The same: they would take too much memory.
pub(super) const QUEUE_BYTES: &str = "queue_bytes";

/// What waits.
#[derive(Debug)]
pub(super) struct Waiting {
    entries: VecDeque<Entry>,
    /// What it takes.
    taken: Room,
    room: Room,
    next_id: u64,
    /// What is being sent now: nobody knows whether the receiver takes it.
    on_its_way: Option<u64>,
}

impl Waiting {
    pub(super) fn new(room: Room) -> Self {
        Self {
            entries: VecDeque::new(),
            taken: Room { spans: 0, bytes: 0 },
            room,
            next_id: 0,
            on_its_way: None,
        }
    }

    /// How many spans may wait.
    pub(super) fn spans_max(&self) -> usize {
        self.room.spans
    }

    /// From now on so much may wait; what waits already does.
    pub(super) fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    /// Puts a batch at the end, and drops what its room is taken from: batches without a finding, the oldest first;
    /// for a finding then older findings. Gives what was dropped, by the reason; if the batch itself found no room,
    /// that is why.
    pub(super) fn offer(&mut self, batch: Batch) -> (Result<(), &'static str>, [Lost; 2]) {
        let (n_spans, n_bytes) = (batch.n_spans(), batch.n_bytes());
        let mut lost = [QUEUE_FULL, QUEUE_BYTES].map(|why| (why, Dropped::default()));
        let is_too_large = n_spans > self.room.spans || n_bytes > self.room.bytes;
        while let Some(at) = self.lack(n_spans, n_bytes) {
            let victim = match self.victim(batch.is_finding) {
                Some(victim) if !is_too_large => self.remove(victim),
                _ => None,
            };
            let (why, dropped) = &mut lost[at];
            let Some(victim) = victim else {
                dropped.n_spans += n_spans;
                return (Err(why), lost);
            };
            dropped.add(&victim);
        }
        self.taken.spans += n_spans;
        self.taken.bytes += n_bytes;
        self.next_id += 1;
        self.entries.push_back(Entry {
            turn: Turn {
                id: self.next_id,
                batch: Arc::new(batch),
                n_sent: (0, 0),
            },
            n_left: n_spans,
            n_bytes,
            n_attempts: 0,
        });
        (Ok(()), lost)
    }

    /// What there is not enough of: 0: spans, 1: memory.
    fn lack(&self, n_spans: usize, n_bytes: usize) -> Option<usize> {
        let Room { spans, bytes } = self.taken;
        if spans + n_spans > self.room.spans || self.entries.len() >= BATCHES_MAX {
            Some(0)
        } else if bytes + n_bytes > self.room.bytes {
            Some(1)
        } else {
            None
        }
    }

    fn remove(&mut self, at: usize) -> Option<Entry> {
        let entry = self.entries.remove(at)?;
        self.taken.spans -= entry.n_left;
        self.taken.bytes -= entry.n_bytes;
        Some(entry)
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
        self.taken.spans -= n_spans;
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
            self.remove(at);
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
        let entry = self.landed().and_then(|at| self.remove(at));
        if let Some(entry) = entry {
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
        self.taken = Room { spans: 0, bytes: 0 };
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

    fn waiting() -> Waiting {
        Waiting::new(Room {
            spans: 100,
            bytes: 1 << 20,
        })
    }

    /// Offers a batch; says whether it found room, and what was dropped for want of it.
    fn offer(waiting: &mut Waiting, batch: Batch) -> (bool, Dropped) {
        let (taken, [(_, full), (_, bytes)]) = waiting.offer(batch);
        assert_eq!(bytes, Dropped::default());
        (taken.is_ok(), full)
    }

    #[test]
    fn findings_come_first_and_are_dropped_last() {
        let mut waiting = waiting();
        assert_eq!(
            offer(&mut waiting, batch(1, 40, false)),
            (true, Dropped::default())
        );
        assert_eq!(
            offer(&mut waiting, batch(2, 40, true)),
            (true, Dropped::default())
        );
        assert_eq!(turn(&mut waiting), Some((2, 0)));
        waiting.note_failed();
        // The oldest one makes room for what is new.
        let (is_taken, dropped) = offer(&mut waiting, batch(3, 50, false));
        assert!(is_taken && dropped.traces.is_empty() && dropped.n_spans == 40);
        let (is_taken, dropped) = offer(&mut waiting, batch(4, 60, true));
        assert!(is_taken && dropped.traces.is_empty() && dropped.n_spans == 50);
        // No sample costs a finding.
        let (is_taken, dropped) = offer(&mut waiting, batch(5, 1, false));
        assert!(!is_taken && dropped.n_spans == 1);
        let (is_taken, dropped) = offer(&mut waiting, batch(6, 30, true));
        assert!(is_taken);
        assert_eq!(dropped.traces, [(process(), TraceId(2))]);
        let (is_taken, dropped) = offer(&mut waiting, batch(7, 101, true));
        assert!(!is_taken && dropped.n_spans == 101);
        assert_eq!(turn(&mut waiting), Some((4, 0)));
        assert_eq!(waiting.drop_refused().traces, [(process(), TraceId(4))]);
        assert_eq!(waiting.drop_all().n_spans, 30);
        assert!(waiting.entries.is_empty());
    }

    #[test]
    fn what_is_on_its_way_is_not_dropped() {
        let mut waiting = waiting();
        offer(&mut waiting, batch(1, 90, false));
        assert_eq!(turn(&mut waiting), Some((1, 0)));
        assert!(!offer(&mut waiting, batch(2, 90, true)).0);
        waiting.note_sent(60);
        assert_eq!(turn(&mut waiting), Some((1, 60)));
        waiting.note_failed();
        let (is_taken, dropped) = offer(&mut waiting, batch(3, 90, true));
        assert!(is_taken && dropped.n_spans == 30);
        assert_eq!(turn(&mut waiting), Some((3, 0)));
        waiting.note_sent(90);
        assert!(waiting.entries.is_empty() && turn(&mut waiting).is_none());
    }

    #[test]
    fn a_batch_that_always_fails_lets_others_pass() {
        let mut waiting = waiting();
        offer(&mut waiting, batch(1, 10, true));
        offer(&mut waiting, batch(2, 10, false));
        for _ in 0..ATTEMPTS_IN_A_ROW {
            assert_eq!(turn(&mut waiting), Some((1, 0)));
            waiting.note_failed();
        }
        assert_eq!(turn(&mut waiting), Some((2, 0)));
    }

    /// Spans with names of so many bytes.
    fn large(number: u128, n_spans: u64, n_bytes: usize, is_finding: bool) -> Batch {
        let mut batch = batch(number, n_spans, is_finding);
        for span in &mut batch.traces[0].spans {
            span.name = "x".repeat(n_bytes);
        }
        batch
    }

    #[test]
    fn what_waits_takes_no_more_memory_than_it_may() {
        let mut waiting = waiting();
        for number in 0..50 {
            let (taken, [(_, full), (why, bytes)]) =
                waiting.offer(large(number, 10, 30_000, false));
            assert!(taken.is_ok() && full == Dropped::default() && why == "queue_bytes");
            assert_eq!(bytes.n_spans, if number < 3 { 0 } else { 10 });
            assert!(waiting.taken.bytes <= 1 << 20 && waiting.taken.spans <= 100);
        }
        assert_eq!(turn(&mut waiting), Some((47, 0)));
        // All of it is there until all of it is sent.
        let before = waiting.taken;
        waiting.note_sent(9);
        assert_eq!(waiting.taken.bytes, before.bytes);
        assert_eq!(turn(&mut waiting), Some((47, 9)));
        waiting.note_sent(1);
        assert!(waiting.taken.bytes < before.bytes);
        let (taken, [_, (_, bytes)]) = waiting.offer(large(60, 10, 110_000, true));
        assert_eq!((taken, bytes.n_spans), (Err("queue_bytes"), 10));
        let (taken, [_, (_, bytes)]) = waiting.offer(large(61, 10, 100_000, true));
        assert!(taken.is_ok() && bytes.n_spans == 20);
        waiting.drop_all();
        assert_eq!(waiting.taken, Room { spans: 0, bytes: 0 });
    }
}
