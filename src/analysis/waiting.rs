//! Whether a task has stood still for as long as it seems, or only looks the same each time.
//!
//! A task that goes round a loop can be seen at the same line, on objects at the same addresses: memory that is
//! given back is given out again, in many programs two pieces by turns. Then every second round of the loop looks
//! like the first, and looks that are an even number of rounds apart see no difference. So before a task counts as
//! stuck it is looked at more often, and at irregular times: whoever goes round looks different in half of
//! these looks. A process that has not run meanwhile needs no such proof.
//!
//! And where nothing else happens, the same memory is given out at every round. Then nothing in memory tells two rounds
//! apart; but the thread that executes the event loop runs at each of them. So if it has run between two looks, and
//! none of its tasks is seen to have gone on, one went on that looks the same again, and that may be this one. It
//! counts as stuck only if that hardly ever happens, or if its place tells turns apart
//! ([`Task::has_turn`](crate::graph::Task::has_turn)).

use super::history::Moment;
use crate::time::Monotonic;
use std::time::Duration;

/// So many looks must all see a task at its place. All of them do by accident once in a million times.
const LOOKS_MIN: u32 = 20;
/// In so many of them its thread may have run without any task being seen to have gone on.
const UNEXPLAINED_MAX: u32 = 2;
/// The least time between two of them, on average.
const GAP_MIN: Duration = Duration::from_millis(50);

/// A task that was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    place: u64,
    /// When it was first seen at this place.
    pub(super) since: Moment,
    /// Snapshots in a row in which it is missing.
    pub(super) n_missing: u32,
    /// Looks that were taken to be sure that it stands.
    n_looks: u32,
    /// Those of them before which a task of its thread went on without being seen to.
    n_unexplained: u32,
    /// It was not to be told whether it stands; it is looked at again from then on.
    doubted_until: Option<Monotonic>,
    /// It was found to be stuck at this place.
    is_stuck: bool,
}

impl Seen {
    pub(super) fn new(place: u64, now: Moment) -> Self {
        Self {
            place,
            since: now,
            n_missing: 0,
            n_looks: 0,
            n_unexplained: 0,
            doubted_until: None,
            is_stuck: false,
        }
    }

    /// Whether it was seen at `place`.
    pub(super) fn was_at(&self, place: u64) -> bool {
        self.place == place
    }

    /// It is at `place` now.
    pub(super) fn see(&mut self, place: u64, now: Moment) {
        if self.place == place {
            self.n_missing = 0;
        } else {
            *self = Self::new(place, now);
        }
    }
}

/// Who is stuck at one look.
#[derive(Debug)]
pub(super) struct Waits {
    now: Monotonic,
    stuck_after: Duration,
    /// For how long the process has not run.
    slept: Duration,
    /// When something will become known even if the process sleeps on.
    pub(super) next: Option<Monotonic>,
    /// The mean time to the next look that somebody needs.
    pub(super) look_within: Option<Duration>,
}

impl Waits {
    pub(super) fn at(
        now: Monotonic,
        stuck_after: Duration,
        asleep_since: Option<Monotonic>,
    ) -> Self {
        Self {
            now,
            stuck_after,
            slept: asleep_since.map_or(Duration::ZERO, |since| now.since(since)),
            next: None,
            look_within: None,
        }
    }

    /// Whether a task is stuck that was seen just now. `unexplained`: since the look before something went on in its
    /// thread that was not seen, and that may have been this task.
    pub(super) fn is_stuck(&mut self, seen: &mut Seen, unexplained: bool) -> bool {
        let wait = self.now.since(seen.since.at);
        let half = self.stuck_after / 2;
        if wait < half {
            self.will_be_known(seen.since.at.after(half));
            return false;
        }
        if let Some(until) = seen.doubted_until
            && self.now < until
            && self.slept < half
        {
            return false;
        }
        if !seen.is_stuck && self.slept < half && seen.n_looks < LOOKS_MIN {
            seen.n_looks += 1;
            seen.n_unexplained += u32::from(unexplained);
            if seen.n_unexplained > UNEXPLAINED_MAX {
                (seen.n_looks, seen.n_unexplained) = (0, 0);
                seen.doubted_until = Some(self.now.after(wait));
                return false;
            }
            let missing = LOOKS_MIN - seen.n_looks;
            if missing > 0 {
                self.wants_looks(wait, missing);
                return false;
            }
        }
        if wait < self.stuck_after {
            self.will_be_known(seen.since.at.after(self.stuck_after));
            return false;
        }
        seen.is_stuck = true;
        true
    }

    fn will_be_known(&mut self, at: Monotonic) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Of the time that is left, the part of one look. Who is late has looks that follow each other as closely as
    /// those of most tasks do.
    fn wants_looks(&mut self, wait: Duration, missing: u32) {
        let left = self.stuck_after.saturating_sub(wait);
        let gap = (left / missing).max(self.stuck_after / (4 * LOOKS_MIN));
        let gap = gap.max(GAP_MIN);
        self.look_within = Some(self.look_within.map_or(gap, |within| within.min(gap)));
    }
}
