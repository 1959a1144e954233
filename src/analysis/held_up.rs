//! Event loops that something holds up which is no task: a callback. None of the tasks goes on then, and nothing is wrong with
//! where they stand; but the event loop's next timer is overdue. One of the tasks is told for all of them: one that sleeps,
//! if there is any.
//!
//! It takes a question when a timer is due ([`LongWait::loop_due_at`]), which is asked when no task of a thread was seen to go on for
//! half of the time, and again when the timer would have been overdue for all of it.

use super::facts::TaskKey;
use super::history::Moment;
use super::waiting::Waits;
use crate::graph::{LongWait, TaskIdx};
use crate::ids::Tid;
use crate::time::Monotonic;
use rustc_hash::{FxHashMap, FxHashSet};
use std::time::Duration;

/// A timer that has been due for longer is of another clock than ours.
const DUE_WITHIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

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
    speaker: TaskKey,
    answer: Option<Answer>,
}

/// What was answered last.
#[derive(Debug, Clone, Copy)]
struct Answer {
    asked_at: Monotonic,
    is_known: bool,
    /// When the first timer is or was due; `None` if there is none.
    due: Option<Monotonic>,
}

impl Answer {
    /// None yet, to a question of now.
    fn none(now: Monotonic) -> Self {
        Self {
            asked_at: now,
            is_known: false,
            due: None,
        }
    }
}

impl HeldUp {
    /// Takes up what was found out of a task, if it is one that was asked about because of its event loop. `clock` is the
    /// time `now` by the clock of event loops.
    pub(super) fn note(&mut self, key: TaskKey, wait: &LongWait, clock: Duration, now: Moment) {
        let quiet = self.0.values_mut().find(|quiet| quiet.speaker == key);
        if let Some(answer) = quiet.and_then(|quiet| quiet.answer.as_mut()) {
            answer.is_known = true;
            answer.due = wait.loop_due_at.and_then(|due| {
                let (left, ago) = (due.saturating_sub(clock), clock.saturating_sub(due));
                (ago < DUE_WITHIN).then(|| now.at.after(left).before(ago))
            });
        }
    }

    /// Takes up a look at the tasks: threads in which one has gone on are not held up. Gives the tasks that are to be told,
    /// and since when they are held up.
    pub(super) fn look(
        &mut self,
        speakers: &Speakers,
        moved: &FxHashSet<Tid>,
        waits: &mut Waits,
    ) -> (Vec<(Moment, Speaker)>, Vec<TaskKey>) {
        self.0.retain(|tid, _| speakers.contains_key(tid));
        let (mut told, mut asked) = (Vec::new(), Vec::new());
        for (tid, speaker) in speakers {
            let fresh = Quiet {
                since: waits.now,
                speaker: speaker.key,
                answer: None,
            };
            let quiet = self.0.entry(*tid).or_insert(fresh);
            if moved.contains(tid) || quiet.speaker != speaker.key {
                *quiet = fresh;
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
        let (asks_at, told_since) = match self.answer {
            None => (Some(self.since.at.after(after / 2)), None),
            // It could not be read.
            Some(answer) if !answer.is_known => (Some(answer.asked_at.after(after / 2)), None),
            Some(answer) => {
                let held_up_at = answer.due.map(|due| due.max(self.since.at));
                let told_at = held_up_at.map(|at| at.after(after));
                match told_at.filter(|told_at| answer.asked_at >= *told_at) {
                    None => (told_at, None),
                    Some(_) => (Some(answer.asked_at.after(after)), held_up_at),
                }
            }
        };
        let asks = asks_at.is_some_and(|at| now.at >= at);
        match (&mut self.answer, asks_at) {
            // What was answered holds until it is answered again.
            (Some(answer), _) if asks && told_since.is_some() => answer.asked_at = now.at,
            (answer, _) if asks => *answer = Some(Answer::none(now.at)),
            (_, Some(at)) => waits.will_be_known(at),
            _ => {}
        }
        if asks {
            let again = if told_since.is_some() {
                after
            } else {
                after / 2
            };
            waits.will_be_known(now.at.after(again));
        }
        let told_since = told_since.map(|at| Moment {
            at,
            wall: now.wall.before(now.at.since(at)),
        });
        (told_since, asks)
    }
}
