//! With which status `agentctl` ends.

use crate::process::ProcessError;
use std::process::ExitCode;

/// The exit status. The numbers are stable; 6 is kept for an agent that cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; also with a partial snapshot, which is said on standard error.
    Done = 0,
    /// Tasks were found that wait for each other in a cycle.
    CycleFound = 1,
    /// The command line is wrong.
    Usage = 2,
    /// There is no such process, or it has ended.
    NoSuchProcess = 3,
    /// The process may not be read, or not be stopped.
    PermissionDenied = 4,
    /// Not a process that can be read: not Python, not a supported version, no asyncio.
    NotSupported = 5,
    /// Anything else.
    Failed = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<&ProcessError> for Exit {
    fn from(error: &ProcessError) -> Self {
        match error {
            ProcessError::NotFound { .. } | ProcessError::Gone { .. } => Self::NoSuchProcess,
            ProcessError::Denied { .. }
            | ProcessError::Traced { .. }
            | ProcessError::FreezeDenied { .. } => Self::PermissionDenied,
            ProcessError::NotPython { .. }
            | ProcessError::Unsupported { .. }
            | ProcessError::NotStarted { .. }
            | ProcessError::NoAsyncio { .. }
            | ProcessError::BadOffsets { .. } => Self::NotSupported,
            ProcessError::Failed { .. } => Self::Failed,
        }
    }
}
