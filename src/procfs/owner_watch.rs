//! Sees to it that what is read of a process is of programs of one user only.
//!
//! Whose a process is, and what it has in memory, cannot be read in one go, and it may execute a program of another user (a
//! setuid program) in between, which executes one of the first user's in the end: whoever looks before and after finds nothing.
//! Nor does what a program has in its memory tell it from others: whoever writes programs can make two that look the same.
//!
//! But a program that was executed has none of its pages at first. It faults for the first one before its first instruction,
//! and the kernel counts that (mm_account_fault() of mm/memory.c; `min_flt` and `maj_flt` of /proc/PID/stat, proc(5), those of
//! threads that have ended included), which execve(2) does not set back. What we read on its behalf counts as ours. So if the
//! count is the same before and after, no other program did anything in between. A process that has faulted otherwise is
//! looked at again: nearly always a look is over sooner than it faults once more.

use super::{ProcRoot, Stat, UserIds};
use crate::ids::ProcessId;
use crate::limits::Stop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Most times that something is read until the process does not fault meanwhile.
const READS_MAX: u32 = 2_000;

/// So many times also when it should be over: what ends a read that was stopped must be certain, too.
const READS_IN_ANY_CASE: u32 = 3;

/// What watches over a process while it is read for its owner. Copies are one.
#[derive(Debug, Clone)]
pub struct OwnerWatch(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    root: ProcRoot,
    id: ProcessId,
    user: u32,
    stop: Stop,
    /// The faults that it had when it was found to be theirs.
    theirs_as_of: Mutex<Option<u64>>,
    is_certain: AtomicBool,
}

/// Whose the process is.
enum Whose {
    /// Theirs, and it has had so many faults.
    Theirs(u64),
    /// It has faulted while that was looked up.
    Unknown,
    NotTheirs,
}

impl OwnerWatch {
    /// For the process `id`, which is read for its owner `user`, and hardly again once `stop` says so.
    pub fn new(root: &ProcRoot, id: ProcessId, user: u32, stop: Stop) -> Self {
        Self(Arc::new(Watched {
            // Its own looks are not watched over.
            root: ProcRoot::at(&root.at),
            id,
            user,
            stop,
            theirs_as_of: Mutex::new(None),
            is_certain: AtomicBool::new(true),
        }))
    }

    /// Whether all that was read so far was of programs of that user.
    pub fn is_certain(&self) -> bool {
        self.0.is_certain.load(Ordering::Relaxed)
    }

    /// Has something read, again if the process may have executed another program meanwhile. If it is not certain in the end,
    /// what was read is given all the same: it may be told to nobody who is told it as the owner.
    pub fn read<T>(&self, mut read: impl FnMut() -> T) -> T {
        if self.is_certain() {
            for n_reads in 0..READS_MAX {
                if n_reads >= READS_IN_ANY_CASE && self.0.stop.is_stopped() {
                    break;
                }
                match self.0.whose() {
                    Whose::NotTheirs => break,
                    Whose::Unknown => {}
                    Whose::Theirs(faults) => {
                        let what = read();
                        if self.0.faults() == Some(faults) {
                            return what;
                        }
                    }
                }
            }
            self.0.is_certain.store(false, Ordering::Relaxed);
        }
        read()
    }
}

impl Watched {
    /// `None` also if it has ended.
    fn faults(&self) -> Option<u64> {
        let stat = self.root.stat(self.id.pid).ok()?;
        let Stat {
            start_time, faults, ..
        } = stat;
        faults.filter(|_| start_time == self.id.start)
    }

