//! Where the lists of tasks begin: one for each thread of each interpreter, and one for each
//! interpreter, with the tasks of threads that have ended.

use super::Walk;
use crate::cpython::{DecodeError, ThreadState, interpreters, threads};
use crate::ids::Tid;
use crate::memory::{Reader, RemoteAddr};
use rustc_hash::FxHashSet;

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
        let mut known: FxHashSet<RemoteAddr> = self.lists.iter().map(|list| list.head).collect();
        for _ in 0..ROUNDS_MAX {
            let n_problems = self.n_problems;
            let before = self.reader.look_anew();
            let earlier = std::mem::take(&mut self.lists);
            let interpreters = self.interpreters.clone();
            self.find_heads()?;
            self.reader.allow(before);
            let now = std::mem::replace(&mut self.lists, earlier);
            if self.n_problems > n_problems {
                // The list of threads is changing right now: what is known stands.
                self.n_problems = n_problems;
                self.problems
                    .truncate(usize::try_from(n_problems).unwrap_or(usize::MAX));
                self.interpreters = interpreters;
                continue;
            }
            let heads: FxHashSet<RemoteAddr> = now.iter().map(|list| list.head).collect();
            let ended: Vec<i64> = self
                .lists
                .iter()
                .filter(|list| list.thread.is_some() && !heads.contains(&list.head))
                .filter(|list| known.remove(&list.head))
                .map(|list| list.interpreter_id)
                .collect();
            let mut n_followed: usize = 0;
            for list in now {
                let is_new = known.insert(list.head);
                let position = match is_new {
                    true => {
                        self.lists.push(list);
                        self.lists.len().saturating_sub(1)
                    }
                    false if list.thread.is_none() && ended.contains(&list.interpreter_id) => {
                        let same = |other: &TaskList| other.head == list.head;
                        self.lists.iter().position(same).unwrap_or(usize::MAX)
                    }
                    false => continue,
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
}
