//! Folding in trees: of many siblings that look alike only the first is printed in full.

use crate::graph::{ShapeIdx, Shapes, TaskIdx};
use rustc_hash::FxHashMap;

/// As many alike siblings are all printed; of more, one.
const ALIKE_MAX: usize = 10;
/// How many of the others are named.
const NAMED: usize = 5;

/// One entry of a list of siblings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sibling<T> {
    /// To be printed in full.
    One(T),
    /// Stands for tasks that look like `like`, which comes right before.
    Alike(Alike),
}

/// Tasks that are not printed because they look like one that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alike {
    /// What they look like.
    pub(super) like: TaskIdx,
    /// The first few of them.
    pub(super) named: Vec<TaskIdx>,
    /// How many they are.
    pub(super) n: u64,
    /// How many tasks they are with all that they await.
    pub(super) n_tasks: u64,
}

/// Folds siblings. `task_of` tells which of them are tasks that may be folded.
pub(super) fn fold<T>(
    siblings: Vec<T>,
    shapes: &Shapes,
    task_of: impl Fn(&T) -> Option<TaskIdx>,
) -> Vec<Sibling<T>> {
    if siblings.len() <= ALIKE_MAX {
        return siblings.into_iter().map(Sibling::One).collect();
    }
    let shape_of = |sibling: &T| {
        let task = task_of(sibling)?;
        Some((shapes.shape(task)?, task))
    };
    let mut alike: FxHashMap<ShapeIdx, Vec<TaskIdx>> = FxHashMap::default();
    for (shape, task) in siblings.iter().filter_map(shape_of) {
        alike.entry(shape).or_default().push(task);
    }
    alike.retain(|_, tasks| tasks.len() > ALIKE_MAX);
    let mut folded = Vec::new();
    for sibling in siblings {
        let shape = shape_of(&sibling).filter(|(shape, _)| alike.contains_key(shape));
        let Some((shape, task)) = shape else {
            folded.push(Sibling::One(sibling));
            continue;
        };
        let tasks = &alike[&shape];
        if tasks.first() == Some(&task) {
            let n = tasks.len() as u64 - 1;
            folded.push(Sibling::One(sibling));
            folded.push(Sibling::Alike(Alike {
                like: task,
                named: tasks.iter().skip(1).take(NAMED).copied().collect(),
                n,
                n_tasks: n.saturating_mul(shapes.n_tasks(shape)),
            }));
        }
    }
    folded
}
