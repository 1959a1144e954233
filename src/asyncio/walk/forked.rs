//! Tasks that a process has only because it is a copy of another one.
//!
//! fork(2) copies the memory of a process, with one thread. CPython empties the list of tasks of that thread
//! (`PyOS_AfterFork_Child`), but moves the tasks of all others, which are no more, to the list of their interpreter, as if the
//! threads had ended. A loop whose thread ended has been stopped first, and says so: `BaseEventLoop._thread_id` is `None`
//! whenever `run_forever` does not run (Lib/asyncio/base_events.py). The copy of one that ran when the process was copied
//! still has its thread, though none of the process runs it, or ever will.

use super::Walk;
use crate::cpython::{Attributes, DecodeError, Kind};
use crate::memory::RemoteAddr;
use rustc_hash::{FxHashMap, FxHashSet};

impl Walk<'_, '_> {
    /// Leaves out the tasks of loops that run in the process of which this one is a copy.
    pub(super) fn leave_out_copies(&mut self) -> Result<(), DecodeError> {
        let mut of_loop: FxHashMap<RemoteAddr, Vec<usize>> = FxHashMap::default();
        for at in 0..self.records.len() {
            let Some(record) = self.records.get(at).filter(|record| record.is_alive) else {
                continue;
            };
            let list = usize::try_from(record.list)
                .ok()
                .and_then(|at| self.lists.get(at));
            if record.task.is_python || list.is_none_or(|list| list.thread.is_some()) {
                continue;
            }
            match self.event_loop_of(record.task.at) {
                Ok(event_loop) => of_loop.entry(event_loop).or_default().push(at),
                Err(error) if error.is_fatal() => return Err(error),
                Err(_) => {}
            }
        }
        if of_loop.is_empty() {
            return Ok(());
        }
        let mut copies: FxHashSet<RemoteAddr> = of_loop.keys().copied().collect();
        // A thread may just begin or end to run it: only what is so before and after is certain.
        self.keep_running(&mut copies)?;
        if copies.is_empty() {
            return Ok(());
        }
        match self.find_heads_again()? {
            Some(lists) => lists.iter().for_each(|list| {
                copies.remove(&list.running_loop);
            }),
            None => return Ok(()),
        }
        self.keep_running(&mut copies)?;
        for at in copies.iter().filter_map(|it| of_loop.get(it)).flatten() {
            if let Some(record) = self.records.get_mut(*at) {
                record.is_alive = false;
            }
        }
        Ok(())
    }

    /// Keeps the loops that have a thread, by their own account.
    fn keep_running(&mut self, loops: &mut FxHashSet<RemoteAddr>) -> Result<(), DecodeError> {
        let mut attributes = Attributes::new(["_thread_id"]);
        let mut fatal = None;
        self.reader.look_aside();
        loops.retain(|event_loop| {
            let types = &mut self.chains.types;
            let found = attributes.of(self.reader, self.offsets, types, *event_loop);
            let thread = found.and_then(|[thread]| {
                DecodeError::check_address("thread of an event loop", thread.value)?;
                types.type_of(self.reader, self.offsets, thread.value)
            });
            match thread {
                Ok(thread) => thread.kind == Kind::Int,
                Err(error) => {
                    if error.is_fatal() {
                        fatal = Some(error);
                    }
                    false
                }
            }
        });
        self.reader.look_back();
        fatal.map_or(Ok(()), Err)
    }
}
