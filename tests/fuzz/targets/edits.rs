//! Damage told by bytes: what an input does to the memory of a valid process.
//!
//! Input: a header of 8 bytes, then edits of 12 bytes each:
//!
//! ```text
//! 0 kind | 1 small number | 2..4 place | 4..12 value
//! ```

use super::image::{Build, DATA, Image};
use super::input::Input;
use super::pages::{Changing, Pages};
use asyncio_agent::memory::{ReadErrorKind, ReadMemory, RemoteAddr};

const EDITS_MAX: usize = 256;
const VERSIONS_MAX: usize = 8;
/// Bytes of the data that holds the two tables.
const DATA_BYTES: u64 = 0x4000;

/// Damaged memory, and how to read it.
pub(crate) struct Damaged {
    pub(crate) image: &'static Image,
    pub(crate) memory: Changing,
    /// The first version of the memory.
    pub(crate) before: Pages,
    /// Free for the target.
    pub(crate) flags: u8,
}

impl Damaged {
    /// What these bytes make of a process.
    pub(crate) fn new(data: &[u8]) -> Self {
        let mut input = Input::new(data);
        let build = [Build::V3_14, Build::V3_15, Build::FreeThreaded];
        let image = Image::of(input.choose(&build));
        let (flags, ending, end_at) = (input.u8(), input.u8(), input.u8());
        let end = match ending {
            255 => Some(ReadErrorKind::ProcessGone),
            254 => Some(ReadErrorKind::Denied),
            253 => Some(ReadErrorKind::Os(5)),
            252 => Some(ReadErrorKind::Unmapped),
            _ => None,
        };
        // Free for later.
        input.bytes(4);
        let mut pages = image.pages.clone();
        let mut versions = Vec::new();
        let mut from = 0;
        for _ in 0..EDITS_MAX {
            if input.is_empty() {
                break;
            }
            let edit = Edit::next(&mut input);
            if edit.kind % 16 == 15 && versions.len() + 1 < VERSIONS_MAX {
                versions.push((from, pages.clone()));
                from += u64::from(edit.small);
            } else {
                edit.apply(image, &mut pages);
            }
        }
        versions.push((from, pages));
        let before = versions[0].1.clone();
        Self {
            image,
            memory: Changing::new(versions, end.map(|kind| (u64::from(end_at), kind))),
            before,
            flags,
        }
    }
}

/// One change of memory, or of time.
struct Edit {
    kind: u8,
    small: u8,
    place: u16,
    value: u64,
}

impl Edit {
    fn next(input: &mut Input<'_>) -> Self {
        Self {
            kind: input.u8(),
            small: input.u8(),
            place: input.u16(),
            value: input.u64(),
        }
    }

    fn apply(&self, image: &Image, pages: &mut Pages) {
        let at = place(image, self.place);
        let other = place(image, self.value.to_le_bytes()[0].into());
        let small = u64::from(self.small);
        let word = match self.kind % 16 {
            0 | 1 => self.value,
            // A pointer to what many depend on, or near it, or tagged.
            2..=4 => {
                let target = usize::from(self.value.to_le_bytes()[0]) % image.places.len();
                image.places[target].plus(small).as_u64()
            }
            // A pointer to somewhere in the heap.
            5 => place(image, self.value.to_le_bytes()[0].into())
                .plus(small)
                .as_u64(),
            6 => small,
            // Powers of two, and their neighbours.
            7 => (1_u64 << (small % 64))
                .wrapping_add(self.value % 3)
                .wrapping_sub(1),
            8 => return pages.put(at, &[self.small]),
            9 => return pages.put(at, &self.value.to_le_bytes()[..4]),
            10 => return pages.unmap(at),
            11 => return pages.fill(self.value),
            // One object over another.
            12 => {
                let mut bytes = vec![0; usize::from(self.small)];
                if pages.read_exact(other, &mut bytes).is_ok() {
                    pages.put(at, &bytes);
                }
                return;
            }
            // The same word again and again, in memory of its own or over what is there.
            13 => {
                let words = self.value.to_le_bytes().repeat(usize::from(self.small));
                return pages.put(at, &words);
            }
            _ => {
                let words = self.value.to_le_bytes().repeat(usize::from(self.small));
                return pages.put(RemoteAddr::new(self.value & !0xfff), &words);
            }
        };
        pages.put(at, &word.to_le_bytes());
    }
}

/// A place in the image: a field of one of its objects, anywhere in its heap, or in its tables.
pub(crate) fn place(image: &Image, place: u16) -> RemoteAddr {
    let low = u64::from(place & 0x3fff);
    match place >> 14 {
        0 | 1 => {
            let object = usize::from(place >> 6) % image.places.len();
            image.places[object].plus((low & 63) * 8)
        }
        2 => image.heap.plus((low * 8) % image.heap_bytes),
        _ => RemoteAddr::new(DATA).plus(low % DATA_BYTES),
    }
}

/// Inputs that change one thing each, and some that change much.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let header = |build: u8, flags: u8| vec![build, flags, 0, 0, 0, 0, 0, 0];
    let edit = |kind: u8, small: u8, place: u16, value: u64| {
        let mut bytes = vec![kind, small];
        bytes.extend(place.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        bytes
    };
    let mut seeds = Vec::new();
    for build in 0..3 {
        for flags in 0..4 {
            seeds.push(header(build, flags));
        }
        let edits = [
            edit(15, 9, 0, 0),
            edit(2, 0, 12 << 6, 13),
            edit(15, 20, 0, 0),
            edit(11, 0, 0, 0x7f00_0000_0000),
            edit(7, 40, 3 << 6, 1),
            edit(12, 200, 14 << 6, 15 << 6),
        ];
        seeds.push([header(build, 0), edits.concat()].concat());
        // A process that ends while it is read.
        seeds.push(vec![build, 0, 255, 9, 0, 0, 0, 0]);
    }
    seeds
}
