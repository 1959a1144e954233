//! Which task stands below which: a tree for each root task, and what of it fits into the limits.

use super::build::{Facts, SpanLimits};
use super::model::CutBy;
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
    /// How many tasks stand below a task at once and are not sent.
    n_missing: Vec<usize>,
    /// What is sent.
    chosen: Vec<bool>,
    /// How many frames of a task are sent, by the number of its tree.
    frames_max: Vec<usize>,
}

/// What was chosen of the trees.
pub(super) struct Chosen {
    /// The numbers of the trees of which something is sent: those of findings that are to be told come first.
    pub(super) sent: Vec<usize>,
    /// What left out the rest.
    pub(super) cut_by: CutBy,
}

impl Layout {
    /// The trees of a graph: below each root what it awaits, level by level. An edge that closes a cycle
    /// leads nowhere new, and puts nobody below itself.
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        let (graph, cycles) = (facts.graph, facts.cycles);
        let n_tasks = graph.tasks().len();
        let n_trees = cycles.entries().len();
        let mut layout = Self {
            trees: Vec::with_capacity(n_trees),
            parents: vec![None; n_tasks],
            n_missing: vec![0; n_tasks],
            chosen: vec![false; n_tasks],
            frames_max: vec![FRAMES_MAX; n_trees],
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
                    layout.n_missing[at.as_usize()] += 1;
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

    /// How many frames of a task of a tree are sent.
    pub(super) fn frames_max(&self, tree: usize) -> usize {
        self.frames_max[tree]
    }

    /// Chooses which tasks are sent. Trees of findings that are to be told have a fair part each of what there is;
    /// of the others those from the `start`-th on, so that it is not always the same ones that are left out.
    pub(super) fn choose(&mut self, facts: &Facts<'_>, limits: &SpanLimits, start: u64) -> Chosen {
        let sizes: Vec<usize> = (0..self.trees.len())
            .map(|tree| self.size(facts.graph, tree))
            .collect();
        let is_told = |tree: &[TaskIdx]| tree.iter().any(|at| facts.is_to_be_told(*at));
        let (mut told, mut others): (Vec<usize>, Vec<usize>) =
            (0..self.trees.len()).partition(|at| is_told(&self.trees[*at]));
        // What is small leaves its part to what is large.
        told.sort_by_key(|at| sizes[*at]);
        let mut choice = Choice {
            layout: self,
            facts,
            sizes,
            spans_per_trace: limits.spans_per_trace,
            chosen: Chosen {
                sent: Vec::new(),
                cut_by: CutBy::default(),
            },
        };
        let left = choice.choose_of(&told, (limits.traces, limits.spans), true);
        choice.chosen.sent.sort_unstable();
        let n_told = choice.chosen.sent.len();
        let left = (
            left.0.min(limits.ordinary.traces),
            left.1.min(limits.ordinary.spans),
        );
        let n_spans = others.iter().map(|at| choice.sizes[*at]).sum::<usize>();
        if others.len() > left.0 || n_spans > left.1 {
            let n = u64::try_from(others.len()).unwrap_or(u64::MAX).max(1);
            others.rotate_left(usize::try_from(start % n).unwrap_or(0));
        }
        choice.choose_of(&others, left, false);
        choice.chosen.sent[n_told..].sort_unstable();
        choice.chosen
    }

    /// Spans of a whole tree.
    fn size(&self, graph: &TaskGraph, tree: usize) -> usize {
        let tasks = self.trees[tree].iter();
        tasks.map(|at| own_cost(graph, *at, FRAMES_MAX)).sum()
    }

    /// Spans that come with a task: its own, and one that stands for what is left out below it; without the one
    /// that its parent needs no more.
    fn cost(&self, graph: &TaskGraph, at: TaskIdx, frames_max: usize) -> (usize, usize) {
        let has_gap = usize::from(self.n_missing[at.as_usize()] > 0);
        let is_last = self
            .parent(at)
            .is_some_and(|parent| self.is_chosen(parent) && self.n_missing[parent.as_usize()] == 1);
        (
            own_cost(graph, at, frames_max) + has_gap,
            usize::from(is_last),
        )
    }

    fn take(&mut self, at: TaskIdx) {
        self.chosen[at.as_usize()] = true;
        if let Some(parent) = self.parent(at) {
            self.n_missing[parent.as_usize()] -= 1;
        }
    }

    /// What is not sent of a tree, by the tasks below which it stands: those that are sent and next above it.
    pub(super) fn omitted(&self, tree: &[TaskIdx]) -> FxHashMap<TaskIdx, Omitted> {
        let mut omitted: FxHashMap<TaskIdx, Omitted> = FxHashMap::default();
        let mut above: FxHashMap<TaskIdx, TaskIdx> = FxHashMap::default();
        // Children come after their parents.
        for at in tree.iter().filter(|at| !self.is_chosen(**at)) {
            let Some(parent) = self.parent(*at) else {
                continue;
            };
            let is_awaited = self.is_chosen(parent);
            let sent = if is_awaited {
                Some(parent)
            } else {
                above.get(&parent).copied()
            };
            if let Some(sent) = sent {
                above.insert(*at, sent);
                let omitted = omitted.entry(sent).or_default();
                omitted.n_awaited += usize::from(is_awaited);
                omitted.n_tasks += 1;
            }
        }
        omitted
    }

    /// The task that is sent and next above one that is sent; and whether others between them are not.
    pub(super) fn above(&self, at: TaskIdx) -> Option<(TaskIdx, bool)> {
        let parent = self.parent(at)?;
        let mut next = Some(parent);
        while let Some(above) = next {
            if self.is_chosen(above) {
                return Some((above, above != parent));
            }
            next = self.parent(above);
        }
        None
    }
}

/// Spans of a task alone: itself, its frames, and one that stands for frames that are left out.
fn own_cost(graph: &TaskGraph, at: TaskIdx, frames_max: usize) -> usize {
    let n_frames = graph.stack_frame_indices(graph.task(at).stack).len();
    match n_frames > frames_max {
        true => 1 + frames_max / 2 * 2 + 1,
        false => 1 + n_frames,
    }
}

/// A choice that is being made.
struct Choice<'c, 'f> {
    layout: &'c mut Layout,
    facts: &'c Facts<'f>,
    /// Spans of each whole tree.
    sizes: Vec<usize>,
    spans_per_trace: usize,
    chosen: Chosen,
}

impl Choice<'_, '_> {
    /// Chooses of these trees, in this order; gives how many traces and spans are left.
    fn choose_of(
        &mut self,
        trees: &[usize],
        (mut traces, mut spans): (usize, usize),
        is_shared: bool,
    ) -> (usize, usize) {
        for (at, tree) in trees.iter().enumerate() {
            let cut_by = &mut self.chosen.cut_by;
            if traces == 0 {
                cut_by.traces = true;
                break;
            }
            if spans == 0 {
                cut_by.spans = true;
                break;
            }
            let parts = if is_shared {
                traces.min(trees.len() - at)
            } else {
                1
            };
            let part = (spans / parts).max(1);
            let room = part.min(self.spans_per_trace);
            cut_by.spans |= self.sizes[*tree].min(self.spans_per_trace) > part;
            let used = self.choose_in(*tree, room);
            if used > 0 {
                spans -= used;
                traces -= 1;
                self.chosen.sent.push(*tree);
            }
        }
        (traces, spans)
    }

