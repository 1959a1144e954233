//! With which status `agentctl` ends.

use crate::process::ProcessError;
use std::process::ExitCode;

/// The exit status. The numbers are stable.
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
    /// The agent was asked for, and cannot be reached.
    AgentUnreachable = 6,
    /// Anything else.
    Failed = 7,
}

impl Exit {
    /// The status for an error of the agent: the same as if the process had been read from here.
    pub(super) fn of_code(code: &str) -> Self {
        match code {
            "process_not_found" | "process_gone" => Self::NoSuchProcess,
            "permission_denied" | "already_traced" | "freeze_denied" | "freeze_not_allowed"
            | "not_allowed" => Self::PermissionDenied,
            "not_python" | "unsupported_python" | "not_started" | "no_asyncio" | "bad_offsets" => {
                Self::NotSupported
            }
            "unsupported_version" => Self::AgentUnreachable,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<&ProcessError> for Exit {
    fn from(error: &ProcessError) -> Self {
        match error {
            ProcessError::NotFound { .. }
            | ProcessError::Thread { .. }
            | ProcessError::Gone { .. } => Self::NoSuchProcess,
            ProcessError::Denied { .. }
            | ProcessError::Traced { .. }
            | ProcessError::FreezeDenied { .. } => Self::PermissionDenied,
            ProcessError::NotPython { .. }
            | ProcessError::Unsupported { .. }
            | ProcessError::NotStarted { .. }
            | ProcessError::NoAsyncio { .. }
            | ProcessError::BadOffsets { .. } => Self::NotSupported,
            ProcessError::OtherPidNamespace { .. } | ProcessError::Failed { .. } => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Pid;

    #[test]
    fn an_error_has_one_status_whoever_reads() {
        let pid = Pid::new(7).unwrap();
        let text = String::new;
        let (found, supported, why, what, version) = (text(), text(), text(), text(), text());
        let errors = [
            ProcessError::NotFound { pid },
            ProcessError::Thread { pid, process: pid },
            ProcessError::Gone { pid },
            ProcessError::OtherPidNamespace { pid },
            ProcessError::Denied { pid, what },
            ProcessError::FreezeDenied { pid, why: text() },
            ProcessError::NotPython {
                pid,
                supported: text(),
            },
            ProcessError::Unsupported {
                pid,
                found,
                supported,
            },
            ProcessError::NotStarted { pid },
            ProcessError::NoAsyncio { pid, version },
            ProcessError::BadOffsets { pid, why: text() },
            ProcessError::Failed { pid, why },
        ];
        for error in errors {
            assert_eq!(Exit::of_code(error.code()), Exit::from(&error), "{error}");
        }
        for code in ["not_allowed", "freeze_not_allowed"] {
            assert_eq!(Exit::of_code(code), Exit::PermissionDenied);
        }
        assert_eq!(Exit::of_code("of the future"), Exit::Failed);
    }
}
