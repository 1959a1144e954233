//! Whether a process ran between two moments.
//!
//! The kernel counts how often each thread was given a processor (`/proc/PID/task/TID/schedstat`, third
//! number; proc_pid_schedstat() of fs/proc/base.c, `sched_info.pcount`). A thread that had none at
//! the beginning and was given none until the end executed nothing in between. That it had none is
//! told by `/proc/PID/task/TID/syscall`, which is "running" unless the kernel found the thread to be
//! off its processor and to stay so while it was looked at (task_current_syscall() of
//! lib/syscall.c).

use super::{ProcRoot, ProcfsError};
use crate::ids::Pid;

/// Beyond this many threads, looking twice at memory is cheaper than looking at the threads.
const THREADS_MAX: usize = 64;

/// All threads of a process at a moment in which none of them ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asleep {
    /// Each thread, and how often it was given a processor.
    threads: Vec<(Pid, u64)>,
}

impl ProcRoot {
    /// That no thread of the process `pid` is running now. `None` also when that cannot be told: the
    /// kernel does not say, or there are too many threads.
    pub fn asleep(&self, pid: Pid) -> Option<Asleep> {
        let ids = self.thread_ids(pid).ok()?;
        if ids.len() > THREADS_MAX {
            return None;
        }
        let mut threads = Vec::with_capacity(ids.len());
        for id in &ids {
            let runs = self.times_run(pid, *id)?;
            let call = self.read_thread(pid, *id, "syscall").ok()?;
            if !call
                .first()
                .is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-')
            {
                return None;
            }
            threads.push((*id, runs));
        }
        // A thread that was listed may have started another one before it was found to sleep.
        (self.thread_ids(pid).ok()? == ids).then_some(Asleep { threads })
    }

    /// Whether none of the threads has run since they were seen asleep.
    pub fn slept_on(&self, pid: Pid, asleep: &Asleep) -> bool {
        let has_not_run = |(id, runs): &(Pid, u64)| self.times_run(pid, *id) == Some(*runs);
        asleep.threads.iter().all(has_not_run)
    }

    fn times_run(&self, pid: Pid, thread: Pid) -> Option<u64> {
        let text = self.read_thread(pid, thread, "schedstat").ok()?;
        std::str::from_utf8(&text)
            .ok()?
            .split_ascii_whitespace()
            .nth(2)?
            .parse()
            .ok()
    }

    fn read_thread(&self, pid: Pid, thread: Pid, name: &str) -> Result<Vec<u8>, ProcfsError> {
        self.read(pid, &format!("task/{thread}/{name}"))
    }
}
