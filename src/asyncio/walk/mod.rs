//! One walk over all interpreters, threads and tasks of a process: from memory to a graph.
//!
//! The walk has four passes. The lists first ([`lists`]), because they are what a busy process changes
//! most; a torn one is walked again from the start. Then every task's name, coroutine stack and
//! awaiters ([`details`]), once from the copies that the first pass made, and once more with fresh
//! copies for the tasks that made no sense. Then all tasks are compared with fresh copies
//! ([`confirm`]): a task that ended in between, or whose memory belongs to another now, is left out.
//! Last the edges, between what was confirmed.

mod confirm;
mod details;
mod lists;

use super::offsets::AsyncioOffsets;
use super::task::{RawTask, is_task};
use crate::cpython::{ChainReader, DecodeError, Interpreter, Offsets, RuntimeSite};
use crate::graph::{FrameIdx, GraphBuilder, Problem, StackIdx, TaskGraph, TaskIdx, Via};
use crate::ids::TaskId;
use crate::memory::{Reader, RemoteAddr};
use details::Details;
use lists::Lists;
use rustc_hash::FxHashMap;

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

    /// Leaves a task out because of an error.
    fn leave_out(
        &mut self,
        task: &RawTask,
        code: &str,
        error: DecodeError,
    ) -> Result<(), DecodeError> {
        self.tasks_unreadable = self.tasks_unreadable.saturating_add(1);
        self.note(code, &format!("task {}", task.at), error)
    }

    /// Leaves a task out because it ended. Nothing is missing then.
    fn leave_out_ended(&mut self) {
        self.tasks_ended = self.tasks_ended.saturating_add(1);
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
                stacks.insert(task.at, Some(found.task.stack));
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
        Ok(self.read_stack(task.coro, None)?.1)
    }
}
