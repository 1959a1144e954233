//! Lines of tasks that wait at the same place of the program for the same thing, which asyncio knows nothing of: for a
//! connection of a client's pool, a thread of an executor, a rate limiter. As long as tasks go on there in the order in
//! which they came, whoever waits is in a line that moves, however long it is. Who has been overtaken is not.
//!
//! So for each place it is kept when a task went on there last, and after which moment the one had come that came last of all
//! that have gone on. Whoever was seen there at that moment has been overtaken; or it went round a loop and came back, which nobody
//! saw.
//!
//! A place is where tasks wait in functions of packages, whoever called these, and otherwise in a function of the program's own.

use super::waiting::{ENDS_WITHIN, Seen};
use crate::time::Monotonic;
use rustc_hash::FxHashMap;
use std::time::Duration;

/// Places that are kept; a process may have tasks go on at ever new ones.
const LINES_MAX: usize = 16_384;

/// Who has gone on at a place.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// When the latest one did.
    moved_at: Monotonic,
    /// The one that came last of them came after this moment.
    last_came_after: Monotonic,
}

/// What a line says of a task that waits in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// When it has moved last.
    pub(super) moved_at: Monotonic,
    /// Until when the line counts as one that moves: so long after it has moved.
    pub(super) moves_until: Monotonic,
    /// It has been overtaken, if it has stood there for as long as it seems.
    pub(super) is_overtaken: bool,
}

/// By place.
#[derive(Debug, Default)]
pub(super) struct Lines {
    by_place: FxHashMap<u64, Line>,
}

impl Lines {
    /// A task has gone on from where it was seen, or has ended there.
    pub(super) fn leave(&mut self, seen: &Seen, now: Monotonic) {
        if self.by_place.len() >= LINES_MAX {
            self.by_place.retain(|_, line| line.moved_at == now);
        }
        if self.by_place.len() >= LINES_MAX && !self.by_place.contains_key(&seen.line) {
            return;
        }
        let line = self.by_place.entry(seen.line).or_insert(Line {
            moved_at: now,
            last_came_after: seen.came_after,
        });
        line.moved_at = now;
        line.last_came_after = line.last_came_after.max(seen.came_after);
    }

    /// Where a task is in its line; nothing if none has gone on there.
    pub(super) fn of(&self, seen: &Seen, within: Duration) -> Option<Place> {
        let line = self.by_place.get(&seen.line)?;
        Some(Place {
            moved_at: line.moved_at,
            moves_until: line.moved_at.after(within),
            is_overtaken: line.last_came_after >= seen.since.at,
        })
    }

    /// Forgets the lines that have not moved for as long as an end may be away that counts.
    pub(super) fn forget(&mut self, now: Monotonic, stuck_after: Duration) {
        let within = stuck_after.saturating_mul(ENDS_WITHIN);
        self.by_place
            .retain(|_, line| now.since(line.moved_at) < within);
    }
}
