//! What the functions may end that timers of an event loop call (`loop.call_later`), where that is not said by a method of
//! the future or task itself: a function ends what it was given, or refers to, if the names that it uses are those of
//! methods that end a wait.
//!
//! A function that looks again and again how a wait is getting on, and says so, refers to what is waited for as well. But it
//! sets a timer each time, and has no need of these methods. Of all others of the program it is not certain: who reaches it may do
//! anything with it, and may set the next timer in another function.

use super::Walk;
use crate::cpython::{
    Attributes, Collection, DecodeError, name_of_c_function, names_of_code, read_deque,
    read_dict_values, read_function, read_list, read_tuple,
};
use crate::graph::is_python;
use crate::memory::RemoteAddr;
use rustc_hash::FxHashMap;

/// Functions around the one that is called: `functools.partial` of another one.
const WRAPPERS_MAX: u32 = 4;
/// Attributes of an object that are looked at, and names of a function.
const ATTRIBUTES_MAX: u64 = 64;
const NAMES_MAX: u64 = 256;
/// What is looked at of an object, and how deep: what stands in its lists and dicts, and what that refers to, such as the tuples
/// of a heap.
const PARTS_OF_ONE_MAX: usize = 4_096;
const DEPTH_MAX: u32 = 2;
/// The same of all objects.
const PARTS_MAX: usize = 32_768;
/// Timers that are kept of one object: those that are due first.
const USES_MAX: usize = 16;
/// Timers that are looked at: those that are due first, or nearly so.
const TIMERS_MAX: usize = 65_536;
/// What an object costs that is remembered.
const BYTES_PER_OBJECT: usize = 64;

/// Methods that end a wait: of futures, of tasks, and of what is in asyncio/locks.py and queues.py.
const ENDS: [&str; 11] = [
    "set_result",
    "set_exception",
    "cancel",
    "set",
    "release",
    "notify",
    "notify_all",
    "put",
    "put_nowait",
    "get_nowait",
    "shutdown",
];
const CANCELS: &str = "cancel";
/// Those of them that only futures have.
const GIVES_RESULT: [&str; 2] = ["set_result", "set_exception"];
/// Methods that set a timer.
const SETS_TIMER: [&str; 2] = ["call_later", "call_at"];
/// Where a timer has its callback, and its arguments, in bytes behind its head (Lib/asyncio/events.py: `_args` and `_callback`
/// are the first slots of a handle, in this order; uvloop/cbhandles.pxd: the table of methods, then callback and args).
pub(super) const CALLBACK: u64 = 8;
const ARGUMENTS: [(&str, u64); 2] = [("TimerHandle", 0), ("uvloop.loop.TimerHandle", 16)];

/// What a function does, by the names that it uses.
#[derive(Debug, Clone, Copy, Default)]
struct Doing {
    ends: bool,
    cancels: bool,
    gives_result: bool,
    sets_timer: bool,
    /// It is one of Python's own library, such as `_set_result_unless_cancelled`.
    is_of_python: bool,
}

impl Doing {
    const ENDS: Self = Self {
        ends: true,
        cancels: true,
        gives_result: true,
        sets_timer: false,
        is_of_python: true,
    };
}

/// A timer that calls a function with something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    pub(super) timer: RemoteAddr,
    /// It is certain that the function ends it.
    pub(super) is_certain: bool,
    /// It cancels something.
    pub(super) cancels: bool,
}

/// What timers call functions with.
#[derive(Debug, Default)]
pub(super) struct Calls {
    uses: FxHashMap<RemoteAddr, Vec<Use>>,
    /// By code object.
    doings: FxHashMap<RemoteAddr, Doing>,
    /// What was looked at for its attributes, and in how many timers it was found.
    owners: FxHashMap<RemoteAddr, usize>,
    /// What was looked at of those.
    n_parts: usize,
}

impl Calls {
    /// The timers whose functions may end what waits for this future, lock, event or queue, or cancel this task.
    pub(super) fn uses_of(&self, object: RemoteAddr) -> &[Use] {
        self.uses.get(&object).map_or(&[], Vec::as_slice)
    }

    fn note(&mut self, object: RemoteAddr, used: Use) {
        let uses = self.uses.entry(object).or_default();
        if uses.len() < USES_MAX {
            uses.push(used);
        }
    }
}

/// A function with what it is called with.
#[derive(Debug)]
struct Call {
    /// Its code object; null if it is a method in C that ends what it is given.
    code: RemoteAddr,
    /// The object of which it is a method; null if it is none.
    of: RemoteAddr,
    /// Its arguments, and what it refers to.
    given: Vec<RemoteAddr>,
}

