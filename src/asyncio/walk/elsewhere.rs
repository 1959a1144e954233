//! Tasks that are noted as awaiters and wait for something else at the moment: the body of a group in which tasks of
//! its own run, or a task that has called `gather` or `shield` and not come to await what it got. Such a task is as
//! stuck as any other if what it waits for does not come.

use super::Walk;
use crate::cpython::DecodeError;
use crate::graph::{StackIdx, TaskIdx};

/// Tasks that are looked at.
const TASKS_MAX: usize = 4_096;
/// What waits for tasks by a future of its own (Lib/asyncio/tasks.py and staggered.py of CPython 3.14 and 3.15).
const WAITS_FOR_TASKS: [&str; 4] = [
    "_wait",
    "_cancel_and_wait",
    "staggered_race",
    "_AsCompletedIterator._wait_for_one",
];
/// The classes of asyncio and anyio that wait for tasks in their methods.
const GROUP: &str = "TaskGroup.";

impl Walk<'_, '_> {
    /// Notes which of these tasks, with their records, wait for something else than the tasks that they are noted
    /// to await.
    pub(super) fn find_elsewhere(
        &mut self,
        tasks: &[(TaskIdx, u32)],
        is_awaiter: &[bool],
    ) -> Result<(), DecodeError> {
        let awaits = |(_, at): &&(TaskIdx, u32)| {
            usize::try_from(*at).is_ok_and(|at| is_awaiter.get(at) == Some(&true))
        };
        let mut n_looks: usize = 0;
        self.reader.look_aside();
        for (task, record) in tasks.iter().filter(awaits) {
            let Some(record) = self.alive(*record) else {
                continue;
            };
            let (future, place) = (record.task.awaits, record.place);
            let name = place.awaiting.and_then(|name| self.graph.text_at(name));
            if name != Some("_asyncio.Future")
                || !future.is_plausible()
                || self.is_task_here(future)
                || self.waits_for_tasks(place.stack)
            {
                continue;
            }
            n_looks = n_looks.saturating_add(1);
            if n_looks > TASKS_MAX {
                break;
            }
            match self.shielded_by(future) {
                Ok(None) => self.graph.set_waits_elsewhere(*task),
                Err(error) if error.is_fatal() => {
                    self.reader.look_back();
                    return Err(error);
                }
                // It is about to go on.
                Ok(Some(_)) | Err(_) => {}
            }
        }
        self.reader.look_back();
        Ok(())
    }

    /// Whether one of the innermost frames of a stack waits for tasks.
    fn waits_for_tasks(&self, stack: StackIdx) -> bool {
        let mut innermost = self.graph.frames_of(stack).take(2);
        innermost
            .any(|(function, _)| WAITS_FOR_TASKS.contains(&function) || function.starts_with(GROUP))
    }
}
