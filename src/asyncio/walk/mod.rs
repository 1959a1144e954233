//! One walk over all interpreters, threads and tasks of a process: from memory to a graph.
//!
//! Tasks that are in no list are found in sets ([`scheduled`]), and looked at like all others.
//!
//! Three questions are asked of each task: which one it is (its object and its name), where it stands,
//! and who awaits it. If the process sleeps, they are asked together, in one look that passes through
//! memory once ([`first`]). If it did not run at all meanwhile, that look is exact.
//!
//! If it runs, memory is a different one at each moment, and what is read is checked in the order in
//! which it can become false:
//!
//! 1. The first look follows the lists of tasks and reads the names. A link that does not lead back is
//!    repaired on the spot, by going back to the last task that is still in the list.
//! 2. Where the tasks stand is looked at until two looks agree ([`places`]).
//! 3. Who awaits them is read, and last of all the names once more: as long as a name is there, its task
//!    was the one that was seen ([`confirm`]).
//! 4. The lists of the tasks that are left are proven by links between them ([`owners`]).

mod alone;
mod calls;
mod confirm;
mod cycles;
mod edges;
mod elsewhere;
mod event_loop;
mod first;
mod forked;
mod handlers;
mod heads;
mod holds;
mod long_waits;
mod look;
mod owners;
mod passages;
mod places;
mod scheduled;
mod surplus;
mod timers;
mod turns;
mod unlisted;

use super::offsets::AsyncioOffsets;
use super::python_task::{self, TaskAttributes};
use super::task::RawTask;
use crate::cpython::{ChainFrame, ChainReader, DecodeError, Interpreter, Offsets, RuntimeSite};
use crate::graph::{
    FrameIdx, GraphBuilder, LongWait, Problem, StackIdx, TaskGraph, TaskName, TextIdx,
};
use crate::ids::{AddressMap, TaskId};
use crate::limits::{CONFIRMED, FIRST_LOOK, LimitHit, LimitsHit, REST, is_of_snapshot};
use crate::memory::{Buffers, ReadErrorKind, Reader, RemoteAddr, Trail};
use alone::TasksAlone;
use event_loop::{LoopAttributes, loop_attributes};
use first::Depth;
use heads::TaskList;
use holds::Holds;
use look::{Awaiters, Place, Sighting};
use rustc_hash::{FxHashMap, FxHashSet};
use scheduled::Scheduled;
use std::time::Duration;
use turns::Fronts;

/// What is known of a process from earlier walks, and is true of it as long as it runs the same
/// program: decoded types and code objects, and which memory a walk touches.
#[derive(Debug, Default)]
pub struct Knowledge {
    chains: ChainReader,
    trails: Trails,
    /// The process ran during the last walk.
    runs: bool,
    /// For each interpreter how often a code object was deleted.
    generations: Vec<(i64, u64)>,
    /// Where each interpreter keeps tasks that are in no list.
    scheduled: Vec<Scheduled>,
    /// How many tasks the last walk found.
    n_tasks: usize,
    /// Tasks that the next walk is to look at closely.
    asked: Vec<TaskId>,
    /// Where lines stood at the last walk.
    fronts: Fronts,
    /// The time by the clock of its event loops, if that is known.
    clock: Option<Duration>,
}

/// Which memory the last looks of each sort touched.
#[derive(Debug, Default)]
struct Trails {
    /// At everything.
    everything: Trail,
    /// At lists and names.
    lists: Trail,
    /// At where tasks stand.
    places: Trail,
    /// At who awaits them.
    awaiters: Trail,
    /// At their objects, once more.
    objects: Trail,
    /// At their names, once more.
    names: Trail,
    /// At what tells their turns apart.
    turns: Trail,
}

impl Knowledge {
    /// Which memory the last look at everything touched.
    pub fn trail(&self) -> &Trail {
        &self.trails.everything
    }

    /// Has the next walk look closely at these tasks, which have waited for long.
    pub fn ask(&mut self, tasks: Vec<TaskId>) {
        self.asked = tasks;
    }

    /// Forgets decoded code objects that take more than so many bytes: the next walk decodes those that it meets anew.
    pub fn keep_at_most(&mut self, code_bytes_max: usize) {
        self.chains.codes.keep_at_most(code_bytes_max);
    }

    /// What the clock of its event loops shows as the next walk begins, if that is known.
    pub fn set_clock(&mut self, clock: Option<Duration>) {
        self.clock = clock;
    }

