//! Figures by coroutine: how many tasks each has, how many of them are stuck, how long they wait.

use super::finding::cut;
use std::sync::Arc;
use std::time::Duration;

/// Coroutines of one process that have figures of their own; those of further ones are added up.
const COROUTINES_MAX: usize = 256;
/// Longer names are cut.
const NAME_CHARS_MAX: usize = 200;

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

/// Figures by the name of the coroutine function (the qualified one, such as `Server.serve`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coroutines {
    /// By name, in no order.
    pub by_name: Vec<(Arc<str>, CoroutineFigures)>,
    /// Of all others together.
    pub other: CoroutineFigures,
}

impl Coroutines {
    /// Keeps the coroutines with stuck tasks, with many tasks, and with long waits, in this order.
    pub(super) fn of<'n>(figures: impl Iterator<Item = (&'n str, CoroutineFigures)>) -> Self {
        let mut figures: Vec<(&str, CoroutineFigures)> = figures.collect();
        figures.sort_unstable_by(|(name, one), (other_name, other)| {
            let rank = |it: &CoroutineFigures| (it.n_stuck, it.n_tasks, it.wait_max);
            rank(other).cmp(&rank(one)).then(name.cmp(other_name))
        });
        let mut coroutines = Self::default();
        for (position, (name, figures)) in figures.into_iter().enumerate() {
            if position < COROUTINES_MAX {
                coroutines
                    .by_name
                    .push((cut(name, NAME_CHARS_MAX).into(), figures));
            } else {
                coroutines.other.add(&figures);
            }
        }
        coroutines
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
        let all = names.iter().zip(1_u64..);
        let coroutines = Coroutines::of(all.map(|(name, n)| (name.as_str(), figures(n))));
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
