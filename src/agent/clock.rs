//! The only place that reads a clock.

use crate::time::{Monotonic, Timestamp};
use nix::time::ClockId;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The machine's clocks. Copies of one clock agree with each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(super) fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// Now, on the monotonic clock.
    pub(super) fn now(self) -> Monotonic {
        Monotonic::new(self.origin.elapsed())
    }

    /// The processor time that this thread has taken so far (`CLOCK_THREAD_CPUTIME_ID`,
    /// clock_gettime(2)).
    pub(super) fn taken_by_thread() -> Duration {
        let taken = ClockId::CLOCK_THREAD_CPUTIME_ID.now();
        taken.map_or(Duration::ZERO, Duration::from)
    }

    /// Now, by the clock that event loops use (`CLOCK_MONOTONIC`, clock_gettime(2)). That of one in another time
    /// namespace is put right where the process is read.
    pub(super) fn of_event_loops() -> Duration {
        let now = ClockId::CLOCK_MONOTONIC.now();
        now.map_or(Duration::ZERO, Duration::from)
    }

    /// Now, in wall-clock time. A clock set before 1970 counts as 1970.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(super) fn timestamp(self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Timestamp::new(since_epoch.unwrap_or_default())
    }

    /// Returns at `at`, or at once if that is past.
    pub(super) async fn sleep_until(self, at: Monotonic) {
        tokio::time::sleep(at.since(self.now())).await;
    }
}