    /// Chooses tasks of a tree that make at most `room` spans; gives how many they make.
    fn choose_in(&mut self, number: usize, room: usize) -> usize {
        let tree = std::mem::take(&mut self.layout.trees[number]);
        let is_whole = self.sizes[number] <= room;
        if !is_whole {
            // Of each task less, so that more of them are there.
            self.layout.frames_max[number] = (room / 10).clamp(2, FRAMES_MAX);
        }
        let mut part = Part {
            frames_max: self.layout.frames_max[number],
            layout: self.layout,
            graph: self.facts.graph,
            used: 0,
            room,
        };
        match is_whole {
            true => {
                tree.iter().for_each(|at| part.layout.take(*at));
                part.used = self.sizes[number];
            }
            false => part.choose(&tree, self.facts),
        }
        let used = part.used;
        self.layout.trees[number] = tree;
        used
    }
}

/// What is sent of a tree that is too large.
struct Part<'p> {
    layout: &'p mut Layout,
    graph: &'p TaskGraph,
    frames_max: usize,
    used: usize,
    room: usize,
}

impl Part<'_> {
    /// The root, the tasks of findings, what leads from one to the other, and then what is next to the root.
    fn choose(&mut self, tree: &[TaskIdx], facts: &Facts<'_>) {
        let Some(root) = tree.first() else {
            return;
        };
        if !self.add(*root) {
            return;
        }
        let with_mark = tree.iter().filter(|at| facts.mark(**at).is_some());
        let (first, more): (Vec<TaskIdx>, Vec<TaskIdx>) =
            with_mark.partition(|at| facts.is_to_be_told(**at));
        for at in first.iter().chain(&more) {
            self.add(*at);
        }
        for at in first.iter().chain(&more) {
            if self.layout.is_chosen(*at) && !self.add_path(*at) {
                break;
            }
        }
        for at in tree {
            let parent = self.layout.parent(*at);
            if parent.is_none_or(|parent| self.layout.is_chosen(parent)) {
                self.add(*at);
            }
        }
    }

    /// Adds what stands between a task and the one above it that is sent: from both ends, so that what does not
    /// fit is in the middle. Says whether all of it fits.
    fn add_path(&mut self, at: TaskIdx) -> bool {
        let mut path = VecDeque::new();
        let mut next = self.layout.parent(at);
        while let Some(above) = next.filter(|above| !self.layout.is_chosen(*above)) {
            path.push_front(above);
            next = self.layout.parent(above);
        }
        while let Some(last) = path.pop_back() {
            if !self.add(last) {
                return false;
            }
            if let Some(first) = path.pop_front()
                && !self.add(first)
            {
                return false;
            }
        }
        true
    }

    /// Adds a task if there is room for it.
    fn add(&mut self, at: TaskIdx) -> bool {
        if self.layout.is_chosen(at) {
            return true;
        }
        let (more, less) = self.layout.cost(self.graph, at, self.frames_max);
        let fits = self.used + more <= self.room + less;
        if fits {
            self.used = self.used + more - less;
            self.layout.take(at);
        }
        fits
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