    /// Whether the next walk is to look closely at some tasks.
    pub fn is_asked(&self) -> bool {
        !self.asked.is_empty()
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
    /// Tasks that were only counted, as a limit of the snapshot left no room or time for them.
    pub tasks_counted: u64,
    /// Lists that could not be followed to their end: nobody knows how many tasks of them are missing.
    pub lists_cut: u64,
    /// Tasks that ended while they were read.
    pub tasks_ended: u64,
    /// Edges to tasks of the graph that ended while they were read.
    pub edges_ended: u64,
    /// How often a list had to be found again because it changed.
    pub restarts: u64,
    /// Which limits were reached, by their names.
    pub limits_hit: LimitsHit,
    /// Threads that run an event loop.
    pub running_loops: u64,
    /// The process did not run while it was read.
    pub is_exact: bool,
    /// The interpreters of the process.
    pub interpreters: Vec<Interpreter>,
    /// What was found out of the tasks that were asked about; of those that could be read.
    pub long_waits: Vec<LongWait>,
}

/// A task that was found.
#[derive(Debug)]
struct Record {
    task: RawTask,
    /// The list that holds it.
    list: u32,
    name: TaskName,
    awaiters: Awaiters,
    place: Place,
    /// It is still believed to be there.
    is_alive: bool,
    /// It stood at the same place of its list at the end as at first.
    links_lasted: bool,
}

impl Record {
    /// Whether no other task can have this name: CPython gives each number once. Text can be another
    /// task's as well, in the same string or in one of its own.
    fn has_own_name(&self) -> bool {
        matches!(self.name, TaskName::Number(_))
    }

    /// A task of which nothing could be read but its object.
    fn unreadable(list: u32, task: RawTask) -> Self {
        Self {
            task,
            list,
            name: TaskName::Unknown,
            awaiters: Awaiters::default(),
            place: Place::UNKNOWN,
            is_alive: false,
            links_lasted: false,
        }
    }
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
    /// The tasks that are executed, and the lists of their threads.
    running: FxHashMap<RemoteAddr, usize>,
    /// The lists by their heads, those of threads that ended meanwhile included.
    heads: FxHashMap<RemoteAddr, usize>,
    /// Those that there are at the end.
    heads_now: FxHashMap<RemoteAddr, usize>,
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
    limits_hit: LimitsHit,
    tasks_unreadable: u64,
    tasks_counted: u64,
    /// Which limit left no more than that.
    counted_by: Option<DecodeError>,
    /// Of those in sets, how many were only counted.
    members_counted: u64,
    lists_cut: u64,
    tasks_ended: u64,
    edges_ended: u64,
    repairs: u64,
    /// Tasks that were found again in the list that is being followed.
    n_again: u32,
    /// The stacks of awaiters that no list holds, by the record of who is awaited and their address.
    unlisted: FxHashMap<(u32, RemoteAddr), StackIdx>,
    /// Awaits that no set holds, as far as they are certain in a process that runs.
    unnoted: scheduled::UnnotedAwaits,
    /// Edges that did not last, as record and awaiter.
    ended_edges: FxHashSet<(u32, RemoteAddr)>,
    /// Which edges of cycles hold.
    holds: Holds,
    /// The records of tasks that edges of the graph lead to.
    is_awaiter: Vec<bool>,
    /// Of tasks that wait for a turn, by record: which one.
    turns: FxHashMap<usize, u64>,
    /// Where lines stood at the walk before.
    fronts: &'w mut Fronts,
    /// What the clock of event loops showed when it began.
    clock: Option<Duration>,
    loop_attributes: LoopAttributes,
    /// For each interpreter how often a code object was deleted.
    generations: &'w mut Vec<(i64, u64)>,
    is_exact: bool,
    /// Tasks that are looked at alone.
    alone: TasksAlone,
    /// Where each interpreter keeps tasks that are in no list.
    scheduled: &'w mut Vec<Scheduled>,
    /// Of tasks that are implemented in Python.
    attributes: TaskAttributes,
    /// What a look at a list looks at.
    depth: Depth,
    /// Caps that left a part of a task out.
    cuts: Vec<LimitHit>,
    /// Tasks that are to be looked at closely.
    asked: &'w mut Vec<TaskId>,
    /// What was found out of them.
    long_waits: Vec<LongWait>,
    /// Of a process that runs: where each task was seen by the latest look, if that made sense.
    sightings: Vec<Option<Sighting>>,
}

/// Whether the process runs while it is walked. The questions are asked once, when everything has been
/// read: whether it cannot have run since before the walk began.
pub enum Stillness<'a> {
    /// It runs.
    Runs,
    /// It slept when the walk began.
    Slept(&'a mut dyn FnMut() -> bool),
    /// It is held. It may be let go when that is asked.
    Held(&'a mut dyn FnMut() -> bool),
}

impl std::fmt::Debug for Stillness<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Runs => "Runs",
            Self::Slept(_) => "Slept",
            Self::Held(_) => "Held",
        })
    }
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
    knowledge: &mut Knowledge,
    workspace: &mut Workspace,
    stillness: Stillness<'_>,
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
        running: FxHashMap::default(),
        heads: FxHashMap::default(),
        heads_now: FxHashMap::default(),
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
        limits_hit: LimitsHit::default(),
        tasks_unreadable: 0,
        tasks_counted: 0,
        counted_by: None,
        members_counted: 0,
        lists_cut: 0,
        tasks_ended: 0,
        edges_ended: 0,
        repairs: 0,
        n_again: 0,
        unlisted: FxHashMap::default(),
        unnoted: scheduled::UnnotedAwaits::default(),
        ended_edges: FxHashSet::default(),
        holds: Holds::default(),
        is_awaiter: Vec::new(),
        turns: FxHashMap::default(),
        fronts: &mut knowledge.fronts,
        clock: knowledge.clock,
        loop_attributes: loop_attributes(),
        generations: &mut knowledge.generations,
        is_exact: false,
        alone: TasksAlone::default(),
        scheduled: &mut knowledge.scheduled,
        attributes: python_task::attributes(),
        depth: Depth::Everything,
        cuts: Vec::new(),
        asked: &mut knowledge.asked,
        long_waits: Vec::new(),
        sightings: Vec::new(),
    };
    walk.look(&mut knowledge.trails, knowledge.runs, stillness)?;
    knowledge.runs = !walk.is_exact;
    walk.note_torn_lists()?;
    walk.note_surplus()?;
    walk.leave_out_copies()?;
    knowledge.n_tasks = walk.records.len();
    let read = walk.build()?;
    workspace.records = walk.records;
    workspace.by_address = walk.by_address;
    workspace.awaiters = walk.awaiters;
    workspace.clear();
    Ok(read)
}

