//! Whether a task stands, and why it waits.

use super::*;
use asyncio_agent::graph::LongWait;

/// Looks at a process every 15 seconds, and in between when that is wanted, at irregular times. Its one task stands
/// where `footing` says at a time, in milliseconds. Returns when it was stuck, and the number of looks.
fn looks(minutes: u64, footing: impl Fn(u64) -> u64) -> (Vec<u64>, u64) {
    let mut history = History::new(Arc::new(rules(2)), 7);
    let (mut at, mut n_looks, mut random) = (0_u64, 0, 1_u64);
    let (mut stuck, mut asked) = (Vec::new(), Vec::new());
    while at < minutes * 60_000 {
        let graph = graph(&[(1, &["handle"], 7, footing(at), &[])]);
        let since_start = Duration::from_millis(at);
        let look = Look {
            now: Moment {
                at: Monotonic::new(since_start),
                wall: Timestamp::new(since_start),
            },
            is_complete: true,
            n_missing: 0,
            slept: false,
            confirms: true,
            finding_bytes_max: usize::MAX,
        };
        history.note_long_waits(&nothing_of(&asked), Duration::ZERO, look.now);
        let seen = history.observe(&graph, &find_cycles(&graph, CYCLES_MAX), look);
        asked.clone_from(&seen.asked);
        n_looks += 1;
        if seen.n_stuck > 0 {
            stuck.push(at);
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005) + 1;
        at = match seen.look_within {
            None => at / 15_000 * 15_000 + 15_000,
            Some(mean) => {
                let mean = u64::try_from(mean.as_millis()).expect("a minute at most");
                at + mean / 10 + (random >> 33) % (mean * 18 / 10)
            }
        };
    }
    (stuck, n_looks)
}

#[test]
fn a_task_that_goes_round_on_two_addresses_by_turns_is_not_stuck() {
    // An even number of turns to an interval, so that every regular look sees the same.
    for period in [50, 250, 500, 750, 2_500, 7_500, 15_000, 30_000] {
        let (stuck, _) = looks(6 * 60, |at| (at / period) % 2);
        assert!(stuck.is_empty(), "every {period} ms: {stuck:?}");
    }
    // One that stands is known to be stuck in time, and then looked at no more often.
    let (stuck, n_looks) = looks(10, |_| 1);
    assert!((60_000..70_000).contains(&stuck[0]), "{}", stuck[0]);
    assert!((40 + 18..40 + 25).contains(&n_looks), "{n_looks}");
    // It went on, and stands again.
    let (stuck, _) = looks(10, |at| at / 300_000);
    let at = stuck.iter().find(|at| **at > 300_000);
    assert!(
        at.is_some_and(|at| (360_000..390_000).contains(at)),
        "{at:?}"
    );
    assert!(!stuck.iter().any(|at| (300_000..360_000).contains(at)));
}

/// Nothing is known of why a task waits.
pub(super) const NOTHING: LongWait = LongWait {
    task: TaskId(1),
    ends_at: None,
    ends_itself_at: None,
    may_end_at: None,
    for_executor: false,
    for_signal: false,
    for_file: false,
    may_be_for_file: false,
    loop_due_at: None,
    loop_is_blocked: false,
    loop_is_in_callback: false,
    cannot_return: false,
    is_main: false,
};

/// The same of each of these tasks.
pub(super) fn nothing_of(tasks: &[TaskId]) -> Vec<LongWait> {
    let nothing = |task: &TaskId| LongWait {
        task: *task,
        ..NOTHING
    };
    tasks.iter().map(nothing).collect()
}

/// In each of so many rounds whether a task is stuck, if it is said of it what `wait` says for the number of the round
/// in which that was asked.
fn stuck_unless(n: u64, wait: impl Fn(u64, u64) -> LongWait) -> Vec<u64> {
    let mut rounds = Rounds::new(2);
    let mut asked = Vec::new();
    let each = (0..n).map(|round| {
        let now = rounds.next();
        let answers: Vec<LongWait> = asked.iter().map(|_| wait(round, rounds.seconds)).collect();
        let clock = Duration::from_secs(rounds.seconds);
        rounds.history.note_long_waits(&answers, clock, now);
        let seen = rounds.observe(&[(1, &["handle"], 7, 5, &[])], true);
        asked = seen.asked;
        assert!(asked.iter().all(|it| *it == TaskId(1)));
        seen.n_stuck
    });
    each.collect()
}

