//! [`Reader`]: copies of a process's memory for the length of one snapshot.
//!
//! Following a pointer must not cost a system call. The reader copies pages around what is asked for
//! and answers from the copies. How much it copies at once depends on what it knows:
//!
//! - What an earlier look touched ([`Trail`]) is copied in batches, just the pages that were touched,
//!   shortly before it is needed again.
//! - Without that, the first pages of a snapshot come one by one, as those of a small program are
//!   spread over its memory; after [`SINGLE_PAGES`] of them whole chunks of 16 KiB are copied. Smaller
//!   ones cost more system calls, larger ones copy what nobody asks for and are older when used.
//!
//! Copies are made while the process runs. [`Reader::begin_look`], [`Reader::look_anew`]
//! and [`Reader::look_aside`] make what is read from then on come from later copies;
//! [`Reader::moment`] tells the order of copies.

use super::chunks::{
    ALL_PAGES, BATCH_CHUNKS, Buffers, CHUNK_BYTES, CHUNK_MASK, CHUNK_SHIFT, PAGE_MASK, PAGE_SHIFT,
    RING_CHUNKS_MIN, Ring, Run, Slot, WHOLE_BATCH_CHUNKS, pages_of, runs,
};
use super::meter::{Meter, ReaderStats};
use super::{Piece, ReadError, ReadErrorKind, ReadMemory, RemoteAddr, Trail};
use crate::limits::{Limits, Share, Stop};

/// Pages that are copied one by one at the beginning.
const SINGLE_PAGES: u64 = 64;
/// A ring larger than this does not pay.
const RING_BYTES_MAX: u64 = 64 << 20;
/// When more than one in so many chunks had to be copied again in one look, the ring is too small.
const COPIED_TWICE_MAX: usize = 8;

/// When something was copied, in numbers of copies: system calls that each copied one run of pages, in
/// microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// No part of it was copied before.
    pub earliest: u64,
    /// No part of it was copied after.
    pub latest: u64,
}

impl Moment {
    /// Whether none of it was copied after any of `other`.
    pub fn is_not_after(self, other: Self) -> bool {
        self.latest <= other.earliest
    }

    /// The time that spans both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            earliest: self.earliest.min(other.earliest),
            latest: self.latest.max(other.latest),
        }
    }
}

/// Reads a process through copies of its memory that live as long as the reader.
pub struct Reader<'m> {
    memory: &'m dyn ReadMemory,
    limits: Limits,
    buffers: Ring,
    /// The ring that is not in use: the one for looks aside, or meanwhile the other one.
    other: Ring,
    is_aside: bool,
    /// What this look is expected to touch.
    expected: Trail,
    /// Up to where the expected chunks were copied.
    ahead: u32,
    /// What this look touches.
    trail: Trail,
    /// Copies before this one are too old.
    oldest: u64,
    copied: u64,
    copied_twice: usize,
    scratch: Vec<u8>,
    meter: Meter,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("buffers", &self.buffers)
            .field("stats", &self.meter.stats)
            .finish_non_exhaustive()
    }
}

impl<'m> Reader<'m> {
    /// A reader without any copies or knowledge.
    pub fn new(memory: &'m dyn ReadMemory, limits: Limits) -> Self {
        Self::reuse(memory, limits, Buffers::default())
    }

    /// A reader without any copies that uses these buffers.
    pub fn reuse(memory: &'m dyn ReadMemory, limits: Limits, buffers: Buffers) -> Self {
        let Buffers { mut whole, aside } = buffers;
        whole.reset();
        Self {
            memory,
            limits,
            buffers: whole,
            other: aside,
            is_aside: false,
            expected: Trail::default(),
            ahead: 0,
            trail: Trail::default(),
            oldest: 0,
            copied: 0,
            copied_twice: 0,
            scratch: Vec::new(),
            meter: Meter::new(limits),
        }
    }

    /// Reads nothing more once `stop` says so.
    pub fn stop_with(&mut self, stop: Option<Stop>) {
        self.meter.stop = stop;
    }

    /// Begins a part of a walk, which may use up this share of what the snapshot may still take.
    pub fn begin_part(&mut self, share: Share) {
        self.meter.begin_part(share);
    }

    /// Gives back the buffers.
    pub fn into_buffers(mut self) -> Buffers {
        self.look_back();
        let (whole, aside) = (self.buffers, self.other);
        Buffers { whole, aside }
    }

    /// The caps of this snapshot.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What was done so far.
    pub fn stats(&self) -> ReaderStats {
        self.meter.stats
    }

