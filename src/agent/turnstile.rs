//! How much somebody may have: so many requests a second, and so many at once after a while without; the same of bytes of
//! the log. Requests that are one too many are not logged one by one, but together, so that nobody fills the log.

use super::clock::Clock;
use crate::time::Monotonic;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much may pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) a_second: u32,
    pub(super) at_once: u32,
}

/// Requests a second.
pub(super) const A_SECOND_MAX: u32 = 20;
/// How many requests somebody may make.
const REQUESTS: Pace = Pace {
    a_second: A_SECOND_MAX,
    at_once: 100,
};
/// Those who ask that are kept in mind before the ones are forgotten that have not asked for a while.
const KNOWN_MAX: usize = 1_000;
/// How often it is told how many were refused.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Lets everybody pass as often as they may.
#[derive(Debug, Clone)]
pub(super) struct Turnstile<K> {
    clock: Clock,
    pace: Pace,
    known: Arc<Mutex<HashMap<K, Known>>>,
}

#[derive(Debug)]
struct Known {
    /// What may still pass at once, as of `at`.
    free: f64,
    at: Monotonic,
    /// Requests that were refused and not told yet.
    n_refused: u64,
}

impl Known {
    fn fill(&mut self, pace: Pace, now: Monotonic) {
        let passed = now.since(self.at).as_secs_f64();
        self.free = (self.free + passed * f64::from(pace.a_second)).min(pace.at_once.into());
        self.at = now;
    }
}

impl<K: Copy + Eq + Hash + Send + 'static> Turnstile<K> {
    /// For requests.
    pub(super) fn new() -> Self {
        Self::with(REQUESTS)
    }

    /// For something else.
    pub(super) fn with(pace: Pace) -> Self {
        Self {
            clock: Clock::start(),
            pace,
            known: Arc::default(),
        }
    }

    /// Whether somebody may ask once more. If not, that is counted, and `tell` is called with the count in a while. Must be
    /// called within a tokio runtime.
    pub(super) fn pass(&self, who: K, tell: impl FnOnce(u64) + Send + 'static) -> bool {
        let is_free = self.take(who, 1);
        if !is_free {
            self.refuse(who, tell);
        }
        is_free
    }

    /// Whether somebody may have so much more. If not, that is not counted.
    pub(super) fn take(&self, who: K, amount: u32) -> bool {
        self.try_take(who, amount, self.clock.now())
    }

    /// Counts a request that is refused for another reason likewise.
    pub(super) fn refuse(&self, who: K, tell: impl FnOnce(u64) + Send + 'static) {
        if !self.count_refused(who, self.clock.now()) {
            return;
        }
        let turnstile = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(TELL_EVERY).await;
            tell(turnstile.take_refused(who));
        });
    }

    fn try_take(&self, who: K, amount: u32, now: Monotonic) -> bool {
        let pace = self.pace;
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, it| {
                it.fill(pace, now);
                it.n_refused > 0 || it.free < pace.at_once.into()
            });
        }
        let known = known.entry(who).or_insert_with(|| Known::new(pace, now));
        known.fill(pace, now);
        let amount = f64::from(amount);
        let is_free = known.free >= amount;
        if is_free {
            known.free -= amount;
        }
        is_free
    }

    /// Whether this is the first one since they were told.
    fn count_refused(&self, who: K, now: Monotonic) -> bool {
        let mut known = self.known();
        let known = known
            .entry(who)
            .or_insert_with(|| Known::new(self.pace, now));
        known.n_refused += 1;
        known.n_refused == 1
    }

    fn take_refused(&self, who: K) -> u64 {
        let mut known = self.known();
        let known = known.get_mut(&who);
        known.map_or(0, |known| std::mem::take(&mut known.n_refused))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<K, Known>> {
        // Nothing in here panics half way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn new(pace: Pace, now: Monotonic) -> Self {
        Self {
            free: pace.at_once.into(),
            at: now,
            n_refused: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_passes_as_often_as_they_may() {
        let turnstile = Turnstile::new();
        let at = |ms| Monotonic::default().after(Duration::from_millis(ms));
        let n_passed = |who: u32, ms| {
            let passed = (0..1_000).filter(|_| turnstile.try_take(who, 1, at(ms)));
            passed.count()
        };
        assert_eq!(n_passed(1, 0), 100);
        assert_eq!(n_passed(2, 0), 100, "nobody takes what is another's");
        assert_eq!(n_passed(1, 40), 0);
        assert_eq!(n_passed(1, 500), 10);
        // What is larger takes more.
        assert!(turnstile.try_take(1, 60, at(30_000)));
        assert!(!turnstile.try_take(1, 60, at(30_000)));
        assert_eq!(n_passed(1, 30_000), 40);
        assert_eq!(n_passed(1, 60_000), 100);
        assert!(turnstile.count_refused(1, at(60_000)));
        assert!(!turnstile.count_refused(1, at(60_000)));
        // Whoever has not asked for a while is forgotten, unless something is still to be told of them.
        for who in 10..5_000 {
            turnstile.try_take(who, 1, at(u64::from(who) * 100_000));
        }
        assert!(turnstile.known().len() <= KNOWN_MAX + 1);
        assert_eq!(
            (turnstile.take_refused(1), turnstile.take_refused(1)),
            (2, 0)
        );
    }
}
