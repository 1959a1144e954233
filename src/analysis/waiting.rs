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
//! apart ([`Task::has_turn`](crate::graph::Task::has_turn)), or there is no loop in which it could go round
//! ([`LongWait::cannot_return`]).
//!
//! When half of the time is over it is asked why the task waits ([`LongWait`]), and again before it counts as stuck, and now
//! and then afterwards: work begins late, timers are set and cancelled. A wait that the program itself will end is
//! not stuck as long as it takes no longer than that; if it should have ended and another end is set, the task
//! has gone on.

use super::facts::TaskKey;
use super::history::FunctionRules;
use super::lines::Place;
use super::look::Moment;
use crate::graph::LongWait;
use crate::time::Monotonic;
use std::time::Duration;

/// So many looks must all see a task at its place. All of them do by accident once in a million times.
const LOOKS_MIN: u32 = 20;
/// Of so many looks before which its thread has run, one may be without any task that is seen to have gone on.
const RUNS_PER_UNSEEN: u32 = 8;
/// The least time between two of them, on average.
const GAP_MIN: Duration = Duration::from_millis(50);

/// Tasks about which it is asked at one look.
const ASKED_MAX: usize = 16_384;
/// A wait that the program will end is not stuck if all of it takes no longer than so many times
/// [`Rules::stuck_after`](super::Rules::stuck_after): a timer round all of a program would excuse everything.
pub(super) const ENDS_WITHIN: u32 = 10;
/// One that has a timer of its own may take longer.
const ENDS_ITSELF_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Ends of a wait that lie no further apart than this are the same.
const SAME_END: Duration = Duration::from_millis(20);
/// What waits for a thread or another process, and for the task that an event loop was started for: the rules are
/// asked about these functions, which stand on no stack.
const RUN_IN_EXECUTOR: &str = "run_in_executor";
const RUN_UNTIL_COMPLETE: &str = "run_until_complete";
/// And about these what waits for a signal, or for a file that can be read or written.
const ADD_SIGNAL_HANDLER: &str = "add_signal_handler";
const ADD_READER: &str = "add_reader";

/// What was asked about why a task waits; few tasks wait for so long.
#[derive(Debug, Clone, Copy, Default)]
struct Inquiry {
    /// When it was asked last.
    asked_at: Option<Monotonic>,
    /// That was answered.
    is_answered: bool,
    reason: Option<Reason>,
    /// When its wait should have ended.
    overdue_since: Option<Monotonic>,
}

/// What is known of why a task waits.
#[derive(Debug, Clone, Copy, Default)]
struct Reason {
    ends_at: Option<Monotonic>,
    ends_itself_at: Option<Monotonic>,
    may_end_at: Option<Monotonic>,
    for_executor: bool,
    for_signal: bool,
    for_file: bool,
    may_be_for_file: bool,
    is_main: bool,
}

/// A task that was seen. There are as many of these as the agent follows tasks.
#[derive(Debug)]
pub(super) struct Seen {
    place: u64,
    /// The line in which it waits there: see [`StackFacts::line`](super::facts::StackFacts::line).
    pub(super) line: u64,
    /// When it was first seen at this place.
    pub(super) since: Moment,
    /// It came there after this moment.
    pub(super) came_after: Monotonic,
    /// Snapshots in a row in which it is missing.
    pub(super) n_missing: u32,
    /// Looks that were taken to be sure that it stands.
    n_looks: u32,
    /// Looks before which its thread has run.
    n_ran: u32,
    /// Those of them before which a task of it went on that was not seen to.
    n_unseen: u32,
    inquiry: Option<Box<Inquiry>>,
    /// What was answered of that ([`LongWait::cannot_return`]); it stays true at its place.
    cannot_return: Option<bool>,
    /// It was found to be stuck at this place.
    pub(super) is_stuck: bool,
}

impl Seen {
    /// One that is seen at `place` now, and was not there at `before`.
    pub(super) fn new(place: u64, line: u64, before: Monotonic, now: Moment) -> Self {
        Self {
            place,
            line,
            since: now,
            came_after: before,
            n_missing: 0,
            n_looks: 0,
            n_ran: 0,
            n_unseen: 0,
            inquiry: None,
            cannot_return: None,
            is_stuck: false,
        }
    }

    /// Its wait counts from now on: it may have gone round, and so have come at any time.
    fn begin_anew(&mut self, now: Moment) {
        *self = Self {
            cannot_return: self.cannot_return.filter(|it| *it),
            ..Self::new(self.place, self.line, self.came_after, now)
        };
    }

    /// Whether what was asked last was answered.
    fn is_answered(&self) -> bool {
        self.inquiry.as_ref().is_some_and(|it| it.is_answered)
    }

    fn asked_at(&self) -> Option<Monotonic> {
        self.inquiry.as_ref()?.asked_at
    }

