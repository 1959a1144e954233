//! Tasks that changed while they were looked at, or that their name does not tell from others, because it is
//! text, or was another one when they were found. Passes over all tasks may then have seen the place of one task, and the awaiters of the next one
//! at the same address.
//!
//! If such a task stands, after everything else was read, where it stood before, in its
//! code and in its list, what was read in between belongs to the same task: one that begins meanwhile
//! comes last in its list. If not, or if it is the last one, it is looked at alone, all at once, again
//! and again until nothing of it changes meanwhile; and so are those that were renamed.

use super::Walk;
use crate::cpython::DecodeError;
use crate::graph::TaskState;
use crate::ids::AddressMap;
use crate::memory::{RemoteAddr, Trail};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;

/// How often a task is looked at that changes each time.
const LOOKS_MAX: u32 = 16;
/// How often it is looked at because one that awaits it, or is awaited by it, found it somewhere else.
const QUEUED_MAX: u32 = 4;
/// Tasks awaited by one that are looked at with it.
const AWAITED_MAX: usize = 256;

/// Tasks that are looked at alone.
#[derive(Debug, Default)]
pub(super) struct TasksAlone {
    /// Those that were, and the lists of the threads that ran their event loops then.
    pub(super) settled: FxHashMap<u32, Option<usize>>,
    /// Those that have another name than at first.
    pub(super) renamed: FxHashSet<usize>,
    /// Edges of such tasks, as record and awaiter: the other task did not stay as it was that long.
    pub(super) unsettled_edges: FxHashSet<(u32, RemoteAddr)>,
    /// Those that are still to be looked at.
    queue: VecDeque<usize>,
    is_queued: FxHashSet<usize>,
    /// How often each was put there.
    n_queued: FxHashMap<usize, u32>,
    /// What each of those that may have to be looked at awaits, by its address.
    awaited: AddressMap<RemoteAddr, Vec<u32>>,
}

/// What looking at a task alone came to.
enum Alone {
    Settled,
    Ended,
    Changed,
}

impl Walk<'_, '_> {
    /// Looks again at the tasks that their names do not identify, at those that may have stopped running
    /// meanwhile, and at those that may have begun to.
    pub(super) fn settle_alone(&mut self, expected: Trail) -> Result<(), DecodeError> {
        let is_doubtful = |at: &usize| self.is_alive(*at) && !self.alone.renamed.contains(at);
        let may_be_other = |at: &usize| {
            is_doubtful(at) && self.records.get(*at).is_some_and(|it| !it.has_own_name())
        };
        // It was executed at some moment; or it is still, and executes another one that starts eagerly.
        let ran = |at: &usize| {
            self.records.get(*at).is_some_and(|record| {
                let is_running = record.is_alive && record.place.state == TaskState::Running;
                is_running && !record.task.is_python && !self.running.contains_key(&record.task.at)
            })
        };
        let mut known: FxHashSet<usize> = (0..self.records.len()).filter(ran).collect();
        known.extend(&self.alone.renamed);
        let shifted = |at: &usize| may_be_other(at) && self.has_shifted(*at);
        known.extend((0..self.records.len()).filter(shifted));
        let mut moved: Vec<usize> = known.iter().copied().collect();
        moved.sort_unstable();
        let doubtful: Vec<usize> = (0..self.records.len()).filter(is_doubtful).collect();
        if !doubtful.is_empty() {
            self.reader.begin_whole_look(expected)?;
            self.check_generations();
            self.look_at_running();
            for at in doubtful.iter().copied() {
                if !known.contains(&at) && !self.stands_as_before(at)? {
                    moved.push(at);
                }
            }
            self.reader.end_look();
        }
        if moved.is_empty() {
            return Ok(());
        }
        let may_move = known.into_iter().chain(doubtful);
        self.alone.awaited = self.awaited_by(may_move);
        for at in moved {
            self.queue(at);
        }
        self.settle_queued()
    }

    fn settle_queued(&mut self) -> Result<(), DecodeError> {
        while let Some(at) = self.alone.queue.pop_front() {
            self.alone.is_queued.remove(&at);
            let settled = self.settle_one(at);
            self.reader.look_back();
            settled?;
        }
        Ok(())
    }

