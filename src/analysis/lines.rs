//! Lines of tasks that wait at the same place of the program for the same thing, which asyncio knows nothing of: for a
//! connection of a client's pool, a thread of an executor, a rate limiter. As long as tasks go on there in the order in
//! which they came, whoever waits is in a line that moves, however long it is. Who has been overtaken is not.
//!
//! So for each place it is kept when a task went on there last, and after which moment the one had come that came last of all
//! that have gone on. Whoever was seen there at that moment has been overtaken.

use super::waiting::Seen;
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

/// By the functions and lines of stacks.
#[derive(Debug, Default)]
pub(super) struct Lines {
    by_stack: FxHashMap<u64, Line>,
}

impl Lines {
    /// A task has gone on from where it was seen, or has ended there.
    pub(super) fn leave(&mut self, seen: &Seen, now: Monotonic) {
        if self.by_stack.len() >= LINES_MAX {
            self.by_stack.retain(|_, line| line.moved_at == now);
        }
        if self.by_stack.len() >= LINES_MAX && !self.by_stack.contains_key(&seen.stack) {
            return;
        }
        let line = self.by_stack.entry(seen.stack).or_insert(Line {
            moved_at: now,
            last_came_after: seen.came_after,
        });
        line.moved_at = now;
        line.last_came_after = line.last_came_after.max(seen.came_after);
    }

    /// Until when a task counts as one that waits in a line which moves: so long after the line has moved. `None` if it has
    /// been overtaken.
    pub(super) fn moves_until(&self, seen: &Seen, within: Duration) -> Option<Monotonic> {
        let line = self.by_stack.get(&seen.stack)?;
        let is_in_order = line.last_came_after < seen.since.at;
        is_in_order.then(|| line.moved_at.after(within))
    }

    /// Forgets the lines that do not move.
    pub(super) fn forget(&mut self, now: Monotonic, within: Duration) {
        self.by_stack
            .retain(|_, line| now.since(line.moved_at) < within);
    }
}
