//! Tests of the scheduler.

use super::*;
use crate::ids::{Pid, StartTime};
use proptest::prelude::*;

mod crowds;

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
        cpu_share: 0.1,
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
        user: Some(0),
        interval: Duration::from_secs(1),
    });
    Event::Discovered(Some(found.collect()))
}

fn ended(n: i32, end: RoundEnd) -> Event {
    Event::RoundEnded {
        process: process(n),
        end,
        used: Duration::ZERO,
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
fn a_round_may_ask_for_the_next_one() {
    let (mut scheduler, _) = started(4, 1);
    let again = |ms| RoundEnd::ReadAgain(Duration::from_millis(ms));
    let effects = scheduler.on(ended(0, again(170)), at(30));
    assert_eq!(effects, [Effect::WakeAt(at(200))]);
    scheduler.on(Event::Wake, at(200));
    // Not later than its interval, but at no time that one could foresee.
    let effects = scheduler.on(ended(0, again(7_430)), at(210));
    assert_eq!(effects, [Effect::WakeAt(at(640))]);
    scheduler.on(Event::Wake, at(640));
    let effects = scheduler.on(ended(0, RoundEnd::Read), at(650));
    assert_eq!(effects, [Effect::WakeAt(at(1_640))]);
}

#[test]
fn processes_that_fail_or_are_over_a_limit_are_read_less_and_less_often() {
    for end in [RoundEnd::Failed, RoundEnd::OverLimit] {
        let (mut scheduler, _) = started(4, 1);
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            scheduler.on(ended(0, end), at(now));
            let due = scheduler.processes[&process(0)].due;
            pauses.push(due.since(at(now)).as_secs());
            now += ms(due.since(at(now)));
            scheduler.on(Event::Wake, at(now));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        scheduler.on(ended(0, RoundEnd::Read), at(now));
        assert_eq!(scheduler.processes[&process(0)].due, at(now + 1_000));
    }
}

#[test]
fn processes_that_may_begin_at_any_time_are_looked_at_every_interval() {
    let (mut scheduler, _) = started(4, 1);
    for now in (0..20_000).step_by(1_000) {
        scheduler.on(ended(0, RoundEnd::NotYet), at(now));
        assert_eq!(scheduler.processes[&process(0)].due, at(now + 1_000));
        scheduler.on(Event::Wake, at(now + 1_000));
    }
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
    assert!(scheduler.places.are_free());
}

#[test]
fn processes_that_take_too_much_are_read_less_often() {
    let (mut scheduler, _) = started(4, 2);
    // 3 seconds are 2 more than may be taken at once, and run out at a tenth of a second per second.
    assert_eq!(due_after(&mut scheduler, 0, 3_000), 20_501);
    // An equal part of it is a twentieth of its second.
    assert_eq!(due_after(&mut scheduler, 1, 50), 1_000);
}

/// When a process is due whose round took so many milliseconds and ended at 500.
fn due_after(scheduler: &mut Scheduler, n: i32, used_ms: u64) -> u64 {
    let event = Event::RoundEnded {
        process: process(n),
        end: RoundEnd::Read,
        used: Duration::from_millis(used_ms),
    };
    scheduler.on(event, at(500));
    ms_of(scheduler.processes[&process(n)].due)
}

#[test]
fn a_process_pays_for_what_it_took_itself() {
    let (mut scheduler, _) = started(4, 2);
    assert_eq!(due_after(&mut scheduler, 0, 30_000), 290_501);
    // Half as much again as its equal part.
    assert_eq!(due_after(&mut scheduler, 1, 75), 500 + 1_500);
}

#[test]
fn other_settings_make_a_discovery_due() {
    let (mut scheduler, _) = started(4, 1);
    let other = SchedulerSettings {
        discovery_interval: Duration::from_secs(20),
        ..settings(2)
    };
    let effects = scheduler.on(Event::Reconfigured(other.clone()), at(100));
    assert_eq!(effects, [Effect::Discover, Effect::WakeAt(at(5_000))]);
    // The one that runs goes by the old ones.
    let effects = scheduler.on(Event::Reconfigured(other), at(200));
    assert_eq!(effects, [Effect::WakeAt(at(5_000))]);
    assert_eq!(
        scheduler.on(Event::Discovered(None), at(300))[0],
        Effect::Discover
    );
    scheduler.on(Event::Discovered(None), at(400));
    assert_eq!(scheduler.next_discovery, Some(at(20_400)));
}

#[test]
fn a_shorter_interval_holds_at_once() {
    let (mut scheduler, _) = started(4, 1);
    scheduler.on(ended(0, RoundEnd::Read), at(10));
    let Event::Discovered(Some(mut found)) = found(0..1) else {
        unreachable!();
    };
    found[0].interval = Duration::from_millis(100);
    let effects = scheduler.on(Event::Discovered(Some(found)), at(20));
    assert_eq!(effects, [Effect::WakeAt(at(120))]);
}

fn ms_of(at: Monotonic) -> u64 {
    ms(at.since(Monotonic::default()))
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
                Effect::Postponed { .. } => unreachable!("rounds take no time of the processor"),
                Effect::Overdue { process } | Effect::CrowdedOut { process } => {
                    assert!(self.known.contains(&process));
                }
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
                    user: None,
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
                Event::RoundEnded {
                    process,
                    end,
                    used: Duration::ZERO,
                }
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
        prop_assert!(world.scheduler.waiting.is_empty());
        prop_assert!(world.scheduler.places.are_free());
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
