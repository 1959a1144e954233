//! `make soak-agent`: the real agent watches busy healthy programs for a given time, and ends with status 1 if
//! it reports a single cycle or stuck task, or if its memory grows.
//!
//! The analysis has its default settings but one: a task is stuck after 20 seconds instead of a minute. So each of
//! the tasks, none of which is stuck, can be taken for that by mistake three times as often.
//!
//! Argument: `--minutes N` (30).
#![allow(
    clippy::disallowed_methods,
    reason = "a measurement reads the clock itself"
)]

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use support::agent::Agent;
use support::churn::{Churn, PROGRAMS};
use support::python;
use support::target::Target;

/// How often the agent is asked.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// By then the agent knows all code of the programs, and has the memory that it needs.
const WARM_UP: Duration = Duration::from_secs(60);
/// Memory may be that much more at the end, as a part of what it was, and in MiB.
const GROWTH_MAX: (f64, f64) = (1.25, 4.0);
/// Rates of all churning programs. The highest one takes a core for each of them, so it has but one program.
const RATES: [&str; 2] = ["hundreds", "thousands"];

/// The series of one scrape, without those of the agent's own process.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn of(agent: &Agent) -> Self {
        let (_, text) = agent.get("/metrics");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Self(series.collect())
    }

    /// The sum of the series that begin like this.
    fn sum(&self, prefix: &str) -> f64 {
        let from = self.0.range(prefix.to_owned()..);
        let these = from.take_while(|(series, _)| series.starts_with(prefix));
        these.map(|(_, value)| value).sum()
    }

    fn max(&self, prefix: &str) -> f64 {
        let from = self.0.range(prefix.to_owned()..);
        let these = from.take_while(|(series, _)| series.starts_with(prefix));
        these.map(|(_, value)| *value).fold(0.0, f64::max)
    }

    fn memory(&self) -> f64 {
        self.sum("process_resident_memory_bytes") / f64::from(1 << 20)
    }
}

/// What was seen of the agent.
#[derive(Default)]
struct Watch {
    /// After the warm-up, at most, and at the end, in MiB.
    memory: (f64, f64, f64),
    /// Scrapes at which there was a cycle or a stuck task, and what the agent said of them.
    n_bad: u64,
    said: Vec<String>,
    /// The longest wait at any scrape, by target.
    waits: BTreeMap<String, f64>,
}

impl Watch {
    fn take(&mut self, agent: &Agent, programs: &[(String, Target)], is_warm: bool) {
        let scrape = Scrape::of(agent);
        let memory = scrape.memory();
        if is_warm && self.memory.0 == 0.0 {
            self.memory.0 = memory;
        }
        self.memory.1 = self.memory.1.max(memory);
        self.memory.2 = memory;
        for (title, _) in programs {
            let series = format!("asyncio_task_wait_seconds_max{{target=\"{title}\"");
            let longest = self.waits.entry(title.clone()).or_default();
            *longest = longest.max(scrape.max(&series));
        }
        let found = ["asyncio_await_cycles{", "asyncio_stuck_tasks{"];
        if found.iter().any(|series| scrape.sum(series) > 0.0) {
            self.n_bad += 1;
            if self.said.len() < 2 {
                self.said.push(agent.get("/api/v1/findings").1);
            }
        }
    }
}

fn main() -> io::Result<ExitCode> {
    let time = match arguments() {
        Ok(time) => time,
        Err(why) => {
            writeln!(io::stderr(), "{why}")?;
            return Ok(ExitCode::from(2));
        }
    };
    let programs = programs();
    let config = config(&programs);
    let agent = Agent::start(&config);
    let begin = Instant::now();
    let warm_up = WARM_UP.min(time / 4);
    let mut watch = Watch::default();
    while begin.elapsed() < time {
        thread::sleep(ASK_EVERY.min(time.saturating_sub(begin.elapsed())));
        watch.take(&agent, &programs, begin.elapsed() >= warm_up);
        let (now, most) = (watch.memory.2, watch.memory.1);
        let elapsed = begin.elapsed().as_secs();
        writeln!(
            io::stderr(),
            "{elapsed} s: {now:.1} MiB, at most {most:.1}; bad scrapes: {}",
            watch.n_bad
        )?;
    }
    let last = Scrape::of(&agent);
    let (_, log) = agent.end_with("TERM");
    report(&programs, begin.elapsed(), &watch, &last, &log)
}