    /// Begins a look: what is read from now on comes from later copies, and is expected to be what is
    /// on this trail. A short trail is copied at once. Of a long one, copying a little ahead of what is
    /// looked at is faster.
    ///
    /// # Errors
    ///
    /// When the process is gone or may not be read.
    pub fn begin_look(&mut self, expected: Trail) -> Result<(), ReadError> {
        if expected.len() <= RING_CHUNKS_MIN {
            return self.begin_whole_look(expected);
        }
        self.begin(expected);
        Ok(())
    }

    /// Like [`Self::begin_look`], and copies all that is on the trail at once, as far as there is room
    /// for it. Two looks with the same trail copy in the same order, which makes the order of copies tell
    /// something (see [`Moment`]).
    ///
    /// # Errors
    ///
    /// When the process is gone or may not be read.
    pub fn begin_whole_look(&mut self, expected: Trail) -> Result<(), ReadError> {
        self.begin(expected);
        let room = ring_for(&self.expected, &self.limits);
        self.buffers.reserve(room);
        let mut position = 0;
        while let Some(step) = self.expected.from(position).first()
            && usize::try_from(position).is_ok_and(|position| position < room)
        {
            match self.copy_ahead(step.number, 0, position, WHOLE_BATCH_CHUNKS) {
                // Whoever asks for what was not copied is told.
                Err(error) if !error.kind.is_fatal() => break,
                copied => copied?,
            }
            position = self.ahead;
        }
        Ok(())
    }

    fn begin(&mut self, expected: Trail) {
        self.end_look();
        self.expected = expected;
        self.look_anew();
    }

    /// Ends this look and gives its trail.
    pub fn end_look(&mut self) -> Trail {
        for slot in self.buffers.slots_mut() {
            if let Some(step) = slot.step.take() {
                self.trail.touch(step, slot.touched, slot.copied);
            }
            slot.touched = 0;
        }
        self.buffers.forget_recent();
        self.ahead = 0;
        std::mem::take(&mut self.trail)
    }

    /// From now on only later copies are used.
    pub fn look_anew(&mut self) {
        self.copied = self.copied.saturating_add(1);
        self.oldest = self.copied;
        self.buffers.forget_recent();
    }

    /// From now on, until [`Self::look_back`], only later copies are used, which are kept apart: single
    /// pages in the order in which they are asked for. What was copied for the look at the whole
    /// process stays as it is.
    pub fn look_aside(&mut self) {
        if !self.is_aside {
            std::mem::swap(&mut self.buffers, &mut self.other);
            self.is_aside = true;
        }
        self.buffers.reset();
        self.copied = self.copied.saturating_add(1);
    }

    /// Ends a look aside.
    pub fn look_back(&mut self) {
        if self.is_aside {
            std::mem::swap(&mut self.buffers, &mut self.other);
            self.is_aside = false;
        }
    }

    /// When the `len` bytes at `at`, which were just read, were copied.
    pub fn moment(&self, at: RemoteAddr, len: usize) -> Moment {
        let first = self.stamp(at);
        let end = at.plus(u64::try_from(len.saturating_sub(1)).unwrap_or(0));
        let last = match (at.as_u64() ^ end.as_u64()) >> PAGE_SHIFT {
            0 => first,
            _ => self.stamp(end),
        };
        // What is not kept any more was copied some time in this look.
        Moment {
            earliest: first
                .zip(last)
                .map_or(self.oldest, |(first, last)| first.min(last)),
            latest: first
                .zip(last)
                .map_or(self.copied, |(first, last)| first.max(last)),
        }
    }

    /// Which copy the byte at `at` is from.
    fn stamp(&self, at: RemoteAddr) -> Option<u64> {
        let number = at.as_u64() >> CHUNK_SHIFT;
        let slot = match self.buffers.find_recent(number, 0) {
            Some(slot) => slot,
            None => self.buffers.find(number)?,
        };
        Some(self.buffers.slot(slot)?.stamp(offset_in_chunk(at)))
    }

    /// Counts the work of looking at `bytes` bytes that were read before.
    ///
    /// # Errors
    ///
    /// When the snapshot may do no more work.
    #[inline]
    pub fn spend(&mut self, bytes: usize) -> Result<(), ReadError> {
        self.meter.spend(bytes)
    }

    /// Counts `bytes` bytes of what was decoded and is kept.
    ///
    /// # Errors
    ///
    /// When the snapshot may keep no more.
    pub fn keep(&mut self, bytes: usize) -> Result<(), ReadError> {
        self.meter.keep(bytes)
    }

