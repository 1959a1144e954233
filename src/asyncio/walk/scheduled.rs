//! Tasks that are in no list. Those that are implemented in Python keep themselves in a WeakSet of their
//! interpreter, `asyncio.tasks._scheduled_tasks`; those of other libraries that call
//! `asyncio._register_task` are put into one that only the module `_asyncio` knows (`non_asyncio_tasks` of
//! its state, Modules/_asynciomodule.c of CPython 3.14 and 3.15):
//!
//! ```text
//!   sys.modules -> module -> WeakSet -> set -> weak reference -> task
//! ```
//!
//! Both live as long as the modules do. Where they are is looked up once, and later snapshots only see
//! whether they are still there. Which task it is, where it stands and who awaits it, is confirmed as for
//! all others. Which thread it belongs to is known by the event loop that the thread runs.

use super::first::{Depth, LOOKS_MAX};
use super::{Record, Walk};
use crate::asyncio::python_task::{self, PythonFuture};
use crate::asyncio::task::RawTask;
use crate::cpython::{
    Attribute, Attributes, DecodeError, Interpreter, Set, find_in_dict, find_modules, imports,
    module_dict, module_state, read_changing_set, read_set, weakly_referenced,
};
use crate::limits::{LimitHit, is_of_tasks};
use crate::memory::RemoteAddr;
use rustc_hash::FxHashMap;

/// The WeakSet is among the first words of the state of `_asyncio`.
const STATE_WORDS: u64 = 48;
/// How often a set or a stack is read that changes each time.
const CHANGES_MAX: u32 = 16;

/// Where the tasks of an interpreter are that are in no list.
#[derive(Debug)]
pub(super) struct Scheduled {
    interpreter: Interpreter,
    /// What was imported when they were looked up.
    imports: (RemoteAddr, u64),
    sets: Vec<TaskSet>,
}

/// Both modules were there.
const ALL_SETS: usize = 2;

/// A WeakSet, and the set in it.
#[derive(Debug, Clone, Copy)]
struct TaskSet {
    weak_set: RemoteAddr,
    weak_set_type: RemoteAddr,
    /// Where the WeakSet says which its set is.
    holder: RemoteAddr,
    set: RemoteAddr,
    set_type: RemoteAddr,
}

/// A member of a set that could not be read.
type Unreadable = (RemoteAddr, DecodeError);

/// Who awaits a task without having been noted there, by the records of both.
pub(super) type UnnotedAwaits = FxHashMap<u32, Vec<u32>>;

/// The lists of threads by their interpreters and the event loops that they run.
pub(super) type ThreadsByLoop = FxHashMap<(i64, RemoteAddr), usize>;

impl Walk<'_, '_> {
    /// Finds the tasks that are in no list, and looks at each.
    pub(super) fn look_at_scheduled(&mut self) -> Result<(), DecodeError> {
        self.members_counted = 0;
        let mut known = std::mem::take(self.scheduled);
        known.retain(|known| self.interpreters.contains(&known.interpreter));
        let looked = self.look_at_all_scheduled(&mut known);
        *self.scheduled = known;
        looked
    }

    fn look_at_all_scheduled(&mut self, known: &mut Vec<Scheduled>) -> Result<(), DecodeError> {
        let mut threads = None;
        for at in 0..self.interpreters.len() {
            let Some(interpreter) = self.interpreters.get(at).copied() else {
                continue;
            };
            let position = known
                .iter()
                .position(|known| known.interpreter == interpreter);
            let sets = match position.and_then(|at| known.get(at)) {
                Some(known) if self.still_holds(known)? => known.sets.clone(),
                _ => {
                    if let Some(position) = position {
                        known.swap_remove(position);
                    }
                    match self.find_scheduled(interpreter)? {
                        Ok(found) => {
                            let sets = found.sets.clone();
                            known.push(found);
                            sets
                        }
                        Err(error) => {
                            let what = "modules of an interpreter";
                            self.note("list_torn", what, error)?;
                            continue;
                        }
                    }
                }
            };
            for set in sets {
                let used_at = set.set.plus(self.offsets.set_object.used);
                if self.reader.u64_at(used_at).is_ok_and(|used| used == 0) {
                    continue;
                }
                let threads = threads.get_or_insert_with(|| self.threads_by_loop());
                self.look_at_set(interpreter, set, threads)?;
            }
        }
        Ok(())
    }

