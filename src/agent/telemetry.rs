//! The agent's own log: lines of `time level message key=value…` on stderr.
//!
//! What is logged is a change of state, never a round.

use super::args::LogLevel;
use tracing::level_filters::LevelFilter;

/// Starts logging. Does nothing if the program logs already.
pub(super) fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .try_init();
}
