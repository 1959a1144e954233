//! What the agent costs, and how soon it knows: the real program, which watches many processes at once.

use super::samples::{Samples, shown, timed};
use super::support::agent::Agent;
use super::support::churn::attach;
use super::support::python::{self, Python};
use super::support::target::{Target, wait_until};
use asyncio_agent::graph::find_cycles;
use asyncio_agent::ids::Pid;
use asyncio_agent::procfs::ProcRoot;
use nix::unistd::{SysconfVar, sysconf};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

/// For so long the agent is watched, and at least for so many rounds over each process.
const WATCHED: Duration = Duration::from_secs(60);
const ROUNDS: u32 = 5;
/// A server that asks for the metrics meanwhile does so every
const SCRAPE_EVERY: Duration = Duration::from_secs(5);

/// Processes, tasks of each, time between two rounds, and what the agent may take: per cent of a core, MiB.
const FLEETS: [(u32, u32, Duration, f64, f64); 2] = [
    (100, 100, Duration::from_secs(5), 2.0, 64.0),
    (1_000, 10, Duration::from_secs(15), 5.0, 128.0),
];

const TARGETS: u32 = 200;
const SCRAPES: usize = 500;
const BIRTHS: usize = 10;

pub(crate) fn run(out: &mut impl Write) -> io::Result<()> {
    run_fleets(out)?;
    run_scrapes(out)?;
    run_births(out)
}

fn run_fleets(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n## The agent\n\n\
         `asyncio-agent` as it is built for release watches the processes of `fleet.py`: half of them on each \
         Python; every second one of them waits, in the others a task does some work about once a second. Its \
         `/metrics` are fetched every {SCRAPE_EVERY:?}. *CPU*: its own (user and system, `/proc/PID/stat`) over \
         the time given, which begins after two rounds; *memory*: resident, at the end of that time and at \
         most. *Rounds*: as the agent counts them, and how many of them read everything.\n\n\
         | processes | tasks each | every | over | rounds | complete | ms of CPU a round | CPU, % of a core | \
         may be | memory, MiB | at most | may be |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )?;
    for (processes, tasks, interval, cpu_max, memory_max) in FLEETS {
        let fleet = fleet(processes, tasks);
        let agent = Agent::start(&format!(
            "web: {{listen: 127.0.0.1:0}}\n\
             targets: [{{name: fleet, match: {}, exclude: {}, interval: {}s}}]\n",
            parents(&fleet, |pid| format!("{{parent: {{pid: {pid}}}}}")),
            parents(&fleet, |pid| format!("{{pid: {pid}}}")),
            interval.as_secs(),
        ));
        let is_whole = || {
            agent.value("asyncio_pending_tasks{target=\"fleet\"}")
                == Some(f64::from(processes * tasks))
        };
        wait_until("all are read", is_whole);
        thread::sleep(2 * interval);
        let time = WATCHED.max(ROUNDS * interval);
        let before = (Rounds::of(&agent), cpu_seconds(agent.pid()), Instant::now());
        while before.2.elapsed() < time {
            thread::sleep(SCRAPE_EVERY.min(time.saturating_sub(before.2.elapsed())));
            assert!(is_whole(), "all are there all the time");
        }
        let took = before.2.elapsed().as_secs_f64();
        let cpu = cpu_seconds(agent.pid()) - before.1;
        let after = Rounds::of(&agent);
        let rounds = after.all - before.0.all;
        let complete = after.complete - before.0.complete;
        writeln!(
            out,
            "| {processes} | {tasks} | {} s | {took:.0} s | {rounds} | {:.2} % | {} | **{}** | {cpu_max} | \
             **{}** | {} | {memory_max} |",
            interval.as_secs(),
            1e2 * complete / rounds,
            shown(1e3 * cpu / rounds),
            shown(1e2 * cpu / took),
            shown(memory(agent.pid(), "VmRSS:")),
            shown(memory(agent.pid(), "VmHWM:")),
        )?;
        out.flush()?;
        end(fleet);
    }
    Ok(())
}

fn run_scrapes(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n### `/metrics`\n\n\
         {SCRAPES} requests, one after the other, each with a connection of its own, from connecting to the last \
         byte. Meanwhile each of the processes is read every second.\n\n\
         | targets | processes | tasks each | format | series | KiB | ms, median (min) | 99 % | longest |\n\
         |--:|--:|--:|---|--:|--:|--:|--:|--:|"
    )?;
    let tasks = 10;
    let fleet = fleet(TARGETS, tasks);
    let mut config = "web: {listen: 127.0.0.1:0}\ntargets:\n".to_owned();
    for pid in pids(&fleet) {
        let added = writeln!(
            config,
            "- {{name: 'target-{pid}', match: {{pid: {pid}}}, interval: 1s}}"
        );
        added.map_err(io::Error::other)?;
    }
    let agent = Agent::start(&config);
    wait_until("all are read", || {
        let (_, text) = agent.get("/metrics");
        let read = text
            .lines()
            .filter(|line| line.starts_with("asyncio_pending_tasks{"));
        u32::try_from(read.count()) == Ok(TARGETS)
    });
    for (format, accept) in [
        ("text", "text/plain"),
        ("OpenMetrics", "application/openmetrics-text"),
    ] {
        let mut times = Samples::default();
        let mut text = String::new();
        for _ in 0..SCRAPES {
            let (time, answer) = timed(|| agent.get_as("/metrics", accept));
            times.push_time(time);
            text = answer.1;
        }
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        writeln!(
            out,
            "| {TARGETS} | {TARGETS} | {tasks} | {format} | {series} | {} | **{}** | {} | {} |",
            text.len() / 1024,
            times.median_and_min(),
            shown(times.quantile(0.99)),
            shown(times.max()),
        )?;
    }
    end(fleet);
    Ok(())
}

