//! Which edges count, and the graph.
//!
//! That a task is awaited by what is at an address is seen at one moment, which task is there at
//! others. In between, that task may have ended and another one got its memory. So an edge counts if
//! its awaiter was seen to be the same task before and after the moment in which the edge was seen.
//! With both looks taken in the same order, that holds for nearly all edges:
//!
//! ```text
//!   first look             second look
//!   awaiter .. edge        awaiter .. edge      the first look's edge lies between both awaiters
//!   edge .. awaiter        edge .. awaiter      the second look's edge does
//! ```
//!
//! Where it does not, the awaiter is looked at once more.

use super::{Read, Record, Walk};
use crate::asyncio::task::{RawTask, is_task};
use crate::cpython::DecodeError;
use crate::graph::{NewTask, StackIdx, TaskIdx};
use crate::ids::TaskId;
use crate::memory::RemoteAddr;
use rustc_hash::FxHashSet;

/// Whether `awaiter` was seen before and after an edge from it to `awaited` was seen.
fn encloses(awaiter: &Record, awaited: &Record) -> bool {
    let first = awaited.first_awaited.filter(|_| awaited.has_same_awaiters);
    first.is_some_and(|first| awaiter.first_seen.is_before(first))
        || awaited.look.awaiters.moment.is_before(awaiter.look.moment)
}

impl Walk<'_, '_> {
    fn record_at(&self, at: RemoteAddr) -> Option<&Record> {
        let position = usize::try_from(*self.by_address.get(&at)?).ok()?;
        self.records.get(position)
    }

    /// Looks once more at awaiters, as far as that is needed for their edges to count.
    pub(super) fn confirm_edges(&mut self) -> Result<(), DecodeError> {
        let mut doubtful: FxHashSet<u32> = FxHashSet::default();
        let mut with_unlisted: Vec<u32> = Vec::new();
        for (at, awaited) in (0_u32..).zip(&self.records) {
            if !awaited.is_alive {
                continue;
            }
            for address in self.addresses(&awaited.look.awaiters) {
                match self.record_at(*address) {
                    Some(awaiter) if !awaiter.is_alive || encloses(awaiter, awaited) => {}
                    Some(_) => doubtful.extend(self.by_address.get(address)),
                    None if with_unlisted.last() == Some(&at) => {}
                    None => with_unlisted.push(at),
                }
            }
        }
        let mut doubtful: Vec<u32> = doubtful.into_iter().collect();
        doubtful.sort_unstable();
        self.reader.look_anew();
        for at in doubtful {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let Some(record) = self.records.get(at) else {
                continue;
            };
            let (task, name) = (record.task, record.look.name);
            match self.is_still_same(&task, name) {
                Ok(true) => {}
                Ok(false) => self.leave_out_ended(at),
                Err(error) => {
                    self.forget(at);
                    self.leave_out(task.at, error.code(), error)?;
                }
            }
        }
        self.confirm_unlisted(&with_unlisted)
    }

    /// Reads awaiters that no list holds. Who awaits a task keeps what it awaits from being freed and
    /// the other way round, so an awaiter that is one before and after it was read is the same.
    fn confirm_unlisted(&mut self, awaited: &[u32]) -> Result<(), DecodeError> {
        if awaited.is_empty() {
            return Ok(());
        }
        for at in awaited {
            for address in self.unlisted_of(*at) {
                if !self.unlisted.contains_key(&address) {
                    self.read_unlisted(address)?;
                }
            }
        }
        self.reader.look_anew();
        for at in awaited {
            let position = usize::try_from(*at).unwrap_or(usize::MAX);
            let Some(task) = self.records.get(position).map(|record| record.task) else {
                continue;
            };
            let now = match self.still_there(&task) {
                Ok(Some(now)) => self.look_at_awaiters(&now),
                Ok(None) => Ok(Default::default()),
                Err(error) => Err(error),
            };
            let now: Vec<RemoteAddr> = match now {
                Ok(awaiters) => self.addresses(&awaiters).to_vec(),
                Err(error) if error.is_fatal() => return Err(error),
                Err(_) => Vec::new(),
            };
            for address in self.unlisted_of(*at) {
                if !now.contains(&address) {
                    self.ended_edges.insert((*at, address));
                }
            }
        }
        Ok(())
    }

    /// Reads all awaiters that no list holds.
    pub(super) fn read_all_unlisted(&mut self) -> Result<(), DecodeError> {
        let mut found: FxHashSet<RemoteAddr> = FxHashSet::default();
        for record in self.records.iter().filter(|record| record.is_alive) {
            let unlisted = |address: &&RemoteAddr| !self.by_address.contains_key(*address);
            let addresses = self.addresses(&record.look.awaiters).iter();
            found.extend(addresses.filter(unlisted));
        }
        for address in found {
            self.read_unlisted(address)?;
        }
        Ok(())
    }

