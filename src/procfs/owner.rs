//! Whose a process is, and who belongs to a group of this machine (getgrnam(3), getpwuid(3)).

use super::{ProcRoot, ProcfsError};
use crate::ids::{Pid, ProcessId};
use nix::unistd::{Group, Uid, User};

/// The user ids of a process (credentials(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserIds {
    /// The real one.
    pub real: u32,
    /// The effective one.
    pub effective: u32,
    /// The saved one.
    pub saved: u32,
}

impl UserIds {
    /// Of a process that is one user's in every respect.
    pub fn all(user: u32) -> Self {
        Self {
            real: user,
            effective: user,
            saved: user,
        }
    }
}

/// Threads of a process whose user ids are looked at. One with more is nobody's in particular.
const THREADS_MAX: usize = 4_096;

/// A thread because of which a process is not one user's in every respect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignThread {
    /// This one has these user ids.
    Has(Pid, UserIds),
    /// The threads, or the ids of one, cannot be read, or there are too many.
    Unknown,
}

impl ProcRoot {
    /// That `pid` is the id of a process: those of its threads stand below `/proc` too, though they are not listed there.
    ///
    /// # Errors
    ///
    /// When it is a thread's, there is none, or `/proc` cannot be read.
    pub fn expect_process(&self, pid: Pid) -> Result<(), ProcfsError> {
        let process = self.status(pid)?.process;
        match process == pid {
            true => Ok(()),
            false => Err(ProcfsError::Thread { pid, process }),
        }
    }

    /// A thread of the process `pid` of which it is not certain that it has these user ids. To the
    /// kernel ids belong to threads (credentials(7)), which share a memory: what one of them may see stands in that of all.
    pub fn foreign_thread(&self, pid: Pid, users: UserIds) -> Option<ForeignThread> {
        let Ok(threads) = self.thread_ids(pid) else {
            return Some(ForeignThread::Unknown);
        };
        if threads.len() > THREADS_MAX {
            return Some(ForeignThread::Unknown);
        }
        threads.into_iter().find_map(|thread| {
            match self.status(thread) {
                Ok(status) => match status.users {
                    Some(own) => (own != users).then_some(ForeignThread::Has(thread, own)),
                    None => Some(ForeignThread::Unknown),
                },
                // It has ended since they were listed.
                Err(ProcfsError::NoProcess { .. }) => None,
                Err(_) => Some(ForeignThread::Unknown),
            }
        })
    }

    /// Which process has the id `pid` now, and whose it is.
    ///
    /// # Errors
    ///
    /// When there is none, it is a thread's id, another one has the id since, or `/proc` cannot be read.
    pub fn owner(&self, pid: Pid) -> Result<(ProcessId, UserIds), ProcfsError> {
        let stat = self.stat(pid)?;
        let start = stat.start_time;
        if self.living_thread_of(pid, stat)?.is_none() {
            return Err(ProcfsError::NoProcess { pid });
        }
        let status = self.status(pid)?;
        if status.process != pid {
            let process = status.process;
            return Err(ProcfsError::Thread { pid, process });
        }
        let users = status.users;
        // What was read in between is this process's, unless it has ended meanwhile.
        match users {
            Some(users) if self.stat(pid)?.start_time == start => {
                Ok((ProcessId { pid, start }, users))
            }
            _ => Err(ProcfsError::NoProcess { pid }),
        }
    }
}

/// Whether there is such a group.
pub fn is_group(name: &str) -> bool {
    matches!(Group::from_name(name), Ok(Some(_)))
}

/// The users whom the group lists, of very many the first ones. May block.
pub fn members_of(group: &str, members_max: usize) -> Vec<u32> {
    let Ok(Some(group)) = Group::from_name(group) else {
        return Vec::new();
    };
    let names = group.mem.iter().take(members_max);
    let user = |name: &String| Some(User::from_name(name).ok()??.uid.as_raw());
    names.filter_map(user).collect()
}

