//! What a close look at a task that has waited for long finds out. It takes reads that nobody wants for each task.

use crate::ids::TaskId;
use std::time::Duration;

/// Why a task that is suspended may wait for long with nothing being wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongWait {
    /// The task.
    pub task: TaskId,
    /// The program has set a timer that cancels it, or a task that passes the cancellation on to it: when the first of
    /// them is due, by the clock `CLOCK_MONOTONIC` (clock_gettime(2)), which event loops use.
    pub ends_at: Option<Duration>,
    /// What it waits for is done in a thread or another process (`loop.run_in_executor`, `asyncio.to_thread`).
    pub for_executor: bool,
    /// It is the one that its event loop was started for (`asyncio.run`, `loop.run_until_complete`).
    pub is_main: bool,
}