    /// Has a task looked at alone, once more if it was already.
    fn queue(&mut self, at: usize) {
        let address = self.records.get(at).map(|record| record.task.at);
        if address.is_none_or(|address| !self.alone.awaited.contains_key(&address)) {
            return;
        }
        let n_queued = self.alone.n_queued.entry(at).or_default();
        if *n_queued < QUEUED_MAX {
            *n_queued = n_queued.saturating_add(1);
            if self.alone.is_queued.insert(at) {
                self.alone.queue.push_back(at);
            }
        }
    }

    /// Whether a task stands somewhere else in its list than at first, or is the last one.
    fn has_shifted(&self, at: usize) -> bool {
        let Some(record) = self.records.get(at) else {
            return false;
        };
        !record.task.is_python
            && (!record.links_lasted || self.heads.contains_key(&record.task.next))
    }

    /// Whether a task stands where it was seen to stand.
    fn stands_as_before(&mut self, at: usize) -> Result<bool, DecodeError> {
        let Some(record) = self.records.get(at) else {
            return Ok(false);
        };
        let (task, list) = (record.task, record.list);
        let before = self.sightings.get(at).copied().flatten();
        match (before, self.look_at_place(Some(list), &task)) {
            (Some(before), Ok(now)) => Ok(now.is_same_place(&before)),
            (_, Err(error)) if error.is_fatal() => Err(error),
            _ => Ok(false),
        }
    }

    /// The tasks that each of these awaits, by its address.
    fn awaited_by(&self, tasks: impl Iterator<Item = usize>) -> AddressMap<RemoteAddr, Vec<u32>> {
        let records = tasks.filter_map(|at| self.records.get(at));
        let mut awaited: AddressMap<RemoteAddr, Vec<u32>> =
            records.map(|record| (record.task.at, Vec::new())).collect();
        for (at, record) in (0_u32..).zip(&self.records) {
            for address in self
                .addresses(&record.awaiters)
                .iter()
                .filter(|_| record.is_alive)
            {
                if let Some(tasks) = awaited.get_mut(address) {
                    tasks.push(at);
                }
            }
        }
        awaited
    }

    fn settle_one(&mut self, at: usize) -> Result<(), DecodeError> {
        let Some(task) = self.records.get(at).map(|record| record.task) else {
            return Ok(());
        };
        if !self.is_alive(at) {
            return Ok(());
        }
        let awaited = self.alone.awaited.get(&task.at).cloned();
        let awaited = awaited.unwrap_or_default();
        for _ in 0..LOOKS_MAX {
            match self.look_alone(at, &awaited) {
                Ok(Alone::Settled) => return Ok(()),
                Ok(Alone::Ended) => {
                    self.leave_out_ended(at);
                    return Ok(());
                }
                Ok(Alone::Changed) => {}
                Err(error) if error.is_fatal() || error.is_limit() => {
                    self.forget(at);
                    return self.leave_out(task.at, error.code(), error);
                }
                // It may just be changing.
                Err(_) => {}
            }
        }
        self.forget(at);
        let (what, value, at) = (
            "task that changes all the time",
            task.coro.as_u64(),
            task.at,
        );
        let error = DecodeError::Implausible { what, value, at };
        self.leave_out(task.at, "stack_unsettled", error)
    }

    /// Looks at everything of a task, with its name and its place before and after.
    fn look_alone(&mut self, at: usize, awaited: &[u32]) -> Result<Alone, DecodeError> {
        let Some(record) = self.records.get(at) else {
            return Ok(Alone::Ended);
        };
        let (found, list, known_name) = (record.task, record.list, record.name);
        self.reader.look_aside();
        self.look_at_running_aside();
        let Some(task) = self.still_there(&found)? else {
            return Ok(Alone::Ended);
        };
        let name = self.look_at_name(&task)?;
        // Another task has its memory by now: what else is known of it is not of that one.
        if name != known_name {
            let none = FxHashSet::default();
            let record = self.records.get(at);
            if !record.is_some_and(|record| self.is_renamed(record, &task, &none)) {
                return Ok(Alone::Ended);
            }
        }
        let first = self.look_at_place(Some(list), &task)?;
        self.reader.look_aside();
        let place = self.look_at_place(Some(list), &task)?;
        if !place.is_same_place(&first) {
            return Ok(Alone::Changed);
        }
        let Some((_, awaiters)) = self.look_at_object(&found)? else {
            return Ok(Alone::Ended);
        };
        let lasting = self.still_awaited(task.at, awaited)?;
        self.reader.look_aside();
        let last = self.look_at_place(Some(list), &task)?;
        let Some((now, awaiters_now)) = self.look_at_object(&found)? else {
            return Ok(Alone::Ended);
        };
        let of_loop = self.list_of_loop(&now, list)?;
        // Sets are read in several pieces, so they are read twice.
        let is_changed = !last.is_same_place(&place)
            || now.name != task.name
            || !now.has_links_of(&task)
            || self.addresses(&awaiters_now) != self.addresses(&awaiters);
        if is_changed || self.look_at_name(&now)? != name {
            return Ok(Alone::Changed);
        }
        let before = self.records.get(at).map(|record| record.awaiters);
        let before = before.map(|before| self.addresses(&before).iter().copied().collect());
        let before: FxHashSet<RemoteAddr> = before.unwrap_or_default();
        if let Some(record) = self.records.get_mut(at) {
            record.task = now;
            record.name = name;
            record.place = place.lasting_place(&first);
            record.awaiters = awaiters;
        }
        if let Some(sighting) = self.sightings.get_mut(at) {
            *sighting = Some(place);
        }
        let me = u32::try_from(at).unwrap_or(u32::MAX);
        self.alone.settled.insert(me, of_loop);
        self.keep_lasting_edges(at, &before, awaited, &lasting)?;
        Ok(Alone::Settled)
    }

