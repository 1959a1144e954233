//! Tasks for which there is no room in the snapshot: they are counted, and nothing else is read of them.
//!
//! Two words of each are needed, the links of its list. So a process with many times as many tasks as may be
//! read still tells how many it has.

use super::Walk;
use crate::cpython::DecodeError;
use crate::memory::RemoteAddr;
use std::collections::VecDeque;

/// How many of the latest nodes are remembered, to go on from when one was unlinked meanwhile.
const REMEMBERED: usize = 64;
/// How often in a row the way may be lost.
const LOST_MAX: u32 = 16;

impl Walk<'_, '_> {
    /// Counts the tasks of a list from `node` to the end, which follows `previous`. What was counted stays
    /// counted when the list cannot be followed to its end.
    ///
    /// # Errors
    ///
    /// When the rest of the list cannot be followed.
    pub(super) fn count_surplus(
        &mut self,
        head: RemoteAddr,
        previous: RemoteAddr,
        node: RemoteAddr,
    ) -> Result<(), DecodeError> {
        let mut passed = VecDeque::from([previous]);
        let (mut node, mut n_lost) = (node, 0_u32);
        while node != head {
            if self.tasks_counted >= self.reader.limits().tasks_counted_max {
                return Err(DecodeError::Limit(self.tasks_max()));
            }
            let previous = passed.back().copied().unwrap_or(head);
            match self.next_of(previous, node) {
                Ok(next) => {
                    self.tasks_counted = self.tasks_counted.saturating_add(1);
                    if passed.len() >= REMEMBERED {
                        passed.pop_front();
                    }
                    passed.push_back(node);
                    (node, n_lost) = (next, 0);
                }
                Err(error) if error.is_fatal() || error.is_limit() => return Err(error),
                // It leads into another list, or to the same place again and again.
                Err(error) if self.heads.contains_key(&node) || n_lost >= LOST_MAX => {
                    return Err(error);
                }
                Err(error) => {
                    n_lost = n_lost.saturating_add(1);
                    self.repairs = self.repairs.saturating_add(1);
                    node = self.way_back(&mut passed)?.ok_or(error)?;
                }
            }
        }
        Ok(())
    }

    /// What follows a node that must point back to `previous`.
    fn next_of(
        &mut self,
        previous: RemoteAddr,
        node: RemoteAddr,
    ) -> Result<RemoteAddr, DecodeError> {
        if self.heads.contains_key(&node) || !node.is_plausible() {
            return Err(torn(previous, node));
        }
        let mut links = self.links_at(node);
        if !matches!(links, Ok((_, back)) if back == previous) {
            // Perhaps only the copy is old.
            self.reader.look_aside();
            links = self.links_at(node);
            self.reader.look_back();
        }
        match links? {
            (next, back) if back == previous => Ok(next),
            (_, back) => Err(torn(node, back)),
        }
    }

    /// Forgets the latest nodes that are in the list no more. Gives what follows the one that still is.
    fn way_back(
        &mut self,
        passed: &mut VecDeque<RemoteAddr>,
    ) -> Result<Option<RemoteAddr>, DecodeError> {
        let mut found = None;
        self.reader.look_aside();
        while let Some(last) = passed.back().copied() {
            let next = self.reader.addr_at(last).map_err(DecodeError::from);
            let links = next.and_then(|next| Ok((next, self.links_at(next)?.1)));
            match links {
                Ok((next, back)) if back == last => {
                    found = Some(next);
                    break;
                }
                Err(error) if error.is_fatal() || error.is_limit() => {
                    self.reader.look_back();
                    return Err(error);
                }
                _ => {}
            }
            passed.pop_back();
        }
        self.reader.look_back();
        Ok(found)
    }

    /// The links of a node, forwards and back (`struct llist_node`, Include/internal/pycore_llist.h).
    fn links_at(&mut self, node: RemoteAddr) -> Result<(RemoteAddr, RemoteAddr), DecodeError> {
        let next = self.reader.addr_at(node)?;
        let previous = self.reader.addr_at(node.plus(8))?;
        Ok((next, previous))
    }
}

fn torn(at: RemoteAddr, value: RemoteAddr) -> DecodeError {
    DecodeError::Implausible {
        what: "link of a task list",
        value: value.as_u64(),
        at,
    }
}