fn report(
    programs: &[(String, Target)],
    time: Duration,
    watch: &Watch,
    last: &Scrape,
    log: &str,
) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| program | rounds | complete | tasks | started, seen | longest wait, s | cycles found | stuck tasks found |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|"
    )?;
    let is_found = |line: &&str| line.contains("level=warn msg=\"found\" ");
    let found: Vec<&str> = log.lines().filter(is_found).collect();
    let mut is_read = true;
    for (title, _) in programs {
        let of = |name: &str, more: &str| format!("{name}{{target=\"{title}\"{more}");
        let rounds = last.sum(&of("asyncio_agent_scans_total", ""));
        let complete = last.sum(&of("asyncio_agent_scans_total", ",result=\"ok\""));
        let kind = |kind: &str| {
            let here = format!("target=\"{title}\"");
            let of_kind = found
                .iter()
                .filter(|it| it.contains(&here) && it.contains(kind));
            of_kind.count()
        };
        is_read &= rounds > 0.0 && last.sum(&of("asyncio_target_up", "")) == 1.0;
        writeln!(
            out,
            "| {title} | {rounds} | {:.1} % | {} | {} | {:.1} | **{}** | **{}** |",
            1e2 * complete / rounds.max(1.0),
            last.sum(&of("asyncio_pending_tasks", "")),
            last.sum(&of("asyncio_tasks_started_total", "")),
            watch.waits.get(title).copied().unwrap_or(0.0),
            kind("await_cycle"),
            kind("stuck_task"),
        )?;
    }
    let (start, most, end) = watch.memory;
    let is_flat = end <= start * GROWTH_MAX.0 + GROWTH_MAX.1;
    writeln!(
        out,
        "\nIn {:.1} minutes: {} rounds, {} cycles and stuck tasks found. Resident memory of the agent: \
         {start:.1} MiB after the warm-up, {end:.1} MiB at the end, {most:.1} MiB at most.",
        time.as_secs_f64() / 60.0,
        last.sum("asyncio_agent_scans_total{"),
        found.len(),
    )?;
    for line in found
        .iter()
        .take(20)
        .copied()
        .chain(watch.said.iter().map(String::as_str))
    {
        writeln!(out, "    {line}")?;
    }
    if !is_read {
        writeln!(out, "A program was not read.")?;
    }
    if !is_flat {
        writeln!(out, "Memory grows.")?;
    }
    let is_right = found.is_empty() && watch.n_bad == 0 && is_read && is_flat;
    Ok(ExitCode::from(u8::from(!is_right)))
}

/// All that is watched, by the names of their targets.
fn programs() -> Vec<(String, Target)> {
    let mut programs = Vec::new();
    for python in python::all() {
        let (major, minor) = python.version;
        let mut add =
            |title: String, target| programs.push((format!("{title} {major}.{minor}"), target));
        for program in PROGRAMS {
            for rate in RATES {
                let churn = Churn { program, rate };
                add(churn.to_string(), churn.start(python));
            }
        }
        add(
            "ticking".to_owned(),
            Target::start(python.program("ticking")),
        );
    }
    if let Some(python) = python::all().first() {
        let churn = Churn {
            program: "churn",
            rate: "tens-of-thousands",
        };
        programs.push((churn.to_string(), churn.start(python)));
    }
    programs
}

fn config(programs: &[(String, Target)]) -> String {
    // Reading busy programs once a second takes more than agents usually may.
    let mut config = "web: {listen: 127.0.0.1:0}\n\
                      analysis: {stuck: {after: 20s}}\n\
                      limits: {cpu_share: 1}\n\
                      targets:\n"
        .to_owned();
    for (title, target) in programs {
        let pid = target.pid();
        // Writing to a String does not fail.
        let _ = writeln!(
            config,
            "- {{name: '{title}', match: {{pid: {pid}}}, interval: 1s}}"
        );
    }
    config
}

/// How long.
fn arguments() -> Result<Duration, String> {
    let given = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let given: Vec<String> = given.collect();
    let minutes = match given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => "30",
        ["--minutes", minutes] => minutes,
        _ => return Err("only --minutes N is known here".to_owned()),
    };
    let number: f64 = minutes
        .parse()
        .map_err(|_| format!("--minutes {minutes:?} is no number"))?;
    Duration::try_from_secs_f64(60.0 * number).map_err(|error| format!("--minutes: {error}"))
}