    /// Which of these tasks still are awaited by the task at `awaiter`.
    fn still_awaited(
        &mut self,
        awaiter: RemoteAddr,
        awaited: &[u32],
    ) -> Result<FxHashSet<u32>, DecodeError> {
        let mut lasting = FxHashSet::default();
        for at in awaited.iter().take(AWAITED_MAX) {
            let Some(task) = self.alive(*at).map(|record| record.task) else {
                continue;
            };
            if let Some((_, awaiters)) = self.look_at_object(&task)?
                && self.addresses(&awaiters).contains(&awaiter)
            {
                lasting.insert(*at);
            }
        }
        Ok(lasting)
    }

    /// Leaves out the edges of a task that was looked at alone, unless the other task is, after that, still
    /// the one that it was.
    fn keep_lasting_edges(
        &mut self,
        at: usize,
        awaiters_before: &FxHashSet<RemoteAddr>,
        awaited: &[u32],
        lasting: &FxHashSet<u32>,
    ) -> Result<(), DecodeError> {
        let Some(record) = self.records.get(at) else {
            return Ok(());
        };
        let address = record.task.at;
        let awaiters: Vec<RemoteAddr> = self.addresses(&record.awaiters).to_vec();
        let me = u32::try_from(at).unwrap_or(u32::MAX);
        self.reader.look_aside();
        for awaiter in awaiters {
            // What it awaits from now on as well.
            if !awaiters_before.contains(&awaiter)
                && let Some(awaited) = self.alone.awaited.get_mut(&awaiter)
            {
                awaited.push(me);
            }
            let other = self.by_address.get(&awaiter).copied();
            match other.and_then(|other| usize::try_from(other).ok()) {
                Some(other) if self.is_still_like(other)? => {
                    self.ended_edges.remove(&(me, awaiter));
                    self.alone.unsettled_edges.remove(&(me, awaiter));
                }
                // That is settled last of all.
                None => {
                    self.ended_edges.remove(&(me, awaiter));
                    self.alone.unsettled_edges.remove(&(me, awaiter));
                }
                Some(other) => {
                    self.alone.unsettled_edges.insert((me, awaiter));
                    self.queue(other);
                }
            }
        }
        for (n_looked_at, other) in awaited.iter().enumerate() {
            let position = usize::try_from(*other).unwrap_or(usize::MAX);
            let edge = (*other, address);
            if !lasting.contains(other) && n_looked_at < AWAITED_MAX {
                self.ended_edges.insert(edge);
            } else if lasting.contains(other) && self.is_still_like(position)? {
                self.ended_edges.remove(&edge);
                self.alone.unsettled_edges.remove(&edge);
            } else {
                self.alone.unsettled_edges.insert(edge);
                self.queue(position);
            }
        }
        Ok(())
    }

    /// Whether a task is the one that was seen: by its name, and if others may have that, by where it stands.
    pub(super) fn is_still_like(&mut self, at: usize) -> Result<bool, DecodeError> {
        let Some(record) = self.records.get(at).filter(|record| record.is_alive) else {
            return Ok(false);
        };
        let (task, name, has_own_name) = (record.task, record.name, record.has_own_name());
        Ok(self.is_still_same(&task, name)? && (has_own_name || self.stands_as_before(at)?))
    }
}
