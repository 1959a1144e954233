//! Strings: their header says how wide the characters are and where they stand
//! (`PyUnicodeObject`, Include/cpython/unicodeobject.h).
//!
//! ```text
//! compact ASCII     header (asciiobject_size)           then 1 byte a character
//! compact           header, utf8 fields (16 more bytes) then 1, 2 or 4 bytes a character
//! not compact       header, utf8 fields, pointer to the characters (subclasses of str)
//! ```

use super::{DecodeError, Offsets};
use crate::memory::{Bytes, Reader, RemoteAddr};

/// What `PyCompactUnicodeObject` has beyond the ASCII header: `utf8_length` and `utf8`.
const COMPACT_EXTRA: u64 = 16;
/// The header with its pointer to the characters fits in this.
const HEADER_BYTES_MAX: usize = 128;

/// The string at `at`. Of one that is longer than `Limits::string_chars_max` characters, so many, and
/// an ellipsis (`…`) for the others. Lone surrogates, which
/// Python allows and UTF-8 does not, become U+FFFD.
///
/// # Errors
///
/// When it cannot be read or is no string.
pub fn read_text(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
) -> Result<String, DecodeError> {
    let layout = &offsets.unicode_object;
    let compact_size = layout.asciiobject_size.saturating_add(COMPACT_EXTRA);
    let header_size = usize::try_from(compact_size).unwrap_or(usize::MAX);
    let mut header = [0; HEADER_BYTES_MAX];
    let header = header
        .get_mut(..header_size)
        .ok_or(DecodeError::Implausible {
            what: "size of a string's header",
            value: compact_size,
            at,
        })?;
    reader.read(at, header)?;
    let header = Bytes::new(header);
    let length = header.u64_at(layout.length)?;
    let state = header.u32_at(layout.state)? >> offsets.quirks.text_kind_shift;
    let (kind, compact, ascii) = (state & 7, state & 8 != 0, state & 16 != 0);
    let implausible = |what, value| DecodeError::Implausible { what, value, at };
    if length > i64::MAX.unsigned_abs() {
        return Err(implausible("length of a string", length));
    }
    let start = match (compact, ascii) {
        (true, true) => at.plus(layout.asciiobject_size),
        (true, false) => at.plus(compact_size),
        (false, _) => reader.addr_at(at.plus(compact_size))?,
    };
    let chars = usize::try_from(length.min(reader.limits().string_chars_max)).unwrap_or(0);
    let width = match kind {
        1 => 1,
        2 if !ascii => 2,
        4 if !ascii => 4,
        _ => {
            return Err(implausible(
                "width of a string's characters",
                u64::from(kind),
            ));
        }
    };
    let mut bytes = vec![0; chars.saturating_mul(width)];
    reader.read(start, &mut bytes)?;
    if ascii && !bytes.is_ascii() {
        return Err(implausible("character in an ASCII string", 0x80));
    }
    let mut text = decode(&bytes, width);
    if length > reader.limits().string_chars_max {
        text.push('…');
    }
    Ok(text)
}

fn decode(bytes: &[u8], width: usize) -> String {
    let code_point = |unit: &[u8]| match *unit {
        [a] => u32::from(a),
        [a, b] => u32::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        _ => u32::MAX,
    };
    bytes
        .chunks_exact(width)
        .map(|unit| char::from_u32(code_point(unit)).unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}
