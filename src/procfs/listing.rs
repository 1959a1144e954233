//! Which processes there are, and their command lines.

use super::{ProcRoot, ProcfsError};
use crate::ids::Pid;

impl ProcRoot {
    /// The ids of all processes that can be seen, in no order.
    ///
    /// # Errors
    ///
    /// When the directory cannot be listed.
    pub fn pids(&self) -> Result<Vec<Pid>, ProcfsError> {
        let explain = |why| ProcfsError::Io {
            path: self.0.clone(),
            why,
        };
        let mut pids = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(explain)? {
            let name = entry.map_err(explain)?.file_name();
            pids.extend(name.to_str().and_then(|name| name.parse::<Pid>().ok()));
        }
        Ok(pids)
    }

    /// The arguments of the process, each ended by a NUL byte as the kernel gives them. Empty for
    /// kernel threads and processes that have ended.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn command_line(&self, pid: Pid) -> Result<Vec<u8>, ProcfsError> {
        self.read(pid, "cmdline")
    }
}
