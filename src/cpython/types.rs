//! Types: what kind of object one is. Built-in types are decoded once per process; those that can be
//! deleted (heap types) once per snapshot, since another may stand there the next time.

use super::{DecodeError, Offsets};
use crate::memory::{Reader, RemoteAddr};
use rustc_hash::FxHashMap;

/// Bits of `tp_flags` (Include/object.h).
const HEAPTYPE: u64 = 1 << 9;
const LONG_SUBCLASS: u64 = 1 << 24;
const UNICODE_SUBCLASS: u64 = 1 << 28;
/// Longest type name read.
const NAME_BYTES_MAX: usize = 256;
/// A type name is copied in pieces of this size, so as not to read past the end of its mapping.
const NAME_PIECE_BYTES: usize = 16;

/// The kinds of objects that the readers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `coroutine`: an `async def` being executed.
    Coroutine,
    /// `generator`.
    Generator,
    /// `async_generator`.
    AsyncGenerator,
    /// `async_generator_asend`, `async_generator_athrow`: one step of an asynchronous generator.
    AsyncGeneratorStep,
    /// `anext_awaitable`: `anext()` with a default.
    AnextAwaitable,
    /// `coroutine_wrapper`: what `coroutine.__await__()` returns.
    CoroutineWrapper,
    /// `_asyncio.FutureIter`: what `future.__await__()` returns.
    FutureIter,
    /// `code`.
    Code,
    /// An int or a subclass of it.
    Int,
    /// A string or a subclass of it.
    Text,
    /// Anything else.
    Other,
}

/// A type that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeInfo {
    /// What its instances are.
    pub kind: Kind,
    is_heap_type: bool,
    name: u32,
}

impl TypeInfo {
    /// A small number that tells its name from those of the other types of a snapshot.
    pub fn name_index(self) -> usize {
        usize::try_from(self.name).unwrap_or(usize::MAX)
    }
}

/// What a type costs, with the longest name.
const BYTES_PER_TYPE: usize = 128 + NAME_BYTES_MAX;
/// Types kept from one snapshot to the next. CPython has a few hundred.
const KEPT_MAX: usize = 4_096;

/// Types remembered by the low bits of their address, before the hash table is asked.
const RECENT: usize = 16;

/// The types seen.
#[derive(Debug, Default)]
pub struct TypeCache {
    by_addr: FxHashMap<RemoteAddr, TypeInfo>,
    recent: [Option<(RemoteAddr, TypeInfo)>; RECENT],
    names: Vec<String>,
}

impl TypeCache {
    /// Forgets what may have changed since the last snapshot.
    pub fn begin_snapshot(&mut self) {
        let names = std::mem::take(&mut self.names);
        self.recent = [None; RECENT];
        if self.by_addr.len() > KEPT_MAX {
            self.by_addr = FxHashMap::default();
        }
        let kept = &mut self.names;
        self.by_addr.retain(|_, info| {
            let name = usize::try_from(info.name).ok().and_then(|at| names.get(at));
            info.name = u32::try_from(kept.len()).unwrap_or(u32::MAX);
            kept.extend(name.filter(|_| !info.is_heap_type).cloned());
            !info.is_heap_type
        });
    }

    /// The type of the object at `at`.
    ///
    /// # Errors
    ///
    /// When the object or its type cannot be read.
    pub fn type_of(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
    ) -> Result<TypeInfo, DecodeError> {
        DecodeError::check_address("object address", at)?;
        let type_at = reader.addr_at(at.plus(offsets.pyobject.ob_type))?;
        self.type_at(reader, offsets, type_at)
    }

    /// The type at `type_at`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn type_at(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        type_at: RemoteAddr,
    ) -> Result<TypeInfo, DecodeError> {
        let place = usize::try_from(type_at.as_u64() >> 5).unwrap_or(0) % RECENT;
        if let Some(Some((at, info))) = self.recent.get(place)
            && *at == type_at
        {
            return Ok(*info);
        }
        let info = match self.by_addr.get(&type_at) {
            Some(known) => *known,
            None => {
                reader.keep(BYTES_PER_TYPE)?;
                let info = self.read(reader, offsets, type_at)?;
                self.by_addr.insert(type_at, info);
                info
            }
        };
        if let Some(entry) = self.recent.get_mut(place) {
            *entry = Some((type_at, info));
        }
        Ok(info)
    }

    /// The name of a type as `tp_name` has it: with its module for types written in C.
    pub fn name(&self, info: TypeInfo) -> &str {
        self.names.get(info.name_index()).map_or("", String::as_str)
    }

    fn read(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
    ) -> Result<TypeInfo, DecodeError> {
        DecodeError::check_address("type address", at)?;
        let flags = reader.u64_at(at.plus(offsets.type_object.tp_flags))?;
        let name_at = reader.addr_at(at.plus(offsets.type_object.tp_name))?;
        let name = read_c_string(reader, name_at)?;
        let kind = match name.as_str() {
            _ if flags & LONG_SUBCLASS != 0 => Kind::Int,
            _ if flags & UNICODE_SUBCLASS != 0 => Kind::Text,
            // `_asyncio`'s types are made at run time; they have their module in their name, which
            // a class statement cannot write (a dot is no part of an identifier).
            "_asyncio.FutureIter" => Kind::FutureIter,
            // A class that only has the name of one of the built-in types below.
            _ if flags & HEAPTYPE != 0 => Kind::Other,
            "coroutine" => Kind::Coroutine,
            "generator" => Kind::Generator,
            "async_generator" => Kind::AsyncGenerator,
            "async_generator_asend" | "async_generator_athrow" => Kind::AsyncGeneratorStep,
            "anext_awaitable" => Kind::AnextAwaitable,
            "coroutine_wrapper" => Kind::CoroutineWrapper,
            "code" => Kind::Code,
            _ => Kind::Other,
        };
        let info = TypeInfo {
            kind,
            is_heap_type: flags & HEAPTYPE != 0,
            name: u32::try_from(self.names.len()).unwrap_or(u32::MAX),
        };
        self.names.push(name);
        Ok(info)
    }
}

pub(super) fn read_c_string(
    reader: &mut Reader<'_>,
    at: RemoteAddr,
) -> Result<String, DecodeError> {
    let mut bytes = Vec::new();
    let mut next = at;
    while bytes.len() < NAME_BYTES_MAX {
        // Up to the next boundary, which a mapping cannot end before.
        let past = next
            .as_u64()
            .checked_rem(NAME_PIECE_BYTES as u64)
            .unwrap_or(0);
        let piece = NAME_PIECE_BYTES.saturating_sub(usize::try_from(past).unwrap_or(0));
        let mut buffer = [0; NAME_PIECE_BYTES];
        let buffer = buffer.get_mut(..piece).unwrap_or_default();
        reader.read(next, buffer)?;
        match buffer.iter().position(|byte| *byte == 0) {
            Some(end) => {
                bytes.extend_from_slice(buffer.get(..end).unwrap_or_default());
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
            None => bytes.extend_from_slice(buffer),
        }
        next = next.plus(u64::try_from(piece).unwrap_or(0));
    }
    Err(DecodeError::Implausible {
        what: "type name",
        value: NAME_BYTES_MAX as u64,
        at,
    })
}
