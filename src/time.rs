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

    /// The point `by` earlier; at the earliest the origin.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by))
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
    pub const fn new(since_epoch: Duration) -> Self {
        Self(since_epoch)
    }

    /// The point `by` later; stays at the end of time on overflow.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// The point `by` earlier; at the earliest the epoch.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by))
    }

    /// How long after `earlier` this point is; zero when it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Time since the Unix epoch.
    pub fn since_epoch(self) -> Duration {
        self.0
    }

    /// As text: `2026-11-26T10:49:56.123Z` (RFC 3339).
    pub fn to_rfc3339(self) -> String {
        let seconds = self.0.as_secs();
        let (days, of_day) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = date_of(days);
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        let millis = self.0.subsec_millis();
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }

    /// Seconds since the Unix epoch.
    pub fn as_secs_f64(self) -> f64 {
        self.0.as_secs_f64()
    }
}

/// Year, month and day of a number of days since 1970-01-01. Years are taken to begin in March, so that the day
/// that some have more comes last; the calendar repeats after 400 years of 146 097 days.
fn date_of(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01 on.
    let days = days.saturating_add(719_468);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era.saturating_mul(400) + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_as_text() {
        let text = |seconds| Timestamp::new(Duration::from_millis(seconds)).to_rfc3339();
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(1_790_333_396_123), "2026-09-25T10:49:56.123Z");
        assert_eq!(text(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
        assert_eq!(text(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert!(Timestamp::new(Duration::MAX).to_rfc3339().ends_with('Z'));
    }
}
