//! Futures that something outside the program sets: those that a handler of a signal or of a file ends
//! (`loop.add_signal_handler`, `loop.add_reader`, `loop.add_writer`), and those that the protocol of a connection, a pipe or
//! a child process has (Lib/asyncio/transports.py).
//!
//! What a handler does is not known, but what it was given: it is a method of the future, such as `set_result`, or of an
//! object that has it as attribute, or a function that has it, or such an object, among its arguments or refers to it. An
//! object may also keep methods of others that have futures, as that of tornado does which stands for an event loop.

use super::Walk;
use super::calls::CALLBACK;
use super::event_loop::{ENTRIES_MAX, LoopParts};
use crate::cpython::{
    Attributes, Collection, DecodeError, read_deque, read_dict_values, read_function, read_list,
    read_tuple, weakly_referenced,
};
use crate::memory::RemoteAddr;
use rustc_hash::FxHashSet;

/// Arguments of a handler that are looked at.
const ARGUMENTS_MAX: u64 = 64;
/// Connections of an event loop that are looked at, and attributes of an object.
const TRANSPORTS_MAX: usize = 32_768;
const ATTRIBUTES_MAX: u64 = 64;
/// Words of an object in C that are looked at, and items of what it holds.
const MEMBERS_MAX: u64 = 128;
const ITEMS_MAX: u64 = 4_096;
/// Containers in one another: a table of tuples with futures, or with methods of what has some.
const CONTAINERS_MAX: u32 = 1;
/// Items of all of them.
const ALL_ITEMS_MAX: u64 = 1 << 18;
/// Callbacks of a future that are looked at, but for the first.
const CALLBACKS_MAX: usize = 64;
/// Futures that are kept of many handlers or connections.
const FUTURES_MAX: usize = 1 << 18;
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

/// A search for futures: what many objects share is looked at once.
struct Search {
    /// Finds the protocols of transports.
    attributes: Attributes<2>,
    seen: FxHashSet<RemoteAddr>,
    /// Items of containers that may still be looked at.
    n_left: u64,
    /// Also those count that an object has in tables and the like.
    in_containers: bool,
}

impl Search {
    fn new(in_containers: bool) -> Self {
        Self {
            attributes: Attributes::new(PROTOCOLS),
            seen: FxHashSet::default(),
            n_left: ALL_ITEMS_MAX,
            in_containers,
        }
    }

    /// Counts items that are looked at.
    fn take(&mut self, items: &[RemoteAddr]) {
        let n_items = u64::try_from(items.len()).unwrap_or(u64::MAX);
        self.n_left = self.n_left.saturating_sub(n_items);
    }
}

impl Walk<'_, '_> {
    /// The futures that handlers of the event loops end.
    pub(super) fn handled_futures(&mut self) -> Result<Handled, DecodeError> {
        let mut handled = Handled::default();
        // Who handles a signal does not answer what is asked in a table.
        let (mut by_signals, mut by_files) = (Search::new(false), Search::new(true));
        for event_loop in self.running_loops() {
            let parts = self.parts_of_loop(event_loop)?;
            let of_signals = self.dict_values_at(parts.signal_handlers, ENTRIES_MAX)?;
            let of_files = self.handles_of_files(parts)?;
            let (transports, is_cut) = self.transports_of(parts)?;
            let by_signal = self.futures_of_each(of_signals, |walk, at| {
                walk.futures_of_handle(&mut by_signals, at)
            })?;
            let by_handle = self.futures_of_each(of_files, |walk, at| {
                walk.futures_of_handle(&mut by_files, at)
            })?;
            let by_transport = self.futures_of_each(transports, |walk, at| {
                walk.futures_of_object(&mut by_files, at)
            })?;
            let is_full = |futures: &Vec<_>| futures.len() >= FUTURES_MAX;
            handled.is_cut |= is_cut || is_full(&by_handle) || is_full(&by_transport);
            handled.is_cut |= by_files.n_left == 0;
            handled.by_signal.extend(by_signal);
            handled.by_file.extend(by_handle);
            handled.by_file.extend(by_transport);
        }
        self.add_chained(&mut handled.by_signal)?;
        self.add_chained(&mut handled.by_file)?;
        Ok(handled)
    }

    /// Adds the futures that end when those end which are there: a callback of theirs refers to them.
    fn add_chained(&mut self, futures: &mut FxHashSet<RemoteAddr>) -> Result<(), DecodeError> {
        let mut left: Vec<RemoteAddr> = futures.iter().copied().collect();
        while let Some(future) = left.pop() {
            let chained = self.chained_to(future).map(Some);
            for next in Self::of_one(chained)?.unwrap_or_default() {
                if futures.len() < FUTURES_MAX && futures.insert(next) {
                    left.push(next);
                }
            }
        }
        Ok(())
    }