impl Walk<'_, '_> {
    /// What timers call functions with.
    pub(super) fn calls_of_timers(&mut self, timers: &[RemoteAddr]) -> Result<Calls, DecodeError> {
        let mut calls = Calls::default();
        let mut attributes = Attributes::new([]);
        for timer in timers.iter().take(TIMERS_MAX) {
            let call = self.call_of(*timer);
            if let Some(call) = Self::of_one(call)? {
                let noted = self.note_call(&mut attributes, &mut calls, *timer, &call);
                Self::of_one(noted.map(Some))?;
            }
        }
        Ok(calls)
    }

    fn note_call(
        &mut self,
        attributes: &mut Attributes<0>,
        calls: &mut Calls,
        timer: RemoteAddr,
        call: &Call,
    ) -> Result<(), DecodeError> {
        let doing = match (call.code, calls.doings.get(&call.code)) {
            (RemoteAddr::NULL, _) => Doing::ENDS,
            (_, Some(doing)) => *doing,
            (code, None) => {
                let doing = self.doing_of(code)?;
                calls.doings.insert(code, doing);
                doing
            }
        };
        if doing.sets_timer && !doing.ends {
            return Ok(());
        }
        let used = Use {
            timer,
            is_certain: doing.ends && doing.is_of_python,
            cancels: doing.cancels,
        };
        for object in call.given.iter().filter(|object| object.is_plausible()) {
            self.reader.keep(BYTES_PER_OBJECT)?;
            calls.note(*object, used);
        }
        if doing.ends {
            // A method such as `Lock.release`.
            calls.note(call.of, used);
        }
        if doing.sets_timer && !doing.gives_result {
            return Ok(());
        }
        let used = Use {
            is_certain: false,
            ..used
        };
        let depth_max = if doing.ends { DEPTH_MAX } else { 0 };
        for owner in call.given.iter().chain([&call.of]).copied() {
            let n_uses = calls.owners.entry(owner).or_default();
            *n_uses = n_uses.saturating_add(1);
            if owner.is_plausible() && *n_uses <= USES_MAX {
                self.note_parts(attributes, calls, owner, (used, depth_max))?;
            }
        }
        Ok(())
    }

    /// Notes what an object refers to and, down to some depth, what stands in its containers.
    fn note_parts(
        &mut self,
        attributes: &mut Attributes<0>,
        calls: &mut Calls,
        owner: RemoteAddr,
        (used, depth_max): (Use, u32),
    ) -> Result<(), DecodeError> {
        let n_parts_max = calls.n_parts.saturating_add(PARTS_OF_ONE_MAX);
        let mut left = vec![(owner, 0, true)];
        while let Some((object, depth, is_item)) = left.pop() {
            let items = self.items_of_container(attributes, object).map(Some);
            let items = Self::of_one(items)?.flatten();
            let is_container = items.is_some();
            let parts = match items {
                Some(items) => items,
                None if is_item => self.attributes_of(attributes, object)?,
                None => continue,
            };
            for part in parts.into_iter().filter(|part| part.is_plausible()) {
                if calls.n_parts >= n_parts_max.min(PARTS_MAX) {
                    return Ok(());
                }
                calls.n_parts = calls.n_parts.saturating_add(1);
                self.reader.keep(BYTES_PER_OBJECT)?;
                calls.note(part, used);
                if depth < depth_max {
                    left.push((part, depth.saturating_add(1), is_container));
                }
            }
        }
        Ok(())
    }

    /// What stands in a list, tuple, dict, set or deque; nothing if it is something else.
    fn items_of_container(
        &mut self,
        attributes: &mut Attributes<0>,
        object: RemoteAddr,
    ) -> Result<Option<Vec<RemoteAddr>>, DecodeError> {
        let limit = u64::try_from(PARTS_OF_ONE_MAX).unwrap_or(u64::MAX);
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        match attributes.collection(reader, offsets, object)? {
            Some(Collection::List) => return read_list(reader, offsets, object, limit),
            Some(Collection::Tuple) => return read_tuple(reader, offsets, object, limit),
            Some(Collection::Dict) => {
                return read_dict_values(reader, offsets, object, limit).map(Some);
            }
            None => {}
        }
        match &*self.type_name_of(object)? {
            "set" => self.set_at(object, limit).map(Some),
            "collections.deque" => {
                let deque = read_deque(self.reader, self.offsets, object, limit)?;
                Ok(Some(deque.items.iter().map(|it| it.item).collect()))
            }
            _ => Ok(None),
        }
    }