    fn unlisted_of(&self, record: u32) -> Vec<RemoteAddr> {
        let position = usize::try_from(record).unwrap_or(usize::MAX);
        let awaiters = self
            .records
            .get(position)
            .map(|record| &record.look.awaiters);
        let addresses = awaiters.map_or(&[][..], |awaiters| self.addresses(awaiters));
        let unlisted = |address: &&RemoteAddr| !self.by_address.contains_key(*address);
        addresses.iter().filter(unlisted).copied().collect()
    }

    /// The stack of an awaiter that no list holds: a future has none.
    fn read_unlisted(&mut self, at: RemoteAddr) -> Result<Option<StackIdx>, DecodeError> {
        let read = match is_task(self.reader, self.layout, at) {
            Ok(false) => Ok(StackIdx::EMPTY),
            Ok(true) => RawTask::read(self.reader, self.layout, at)
                .and_then(|task| Ok(self.look_at_stack(&task, None)?.1.stack)),
            Err(error) => Err(error),
        };
        self.unlisted.insert(at, read.ok());
        if let Err(error) = read {
            self.note("awaiter_unreadable", &format!("awaiter {at}"), error)?;
        }
        Ok(read.ok())
    }

    /// The graph of what counts.
    pub(super) fn build(&mut self) -> Result<Read, DecodeError> {
        let mut order: Vec<u32> = (0_u32..)
            .zip(&self.records)
            .filter(|(_, record)| record.is_alive)
            .map(|(at, _)| at)
            .collect();
        let list_of = |at: &u32| {
            let record = usize::try_from(*at)
                .ok()
                .and_then(|at| self.records.get(at));
            record.map_or(u32::MAX, |record| record.list)
        };
        if !order.is_sorted_by_key(list_of) {
            order.sort_by_key(list_of);
        }
        let mut order = order.into_iter().peekable();
        let mut edges: Vec<(TaskIdx, u32)> = Vec::new();
        for (position, list) in (0_u32..).zip(&self.lists) {
            let is_here = |at: &u32| list_of(at) == position;
            if !list.has_loop && !order.peek().is_some_and(is_here) {
                continue;
            }
            self.graph.begin_thread(list.interpreter_id, list.tid);
            while let Some(at) = order.next_if(is_here) {
                let record = usize::try_from(at).ok().and_then(|at| self.records.get(at));
                let Some(record) = record else {
                    continue;
                };
                let task = self.graph.add_task(NewTask {
                    id: TaskId(record.task.at.as_u64()),
                    name: record.look.name,
                    state: record.look.state,
                    cancelling: record.task.is_cancelling,
                    stack: record.look.place.stack,
                    awaiting: record.look.place.awaiting,
                });
                edges.push((task, at));
            }
        }
        for (awaited, at) in edges {
            self.note_cuts(at)?;
            self.add_edges(awaited, at)?;
        }
        Ok(Read {
            graph: std::mem::take(&mut self.graph).finish(),
            problems: std::mem::take(&mut self.problems),
            n_problems: self.n_problems,
            tasks_unreadable: self.tasks_unreadable,
            tasks_ended: self.tasks_ended,
            restarts: self.repairs,
            has_running_loop: self.lists.iter().any(|list| list.has_loop),
            interpreters: std::mem::take(&mut self.interpreters),
        })
    }

    /// Notes what caps left out of a task.
    fn note_cuts(&mut self, record: u32) -> Result<(), DecodeError> {
        let position = usize::try_from(record).unwrap_or(usize::MAX);
        let Some(record) = self.records.get(position) else {
            return Ok(());
        };
        let (at, look) = (record.task.at, &record.look);
        let (awaiters, stack) = (look.awaiters.cut, look.place.cut);
        for (what, limit) in [("awaiters", awaiters), ("stack", stack)] {
            if let Some(limit) = limit {
                let what = format!("{what} of task {at}");
                self.note("limit_hit", &what, DecodeError::Limit(limit))?;
            }
        }
        Ok(())
    }

    fn add_edges(&mut self, awaited: TaskIdx, record: u32) -> Result<(), DecodeError> {
        let position = usize::try_from(record).unwrap_or(usize::MAX);
        let Some(awaiters) = self
            .records
            .get(position)
            .map(|record| record.look.awaiters.clone())
        else {
            return Ok(());
        };
        for position in awaiters.positions() {
            let Some(address) = self.awaiters.get(position).copied() else {
                continue;
            };
            if self.ended_edges.contains(&(record, address)) {
                continue;
            }
            let stack = match self.record_at(address) {
                // Whoever is there now is not the one that was seen to wait.
                Some(awaiter) => awaiter.is_alive.then_some(awaiter.look.place.stack),
                None => match self.unlisted.get(&address) {
                    Some(known) => *known,
                    None => self.read_unlisted(address)?,
                },
            };
            if let Some(stack) = stack {
                self.graph
                    .add_edge(awaited, TaskId(address.as_u64()), stack);
            }
        }
        Ok(())
    }
}