/// Such as that of a limiter: each time it is called the next one goes on.
#[test]
fn who_waits_in_a_line_for_a_timer_that_is_set_again_is_not_stuck() {
    let mut rounds = Rounds::new(2);
    for round in 0..150_u64 {
        let asked: Vec<LongWait> = std::mem::take(&mut rounds.asked)
            .into_iter()
            .map(|task| LongWait {
                task,
                may_end_at: Some(Duration::from_secs(round / 30 * 450 + 450 + 1_015)),
                ..NOTHING
            })
            .collect();
        let clock = Duration::from_secs(rounds.seconds);
        let now = rounds.next();
        rounds.history.note_long_waits(&asked, clock, now);
        let in_line = (1 + round / 30..=5).map(|task| (task, &["handle"][..], 7, task, &[][..]));
        let in_line: Vec<Spec<'_>> = in_line.collect();
        let seen = rounds.observe(&in_line, true);
        assert_eq!(seen.n_stuck, 0, "{round}");
    }
}

#[test]
fn who_has_a_reason_to_wait_is_not_stuck() {
    let ends_in = |seconds, clock| LongWait {
        ends_at: Some(Duration::from_secs(clock + seconds)),
        ..NOTHING
    };
    let of_another = LongWait {
        task: TaskId(2),
        for_executor: true,
        ..NOTHING
    };
    assert_eq!(stuck_unless(6, |_, _| NOTHING), [0, 0, 0, 0, 1, 1]);
    // As long as it is not answered why it waits, nobody knows.
    assert_eq!(stuck_unless(6, |_, _| of_another), [0; 6]);
    let for_executor = LongWait {
        for_executor: true,
        ..NOTHING
    };
    assert_eq!(stuck_unless(60, |_, _| for_executor), [0; 60]);
    for (for_signal, for_file) in [(true, false), (false, true)] {
        let by_handler = LongWait {
            for_signal,
            for_file,
            ..NOTHING
        };
        assert_eq!(stuck_unless(60, |_, _| by_handler), [0; 60]);
    }
    let perhaps = |at| LongWait {
        may_end_at: Some(Duration::from_secs(at)),
        ..NOTHING
    };
    // Once, and that was not it; again and again, for ten times as long as counts; too far away.
    let once = |_, clock| {
        if clock < 1_300 {
            perhaps(1_300)
        } else {
            NOTHING
        }
    };
    let stuck = stuck_unless(30, once);
    assert_eq!((stuck[18], stuck[25]), (0, 1), "{stuck:?}");
    let stuck = stuck_unless(60, |_, clock| perhaps(clock + 10));
    assert_eq!((stuck[38], stuck[50]), (0, 1), "{stuck:?}");
    let stuck = stuck_unless(6, |_, clock| perhaps(clock + 3_600));
    assert_eq!(stuck, [0, 0, 0, 0, 1, 1]);
    let is_main = LongWait {
        is_main: true,
        ..NOTHING
    };
    assert_eq!(stuck_unless(60, |_, _| is_main), [0; 60]);
    // It is said 45 seconds after the wait began that it ends 60 seconds later, and then, when that is asked again, nothing
    // more.
    let once = |round, clock| match round {
        3 => ends_in(60, clock),
        _ => NOTHING,
    };
    assert_eq!(stuck_unless(10, once), [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    // A timer of its own may be far off, if not for days.
    for (hours, n_stuck) in [(23, 0), (25, 1)] {
        let itself = |_, clock| LongWait {
            ends_itself_at: ends_in(hours * 3_600, clock).ends_at,
            ..ends_in(hours * 3_600, clock)
        };
        assert_eq!(stuck_unless(6, itself)[5], n_stuck, "{hours}");
    }
    // Each time it should have ended, another end is set: it goes round.
    assert_eq!(stuck_unless(100, |_, clock| ends_in(70, clock)), [0; 100]);
    // The same end is far away, or is past.
    for at in [100_000, 1_040] {
        let far = |_, _| ends_in(at, 0);
        assert_eq!(stuck_unless(6, far), [0, 0, 0, 0, 1, 1], "{at}");
    }
}

#[test]
fn who_waits_in_a_line_that_moves_is_not_stuck_and_who_is_overtaken_is() {
    let pool: &[&str] = &["fetch"];
    // Each round the first of them goes on; the others stand.
    let line = |first: u64| -> Vec<Spec<'static>> {
        let waits = (first..20).map(|id| (id, pool, 7, id, &[][..]));
        let works = (0..first).map(|id| (id, &["fetch", "sleep"][..], 9, id, &[][..]));
        waits.chain(works).collect()
    };
    let mut rounds = Rounds::new(2);
    assert_eq!(stuck(&mut rounds, 12, line), [0; 12]);
    // It moves no more; a minute later it is asked why they wait.
    let stands = |_| line(11);
    assert_eq!(stuck(&mut rounds, 6, stands), [0, 0, 0, 0, 9, 9]);
    // One comes after the others were seen, and goes on before them, again and again.
    let overtaken = |round: u64| -> Vec<Spec<'static>> {
        let lost = [(1, pool, 7, 1, &[][..]), (2, pool, 7, 2, &[][..])];
        lost.into_iter()
            .chain([(100 + round, pool, 7, 3, &[][..])])
            .collect()
    };
    let in_each_round = |cannot_return: bool| -> Vec<u64> {
        let mut rounds = Rounds::new(2);
        let mut asked: Vec<TaskId> = Vec::new();
        let each = (0..10).map(|round| {
            let (now, clock) = (rounds.next(), Duration::from_secs(rounds.seconds));
            let answer = |task: &TaskId| LongWait {
                task: *task,
                cannot_return,
                ..NOTHING
            };
            let answers: Vec<LongWait> = asked.iter().map(answer).collect();
            rounds.history.note_long_waits(&answers, clock, now);
            let seen = rounds.observe(&overtaken(round), true);
            asked = seen.asked;
            seen.n_stuck
        });
        each.collect()
    };
    assert_eq!(in_each_round(true), [0, 0, 0, 0, 2, 2, 2, 2, 2, 2]);
    // They may have gone on, and have come back.
    assert_eq!(in_each_round(false), [0; 10]);
}

