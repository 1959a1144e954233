//! Whether a process ran between two moments.
//!
//! The kernel counts how often each thread was given a processor (`/proc/PID/task/TID/schedstat`, third
//! number; proc_pid_schedstat() of fs/proc/base.c, `sched_info.pcount`). A thread that had none at
//! the beginning and was given none until the end executed nothing in between. That it had none is
//! told by `/proc/PID/task/TID/syscall`, which is "running" unless the kernel found the thread to be
//! off its processor and to stay so while it was looked at (task_current_syscall() of
//! lib/syscall.c).

use super::ProcRoot;
use crate::ids::Pid;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;

/// Beyond this many threads, looking twice at memory is cheaper than looking at the threads.
const THREADS_MAX: usize = 64;

/// All threads of a process at a moment in which none of them ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asleep {
    /// Each thread, and how often it was given a processor.
    threads: Vec<(Pid, u64)>,
}

/// The system calls that wait for an epoll instance.
const EPOLL_WAITS: &[nix::libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    nix::libc::SYS_epoll_wait,
    nix::libc::SYS_epoll_pwait,
    nix::libc::SYS_epoll_pwait2,
];

impl ProcRoot {
    /// That no thread of the process `pid` is running now. `None` also when that cannot be told: the
    /// kernel does not say, or there are too many threads.
    pub fn asleep(&self, pid: Pid) -> Option<Asleep> {
        let n_threads = self.n_threads(pid)?;
        let ids = match n_threads {
            1 => vec![pid],
            2..=THREADS_MAX => self.thread_ids(pid).ok()?,
            _ => return None,
        };
        let mut threads = Vec::with_capacity(ids.len());
        for id in &ids {
            let runs = self.times_run(pid, *id)?;
            let mut buffer = [0; 1];
            let call = self.read_thread(pid, *id, "syscall", &mut buffer)?;
            if !call
                .first()
                .is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-')
            {
                return None;
            }
            // A kernel that does not count says 0 of all.
            if runs == 0 {
                return None;
            }
            threads.push((*id, runs));
        }
        // One that was listed may have started another one before it was found to sleep.
        (ids.len() == n_threads && self.n_threads(pid)? == n_threads).then_some(Asleep { threads })
    }

    /// How many threads a process has: as many as links of that directory beyond its own two
    /// (proc_task_getattr() of fs/proc/base.c).
    fn n_threads(&self, pid: Pid) -> Option<usize> {
        let links = self.path(pid, "task").metadata().ok()?.nlink();
        usize::try_from(links.checked_sub(2)?).ok()
    }

    /// Whether none of the threads has run since they were seen asleep.
    pub fn slept_on(&self, pid: Pid, asleep: &Asleep) -> bool {
        let has_not_run = |(id, runs): &(Pid, u64)| self.times_run(pid, *id) == Some(*runs);
        // A new thread has to be started by one of them, unless the kernel does it (io_uring).
        asleep.threads.iter().all(has_not_run) && self.n_threads(pid) == Some(asleep.threads.len())
    }

    /// How often a thread of the process `pid` was given a processor. `None`: the kernel does not say.
    pub fn times_run(&self, pid: Pid, thread: Pid) -> Option<u64> {
        let mut buffer = [0; 128];
        let text = self.read_thread(pid, thread, "schedstat", &mut buffer)?;
        std::str::from_utf8(text)
            .ok()?
            .split_ascii_whitespace()
            .nth(2)?
            .parse()
            .ok()
    }

    /// Whether a thread waits in `epoll_wait`, by the number of its system call (proc_pid_syscall(5), epoll_wait(2)); also one
    /// that was stopped there. `None`: the kernel does not say.
    pub fn waits_in_epoll(&self, pid: Pid, thread: Pid) -> Option<bool> {
        let mut buffer = [0; 256];
        let text = self.read_thread(pid, thread, "syscall", &mut buffer)?;
        let number = std::str::from_utf8(text)
            .ok()?
            .split_ascii_whitespace()
            .next()?;
        let number = number.parse::<nix::libc::c_long>();
        Some(number.is_ok_and(|number| EPOLL_WAITS.contains(&number)))
    }

    /// The beginning of a thread's file, read at once.
    fn read_thread<'b>(
        &self,
        pid: Pid,
        thread: Pid,
        name: &str,
        buffer: &'b mut [u8],
    ) -> Option<&'b [u8]> {
        let path = self.path(pid, &format!("task/{thread}/{name}"));
        let n = File::open(path).ok()?.read(buffer).ok()?;
        buffer.get(..n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn write(folder: &Path, thread: u32, runs: u64, call: &str) {
        let folder = folder.join(format!("7/task/{thread}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("schedstat"), format!("1 2 {runs}\n")).unwrap();
        fs::write(folder.join("syscall"), call).unwrap();
    }

    #[test]
    fn a_process_sleeps_on_until_a_thread_runs_or_is_new() {
        // Folders of this file system count as links those that are in them, as those of procfs do.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let (root, pid) = (ProcRoot::at(folder.path()), Pid::new(7).unwrap());
        let waits = "232 0x4 0x7f 0x2 0xffff 0x0 0x8 0x7ffd 0x7f\n";
        write(folder.path(), 7, 3, waits);
        write(folder.path(), 8, 5, "running\n");
        assert_eq!(root.asleep(pid), None);
        write(folder.path(), 8, 5, waits);
        let asleep = root.asleep(pid).unwrap();
        assert!(root.slept_on(pid, &asleep));
        write(folder.path(), 8, 6, waits);
        assert!(!root.slept_on(pid, &asleep));
        write(folder.path(), 8, 5, waits);
        assert!(root.slept_on(pid, &asleep));
        write(folder.path(), 9, 1, waits);
        assert!(!root.slept_on(pid, &asleep));
    }
}
