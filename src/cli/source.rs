//! Where a snapshot comes from: a running process, read from here or by the agent, a file, or standard input.

use super::agent::Agent;
use super::args::{FreezeArgs, ViaArgs, ViewArgs};
use super::explain::{self, Failure, Stop};
use super::output;
use crate::graph::Snapshot;
use crate::ids::Pid;
use crate::limits::Limits;
use crate::process::Process;
use crate::procfs::{ProcRoot, StopReason};
use crate::protocol::{self, SNAPSHOT_BYTES_MAX, SnapshotFormatError};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// The snapshot that was asked for, and what a message calls it.
pub(super) fn load(args: &ViewArgs) -> Result<(Snapshot, String), Stop> {
    match (args.source.pid, &args.source.from) {
        (Some(pid), _) => {
            let stop = stop_of(pid);
            let snapshot = of_process(pid, &args.freeze, &args.via)?;
            // A tracer may have held it for a moment only.
            if let Some(stop) = stop.filter(|_| stop_of(pid) == stop) {
                output::say(&explain::stopped(pid, stop));
            }
            Ok((snapshot, pid.to_string()))
        }
        (None, Some(file)) => {
            let name = if is_standard(file) {
                "<stdin>".to_owned()
            } else {
                file.display().to_string()
            };
            Ok((of_file(file, &name)?, name))
        }
        (None, None) => unreachable!("the argument parser requires one of the two"),
    }
}

/// Whether `-` was given, which stands for standard input or output.
pub(super) fn is_standard(path: &Path) -> bool {
    path == "-"
}

/// Has the agent read the process if there is one that is to, or else reads it. If it was to be stopped for that,
/// says for how long it was.
pub(super) fn of_process(pid: Pid, args: &FreezeArgs, via: &ViaArgs) -> Result<Snapshot, Stop> {
    // An agent stops a process only if its configuration says so, which few do.
    let is_direct = via.direct || args.freeze.is_some();
    let snapshot = match Agent::find_for(pid, &via.agent, is_direct)? {
        Some(agent) => agent.snapshot(pid, args.freeze)?,
        None => read(pid, args.freeze)?,
    };
    if let Some(limit) = args.freeze {
        output::say(&explain::pause(&snapshot, pid, limit));
    }
    Ok(snapshot)
}

fn read(pid: Pid, freeze: Option<Duration>) -> Result<Snapshot, Stop> {
    let started = now();
    let mut snapshot = Process::attach(&ProcRoot::default(), pid, Limits::default())
        .and_then(|mut process| match freeze {
            Some(limit) => process.snapshot_frozen(limit),
            None => process.snapshot(),
        })
        .map_err(|error| explain::unreadable(&error))?;
    snapshot.stats.duration = Some(since(started));
    Ok(snapshot)
}

/// Why the process stands still, if it does.
pub(super) fn stop_of(pid: Pid) -> Option<StopReason> {
    ProcRoot::default().stat(pid).ok()?.stop
}

fn of_file(file: &Path, name: &str) -> Result<Snapshot, Stop> {
    let read = if is_standard(file) {
        protocol::read_snapshot_from(io::stdin().lock())
    } else {
        File::open(file).and_then(|file| {
            // A file that is too large is not read to find that out.
            if file.metadata()?.len() > SNAPSHOT_BYTES_MAX {
                return Ok(Err(SnapshotFormatError::TooLarge));
            }
            protocol::read_snapshot_from(file)
        })
    };
    match read {
        Ok(read) => read.map_err(|error| explain::bad_file(name, &error)),
        Err(error) => {
            let message = format!("cannot read {name}: {error}");
            Err(Stop::Failed(Failure::other(message)))
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "one read is timed here, at the edge; nothing below reads a clock"
)]
fn now() -> Instant {
    Instant::now()
}

fn since(started: Instant) -> Duration {
    now().saturating_duration_since(started)
}
