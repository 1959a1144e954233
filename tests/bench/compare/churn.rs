//! The program that starts the most tasks, read by both readers and judged by the same judge.

use super::freeze::PAUSE_MAX;
use super::peer::{Peer, nanoseconds};
use super::samples::{Samples, shown, timed};
use super::support::churn::{Churn, Truth, attach, list, text};
use super::support::judge::Judge;
use super::support::plain::{PlainFrame, PlainTask, snapshot_of};
use super::support::python::{self, Python};
use super::support::target::Target;
use asyncio_agent::graph::{Snapshot, TaskState, Via};
use asyncio_agent::process::ProcessError;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

const SCANS: usize = 1_000;
const CHURN: Churn = Churn {
    program: "churn",
    rate: "tens-of-thousands",
};

/// What came of one reader.
struct Outcome {
    judge: Judge,
    succeeded: usize,
    times: Samples,
    failures: BTreeMap<String, usize>,
}

impl Outcome {
    fn new(target: &Target) -> Self {
        Self {
            judge: Judge::new(Truth::of(target)),
            succeeded: 0,
            times: Samples::default(),
            failures: BTreeMap::new(),
        }
    }

    fn add(&mut self, time: Duration, snapshot: Result<Snapshot, ProcessError>) {
        match snapshot {
            Ok(snapshot) => {
                self.succeeded += 1;
                self.times.push_time(time);
                self.judge.judge(&snapshot);
            }
            Err(error) => *self.failures.entry(error.to_string()).or_default() += 1,
        }
    }

    fn row(&self, reader: &str, complete: &str) -> String {
        let counts = &self.judge.counts;
        let per_cent = 100.0 * self.succeeded as f64 / SCANS as f64;
        format!(
            "| {reader} | **{per_cent:.1} %** | {complete} | {} | {} | {} | **{}** | {} | **{}** | {} |",
            self.times.median_and_min(),
            shown(counts.tasks as f64 / counts.scans.max(1) as f64),
            counts.edges,
            counts.wrong_edges,
            counts.stacks,
            counts.wrong_stacks,
            counts.wrong() - counts.wrong_edges - counts.wrong_stacks,
        )
    }
}

pub(crate) fn run(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n## A busy process\n\n\
         `churn.py tens-of-thousands`: TaskGroups, gathers, waits and the like, which start tens of thousands \
         of tasks a second. {SCANS} scans each, in turn. What is reported is judged by names and lines \
         (`tests/support/judge.rs`). Milliseconds per scan that succeeds, median (minimum). *Complete*: scans \
         that say themselves that nothing is missing; CPython's reader gives all or fails.\n\n\
         | Python | reader | succeed | complete | ms | tasks per scan | edges | wrong edges | stacks | wrong stacks | otherwise wrong |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )?;
    let mut failures = String::new();
    for python in python::all() {
        let [ours, frozen, theirs] = compare(python);
        let version = &python.full_version;
        let complete = |outcome: &Outcome| {
            let complete = 100.0 * outcome.judge.counts.complete as f64 / SCANS as f64;
            format!("{complete:.1} %")
        };
        writeln!(out, "| {version} {}", ours.row("ours", &complete(&ours)))?;
        writeln!(
            out,
            "| {version} {}",
            frozen.row("ours, `--freeze`", &complete(&frozen))
        )?;
        writeln!(out, "| {version} {}", theirs.row("CPython's", "–"))?;
        for (who, outcome) in [("ours", &ours), ("frozen", &frozen), ("CPython's", &theirs)] {
            for (what, n) in &outcome.failures {
                failures += &format!("- {version}, {who}: {n} times `{what}`\n");
            }
            for finding in &outcome.judge.findings {
                failures += &format!("- {version}, {who}: {finding}\n");
            }
        }
    }
    writeln!(
        out,
        "\nFailures, and the first things that were wrong:\n\n{failures}"
    )
}

fn compare(python: &Python) -> [Outcome; 3] {
    let target = CHURN.start(python);
    let mut process = attach(&target);
    let mut unwinder = Peer::unwinder(python, &target);
    let [mut ours, mut frozen, mut theirs] = [(), (), ()].map(|()| Outcome::new(&target));
    unwinder
        .time("new")
        .unwrap_or_else(|error| panic!("RemoteUnwinder(): {error}"));
    for _ in 0..SCANS {
        let (time, snapshot) = timed(|| process.snapshot());
        ours.add(time, snapshot);
        let (time, snapshot) = timed(|| process.snapshot_frozen(PAUSE_MAX));
        frozen.add(time, snapshot);
        let answer = unwinder.ask("dump");
        match answer["error"].as_str() {
            None => {
                theirs.succeeded += 1;
                theirs.times.push_time(nanoseconds(&answer["ns"]));
                theirs
                    .judge
                    .judge(&snapshot_of(&tasks_of(&answer["threads"]), false));
            }
            Some(error) => *theirs.failures.entry(without_numbers(error)).or_default() += 1,
        }
    }
    [ours, frozen, theirs]
}

/// A message without the addresses and numbers in it, which are never the same.
fn without_numbers(message: &str) -> String {
    let words = message.split(' ').map(|word| {
        let has_digit = word.contains(|c: char| c.is_ascii_digit());
        if has_digit && !word.contains('[') {
            "…"
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// CPython's answer as plain data. It tells no states, so a stack may be that of a task on its way.
fn tasks_of(threads: &Value) -> Vec<PlainTask> {
    let mut tasks = Vec::new();
    for thread in list(threads) {
        let tid = thread["tid"].as_u64().unwrap_or_default();
        for task in list(&thread["tasks"]) {
            let frames = list(&task["frames"]).iter().map(|frame| PlainFrame {
                function: text(&frame[0]),
                file: text(&frame[1]),
                line: frame[2].as_u64().and_then(|line| u32::try_from(line).ok()),
                via: Via::Await,
            });
            tasks.push(PlainTask {
                id: task["id"].as_u64().unwrap_or_default(),
                name: text(&task["name"]),
                state: TaskState::Pending,
                tid,
                frames: frames.collect(),
                awaiters: list(&task["awaiters"])
                    .iter()
                    .filter_map(Value::as_u64)
                    .collect(),
            });
        }
    }
    tasks
}
