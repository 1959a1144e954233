//! Which snapshots are sent as spans, and how much of them: a share of all, those in which something is found,
//! and no more in a minute than is allowed. Pure: time and chance come in as arguments.

use crate::config::SpanSettings;
use crate::spans::SpanLimits;
use crate::time::Monotonic;
use std::time::Duration;

/// A minute.
const MINUTE: Duration = Duration::from_secs(60);

/// How many traces and spans may be sent now: as many as have come together, at most those of a minute.
#[derive(Debug)]
pub(super) struct Budget {
    settings: SpanSettings,
    at: Monotonic,
    traces: f64,
    spans: f64,
}

impl Budget {
    pub(super) fn new(settings: SpanSettings, now: Monotonic) -> Self {
        Self {
            at: now,
            traces: f64::from(settings.traces_per_minute),
            spans: f64::from(settings.spans_per_minute),
            settings,
        }
    }

    /// Whether a snapshot is sent: that of a new finding always, of the others those that chance, a number from
    /// 0 to 1, picks.
    pub(super) fn wants(&self, has_new_finding: bool, chance: f64) -> bool {
        has_new_finding || chance < self.settings.ratio
    }

    /// What may be sent now.
    pub(super) fn limits(&mut self, now: Monotonic) -> SpanLimits {
        let minutes = now.since(self.at).as_secs_f64() / MINUTE.as_secs_f64();
        self.at = now;
        let fill = |left: f64, per_minute: u32| {
            let per_minute = f64::from(per_minute);
            (left + minutes * per_minute).min(per_minute)
        };
        self.traces = fill(self.traces, self.settings.traces_per_minute);
        self.spans = fill(self.spans, self.settings.spans_per_minute);
        SpanLimits {
            traces: whole(self.traces),
            spans: whole(self.spans),
            spans_per_trace: self.settings.spans_per_trace as usize,
        }
    }

    /// So much was sent.
    pub(super) fn spend(&mut self, traces: usize, spans: usize) {
        self.traces = (self.traces - traces as f64).max(0.0);
        self.spans = (self.spans - spans as f64).max(0.0);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number from 0 to some millions"
)]
fn whole(number: f64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_no_more_than_it_may() {
        let settings = SpanSettings {
            ratio: 0.25,
            traces_per_minute: 60,
            spans_per_minute: 600,
            ..SpanSettings::default()
        };
        let at = |seconds| Monotonic::new(Duration::from_secs(seconds));
        let mut budget = Budget::new(settings, at(0));
        assert!(budget.wants(false, 0.2) && !budget.wants(false, 0.25) && budget.wants(true, 0.9));
        let now = |budget: &mut Budget, seconds| {
            let limits = budget.limits(at(seconds));
            (limits.traces, limits.spans)
        };
        assert_eq!(now(&mut budget, 0), (60, 600));
        budget.spend(60, 100);
        assert_eq!(now(&mut budget, 0), (0, 500));
        assert_eq!(now(&mut budget, 1), (1, 510));
        budget.spend(1, 10_000);
        assert_eq!(now(&mut budget, 3), (2, 20));
        assert_eq!(now(&mut budget, 1_000), (60, 600));
    }
}
