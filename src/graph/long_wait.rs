//! What a close look at a task that has waited for long finds out. It takes reads that nobody wants for each task.

use crate::ids::TaskId;
use std::time::Duration;

/// Why a task that is suspended may wait for long with nothing being wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongWait {
    /// The task.
    pub task: TaskId,
    /// The program has set a timer that cancels it, or a task that passes the cancellation on to it: when the first of
    /// them is due, by our clock `CLOCK_MONOTONIC` (clock_gettime(2)), which event loops use.
    pub ends_at: Option<Duration>,
    /// The same of timers that were set for this very wait: in the function of the program's own in which it waits, or in
    /// what that has called of libraries; or to give the future a result.
    pub ends_itself_at: Option<Duration>,
    /// The same of timers that may end it, which is not certain: a function of the program will be called that has to do with
    /// what it waits for.
    pub may_end_at: Option<Duration>,
    /// What it waits for is being done in a thread or another process (`loop.run_in_executor`, `asyncio.to_thread`). Not so
    /// as long as no thread has begun with it.
    pub for_executor: bool,
    /// A handler of a signal ends what it waits for (`loop.add_signal_handler`).
    pub for_signal: bool,
    /// A handler of a file does: of a socket or a pipe (`loop.add_reader`, `loop.add_writer`).
    pub for_file: bool,
    /// That is not known, because there are too many connections.
    pub may_be_for_file: bool,
    /// When the first timer of its event loop is due, or was: whatever it is for, even if it has been cancelled. Not known
    /// while the event loop executes a task.
    pub loop_due_at: Option<Duration>,
    /// Its thread runs an event loop, executes no task, and waits for something that is not what the event loop would wait
    /// for: something that is no task holds up the event loop, such as a callback.
    pub loop_is_blocked: bool,
    /// The event loop is in a callback, by the functions that its thread executes. Not known of uvloop.
    pub loop_is_in_callback: bool,
    /// It cannot have gone on and come back to where it stands: none of its functions stands in a loop there, and it is not
    /// one of several tasks that are made one after the other.
    pub cannot_return: bool,
    /// It is the one that its event loop was started for (`asyncio.run`, `loop.run_until_complete`).
    pub is_main: bool,
}

impl LongWait {
    /// The same with other times; a timer whose time is none counts for nothing.
    #[must_use]
    pub fn with_times(self, to_other: impl Fn(Duration) -> Option<Duration>) -> Self {
        Self {
            ends_at: self.ends_at.and_then(&to_other),
            ends_itself_at: self.ends_itself_at.and_then(&to_other),
            may_end_at: self.may_end_at.and_then(&to_other),
            loop_due_at: self.loop_due_at.and_then(&to_other),
            ..self
        }
    }
}
