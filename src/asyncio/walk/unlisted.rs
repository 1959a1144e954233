//! Awaiters that no list holds: futures that are no tasks, and tasks that began after the lists were followed
//! or are in their eager first step.
//!
//! Nothing else is known of such an awaiter, so in a process that runs it is looked at together with the task
//! that awaits it, twice: it counts if between both looks nothing of it has changed, and the task was
//! awaited by it before and after.

use super::Walk;
use super::first::Depth;
use super::look::Sighting;

use crate::asyncio::python_task::PythonFuture;
use crate::asyncio::task::{RawTask, is_task};
use crate::cpython::DecodeError;
use crate::graph::{StackIdx, TaskName};
use crate::memory::RemoteAddr;
use rustc_hash::FxHashMap;

/// How often a task and an awaiter are looked at that change each time.
const LOOKS_MAX: u32 = 8;

/// What a look at an awaiter found.
enum Unlisted {
    /// A future that is no task: it has no stack.
    Future,
    /// A task.
    Task(RawTask, TaskName, Box<Sighting>),
}

/// What a look at a task and one of its awaiters came to.
enum Both {
    /// The stack of the awaiter.
    Seen(StackIdx),
    /// It awaits the task no more.
    Ended,
    Changed,
}

impl Unlisted {
    fn stack(&self) -> StackIdx {
        match self {
            Self::Future => StackIdx::EMPTY,
            Self::Task(_, _, seen) => seen.place.stack,
        }
    }

    /// Whether this look, taken after `earlier`, found the same.
    fn confirms(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Future, Self::Future) => true,
            (Self::Task(now, name, seen), Self::Task(before, name_before, seen_before)) => {
                now.is_same_object(before) && name == name_before && seen.confirms(seen_before)
            }
            _ => false,
        }
    }
}

impl Walk<'_, '_> {
    /// Reads all awaiters that no list holds, of a process that stands still.
    pub(super) fn read_all_unlisted(&mut self) -> Result<(), DecodeError> {
        let mut known: FxHashMap<RemoteAddr, Result<StackIdx, DecodeError>> = FxHashMap::default();
        for (at, awaiter) in self.unlisted_edges() {
            let read = match known.get(&awaiter) {
                Some(read) => *read,
                None => {
                    let is_python = self.alive(at).is_some_and(|record| record.task.is_python);
                    let read = self.look_at_unlisted(awaiter, is_python);
                    let read = read.map(|unlisted| unlisted.stack());
                    known.insert(awaiter, read);
                    if let Err(error) = read {
                        self.note_unreadable(awaiter, error)?;
                    }
                    read
                }
            };
            if let Ok(stack) = read {
                self.unlisted.insert((at, awaiter), stack);
            }
        }
        Ok(())
    }

    /// Looks at all awaiters that no list holds until it is certain what they are.
    pub(super) fn settle_unlisted(&mut self) -> Result<(), DecodeError> {
        for (at, awaiter) in self.unlisted_edges() {
            let edge = (at, awaiter);
            if self.ended_edges.contains(&edge) || self.alone.unsettled_edges.contains(&edge) {
                continue;
            }
            let settled = self.settle_unlisted_edge(at, awaiter);
            self.reader.look_back();
            match settled {
                Ok(Some(stack)) => {
                    self.unlisted.insert(edge, stack);
                }
                Ok(None) => {
                    self.ended_edges.insert(edge);
                }
                Err(error) => self.note_unreadable(awaiter, error)?,
            }
        }
        Ok(())
    }

    /// The stack of an awaiter; `None` if it awaits the task no more.
    fn settle_unlisted_edge(
        &mut self,
        at: u32,
        awaiter: RemoteAddr,
    ) -> Result<Option<StackIdx>, DecodeError> {
        let position = usize::try_from(at).unwrap_or(usize::MAX);
        let Some(task) = self.alive(at).map(|record| record.task) else {
            return Ok(None);
        };
        let (what, value) = ("changing awaiter", awaiter.as_u64());
        let mut last_error = DecodeError::Implausible {
            what,
            value,
            at: task.at,
        };
        for _ in 0..LOOKS_MAX {
            match self.look_at_both(position, &task, awaiter) {
                Ok(Both::Seen(stack)) => return Ok(Some(stack)),
                Ok(Both::Ended) => return Ok(None),
                Ok(Both::Changed) => {}
                Err(error) if error.is_fatal() || error.is_limit() => return Err(error),
                // It may just be changing.
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// Looks at a task and at an awaiter of it between two looks that find that it is one.
    fn look_at_both(
        &mut self,
        at: usize,
        task: &RawTask,
        awaiter: RemoteAddr,
    ) -> Result<Both, DecodeError> {
        self.reader.look_aside();
        if !self.is_awaited_by(task, awaiter)? {
            return Ok(Both::Ended);
        }
        // Both looks copy in the same order.
        self.reader.look_aside();
        let first = self.look_at_unlisted(awaiter, task.is_python)?;
        self.reader.look_aside();
        let second = self.look_at_unlisted(awaiter, task.is_python)?;
        self.reader.look_aside();
        let is_certain = second.confirms(&first)
            && self.is_awaited_by(task, awaiter)?
            && self.is_still_like(at)?;
        Ok(match is_certain {
            true => Both::Seen(second.stack()),
            false => Both::Changed,
        })
    }

    fn is_awaited_by(&mut self, task: &RawTask, awaiter: RemoteAddr) -> Result<bool, DecodeError> {
        match self.look_at_object(task) {
            Ok(Some((_, awaiters))) => Ok(self.addresses(&awaiters).contains(&awaiter)),
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Futures that await one that is implemented in Python are so too.
    fn look_at_unlisted(
        &mut self,
        at: RemoteAddr,
        is_python: bool,
    ) -> Result<Unlisted, DecodeError> {
        let task = match is_python {
            true => match self.read_python(at)? {
                PythonFuture::Task(task, _) => task,
                PythonFuture::Other => return Ok(Unlisted::Future),
                PythonFuture::Unknown => {
                    let (what, value) = ("awaiter", at.as_u64());
                    return Err(DecodeError::Implausible { what, value, at });
                }
            },
            false => match is_task(self.reader, self.layout, at)? {
                true => RawTask::read(self.reader, self.layout, at)?,
                false => return Ok(Unlisted::Future),
            },
        };
        let name = match self.depth {
            Depth::Names => self.look_at_name(&task)?,
            Depth::Everything => TaskName::Unknown,
        };
        let seen = Box::new(self.look_at_place(None, &task)?);
        Ok(Unlisted::Task(task, name, seen))
    }

    /// All pairs of a task and an awaiter of it that no list holds.
    fn unlisted_edges(&self) -> Vec<(u32, RemoteAddr)> {
        let mut edges = Vec::new();
        for (at, record) in (0_u32..).zip(&self.records) {
            if !record.is_alive {
                continue;
            }
            let awaiters = self.addresses(&record.awaiters).iter().copied();
            let unlisted = awaiters.filter(|awaiter| !self.by_address.contains_key(awaiter));
            edges.extend(unlisted.map(|awaiter| (at, awaiter)));
        }
        edges
    }

    fn note_unreadable(&mut self, at: RemoteAddr, error: DecodeError) -> Result<(), DecodeError> {
        self.note("awaiter_unreadable", &format!("awaiter {at}"), error)
    }
}
