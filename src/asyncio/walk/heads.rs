//! Where the lists of tasks begin: one for each thread of each interpreter, and one for each
//! interpreter, with the tasks of threads that have ended.

use super::Walk;
use crate::cpython::{DecodeError, Interpreter, ThreadState, interpreters, threads};
use crate::ids::Tid;
use crate::memory::{Reader, RemoteAddr};
use rustc_hash::{FxHashMap, FxHashSet};

/// How often the lists of threads are followed until they make sense.
const ATTEMPTS_MAX: u32 = 16;
/// How often threads that began or ended meanwhile are looked for.
const ROUNDS_MAX: u32 = 4;

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
    pub(super) running_loop: RemoteAddr,
    /// The first node, or the head itself: what was seen last.
    pub(super) first: RemoteAddr,
    /// Why it could not be followed to its end.
    pub(super) torn: Option<DecodeError>,
}

/// All interpreters, and where their lists begin.
struct Heads {
    interpreters: Vec<Interpreter>,
    lists: Vec<TaskList>,
    /// What could not be followed to its end.
    error: Option<(&'static str, DecodeError)>,
}

impl Walk<'_, '_> {
    /// Finds all interpreters, threads and heads of lists.
    pub(super) fn find_heads(&mut self) -> Result<(), DecodeError> {
        let mut heads = self.read_heads();
        for _ in 1..ATTEMPTS_MAX {
            match heads.error {
                Some((_, error)) if !error.is_fatal() && !error.is_limit() => {}
                _ => break,
            }
            // A thread is just beginning or ending.
            self.repairs = self.repairs.saturating_add(1);
            self.reader.look_aside();
            heads = self.read_heads();
            self.reader.look_back();
        }
        self.interpreters = heads.interpreters;
        let lists = heads.lists.iter().enumerate();
        self.heads = lists.map(|(at, list)| (list.head, at)).collect();
        self.lists = heads.lists;
        match heads.error {
            Some((what, error)) => self.note_cut("list_torn", what, error),
            None => Ok(()),
        }
    }

