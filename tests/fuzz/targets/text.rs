//! CPython's strings. Input: a header of 4 bytes, then the object, and what stands behind it.

use super::image::{Build, Image};
use super::input::Input;
use super::pages::Pages;
use super::walk::LIMITS;
use asyncio_agent::cpython::{DecodeError, read_text};
use asyncio_agent::limits::Limits;
use asyncio_agent::memory::{Reader, RemoteAddr};

/// Where the object stands; the fuzzer may point to it.
const AT: u64 = 0x10_0040;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (flags, chars_max) = (input.u8(), input.u16());
    input.u8();
    let object = input.rest();
    let mut pages = Pages::default();
    pages.put(RemoteAddr::new(AT), object);
    if flags & 1 != 0 {
        pages.fill(0x0041_d800_0041_00e9);
    }
    let limits = Limits {
        string_chars_max: u64::from(chars_max),
        ..LIMITS
    };
    let mut offsets = Image::of(Build::V3_14).site.offsets;
    if flags & 2 != 0 {
        offsets.quirks.text_kind_shift = 8;
    }
    if flags & 4 != 0 {
        offsets.unicode_object.asciiobject_size = u64::from(flags);
    }
    let mut reader = Reader::new(&pages, limits);
    match read_text(&mut reader, &offsets, RemoteAddr::new(AT)) {
        Ok(text) => {
            let whole = text.strip_suffix('…').unwrap_or(&text);
            assert!(whole.chars().count() <= usize::from(chars_max));
            // Compact, ASCII, one byte a character.
            let is_ascii = object
                .get(32)
                .is_some_and(|state| state >> 2 & 31 == 0b1_1001);
            assert!(flags & 7 != 0 || !is_ascii || whole.is_ascii());
        }
        Err(error) => {
            assert!(!error.is_fatal());
            assert!(!matches!(error, DecodeError::Limit(_)));
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let text = |state: u8, length: u8, header: usize, chars: &[u8]| {
        let mut object = vec![0, 200, 0, 0];
        object.resize(4 + header, 0);
        object[4 + 16] = length;
        object[4 + 32] = state;
        object.extend(chars);
        object
    };
    // Width (from bit 2), compact (5), ASCII (6).
    vec![
        text((1 << 2) | (3 << 5), 5, 40, b"hello"),
        text((1 << 2) | (1 << 5), 4, 56, b"h\xe9ll"),
        text((2 << 2) | (1 << 5), 2, 56, &[0x3b, 0x4e, 0, 0xd8]),
        text(
            (4 << 2) | (1 << 5),
            2,
            56,
            &[0xb5, 0xf3, 1, 0, 0xff, 0xff, 0xff, 0],
        ),
        // Not compact: a pointer to the characters, which stand behind it.
        text(
            1 << 2,
            3,
            56,
            &[&(AT + 64).to_le_bytes()[..], b"abc"].concat(),
        ),
    ]
}
