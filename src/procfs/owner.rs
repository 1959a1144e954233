//! Whose a process is, and who belongs to a group of this machine (getgrnam(3), getpwuid(3)).

use super::{ProcRoot, ProcfsError};
use crate::ids::{Pid, ProcessId};
use nix::unistd::{Group, Uid, User};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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

/// Whose a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Which process it is.
    pub id: ProcessId,
    /// Its user ids.
    pub users: UserIds,
    /// Its memory is that of these users, by the kernel, as root's always is: it has not changed its ids since it was started
    /// (`PR_SET_DUMPABLE`, prctl(2)). What has, such as a child that is about to run a program of another user, may still hold
    /// what was its former user's. Where this cannot be told, it is not.
    pub is_dumpable: bool,
    /// The page faults that it had had ([`Stat::faults`](super::Stat)) when all that was looked up; `None` if it has faulted meanwhile. As long
    /// as it has no more, it has executed no other program (`owner_watch.rs`).
    pub faults: Option<u64>,
}

/// Threads of a process whose user ids are looked at. One with more is nobody's in particular.
const THREADS_MAX: usize = 4_096;

/// A thread because of which a process is not one user's in every respect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignThread {
    /// This one has these user ids.
    Has(Pid, UserIds),
    /// There are too many threads to be looked at, one has no user ids, or no more may be looked at.
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
    /// `may_look` is asked before each thread is looked at; whoever wants to know whether it said no remembers that.
    ///
    /// # Errors
    ///
    /// When the process has ended, or its threads or their user ids cannot be read.
    pub fn foreign_thread(
        &self,
        pid: Pid,
        users: UserIds,
        may_look: &mut dyn FnMut() -> bool,
    ) -> Result<Option<ForeignThread>, ProcfsError> {
        let threads = self.first_thread_ids(pid, THREADS_MAX + 1)?;
        if threads.len() > THREADS_MAX {
            return Ok(Some(ForeignThread::Unknown));
        }
        for thread in threads {
            if !may_look() {
                return Ok(Some(ForeignThread::Unknown));
            }
            let status = match self.status(thread) {
                // It has ended since they were listed.
                Err(ProcfsError::NoProcess { .. }) => continue,
                status => status?,
            };
            match status.users {
                Some(own) if own == users => {}
                Some(own) => return Ok(Some(ForeignThread::Has(thread, own))),
                None => return Ok(Some(ForeignThread::Unknown)),
            }
        }
        Ok(None)
    }

    /// Which process has the id `pid` now, and whose it is.
    ///
    /// # Errors
    ///
    /// When there is none, it is a thread's id, another one has the id since, or `/proc` cannot be read.
    pub fn owner(&self, pid: Pid) -> Result<Owner, ProcfsError> {
        let stat = self.stat(pid)?;
        let (start, faults) = (stat.start_time, stat.faults);
        let Some(thread) = self.living_thread_of(pid, stat)? else {
            return Err(ProcfsError::NoProcess { pid });
        };
        let status = self.status(pid)?;
        if status.process != pid {
            let process = status.process;
            return Err(ProcfsError::Thread { pid, process });
        }
        let users = status.users;
        let is_dumpable = users.is_some_and(|users| self.is_dumpable(thread, users.effective));
        // What was read in between is this process's, unless it has ended meanwhile.
        let now = self.stat(pid)?;
        match users {
            Some(users) if now.start_time == start => Ok(Owner {
                id: ProcessId { pid, start },
                users,
                is_dumpable,
                faults: faults.filter(|_| now.faults == faults),
            }),
            _ => Err(ProcfsError::NoProcess { pid }),
        }
    }

    /// Whether the files of a thread are those of the user as whom it runs: root's are those of one that is not dumpable
    /// (proc(5), "/proc/pid"). That is the root of its user namespace (task_dump_owner() of fs/proc/base.c); where the user
    /// stands for that one, it says nothing.
    fn is_dumpable(&self, thread: Pid, user: u32) -> bool {
        let folder = self.at.join(thread.to_string());
        let is_users = std::fs::metadata(folder.join("maps")).is_ok_and(|maps| maps.uid() == user);
        is_users && (user == 0 || root_within(&folder).is_some_and(|root| root != user))
    }
}

