//! Which edges of await cycles hold. That a task is noted as awaiter of another one does not yet mean that it
//! cannot go on without it (Lib/asyncio/tasks.py, taskgroups.py and timeouts.py of CPython 3.14 and 3.15):
//!
//! - `asyncio.wait` may want the first of several, or have a timeout; so does `as_completed`.
//! - `asyncio.timeout` and `wait_for` cancel the task after some time, which ends its wait, or that of a task that it
//!   awaits. In a circle of plain awaits, `gather` and groups it ends none.
//! - `gather`, `shield` and `TaskGroup.create_task` note the awaiter when they are called. It may wait for something
//!   else until it comes to await what they gave it, or never do so.
//!
//! So for each task on a cycle it is read what it waits for now. An edge that this does not explain is loose. A
//! cycle with a loose edge is shown, but it is no deadlock.

use super::Walk;
use super::timers::Timer;
use crate::cpython::{
    Attributes, ChainFrame, CodeIdx, DecodeError, FrameState, Kind, Variables, in_cell,
    read_function, read_list, read_set, read_text, read_tuple,
};
use crate::graph::{is_installed, is_python};
use crate::limits::LimitHit;
use crate::memory::RemoteAddr;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Tasks on cycles that are looked at. The edges of further ones count as loose.
const TASKS_MAX: usize = 262_144;
/// How often a process that runs is asked; an edge holds if it does each time.
const LOOKS: u32 = 2;
/// Futures that a task waits for at once.
const FUTURES_MAX: u64 = 65_536;
/// The same, with those that stand for others.
const FUTURES_BEHIND_MAX: usize = 65_536;
/// Variables that the callback of `shield` refers to.
const CELLS_MAX: u64 = 64;

/// Which functions wait for all tasks of a group: of asyncio, and of anyio (4.16).
const GROUPS: [(&str, &str); 2] = [
    ("TaskGroup._aexit", "asyncio/taskgroups.py"),
    ("TaskGroup.__aexit__", "anyio/_backends/_asyncio.py"),
];

/// The attributes that are used.
const ATTRIBUTES: [&str; 12] = [
    "_tasks",
    "_todo",
    "_children",
    "_timeout_handle",
    "_timeout_handler",
    "_task",
    "_state",
    "_done_callbacks",
    "_when",
    "_deadline",
    "_child_scopes",
    "_shield",
];
/// Of a task group, and of anyio's `CancelScope`: those that are cancelled with it.
pub(super) const TASKS: usize = 0;
const TODO: usize = 1;
const CHILDREN: usize = 2;
/// Of `as_completed`, and of anyio's `CancelScope`.
pub(super) const TIMEOUT_HANDLE: usize = 3;
/// Of `asyncio.timeout`.
pub(super) const TIMEOUT_HANDLER: usize = 4;
/// Of `asyncio.timeout`: the task that it cancels.
pub(super) const TASK: usize = 5;
/// Of a future of `concurrent.futures`.
const STATE: usize = 6;
const DONE_CALLBACKS: usize = 7;
/// When it is due: of `asyncio.timeout`, and of `async_timeout` and anyio.
pub(super) const WHEN: usize = 8;
pub(super) const DEADLINE: usize = 9;
/// Of `CancelScope`: the scopes within, other than shielded ones, are cancelled with it.
pub(super) const CHILD_SCOPES: usize = 10;
pub(super) const SHIELD: usize = 11;

/// Finds the attributes of what tasks wait for.
pub(super) type WaitAttributes = Attributes<12>;

/// Made for one look.
pub(super) fn wait_attributes() -> WaitAttributes {
    WaitAttributes::new(ATTRIBUTES)
}

/// What a task needs to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Needs {
    /// That all of these futures end.
    All(Vec<RemoteAddr>),
    /// That one of them does.
    One(Vec<RemoteAddr>),
    /// None of the tasks that are noted.
    Other,
}

/// How a task waits.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) needs: Needs,
    /// Being cancelled ends the wait: it is not passed on to what the task awaits.
    pub(super) ends_cancelled: bool,
    /// After some time the task will be cancelled.
    has_timeout: bool,
}

impl Wait {
    /// It waits for something else.
    const OTHER: Self = Self {
        needs: Needs::Other,
        ends_cancelled: false,
        has_timeout: false,
    };

