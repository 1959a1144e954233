//! Where the lists of tasks begin: one for each thread of each interpreter, and one for each
//! interpreter, with the tasks of threads that have ended.

use super::Walk;
use crate::cpython::{DecodeError, ThreadState, interpreters, threads};
use crate::ids::Tid;
use crate::memory::{Reader, RemoteAddr};
use rustc_hash::{FxHashMap, FxHashSet};

/// How often threads that began or ended meanwhile are looked for.
const ROUNDS_MAX: u32 = 8;

/// A list of tasks.
#[derive(Debug, Clone)]
pub(super) struct TaskList {
    pub(super) head: RemoteAddr,
    pub(super) interpreter_id: i64,
    pub(super) tid: Tid,
    /// The thread, while it lives.
    pub(super) thread: Option<ThreadState>,
    pub(super) running_task: RemoteAddr,
    pub(super) has_loop: bool,
}

impl Walk<'_, '_> {
    /// Finds all interpreters, threads and heads of lists.
    pub(super) fn find_heads(&mut self) -> Result<(), DecodeError> {
        let mut found = Vec::new();
        let (interpreters, error) = interpreters(self.reader, self.offsets, self.runtime);
        if let Some(error) = error {
            self.note("list_torn", "list of interpreters", error)?;
        }
        for interpreter in &interpreters {
            let (threads, error) = threads(self.reader, self.offsets, *interpreter);
            if let Some(error) = error {
                self.note("list_torn", "list of threads", error)?;
            }
            for thread in threads {
                let word = |reader: &mut Reader<'_>, offset| reader.addr_at(thread.at.plus(offset));
                let running_loop = word(self.reader, self.layout.thread_running_loop);
                let running_task = word(self.reader, self.layout.thread_running_task);
                found.push(TaskList {
                    head: thread.at.plus(self.layout.thread_tasks_head),
                    interpreter_id: interpreter.id,
                    tid: Tid(thread.native_thread_id),
                    thread: Some(thread),
                    running_task: running_task.unwrap_or_default(),
                    has_loop: running_loop.is_ok_and(|at| !at.is_null()),
                });
            }
            found.push(TaskList {
                head: interpreter.at.plus(self.layout.interpreter_tasks_head),
                interpreter_id: interpreter.id,
                tid: Tid(0),
                thread: None,
                running_task: RemoteAddr::NULL,
                has_loop: false,
            });
        }
        self.interpreters = interpreters;
        self.lists = found;
        Ok(())
    }

    /// Looks for threads that began meanwhile, and follows their lists; and once more the lists of
    /// interpreters one of whose threads ended, as that is where its tasks went.
    pub(super) fn follow_new_heads(&mut self) -> Result<(), DecodeError> {
        let lists = self.lists.iter().enumerate();
        let mut known: FxHashMap<RemoteAddr, usize> =
            lists.map(|(at, list)| (list.head, at)).collect();
        for _ in 0..ROUNDS_MAX {
            let Some(now) = self.find_heads_again()? else {
                // The list of threads is changing right now: what is known stands.
                continue;
            };
            let heads: FxHashSet<RemoteAddr> = now.iter().map(|list| list.head).collect();
            let mut bereft: FxHashSet<i64> = FxHashSet::default();
            for list in self.lists.iter().filter(|list| list.thread.is_some()) {
                if !heads.contains(&list.head) && known.remove(&list.head).is_some() {
                    bereft.insert(list.interpreter_id);
                }
            }
            let mut n_followed: usize = 0;
            for list in now {
                let position = match known.get(&list.head) {
                    None => {
                        let position = self.lists.len();
                        known.insert(list.head, position);
                        self.lists.push(list);
                        position
                    }
                    Some(at) if list.thread.is_none() => {
                        match bereft.contains(&list.interpreter_id) {
                            true => *at,
                            false => continue,
                        }
                    }
                    Some(at) => match self.has_changed_hands(*at, list) {
                        true => *at,
                        false => continue,
                    },
                };
                n_followed = n_followed.saturating_add(1);
                self.follow_list(position)?;
            }
            if n_followed == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The heads that there are now; `None` if they could not be found.
    fn find_heads_again(&mut self) -> Result<Option<Vec<TaskList>>, DecodeError> {
        let n_problems = self.n_problems;
        let freshness = self.reader.look_anew();
        let earlier = std::mem::take(&mut self.lists);
        let interpreters = self.interpreters.clone();
        let found = self.find_heads();
        self.reader.allow(freshness);
        let now = std::mem::replace(&mut self.lists, earlier);
        found?;
        if self.n_problems == n_problems {
            return Ok(Some(now));
        }
        self.n_problems = n_problems;
        let n_problems = usize::try_from(n_problems).unwrap_or(usize::MAX);
        self.problems.truncate(n_problems);
        self.interpreters = interpreters;
        Ok(None)
    }

    /// Whether the state of a thread, with the head of a list in it, belongs to another thread now:
    /// whose the tasks were that were found in the list is not known then.
    fn has_changed_hands(&mut self, at: usize, now: TaskList) -> bool {
        let Some(list) = self.lists.get_mut(at) else {
            return false;
        };
        if list.tid == now.tid && list.interpreter_id == now.interpreter_id {
            return false;
        }
        *list = now;
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        for record in self.records.iter_mut().filter(|record| record.list == at) {
            record.is_alive = false;
        }
        true
    }
}
