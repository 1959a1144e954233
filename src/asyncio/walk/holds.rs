//! Which edges of await cycles hold. That a task is noted as awaiter of another one does not yet mean that it
//! cannot go on without it (Lib/asyncio/tasks.py, taskgroups.py and timeouts.py of CPython 3.14 and 3.15):
//!
//! - `asyncio.wait` may want the first of several, or have a timeout; so does `as_completed`.
//! - `asyncio.timeout` and `wait_for` end what the task waits for, whatever that is.
//! - `gather`, `shield` and `TaskGroup.create_task` note the awaiter when they are called. It may wait for something
//!   else until it comes to await what they gave it, or never do so.
//!
//! So for each task on a cycle it is read what it waits for now. An edge that this does not explain is loose. A
//! cycle with a loose edge is shown, but it is no deadlock.

use super::Walk;
use crate::cpython::{
    Attributes, ChainFrame, DecodeError, FrameState, Kind, Variables, in_cell, read_function,
    read_list, read_set, read_text, read_tuple,
};
use crate::limits::LimitHit;
use crate::memory::RemoteAddr;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Tasks on cycles that are looked at. The edges of further ones count as loose.
const TASKS_MAX: usize = 16_384;
/// How often a process that runs is asked; an edge holds if it does each time.
const LOOKS: u32 = 2;
/// Futures that a task waits for at once.
const FUTURES_MAX: u64 = 65_536;
/// Variables that the callback of `shield` refers to.
const CELLS_MAX: u64 = 64;

/// The attributes that are used, in the order in which [`Waiter`] names them.
const ATTRIBUTES: [&str; 5] = [
    "_tasks",
    "_todo",
    "_children",
    "_timeout_handle",
    "_timeout_handler",
];
const TASKS: usize = 0;
const TODO: usize = 1;
const CHILDREN: usize = 2;
/// Of `as_completed`, and of anyio's `CancelScope`.
const TIMEOUT_HANDLE: usize = 3;
/// Of `asyncio.timeout`.
const TIMEOUT_HANDLER: usize = 4;

/// Finds the attributes of what tasks wait for.
type WaitAttributes = Attributes<5>;

/// What a task needs to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Needs {
    /// That all of these futures end.
    All(Vec<RemoteAddr>),
    /// That one of them does.
    One(Vec<RemoteAddr>),
    /// None of the tasks that are noted.
    Other,
}

/// What was found out of the edges of cycles.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Loose ones, by the records of awaited and awaiter.
    pub(super) loose: FxHashSet<(u32, u32)>,
    /// Tasks that need one of what they await.
    pub(super) needs_one: FxHashSet<u32>,
}

/// A frame of a task that waits: its function and file, and what it holds.
struct Waiting {
    function: Arc<str>,
    file: Option<Arc<str>>,
    variables: Variables,
}

impl Waiting {
    fn is(&self, function: &str, file: &str) -> bool {
        let own = self.file.as_deref().unwrap_or_default();
        &*self.function == function && own.ends_with(file)
    }
}

impl Walk<'_, '_> {
    /// Finds out which edges of cycles are loose.
    pub(super) fn find_loose_edges(&mut self, runs: bool) -> Result<(), DecodeError> {
        self.holds = Holds::default();
        let mut awaited_of: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
        for (awaited, awaiter) in self.edges_of_cycles() {
            awaited_of.entry(awaiter).or_default().push(awaited);
        }
        let mut awaiters: Vec<u32> = awaited_of.keys().copied().collect();
        awaiters.sort_unstable();
        let mut attributes = WaitAttributes::new(ATTRIBUTES);
        let looks = if runs { LOOKS } else { 1 };
        let mut was_cut = false;
        for _ in 0..looks {
            for (nth, awaiter) in awaiters.iter().enumerate() {
                if runs {
                    self.reader.look_aside();
                }
                let needs = match nth < TASKS_MAX {
                    true => self.needs_of(&mut attributes, *awaiter),
                    false => Ok(Needs::Other),
                };
                self.reader.look_back();
                let needs = match needs {
                    Ok(needs) => needs,
                    Err(error) if error.is_fatal() => return Err(error),
                    Err(error) if error.is_limit() => {
                        if !std::mem::replace(&mut was_cut, true) {
                            self.note(error.code(), "await cycles", error)?;
                        }
                        Needs::Other
                    }
                    // Whoever is in a deadlock can be read.
                    Err(_) => Needs::Other,
                };
                let awaited = awaited_of.get(awaiter).map_or(&[][..], Vec::as_slice);
                self.note_needs(*awaiter, awaited, &needs);
            }
        }
        Ok(())
    }

    fn note_needs(&mut self, awaiter: u32, awaited: &[u32], needs: &Needs) {
        let holding = match needs {
            Needs::All(futures) => futures.as_slice(),
            Needs::One(futures) if futures.iter().all(|at| self.is_task_here(*at)) => {
                self.holds.needs_one.insert(awaiter);
                futures
            }
            // One that is no task, or that is not known, may end at any time.
            Needs::One(_) | Needs::Other => &[],
        };
        let holding: FxHashSet<RemoteAddr> = holding.iter().copied().collect();
        for awaited in awaited {
            let at = self.alive(*awaited).map(|record| record.task.at);
            if at.is_none_or(|at| !holding.contains(&at)) {
                self.holds.loose.insert((*awaited, awaiter));
            }
        }
    }

