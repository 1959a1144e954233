//! Whether a process ran between two moments.
//!
//! The kernel counts how often each thread was given a processor (`/proc/PID/task/TID/schedstat`, third
//! number; proc_pid_schedstat() of fs/proc/base.c, `sched_info.pcount`). A thread that had none at
//! the beginning and was given none until the end executed nothing in between. That it had none is
//! told by `/proc/PID/task/TID/syscall`, which is "running" unless the kernel found the thread to be
//! off its processor and to stay so while it was looked at (task_current_syscall() of
//! lib/syscall.c). Only the user of the process, and root, may open that file. To whoever has `CAP_SYS_PTRACE` alone
//! `/proc/PID/task/TID/wchan` tells the same: the function of the kernel in which the thread waits, or 0 (proc_pid_wchan() of
//! fs/proc/base.c, get_wchan() of kernel/sched/core.c), as surely from Linux 5.16 on: before, it went by the state of the thread alone,
//! which says so already while it makes up its mind.

use super::ProcRoot;
use crate::ids::Pid;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::LazyLock;

/// Beyond this many threads, looking twice at memory is cheaper than looking at the threads.
const THREADS_MAX: usize = 64;

/// All threads of a process at a moment in which none of them ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asleep {
    /// Each thread, and how often it was given a processor.
    threads: Vec<(Pid, u64)>,
}

/// What a thread waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsIn {
    /// `epoll_wait` and its like (epoll_wait(2)): an event loop for something to happen.
    Epoll,
    /// Another one for files to become ready: an event loop of another kind, or whoever uses a file with a time limit.
    OtherSelector,
    /// Nothing: it was stopped.
    Stop,
    /// Any other.
    Other,
}

/// Parts of the names of functions in which the kernel has threads wait, of Linux 5.10 to 6.18.
const WAITS_AT: [(&str, WaitsIn); 10] = [
    ("ep_poll", WaitsIn::Epoll),
    ("epoll_", WaitsIn::Epoll),
    ("poll", WaitsIn::OtherSelector),
    ("select", WaitsIn::OtherSelector),
    ("io_cqring", WaitsIn::OtherSelector),
    ("signal_stop", WaitsIn::Stop),
    ("ptrace_stop", WaitsIn::Stop),
    ("trap_stop", WaitsIn::Stop),
    ("freez", WaitsIn::Stop),
    ("refrigerator", WaitsIn::Stop),
];

/// The other system calls in which selectors wait.
const OTHER_SELECTORS: &[nix::libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    nix::libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    nix::libc::SYS_select,
    nix::libc::SYS_ppoll,
    nix::libc::SYS_pselect6,
    nix::libc::SYS_io_uring_enter,
];
/// Whether a thread that waits by its `wchan` is off its processor.
static WCHAN_IS_SURE: LazyLock<bool> = LazyLock::new(|| {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    is_since_5_16(&release.unwrap_or_default())
});

