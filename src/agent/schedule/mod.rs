//! When which process is read. Pure: events and the time come in, effects go out.
//!
//! - A process is read as soon as it is found, then every interval of its target. A round that takes
//!   longer than the interval makes the next ones be left out, never pile up.
//! - At most so many rounds run at once; those that wait are begun in the order in which they were
//!   due, so each gets its turn.
//! - A round that hangs gives its place to another after a while, up to a hard cap.
//! - A target gets a place only while more are free than its own rounds have taken. So one target
//!   takes at most half of them, several leave some, and there is one for a target that has none.
//! - A round that hangs is told, and one that is long overdue, once each.
//! - Rounds over a process that fails are spaced out more and more.
//! - A process that is not found any more is forgotten; during a round, when the round has ended.

mod event;
mod settings;

pub(super) use event::{Effect, Event, Found, RoundEnd, TargetIdx};
pub(super) use settings::SchedulerSettings;

use crate::ids::ProcessId;
use crate::time::Monotonic;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Decides when which process is read.
#[derive(Debug)]
pub(super) struct Scheduler {
    settings: SchedulerSettings,
    processes: HashMap<ProcessId, Entry>,
    targets: BTreeMap<TargetIdx, Target>,
    /// Rounds that run and do not hang, by the time at which they began.
    running: BTreeSet<(Monotonic, ProcessId)>,
    /// Rounds that hang.
    n_hanging: usize,
    /// When processes will be overdue; those that are have been taken out.
    deadlines: BTreeSet<(Monotonic, ProcessId)>,
    /// `None`: a discovery runs.
    next_discovery: Option<Monotonic>,
}

#[derive(Debug)]
struct Entry {
    target: TargetIdx,
    /// Time between two rounds.
    interval: Duration,
    /// When the next round is due; during a round, when that one was.
    due: Monotonic,
    /// When it is overdue.
    deadline: Monotonic,
    state: State,
    /// Rounds that failed since the last that did not.
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

/// The processes of a target, by what happens to them.
#[derive(Debug, Default)]
struct Target {
    /// Those without a round, by the time of their next one.
    waiting: BTreeSet<(Monotonic, ProcessId)>,
    n_running: usize,
    n_hanging: usize,
}

impl Target {
    fn add(&mut self, process: ProcessId, entry: &Entry) {
        match entry.state {
            State::Waiting => {
                self.waiting.insert((entry.due, process));
            }
            State::Running(_) => self.n_running += 1,
            State::Hanging => self.n_hanging += 1,
        }
    }

