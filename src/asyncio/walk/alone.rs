//! Tasks whose name does not tell them from others, because it is shared. Passes over all tasks may then
//! have seen the place of one task, and the awaiters of the next one at the same address.
//!
//! If such a task stands, after everything else was read, where it stood before, what was read in
//! between belongs to a task of this name at this place. If not, it is looked at alone, all at once, again
//! and again until nothing of it changes meanwhile.

use super::Walk;
use crate::cpython::DecodeError;
use crate::graph::TaskState;
use crate::ids::AddressMap;
use crate::memory::{RemoteAddr, Trail};
use rustc_hash::FxHashSet;

/// How often a task is looked at that changes each time.
const LOOKS_MAX: u32 = 16;
/// Tasks awaited by one that are looked at with it.
const AWAITED_MAX: usize = 256;

/// What looking at a task alone came to.
enum Alone {
    Settled,
    Ended,
    Changed,
}

impl Walk<'_, '_> {
    /// Looks again at the tasks that their names do not identify, and at those that may have stopped
    /// running meanwhile.
    pub(super) fn settle_alone(&mut self, expected: Trail) -> Result<(), DecodeError> {
        let is_shared = |at: &usize| {
            let record = self.records.get(*at);
            record.is_some_and(|record| record.is_alive && !record.has_own_name)
        };
        // It was executed at some moment; or it is still, and executes another one that starts eagerly.
        let ran = |at: &usize| {
            self.records.get(*at).is_some_and(|record| {
                let is_running = record.is_alive && record.place.state == TaskState::Running;
                is_running && !record.task.is_python && !self.running.contains_key(&record.task.at)
            })
        };
        let mut moved: Vec<usize> = (0..self.records.len()).filter(ran).collect();
        let known: FxHashSet<usize> = moved.iter().copied().collect();
        let shared: Vec<usize> = (0..self.records.len()).filter(is_shared).collect();
        if !shared.is_empty() {
            self.reader.begin_whole_look(expected)?;
            self.check_generations();
            self.look_at_running();
            for at in shared {
                if !known.contains(&at) && !self.stands_as_before(at)? {
                    moved.push(at);
                }
            }
            self.reader.end_look();
        }
        if moved.is_empty() {
            return Ok(());
        }
        let awaited = self.awaited_by(&moved);
        for at in moved {
            let settled = self.settle_one(at, &awaited);
            self.reader.look_back();
            settled?;
        }
        Ok(())
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
    fn awaited_by(&self, tasks: &[usize]) -> AddressMap<RemoteAddr, Vec<u32>> {
        let records = tasks.iter().filter_map(|at| self.records.get(*at));
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

    fn settle_one(
        &mut self,
        at: usize,
        awaited: &AddressMap<RemoteAddr, Vec<u32>>,
    ) -> Result<(), DecodeError> {
        let Some(task) = self.records.get(at).map(|record| record.task) else {
            return Ok(());
        };
        let awaited = awaited.get(&task.at).map_or(&[][..], Vec::as_slice);
        for _ in 0..LOOKS_MAX {
            match self.look_alone(at, awaited) {
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
            return Ok(Alone::Ended);
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
        // Sets are read in several pieces, so they are read twice.
        let is_changed = !last.is_same_place(&place)
            || now.name != task.name
            || self.addresses(&awaiters_now) != self.addresses(&awaiters);
        if is_changed || self.look_at_name(&now)? != name {
            return Ok(Alone::Changed);
        }
        if let Some(record) = self.records.get_mut(at) {
            record.task = now;
            record.place = place.lasting_place(&first);
            record.awaiters = awaiters;
        }
        if let Some(sighting) = self.sightings.get_mut(at) {
            *sighting = Some(place);
        }
        self.alone.insert(u32::try_from(at).unwrap_or(u32::MAX));
        self.keep_lasting_edges(at, awaited, &lasting)?;
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
            let other = self.by_address.get(&awaiter).copied();
            match other.and_then(|other| usize::try_from(other).ok()) {
                Some(other) if self.is_still_like(other)? => {
                    self.ended_edges.remove(&(me, awaiter));
                }
                // In no list, and read before: it awaits this task and is kept by it.
                None if self.unlisted.contains_key(&awaiter) => {}
                _ => {
                    self.ended_edges.insert((me, awaiter));
                }
            }
        }
        for other in awaited {
            let position = usize::try_from(*other).unwrap_or(usize::MAX);
            match lasting.contains(other) && self.is_still_like(position)? {
                true => self.ended_edges.remove(&(*other, address)),
                false => self.ended_edges.insert((*other, address)),
            };
        }
        Ok(())
    }

    /// Whether a task is the one that was seen: by its name, or by where it stands.
    pub(super) fn is_still_like(&mut self, at: usize) -> Result<bool, DecodeError> {
        let Some(record) = self.records.get(at).filter(|record| record.is_alive) else {
            return Ok(false);
        };
        let (task, name, has_own_name) = (record.task, record.name, record.has_own_name);
        if has_own_name && self.is_still_same(&task, name)? {
            return Ok(true);
        }
        Ok(self.still_there(&task)?.is_some() && self.stands_as_before(at)?)
    }
}
