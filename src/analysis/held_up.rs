//! Event loops that something holds up which is no task: a callback. None of the tasks goes on then, and nothing is wrong with
//! where they stand; but the event loop's next timer is overdue. One of the tasks is told for all of them: one that sleeps,
//! if there is any.
//!
//! It takes a question when a timer is due ([`LongWait::loop_due_at`]), which is asked when no task of a thread was seen to go on for
//! half of the time, and again when the timer would have been overdue for all of it. A thread that is found to wait for something else
//! than its event loop would ([`LongWait::loop_is_blocked`]), and has not run since, needs no timer.

use super::facts::TaskKey;
use super::look::Moment;
use super::waiting::Waits;
use crate::graph::{LongWait, TaskIdx};
use crate::ids::Tid;
use crate::time::Monotonic;
use rustc_hash::{FxHashMap, FxHashSet};
use std::time::Duration;

/// A timer that has been due for longer is of another clock than ours.
const DUE_WITHIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Times that lie no further apart than this are those of one timer.
const SAME_TIMER: Duration = Duration::from_millis(20);

/// The tasks that are told for their threads.
pub(super) type Speakers = FxHashMap<Tid, Speaker>;

/// A task that is told for its thread, none of which is executed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speaker {
    pub(super) key: TaskKey,
    pub(super) at: TaskIdx,
    pub(super) sleeps: bool,
}

impl Speaker {
    /// Takes up one more task of a thread.
    pub(super) fn note(self, speakers: &mut Speakers, tid: Tid) {
        let speaker = speakers.entry(tid).or_insert(self);
        if self.sleeps && !speaker.sleeps {
            *speaker = self;
        }
    }
}

/// The event loops of a process, by their threads, as long as they may be held up.
#[derive(Debug, Default)]
pub(super) struct HeldUp(FxHashMap<Tid, Quiet>);

/// A thread of which no task goes on.
#[derive(Debug, Clone, Copy)]
struct Quiet {
    since: Moment,
    /// How often the thread had run, and since when that is so.
    runs: Option<u64>,
    still_since: Monotonic,
    /// Since when it is told.
    told: Option<Monotonic>,
    speaker: TaskKey,
    asked_at: Option<Monotonic>,
    answer: Option<Answer>,
}

/// What was answered last.
#[derive(Debug, Clone, Copy)]
struct Answer {
    /// When that was asked.
    asked_at: Monotonic,
    /// When the first timer is or was due; `None` if there is none, or the event loop waits for something to happen.
    due: Option<Monotonic>,
    /// The thread waited in something else than its event loop.
    is_blocked: bool,
}

impl HeldUp {
    /// Takes up what was found out of a task, if it is one that was asked about because of its event loop. `clock` is the
    /// time `now` by the clock of event loops.
    pub(super) fn note(&mut self, key: TaskKey, wait: &LongWait, clock: Duration, now: Moment) {
        let quiet = self.0.values_mut().find(|quiet| quiet.speaker == key);
        let Some((quiet, asked_at)) = quiet.and_then(|it| it.asked_at.map(|at| (it, at))) else {
            return;
        };
        let due = wait.loop_due_at.and_then(|due| {
            let (left, ago) = (due.saturating_sub(clock), clock.saturating_sub(due));
            (ago < DUE_WITHIN).then(|| now.at.after(left).before(ago))
        });
        let before = quiet.answer.and_then(|answer| answer.due);
        let same = before.filter(|before| due.is_some_and(|due| is_same(*before, due)));
        if before.is_some_and(|before| before <= asked_at) && same.is_none() {
            // A timer that was due is not there any more: the event loop has gone on.
            quiet.since = now;
        }
        // Times that were compared with clocks differ a little each time; findings are known by them.
        let due = same.or(due);
        quiet.answer = Some(Answer {
            asked_at,
            due,
            is_blocked: wait.loop_is_blocked,
        });
    }