/// In each of so many rounds whether a task is stuck, if the first timer of its event loop is due at what `due` says for the
/// time when that was asked, both in seconds by the clock of event loops. The task that sleeps goes on when it is 600.
fn held_up_unless(n: u64, due: impl Fn(u64) -> Option<u64>) -> Vec<u64> {
    let mut rounds = Rounds::new(2);
    rounds.slept = false;
    let (mut asked, mut n_before) = (Vec::new(), 0);
    let each = (0..n).map(|_| {
        let (now, clock) = (rounds.next(), rounds.seconds);
        let answers: Vec<LongWait> = asked
            .iter()
            .map(|task| LongWait {
                task: *task,
                // No two clocks are read at the same moment.
                loop_due_at: due(clock)
                    .map(|due| Duration::from_secs(due) + Duration::from_micros(clock % 7)),
                ..NOTHING
            })
            .collect();
        rounds
            .history
            .note_long_waits(&answers, Duration::from_secs(clock), now);
        let footing = u64::from(clock >= 1_600);
        let tasks: &[Spec<'_>] = &[
            (1, &["get_job"], 7, 5, &[]),
            (2, &["handle", "sleep"], 7, footing, &[]),
        ];
        let seen = rounds.observe(tasks, true);
        asked = seen.asked;
        let told = seen.findings.iter().map(|it| it.tasks[0].coroutine.clone());
        assert!(told.clone().all(|told| told == "handle"), "{told:?}");
        assert!(n_before == 0 || seen.opened.is_empty());
        n_before = seen.n_stuck;
        seen.n_stuck
    });
    each.collect()
}

#[test]
fn an_event_loop_whose_timers_are_overdue_is_held_up() {
    let n_told = |due: fn(u64) -> Option<u64>| held_up_unless(60, due).iter().sum::<u64>();
    // Nothing is due; the next one always is in a while; another clock.
    assert_eq!(n_told(|_| None), 0);
    assert_eq!(n_told(|clock| Some(clock + 20)), 0);
    assert_eq!(n_told(|_| Some(1_000_000)), 0);
    // It was due before the agent began, and so is overdue since the first round.
    assert_eq!(held_up_unless(7, |_| Some(1)), [0, 0, 0, 0, 0, 1, 1]);
    // It was due 50 seconds after the first round, so it is overdue for a minute after 110 seconds, and that is known a round
    // after it was asked.
    let told = held_up_unless(60, |clock| {
        Some(if clock < 1_600 { 1_050 } else { clock + 20 })
    });
    let expected: Vec<u64> = (0..60)
        .map(|round| u64::from((9..40).contains(&round)))
        .collect();
    assert_eq!(told, expected);
}

