//! One walk over all interpreters, threads and tasks of a process: from memory to a graph.
//!
//! The walk has four passes. The lists first, because they are what a busy process changes most; a
//! torn one is walked again from the start. Then every task's name, coroutine stack and awaiters,
//! once from the copies that the first pass made, and once more with fresh copies for the tasks that
//! made no sense. Then all tasks are compared with fresh copies: a task that ended in between, or
//! whose memory belongs to another now, is left out. Last the edges, between what was confirmed.

use super::offsets::AsyncioOffsets;
use super::task::{RawTask, is_task};
use super::task_list::walk_list;
use crate::cpython::{
    Chain, ChainFrame, ChainReader, DecodeError, FrameState, Interpreter, Kind, Offsets,
    RuntimeSite, interpreters, threads,
};
use crate::graph::{
    FrameIdx, GraphBuilder, NewFrame, NewTask, Problem, StackIdx, TaskGraph, TaskIdx, TaskState,
    TextIdx, Via,
};
use crate::ids::{TaskId, Tid};
use crate::memory::{ReadErrorKind, Reader, RemoteAddr};
use rustc_hash::{FxHashMap, FxHashSet};

/// How often the lists are walked before what was found is taken as it is.
const LIST_ATTEMPTS: u64 = 16;

/// What a walk found.
#[derive(Debug)]
pub struct Read {
    /// The graph.
    pub graph: TaskGraph,
    /// What could not be read, as far as `Limits::problems_max` allows.
    pub problems: Vec<Problem>,
    /// How many problems there were.
    pub n_problems: u64,
    /// Tasks that were left out.
    pub tasks_unreadable: u64,
    /// Tasks that ended while they were read.
    pub tasks_ended: u64,
    /// How often the lists were walked anew.
    pub restarts: u64,
    /// Whether any thread runs an event loop.
    pub has_running_loop: bool,
    /// The interpreters of the process.
    pub interpreters: Vec<Interpreter>,
}

/// The tasks of one list.
struct TaskList {
    interpreter_id: i64,
    tid: Tid,
    running_task: RemoteAddr,
    has_loop: bool,
    tasks: Vec<RawTask>,
}

/// What all lists of a process hold.
#[derive(Default)]
struct Lists {
    lists: Vec<TaskList>,
    interpreters: Vec<Interpreter>,
    seen: FxHashSet<RemoteAddr>,
}

/// Everything of a task but its awaiters' stacks.
struct Details {
    task: NewTask,
    awaiters: Vec<RemoteAddr>,
}

struct Walk<'w, 'm> {
    reader: &'w mut Reader<'m>,
    offsets: &'w Offsets,
    layout: &'w AsyncioOffsets,
    chains: ChainReader,
    graph: GraphBuilder,
    frames: FxHashMap<(RemoteAddr, u64, Via), FrameIdx>,
    problems: Vec<Problem>,
    n_problems: u64,
    tasks_unreadable: u64,
    tasks_ended: u64,
}

/// Reads the task graph of the process behind `reader`.
///
/// # Errors
///
/// Only when the process is gone or may not be read any more; everything else is a problem of the
/// result.
pub fn read_graph(
    reader: &mut Reader<'_>,
    site: &RuntimeSite,
    layout: &AsyncioOffsets,
) -> Result<Read, DecodeError> {
    let mut walk = Walk {
        reader,
        offsets: &site.offsets,
        layout,
        chains: ChainReader::default(),
        graph: GraphBuilder::new(),
        frames: FxHashMap::default(),
        problems: Vec::new(),
        n_problems: 0,
        tasks_unreadable: 0,
        tasks_ended: 0,
    };
    let (lists, restarts) = walk.find_tasks(site.runtime)?;
    let has_running_loop = lists.lists.iter().any(|list| list.has_loop);
    let details = walk.read_tasks(&lists)?;
    let details = walk.confirm(&lists, details)?;
    walk.build(&lists, details)?;
    Ok(Read {
        graph: walk.graph.finish(),
        problems: walk.problems,
        n_problems: walk.n_problems,
        tasks_unreadable: walk.tasks_unreadable,
        tasks_ended: walk.tasks_ended,
        restarts,
        has_running_loop,
        interpreters: lists.interpreters,
    })
}

