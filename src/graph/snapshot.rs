//! A [`Snapshot`]: one read of one process's task graph, with what could not be read and what it cost.

use super::TaskGraph;
use crate::ids::{Pid, StartTime};
use crate::limits::LimitsHit;
use std::sync::Arc;
use std::time::Duration;

/// One read of one process's task graph.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The process that was read. All fields may be unknown in a snapshot made by hand.
    pub process: ProcessInfo,
    /// What was found. Snapshots between which a process did not run share it.
    pub graph: Arc<TaskGraph>,
    /// What could not be read, up to `Limits::problems_max` entries.
    pub problems: Vec<Problem>,
    /// What the read cost.
    pub stats: ReadStats,
    /// Nothing is known to be missing or doubtful.
    pub complete: bool,
}

impl Snapshot {
    /// Notes that something of it is missing.
    pub fn add_problem(&mut self, problem: Problem) {
        self.problems.push(problem);
        self.stats.problems = self.stats.problems.saturating_add(1);
        self.complete = false;
    }
}

/// What is known of the process itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its process id.
    pub pid: Option<Pid>,
    /// When it started.
    pub start_time: Option<StartTime>,
    /// Python's version, such as `3.14.10`.
    pub python_version: Option<String>,
    /// Whether it is a free-threaded build.
    pub free_threaded: Option<bool>,
}

/// A part of a snapshot that could not be read. The rest of the snapshot is still useful.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable snake_case code; see the table in `ARCHITECTURE.md`.
    pub code: String,
    /// What happened, for a person.
    pub message: String,
    /// The remote address it happened at, if there is one.
    pub at: Option<u64>,
}

/// What a read cost. Counters of one snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// System calls that copied memory.
    pub syscalls: u64,
    /// Bytes copied from the process.
    pub bytes_read: u64,
    /// Tasks left out because they could not be read.
    pub tasks_unreadable: u64,
    /// Tasks left out because a limit of the snapshot left no room or time for them: they were only counted.
    pub tasks_counted: u64,
    /// Lists of interpreters, threads or tasks that could not be followed to their end: nobody knows how many
    /// tasks are missing. Not part of a written snapshot; its problems say so.
    pub lists_cut: u64,
    /// Tasks left out because they ended while they were read.
    pub tasks_ended: u64,
    /// Edges left out because they ended while they were read: the awaiter did, or awaits something else by
    /// now. Only those of tasks that are in the snapshot.
    pub edges_ended: u64,
    /// Problems met, the ones beyond `Limits::problems_max` included.
    pub problems: u64,
    /// Times the whole walk was begun again because the process changed under it.
    pub restarts: u64,
    /// Which limits were reached. Not part of a written snapshot; its problems say so.
    pub limits_hit: LimitsHit,
    /// Threads that run an event loop. Not part of a written snapshot.
    pub running_loops: u64,
    /// Wall time of the read, if its caller measured it.
    pub duration: Option<Duration>,
    /// How long the process was held for the read; `None` when it was read while it ran, 0 when it
    /// was to be held and was not, because it did not run anyway.
    pub paused: Option<Duration>,
}

impl ReadStats {
    /// Tasks that were left out without having ended; `u64::MAX` if nobody knows how many.
    pub fn tasks_missing(&self) -> u64 {
        match self.lists_cut {
            0 => self.tasks_unreadable.saturating_add(self.tasks_counted),
            _ => u64::MAX,
        }
    }
}