    /// The `len` bytes at `at`.
    ///
    /// # Errors
    ///
    /// When a part of the range cannot be read, or a cap is reached.
    #[inline]
    pub fn bytes(&mut self, at: RemoteAddr, len: usize) -> Result<&[u8], ReadError> {
        let start = offset_in_chunk(at);
        let end = start.saturating_add(len);
        if end > CHUNK_BYTES {
            let mut scratch = std::mem::take(&mut self.scratch);
            scratch.resize(len, 0);
            let read = self.read(at, &mut scratch);
            self.scratch = scratch;
            read?;
            return Ok(&self.scratch);
        }
        self.spend(len)?;
        let slot = self.slot(at, start, end, len)?;
        Ok(self.buffers.data(slot).get(start..end).unwrap_or_default())
    }

    /// Copies the object at `at`, whose size is not known yet: as many bytes as `into` takes and its
    /// page has, but at least `len`. Gives how many.
    ///
    /// # Errors
    ///
    /// When the first `len` bytes cannot be read, or a cap is reached.
    #[inline]
    pub fn object<const N: usize>(
        &mut self,
        at: RemoteAddr,
        len: usize,
        into: &mut [u8; N],
    ) -> Result<usize, ReadError> {
        let start = offset_in_chunk(at);
        let page_end = (start | PAGE_MASK).saturating_add(1);
        let wanted = N.min(page_end.saturating_sub(start));
        if wanted < len {
            self.read(at, into.get_mut(..len).unwrap_or_default())?;
            return Ok(len);
        }
        self.spend(wanted)?;
        let slot = self.slot(at, start, start.saturating_add(1), len)?;
        let data = self.buffers.data(slot).get(start..).unwrap_or_default();
        match data.first_chunk() {
            // A copy of known length is several times as fast.
            Some(whole) if wanted == N => *into = *whole,
            _ => {
                if let Some((into, from)) = into.get_mut(..wanted).zip(data.get(..wanted)) {
                    into.copy_from_slice(from);
                }
            }
        }
        Ok(wanted)
    }

    /// Fills `into` with the bytes at `at`.
    ///
    /// # Errors
    ///
    /// When a part of the range cannot be read, or a cap is reached.
    pub fn read(&mut self, at: RemoteAddr, into: &mut [u8]) -> Result<(), ReadError> {
        self.spend(into.len())?;
        let len = into.len();
        let mut rest = into;
        let mut next = at;
        while !rest.is_empty() {
            let start = offset_in_chunk(next);
            let wanted = rest.len().min(CHUNK_BYTES.saturating_sub(start));
            let end = start.saturating_add(wanted);
            let slot = self.slot(next, start, end, len)?;
            let (now, later) = rest.split_at_mut(wanted);
            now.copy_from_slice(self.buffers.data(slot).get(start..end).unwrap_or_default());
            rest = later;
            let kind = ReadErrorKind::Unmapped;
            next = next
                .checked_add(u64::try_from(wanted).unwrap_or(u64::MAX))
                .ok_or(ReadError { at, len, kind })?;
        }
        Ok(())
    }

