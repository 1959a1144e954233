//! [`Reader`]: copies of a process's memory for the length of one snapshot.
//!
//! Following a pointer must not cost a system call. The reader copies aligned chunks of
//! [`CHUNK_BYTES`] and answers from the copies; a chunk that is only partly mapped is copied page by
//! page. 16 KiB was measured as the best size: smaller ones cost more system calls, larger ones copy
//! what nobody asks for and are older when they are used.

use super::{ReadError, ReadErrorKind, ReadMemory, RemoteAddr};
use crate::limits::{Limits, SYSCALL_WORK};
use rustc_hash::FxHashMap;

const CHUNK_SHIFT: u32 = 14;
/// Size and alignment of a chunk.
const CHUNK_BYTES: usize = 1 << CHUNK_SHIFT;
const CHUNK_MASK: u64 = (1 << CHUNK_SHIFT) - 1;
/// The smallest page of the architectures Linux runs CPython on.
const PAGE_BYTES: usize = 4096;
/// Bytes that are read or looked at for one unit of work.
const BYTES_PER_WORK: u64 = 64;

/// What a reader has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReaderStats {
    /// System calls that copied memory, or tried to.
    pub syscalls: u64,
    /// Bytes copied.
    pub bytes: u64,
}

/// A chunk's bytes; pages that are not mapped have no bit in `pages`.
#[derive(Default)]
struct Chunk {
    data: Box<[u8]>,
    pages: u8,
}

