//! When which process is read. Pure: events and the time come in, effects go out.
//!
//! - A process is read as soon as it is found, then every interval of its target. A round that takes
//!   longer than the interval makes the next ones be left out, never pile up. A round may ask for the next one
//!   to take place sooner.
//! - At most so many rounds run at once; those that wait are begun in the order in which they were
//!   due, so each gets its turn.
//! - A round that hangs gives its place to another after a while, up to a hard cap.
//! - No target, no user and no crowd of new processes takes all places ([`places`]).
//! - A round that hangs is told, and one that is long overdue, once each; also whether that is for others that
//!   hang.
//! - Rounds over a process that fails, or that is over a limit, are spaced out more and more.
//! - If rounds take more of the processor than they may, those take place later that take more than an equal
//!   part of it. All others could be read as often as they should if there were none of these.
//! - A process that is not found any more is forgotten; during a round, when the round has ended.

mod budget;
mod event;
mod places;
mod settings;

pub(super) use event::{Effect, Event, Found, RoundEnd, TargetIdx};
pub(super) use settings::SchedulerSettings;

use crate::ids::ProcessId;
use crate::time::Monotonic;
use budget::Budget;
use places::{Line, Places};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Decides when which process is read.
#[derive(Debug)]
pub(super) struct Scheduler {
    settings: SchedulerSettings,
    budget: Budget,
    processes: HashMap<ProcessId, Entry>,
    /// Those without a round, by the time of their next one.
    waiting: BTreeMap<Line, BTreeSet<(Monotonic, ProcessId)>>,
    places: Places,
    /// Rounds that run and do not hang, by the time at which they began.
    running: BTreeSet<(Monotonic, ProcessId)>,
    /// When processes will be overdue; those that are have been taken out.
    deadlines: BTreeSet<(Monotonic, ProcessId)>,
    /// `None`: a discovery runs.
    next_discovery: Option<Monotonic>,
    /// The next one is to follow the one that runs at once.
    discover_again: bool,
}

#[derive(Debug)]
struct Entry {
    target: TargetIdx,
    user: Option<u32>,
    /// Its latest round has ended, and did not hang.
    is_known: bool,
    /// Time between two rounds.
    interval: Duration,
    /// When the next round is due; during a round, when that one was.
    due: Monotonic,
    /// When it is overdue; if it is, when it is to be looked at again.
    deadline: Monotonic,
    is_overdue: bool,
    state: State,
    /// Rounds that failed, or reached a limit, since the last that did not.
    n_failures: u32,
    /// Not found any more; to be forgotten at the end of its round.
    is_gone: bool,
}

/// What happens to a process now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It waits for its next round.
    Waiting,
    /// Its round began at this time.
    Running(Monotonic),
    /// Its round hangs.
    Hanging,
}

impl Entry {
    fn line(&self) -> Line {
        Line {
            target: self.target,
            user: self.user,
            is_known: self.is_known,
        }
    }
}

impl Scheduler {
    /// A scheduler that knows no process yet. It asks for a discovery at its first event.
    pub(super) fn new(settings: SchedulerSettings) -> Self {
        Self {
            budget: Budget::new(settings.cpu_share),
            settings,
            processes: HashMap::new(),
            waiting: BTreeMap::new(),
            places: Places::default(),
            running: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            next_discovery: Some(Monotonic::default()),
            discover_again: false,
        }
    }

