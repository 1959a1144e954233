//! How long snapshots take: ours, and those of CPython's own reader, of the same process.

use super::peer::{Peer, attach, nanoseconds};
use super::samples::{Samples, ratio, shown, timed};
use super::support::python::{self, Python};
use super::support::target::{Target, wait_until};
use asyncio_agent::process::Workspace;
use std::fs;
use std::io::{self, Write};

/// Tasks, what the process does, and how often it is measured.
const SIZES: [(u32, Doing, usize); 5] = [
    (10_001, Doing::Sleeping, 9),
    (10_001, Doing::Running, 5),
    (1_001, Doing::Sleeping, 31),
    (1_001, Doing::Running, 15),
    (11, Doing::Sleeping, 151),
];
const LARGE: [u32; 2] = [100_001, 1_000_001];
const LARGE_ROUNDS: usize = 3;

/// What a process does while its tasks stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Sleeping,
    /// Another of its threads executes Python code.
    Running,
}

impl Doing {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Sleeping => "sleeps",
            Self::Running => "runs",
        }
    }
}

/// Starts `tests/bench/programs/forest.py`, and waits until it does what it is to do.
pub(crate) fn forest(python: &Python, tasks: u32, doing: Doing) -> Target {
    let mut command = python.script("tests/bench/programs/forest.py");
    command.arg(tasks.to_string());
    if doing == Doing::Running {
        command.arg("busy");
    }
    let target = Target::start(command);
    if doing == Doing::Sleeping {
        let stat = format!("/proc/{}/stat", target.pid());
        let sleeps = || fs::read_to_string(&stat).is_ok_and(|text| text.contains(") S "));
        wait_until("the tasks stand still", sleeps);
    }
    target
}

/// What was measured of one process.
#[derive(Default)]
struct Times {
    attach: Samples,
    first: Samples,
    repeated: Samples,
    unchanged: Samples,
    with_attach: Samples,
    their_new: Samples,
    their_first: Samples,
    their_repeated: Samples,
    their_with_new: Samples,
    their_error: Option<String>,
}

pub(crate) fn run(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n## Speed\n\n\
         `tests/bench/programs/forest.py`, whose tasks stand still; the process sleeps, or runs in another \
         thread, so that what is read may change at any time. Median (minimum) in milliseconds. Every round \
         measures all columns, one after the other, on the same process. *First*: the first snapshot after \
         attaching; *repeated*: the next one of the same `Process` or `RemoteUnwinder`; *unchanged*: the next \
         one without [`Process::forget_last`], which need not read a process that did not run. Our working \
         memory is used again for each process, as the agent does. Ratios are CPython's time by ours.\n\n\
         | Python | tasks | process | rounds | attach | first | repeated | unchanged | `RemoteUnwinder()` | its first | its repeated | ratio, first | ratio, repeated | our repeated by first |\n\
         |---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )?;
    let mut with_attach = String::new();
    for (tasks, doing, rounds) in SIZES {
        for python in python::all() {
            let times = measure(python, &forest(python, tasks, doing), tasks, rounds);
            let theirs = |samples: &Samples| match &times.their_error {
                Some(error) => format!("fails: {error}"),
                None => samples.median_and_min(),
            };
            writeln!(
                out,
                "| {} | {tasks} | {} | {rounds} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                python.full_version,
                doing.title(),
                times.attach.median_and_min(),
                times.first.median_and_min(),
                times.repeated.median_and_min(),
                times.unchanged.median_and_min(),
                theirs(&times.their_new),
                theirs(&times.their_first),
                theirs(&times.their_repeated),
                ratio(&times.their_first, &times.first),
                ratio(&times.their_repeated, &times.repeated),
                shown(times.repeated.median() / times.first.median()),
            )?;
            with_attach += &format!(
                "| {} | {tasks} | {} | {} | {} | {} |\n",
                python.full_version,
                doing.title(),
                times.with_attach.median_and_min(),
                theirs(&times.their_with_new),
                ratio(&times.their_with_new, &times.with_attach),
            );
        }
    }
    writeln!(
        out,
        "\nWith attaching: `Process::attach` and its first snapshot, `RemoteUnwinder()` and its first answer.\n\n\
         | Python | tasks | process | ours | CPython's | ratio |\n|---|--:|---|--:|--:|--:|\n{with_attach}"
    )
}

