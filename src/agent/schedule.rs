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
pub(super) struct TargetIdx(pub(super) usize);

/// What the scheduler is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
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
pub(super) struct Found {
    /// The process.
    pub(super) process: ProcessId,
    /// Its target.
    pub(super) target: TargetIdx,
}

/// How a round ended, as far as the next one depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoundEnd {
    /// The process was read.
    Read,
    /// It could not be read; later it may be.
    Failed,
    /// It has ended.
    Gone,
}

/// What the scheduler wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
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
pub(super) struct SchedulerSettings {
    /// Time between two discoveries.
    pub(super) discovery_interval: Duration,
    /// Time between two rounds, for each target.
    pub(super) intervals: Vec<Duration>,
    /// Rounds at once, those that hang left out.
    pub(super) rounds_max: usize,
    /// Rounds at once, those that hang included.
    pub(super) rounds_hanging_max: usize,
    /// A round that takes longer hangs.
    pub(super) hangs_after: Duration,
    /// The longest time between two rounds over a process that fails, if its interval is not longer.
    pub(super) retry_max: Duration,
}

/// Decides when which process is read.
#[derive(Debug)]
pub(super) struct Scheduler {
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
    pub(super) fn new(settings: SchedulerSettings) -> Self {
        Self {
            settings,
            processes: HashMap::new(),
            waiting: BTreeSet::new(),
            running: BTreeSet::new(),
            next_discovery: Some(Monotonic::default()),
        }
    }

