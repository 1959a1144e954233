//! The figures of one task graph.

use crate::graph::{Cycles, TaskGraph, TaskIdx, find_cycles};

/// Figures of one task graph. A task that several lists hold counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Tasks that are not done.
    pub n_pending_tasks: u64,
    /// Tasks on the longest chain of tasks that await each other: 1 for a task that neither awaits
    /// nor is awaited, 0 without tasks. Tasks that await each other in a circle count as one.
    pub await_depth_max: u64,
    /// Await cycles, as [`find_cycles`] counts them.
    pub n_await_cycles: u64,
}

/// Works out the figures of `graph`.
pub fn summarize(graph: &TaskGraph) -> Summary {
    let cycles = find_cycles(graph, 0);
    let tasks: Vec<TaskIdx> = graph
        .indices()
        .filter(|at| graph.entry(*at) == *at)
        .collect();
    Summary {
        n_pending_tasks: tasks.len() as u64,
        await_depth_max: await_depth_max(graph, &cycles, tasks),
        n_await_cycles: cycles.len() as u64,
    }
}

/// The longest path over the components. What a component awaits has a smaller number, so one pass
/// in the order of the numbers is enough.
fn await_depth_max(graph: &TaskGraph, cycles: &Cycles, mut tasks: Vec<TaskIdx>) -> u64 {
    let component_of = |at| cycles.component_of(graph, at);
    tasks.sort_by_cached_key(|at| component_of(*at));
    // For each component the longest chain of components that begins with it.
    let mut depths: Vec<u64> = vec![1; cycles.n_components()];
    for task in tasks {
        let component = component_of(task);
        for edge in graph.awaited(task) {
            let awaited = component_of(edge.awaited);
            if awaited != component {
                depths[component] = depths[component].max(depths[awaited] + 1);
            }
        }
    }
    depths.into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphBuilder, NewTask, StackIdx, TaskName, TaskState};
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
        let summary = summarize(&graph(n_tasks, edges));
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