    /// Whether tasks are still where they were.
    fn still_holds(&mut self, known: &Scheduled) -> Result<bool, DecodeError> {
        for set in &known.sets {
            match self.is_same_set(set) {
                Ok(true) => {}
                Err(error) if error.is_fatal() => return Err(error),
                _ => return Ok(false),
            }
        }
        if known.sets.len() >= ALL_SETS {
            return Ok(true);
        }
        // What was not there may have been imported meanwhile.
        match imports(self.reader, self.offsets, known.interpreter) {
            Ok(now) => Ok(now == known.imports),
            Err(error) if error.is_fatal() => Err(error),
            Err(_) => Ok(false),
        }
    }

    fn is_same_set(&mut self, known: &TaskSet) -> Result<bool, DecodeError> {
        let type_at = self.offsets.pyobject.ob_type;
        Ok(
            self.reader.addr_at(known.weak_set.plus(type_at))? == known.weak_set_type
                && self.reader.addr_at(known.holder)? == known.set
                && self.reader.addr_at(known.set.plus(type_at))? == known.set_type,
        )
    }

    /// Looks up where an interpreter keeps tasks that are in no list. What that touches is not touched
    /// again the next time, so it is kept apart.
    fn find_scheduled(
        &mut self,
        interpreter: Interpreter,
    ) -> Result<Result<Scheduled, DecodeError>, DecodeError> {
        let mut found = self.find_scheduled_aside(interpreter);
        for _ in 1..LOOKS_MAX {
            match &found {
                // Something may just be being imported.
                Err(error) if !error.is_fatal() && !error.is_limit() => {
                    found = self.find_scheduled_aside(interpreter);
                }
                _ => break,
            }
        }
        self.reader.look_back();
        match found {
            Err(error) if error.is_fatal() => Err(error),
            found => Ok(found),
        }
    }

    fn find_scheduled_aside(&mut self, interpreter: Interpreter) -> Result<Scheduled, DecodeError> {
        self.reader.look_aside();
        let (offsets, types) = (self.offsets, &mut self.chains.types);
        let imports = imports(self.reader, offsets, interpreter)?;
        let names = ["asyncio.tasks", "_asyncio"];
        let [tasks, native] = find_modules(self.reader, offsets, types, interpreter, names)?;
        let mut sets = Vec::new();
        if !tasks.is_null() {
            let globals = module_dict(self.reader, offsets, tasks)?;
            let names = ["_scheduled_tasks"];
            let [weak_set] = find_in_dict(self.reader, offsets, types, globals, names)?;
            // The module may just be being imported.
            if !weak_set.is_null() {
                let set = self.read_weak_set(weak_set)?;
                sets.push(set);
                if !native.is_null() {
                    let state = module_state(self.reader, offsets, native)?;
                    sets.extend(self.find_weak_set(state, set.weak_set_type)?);
                }
            }
        }
        Ok(Scheduled {
            interpreter,
            imports,
            sets,
        })
    }

    fn read_weak_set(&mut self, at: RemoteAddr) -> Result<TaskSet, DecodeError> {
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        let types = &mut self.chains.types;
        let [data] = Attributes::new(["data"]).of(reader, offsets, types, at)?;
        let Attribute {
            at: holder,
            value: set,
        } = data;
        let info = types.type_of(reader, offsets, set)?;
        if types.name(info) != "set" {
            return Err(DecodeError::Implausible {
                what: "data of a WeakSet",
                value: set.as_u64(),
                at,
            });
        }
        let type_at = offsets.pyobject.ob_type;
        Ok(TaskSet {
            weak_set: at,
            weak_set_type: reader.addr_at(at.plus(type_at))?,
            holder,
            set,
            set_type: reader.addr_at(set.plus(type_at))?,
        })
    }

