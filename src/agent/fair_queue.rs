//! Who waits for something that is given to one after the other: next is who had none for longest, however often somebody asks.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Those who wait, and when each of them had a turn.
#[derive(Debug)]
pub(super) struct FairQueue<P> {
    next: u64,
    waiting: BTreeMap<u64, P>,
    /// Of those who wait, or still have what they were given.
    latest: HashMap<P, u64>,
}

impl<P> Default for FairQueue<P> {
    fn default() -> Self {
        Self {
            next: 0,
            waiting: BTreeMap::new(),
            latest: HashMap::new(),
        }
    }
}

impl<P: Copy + Eq + Hash> FairQueue<P> {
    /// One more who waits, by this number.
    pub(super) fn join(&mut self, who: P) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, who);
        self.next
    }

    /// Whoever waits by this number had their turn, or waits no more. `has_any`: they have something still.
    pub(super) fn leave(&mut self, number: u64, has_any: impl FnOnce(P) -> bool) {
        if let Some(who) = self.waiting.remove(&number) {
            self.forget(who, has_any);
        }
    }

    /// Whether it is the turn of `who`, who waits by this number, among those whose turn it `may_be`.
    pub(super) fn is_first(&self, number: u64, who: P, may_be: impl Fn(P) -> bool) -> bool {
        let rank = |number, who: &P| (self.latest.get(who).copied(), number);
        let own = rank(number, &who);
        let mut others = self.waiting.iter().filter(|(_, other)| may_be(**other));
        others.all(|(number, other)| own <= rank(*number, other))
    }

    /// It is; gives the number of the turn.
    pub(super) fn take_turn(&mut self, who: P) -> u64 {
        self.next += 1;
        self.latest.insert(who, self.next);
        self.next
    }

    /// Forgets when somebody had a turn who neither waits nor has anything.
    pub(super) fn forget(&mut self, who: P, has_any: impl FnOnce(P) -> bool) {
        if self.waiting.values().all(|it| *it != who) && !has_any(who) {
            self.latest.remove(&who);
        }
    }

    /// Whether nobody waits, and nothing is remembered of anybody.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.latest.is_empty()
    }
}