impl Walk<'_, '_> {
    /// Looks at the process, in the way that its stillness asks for.
    fn look(
        &mut self,
        trails: &mut Trails,
        ran_before: bool,
        stillness: Stillness<'_>,
    ) -> Result<(), DecodeError> {
        match stillness {
            // A process that ran the last time will run again.
            Stillness::Slept(slept_on) if ran_before => {
                self.look_while_it_runs(trails)?;
                self.is_exact = slept_on();
            }
            Stillness::Slept(stood_still) | Stillness::Held(stood_still) => {
                self.look_at_everything(trails)?;
                self.is_exact = stood_still();
                if !self.is_exact {
                    self.depth = Depth::Names;
                    // What was read of a set that changed meanwhile is not all of it.
                    self.look_at_scheduled()?;
                    self.look_again(trails, trails.everything.in_order_of_copies())?;
                }
            }
            Stillness::Runs => {
                self.look_while_it_runs(trails)?;
            }
        }
        Ok(())
    }

    /// Looks at all tasks once, and at everything of them.
    fn look_at_everything(&mut self, trails: &mut Trails) -> Result<(), DecodeError> {
        self.reader
            .begin_look(std::mem::take(&mut trails.everything))?;
        self.find_heads()?;
        self.check_generations();
        self.first_look(Depth::Everything)?;
        self.read_all_unlisted()?;
        self.unnoted = self.unnoted_awaits();
        self.find_loose_edges(false)?;
        self.find_turns()?;
        trails.everything = self.reader.end_look();
        Ok(())
    }

    /// Looks at all tasks of a process that runs.
    fn look_while_it_runs(&mut self, trails: &mut Trails) -> Result<(), DecodeError> {
        self.reader
            .begin_whole_look(std::mem::take(&mut trails.lists))?;
        self.find_heads()?;
        // What is seen once only is left out: of nothing that it finds more than can be looked at again.
        self.reader.begin_part(FIRST_LOOK);
        self.first_look(Depth::Names)?;
        self.reader.begin_part(REST);
        trails.lists = self.reader.end_look();
        self.look_again(trails, trails.places.in_order_of_copies())
    }