    /// The WeakSet that a pointer in the state of a module leads to, if one does.
    fn find_weak_set(
        &mut self,
        state: RemoteAddr,
        weak_set_type: RemoteAddr,
    ) -> Result<Option<TaskSet>, DecodeError> {
        if !state.is_plausible() {
            return Ok(None);
        }
        for word in 0..STATE_WORDS {
            let at = self
                .reader
                .addr_at(state.plus(word.saturating_mul(8)))
                .map_err(DecodeError::from);
            let at = match at {
                Ok(at) if at.is_plausible() => at,
                Ok(_) => continue,
                Err(error) if error.is_fatal() || error.is_limit() => return Err(error),
                // The state ended before.
                Err(_) => break,
            };
            let type_at = at.plus(self.offsets.pyobject.ob_type);
            match self.reader.addr_at(type_at).map_err(DecodeError::from) {
                Ok(type_at) if type_at == weak_set_type => {
                    return self.read_weak_set(at).map(Some);
                }
                Err(error) if error.is_fatal() || error.is_limit() => return Err(error),
                _ => {}
            }
        }
        Ok(None)
    }

    pub(super) fn threads_by_loop(&self) -> ThreadsByLoop {
        let lists = self.lists.iter().enumerate();
        lists
            .filter(|(_, list)| !list.running_loop.is_null())
            .map(|(at, list)| ((list.interpreter_id, list.running_loop), at))
            .collect()
    }

    /// The event loop of a task that no list holds.
    pub(super) fn event_loop_of_python(
        &mut self,
        at: RemoteAddr,
    ) -> Result<RemoteAddr, DecodeError> {
        match self.read_python(at)? {
            PythonFuture::Task(_, event_loop) => self.event_loop_or_own(at, event_loop),
            PythonFuture::Other | PythonFuture::Unknown => {
                let (what, value) = ("task that has ended", at.as_u64());
                Err(DecodeError::Implausible { what, value, at })
            }
        }
    }

    fn event_loop_or_own(
        &mut self,
        at: RemoteAddr,
        known: RemoteAddr,
    ) -> Result<RemoteAddr, DecodeError> {
        match known.is_null() {
            // Of a native one. Anything else there is no loop that is known.
            true => self.event_loop_of(at),
            false => Ok(known),
        }
    }

    /// The event loop of a native future or task: what is right behind the head of the object (`FutureObj`,
    /// Modules/_asynciomodule.c).
    pub(super) fn event_loop_of(&mut self, at: RemoteAddr) -> Result<RemoteAddr, DecodeError> {
        Ok(self.reader.addr_at(at.plus(self.offsets.pyobject.size))?)
    }

    /// Looks at the tasks in a set. What makes no sense is looked at again, as long as the set has it: it
    /// may just be changing.
    fn look_at_set(
        &mut self,
        interpreter: Interpreter,
        set: TaskSet,
        threads: &ThreadsByLoop,
    ) -> Result<(), DecodeError> {
        // Those for which there is room, and those that are counted.
        let tasks_max = self.tasks_max();
        let n_counted_max = self.reader.limits().tasks_counted_max;
        let members_max = LimitHit {
            limit: tasks_max.limit.saturating_add(n_counted_max),
            ..tasks_max
        };
        let mut unreadable: Option<Vec<Unreadable>> = None;
        let mut torn = None;
        for round in 0..LOOKS_MAX {
            let members = match self.read_members(set.set, members_max) {
                Ok(members) => members,
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => {
                    torn = Some(error);
                    break;
                }
            };
            torn = members.cut.map(DecodeError::Limit);
            if round > 0 {
                self.reader.look_aside();
            }
            let mut left = Vec::new();
            let before: Option<FxHashMap<RemoteAddr, DecodeError>> =
                unreadable.map(|unreadable| unreadable.into_iter().collect());
            for member in members.members {
                if before
                    .as_ref()
                    .is_some_and(|before| !before.contains_key(&member))
                {
                    continue;
                }
                match self.look_at_member(interpreter, member, threads) {
                    Ok(()) => {}
                    Err(error) if error.is_fatal() => return Err(error),
                    Err(error) if error.limit().is_some_and(is_of_tasks) => {
                        self.members_counted = self.members_counted.saturating_add(1);
                    }
                    Err(error) => left.push((member, error)),
                }
            }
            let is_done = left.iter().all(|(_, error)| error.is_limit());
            unreadable = Some(left);
            if is_done {
                break;
            }
        }
        self.reader.look_back();
        for (member, error) in unreadable.unwrap_or_default() {
            self.leave_out(member, error.code(), error)?;
        }
        match torn {
            Some(error) => {
                let code = if error.is_limit() {
                    "limit_hit"
                } else {
                    "list_torn"
                };
                self.note_cut(code, "set of tasks", error)
            }
            None => Ok(()),
        }
    }