    /// The `N` bytes at `at`.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn array<const N: usize>(&mut self, at: RemoteAddr) -> Result<[u8; N], ReadError> {
        let bytes = self.bytes(at, N)?;
        let (len, kind) = (N, ReadErrorKind::Unmapped);
        bytes
            .first_chunk()
            .copied()
            .ok_or(ReadError { at, len, kind })
    }

    /// The 64-bit number at `at`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn u64_at(&mut self, at: RemoteAddr) -> Result<u64, ReadError> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// The address at `at`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn addr_at(&mut self, at: RemoteAddr) -> Result<RemoteAddr, ReadError> {
        self.u64_at(at).map(RemoteAddr::new)
    }

    /// The slot with a copy of `start..end` of the chunk of `at`.
    #[inline]
    fn slot(
        &mut self,
        at: RemoteAddr,
        start: usize,
        end: usize,
        len: usize,
    ) -> Result<u32, ReadError> {
        let number = at.as_u64() >> CHUNK_SHIFT;
        let pages = pages_of(start, end);
        if let Some(slot) = self.buffers.find_recent(number, pages) {
            return Ok(slot);
        }
        self.find_or_copy(at, number, pages, len)
    }

    #[inline(never)]
    fn find_or_copy(
        &mut self,
        at: RemoteAddr,
        number: u64,
        pages: u8,
        len: usize,
    ) -> Result<u32, ReadError> {
        let fail = |kind| ReadError { at, len, kind };
        if let Some(at_slot) = self.buffers.find(number)
            && let Some(slot) = self.buffers.slot_mut(at_slot)
            && (slot.copied >= self.oldest || self.is_aside)
            && slot.present & pages == pages
            && slot.step.is_some()
        {
            slot.touched |= pages;
            let good = slot.touched & slot.present;
            self.buffers.note_recent(number, at_slot, good);
            return Ok(at_slot);
        }
        self.fill(number, pages).map_err(|error| fail(error.kind))?;
        let at_slot = self.buffers.find(number).unwrap_or(u32::MAX);
        let Some(slot) = self.buffers.slot_mut(at_slot) else {
            return Err(fail(ReadErrorKind::Unmapped));
        };
        slot.touched |= pages;
        if slot.step.is_none() && self.is_aside {
            slot.step = Some(u32::MAX);
        } else if slot.step.is_none() {
            let known = self.trail.position(number);
            slot.step = Some(known.unwrap_or_else(|| self.trail.push(number)));
        }
        if slot.present & pages == pages {
            Ok(at_slot)
        } else {
            Err(fail(ReadErrorKind::Unmapped))
        }
    }

    /// Copies what is missing of `wanted` pages of a chunk, and what seems worth copying with them.
    fn fill(&mut self, number: u64, wanted: u8) -> Result<(), ReadError> {
        let resident = self.buffers.find(number).and_then(|slot| {
            let state = *self.buffers.slot(slot)?;
            (state.copied >= self.oldest || self.is_aside).then_some((slot, state))
        });
        if let Some((at_slot, slot)) = resident {
            let known = slot.present | slot.absent;
            if known & wanted == wanted {
                return Ok(());
            }
            // The second part of a chunk that is asked for: the rest will be too.
            let pages = if self.is_aside { wanted } else { ALL_PAGES };
            return self.copy_into(number, at_slot, pages & !known);
        }
        if self.is_aside {
            let slot = self.take_slot(number, self.copied);
            return self.copy_into(number, slot, wanted);
        }
        if self.buffers.find(number).is_none() && self.trail.position(number).is_some() {
            self.note_copied_twice();
        }
        let position = self.expected.position(number);
        if let Some(position) = position.filter(|position| *position >= self.ahead) {
            return self.copy_ahead(number, wanted, position, BATCH_CHUNKS);
        }
        let is_small = self.meter.stats.bytes < SINGLE_PAGES << PAGE_SHIFT;
        let is_retry = self.trail.position(number).is_some();
        let pages = match is_small || is_retry {
            true => wanted,
            false => ALL_PAGES,
        };
        // Copies are numbered when they are made, so this one is older than they are.
        let slot = self.take_slot(number, self.copied);
        self.copy_into(number, slot, pages)
    }

    /// A ring that is too small for the order in which a process's memory must be read is doubled.
    fn note_copied_twice(&mut self) {
        self.copied_twice = self.copied_twice.saturating_add(1);
        let enough = self.trail.len().max(self.buffers.len());
        if self.copied_twice > enough / COPIED_TWICE_MAX {
            self.copied_twice = 0;
            let max = usize::try_from(self.limits.copies_bytes_max >> CHUNK_SHIFT);
            self.buffers.grow(max.unwrap_or(usize::MAX));
        }
    }

    fn take_slot(&mut self, number: u64, copied: u64) -> u32 {
        let (slot, old) = self.buffers.take_slot(number, copied);
        if self.is_aside {
            return slot;
        }
        if let Slot {
            step: Some(step),
            touched,
            copied,
            ..
        } = old
        {
            self.trail.touch(step, touched, copied);
        }
        slot
    }

    /// Copies a chunk and those that followed it the last time, in one system call.
    fn copy_ahead(
        &mut self,
        number: u64,
        wanted: u8,
        position: u32,
        chunks_max: usize,
    ) -> Result<(), ReadError> {
        let max = self.buffers.contiguous().min(chunks_max);
        let mut batch: Vec<(u64, u8)> = Vec::with_capacity(max);
        let mut passed: u32 = 0;
        for step in self.expected.from(position) {
            if batch.len() >= max {
                break;
            }
            passed = passed.saturating_add(1);
            if batch.is_empty() {
                batch.push((number, step.pages | wanted));
                continue;
            }
            let known = self.buffers.find(step.number);
            let is_there = known
                .and_then(|slot| self.buffers.slot(slot))
                .is_some_and(|slot| slot.copied >= self.oldest);
            if !is_there && step.pages != 0 {
                batch.push((step.number, step.pages));
            }
        }
        self.ahead = position.saturating_add(passed);
        let mut first = None;
        for (number, _) in &batch {
            self.copied = self.copied.saturating_add(1);
            let slot = self.take_slot(*number, self.copied);
            first.get_or_insert(slot);
        }
        self.copy_batch(first.unwrap_or(0), &batch)
    }

    /// Copies these pages of chunks into the slots from `first` on.
    fn copy_batch(&mut self, first: u32, batch: &[(u64, u8)]) -> Result<(), ReadError> {
        let mut done: Vec<u8> = vec![0; batch.len()];
        let mut targets: Vec<(usize, Run)> = Vec::with_capacity(batch.len());
        let mut pieces: Vec<Piece<'_>> = Vec::with_capacity(batch.len());
        let mut total: usize = 0;
        let data = self.buffers.data_mut(first, batch.len());
        let chunks = data.chunks_mut(CHUNK_BYTES).zip(batch).enumerate();
        for (position, (mut rest, (number, pages))) in chunks {
            let mut passed: usize = 0;
            for run in runs(*pages) {
                let skipped = (run.first << PAGE_SHIFT).saturating_sub(passed);
                let Some((into, later)) = rest
                    .split_at_mut_checked(skipped)
                    .and_then(|(_, from)| from.split_at_mut_checked(run.bytes()))
                else {
                    break;
                };
                rest = later;
                passed = run.end << PAGE_SHIFT;
                total = total.saturating_add(run.bytes());
                let at = run.address(*number);
                pieces.push(Piece { at, into });
                targets.push((position, run));
            }
        }
        self.meter.copy(total)?;
        let filled = match self.memory.read_pieces(&mut pieces) {
            // The piece that is asked for may be another one than that which failed.
            Err(error) if !error.kind.is_fatal() => 0,
            filled => filled?,
        };
        for (position, run) in targets.iter().take(filled) {
            if let Some(pages) = done.get_mut(*position) {
                *pages |= run.pages();
            }
        }
        let all_filled = filled >= targets.len();
        for (slot, (pages, (number, wanted))) in (first..).zip(done.iter().zip(batch)) {
            if let Some(state) = self.buffers.slot_mut(slot) {
                state.fill(*pages, state.copied);
            }
            // The first chunk is the one that is asked for; others may be asked for later.
            if slot == first && !all_filled {
                self.copy_into(*number, slot, wanted & !pages)?;
            }
        }
        Ok(())
    }

    /// Copies pages of a chunk into its slot. Those that cannot be read are noted as absent.
    fn copy_into(&mut self, number: u64, slot: u32, pages: u8) -> Result<(), ReadError> {
        for run in runs(pages) {
            if self.copy_run(number, slot, run)? {
                continue;
            }
            for page in run.first..run.end {
                let end = page.saturating_add(1);
                let single = Run { first: page, end };
                let is_there = single != run && self.copy_run(number, slot, single)?;
                if let Some(state) = self.buffers.slot_mut(slot)
                    && !is_there
                {
                    state.absent |= single.pages();
                }
            }
        }
        Ok(())
    }

    /// Copies a run of pages; `false` if not all of them can be read.
    fn copy_run(&mut self, number: u64, slot: u32, run: Run) -> Result<bool, ReadError> {
        self.meter.copy(run.bytes())?;
        let data = self.buffers.data_mut(slot, 1);
        let into = data
            .get_mut(run.first << PAGE_SHIFT..run.end << PAGE_SHIFT)
            .unwrap_or_default();
        match self.memory.read_exact(run.address(number), into) {
            Ok(()) => {}
            Err(error) if !error.kind.is_fatal() => return Ok(false),
            Err(error) => return Err(error),
        }
        self.copied = self.copied.saturating_add(1);
        if let Some(state) = self.buffers.slot_mut(slot) {
            state.fill(run.pages(), self.copied);
        }
        Ok(true)
    }
}

/// Chunks that hold all of a trail at once, as far as that is reasonable.
fn ring_for(trail: &Trail, limits: &Limits) -> usize {
    let max = limits.copies_bytes_max.min(RING_BYTES_MAX) >> CHUNK_SHIFT;
    let some_more = trail.len().saturating_add(trail.len() / 4);
    some_more.min(usize::try_from(max).unwrap_or(usize::MAX))
}

fn offset_in_chunk(at: RemoteAddr) -> usize {
    usize::try_from(at.as_u64() & CHUNK_MASK).unwrap_or(0)
}
