//! Which await cycles nobody can leave.
//!
//! A cycle of edges alone does not say that its tasks hang. Some wait for the first of several to end, some have
//! a timeout, and some are only noted as awaiters while they wait for something else. What decides is who can
//! go on: a task that is held by nothing can; and so can one that needs all it awaits as soon as all of that can
//! go on, or one that needs one of them as soon as one can. Whoever is left when nobody more can be let go waits
//! for good.

use super::cycle::{Awaits, Cycles, find_cycles_along};
use super::{TaskGraph, TaskIdx, TaskState};

/// The cycles among tasks that can never go on; keeps up to `cycles_max` of them and counts the rest. `None` if
/// there are none. `cycles` are the await cycles of `graph`.
pub fn find_deadlocks(graph: &TaskGraph, cycles: &Cycles, cycles_max: usize) -> Option<Cycles> {
    if cycles.is_empty() {
        return None;
    }
    let held = Held::of(graph).without_released();
    if !held.contains(&true) {
        return None;
    }
    let among = Some(held.as_slice());
    let found = find_cycles_along(Awaits { graph, among }, cycles_max);
    (!found.is_empty()).then_some(found)
}

/// Who holds whom.
struct Held<'g> {
    graph: &'g TaskGraph,
    /// For each task how many of the edges that hold it have not let go of it.
    n_edges: Vec<u32>,
}

impl<'g> Held<'g> {
    fn of(graph: &'g TaskGraph) -> Self {
        let mut n_edges = vec![0; graph.tasks().len()];
        for edge in graph.edges().iter().filter(|edge| !edge.is_loose) {
            // Of a task that is listed twice, one entry stands for both.
            if graph.entry(edge.awaited) != edge.awaited {
                continue;
            }
            if let Some(awaiter) = edge.awaiter_task
                && waits(graph, awaiter)
            {
                n_edges[awaiter.as_usize()] += 1;
            }
        }
        Self { graph, n_edges }
    }

    /// For each entry of the graph whether it is held once everybody has been let go who can be.
    fn without_released(mut self) -> Vec<bool> {
        let graph = self.graph;
        let mut held: Vec<bool> = self.n_edges.iter().map(|n| *n > 0).collect();
        let is_free = |at: &TaskIdx| graph.entry(*at) == *at && !held[at.as_usize()];
        let mut free: Vec<TaskIdx> = graph.indices().filter(is_free).collect();
        while let Some(awaited) = free.pop() {
            for edge in graph.awaiters(awaited) {
                let Some(awaiter) = edge.awaiter_task.filter(|_| !edge.is_loose) else {
                    continue;
                };
                let at = awaiter.as_usize();
                if !held[at] {
                    continue;
                }
                self.n_edges[at] = self.n_edges[at].saturating_sub(1);
                if self.n_edges[at] == 0 || graph.task(awaiter).needs_one {
                    held[at] = false;
                    free.push(awaiter);
                }
            }
        }
        held
    }
}

/// Whether the task stands in an await, so that something can hold it.
fn waits(graph: &TaskGraph, at: TaskIdx) -> bool {
    !matches!(
        graph.task(at).state,
        TaskState::Running | TaskState::Created
    )
}
