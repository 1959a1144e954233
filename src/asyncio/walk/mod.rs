//! One walk over all interpreters, threads and tasks of a process: from memory to a graph.
//!
//! The process goes on while it is read, so what is read is checked in the order in which it can
//! become false:
//!
//! 1. The first look ([`first`]) follows the lists of tasks, and at each task reads everything of it
//!    ([`look`]): memory is passed through once. A link that does not lead back is repaired on the
//!    spot, by going back to the last task that is still in the list.
//! 2. The second look ([`second`]) reads everything again from later copies. A task must be the same
//!    one, by its name; a stack must be the same, or is looked at until two looks agree. Last of all
//!    the names are read once more: as long as a name is there, its task was the one that was seen.
//! 3. The edges ([`edges`]): one counts if its awaiter was the same task before and after the moment
//!    in which the edge was seen.
//!
//! If the process did not run at all while the first look was taken, that look is exact, and there is
//! no second one.

mod edges;
mod first;
mod heads;
mod look;
mod second;

use super::offsets::AsyncioOffsets;
use super::task::RawTask;
use crate::cpython::{ChainFrame, ChainReader, DecodeError, Interpreter, Offsets, RuntimeSite};
use crate::graph::{FrameIdx, GraphBuilder, Problem, StackIdx, TaskGraph, TextIdx};
use crate::ids::AddressMap;
use crate::memory::{Buffers, Moment, ReadErrorKind, Reader, RemoteAddr, Trail};
use heads::TaskList;
use look::Look;
use rustc_hash::{FxHashMap, FxHashSet};

/// What is known of a process from earlier walks, and is true of it as long as it runs the same
/// program: decoded types and code objects, and which memory a walk touches.
#[derive(Debug, Default)]
pub struct Knowledge {
    chains: ChainReader,
    trail: Trail,
    /// For each interpreter how often a code object was deleted.
    generations: Vec<(i64, u64)>,
    /// How many tasks the last walk found.
    n_tasks: usize,
}

impl Knowledge {
    /// Which memory the last walk touched; a reader copies the same ahead.
    pub fn take_trail(&mut self) -> Trail {
        std::mem::take(&mut self.trail)
    }

    /// Which memory the last walk touched.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }
}

/// What a walk needs while it lasts. Kept from one to the next, of whichever process, because fresh
/// memory costs a page fault for each page.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Copies of memory.
    pub buffers: Buffers,
    records: Vec<Record>,
    by_address: AddressMap<RemoteAddr, u32>,
    awaiters: Vec<RemoteAddr>,
}

impl Workspace {
    /// Beyond this many tasks the memory is given back.
    const TASKS_MAX: usize = 100_000;

    fn clear(&mut self) {
        if self.records.capacity() > Self::TASKS_MAX || self.awaiters.capacity() > Self::TASKS_MAX {
            *self = Self::default();
        }
        self.records.clear();
        self.by_address.clear();
        self.awaiters.clear();
    }
}

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
    /// How often a list had to be found again because it changed.
    pub restarts: u64,
    /// Whether any thread runs an event loop.
    pub has_running_loop: bool,
    /// The interpreters of the process.
    pub interpreters: Vec<Interpreter>,
}

/// A task that was found.
#[derive(Debug)]
struct Record {
    task: RawTask,
    /// The list that holds it.
    list: u32,
    /// What the latest look found.
    look: Look,
    /// When the first look saw the task.
    first_seen: Moment,
    /// When it saw who awaits it, if that was certainly this task.
    first_awaited: Option<Moment>,
    /// Both looks found the same awaiters.
    has_same_awaiters: bool,
    /// It is still believed to be there.
    is_alive: bool,
}

struct Walk<'w, 'm> {
    reader: &'w mut Reader<'m>,
    offsets: &'w Offsets,
    layout: &'w AsyncioOffsets,
    runtime: RemoteAddr,
    chains: &'w mut ChainReader,
    graph: GraphBuilder,
    frames: FxHashMap<ChainFrame, FrameIdx>,
    lists: Vec<TaskList>,
    /// The lists by their heads, those of threads that ended meanwhile included.
    heads: FxHashMap<RemoteAddr, usize>,
    interpreters: Vec<Interpreter>,
    records: Vec<Record>,
    /// The record that was last found at an address.
    by_address: AddressMap<RemoteAddr, u32>,
    /// The awaiters of all looks; a look has a range of them.
    awaiters: Vec<RemoteAddr>,
    chain_buffer: Vec<ChainFrame>,
    frame_buffer: Vec<FrameIdx>,
    last_stack: look::LastStack,
    /// Names of types that are in the graph, by `TypeInfo::name_index`.
    type_names: Vec<Option<TextIdx>>,
    problems: Vec<Problem>,
    n_problems: u64,
    tasks_unreadable: u64,
    tasks_ended: u64,
    repairs: u64,
    /// Tasks that were found again in the list that is being followed.
    n_again: u32,
    /// Awaiters that no list holds: their stacks, and `None` if they could not be read.
    unlisted: FxHashMap<RemoteAddr, Option<StackIdx>>,
    /// Edges that did not last, as record and awaiter.
    ended_edges: FxHashSet<(u32, RemoteAddr)>,
}

