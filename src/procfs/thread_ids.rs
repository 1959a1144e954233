//! Ids of threads as a process itself knows them, which are others than ours in a pid namespace (pid_namespaces(7)).

use super::ProcRoot;
use super::status::field;
use crate::ids::{Pid, Tid};
use rustc_hash::FxHashMap;
use std::fs;

/// Threads of a process whose ids are looked up.
const THREADS_MAX: usize = 4_096;

/// Which of our ids the threads of one process have.
#[derive(Debug, Default)]
pub struct ThreadIds {
    /// `None` before it is known, and if its ids are ours.
    ours: Option<FxHashMap<Tid, Pid>>,
    is_known: bool,
    /// The ids have been looked up since [`begin`](Self::begin).
    is_fresh: bool,
}

impl ThreadIds {
    /// Begins a snapshot: threads that have begun since are looked up in it, once.
    pub fn begin(&mut self) {
        self.is_fresh = false;
    }

    /// Our id of the thread of the process `pid` that knows itself as `thread`.
    pub fn ours(&mut self, root: &ProcRoot, pid: Pid, thread: Tid) -> Option<Pid> {
        if !self.is_known {
            self.is_known = true;
            let is_within = root.id_within(pid, pid).is_some_and(|(n, _)| n > 1);
            self.ours = is_within.then(FxHashMap::default);
        }
        let Some(ours) = &mut self.ours else {
            return Pid::new(i32::try_from(thread.0).ok()?);
        };
        // Threads that have ended are 0.
        if !ours.contains_key(&thread) && thread != Tid(0) && !self.is_fresh {
            self.is_fresh = true;
            let ids = root.thread_ids(pid).ok()?.into_iter().take(THREADS_MAX);
            let within = |id| Some((root.id_within(pid, id)?.1, id));
            *ours = ids.filter_map(within).collect();
        }
        ours.get(&thread).copied()
    }
}

impl ProcRoot {
    /// Whether ids of processes here are those that the kernel knows them by when we ask it: not if this `/proc` is of a pid
    /// namespace above ours. `None` if that is not told.
    pub fn is_of_our_pid_namespace(&self) -> Option<bool> {
        let status = fs::read(self.at.join("self/status")).ok()?;
        let status = String::from_utf8_lossy(&status);
        let own = nix::unistd::getpid().to_string();
        Some(field(&status, "NSpid")? == own)
    }

    /// Whether the process `pid` is in a pid namespace within the one of this `/proc`; `None` if that is not told.
    pub fn is_in_pid_namespace_within(&self, pid: Pid) -> Option<bool> {
        Some(self.id_within(pid, pid)?.0 > 1)
    }

    /// In how many pid namespaces a thread has an id, and the one of the innermost (`NSpid`, proc_pid_status(5)).
    fn id_within(&self, pid: Pid, thread: Pid) -> Option<(usize, Tid)> {
        let status = fs::read(self.path(pid, &format!("task/{thread}/status"))).ok()?;
        let status = String::from_utf8_lossy(&status);
        let ids = field(&status, "NSpid")?.split_ascii_whitespace();
        let innermost = ids.clone().last()?.parse().ok()?;
        Some((ids.count(), Tid(innermost)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_namespace_are_found_and_ours_stay() {
        let folder = tempfile::tempdir().unwrap();
        let root = ProcRoot::at(folder.path());
        let pid = Pid::new(70).unwrap();
        let thread = |id: i32, within: &str| {
            let folder = folder.path().join(format!("70/task/{id}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(
                folder.join("status"),
                format!("Name:\tx\nNSpid:\t{within}\n"),
            )
            .unwrap();
        };
        thread(70, "70\t1");
        let mut ids = ThreadIds::default();
        assert_eq!(ids.ours(&root, pid, Tid(1)), Some(pid));
        thread(71, "71\t9");
        assert_eq!(ids.ours(&root, pid, Tid(9)), None, "once in a snapshot");
        ids.begin();
        assert_eq!(ids.ours(&root, pid, Tid(9)), Pid::new(71));
        thread(70, "70");
        assert_eq!(ThreadIds::default().ours(&root, pid, Tid(71)), Pid::new(71));
    }
}
