//! `collections.deque` (`dequeobject`, Modules/_collectionsmodule.c of CPython 3.14 and 3.15): a chain of blocks, of
//! which the first and the last may be used in part.
//!
//! ```text
//!   deque: head | length | first block | last block | first index | last index | ...
//!   block: link to the left | 64 items | link to the right
//! ```

use super::{DecodeError, Offsets};
use crate::memory::{Bytes, Reader, RemoteAddr};

const WORD: u64 = 8;
/// Items of a block (`BLOCKLEN`).
pub const BLOCK_ITEMS: u64 = 64;
/// A block with its two links.
const BLOCK_BYTES: usize = 528;

/// An item, and the place in a block that it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DequeItem {
    /// The item.
    pub item: RemoteAddr,
    /// Where the pointer to it stands. What is put in takes the next place, also if the deque was empty.
    pub place: RemoteAddr,
}

/// What is in a deque.
#[derive(Debug, Clone, Default)]
pub struct Deque {
    /// The items, from left to right.
    pub items: Vec<DequeItem>,
    /// The position of the first one in its block of [`BLOCK_ITEMS`].
    pub index: u64,
    /// How often it was changed: each item that is put in or taken from an end counts one, and so does each rotation of more
    /// than one, whereby `remove` takes an item from within (`state`).
    pub n_changes: u64,
}

/// What tells how many items were taken from the left of the deque at `at`: which one is next. Places are used again, but
/// only after many others.
///
/// # Errors
///
/// When it cannot be read.
pub fn taken_from_deque(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
) -> Result<u64, DecodeError> {
    let members = at.plus(offsets.pyobject.size);
    let block = reader.u64_at(members.plus(WORD))?;
    let index = reader.u64_at(members.plus(WORD.saturating_mul(3)))?;
    Ok(block.wrapping_add(index.wrapping_mul(WORD)))
}

/// What is in the deque at `at`, at most `items_max` items.
///
/// # Errors
///
/// When it cannot be read, or its indices cannot be true.
pub fn read_deque(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
    items_max: u64,
) -> Result<Deque, DecodeError> {
    let members = at.plus(offsets.pyobject.size);
    let mut member = |position: u64| reader.u64_at(members.plus(position.saturating_mul(WORD)));
    let (length, mut index, n_changes) = (member(0)?, member(3)?, member(5)?);
    let mut block = RemoteAddr::new(member(1)?);
    if index > BLOCK_ITEMS {
        return Err(DecodeError::Implausible {
            what: "index of a deque",
            value: index,
            at,
        });
    }
    let mut left = length.min(items_max);
    let mut deque = Deque {
        items: Vec::new(),
        index,
        n_changes,
    };
    while left > 0 {
        DecodeError::check_address("block of a deque", block)?;
        let words = Bytes::new(reader.bytes(block, BLOCK_BYTES)?);
        let end = index.saturating_add(left).min(BLOCK_ITEMS);
        for position in index..end {
            let offset = position.saturating_add(1).saturating_mul(WORD);
            deque.items.push(DequeItem {
                item: words.addr_at(offset)?,
                place: block.plus(offset),
            });
        }
        left = left.saturating_sub(end.saturating_sub(index));
        block = words.addr_at(BLOCK_ITEMS.saturating_add(1).saturating_mul(WORD))?;
        index = 0;
        reader.keep(BLOCK_BYTES)?;
    }
    Ok(deque)
}