    fn new(needs: Needs, ends_cancelled: bool) -> Self {
        Self {
            needs,
            ends_cancelled,
            has_timeout: false,
        }
    }
}

/// What was found out of the edges of cycles.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Loose ones, by the records of awaited and awaiter.
    pub(super) loose: FxHashSet<(u32, u32)>,
    /// Tasks that need one of what they await.
    pub(super) needs_one: FxHashSet<u32>,
    /// A limit ended the looking.
    was_cut: bool,
}

/// Tasks that stand behind futures.
#[derive(Debug, Default)]
pub(super) struct Behind {
    tasks: Vec<RemoteAddr>,
    /// The futures that are none, those that stand for others included.
    pub(super) futures: Vec<RemoteAddr>,
    /// One of them is behind a future of `shield`.
    has_shield: bool,
    /// There are futures as well that are no tasks, nor stand for some.
    has_others: bool,
}

/// A frame of a task that waits: its function and file, and what it holds.
pub(super) struct Waiting {
    function: Arc<str>,
    file: Option<Arc<str>>,
    pub(super) variables: Variables,
}

impl Waiting {
    /// Whether it is in Python's own library, or in an installed package.
    pub(super) fn is_of_library(&self) -> bool {
        let file = self.file.as_deref().unwrap_or_default();
        is_python(file) || is_installed(file)
    }

    pub(super) fn is(&self, function: &str, file: &str) -> bool {
        &*self.function == function && self.is_of(file)
    }

    /// Whether its function is in this file.
    pub(super) fn is_of(&self, file: &str) -> bool {
        let own = self.file.as_deref().unwrap_or_default();
        own.ends_with(file)
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
        if awaited_of.is_empty() {
            return Ok(());
        }
        if awaited_of.len() > TASKS_MAX {
            let (what, limit) = ("tasks_max", u64::try_from(TASKS_MAX).unwrap_or(u64::MAX));
            let error = DecodeError::Limit(LimitHit { what, limit });
            self.note(error.code(), "tasks on cycles", error)?;
        }
        let mut awaiters: Vec<u32> = awaited_of.keys().copied().collect();
        awaiters.sort_unstable();
        let mut attributes = wait_attributes();
        let looks = if runs { LOOKS } else { 1 };
        for _ in 0..looks {
            let mut waits = self.waits_of(&mut attributes, &awaiters, runs)?;
            self.end_what_timeouts_end(&mut waits);
            for awaiter in &awaiters {
                let needs = waits.get(awaiter).map_or(&Needs::Other, |wait| &wait.needs);
                let awaited = awaited_of.get(awaiter).map_or(&[][..], Vec::as_slice);
                self.note_needs(*awaiter, awaited, needs);
            }
        }
        Ok(())
    }

    /// How these tasks wait.
    fn waits_of(
        &mut self,
        attributes: &mut WaitAttributes,
        awaiters: &[u32],
        runs: bool,
    ) -> Result<FxHashMap<u32, Wait>, DecodeError> {
        let timed = self.aside(runs, |walk| {
            let timers = walk.all_timers()?;
            let timed = walk.timed_tasks(attributes, &timers)?;
            walk.soon(timed)
        })?;
        let timed = timed.unwrap_or_default();
        let above = self.above(awaiters, &timed);
        let mut waits = FxHashMap::default();
        for awaiter in awaiters.iter().chain(&above).take(TASKS_MAX) {
            let wait = self.aside(runs, |walk| walk.wait_of(attributes, *awaiter))?;
            let mut wait = wait.unwrap_or(Wait::OTHER);
            let task = self.alive(*awaiter).map(|record| record.task);
            wait.has_timeout |= task.is_some_and(|task| timed.contains_key(&task.at));
            let future = task.map(|task| task.awaits);
            let is_timed = |at: RemoteAddr| timed.contains_key(&at) && !self.is_task_here(at);
            if future.is_some_and(is_timed) {
                wait.needs = Needs::Other;
            }
            waits.insert(*awaiter, wait);
        }
        Ok(waits)
    }

