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
//! none of its tasks is seen to have gone on, one went on that looks the same again, and that may be this one. If that
//! happens more often than now and then, waits count from the latest time; unless the place of a task tells its turns
//! apart ([`Task::has_turn`](crate::graph::Task::has_turn)).

use super::history::Moment;
use crate::time::Monotonic;
use std::time::Duration;

/// So many looks must all see a task at its place. All of them do by accident once in a million times.
const LOOKS_MIN: u32 = 20;
/// Of so many looks before which its thread has run, one may be without any task that is seen to have gone on.
const RUNS_PER_UNSEEN: u32 = 8;
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
    /// Looks before which its thread has run.
    n_ran: u32,
    /// Those of them before which a task of it went on that was not seen to.
    n_unseen: u32,
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
            n_ran: 0,
            n_unseen: 0,
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

/// What a thread has done since the look before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// It has not run, or that is not known.
    None,
    /// It has run, and tasks of it are seen to have gone on.
    Seen,
    /// It has run, and it is not seen what for.
    Unseen,
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

    /// Whether a task is stuck that was seen just now, in whose thread there was such activity.
    pub(super) fn is_stuck(&mut self, seen: &mut Seen, now: Moment, activity: Activity) -> bool {
        seen.n_ran += u32::from(activity != Activity::None);
        seen.n_unseen += u32::from(activity == Activity::Unseen);
        let wait = self.now.since(seen.since.at);
        let half = self.stuck_after / 2;
        if wait < half {
            self.will_be_known(seen.since.at.after(half));
            return false;
        }
        let is_doubtful = seen.n_unseen.saturating_mul(RUNS_PER_UNSEEN) > seen.n_ran;
        if !seen.is_stuck && is_doubtful {
            *seen = Seen::new(seen.place, now);
            self.will_be_known(now.at.after(half));
            return false;
        }
        if !seen.is_stuck && self.slept < half && seen.n_looks < LOOKS_MIN {
            seen.n_looks += 1;
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
