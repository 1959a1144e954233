//! The figures of one task graph.

use crate::graph::{Cycles, TaskGraph, TaskIdx, TaskState};

/// Upper bounds of the buckets that depths are counted in; what is deeper is in one more.
pub const DEPTH_BOUNDS: [u64; 12] = [1, 2, 3, 4, 5, 7, 10, 15, 25, 50, 100, 1_000];

/// How many tasks are how deep: at place 1 those that nobody awaits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depths {
    /// Tasks by bucket, each of them in one; the last one has no upper bound.
    pub counts: [u64; DEPTH_BOUNDS.len() + 1],
    /// All depths added up.
    pub sum: u64,
}

impl Depths {
    fn add(&mut self, depth: u64) {
        let bucket = DEPTH_BOUNDS.partition_point(|bound| *bound < depth);
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(depth);
    }

    /// Takes up the tasks of another process.
    pub fn merge(&mut self, other: &Self) {
        for (count, other) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(other);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

/// Figures of one task graph. A task that several lists hold counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Tasks that are not done.
    pub n_pending_tasks: u64,
    /// Tasks that are being executed.
    pub n_running_tasks: u64,
    /// Tasks that no other task awaits.
    pub n_root_tasks: u64,
    /// Edges from an awaiter to what it awaits.
    pub n_await_edges: u64,
    /// Threads that run an event loop, or have tasks.
    pub n_event_loops: u64,
    /// Tasks on the longest chain of tasks that await each other: 1 for a task that neither awaits
    /// nor is awaited, 0 without tasks. Tasks that await each other in a circle count as one.
    pub await_depth_max: u64,
    /// How deep each task is: tasks on the longest chain of awaiters that ends with it, itself included.
    pub await_depths: Depths,
    /// Await cycles, as [`find_cycles`](crate::graph::find_cycles) counts them, confirmed or not.
    pub n_await_cycles: u64,
}

/// Works out the figures of `graph`, whose cycles are `cycles`.
pub fn summarize(graph: &TaskGraph, cycles: &Cycles) -> Summary {
    let tasks: Vec<TaskIdx> = graph
        .indices()
        .filter(|at| graph.entry(*at) == *at)
        .collect();
    let count = |is_it: &dyn Fn(TaskIdx) -> bool| {
        let n = tasks.iter().filter(|at| is_it(**at)).count();
        u64::try_from(n).unwrap_or(u64::MAX)
    };
    let n_event_loops = graph.threads().len();
    Summary {
        n_pending_tasks: count(&|_| true),
        n_running_tasks: count(&|at| graph.task(at).state == TaskState::Running),
        n_root_tasks: count(&|at| {
            let mut awaiters = graph.awaiters(at).iter();
            awaiters.all(|edge| edge.awaiter_task.is_none())
        }),
        n_await_edges: u64::try_from(graph.edges().len()).unwrap_or(u64::MAX),
        n_event_loops: u64::try_from(n_event_loops).unwrap_or(u64::MAX),
        n_await_cycles: u64::try_from(cycles.len()).unwrap_or(u64::MAX),
        ..depths(graph, cycles, tasks)
    }
}

/// The longest path over the components that ends with each. What a component awaits has a smaller
/// number, so one pass against the order of the numbers is enough.
fn depths(graph: &TaskGraph, cycles: &Cycles, mut tasks: Vec<TaskIdx>) -> Summary {
    let component_of = |at| cycles.component_of(graph, at);
    tasks.sort_by_cached_key(|at| std::cmp::Reverse(component_of(*at)));
    let mut depths: Vec<u64> = vec![1; cycles.n_components()];
    let mut summary = Summary::default();
    for task in &tasks {
        let component = component_of(*task);
        for edge in graph.awaited(*task) {
            let awaited = component_of(edge.awaited);
            if awaited != component {
                depths[awaited] = depths[awaited].max(depths[component] + 1);
            }
        }
    }
    for task in tasks {
        let depth = depths[component_of(task)];
        summary.await_depths.add(depth);
        summary.await_depth_max = summary.await_depth_max.max(depth);
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphBuilder, NewTask, StackIdx, TaskName, find_cycles};
    use crate::ids::TaskId;
    use proptest::prelude::*;

    /// A graph of tasks 0..n and edges (awaited, awaiter); awaiters from n on are in no list.
    fn graph(n_tasks: u64, edges: &[(u64, u64)]) -> TaskGraph {
        let mut builder = GraphBuilder::new();
        let tasks: Vec<_> = (0..n_tasks)
            .map(|id| {
                builder.add_task(NewTask {
                    id: TaskId(id),
                    name: TaskName::Number(id),
                    state: TaskState::Suspended,
                    cancelling: false,
                    stack: StackIdx::EMPTY,
                    awaiting: None,
                })
            })
            .collect();
        for (awaited, awaiter) in edges {
            let awaited = tasks[usize::try_from(*awaited).unwrap()];
            builder.add_edge(awaited, TaskId(*awaiter), StackIdx::EMPTY);
        }
        builder.finish()
    }

    fn figures(n_tasks: u64, edges: &[(u64, u64)]) -> (u64, u64, u64) {
        let graph = graph(n_tasks, edges);
        let summary = summarize(&graph, &find_cycles(&graph, 0));
        (
            summary.n_pending_tasks,
            summary.await_depth_max,
            summary.n_await_cycles,
        )
    }

    #[test]
    fn small_graphs() {
        assert_eq!(figures(0, &[]), (0, 0, 0));
        assert_eq!(figures(1, &[]), (1, 1, 0));
        assert_eq!(figures(1, &[(0, 9)]), (1, 1, 0));
        assert_eq!(figures(3, &[(0, 1), (1, 2)]), (3, 3, 0));
        assert_eq!(figures(3, &[(2, 1), (1, 0)]), (3, 3, 0));
        // A diamond and its shortcut.
        assert_eq!(
            figures(4, &[(0, 1), (0, 2), (1, 3), (2, 3), (0, 3)]),
            (4, 3, 0)
        );
        // A task that awaits itself, and two that await each other with one behind and one before.
        assert_eq!(figures(1, &[(0, 0)]), (1, 1, 1));
        assert_eq!(figures(4, &[(0, 1), (1, 0), (2, 0), (1, 3)]), (4, 3, 1));
    }

    #[test]
    fn long_chains_and_wide_fans_take_no_time_and_no_stack() {
        let n = 200_000;
        let chain: Vec<_> = (1..n).map(|at| (at - 1, at)).collect();
        assert_eq!(figures(n, &chain), (n, n, 0));
        let ring: Vec<_> = (0..n).map(|at| (at, (at + 1) % n)).collect();
        assert_eq!(figures(n, &ring), (n, 1, 1));
        let fan: Vec<_> = (1..n).map(|at| (0, at)).collect();
        assert_eq!(figures(n, &fan), (n, 2, 0));
        let ladder: Vec<_> = (0..60)
            .flat_map(|level| {
                let (a, b) = (2 * level, 2 * level + 1);
                [(a, a + 2), (a, b + 2), (b, a + 2), (b, b + 2)]
            })
            .collect();
        assert_eq!(figures(122, &ladder), (122, 61, 0));
    }

    /// Depth and components with a cycle the slow way: by all pairs, and by relaxation.
    fn figures_by_force(n: usize, edges: &[(u64, u64)]) -> (u64, u64) {
        let at = |id: u64| usize::try_from(id).unwrap();
        let mut reach = vec![vec![false; n]; n];
        for (awaited, awaiter) in edges {
            reach[at(*awaited)][at(*awaiter)] = true;
        }
        for k in 0..n {
            for i in 0..n {
                for j in 0..n {
                    reach[i][j] |= reach[i][k] && reach[k][j];
                }
            }
        }
        let same = |i: usize, j: usize| i == j || (reach[i][j] && reach[j][i]);
        let first = |i: usize| (0..n).find(|j| same(i, *j)).unwrap();
        let cycles = (0..n).filter(|i| first(*i) == *i && reach[*i][*i]).count();
        let mut depth = vec![1_u64; n];
        for _ in 0..n {
            for (awaited, awaiter) in edges {
                let (awaited, awaiter) = (first(at(*awaited)), first(at(*awaiter)));
                if awaited != awaiter {
                    depth[awaited] = depth[awaited].max(depth[awaiter] + 1);
                }
            }
        }
        let deepest = depth.into_iter().max().unwrap_or(0);
        (deepest, cycles as u64)
    }

    proptest! {
        #[test]
        fn agrees_with_brute_force(
            (n, edges) in (1_u64..9).prop_flat_map(|n| {
                (Just(n), proptest::collection::vec((0..n, 0..n), 0..20))
            })
        ) {
            let (_, depth, cycles) = figures(n, &edges);
            let (depth_by_force, circles) = figures_by_force(usize::try_from(n).unwrap(), &edges);
            prop_assert_eq!(depth, depth_by_force);
            // Circles that share tasks are one component and several cycles.
            prop_assert!(cycles >= circles && (cycles == 0) == (circles == 0));
        }
    }
}
