//! What the scheduler goes by: an interval, caps, and the times that follow from them.

use std::time::Duration;

/// What the scheduler goes by.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::agent) struct SchedulerSettings {
    /// Time between two discoveries.
    pub(in crate::agent) discovery_interval: Duration,
    /// Rounds at once, those that hang left out.
    pub(in crate::agent) rounds_max: usize,
    /// Rounds at once, those that hang included.
    pub(in crate::agent) rounds_hanging_max: usize,
    /// A round that takes longer hangs.
    pub(in crate::agent) hangs_after: Duration,
    /// The longest time between two rounds over a process that fails, if its interval is not longer.
    pub(in crate::agent) retry_max: Duration,
    /// Share of one core that rounds may take on average.
    pub(in crate::agent) cpu_share: f64,
}

impl SchedulerSettings {
    /// The time to the next round after `n_failures` in a row: the interval, then twice as long each
    /// time.
    pub(super) fn back_off(&self, interval: Duration, n_failures: u32) -> Duration {
        let doublings = n_failures.saturating_sub(1).min(31);
        interval
            .saturating_mul(1 << doublings)
            .min(self.retry_max.max(interval))
    }

    /// For how long a round that used so much processor time lasts, if as many processes as there are each had the same part of the
    /// share; nothing if that is no longer than the interval.
    pub(super) fn beyond_fair_part(
        &self,
        used: Duration,
        interval: Duration,
        n_processes: usize,
    ) -> Option<Duration> {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let n_processes = n_processes.max(1) as f64;
        let seconds = used.as_secs_f64() * n_processes / self.cpu_share;
        let lasts = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        (lasts > interval).then_some(lasts)
    }

    /// The time from when a round is due until it is overdue.
    pub(super) fn overdue_after(&self, interval: Duration) -> Duration {
        let two_intervals = interval.saturating_mul(2);
        two_intervals.max(self.hangs_after)
    }
}
