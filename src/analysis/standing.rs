//! What a snapshot came to, for the case that the process sleeps on: all that changes then is time. So a process
//! that hangs, or has nothing to do, costs next to nothing, however many tasks it has.

use super::coroutines::{Coroutines, Group};
use super::history::{Observation, Rules};
use crate::time::Monotonic;
use std::sync::Arc;
use std::time::Duration;

/// What a complete snapshot came to. Findings are not in it.
#[derive(Debug)]
pub(super) struct Standing {
    rules: Arc<Rules>,
    /// When something becomes known of a further task.
    next: Option<Monotonic>,
    n_cycles: u64,
    n_cycle_tasks: u64,
    n_stuck: u64,
    n_idle: u64,
    coroutines: Coroutines,
    /// Since when the longest wait of each of them lasts, in the same order.
    waits_since: Box<[Option<Monotonic>]>,
}

impl Standing {
    /// Of a complete snapshot with these coroutines, in the order of the observation. `None` if it has more of
    /// them than are kept.
    pub(super) fn of(
        rules: &Arc<Rules>,
        groups: &[Group<'_>],
        next: Option<Monotonic>,
        observation: &Observation,
    ) -> Option<Self> {
        let coroutines = &observation.coroutines;
        (coroutines.by_name.len() == groups.len()).then(|| Self {
            rules: Arc::clone(rules),
            next,
            n_cycles: observation.n_cycles,
            n_cycle_tasks: observation.n_cycle_tasks,
            n_stuck: observation.n_stuck,
            n_idle: observation.n_idle,
            coroutines: coroutines.clone(),
            waits_since: groups.iter().map(|group| group.waits_since).collect(),
        })
    }

    /// Whether nothing but time has changed by `now`.
    pub(super) fn holds_at(&self, rules: &Arc<Rules>, now: Monotonic) -> bool {
        Arc::ptr_eq(&self.rules, rules) && self.next.is_none_or(|next| now < next)
    }

    /// What the same snapshot would come to at `now`, without its findings.
    pub(super) fn observation_at(&self, now: Monotonic) -> Observation {
        let mut coroutines = self.coroutines.clone();
        let mut wait_max = Duration::ZERO;
        for ((_, figures), since) in coroutines.by_name.iter_mut().zip(&self.waits_since) {
            figures.wait_max = since.map_or(Duration::ZERO, |since| now.since(since));
            wait_max = wait_max.max(figures.wait_max);
        }
        Observation {
            n_cycles: self.n_cycles,
            n_cycle_tasks: self.n_cycle_tasks,
            n_stuck: self.n_stuck,
            n_idle: self.n_idle,
            wait_max,
            coroutines,
            ..Observation::default()
        }
    }
}
