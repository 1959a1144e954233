//! The first look: along the lists of tasks. They are circular and doubly linked, the head a bare
//! node that is no task:
//!
//! ```text
//!   thread state            task                    task
//!  +-------------+    +--------------+        +--------------+
//!  | tasks_head -|--->| task_node   -|------->| task_node   -|---> back to the head
//!  +-------------+    +--------------+        +--------------+
//! ```
//!
//! A list changes while it is walked. Each node must point back to where we came from. If one does
//! not, it was unlinked or its copy is old: the way goes on from the last task found that is still in
//! the list. Tasks are added at the end only, so nothing is missed by that but what has ended.
//!
//! When a thread ends, its tasks are spliced into its interpreter's list, and a walker inside would
//! never meet its own head again. It is lost at any other head, and where it has been before.

use super::look::{Awaiters, Place};
use super::{Record, Walk};
use crate::asyncio::task::RawTask;
use crate::cpython::DecodeError;
use crate::limits::{LimitHit, is_of_tasks};
use crate::memory::RemoteAddr;

/// How often in a row the way may be lost at the same place.
const LOST_MAX: u32 = 16;
/// How many tasks may be found again in one list.
const AGAIN_MAX: u32 = 1024;
/// How often one task is looked at that makes no sense.
pub(super) const LOOKS_MAX: u32 = 4;
/// What a task costs the walk and the graph, its name, stack and edges left out.
const BYTES_PER_TASK: usize = 200;

/// Where a walk stands: the node it came from, and the one that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    previous: RemoteAddr,
    node: RemoteAddr,
}

/// What a look at a list looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Everything of its tasks.
    Everything,
    /// Their names alone.
    Names,
}

/// What a task is to one that was found at the same address before.
enum Relation {
    /// The same.
    Same,
    /// Another one.
    Successor,
}

impl Walk<'_, '_> {
    /// Finds all tasks, and looks at each: at its name alone, or at everything.
    pub(super) fn first_look(&mut self, depth: Depth) -> Result<(), DecodeError> {
        self.depth = depth;
        self.look_at_running();
        for list in 0..self.lists.len() {
            self.follow_list(list)?;
        }
        for list in 0..self.lists.len() {
            let looked = self.look_at_eager(list);
            self.reader.look_back();
            looked?;
        }
        self.look_at_scheduled()
    }

