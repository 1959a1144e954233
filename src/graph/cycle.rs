//! Await cycles: which tasks wait for one another in a circle, and where to enter the graph so that
//! every task is reached.
//!
//! Tasks listed twice count once here, as their last entry. Nothing is recursive and everything is
//! linear in the graph; only the cycles that are kept cost more, and they are capped.

use super::{AwaitEdge, TaskGraph, TaskIdx, as_u32};
use rustc_hash::FxHashSet;

/// Tasks held by all kept cycles together. Nested cycles in a long chain would need its square.
const CYCLE_TASKS_MAX: usize = 1 << 20;

/// Tasks that await one another in a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// Each awaits the next, the last awaits the first. Begins with the smallest task id.
    pub tasks: Vec<TaskIdx>,
    /// The edge, awaiter then awaited, that [`Cycles::closes`] knows this cycle by.
    pub closing: (TaskIdx, TaskIdx),
}

/// The await cycles of a graph, one for each edge that closes one.
#[derive(Debug, Clone)]
pub struct Cycles {
    /// The cycles, as many as were asked for.
    pub cycles: Vec<Cycle>,
    /// How many more there are.
    pub omitted: u64,
    closing: FxHashSet<(TaskIdx, TaskIdx)>,
    components: Components,
    entries: Vec<TaskIdx>,
    finished: Vec<TaskIdx>,
}

impl Cycles {
    /// No cycle was found.
    pub fn is_empty(&self) -> bool {
        self.closing.is_empty()
    }

    /// How many there are, the omitted ones included.
    pub fn len(&self) -> usize {
        self.closing.len()
    }

    /// Whether the edge closes a cycle. Without all of these edges the graph has none.
    pub fn closes(&self, awaiter: TaskIdx, awaited: TaskIdx) -> bool {
        self.closing.contains(&(awaiter, awaited))
    }

    /// Whether the edge lies on a cycle, closing it or not.
    pub fn is_cyclic(&self, awaiter: TaskIdx, awaited: TaskIdx) -> bool {
        self.components.of[awaiter.as_usize()] == self.components.of[awaited.as_usize()]
    }

    /// How many components there are: tasks are in one component when each awaits the other,
    /// directly or not.
    pub fn n_components(&self) -> usize {
        self.components.n
    }

    /// The number of the component that the task belongs to. It is greater than the numbers of all
    /// other components that the task awaits.
    pub fn component_of(&self, graph: &TaskGraph, at: TaskIdx) -> usize {
        self.components.of[graph.entry(at).as_usize()] as usize
    }

    /// Whether this cycle of the same graph lies within the cycles that these are.
    pub fn holds(&self, graph: &TaskGraph, cycle: &Cycle) -> bool {
        if let [task] = cycle.tasks[..] {
            return self.closes(task, task);
        }
        let mut components = cycle.tasks.iter().map(|at| self.component_of(graph, *at));
        let first = components.next();
        components.all(|component| Some(component) == first)
    }

    /// Whether the task is part of a cycle.
    pub(super) fn has_cyclic_edge(&self, graph: &TaskGraph, at: TaskIdx) -> bool {
        graph
            .awaited(at)
            .any(|edge| self.is_cyclic(at, graph.entry(edge.awaited)))
    }

    /// Where to begin so that every task is reached: the tasks that no listed task awaits, and one
    /// task (the one with the smallest id) of each circle that nothing outside it awaits.
    pub fn entries(&self) -> &[TaskIdx] {
        &self.entries
    }

    /// All tasks, each after everything it awaits (closing edges apart).
    pub fn awaited_first(&self) -> &[TaskIdx] {
        &self.finished
    }
}

/// Finds the await cycles of `graph`; keeps up to `cycles_max` of them and counts the rest.
pub fn find_cycles(graph: &TaskGraph, cycles_max: usize) -> Cycles {
    find_cycles_along(Awaits { graph, among: None }, cycles_max)
}

/// The same, of those that lead along `awaits`.
pub(super) fn find_cycles_along(awaits: Awaits<'_>, cycles_max: usize) -> Cycles {
    let graph = awaits.graph;
    let components = Components::of(awaits);
    let entries = components.entries(awaits);
    let mut search = Search {
        awaits,
        cycles_max,
        tasks_kept: 0,
        mark: vec![Mark::New; graph.tasks().len()],
        path: Vec::new(),
        found: Cycles {
            cycles: Vec::new(),
            omitted: 0,
            closing: FxHashSet::default(),
            components,
            entries: Vec::new(),
            finished: Vec::new(),
        },
    };
    for entry in &entries {
        search.walk(*entry);
    }
    Cycles {
        entries,
        ..search.found
    }
}

/// The edges along which cycles are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awaits<'g> {
    pub(super) graph: &'g TaskGraph,
    /// If only some are: those between these tasks that are not loose. By the indices of their entries.
    pub(super) among: Option<&'g [bool]>,
}