/// The user who is root in the user namespace of the process with this folder (user_namespaces(7), `uid_map`): nobody, told by
/// a number that no user has, if none is. `None`: that cannot be told.
fn root_within(folder: &Path) -> Option<u32> {
    let map = std::fs::read_to_string(folder.join("uid_map")).ok()?;
    let mut lines = map.lines().map(|line| {
        let mut numbers = line.split_whitespace();
        Some((numbers.next()?, numbers.next()?.parse().ok()?))
    });
    let root = lines.find(|line| line.is_none_or(|(within, _)| within == "0"));
    root.map_or(Some(u32::MAX), |line| line.map(|(_, user)| user))
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
/// taken out of a group. May block: users and groups may be on other machines. Where such a machine does not answer, the
/// user belongs to no group.
///
/// # Errors
///
/// When we have too little to look: no file descriptors or no memory.
pub fn is_member(user: u32, group_id: u32, group: &str) -> io::Result<bool> {
    let Some(group) = known(Group::from_name(group))? else {
        return Ok(false);
    };
    if group.gid.as_raw() == group_id {
        return Ok(true);
    }
    let user = known(User::from_uid(Uid::from_raw(user)))?;
    Ok(user.is_some_and(|user| user.gid == group.gid || group.mem.contains(&user.name)))
}

/// What was found, if anything. Not to have it is told by many errors (getgrnam(3)); those of our own want tell nothing.
fn known<T>(found: nix::Result<Option<T>>) -> io::Result<Option<T>> {
    use nix::errno::Errno::{EAGAIN, EINTR, EMFILE, ENFILE, ENOMEM};
    match found {
        Err(error @ (EAGAIN | EINTR | EMFILE | ENFILE | ENOMEM)) => Err(error.into()),
        found => Ok(found.ok().flatten()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StartTime;
    use nix::errno::Errno;

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
        let owner = root.owner(pid).unwrap();
        let users = owner.users;
        assert_eq!(owner.id.start, StartTime(42));
        assert_eq!((users.real, users.effective, users.saved), (1, 2, 3));
        assert!(!owner.is_dumpable, "nobody knows whose its memory is");
        std::fs::write(own.join("maps"), "").unwrap();
        let us = Uid::effective();
        let ours = status.replace("\t2\t", &format!("\t{us}\t"));
        std::fs::write(own.join("status"), ours).unwrap();
        assert!(root.owner(pid).unwrap().is_dumpable);
        let of_another = status.replace("\t2\t", &format!("\t{}\t", us.as_raw() + 1));
        std::fs::write(own.join("status"), of_another).unwrap();
        assert!(!root.owner(pid).unwrap().is_dumpable);
        std::fs::write(own.join("status"), status).unwrap();
        // Threads stand in `/proc` as processes do.
        let (one, other) = (users, UserIds::all(0));
        let foreign_thread = || root.foreign_thread(pid, one, &mut || true).unwrap();
        assert_eq!(foreign_thread(), None);
        std::fs::create_dir_all(own.join("task/8")).unwrap();
        let of_thread = folder.path().join("8");
        std::fs::create_dir_all(&of_thread).unwrap();
        assert_eq!(foreign_thread(), None, "it has just ended");
        std::fs::write(of_thread.join("stat"), stat("S")).unwrap();
        std::fs::write(of_thread.join("status"), status).unwrap();
        let thread = Pid::new(8).unwrap();
        let error = root.owner(thread).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no process 8: it is a thread of process 7"
        );
        assert_eq!(foreign_thread(), None);
        let mut n_looks = 0;
        let mut once = || {
            n_looks += 1;
            n_looks == 1
        };
        let given_up = root.foreign_thread(pid, one, &mut once).unwrap();
        assert_eq!((given_up, n_looks), (Some(ForeignThread::Unknown), 2));
        let nobodys = "Name:\ta\nTgid:\t7\nTracerPid:\t0\n";
        std::fs::write(of_thread.join("status"), nobodys).unwrap();
        assert_eq!(foreign_thread(), Some(ForeignThread::Unknown));
        let roots = format!("{nobodys}Uid:\t0\t0\t0\t0\n");
        std::fs::write(of_thread.join("status"), roots).unwrap();
        let foreign = Some(ForeignThread::Has(thread, other));
        assert_eq!(foreign_thread(), foreign);
        // That it cannot be read is no user id.
        std::fs::rename(of_thread.join("status"), of_thread.join("kept")).unwrap();
        std::fs::create_dir(of_thread.join("status")).unwrap();
        let error = root.foreign_thread(pid, one, &mut || true).unwrap_err();
        assert!(matches!(error, ProcfsError::Io { .. }), "{error}");
        std::fs::remove_dir(of_thread.join("status")).unwrap();
        std::fs::rename(of_thread.join("kept"), of_thread.join("status")).unwrap();
        std::fs::write(own.join("stat"), stat("Z")).unwrap();
        std::fs::write(of_thread.join("stat"), stat("Z")).unwrap();
        assert!(is_missing(&root), "it has ended");
    }

    #[test]
    fn root_is_in_its_group() {
        assert!(is_group("root") && !is_group("no such group"));
        assert!(is_member(0, 0, "root").unwrap());
        // By the group id alone, and by the first group of the user alone.
        assert!(is_member(4_000_000_001, 0, "root").unwrap());
        assert!(is_member(0, 4_000_000_001, "root").unwrap());
        assert!(!is_member(4_000_000_001, 4_000_000_001, "root").unwrap());
        assert!(!is_member(0, 0, "no such group").unwrap());
        assert_eq!(known::<()>(Err(Errno::ENOENT)).unwrap(), None);
        assert!(known::<()>(Err(Errno::EMFILE)).is_err());
    }
}
