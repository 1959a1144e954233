//! The caps that keep a snapshot of a hostile or broken process within bounds, in one table.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// For how long a process may be stopped for one snapshot, when somebody asks for that.
pub const PAUSE_LIMITS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(10);

/// What a system call that copies memory counts as work, compared with a read of a few words that were
/// copied before.
pub const SYSCALL_WORK: u64 = 256;

/// Caps for one snapshot of one process. Reaching one costs the part it guards, never the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Interpreters read per process.
    pub interpreters_max: u32,
    /// Thread states read per interpreter.
    pub threads_max: u32,
    /// Tasks read per process, all lists together.
    pub tasks_max: u32,
    /// How that cap is called: [`TASKS_MAX`], or [`TASKS`] where one on the tasks of all processes leaves less.
    pub tasks_cap: &'static str,
    /// Tasks beyond `tasks_max` that are counted, without anything else being read of them.
    pub tasks_counted_max: u64,
    /// Frames followed per task, from its outermost coroutine inwards.
    pub frames_per_task_max: u32,
    /// Awaiters read per task.
    pub awaiters_per_task_max: u32,
    /// Slots of a set's hash table that are looked at.
    pub set_slots_max: u64,
    /// Length of a string (name, function, file) in code points; longer ones are cut.
    pub string_chars_max: u64,
    /// Size of a code object's line table.
    pub line_table_bytes_max: u64,
    /// Bytes copied from the process for one snapshot.
    pub bytes_read_max: u64,
    /// Bytes of copies kept at a time; more are dropped and copied again when needed.
    pub copies_bytes_max: u64,
    /// Bytes of what was decoded: names, types, code objects, line tables, threads, frames, edges.
    /// They are kept.
    pub decoded_bytes_max: u64,
    /// Work of one snapshot: a read of a few words is 1, a system call [`SYSCALL_WORK`]. All other
    /// caps together would allow hours; this one is a matter of seconds.
    pub work_max: u64,
    /// Problems kept one by one; further ones are only counted.
    pub problems_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            interpreters_max: 1_024,
            threads_max: 65_536,
            tasks_max: 2_000_000,
            tasks_cap: TASKS_MAX,
            tasks_counted_max: 100_000_000,
            frames_per_task_max: 65_536,
            awaiters_per_task_max: 1_048_576,
            set_slots_max: 1 << 22,
            string_chars_max: 16_384,
            line_table_bytes_max: 1 << 20,
            bytes_read_max: 8 << 30,
            copies_bytes_max: 256 << 20,
            decoded_bytes_max: 512 << 20,
            work_max: 500_000_000,
            problems_max: 1_000,
        }
    }
}

/// A cap that was reached: which one, and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitHit {
    /// The field of [`Limits`].
    pub what: &'static str,
    /// Its value.
    pub limit: u64,
}

/// The cap on the time of one snapshot. Who has a clock keeps it, by a [`Stop`].
pub const SCAN_TIME: &str = "scan_time";

/// The cap on the tasks of a process, and what there is room for in one on the tasks of all processes. Who has several
/// processes keeps the second.
pub const TASKS_MAX: &str = "tasks_max";
/// See [`TASKS_MAX`].
pub const TASKS: &str = "tasks";

/// Ends the snapshots that know it: what they have not read then is left out of them.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicU8>);

impl Stop {
    /// Says how much of the time has passed. What looks at a process that runs leaves time for what comes after, without which
    /// nothing of it is certain.
    pub fn pass(&self, part: Sixteenths) {
        self.0.fetch_max(part, Ordering::Relaxed);
    }

    /// Ends them.
    pub fn stop(&self) {
        self.pass(ALL);
    }

    /// Whether so much of the time has passed, at least.
    pub fn has_passed(&self, part: Sixteenths) -> bool {
        self.0.load(Ordering::Relaxed) >= part
    }

    /// Whether they are to end.
    pub fn is_stopped(&self) -> bool {
        self.has_passed(ALL)
    }
}

/// A part of something, in sixteenths.
pub type Sixteenths = u8;
/// All of it.
pub const ALL: Sixteenths = 16;

/// What a part of the walk over a process that runs may take, so that something is left for those that follow: of tasks that were
/// not looked at by all of them nothing is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Of what the snapshot may still read, decode and do when that part begins.
    pub of_left: Sixteenths,
    /// When it ends, of the time that the snapshot may take.
    pub until: Sixteenths,
}

/// A first look at all tasks. Of all that is decoded it takes two thirds if stacks are short, and a third or less if they are
/// long.
pub const FIRST_LOOK: Share = Share {
    of_left: 9,
    until: 9,
};
/// A look at where they stand, which has to be seen twice.
pub const SEEN: Share = Share {
    of_left: 6,
    until: 11,
};
/// Further looks, as many as that takes.
pub const PLACES: Share = Share {
    of_left: 9,
    until: 14,
};
/// A look at who awaits them, and what they are.
pub const CONFIRMED: Share = Share {
    of_left: 14,
    until: 15,
};
/// The rest, and a walk over a process that stands still.
pub const REST: Share = Share {
    of_left: ALL,
    until: ALL,
};

/// The caps that a snapshot can reach, by name. The others cut a text or bound a search.
pub const LIMITS: [&str; 11] = [
    "awaiters_per_task_max",
    "bytes_read_max",
    "decoded_bytes_max",
    "frames_per_task_max",
    "interpreters_max",
    SCAN_TIME,
    "set_slots_max",
    TASKS,
    TASKS_MAX,
    "threads_max",
    "work_max",
];

/// The caps that are about all of a snapshot, not about a part of one task.
const WHOLE: [&str; 6] = [
    "bytes_read_max",
    "decoded_bytes_max",
    SCAN_TIME,
    TASKS,
    TASKS_MAX,
    "work_max",
];

/// Whether a cap is about all of a snapshot: what is left of it when the cap is reached can only be counted.
pub fn is_of_snapshot(limit: &str) -> bool {
    WHOLE.contains(&limit)
}

/// Whether a cap is one on tasks.
pub fn is_of_tasks(limit: &str) -> bool {
    [TASKS, TASKS_MAX].contains(&limit)
}

/// Which caps were reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitsHit(u16);

impl LimitsHit {
    /// Notes one more, by its name.
    pub fn add(&mut self, limit: &str) {
        if let Some(at) = LIMITS.iter().position(|name| *name == limit) {
            self.0 |= 1 << at;
        }
    }

    /// Whether one of them is about all of a snapshot, not about a part of one task: whoever reads that process
    /// pays for all that the limit allows.
    pub fn is_costly(self) -> bool {
        self.names().any(is_of_snapshot)
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let is_hit = move |at: &usize| self.0 & (1 << *at) != 0;
        (0..LIMITS.len()).filter(is_hit).map(|at| LIMITS[at])
    }
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {} of {} reached", self.what, self.limit)
    }
}