    fn whose(&self) -> Whose {
        let Some(faults) = self.faults() else {
            return Whose::NotTheirs;
        };
        // Nothing in here panics half way.
        let mut theirs_as_of = self
            .theirs_as_of
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *theirs_as_of == Some(faults) {
            return Whose::Theirs(faults);
        }
        *theirs_as_of = None;
        let Ok(owner) = self.root.owner(self.id.pid) else {
            return Whose::NotTheirs;
        };
        let is_theirs =
            owner.id == self.id && owner.users == UserIds::all(self.user) && owner.is_dumpable;
        match owner.faults {
            None => Whose::Unknown,
            Some(_) if !is_theirs => Whose::NotTheirs,
            Some(faults) => {
                *theirs_as_of = Some(faults);
                Whose::Theirs(faults)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Pid;
    use std::fs;
    use std::path::Path;
    use std::process::{Command, Stdio};

    /// A process of root's or of somebody else's, who runs this test.
    fn made(folder: &Path, faults: u32, user: u32) {
        let folder = folder.join("7");
        fs::create_dir_all(folder.join("task/7")).unwrap();
        let stat = format!("7 (x) S 1 7 7 0 -1 0 {faults} 9 1 9 0 0 0 0 20 0 1 0 99 0 0");
        fs::write(folder.join("stat"), stat).unwrap();
        let status = format!(
            "Name:\tx\nTgid:\t7\nPPid:\t1\nTracerPid:\t0\nUid:\t{user}\t{user}\t{user}\t{user}\n"
        );
        fs::write(folder.join("status"), status).unwrap();
        fs::write(folder.join("maps"), "").unwrap();
        fs::write(folder.join("uid_map"), "0 4000000000 1\n").unwrap();
    }

    #[test]
    fn what_is_read_is_of_the_owners_programs() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (own, other) = (nix::unistd::geteuid().as_raw(), 4_000_000_001);
        made(folder, 10, own);
        let id = ProcessId {
            pid: Pid::new(7).unwrap(),
            start: crate::ids::StartTime(99),
        };
        let watch = |user| OwnerWatch::new(&ProcRoot::at(folder), id, user, Stop::default());
        let quiet = watch(own);
        assert_eq!((quiet.read(|| 1), quiet.is_certain()), (1, true));
        assert!(watch(other).read(|| 1) == 1);
        // It faults twice while it is read.
        let mut n_reads = 0;
        let mut busy = || {
            n_reads += 1;
            made(folder, 10 + n_reads.min(2), own);
            n_reads
        };
        assert_eq!((quiet.read(&mut busy), quiet.is_certain()), (3, true));
        // It is another's while it is read, and the owner's again after.
        let mut n_reads = 0;
        let shifts = || {
            n_reads += 1;
            made(folder, 20 + n_reads, own);
            n_reads
        };
        let watched = watch(own);
        watched.read(shifts);
        assert_eq!((n_reads, watched.is_certain()), (READS_MAX + 1, false));
        // It is another's before it is read the second time.
        let watched = watch(own);
        let mut n_reads = 0;
        watched.read(|| {
            n_reads += 1;
            made(folder, 1_000 + n_reads, other);
        });
        assert_eq!((n_reads, watched.is_certain()), (2, false));
        assert!(watched.read(|| true) && !watched.is_certain());
        // It takes too long.
        let stop = Stop::default();
        stop.stop();
        let mut n_reads = 0;
        let watched = OwnerWatch::new(&ProcRoot::at(folder), id, own, stop);
        made(folder, 2_000, own);
        assert!(watched.read(|| true) && watched.is_certain());
        watched.read(|| {
            n_reads += 1;
            made(folder, 2_000 + n_reads, own);
        });
        assert_eq!(
            (n_reads, watched.is_certain()),
            (READS_IN_ANY_CASE + 1, false)
        );
        // Or has ended.
        let watched = watch(own);
        fs::remove_dir_all(folder).unwrap();
        assert!(watched.read(|| true) && !watched.is_certain());
    }

    /// It has not run an instruction before the count has changed.
    #[test]
    fn a_program_that_is_executed_has_faulted() {
        let mut child = Command::new("sh")
            .args(["-c", "read line; exec sleep 1000"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let root = ProcRoot::default();
        let pid = Pid::new(child.id().try_into().unwrap()).unwrap();
        let name = || root.status(pid).unwrap().name;
        while name() != "sh" || root.asleep(pid).is_none() {
            std::thread::yield_now();
        }
        let id = root.owner(pid).unwrap().id;
        let watch = OwnerWatch::new(&root, id, nix::unistd::geteuid().as_raw(), Stop::default());
        let before = watch.0.faults();
        assert!(before.is_some());
        let mut names = Vec::new();
        let read = watch.read(|| {
            if names.is_empty() {
                drop(child.stdin.take());
                while name() != "sleep" {
                    std::thread::yield_now();
                }
            }
            names.push(name());
            names.len()
        });
        // It was read once more, when there was no doubt.
        assert!(read > 1 && watch.is_certain(), "{names:?}");
        assert!(watch.0.faults() > before);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
