//! Which task stands below which: a tree for each root task, and what of it fits into the limits.

use super::build::{Facts, SpanLimits};
use crate::graph::{TaskGraph, TaskIdx};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Frames of a task at most: the outermost and the innermost ones. Between them stands one span that says
/// how many were left out.
pub(super) const FRAMES_MAX: usize = 64;

/// The trees. Every task is in one of them, once.
pub(super) struct Layout {
    /// The tasks of each tree in the order of their distance from its root, the root first.
    pub(super) trees: Vec<Vec<TaskIdx>>,
    /// The awaiter below which a task stands; `None` for roots.
    parents: Vec<Option<TaskIdx>>,
    /// How many tasks stand below a task at once.
    n_children: Vec<usize>,
    /// What is sent.
    chosen: Vec<bool>,
}

impl Layout {
    /// The trees of a graph: below each root what it awaits, level by level. An edge that closes a cycle
    /// leads nowhere new, and puts nobody below itself.
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        let (graph, cycles) = (facts.graph, facts.cycles);
        let n_tasks = graph.tasks().len();
        let mut layout = Self {
            trees: Vec::with_capacity(cycles.entries().len()),
            parents: vec![None; n_tasks],
            n_children: vec![0; n_tasks],
            chosen: vec![false; n_tasks],
        };
        let mut is_placed = vec![false; n_tasks];
        for root in cycles.entries() {
            let mut tree = Vec::new();
            let mut queue = VecDeque::from([*root]);
            is_placed[root.as_usize()] = true;
            while let Some(at) = queue.pop_front() {
                tree.push(at);
                for edge in graph.awaited(at) {
                    let awaited = graph.entry(edge.awaited);
                    if is_placed[awaited.as_usize()] || cycles.closes(at, awaited) {
                        continue;
                    }
                    is_placed[awaited.as_usize()] = true;
                    layout.parents[awaited.as_usize()] = Some(at);
                    layout.n_children[at.as_usize()] += 1;
                    queue.push_back(awaited);
                }
            }
            layout.trees.push(tree);
        }
        layout
    }

    /// The awaiter below which a task stands; `None` for roots.
    pub(super) fn parent(&self, at: TaskIdx) -> Option<TaskIdx> {
        self.parents[at.as_usize()]
    }

    /// Whether a task is sent.
    pub(super) fn is_chosen(&self, at: TaskIdx) -> bool {
        self.chosen[at.as_usize()]
    }

    /// Chooses which tasks are sent: of a tree that is too large those that lead to a finding, then those
    /// next to the root. Gives the numbers of the trees of which something is sent: those with findings come
    /// first.
    pub(super) fn choose(&mut self, facts: &Facts<'_>, limits: &SpanLimits) -> Vec<usize> {
        let has_finding = |tree: &[TaskIdx]| tree.iter().any(|at| facts.mark(*at).is_some());
        let mut order: Vec<usize> = (0..self.trees.len()).collect();
        order.sort_by_key(|at| !has_finding(&self.trees[*at]));
        let mut left = limits.spans;
        let mut sent = Vec::new();
        for number in order {
            if sent.len() >= limits.traces {
                break;
            }
            let room = left.min(limits.spans_per_trace);
            let tree = std::mem::take(&mut self.trees[number]);
            let used = self.choose_in(&tree, facts, room);
            self.trees[number] = tree;
            if used == 0 {
                break;
            }
            left -= used;
            sent.push(number);
        }
        sent
    }

    /// Chooses tasks of a tree that make at most `room` spans; gives how many they make.
    fn choose_in(&mut self, tree: &[TaskIdx], facts: &Facts<'_>, room: usize) -> usize {
        let mut used = 0;
        let findings = tree.iter().filter(|at| facts.mark(**at).is_some());
        for finding in findings {
            let mut path = Vec::new();
            let mut next = Some(*finding);
            while let Some(at) = next.filter(|at| !self.is_chosen(*at)) {
                path.push(at);
                next = self.parent(at);
            }
            let cost = path
                .iter()
                .map(|at| self.cost(facts.graph, *at))
                .sum::<usize>();
            if used + cost <= room {
                used += cost;
                path.iter().for_each(|at| self.chosen[at.as_usize()] = true);
            }
        }
        for at in tree {
            let can_stand = self.parent(*at).is_none_or(|parent| self.is_chosen(parent));
            let cost = self.cost(facts.graph, *at);
            if can_stand && !self.is_chosen(*at) && used + cost <= room {
                used += cost;
                self.chosen[at.as_usize()] = true;
            }
        }
        used
    }

    /// Spans that a task makes at most: itself, its frames, and one that stands for what is left out below it.
    fn cost(&self, graph: &TaskGraph, at: TaskIdx) -> usize {
        let n_frames = graph.stack_frame_indices(graph.task(at).stack).len();
        let has_children = usize::from(self.n_children[at.as_usize()] > 0);
        let n_gaps = usize::from(n_frames > FRAMES_MAX);
        1 + n_frames.min(FRAMES_MAX) + n_gaps + has_children
    }

    /// What is not sent of a tree, by the tasks below which it stands.
    pub(super) fn omitted(&self, tree: &[TaskIdx]) -> FxHashMap<TaskIdx, Omitted> {
        let mut omitted: FxHashMap<TaskIdx, Omitted> = FxHashMap::default();
        // Children come after their parents.
        let mut n_below: FxHashMap<TaskIdx, usize> = FxHashMap::default();
        for at in tree.iter().rev().filter(|at| !self.is_chosen(**at)) {
            let n_tasks = 1 + n_below.get(at).copied().unwrap_or(0);
            let Some(parent) = self.parent(*at) else {
                continue;
            };
            if self.is_chosen(parent) {
                let omitted = omitted.entry(parent).or_default();
                omitted.n_awaited += 1;
                omitted.n_tasks += n_tasks;
            } else {
                *n_below.entry(parent).or_default() += n_tasks;
            }
        }
        omitted
    }
}

/// What is not sent below a task.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Omitted {
    /// Tasks that it awaits.
    pub(super) n_awaited: usize,
    /// Those, and all below them.
    pub(super) n_tasks: usize,
}
