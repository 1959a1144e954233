//! What event loops keep: what is to be done, timers, and who handles signals and files.
//!
//! Those of asyncio (Lib/asyncio/base_events.py, unix_events.py and selector_events.py of CPython 3.14 and 3.15) keep it in
//! attributes; those of uvloop (uvloop/loop.pxd of 0.22 and later) in members of a structure in C. Where these stand depends
//! on how uvloop was built, so they are found by their types.

use super::Walk;
use crate::cpython::{Attributes, DecodeError, read_deque, read_dict_values, read_set};
use crate::limits::LimitHit;
use crate::memory::RemoteAddr;

/// Words of an object in C that are looked at: `struct Loop` has 48 of them before its buffers.
const WORDS_MAX: u64 = 48;
/// What is looked at of that which is to be done next.
const READY_MAX: u64 = 256;
/// Timers, signals and files that are looked at.
pub(super) const ENTRIES_MAX: u64 = 1 << 20;

/// The attributes that hold the parts, in the order of [`LoopParts`].
const ATTRIBUTES: [&str; 5] = [
    "_ready",
    "_scheduled",
    "_signal_handlers",
    "_selector",
    "_transports",
];

/// Finds the attributes of event loops.
pub(super) type LoopAttributes = Attributes<5>;

/// Made for one walk.
pub(super) fn loop_attributes() -> LoopAttributes {
    LoopAttributes::new(ATTRIBUTES)
}

/// The objects in which an event loop keeps things; null where it has none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LoopParts {
    /// It is one of uvloop's.
    pub(super) is_uvloop: bool,
    /// What is to be done next: a deque.
    pub(super) ready: RemoteAddr,
    /// Timers: a list, or of uvloop a set.
    timers: RemoteAddr,
    /// A dict of handles.
    pub(super) signal_handlers: RemoteAddr,
    /// Of asyncio: a selector of the standard library.
    pub(super) selector: RemoteAddr,
    /// Transports: a `WeakValueDictionary`.
    pub(super) transports: RemoteAddr,
    /// Of uvloop: a dict of its objects for files, sets of its servers and of its transports for child processes.
    pub(super) polls: RemoteAddr,
    pub(super) servers: RemoteAddr,
    pub(super) processes: RemoteAddr,
}

impl Walk<'_, '_> {
    /// What an event loop keeps.
    pub(super) fn parts_of_loop(
        &mut self,
        event_loop: RemoteAddr,
    ) -> Result<LoopParts, DecodeError> {
        let (reader, types) = (&mut *self.reader, &mut self.chains.types);
        let attributes = &mut self.loop_attributes;
        let found = attributes.of(reader, self.offsets, types, event_loop)?;
        let [ready, timers, signal_handlers, selector, transports] = found.map(|found| found.value);
        if ready.is_null() {
            return self.parts_of_uvloop(event_loop);
        }
        Ok(LoopParts {
            ready,
            timers,
            signal_handlers,
            selector,
            transports,
            ..LoopParts::default()
        })
    }

    fn parts_of_uvloop(&mut self, event_loop: RemoteAddr) -> Result<LoopParts, DecodeError> {
        let mut parts = LoopParts::default();
        for (member, name) in self.members_of(event_loop)? {
            match &*name {
                "collections.deque" => parts.ready = member,
                "WeakValueDictionary" => parts.transports = member,
                _ => {}
            }
            let kind = self.kind_of_entries(member, &name).map(Some);
            let part = match &*Self::of_one(kind)?.unwrap_or_default() {
                "uvloop.loop.TimerHandle" => &mut parts.timers,
                "uvloop.loop.Handle" => &mut parts.signal_handlers,
                "uvloop.loop.UVPoll" => &mut parts.polls,
                "uvloop.loop.Server" => &mut parts.servers,
                "uvloop.loop.UVProcessTransport" => &mut parts.processes,
                _ => continue,
            };
            *part = member;
        }
        parts.is_uvloop = parts.ready.is_plausible();
        Ok(parts)
    }

    /// The name of the type of the first entry of a set or dict.
    fn kind_of_entries(&mut self, member: RemoteAddr, name: &str) -> Result<String, DecodeError> {
        let entries = match name {
            "set" => self.set_at(member, 1)?,
            "dict" => self.dict_values_at(member, 1)?,
            _ => Vec::new(),
        };
        let first = entries.first();
        first.map_or_else(|| Ok(String::new()), |first| self.type_name_of(*first))
    }

    /// The objects that members of an object in C refer to, with the names of their types.
    pub(super) fn members_of(
        &mut self,
        object: RemoteAddr,
    ) -> Result<Vec<(RemoteAddr, String)>, DecodeError> {
        let (reader, attributes) = (&mut *self.reader, &mut self.loop_attributes);
        let words = attributes.members_of(reader, self.offsets, object, WORDS_MAX)?;
        let mut members = Vec::new();
        for member in words.into_iter().filter(|word| word.is_plausible()) {
            match self.type_name_of(member) {
                Ok(name) => members.push((member, name)),
                Err(error) if error.is_fatal() || error.is_limit() => return Err(error),
                // Not every member is an object.
                Err(_) => {}
            }
        }
        Ok(members)
    }

    /// The timers of an event loop.
    pub(super) fn timers_of_loop(
        &mut self,
        parts: LoopParts,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !parts.timers.is_plausible() {
            return Ok(Vec::new());
        }
        match &*self.type_name_of(parts.timers)? {
            "set" => self.set_at(parts.timers, ENTRIES_MAX),
            _ => self.list_at(parts.timers),
        }
    }

    /// Those timers of an event loop among which the one is that is due first: asyncio's are a heap. Those that are due
    /// are taken from there before the first of them is called (Lib/asyncio/base_events.py, `_run_once`).
    pub(super) fn first_timers_of_loop(
        &mut self,
        parts: LoopParts,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        let mut timers = self.timers_of_loop(parts)?;
        if parts.timers.is_plausible() && self.type_is(parts.timers, "list")? {
            timers.truncate(1);
        }
        let ready = match parts.ready.is_plausible() {
            true => read_deque(self.reader, self.offsets, parts.ready, READY_MAX)?.items,
            false => Vec::new(),
        };
        for handle in ready.into_iter().map(|ready| ready.item) {
            if handle.is_plausible() && self.type_is(handle, "TimerHandle")? {
                timers.push(handle);
            }
        }
        Ok(timers)
    }

    /// Members of a set, at most so many.
    pub(super) fn set_at(
        &mut self,
        set: RemoteAddr,
        limit: u64,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        let what = "set_slots_max";
        let set = read_set(self.reader, self.offsets, set, LimitHit { what, limit })?;
        Ok(set.members)
    }

    /// Values of a dict, at most so many; none if this is something else.
    pub(super) fn dict_values_at(
        &mut self,
        dict: RemoteAddr,
        limit: u64,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !dict.is_plausible() || !self.type_is(dict, "dict")? {
            return Ok(Vec::new());
        }
        read_dict_values(self.reader, self.offsets, dict, limit)
    }

    /// What was read of one of many objects; nothing if it is one that makes no sense.
    pub(super) fn of_one<T>(
        found: Result<Option<T>, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match found {
            Err(error) if !error.is_fatal() && !error.is_limit() => Ok(None),
            found => found,
        }
    }

    /// The name of an object's type.
    pub(super) fn type_name_of(&mut self, object: RemoteAddr) -> Result<String, DecodeError> {
        let types = &mut self.chains.types;
        let info = types.type_of(self.reader, self.offsets, object)?;
        Ok(types.name(info).to_owned())
    }
}
