//! Why a read failed.

use super::RemoteAddr;
use std::fmt;

/// A read that failed: where, how much was wanted, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadError {
    /// First address wanted.
    pub at: RemoteAddr,
    /// Bytes wanted.
    pub len: usize,
    /// Why.
    pub kind: ReadErrorKind,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, len, kind } = self;
        match kind {
            // Where it happened to be reached says nothing.
            ReadErrorKind::Limit(_) => write!(f, "{kind}"),
            _ => write!(f, "cannot read {len} bytes at {at}: {kind}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// Why a read failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadErrorKind {
    /// The process has ended.
    #[error("the process has ended")]
    ProcessGone,
    /// The process executes another program than the one that was to be read.
    #[error("the process executes another program")]
    OtherProgram,
    /// The kernel does not let us read.
    #[error("permission denied")]
    Denied,
    /// There is no such system call for us (`ENOSYS`): a seccomp filter says so, or the kernel was built without
    /// `CONFIG_CROSS_MEMORY_ATTACH`.
    #[error("process_vm_readv is not available")]
    Unavailable,
    /// A part of the range is not mapped.
    #[error("not mapped")]
    Unmapped,
    /// The snapshot has copied, kept or done as much as it may: which cap, of [`crate::limits::LIMITS`].
    #[error("the limit {0} of the snapshot is reached")]
    Limit(&'static str),
    /// Another error number of the operating system.
    #[error("error {0} of the operating system")]
    Os(i32),
}

impl ReadErrorKind {
    /// Whether no other read of this process can succeed either.
    pub fn is_fatal(self) -> bool {
        match self {
            Self::ProcessGone | Self::OtherProgram | Self::Denied | Self::Unavailable => true,
            Self::Unmapped | Self::Limit(_) | Self::Os(_) => false,
        }
    }

    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::ProcessGone | Self::OtherProgram => "process_gone",
            Self::Denied | Self::Unavailable => "permission_denied",
            Self::Unmapped => "memory_unmapped",
            Self::Limit(_) => "limit_hit",
            Self::Os(_) => "read_failed",
        }
    }
}
