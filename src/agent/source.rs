//! Where processes come from: this machine, or what a test makes up. Everything here blocks.

use crate::graph::Snapshot;
use crate::ids::ProcessId;
use crate::limits::Limits;
use crate::process::{Process, ProcessError, Workspace};
use crate::procfs::{ProcRoot, ProcfsError};
use std::sync::{Arc, Mutex, PoisonError};

/// Lists processes and attaches to them.
pub trait ProcessSource: Send + Sync + 'static {
    /// The processes that can be seen, this one left out. Command lines are read only if asked for.
    ///
    /// # Errors
    ///
    /// When there is no list to be had.
    fn processes(&self, with_commands: bool) -> Result<Vec<ListedProcess>, ProcfsError>;

    /// Binds a reader to this process and no other.
    ///
    /// # Errors
    ///
    /// When it has ended, may not be read, or runs nothing that can be read.
    fn attach(&self, id: ProcessId) -> Result<Box<dyn AttachedProcess>, ProcessError>;
}

/// A process on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedProcess {
    /// Which process.
    pub id: ProcessId,
    /// Its arguments, joined by spaces. Empty if not asked for, and for kernel threads.
    pub command: Vec<u8>,
}

/// A process whose task graph can be read again and again.
pub trait AttachedProcess: Send {
    /// Reads it once.
    ///
    /// # Errors
    ///
    /// When it cannot be read any more; then it must be attached to anew.
    fn snapshot(&mut self) -> Result<Snapshot, ProcessError>;
}

/// The processes of this machine.
#[derive(Debug, Clone, Default)]
pub struct HostProcesses {
    root: ProcRoot,
    limits: Limits,
    workspaces: Workspaces,
}

/// Memory for reading processes: as many pieces as are read at once, not one for each process.
type Workspaces = Arc<Mutex<Vec<Workspace>>>;

/// A process of this machine.
struct HostProcess {
    process: Process,
    workspaces: Workspaces,
}

impl HostProcesses {
    /// The processes that the procfs at `root` shows.
    pub fn at(root: ProcRoot, limits: Limits) -> Self {
        Self {
            root,
            limits,
            workspaces: Workspaces::default(),
        }
    }
}

impl ProcessSource for HostProcesses {
    fn processes(&self, with_commands: bool) -> Result<Vec<ListedProcess>, ProcfsError> {
        let own = std::process::id();
        let mut listed = Vec::new();
        for pid in self.root.pids()? {
            if u32::try_from(pid.as_raw()) == Ok(own) {
                continue;
            }
            // A process that ends while it is listed is not there, which is no error.
            let Ok(stat) = self.root.stat(pid) else {
                continue;
            };
            let Ok(Some(thread)) = self.root.living_thread(pid) else {
                continue;
            };
            let start = stat.start_time;
            let command = if with_commands {
                self.root.command_line(thread).unwrap_or_default()
            } else {
                Vec::new()
            };
            listed.push(ListedProcess {
                id: ProcessId { pid, start },
                command: joined_by_spaces(command),
            });
        }
        Ok(listed)
    }

    fn attach(&self, id: ProcessId) -> Result<Box<dyn AttachedProcess>, ProcessError> {
        let process = Process::attach(&self.root, id.pid, self.limits)?;
        if process.id() != id {
            return Err(ProcessError::Gone { pid: id.pid });
        }
        let workspaces = Arc::clone(&self.workspaces);
        Ok(Box::new(HostProcess {
            process,
            workspaces,
        }))
    }
}

impl AttachedProcess for HostProcess {
    fn snapshot(&mut self) -> Result<Snapshot, ProcessError> {
        // A panic elsewhere leaves nothing behind that could be wrong.
        let lock = || {
            self.workspaces
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let mut workspace = lock().pop().unwrap_or_default();
        let snapshot = self.process.snapshot_in(&mut workspace);
        lock().push(workspace);
        snapshot
    }
}

/// The arguments of a command line, which end in NUL bytes, with spaces between them.
fn joined_by_spaces(mut command: Vec<u8>) -> Vec<u8> {
    while command.last() == Some(&0) {
        command.pop();
    }
    for byte in &mut command {
        if *byte == 0 {
            *byte = b' ';
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_joined_by_spaces() {
        for (raw, joined) in [
            (&b""[..], &b""[..]),
            (b"\0", b""),
            (b"python3\0-m\0app\0", b"python3 -m app"),
            (b"a\0\0b", b"a  b"),
            (b"title: worker 1", b"title: worker 1"),
        ] {
            assert_eq!(joined_by_spaces(raw.to_vec()), joined);
        }
    }
}
