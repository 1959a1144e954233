//! Connections at once: so many of each user, and of all users together; root has places of its own, and so have members
//! of the group. Whoever opens thousands keeps nobody else out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Of one user.
pub(super) const OF_USER_MAX: usize = 8;
/// Of all users who are neither root nor known as members of the group.
const OF_OTHERS_MAX: usize = 64;
/// Of all members of the group.
const OF_MEMBERS_MAX: usize = 64;
/// Of root.
pub(super) const OF_ROOT_MAX: usize = 32;

/// The connections that are open, by user and whether that was known as a member.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<(u32, bool), usize>>>);

/// A connection that is open; until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    who: (u32, bool),
    places: Places,
}

impl Places {
    /// A place for one more connection of `user`, if there is one.
    pub(super) fn take(&self, user: u32, is_member: bool) -> Option<Place> {
        let mut taken = self.taken();
        let who = (user, is_member);
        let of_user = taken.get(&who).copied().unwrap_or(0);
        let alike = taken
            .iter()
            .filter(|((user, as_member), _)| *user != 0 && *as_member == is_member);
        let n_alike: usize = alike.map(|(_, n)| n).sum();
        let is_free = match who {
            (0, _) => of_user < OF_ROOT_MAX,
            (_, true) => of_user < OF_USER_MAX && n_alike < OF_MEMBERS_MAX,
            (_, false) => of_user < OF_USER_MAX && n_alike < OF_OTHERS_MAX,
        };
        if !is_free {
            return None;
        }
        taken.insert(who, of_user + 1);
        Some(Place {
            who,
            places: self.clone(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<(u32, bool), usize>> {
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
        let mut take = |user| {
            let place = places.take(user, user % 1_000 == 500);
            let is_taken = place.is_some();
            held.extend(place);
            is_taken
        };
        let of_user = (0..20).filter(|_| take(1)).count();
        assert_eq!(of_user, OF_USER_MAX);
        let of_all = (0..1_000).filter(|n| take(2 + n % 100)).count();
        assert_eq!(of_user + of_all, OF_OTHERS_MAX);
        let of_member = (0..20).filter(|_| take(500)).count();
        assert_eq!(of_member, OF_USER_MAX);
        let of_members = (0..1_000).filter(|n| take(1_500 + n % 100 * 1_000)).count();
        assert_eq!(of_member + of_members, OF_MEMBERS_MAX);
        assert_eq!((0..100).filter(|_| take(0)).count(), OF_ROOT_MAX);
        assert!(!take(7_000) && !take(0));
        held.remove(0);
        assert!(
            places.take(1, false).is_some(),
            "what is given back is free"
        );
        held.clear();
        assert!(places.taken().is_empty());
    }
}