    /// What to do about `event`, which happened at `now`.
    pub(super) fn on(&mut self, event: Event, now: Monotonic) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Wake => {}
            Event::Discovered(found) => {
                self.next_discovery = Some(match std::mem::take(&mut self.discover_again) {
                    true => now,
                    false => now.after(self.settings.discovery_interval),
                });
                if let Some(found) = found {
                    self.take_over(&found, now, &mut effects);
                }
            }
            Event::RoundEnded { process, end, used } => {
                self.budget.take(used, now);
                self.end_round(process, end, used, now, &mut effects);
            }
            Event::Reconfigured(settings) => {
                self.budget.set_share(settings.cpu_share, now);
                self.settings = settings;
                self.discover_again = self.next_discovery.is_none();
                self.next_discovery = self.next_discovery.map(|_| now);
            }
        }
        if self.next_discovery.is_some_and(|at| at <= now) {
            self.next_discovery = None;
            effects.push(Effect::Discover);
        }
        self.tell_hanging(now, &mut effects);
        self.begin_rounds(now, &mut effects);
        self.tell_overdue(now, &mut effects);
        effects.extend(self.next_wake(now).map(Effect::WakeAt));
        effects
    }

    /// Makes the known processes the found ones.
    fn take_over(&mut self, found: &[Found], now: Monotonic, effects: &mut Vec<Effect>) {
        for entry in self.processes.values_mut() {
            entry.is_gone = true;
        }
        for Found {
            process,
            target,
            user,
            interval,
        } in found
        {
            let known = self.processes.remove(process);
            if let Some(known) = &known {
                self.line_down(*process, known);
            }
            let mut entry = known.unwrap_or_else(|| {
                let deadline = now.after(self.settings.overdue_after(*interval));
                self.deadlines.insert((deadline, *process));
                Entry {
                    target: *target,
                    user: *user,
                    is_known: false,
                    interval: *interval,
                    due: now,
                    deadline,
                    is_overdue: false,
                    state: State::Waiting,
                    n_failures: 0,
                    is_gone: false,
                }
            });
            if entry.state == State::Waiting && entry.interval > *interval {
                self.deadlines.remove(&(entry.deadline, *process));
                entry.due = entry.due.min(now.after(*interval));
                entry.deadline = entry.due.after(self.settings.overdue_after(*interval));
                self.deadlines.insert((entry.deadline, *process));
            }
            entry.target = *target;
            entry.user = *user;
            entry.interval = *interval;
            entry.is_gone = false;
            self.line_up(*process, &entry);
            self.processes.insert(*process, entry);
        }
        let mut gone: Vec<ProcessId> = self
            .processes
            .iter()
            .filter(|(_, entry)| entry.is_gone && entry.state == State::Waiting)
            .map(|(process, _)| *process)
            .collect();
        gone.sort_unstable();
        for process in gone {
            self.forget(process, effects);
        }
    }

    /// Puts the process into the line or the place where its state belongs.
    fn line_up(&mut self, process: ProcessId, entry: &Entry) {
        match entry.state {
            State::Waiting => {
                let line = self.waiting.entry(entry.line()).or_default();
                line.insert((entry.due, process));
            }
            State::Running(began) => {
                self.running.insert((began, process));
                self.places.take(entry.line(), false);
            }
            State::Hanging => self.places.take(entry.line(), true),
        }
    }

    /// The opposite of [`Self::line_up`].
    fn line_down(&mut self, process: ProcessId, entry: &Entry) {
        match entry.state {
            State::Waiting => {
                if let Some(line) = self.waiting.get_mut(&entry.line()) {
                    line.remove(&(entry.due, process));
                    if line.is_empty() {
                        self.waiting.remove(&entry.line());
                    }
                }
            }
            State::Running(began) => {
                self.running.remove(&(began, process));
                self.places.give_back(entry.line(), false);
            }
            State::Hanging => self.places.give_back(entry.line(), true),
        }
    }

    /// Moves the process on to another state.
    fn enter(&mut self, process: ProcessId, state: State) {
        if let Some(mut entry) = self.processes.remove(&process) {
            self.line_down(process, &entry);
            entry.state = state;
            self.line_up(process, &entry);
            self.processes.insert(process, entry);
        }
    }

    fn end_round(
        &mut self,
        process: ProcessId,
        end: RoundEnd,
        used: Duration,
        now: Monotonic,
        effects: &mut Vec<Effect>,
    ) {
        let n_processes = self.processes.len();
        let is_waiting = |entry: &Entry| entry.state == State::Waiting;
        if self.processes.get(&process).is_none_or(is_waiting) {
            return;
        }
        let Some(mut entry) = self.processes.remove(&process) else {
            return;
        };
        self.line_down(process, &entry);
        self.deadlines.remove(&(entry.deadline, process));
        if entry.is_gone || end == RoundEnd::Gone {
            effects.push(Effect::Forget { process });
            return;
        }
        entry.is_known = entry.state != State::Hanging;
        entry.state = State::Waiting;
        entry.n_failures = match end {
            RoundEnd::Failed | RoundEnd::OverLimit => entry.n_failures.saturating_add(1),
            _ => 0,
        };
        let interval = entry.interval;
        entry.due = match end {
            RoundEnd::ReadAgain(after) => now.after(within(interval, after)),
            _ if entry.n_failures == 0 => next_due(entry.due, interval, now),
            _ => now.after(self.settings.back_off(interval, entry.n_failures)),
        };
        if let Some(part_lasts) = self.settings.beyond_fair_part(used, interval, n_processes)
            && let Some(until) = self.budget.exceeded_until(now)
        {
            // It pays for what it took itself, not for what others did.
            let until = until.min(now.after(part_lasts));
            if until > entry.due {
                effects.push(Effect::Postponed { process });
            }
            entry.due = entry.due.max(until);
        }
        entry.deadline = entry.due.after(self.settings.overdue_after(interval));
        entry.is_overdue = false;
        self.deadlines.insert((entry.deadline, process));
        self.line_up(process, &entry);
        self.processes.insert(process, entry);
    }

    /// Drops a process that waits.
    fn forget(&mut self, process: ProcessId, effects: &mut Vec<Effect>) {
        if let Some(entry) = self.processes.remove(&process) {
            self.line_down(process, &entry);
            self.deadlines.remove(&(entry.deadline, process));
            effects.push(Effect::Forget { process });
        }
    }

    fn tell_hanging(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        while let Some((began, process)) = self.running.first().copied() {
            if now.since(began) < self.settings.hangs_after {
                return;
            }
            self.enter(process, State::Hanging);
            effects.push(Effect::Hangs { process });
        }
    }

    fn begin_rounds(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        while let Some((due, process)) = self.next_round() {
            if due > now {
                return;
            }
            self.enter(process, State::Running(now));
            effects.push(Effect::BeginRound { process });
        }
    }

    fn tell_overdue(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        while let Some((deadline, process)) = self.deadlines.first().copied() {
            if deadline > now {
                return;
            }
            self.deadlines.pop_first();
            let Some(entry) = self.processes.get_mut(&process) else {
                continue;
            };
            if !std::mem::replace(&mut entry.is_overdue, true) {
                effects.push(Effect::Overdue { process });
            }
            if entry.state != State::Waiting {
                continue;
            }
            if self.places.may_hang(entry.line(), &self.settings) {
                // Its turn comes, or rounds that run now will turn out to hang.
                entry.deadline = now.after(self.settings.hangs_after);
                self.deadlines.insert((entry.deadline, process));
            } else {
                effects.push(Effect::CrowdedOut { process });
            }
        }
    }

    /// The round that is due first, of those for which there is a place.
    fn next_round(&self) -> Option<(Monotonic, ProcessId)> {
        let lines = self.waiting.iter();
        let may_begin = lines.filter(|(line, _)| self.places.has_place(**line, &self.settings));
        may_begin
            .filter_map(|(_, line)| line.first().copied())
            .min()
    }

    /// When something will have to be done even if nothing happens.
    fn next_wake(&self, now: Monotonic) -> Option<Monotonic> {
        let hangs = self.running.first();
        let hangs = hangs.map(|(began, _)| began.after(self.settings.hangs_after));
        let overdue = self.deadlines.first().map(|(deadline, _)| *deadline);
        let round = self.next_round().map(|(due, _)| due);
        let all = [self.next_discovery, hangs, overdue, round];
        debug_assert!(all.iter().flatten().all(|at| *at > now));
        all.into_iter().flatten().min()
    }
}

/// A time that was chosen at random, brought below the interval: it must stay irregular.
fn within(interval: Duration, after: Duration) -> Duration {
    if after <= interval {
        return after;
    }
    let rest = after.as_nanos() % interval.as_nanos().max(1);
    Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX)).max(interval / 10)
}

/// The first point after `now` that is a whole number of intervals after `due`.
fn next_due(due: Monotonic, interval: Duration, now: Monotonic) -> Monotonic {
    let late = now.since(due).as_nanos();
    let interval_ns = interval.as_nanos().max(1);
    let past = u64::try_from(late % interval_ns).unwrap_or(u64::MAX);
    now.after(interval.saturating_sub(Duration::from_nanos(past)))
}

#[cfg(test)]
mod tests;