    /// Follows a list and looks at its tasks.
    pub(super) fn follow_list(&mut self, list: usize) -> Result<(), DecodeError> {
        let Some(head) = self.lists.get(list).map(|list| list.head) else {
            return Ok(());
        };
        let start = self.records.len();
        if let Some(list) = self.lists.get_mut(list) {
            list.torn = None;
        }
        let (mut lost_at, mut n_lost) = (None, 0);
        self.n_again = 0;
        let mut position = Position {
            previous: head,
            node: RemoteAddr::NULL,
        };
        // The head's own link is read like that of a lost walk.
        let mut next = self.reader.addr_at(head).map_err(DecodeError::from);
        loop {
            match next {
                Ok(node) if node == head => return Ok(()),
                // The list was spliced into another one, or this never was a task of this list.
                Ok(node) if self.heads.contains_key(&node) => {
                    position.node = node;
                    next = Err(torn(position, node.as_u64()));
                    continue;
                }
                Ok(node) => position.node = node,
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) if error.limit().is_some_and(is_of_tasks) => {
                    return self.follow_surplus(list, head, position);
                }
                Err(error) => {
                    // The same place again: it is no passing change.
                    n_lost = if lost_at == Some(position) {
                        n_lost
                    } else {
                        0_u32
                    };
                    n_lost = n_lost.saturating_add(1);
                    lost_at = Some(position);
                    self.repairs = self.repairs.saturating_add(1);
                    if n_lost > LOST_MAX || error.is_limit() {
                        return self.give_up(list, error);
                    }
                    match self.find_way(list, head, start) {
                        Ok(Some(found)) if found.node == head => return Ok(()),
                        Ok(Some(found)) => position = found,
                        Ok(None) => return self.give_up(list, error),
                        Err(error) if error.is_fatal() => return Err(error),
                        Err(error) => return self.give_up(list, error),
                    }
                }
            }
            // After having lost the way, old copies would only lead to the same place again.
            if next.is_err() {
                self.reader.look_aside();
            }
            next = self.step(list, start, position);
            self.reader.look_back();
            if next.is_ok() {
                position.previous = position.node;
            }
        }
    }

    /// There is no room for the tasks of a list from `position` on.
    fn follow_surplus(
        &mut self,
        list: usize,
        head: RemoteAddr,
        position: Position,
    ) -> Result<(), DecodeError> {
        match self.count_surplus(head, position.previous, position.node) {
            Err(error) if !error.is_fatal() => self.give_up(list, error),
            counted => counted,
        }
    }

    fn give_up(&mut self, list: usize, error: DecodeError) -> Result<(), DecodeError> {
        if let Some(list) = self.lists.get_mut(list) {
            list.torn = Some(error);
        }
        Ok(())
    }

    /// Looks at the task at `position.node` and gives the node after it.
    fn step(
        &mut self,
        list: usize,
        start: usize,
        position: Position,
    ) -> Result<RemoteAddr, DecodeError> {
        let mut task = self.read_linked(position)?;
        if let Some(at) = self.by_address.get(&task.at) {
            let at = usize::try_from(*at).unwrap_or(usize::MAX);
            // Memory of two neighbours may have been given to two others in the same order. Their old
            // copies would lead back to where we came from.
            self.reader.look_aside();
            task = self.read_linked(position)?;
            match self.relation(at, &task)? {
                // Found in another list before, which was spliced into this one.
                Relation::Same if at < start => {
                    self.move_to_list(at, list);
                    return Ok(task.next);
                }
                // What was found before was the object of one task with the name of this one; or it
                // is the way that we came.
                Relation::Same if self.n_again < AGAIN_MAX => {
                    self.n_again = self.n_again.saturating_add(1);
                    self.forget(at);
                }
                Relation::Same => return Err(torn(position, task.at.as_u64())),
                Relation::Successor => self.leave_out_ended(at),
            }
        }
        self.check_room()?;
        let next = task.next;
        self.record(list, task)?;
        Ok(next)
    }

    /// That one more task may be found.
    pub(super) fn check_room(&self) -> Result<(), DecodeError> {
        let tasks_max = self.tasks_max().limit;
        if u64::try_from(self.records.len()).unwrap_or(u64::MAX) < tasks_max {
            return Ok(());
        }
        Err(DecodeError::Limit(self.tasks_max()))
    }

    /// How many tasks there is room for.
    pub(super) fn tasks_max(&self) -> LimitHit {
        LimitHit {
            what: self.reader.limits().tasks_cap,
            limit: u64::from(self.reader.limits().tasks_max),
        }
    }

    /// What a task is to the one that was found at the same address before. Memory of tasks that ended
    /// is used again at once, often with the same coroutine and name address.
    fn relation(&mut self, record: usize, task: &RawTask) -> Result<Relation, DecodeError> {
        let Some(record) = self.records.get(record).filter(|record| record.is_alive) else {
            return Ok(Relation::Successor);
        };
        if !record.task.is_same_object(task) || record.task.name != task.name {
            return Ok(Relation::Successor);
        }
        let known = record.name;
        self.reader.look_aside();
        match self.look_at_name(task)? == known {
            true => Ok(Relation::Same),
            false => Ok(Relation::Successor),
        }
    }

    /// The task whose node follows `position.previous`.
    fn read_linked(&mut self, position: Position) -> Result<RawTask, DecodeError> {
        if !position.node.is_plausible() {
            return Err(torn(position, position.node.as_u64()));
        }
        let at = position.node.minus(self.layout.task_node);
        let read = RawTask::read(self.reader, self.layout, at);
        if let Ok(task) = read
            && task.previous == position.previous
        {
            return read;
        }
        // Perhaps only the copy is old; then the others of this task are too.
        self.reader.look_aside();
        let task = RawTask::read(self.reader, self.layout, at)?;
        match task.previous == position.previous {
            true => Ok(task),
            false => Err(torn(position, task.previous.as_u64())),
        }
    }

    /// The last of the tasks found since `start` that is still in the list, and what follows it; the
    /// head if none is.
    fn find_way(
        &mut self,
        list: usize,
        head: RemoteAddr,
        start: usize,
    ) -> Result<Option<Position>, DecodeError> {
        self.reader.look_aside();
        let found = self.find_last(list, start);
        let found = found.map(|found| {
            found.or_else(|| {
                let (previous, node) = (head, self.reader.addr_at(head).ok()?);
                Some(Position { previous, node })
            })
        });
        self.reader.look_back();
        found
    }

    /// The last of the tasks found since `start` that is still in the list, and what follows it.
    fn find_last(&mut self, list: usize, start: usize) -> Result<Option<Position>, DecodeError> {
        for at in (start..self.records.len()).rev() {
            self.reader.spend(0)?;
            let Some(record) = self.records.get(at).filter(|record| record.is_alive) else {
                continue;
            };
            let task = record.task;
            match self.still_there(&task)? {
                // What precedes a task in its list was passed before. Otherwise it is in another
                // list: memory of a task that ended here was given to one that began there.
                Some(now) if self.list_of_node(now.previous) != Some(list) => self.forget(at),
                Some(now) => {
                    let previous = task.at.plus(self.layout.task_node);
                    let node = now.next;
                    return Ok(Some(Position { previous, node }));
                }
                None => self.leave_out_ended(at),
            }
        }
        Ok(None)
    }

    /// The list that a node belongs to, as far as is known: the head of one, or a task found in it.
    fn list_of_node(&self, node: RemoteAddr) -> Option<usize> {
        if let Some(list) = self.heads.get(&node) {
            return Some(*list);
        }
        let record = self.records.get(self.record_of_node(node)?)?;
        usize::try_from(record.list)
            .ok()
            .filter(|_| record.is_alive)
    }

    /// The record that was last found at a node.
    pub(super) fn record_of_node(&self, node: RemoteAddr) -> Option<usize> {
        let task = node.minus(self.layout.task_node);
        usize::try_from(*self.by_address.get(&task)?).ok()
    }

    pub(super) fn move_to_list(&mut self, record: usize, list: usize) {
        if let Some(record) = self.records.get_mut(record) {
            record.list = u32::try_from(list).unwrap_or(u32::MAX);
        }
    }

    /// Looks at a task that was found, and keeps what was seen. One that makes no sense is looked at
    /// again; it may just be changing.
    pub(super) fn record(&mut self, list: usize, found: RawTask) -> Result<(), DecodeError> {
        let list = u32::try_from(list).unwrap_or(u32::MAX);
        let mut looked = self.look_at(list, found);
        let mut n_looks: u32 = 1;
        while let Err(error) = looked {
            if error.is_fatal() || error.is_limit() || n_looks >= LOOKS_MAX {
                break;
            }
            n_looks = n_looks.saturating_add(1);
            self.reader.look_aside();
            looked = match self.still_there(&found) {
                Ok(Some(now)) => self.look_at(list, now),
                Ok(None) => {
                    self.tasks_ended = self.tasks_ended.saturating_add(1);
                    return Ok(());
                }
                Err(error) => Err(error),
            };
        }
        let (record, error) = match looked {
            Ok(record) => (record, None),
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => (Record::unreadable(list, found), Some(error)),
        };
        let at = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        self.by_address.insert(found.at, at);
        self.records.push(record);
        match error {
            Some(error) => self.leave_out(found.at, error.code(), error),
            None => Ok(()),
        }
    }

    /// Looks at a task whose object was read.
    fn look_at(&mut self, list: u32, task: RawTask) -> Result<Record, DecodeError> {
        self.reader.keep(BYTES_PER_TASK)?;
        let name = self.look_at_name(&task)?;
        let mut record = Record {
            task,
            list,
            name,
            awaiters: Awaiters::default(),
            place: Place::UNKNOWN,
            is_alive: true,
            links_lasted: false,
        };
        if self.depth == Depth::Everything {
            record.awaiters = self.look_at_awaiters(&task)?;
            record.place = self.look_at_place(Some(list), &task)?.place;
        }
        Ok(record)
    }

    /// A task in its eager first step is executed by its thread, but no list has it yet.
    fn look_at_eager(&mut self, list: usize) -> Result<(), DecodeError> {
        let running = self.lists.get(list).map(|list| list.running_task);
        let Some(at) = running.filter(|at| at.is_plausible()) else {
            return Ok(());
        };
        if self.by_address.contains_key(&at) {
            return Ok(());
        }
        match RawTask::read(self.reader, self.layout, at) {
            // Anything else is a task that ended meanwhile, or one that is implemented in Python.
            Ok(task) if task.is_pending && task.next.is_null() => match self.check_room() {
                Ok(()) => self.record(list, task),
                Err(error) => self.leave_out(at, "limit_hit", error),
            },
            Err(error) if error.is_fatal() => Err(error),
            _ => Ok(()),
        }
    }
}

fn torn(position: Position, value: u64) -> DecodeError {
    let (what, at) = ("link of a task list", position.previous);
    DecodeError::Implausible { what, value, at }
}
