//! Pass three: of what was read, what fresh copies confirm.
//!
//! A task that ended leaves its memory to the next one, often with the same coroutine and name
//! address, so the name itself is compared. An edge counts if its awaiter was there in a look that
//! lies between two looks that found the awaiter to be the same task: then it was the one that
//! waited. Where a task's awaiters changed between its two looks, what holds now is read once more,
//! and those awaiters are looked at again after that.

use super::Walk;
use super::details::Details;
use super::lists::Lists;
use crate::asyncio::task::RawTask;
use crate::cpython::DecodeError;
use crate::memory::{ReadErrorKind, RemoteAddr};
use rustc_hash::{FxHashMap, FxHashSet};

impl Walk<'_, '_> {
    /// The details that fresh copies confirm.
    pub(super) fn confirm(
        &mut self,
        lists: &Lists,
        mut details: Vec<Option<Details>>,
    ) -> Result<Vec<Option<Details>>, DecodeError> {
        self.reader.forget_all();
        let mut changed = Vec::new();
        for (position, ((_, task), slot)) in lists.tasks().zip(&mut details).enumerate() {
            let Some(found) = slot else {
                continue;
            };
            match self.confirm_task(task, found) {
                Ok(Some(true)) => {}
                Ok(Some(false)) => changed.push((position, *task)),
                Ok(None) => {
                    *slot = None;
                    self.leave_out_ended();
                }
                Err(error) => {
                    *slot = None;
                    self.leave_out(task, "task_vanished", error)?;
                }
            }
        }
        if !changed.is_empty() {
            self.settle(lists, &mut details, &changed)?;
        }
        Ok(details)
    }

    /// Whether a task's awaiters are the same as before; `None` if it has ended.
    fn confirm_task(
        &mut self,
        task: &RawTask,
        found: &Details,
    ) -> Result<Option<bool>, DecodeError> {
        let Some(now) = self.still_there(task)? else {
            return Ok(None);
        };
        self.check_name(&now, found)?;
        if now.awaited_by == task.awaited_by && !now.awaited_by_is_set && !task.awaited_by_is_set {
            return Ok(Some(true));
        }
        let (awaiters, _) = now.read_awaiters(self.reader, self.offsets)?;
        Ok(Some(awaiters == found.awaiters))
    }

    fn check_name(&mut self, now: &RawTask, found: &Details) -> Result<(), DecodeError> {
        let types = &mut self.chains.types;
        let name = now.read_name(self.reader, self.offsets, types, &mut self.graph)?;
        if name == found.task.name {
            return Ok(());
        }
        let (what, value) = ("changed name of a task", now.name.as_u64());
        Err(DecodeError::Implausible {
            what,
            value,
            at: now.at,
        })
    }

    /// Gives the tasks whose awaiters changed the ones they have now, as far as those are confirmed
    /// afterwards.
    fn settle(
        &mut self,
        lists: &Lists,
        details: &mut [Option<Details>],
        changed: &[(usize, RawTask)],
    ) -> Result<(), DecodeError> {
        self.reader.forget_all();
        let mut awaiters: FxHashSet<RemoteAddr> = FxHashSet::default();
        for (position, task) in changed {
            let Some(slot) = details.get_mut(*position) else {
                continue;
            };
            let now = match self.still_there(task)? {
                None => Ok(None),
                Some(now) => now.read_awaiters(self.reader, self.offsets).map(Some),
            };
            match (now, slot.as_mut()) {
                (Ok(Some((now, _))), Some(found)) => {
                    awaiters.extend(&now);
                    found.awaiters = now;
                }
                (Ok(_), _) => {
                    *slot = None;
                    self.leave_out_ended();
                }
                (Err(error), _) => {
                    *slot = None;
                    self.leave_out(task, "task_vanished", error)?;
                }
            }
        }
        let confirmed = self.still_same(lists, details, &awaiters)?;
        for (position, task) in changed {
            let Some(found) = details.get_mut(*position).and_then(Option::as_mut) else {
                continue;
            };
            let n_before = found.awaiters.len();
            found
                .awaiters
                .retain(|awaiter| confirmed.get(awaiter) != Some(&false));
            if found.awaiters.len() < n_before {
                let (what, value) = ("changed awaiters of a task", task.awaited_by.as_u64());
                let error = DecodeError::Implausible {
                    what,
                    value,
                    at: task.at,
                };
                self.note("awaiters_changed", &format!("task {}", task.at), error)?;
            }
        }
        Ok(())
    }

    /// For each of these tasks that a list holds, whether it is still the one that was read.
    fn still_same(
        &mut self,
        lists: &Lists,
        details: &[Option<Details>],
        wanted: &FxHashSet<RemoteAddr>,
    ) -> Result<FxHashMap<RemoteAddr, bool>, DecodeError> {
        self.reader.forget_all();
        let mut same = FxHashMap::default();
        for ((_, task), found) in lists.tasks().zip(details) {
            if !wanted.contains(&task.at) {
                continue;
            }
            let is_same = match (self.still_there(task)?, found) {
                (Some(now), Some(found)) => match self.check_name(&now, found) {
                    Ok(()) => true,
                    Err(error) if error.is_fatal() => return Err(error),
                    Err(_) => false,
                },
                _ => false,
            };
            same.insert(task.at, is_same);
        }
        Ok(same)
    }

    /// The header of a task that was in a list, if it is the same task and has not ended. What a
    /// list held was a task; if it is none any more, its memory was given away.
    pub(super) fn still_there(&mut self, task: &RawTask) -> Result<Option<RawTask>, DecodeError> {
        match RawTask::read(self.reader, self.layout, task.at) {
            Ok(now) => {
                let same = now.coro == task.coro && now.is_pending && !now.next.is_null();
                Ok(same.then_some(now))
            }
            Err(DecodeError::Read(error)) if error.kind != ReadErrorKind::Unmapped => {
                self.note("task_vanished", &format!("task {}", task.at), error.into())?;
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }
}
