//! Points in time as values. Nothing here reads a clock: time comes in as an argument.

use std::time::Duration;

/// A point on the machine's monotonic clock, counted from an origin that only its maker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The point `since_origin` after the clock's origin.
    pub fn new(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// The point `by` later; stays at the end of time on overflow.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// How long after `earlier` this point is; zero when it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A point in wall-clock time, counted from the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// The point `since_epoch` after 1970-01-01 00:00:00 UTC.
    pub fn new(since_epoch: Duration) -> Self {
        Self(since_epoch)
    }

    /// Seconds since the Unix epoch.
    pub fn as_secs_f64(self) -> f64 {
        self.0.as_secs_f64()
    }
}
