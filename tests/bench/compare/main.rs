//! `make bench`: the reader beside CPython's own, on the same live processes, and what the agent costs, as tables
//! in Markdown.
//!
//! It starts the processes itself. Arguments: the sections to run, all without: see [`SECTIONS`]. Absolute
//! times say little on a shared machine; the ratios beside them are of measurements that took turns.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a measurement reads the clock itself, and ends where it cannot go on"
)]

#[path = "../../support/mod.rs"]
mod support;

mod agent;
mod churn;
mod cost;
mod echo;
mod freeze;
mod peer;
mod samples;
mod spans;
mod speed;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;
use support::python;

type Section = (
    &'static str,
    fn(&mut io::StdoutLock<'static>) -> io::Result<()>,
);

/// In the order in which they run.
const SECTIONS: [Section; 9] = [
    ("speed", speed::run),
    ("large", speed::run_large),
    ("calls", cost::run_calls),
    ("floor", cost::run_floor),
    ("churn", churn::run),
    ("echo", echo::run),
    ("freeze", freeze::run),
    ("agent", agent::run),
    ("spans", spans::run),
];

fn main() -> io::Result<ExitCode> {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [peer::READER, pid] => peer::read_on_request(number(pid)?)?,
        [echo::LOAD, port] => echo::load(number(port)?)?,
        _ => return run(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}

fn run(wanted: &[String]) -> io::Result<ExitCode> {
    let is_known = |name: &String| SECTIONS.iter().any(|(section, _)| section == name);
    if let Some(unknown) = wanted.iter().find(|name| !is_known(name)) {
        let names = SECTIONS.map(|(section, _)| section).join(" ");
        writeln!(io::stderr(), "no section {unknown}; there are: {names}")?;
        return Ok(ExitCode::from(2));
    }
    let mut out = io::stdout().lock();
    let versions: Vec<&str> = python::all()
        .iter()
        .map(|python| python.full_version.as_str())
        .collect();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    writeln!(
        out,
        "# Measurements\n\nasyncio-agent {}, CPython {}, {cpus} processors, Linux {}.",
        env!("CARGO_PKG_VERSION"),
        versions.join(" and "),
        kernel.trim(),
    )?;
    let begin = Instant::now();
    for (name, section) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            section(&mut out)?;
            out.flush()?;
        }
    }
    writeln!(out, "\nMeasured in {:.0} s.", begin.elapsed().as_secs_f64())?;
    Ok(ExitCode::SUCCESS)
}

fn number<N: std::str::FromStr>(text: &str) -> io::Result<N> {
    text.parse()
        .map_err(|_| io::Error::other(format!("{text} is no number")))
}