    /// What to do about `event`, which happened at `now`.
    pub(super) fn on(&mut self, event: Event, now: Monotonic) -> Vec<Effect> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Pid, StartTime};
    use proptest::prelude::*;

    fn process(n: i32) -> ProcessId {
        ProcessId {
            pid: Pid::new(n + 1).unwrap(),
            start: StartTime(7),
        }
    }

    fn at(ms: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(ms))
    }

    fn ms(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap()
    }

    fn settings(rounds_max: usize) -> SchedulerSettings {
        SchedulerSettings {
            discovery_interval: Duration::from_secs(10),
            intervals: vec![Duration::from_secs(1), Duration::from_secs(4)],
            rounds_max,
            rounds_hanging_max: rounds_max + 2,
            hangs_after: Duration::from_secs(5),
            retry_max: Duration::from_secs(30),
        }
    }

    /// A scheduler whose first discovery, at 0, found these processes of target 0.
    fn started(rounds_max: usize, n_processes: i32) -> (Scheduler, Vec<Effect>) {
        let mut scheduler = Scheduler::new(settings(rounds_max));
        assert_eq!(scheduler.on(Event::Wake, at(0)), [Effect::Discover]);
        let effects = scheduler.on(found(0..n_processes), at(0));
        (scheduler, effects)
    }

    fn found(processes: impl IntoIterator<Item = i32>) -> Event {
        let found = processes.into_iter().map(|n| Found {
            process: process(n),
            target: TargetIdx(0),
        });
        Event::Discovered(Some(found.collect()))
    }

    fn ended(n: i32, end: RoundEnd) -> Event {
        Event::RoundEnded {
            process: process(n),
            end,
        }
    }

    fn begin(n: i32) -> Effect {
        Effect::BeginRound {
            process: process(n),
        }
    }

    #[test]
    fn a_process_is_read_when_found_and_then_every_interval() {
        let (mut scheduler, effects) = started(4, 1);
        assert_eq!(effects, [begin(0), Effect::WakeAt(at(10_000))]);
        let effects = scheduler.on(ended(0, RoundEnd::Read), at(30));
        assert_eq!(effects, [Effect::WakeAt(at(1_000))]);
        let effects = scheduler.on(Event::Wake, at(1_003));
        assert_eq!(effects, [begin(0), Effect::WakeAt(at(10_000))]);
        // The grid stays, and rounds that were missed are not made up for.
        let effects = scheduler.on(ended(0, RoundEnd::Read), at(3_500));
        assert_eq!(effects, [Effect::WakeAt(at(4_000))]);
    }

    #[test]
    fn failing_processes_are_read_less_and_less_often() {
        let (mut scheduler, _) = started(4, 1);
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            scheduler.on(ended(0, RoundEnd::Failed), at(now));
            let due = scheduler.processes[&process(0)].due;
            pauses.push(due.since(at(now)).as_secs());
            now += ms(due.since(at(now)));
            scheduler.on(Event::Wake, at(now));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        scheduler.on(ended(0, RoundEnd::Read), at(now));
        assert_eq!(scheduler.processes[&process(0)].due, at(now + 1_000));
    }

    #[test]
    fn gone_processes_are_forgotten_once_their_round_has_ended() {
        let (mut scheduler, _) = started(4, 3);
        scheduler.on(ended(0, RoundEnd::Read), at(10));
        let forget = |n| Effect::Forget {
            process: process(n),
        };
        let effects = scheduler.on(found([2]), at(20));
        assert_eq!(effects, [forget(0), Effect::WakeAt(at(10_020))]);
        assert_eq!(
            scheduler.on(ended(1, RoundEnd::Read), at(30)),
            [forget(1), Effect::WakeAt(at(10_020))]
        );
        assert_eq!(
            scheduler.on(ended(2, RoundEnd::Gone), at(40)),
            [forget(2), Effect::WakeAt(at(10_020))]
        );
        assert!(scheduler.processes.is_empty());
    }

    #[test]
    fn a_failed_discovery_changes_nothing_and_is_repeated() {
        let (mut scheduler, _) = started(4, 1);
        scheduler.on(ended(0, RoundEnd::Read), at(10));
        let effects = scheduler.on(Event::Wake, at(10_000));
        assert_eq!(effects, [Effect::Discover, begin(0)]);
        let effects = scheduler.on(Event::Discovered(None), at(10_500));
        assert_eq!(effects, [Effect::WakeAt(at(20_500))]);
        assert_eq!(scheduler.processes.len(), 1);
    }

    #[test]
    fn rounds_that_hang_give_their_place_to_others() {
        let (mut scheduler, effects) = started(1, 5);
        assert_eq!(effects, [begin(0), Effect::WakeAt(at(5_000))]);
        let effects = scheduler.on(Event::Wake, at(5_000));
        assert_eq!(effects, [begin(1), Effect::WakeAt(at(10_000))]);
        let effects = scheduler.on(Event::Wake, at(10_000));
        assert_eq!(
            effects,
            [Effect::Discover, begin(2), Effect::WakeAt(at(15_000))]
        );
        // Three run, which is the hard cap.
        assert_eq!(scheduler.on(Event::Wake, at(15_000)), []);
        assert_eq!(
            scheduler.on(ended(0, RoundEnd::Read), at(15_000)),
            [begin(3), Effect::WakeAt(at(20_000))]
        );
    }

    /// A world for the scheduler: processes come and go, rounds take their time and end somehow.
    struct World {
        scheduler: Scheduler,
        now: u64,
        wake_at: Option<Monotonic>,
        discovers: bool,
        /// Rounds that run, with their ends.
        running: Vec<(ProcessId, u64)>,
        known: Vec<ProcessId>,
        begun_at: HashMap<ProcessId, Vec<u64>>,
    }

    impl World {
        fn new(rounds_max: usize) -> Self {
            Self {
                scheduler: Scheduler::new(settings(rounds_max)),
                now: 0,
                wake_at: Some(at(0)),
                discovers: false,
                running: Vec::new(),
                known: Vec::new(),
                begun_at: HashMap::new(),
            }
        }

        fn tell(&mut self, event: Event, round_ms: u64) {
            for effect in self.scheduler.on(event, at(self.now)) {
                match effect {
                    Effect::WakeAt(wake_at) => {
                        assert!(wake_at > at(self.now), "a wake-up that changes nothing");
                        self.wake_at = Some(wake_at);
                    }
                    Effect::Discover => {
                        assert!(!self.discovers, "two discoveries at once");
                        self.discovers = true;
                    }
                    Effect::Forget { process } => {
                        self.known.retain(|known| *known != process);
                        assert!(self.running.iter().all(|(running, _)| *running != process));
                    }
                    Effect::BeginRound { process } => {
                        assert!(self.running.iter().all(|(running, _)| *running != process));
                        assert!(self.known.contains(&process), "a round over a gone process");
                        self.running.push((process, self.now + round_ms));
                        self.begun_at.entry(process).or_default().push(self.now);
                    }
                }
            }
            let max = self.scheduler.settings.rounds_max;
            let hanging = ms(self.scheduler.settings.hangs_after);
            let fresh = self
                .running
                .iter()
                .filter(|(process, _)| {
                    let begun = self.begun_at[process].last().unwrap();
                    self.now - begun < hanging
                })
                .count();
            assert!(fresh <= max, "{fresh} rounds at once");
            assert!(self.running.len() <= self.scheduler.settings.rounds_hanging_max);
        }

        /// Lets time pass until something happens, and tells the scheduler.
        fn step(&mut self, alive: &[ProcessId], end: RoundEnd, round_ms: u64) {
            if self.discovers {
                self.discovers = false;
                let found = alive.iter().map(|process| Found {
                    process: *process,
                    target: TargetIdx(usize::from(process.pid.as_raw() % 2 == 0)),
                });
                self.known.extend(alive);
                self.known.sort_unstable();
                self.known.dedup();
                self.tell(Event::Discovered(Some(found.collect())), round_ms);
                return;
            }
            let next_end = self.running.iter().map(|(_, end)| *end).min();
            let wake = self.wake_at.map(|wake| ms(wake.since(at(0))));
            let next = next_end.into_iter().chain(wake).min().unwrap();
            self.now = self.now.max(next);
            let over = self.running.iter().position(|(_, end)| *end <= self.now);
            let event = match over {
                Some(over) => {
                    let (process, _) = self.running.swap_remove(over);
                    Event::RoundEnded { process, end }
                }
                None => {
                    self.wake_at = None;
                    Event::Wake
                }
            };
            self.tell(event, round_ms);
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_the_caps_hold_and_the_gone_are_dropped(
            rounds_max in 1_usize..4,
            steps in proptest::collection::vec(
                (0_u8..=255, prop_oneof![
                    4 => Just(RoundEnd::Read), 2 => Just(RoundEnd::Failed), 1 => Just(RoundEnd::Gone)
                ], 0_u64..9_000),
                1..300,
            ),
        ) {
            let mut world = World::new(rounds_max);
            for (alive, end, round_ms) in steps {
                let alive: Vec<_> = (0..8).filter(|n| alive >> n & 1 == 1).map(process).collect();
                world.step(&alive, end, round_ms);
            }
            while !world.running.is_empty() || !world.known.is_empty() {
                world.step(&[], RoundEnd::Read, 1);
            }
            prop_assert!(world.scheduler.processes.is_empty());
            prop_assert!(world.scheduler.waiting.is_empty());
            prop_assert!(world.scheduler.running.is_empty());
        }

        #[test]
        fn nobody_starves(
            rounds_max in 1_usize..4,
            n_processes in 1_i32..12,
            durations in proptest::collection::vec(1_u64..3_000, 400),
        ) {
            let alive: Vec<_> = (0..n_processes).map(process).collect();
            let mut world = World::new(rounds_max);
            for round_ms in durations {
                world.step(&alive, RoundEnd::Read, round_ms);
            }
            // In the worst case everybody else's longest round comes first, one after the other.
            let longest = 4_000 + 3_000 * u64::try_from(n_processes).unwrap();
            for process in &alive {
                let begun = &world.begun_at[process];
                prop_assert!(begun.windows(2).all(|pair| pair[1] - pair[0] <= longest));
                prop_assert!(world.now - begun[begun.len() - 1] <= longest);
            }
        }
    }
}
