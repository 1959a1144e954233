//! Sets of awaiters, and the graph of what was confirmed.

use super::first::LOOKS_MAX;
use super::{Read, Record, Walk};
use crate::cpython::DecodeError;
use crate::graph::{NewTask, TaskIdx, TaskName, TaskState};
use crate::ids::TaskId;
use crate::memory::RemoteAddr;
use rustc_hash::FxHashSet;

impl Walk<'_, '_> {
    /// Looks again at the sets of those who await a task: they are read in two pieces, and the objects of both
    /// tasks do not prove that the pieces belong together.
    pub(super) fn confirm_awaiters(&mut self) -> Result<(), DecodeError> {
        let is_set = |at: &u32| self.alive(*at).is_some_and(|it| it.task.awaited_by_is_set);
        let n_records = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        let sets: Vec<u32> = (0..n_records).filter(is_set).collect();
        if sets.is_empty() {
            return Ok(());
        }
        self.reader.look_anew();
        for at in sets {
            let Some(task) = self.alive(at).map(|record| record.task) else {
                continue;
            };
            let mut looked = self.look_at_object(&task);
            for _ in 1..LOOKS_MAX {
                match &looked {
                    Err(error) if !error.is_fatal() && !error.is_limit() => {}
                    _ => break,
                }
                // It may just be changing.
                self.reader.look_aside();
                looked = self.look_at_object(&task);
            }
            self.reader.look_back();
            let now: FxHashSet<RemoteAddr> = match looked {
                Ok(Some((_, awaiters))) => self.addresses(&awaiters).iter().copied().collect(),
                Ok(None) => FxHashSet::default(),
                Err(error) => {
                    self.note(
                        "awaiter_unreadable",
                        &format!("awaiters of task {}", task.at),
                        error,
                    )?;
                    FxHashSet::default()
                }
            };
            let before = self.alive(at).map(|record| record.awaiters.positions());
            for address in before
                .and_then(|before| self.awaiters.get(before))
                .unwrap_or_default()
            {
                if !now.contains(address) {
                    self.ended_edges.insert((at, *address));
                }
            }
        }
        Ok(())
    }

    pub(super) fn alive(&self, at: u32) -> Option<&Record> {
        let record = self.records.get(usize::try_from(at).ok()?)?;
        record.is_alive.then_some(record)
    }

    /// Whether a task that could be read is not there any more.
    fn has_ended(&self, at: u32) -> bool {
        let record = usize::try_from(at).ok().and_then(|at| self.records.get(at));
        record.is_some_and(|record| !record.is_alive && record.name != TaskName::Unknown)
    }

    /// The graph of what counts.
    pub(super) fn build(&mut self) -> Result<Read, DecodeError> {
        let mut order: Vec<u32> = (0_u32..)
            .zip(&self.records)
            .filter(|(_, record)| record.is_alive)
            .map(|(at, _)| at)
            .collect();
        let list_of = |&at: &u32| {
            let record = usize::try_from(at).ok().and_then(|at| self.records.get(at));
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
            self.graph.set_runs_loop(list.has_loop);
            while let Some(at) = order.next_if(is_here) {
                let record = usize::try_from(at).ok().and_then(|at| self.records.get(at));
                let Some(record) = record else {
                    continue;
                };
                let place = record.place;
                let task = self.graph.add_task(NewTask {
                    id: TaskId(record.task.at.as_u64()),
                    name: record.name,
                    state: place.state,
                    cancelling: record.task.is_cancelling,
                    stack: place.stack,
                    awaiting: place.awaiting,
                });
                let awaits = record.task.awaits.as_u64();
                let turn = usize::try_from(at).ok().and_then(|at| self.turns.get(&at));
                let turn = turn.copied().unwrap_or_default();
                let footing = match place.state {
                    // What it is in changes while it holds up its event loop.
                    TaskState::Running if turn != 0 => turn,
                    _ => place.objects ^ awaits ^ turn,
                };
                self.graph.set_footing(task, footing);
                if turn != 0 {
                    self.graph.set_has_turn(task);
                }
                if self.holds.needs_one.contains(&at) {
                    self.graph.set_needs_one(task);
                }
                edges.push((task, at));
            }
        }
        self.add_all_edges(&edges)?;
        // Last of all: a limit that ends this takes nothing from the graph.
        self.find_long_waits()?;
        Ok(Read {
            graph: std::mem::take(&mut self.graph).finish(),
            problems: std::mem::take(&mut self.problems),
            n_problems: self.n_problems,
            limits_hit: self.limits_hit,
            tasks_unreadable: self.tasks_unreadable,
            tasks_counted: self.tasks_counted,
            lists_cut: self.lists_cut,
            tasks_ended: self.tasks_ended,
            edges_ended: self.edges_ended,
            restarts: self.repairs,
            is_exact: self.is_exact,
            running_loops: self.lists.iter().map(|list| u64::from(list.has_loop)).sum(),
            interpreters: std::mem::take(&mut self.interpreters),
            long_waits: std::mem::take(&mut self.long_waits),
        })
    }

