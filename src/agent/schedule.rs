//! When which process is read. Pure: events and the time come in, effects go out.
//!
//! - A process is read as soon as it is found, then every interval of its target. A round that takes
//!   longer than the interval makes the next ones be left out, never pile up.
//! - At most so many rounds run at once; those that wait are begun in the order in which they were
//!   due, so each gets its turn.
//! - A round that hangs gives its place to another after a while, up to a hard cap.
//! - Rounds over a process that fails are spaced out more and more.
//! - A process that is not found any more is forgotten; during a round, when the round has ended.

use crate::ids::ProcessId;
use crate::time::Monotonic;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// The position of a target in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetIdx(pub usize);

/// What the scheduler is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time has passed. Also the first event.
    Wake,
    /// A discovery has ended. `None`: it failed, and nothing is known to have changed.
    Discovered(Option<Vec<Found>>),
    /// A round has ended.
    RoundEnded {
        /// Over which process.
        process: ProcessId,
        /// How.
        end: RoundEnd,
    },
}

/// A process that belongs to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The process.
    pub process: ProcessId,
    /// Its target.
    pub target: TargetIdx,
}

/// How a round ended, as far as the next one depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundEnd {
    /// The process was read.
    Read,
    /// It could not be read; later it may be.
    Failed,
    /// It has ended.
    Gone,
}

/// What the scheduler wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Begin a discovery; answer with [`Event::Discovered`].
    Discover,
    /// Begin a round; answer with [`Event::RoundEnded`].
    BeginRound {
        /// Over which process.
        process: ProcessId,
    },
    /// Drop all that is kept for the process.
    Forget {
        /// Which process.
        process: ProcessId,
    },
    /// Send [`Event::Wake`] at this time. Replaces what was asked for before.
    WakeAt(Monotonic),
}

/// What the scheduler goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerSettings {
    /// Time between two discoveries.
    pub discovery_interval: Duration,
    /// Time between two rounds, for each target.
    pub intervals: Vec<Duration>,
    /// Rounds at once, those that hang left out.
    pub rounds_max: usize,
    /// Rounds at once, those that hang included.
    pub rounds_hanging_max: usize,
    /// A round that takes longer hangs.
    pub hangs_after: Duration,
    /// The longest time between two rounds over a process that fails, if its interval is not longer.
    pub retry_max: Duration,
}

/// Decides when which process is read.
#[derive(Debug)]
pub struct Scheduler {
    settings: SchedulerSettings,
    processes: HashMap<ProcessId, Entry>,
    /// Processes without a round, by the time of their next one.
    waiting: BTreeSet<(Monotonic, ProcessId)>,
    /// Rounds that run, by the time at which they began.
    running: BTreeSet<(Monotonic, ProcessId)>,
    /// `None`: a discovery runs.
    next_discovery: Option<Monotonic>,
}

#[derive(Debug)]
struct Entry {
    target: TargetIdx,
    /// When the next round is due; during a round, when that one was.
    due: Monotonic,
    /// When the round began that runs.
    began: Option<Monotonic>,
    /// Rounds that failed since the last that did not.
    n_failures: u32,
    /// Not found any more; to be forgotten at the end of its round.
    is_gone: bool,
}

impl Scheduler {
    /// A scheduler that knows no process yet. It asks for a discovery at its first event.
    pub fn new(settings: SchedulerSettings) -> Self {
        Self {
            settings,
            processes: HashMap::new(),
            waiting: BTreeSet::new(),
            running: BTreeSet::new(),
            next_discovery: Some(Monotonic::default()),
        }
    }

