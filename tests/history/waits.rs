//! Whether a task stands, and why it waits.

use super::*;
use asyncio_agent::graph::LongWait;

/// Looks at a process every 15 seconds, and in between when that is wanted, at irregular times. Its one task stands
/// where `footing` says at a time, in milliseconds. Returns when it was stuck, and the number of looks.
fn looks(minutes: u64, footing: impl Fn(u64) -> u64) -> (Vec<u64>, u64) {
    let mut history = History::new(Arc::new(rules(2)), 7);
    let (mut at, mut n_looks, mut random) = (0_u64, 0, 1_u64);
    let mut stuck = Vec::new();
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
        };
        let seen = history.observe(&graph, &find_cycles(&graph, CYCLES_MAX), look);
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
    for_executor: false,
    for_signal: false,
    for_file: false,
    may_be_for_file: false,
    loop_due_at: None,
    is_main: false,
};

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
    assert_eq!(stuck_unless(6, |_, _| of_another), [0, 0, 0, 0, 1, 1]);
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
    assert_eq!(stuck_unless(10, once), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
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
    let mut rounds = Rounds::new(2);
    let overtaken = |round: u64| -> Vec<Spec<'static>> {
        let lost = [(1, pool, 7, 1, &[][..]), (2, pool, 7, 2, &[][..])];
        lost.into_iter()
            .chain([(100 + round, pool, 7, 3, &[][..])])
            .collect()
    };
    assert_eq!(stuck(&mut rounds, 8, overtaken), [0, 0, 0, 0, 2, 2, 2, 2]);
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
