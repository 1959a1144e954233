//! What becomes known of tasks from round to round: cycles that last, tasks that are stuck, tasks that began
//! and ended.

mod waits;

use asyncio_agent::analysis::{
    CYCLES_MAX, FindingKind, FunctionRules, History, Look, Moment, Observation, Rules,
};
use asyncio_agent::graph::{
    GraphBuilder, LongWait, NewFrame, NewTask, TaskGraph, TaskName, TaskState, Via, find_cycles,
};
use asyncio_agent::ids::{TaskId, Tid};
use asyncio_agent::time::{Monotonic, Timestamp};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use waits::nothing_of;

/// All functions but `serve_*`; who waits in `get_*` is idle, unless that is for a `*_lock`.
#[derive(Debug)]
struct NotServing;

impl FunctionRules for NotServing {
    fn includes(&self, _: &str) -> bool {
        true
    }

    fn excludes(&self, function: &str) -> bool {
        function.starts_with("serve_")
    }

    fn is_idle(&self, function: &str) -> bool {
        ["get_", "run_", "add_"]
            .iter()
            .any(|it| function.starts_with(it))
    }

    fn is_never_idle(&self, function: &str) -> bool {
        function.ends_with("_lock")
    }
}

/// A task: its id, its functions from outermost to innermost, the line of the innermost one, its footing,
/// and the ids of the tasks that await it.
type Spec<'s> = (u64, &'s [&'s str], u32, u64, &'s [u64]);