/// Whether a release of the kernel is Linux 5.16 or later.
fn is_since_5_16(release: &str) -> bool {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || parts.next()?.parse::<u32>().ok();
    number().zip(number()) >= Some((5, 16))
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
            if !self.waits(pid, *id) {
                return None;
            }
            threads.push((*id, runs));
        }
        // One that was listed may have started another one before it was found to sleep.
        (ids.len() == n_threads && self.n_threads(pid)? == n_threads).then_some(Asleep { threads })
    }

    /// Whether a thread is known to be off its processor, and not to be put on one.
    fn waits(&self, pid: Pid, thread: Pid) -> bool {
        let mut buffer = [0; 1];
        let call = self.read_thread(pid, thread, "syscall", &mut buffer);
        match call.and_then(|call| call.first()) {
            Some(byte) => byte.is_ascii_digit() || *byte == b'-',
            None => *WCHAN_IS_SURE && self.waits_at(pid, thread, &mut [0; 128]).is_some(),
        }
    }

    /// The function of the kernel in which a thread waits. `None`: it does not wait, or the kernel does not say.
    fn waits_at<'b>(&self, pid: Pid, thread: Pid, buffer: &'b mut [u8]) -> Option<&'b str> {
        let text = self.read_thread(pid, thread, "wchan", buffer)?;
        let name = std::str::from_utf8(text).ok()?.trim_end();
        Some(name).filter(|name| !name.is_empty() && *name != "0")
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
            // A kernel that does not count says 0 of all.
            .filter(|runs| *runs > 0)
    }

    /// What a thread waits in: by the function of the kernel in which it does, or by the number of its system call
    /// (proc_pid_syscall(5)). `None`: it runs, or the kernel does not say.
    pub fn waits_in(&self, pid: Pid, thread: Pid) -> Option<WaitsIn> {
        if let Some(name) = self.waits_at(pid, thread, &mut [0; 128]) {
            let known = WAITS_AT.iter().find(|(part, _)| name.contains(part));
            return Some(known.map_or(WaitsIn::Other, |(_, waits_in)| *waits_in));
        }
        let mut buffer = [0; 256];
        let text = self.read_thread(pid, thread, "syscall", &mut buffer)?;
        let number = std::str::from_utf8(text)
            .ok()?
            .split_ascii_whitespace()
            .next()?;
        Some(match number.parse::<nix::libc::c_long>().ok()? {
            number if EPOLL_WAITS.contains(&number) => WaitsIn::Epoll,
            number if OTHER_SELECTORS.contains(&number) => WaitsIn::OtherSelector,
            // An interrupted one is called so when it goes on, whichever it was.
            nix::libc::SYS_restart_syscall => return None,
            0.. => WaitsIn::Other,
            _ => return None,
        })
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
    fn what_a_thread_waits_in_is_known_by_its_system_call() {
        let folder = tempfile::tempdir().unwrap();
        let (root, pid) = (ProcRoot::at(folder.path()), Pid::new(7).unwrap());
        assert_eq!(root.waits_in(pid, pid), None);
        let epoll = EPOLL_WAITS[0].to_string();
        let poll = OTHER_SELECTORS[0].to_string();
        for (call, expected) in [
            (&*epoll, Some(WaitsIn::Epoll)),
            (&poll, Some(WaitsIn::OtherSelector)),
            ("0", Some(WaitsIn::Other)),
            ("-1", None),
            ("running", None),
        ] {
            write(folder.path(), 7, 1, &format!("{call} 0x4 0x7ffd 0x7f\n"));
            assert_eq!(root.waits_in(pid, pid), expected, "{call}");
        }
        let wchan = folder.path().join("7/task/7/wchan");
        for (name, expected) in [
            ("do_epoll_wait", Some(WaitsIn::Epoll)),
            ("ep_poll", Some(WaitsIn::Epoll)),
            (
                "poll_schedule_timeout.constprop.0",
                Some(WaitsIn::OtherSelector),
            ),
            ("do_signal_stop", Some(WaitsIn::Stop)),
            ("futex_do_wait", Some(WaitsIn::Other)),
            ("0", None),
        ] {
            fs::write(&wchan, name).unwrap();
            assert_eq!(root.waits_in(pid, pid), expected, "{name}");
            // Who may not read the number of the call goes by the same.
            fs::remove_file(folder.path().join("7/task/7/syscall")).unwrap_or_default();
            let is_sure = *WCHAN_IS_SURE && expected.is_some();
            assert_eq!(root.waits(pid, pid), is_sure, "{name}");
        }
    }

    #[test]
    fn wchan_is_sure_from_5_16_on() {
        for (release, is_sure) in [
            ("5.15.0-91-generic\n", false),
            ("5.16.0\n", true),
            ("6.1.0-18-amd64", true),
            ("4.18.0-513.el8", false),
            ("10.0", true),
            ("5", false),
            ("", false),
        ] {
            assert_eq!(is_since_5_16(release), is_sure, "{release}");
        }
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