impl Walk<'_, '_> {
    /// Notes a problem; passes on an error after which nothing can be read.
    fn note(&mut self, code: &str, what: &str, error: DecodeError) -> Result<(), DecodeError> {
        if error.is_fatal() {
            return Err(error);
        }
        self.n_problems = self.n_problems.saturating_add(1);
        if self.n_problems <= u64::from(self.reader.limits().problems_max) {
            self.problems.push(Problem {
                code: code.to_owned(),
                message: format!("{what}: {error}"),
                at: error.at().map(RemoteAddr::as_u64),
            });
        }
        Ok(())
    }

    /// Pass one: all lists, begun again while one of them is torn.
    fn find_tasks(&mut self, runtime: RemoteAddr) -> Result<(Lists, u64), DecodeError> {
        let mut attempt: u64 = 0;
        loop {
            let (lists, errors) = self.walk_lists(runtime);
            attempt = attempt.saturating_add(1);
            if let Some((_, fatal)) = errors.iter().find(|(_, error)| error.is_fatal()) {
                return Err(*fatal);
            }
            let limited = errors
                .iter()
                .any(|(_, error)| matches!(error, DecodeError::Limit(_)));
            if errors.is_empty() || limited || attempt >= LIST_ATTEMPTS {
                for (what, error) in errors {
                    self.note("list_torn", what, error)?;
                }
                return Ok((lists, attempt.saturating_sub(1)));
            }
            self.reader.forget_all();
        }
    }

