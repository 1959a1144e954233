//! Snapshots as JSON, both ways. Input: JSON; or, after a byte 0, a graph that is written first.

use super::graphs::graph;
use super::input::Input;
use asyncio_agent::graph::{Problem, ProcessInfo, ReadStats, Snapshot};
use asyncio_agent::ids::{Pid, StartTime};
use asyncio_agent::limits::LimitsHit;
use asyncio_agent::protocol::{read_snapshot, write_snapshot};
use std::time::Duration;

/// Longer ones lose nanoseconds as the floating-point numbers that JSON has.
const EXACT_DURATION_MAX: Duration = Duration::from_secs(1 << 22);

pub(crate) fn run(data: &[u8]) {
    let mut snapshot = match data {
        // JSON text never begins with this byte.
        [0, rest @ ..] => made(Input::new(rest)),
        _ => match read_snapshot(data) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let shown = error.to_string();
                assert!(shown.len() < 8_000, "{} bytes", shown.len());
                assert!(!error.code().is_empty());
                return;
            }
        },
    };
    let is_exact = |duration: &Duration| *duration < EXACT_DURATION_MAX;
    snapshot.stats.duration = snapshot.stats.duration.filter(is_exact);
    let text = written(&snapshot);
    let again =
        read_snapshot(&text).unwrap_or_else(|error| panic!("{:?}: {error}", error.position()));
    assert_eq!(again.graph.tasks().len(), snapshot.graph.tasks().len());
    assert_eq!(again.graph.edges().len(), snapshot.graph.edges().len());
    assert_eq!(again.problems, snapshot.problems);
    // Line by line, for a message that shows the difference and no more.
    let lines = |text: &[u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(text);
        text.lines().map(str::to_owned).collect()
    };
    let (before, after) = (lines(&text), lines(&written(&again)));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());
}

fn written(snapshot: &Snapshot) -> Vec<u8> {
    let mut text = Vec::new();
    write_snapshot(snapshot, None, &mut text).expect("memory can be written");
    text
}

/// A snapshot as a reader would make it.
fn made(mut input: Input<'_>) -> Snapshot {
    let flags = input.u8();
    let has = |bit: u8| flags & (1 << bit) != 0;
    let problems = (0..flags >> 6)
        .map(|_| Problem {
            code: input.text(),
            message: input.text(),
            at: has(0).then(|| input.u64()),
        })
        .collect();
    let pid = input.u32().to_string().parse::<Pid>().ok();
    Snapshot {
        process: ProcessInfo {
            pid,
            start_time: has(1).then(|| StartTime(input.u64())),
            python_version: has(2).then(|| input.text()),
            free_threaded: has(3).then_some(has(0)),
        },
        stats: ReadStats {
            syscalls: input.u64(),
            bytes_read: input.u64(),
            tasks_unreadable: u64::from(input.u8()),
            tasks_counted: u64::from(input.u8()),
            tasks_ended: 0,
            edges_ended: input.u64(),
            problems: u64::from(input.u8()),
            restarts: u64::from(input.u8()),
            limits_hit: LimitsHit::default(),
            lists_cut: 0,
            running_loops: 0,
            duration: has(4)
                .then(|| Duration::new(u64::from(input.u32()), input.u32() % 1_000_000_000)),
            paused: has(6).then(|| Duration::from_micros(u64::from(input.u32()))),
        },
        complete: has(5),
        problems,
        graph: graph(input).into(),
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let text = |text: &str| text.as_bytes().to_vec();
    let mut seeds = vec![
        text(include_str!("../../snapshots/by_hand.json")),
        text(include_str!("../../snapshots/cycle.json")),
        text(include_str!("../../snapshots/example.json")),
        text(include_str!("../../snapshots/minimal.json")),
        text(include_str!("../../snapshots/partial.json")),
    ];
    let made = [&[0, 0xff][..], &[3; 60], &super::graphs::seed()].concat();
    seeds.push(made);
    seeds
}
