//! Strongly connected components of a [`TaskGraph`]: the tasks that await each other in a circle
//! belong to one component, every other task is a component of its own.
//!
//! Tarjan's algorithm (1972) with a stack of its own instead of recursion; time and space are linear
//! in tasks and edges. It says what is connected, not along which path: see `cycle` for that.

use super::{TaskGraph, TaskIdx, as_u32};
use std::ops::Range;

/// The components of a graph, in an order in which awaiters come before what they await.
#[derive(Debug, Clone)]
pub struct Components {
    component_of: Vec<u32>,
    members: Vec<TaskIdx>,
    ranges: Vec<Range<u32>>,
}

impl Components {
    /// The components of `graph`. Awaiters that are not in the graph are ignored.
    pub fn of(graph: &TaskGraph) -> Self {
        let n_tasks = graph.tasks().len();
        let mut search = Search {
            graph,
            n_seen: 0,
            seen_as: vec![UNSEEN; n_tasks],
            reaches: vec![0; n_tasks],
            open: Vec::new(),
            found: Self {
                component_of: vec![UNSEEN; n_tasks],
                members: Vec::with_capacity(n_tasks),
                ranges: Vec::new(),
            },
        };
        for at in graph.indices() {
            if search.seen_as[at.as_usize()] == UNSEEN {
                search.run_from(at);
            }
        }
        search.found
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is none: the graph has no tasks.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The position of the component that the task at `at` belongs to.
    pub fn component_of(&self, at: TaskIdx) -> usize {
        self.component_of[at.as_usize()] as usize
    }

    /// The tasks of each component, awaiters' components first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[TaskIdx]> {
        self.ranges
            .iter()
            .map(|range| &self.members[range.start as usize..range.end as usize])
    }
}

/// Marks a task that the search has not reached, or that has no component yet.
const UNSEEN: u32 = u32::MAX;

struct Search<'g> {
    graph: &'g TaskGraph,
    n_seen: u32,
    /// The order in which tasks were reached.
    seen_as: Vec<u32>,
    /// The earliest task, by `seen_as`, known to be reachable.
    reaches: Vec<u32>,
    /// Tasks reached whose component is not complete.
    open: Vec<TaskIdx>,
    found: Components,
}

impl Search<'_> {
    fn enter(&mut self, at: TaskIdx) {
        self.seen_as[at.as_usize()] = self.n_seen;
        self.reaches[at.as_usize()] = self.n_seen;
        self.n_seen += 1;
        self.open.push(at);
    }

    /// Follows awaiters from `start`, depth first.
    fn run_from(&mut self, start: TaskIdx) {
        self.enter(start);
        // Each entry: a task and how many of its awaiters have been followed.
        let mut path = vec![(start, 0_usize)];
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            let Some(edge) = self.graph.awaiters(at).get(*next) else {
                path.pop();
                self.leave(at, path.last().map(|(awaited, _)| *awaited));
                continue;
            };
            *next += 1;
            let Some(awaiter) = edge.awaiter_task else {
                continue;
            };
            if self.seen_as[awaiter.as_usize()] == UNSEEN {
                self.enter(awaiter);
                path.push((awaiter, 0));
            } else if self.found.component_of[awaiter.as_usize()] == UNSEEN {
                let seen_as = self.seen_as[awaiter.as_usize()];
                let reaches = &mut self.reaches[at.as_usize()];
                *reaches = (*reaches).min(seen_as);
            }
        }
    }

    /// All awaiters of `at` are done: closes its component if it is the first task of one.
    fn leave(&mut self, at: TaskIdx, back_to: Option<TaskIdx>) {
        let reach = self.reaches[at.as_usize()];
        if let Some(awaited) = back_to {
            let reaches = &mut self.reaches[awaited.as_usize()];
            *reaches = (*reaches).min(reach);
        }
        if reach != self.seen_as[at.as_usize()] {
            return;
        }
        let component = as_u32(self.found.ranges.len());
        let start = as_u32(self.found.members.len());
        while let Some(member) = self.open.pop() {
            self.found.component_of[member.as_usize()] = component;
            self.found.members.push(member);
            if member == at {
                break;
            }
        }
        let end = as_u32(self.found.members.len());
        self.found.ranges.push(start..end);
    }
}
