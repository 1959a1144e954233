//! Why a process cannot be read. Each reason has a stable code; advice is given at the edges.

use crate::ids::Pid;
use crate::procfs::ProcfsError;

/// Why a process cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// No process has this id, or it has ended.
    #[error("no process {pid}")]
    NotFound {
        /// The pid asked for.
        pid: Pid,
    },
    /// No process has this id; a thread of one has.
    #[error("no process {pid}: it is a thread of process {process}")]
    Thread {
        /// The pid asked for.
        pid: Pid,
        /// The process that the thread belongs to.
        process: Pid,
    },
    /// The process ended while it was being read, or its pid is another process's now.
    #[error("process {pid} ended while it was being read")]
    Gone {
        /// The process.
        pid: Pid,
    },
    /// Its id is one of another pid namespace than ours (pid_namespaces(7)), in which it is another process's or nobody's.
    #[error(
        "cannot read process {pid}: /proc is that of another pid namespace (container), in which processes have other ids"
    )]
    OtherPidNamespace {
        /// The pid asked for.
        pid: Pid,
    },
    /// The kernel does not let us read it.
    #[error("cannot read process {pid}: permission denied ({what})")]
    Denied {
        /// The process.
        pid: Pid,
        /// What was refused, such as `/proc/4242/maps`.
        what: String,
    },
    /// It was to be stopped, and somebody else traces it: a process has one tracer at a time.
    #[error(
        "cannot stop process {pid}: it is traced by process {tracer}{}",
        name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default()
    )]
    Traced {
        /// The process.
        pid: Pid,
        /// The process that traces it.
        tracer: Pid,
        /// The command name of that one, if it can be seen.
        name: Option<String>,
    },
    /// It was to be stopped, and the kernel does not let us, though it lets us read it.
    #[error("cannot stop process {pid}: ptrace is refused ({why})")]
    FreezeDenied {
        /// The process.
        pid: Pid,
        /// The kernel's reason.
        why: String,
    },
    /// No Python runtime was found in its memory.
    #[error("process {pid} does not run CPython {supported} (no runtime table in its memory)")]
    NotPython {
        /// The process.
        pid: Pid,
        /// The versions that can be read.
        supported: String,
    },
    /// It is a Python of a version that cannot be read.
    #[error("process {pid} runs Python {found}; supported: {supported}")]
    Unsupported {
        /// The process.
        pid: Pid,
        /// The version found.
        found: String,
        /// The versions that can be read.
        supported: String,
    },
    /// It is a Python that has no interpreter: it is just starting, or ending.
    #[error("process {pid} runs a Python that is still starting or already ending")]
    NotStarted {
        /// The process.
        pid: Pid,
    },
    /// It is a supported Python in which `asyncio` has not been imported.
    #[error("process {pid} runs Python {version} but has not imported asyncio")]
    NoAsyncio {
        /// The process.
        pid: Pid,
        /// Its Python version.
        version: String,
    },
    /// The tables in which it describes its own layout make no sense.
    #[error("process {pid} describes its memory layout implausibly: {why}")]
    BadOffsets {
        /// The process.
        pid: Pid,
        /// Section, field, value and limit.
        why: String,
    },
    /// Reading failed in another way.
    #[error("cannot read process {pid}: {why}")]
    Failed {
        /// The process.
        pid: Pid,
        /// What failed.
        why: String,
    },
}

impl ProcessError {
    /// Why `/proc` does not tell something of the process `pid`.
    pub fn of_procfs(pid: Pid, error: ProcfsError) -> Self {
        match error {
            ProcfsError::NoProcess { .. } => Self::NotFound { pid },
            ProcfsError::Thread { pid, process } => Self::Thread { pid, process },
            ProcfsError::Denied { path } => Self::Denied {
                pid,
                what: path.display().to_string(),
            },
            error => Self::Failed {
                pid,
                why: error.to_string(),
            },
        }
    }

    /// Whether we are kept from reading it, so that what it runs is not known.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::OtherPidNamespace { .. })
    }

    /// The stable snake_case code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } | Self::Thread { .. } => "process_not_found",
            Self::Gone { .. } => "process_gone",
            Self::OtherPidNamespace { .. } => "other_pid_namespace",
            Self::Denied { .. } => "permission_denied",
            Self::Traced { .. } => "already_traced",
            Self::FreezeDenied { .. } => "freeze_denied",
            Self::NotPython { .. } => "not_python",
            Self::Unsupported { .. } => "unsupported_python",
            Self::NotStarted { .. } => "not_started",
            Self::NoAsyncio { .. } => "no_asyncio",
            Self::BadOffsets { .. } => "bad_offsets",
            Self::Failed { .. } => "read_failed",
        }
    }
}
