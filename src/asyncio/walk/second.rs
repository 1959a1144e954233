//! The second look: of what the first one found, what later copies confirm.
//!
//! A task that ended leaves its memory to the next one, often with the same coroutine and name
//! address, so the name itself is compared. A stack is read piece by piece; if the task was executed
//! in between, its pieces may belong to different moments, and two looks differ.

use super::Walk;
use super::look::{Look, Place};
use crate::asyncio::task::RawTask;
use crate::cpython::DecodeError;
use crate::graph::TaskName;

/// How often a task is looked at whose stack is another one each time.
const LOOKS_MAX: u32 = 6;

/// What looking at a task again came to.
enum Again {
    /// Two looks agree.
    Settled(Look),
    /// It is there, but stood somewhere else each time.
    Moving(Look),
    /// It ended.
    Ended,
    /// It makes no sense any more.
    Unreadable(DecodeError),
}

impl Walk<'_, '_> {
    /// Looks at all tasks again.
    pub(super) fn second_look(&mut self) -> Result<(), DecodeError> {
        for at in 0..self.records.len() {
            let Some(record) = self.records.get(at).filter(|record| record.is_alive) else {
                continue;
            };
            let (task, list, first) = (record.task, record.list, record.look.clone());
            let again = self.look_again(&task, list, &first);
            self.reader.look_back();
            match again {
                Again::Settled(look) => self.renew(at, look, &first),
                Again::Moving(mut look) => {
                    look.place = Place::default();
                    self.renew(at, look, &first);
                    let (what, value) = ("changing stack of a task", task.coro.as_u64());
                    let at = task.at;
                    let error = DecodeError::Implausible { what, value, at };
                    self.note("stack_unsettled", &format!("task {at}"), error)?;
                }
                Again::Ended => self.leave_out_ended(at),
                Again::Unreadable(error) => {
                    self.forget(at);
                    self.leave_out(task.at, error.code(), error)?;
                }
            }
        }
        Ok(())
    }

    /// Looks at a task until two looks that follow each other agree.
    fn look_again(&mut self, task: &RawTask, list: u32, first: &Look) -> Again {
        let list = usize::try_from(list).ok().and_then(|at| self.lists.get(at));
        let list = list.cloned();
        let mut last = Ok(first.clone());
        for n_looks in 0..LOOKS_MAX {
            if n_looks > 0 {
                self.reader.look_aside();
            }
            let now = match self.still_there(task) {
                Ok(Some(now)) => now,
                Ok(None) => return Again::Ended,
                Err(error) => return Again::Unreadable(error),
            };
            match self.look_at(list.as_ref(), &now) {
                Ok(look) if look.name != first.name => return Again::Ended,
                Ok(mut look) => {
                    if let Ok(last) = &last
                        && look.confirms(last)
                    {
                        look.keep_lasting_frames(last);
                        return Again::Settled(look);
                    }
                    // An earlier look saw the name before this one began.
                    look.is_named_first = true;
                    last = Ok(look);
                }
                Err(error) if error.is_fatal() || error.is_limit() => {
                    return Again::Unreadable(error);
                }
                Err(error) => last = Err(error),
            }
        }
        match last {
            Ok(look) => Again::Moving(look),
            Err(error) => Again::Unreadable(error),
        }
    }

    fn renew(&mut self, at: usize, look: Look, first: &Look) {
        let is_same = self.addresses(&look.awaiters) == self.addresses(&first.awaiters);
        if let Some(record) = self.records.get_mut(at) {
            record.look = look;
            record.has_same_awaiters = is_same;
        }
    }

    /// Reads the names of all tasks once more. Only tasks whose names are still there after everything
    /// else was read have certainly been the tasks that were read.
    pub(super) fn confirm_names(&mut self) -> Result<(), DecodeError> {
        self.reader.look_anew();
        for at in 0..self.records.len() {
            let Some(record) = self.records.get(at).filter(|record| record.is_alive) else {
                continue;
            };
            let (name, task) = (record.look.name, record.task);
            let task = RawTask {
                name: record.look.name_at,
                ..task
            };
            let types = &mut self.chains.types;
            match task.read_name(self.reader, self.offsets, types, &mut self.graph) {
                Ok(now) if now == name => {}
                Err(error) if error.is_fatal() || error.is_limit() => {
                    self.forget(at);
                    self.leave_out(task.at, error.code(), error)?;
                }
                _ => self.leave_out_ended(at),
            }
        }
        Ok(())
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
        let types = &mut self.chains.types;
        match now.read_name(self.reader, self.offsets, types, &mut self.graph) {
            Ok(now) => Ok(now == name),
            Err(error) if error.is_fatal() || error.is_limit() => Err(error),
            Err(_) => Ok(false),
        }
    }
}
