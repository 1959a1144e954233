//! Futures that something outside the program sets: those that a handler of a signal or of a file ends
//! (`loop.add_signal_handler`, `loop.add_reader`, `loop.add_writer`), and those that the protocol of a connection, a pipe or
//! a child process has (Lib/asyncio/transports.py).
//!
//! What a handler does is not known, but what it was given: it is a method of the future, such as `set_result`, or of an
//! object that has it as attribute, or a function that has it among its arguments or refers to it.

use super::Walk;
use super::event_loop::LoopParts;
use crate::cpython::{Attributes, DecodeError, read_function, read_tuple, weakly_referenced};
use crate::memory::RemoteAddr;
use rustc_hash::FxHashSet;

/// Arguments of a handler that are looked at.
const ARGUMENTS_MAX: u64 = 64;
/// Connections of an event loop that are looked at, and attributes of an object.
const TRANSPORTS_MAX: usize = 32_768;
const ATTRIBUTES_MAX: u64 = 64;
/// How many things lie between a handler and a future: arguments in arguments, the object of a method.
const DEPTH_MAX: u32 = 4;
/// Where a transport has its protocol, and one that encrypts that of the program.
const PROTOCOLS: [&str; 2] = ["_protocol", "_app_protocol"];
/// The position of the data in a `SelectorKey` (Lib/selectors.py: fileobj, fd, events, data), a tuple.
const DATA: usize = 3;
/// Where a handle has its callback and its arguments, in bytes behind its head. asyncio's has two slots, which CPython gives
/// places by their names (Lib/asyncio/events.py: `_args`, `_callback`).
const OF_ASYNCIO: &[u64] = &[0, 8];
/// uvloop's has four members, of which the first is the callback if it is not implemented in C (uvloop/cbhandles.pxd: the
/// table of methods, then loop, context, _cancelled, meth_name, cb_type, callback, arg1 to arg4).
const OF_UVLOOP: &[u64] = &[56, 64, 72, 80];

/// Futures that handlers end.
#[derive(Debug, Default)]
pub(super) struct Handled {
    /// Those of signals.
    pub(super) by_signal: FxHashSet<RemoteAddr>,
    /// Those of files: sockets, pipes; and of connections.
    pub(super) by_file: FxHashSet<RemoteAddr>,
    /// There are more connections than are looked at.
    pub(super) is_cut: bool,
}

/// Finds the protocols of transports.
type ProtocolAttributes = Attributes<2>;

impl Walk<'_, '_> {
    /// The futures that handlers of the event loops end.
    pub(super) fn handled_futures(&mut self) -> Result<Handled, DecodeError> {
        let mut handled = Handled::default();
        let mut attributes = Attributes::new(PROTOCOLS);
        for event_loop in self.running_loops() {
            let parts = self.parts_of_loop(event_loop)?;
            let of_signals = self.dict_values_at(parts.signal_handlers)?;
            for handle in of_signals {
                let found = self.futures_of_handle(&mut attributes, handle);
                handled.by_signal.extend(Self::all_of_one(found)?);
            }
            for handle in self.handles_of_files(parts)? {
                let found = self.futures_of_handle(&mut attributes, handle);
                handled.by_file.extend(Self::all_of_one(found)?);
            }
            let (transports, is_cut) = self.transports_of(parts)?;
            handled.is_cut |= is_cut;
            for transport in transports {
                let found = self.futures_of_object(&mut attributes, transport);
                handled.by_file.extend(Self::all_of_one(found)?);
            }
        }
        Ok(handled)
    }