    /// Takes up a look at the tasks: threads in which one has gone on are not held up. Gives the tasks that are to be told,
    /// and since when they are held up. `runs` says how often threads have run, as far as that is known.
    pub(super) fn look(
        &mut self,
        speakers: &Speakers,
        moved: &FxHashSet<Tid>,
        runs: &FxHashMap<Tid, u64>,
        waits: &mut Waits,
    ) -> (Vec<(Moment, Speaker)>, Vec<TaskKey>) {
        self.0.retain(|tid, _| speakers.contains_key(tid));
        let (mut told, mut asked) = (Vec::new(), Vec::new());
        for (tid, speaker) in speakers {
            let runs = runs.get(tid).copied();
            let fresh = Quiet {
                since: waits.now,
                runs,
                still_since: waits.now.at,
                told: None,
                speaker: speaker.key,
                asked_at: None,
                answer: None,
            };
            let quiet = self.0.entry(*tid).or_insert(fresh);
            if moved.contains(tid) || quiet.speaker != speaker.key {
                *quiet = fresh;
            }
            if runs.is_none() || quiet.runs != runs {
                (quiet.runs, quiet.still_since) = (runs, waits.now.at);
            }
            let (since, asks) = quiet.look(waits);
            told.extend(since.map(|since| (since, *speaker)));
            asked.extend(asks.then_some(speaker.key));
        }
        (told, asked)
    }
}

impl Quiet {
    /// Since when the event loop is held up, if it is told, and whether there is something to ask.
    fn look(&mut self, waits: &mut Waits) -> (Option<Moment>, bool) {
        let (now, after) = (waits.now, waits.stuck_after);
        let held_up_at = self.answer.and_then(|answer| answer.due);
        let held_up_at = held_up_at.map(|due| due.max(self.since.at));
        let told_at = held_up_at.map(|at| at.after(after));
        let is_told = match (self.answer, told_at) {
            (Some(answer), Some(told_at)) => answer.asked_at >= told_at,
            _ => false,
        };
        let still_since = self.still_since.max(self.since.at);
        // It has not run since it was found there.
        let is_blocked = |answer: &Answer| answer.is_blocked && answer.asked_at >= still_since;
        let blocked_since = self.answer.filter(is_blocked).map(|_| still_since);
        let is_blocked_for_long = blocked_since.is_some_and(|since| {
            let told_at = since.after(after);
            if told_at > now.at {
                waits.will_be_known(told_at);
            }
            told_at <= now.at
        });
        let asks_at = match (self.asked_at, self.answer) {
            (None, _) => Some(self.since.at.after(after / 2)),
            (Some(asked_at), Some(answer)) if answer.asked_at == asked_at => {
                // Who sleeps sets no timers.
                let again = (!waits.slept_since(asked_at)).then(|| asked_at.after(after));
                let told_at = told_at.filter(|_| !is_told);
                told_at.into_iter().chain(again).min()
            }
            // It could not be read.
            (Some(asked_at), _) => Some(asked_at.after(after / 2)),
        };
        let asks = asks_at.is_some_and(|at| now.at >= at);
        if asks {
            self.asked_at = Some(now.at);
            waits.will_be_known(now.at.after(after / 2));
        } else if let Some(at) = asks_at {
            waits.will_be_known(at);
        }
        let overdue_since = held_up_at.filter(|_| is_told);
        let blocked_since = blocked_since.filter(|_| is_blocked_for_long);
        let since = overdue_since.into_iter().chain(blocked_since).min();
        // A finding is known by that.
        self.told = since.map(|since| self.told.unwrap_or(since));
        let told_since = self.told.map(|at| Moment {
            at,
            wall: now.wall.before(now.at.since(at)),
        });
        (told_since, asks)
    }
}

/// Whether two times are those of one timer: each is as exact as the clocks that it was compared with.
fn is_same(one: Monotonic, other: Monotonic) -> bool {
    one.since(other).max(other.since(one)) <= SAME_TIMER
}