impl Awaits<'_> {
    /// The next task that `awaiter` awaits, repetitions included, after so many edges were seen.
    fn next_awaited(&self, awaiter: TaskIdx, seen: &mut usize) -> Option<TaskIdx> {
        let graph = self.graph;
        let range = &graph.awaited_ranges[awaiter.as_usize()];
        let edges = &graph.awaited[range.start as usize..range.end as usize];
        while let Some(edge) = edges.get(*seen) {
            *seen += 1;
            let edge = &graph.edges[*edge as usize];
            if self.lead_along(awaiter, edge) {
                return Some(graph.entry(edge.awaited));
            }
        }
        None
    }

    /// Whether an edge is one of them.
    fn lead_along(&self, awaiter: TaskIdx, edge: &AwaitEdge) -> bool {
        self.among.is_none_or(|among| {
            !edge.is_loose
                && self.graph.entry(edge.awaited) == edge.awaited
                && among[awaiter.as_usize()]
                && among[edge.awaited.as_usize()]
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Mark {
    New,
    /// On the path, at this position.
    Open(u32),
    Done,
}

/// Depth-first search for the edges that lead back into the path.
struct Search<'g> {
    awaits: Awaits<'g>,
    cycles_max: usize,
    tasks_kept: usize,
    mark: Vec<Mark>,
    /// The tasks from the entry to here, each with the number of its awaited ones seen.
    path: Vec<(TaskIdx, usize)>,
    found: Cycles,
}

impl Search<'_> {
    fn walk(&mut self, entry: TaskIdx) {
        self.open(entry);
        while let Some((task, seen)) = self.path.last_mut() {
            let task = *task;
            match self.awaits.next_awaited(task, seen) {
                Some(awaited) => match self.mark[awaited.as_usize()] {
                    Mark::New => self.open(awaited),
                    Mark::Open(at) => self.close(at as usize, task, awaited),
                    Mark::Done => {}
                },
                None => {
                    self.mark[task.as_usize()] = Mark::Done;
                    self.found.finished.push(task);
                    self.path.pop();
                }
            }
        }
    }

    fn open(&mut self, task: TaskIdx) {
        if let Mark::New = self.mark[task.as_usize()] {
            self.mark[task.as_usize()] = Mark::Open(as_u32(self.path.len()));
            self.path.push((task, 0));
        }
    }

    fn close(&mut self, from: usize, awaiter: TaskIdx, awaited: TaskIdx) {
        if !self.found.closing.insert((awaiter, awaited)) {
            return;
        }
        let length = self.path.len() - from;
        let too_many = self.tasks_kept > 0 && self.tasks_kept + length > CYCLE_TASKS_MAX;
        if self.found.cycles.len() >= self.cycles_max || too_many {
            self.found.omitted += 1;
            return;
        }
        self.tasks_kept += length;
        let mut tasks: Vec<TaskIdx> = self.path[from..].iter().map(|(task, _)| *task).collect();
        let smallest = (0..length).min_by_key(|at| self.awaits.graph.task(tasks[*at]).id);
        tasks.rotate_left(smallest.unwrap_or(0));
        self.found.cycles.push(Cycle {
            tasks,
            closing: (awaiter, awaited),
        });
    }
}

/// The strongly connected components of the graph: tasks are in one when each awaits the other,
/// directly or not.
#[derive(Debug, Clone)]
struct Components {
    of: Vec<u32>,
    n: usize,
}

impl Components {
    const NONE: u32 = u32::MAX;

    /// Tarjan's algorithm with its own stack.
    fn of(awaits: Awaits<'_>) -> Self {
        let graph = awaits.graph;
        let n_tasks = graph.tasks().len();
        let mut found = Self {
            of: vec![Self::NONE; n_tasks],
            n: 0,
        };
        // 0: not reached yet.
        let mut reached = vec![0_u32; n_tasks];
        let mut lowest = vec![0_u32; n_tasks];
        let mut n_reached = 0;
        let mut open: Vec<TaskIdx> = Vec::new();
        let mut path: Vec<(TaskIdx, usize)> = Vec::new();
        for start in graph.indices().filter(|at| graph.entry(*at) == *at) {
            if reached[start.as_usize()] != 0 {
                continue;
            }
            path.push((start, 0));
            while let Some((task, seen)) = path.last_mut() {
                let (task, at) = (*task, task.as_usize());
                if *seen == 0 && reached[at] == 0 {
                    n_reached += 1;
                    (reached[at], lowest[at]) = (n_reached, n_reached);
                    open.push(task);
                }
                if let Some(awaited) = awaits.next_awaited(task, seen) {
                    let to = awaited.as_usize();
                    if reached[to] == 0 {
                        path.push((awaited, 0));
                    } else if found.of[to] == Self::NONE {
                        lowest[at] = lowest[at].min(reached[to]);
                    }
                    continue;
                }
                path.pop();
                if let Some((awaiter, _)) = path.last() {
                    let up = awaiter.as_usize();
                    lowest[up] = lowest[up].min(lowest[at]);
                }
                if lowest[at] == reached[at] {
                    found.take(&mut open, task);
                }
            }
        }
        found
    }

    /// Makes a component of the open tasks down to `last`.
    fn take(&mut self, open: &mut Vec<TaskIdx>, last: TaskIdx) {
        while let Some(task) = open.pop() {
            self.of[task.as_usize()] = as_u32(self.n);
            if task == last {
                break;
            }
        }
        self.n += 1;
    }

    fn entries(&self, awaits: Awaits<'_>) -> Vec<TaskIdx> {
        let graph = awaits.graph;
        let mut entered = vec![false; self.n];
        for edge in graph.edges() {
            let awaited = self.of[graph.entry(edge.awaited).as_usize()];
            if let Some(awaiter) = edge.awaiter_task
                && self.of[awaiter.as_usize()] != awaited
                && awaits.lead_along(awaiter, edge)
            {
                entered[awaited as usize] = true;
            }
        }
        let mut smallest: Vec<Option<TaskIdx>> = vec![None; self.n];
        for at in graph.indices().filter(|at| graph.entry(*at) == *at) {
            let component = self.of[at.as_usize()] as usize;
            let best = &mut smallest[component];
            if best.is_none_or(|best| graph.task(at).id < graph.task(best).id) {
                *best = Some(at);
            }
        }
        let mut entries: Vec<TaskIdx> = (0..self.n)
            .filter(|component| !entered[*component])
            .filter_map(|component| smallest[component])
            .collect();
        entries.sort_unstable();
        entries
    }
}
