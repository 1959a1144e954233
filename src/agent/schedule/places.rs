//! Who may have one more of the places for rounds.
//!
//! A round that hangs keeps its place for as long as it likes, and a process can make every round over it
//! hang. So nobody gets all places, however many processes somebody has and however they are named:
//!
//! - A target gets a place only while more are free than its own rounds have taken. So one target takes at
//!   most half of them, several leave some, and there is one for a target that has none.
//! - The processes of a user get one only while a third as many are free as their rounds have taken; those
//!   that are not known yet, only while half as many are. So one user leaves a quarter of the places to
//!   others, and those processes of his that were read all the time get more than those that come and hang.
//! - Processes that are not known yet take three quarters of the places at most, whosever they are. So what
//!   was read all the time is still read, however many users somebody has.

use super::SchedulerSettings;
use super::event::TargetIdx;
use std::collections::BTreeMap;

/// Processes of which all or none may have the next place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) target: TargetIdx,
    /// `None`: somebody.
    pub(super) user: Option<u32>,
    /// Their latest rounds have ended, and did not hang.
    pub(super) is_known: bool,
}

/// The places that are taken.
#[derive(Debug, Default)]
pub(super) struct Places {
    all: Taken,
    targets: BTreeMap<TargetIdx, Taken>,
    users: BTreeMap<Option<u32>, Taken>,
    /// By processes that were not known when their rounds began.
    n_unknown: usize,
}

/// Places, by what the rounds in them do.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    n_running: usize,
    n_hanging: usize,
}

impl Taken {
    fn n(self) -> usize {
        self.n_running + self.n_hanging
    }

    fn of(&mut self, hangs: bool) -> &mut usize {
        match hangs {
            true => &mut self.n_hanging,
            false => &mut self.n_running,
        }
    }
}

impl Places {
    pub(super) fn take(&mut self, line: Line, hangs: bool) {
        *self.all.of(hangs) += 1;
        *self.targets.entry(line.target).or_default().of(hangs) += 1;
        *self.users.entry(line.user).or_default().of(hangs) += 1;
        self.n_unknown += usize::from(!line.is_known);
    }

    /// The opposite of [`Self::take`].
    pub(super) fn give_back(&mut self, line: Line, hangs: bool) {
        *self.all.of(hangs) -= 1;
        give_back(&mut self.targets, line.target, hangs);
        give_back(&mut self.users, line.user, hangs);
        self.n_unknown -= usize::from(!line.is_known);
    }

    /// Whether one more round over a process in this line may begin.
    pub(super) fn has_place(&self, line: Line, settings: &SchedulerSettings) -> bool {
        let n_free = settings.rounds_max.saturating_sub(self.all.n_running);
        taken(&self.targets, line.target).n_running < n_free && self.may_hang(line, settings)
    }

    /// Whether one more round over a process in this line may hang.
    pub(super) fn may_hang(&self, line: Line, settings: &SchedulerSettings) -> bool {
        let max = settings.rounds_hanging_max;
        let n_free = max.saturating_sub(self.all.n());
        let n_of_user = taken(&self.users, line.user).n();
        taken(&self.targets, line.target).n() < n_free
            && match line.is_known {
                true => n_of_user < 3 * n_free,
                false => n_of_user < 2 * n_free && self.n_unknown < max - max / 4,
            }
    }

    #[cfg(test)]
    pub(super) fn are_free(&self) -> bool {
        (self.all.n(), self.n_unknown) == (0, 0) && self.targets.is_empty() && self.users.is_empty()
    }
}

fn taken<K: Ord>(by: &BTreeMap<K, Taken>, key: K) -> Taken {
    by.get(&key).copied().unwrap_or_default()
}

fn give_back<K: Ord>(by: &mut BTreeMap<K, Taken>, key: K, hangs: bool) {
    if let Some(taken) = by.get_mut(&key) {
        *taken.of(hangs) -= 1;
        if taken.n() == 0 {
            by.remove(&key);
        }
    }
}
