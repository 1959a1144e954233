//! Which list holds each task, and so which thread.
//!
//! That the first look met a task in a list does not prove that it belongs there: memory of tasks that
//! ended in one list is given to tasks that begin in another, and a copy of the one was taken for the
//! other. What proves it is a link, seen while both of its ends were certainly the tasks they are
//! taken for ([`super::confirm`]). Tasks that such links join are in one list, and the head among them
//! says which:
//!
//! ```text
//!   head of a list  <---  task  <---  task  <---  task
//! ```
//!
//! Where a task has ended meanwhile, the list is followed back from the next one once more.
//!
//! Links of tasks that were looked at alone ([`super::alone`]) are of another moment. Such a task belongs to
//! the thread that runs its event loop, if it was found in the list of any thread.

use super::Walk;
use super::heads::TaskList;
use crate::asyncio::task::RawTask;
use crate::cpython::DecodeError;
use crate::graph::TaskName;
use crate::ids::Tid;
use crate::memory::RemoteAddr;
use rustc_hash::FxHashSet;

/// The numbers of heads and tasks: first the heads of interpreters, then those of threads, then tasks.
struct Nodes {
    /// The heads in this order.
    lists: Vec<u32>,
}

impl Nodes {
    fn new(lists: &[TaskList]) -> Self {
        let mut numbered: Vec<(u32, &TaskList)> = (0_u32..).zip(lists).collect();
        // The tasks of a thread that ends go to its interpreter, never the other way. Where links from
        // before and after that join both heads, the lower number is right.
        numbered.sort_by_key(|(at, list)| (list.thread.is_some(), *at));
        let lists = numbered.into_iter().map(|(at, _)| at).collect();
        Self { lists }
    }

    fn head(&self, list: usize) -> Option<usize> {
        let list = u32::try_from(list).ok()?;
        self.lists.iter().position(|at| *at == list)
    }

    fn task(&self, record: usize) -> usize {
        self.lists.len().saturating_add(record)
    }

    /// The list, if the node is the head of one.
    fn list(&self, node: usize) -> Option<u32> {
        self.lists.get(node).copied()
    }
}

/// Sets of nodes that are joined by links. The node with the lowest number stands for its set.
struct Joined(Vec<u32>);

impl Joined {
    fn root(&mut self, of: usize) -> usize {
        let mut at = of;
        // Halves the way each time; a parent's number is never greater.
        while let Some(parent) = self.parent(at)
            && parent != at
        {
            let grandparent = self.parent(parent).unwrap_or(parent);
            self.set_parent(at, grandparent);
            at = grandparent;
        }
        at
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.set_parent(one.max(other), one.min(other));
    }

    fn parent(&self, of: usize) -> Option<usize> {
        usize::try_from(*self.0.get(of)?).ok()
    }

    fn set_parent(&mut self, of: usize, parent: usize) {
        if let Some(place) = self.0.get_mut(of) {
            *place = u32::try_from(parent).unwrap_or(u32::MAX);
        }
    }
}

/// How far back a task's predecessors are followed that are not known.
const STEPS_MAX: u32 = 256;
/// How often the list of threads is read that changes each time.
const ROUNDS_MAX: u32 = 6;

impl Walk<'_, '_> {
    /// Puts each task into the list that links prove it to be in. One for which there is no proof is looked for
    /// once more, and left out if it cannot be found.
    pub(super) fn find_owners(&mut self) -> Result<(), DecodeError> {
        // A task may be in the list of a thread that began meanwhile, or in one that was empty.
        self.learn_heads()?;
        self.reader.look_aside();
        self.look_at_running();
        self.reader.look_back();
        let is_used = |list: &&TaskList| list.first != list.head || !list.running_loop.is_null();
        if self.lists.iter().filter(is_used).count() <= 1 {
            return Ok(());
        }
        self.find_owners_of_python_tasks()?;
        let (nodes, mut joined) = self.join_linked();
        let mut unproven = Vec::new();
        for at in 0..self.records.len() {
            let is_native = self.is_alive(at) && !self.is_python(at);
            match nodes.list(joined.root(nodes.task(at))) {
                Some(list) => self.set_list(at, list),
                None if is_native => unproven.push(at),
                None => {}
            }
        }
        let mut located = Vec::with_capacity(unproven.len());
        for at in unproven {
            // Those that it is joined with may have been located by now.
            let known = nodes.list(joined.root(nodes.task(at)));
            let mut before = match known {
                Some(_) => Ok(Some(nodes.task(at))),
                None => Ok(None),
            };
            for _ in 0..ROUNDS_MAX {
                match before {
                    Ok(None) if self.is_alive(at) => {}
                    _ => break,
                }
                // Its list may just be changing.
                before = self.find_before(at, &nodes, &mut joined);
            }
            self.reader.look_back();
            let list = match before {
                Ok(Some(before)) => {
                    joined.join(nodes.task(at), before);
                    nodes.list(joined.root(before))
                }
                Ok(None) => None,
                Err(error) if error.is_fatal() || error.is_limit() => {
                    self.note(error.code(), "lists of tasks", error)?;
                    break;
                }
                Err(_) => None,
            };
            located.push((at, list));
        }
        self.put_into_lists(&located)
    }

