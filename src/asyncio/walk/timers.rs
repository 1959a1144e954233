//! Timers that end waits (Lib/asyncio/timeouts.py, events.py and base_events.py of CPython 3.14 and 3.15, and what `async_timeout`
//! and anyio have of the same kind).

use super::Walk;
use super::holds::{
    DEADLINE, TASK, TIMEOUT_HANDLE, TIMEOUT_HANDLER, WHEN, WaitAttributes, Waiting,
};
use crate::cpython::{DecodeError, read_list};
use crate::memory::RemoteAddr;
use rustc_hash::{FxHashMap, FxHashSet};

/// Timers of an event loop that are looked at.
const TIMERS_MAX: u64 = 1 << 20;

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

    /// The tasks and futures that something ends after some time, of those whose event loops say so, and the timer: by
    /// `asyncio.timeout`, wherever that is kept, and by `call_later(..., task.cancel)` or `future.set_result`.
    pub(super) fn timed_tasks(
        &mut self,
        attributes: &mut WaitAttributes,
    ) -> Result<FxHashMap<RemoteAddr, RemoteAddr>, DecodeError> {
        let mut tasks = FxHashMap::default();
        for event_loop in self.running_loops() {
            let parts = self.parts_of_loop(event_loop)?;
            for timer in self.timers_of_loop(parts)? {
                let task = self.task_of_timer(attributes, timer);
                if let Some(task) = Self::of_one(task)? {
                    tasks.insert(task, timer);
                }
            }
        }
        Ok(tasks)
    }

    /// The event loops that run.
    pub(super) fn running_loops(&self) -> FxHashSet<RemoteAddr> {
        let loops = self.lists.iter().map(|list| list.running_loop);
        loops.filter(|at| at.is_plausible()).collect()
    }

    /// The task that the callback of a timer cancels, or the future that it ends, if it does that. The callback is the second of the slots of
    /// a handle (Lib/asyncio/events.py), which CPython sorts by name, and the second member of uvloop's (uvloop/cbhandles.pxd); a method has its object as second member
    /// (`PyMethodObject`, `PyCFunctionObject`).
    fn task_of_timer(
        &mut self,
        attributes: &mut WaitAttributes,
        timer: RemoteAddr,
    ) -> Result<Option<RemoteAddr>, DecodeError> {
        DecodeError::check_address("timer", timer)?;
        let second = self.offsets.pyobject.size.saturating_add(8);
        let callback = self.reader.addr_at(timer.plus(second))?;
        if !callback.is_plausible() {
            return Ok(None);
        }
        let types = &mut self.chains.types;
        let info = types.type_of(self.reader, self.offsets, callback)?;
        let is_method = matches!(
            types.name(info),
            "method" | "builtin_function_or_method" | "builtin_method"
        );
        if !is_method {
            return Ok(None);
        }
        let of = self.reader.addr_at(callback.plus(second))?;
        if !of.is_plausible() || self.is_task_here(of) {
            return Ok(Some(of).filter(|of| of.is_plausible()));
        }
        let types = &mut self.chains.types;
        let info = types.type_of(self.reader, self.offsets, of)?;
        match types.name(info) {
            "Timeout" => {}
            "_asyncio.Future" => return Ok(Some(of)),
            _ => return Ok(None),
        }
        let found = attributes.of(self.reader, self.offsets, types, of)?;
        let task = found.get(TASK).copied().unwrap_or_default().value;
        Ok(Some(task).filter(|task| task.is_plausible()))
    }

    /// The members of a list, such as the timers of an event loop; none if it is something else, or too long.
    pub(super) fn list_at(&mut self, list: RemoteAddr) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !list.is_plausible() {
            return Ok(Vec::new());
        }
        let types = &mut self.chains.types;
        let info = types.type_of(self.reader, self.offsets, list)?;
        if !matches!(types.name(info), "list") {
            return Ok(Vec::new());
        }
        let timers = read_list(self.reader, self.offsets, list, TIMERS_MAX)?;
        Ok(timers.unwrap_or_default())
    }
}