    /// What a close look found out of it.
    pub(super) fn note(&mut self, wait: &LongWait, clock: Duration, now: Moment) {
        // One that is past has ended nothing, or is of another clock.
        let end = |at: Option<Duration>| {
            let left = at?.checked_sub(clock).filter(|left| !left.is_zero())?;
            Some(now.at.after(left))
        };
        let (ends_at, ends_itself_at) = (end(wait.ends_at), end(wait.ends_itself_at));
        let other_end = |before: Monotonic| {
            ends_at.is_some_and(|now| now.since(before).max(before.since(now)) > SAME_END)
        };
        let overdue_since = self.inquiry.as_ref().and_then(|it| it.overdue_since);
        if overdue_since.is_some_and(other_end) {
            self.begin_anew(now);
        }
        if self.cannot_return == Some(false) && wait.cannot_return {
            // What counted until now was another way to its place.
            self.begin_anew(now);
        }
        self.cannot_return = Some(wait.cannot_return);
        let inquiry = self.inquiry.get_or_insert_default();
        **inquiry = Inquiry {
            asked_at: Some(now.at),
            is_answered: true,
            reason: Some(Reason {
                ends_at,
                ends_itself_at,
                may_end_at: end(wait.may_end_at),
                for_executor: wait.for_executor,
                for_signal: wait.for_signal,
                for_file: wait.for_file,
                may_be_for_file: wait.may_be_for_file,
                is_main: wait.is_main,
            }),
            overdue_since: None,
        };
    }

    /// Whether it was seen at `place`.
    pub(super) fn was_at(&self, place: u64) -> bool {
        self.place == place
    }