    fn set_list(&mut self, record: usize, list: u32) {
        if let Some(record) = self.records.get_mut(record) {
            record.list = list;
        }
    }

    /// The lists that there are now, by their heads. Those of threads that began meanwhile are added, also where
    /// the state of another thread was.
    fn learn_heads(&mut self) -> Result<(), DecodeError> {
        for list in self.find_heads_again()?.unwrap_or_default() {
            let known = self.heads.get(&list.head).copied();
            let known = known.filter(|at| {
                let known = self.lists.get(*at);
                known.is_some_and(|known| known.tid == list.tid)
            });
            let position = known.unwrap_or(self.lists.len());
            self.heads_now.insert(list.head, position);
            if known.is_none() {
                self.lists.push(list);
            }
        }
        Ok(())
    }

    /// Puts tasks into the lists that they were found to be in, by what precedes them there. If the thread of
    /// such a list has ended by now, that may have been known of what precedes the task from before: both are
    /// their interpreter's then.
    fn put_into_lists(&mut self, located: &[(usize, Option<u32>)]) -> Result<(), DecodeError> {
        if located.is_empty() {
            return Ok(());
        }
        let now = self.settled_heads()?;
        let has_ended = |list: &TaskList| {
            let now = now.as_ref();
            now.is_some_and(|now| !now.contains(&(list.head, list.tid)))
        };
        for (at, list) in located.iter().copied() {
            if !self.is_alive(at) {
                continue;
            }
            let of_loop = self.list_by_loop(at);
            let list = list.and_then(|list| usize::try_from(list).ok()).or(of_loop);
            let list = match list {
                None => self.list_by_both(at)?,
                list => list,
            };
            let found = list.and_then(|at| Some((at, self.lists.get(at)?)));
            match found {
                Some((_, list)) if has_ended(list) => {
                    if let Some(list) = self.list_of_interpreter(list.interpreter_id) {
                        self.move_to_list(at, list);
                    }
                }
                Some((list, _)) => self.move_to_list(at, list),
                None => {
                    let task = self.records.get(at).map(|record| record.task);
                    let task_at = task.map_or(RemoteAddr::NULL, |task| task.at);
                    self.forget(at);
                    let (what, value) =
                        ("place in lists that change all the time", task_at.as_u64());
                    let error = DecodeError::Implausible {
                        what,
                        value,
                        at: task_at,
                    };
                    self.leave_out(task_at, "list_torn", error)?;
                }
            }
        }
        Ok(())
    }

    /// The heads that there are now, and the threads that have them; `None` if they change all the time. A list of
    /// threads that changes may seem to end too early.
    fn settled_heads(&mut self) -> Result<Option<FxHashSet<(RemoteAddr, Tid)>>, DecodeError> {
        let mut before = None;
        for _ in 0..ROUNDS_MAX {
            let lists = self.find_heads_again()?;
            let now = lists.map(|lists| lists.iter().map(|list| (list.head, list.tid)).collect());
            if now.is_some() && now == before {
                return Ok(now);
            }
            before = now;
        }
        Ok(None)
    }