fn measure(python: &Python, target: &Target, tasks: u32, rounds: usize) -> Times {
    let mut times = Times::default();
    let mut unwinder = Peer::unwinder(python, target);
    let mut workspace = Workspace::default();
    for _ in 0..rounds {
        let (attaching, process) = timed(|| attach(target.pid()));
        let mut process = process.unwrap_or_else(|error| panic!("attach: {error}"));
        times.attach.push_time(attaching);
        for (samples, reads) in [
            (&mut times.first, true),
            (&mut times.repeated, true),
            (&mut times.unchanged, false),
        ] {
            if reads {
                process.forget_last();
            }
            let (time, snapshot) = timed(|| process.snapshot_in(&mut workspace));
            let snapshot = snapshot.unwrap_or_else(|error| panic!("snapshot: {error}"));
            assert_eq!(snapshot.graph.tasks().len(), tasks as usize);
            samples.push_time(time);
        }
        for (question, samples) in [
            ("new", &mut times.their_new),
            ("scan", &mut times.their_first),
            ("scan", &mut times.their_repeated),
            ("new and scan", &mut times.their_with_new),
        ] {
            match unwinder.time(question) {
                Ok(time) => samples.push_time(time),
                Err(error) => times.their_error = Some(error),
            }
        }
        let (time, snapshot) = timed(|| {
            let attached = attach(target.pid());
            attached.map(|mut process| process.snapshot_in(&mut workspace))
        });
        assert!(snapshot.is_ok_and(|snapshot| snapshot.is_ok()));
        times.with_attach.push_time(time);
    }
    times
}

pub(crate) fn run_large(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n## Many tasks\n\n\
         The same program. Microseconds per task, the median of {LARGE_ROUNDS} fresh attachments; each by a \
         process of its own, whose greatest resident memory is given (before the first snapshot, and \
         altogether).\n\n\
         | Python | tasks | first | repeated | complete | memory before | memory at most | CPython's first answer |\n\
         |---|--:|--:|--:|---|--:|--:|---|"
    )?;
    for tasks in LARGE {
        for python in python::all() {
            let target = forest(python, tasks, Doing::Sleeping);
            writeln!(
                out,
                "| {} | {tasks} | {} | {} |",
                python.full_version,
                large_row(&target, tasks),
                their_answer(python, &target, tasks),
            )?;
        }
    }
    Ok(())
}

fn large_row(target: &Target, tasks: u32) -> String {
    let [mut first, mut repeated] = [Samples::default(), Samples::default()];
    let [mut before, mut at_most] = [0, 0];
    let mut complete = String::new();
    for _ in 0..LARGE_ROUNDS {
        let mut reader = Peer::reader(target);
        let attached = reader.ask("attach");
        before = before.max(attached["peak_kib"].as_u64().unwrap_or(0));
        for samples in [&mut first, &mut repeated] {
            let answer = reader.ask("scan");
            assert!(answer["error"].is_null(), "{answer}");
            let seconds = nanoseconds(&answer["ns"]).as_secs_f64();
            samples.push(1e6 * seconds / f64::from(tasks));
            at_most = at_most.max(answer["peak_kib"].as_u64().unwrap_or(0));
            complete = match answer["complete"].as_bool() {
                Some(true) => format!("yes, {}", answer["tasks"]),
                _ => format!("no, {}: {}", answer["tasks"], answer["problems"]),
            };
        }
    }
    format!(
        "{} | {} | {complete} | {} MiB | {} MiB",
        shown(first.median()),
        shown(repeated.median()),
        before / 1024,
        at_most / 1024,
    )
}

/// One answer of CPython's reader.
fn their_answer(python: &Python, target: &Target, tasks: u32) -> String {
    let mut unwinder = Peer::unwinder(python, target);
    let answer = unwinder.time("new").and_then(|_| unwinder.time("scan"));
    match answer {
        Ok(time) => shown(1e6 * time.as_secs_f64() / f64::from(tasks)),
        Err(error) => format!("fails: {error}"),
    }
}
