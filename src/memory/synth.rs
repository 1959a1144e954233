//! Memory made up for tests: labelled places filled by hand, which can then be damaged.
//! It knows nothing of CPython; each test brings its own idea of the layout.

use super::{ReadError, ReadErrorKind, ReadMemory, RemoteAddr};
use std::collections::BTreeMap;

const PAGE: u64 = 4096;
const PAGE_BYTES: usize = 4096;

/// A sparse address space of pages that were written to.
#[derive(Debug, Clone, Default)]
pub struct SynthMemory {
    pages: BTreeMap<u64, Vec<u8>>,
    next: u64,
}

impl SynthMemory {
    /// An address space without pages.
    pub fn new() -> Self {
        Self {
            pages: BTreeMap::new(),
            next: 0x7f00_0000_0000,
        }
    }

    /// Maps `len` zeroed bytes at a fresh address aligned to 64, and returns it.
    pub fn alloc(&mut self, len: u64) -> RemoteAddr {
        let at = self.next;
        self.next = at.saturating_add(len).next_multiple_of(64);
        self.put(
            RemoteAddr::new(at),
            &vec![0; usize::try_from(len).unwrap_or(0)],
        );
        RemoteAddr::new(at)
    }

    /// Writes bytes, mapping the pages they touch.
    pub fn put(&mut self, at: RemoteAddr, bytes: &[u8]) {
        for (at, byte) in (at.as_u64()..).zip(bytes) {
            let page = self
                .pages
                .entry(at.checked_div(PAGE).unwrap_or(0))
                .or_insert_with(|| vec![0; PAGE_BYTES]);
            let within = usize::try_from(at.checked_rem(PAGE).unwrap_or(0)).unwrap_or(0);
            if let Some(place) = page.get_mut(within) {
                *place = *byte;
            }
        }
    }

    /// Writes a 64-bit number.
    pub fn put_u64(&mut self, at: RemoteAddr, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// Writes an address.
    pub fn put_addr(&mut self, at: RemoteAddr, value: RemoteAddr) {
        self.put_u64(at, value.as_u64());
    }

    /// All mapped pages: their address and content.
    pub fn pages(&self) -> impl Iterator<Item = (RemoteAddr, &[u8])> {
        self.pages.iter().map(|(number, page)| {
            (
                RemoteAddr::new(number.saturating_mul(PAGE)),
                page.as_slice(),
            )
        })
    }
}

impl ReadMemory for SynthMemory {
    fn read_exact(&self, at: RemoteAddr, into: &mut [u8]) -> Result<(), ReadError> {
        let len = into.len();
        let unmapped = ReadError {
            at,
            len,
            kind: ReadErrorKind::Unmapped,
        };
        let mut rest = into;
        let mut next = at.as_u64();
        while !rest.is_empty() {
            let page = self
                .pages
                .get(&next.checked_div(PAGE).unwrap_or(0))
                .ok_or(unmapped)?;
            let within = usize::try_from(next.checked_rem(PAGE).unwrap_or(0)).unwrap_or(0);
            let piece = page.get(within..).unwrap_or_default();
            let n = piece.len().min(rest.len());
            let (now, later) = rest.split_at_mut(n);
            now.copy_from_slice(piece.get(..n).unwrap_or_default());
            rest = later;
            next = next.wrapping_add(u64::try_from(n).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}
