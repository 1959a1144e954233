//! Futures that something outside the program sets: those that a handler of a signal or of a file ends
//! (`loop.add_signal_handler`, `loop.add_reader`, `loop.add_writer`).
//!
//! What a handler does is not known, but what it was given: it is a method of the future, such as `set_result`, or a
//! function that has it among its arguments or refers to it.

use super::Walk;
use super::event_loop::LoopParts;
use crate::cpython::{Attributes, DecodeError, read_function, read_tuple};
use crate::memory::RemoteAddr;
use rustc_hash::FxHashSet;

/// Arguments of a handler that are looked at.
const ARGUMENTS_MAX: u64 = 64;
/// The position of the data in a `SelectorKey` (Lib/selectors.py: fileobj, fd, events, data), a tuple.
const DATA: usize = 3;
/// Where a handle has its callback and its arguments, in bytes behind its head. asyncio's has two slots, which CPython gives
/// places by their names (Lib/asyncio/events.py: `_args`, `_callback`); uvloop's two members (uvloop/cbhandles.pxd: the
/// table of methods, then loop, context, _cancelled, meth_name, cb_type, callback, arg1, arg2).
const OF_ASYNCIO: (u64, u64) = (8, 0);
const OF_UVLOOP: (u64, u64) = (56, 64);

/// Futures that handlers end.
#[derive(Debug, Default)]
pub(super) struct Handled {
    /// Those of signals.
    pub(super) by_signal: FxHashSet<RemoteAddr>,
    /// Those of files: sockets, pipes.
    pub(super) by_file: FxHashSet<RemoteAddr>,
}

impl Walk<'_, '_> {
    /// The futures that handlers of the event loops end.
    pub(super) fn handled_futures(&mut self) -> Result<Handled, DecodeError> {
        let mut handled = Handled::default();
        for event_loop in self.running_loops() {
            let parts = self.parts_of_loop(event_loop)?;
            for handle in self.dict_values_at(parts.signal_handlers)? {
                let futures = self.futures_of_handle(handle).map(Some);
                handled
                    .by_signal
                    .extend(Self::of_one(futures)?.into_iter().flatten());
            }
            for handle in self.handles_of_files(parts)? {
                let futures = self.futures_of_handle(handle).map(Some);
                handled
                    .by_file
                    .extend(Self::of_one(futures)?.into_iter().flatten());
            }
        }
        Ok(handled)
    }

    fn handles_of_files(&mut self, parts: LoopParts) -> Result<Vec<RemoteAddr>, DecodeError> {
        let mut handles = Vec::new();
        for poll in self.dict_values_at(parts.polls)? {
            let members = self.members_of(poll)?.into_iter();
            let of_poll = members.filter(|(_, name)| name == "uvloop.loop.Handle");
            handles.extend(of_poll.map(|(member, _)| member));
        }
        if !parts.selector.is_plausible() {
            return Ok(handles);
        }
        let mut attributes = Attributes::new(["_fd_to_key"]);
        let (reader, types) = (&mut *self.reader, &mut self.chains.types);
        let [keys] = attributes.of(reader, self.offsets, types, parts.selector)?;
        for key in self.dict_values_at(keys.value)? {
            let data = self.tuple_at(key)?.get(DATA).copied().unwrap_or_default();
            // Who reads and who writes.
            if data.is_plausible() && self.type_is(data, "tuple")? {
                handles.extend(self.tuple_at(data)?);
            }
        }
        Ok(handles)
    }

    /// The futures that the callback of a handle may end.
    fn futures_of_handle(&mut self, handle: RemoteAddr) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !handle.is_plausible() {
            return Ok(Vec::new());
        }
        let (callback, arguments) = match &*self.type_name_of(handle)? {
            "Handle" => OF_ASYNCIO,
            "uvloop.loop.Handle" => OF_UVLOOP,
            _ => return Ok(Vec::new()),
        };
        let members = handle.plus(self.offsets.pyobject.size);
        let callback = self.reader.addr_at(members.plus(callback))?;
        let arguments = self.reader.addr_at(members.plus(arguments))?;
        let mut given = self.given_to(callback)?;
        if arguments.is_plausible() && self.type_is(arguments, "tuple")? {
            given.extend(self.tuple_at(arguments)?);
        }
        let mut futures = Vec::new();
        for object in given {
            if object.is_plausible() && self.type_name_of(object)?.ends_with("Future") {
                futures.push(object);
            }
        }
        Ok(futures)
    }

    /// What a callback was given when it was made: the object of a method, what a function refers to, the function and
    /// arguments of a `functools.partial`.
    fn given_to(&mut self, callback: RemoteAddr) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !callback.is_plausible() {
            return Ok(Vec::new());
        }
        let members = callback.plus(self.offsets.pyobject.size);
        match &*self.type_name_of(callback)? {
            "method" | "builtin_function_or_method" | "builtin_method" => {
                Ok(vec![self.reader.addr_at(members.plus(8))?])
            }
            "function" => {
                let (reader, types) = (&mut *self.reader, &mut self.chains.types);
                let function = read_function(reader, self.offsets, types, callback)?;
                match function.filter(|function| function.closure.is_plausible()) {
                    Some(function) => self.variables_of(function.closure),
                    None => Ok(Vec::new()),
                }
            }
            // `partialobject` (Modules/_functoolsmodule.c) begins with both.
            "functools.partial" => {
                let function = self.reader.addr_at(members)?;
                let arguments = self.reader.addr_at(members.plus(8))?;
                let mut given = self.tuple_at(arguments)?;
                if function.is_plausible() && !self.type_is(function, "functools.partial")? {
                    given.extend(self.given_to(function)?);
                }
                Ok(given)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn tuple_at(&mut self, tuple: RemoteAddr) -> Result<Vec<RemoteAddr>, DecodeError> {
        DecodeError::check_address("tuple", tuple)?;
        let items = read_tuple(self.reader, self.offsets, tuple, ARGUMENTS_MAX)?;
        Ok(items.unwrap_or_default())
    }
}
