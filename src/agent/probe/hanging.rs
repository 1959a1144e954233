//! Who may have one more probe that may hang. A process can make looking at it hang for as long as it likes; so nobody
//! gets all places, and no process more than one.

use crate::ids::ProcessId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Probes at once, those included that hang. Each is a thread.
const ALL_MAX: usize = 32;
/// Those of one user's processes.
pub(super) const OF_USER_MAX: usize = 2;

/// Processes that are being asked, and their users.
#[derive(Debug, Clone, Default)]
pub(super) struct Hanging(Arc<Mutex<HashMap<ProcessId, Option<u32>>>>);

/// A probe that has not ended; until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    process: ProcessId,
    all: Hanging,
}

impl Hanging {
    /// A place for asking `process`, which is `user`'s, if there is one.
    pub(super) fn take(&self, process: ProcessId, user: Option<u32>) -> Option<Place> {
        let mut taken = self.taken();
        let n_of_user = taken.values().filter(|it| **it == user).count();
        if taken.contains_key(&process) || n_of_user >= OF_USER_MAX || taken.len() >= ALL_MAX {
            return None;
        }
        taken.insert(process, user);
        Some(Place {
            process,
            all: self.clone(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<ProcessId, Option<u32>>> {
        // Nothing in here panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.taken().remove(&self.process);
    }
}
