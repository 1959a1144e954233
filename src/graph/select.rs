//! Choosing tasks by a pattern. The pattern itself is the caller's.

use super::{StackIdx, TaskGraph, TaskIdx, TextIdx};
use crate::ids::TaskId;
use rustc_hash::FxHashMap;

/// A set of tasks of one graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    words: Vec<u64>,
    n: usize,
}

impl Selection {
    fn empty(graph: &TaskGraph) -> Self {
        Self {
            words: vec![0; graph.tasks().len().div_ceil(64)],
            n: 0,
        }
    }

    fn insert(&mut self, at: TaskIdx) -> bool {
        let word = &mut self.words[at.as_usize() / 64];
        let bit = 1 << (at.as_usize() % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        self.n += usize::from(is_new);
        is_new
    }

    /// Whether the task is in the set.
    pub fn contains(&self, at: TaskIdx) -> bool {
        self.words[at.as_usize() / 64] & (1 << (at.as_usize() % 64)) != 0
    }

    /// How many tasks are in the set.
    pub fn len(&self) -> usize {
        self.n
    }

    /// No task is in the set.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// These tasks and all that await them, directly or through others. Of a task that is listed
    /// several times all entries are in the result.
    #[must_use]
    pub fn with_awaiters(&self, graph: &TaskGraph) -> Self {
        let mut again: FxHashMap<TaskId, Vec<TaskIdx>> = FxHashMap::default();
        for at in graph.indices().filter(|at| graph.entry(*at) != *at) {
            again.entry(graph.task(at).id).or_default().push(at);
        }
        let mut all = Self::empty(graph);
        let mut todo: Vec<TaskIdx> = Vec::new();
        for at in graph.indices().filter(|at| self.contains(*at)) {
            todo.push(graph.entry(at));
            while let Some(task) = todo.pop() {
                if !all.insert(task) {
                    continue;
                }
                let others = again.get(&graph.task(task).id);
                for entry in others.into_iter().flatten().copied() {
                    all.insert(entry);
                    todo.extend(graph.awaiters(entry).iter().filter_map(|e| e.awaiter_task));
                }
                todo.extend(graph.awaiters(task).iter().filter_map(|e| e.awaiter_task));
            }
        }
        all
    }
}

/// The tasks whose name, or any function of whose coroutine stack, `matches`.
pub fn select(graph: &TaskGraph, matches: &dyn Fn(&str) -> bool) -> Selection {
    let mut selection = Selection::empty(graph);
    let mut functions: FxHashMap<TextIdx, bool> = FxHashMap::default();
    let mut stacks: FxHashMap<StackIdx, bool> = FxHashMap::default();
    for at in graph.indices() {
        let stack = graph.task(at).stack;
        let by_stack = *stacks.entry(stack).or_insert_with(|| {
            graph.stack(stack).any(|frame| {
                *functions
                    .entry(frame.function)
                    .or_insert_with(|| matches(graph.text(frame.function)))
            })
        });
        if by_stack
            || graph
                .name(at)
                .is_some_and(|name| matches(&name.to_string()))
        {
            selection.insert(at);
        }
    }
    selection
}