    /// Those who await these tasks from outside, over others too, if one of them has a timeout: when that is over, they
    /// pass the cancellation on.
    fn above(&self, tasks: &[u32], timed: &FxHashMap<RemoteAddr, Timer>) -> Vec<u32> {
        let mut known: FxHashSet<u32> = tasks.iter().copied().collect();
        let mut above: Vec<u32> = Vec::new();
        let mut left: Vec<u32> = tasks.iter().copied().take(TASKS_MAX).collect();
        let mut any_timed = false;
        while let Some(task) = left.pop()
            && above.len() < TASKS_MAX
        {
            let Some(record) = self.alive(task) else {
                continue;
            };
            for awaiter in self.addresses(&record.awaiters) {
                let Some(of) = self.by_address.get(awaiter).copied() else {
                    continue;
                };
                if known.insert(of) {
                    any_timed |= timed.contains_key(awaiter);
                    above.push(of);
                    left.push(of);
                }
            }
        }
        if any_timed { above } else { Vec::new() }
    }

    /// Reads something with later copies if the process runs. Nothing if it cannot be read: whoever is in a
    /// deadlock can be.
    pub(super) fn aside<T>(
        &mut self,
        runs: bool,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if runs {
            self.reader.look_aside();
        }
        let found = read(self);
        self.reader.look_back();
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_fatal() => Err(error),
            Err(error) => {
                if error.is_limit() && !std::mem::replace(&mut self.holds.was_cut, true) {
                    self.note(error.code(), "await cycles", error)?;
                }
                Ok(None)
            }
        }
    }

    /// A task that is cancelled passes that on to what it awaits, until one is reached that ends its wait. In a
    /// circle in which none does, the cancellation goes round and ends in a `RecursionError`: nobody goes on.
    fn end_what_timeouts_end(&self, waits: &mut FxHashMap<u32, Wait>) {
        let timed = waits.iter().filter(|(_, wait)| wait.has_timeout);
        let mut cancelled: Vec<u32> = timed.map(|(awaiter, _)| *awaiter).collect();
        let mut seen: FxHashSet<u32> = cancelled.iter().copied().collect();
        while let Some(awaiter) = cancelled.pop() {
            let Some(wait) = waits.get_mut(&awaiter) else {
                continue;
            };
            if wait.ends_cancelled {
                wait.needs = Needs::Other;
                continue;
            }
            if let Needs::All(futures) | Needs::One(futures) = &wait.needs {
                let tasks = futures.iter().filter_map(|at| self.by_address.get(at));
                cancelled.extend(tasks.copied().filter(|task| seen.insert(*task)));
            }
        }
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
    pub(super) fn is_task_here(&self, at: RemoteAddr) -> bool {
        let record = self.by_address.get(&at);
        record.is_some_and(|record| self.alive(*record).is_some())
    }

    pub(super) fn wait_of(
        &mut self,
        attributes: &mut WaitAttributes,
        awaiter: u32,
    ) -> Result<Wait, DecodeError> {
        let Some(task) = self.alive(awaiter).map(|record| record.task) else {
            return Ok(Wait::OTHER);
        };
        let Some(task) = self.still_there(&task)? else {
            return Ok(Wait::OTHER);
        };
        if !task.awaits.is_plausible() {
            return Ok(Wait::OTHER);
        }
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        let chain = self.chains.follow(reader, offsets, task.coro, false)?;
        let waits = matches!(
            chain.state,
            Some(FrameState::Awaiting | FrameState::Suspended)
        );
        if !waits || chain.cut.is_some() {
            return Ok(Wait::OTHER);
        }
        // The innermost two.
        let (mut inner, mut outer) = (None, None);
        let mut has_timeout = false;
        let frames: Vec<_> = self.chains.placed_frames().collect();
        for (frame, at) in frames {
            let Some(frame) = self.frame_waiting(frame, at)? else {
                return Ok(Wait::OTHER);
            };
            for timer in self.timers_of(attributes, &frame)? {
                has_timeout |= self.is_soon(timer)?;
            }
            outer = inner.replace(frame);
        }
        let wait = self.wait_in(attributes, task.awaits, (inner.as_ref(), outer.as_ref()))?;
        Ok(Wait {
            has_timeout,
            ..wait
        })
    }

    /// How a task waits that waits for this future, in these innermost frames.
    fn wait_in(
        &mut self,
        attributes: &mut WaitAttributes,
        future: RemoteAddr,
        (inner, outer): (Option<&Waiting>, Option<&Waiting>),
    ) -> Result<Wait, DecodeError> {
        if self.is_task_here(future) {
            return Ok(Wait::new(Needs::All(vec![future]), false));
        }
        let (needs, ends_cancelled) = match (inner, outer) {
            (Some(wait), _) if wait.is("_wait", "asyncio/tasks.py") => {
                (self.needs_of_wait(attributes, wait)?, true)
            }
            (Some(group), _) if GROUPS.iter().any(|(name, file)| group.is(name, file)) => {
                let tasks = self.attribute(attributes, group, TASKS)?;
                (Needs::All(self.futures_in(tasks)?), false)
            }
            (Some(get), Some(wait))
                if get.is("Queue.get", "asyncio/queues.py")
                    && wait.is("_AsCompletedIterator._wait_for_one", "asyncio/tasks.py") =>
            {
                let timer = self.attribute(attributes, wait, TIMEOUT_HANDLE)?;
                if self.is_set(timer)? {
                    return Ok(Wait::OTHER);
                }
                let todo = self.attribute(attributes, wait, TODO)?;
                let todo = self.futures_in(todo)?;
                (self.needs_one_of(attributes, todo)?, true)
            }
            _ => {
                let behind = self.tasks_behind(attributes, vec![future])?;
                (Needs::All(behind.tasks), behind.has_shield)
            }
        };
        Ok(Wait::new(needs, ends_cancelled))
    }

    /// What a task needs that needs one of these futures. Each must stand for one task: of one that stands for
    /// several it is not known which.
    fn needs_one_of(
        &mut self,
        attributes: &mut WaitAttributes,
        futures: Vec<RemoteAddr>,
    ) -> Result<Needs, DecodeError> {
        let mut tasks = Vec::with_capacity(futures.len());
        for future in futures {
            let behind = self.tasks_behind(attributes, vec![future])?;
            match behind.tasks[..] {
                [task] if !behind.has_others => tasks.push(task),
                _ => return Ok(Needs::Other),
            }
        }
        Ok(Needs::One(tasks))
    }

    /// The tasks that must end for all of these futures to end: those among them, and those behind futures of
    /// `gather` and `shield`.
    pub(super) fn tasks_behind(
        &mut self,
        attributes: &mut WaitAttributes,
        futures: Vec<RemoteAddr>,
    ) -> Result<Behind, DecodeError> {
        let mut behind = Behind::default();
        let mut seen: FxHashSet<RemoteAddr> = futures.iter().copied().collect();
        let mut left = futures;
        while let Some(future) = left.pop() {
            if self.is_task_here(future) {
                behind.tasks.push(future);
                continue;
            }
            if !future.is_plausible() || seen.len() > FUTURES_BEHIND_MAX {
                behind.has_others = true;
                continue;
            }
            behind.futures.push(future);
            let (reader, types) = (&mut *self.reader, &mut self.chains.types);
            let info = types.type_of(reader, self.offsets, future)?;
            let inner = match types.name(info) {
                "_GatheringFuture" => {
                    let found = attributes.of(reader, self.offsets, types, future)?;
                    let children = found.get(CHILDREN).copied().unwrap_or_default();
                    self.futures_in(children.value)?
                }
                "_asyncio.Future" => {
                    let inner = self.shielded_by(future)?;
                    behind.has_shield |= inner.is_some();
                    inner.into_iter().collect()
                }
                _ => Vec::new(),
            };
            behind.has_others |= inner.is_empty();
            left.extend(inner.into_iter().filter(|it| seen.insert(*it)));
        }
        Ok(behind)
    }

    pub(super) fn frame_waiting(
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

    /// What `asyncio.wait` was called for: `_wait(fs, timeout, return_when, loop)`.
    fn needs_of_wait(
        &mut self,
        attributes: &mut WaitAttributes,
        wait: &Waiting,
    ) -> Result<Needs, DecodeError> {
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
        match self.text_of(return_when)?.as_str() {
            "FIRST_COMPLETED" => self.needs_one_of(attributes, futures),
            "ALL_COMPLETED" | "FIRST_EXCEPTION" => {
                Ok(Needs::All(self.tasks_behind(attributes, futures)?.tasks))
            }
            _ => Ok(Needs::Other),
        }
    }

    /// The futures that `asyncio.wait` was called for.
    pub(super) fn futures_of_wait(
        &mut self,
        wait: &Waiting,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        let Some(futures) = wait.variables.parameter(0) else {
            return Ok(Vec::new());
        };
        let futures = self.value(futures)?;
        self.futures_in(futures)
    }

    /// What `shield` shields that gave this future: a callback of the future refers to it. Nothing if it is
    /// another future.
    pub(super) fn shielded_by(
        &mut self,
        future: RemoteAddr,
    ) -> Result<Option<RemoteAddr>, DecodeError> {
        let Some((code, closure)) = self.callback_of(future)? else {
            return Ok(None);
        };
        if !self.is_code(
            code,
            "shield.<locals>._outer_done_callback",
            "asyncio/tasks.py",
        ) {
            return Ok(None);
        }
        // They are in the order of the names of the variables: `inner` comes last.
        let inner = self.variables_of(closure)?.pop();
        Ok(inner.filter(|inner| inner.is_plausible()))
    }

    /// What the variables hold that a function refers to, in the order of their names.
    pub(super) fn variables_of(
        &mut self,
        closure: RemoteAddr,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        DecodeError::check_address("closure of a function", closure)?;
        let cells = read_tuple(self.reader, self.offsets, closure, CELLS_MAX)?;
        let cells = cells.unwrap_or_default().into_iter();
        let values = cells.map(|cell| {
            DecodeError::check_address("cell", cell)?;
            in_cell(self.reader, self.offsets, cell)
        });
        values.collect()
    }

    /// Whether one of the variables that a function refers to is a future of `concurrent.futures` whose work has begun
    /// (Lib/concurrent/futures/_base.py), or that of a coroutine of another event loop (`run_coroutine_threadsafe`), which is
    /// told by itself if it is stuck: that one has a callback at both ends. One whose executor has no thread to spare is
    /// neither.
    pub(super) fn is_executed(
        &mut self,
        attributes: &mut WaitAttributes,
        closure: RemoteAddr,
    ) -> Result<bool, DecodeError> {
        for value in self.variables_of(closure)? {
            if !value.is_plausible() {
                continue;
            }
            let types = &mut self.chains.types;
            let info = types.type_of(self.reader, self.offsets, value)?;
            if types.name(info) == "Future" {
                let found = attributes.of(self.reader, self.offsets, types, value)?;
                let value = |name: usize| found.get(name).copied().unwrap_or_default().value;
                let (state, callbacks) = (value(STATE), value(DONE_CALLBACKS));
                let is_running = state.is_plausible() && self.text_of(state)? == "RUNNING";
                return Ok(is_running || self.list_at(callbacks)?.len() > 1);
            }
        }
        Ok(false)
    }

    /// The code of the first callback of a future in C, and its closure; nothing if there is none, or if it is
    /// no function.
    pub(super) fn callback_of(
        &mut self,
        future: RemoteAddr,
    ) -> Result<Option<(CodeIdx, RemoteAddr)>, DecodeError> {
        let callback = future.plus(self.layout.future_callback(self.offsets));
        let callback = self.reader.addr_at(callback)?;
        if !callback.is_plausible() {
            return Ok(None);
        }
        let (reader, types) = (&mut *self.reader, &mut self.chains.types);
        let Some(function) = read_function(reader, self.offsets, types, callback)? else {
            return Ok(None);
        };
        let codes = &mut self.chains.codes;
        let code = codes.code_at(reader, self.offsets, types, function.code)?;
        Ok(Some((code, function.closure)))
    }

    /// Whether it is the code of this function, in this file.
    pub(super) fn is_code(&self, code: CodeIdx, function: &str, file: &str) -> bool {
        self.chains.codes.info(code).is_some_and(|code| {
            let own = code.file.as_deref().unwrap_or_default();
            &*code.function == function && own.ends_with(file)
        })
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
    pub(super) fn is_set(&mut self, value: RemoteAddr) -> Result<bool, DecodeError> {
        if value.is_null() {
            return Ok(false);
        }
        let types = &mut self.chains.types;
        let info = types.type_of(self.reader, self.offsets, value)?;
        Ok(types.name(info) != "NoneType")
    }

    pub(super) fn text_of(&mut self, value: RemoteAddr) -> Result<String, DecodeError> {
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