    fn chained_to(&mut self, future: RemoteAddr) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !self.type_is(future, "_asyncio.Future")? {
            return Ok(Vec::new());
        }
        let first = future.plus(self.layout.future_callback(self.offsets));
        let mut callbacks = vec![self.reader.addr_at(first)?];
        // Behind it its context, and a list of the others with theirs (`FutureObj`, Modules/_asynciomodule.c).
        let others = self.reader.addr_at(first.plus(16))?;
        for pair in self.list_at(others)?.into_iter().take(CALLBACKS_MAX) {
            let callback = self.tuple_at(pair).map(|pair| pair.first().copied());
            callbacks.extend(Self::of_one(callback)?);
        }
        self.futures_of_each(callbacks, |walk, callback| {
            if !callback.is_plausible() {
                return Ok(Vec::new());
            }
            let variables = walk.variables_at(callback)?;
            walk.futures_of_each(variables, |walk, at| walk.future_itself(at))
        })
    }

    /// The futures of objects, of each of which `find` gives them; those of one that makes no sense are left out.
    fn futures_of_each(
        &mut self,
        objects: Vec<RemoteAddr>,
        mut find: impl FnMut(&mut Self, RemoteAddr) -> Result<Vec<RemoteAddr>, DecodeError>,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        let mut futures = Vec::new();
        for object in objects {
            let found = find(self, object).map(Some);
            futures.extend(Self::of_one(found)?.unwrap_or_default());
            if futures.len() >= FUTURES_MAX {
                break;
            }
        }
        Ok(futures)
    }

    fn handles_of_files(&mut self, parts: LoopParts) -> Result<Vec<RemoteAddr>, DecodeError> {
        let mut handles = Vec::new();
        for poll in self.dict_values_at(parts.polls, ENTRIES_MAX)? {
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
        for key in self.dict_values_at(keys.value, ENTRIES_MAX)? {
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
                transports.extend(self.set_at(set, ENTRIES_MAX)?);
            }
        }
        if !parts.transports.is_plausible() {
            return Ok((transports, false));
        }
        let (reader, types) = (&mut *self.reader, &mut self.chains.types);
        // What a `WeakValueDictionary` holds (Lib/weakref.py).
        let mut attributes = Attributes::new(["data"]);
        let [data] = attributes.of(reader, self.offsets, types, parts.transports)?;
        let references = self.dict_values_at(data.value, ENTRIES_MAX)?;
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
        search: &mut Search,
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
        if self.is_method_of_loop(members.plus(CALLBACK))? {
            // An event loop calls its own for what they were given, and to accept connections.
            let given = self.reader.addr_at(members)?;
            let given = self.tuple_at(given)?;
            return self.futures_of_each(given, |walk, at| walk.future_itself(at));
        }
        let mut futures = Vec::new();
        for place in places {
            let given = self.reader.addr_at(members.plus(*place))?;
            futures.extend(self.futures_given(search, given, 0)?);
        }
        Ok(futures)
    }

    /// Whether what stands at `place` is a method of an event loop.
    fn is_method_of_loop(&mut self, place: RemoteAddr) -> Result<bool, DecodeError> {
        let callback = self.reader.addr_at(place)?;
        if !callback.is_plausible() || !self.type_is(callback, "method")? {
            return Ok(false);
        }
        let owner = callback.plus(self.offsets.pyobject.size).plus(8);
        let owner = self.reader.addr_at(owner)?;
        Ok(self.running_loops().contains(&owner))
    }

    /// An object if it is a future.
    fn future_itself(&mut self, at: RemoteAddr) -> Result<Vec<RemoteAddr>, DecodeError> {
        let is_future = at.is_plausible() && self.type_name_of(at)?.ends_with("Future");
        Ok(if is_future { vec![at] } else { Vec::new() })
    }

    /// The futures in something that a handler was given.
    fn futures_given(
        &mut self,
        search: &mut Search,
        given: RemoteAddr,
        depth: u32,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !given.is_plausible() || depth > DEPTH_MAX {
            return Ok(Vec::new());
        }
        let members = given.plus(self.offsets.pyobject.size);
        let within = match &*self.type_name_of(given)? {
            name if name.ends_with("Future") => return Ok(vec![given]),
            "tuple" | "functools.partial" | "function"
                if search.n_left == 0 || !search.seen.insert(given) =>
            {
                return Ok(Vec::new());
            }
            "tuple" => self.tuple_at(given)?,
            // `partialobject` (Modules/_functoolsmodule.c) begins with the function and its arguments.
            "functools.partial" => vec![
                self.reader.addr_at(members)?,
                self.reader.addr_at(members.plus(8))?,
            ],
            "method" | "builtin_function_or_method" | "builtin_method" => {
                let owner = self.reader.addr_at(members.plus(8))?;
                return self.futures_of_owner(search, owner);
            }
            "function" => {
                let variables = self.variables_at(given)?;
                search.take(&variables);
                return self.futures_of_each(variables, |walk, at| {
                    let mut futures = walk.futures_given(search, at, depth.saturating_add(1))?;
                    futures.extend(walk.futures_of_owner(search, at)?);
                    Ok(futures)
                });
            }
            _ => return self.futures_of_object(search, given),
        };
        search.take(&within);
        let depth = depth.saturating_add(1);
        self.futures_of_each(within, |walk, at| walk.futures_given(search, at, depth))
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
        search: &mut Search,
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
        let mut futures = self.futures_of_object(search, owner)?;
        futures.extend(self.futures_among_attributes(search, owner)?);
        Ok(futures)
    }

    /// The futures of the protocols of a transport. Those of uvloop have some of their own as well.
    fn futures_of_object(
        &mut self,
        search: &mut Search,
        at: RemoteAddr,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        let mut protocols = self.protocols_of(search, at)?;
        for protocol in protocols.clone() {
            let within = self.protocols_of(search, protocol).map(Some);
            protocols.extend(Self::of_one(within)?.unwrap_or_default());
        }
        self.futures_of_each(protocols, |walk, at| {
            walk.futures_among_attributes(search, at)
        })
    }

    /// An object if it is a future, and otherwise those among its attributes and members, and in what these hold: clients
    /// keep a future for each question in a table.
    fn futures_among_attributes(
        &mut self,
        search: &mut Search,
        object: RemoteAddr,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        if self.type_name_of(object)?.ends_with("Future") {
            return Ok(vec![object]);
        }
        if !search.seen.insert(object) {
            return Ok(Vec::new());
        }
        let values = self.values_in(search, object)?;
        if !search.in_containers {
            return self.futures_of_each(values, |walk, at| walk.future_itself(at));
        }
        self.futures_of_each(values, |walk, at| walk.futures_held_by(search, at, 0))
    }

    /// What the attributes and members of an object may refer to.
    fn values_in(
        &mut self,
        search: &mut Search,
        object: RemoteAddr,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        let attributes = &mut search.attributes;
        let mut values = attributes.values_of(reader, offsets, object, ATTRIBUTES_MAX)?;
        values.extend(attributes.members_of(reader, offsets, object, MEMBERS_MAX)?);
        values.retain(|value| value.is_plausible());
        Ok(values)
    }

    /// An object if it is a future, and otherwise those that it holds, if that is what it is for.
    fn futures_held_by(
        &mut self,
        search: &mut Search,
        at: RemoteAddr,
        depth: u32,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !at.is_plausible() {
            return Ok(Vec::new());
        }
        let name = self.type_name_of(at)?;
        if name.ends_with("Future") {
            return Ok(vec![at]);
        }
        if name == "method" {
            return self.futures_of_method(search, at);
        }
        let collection = search
            .attributes
            .collection(self.reader, self.offsets, at)?;
        let is_container = collection.is_some() || name == "set" || name == "collections.deque";
        if !is_container || depth > CONTAINERS_MAX || search.n_left == 0 || !search.seen.insert(at)
        {
            return Ok(Vec::new());
        }
        let items = match collection {
            Some(Collection::Tuple) => self.tuple_at(at)?,
            Some(Collection::List) => {
                let items = read_list(self.reader, self.offsets, at, ITEMS_MAX)?;
                items.unwrap_or_default()
            }
            Some(Collection::Dict) => read_dict_values(self.reader, self.offsets, at, ITEMS_MAX)?,
            None if name == "set" => self.set_at(at, ITEMS_MAX)?,
            None => {
                let items = read_deque(self.reader, self.offsets, at, ITEMS_MAX)?.items;
                items.into_iter().map(|item| item.item).collect()
            }
        };
        search.take(&items);
        let depth = depth.saturating_add(1);
        self.futures_of_each(items, |walk, at| walk.futures_held_by(search, at, depth))
    }

    /// The futures that the object of a method has itself.
    fn futures_of_method(
        &mut self,
        search: &mut Search,
        method: RemoteAddr,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        // `PyMethodObject` (Include/cpython/classobject.h): the function, then the object.
        let owner = method.plus(self.offsets.pyobject.size).plus(8);
        let owner = self.reader.addr_at(owner)?;
        if !owner.is_plausible() || search.n_left == 0 || !search.seen.insert(method) {
            return Ok(Vec::new());
        }
        let values = self.values_in(search, owner)?;
        search.take(&values);
        self.futures_of_each(values, |walk, at| walk.future_itself(at))
    }

    /// The protocols of a transport, or that of the program of one that encrypts. Those of uvloop may be any of their members.
    fn protocols_of(
        &mut self,
        search: &mut Search,
        at: RemoteAddr,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        if !at.is_plausible() {
            return Ok(Vec::new());
        }
        if self.type_name_of(at)?.starts_with("uvloop.loop.") {
            let members = self.members_of(at)?.into_iter();
            let members = members.filter(|(_, name)| name != "uvloop.loop.Loop");
            return Ok(members.map(|(member, _)| member).collect());
        }
        let (reader, types) = (&mut *self.reader, &mut self.chains.types);
        let found = search.attributes.of(reader, self.offsets, types, at)?;
        let protocols = found.into_iter().map(|found| found.value);
        Ok(protocols.filter(|at| at.is_plausible()).collect())
    }

    /// The items of the tuple at `tuple`; none if there are more than a call has arguments.
    pub(super) fn tuple_at(&mut self, tuple: RemoteAddr) -> Result<Vec<RemoteAddr>, DecodeError> {
        DecodeError::check_address("tuple", tuple)?;
        let items = read_tuple(self.reader, self.offsets, tuple, ARGUMENTS_MAX)?;
        Ok(items.unwrap_or_default())
    }
}