    fn read_heads(&mut self) -> Heads {
        let (interpreters, error) = interpreters(self.reader, self.offsets, self.runtime);
        let mut heads = Heads {
            lists: Vec::new(),
            error: error.map(|error| ("list of interpreters", error)),
            interpreters,
        };
        for interpreter in &heads.interpreters {
            let (threads, error) = threads(self.reader, self.offsets, *interpreter);
            if let Some(error) = error {
                heads.error = Some(("list of threads", error));
            }
            for thread in threads {
                let word = |reader: &mut Reader<'_>, offset| reader.addr_at(thread.at.plus(offset));
                let running_loop = word(self.reader, self.layout.thread_running_loop);
                let running_task = word(self.reader, self.layout.thread_running_task);
                let first = word(self.reader, self.layout.thread_tasks_head);
                heads.lists.push(TaskList {
                    head: thread.at.plus(self.layout.thread_tasks_head),
                    interpreter_id: interpreter.id,
                    tid: Tid(thread.native_thread_id),
                    thread: Some(thread),
                    running_task: running_task.unwrap_or_default(),
                    has_loop: running_loop.is_ok_and(|at| !at.is_null()),
                    running_loop: running_loop.unwrap_or_default(),
                    first: first.unwrap_or_default(),
                    torn: None,
                });
            }
            let head = interpreter.at.plus(self.layout.interpreter_tasks_head);
            heads.lists.push(TaskList {
                head,
                interpreter_id: interpreter.id,
                tid: Tid(0),
                thread: None,
                running_task: RemoteAddr::NULL,
                has_loop: false,
                running_loop: RemoteAddr::NULL,
                first: self.reader.addr_at(head).unwrap_or_default(),
                torn: None,
            });
        }
        heads
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
            let mut ended: FxHashSet<usize> = FxHashSet::default();
            for (at, list) in self.lists.iter_mut().enumerate() {
                let has_ended = list.thread.is_some() && !heads.contains(&list.head);
                if has_ended && known.remove(&list.head).is_some() {
                    list.has_loop = false;
                    list.torn = None;
                    bereft.insert(list.interpreter_id);
                    ended.insert(at);
                }
            }
            self.forget_lists(&ended);
            let mut n_followed: usize = 0;
            for list in now {
                if let Some(known) = known.get(&list.head)
                    && let Some(known) = self.lists.get_mut(*known)
                {
                    known.first = list.first;
                }
                let position = match known.get(&list.head) {
                    None => {
                        let position = self.lists.len();
                        known.insert(list.head, position);
                        self.heads.insert(list.head, position);
                        self.lists.push(list);
                        position
                    }
                    Some(at) if list.thread.is_none() => {
                        match bereft.contains(&list.interpreter_id) {
                            true => *at,
                            false => continue,
                        }
                    }
                    Some(at) => {
                        let interpreter_id = list.interpreter_id;
                        if !self.has_changed_hands(*at, list) {
                            continue;
                        }
                        // Heads of interpreters come after those of their threads.
                        bereft.insert(interpreter_id);
                        *at
                    }
                };
                if n_followed == 0 {
                    // Copies of another thread's state lie where this one's is.
                    self.reader.look_anew();
                }
                n_followed = n_followed.saturating_add(1);
                self.follow_list(position)?;
            }
            if n_followed == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Notes the lists that could not be followed to their end. That of a thread which ended is no more.
    pub(super) fn note_torn_lists(&mut self) -> Result<(), DecodeError> {
        let torn: Vec<DecodeError> = self.lists.iter().filter_map(|list| list.torn).collect();
        for error in torn {
            // One that a limit ended is whole.
            let code = if error.is_limit() {
                error.code()
            } else {
                "list_torn"
            };
            self.note_cut(code, "list of tasks", error)?;
        }
        Ok(())
    }

    /// The heads that there are now; `None` if they could not be found.
    pub(super) fn find_heads_again(&mut self) -> Result<Option<Vec<TaskList>>, DecodeError> {
        self.reader.look_aside();
        let heads = self.read_heads();
        self.reader.look_back();
        match heads.error {
            Some((_, error)) if error.is_fatal() => Err(error),
            Some(_) => Ok(None),
            None => {
                self.interpreters = heads.interpreters;
                Ok(Some(heads.lists))
            }
        }
    }

    /// Whether the state of a thread, with the head of a list in it, was another thread's when the list
    /// was followed: whose the tasks are that were found in it is not known then.
    fn has_changed_hands(&mut self, at: usize, now: TaskList) -> bool {
        let position = u32::try_from(at).unwrap_or(u32::MAX);
        let task = now.first.minus(self.layout.task_node);
        let record = self.by_address.get(&task).copied();
        let record = record.and_then(|at| self.records.get(usize::try_from(at).ok()?));
        let is_empty = now.first == now.head;
        let begins_alike = is_empty || record.is_some_and(|record| record.list == position);
        let Some(list) = self.lists.get_mut(at) else {
            return false;
        };
        if list.tid == now.tid && list.interpreter_id == now.interpreter_id && begins_alike {
            return false;
        }
        *list = now;
        self.forget_lists(&FxHashSet::from_iter([at]));
        true
    }

    /// Leaves out the tasks of threads whose states belong to other threads by now: whose the tasks are
    /// is not known, and most of them have ended with their thread. Also those of which a cap keeps that from being
    /// found out, but they are missing then.
    pub(super) fn leave_out_lists_of_others(&mut self) -> Result<(), DecodeError> {
        let offset = self.offsets.thread_state.native_thread_id;
        self.reader.look_aside();
        let mut others: FxHashMap<u32, Option<DecodeError>> = FxHashMap::default();
        for (at, list) in (0_u32..).zip(&self.lists) {
            let Some(thread) = list.thread else {
                continue;
            };
            match self.reader.u64_at(thread.at.plus(offset)) {
                Ok(tid) if tid == list.tid.0 => {}
                Ok(_) => {
                    others.insert(at, None);
                }
                Err(error) => {
                    let error = DecodeError::from(error);
                    others.insert(at, Some(error).filter(|error| error.is_limit()));
                }
            }
        }
        self.reader.look_back();
        if others.is_empty() {
            return Ok(());
        }
        for at in 0..self.records.len() {
            let Some(record) = self.records.get(at).filter(|record| record.is_alive) else {
                continue;
            };
            let task = record.task.at;
            match others.get(&record.list) {
                None => {}
                Some(None) => self.leave_out_ended(at),
                Some(Some(error)) => {
                    self.forget(at);
                    self.leave_out(task, "limit_hit", *error)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets the tasks of lists: they will be found elsewhere, if they are still there.
    fn forget_lists(&mut self, lists: &FxHashSet<usize>) {
        if lists.is_empty() {
            return;
        }
        for at in 0..self.records.len() {
            let Some(record) = self.records.get(at) else {
                continue;
            };
            let list = usize::try_from(record.list).unwrap_or(usize::MAX);
            if !lists.contains(&list) {
                continue;
            }
            let interpreter = self.lists.get(list).filter(|_| record.task.is_python);
            let interpreter_id = interpreter.map(|list| list.interpreter_id);
            match interpreter_id.and_then(|id| self.list_of_interpreter(id)) {
                // No list had it, so it is where it was, and no thread runs its loop any more.
                Some(own_list) => self.move_to_list(at, own_list),
                None => self.forget(at),
            }
        }
    }
}