fn graph(tasks: &[Spec<'_>]) -> TaskGraph {
    graph_of_thread(Tid(7), tasks)
}

fn graph_of_thread(tid: Tid, tasks: &[Spec<'_>]) -> TaskGraph {
    let mut builder = GraphBuilder::new();
    builder.begin_thread(0, tid);
    let mut added = Vec::new();
    for (id, functions, line, footing, _) in tasks {
        let frames: Vec<_> = functions
            .iter()
            .rev()
            .enumerate()
            .map(|(position, function)| {
                let file = match *function {
                    "sleep" => "/lib/asyncio/tasks.py",
                    _ => "/app.py",
                };
                builder.frame(NewFrame {
                    function,
                    file: Some(file),
                    line: Some(if position == 0 { *line } else { 1 }),
                    via: Via::Await,
                })
            })
            .collect();
        let stack = builder.stack(&frames);
        let task = builder.add_task(NewTask {
            id: TaskId(*id),
            name: TaskName::Number(*id),
            state: TaskState::Suspended,
            cancelling: false,
            stack,
            awaiting: None,
        });
        builder.set_footing(task, *footing);
        added.push((task, stack));
    }
    for ((task, _), (.., awaiters)) in added.iter().zip(tasks) {
        for awaiter in *awaiters {
            let position = tasks.iter().position(|(id, ..)| id == awaiter);
            let stack = position.map_or(added[0].1, |position| added[position].1);
            builder.add_edge(*task, TaskId(*awaiter), stack);
        }
    }
    builder.finish()
}

fn rules(cycle_confirmations: u32) -> Rules {
    Rules {
        cycle_confirmations,
        stuck_after: Duration::from_secs(60),
        functions: Arc::new(NotServing),
        follow_frames: true,
    }
}

/// A history, and the time of its next round.
struct Rounds {
    history: History,
    seconds: u64,
    /// The process sleeps from round to round.
    slept: bool,
    /// The rounds confirm cycles.
    confirms: bool,
    /// So many tasks are missing in the snapshots.
    n_missing: u64,
    /// Why they wait was asked of these; at the next round it is answered that nothing is known of that.
    asked: Vec<TaskId>,
}

impl Rounds {
    fn new(cycle_confirmations: u32) -> Self {
        Self {
            history: History::new(Arc::new(rules(cycle_confirmations)), 7),
            seconds: 1_000,
            slept: true,
            confirms: true,
            n_missing: 0,
            asked: Vec::new(),
        }
    }

    /// 15 seconds after the round before.
    fn next(&self) -> Moment {
        let at = Duration::from_secs(self.seconds + 15);
        Moment {
            at: Monotonic::new(at),
            wall: Timestamp::new(at),
        }
    }

    /// A round over a process that slept, if nothing becomes known in it.
    fn observe_again(&mut self) -> Option<Observation> {
        let seen = self.history.observe_again(self.next(), self.confirms);
        self.seconds += if seen.is_some() { 15 } else { 0 };
        seen
    }

    /// A round.
    fn observe(&mut self, tasks: &[Spec<'_>], is_complete: bool) -> Observation {
        let graph = graph(tasks);
        let now = self.next();
        self.seconds += 15;
        let cycles = find_cycles(&graph, CYCLES_MAX);
        let look = Look {
            now,
            is_complete,
            n_missing: self.n_missing,
            slept: self.slept,
            confirms: self.confirms,
            finding_bytes_max: usize::MAX,
        };
        let asked = std::mem::take(&mut self.asked);
        self.history
            .note_long_waits(&nothing_of(&asked), Duration::ZERO, now);
        let seen = self.history.observe(&graph, &cycles, look);
        self.asked.clone_from(&seen.asked);
        seen
    }
}

const RING: &[Spec<'static>] = &[
    (1, &["a"], 3, 1, &[2]),
    (2, &["b"], 4, 2, &[3]),
    (3, &["c"], 5, 3, &[1]),
];

#[test]
fn a_cycle_counts_when_it_lasts_and_is_told_once() {
    let mut rounds = Rounds::new(3);
    for _ in 0..2 {
        let seen = rounds.observe(RING, true);
        assert_eq!((seen.n_cycles, seen.findings.len()), (0, 0));
    }
    let seen = rounds.observe(RING, true);
    assert_eq!((seen.n_cycles, seen.n_cycle_tasks), (1, 3));
    let [finding] = &seen.findings[..] else {
        panic!("{:?}", seen.findings);
    };
    assert_eq!(seen.opened, [finding.fingerprint]);
    assert_eq!(finding.kind, FindingKind::AwaitCycle);
    assert_eq!(finding.age, Duration::from_secs(30));
    assert_eq!(
        finding.first_seen,
        Timestamp::new(Duration::from_secs(1_015))
    );
    let path = finding.to_string();
    assert_eq!(
        path,
        "Task-1 (a /app.py:3) -> Task-3 (c /app.py:5) -> Task-2 (b /app.py:4) -> Task-1"
    );
    // In another order, elsewhere, it is the same.
    let other: Vec<Spec<'_>> = vec![RING[2], RING[0], RING[1], (9, &["z"], 1, 1, &[])];
    let seen = rounds.observe(&other, true);
    assert_eq!((seen.n_cycles, seen.opened.len()), (1, 0));
    assert_eq!(seen.findings[0].fingerprint, finding.fingerprint);
    let seen = rounds.observe(&[], true);
    assert_eq!((seen.n_cycles, seen.closed.len()), (0, 1));
    assert_eq!(seen.closed[0].fingerprint, finding.fingerprint);
    assert!(rounds.observe(&[], true).closed.is_empty());
}

#[test]
fn a_cycle_that_comes_and_goes_never_counts() {
    let mut rounds = Rounds::new(2);
    let open: Vec<Spec<'_>> = vec![(1, &["a"], 3, 1, &[]), RING[1], RING[2]];
    for _ in 0..10 {
        assert_eq!(rounds.observe(RING, true).n_cycles, 0);
        assert_eq!(rounds.observe(&open, true).n_cycles, 0);
    }
    // The same tasks by their addresses, but others by their coroutine.
    let other: Vec<Spec<'_>> = vec![(1, &["x"], 3, 1, &[2]), RING[1], RING[2]];
    for _ in 0..10 {
        assert_eq!(rounds.observe(RING, true).n_cycles, 0);
        assert_eq!(rounds.observe(&other, true).n_cycles, 0);
    }
}

#[test]
fn a_partial_snapshot_does_not_end_a_cycle() {
    let mut rounds = Rounds::new(2);
    rounds.observe(RING, false);
    assert_eq!(rounds.observe(RING, false).n_cycles, 1);
    // It was not seen to end, so it counts on: an alert must not go away and come back.
    let seen = rounds.observe(&RING[..2], false);
    assert_eq!((seen.n_cycles, seen.n_cycle_tasks), (1, 3));
    assert_eq!((seen.findings.len(), seen.closed.len()), (1, 0));
    let seen = rounds.observe(RING, true);
    assert_eq!((seen.n_cycles, seen.opened.len()), (1, 0));
    let seen = rounds.observe(&RING[..2], true);
    assert_eq!((seen.n_cycles, seen.closed.len()), (0, 1));
    // Not for ever, if nothing ever is complete.
    rounds.observe(RING, false);
    rounds.observe(RING, false);
    let last: Vec<u64> = (0..50)
        .map(|_| rounds.observe(&[], false).n_cycles)
        .collect();
    let n = last.iter().filter(|n| **n == 1).count();
    assert!(last.is_sorted_by(|a, b| a >= b));
    assert_eq!(n, 10 * 60 / 15 - 2, "ten minutes in rounds");
}

#[test]
fn many_partial_snapshots_close_nothing_and_open_nothing_twice() {
    let both: Vec<Spec<'_>> = [RING, &[(9, &["handle"], 7, 5, &[])]].concat();
    let mut rounds = Rounds::new(2);
    for _ in 0..6 {
        rounds.observe(&both, true);
    }
    let open = |seen: &Observation| {
        assert!(seen.opened.is_empty() && seen.closed.is_empty());
        let mut open: Vec<_> = seen.findings.iter().map(|it| it.fingerprint).collect();
        open.sort_unstable();
        (open, seen.n_cycles, seen.n_stuck)
    };
    let before = open(&rounds.observe(&both, true));
    assert_eq!((before.0.len(), before.1, before.2), (2, 1, 1));
    // The machine is busy for some minutes: all rounds are cut short.
    for _ in 0..30 {
        assert_eq!(open(&rounds.observe(&[], false)), before);
    }
    assert_eq!(open(&rounds.observe(&both, true)), before);
    // The agent stands still for hours, and the round in which it did is cut short.
    rounds.seconds += 10_000;
    assert_eq!(open(&rounds.observe(&[], false)), before);
    assert_eq!(open(&rounds.observe(&both, true)), before);
    // In a process in which nothing ever is complete, looks that follow each other closely end nothing.
    for _ in 0..50 {
        assert_eq!(open(&rounds.observe(&both, false)), before);
    }
    rounds.confirms = false;
    for _ in 0..50 {
        assert_eq!(open(&rounds.observe(&[], false)), before);
    }
    rounds.confirms = true;
    let seen = rounds.observe(&[], true);
    assert_eq!((seen.closed.len(), seen.findings.len()), (2, 0));
}

#[test]
fn one_snapshot_that_was_cut_short_does_not_forget_a_large_process() {
    let functions: &[&str] = &["handle"];
    let all: Vec<Spec<'_>> = (0..12_000)
        .map(|id| (id, functions, 7, 5, &[][..]))
        .collect();
    let mut rounds = Rounds::new(2);
    for _ in 0..6 {
        rounds.observe(&all, true);
    }
    assert_eq!(rounds.observe(&[], false).n_finished, 0);
    let seen = rounds.observe(&all, true);
    assert_eq!((seen.n_stuck, seen.n_started), (12_000, 0));
    assert!(seen.opened.is_empty() && seen.closed.is_empty());
}

#[test]
fn looks_between_rounds_confirm_no_cycle_but_may_miss_it() {
    let mut rounds = Rounds::new(2);
    rounds.confirms = false;
    for _ in 0..5 {
        assert_eq!(rounds.observe(RING, true).n_cycles, 0);
    }
    rounds.confirms = true;
    assert_eq!(rounds.observe(RING, true).n_cycles, 0);
    rounds.confirms = false;
    assert_eq!(rounds.observe(RING, true).n_cycles, 0);
    assert!(
        rounds
            .observe_again()
            .is_some_and(|seen| seen.n_cycles == 0)
    );
    rounds.observe(&RING[..2], true);
    rounds.confirms = true;
    assert_eq!(rounds.observe(RING, true).n_cycles, 0);
    assert_eq!(rounds.observe(RING, true).n_cycles, 1);
}

#[test]
fn a_cycle_that_was_found_stays_found_when_more_confirmations_are_asked_for() {
    let mut rounds = Rounds::new(2);
    rounds.observe(RING, true);
    assert_eq!(rounds.observe(RING, true).n_cycles, 1);
    rounds.history.set_rules(Arc::new(rules(5)));
    assert_eq!(rounds.observe(RING, true).n_cycles, 1);
}

#[test]
fn a_partial_snapshot_does_not_end_a_stuck_task() {
    let waits: &[Spec<'_>] = &[(1, &["handle"], 7, 5, &[]), (2, &["other"], 7, 6, &[])];
    let mut rounds = Rounds::new(2);
    assert_eq!(stuck(&mut rounds, 5, |_| waits.to_vec()), [0, 0, 0, 0, 2]);
    let of_handle = |seen: &Observation| {
        let mut figures = seen.coroutines.by_name.iter();
        let handle = figures.find(|(name, _)| &**name == "handle");
        handle.map_or(0, |(_, figures)| figures.n_stuck)
    };
    let seen = rounds.observe(&waits[1..], false);
    assert_eq!((seen.n_stuck, seen.closed.len()), (2, 0));
    // Nobody of that function is left to be counted with.
    assert_eq!((of_handle(&seen), seen.coroutines.other.n_stuck), (0, 1));
    let moved: &[Spec<'_>] = &[(1, &["handle"], 8, 5, &[])];
    let seen = rounds.observe(moved, false);
    assert_eq!(
        (seen.n_stuck, seen.closed.len()),
        (1, 1),
        "it went on, the other is missing"
    );
    let seen = rounds.observe(moved, true);
    assert_eq!((seen.n_stuck, seen.closed.len()), (0, 1));
}

/// How many tasks of a process are stuck, in each of so many rounds.
fn stuck(rounds: &mut Rounds, n: u64, tasks: impl Fn(u64) -> Vec<Spec<'static>>) -> Vec<u64> {
    let each = (0..n).map(|round| rounds.observe(&tasks(round), true).n_stuck);
    each.collect()
}

#[test]
fn a_task_is_stuck_when_it_has_stood_for_long_enough() {
    let waits = |_| vec![(1, &["handle", "get"][..], 7, 5, &[][..])];
    assert_eq!(stuck(&mut Rounds::new(2), 6, waits), [0, 0, 0, 0, 1, 1]);
    // It ran in between: on other objects, at another line.
    let moves = |round| vec![(1, &["handle", "get"][..], 7, round / 3, &[][..])];
    assert_eq!(stuck(&mut Rounds::new(2), 12, moves), [0; 12]);
    let other_line = |round| {
        vec![(
            1,
            &["handle", "get"][..],
            7 + u32::from(round == 3),
            5,
            &[][..],
        )]
    };
    assert_eq!(stuck(&mut Rounds::new(2), 8, other_line), [0; 8]);
    // Another task at the same address.
    let another = |round| match round {
        0..3 => vec![(1, &["handle"][..], 7, 5, &[][..])],
        _ => vec![(1, &["other"][..], 7, 5, &[][..])],
    };
    assert_eq!(stuck(&mut Rounds::new(2), 7, another), [0; 7]);
}

#[test]
fn tasks_that_sleep_serve_or_await_others_are_not_stuck() {
    for functions in [
        &["beat", "sleep"][..],
        &["beat", "sleep", "__sleep0"],
        &["serve_all", "get"],
    ] {
        let waits = move |_| vec![(1, functions, 7, 5, &[][..])];
        let mut rounds = Rounds::new(2);
        assert_eq!(stuck(&mut rounds, 8, waits), [0; 8], "{functions:?}");
        let seen = rounds.observe(&waits(0), true);
        assert_eq!(seen.wait_max, Duration::ZERO);
    }
    let chain = |_| {
        vec![
            (1, &["main"][..], 1, 1, &[][..]),
            (2, &["leaf"][..], 2, 2, &[1][..]),
        ]
    };
    let mut rounds = Rounds::new(2);
    assert_eq!(stuck(&mut rounds, 6, chain), [0, 0, 0, 0, 1, 1]);
    let seen = rounds.observe(&chain(0), true);
    assert_eq!(seen.findings[0].tasks[0].id, TaskId(2));
    // It goes on.
    let seen = rounds.observe(&[(2, &["leaf"], 3, 2, &[])], true);
    assert_eq!((seen.n_stuck, seen.closed.len()), (0, 1));
    // A cycle is a finding of its own.
    let mut rounds = Rounds::new(2);
    assert_eq!(stuck(&mut rounds, 8, |_| RING.to_vec()), [0; 8]);
    assert_eq!(
        rounds.observe(RING, true).wait_max,
        Duration::from_secs(120)
    );
}

#[test]
fn what_is_idle_counts_where_a_task_waits() {
    let mut rounds = Rounds::new(2);
    let waits: &[Spec<'_>] = &[
        (1, &["work", "get_job"], 7, 1, &[]),
        // In a function of the program's own, below one in which it would be idle; for something else.
        (2, &["get_job", "flush"], 7, 2, &[]),
        (3, &["get_job", "get_lock"], 7, 3, &[]),
        (4, &["serve_all", "get_lock"], 7, 4, &[]),
    ];
    for _ in 0..4 {
        let seen = rounds.observe(waits, true);
        assert_eq!((seen.n_stuck, seen.n_idle), (0, 0));
    }
    let seen = rounds.observe(waits, true);
    assert_eq!((seen.n_stuck, seen.n_idle), (2, 2));
    let again = rounds.observe_again().expect("nothing has changed");
    assert_eq!((again.n_stuck, again.n_idle), (2, 2));
}

#[test]
fn tasks_of_threads_that_have_ended_are_not_stuck() {
    let tasks = [&[(9, &["handle"][..], 7, 5, &[][..])], RING].concat();
    for (tid, n_stuck) in [(Tid(0), 0), (Tid(7), 1)] {
        let mut history = History::new(Arc::new(rules(2)), 7);
        let graph = graph_of_thread(tid, &tasks);
        let cycles = find_cycles(&graph, CYCLES_MAX);
        let mut seen = Observation::default();
        for seconds in (0..10).map(|round| 15 * round) {
            let at = Duration::from_secs(seconds);
            let look = Look {
                now: Moment {
                    at: Monotonic::new(at),
                    wall: Timestamp::new(at),
                },
                is_complete: true,
                n_missing: 0,
                slept: true,
                confirms: true,
                finding_bytes_max: usize::MAX,
            };
            history.note_long_waits(&nothing_of(&seen.asked), Duration::ZERO, look.now);
            seen = history.observe(&graph, &cycles, look);
        }
        assert_eq!((seen.n_stuck, seen.n_cycles), (n_stuck, 1), "{tid:?}");
        assert_eq!(seen.wait_max.is_zero(), n_stuck == 0);
    }
}

#[test]
fn tasks_that_begin_and_end_are_counted() {
    let task = |id| (id, &["f"][..], 1, 1, &[][..]);
    let mut rounds = Rounds::new(2);
    let mut counts = |ids: &[u64], is_complete| {
        let tasks: Vec<Spec<'_>> = ids.iter().map(|id| task(*id)).collect();
        let seen = rounds.observe(&tasks, is_complete);
        (seen.n_started, seen.n_finished)
    };
    assert_eq!(counts(&[1, 2, 3], true), (0, 0));
    assert_eq!(counts(&[2, 3, 4], true), (1, 1));
    // What is missing in a partial snapshot may be there all the same.
    assert_eq!(counts(&[4], false), (0, 0));
    assert_eq!(counts(&[2, 4], true), (0, 1));
    assert_eq!(counts(&[], true), (0, 2));
}

#[test]
fn tasks_that_were_missing_before_have_not_started() {
    let task = |id| (id, &["f"][..], 1, 1, &[][..]);
    let mut rounds = Rounds::new(2);
    let mut n_started = |ids: &[u64], n_missing| {
        let tasks: Vec<Spec<'_>> = ids.iter().map(|id| task(*id)).collect();
        rounds.n_missing = n_missing;
        rounds.observe(&tasks, n_missing == 0).n_started
    };
    assert_eq!(n_started(&[], 3), 0);
    // Three of them were there, one has begun.
    assert_eq!(n_started(&[1, 2, 3, 4], 0), 1);
    // One is never readable: what begins is told all the same.
    assert_eq!(n_started(&[1, 2, 3, 4], 1), 0);
    assert_eq!(n_started(&[1, 2, 3, 4, 5], 1), 1);
    // Nobody knows how many were missing.
    assert_eq!(n_started(&[1], u64::MAX), 0);
    assert_eq!(n_started(&[1, 2, 3, 4, 5, 6, 7], 0), 0);
    assert_eq!(n_started(&[1], u64::MAX), 0);
    assert_eq!(n_started(&[1, 2, 3, 4, 5, 6, 7, 8, 9], u64::MAX), 0);
}

/// Tasks of a made-up snapshot: id, functions, footing, awaiters.
/// The id of a task, which functions it is in, its footing, and the ids of its awaiters.
type AnyTask = (u64, usize, u64, Vec<u64>);

fn any_tasks() -> impl Strategy<Value = Vec<AnyTask>> {
    let awaiters = proptest::collection::vec(0_u64..6, 0..3);
    proptest::collection::vec((0_u64..6, 0_usize..3, 0_u64..2, awaiters), 0..8)
}

/// The tasks, each once.
fn specs(tasks: &[AnyTask]) -> Vec<Spec<'_>> {
    const FUNCTIONS: [&[&str]; 3] = [&["a"], &["b", "sleep"], &["serve_x"]];
    let mut specs: Vec<Spec<'_>> = tasks
        .iter()
        .map(|(id, functions, footing, awaiters)| {
            (*id, FUNCTIONS[*functions], 1, *footing, &awaiters[..])
        })
        .collect();
    specs.sort_by_key(|(id, ..)| *id);
    specs.dedup_by_key(|(id, ..)| *id);
    specs
}

/// In the order in which they are told, which is none.
fn sorted(mut observation: Observation) -> Observation {
    observation.coroutines.by_name.sort_by(|a, b| a.0.cmp(&b.0));
    observation.findings.sort_by_key(|it| it.fingerprint);
    observation.closed.sort_by_key(|it| it.fingerprint);
    observation
}

proptest! {
    /// A process that sleeps comes to the same, whether or not its tasks are looked at again.
    #[test]
    fn a_process_that_sleeps_comes_to_the_same(
        rounds in proptest::collection::vec((any_tasks(), any::<bool>(), any::<bool>(), 0_usize..8), 1..6),
        confirmations in 1_u32..5,
    ) {
        let mut looking = Rounds::new(confirmations);
        let mut sleeping = Rounds::new(confirmations);
        for (tasks, is_complete, confirms, n_again) in &rounds {
            (looking.confirms, sleeping.confirms) = (*confirms, *confirms);
            let tasks = specs(tasks);
            let observe = |rounds: &mut Rounds| sorted(rounds.observe(&tasks, *is_complete));
            prop_assert_eq!(observe(&mut looking), observe(&mut sleeping));
            for _ in 0..*n_again {
                let again = sleeping.observe_again();
                prop_assert!(*is_complete || again.is_none());
                let again = again.map_or_else(|| observe(&mut sleeping), sorted);
                prop_assert_eq!(observe(&mut looking), again);
            }
        }
    }
}

#[test]
fn a_process_that_sleeps_is_looked_at_only_when_something_becomes_known() {
    let mut rounds = Rounds::new(3);
    let mut looked_at = Vec::new();
    let tasks = [RING, &[(9, &["handle"], 7, 5, &[])]].concat();
    let mut asked = rounds.observe(&tasks, true).asked;
    for round in 1..20 {
        let answers: Vec<LongWait> = asked
            .iter()
            .map(|task| LongWait {
                task: *task,
                ..waits::NOTHING
            })
            .collect();
        let (now, clock) = (rounds.next(), Duration::from_secs(rounds.seconds));
        rounds.history.note_long_waits(&answers, clock, now);
        asked = Vec::new();
        if rounds.observe_again().is_none() {
            looked_at.push(round);
            asked = rounds.observe(&tasks, true).asked;
        }
    }
    assert_eq!(
        looked_at,
        [2, 3, 4],
        "the cycle is confirmed and it is asked about the task, that is answered, the task is stuck"
    );
}

proptest! {
    /// Whatever the snapshots: figures fit together, and what is told to end had been told to begin.
    #[test]
    fn findings_open_and_close_in_turn(
        rounds in proptest::collection::vec(
            (
                proptest::collection::vec((0_u64..6, 0_usize..3, 0_u64..2, proptest::collection::vec(0_u64..6, 0..3)), 0..8),
                any::<bool>(),
            ),
            1..20,
        )
    ) {
        let mut history = Rounds::new(2);
        let mut open = std::collections::BTreeSet::new();
        for (tasks, is_complete) in &rounds {
            let tasks = specs(tasks);
            let seen = history.observe(&tasks, *is_complete);
            for fingerprint in &seen.opened {
                prop_assert!(open.insert(*fingerprint));
            }
            for finding in &seen.closed {
                prop_assert!(open.remove(&finding.fingerprint));
            }
            for finding in &seen.findings {
                prop_assert!(open.contains(&finding.fingerprint));
            }
            let of = |kind| seen.findings.iter().filter(|it| it.kind == kind).count() as u64;
            prop_assert_eq!(of(FindingKind::AwaitCycle), seen.n_cycles);
            prop_assert_eq!(of(FindingKind::StuckTask), seen.n_stuck);
            let figures = &seen.coroutines.by_name;
            prop_assert_eq!(figures.iter().map(|(_, it)| it.n_tasks).sum::<u64>(), tasks.len() as u64);
            let other = seen.coroutines.other.n_stuck;
            prop_assert_eq!(figures.iter().map(|(_, it)| it.n_stuck).sum::<u64>() + other, seen.n_stuck);
        }
    }
}