    fn all_of_one(
        found: Result<Vec<RemoteAddr>, DecodeError>,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        Ok(Self::of_one(found.map(Some))?.unwrap_or_default())
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

    /// The transports of an event loop, and uvloop's servers; whether there are more.
    fn transports_of(&mut self, parts: LoopParts) -> Result<(Vec<RemoteAddr>, bool), DecodeError> {
        let mut transports = Vec::new();
        for set in [parts.servers, parts.processes] {
            if set.is_plausible() {
                transports.extend(self.set_at(set)?);
            }
        }
        if !parts.transports.is_plausible() {
            return Ok((transports, false));
        }
        let (reader, types) = (&mut *self.reader, &mut self.chains.types);
        // What a `WeakValueDictionary` holds (Lib/weakref.py).
        let mut attributes = Attributes::new(["data"]);
        let [data] = attributes.of(reader, self.offsets, types, parts.transports)?;
        let references = self.dict_values_at(data.value)?;
        let is_cut = references.len() > TRANSPORTS_MAX;
        for reference in references.into_iter().take(TRANSPORTS_MAX) {
            let (reader, types) = (&mut *self.reader, &mut self.chains.types);
            let transport = weakly_referenced(reader, self.offsets, types, reference);
            transports.extend(Self::of_one(transport.map(Some))?);
        }
        Ok((transports, is_cut))
    }

    /// The futures that the callback of a handle may end.
    fn futures_of_handle(
        &mut self,
        attributes: &mut ProtocolAttributes,
        handle: RemoteAddr,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !handle.is_plausible() {
            return Ok(Vec::new());
        }
        let places = match &*self.type_name_of(handle)? {
            "Handle" => OF_ASYNCIO,
            "uvloop.loop.Handle" => OF_UVLOOP,
            _ => return Ok(Vec::new()),
        };
        let members = handle.plus(self.offsets.pyobject.size);
        let mut futures = Vec::new();
        for place in places {
            let given = self.reader.addr_at(members.plus(*place))?;
            futures.extend(self.futures_given(attributes, given, 0)?);
        }
        Ok(futures)
    }

    /// The futures in something that a handler was given.
    fn futures_given(
        &mut self,
        attributes: &mut ProtocolAttributes,
        given: RemoteAddr,
        depth: u32,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !given.is_plausible() || depth > DEPTH_MAX {
            return Ok(Vec::new());
        }
        let members = given.plus(self.offsets.pyobject.size);
        let within = match &*self.type_name_of(given)? {
            name if name.ends_with("Future") => return Ok(vec![given]),
            "tuple" => self.tuple_at(given)?,
            // `partialobject` (Modules/_functoolsmodule.c) begins with the function and its arguments.
            "functools.partial" => vec![
                self.reader.addr_at(members)?,
                self.reader.addr_at(members.plus(8))?,
            ],
            "method" | "builtin_function_or_method" | "builtin_method" => {
                let owner = self.reader.addr_at(members.plus(8))?;
                return self.futures_of_owner(attributes, owner);
            }
            "function" => self.variables_at(given)?,
            _ => return self.futures_of_object(attributes, given),
        };
        let mut futures = Vec::new();
        for given in within {
            let found = self.futures_given(attributes, given, depth.saturating_add(1));
            futures.extend(Self::all_of_one(found)?);
        }
        Ok(futures)
    }

    /// What a function refers to.
    fn variables_at(&mut self, function: RemoteAddr) -> Result<Vec<RemoteAddr>, DecodeError> {
        let (reader, types) = (&mut *self.reader, &mut self.chains.types);
        let function = read_function(reader, self.offsets, types, function)?;
        match function.filter(|function| function.closure.is_plausible()) {
            Some(function) => self.variables_of(function.closure),
            None => Ok(Vec::new()),
        }
    }

    /// The futures of the object of a method: itself, its attributes, and those of its protocol if it is a transport.
    fn futures_of_owner(
        &mut self,
        attributes: &mut ProtocolAttributes,
        owner: RemoteAddr,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !owner.is_plausible() {
            return Ok(Vec::new());
        }
        let name = self.type_name_of(owner)?;
        if name.ends_with("Future") {
            return Ok(vec![owner]);
        }
        // These are among the transports of the event loop.
        if name == "_SelectorSocketTransport" || name == "_SelectorDatagramTransport" {
            return Ok(Vec::new());
        }
        let mut futures = self.futures_of_object(attributes, owner)?;
        futures.extend(self.futures_among_attributes(attributes, owner)?);
        Ok(futures)
    }

    /// The futures of the protocols of a transport. Those of uvloop have some of their own as well.
    fn futures_of_object(
        &mut self,
        attributes: &mut ProtocolAttributes,
        at: RemoteAddr,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        let mut futures = Vec::new();
        for protocol in self.protocols_of(attributes, at)? {
            let found = self.futures_among_attributes(attributes, protocol);
            futures.extend(Self::all_of_one(found)?);
            let within = self.protocols_of(attributes, protocol);
            for protocol in Self::all_of_one(within)? {
                let found = self.futures_among_attributes(attributes, protocol);
                futures.extend(Self::all_of_one(found)?);
            }
        }
        Ok(futures)
    }

    /// An object if it is a future, and otherwise those among its attributes.
    fn futures_among_attributes(
        &mut self,
        attributes: &mut ProtocolAttributes,
        object: RemoteAddr,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        if self.type_name_of(object)?.ends_with("Future") {
            return Ok(vec![object]);
        }
        let values = attributes.values_of(self.reader, self.offsets, object, ATTRIBUTES_MAX)?;
        let mut futures = Vec::new();
        for value in values.into_iter().filter(|value| value.is_plausible()) {
            if self.type_name_of(value)?.ends_with("Future") {
                futures.push(value);
            }
        }
        Ok(futures)
    }

    /// The protocols of a transport, or that of the program of one that encrypts. Those of uvloop may be any of their members.
    fn protocols_of(
        &mut self,
        attributes: &mut ProtocolAttributes,
        at: RemoteAddr,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !at.is_plausible() {
            return Ok(Vec::new());
        }
        if self.type_name_of(at)?.starts_with("uvloop.loop.") {
            let members = self.members_of(at)?.into_iter();
            return Ok(members.map(|(member, _)| member).collect());
        }
        let (reader, types) = (&mut *self.reader, &mut self.chains.types);
        let found = attributes.of(reader, self.offsets, types, at)?;
        let protocols = found.into_iter().map(|found| found.value);
        Ok(protocols.filter(|at| at.is_plausible()).collect())
    }

    fn tuple_at(&mut self, tuple: RemoteAddr) -> Result<Vec<RemoteAddr>, DecodeError> {
        DecodeError::check_address("tuple", tuple)?;
        let items = read_tuple(self.reader, self.offsets, tuple, ARGUMENTS_MAX)?;
        Ok(items.unwrap_or_default())
    }
}