/// Reads the task graph of the process behind `reader`. `stood_still` is asked once, after the first
/// look, whether the process cannot have run since before the walk began.
///
/// # Errors
///
/// Only when the process is gone or may not be read any more; everything else is a problem of the
/// result.
pub fn read_graph(
    reader: &mut Reader<'_>,
    site: &RuntimeSite,
    layout: &AsyncioOffsets,
    knowledge: &mut Knowledge,
    workspace: &mut Workspace,
    stood_still: &mut dyn FnMut() -> bool,
) -> Result<Read, DecodeError> {
    knowledge.chains.types.begin_snapshot();
    let mut graph = GraphBuilder::new();
    graph.reserve(knowledge.n_tasks);
    workspace.records.reserve(knowledge.n_tasks);
    workspace.by_address.reserve(knowledge.n_tasks);
    let mut walk = Walk {
        reader,
        offsets: &site.offsets,
        layout,
        runtime: site.runtime,
        chains: &mut knowledge.chains,
        graph,
        frames: FxHashMap::default(),
        lists: Vec::new(),
        heads: FxHashMap::default(),
        interpreters: Vec::new(),
        records: std::mem::take(&mut workspace.records),
        by_address: std::mem::take(&mut workspace.by_address),
        awaiters: std::mem::take(&mut workspace.awaiters),
        chain_buffer: Vec::new(),
        frame_buffer: Vec::new(),
        last_stack: look::LastStack::default(),
        type_names: Vec::new(),
        problems: Vec::new(),
        n_problems: 0,
        tasks_unreadable: 0,
        tasks_ended: 0,
        repairs: 0,
        n_again: 0,
        unlisted: FxHashMap::default(),
        ended_edges: FxHashSet::default(),
    };
    walk.find_heads()?;
    walk.check_generations(&mut knowledge.generations);
    walk.first_look()?;
    let n_problems = walk.n_problems;
    walk.read_all_unlisted()?;
    if stood_still() {
        knowledge.trail = walk.reader.end_look();
    } else {
        // They are read again, between two looks at what they await.
        walk.unlisted.clear();
        walk.n_problems = n_problems;
        let n_problems = usize::try_from(n_problems).unwrap_or(usize::MAX);
        walk.problems.truncate(n_problems);
        walk.follow_new_heads()?;
        knowledge.trail = walk.reader.begin_look();
        knowledge.trail.was_busy = true;
        walk.check_generations(&mut knowledge.generations);
        walk.second_look()?;
        walk.confirm_names()?;
        walk.confirm_edges()?;
        walk.leave_out_lists_of_others();
        walk.reader.end_look();
    }
    walk.note_torn_lists()?;
    knowledge.n_tasks = walk.records.len();
    let read = walk.build()?;
    workspace.records = walk.records;
    workspace.by_address = walk.by_address;
    workspace.awaiters = walk.awaiters;
    workspace.clear();
    Ok(read)
}

impl Walk<'_, '_> {
    /// Begins a look at code objects: all that is known of them is doubted if any was deleted.
    fn check_generations(&mut self, known: &mut Vec<(i64, u64)>) {
        let offset = self.offsets.interpreter_state.code_object_generation;
        let mut generations = Vec::with_capacity(self.interpreters.len());
        for interpreter in &self.interpreters {
            if let Ok(generation) = self.reader.u64_at(interpreter.at.plus(offset)) {
                generations.push((interpreter.id, generation));
            }
        }
        if generations != *known {
            self.chains.codes.clear();
            self.frames.clear();
            self.last_stack = look::LastStack::default();
            *known = generations;
        }
        self.chains.codes.begin_look();
    }

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
        at: RemoteAddr,
        code: &str,
        error: DecodeError,
    ) -> Result<(), DecodeError> {
        self.tasks_unreadable = self.tasks_unreadable.saturating_add(1);
        self.note(code, &format!("task {at}"), error)
    }

    /// The object of a task that was found, if it is the same task and has not ended. What a list held
    /// was a task; if it is none any more, its memory was given away.
    fn still_there(&mut self, task: &RawTask) -> Result<Option<RawTask>, DecodeError> {
        match RawTask::read(self.reader, self.layout, task.at) {
            Ok(now) => {
                // A task in its eager first step is in no list yet.
                let is_listed = !now.next.is_null() || task.next.is_null();
                let same = now.is_same_object(task) && now.is_pending && is_listed;
                Ok(same.then_some(now))
            }
            Err(DecodeError::Read(error)) if error.kind != ReadErrorKind::Unmapped => {
                Err(error.into())
            }
            Err(_) => Ok(None),
        }
    }

    /// Does not believe any more that a task is there.
    fn forget(&mut self, record: usize) {
        if let Some(record) = self.records.get_mut(record) {
            record.is_alive = false;
        }
    }

    /// Leaves a task out because it ended. Nothing is missing then.
    fn leave_out_ended(&mut self, record: usize) {
        if let Some(record) = self.records.get_mut(record)
            && record.is_alive
        {
            record.is_alive = false;
            self.tasks_ended = self.tasks_ended.saturating_add(1);
        }
    }
}