    /// The members of a set. In a process that runs it may be given another table while it is read; what
    /// is a member all the time is found if the table was the same before and after.
    fn read_members(&mut self, set: RemoteAddr, members_max: LimitHit) -> Result<Set, DecodeError> {
        if self.depth == Depth::Everything {
            match read_set(self.reader, self.offsets, set, members_max) {
                // Perhaps the process does run.
                Err(error) if !error.is_fatal() && !error.is_limit() => {}
                read => return read,
            }
        }
        let mut read = self.read_members_aside(set, members_max);
        for _ in 1..CHANGES_MAX {
            match &read {
                Err(error) if !error.is_fatal() && !error.is_limit() => {
                    read = self.read_members_aside(set, members_max);
                }
                _ => break,
            }
        }
        self.reader.look_back();
        read
    }

    fn read_members_aside(
        &mut self,
        set: RemoteAddr,
        members_max: LimitHit,
    ) -> Result<Set, DecodeError> {
        self.reader.look_aside();
        let before = self.table_of(set)?;
        let members = read_changing_set(self.reader, self.offsets, set, members_max)?;
        self.reader.look_aside();
        let after = self.table_of(set)?;
        if before == after {
            return Ok(members);
        }
        let (what, value) = ("changing table of a set", after.0.as_u64());
        Err(DecodeError::Implausible {
            what,
            value,
            at: set,
        })
    }

    fn table_of(&mut self, set: RemoteAddr) -> Result<(RemoteAddr, u64), DecodeError> {
        let layout = &self.offsets.set_object;
        let table = self.reader.addr_at(set.plus(layout.table))?;
        Ok((table, self.reader.u64_at(set.plus(layout.mask))?))
    }

    /// Looks at the task that a weak reference refers to, unless that was found before, is gone or done.
    fn look_at_member(
        &mut self,
        interpreter: Interpreter,
        member: RemoteAddr,
        threads: &ThreadsByLoop,
    ) -> Result<(), DecodeError> {
        let types = &mut self.chains.types;
        let at = weakly_referenced(self.reader, self.offsets, types, member)?;
        let known = self.by_address.get(&at).copied();
        let known = known.and_then(|at| usize::try_from(at).ok());
        if at.is_null() || known.is_some_and(|at| self.is_alive(at)) {
            return Ok(());
        }
        let PythonFuture::Task(task, event_loop) = self.read_python(at)? else {
            return Ok(());
        };
        self.check_room()?;
        let event_loop = self.event_loop_or_own(at, event_loop)?;
        let thread = threads.get(&(interpreter.id, event_loop)).copied();
        let list = thread.or_else(|| self.list_of_interpreter(interpreter.id));
        match list {
            Some(list) => self.record(list, task),
            None => Ok(()),
        }
    }

    /// The list of an interpreter that no thread owns: that of tasks whose loop no thread runs.
    pub(super) fn list_of_interpreter(&self, id: i64) -> Option<usize> {
        let is_it = |list: &super::TaskList| list.thread.is_none() && list.interpreter_id == id;
        self.lists.iter().position(is_it)
    }

