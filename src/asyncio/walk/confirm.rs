//! What must hold at the end: that each task is still the one that was looked at, and who awaits it.
//!
//! A task that ended leaves its memory to the next one, often with the same coroutine and name address,
//! so the name itself is compared. It was read first of all, and is read again last of all:
//!
//! ```text
//!   names of all tasks | where they stand | who awaits them | objects of all tasks | names again
//! ```
//!
//! A name alone proves nothing, as it can still be read when its memory was freed. But no other task's
//! object ever led to this name (if others may have it too: [`super::alone`]). So a task whose object leads to its name, which is there before and
//! after, was the same all the time until then, and so was its awaiter, if the same holds for that: at
//! the moment in which the one was seen to be awaited, it was that task that awaited it. By the same
//! argument what precedes it in its list did ([`super::owners`]).

use super::first::LOOKS_MAX;
use super::look::Awaiters;
use super::{Record, Walk};
use crate::asyncio::task::RawTask;
use crate::cpython::DecodeError;
use crate::graph::TaskName;
use crate::memory::Trail;
use rustc_hash::FxHashSet;

impl Walk<'_, '_> {
    /// Reads who awaits the tasks.
    pub(super) fn find_awaiters(&mut self, expected: Trail) -> Result<Trail, DecodeError> {
        self.awaiters.clear();
        self.reader.begin_whole_look(expected)?;
        self.for_each_task(|walk, at, task| {
            let Some((now, awaiters)) = walk.look_at_object(task)? else {
                return Ok(false);
            };
            if let Some(record) = walk.records.get_mut(at) {
                record.awaiters = awaiters;
                record.task.awaits = now.awaits;
                // Since the first look it may have got a set of awaiters.
                record.task.awaited_by = now.awaited_by;
                record.task.awaited_by_is_set = now.awaited_by_is_set;
            }
            Ok(true)
        })?;
        Ok(self.reader.end_look())
    }

    /// Reads the objects of all tasks again.
    pub(super) fn confirm_objects(&mut self, expected: Trail) -> Result<Trail, DecodeError> {
        self.reader.begin_whole_look(expected)?;
        self.for_each_task(|walk, at, task| {
            let now = walk.still_there(task)?;
            if let (Some(record), Some(now)) = (walk.records.get_mut(at), now) {
                let before = record.task;
                record.links_lasted = before.has_links_of(&now);
                // What it awaits by now may have begun when another task was seen to end.
                record.task = RawTask {
                    awaits: before.awaits,
                    ..now
                };
            }
            Ok(now.is_some())
        })?;
        Ok(self.reader.end_look())
    }

    /// Looks at all tasks; those of which `look` says that they ended are left out.
    fn for_each_task(
        &mut self,
        look: impl Fn(&mut Self, usize, &RawTask) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        for at in 0..self.records.len() {
            let Some(record) = self.records.get(at).filter(|record| record.is_alive) else {
                continue;
            };
            let task = record.task;
            let mut looked = look(self, at, &task);
            for _ in 1..LOOKS_MAX {
                match &looked {
                    Err(error) if !error.is_fatal() && !error.is_limit() => {}
                    _ => break,
                }
                // It may just be changing.
                self.reader.look_aside();
                looked = look(self, at, &task);
            }
            self.reader.look_back();
            match looked {
                Ok(true) => {}
                Ok(false) => self.leave_out_ended(at),
                Err(error) => {
                    self.forget(at);
                    self.leave_out(task.at, error.code(), error)?;
                }
            }
        }
        Ok(())
    }

    /// The object of a task, if it is there, and who awaits it.
    pub(super) fn look_at_object(
        &mut self,
        task: &RawTask,
    ) -> Result<Option<(RawTask, Awaiters)>, DecodeError> {
        match self.still_there(task)? {
            Some(now) => Ok(Some((now, self.look_at_awaiters(&now)?))),
            None => Ok(None),
        }
    }

    /// Reads the names of all tasks again. A task that has another one was renamed, or has ended.
    pub(super) fn confirm_names(&mut self, expected: Trail) -> Result<Trail, DecodeError> {
        self.reader.begin_whole_look(expected)?;
        let mut others = Vec::new();
        for at in 0..self.records.len() {
            let Some(record) = self.records.get(at).filter(|record| record.is_alive) else {
                continue;
            };
            let (name, task) = (record.name, record.task);
            match self.look_at_name(&task) {
                Ok(now) if now == name => {}
                Err(error) if error.is_fatal() || error.is_limit() => {
                    self.forget(at);
                    self.leave_out(task.at, error.code(), error)?;
                }
                _ => others.push(at),
            }
        }
        self.tell_renamed(others);
        Ok(self.reader.end_look())
    }

    /// Tells the tasks that were renamed from those that have ended.
    fn tell_renamed(&mut self, others: Vec<usize>) {
        let mut undecided: FxHashSet<usize> = others.iter().copied().collect();
        // What follows a task was found after it.
        for at in others.into_iter().rev() {
            let record = self.records.get(at);
            let is_renamed =
                record.is_some_and(|record| self.is_renamed(record, &record.task, &undecided));
            match is_renamed {
                true => {
                    self.alone.renamed.insert(at);
                }
                false => self.leave_out_ended(at),
            }
            undecided.remove(&at);
        }
    }

    /// Whether a task that has another name than at first, `now`, is older than others that were there
    /// at first. Tasks are added at the end of their list only: one that began meanwhile at the address
    /// of one that ended comes after all that were there before. The last one of a list that still
    /// stands where it stood may be a new one; it is taken for the old one, with nothing of what was known
    /// of that but its list.
    pub(super) fn is_renamed(
        &self,
        record: &Record,
        now: &RawTask,
        undecided: &FxHashSet<usize>,
    ) -> bool {
        if now.next.is_null() {
            return false;
        }
        match self.record_of_node(now.next) {
            Some(next) => self.is_alive(next) && !undecided.contains(&next),
            None => {
                let is_last = self.heads.contains_key(&now.next);
                is_last && record.links_lasted && record.task.has_links_of(now)
            }
        }
    }

    /// Whether a task is, by later copies, still the one that was seen.
    pub(super) fn is_still_same(
        &mut self,
        task: &RawTask,
        name: TaskName,
    ) -> Result<bool, DecodeError> {
        let Some(now) = self.still_there(task)? else {
            return Ok(false);
        };
        match self.look_at_name(&now) {
            Ok(now) => Ok(now == name),
            Err(error) if error.is_fatal() || error.is_limit() => Err(error),
            Err(_) => Ok(false),
        }
    }
}