    fn remove(&mut self, process: ProcessId, entry: &Entry) {
        match entry.state {
            State::Waiting => {
                self.waiting.remove(&(entry.due, process));
            }
            State::Running(_) => self.n_running -= 1,
            State::Hanging => self.n_hanging -= 1,
        }
    }
}

impl Scheduler {
    /// A scheduler that knows no process yet. It asks for a discovery at its first event.
    pub(super) fn new(settings: SchedulerSettings) -> Self {
        Self {
            settings,
            processes: HashMap::new(),
            targets: BTreeMap::new(),
            running: BTreeSet::new(),
            n_hanging: 0,
            deadlines: BTreeSet::new(),
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
            interval,
        } in found
        {
            let known = self.processes.remove(process);
            if let Some(known) = &known {
                self.target(known.target).remove(*process, known);
            }
            let mut entry = known.unwrap_or_else(|| {
                let deadline = now.after(self.settings.overdue_after(*interval));
                self.deadlines.insert((deadline, *process));
                Entry {
                    target: *target,
                    interval: *interval,
                    due: now,
                    deadline,
                    state: State::Waiting,
                    n_failures: 0,
                    is_gone: false,
                }
            });
            entry.target = *target;
            entry.interval = *interval;
            entry.is_gone = false;
            self.target(*target).add(*process, &entry);
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

    fn target(&mut self, target: TargetIdx) -> &mut Target {
        self.targets.entry(target).or_default()
    }

    /// Moves the process on to another state.
    fn enter(&mut self, process: ProcessId, state: State) {
        let Some(entry) = self.processes.get_mut(&process) else {
            return;
        };
        let target = self.targets.entry(entry.target).or_default();
        target.remove(process, entry);
        match entry.state {
            State::Waiting => {}
            State::Running(began) => {
                self.running.remove(&(began, process));
            }
            State::Hanging => self.n_hanging -= 1,
        }
        entry.state = state;
        match state {
            State::Waiting => {}
            State::Running(began) => {
                self.running.insert((began, process));
            }
            State::Hanging => self.n_hanging += 1,
        }
        target.add(process, entry);
    }

    fn end_round(
        &mut self,
        process: ProcessId,
        end: RoundEnd,
        now: Monotonic,
        effects: &mut Vec<Effect>,
    ) {
        let is_waiting = |entry: &Entry| entry.state == State::Waiting;
        if self.processes.get(&process).is_none_or(is_waiting) {
            return;
        }
        self.enter(process, State::Waiting);
        let Some(entry) = self.processes.get_mut(&process) else {
            return;
        };
        if entry.is_gone || end == RoundEnd::Gone {
            self.forget(process, effects);
            return;
        }
        let target = self.targets.entry(entry.target).or_default();
        target.remove(process, entry);
        self.deadlines.remove(&(entry.deadline, process));
        entry.n_failures = match end {
            RoundEnd::Failed => entry.n_failures.saturating_add(1),
            _ => 0,
        };
        let interval = entry.interval;
        entry.due = if entry.n_failures == 0 {
            next_due(entry.due, interval, now)
        } else {
            now.after(self.settings.back_off(interval, entry.n_failures))
        };
        entry.deadline = entry.due.after(self.settings.overdue_after(interval));
        self.deadlines.insert((entry.deadline, process));
        target.add(process, entry);
    }

    /// Drops a process that waits.
    fn forget(&mut self, process: ProcessId, effects: &mut Vec<Effect>) {
        if let Some(entry) = self.processes.remove(&process) {
            self.target(entry.target).remove(process, &entry);
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
            effects.push(Effect::Overdue { process });
        }
    }

    /// The round that is due first, of those for which there is a place.
    fn next_round(&self) -> Option<(Monotonic, ProcessId)> {
        let targets = self.targets.values();
        let may_begin = targets.filter(|target| self.has_place(target));
        may_begin
            .filter_map(|target| target.waiting.first().copied())
            .min()
    }

    /// Whether one more round of `target` may run.
    fn has_place(&self, target: &Target) -> bool {
        let n_all = self.running.len() + self.n_hanging;
        let n_free = self.settings.rounds_max.saturating_sub(self.running.len());
        let n_free_for_all = self.settings.rounds_hanging_max.saturating_sub(n_all);
        target.n_running < n_free && target.n_running + target.n_hanging < n_free_for_all
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
            interval: Duration::from_secs(1),
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
        assert_eq!(effects, [begin(0), Effect::WakeAt(at(5_000))]);
        let effects = scheduler.on(ended(0, RoundEnd::Read), at(30));
        assert_eq!(effects, [Effect::WakeAt(at(1_000))]);
        let effects = scheduler.on(Event::Wake, at(1_003));
        assert_eq!(effects, [begin(0), Effect::WakeAt(at(6_000))]);
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
        assert_eq!(effects, [forget(0), Effect::WakeAt(at(5_000))]);
        assert_eq!(
            scheduler.on(ended(1, RoundEnd::Read), at(30)),
            [forget(1), Effect::WakeAt(at(5_000))]
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
        assert_eq!(effects[..2], [Effect::Discover, begin(0)]);
        scheduler.on(ended(0, RoundEnd::Read), at(10_200));
        let effects = scheduler.on(Event::Discovered(None), at(10_500));
        assert_eq!(effects, [Effect::WakeAt(at(11_000))]);
        assert_eq!(scheduler.next_discovery, Some(at(20_500)));
        assert_eq!(scheduler.processes.len(), 1);
    }

    #[test]
    fn rounds_that_hang_give_their_place_to_others() {
        let (mut scheduler, effects) = started(1, 5);
        assert_eq!(effects, [begin(0), Effect::WakeAt(at(5_000))]);
        let effects = scheduler.on(Event::Wake, at(5_000));
        assert_eq!(effects[..2], [hangs(0), begin(1)]);
        // Two run of the three that may; the third place is for other targets.
        let effects = scheduler.on(Event::Wake, at(10_000));
        assert_eq!(effects, [Effect::Discover, hangs(1)]);
        let effects = scheduler.on(ended(0, RoundEnd::Read), at(15_000));
        assert_eq!(effects[0], begin(2));
    }

    #[test]
    fn what_is_late_is_told_once() {
        let (mut scheduler, _) = started(1, 2);
        let overdue = |n| Effect::Overdue {
            process: process(n),
        };
        let effects = scheduler.on(Event::Wake, at(4_999));
        assert_eq!(effects, [Effect::WakeAt(at(5_000))]);
        // The one hangs, the other has waited as long; begun late, it stays late until it is read.
        let effects = scheduler.on(Event::Wake, at(5_000));
        let wake = Effect::WakeAt(at(10_000));
        assert_eq!(effects, [hangs(0), begin(1), overdue(0), overdue(1), wake]);
        let effects = scheduler.on(ended(1, RoundEnd::Read), at(6_500));
        assert_eq!(effects, [Effect::WakeAt(at(7_000))]);
        let effects = scheduler.on(ended(0, RoundEnd::Read), at(6_600));
        assert_eq!(effects, [Effect::WakeAt(at(7_000))]);
        assert_eq!(scheduler.n_hanging, 0);
    }

    #[test]
    fn a_target_leaves_places_to_others() {
        let (_, effects) = started(8, 20);
        let n_begun = effects
            .iter()
            .filter(|it| matches!(it, Effect::BeginRound { .. }));
        assert_eq!(n_begun.count(), 4);
    }

    fn hangs(n: i32) -> Effect {
        Effect::Hangs {
            process: process(n),
        }
    }

    /// A world for the scheduler: processes come and go, rounds take their time and end somehow.
    struct World {
        scheduler: Scheduler,
        now: u64,
        wake_at: Option<Monotonic>,
        discovers: bool,
        /// Rounds that run, with their ends.
        running: Vec<(ProcessId, u64)>,
        /// Processes whose rounds never end.
        stuck: Vec<ProcessId>,
        /// Processes whose round was said to hang.
        hanging: BTreeSet<ProcessId>,
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
                stuck: Vec::new(),
                hanging: BTreeSet::new(),
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
                    Effect::Hangs { process } => {
                        assert!(self.hanging.insert(process), "told twice");
                    }
                    Effect::Overdue { process } => assert!(self.known.contains(&process)),
                    Effect::Forget { process } => {
                        self.known.retain(|known| *known != process);
                        assert!(self.running.iter().all(|(running, _)| *running != process));
                    }
                    Effect::BeginRound { process } => {
                        assert!(self.running.iter().all(|(running, _)| *running != process));
                        assert!(self.known.contains(&process), "a round over a gone process");
                        let is_stuck = self.stuck.contains(&process);
                        let end = if is_stuck {
                            u64::MAX
                        } else {
                            self.now + round_ms
                        };
                        self.running.push((process, end));
                        self.begun_at.entry(process).or_default().push(self.now);
                    }
                }
            }
            let settings = &self.scheduler.settings;
            let (max, hangs_after) = (settings.rounds_max, ms(settings.hangs_after));
            let hanging = self.running.iter().map(|(process, _)| *process);
            let hanging: BTreeSet<_> = hanging
                .filter(|it| self.now - self.begun_at[it].last().unwrap() >= hangs_after)
                .collect();
            assert_eq!(hanging, self.hanging, "rounds that hang, and those said to");
            assert!(self.running.len() - hanging.len() <= max);
            assert!(self.running.len() <= self.scheduler.settings.rounds_hanging_max);
        }

        /// Lets time pass until something happens, and tells the scheduler.
        fn step(&mut self, alive: &[ProcessId], end: RoundEnd, round_ms: u64) {
            if self.discovers {
                self.discovers = false;
                let found = alive.iter().map(|process| {
                    let is_even = process.pid.as_raw() % 2 == 0;
                    Found {
                        process: *process,
                        target: TargetIdx(usize::from(is_even)),
                        interval: Duration::from_secs(if is_even { 4 } else { 1 }),
                    }
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
                    self.hanging.remove(&process);
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
            prop_assert!(world.scheduler.deadlines.is_empty());
            prop_assert!(world.scheduler.running.is_empty());
            prop_assert_eq!(world.scheduler.n_hanging, 0);
            for target in world.scheduler.targets.values() {
                prop_assert!(target.waiting.is_empty());
                prop_assert_eq!((target.n_running, target.n_hanging), (0, 0));
            }
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

        #[test]
        fn a_target_that_hangs_delays_no_other(
            rounds_max in 2_usize..6,
            n_stuck in 1_i32..40,
            n_healthy in 1_i32..4,
            durations in proptest::collection::vec(1_u64..500, 300),
        ) {
            let mut world = World::new(rounds_max);
            // Even numbers are of one target, odd ones of the other.
            world.stuck = (0..n_stuck).map(|n| process(2 * n)).collect();
            let healthy: Vec<_> = (0..n_healthy).map(|n| process(2 * n + 1)).collect();
            let alive = [&world.stuck[..], &healthy[..]].concat();
            for round_ms in durations {
                world.step(&alive, RoundEnd::Read, round_ms);
            }
            // An interval, and the rounds of its own target, one after the other.
            let longest = 4_000 + 500 * u64::try_from(n_healthy).unwrap();
            for process in &healthy {
                let begun = &world.begun_at[process];
                prop_assert!(begun.windows(2).all(|pair| pair[1] - pair[0] <= longest));
                prop_assert!(world.now - begun[begun.len() - 1] <= longest);
            }
        }
    }
}