    /// Whether it is a task of the graph.
    fn is_task_here(&self, at: RemoteAddr) -> bool {
        let record = self.by_address.get(&at);
        record.is_some_and(|record| self.alive(*record).is_some())
    }

    fn needs_of(
        &mut self,
        attributes: &mut WaitAttributes,
        awaiter: u32,
    ) -> Result<Needs, DecodeError> {
        let Some(task) = self.alive(awaiter).map(|record| record.task) else {
            return Ok(Needs::Other);
        };
        let Some(task) = self.still_there(&task)? else {
            return Ok(Needs::Other);
        };
        if !task.awaits.is_plausible() {
            return Ok(Needs::Other);
        }
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        let chain = self.chains.follow(reader, offsets, task.coro, false)?;
        let waits = matches!(
            chain.state,
            Some(FrameState::Awaiting | FrameState::Suspended)
        );
        if !waits || chain.cut.is_some() {
            return Ok(Needs::Other);
        }
        // The innermost two.
        let (mut inner, mut outer) = (None, None);
        let frames: Vec<_> = self.chains.placed_frames().collect();
        for (frame, at) in frames {
            let Some(frame) = self.frame_waiting(frame, at)? else {
                return Ok(Needs::Other);
            };
            if self.has_timeout(attributes, &frame)? {
                return Ok(Needs::Other);
            }
            outer = inner.replace(frame);
        }
        if self.is_task_here(task.awaits) {
            return Ok(Needs::All(vec![task.awaits]));
        }
        match (&inner, &outer) {
            (Some(wait), _) if wait.is("_wait", "asyncio/tasks.py") => self.needs_of_wait(wait),
            (Some(group), _) if group.is("TaskGroup._aexit", "asyncio/taskgroups.py") => {
                let tasks = self.attribute(attributes, group, TASKS)?;
                Ok(Needs::All(self.futures_in(tasks)?))
            }
            (Some(get), Some(wait))
                if get.is("Queue.get", "asyncio/queues.py")
                    && wait.is("_AsCompletedIterator._wait_for_one", "asyncio/tasks.py") =>
            {
                let timer = self.attribute(attributes, wait, TIMEOUT_HANDLE)?;
                if self.is_set(timer)? {
                    return Ok(Needs::Other);
                }
                let todo = self.attribute(attributes, wait, TODO)?;
                Ok(Needs::One(self.futures_in(todo)?))
            }
            _ => self.needs_of_future(attributes, task.awaits),
        }
    }

    fn frame_waiting(
        &mut self,
        frame: ChainFrame,
        at: RemoteAddr,
    ) -> Result<Option<Waiting>, DecodeError> {
        let Some(code) = self.chains.codes.info(frame.code) else {
            return Ok(None);
        };
        Ok(Some(Waiting {
            function: Arc::clone(&code.function),
            file: code.file.clone(),
            variables: Variables::read(self.reader, self.offsets, at, code)?,
        }))
    }

