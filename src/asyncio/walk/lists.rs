//! Pass one: which tasks there are. A list that changes while it is walked is walked again, with all
//! others, because a task may have moved from one to another.

use super::Walk;
use crate::asyncio::task::RawTask;
use crate::asyncio::task_list::walk_list;
use crate::cpython::{DecodeError, Interpreter, ThreadState, interpreters, threads};
use crate::ids::Tid;
use crate::memory::{Reader, RemoteAddr};
use rustc_hash::FxHashSet;

/// How often the lists are walked before the longest of what was found is taken.
const ATTEMPTS: u64 = 16;

/// The tasks of one list.
pub(super) struct TaskList {
    pub(super) interpreter_id: i64,
    pub(super) tid: Tid,
    /// The thread, while it lives.
    pub(super) thread: Option<ThreadState>,
    pub(super) running_task: RemoteAddr,
    pub(super) has_loop: bool,
    pub(super) tasks: Vec<RawTask>,
}

/// What all lists of a process hold.
#[derive(Default)]
pub(super) struct Lists {
    pub(super) lists: Vec<TaskList>,
    pub(super) interpreters: Vec<Interpreter>,
    seen: FxHashSet<RemoteAddr>,
    errors: Vec<(&'static str, DecodeError)>,
}

impl Lists {
    /// All tasks with the list that holds them, in the order of the lists.
    pub(super) fn tasks(&self) -> impl Iterator<Item = (&TaskList, &RawTask)> {
        self.lists
            .iter()
            .flat_map(|list| list.tasks.iter().map(move |task| (list, task)))
    }

    /// How many tasks there are.
    pub(super) fn n_tasks(&self) -> usize {
        self.seen.len()
    }

    /// Whether another attempt could give more.
    fn is_torn(&self) -> bool {
        let is_limit = |(_, error): &(_, DecodeError)| error.is_limit();
        !self.errors.is_empty() && !self.errors.iter().any(is_limit)
    }
}

impl Walk<'_, '_> {
    /// All lists, and how often they were begun again.
    pub(super) fn find_tasks(&mut self, runtime: RemoteAddr) -> Result<(Lists, u64), DecodeError> {
        let mut best = Lists::default();
        let mut restarts = 0;
        for attempt in 0..ATTEMPTS {
            restarts = attempt;
            let lists = self.walk_lists(runtime);
            if let Some((_, fatal)) = lists.errors.iter().find(|(_, error)| error.is_fatal()) {
                return Err(*fatal);
            }
            let is_torn = lists.is_torn();
            if !is_torn || attempt == 0 || lists.n_tasks() > best.n_tasks() {
                best = lists;
            }
            if !is_torn {
                break;
            }
            self.reader.forget_all();
        }
        for (what, error) in std::mem::take(&mut best.errors) {
            self.note("list_torn", what, error)?;
        }
        Ok((best, restarts))
    }

    fn walk_lists(&mut self, runtime: RemoteAddr) -> Lists {
        let mut lists = Lists::default();
        let (found, error) = interpreters(self.reader, self.offsets, runtime);
        lists
            .errors
            .extend(error.map(|error| ("list of interpreters", error)));
        for interpreter in &found {
            let (threads, error) = threads(self.reader, self.offsets, *interpreter);
            lists
                .errors
                .extend(error.map(|error| ("list of threads", error)));
            for thread in threads {
                let word = |reader: &mut Reader<'_>, offset| reader.addr_at(thread.at.plus(offset));
                let running_loop = word(self.reader, self.layout.thread_running_loop);
                let running_task = word(self.reader, self.layout.thread_running_task);
                let list = TaskList {
                    interpreter_id: interpreter.id,
                    tid: Tid(thread.native_thread_id),
                    thread: Some(thread),
                    running_task: running_task.unwrap_or_default(),
                    has_loop: running_loop.is_ok_and(|at| !at.is_null()),
                    tasks: Vec::new(),
                };
                self.walk_list(
                    &mut lists,
                    list,
                    thread.at.plus(self.layout.thread_tasks_head),
                );
            }
            let list = TaskList {
                interpreter_id: interpreter.id,
                tid: Tid(0),
                thread: None,
                running_task: RemoteAddr::NULL,
                has_loop: false,
                tasks: Vec::new(),
            };
            let head = interpreter.at.plus(self.layout.interpreter_tasks_head);
            self.walk_list(&mut lists, list, head);
        }
        lists.interpreters = found;
        lists
    }

    fn walk_list(&mut self, lists: &mut Lists, mut list: TaskList, head: RemoteAddr) {
        let (seen, tasks) = (&mut lists.seen, &mut list.tasks);
        let walked = walk_list(self.reader, self.layout, head, seen, tasks);
        lists.lists.push(list);
        lists
            .errors
            .extend(walked.err().map(|error| ("list of tasks", error)));
    }
}
