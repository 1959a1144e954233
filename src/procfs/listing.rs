//! Which processes there are, and their command lines.

use super::{ProcRoot, ProcfsError, Stat, explain};
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

    /// A thread of the process through which its memory can be reached: its first one while that
    /// lives, else any other that does. `None` when all have ended.
    ///
    /// # Errors
    ///
    /// When there is no such process or `/proc` cannot be read.
    pub fn living_thread(&self, pid: Pid) -> Result<Option<Pid>, ProcfsError> {
        self.living_thread_of(pid, self.stat(pid)?)
    }

    /// The same, of a process whose first thread has this `stat`.
    pub(crate) fn living_thread_of(
        &self,
        pid: Pid,
        stat: Stat,
    ) -> Result<Option<Pid>, ProcfsError> {
        if !stat.has_ended {
            return Ok(Some(pid));
        }
        // A thread's own folder stands below `/proc` too, though it is not listed there.
        let lives = |thread: &Pid| self.stat(*thread).is_ok_and(|stat| !stat.has_ended);
        Ok(self.thread_ids(pid)?.into_iter().find(lives))
    }

    /// The ids of the process's threads, in the order in which they were started.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn thread_ids(&self, pid: Pid) -> Result<Vec<Pid>, ProcfsError> {
        let task = self.path(pid, "task");
        let entries = std::fs::read_dir(&task).map_err(|why| explain(pid, task.clone(), why))?;
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Ok(ids.collect())
    }

    /// Whether `thread` is a thread of the process `pid` now. Ids of threads are reused like pids.
    pub fn has_thread(&self, pid: Pid, thread: Pid) -> bool {
        self.path(pid, "task").join(thread.to_string()).exists()
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
