//! What is said of a process that runs nothing that can be read.

use super::ProcessError;
use crate::cpython::{OffsetsError, PyVersion, RuntimeSite, guess_version};
use crate::ids::Pid;
use crate::memory::ReadErrorKind;
use crate::procfs::Maps;

/// A process without a runtime table.
pub(super) fn no_runtime(pid: Pid, maps: &Maps) -> ProcessError {
    match guess_version(maps) {
        Some(version) if is_old(&version) => unsupported(pid, version),
        _ => ProcessError::NotPython {
            pid,
            supported: PyVersion::supported_text(),
        },
    }
}

/// Whether this is a Python from before there was anything to be found in its memory.
fn is_old(version: &str) -> bool {
    let minor = version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse::<u32>().ok());
    version.starts_with("2.") || minor.is_some_and(|minor| minor < 13)
}

fn unsupported(pid: Pid, found: String) -> ProcessError {
    ProcessError::Unsupported {
        pid,
        found,
        supported: PyVersion::supported_text(),
    }
}

/// A Python without asyncio.
pub(super) fn no_asyncio(pid: Pid, site: &RuntimeSite) -> ProcessError {
    ProcessError::NoAsyncio {
        pid,
        version: site.offsets.version.to_string(),
    }
}

/// A Python whose tables cannot be used.
pub(super) fn explain_offsets(pid: Pid, maps: &Maps, error: OffsetsError) -> ProcessError {
    match error {
        OffsetsError::Unsupported { found } => unsupported(pid, found),
        // Only tables from 3.13 on have one.
        OffsetsError::NoCookie { .. } => {
            let version = guess_version(maps).filter(|version| is_old(version));
            unsupported(pid, version.unwrap_or_else(|| "before 3.13".to_owned()))
        }
        OffsetsError::NotStarted => ProcessError::NotStarted { pid },
        // It was there when the mappings were read: the process is executing another program.
        OffsetsError::Read(error)
            if [ReadErrorKind::OtherProgram, ReadErrorKind::Unmapped].contains(&error.kind) =>
        {
            ProcessError::NotStarted { pid }
        }
        OffsetsError::Read(error) => ProcessError::Failed {
            pid,
            why: error.to_string(),
        },
        error @ OffsetsError::Implausible { .. } => ProcessError::BadOffsets {
            pid,
            why: error.to_string(),
        },
    }
}