    /// It is at `place` now.
    pub(super) fn see(&mut self, place: u64, line: u64, before: Monotonic, now: Moment) {
        if self.place == place {
            self.n_missing = 0;
        } else {
            *self = Self::new(place, line, before, now);
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
    pub(super) now: Moment,
    pub(super) stuck_after: Duration,
    /// Tasks of which it is to be found out why they wait.
    pub(super) asked: Vec<TaskKey>,
    /// For how long the process has not run, and since when.
    slept: Duration,
    asleep_since: Option<Monotonic>,
    /// When something will become known even if the process sleeps on.
    pub(super) next: Option<Monotonic>,
    /// The mean time to the next look that somebody needs.
    pub(super) look_within: Option<Duration>,
}

impl Waits {
    pub(super) fn at(now: Moment, stuck_after: Duration, asleep_since: Option<Monotonic>) -> Self {
        Self {
            now,
            stuck_after,
            asked: Vec::new(),
            slept: asleep_since.map_or(Duration::ZERO, |since| now.at.since(since)),
            asleep_since,
            next: None,
            look_within: None,
        }
    }

    /// Whether there is a known reason for a wait, so that nothing is wrong with it.
    pub(super) fn is_explained(
        &mut self,
        (key, seen): (TaskKey, &mut Seen),
        line: Option<Place>,
        functions: &dyn FunctionRules,
        is_bare: bool,
    ) -> bool {
        let Some(reason) = seen.inquiry.as_ref().and_then(|it| it.reason) else {
            return false;
        };
        if self.is_older(seen, self.stuck_after) {
            self.ask(key, seen);
        }
        let is_explained = self.explains((seen, line), reason, functions, is_bare);
        seen.is_stuck &= !is_explained;
        is_explained
    }

    fn explains(
        &mut self,
        (seen, line): (&mut Seen, Option<Place>),
        reason: Reason,
        functions: &dyn FunctionRules,
        is_bare: bool,
    ) -> bool {
        let reasons = [
            (reason.for_executor, RUN_IN_EXECUTOR),
            (reason.for_signal, ADD_SIGNAL_HANDLER),
            (reason.for_file, ADD_READER),
            (reason.may_be_for_file && is_bare, ADD_READER),
            (reason.is_main && is_bare, RUN_UNTIL_COMPLETE),
        ];
        if reasons
            .iter()
            .any(|(holds, function)| *holds && functions.is_idle(function))
        {
            return true;
        }
        let since = seen.since.at;
        let within =
            |end: Option<Monotonic>, longest| end.is_some_and(|at| at.since(since) <= longest);
        let soon = self.stuck_after.saturating_mul(ENDS_WITHIN);
        // A timer may end the waits of a line one after the other, and is set anew for the next one.
        let line = line.filter(|line| !line.is_overtaken);
        let turn_since = line.map_or(since, |line| line.moved_at.max(since));
        let may_end_at = reason.may_end_at;
        if let Some(at) = may_end_at.filter(|at| at.since(turn_since) <= soon) {
            if at > self.now.at {
                self.will_be_known(at);
                return true;
            }
            // It was called, and that was not it, or it is called again: that is asked.
            seen.inquiry = None;
        }
        let is_short = within(reason.ends_at, soon);
        let will_end = is_short || within(reason.ends_itself_at, ENDS_ITSELF_WITHIN);
        match reason.ends_at {
            Some(at) if at <= self.now.at => {
                seen.inquiry = Some(Box::new(Inquiry {
                    overdue_since: Some(at),
                    ..Inquiry::default()
                }));
                false
            }
            Some(at) if will_end => {
                self.will_be_known(at);
                true
            }
            _ => false,
        }
    }

    /// Whether a task is stuck that was seen just now, in whose thread there was such activity.
    pub(super) fn is_stuck(
        &mut self,
        (key, seen): (TaskKey, &mut Seen),
        activity: Activity,
    ) -> bool {
        seen.n_ran += u32::from(activity != Activity::None);
        seen.n_unseen += u32::from(activity == Activity::Unseen);
        let now = self.now;
        let wait = now.at.since(seen.since.at);
        let half = self.stuck_after / 2;
        if wait < half {
            self.will_be_known(seen.since.at.after(half));
            return false;
        }
        let is_doubtful = seen.n_unseen.saturating_mul(RUNS_PER_UNSEEN) > seen.n_ran;
        let is_doubtful = !seen.is_stuck && is_doubtful;
        let is_asked = seen.asked_at().is_some();
        match seen.cannot_return {
            None if is_doubtful && !is_asked => {
                // What is answered comes with the next snapshot.
                self.ask(key, seen);
                self.wants_look(GAP_MIN);
                return false;
            }
            None | Some(false) if is_doubtful => {
                seen.begin_anew(now);
                self.will_be_known(now.at.after(half));
                return false;
            }
            _ if !is_asked => self.ask(key, seen),
            _ => {}
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
        if !seen.is_stuck {
            if self.is_older(seen, self.stuck_after / 8) {
                self.ask(key, seen);
            }
            if !seen.is_answered() {
                // What is answered comes with the next snapshot. If nothing was, because of a limit, nobody knows why it waits.
                let again = seen.asked_at().map(|at| at.after(self.stuck_after / 8));
                match again {
                    Some(again) if again <= now.at => self.ask(key, seen),
                    Some(again) if seen.asked_at() != Some(now.at) => self.will_be_known(again),
                    _ => self.wants_look(GAP_MIN),
                }
                return false;
            }
        } else if self.is_older(seen, self.stuck_after) {
            self.ask(key, seen);
        }
        seen.is_stuck = true;
        true
    }

    /// Whether what is known of why a task waits is older than that, and the process has run since.
    fn is_older(&self, seen: &Seen, than: Duration) -> bool {
        let Some(at) = seen.asked_at() else {
            return false;
        };
        !self.slept_since(at) && self.now.at.since(at) > than
    }

    /// Whether the process has not run since then.
    pub(super) fn slept_since(&self, at: Monotonic) -> bool {
        self.asleep_since.is_some_and(|since| since <= at)
    }

    /// Asks why a task waits, if there is room for one more.
    pub(super) fn ask(&mut self, key: TaskKey, seen: &mut Seen) {
        if self.asked.len() < ASKED_MAX {
            let inquiry = seen.inquiry.get_or_insert_default();
            inquiry.asked_at = Some(self.now.at);
            inquiry.is_answered = false;
            self.asked.push(key);
        }
    }

    /// Whether a task waits in a line that moves, so that its turn comes. It does not come for one that has been overtaken; but
    /// one that goes round a loop, and whose turns nothing tells apart, may have had it unseen.
    pub(super) fn is_in_line(
        &mut self,
        (key, seen): (TaskKey, &mut Seen),
        line: Option<Place>,
        has_turn: bool,
    ) -> bool {
        let Some(line) = line.filter(|line| line.moves_until > self.now.at) else {
            return false;
        };
        if line.is_overtaken {
            if has_turn || seen.cannot_return == Some(true) {
                return false;
            }
            let half = seen.since.at.after(self.stuck_after / 2);
            if seen.asked_at().is_none() {
                match half <= self.now.at {
                    true => self.ask(key, seen),
                    false => self.will_be_known(half),
                }
            }
        }
        self.will_be_known(line.moves_until);
        true
    }

    /// A wait that does not count, whatever it takes: whether it would otherwise.
    pub(super) fn is_long(&mut self, seen: &Seen) -> bool {
        let long = seen.since.at.after(self.stuck_after);
        if long > self.now.at {
            self.will_be_known(long);
        }
        long <= self.now.at
    }

    pub(super) fn will_be_known(&mut self, at: Monotonic) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Of the time that is left, the part of one look. Who is late has looks that follow each other as closely as
    /// those of most tasks do.
    fn wants_looks(&mut self, wait: Duration, missing: u32) {
        let left = self.stuck_after.saturating_sub(wait);
        let gap = (left / missing).max(self.stuck_after / (4 * LOOKS_MIN));
        self.wants_look(gap.max(GAP_MIN));
    }

    fn wants_look(&mut self, gap: Duration) {
        self.look_within = Some(self.look_within.map_or(gap, |within| within.min(gap)));
    }
}
