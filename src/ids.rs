//! Identities: of processes, threads and tasks. Plain values without I/O.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash as _, Hasher};
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

/// A process id as this machine's `/proc` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(i32);

impl Pid {
    /// The id, if it is one a process can have (`pid_t`, greater than zero).
    pub fn new(raw: i32) -> Option<Self> {
        (raw > 0).then_some(Self(raw))
    }

    /// The number, always greater than zero.
    pub fn as_raw(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not a process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a process id: a whole number from 1 to {}", i32::MAX)]
pub struct ParsePidError;

impl FromStr for Pid {
    type Err = ParsePidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().and_then(Self::new).ok_or(ParsePidError)
    }
}

/// When a process started: clock ticks since boot, field 22 of `/proc/PID/stat` (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StartTime(pub u64);

impl StartTime {
    /// The time from boot to the start. A tick is a hundredth of a second on every architecture of Linux that
    /// CPython has (`USER_HZ`, proc_pid_stat(5)).
    pub fn since_boot(self) -> Duration {
        Duration::from_millis(self.0.saturating_mul(10))
    }
}

/// One process and no other: a pid may be reused, a pid with its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// The process id.
    pub pid: Pid,
    /// When that process started.
    pub start: StartTime,
}

impl ProcessId {
    /// A number for it: whoever makes fingerprints of what is found in it begins with this, so that they are the same
    /// for the agent and for `agentctl`.
    pub fn seed(self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// The id of an operating system thread as Python reports it (`native_thread_id`): the Linux TID in
/// the process's own pid namespace. 0 stands for tasks whose thread has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tid(pub u64);

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A task's identity inside its process: the address of the task object, as `id(task)` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl FromStr for TaskId {
    type Err = ParseIntError;

    /// Reads what `Display` writes (`0x7f…`), and plain decimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16),
            Some(_) => "+".parse(),
            None if text.starts_with('+') => "+".parse(),
            None => text.parse(),
        }
        .map(Self)
    }
}

/// Maps from addresses. Objects of one kind stand side by side, and are mostly asked for in that order;
/// this hash keeps neighbours together, so that a table of a million addresses is passed through
/// instead of being jumped about in.
pub type AddressMap<K, V> = HashMap<K, V, BuildHasherDefault<AddressHasher>>;

/// The hash of an [`AddressMap`].
#[derive(Debug, Default, Clone, Copy)]
pub struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        // The table takes the place from the low bits, and tells apart what is there by the high
        // ones. Neighbours within 1 MiB, an arena of CPython's allocator, stay neighbours.
        let region = (self.0 >> 20).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let tag = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) & (0x7f << 57);
        (((self.0 >> 6) & 0x3fff).wrapping_add(region >> 24) & !(0x7f << 57)) | tag
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = self.0.rotate_left(8) ^ value;
    }
}
