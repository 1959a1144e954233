//! A look at a process: when it was taken, and what it is good for.

use crate::time::{Monotonic, Timestamp};

/// One look at a process.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// When.
    pub now: Moment,
    /// Nothing is missing in the snapshot.
    pub is_complete: bool,
    /// So many tasks are; `u64::MAX` if nobody knows how many.
    pub n_missing: u64,
    /// The process has not run since the look before.
    pub slept: bool,
    /// It counts as a snapshot that confirms a cycle. One that follows another closely, because of something
    /// else, does not: a cycle with a timeout could stand in both.
    pub confirms: bool,
    /// How many bytes the tasks of all findings may take. What has no room is counted only.
    pub finding_bytes_max: usize,
}

/// The moment of a snapshot, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For durations.
    pub at: Monotonic,
    /// For people.
    pub wall: Timestamp,
}