    fn walk_lists(&mut self, runtime: RemoteAddr) -> (Lists, Vec<(&'static str, DecodeError)>) {
        let mut lists = Lists::default();
        let mut errors = Vec::new();
        let (found, error) = interpreters(self.reader, self.offsets, runtime);
        errors.extend(error.map(|error| ("list of interpreters", error)));
        lists.interpreters = found;
        for interpreter in lists.interpreters.clone() {
            let (threads, error) = threads(self.reader, self.offsets, interpreter);
            errors.extend(error.map(|error| ("list of threads", error)));
            for thread in threads {
                let word = |reader: &mut Reader<'_>, offset| reader.addr_at(thread.at.plus(offset));
                let running_loop = word(self.reader, self.layout.thread_running_loop);
                let running_task = word(self.reader, self.layout.thread_running_task);
                let list = TaskList {
                    interpreter_id: interpreter.id,
                    tid: Tid(thread.native_thread_id),
                    running_task: running_task.unwrap_or_default(),
                    has_loop: running_loop.is_ok_and(|at| !at.is_null()),
                    tasks: Vec::new(),
                };
                let head = thread.at.plus(self.layout.thread_tasks_head);
                errors.extend(self.walk_list(&mut lists, list, head));
            }
            let list = TaskList {
                interpreter_id: interpreter.id,
                tid: Tid(0),
                running_task: RemoteAddr::NULL,
                has_loop: false,
                tasks: Vec::new(),
            };
            let head = interpreter.at.plus(self.layout.interpreter_tasks_head);
            errors.extend(self.walk_list(&mut lists, list, head));
        }
        (lists, errors)
    }

    fn walk_list(
        &mut self,
        lists: &mut Lists,
        mut list: TaskList,
        head: RemoteAddr,
    ) -> Option<(&'static str, DecodeError)> {
        let walked = walk_list(
            self.reader,
            self.layout,
            head,
            &mut lists.seen,
            &mut list.tasks,
        );
        lists.lists.push(list);
        walked.err().map(|error| ("list of tasks", error))
    }

    /// Pass two: what each task's pointers lead to, twice for those that made no sense at first.
    fn read_tasks(&mut self, lists: &Lists) -> Result<Vec<Option<Details>>, DecodeError> {
        let all = || {
            lists
                .lists
                .iter()
                .flat_map(|list| list.tasks.iter().map(move |t| (list, t)))
        };
        let mut details = Vec::with_capacity(lists.seen.len());
        let mut retry = Vec::new();
        for (position, (list, task)) in all().enumerate() {
            details.push(match self.read_details(list, task) {
                Ok(details) => Some(details),
                Err(error) if error.is_fatal() => return Err(error),
                Err(_) => {
                    retry.push(position);
                    None
                }
            });
        }
        if retry.is_empty() {
            return Ok(details);
        }
        self.reader.forget_all();
        let tasks: Vec<_> = all().collect();
        for position in retry {
            let (Some((list, task)), Some(slot)) = (tasks.get(position), details.get_mut(position))
            else {
                continue;
            };
            let Some(now) = self.still_there(task)? else {
                self.tasks_ended = self.tasks_ended.saturating_add(1);
                continue;
            };
            match self.read_details(list, &now) {
                Ok(details) => *slot = Some(details),
                Err(error) => self.leave_out(task, error.code(), error)?,
            }
        }
        Ok(details)
    }

    fn read_details(&mut self, list: &TaskList, task: &RawTask) -> Result<Details, DecodeError> {
        let name = task.read_name(
            self.reader,
            self.offsets,
            &mut self.chains.types,
            &mut self.graph,
        )?;
        let (state, stack, awaiting) = self.read_stack(task.coro)?;
        let state = match state {
            _ if task.at == list.running_task => TaskState::Running,
            Some(FrameState::Executing) => TaskState::Running,
            Some(FrameState::Created) => TaskState::Created,
            Some(FrameState::Suspended | FrameState::Awaiting) => TaskState::Suspended,
            Some(FrameState::Ended) | None => TaskState::Pending,
        };
        let (awaiters, cut) = task.read_awaiters(self.reader, self.offsets)?;
        if let Some(limit) = cut {
            let what = format!("awaiters of task {}", task.at);
            self.note("limit_hit", &what, DecodeError::Limit(limit))?;
        }
        let id = TaskId(task.at.as_u64());
        let cancelling = task.is_cancelling;
        Ok(Details {
            task: NewTask {
                id,
                name,
                state,
                cancelling,
                stack,
                awaiting,
            },
            awaiters,
        })
    }

    /// The stack of the coroutine at `coroutine`, and the type of what its innermost frame awaits.
    fn read_stack(
        &mut self,
        coroutine: RemoteAddr,
    ) -> Result<(Option<FrameState>, StackIdx, Option<TextIdx>), DecodeError> {
        if coroutine.is_null() {
            return Ok((None, StackIdx::EMPTY, None));
        }
        let chain = self.chains.follow(self.reader, self.offsets, coroutine)?;
        if let Some(limit) = chain.cut {
            let what = format!("stack of coroutine {coroutine}");
            self.note("limit_hit", &what, DecodeError::Limit(limit))?;
        }
        let mut frames = Vec::with_capacity(chain.frames.len());
        for frame in chain.frames.iter().rev() {
            frames.push(self.frame(frame)?);
        }
        let stack = self.graph.stack(&frames);
        Ok((chain.state, stack, self.awaited_type(&chain)?))
    }

    fn frame(&mut self, frame: &ChainFrame) -> Result<FrameIdx, DecodeError> {
        let key = (frame.code.at(), frame.unit, frame.via);
        if let Some(known) = self.frames.get(&key) {
            return Ok(*known);
        }
        let at = self.graph.frame(NewFrame {
            function: &frame.code.function,
            file: frame.code.file.as_deref(),
            line: frame.code.line(frame.unit),
            via: frame.via,
        });
        self.frames.insert(key, at);
        if let Some(error) = frame.code.problem {
            let what = format!("code object of {}", frame.code.function);
            self.note(error.code(), &what, error)?;
        }
        Ok(at)
    }

    fn awaited_type(&mut self, chain: &Chain) -> Result<Option<TextIdx>, DecodeError> {
        let Some(mut awaited) = chain.awaited else {
            return Ok(None);
        };
        let mut info = self
            .chains
            .types
            .type_of(self.reader, self.offsets, awaited)?;
        if info.kind == Kind::FutureIter {
            // The iterator's only member is its future; that is what a person wants to know.
            let future = self
                .reader
                .addr_at(awaited.plus(self.offsets.pyobject.size))?;
            if !future.is_null() {
                awaited = future;
                info = self
                    .chains
                    .types
                    .type_of(self.reader, self.offsets, awaited)?;
            }
        }
        Ok(Some(self.graph.text(self.chains.types.name(info))))
    }

    /// Pass three: of what was read, what fresh copies confirm.
    ///
    /// A task that ended leaves its memory to the next one, often with the same coroutine and name
    /// address, so the name itself is compared. An awaiter counts if it was there both times: its
    /// own identity is confirmed between the same two looks, so it was the one that waited.
    fn confirm(
        &mut self,
        lists: &Lists,
        mut details: Vec<Option<Details>>,
    ) -> Result<Vec<Option<Details>>, DecodeError> {
        self.reader.forget_all();
        let tasks = lists.lists.iter().flat_map(|list| &list.tasks);
        for (task, slot) in tasks.zip(&mut details) {
            let Some(found) = slot else {
                continue;
            };
            let Some(now) = self.still_there(task)? else {
                self.tasks_ended = self.tasks_ended.saturating_add(1);
                *slot = None;
                continue;
            };
            if let Err(error) = self.confirm_task(task, &now, found) {
                *slot = None;
                self.leave_out(task, "task_vanished", error)?;
            }
        }
        Ok(details)
    }

    fn confirm_task(
        &mut self,
        task: &RawTask,
        now: &RawTask,
        found: &mut Details,
    ) -> Result<(), DecodeError> {
        let name = now.read_name(
            self.reader,
            self.offsets,
            &mut self.chains.types,
            &mut self.graph,
        )?;
        if name != found.task.name {
            let (what, value) = ("changed name of a task", now.name.as_u64());
            return Err(DecodeError::Implausible {
                what,
                value,
                at: task.at,
            });
        }
        if now.awaited_by != task.awaited_by || now.awaited_by_is_set {
            let (awaiters, _) = now.read_awaiters(self.reader, self.offsets)?;
            let awaiters: FxHashSet<RemoteAddr> = awaiters.into_iter().collect();
            found.awaiters.retain(|awaiter| awaiters.contains(awaiter));
        }
        Ok(())
    }

    /// The header of a task that was in a list, if it is the same task and has not ended. What a
    /// list held was a task; if it is none any more, its memory was given away.
    fn still_there(&mut self, task: &RawTask) -> Result<Option<RawTask>, DecodeError> {
        match RawTask::read(self.reader, self.layout, task.at) {
            Ok(now) => {
                let same = now.coro == task.coro && now.is_pending && !now.next.is_null();
                Ok(same.then_some(now))
            }
            Err(DecodeError::Read(error)) if error.kind != ReadErrorKind::Unmapped => {
                self.note("task_vanished", &format!("task {}", task.at), error.into())?;
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    fn leave_out(
        &mut self,
        task: &RawTask,
        code: &str,
        error: DecodeError,
    ) -> Result<(), DecodeError> {
        self.tasks_unreadable = self.tasks_unreadable.saturating_add(1);
        self.note(code, &format!("task {}", task.at), error)
    }

    /// Pass four: tasks and edges into the graph.
    fn build(&mut self, lists: &Lists, details: Vec<Option<Details>>) -> Result<(), DecodeError> {
        let mut stacks: FxHashMap<RemoteAddr, Option<StackIdx>> = FxHashMap::default();
        let mut edges: Vec<(TaskIdx, RemoteAddr)> = Vec::new();
        let mut details = details.into_iter();
        for list in &lists.lists {
            if list.tasks.is_empty() && !list.has_loop {
                continue;
            }
            self.graph.begin_thread(list.interpreter_id, list.tid);
            for (task, found) in list.tasks.iter().zip(details.by_ref()) {
                let Some(found) = found else {
                    // Whoever is there now is not the one that was seen to wait.
                    stacks.insert(task.at, None);
                    continue;
                };
                stacks.insert(RemoteAddr::new(found.task.id.0), Some(found.task.stack));
                let at = self.graph.add_task(found.task);
                edges.extend(found.awaiters.into_iter().map(|awaiter| (at, awaiter)));
            }
        }
        for (awaited, awaiter) in edges {
            let stack = match stacks.get(&awaiter) {
                Some(known) => *known,
                None => {
                    let read = self.read_unlisted_awaiter(awaiter);
                    stacks.insert(awaiter, read.ok());
                    if let Err(error) = read {
                        self.note("awaiter_unreadable", &format!("awaiter {awaiter}"), error)?;
                    }
                    read.ok()
                }
            };
            // No wrong edge is worth a more complete picture.
            if let Some(stack) = stack {
                self.graph
                    .add_edge(awaited, TaskId(awaiter.as_u64()), stack);
            }
        }
        Ok(())
    }

    /// The stack of an awaiter that no list holds: a future has none.
    fn read_unlisted_awaiter(&mut self, at: RemoteAddr) -> Result<StackIdx, DecodeError> {
        if !is_task(self.reader, self.layout, at)? {
            return Ok(StackIdx::EMPTY);
        }
        let task = RawTask::read(self.reader, self.layout, at)?;
        Ok(self.read_stack(task.coro)?.1)
    }
}