/// In each of so many rounds whether an event loop is held up, if its thread had run so often at a time, and waited in something
/// else than the event loop does when that was asked. Its only task waits in a function of this name, and there are no timers.
fn held_up_if_blocked(
    n: u64,
    function: &str,
    runs: fn(u64) -> u64,
    is_blocked: fn(u64) -> bool,
) -> Vec<u64> {
    let mut rounds = Rounds::new(2);
    let mut asked: Vec<TaskId> = Vec::new();
    let mut opened = 0;
    let each = (0..n).map(|_| {
        let (now, clock) = (rounds.next(), rounds.seconds);
        let answer = |task: &TaskId| LongWait {
            task: *task,
            loop_is_blocked: is_blocked(clock),
            ..NOTHING
        };
        let answers: Vec<LongWait> = asked.iter().map(answer).collect();
        let at = Duration::from_secs(clock);
        rounds.history.note_long_waits(&answers, at, now);
        let mut graph = graph(&[(1, &[function], 7, 5, &[])]);
        graph.note_runs(1, |_| Some(runs(clock)));
        let look = Look {
            now,
            is_complete: true,
            n_missing: 0,
            slept: false,
            confirms: true,
            finding_bytes_max: usize::MAX,
        };
        let cycles = find_cycles(&graph, CYCLES_MAX);
        let seen = rounds.history.observe(&graph, &cycles, look);
        rounds.seconds += 15;
        asked.clone_from(&seen.asked);
        opened += seen.opened.len();
        seen.n_stuck
    });
    let each: Vec<u64> = each.collect();
    assert!(opened <= 1, "one finding, however long it lasts");
    each
}

#[test]
fn an_event_loop_that_waits_elsewhere_is_held_up() {
    let none = vec![0; 60];
    // It is always found there, but goes on; it stands, in its selector.
    assert_eq!(
        held_up_if_blocked(60, "get_job", |clock| clock, |_| true),
        none
    );
    assert_eq!(held_up_if_blocked(60, "get_job", |_| 7, |_| false), none);
    // It stands from 1100 seconds to 1600.
    let runs = |clock: u64| match clock {
        1_100..1_600 => 1_100,
        clock => clock,
    };
    let is_blocked = |clock| (1_100..1_600).contains(&clock);
    // Nobody wants to be told of this one.
    assert_eq!(held_up_if_blocked(60, "serve_all", runs, is_blocked), none);
    let told = held_up_if_blocked(60, "get_job", runs, is_blocked);
    let first = told.iter().position(|n| *n == 1).unwrap();
    let n_told = told.iter().sum::<u64>();
    // A minute after a round has seen it stand, until one sees that it has run.
    assert!((10..=12).contains(&first), "{told:?}");
    assert_eq!(
        told[first..].iter().take_while(|n| **n == 1).count() as u64,
        n_told
    );
    assert!((26..=30).contains(&n_told), "{told:?}");
}

#[test]
fn findings_stay_when_there_are_more_than_are_told() {
    let task = |id| {
        let line = u32::try_from(id).unwrap();
        (id, &["handle"][..], line, id, &[][..])
    };
    let tasks: Vec<Spec<'_>> = (1..=65).map(task).collect();
    let mut rounds = Rounds::new(2);
    rounds.slept = false;
    let mut asked: Vec<TaskId> = Vec::new();
    let mut n_told = Vec::new();
    for round in 0..80 {
        let (now, clock) = (rounds.next(), Duration::from_secs(rounds.seconds));
        // The first task waits longer than all others, and for a long time with a reason.
        let answer = |task: &TaskId| LongWait {
            task: *task,
            for_executor: task.0 == 1 && round < 40,
            ..NOTHING
        };
        let answers: Vec<LongWait> = asked.iter().map(answer).collect();
        rounds.history.note_long_waits(&answers, clock, now);
        let n_tasks = if round == 0 { 1 } else { tasks.len() };
        let seen = rounds.observe(&tasks[..n_tasks], true);
        asked.clone_from(&seen.asked);
        assert_eq!(seen.closed, []);
        assert!(seen.findings.iter().all(|it| it.tasks[0].id != TaskId(1)));
        n_told.push((seen.n_stuck, seen.findings.len()));
    }
    assert!(n_told.contains(&(64, 64)), "{n_told:?}");
    assert_eq!(n_told.last(), Some(&(65, 64)));
}
