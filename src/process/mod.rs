//! From a pid to snapshots: recognise the runtime, bind a reader to the process, read.

mod error;

pub use error::ProcessError;

use crate::graph::Snapshot;
use crate::ids::{Pid, ProcessId};
use crate::limits::Limits;
use crate::procfs::ProcRoot;

/// A process whose task graph can be read.
#[derive(Debug)]
pub struct Process {
    id: ProcessId,
}

impl Process {
    /// Binds a reader to the process `pid`.
    ///
    /// # Errors
    ///
    /// When there is no such process, it may not be read, or it runs nothing that is supported.
    pub fn attach(_root: &ProcRoot, pid: Pid, _limits: Limits) -> Result<Self, ProcessError> {
        Err(ProcessError::NotFound { pid })
    }

    /// Which process this is.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Reads the task graph once.
    ///
    /// # Errors
    ///
    /// When the process has ended or may not be read any more. Everything else that goes wrong is
    /// in the snapshot's problems.
    pub fn snapshot(&mut self) -> Result<Snapshot, ProcessError> {
        Err(ProcessError::NotFound { pid: self.id.pid })
    }
}
