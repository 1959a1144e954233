//! The linked lists of tasks: circular, doubly linked, the head a bare node that is no task.
//!
//! ```text
//!   thread state            task                    task
//!  +-------------+    +--------------+        +--------------+
//!  | tasks_head -|--->| task_node   -|------->| task_node   -|---> back to the head
//!  +-------------+    +--------------+        +--------------+
//! ```
//!
//! A list may change while it is walked. Each node must point back to where we came from; one that
//! does not was moved, and the walk says so instead of going astray: when a thread ends, its tasks
//! are spliced into its interpreter's list, and a walker inside would never meet its head again.

use super::offsets::AsyncioOffsets;
use super::task::RawTask;
use crate::cpython::DecodeError;
use crate::limits::LimitHit;
use crate::memory::{Reader, RemoteAddr};
use rustc_hash::FxHashSet;

/// Walks the list at `head` and adds its tasks to `found`, in the order of their creation.
///
/// # Errors
///
/// When a link cannot be followed; `found` then has the tasks before it.
pub(super) fn walk_list(
    reader: &mut Reader<'_>,
    layout: &AsyncioOffsets,
    head: RemoteAddr,
    seen: &mut FxHashSet<RemoteAddr>,
    found: &mut Vec<RawTask>,
) -> Result<(), DecodeError> {
    let tasks_max = u64::from(reader.limits().tasks_max);
    let mut previous = head;
    let mut node = reader.addr_at(head)?;
    while node != head {
        let torn = |value| DecodeError::Implausible {
            what: "link of a task list",
            value,
            at: previous,
        };
        if !node.is_plausible() {
            return Err(torn(node.as_u64()));
        }
        if u64::try_from(seen.len()).unwrap_or(u64::MAX) >= tasks_max {
            return Err(DecodeError::Limit(LimitHit {
                what: "tasks_max",
                limit: tasks_max,
            }));
        }
        let task = RawTask::read(reader, layout, node.minus(layout.task_node))?;
        if task.previous != previous || !seen.insert(task.at) {
            return Err(torn(task.previous.as_u64()));
        }
        previous = node;
        node = task.next;
        found.push(task);
    }
    Ok(())
}