    /// Adds the edges to these tasks, which have these records.
    fn add_all_edges(&mut self, tasks: &[(TaskIdx, u32)]) -> Result<(), DecodeError> {
        let unnoted = std::mem::take(&mut self.unnoted);
        self.is_awaiter = vec![false; self.records.len()];
        for (awaited, at) in tasks {
            self.note_cuts(*at)?;
            self.add_edges(*awaited, *at)?;
            for awaiter in unnoted.get(at).into_iter().flatten() {
                self.add_unnoted_edge(*awaited, *at, *awaiter);
            }
        }
        let is_awaiter = std::mem::take(&mut self.is_awaiter);
        self.find_elsewhere(tasks, &is_awaiter)
    }

    fn add_unnoted_edge(&mut self, awaited: TaskIdx, record: u32, awaiter: u32) {
        let Some(by) = self.alive(awaiter) else {
            return;
        };
        let (id, stack) = (TaskId(by.task.at.as_u64()), by.place.stack);
        self.graph.add_edge(awaited, id, stack);
        if self.holds.loose.contains(&(record, awaiter)) {
            self.graph.loosen_edge();
        }
    }

    /// Notes what caps left out of a task.
    fn note_cuts(&mut self, record: u32) -> Result<(), DecodeError> {
        let Some(record) = self.alive(record) else {
            return Ok(());
        };
        let at = record.task.at;
        let stack = self.limit(record.place.cut);
        let awaiters = self.limit(record.awaiters.cut);
        for (what, limit) in [("awaiters", awaiters), ("stack", stack)] {
            if let Some(limit) = limit {
                let what = format!("{what} of task {at}");
                self.note("limit_hit", &what, DecodeError::Limit(limit))?;
            }
        }
        Ok(())
    }

    fn add_edges(&mut self, awaited: TaskIdx, record: u32) -> Result<(), DecodeError> {
        let awaiters = self.alive(record).map(|record| record.awaiters.positions());
        for position in awaiters.unwrap_or_default() {
            let Some(address) = self.awaiters.get(position).copied() else {
                continue;
            };
            if self.ended_edges.contains(&(record, address)) {
                self.edges_ended = self.edges_ended.saturating_add(1);
                continue;
            }
            if self.alone.unsettled_edges.contains(&(record, address)) {
                self.note_unsettled_edge(record, address)?;
                continue;
            }
            let listed = self.by_address.get(&address).copied();
            let stack = match listed {
                // Whoever is there now is not the one that was seen to wait.
                Some(awaiter) => self.alive(awaiter).map(|awaiter| awaiter.place.stack),
                None => self.unlisted.get(&(record, address)).copied(),
            };
            match stack {
                Some(stack) => {
                    let awaiter = TaskId(address.as_u64());
                    self.graph.add_edge(awaited, awaiter, stack);
                    let known = listed.and_then(|at| usize::try_from(at).ok());
                    if let Some(known) = known.and_then(|at| self.is_awaiter.get_mut(at)) {
                        *known = true;
                    }
                    if listed.is_some_and(|at| self.holds.loose.contains(&(record, at))) {
                        self.graph.loosen_edge();
                    }
                }
                // What could not be read is a problem of its own.
                None if listed.is_some_and(|awaiter| self.has_ended(awaiter)) => {
                    self.edges_ended = self.edges_ended.saturating_add(1);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Notes that an edge between two tasks was left out, because it was not seen while both stayed as
    /// they are shown.
    fn note_unsettled_edge(&mut self, record: u32, awaiter: RemoteAddr) -> Result<(), DecodeError> {
        let known = self.by_address.get(&awaiter).copied();
        let (Some(record), Some(_)) = (self.alive(record), known.and_then(|at| self.alive(at)))
        else {
            return Ok(());
        };
        let (what, value, at) = ("changing awaiter", awaiter.as_u64(), record.task.at);
        let error = DecodeError::Implausible { what, value, at };
        self.note("edge_unsettled", &format!("task {at}"), error)
    }
}
