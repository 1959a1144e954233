//! Since when tasks and their frames have been seen where they are.

use super::look::Moment;
use crate::graph::TaskIdx;
use crate::time::{Monotonic, Timestamp};
use rustc_hash::FxHashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// For one task since when its frames have stood at their instructions. A frame counts from when it and all
/// frames outside of it were first seen so.
#[derive(Debug, Clone)]
pub(super) struct FrameTimes {
    /// What tells frames apart, outermost first. Tasks at the same place share it.
    words: Arc<[u64]>,
    /// Up to which frame, and since when.
    runs: Vec<(usize, Monotonic)>,
}

impl FrameTimes {
    /// Of a task that is seen for the first time.
    pub(super) fn new(words: Arc<[u64]>, now: Monotonic) -> Self {
        let runs = vec![(words.len(), now)];
        Self { words, runs }
    }

    /// The task is seen with these frames. If it went on since it was seen before, its innermost frame did.
    pub(super) fn see(&mut self, words: &Arc<[u64]>, went_on: bool, now: Monotonic) {
        let is_same = Arc::ptr_eq(&self.words, words) || self.words == *words;
        let kept = match is_same {
            true if !went_on => return,
            true => words.len().saturating_sub(1),
            false => {
                let pairs = self.words.iter().zip(words.iter());
                pairs.take_while(|(before, now)| before == now).count()
            }
        };
        while let Some((end, _)) = self.runs.last_mut()
            && *end > kept
        {
            *end = kept;
            let start = self
                .runs
                .len()
                .checked_sub(2)
                .and_then(|at| self.runs.get(at));
            if start.map_or(0, |(end, _)| *end) >= kept {
                self.runs.pop();
            }
        }
        if kept < words.len() {
            self.runs.push((words.len(), now));
        }
        self.words = Arc::clone(words);
    }

    /// For how long the frames have stood there, outermost first.
    pub(super) fn ages(&self, now: Monotonic) -> Vec<(usize, Duration)> {
        let runs = self.runs.iter();
        runs.map(|(end, since)| (*end, now.since(*since))).collect()
    }
}

/// The tasks of a process, each with when it was first seen and since when its frames stand.
#[derive(Debug)]
pub(super) struct Tracks<K>(FxHashMap<K, (Monotonic, FrameTimes)>);

impl<K> Default for Tracks<K> {
    fn default() -> Self {
        Self(FxHashMap::default())
    }
}

impl<K: Hash + Eq> Tracks<K> {
    /// A task is seen with these frames. `went_on`: it ran since it was seen before.
    pub(super) fn see(&mut self, key: K, words: &Arc<[u64]>, went_on: bool, now: Monotonic) {
        let new = || (now, FrameTimes::new(Arc::clone(words), now));
        let (_, frames) = self.0.entry(key).or_insert_with(new);
        frames.see(words, went_on, now);
    }

    /// Forgets tasks.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&K) -> bool) {
        self.0.retain(|key, _| is_kept(key));
    }

    /// What is known of these.
    pub(super) fn times(&self, keys: impl Iterator<Item = K>, now: Moment) -> TaskTimes {
        let ages = keys.map(|key| match self.0.get(&key) {
            Some((first, frames)) => (now.at.since(*first), frames.ages(now.at)),
            None => (Duration::ZERO, Vec::new()),
        });
        TaskTimes::new(now.wall, ages.collect())
    }
}

/// For all tasks of a snapshot since when they and their frames have been seen.
#[derive(Debug, Clone, Default)]
pub struct TaskTimes {
    now: Timestamp,
    /// By the position of the task: its age, and those of its frames up to some number. Of those that are
    /// not there nothing is known from before.
    ages: Vec<(Duration, Vec<(usize, Duration)>)>,
}

impl TaskTimes {
    /// Of a snapshot that was taken now: of each task its age, and up to which frame, counted from the
    /// outermost one, how old the frames are.
    pub fn new(now: Timestamp, ages: Vec<(Duration, Vec<(usize, Duration)>)>) -> Self {
        Self { now, ages }
    }

    /// When the snapshot was taken.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Since when a task has been seen.
    pub fn task(&self, at: TaskIdx) -> Timestamp {
        let age = self.ages.get(at.as_usize()).map(|(age, _)| *age);
        self.now.before(age.unwrap_or_default())
    }

    /// Since when a frame of it has stood at its instruction, and all frames outside of it at theirs. The
    /// outermost frame is number 0.
    pub fn frame(&self, at: TaskIdx, number: usize) -> Timestamp {
        let runs = self.ages.get(at.as_usize()).map(|(_, runs)| runs);
        let age = runs.and_then(|runs| runs.iter().find(|(end, _)| number < *end));
        self.now.before(age.map_or(Duration::ZERO, |(_, age)| *age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    fn ages(times: &FrameTimes, now: u64) -> Vec<(usize, u64)> {
        let ages = times.ages(at(now)).into_iter();
        ages.map(|(end, age)| (end, age.as_secs())).collect()
    }

    #[test]
    fn each_frame_counts_from_when_it_and_those_outside_stood_still() {
        let words = |words: &[u64]| -> Arc<[u64]> { words.into() };
        let mut times = FrameTimes::new(words(&[1, 2, 3]), at(10));
        assert_eq!(ages(&times, 15), [(3, 5)]);
        times.see(&words(&[1, 2, 3]), false, at(20));
        assert_eq!(ages(&times, 20), [(3, 10)]);
        // The innermost one goes on, then calls something, then the outermost one goes on.
        times.see(&words(&[1, 2, 3]), true, at(30));
        assert_eq!(ages(&times, 30), [(2, 20), (3, 0)]);
        times.see(&words(&[1, 2, 4, 5]), false, at(40));
        assert_eq!(ages(&times, 40), [(2, 30), (4, 0)]);
        times.see(&words(&[1, 2, 4]), false, at(50));
        assert_eq!(ages(&times, 50), [(2, 40), (3, 10)]);
        times.see(&words(&[9, 2, 4]), false, at(60));
        assert_eq!(ages(&times, 60), [(3, 0)]);
        times.see(&words(&[]), true, at(70));
        assert_eq!(ages(&times, 70), []);
        times.see(&words(&[7]), false, at(80));
        assert_eq!(ages(&times, 90), [(1, 10)]);
    }
}
