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
use super::process::layout::*;
use asyncio_agent::memory::{ReadErrorKind, ReadMemory, RemoteAddr};

const EDITS_MAX: usize = 256;
/// Bytes of copies that one input may make.
const COPIES_BYTES_MAX: u64 = 1 << 20;
/// Where they go.
const COPIES: u64 = 0x7e00_0000_0000;
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
        let mut copied = 0;
        for _ in 0..EDITS_MAX {
            if input.is_empty() {
                break;
            }
            let edit = Edit::next(&mut input);
            if edit.kind % 16 == 15 && versions.len() + 1 < VERSIONS_MAX {
                versions.push((from, pages.clone()));
                from += u64::from(edit.small);
            } else if edit.kind % 16 == 14 {
                edit.multiply(image, &mut pages, &mut copied);
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
            _ => {
                let words = self.value.to_le_bytes().repeat(usize::from(self.small));
                let at = match self.value.is_multiple_of(2) {
                    true => RemoteAddr::new(self.value & !0xfff),
                    false => at,
                };
                return pages.put(at, &words);
            }
        };
        pages.put(at, &word.to_le_bytes());
    }

    /// Makes copies of an object and links them: the object to the first copy, each copy to the next,
    /// the last to what the object was linked to. Addresses inside of the object become those inside of
    /// its copy. The value says how: which word is the link, whether links lead to that word instead of
    /// the object and back in the word after it (as in lists of tasks), and how big the object is.
    fn multiply(&self, image: &Image, pages: &mut Pages, copied: &mut u64) {
        let [link, flags, blocks, ..] = self.value.to_le_bytes();
        let object = place(image, self.place & 0x3fc0);
        let bytes = 64 * (1 + u64::from(blocks % 32));
        let link = u64::from(link) * 8 % bytes;
        let (into_link, is_double) = (flags & 1 != 0, flags & 2 != 0);
        let entry = |at: RemoteAddr| at.plus(if into_link { link } else { 0 });
        let mut content = vec![0; usize::try_from(bytes).expect("small")];
        if pages.read_exact(object, &mut content).is_err() {
            return;
        }
        let word = |pages: &Pages, at: RemoteAddr| {
            let mut word = [0; 8];
            let read = pages.read_exact(at, &mut word);
            read.map_or(RemoteAddr::NULL, |()| {
                RemoteAddr::new(u64::from_le_bytes(word))
            })
        };
        let last = word(pages, object.plus(link));
        let mut before = object;
        for _ in 0..self.small {
            if *copied + bytes > COPIES_BYTES_MAX {
                break;
            }
            let at = RemoteAddr::new(COPIES + *copied);
            *copied += bytes;
            pages.put(at, &content);
            for offset in (0..bytes).step_by(8) {
                let value = word(pages, at.plus(offset));
                if let Some(inside) = value.offset_from(object).filter(|inside| *inside < bytes) {
                    pages.put(at.plus(offset), &at.plus(inside).as_u64().to_le_bytes());
                }
            }
            pages.put(before.plus(link), &entry(at).as_u64().to_le_bytes());
            if is_double {
                pages.put(at.plus(link + 8), &entry(before).as_u64().to_le_bytes());
            }
            before = at;
        }
        pages.put(before.plus(link), &last.as_u64().to_le_bytes());
        if is_double {
            pages.put(last.plus(8), &entry(before).as_u64().to_le_bytes());
        }
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

fn edit(kind: u8, small: u8, place: u16, value: u64) -> Vec<u8> {
    let mut bytes = vec![kind, small];
    bytes.extend(place.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    bytes
}

/// Inputs that change nothing, that change much, and that have many of something.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let header = |build: u8, flags: u8| vec![build, flags, 0, 0, 0, 0, 0, 0];
    let mut seeds = Vec::new();
    for build in 0..3 {
        for flags in [0, 1, 2, 4, 0xc8] {
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
        seeds.push([header(build, 0xc0), edits.concat()].concat());
        // A process that ends while it is read.
        seeds.push(vec![build, 0, 255, 9, 0, 0, 0, 0]);
        let image =
            Image::of([Build::V3_14, Build::V3_15, Build::FreeThreaded][usize::from(build)]);
        for nth in 0..many(image).len() {
            for (walk, n) in [(0, 30), (0xc8, 120), (4, 250)] {
                seeds.push([header(build, walk), multiply(image, nth, n)].concat());
            }
        }
    }
    seeds
}

/// What there can be many of: an object, the word that links it, how, and its size.
fn many(image: &Image) -> Vec<(RemoteAddr, u8, u8, u8)> {
    let word = |offset: u64| u8::try_from(offset / 8).expect("small");
    let awaited = word(GEN_FRAME + FRAME_LOCALS + 16);
    vec![
        (image.tasks[1], word(TASK_NODE), 3, 3),
        (image.coroutines[1], awaited, 0, 3),
        (image.idle[0], word(THREAD_NEXT), 0, 6),
        (image.idle[1], word(INTERPRETER_NEXT), 0, 23),
    ]
}

/// The edit that makes `n` copies of the `nth` of these.
fn multiply(image: &Image, nth: usize, n: u8) -> Vec<u8> {
    let (object, link, flags, blocks) = many(image)[nth];
    let object = image.places.iter().position(|place| *place == object);
    let object = u16::try_from(object.expect("a place") << 6).expect("few places");
    let value = u64::from_le_bytes([link, flags, blocks, 0, 0, 0, 0, 0]);
    edit(14, n, object, value)
}

/// An input that makes `n` copies of the `nth` thing that there can be many of: tasks, coroutines of a
/// stack, threads, interpreters.
#[cfg(test)]
pub(crate) fn input_with_many(build: u8, nth: usize, n: u8) -> Vec<u8> {
    let image = Image::of([Build::V3_14, Build::V3_15, Build::FreeThreaded][usize::from(build)]);
    [vec![build, 0, 0, 0, 0, 0, 0, 0], multiply(image, nth, n)].concat()
}