    pub(super) fn read_python(&mut self, at: RemoteAddr) -> Result<PythonFuture, DecodeError> {
        let types = &mut self.chains.types;
        python_task::read(self.reader, self.offsets, types, &mut self.attributes, at)
    }

    /// Reads again the object of a task that is implemented in Python, if it has not ended.
    #[cold]
    pub(super) fn read_python_again(&mut self, at: RemoteAddr) -> Result<RawTask, DecodeError> {
        match self.read_python(at)? {
            PythonFuture::Task(task, _) => Ok(task),
            PythonFuture::Other | PythonFuture::Unknown => Err(DecodeError::Implausible {
                what: "task that has ended",
                value: at.as_u64(),
                at,
            }),
        }
    }

    /// Who directly awaits which task, where that is in no set of awaiters: CPython notes it there only
    /// if both tasks are native, or if both are not and there is no `_asyncio`. By the records of the
    /// awaited task and of the awaiter.
    pub(super) fn unnoted_awaits(&self) -> UnnotedAwaits {
        let mut awaits = UnnotedAwaits::default();
        if !self.has_python_tasks() {
            return awaits;
        }
        for (awaiter, record) in (0_u32..).zip(&self.records) {
            if !record.is_alive || record.task.awaits.is_null() {
                continue;
            }
            let Some(awaited) = self.by_address.get(&record.task.awaits).copied() else {
                continue;
            };
            let other = self.alive(awaited);
            let is_unnoted = |other: &&Record| {
                (record.task.is_python || other.task.is_python)
                    && !self.addresses(&other.awaiters).contains(&record.task.at)
            };
            if other.filter(is_unnoted).is_some() {
                awaits.entry(awaited).or_default().push(awaiter);
            }
        }
        awaits
    }

    /// Sees of a process that runs which of these awaits are certain. An awaiter keeps what it awaits alive.
    /// So if both tasks were there before, the awaiter is still the one that it was when it says what it
    /// awaits, and the other one is after that, then it was the other one that it awaited.
    pub(super) fn settle_unnoted(&mut self) -> Result<(), DecodeError> {
        let mut certain = UnnotedAwaits::default();
        let mut candidates: Vec<(u32, Vec<u32>)> = self.unnoted_awaits().into_iter().collect();
        candidates.sort_unstable();
        for (awaited, awaiters) in candidates {
            for awaiter in awaiters {
                let settled = self.certainly_awaits(awaiter, awaited);
                self.reader.look_back();
                match settled {
                    Ok(true) => certain.entry(awaited).or_default().push(awaiter),
                    Ok(false) => self.edges_ended = self.edges_ended.saturating_add(1),
                    Err(error) => {
                        let at = self
                            .alive(awaited)
                            .map_or(RemoteAddr::NULL, |it| it.task.at);
                        self.note("edge_unsettled", &format!("task {at}"), error)?;
                    }
                }
            }
        }
        self.unnoted = certain;
        Ok(())
    }

    fn certainly_awaits(&mut self, awaiter: u32, awaited: u32) -> Result<bool, DecodeError> {
        let position = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        let (Some(task), Some(other)) = (self.alive(awaiter), self.alive(awaited)) else {
            return Ok(false);
        };
        let (task, other_at) = (task.task, other.task.at);
        let mut seen = Ok(false);
        for _ in 0..LOOKS_MAX {
            self.reader.look_aside();
            seen = self
                .still_there(&task)
                .map(|now| now.is_some_and(|now| now.awaits == other_at));
            match &seen {
                // It may just be changing.
                Err(error) if !error.is_fatal() && !error.is_limit() => {}
                _ => break,
            }
        }
        if !seen? {
            return Ok(false);
        }
        self.reader.look_aside();
        Ok(self.is_still_like(position(awaiter))? && self.is_still_like(position(awaited))?)
    }

    pub(super) fn has_python_tasks(&self) -> bool {
        // They come after all others.
        self.records.iter().any(|record| record.task.is_python)
    }
}
