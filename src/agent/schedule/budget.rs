//! The processor time that rounds may take on average, as a leaky bucket: each round fills it by what it
//! took, and it runs dry at the rate of the share. Rounds begin while it holds no more than what may be taken
//! at once.

use crate::time::Monotonic;
use std::time::Duration;

/// So much time's worth of the share may be taken at once.
const BURST: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Budget {
    /// Seconds of processor time per second.
    share: f64,
    /// What was taken and has not run out yet, in seconds, as of `as_of`.
    level: f64,
    as_of: Monotonic,
}

impl Budget {
    pub(super) fn new(share: f64) -> Self {
        Self {
            share,
            level: 0.0,
            as_of: Monotonic::default(),
        }
    }

    /// From `now` on another share.
    pub(super) fn set_share(&mut self, share: f64, now: Monotonic) {
        self.run_dry(now);
        self.share = share;
    }

    /// A round that ended at `now` took so much processor time.
    pub(super) fn take(&mut self, used: Duration, now: Monotonic) {
        self.run_dry(now);
        self.level += used.as_secs_f64();
    }

    /// When rounds may begin again; `None` if they may now.
    pub(super) fn exceeded_until(&self, now: Monotonic) -> Option<Monotonic> {
        let run_out = self.share * now.since(self.as_of).as_secs_f64();
        let too_much = self.level - run_out - self.share * BURST.as_secs_f64();
        if too_much <= 0.0 {
            return None;
        }
        // A share that is next to nothing makes it next to never.
        let wait = Duration::try_from_secs_f64(too_much / self.share).unwrap_or(Duration::MAX);
        // Rounded up, so that it is over then.
        Some(now.after(wait.saturating_add(Duration::from_millis(1))))
    }

    fn run_dry(&mut self, now: Monotonic) {
        let run_out = self.share * now.since(self.as_of).as_secs_f64();
        self.level = (self.level - run_out).max(0.0);
        self.as_of = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(s))
    }

    #[test]
    fn what_is_taken_runs_out_at_the_rate_of_the_share() {
        let mut budget = Budget::new(0.05);
        budget.take(Duration::from_millis(500), at(100));
        assert_eq!(budget.exceeded_until(at(100)), None);
        budget.take(Duration::from_millis(100), at(100));
        let until = budget.exceeded_until(at(100)).unwrap();
        assert_eq!(until.since(at(100)), Duration::from_millis(2_001));
        assert_eq!(budget.exceeded_until(until), None);
        // A greater share runs out sooner.
        budget.set_share(1.0, at(101));
        assert_eq!(budget.exceeded_until(at(101)), None);
    }

    #[test]
    fn on_average_no_more_than_the_share_is_taken() {
        let mut budget = Budget::new(0.1);
        let (mut now, mut taken) = (at(0), 0.0);
        while now < at(1_000) {
            match budget.exceeded_until(now) {
                Some(until) => now = until,
                None => {
                    now = now.after(Duration::from_millis(300));
                    budget.take(Duration::from_millis(300), now);
                    taken += 0.3;
                }
            }
        }
        let burst = 0.1 * BURST.as_secs_f64();
        assert!((95.0..=100.0 + burst + 0.3).contains(&taken), "{taken}");
    }
}
