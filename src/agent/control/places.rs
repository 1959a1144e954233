//! Connections at once: so many of each user, and of all users but root together. Whoever opens thousands keeps
//! nobody else out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Of one user.
pub(super) const OF_USER_MAX: usize = 8;
/// Of all users but root.
const OF_ALL_MAX: usize = 64;
/// Of root.
pub(super) const OF_ROOT_MAX: usize = 32;

/// The connections that are open, by user.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<u32, usize>>>);

/// A connection that is open; until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    user: u32,
    places: Places,
}

impl Places {
    /// A place for one more connection of `user`, if there is one.
    pub(super) fn take(&self, user: u32) -> Option<Place> {
        let mut taken = self.taken();
        let of_user = taken.get(&user).copied().unwrap_or(0);
        let others = taken.iter().filter(|(user, _)| **user != 0);
        let is_free = match user {
            0 => of_user < OF_ROOT_MAX,
            _ => of_user < OF_USER_MAX && others.map(|(_, n)| n).sum::<usize>() < OF_ALL_MAX,
        };
        if !is_free {
            return None;
        }
        taken.insert(user, of_user + 1);
        Some(Place {
            user,
            places: self.clone(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        // Nothing in here panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        match taken.get_mut(&self.user) {
            Some(n) if *n > 1 => *n -= 1,
            _ => {
                taken.remove(&self.user);
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
            let place = places.take(user);
            let is_taken = place.is_some();
            held.extend(place);
            is_taken
        };
        let of_user = (0..20).filter(|_| take(1)).count();
        assert_eq!(of_user, OF_USER_MAX);
        let of_all = (0..1_000).filter(|n| take(2 + n % 100)).count();
        assert_eq!(of_user + of_all, OF_ALL_MAX);
        assert_eq!((0..100).filter(|_| take(0)).count(), OF_ROOT_MAX);
        assert!(!take(7_000) && !take(0));
        held.remove(0);
        assert!(places.take(1).is_some(), "what is given back is free");
        held.clear();
        assert!(places.taken().is_empty());
    }
}
