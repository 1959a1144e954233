//! Which processes there are, and what tells them apart from outside.

use super::{ProcRoot, ProcfsError, Stat, explain};
use crate::ids::{Pid, ProcessId};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;

/// Bytes of a command line that are read. It may have megabytes, and is kept while all processes are
/// looked at.
const COMMAND_BYTES_MAX: u64 = 32 << 10;
/// Bytes of a list of control groups that are read: a path of 4 KiB in each of a dozen hierarchies.
const CGROUPS_BYTES_MAX: u64 = 64 << 10;

impl ProcRoot {
    /// The ids of all processes that can be seen, in no order.
    ///
    /// # Errors
    ///
    /// When the directory cannot be listed.
    pub fn pids(&self) -> Result<Vec<Pid>, ProcfsError> {
        let explain = |why| ProcfsError::Io {
            path: self.at.clone(),
            why,
        };
        let mut pids = Vec::new();
        for entry in std::fs::read_dir(&self.at).map_err(explain)? {
            let name = entry.map_err(explain)?.file_name();
            pids.extend(name.to_str().and_then(|name| name.parse::<Pid>().ok()));
        }
        Ok(pids)
    }

    /// The processes that can be seen and have not ended, this one left out. One that ends meanwhile may
    /// be missing, which is no error.
    ///
    /// # Errors
    ///
    /// When the directory cannot be listed.
    pub fn processes(&self) -> Result<Vec<ProcessId>, ProcfsError> {
        let own = std::process::id();
        let mut pids = self.pids()?;
        pids.retain(|pid| u32::try_from(pid.as_raw()) != Ok(own));
        let processes = pids.into_iter().filter_map(|pid| {
            let stat = self.stat(pid).ok()?;
            self.living_thread_of(pid, stat).ok()??;
            let start = stat.start_time;
            Some(ProcessId { pid, start })
        });
        Ok(processes.collect())
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
        self.first_thread_ids(pid, usize::MAX)
    }

    /// The first ones of them, at most so many.
    pub(super) fn first_thread_ids(
        &self,
        pid: Pid,
        at_most: usize,
    ) -> Result<Vec<Pid>, ProcfsError> {
        let task = self.path(pid, "task");
        let entries = std::fs::read_dir(&task).map_err(|why| explain(pid, task.clone(), why))?;
        let mut ids: Vec<Pid> = Vec::new();
        for entry in entries.take(at_most) {
            // One that is left out might be the one that matters.
            let entry = entry.map_err(|why| explain(pid, task.clone(), why))?;
            let name = entry.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse::<Pid>().ok()));
        }
        Ok(ids)
    }

    /// Whether `thread` is a thread of the process `pid` now. Ids of threads are reused like pids.
    pub fn has_thread(&self, pid: Pid, thread: Pid) -> bool {
        self.path(pid, "task").join(thread.to_string()).exists()
    }

    /// The arguments of the process, each ended by a NUL byte as the kernel gives them; of very long ones
    /// the beginning. Empty for kernel threads and processes that have ended.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn command_line(&self, pid: Pid) -> Result<Vec<u8>, ProcfsError> {
        self.read_start(pid, "cmdline", COMMAND_BYTES_MAX)
    }

    /// The paths of the process's control groups, one for each hierarchy, as cgroup_namespaces(7) makes
    /// us see them.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn cgroups(&self, pid: Pid) -> Result<Vec<Vec<u8>>, ProcfsError> {
        let text = self.read_start(pid, "cgroup", CGROUPS_BYTES_MAX)?;
        Ok(parse_cgroups(&text))
    }

    /// The path of the executable file, as the process's own root makes it; without the mark of one that
    /// was deleted.
    ///
    /// # Errors
    ///
    /// When there is no such process, it may not be looked at, or it is a kernel thread.
    pub fn executable(&self, pid: Pid) -> Result<Vec<u8>, ProcfsError> {
        let link = self.path(pid, "exe");
        let path = self.look(|| std::fs::read_link(&link));
        let path = path.map_err(|why| explain(pid, link, why))?;
        let mut path = path.into_os_string().into_vec();
        if path.ends_with(DELETED) {
            path.truncate(path.len() - DELETED.len());
        }
        Ok(path)
    }

    fn read_start(&self, pid: Pid, name: &str, bytes_max: u64) -> Result<Vec<u8>, ProcfsError> {
        let path = self.path(pid, name);
        let mut bytes = Vec::new();
        let read = self.look(|| {
            bytes.clear();
            File::open(&path).and_then(|file| file.take(bytes_max).read_to_end(&mut bytes))
        });
        read.map_err(|error| explain(pid, path, error))?;
        Ok(bytes)
    }
}

/// What the kernel appends to the path of a file that has no name any more.
const DELETED: &[u8] = b" (deleted)";

/// The paths in `/proc/PID/cgroup`: lines of `number:controllers:path` (cgroups(7)).
fn parse_cgroups(text: &[u8]) -> Vec<Vec<u8>> {
    let path = |line: &[u8]| {
        let path = line.splitn(3, |byte| *byte == b':').nth(2)?;
        Some(path.strip_suffix(DELETED).unwrap_or(path).to_vec())
    };
    text.split(|byte| *byte == b'\n').filter_map(path).collect()
}

/// The user id of a name, as this machine's name service knows it.
pub fn user_id(name: &str) -> Option<u32> {
    let user = nix::unistd::User::from_name(name).ok()??;
    Some(user.uid.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_are_paths() {
        let text = b"12:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/x.slice/y.service (deleted)\nbad\n";
        let paths = parse_cgroups(text);
        assert_eq!(paths, [&b"/a:b"[..], b"/", b"/x.slice/y.service"]);
        assert!(parse_cgroups(b"").is_empty());
    }

    #[test]
    fn a_process_knows_itself() {
        let root = ProcRoot::default();
        let own = Pid::new(i32::try_from(std::process::id()).unwrap()).unwrap();
        let executable = std::env::current_exe().unwrap().into_os_string().into_vec();
        assert_eq!(root.executable(own).unwrap(), executable);
        assert!(!root.command_line(own).unwrap().is_empty());
        assert!(!root.cgroups(own).unwrap().is_empty());
        assert_eq!(user_id("root"), Some(0));
        assert_eq!(user_id("no such user"), None);
    }
}
