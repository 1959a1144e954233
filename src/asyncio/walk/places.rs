//! Where the tasks of a process that runs stand: looked at until two looks that follow each other agree.
//!
//! A stack is read piece by piece; if the task was executed in between, its pieces belong to different
//! moments. That two looks found the same pieces is not enough, because memory is used again. What is
//! enough: each piece was copied between two copies of its holder that both say so
//! ([`Sighting::confirms`](super::look::Sighting::confirms)). With both looks copying in the same order, one of the two copies of a piece
//! always lies in between.

use super::Walk;
use super::look::Place;
use crate::cpython::DecodeError;
use crate::limits::{PLACES, SEEN};
use crate::memory::Trail;

/// How often all tasks are looked at that have not settled.
const ROUNDS_MAX: u32 = 3;
/// When only one in so many tasks has not settled, these are looked at one by one.
const FEW: usize = 16;
/// How often one task is looked at that stands somewhere else each time.
const LOOKS_MAX: u32 = 16;

/// What looking at a task again came to.
enum Settled {
    /// Two looks agree.
    Yes,
    /// It stood somewhere else, or where it stood may have been another task.
    No,
    /// What was read makes no sense.
    Unreadable(DecodeError),
}

impl Walk<'_, '_> {
    /// Looks at where all tasks stand until that is certain. `known` is the trail of an earlier look that
    /// did this.
    pub(super) fn settle_places(&mut self, known: Trail) -> Result<Trail, DecodeError> {
        let alive = (0..self.records.len()).filter(|at| self.is_alive(*at));
        let mut unsettled: Vec<usize> = alive.collect();
        self.sightings.clear();
        self.sightings.resize(self.records.len(), None);
        let enough = unsettled.len() / FEW;
        let (mut expected, mut first_trail) = (known, None);
        self.reader.begin_part(SEEN);
        for _ in 0..ROUNDS_MAX {
            if unsettled.len() <= enough && first_trail.is_some() {
                break;
            }
            self.reader.begin_whole_look(expected)?;
            self.check_generations();
            self.look_at_running();
            let mut left = Vec::with_capacity(unsettled.len());
            for at in unsettled {
                match self.settle(at)? {
                    Settled::Yes => {}
                    Settled::No | Settled::Unreadable(_) => left.push(at),
                }
            }
            unsettled = left;
            let trail = self.reader.end_look();
            expected = trail.in_order_of_copies();
            first_trail.get_or_insert(trail);
            self.reader.begin_part(PLACES);
        }
        for at in unsettled {
            let settled = self.settle_aside(at);
            self.reader.look_back();
            settled?;
        }
        Ok(first_trail.unwrap_or_default())
    }

    /// Looks at where a task stands once more.
    fn settle(&mut self, at: usize) -> Result<Settled, DecodeError> {
        let Some(record) = self.records.get(at) else {
            return Ok(Settled::Yes);
        };
        let (task, list) = (record.task, record.list);
        let before = self.sightings.get(at).copied().flatten();
        let (now, settled) = match self.look_at_place(Some(list), &task) {
            Ok(now) => {
                let confirmed = before.filter(|before| now.confirms(before));
                let settled = match (self.records.get_mut(at), confirmed) {
                    (Some(record), Some(before)) => {
                        record.place = now.lasting_place(&before);
                        Settled::Yes
                    }
                    _ => Settled::No,
                };
                (Some(now), settled)
            }
            Err(error) if error.is_limit() => {
                self.forget(at);
                self.leave_out(task.at, error.code(), error)?;
                return Ok(Settled::Yes);
            }
            Err(error) if error.is_fatal() => return Err(error),
            // It may just be changing, or have ended.
            Err(error) => (None, Settled::Unreadable(error)),
        };
        if let Some(sighting) = self.sightings.get_mut(at) {
            *sighting = now;
        }
        Ok(settled)
    }

    /// Looks at one task, in single pages, until two looks agree.
    fn settle_aside(&mut self, at: usize) -> Result<(), DecodeError> {
        let Some(task) = self.records.get(at).map(|record| record.task) else {
            return Ok(());
        };
        let mut settled = Settled::No;
        for _ in 0..LOOKS_MAX {
            self.reader.look_aside();
            self.look_at_running_aside();
            match self.still_there(&task) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.leave_out_ended(at);
                    return Ok(());
                }
                Err(error) => {
                    self.forget(at);
                    return self.leave_out(task.at, error.code(), error);
                }
            }
            settled = self.settle(at)?;
            if let Settled::Yes = settled {
                return Ok(());
            }
        }
        if let Settled::Unreadable(error) = settled {
            self.forget(at);
            return self.leave_out(task.at, error.code(), error);
        }
        if let Some(record) = self.records.get_mut(at) {
            record.place = Place::UNKNOWN;
        }
        let (what, value) = ("changing stack of a task", task.coro.as_u64());
        let error = DecodeError::Implausible {
            what,
            value,
            at: task.at,
        };
        self.note("stack_unsettled", &format!("task {}", task.at), error)
    }
}
