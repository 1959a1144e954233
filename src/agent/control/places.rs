//! Connections at once: so many of each person, and of all of a kind together. Whoever opens thousands keeps nobody else
//! out, and whoever has thousands of user ids nobody who has an account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Of one person, as whatever kind they come.
pub(super) const OF_PERSON_MAX: usize = 8;
/// Of root.
pub(super) const OF_ROOT_MAX: usize = 32;
/// Of all of another kind.
const OF_KIND_MAX: usize = 64;

/// Those who share places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Root,
    /// Known as members of the group.
    Member,
    /// Users of this machine.
    WithAccount,
    /// Subordinate user ids, containers, users of a directory: somebody may have many of them.
    WithoutAccount,
}

/// The connections that are open, by person and kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<(u32, Kind), usize>>>);

/// A connection that is open; until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    who: (u32, Kind),
    places: Places,
}

impl Places {
    /// A place for one more connection of the person with this id, if there is one.
    pub(super) fn take(&self, person: u32, kind: Kind) -> Option<Place> {
        let mut taken = self.taken();
        let who = (person, kind);
        let n_of = |is_counted: &dyn Fn(&(u32, Kind)) -> bool| -> usize {
            let counted = taken.iter().filter(|(who, _)| is_counted(who));
            counted.map(|(_, n)| n).sum()
        };
        let n_own = n_of(&|(other, _)| *other == person);
        let n_alike = n_of(&|(_, other)| *other == kind);
        let (of_person_max, of_kind_max) = match kind {
            Kind::Root => (OF_ROOT_MAX, OF_ROOT_MAX),
            _ => (OF_PERSON_MAX, OF_KIND_MAX),
        };
        if n_own >= of_person_max || n_alike >= of_kind_max {
            return None;
        }
        *taken.entry(who).or_default() += 1;
        Some(Place {
            who,
            places: self.clone(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<(u32, Kind), usize>> {
        // Nothing in here panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        match taken.get_mut(&self.who) {
            Some(n) if *n > 1 => *n -= 1,
            _ => {
                taken.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_places_of_others() {
        let places = Places::default();
        let mut held = Vec::new();
        let mut n_of = |persons: std::ops::Range<u32>, kind| {
            let take = |person| (0..40).map(move |_| (person, kind));
            let asked = persons.flat_map(take);
            let before = held.len();
            held.extend(asked.filter_map(|(person, kind)| places.take(person, kind)));
            held.len() - before
        };
        let kinds = [Kind::WithoutAccount, Kind::Member, Kind::WithAccount];
        for (first, kind) in [1, 1_001, 2_001].into_iter().zip(kinds) {
            assert_eq!(n_of(first..first + 1, kind), OF_PERSON_MAX, "{kind:?}");
            // Whoever comes with another user id is the same person.
            for other in kinds {
                assert_eq!(n_of(first..first + 1, other), 0, "{kind:?}, {other:?}");
            }
            assert_eq!(
                n_of(first..first + 1_000, kind),
                OF_KIND_MAX - OF_PERSON_MAX,
                "{kind:?}"
            );
            assert_eq!(n_of(7_000..7_001, kind), 0, "{kind:?}");
        }
        assert_eq!(n_of(0..1, Kind::Root), OF_ROOT_MAX);
        held.remove(0);
        let again = places.take(1, Kind::WithoutAccount);
        assert!(again.is_some(), "what is given back is free");
        drop(again);
        held.clear();
        assert!(places.taken().is_empty());
    }
}
