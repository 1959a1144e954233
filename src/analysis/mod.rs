//! What a task graph means, in numbers. Pure: no clock, no I/O, no memory of earlier snapshots.

mod summary;

pub use summary::{Summary, summarize};
