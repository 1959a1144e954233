//! Timers that end waits (Lib/asyncio/timeouts.py, events.py and base_events.py of CPython 3.14 and 3.15, and what `async_timeout`
//! and anyio have of the same kind).

use super::Walk;
use super::calls::CALLBACK;
use super::holds::{
    CHILD_SCOPES, DEADLINE, SHIELD, TASK, TASKS, TIMEOUT_HANDLE, TIMEOUT_HANDLER, WHEN,
    WaitAttributes, Waiting,
};
use crate::cpython::{DecodeError, read_list};
use crate::limits::LimitHit;
use crate::memory::RemoteAddr;
use rustc_hash::{FxHashMap, FxHashSet};
use std::time::Duration;

/// Timers of an event loop that are looked at.
const TIMERS_MAX: u64 = 1 << 20;
/// Tasks that are looked at of a scope of anyio and of those within it, and these.
const SCOPED_MAX: u64 = 65_536;
/// A timer that is due later ends no cycle: one round all of a program would excuse everything.
const ENDS_WITHIN: Duration = Duration::from_secs(600);
/// What a task costs that a timer ends.
const BYTES_PER_TASK: usize = 48;

/// A timer that ends a wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timer {
    pub(super) at: RemoteAddr,
    /// When it is due, as a float, if whoever has set it says so.
    pub(super) due: Option<RemoteAddr>,
}

impl Timer {
    /// One that says itself when it is due.
    pub(super) fn at(at: RemoteAddr) -> Self {
        Self { at, due: None }
    }
}

