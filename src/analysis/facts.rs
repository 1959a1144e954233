//! What is found out of the texts and stacks of a snapshot, each once: which task it is, and whether its wait counts.

use super::history::Rules;
use crate::graph::{Cycle, StackIdx, TaskGraph, TaskIdx, TaskName, TextIdx};
use crate::ids::TaskId;
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Which task it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TaskKey {
    pub(super) id: TaskId,
    /// Of its name and its coroutine.
    pub(super) words: u64,
}

/// What is known of a text, for one snapshot. Texts can be long, and stand in many frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextFacts {
    pub(super) hash: u64,
    /// What the rules say of it as the name of a function.
    pub(super) is_included: bool,
    pub(super) is_excluded: bool,
}

/// What is known of a stack, for one snapshot.
#[derive(Debug, Clone)]
pub(super) struct StackFacts {
    /// What tells its frames apart, outermost first; none unless frames are followed.
    pub(super) words: Arc<[u64]>,
    pub(super) hash: u64,
    /// The waits of tasks that stand there count.
    pub(super) counts: bool,
    /// Those would that are executed and stand all the same: they hold up their event loop, whatever they are in.
    pub(super) counts_running: bool,
    /// The name of its outermost function.
    pub(super) coroutine: Option<TextIdx>,
}

/// A snapshot, with what was found out of its texts and stacks.
pub(super) struct Facts<'g> {
    pub(super) graph: &'g TaskGraph,
    pub(super) rules: Arc<Rules>,
    pub(super) texts: FxHashMap<TextIdx, TextFacts>,
    pub(super) stacks: FxHashMap<StackIdx, StackFacts>,
}

impl<'g> Facts<'g> {
    pub(super) fn of(graph: &'g TaskGraph, rules: &Arc<Rules>) -> Self {
        Self {
            graph,
            rules: Arc::clone(rules),
            texts: FxHashMap::default(),
            stacks: FxHashMap::default(),
        }
    }

    fn text(&mut self, at: TextIdx) -> TextFacts {
        let (graph, functions) = (self.graph, &self.rules.functions);
        *self.texts.entry(at).or_insert_with(|| {
            let text = graph.text(at);
            TextFacts {
                hash: hash_of(text),
                is_included: functions.includes(text),
                is_excluded: functions.excludes(text),
            }
        })
    }

    pub(super) fn stack(&mut self, at: StackIdx) -> StackFacts {
        if let Some(known) = self.stacks.get(&at) {
            return known.clone();
        }
        let graph = self.graph;
        let mut words = Vec::new();
        let mut hasher = FxHasher::default();
        let (mut is_included, mut is_excluded) = (false, false);
        let mut coroutine = None;
        for frame in graph.stack(at) {
            let function = self.text(frame.function);
            let file = frame.file.map_or(0, |file| self.text(file).hash);
            (function.hash, file, frame.line).hash(&mut hasher);
            if self.rules.follow_frames {
                words.push(hash_of((function.hash, file, frame.line)));
            }
            // In `asyncio.sleep` it waits for nothing but time, or for its next turn.
            let is_asyncio = |file| graph.text(file).ends_with("/asyncio/tasks.py");
            let sleeps =
                graph.text(frame.function) == "sleep" && frame.file.is_some_and(is_asyncio);
            is_included |= function.is_included;
            is_excluded |= sleeps || function.is_excluded;
            coroutine = Some(frame.function);
        }
        words.reverse();
        let facts = StackFacts {
            words: words.into(),
            hash: hasher.finish(),
            counts: is_included && !is_excluded,
            counts_running: is_included,
            coroutine,
        };
        self.stacks.insert(at, facts.clone());
        facts
    }

    pub(super) fn key(&mut self, at: TaskIdx) -> TaskKey {
        let task = self.graph.task(at);
        let coroutine = self.stack(task.stack).coroutine;
        let coroutine = coroutine.map(|coroutine| self.text(coroutine).hash);
        let name = match task.name {
            TaskName::Unknown => None,
            TaskName::Number(number) => Some(number),
            TaskName::Text(text) => Some(self.text(text).hash),
        };
        TaskKey {
            id: task.id,
            words: hash_of((coroutine, name)),
        }
    }

    /// By its tasks, in whichever order.
    pub(super) fn keys_of(&mut self, cycle: &Cycle) -> Vec<TaskKey> {
        let mut keys: Vec<TaskKey> = cycle.tasks.iter().map(|at| self.key(*at)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

pub(super) fn hash_of(what: impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    what.hash(&mut hasher);
    hasher.finish()
}