    /// What to do about `event`, which happened at `now`.
    pub fn on(&mut self, event: Event, now: Monotonic) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Wake => {}
            Event::Discovered(found) => {
                self.next_discovery = Some(now.after(self.settings.discovery_interval));
                if let Some(found) = found {
                    self.take_over(&found, now, &mut effects);
                }
            }
            Event::RoundEnded { process, end } => self.end_round(process, end, now, &mut effects),
        }
        if self.next_discovery.is_some_and(|at| at <= now) {
            self.next_discovery = None;
            effects.push(Effect::Discover);
        }
        self.begin_rounds(now, &mut effects);
        effects.extend(self.next_wake(now).map(Effect::WakeAt));
        effects
    }

    /// Makes the known processes the found ones.
    fn take_over(&mut self, found: &[Found], now: Monotonic, effects: &mut Vec<Effect>) {
        for entry in self.processes.values_mut() {
            entry.is_gone = true;
        }
        for Found { process, target } in found {
            let entry = self.processes.entry(*process).or_insert_with(|| {
                self.waiting.insert((now, *process));
                Entry {
                    target: *target,
                    due: now,
                    began: None,
                    n_failures: 0,
                    is_gone: false,
                }
            });
            entry.target = *target;
            entry.is_gone = false;
        }
        let mut gone: Vec<ProcessId> = self
            .processes
            .iter()
            .filter(|(_, entry)| entry.is_gone && entry.began.is_none())
            .map(|(process, _)| *process)
            .collect();
        gone.sort_unstable();
        for process in gone {
            self.forget(process, effects);
        }
    }

    fn end_round(
        &mut self,
        process: ProcessId,
        end: RoundEnd,
        now: Monotonic,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.processes.get_mut(&process) else {
            return;
        };
        let Some(began) = entry.began.take() else {
            return;
        };
        self.running.remove(&(began, process));
        if entry.is_gone || end == RoundEnd::Gone {
            self.forget(process, effects);
            return;
        }
        entry.n_failures = match end {
            RoundEnd::Failed => entry.n_failures.saturating_add(1),
            _ => 0,
        };
        let interval = interval_of(&self.settings, entry.target);
        entry.due = if entry.n_failures == 0 {
            next_due(entry.due, interval, now)
        } else {
            now.after(self.settings.back_off(interval, entry.n_failures))
        };
        self.waiting.insert((entry.due, process));
    }

    fn forget(&mut self, process: ProcessId, effects: &mut Vec<Effect>) {
        if let Some(entry) = self.processes.remove(&process) {
            self.waiting.remove(&(entry.due, process));
            effects.push(Effect::Forget { process });
        }
    }

    fn begin_rounds(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        while let Some((due, process)) = self.waiting.first().copied() {
            if due > now || !self.has_place(now) {
                return;
            }
            self.waiting.remove(&(due, process));
            self.running.insert((now, process));
            if let Some(entry) = self.processes.get_mut(&process) {
                entry.began = Some(now);
            }
            effects.push(Effect::BeginRound { process });
        }
    }

    /// Whether one more round may run.
    fn has_place(&self, now: Monotonic) -> bool {
        let n_hanging = self
            .running
            .iter()
            .take_while(|(began, _)| self.hangs(*began, now))
            .count();
        self.running.len() < self.settings.rounds_hanging_max
            && self.running.len() - n_hanging < self.settings.rounds_max
    }

    fn hangs(&self, began: Monotonic, now: Monotonic) -> bool {
        now.since(began) >= self.settings.hangs_after
    }

    /// When something will have to be done even if nothing happens.
    fn next_wake(&self, now: Monotonic) -> Option<Monotonic> {
        let (due, _) = self.waiting.first().copied().unzip();
        let round = match due {
            // It waits for a place, and the next to come free by itself is that of a round that hangs.
            Some(due) if due <= now => self
                .running
                .iter()
                .find(|(began, _)| !self.hangs(*began, now))
                .map(|(began, _)| began.after(self.settings.hangs_after)),
            due => due,
        };
        self.next_discovery.into_iter().chain(round).min()
    }
}

impl SchedulerSettings {
    /// The time to the next round after `n_failures` in a row: the interval, then twice as long each
    /// time.
    fn back_off(&self, interval: Duration, n_failures: u32) -> Duration {
        let doublings = n_failures.saturating_sub(1).min(31);
        interval
            .saturating_mul(1 << doublings)
            .min(self.retry_max.max(interval))
    }
}

fn interval_of(settings: &SchedulerSettings, target: TargetIdx) -> Duration {
    // Targets without an interval do not exist; a process of one would be read once a minute.
    let interval = settings.intervals.get(target.0).copied();
    interval.unwrap_or(Duration::from_secs(60))
}

/// The first point after `now` that is a whole number of intervals after `due`.
fn next_due(due: Monotonic, interval: Duration, now: Monotonic) -> Monotonic {
    let late = now.since(due).as_nanos();
    let interval_ns = interval.as_nanos().max(1);
    let past = u64::try_from(late % interval_ns).unwrap_or(u64::MAX);
    now.after(interval.saturating_sub(Duration::from_nanos(past)))
}