/// Whether somebody with this user and group id belongs to the group: by the group id, or because the group lists
/// the user, or the user has it as its first group. Asks anew each time, so it holds at once when somebody is
/// taken out of a group. May block: users and groups may be on other machines.
pub fn is_member(user: u32, group_id: u32, group: &str) -> bool {
    let Ok(Some(group)) = Group::from_name(group) else {
        return false;
    };
    if group.gid.as_raw() == group_id {
        return true;
    }
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(user)) else {
        return false;
    };
    user.gid == group.gid || group.mem.contains(&user.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StartTime;

    #[test]
    fn a_process_and_its_users_are_known_together() {
        let folder = tempfile::tempdir().unwrap();
        let (root, pid) = (ProcRoot::at(folder.path()), Pid::new(7).unwrap());
        let is_missing = |root: &ProcRoot| {
            let error = root.owner(pid).unwrap_err();
            matches!(error, ProcfsError::NoProcess { .. })
        };
        assert!(is_missing(&root));
        let own = folder.path().join("7");
        std::fs::create_dir_all(own.join("task/7")).unwrap();
        let stat = |state| format!("7 (a b) {state} 1 {}42 0 0\n", "0 ".repeat(17));
        std::fs::write(own.join("stat"), stat("S")).unwrap();
        std::fs::write(own.join("status"), "Name:\ta\nTgid:\t7\nTracerPid:\t0\n").unwrap();
        assert!(is_missing(&root), "nobody knows whose it is");
        let status = "Name:\ta\nTgid:\t7\nTracerPid:\t0\nUid:\t1\t2\t3\t4\n";
        std::fs::write(own.join("status"), status).unwrap();
        let (id, users) = root.owner(pid).unwrap();
        assert_eq!(id.start, StartTime(42));
        assert_eq!((users.real, users.effective, users.saved), (1, 2, 3));
        // Threads stand in `/proc` as processes do.
        let (one, other) = (users, UserIds::all(0));
        assert_eq!(root.foreign_thread(pid, one), None);
        std::fs::create_dir_all(own.join("task/8")).unwrap();
        let of_thread = folder.path().join("8");
        std::fs::create_dir_all(&of_thread).unwrap();
        assert_eq!(root.foreign_thread(pid, one), None, "it has just ended");
        std::fs::write(of_thread.join("stat"), stat("S")).unwrap();
        std::fs::write(of_thread.join("status"), status).unwrap();
        let thread = Pid::new(8).unwrap();
        let error = root.owner(thread).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no process 8: it is a thread of process 7"
        );
        assert_eq!(root.foreign_thread(pid, one), None);
        let nobodys = "Name:\ta\nTgid:\t7\nTracerPid:\t0\n";
        std::fs::write(of_thread.join("status"), nobodys).unwrap();
        assert_eq!(root.foreign_thread(pid, one), Some(ForeignThread::Unknown));
        let roots = format!("{nobodys}Uid:\t0\t0\t0\t0\n");
        std::fs::write(of_thread.join("status"), roots).unwrap();
        let foreign = Some(ForeignThread::Has(thread, other));
        assert_eq!(root.foreign_thread(pid, one), foreign);
        std::fs::write(own.join("stat"), stat("Z")).unwrap();
        std::fs::write(of_thread.join("stat"), stat("Z")).unwrap();
        assert!(is_missing(&root), "it has ended");
    }

    #[test]
    fn root_is_in_its_group() {
        assert!(is_group("root") && !is_group("no such group"));
        assert!(is_member(0, 0, "root"));
        // By the group id alone, and by the first group of the user alone.
        assert!(is_member(4_000_000_001, 0, "root"));
        assert!(is_member(0, 4_000_000_001, "root"));
        assert!(!is_member(4_000_000_001, 4_000_000_001, "root"));
        assert!(!is_member(0, 0, "no such group"));
    }
}