    /// Looks again at the tasks of a process that runs, until what is kept of them is certain. `places`
    /// is what a look at where they stand is expected to touch.
    fn look_again(&mut self, trails: &mut Trails, places: Trail) -> Result<(), DecodeError> {
        self.unlisted.clear();
        self.depth = Depth::Names;
        self.follow_new_heads()?;
        trails.places = self.settle_places(places)?;
        self.reader.begin_part(CONFIRMED);
        trails.awaiters = self.find_awaiters(std::mem::take(&mut trails.awaiters))?;
        self.confirm_awaiters()?;
        trails.objects = self.confirm_objects(std::mem::take(&mut trails.objects))?;
        trails.names = self.confirm_names(std::mem::take(&mut trails.names))?;
        self.reader.begin_part(REST);
        self.settle_alone(trails.places.clone())?;
        self.find_owners()?;
        self.settle_unlisted()?;
        self.settle_unnoted()?;
        self.settle_cycles()?;
        self.find_loose_edges(true)?;
        self.reader.begin_look(std::mem::take(&mut trails.turns))?;
        self.find_turns()?;
        trails.turns = self.reader.end_look();
        self.leave_out_lists_of_others()
    }

    /// Begins a look at code objects: all that is known of them is doubted if any was deleted.
    fn check_generations(&mut self) {
        let offset = self.offsets.interpreter_state.code_object_generation;
        let mut generations = Vec::with_capacity(self.interpreters.len());
        for interpreter in &self.interpreters {
            if let Ok(generation) = self.reader.u64_at(interpreter.at.plus(offset)) {
                generations.push((interpreter.id, generation));
            }
        }
        if generations != *self.generations {
            self.chains.codes.clear();
            self.frames.clear();
            self.last_stack = look::LastStack::default();
            *self.generations = generations;
        }
        self.chains.codes.begin_look();
    }

    /// Notes a problem; passes on an error after which nothing can be read.
    fn note(&mut self, code: &str, what: &str, error: DecodeError) -> Result<(), DecodeError> {
        if error.is_fatal() {
            return Err(error);
        }
        if let Some(limit) = error.limit() {
            self.limits_hit.add(limit);
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

    /// Notes that there was no room, or no time, for all tasks.
    fn note_surplus(&mut self) -> Result<(), DecodeError> {
        self.tasks_counted = self.tasks_counted.saturating_add(self.members_counted);
        if self.tasks_counted == 0 {
            return Ok(());
        }
        let room = DecodeError::Limit(self.tasks_max());
        let what = format!("{} more tasks were only counted", self.tasks_counted);
        self.note("limit_hit", &what, self.counted_by.unwrap_or(room))
    }

    /// Notes a list that could not be followed to its end.
    fn note_cut(&mut self, code: &str, what: &str, error: DecodeError) -> Result<(), DecodeError> {
        self.lists_cut = self.lists_cut.saturating_add(1);
        self.note(code, what, error)
    }

    /// Leaves a task out because of an error. If a limit of the snapshot left no room or time for more of it,
    /// it still counts.
    fn leave_out(
        &mut self,
        at: RemoteAddr,
        code: &str,
        error: DecodeError,
    ) -> Result<(), DecodeError> {
        if error.limit().is_some_and(is_of_snapshot) {
            self.tasks_counted = self.tasks_counted.saturating_add(1);
            self.counted_by.get_or_insert(error);
            return Ok(());
        }
        self.tasks_unreadable = self.tasks_unreadable.saturating_add(1);
        self.note(code, &format!("task {at}"), error)
    }

    /// The object of a task that was found, if it is the same task and has not ended. What a list held
    /// was a task; if it is none any more, its memory was given away.
    fn still_there(&mut self, task: &RawTask) -> Result<Option<RawTask>, DecodeError> {
        let read = match task.is_python {
            false => RawTask::read(self.reader, self.layout, task.at),
            true => self.read_python_again(task.at),
        };
        match read {
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

    fn is_alive(&self, record: usize) -> bool {
        self.records
            .get(record)
            .is_some_and(|record| record.is_alive)
    }

    fn is_python(&self, record: usize) -> bool {
        self.records
            .get(record)
            .is_some_and(|record| record.task.is_python)
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
