//! Dicts. The keys stand in one block (`PyDictKeysObject`, Include/internal/pycore_dict.h of CPython 3.14
//! and 3.15):
//!
//! ```text
//! 0 refcnt | 8 log2_size | 9 log2_index_bytes | 10 kind | 12 version | 16 usable | 24 nentries
//! 32 indices (2^log2_index_bytes bytes) | entries in order of insertion
//! ```
//!
//! The values stand beside the keys, or, where instances of a class share one block of keys, in an array
//! of their own.

use super::{DecodeError, Kind, Offsets, TypeCache, read_text};
use crate::memory::{Bytes, Reader, RemoteAddr};

const HEADER_BYTES: usize = 32;
const LOG2_INDEX_BYTES: u64 = 9;
const KIND: u64 = 10;
const N_ENTRIES: u64 = 24;
/// Kind 0 keeps the hash before the key; kinds 1 and 2 have only strings as keys.
const GENERAL_ENTRY_BYTES: u64 = 24;
const TEXT_ENTRY_BYTES: u64 = 16;
/// What a value costs whoever keeps it: an address.
const BYTES_PER_VALUE: usize = 8;
/// No program has more entries in a dict that we look at: modules, globals of a module.
const ENTRIES_MAX: u64 = 1 << 20;

/// A block of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) at: RemoteAddr,
    entries: RemoteAddr,
    entry_bytes: u64,
    key_offset: u64,
    pub(super) n_entries: u64,
}

impl Keys {
    /// The block at `at`.
    pub(super) fn read(reader: &mut Reader<'_>, at: RemoteAddr) -> Result<Self, DecodeError> {
        DecodeError::check_address("address of a dict's keys", at)?;
        let header: [u8; HEADER_BYTES] = reader.array(at)?;
        let header = Bytes::new(&header);
        let implausible = |what, value| DecodeError::Implausible { what, value, at };
        let log2_index_bytes = header.u8_at(LOG2_INDEX_BYTES)?;
        let index_bytes = 1_u64
            .checked_shl(u32::from(log2_index_bytes))
            .filter(|bytes| *bytes <= ENTRIES_MAX.saturating_mul(8))
            .ok_or_else(|| implausible("size of a dict", u64::from(log2_index_bytes)))?;
        let (entry_bytes, key_offset) = match header.u8_at(KIND)? {
            0 => (GENERAL_ENTRY_BYTES, 8),
            1 | 2 => (TEXT_ENTRY_BYTES, 0),
            kind => return Err(implausible("kind of a dict", u64::from(kind))),
        };
        let n_entries = header.u64_at(N_ENTRIES)?;
        if n_entries > ENTRIES_MAX {
            return Err(implausible("entries of a dict", n_entries));
        }
        Ok(Self {
            at,
            entries: at.plus(HEADER_BYTES as u64).plus(index_bytes),
            entry_bytes,
            key_offset,
            n_entries,
        })
    }

    /// Where the key of an entry stands, and its value if that stands beside it.
    pub(super) fn entry(&self, position: u64) -> (RemoteAddr, RemoteAddr) {
        let at = self.entries.plus(position.saturating_mul(self.entry_bytes));
        let key_at = at.plus(self.key_offset);
        (key_at, key_at.plus(8))
    }
}

/// The values of those names in the dict at `at` that has strings as keys; null where there is none.
/// Only for dicts whose values stand beside their keys, as those of modules do.
///
/// # Errors
///
/// When the dict cannot be read.
pub fn find_in_dict<const N: usize>(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    types: &mut TypeCache,
    at: RemoteAddr,
    names: [&str; N],
) -> Result<[RemoteAddr; N], DecodeError> {
    let keys_at = reader.addr_at(at.plus(offsets.dict_object.ma_keys))?;
    let keys = Keys::read(reader, keys_at)?;
    let mut values = [RemoteAddr::NULL; N];
    let mut n_left = N;
    // What a program imports for itself stands at the end.
    for position in (0..keys.n_entries).rev() {
        let (key_at, value_at) = keys.entry(position);
        let key = reader.addr_at(key_at)?;
        if key.is_null() {
            continue;
        }
        for (name, value) in names.iter().zip(&mut values) {
            if text_is(reader, offsets, types, key, name)? {
                *value = reader.addr_at(value_at)?;
                n_left = n_left.saturating_sub(1);
            }
        }
        if n_left == 0 {
            break;
        }
    }
    Ok(values)
}

/// The first values of the dict at `at`, at most `values_max`; none if they do not stand beside their keys (those of a dict
/// that a program made itself do).
///
/// # Errors
///
/// When the dict cannot be read.
pub fn read_dict_values(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
    values_max: u64,
) -> Result<Vec<RemoteAddr>, DecodeError> {
    let ma_keys = at.plus(offsets.dict_object.ma_keys);
    let keys_at = reader.addr_at(ma_keys)?;
    // `ma_values` follows `ma_keys` (`PyDictObject`, Include/cpython/dictobject.h).
    let is_split = !reader.addr_at(ma_keys.plus(8))?.is_null();
    let keys = Keys::read(reader, keys_at)?;
    let mut values = Vec::new();
    if is_split {
        return Ok(values);
    }
    let values_max = usize::try_from(values_max).unwrap_or(usize::MAX);
    for position in 0..keys.n_entries {
        if values.len() >= values_max {
            break;
        }
        let value = reader.addr_at(keys.entry(position).1)?;
        // Entries that were deleted stay.
        if !value.is_null() {
            reader.keep(BYTES_PER_VALUE)?;
            values.push(value);
        }
    }
    Ok(values)
}

/// Whether the object at `at` is this string.
pub(super) fn text_is(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    types: &mut TypeCache,
    at: RemoteAddr,
    text: &str,
) -> Result<bool, DecodeError> {
    if types.type_of(reader, offsets, at)?.kind != Kind::Text {
        return Ok(false);
    }
    // Most differ in length, and that is cheap to see.
    let length = reader.u64_at(at.plus(offsets.unicode_object.length))?;
    let is_as_long = u64::try_from(text.chars().count()) == Ok(length);
    Ok(is_as_long && read_text(reader, offsets, at)? == text)
}
