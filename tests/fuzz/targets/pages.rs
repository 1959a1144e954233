//! Memory that the fuzzer makes: pages that are copied only when they are written to, and memory that
//! is another one after some reads.

use asyncio_agent::memory::{ReadError, ReadErrorKind, ReadMemory, RemoteAddr, SynthMemory};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

/// A sparse address space.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pages {
    pages: BTreeMap<u64, Arc<[u8; PAGE_BYTES]>>,
    /// What stands in every word that no page holds; without it there is nothing.
    everywhere: Option<u64>,
}

impl Pages {
    pub(crate) fn of(memory: &SynthMemory) -> Self {
        let pages = memory.pages().map(|(at, bytes)| {
            let page = bytes.try_into().expect("a page");
            (at.as_u64() / PAGE, Arc::new(page))
        });
        Self {
            pages: pages.collect(),
            everywhere: None,
        }
    }

    /// Addresses of all pages.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = u64> {
        self.pages.keys().map(|number| number * PAGE)
    }

    /// Writes bytes, mapping the pages they touch.
    pub(crate) fn put(&mut self, at: RemoteAddr, bytes: &[u8]) {
        let mut next = at.as_u64();
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = (next % PAGE) as usize;
            let (now, later) = rest.split_at(rest.len().min(PAGE_BYTES - within));
            let page = self.pages.entry(next / PAGE);
            let page = page.or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(page)[within..within + now.len()].copy_from_slice(now);
            next = next.wrapping_add(now.len() as u64);
            rest = later;
        }
    }

    /// Takes away the page at `at`.
    pub(crate) fn unmap(&mut self, at: RemoteAddr) {
        self.pages.remove(&(at.as_u64() / PAGE));
    }

    /// Fills all memory that is not mapped with this word.
    pub(crate) fn fill(&mut self, word: u64) {
        self.everywhere = Some(word);
    }
}

impl ReadMemory for Pages {
    fn read_exact(&self, at: RemoteAddr, into: &mut [u8]) -> Result<(), ReadError> {
        let len = into.len();
        let kind = ReadErrorKind::Unmapped;
        let mut next = at.as_u64();
        let mut rest = into;
        while !rest.is_empty() {
            let within = (next % PAGE) as usize;
            let n = rest.len().min(PAGE_BYTES - within);
            let (now, later) = rest.split_at_mut(n);
            match (self.pages.get(&(next / PAGE)), self.everywhere) {
                (Some(page), _) => now.copy_from_slice(&page[within..within + n]),
                (None, Some(word)) => {
                    let word = word.to_le_bytes();
                    for (byte, position) in now.iter_mut().zip(within..) {
                        *byte = word[position % 8];
                    }
                }
                (None, None) => return Err(ReadError { at, len, kind }),
            }
            next = next.wrapping_add(n as u64);
            rest = later;
        }
        Ok(())
    }
}

/// Memory that changes while it is read.
#[derive(Debug)]
pub(crate) struct Changing {
    /// Each with the number of the read from which on it holds, ascending, the first from 0.
    versions: Vec<(u64, Pages)>,
    /// The read from which on there is only this error.
    end: Option<(u64, ReadErrorKind)>,
    n_reads: Cell<u64>,
}

impl Changing {
    pub(crate) fn new(versions: Vec<(u64, Pages)>, end: Option<(u64, ReadErrorKind)>) -> Self {
        Self {
            versions,
            end,
            n_reads: Cell::new(0),
        }
    }

    /// Whether it is the same whenever it is read.
    pub(crate) fn is_constant(&self) -> bool {
        self.versions.len() == 1 && self.end.is_none()
    }

    /// How often it was read.
    pub(crate) fn n_reads(&self) -> u64 {
        self.n_reads.get()
    }
}

impl ReadMemory for Changing {
    fn read_exact(&self, at: RemoteAddr, into: &mut [u8]) -> Result<(), ReadError> {
        let n = self.n_reads.get();
        self.n_reads.set(n + 1);
        let len = into.len();
        match self.end {
            Some((end, kind)) if n >= end => Err(ReadError { at, len, kind }),
            _ => {
                let now = self.versions.partition_point(|(from, _)| *from <= n);
                self.versions[now - 1].1.read_exact(at, into)
            }
        }
    }
}