impl Walk<'_, '_> {
    /// The timers that end the wait in `with` blocks of a frame: those of `asyncio.timeout`, which `wait_for` uses
    /// too, of `async_timeout`, and of anyio.
    pub(super) fn timers_of(
        &mut self,
        attributes: &mut WaitAttributes,
        frame: &Waiting,
    ) -> Result<Vec<Timer>, DecodeError> {
        let mut timers = Vec::new();
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
            let value = |name: usize| found.get(name).copied().unwrap_or_default().value;
            let due = [value(WHEN), value(DEADLINE)];
            let due = due.into_iter().find(|due| due.is_plausible());
            for timer in [value(TIMEOUT_HANDLE), value(TIMEOUT_HANDLER)] {
                if self.is_set(timer)? {
                    timers.push(Timer { at: timer, due });
                }
            }
        }
        Ok(timers)
    }

    /// The tasks and futures that these timers end: by
    /// `asyncio.timeout` or a scope of anyio, wherever that is kept (`fail_after` has it in a generator), and by
    /// `call_later(..., task.cancel)` or `future.set_result`.
    pub(super) fn timed_tasks(
        &mut self,
        attributes: &mut WaitAttributes,
        timers: &[RemoteAddr],
    ) -> Result<FxHashMap<RemoteAddr, Timer>, DecodeError> {
        let mut tasks = FxHashMap::default();
        for timer in timers {
            let ended = self.ended_by(attributes, *timer).map(Some);
            let (due, ended) = Self::of_one(ended)?.unwrap_or_default();
            let at = *timer;
            for task in ended {
                self.reader.keep(BYTES_PER_TASK)?;
                tasks.insert(task, Timer { at, due });
            }
        }
        Ok(tasks)
    }

    /// Those tasks whose timers are due soon.
    pub(super) fn soon(
        &mut self,
        timed: FxHashMap<RemoteAddr, Timer>,
    ) -> Result<FxHashMap<RemoteAddr, Timer>, DecodeError> {
        let mut soon = FxHashMap::default();
        for (task, timer) in timed {
            if self.is_soon(timer)? {
                soon.insert(task, timer);
            }
        }
        Ok(soon)
    }

    /// Whether a timer is due soon, or that is not known.
    pub(super) fn is_soon(&mut self, timer: Timer) -> Result<bool, DecodeError> {
        let Some(now) = self.clock else {
            return Ok(true);
        };
        let due = Self::of_one(self.due_of_timer(timer))?;
        Ok(due.is_none_or(|due| due <= now.saturating_add(ENDS_WITHIN)))
    }

    /// The timers of the event loops that run.
    pub(super) fn all_timers(&mut self) -> Result<Vec<RemoteAddr>, DecodeError> {
        let mut timers = Vec::new();
        for event_loop in self.running_loops() {
            let parts = self.parts_of_loop(event_loop)?;
            timers.extend(self.timers_of_loop(parts)?);
        }
        Ok(timers)
    }

    /// The event loops that run.
    pub(super) fn running_loops(&self) -> FxHashSet<RemoteAddr> {
        let loops = self.lists.iter().map(|list| list.running_loop);
        loops.filter(|at| at.is_plausible()).collect()
    }

    /// The tasks that the callback of a timer cancels, or the future that it ends, if it does that, and when it is due. A
    /// method has its object as second member (`PyMethodObject`, `PyCFunctionObject`).
    fn ended_by(
        &mut self,
        attributes: &mut WaitAttributes,
        timer: RemoteAddr,
    ) -> Result<(Option<RemoteAddr>, Vec<RemoteAddr>), DecodeError> {
        let nothing = (None, Vec::new());
        DecodeError::check_address("timer", timer)?;
        let head = self.offsets.pyobject.size;
        let callback = self.reader.addr_at(timer.plus(head).plus(CALLBACK))?;
        if !callback.is_plausible() {
            return Ok(nothing);
        }
        let is_method = matches!(
            &*self.type_name_of(callback)?,
            "method" | "builtin_function_or_method" | "builtin_method"
        );
        if !is_method {
            return Ok(nothing);
        }
        let of = self.reader.addr_at(callback.plus(head).plus(8))?;
        if !of.is_plausible() {
            return Ok(nothing);
        }
        if self.is_task_here(of) {
            return Ok((None, vec![of]));
        }
        let name = self.type_name_of(of)?;
        if name == "_asyncio.Future" {
            return Ok((None, vec![of]));
        }
        if !matches!(&*name, "Timeout" | "CancelScope") {
            return Ok(nothing);
        }
        let (reader, types) = (&mut *self.reader, &mut self.chains.types);
        let found = attributes.of(reader, self.offsets, types, of)?;
        let value = |name: usize| found.get(name).copied().unwrap_or_default().value;
        let due = [value(WHEN), value(DEADLINE)];
        let due = due.into_iter().find(|due| due.is_plausible());
        let tasks = match &*name {
            "Timeout" => vec![value(TASK)],
            _ => self.tasks_in_scope(attributes, of)?,
        };
        let tasks = tasks.into_iter().filter(|task| task.is_plausible());
        Ok((due, tasks.collect()))
    }

    /// The tasks in a scope of anyio and in those within it: all of them are cancelled with it.
    fn tasks_in_scope(
        &mut self,
        attributes: &mut WaitAttributes,
        scope: RemoteAddr,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        let mut tasks = Vec::new();
        let outermost = scope;
        let mut seen = FxHashSet::from_iter([scope]);
        let mut left = vec![scope];
        while let Some(scope) = left.pop() {
            let (reader, types) = (&mut *self.reader, &mut self.chains.types);
            let found = attributes.of(reader, self.offsets, types, scope)?;
            let value = |name: usize| found.get(name).copied().unwrap_or_default().value;
            if scope != outermost && self.is_true(value(SHIELD))? {
                continue;
            }
            for (set, is_scopes) in [(value(TASKS), false), (value(CHILD_SCOPES), true)] {
                if !set.is_plausible() || !self.type_is(set, "set")? {
                    continue;
                }
                let members = self.set_at(set, SCOPED_MAX)?;
                match is_scopes {
                    true => left.extend(members.into_iter().filter(|it| seen.insert(*it))),
                    false => tasks.extend(members),
                }
            }
            let n_looked = tasks.len().saturating_add(seen.len());
            if u64::try_from(n_looked).is_ok_and(|n| n > SCOPED_MAX) {
                break;
            }
        }
        Ok(tasks)
    }

    /// Whether a value is `True`: a number of one digit behind the word that says so (`_PyLongValue`,
    /// Include/cpython/longintrepr.h).
    fn is_true(&mut self, value: RemoteAddr) -> Result<bool, DecodeError> {
        if !value.is_plausible() || !self.type_is(value, "bool")? {
            return Ok(false);
        }
        let digit = value.plus(self.offsets.pyobject.size).plus(8);
        Ok(self.reader.u64_at(digit)? & 0xffff_ffff == 1)
    }

    /// The members of a list, such as the timers of an event loop; none if it is something else.
    ///
    /// # Errors
    ///
    /// Also when it is too long: then nothing is known of its members.
    pub(super) fn list_at(&mut self, list: RemoteAddr) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !list.is_plausible() {
            return Ok(Vec::new());
        }
        let types = &mut self.chains.types;
        let info = types.type_of(self.reader, self.offsets, list)?;
        if !matches!(types.name(info), "list") {
            return Ok(Vec::new());
        }
        let (what, limit) = ("set_slots_max", TIMERS_MAX);
        let items = read_list(self.reader, self.offsets, list, limit)?;
        items.ok_or(DecodeError::Limit(LimitHit { what, limit }))
    }
}
