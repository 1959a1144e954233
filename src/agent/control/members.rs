//! Who is in the group, for what has to be decided before a request is read: which places a connection may take. Rights
//! do not come from here; they are found out anew for each request.

use super::rights::Rights;
use crate::procfs::members_of;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Members that are kept in mind.
const KNOWN_MAX: usize = 1_000;

/// Users who were members of the group when that was last found out.
#[derive(Debug, Clone, Default)]
pub(super) struct Members(Arc<Mutex<HashSet<u32>>>);

impl Members {
    /// Looks up who is in the group. Blocks.
    pub(super) fn look_up(&self, group: Option<&str>) {
        let found = group.map_or_else(Vec::new, |group| members_of(group, KNOWN_MAX));
        *self.known() = found.into_iter().collect();
    }

    /// It was found out what `user` may ask for.
    pub(super) fn note(&self, user: u32, rights: &Rights) {
        let mut known = self.known();
        match rights {
            Rights::Member(..) => {
                if known.len() < KNOWN_MAX {
                    known.insert(user);
                }
            }
            _ => {
                known.remove(&user);
            }
        }
    }

    pub(super) fn include(&self, user: u32) -> bool {
        self.known().contains(&user)
    }

    fn known(&self) -> MutexGuard<'_, HashSet<u32>> {
        // Nothing in here panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