fn run_births(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n### From the birth of a cycle to `asyncio_await_cycles`\n\n\
         `mends.py` makes two tasks await each other {BIRTHS} times, and mends them again. Rounds that have ended \
         since before the birth when a scrape says for the first time that there is a cycle.\n\n\
         | Python | confirmations | births | rounds, median | at most | may be |\n\
         |---|--:|--:|--:|--:|--:|"
    )?;
    for python in python::all() {
        for confirmations in [1, 2, 3] {
            let rounds = births(python, confirmations);
            writeln!(
                out,
                "| {} | {confirmations} | {} | {} | **{}** | {} |",
                python.full_version,
                rounds.len(),
                rounds.median(),
                rounds.max(),
                confirmations + 1,
            )?;
        }
    }
    Ok(())
}

/// The rounds that each birth took.
fn births(python: &Python, confirmations: u32) -> Samples {
    let mut target = Target::start(python.program("mends"));
    let agent = Agent::start(&format!(
        "web: {{listen: 127.0.0.1:0}}\n\
         analysis: {{cycles: {{confirmations: {confirmations}}}}}\n\
         targets: [{{name: fleet, match: {{pid: {}}}, interval: 250ms}}]\n",
        target.pid()
    ));
    agent.wait_for_value("asyncio_await_cycles{target=\"fleet\"}", 0.0);
    let mut process = attach(&target);
    let mut rounds = Samples::default();
    for _ in 0..BIRTHS {
        let before = Rounds::of(&agent);
        target.write(b"cycle\n");
        wait_until("the cycle is there", || {
            let snapshot = process.snapshot().expect("it lives");
            !find_cycles(&snapshot.graph, 1).cycles.is_empty()
        });
        let mut now = Rounds::of(&agent);
        while now.cycles < 1.0 {
            now = Rounds::of(&agent);
        }
        rounds.push(now.all - before.all);
        target.write(b"mend\n");
        agent.wait_for_value("asyncio_await_cycles{target=\"fleet\"}", 0.0);
    }
    rounds
}

/// What one scrape says of the target `fleet`.
#[derive(Debug, Clone, Copy, Default)]
struct Rounds {
    all: f64,
    complete: f64,
    cycles: f64,
}

impl Rounds {
    fn of(agent: &Agent) -> Self {
        let (_, text) = agent.get("/metrics");
        let mut rounds = Self::default();
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let value: f64 = value.parse().unwrap_or(0.0);
            if series.starts_with("asyncio_agent_scans_total{target=\"fleet\"") {
                rounds.all += value;
                if series.contains("result=\"ok\"") {
                    rounds.complete += value;
                }
            } else if series.starts_with("asyncio_await_cycles{target=\"fleet\"") {
                rounds.cycles = value;
            }
        }
        rounds
    }
}

/// So many processes, in equal parts on each Python.
pub(crate) fn fleet(processes: u32, tasks: u32) -> Vec<Target> {
    let pythons = python::all();
    let parts = u32::try_from(pythons.len()).expect("a few");
    let of_python = |(position, python): (u32, &Python)| {
        let n = processes / parts + u32::from(position < processes % parts);
        let mut command = python.script("tests/bench/programs/fleet.py");
        command.args([n.to_string(), tasks.to_string()]);
        Target::start(command)
    };
    (0..).zip(pythons).map(of_python).collect()
}

/// Ends the fleet, and waits until all of it has ended.
pub(crate) fn end(fleet: Vec<Target>) {
    let pids = pids(&fleet);
    drop(fleet);
    let root = ProcRoot::default();
    let lives =
        |pid: &i32| Pid::new(*pid).is_some_and(|pid| root.stat(pid).is_ok_and(|it| !it.has_ended));
    wait_until("the fleet has ended", || !pids.iter().any(lives));
}

fn pids(fleet: &[Target]) -> Vec<i32> {
    let told = fleet
        .iter()
        .flat_map(|target| target.truth["pids"].as_array());
    let pids = told
        .flatten()
        .filter_map(|pid| i32::try_from(pid.as_i64()?).ok());
    pids.collect()
}

/// A list of conditions, one for each parent of the fleet.
pub(crate) fn parents(fleet: &[Target], condition: impl Fn(u32) -> String) -> String {
    let conditions = fleet.iter().map(|target| condition(target.pid()));
    format!("[{}]", conditions.collect::<Vec<_>>().join(", "))
}

/// The processor time that a process has taken so far.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(')').expect("the end of the name");
    // Fields 14 and 15, proc(5); the first one here is the third.
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    ticks / per_second as f64
}

/// A line of `/proc/PID/status`, in MiB.
pub(crate) fn memory(pid: u32, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}
