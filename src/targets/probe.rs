//! Whether a process uses asyncio: a look at it that is as short as can be.

use crate::ids::ProcessId;
use crate::limits::Limits;
use crate::process::{Process, ProcessError};
use crate::procfs::ProcRoot;

/// Finds out whether the process can be read and runs a supported Python with asyncio in use.
///
/// # Errors
///
/// Why not.
pub fn probe(root: &ProcRoot, process: ProcessId) -> Result<(), ProcessError> {
    // Tasks are not what is looked for. CPython 3.15 has asyncio's tables before it is imported, so that
    // attaching succeeds says nothing; that it is imported is seen at the end of a snapshot.
    let limits = Limits {
        tasks_max: 1,
        tasks_counted_max: 0,
        frames_per_task_max: 1,
        awaiters_per_task_max: 1,
        bytes_read_max: 64 << 20,
        work_max: 10_000_000,
        ..Limits::default()
    };
    let mut attached = Process::attach(root, process.pid, limits)?;
    if attached.id() != process {
        return Err(ProcessError::Gone { pid: process.pid });
    }
    attached.snapshot().map(drop)
}
