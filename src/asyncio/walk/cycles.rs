//! Cycles of a process that runs are looked at once more. An await cycle lasts: none of its tasks can go on. But
//! what was read at different moments can look like one: a task awaited another one, and a moment later it was
//! the other way round. So all edges of a cycle must be there at the end, again and again.

use super::Walk;
use crate::cpython::DecodeError;
use crate::graph::{GraphBuilder, NewTask, StackIdx, TaskIdx, TaskName, TaskState, find_cycles};
use crate::ids::TaskId;
use crate::memory::RemoteAddr;
use rustc_hash::FxHashMap;

/// How often all edges are looked at.
const LOOKS: u32 = 3;
/// How often that starts anew after edges were left out: a target must not keep the walk here.
const ROUNDS_MAX: u32 = 32;
/// Edges that are looked at.
const EDGES_MAX: usize = 4_096;

/// The record of the awaited task, and that of the awaiter.
pub(super) type Edge = (u32, u32);

impl Walk<'_, '_> {
    /// Leaves out edges of cycles that are not there any more. Those that could not be looked at are left out too,
    /// but that is a problem: what is missing then may be there.
    pub(super) fn settle_cycles(&mut self) -> Result<(), DecodeError> {
        for _ in 0..ROUNDS_MAX {
            let edges = self.edges_of_cycles();
            let mut n_ended: usize = 0;
            for _ in 0..LOOKS {
                for edge in edges.iter().take(EDGES_MAX) {
                    let lasts = self.lasts(*edge);
                    self.reader.look_back();
                    match lasts {
                        Ok(true) => {}
                        Err(error) if error.is_fatal() || error.is_limit() => {
                            return self.leave_out_cycles(error);
                        }
                        // Whoever is in a cycle does not change.
                        Ok(false) | Err(_) => {
                            self.end_edge(*edge);
                            n_ended = n_ended.saturating_add(1);
                        }
                    }
                }
            }
            if n_ended == 0 {
                return Ok(());
            }
            // What is left may be a cycle still.
        }
        // Cycles that came to no rest are not shown: a false one would be an alert.
        self.leave_out_cycles(DecodeError::Implausible {
            what: "number of changes of cycles",
            value: u64::from(ROUNDS_MAX),
            at: RemoteAddr::NULL,
        })
    }

    /// Leaves out the edges of all cycles, as nothing is certain of them.
    fn leave_out_cycles(&mut self, error: DecodeError) -> Result<(), DecodeError> {
        self.note("edge_unsettled", "edges of cycles", error)?;
        for edge in self.edges_of_cycles() {
            self.end_edge(edge);
        }
        Ok(())
    }

    fn end_edge(&mut self, (awaited, awaiter): Edge) {
        if let Some(awaiter) = self.alive(awaiter).map(|record| record.task.at) {
            self.ended_edges.insert((awaited, awaiter));
        }
        if let Some(awaiters) = self.unnoted.get_mut(&awaited)
            && awaiters.contains(&awaiter)
        {
            awaiters.retain(|at| *at != awaiter);
            self.edges_ended = self.edges_ended.saturating_add(1);
        }
    }

    /// Whether both tasks are still where they were, and the one awaits the other.
    fn lasts(&mut self, (awaited, awaiter): Edge) -> Result<bool, DecodeError> {
        let (Some(task), Some(by)) = (self.alive(awaited), self.alive(awaiter)) else {
            return Ok(false);
        };
        let (task, by) = (task.task, by.task);
        let position = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        self.reader.look_aside();
        if !self.is_still_like(position(awaiter))? || !self.is_still_like(position(awaited))? {
            return Ok(false);
        }
        let now = self.still_there(&by)?;
        if now.is_some_and(|now| now.awaits == task.at) {
            return Ok(true);
        }
        let object = self.look_at_object(&task)?;
        Ok(object.is_some_and(|(_, awaiters)| self.addresses(&awaiters).contains(&by.at)))
    }

    /// The edges between tasks that await each other, directly or not.
    pub(super) fn edges_of_cycles(&self) -> Vec<Edge> {
        let mut edges = self.edges_near_cycles();
        if edges.is_empty() {
            return edges;
        }
        let mut graph = GraphBuilder::new();
        let mut tasks: FxHashMap<u32, TaskIdx> = FxHashMap::default();
        for at in edges
            .iter()
            .flat_map(|(awaited, awaiter)| [*awaited, *awaiter])
        {
            tasks.entry(at).or_insert_with(|| {
                graph.add_task(NewTask {
                    id: TaskId(u64::from(at)),
                    name: TaskName::Unknown,
                    state: TaskState::Pending,
                    cancelling: false,
                    stack: StackIdx::EMPTY,
                    awaiting: None,
                })
            });
        }
        for (awaited, awaiter) in &edges {
            if let Some(awaited) = tasks.get(awaited) {
                graph.add_edge(*awaited, TaskId(u64::from(*awaiter)), StackIdx::EMPTY);
            }
        }
        let cycles = find_cycles(&graph.finish(), 0);
        edges.retain(|(awaited, awaiter)| {
            let both = tasks.get(awaited).zip(tasks.get(awaiter));
            both.is_some_and(|(awaited, awaiter)| cycles.is_cyclic(*awaiter, *awaited))
        });
        edges
    }

    /// The edges between tasks that are on cycles or await such tasks, directly or not: those that are left when
    /// tasks that await nothing are taken away, again and again. In most processes that is none.
    fn edges_near_cycles(&self) -> Vec<Edge> {
        let index = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        let mut n_awaited: Vec<u32> = vec![0; self.records.len()];
        let mut edges: Vec<Edge> = Vec::new();
        for (at, record) in (0_u32..).zip(&self.records) {
            if !record.is_alive {
                continue;
            }
            let noted = self.addresses(&record.awaiters).iter();
            let noted = noted.filter(|awaiter| !self.ended_edges.contains(&(at, **awaiter)));
            let noted = noted.filter_map(|awaiter| self.by_address.get(awaiter).copied());
            let unnoted = self.unnoted.get(&at).into_iter().flatten().copied();
            for awaiter in noted.chain(unnoted).filter(|at| self.alive(*at).is_some()) {
                if let Some(n_awaited) = n_awaited.get_mut(index(awaiter)) {
                    *n_awaited = n_awaited.saturating_add(1);
                }
                edges.push((at, awaiter));
            }
        }
        let awaits_none = |n_awaited: &[u32], at: &u32| n_awaited.get(index(*at)) == Some(&0);
        let all = (0_u32..).take(self.records.len());
        let mut taken: Vec<u32> = all.filter(|at| awaits_none(&n_awaited, at)).collect();
        while let Some(at) = taken.pop() {
            // The edges to one task stand together, in the order of the tasks.
            let start = edges.partition_point(|(awaited, _)| *awaited < at);
            let to_it = edges.get(start..).unwrap_or_default().iter();
            for (_, awaiter) in to_it.take_while(|(awaited, _)| *awaited == at) {
                if let Some(n_awaited) = n_awaited.get_mut(index(*awaiter)) {
                    *n_awaited = n_awaited.saturating_sub(1);
                    if *n_awaited == 0 {
                        taken.push(*awaiter);
                    }
                }
            }
        }
        let is_left = |at: &u32| !awaits_none(&n_awaited, at);
        edges.retain(|(awaited, awaiter)| is_left(awaited) && is_left(awaiter));
        edges
    }
}
