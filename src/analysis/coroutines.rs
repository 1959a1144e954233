//! Figures by coroutine: how many tasks each has, how many of them are stuck, how long they wait.

use super::finding::cut;
use crate::time::Monotonic;
use std::sync::Arc;
use std::time::Duration;

/// Coroutines of one process that have figures of their own; those of further ones are added up.
const COROUTINES_MAX: usize = 256;
/// Longer names are cut.
const NAME_CHARS_MAX: usize = 200;

/// Coroutine functions that execute another one, whose name says what the task does: those of anyio's tasks.
const WRAPPERS: [&str; 2] = ["TaskHandle._run_coro", "TaskGroup._run_wrapped_task"];

/// Whether the coroutine function with this name only executes another one.
pub(super) fn is_wrapper(function: &str) -> bool {
    WRAPPERS.contains(&function)
}

/// Figures of the tasks of one coroutine function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CoroutineFigures {
    /// Tasks that are not done.
    pub n_tasks: u64,
    /// Those that are stuck.
    pub n_stuck: u64,
    /// The longest wait of one of them.
    pub wait_max: Duration,
}

impl CoroutineFigures {
    /// Takes up the figures of other tasks.
    pub fn add(&mut self, other: &Self) {
        self.n_tasks = self.n_tasks.saturating_add(other.n_tasks);
        self.n_stuck = self.n_stuck.saturating_add(other.n_stuck);
        self.wait_max = self.wait_max.max(other.wait_max);
    }
}

/// The tasks of one coroutine function, while they are counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Group<'n> {
    pub(super) name: &'n str,
    pub(super) figures: CoroutineFigures,
    /// Since when the longest wait lasts.
    pub(super) waits_since: Option<Monotonic>,
}

impl Group<'_> {
    /// Counts the wait of one of the tasks, which lasts since `since`.
    pub(super) fn add_wait(&mut self, since: Monotonic, now: Monotonic) {
        self.figures.wait_max = self.figures.wait_max.max(now.since(since));
        let earliest = self.waits_since.unwrap_or(since).min(since);
        self.waits_since = Some(earliest);
    }
}

/// Figures by the name of the coroutine function (the qualified one, such as `Server.serve`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coroutines {
    /// By name, in no order.
    pub by_name: Vec<(Arc<str>, CoroutineFigures)>,
    /// Of all others together.
    pub other: CoroutineFigures,
}

impl Coroutines {
    /// Keeps the coroutines with stuck tasks, with many tasks, and with long waits, in this order, which is
    /// that of `groups` afterwards.
    pub(super) fn of(groups: &mut [Group<'_>]) -> Self {
        groups.sort_unstable_by(|one, other| {
            let rank = |it: &CoroutineFigures| (it.n_stuck, it.n_tasks, it.wait_max);
            let by_rank = rank(&other.figures).cmp(&rank(&one.figures));
            by_rank.then(one.name.cmp(other.name))
        });
        let mut coroutines = Self::default();
        for (position, group) in groups.iter().enumerate() {
            if position < COROUTINES_MAX {
                let name = cut(group.name, NAME_CHARS_MAX).into();
                coroutines.by_name.push((name, group.figures));
            } else {
                coroutines.other.add(&group.figures);
            }
        }
        coroutines
    }

    /// Counts a stuck task that the groups did not hold.
    pub(super) fn add_stuck(&mut self, name: &str) {
        let mut by_name = self.by_name.iter_mut();
        let figures = by_name.find(|(it, _)| &**it == name);
        let figures = figures.map_or(&mut self.other, |(_, figures)| figures);
        figures.n_stuck = figures.n_stuck.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_coroutines_are_added_up() {
        let names: Vec<String> = (0..COROUTINES_MAX + 10).map(|n| format!("f{n}")).collect();
        let figures = |n_tasks| CoroutineFigures {
            n_tasks,
            n_stuck: 0,
            wait_max: Duration::from_secs(n_tasks),
        };
        let all = names.iter().zip(1_u64..).map(|(name, n)| Group {
            name,
            figures: figures(n),
            waits_since: None,
        });
        let mut all: Vec<Group<'_>> = all.collect();
        let coroutines = Coroutines::of(&mut all);
        assert_eq!(coroutines.by_name.len(), COROUTINES_MAX);
        assert_eq!(coroutines.other.n_tasks, (1..=10).sum::<u64>());
        assert_eq!(coroutines.other.wait_max, Duration::from_secs(10));
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(cut(&"é".repeat(200), 200), "é".repeat(200));
        assert_eq!(
            cut(&"é".repeat(201), 200),
            format!("{}...", "é".repeat(200))
        );
    }
}
