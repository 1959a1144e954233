//! `make soak`: reads the programs that churn for a given time, judges everything that was read, and ends
//! with status 1 if anything of it cannot be true. What is judged and how: `tests/support/judge.rs`.
//!
//! Arguments: `--minutes N` (10), and texts of which the title of a case must contain one, such as
//! `tens-of-thousands` or `churn_threads`.
#![allow(
    clippy::disallowed_methods,
    reason = "a measurement reads the clock itself"
)]

#[path = "../support/mod.rs"]
mod support;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::churn::{Churn, Truth, attach};
use support::judge::{Counts, Judge};
use support::python::{self, Python};

/// After this long a program is started anew, so that no case depends on one process.
const SLICE_MAX: Duration = Duration::from_secs(60);

/// A program on a version of Python, and what came of it.
struct Case {
    churn: Churn,
    python: &'static Python,
    counts: Counts,
    /// Tasks that the program has started while it was read.
    started: u64,
    /// Time spent in snapshots, and altogether.
    reading: Duration,
    elapsed: Duration,
    failures: u64,
    findings: Vec<String>,
}

impl Case {
    fn title(&self) -> String {
        let (major, minor) = self.python.version;
        format!("{} | {major}.{minor}", self.churn)
    }

    /// Starts the program and reads it for a while.
    fn run(&mut self, time: Duration) {
        let target = self.churn.start(self.python);
        let mut process = attach(&target);
        let mut judge = Judge::new(Truth::of(&target));
        let begin = Instant::now();
        while begin.elapsed() < time {
            let before = Instant::now();
            let snapshot = process.snapshot();
            self.reading += before.elapsed();
            match snapshot {
                Ok(snapshot) => drop(judge.judge(&snapshot)),
                Err(error) => {
                    self.failures += 1;
                    self.findings.push(format!("a snapshot failed: {error}"));
                    break;
                }
            }
        }
        self.elapsed += begin.elapsed();
        self.started += judge.counts.highest_number;
        self.counts += &judge.counts;
        self.findings.append(&mut judge.findings);
        self.findings.truncate(20);
    }

    fn row(&self, title: &str) -> String {
        let counts = &self.counts;
        let per_second = |n: u64| n as f64 / self.elapsed.as_secs_f64();
        let per_scan = |n: u64| n as f64 / counts.scans.max(1) as f64;
        let others = counts.wrong() - counts.wrong_edges - counts.wrong_stacks + self.failures;
        format!(
            "| {title} | {:.0} | {} | {:.1} | {:.2} | {:.0} | {:.1} | {:.1} % | {} | {:.3} % | {:.2} % | {} | {:.0} | **{}** | {} | {} | **{}** | **{others}** |",
            per_second(self.started),
            counts.scans,
            per_second(counts.scans),
            1e3 * self.reading.as_secs_f64() / counts.scans.max(1) as f64,
            per_scan(counts.syscalls),
            per_scan(counts.bytes_read) / f64::from(1 << 20),
            per_cent(counts.complete, counts.scans),
            counts.tasks,
            counts.unreadable_per_cent(),
            per_cent(counts.tasks_ended, counts.tasks + counts.tasks_ended),
            counts.edges,
            per_second(counts.edges),
            counts.wrong_edges,
            counts.stacks,
            counts.stacks_cut,
            counts.wrong_stacks,
        )
    }
}

const HEAD: &str = "\
| program | Python | tasks started/s | scans | scans/s | ms per scan | calls per scan | MiB per scan | complete | tasks | unreadable | ended | edges judged | edges/s | wrong edges | stacks judged | cut | wrong stacks | otherwise wrong |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|";

fn per_cent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn main() -> io::Result<ExitCode> {
    let (time, wanted) = match arguments() {
        Ok(arguments) => arguments,
        Err(why) => {
            writeln!(io::stderr(), "{why}")?;
            return Ok(ExitCode::from(2));
        }
    };
    let mut cases: Vec<Case> = cases();
    cases.retain(|case| wanted.is_empty() || wanted.iter().any(|part| case.title().contains(part)));
    let turn = time / u32::try_from(cases.len()).unwrap_or(1).max(1);
    let rounds = turn.as_secs().div_ceil(SLICE_MAX.as_secs()).max(1);
    let slice = turn / u32::try_from(rounds).unwrap_or(1);
    for _ in 0..rounds {
        for case in &mut cases {
            writeln!(io::stderr(), "{} for {slice:.1?}", case.title())?;
            case.run(slice);
        }
    }
    report(&cases, &mut io::stdout().lock())
}

fn report(cases: &[Case], out: &mut impl Write) -> io::Result<ExitCode> {
    let Some(first) = cases.first() else {
        writeln!(out, "no such case")?;
        return Ok(ExitCode::from(2));
    };
    writeln!(out, "{HEAD}")?;
    let mut total = Case::new(first.churn, first.python);
    for case in cases {
        writeln!(out, "{}", case.row(&case.title()))?;
        total.counts += &case.counts;
        total.started += case.started;
        total.reading += case.reading;
        total.elapsed += case.elapsed;
        total.failures += case.failures;
    }
    writeln!(out, "{}", total.row("all |"))?;
    let counts = &total.counts;
    writeln!(
        out,
        "\nIn {:.1?}. Otherwise wrong: {} names, {} threads, {} lasting tasks not in complete scans, {} failed scans. \
         Walks begun anew: {}. Awaiters in no list: {}.\n\nProblems by code, per 1 000 tasks:",
        total.elapsed,
        counts.wrong_names,
        counts.wrong_threads,
        counts.missing,
        total.failures,
        counts.restarts,
        counts.edges_unlisted,
    )?;
    for (code, n) in &counts.problems {
        let share = 1e3 * *n as f64 / counts.tasks.max(1) as f64;
        writeln!(out, "- `{code}`: {n} ({share:.3})")?;
    }
    for case in cases.iter().filter(|case| !case.findings.is_empty()) {
        writeln!(out, "\n{}:", case.title())?;
        for finding in &case.findings {
            writeln!(out, "    {finding}")?;
        }
    }
    let is_right = counts.wrong() == 0 && total.failures == 0;
    Ok(ExitCode::from(u8::from(!is_right)))
}

impl Case {
    fn new(churn: Churn, python: &'static Python) -> Self {
        Self {
            churn,
            python,
            counts: Counts::default(),
            started: 0,
            reading: Duration::ZERO,
            elapsed: Duration::ZERO,
            failures: 0,
            findings: Vec::new(),
        }
    }
}

fn cases() -> Vec<Case> {
    let on_each = |churn| {
        python::all()
            .iter()
            .map(move |python| Case::new(churn, python))
    };
    Churn::all().into_iter().flat_map(on_each).collect()
}

/// How long altogether, and which cases.
fn arguments() -> Result<(Duration, Vec<String>), String> {
    let mut minutes = 10.0;
    let mut wanted = Vec::new();
    // `cargo bench` adds `--bench`.
    let mut given = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    while let Some(argument) = given.next() {
        if argument != "--minutes" {
            wanted.push(argument);
            continue;
        }
        let value = given.next().unwrap_or_default();
        minutes = value
            .parse()
            .map_err(|_| format!("--minutes {value:?} is no number"))?;
    }
    let time = Duration::try_from_secs_f64(60.0 * minutes);
    Ok((time.map_err(|error| format!("--minutes: {error}"))?, wanted))
}
