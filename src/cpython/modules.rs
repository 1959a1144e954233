//! `sys.modules`: which modules an interpreter has imported.
//!
//! The keys of a dict stand in one block (`PyDictKeysObject`, Include/internal/pycore_dict.h):
//!
//! ```text
//! 0 refcnt | 8 log2_size | 9 log2_index_bytes | 10 kind | 12 version | 16 usable | 24 nentries
//! 32 indices (2^log2_index_bytes bytes) | entries in order of insertion
//! ```

use super::{DecodeError, Interpreter, Kind, Offsets, TypeCache, read_text};
use crate::memory::{Bytes, Reader, RemoteAddr};

const HEADER_BYTES: usize = 32;
const LOG2_INDEX_BYTES: u64 = 9;
const KIND: u64 = 10;
const N_ENTRIES: u64 = 24;
/// Kind 0 keeps the hash before the key; kinds 1 and 2 have only strings as keys.
const GENERAL_ENTRY_BYTES: u64 = 24;
const TEXT_ENTRY_BYTES: u64 = 16;
/// No program imports more modules than this.
const ENTRIES_MAX: u64 = 1 << 20;

/// Whether `interpreter` has a module named `name` in `sys.modules`.
///
/// # Errors
///
/// When the dict cannot be read.
pub fn has_module(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    types: &mut TypeCache,
    interpreter: Interpreter,
    name: &str,
) -> Result<bool, DecodeError> {
    let modules = reader.addr_at(
        interpreter
            .at
            .plus(offsets.interpreter_state.imports_modules),
    )?;
    if modules.is_null() {
        return Ok(false);
    }
    let keys = reader.addr_at(modules.plus(offsets.dict_object.ma_keys))?;
    let header: [u8; HEADER_BYTES] = reader.array(keys)?;
    let header = Bytes::new(&header);
    let implausible = |what, value| DecodeError::Implausible {
        what,
        value,
        at: keys,
    };
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
    let entries = keys.plus(HEADER_BYTES as u64).plus(index_bytes);
    for entry in 0..n_entries {
        let key_at = entries
            .plus(entry.saturating_mul(entry_bytes))
            .plus(key_offset);
        let key = reader.addr_at(key_at)?;
        if key != RemoteAddr::NULL
            && types.type_of(reader, offsets, key)?.kind == Kind::Text
            && read_text(reader, offsets, key)? == name
        {
            return Ok(true);
        }
    }
    Ok(false)
}
