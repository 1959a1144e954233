//! Where copies are kept: a ring of chunks of 16 KiB, each of four pages that are copied or not.
//!
//! 16 KiB is what CPython's allocator fills with objects of one size (`POOL_SIZE`,
//! Include/internal/pycore_obmalloc.h), so what stands beside a task is usually another task. When
//! the ring is full the oldest copy makes room: a walk moves through memory and rarely turns back.

use super::RemoteAddr;
use rustc_hash::FxHashMap;

pub(super) const CHUNK_SHIFT: u32 = 14;
/// Size and alignment of a chunk.
pub(super) const CHUNK_BYTES: usize = 1 << CHUNK_SHIFT;
pub(super) const CHUNK_MASK: u64 = (1 << CHUNK_SHIFT) - 1;
/// The smallest page of the architectures Linux runs CPython on has 4 KiB.
pub(super) const PAGE_SHIFT: u32 = 12;
pub(super) const PAGE_MASK: usize = (1 << PAGE_SHIFT) - 1;
pub(super) const ALL_PAGES: u8 = 0b1111;
/// Chunks copied at once, at most. They should not push each other out of the ring before they are
/// looked at.
pub(super) const BATCH_CHUNKS: usize = 8;
/// Chunks copied at once when all of a look is.
pub(super) const WHOLE_BATCH_CHUNKS: usize = 64;
/// Chunks of a new ring: 1 MiB stays in the second cache of a core. A larger one is slower.
pub(super) const RING_CHUNKS_MIN: usize = 64;
/// Chunks remembered by the low bits of their number, before the hash table is asked.
const RECENT: usize = 128;
/// The number of no chunk: chunk numbers have 50 bits.
const NONE: u64 = u64::MAX;

/// A run of pages within a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: usize,
    pub(super) end: usize,
}

impl Run {
    pub(super) fn address(self, number: u64) -> RemoteAddr {
        let offset = u64::try_from(self.first).unwrap_or(0) << PAGE_SHIFT;
        RemoteAddr::new((number << CHUNK_SHIFT) | offset)
    }

    pub(super) fn bytes(self) -> usize {
        self.end.saturating_sub(self.first) << PAGE_SHIFT
    }

    pub(super) fn pages(self) -> u8 {
        (self.first..self.end).fold(0, |pages, page| pages | (1 << page))
    }
}

/// The runs of set bits in `pages`.
pub(super) fn runs(pages: u8) -> impl Iterator<Item = Run> {
    let mut next: usize = 0;
    std::iter::from_fn(move || {
        let is_set = |page: usize| page < 4 && pages & (1 << page) != 0;
        while next < 4 && !is_set(next) {
            next = next.saturating_add(1);
        }
        let first = next;
        while is_set(next) {
            next = next.saturating_add(1);
        }
        (first < next).then_some(Run { first, end: next })
    })
}

/// The pages that `start..end` of a chunk touches.
pub(super) fn pages_of(start: usize, end: usize) -> u8 {
    let first = start >> PAGE_SHIFT;
    let last = end.saturating_sub(1).max(start) >> PAGE_SHIFT;
    let upto = |page: usize| (1_u8 << page.min(4)).wrapping_sub(1);
    upto(last.saturating_add(1)) & !upto(first)
}

/// What is known of the copy in a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) number: u64,
    /// Its copies are not older than this one: copies are counted.
    pub(super) copied: u64,
    /// Which copy each of its pages is from.
    pub(super) stamps: [u64; 4],
    /// Pages whose copy is there.
    pub(super) present: u8,
    /// Pages that turned out not to be mapped.
    pub(super) absent: u8,
    /// Pages that were asked for.
    pub(super) touched: u8,
    /// Where on the trail of this look it is, once it was touched.
    pub(super) step: Option<u32>,
}

impl Slot {
    /// Notes that these pages are there, from the copy with this number.
    pub(super) fn fill(&mut self, pages: u8, copied: u64) {
        self.present |= pages;
        for (page, stamp) in self.stamps.iter_mut().enumerate() {
            if pages & (1 << page) != 0 {
                *stamp = copied;
            }
        }
    }

    /// Which copy the byte at this offset is from.
    pub(super) fn stamp(&self, offset: usize) -> u64 {
        self.stamps.get(offset >> PAGE_SHIFT).copied().unwrap_or(0)
    }
}