/// Reads a process through copies of its memory that live as long as the reader.
pub struct Reader<'m> {
    memory: &'m dyn ReadMemory,
    limits: Limits,
    slots: FxHashMap<u64, u32>,
    chunks: Vec<Chunk>,
    /// Chunks whose copies were dropped, to be filled again.
    spare: Vec<Chunk>,
    /// The chunk used last: most reads fall into it.
    latest: Option<(u64, u32)>,
    stats: ReaderStats,
    work: u64,
    decoded_bytes: u64,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("chunks", &self.chunks.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl<'m> Reader<'m> {
    /// A reader without any copies yet.
    pub fn new(memory: &'m dyn ReadMemory, limits: Limits) -> Self {
        Self {
            memory,
            limits,
            slots: FxHashMap::default(),
            chunks: Vec::new(),
            spare: Vec::new(),
            latest: None,
            stats: ReaderStats::default(),
            work: 0,
            decoded_bytes: 0,
        }
    }

    /// The caps of this snapshot.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What was done so far.
    pub fn stats(&self) -> ReaderStats {
        self.stats
    }

    /// Drops all copies, so that what is read next is read anew. Their buffers are kept.
    pub fn forget_all(&mut self) {
        self.slots.clear();
        self.spare.append(&mut self.chunks);
        self.latest = None;
    }

    /// Counts the work of looking at `bytes` bytes that were read before.
    ///
    /// # Errors
    ///
    /// When the snapshot may do no more work.
    pub fn spend(&mut self, bytes: usize) -> Result<(), ReadError> {
        let units = u64::try_from(bytes).unwrap_or(u64::MAX) / BYTES_PER_WORK;
        self.work = self.work.saturating_add(units).saturating_add(1);
        self.within(self.work <= self.limits.work_max)
    }

    /// Counts `bytes` bytes of what was decoded and is kept.
    ///
    /// # Errors
    ///
    /// When the snapshot may keep no more.
    pub fn keep(&mut self, bytes: usize) -> Result<(), ReadError> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.decoded_bytes = self.decoded_bytes.saturating_add(bytes);
        self.within(self.decoded_bytes <= self.limits.decoded_bytes_max)
    }

    fn within(&self, is_within: bool) -> Result<(), ReadError> {
        let (at, len, kind) = (RemoteAddr::NULL, 0, ReadErrorKind::Limit);
        if is_within {
            Ok(())
        } else {
            Err(ReadError { at, len, kind })
        }
    }

    /// Fills `into` with the bytes at `at`.
    ///
    /// # Errors
    ///
    /// When a part of the range cannot be read, or a cap is reached.
    pub fn read(&mut self, at: RemoteAddr, into: &mut [u8]) -> Result<(), ReadError> {
        self.spend(into.len())?;
        let len = into.len();
        let fail = |kind| ReadError { at, len, kind };
        let mut rest = into;
        let mut next = at;
        while !rest.is_empty() {
            let number = next.as_u64() >> CHUNK_SHIFT;
            let start = usize::try_from(next.as_u64() & CHUNK_MASK).unwrap_or(0);
            let wanted = rest.len().min(CHUNK_BYTES.saturating_sub(start));
            let chunk = self.chunk(number).map_err(|error| fail(error.kind))?;
            let end = start.saturating_add(wanted);
            if !chunk.holds(start, end) {
                return Err(fail(ReadErrorKind::Unmapped));
            }
            let (now, later) = rest.split_at_mut(wanted);
            now.copy_from_slice(chunk.data.get(start..end).unwrap_or_default());
            rest = later;
            next = next
                .checked_add(u64::try_from(wanted).unwrap_or(u64::MAX))
                .ok_or_else(|| fail(ReadErrorKind::Unmapped))?;
        }
        Ok(())
    }

    /// The `N` bytes at `at`.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn array<const N: usize>(&mut self, at: RemoteAddr) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.read(at, &mut bytes)?;
        Ok(bytes)
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

    fn chunk(&mut self, number: u64) -> Result<&Chunk, ReadError> {
        let slot = match self.latest {
            Some((latest, slot)) if latest == number => slot,
            _ => {
                let slot = match self.slots.get(&number) {
                    Some(slot) => *slot,
                    None => self.copy_chunk(number)?,
                };
                self.latest = Some((number, slot));
                slot
            }
        };
        let missing = ReadError {
            at: RemoteAddr::new(number << CHUNK_SHIFT),
            len: CHUNK_BYTES,
            kind: ReadErrorKind::Unmapped,
        };
        self.chunks
            .get(usize::try_from(slot).unwrap_or(usize::MAX))
            .ok_or(missing)
    }

    /// Copies a chunk and says in which slot it is. One that is not mapped at all is kept too, so
    /// that it is not asked for again.
    fn copy_chunk(&mut self, number: u64) -> Result<u32, ReadError> {
        let kept_max = self.limits.copies_bytes_max >> CHUNK_SHIFT;
        if u64::try_from(self.chunks.len()).unwrap_or(u64::MAX) >= kept_max {
            self.forget_all();
        }
        let base = RemoteAddr::new(number << CHUNK_SHIFT);
        let mut chunk = self.spare.pop().unwrap_or_default();
        chunk.pages = 0;
        if chunk.data.is_empty() {
            chunk.data = vec![0; CHUNK_BYTES].into_boxed_slice();
        }
        match self.copy(base, &mut chunk.data) {
            Ok(()) => chunk.pages = u8::MAX,
            Err(error) if error.kind != ReadErrorKind::Unmapped => return Err(error),
            Err(_) => {
                let mut at = base;
                for (page, into) in chunk.data.chunks_mut(PAGE_BYTES).enumerate() {
                    match self.copy(at, into) {
                        Ok(()) => chunk.pages |= 1 << page,
                        Err(error) if error.kind != ReadErrorKind::Unmapped => return Err(error),
                        Err(_) => {}
                    }
                    at = at.plus(PAGE_BYTES as u64);
                }
            }
        }
        if chunk.pages == 0 {
            // Nothing is there: only that needs to be known.
            self.spare.push(std::mem::take(&mut chunk));
        }
        let slot = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
        self.chunks.push(chunk);
        self.slots.insert(number, slot);
        Ok(slot)
    }

    fn copy(&mut self, at: RemoteAddr, into: &mut [u8]) -> Result<(), ReadError> {
        let len = into.len();
        let total = self
            .stats
            .bytes
            .saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        if total > self.limits.bytes_read_max {
            return Err(ReadError {
                at,
                len,
                kind: ReadErrorKind::Limit,
            });
        }
        self.stats.syscalls = self.stats.syscalls.saturating_add(1);
        self.work = self.work.saturating_add(SYSCALL_WORK);
        self.memory.read_exact(at, into)?;
        self.stats.bytes = total;
        Ok(())
    }
}

impl Chunk {
    /// Whether all pages of `start..end` were copied.
    fn holds(&self, start: usize, end: usize) -> bool {
        if self.pages == u8::MAX {
            return true;
        }
        let first = start / PAGE_BYTES;
        let last = end.saturating_sub(1) / PAGE_BYTES;
        (first..=last).all(|page| self.pages & (1 << page) != 0)
    }
}