    /// Whether a `with` block of a frame ends the wait after some time: one of `asyncio.timeout`, which
    /// `wait_for` uses too, of `async_timeout`, or of anyio.
    fn has_timeout(
        &mut self,
        attributes: &mut WaitAttributes,
        frame: &Waiting,
    ) -> Result<bool, DecodeError> {
        for manager in frame.variables.on_stack() {
            if !manager.is_plausible() {
                continue;
            }
            let (reader, types) = (&mut *self.reader, &mut self.chains.types);
            let info = match types.type_of(reader, self.offsets, *manager) {
                Ok(info) => info,
                Err(error) if error.is_fatal() || error.is_limit() => return Err(error),
                // Not everything on a stack is an object.
                Err(_) => continue,
            };
            if !matches!(types.name(info), "Timeout" | "CancelScope") {
                continue;
            }
            let found = attributes.of(reader, self.offsets, types, *manager)?;
            for timer in [TIMEOUT_HANDLE, TIMEOUT_HANDLER] {
                let timer = found.get(timer).copied().unwrap_or_default();
                if self.is_set(timer.value)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// What `asyncio.wait` was called for: `_wait(fs, timeout, return_when, loop)`.
    fn needs_of_wait(&mut self, wait: &Waiting) -> Result<Needs, DecodeError> {
        let parameter = |position| wait.variables.parameter(position);
        let (Some(futures), Some(timeout), Some(return_when)) =
            (parameter(0), parameter(1), parameter(2))
        else {
            return Ok(Needs::Other);
        };
        let timeout = self.value(timeout)?;
        if self.is_set(timeout)? {
            return Ok(Needs::Other);
        }
        let futures = self.value(futures)?;
        let futures = self.futures_in(futures)?;
        let return_when = self.value(return_when)?;
        Ok(match self.text_of(return_when)?.as_str() {
            "FIRST_COMPLETED" => Needs::One(futures),
            "ALL_COMPLETED" | "FIRST_EXCEPTION" => Needs::All(futures),
            _ => Needs::Other,
        })
    }

    /// What a future needs to end that is no task: that of `gather`, or of `shield`.
    fn needs_of_future(
        &mut self,
        attributes: &mut WaitAttributes,
        future: RemoteAddr,
    ) -> Result<Needs, DecodeError> {
        let (reader, types) = (&mut *self.reader, &mut self.chains.types);
        let info = types.type_of(reader, self.offsets, future)?;
        match types.name(info) {
            "_GatheringFuture" => {
                let found = attributes.of(reader, self.offsets, types, future)?;
                let children = found.get(CHILDREN).copied().unwrap_or_default();
                Ok(Needs::All(self.futures_in(children.value)?))
            }
            "_asyncio.Future" => self.needs_of_shield(future),
            _ => Ok(Needs::Other),
        }
    }

    /// The future that `shield` gives is told of the end of the inner one, which a callback of its own refers to.
    fn needs_of_shield(&mut self, future: RemoteAddr) -> Result<Needs, DecodeError> {
        let callback = future.plus(self.layout.future_callback(self.offsets));
        let callback = self.reader.addr_at(callback)?;
        if !callback.is_plausible() {
            return Ok(Needs::Other);
        }
        let (reader, types) = (&mut *self.reader, &mut self.chains.types);
        let Some(function) = read_function(reader, self.offsets, types, callback)? else {
            return Ok(Needs::Other);
        };
        let codes = &mut self.chains.codes;
        let code = codes.code_at(reader, self.offsets, types, function.code)?;
        let is_shield = codes.info(code).is_some_and(|code| {
            let file = code.file.as_deref().unwrap_or_default();
            &*code.function == "shield.<locals>._outer_done_callback"
                && file.ends_with("asyncio/tasks.py")
        });
        if !is_shield {
            return Ok(Needs::Other);
        }
        DecodeError::check_address("closure of a function", function.closure)?;
        let cells = read_tuple(self.reader, self.offsets, function.closure, CELLS_MAX)?;
        let mut inner = Vec::new();
        for cell in cells.unwrap_or_default() {
            DecodeError::check_address("cell", cell)?;
            let value = in_cell(self.reader, self.offsets, cell)?;
            if self.is_task_here(value) {
                inner.push(value);
            }
        }
        // The task that awaits it may be there as well.
        Ok(Needs::All(inner))
    }

    /// The value of an attribute of the `self` of a method.
    fn attribute(
        &mut self,
        attributes: &mut WaitAttributes,
        method: &Waiting,
        name: usize,
    ) -> Result<RemoteAddr, DecodeError> {
        let Some(of) = method.variables.parameter(0) else {
            return Ok(RemoteAddr::NULL);
        };
        let of = self.value(of)?;
        let types = &mut self.chains.types;
        let found = attributes.of(self.reader, self.offsets, types, of)?;
        Ok(found.get(name).map_or(RemoteAddr::NULL, |it| it.value))
    }

    /// The value of a variable, which is in a cell if a function within refers to it too.
    fn value(&mut self, variable: RemoteAddr) -> Result<RemoteAddr, DecodeError> {
        DecodeError::check_address("value of a variable", variable)?;
        let types = &mut self.chains.types;
        let info = types.type_of(self.reader, self.offsets, variable)?;
        match types.name(info) {
            "cell" => {
                let value = in_cell(self.reader, self.offsets, variable)?;
                DecodeError::check_address("value of a variable", value)?;
                Ok(value)
            }
            _ => Ok(variable),
        }
    }

    /// Whether a value is there and not `None`.
    fn is_set(&mut self, value: RemoteAddr) -> Result<bool, DecodeError> {
        if value.is_null() {
            return Ok(false);
        }
        let types = &mut self.chains.types;
        let info = types.type_of(self.reader, self.offsets, value)?;
        Ok(types.name(info) != "NoneType")
    }

    fn text_of(&mut self, value: RemoteAddr) -> Result<String, DecodeError> {
        let types = &mut self.chains.types;
        match types.type_of(self.reader, self.offsets, value)?.kind {
            Kind::Text => read_text(self.reader, self.offsets, value),
            _ => Ok(String::new()),
        }
    }

    /// The members of a set or list of futures; none if there are too many.
    fn futures_in(&mut self, container: RemoteAddr) -> Result<Vec<RemoteAddr>, DecodeError> {
        if container.is_null() {
            return Ok(Vec::new());
        }
        let types = &mut self.chains.types;
        let info = types.type_of(self.reader, self.offsets, container)?;
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        let (what, limit) = ("awaiters_per_task_max", FUTURES_MAX);
        match types.name(info) {
            "set" => {
                let members_max = LimitHit { what, limit };
                let set = read_set(reader, offsets, container, members_max)?;
                Ok(if set.cut.is_none() {
                    set.members
                } else {
                    Vec::new()
                })
            }
            "list" => Ok(read_list(reader, offsets, container, limit)?.unwrap_or_default()),
            _ => Ok(Vec::new()),
        }
    }
}
