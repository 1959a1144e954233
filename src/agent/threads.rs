//! Starting the threads that every run needs. Where the system gives none, libraries panic, and tokio then waits for ever for
//! those of its threads that it has started by then. So the panic itself ends the program, before anything unwinds.

use super::args::EXIT_FAILURE;
use super::telemetry;
use crate::diagnosis::MORE_THREADS;
use std::panic::{self, PanicHookInfo};

/// Starts threads. If that panics, says so and ends the program.
pub(super) fn starting_threads<T>(start: impl FnOnce() -> T) -> T {
    let before = panic::take_hook();
    panic::set_hook(Box::new(end));
    let started = start();
    panic::set_hook(before);
    started
}

#[expect(
    clippy::exit,
    reason = "whoever unwinds may wait for ever for threads that have started"
)]
fn end(panic: &PanicHookInfo<'_>) {
    let why = telemetry::text_of(panic).unwrap_or_default();
    // Threads have files of their own, too, and want of these is told the same way.
    let hint = (!why.contains("Too many open files")).then_some(MORE_THREADS);
    telemetry::say_at_once(&format!("cannot start its threads: {why}"), hint);
    std::process::exit(EXIT_FAILURE.into());
}