    /// What an object itself refers to.
    fn attributes_of(
        &mut self,
        attributes: &mut Attributes<0>,
        object: RemoteAddr,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        let values = attributes.values_of(reader, offsets, object, ATTRIBUTES_MAX);
        let mut values = Self::of_one(values.map(Some))?.unwrap_or_default();
        let members = attributes.members_of(self.reader, offsets, object, ATTRIBUTES_MAX);
        values.extend(Self::of_one(members.map(Some))?.unwrap_or_default());
        Ok(values)
    }

    /// What a timer calls; nothing if that is no function written in Python, nor a method such as `future.set_result`.
    fn call_of(&mut self, timer: RemoteAddr) -> Result<Option<Call>, DecodeError> {
        DecodeError::check_address("timer", timer)?;
        let name = self.type_name_of(timer)?;
        let Some((_, place)) = ARGUMENTS.iter().find(|(class, _)| *class == name) else {
            return Ok(None);
        };
        let members = timer.plus(self.offsets.pyobject.size);
        let mut callback = self.reader.addr_at(members.plus(CALLBACK))?;
        let arguments = self.reader.addr_at(members.plus(*place))?;
        let mut given = self.items_of(arguments)?;
        let mut of = RemoteAddr::NULL;
        for _ in 0..WRAPPERS_MAX {
            // One that was cancelled has none.
            if !callback.is_plausible() {
                break;
            }
            let members = callback.plus(self.offsets.pyobject.size);
            match &*self.type_name_of(callback)? {
                // `partialobject` (Modules/_functoolsmodule.c) begins with the function and its arguments.
                "functools.partial" => {
                    callback = self.reader.addr_at(members)?;
                    let arguments = self.reader.addr_at(members.plus(8))?;
                    given.extend(self.items_of(arguments)?);
                }
                // `PyMethodObject` (Include/cpython/classobject.h) begins with the function and the object.
                "method" => {
                    callback = self.reader.addr_at(members)?;
                    of = self.reader.addr_at(members.plus(8))?;
                }
                // `PyCFunctionObject` (Include/cpython/methodobject.h): what it is a method of is the second member.
                "builtin_function_or_method" | "builtin_method" => {
                    let name = name_of_c_function(self.reader, self.offsets, callback)?;
                    let ends = ENDS.contains(&&*name);
                    given = vec![self.reader.addr_at(members.plus(8))?];
                    return Ok(ends.then_some(Call {
                        code: RemoteAddr::NULL,
                        of,
                        given,
                    }));
                }
                _ => break,
            }
        }
        if !callback.is_plausible() {
            return Ok(None);
        }
        let (reader, types) = (&mut *self.reader, &mut self.chains.types);
        let Some(function) = read_function(reader, self.offsets, types, callback)? else {
            return Ok(None);
        };
        given.extend(self.items_of(function.defaults)?);
        if function.closure.is_plausible() {
            given.extend(self.variables_of(function.closure)?);
        }
        Ok(Some(Call {
            code: function.code,
            of,
            given,
        }))
    }

    /// The items of a tuple; none if it is something else.
    fn items_of(&mut self, tuple: RemoteAddr) -> Result<Vec<RemoteAddr>, DecodeError> {
        match tuple.is_plausible() && self.type_is(tuple, "tuple")? {
            true => self.tuple_at(tuple),
            false => Ok(Vec::new()),
        }
    }

    /// What the code at `code` does.
    fn doing_of(&mut self, code: RemoteAddr) -> Result<Doing, DecodeError> {
        DecodeError::check_address("code object", code)?;
        let names = names_of_code(self.reader, self.offsets, code)?;
        DecodeError::check_address("names of a code object", names)?;
        let names = read_tuple(self.reader, self.offsets, names, NAMES_MAX)?;
        let mut doing = Doing::default();
        for name in names.unwrap_or_default() {
            DecodeError::check_address("name", name)?;
            let name = &*self.text_of(name)?;
            doing.ends |= ENDS.contains(&name);
            doing.cancels |= name == CANCELS;
            doing.gives_result |= GIVES_RESULT.contains(&name);
            doing.sets_timer |= SETS_TIMER.contains(&name);
        }
        // A method such as `Lock.release` itself.
        let (reader, chains) = (&mut *self.reader, &mut self.chains);
        let own = chains
            .codes
            .code_at(reader, self.offsets, &mut chains.types, code)?;
        if let Some(code) = chains.codes.info(own) {
            let name = code.function.rsplit('.').next();
            doing.ends |= name.is_some_and(|name| ENDS.contains(&name));
            doing.is_of_python = is_python(code.file.as_deref().unwrap_or_default());
        }
        Ok(doing)
    }
}