    /// The list that a task was found in, if the thread of that list runs its loop now.
    fn list_by_both(&mut self, at: usize) -> Result<Option<usize>, DecodeError> {
        let Some((task, list)) = self
            .records
            .get(at)
            .map(|record| (record.task, record.list))
        else {
            return Ok(None);
        };
        self.reader.look_aside();
        self.look_at_running();
        let of_loop = self.list_of_loop(&task, list);
        self.reader.look_back();
        match of_loop {
            Ok(of_loop) => Ok(of_loop.filter(|of_loop| u32::try_from(*of_loop) == Ok(list))),
            Err(error) if error.is_fatal() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// The list of the thread that ran the loop of a task when it was looked at alone.
    fn list_by_loop(&self, at: usize) -> Option<usize> {
        let position = u32::try_from(at).unwrap_or(u32::MAX);
        self.alone.settled.get(&position).copied().flatten()
    }

    /// Joins what the links that were read last prove to be in one list.
    fn join_linked(&self) -> (Nodes, Joined) {
        let nodes = Nodes::new(&self.lists);
        let n_nodes = nodes.task(self.records.len());
        let mut joined = Joined((0..u32::try_from(n_nodes).unwrap_or(u32::MAX)).collect());
        for (at, record) in self.records.iter().enumerate() {
            // Links with tasks that were looked at alone are of another moment.
            if !record.is_alive || self.was_alone(at) {
                continue;
            }
            let previous = record.task.previous;
            let before = match self.heads.get(&previous) {
                Some(list) => nodes.head(*list),
                None => {
                    let known = self.record_of_node(previous);
                    let known = known.filter(|at| self.is_alive(*at) && !self.was_alone(*at));
                    known.map(|at| nodes.task(at))
                }
            };
            if let Some(before) = before {
                joined.join(nodes.task(at), before);
            }
        }
        (nodes, joined)
    }

    /// The list of the thread that runs the event loop of this task now. `list` is the one that it was found
    /// in.
    pub(super) fn list_of_loop(
        &mut self,
        task: &RawTask,
        list: u32,
    ) -> Result<Option<usize>, DecodeError> {
        let list = usize::try_from(list).ok().and_then(|at| self.lists.get(at));
        let Some((id, thread)) = list.map(|list| (list.interpreter_id, list.thread)) else {
            return Ok(None);
        };
        if task.is_python {
            let event_loop = self.event_loop_of_python(task.at)?;
            let of_loop = self.list_that_runs(id, event_loop);
            return Ok(of_loop.or_else(|| self.list_of_interpreter(id)));
        }
        // The thread of a task in the list of an interpreter has ended. Another one may run its loop.
        if thread.is_none() {
            return Ok(None);
        }
        let event_loop = self.event_loop_of(task.at)?;
        Ok(self.list_that_runs(id, event_loop))
    }

    fn list_that_runs(&self, interpreter_id: i64, event_loop: RemoteAddr) -> Option<usize> {
        let runs_it = |list: &TaskList| {
            list.interpreter_id == interpreter_id
                && list.running_loop == event_loop
                && !event_loop.is_null()
        };
        self.lists.iter().position(runs_it)
    }

    /// Which thread runs a task that no list holds is known by its event loop alone.
    fn find_owners_of_python_tasks(&mut self) -> Result<(), DecodeError> {
        if !self.has_python_tasks() {
            return Ok(());
        }
        self.reader.look_aside();
        self.look_at_running();
        for at in 0..self.records.len() {
            if !self.is_alive(at) || !self.is_python(at) {
                continue;
            }
            let Some((task, list)) = self.records.get(at).map(|it| (it.task, it.list)) else {
                continue;
            };
            let position = u32::try_from(at).unwrap_or(u32::MAX);
            let alone = self.alone.settled.get(&position).copied();
            let of_loop = match alone {
                Some(of_loop) => Ok(of_loop),
                None => self.list_of_loop(&task, list),
            };
            match of_loop {
                Ok(Some(of_loop)) if u32::try_from(of_loop) == Ok(list) => {}
                // By now it may be another one's.
                Ok(Some(list)) if alone.is_some() || self.is_still_like(at)? => {
                    self.move_to_list(at, list);
                }
                Err(error) if error.is_fatal() => return Err(error),
                // It has ended by now, and its thread is the one that it had.
                _ => {}
            }
        }
        self.reader.look_back();
        Ok(())
    }

    fn was_alone(&self, at: usize) -> bool {
        u32::try_from(at).is_ok_and(|at| self.alone.settled.contains_key(&at))
    }

    /// Follows a task's list back from where the task is now, to the first task that is known, or to the
    /// head.
    fn find_before(
        &mut self,
        at: usize,
        nodes: &Nodes,
        joined: &mut Joined,
    ) -> Result<Option<usize>, DecodeError> {
        let Some(record) = self.records.get(at) else {
            return Ok(None);
        };
        let task = record.task;
        self.reader.look_aside();
        let Some(now) = self.still_there(&task)? else {
            self.leave_out_ended(at);
            return Ok(None);
        };
        let (mut node, mut previous) = (task.at.plus(self.layout.task_node), now.previous);
        let mut found = None;
        for _ in 0..STEPS_MAX {
            if let Some(list) = self.heads_now.get(&previous) {
                found = nodes.head(*list);
                break;
            }
            let known = self.record_of_node(previous);
            let is_proven = |at: &usize| nodes.list(joined.root(nodes.task(*at))).is_some();
            if let Some(other) = known.filter(|at| self.is_alive(*at)).filter(is_proven) {
                self.reader.look_aside();
                if self.is_still_like(other)? {
                    found = Some(nodes.task(other));
                    break;
                }
            }
            // It began after the first look, or the name that it was known by was another's.
            let before = previous.minus(self.layout.task_node);
            match RawTask::read(self.reader, self.layout, before) {
                Ok(before) if before.next == node => {
                    (node, previous) = (previous, before.previous);
                }
                Err(error) if error.is_fatal() => return Err(error),
                _ => break,
            }
        }
        self.reader.look_aside();
        if self.is_still_like(at)? {
            return Ok(found);
        }
        // Another one may just stand somewhere else.
        let name = self
            .records
            .get(at)
            .map_or(TaskName::Unknown, |record| record.name);
        if !self.is_still_same(&task, name)? {
            self.leave_out_ended(at);
        }
        Ok(None)
    }
}
