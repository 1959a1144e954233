//! Which tasks look alike with everything they await, so that an output can show one for many.
//!
//! Two tasks have one shape when they stand in the same place in the same state, their names differ
//! in nothing but digits, and what they await has the same shapes. A task that several await, or that
//! is part of a cycle, has a shape of its own.

use super::{
    Cycles, Selection, StackIdx, TaskGraph, TaskIdx, TaskName, TaskState, TextIdx, as_u32,
};
use crate::ids::TaskId;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::hash_map::Entry;

/// A shape. Tasks with equal shapes look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShapeIdx(u32);

/// The shapes of the tasks of one graph.
#[derive(Debug)]
pub struct Shapes {
    of: Vec<Option<ShapeIdx>>,
    n_tasks: Vec<u64>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    name: u32,
    state: TaskState,
    cancelling: bool,
    stack: StackIdx,
    awaiting: Option<TextIdx>,
    unlisted: Box<[TaskId]>,
    awaited: Box<[(StackIdx, ShapeIdx)]>,
}

impl Shapes {
    /// The shapes of the tasks in `selection`, or of all.
    pub fn of(graph: &TaskGraph, cycles: &Cycles, selection: Option<&Selection>) -> Self {
        let mut shapes = Self {
            of: vec![None; graph.tasks().len()],
            n_tasks: Vec::new(),
        };
        let mut patterns = Patterns::default();
        let mut known: FxHashMap<Key, ShapeIdx> = FxHashMap::default();
        let shared = shared_tasks(graph);
        for at in cycles.awaited_first() {
            let is_out = selection.is_some_and(|selection| !selection.contains(*at));
            if is_out || shared[at.as_usize()] || cycles.has_cyclic_edge(graph, *at) {
                continue;
            }
            let Some(awaited) = shapes.awaited(graph, *at, selection) else {
                continue;
            };
            let n_tasks = awaited.iter().fold(1, |n: u64, (_, shape)| {
                n.saturating_add(shapes.n_tasks[shape.0 as usize])
            });
            let task = graph.task(*at);
            let key = Key {
                name: patterns.of(graph, *at),
                state: task.state,
                cancelling: task.cancelling,
                stack: task.stack,
                awaiting: task.awaiting,
                unlisted: unlisted_awaiters(graph, *at).collect(),
                awaited,
            };
            let next = ShapeIdx(as_u32(shapes.n_tasks.len()));
            let shape = match known.entry(key) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(free) => {
                    shapes.n_tasks.push(n_tasks);
                    *free.insert(next)
                }
            };
            shapes.of[at.as_usize()] = Some(shape);
        }
        shapes
    }

    /// The stacks and shapes of what a task awaits; `None` if one of them is like no other.
    fn awaited(
        &self,
        graph: &TaskGraph,
        at: TaskIdx,
        selection: Option<&Selection>,
    ) -> Option<Box<[(StackIdx, ShapeIdx)]>> {
        graph
            .awaited(at)
            .map(|edge| (edge.stack, graph.entry(edge.awaited)))
            .filter(|(_, task)| selection.is_none_or(|selection| selection.contains(*task)))
            .map(|(stack, task)| Some((stack, self.of[task.as_usize()]?)))
            .collect()
    }

    /// The shape of a task; `None` when it is like no other.
    pub fn shape(&self, at: TaskIdx) -> Option<ShapeIdx> {
        self.of[at.as_usize()]
    }

    /// How many tasks there are in a shape: itself and all it awaits.
    pub fn n_tasks(&self, shape: ShapeIdx) -> u64 {
        self.n_tasks[shape.0 as usize]
    }
}

/// The ids of the awaiters of a task that no list holds.
fn unlisted_awaiters(graph: &TaskGraph, at: TaskIdx) -> impl Iterator<Item = TaskId> {
    graph
        .awaiters(at)
        .iter()
        .filter(|edge| edge.awaiter_task.is_none())
        .map(|edge| edge.awaiter)
}

/// Which tasks have more than one listed awaiter, or are listed more than once.
fn shared_tasks(graph: &TaskGraph) -> Vec<bool> {
    let mut shared = vec![false; graph.tasks().len()];
    let mut awaited: FxHashSet<TaskIdx> = FxHashSet::default();
    for edge in graph.edges().iter().filter(|e| e.awaiter_task.is_some()) {
        let at = graph.entry(edge.awaited);
        if !awaited.insert(at) {
            shared[at.as_usize()] = true;
        }
    }
    for at in graph.indices().filter(|at| graph.entry(*at) != *at) {
        shared[graph.entry(at).as_usize()] = true;
    }
    shared
}

/// Names as patterns: every run of digits counts as the same.
#[derive(Default)]
struct Patterns {
    by_text: FxHashMap<TextIdx, u32>,
    by_pattern: FxHashMap<String, u32>,
}

impl Patterns {
    fn of(&mut self, graph: &TaskGraph, at: TaskIdx) -> u32 {
        match graph.task(at).name {
            TaskName::Unknown => self.pattern("\0".into()),
            TaskName::Number(_) => self.pattern("Task-0".into()),
            TaskName::Text(text) => match self.by_text.get(&text) {
                Some(known) => *known,
                None => {
                    let pattern = self.pattern(without_digits(graph.text(text)));
                    self.by_text.insert(text, pattern);
                    pattern
                }
            },
        }
    }

    fn pattern(&mut self, pattern: String) -> u32 {
        let next = as_u32(self.by_pattern.len());
        *self.by_pattern.entry(pattern).or_insert(next)
    }
}

fn without_digits(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        match (c.is_ascii_digit(), pattern.ends_with('0')) {
            (true, true) => {}
            (true, false) => pattern.push('0'),
            (false, _) => pattern.push(c),
        }
    }
    pattern
}