const FREE: Slot = Slot {
    number: NONE,
    copied: 0,
    stamps: [0; 4],
    present: 0,
    absent: 0,
    touched: 0,
    step: None,
};

/// A chunk that was asked for shortly before.
#[derive(Debug, Clone, Copy)]
struct Recent {
    number: u64,
    slot: u32,
    /// Pages that can be used as they are, and were touched before.
    good: u8,
}

const NOT_RECENT: Recent = Recent {
    number: NONE,
    slot: 0,
    good: 0,
};

/// Memory for copies, made once and used for many snapshots, as fresh memory costs a page fault for each page.
#[derive(Debug, Default)]
pub struct Buffers {
    /// For looks at the whole process.
    pub(super) whole: Ring,
    /// For looks aside.
    pub(super) aside: Ring,
}

/// The ring.
pub(super) struct Ring {
    data: Vec<u8>,
    slots: Vec<Slot>,
    index: FxHashMap<u64, u32>,
    recent: [Recent; RECENT],
    next: usize,
    /// Slots that may be used.
    len: usize,
    /// Slots that were used since the last reset.
    used: usize,
    /// Bytes of `data` before the first slot. The kernel takes nearly twice as long to copy to an address
    /// that is not a multiple of 64.
    skipped: usize,
}

impl Default for Ring {
    /// Without any memory.
    fn default() -> Self {
        Self {
            data: Vec::new(),
            slots: Vec::new(),
            index: FxHashMap::default(),
            recent: [NOT_RECENT; RECENT],
            next: 0,
            len: 0,
            used: 0,
            skipped: 0,
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("chunks", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl Ring {
    /// Forgets what was copied. The ring is small again.
    pub(super) fn reset(&mut self) {
        self.index.clear();
        self.forget_recent();
        self.slots.clear();
        self.next = 0;
        self.len = 0;
        // What one snapshot needed is kept for the next, unless that one did not need it.
        if self.used.saturating_mul(4 * CHUNK_BYTES) < self.data.len() {
            self.data = Vec::new();
        }
        self.used = 0;
        self.reserve(RING_CHUNKS_MIN);
    }

    /// Lets the ring have at least `len` chunks.
    pub(super) fn reserve(&mut self, len: usize) {
        if len <= self.len {
            return;
        }
        self.next = self.slots.len();
        self.len = len;
        let bytes = len.saturating_mul(CHUNK_BYTES).saturating_add(PAGE_MASK);
        if self.data.len() >= bytes {
            return;
        }
        // The kernel gives zeroed memory; pages that are never used cost nothing.
        let mut data = vec![0; bytes];
        let skipped = data.as_ptr().align_offset(PAGE_MASK.saturating_add(1));
        let skipped = skipped.min(PAGE_MASK);
        let old = self.data.get(self.skipped..).unwrap_or_default();
        let old = old.chunks(CHUNK_BYTES).take(self.slots.len());
        let new = data.get_mut(skipped..).unwrap_or_default();
        for (into, from) in new.chunks_mut(CHUNK_BYTES).zip(old) {
            if let Some(into) = into.get_mut(..from.len()) {
                into.copy_from_slice(from);
            }
        }
        (self.data, self.skipped) = (data, skipped);
    }

    /// Lets the ring have twice as many chunks, at most `max`.
    pub(super) fn grow(&mut self, max: usize) {
        self.reserve(self.len.saturating_mul(2).min(max));
    }

    /// How many chunks the ring may have.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The slot with these pages of the chunk, if it was asked for them shortly before.
    #[inline]
    pub(super) fn find_recent(&self, number: u64, pages: u8) -> Option<u32> {
        let recent = self.recent.get(place_of(number))?;
        (recent.number == number && recent.good & pages == pages).then_some(recent.slot)
    }

    /// Notes that these pages of a slot can be used as they are, until [`Self::forget_recent`].
    pub(super) fn note_recent(&mut self, number: u64, slot: u32, good: u8) {
        if let Some(recent) = self.recent.get_mut(place_of(number)) {
            *recent = Recent { number, slot, good };
        }
    }

    /// Has the age of copies looked at again.
    pub(super) fn forget_recent(&mut self) {
        self.recent = [NOT_RECENT; RECENT];
    }

    /// The slot that holds the chunk.
    pub(super) fn find(&self, number: u64) -> Option<u32> {
        self.index.get(&number).copied()
    }

    pub(super) fn slot(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(usize::try_from(slot).unwrap_or(usize::MAX))
    }

    pub(super) fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots
            .get_mut(usize::try_from(slot).unwrap_or(usize::MAX))
    }

    /// How many slots follow each other from the one that is given out next.
    pub(super) fn contiguous(&self) -> usize {
        let next = if self.next >= self.len { 0 } else { self.next };
        self.len.saturating_sub(next)
    }

    /// Gives the chunk a slot; the slot's former content is gone and returned.
    pub(super) fn take_slot(&mut self, number: u64, copied: u64) -> (u32, Slot) {
        if self.next >= self.len {
            self.next = 0;
        }
        let at = self.next;
        self.next = self.next.saturating_add(1);
        self.used = self.used.max(self.next).max(RING_CHUNKS_MIN);
        if self.slots.len() <= at {
            self.slots.resize(at.saturating_add(1), FREE);
        }
        let slot = u32::try_from(at).unwrap_or(u32::MAX);
        let new = Slot {
            number,
            copied,
            ..FREE
        };
        let old = match self.slots.get_mut(at) {
            Some(place) => std::mem::replace(place, new),
            None => FREE,
        };
        // Another slot may hold the same chunk by now.
        if old.number != NONE && self.index.get(&old.number) == Some(&slot) {
            self.index.remove(&old.number);
            if let Some(recent) = self.recent.get_mut(place_of(old.number))
                && recent.number == old.number
            {
                *recent = NOT_RECENT;
            }
        }
        self.index.insert(number, slot);
        self.note_recent(number, slot, 0);
        (slot, old)
    }

    /// All slots in use.
    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().filter(|slot| slot.number != NONE)
    }

    #[inline]
    fn start_of(&self, slot: u32) -> usize {
        let slot = usize::try_from(slot).unwrap_or(usize::MAX);
        slot.saturating_mul(CHUNK_BYTES)
            .saturating_add(self.skipped)
    }

    /// The bytes of a slot.
    #[inline]
    pub(super) fn data(&self, slot: u32) -> &[u8] {
        let start = self.start_of(slot);
        let end = start.saturating_add(CHUNK_BYTES);
        self.data.get(start..end).unwrap_or_default()
    }

    /// The bytes of `n` slots that follow each other.
    pub(super) fn data_mut(&mut self, slot: u32, n: usize) -> &mut [u8] {
        let start = self.start_of(slot);
        let end = start.saturating_add(n.saturating_mul(CHUNK_BYTES));
        self.data.get_mut(start..end).unwrap_or_default()
    }
}

fn place_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0) % RECENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_pages() {
        let runs_of = |pages| -> Vec<(usize, usize)> {
            runs(pages).map(|run| (run.first, run.end)).collect()
        };
        assert_eq!(runs_of(0b0000), []);
        assert_eq!(runs_of(0b1111), [(0, 4)]);
        assert_eq!(runs_of(0b1011), [(0, 2), (3, 4)]);
        for pages in 0..16 {
            let again = runs(pages).fold(0, |all, run| all | run.pages());
            assert_eq!(again, pages);
        }
    }

    #[test]
    fn pages_of_a_range() {
        assert_eq!(pages_of(0, 1), 0b0001);
        assert_eq!(pages_of(4095, 4097), 0b0011);
        assert_eq!(pages_of(0, CHUNK_BYTES), 0b1111);
        assert_eq!(pages_of(12288, 16384), 0b1000);
        assert_eq!(pages_of(8192, 8192), 0b0100);
    }

    #[test]
    fn the_oldest_chunk_makes_room() {
        let mut buffers = Ring::default();
        buffers.reset();
        let len = u64::try_from(buffers.len()).unwrap();
        for number in 0..len + 3 {
            buffers.take_slot(number, number);
        }
        assert_eq!((buffers.find(0), buffers.find(2)), (None, None));
        assert!(buffers.find(3).is_some() && buffers.find(len + 2).is_some());
        buffers.grow(1 << 20);
        let (slot, old) = buffers.take_slot(7_000, 1);
        assert_eq!((u64::from(slot), old.number), (len, NONE));
    }
}
