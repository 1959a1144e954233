//! What is found out of the texts and stacks of a snapshot, each once: which task it is, and whether its wait counts.

use super::coroutines::is_wrapper;
use super::history::Rules;
use crate::graph::{
    Cycle, StackIdx, TaskGraph, TaskIdx, TaskName, TextIdx, is_installed, is_python,
};
use crate::ids::TaskId;
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The rules are asked about this one for a task that waits for a future in a function of an installed package.
const SITE_PACKAGES: &str = "site-packages";

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
    pub(super) is_idle: bool,
    pub(super) is_never_idle: bool,
    pub(super) is_wrapper: bool,
    /// As the path of a file: it is in Python's own library or in an installed package.
    pub(super) is_library: bool,
    /// It is in an installed package.
    pub(super) is_package: bool,
}

/// What is known of a stack, for one snapshot.
#[derive(Debug, Clone)]
pub(super) struct StackFacts {
    /// What tells its frames apart, outermost first; none unless frames are followed.
    pub(super) words: Arc<[u64]>,
    pub(super) hash: u64,
    /// The line in which they wait: the innermost frames, as far as these are of packages, and otherwise up to the first one of the
    /// program's own.
    pub(super) line: u64,
    /// The waits of tasks that stand there count.
    pub(super) counts: bool,
    /// They wait for nothing but time, or for their next turn.
    pub(super) sleeps: bool,
    /// The innermost function is the program's own: it waits for a future, not for one of asyncio's primitives.
    pub(super) is_bare: bool,
    /// Those would that are executed and stand all the same: they hold up their event loop, which is no idle wait.
    pub(super) counts_running: bool,
    /// The name of its outermost function that is no wrapper.
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
                is_idle: functions.is_idle(text),
                is_never_idle: functions.is_never_idle(text),
                is_wrapper: is_wrapper(text),
                is_library: is_python(text) || is_installed(text),
                is_package: is_installed(text),
            }
        })
    }

    pub(super) fn stack(&mut self, at: StackIdx) -> StackFacts {
        if let Some(known) = self.stacks.get(&at) {
            return known.clone();
        }
        let graph = self.graph;
        let mut all_words = Vec::new();
        let (mut hasher, mut line) = (FxHasher::default(), FxHasher::default());
        let mut is_in_package = false;
        let (mut is_included, mut is_excluded) = (false, false);
        let mut coroutine: Option<TextIdx> = None;
        // Where it waits: in a function of the program's own, and in what that calls of libraries.
        let (mut is_idle, mut is_never_idle) = (false, false);
        let (mut is_inside, mut is_bare, mut sleeps) = (true, false, false);
        for (depth, frame) in graph.stack(at).enumerate() {
            let function = self.text(frame.function);
            let file = frame.file.map(|file| self.text(file));
            let file_hash = file.map_or(0, |file| file.hash);
            let words = (function.hash, file_hash, frame.line);
            words.hash(&mut hasher);
            if self.rules.follow_frames {
                all_words.push(hash_of(words));
            }
            is_included |= function.is_included;
            is_excluded |= function.is_excluded;
            if is_inside {
                is_idle |= function.is_idle;
                is_never_idle |= function.is_never_idle;
                // What a package waits for by itself, and what ends that, only the package knows.
                is_idle |= depth == 0
                    && file.is_some_and(|file| file.is_package)
                    && self.rules.functions.is_idle(SITE_PACKAGES);
                is_inside = file.is_some_and(|file| file.is_library);
                is_in_package |= file.is_some_and(|file| file.is_package);
                if is_inside || !is_in_package {
                    words.hash(&mut line);
                }
                is_bare |= depth == 0 && !is_inside;
            }
            let is_asyncio = |file| graph.text(file).ends_with("/asyncio/tasks.py");
            sleeps |= graph.text(frame.function) == "sleep" && frame.file.is_some_and(is_asyncio);
            let inner = coroutine.filter(|_| function.is_wrapper);
            coroutine = inner.or(Some(frame.function));
        }
        all_words.reverse();
        let facts = StackFacts {
            words: all_words.into(),
            hash: hasher.finish(),
            line: line.finish(),
            counts: is_included && !is_excluded && !sleeps && (is_never_idle || !is_idle),
            sleeps,
            is_bare,
            counts_running: is_included && !is_excluded,
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
