//! Which snapshots are sent as spans, and how much of them: a share of all, those in which something is found,
//! and no more in a minute than is allowed. Pure: time and chance come in as arguments.
//!
//! A quarter of what a minute allows is kept for findings. Of what is free no target takes so much that nothing is
//! left for the others: at most twice as much as it leaves free.

use crate::config::SpanSettings;
use crate::spans::{OrdinaryLimits, SpanLimits};
use crate::time::Monotonic;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Seconds during which what was sent counts: a minute, and the second that it began in.
const SECONDS: u64 = 61;
/// For so long a target counts that is watched no more.
const TARGET_SECONDS: u64 = 600;
/// This part of all is kept for findings.
const RESERVED_PART: usize = 4;

/// What was sent in the latest minute.
#[derive(Debug)]
pub(super) struct Budget {
    settings: SpanSettings,
    spent: VecDeque<Spent>,
    /// When each target was last watched.
    watched: BTreeMap<Arc<str>, u64>,
}

/// What was sent in a second.
#[derive(Debug)]
struct Spent {
    second: u64,
    target: Arc<str>,
    is_finding: bool,
    amount: Amount,
}

/// Traces and spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Amount {
    pub(super) traces: usize,
    pub(super) spans: usize,
}

impl Amount {
    fn both(self, other: Self, join: impl Fn(usize, usize) -> usize) -> Self {
        Self {
            traces: join(self.traces, other.traces),
            spans: join(self.spans, other.spans),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.both(other, usize::saturating_add)
    }

    fn minus(self, other: Self) -> Self {
        self.both(other, usize::saturating_sub)
    }

    fn at_most(self, other: Self) -> Self {
        self.both(other, usize::min)
    }

    /// The limit of a minute that nothing is left of.
    pub(super) fn is_over(self) -> Option<&'static str> {
        match self {
            Self { traces: 0, .. } => Some(TRACES_LIMIT),
            Self { spans: 0, .. } => Some(SPANS_LIMIT),
            _ => None,
        }
    }
}

/// What the limits of a minute are called.
pub(super) const TRACES_LIMIT: &str = "traces_per_minute";
pub(super) const SPANS_LIMIT: &str = "spans_per_minute";

impl Budget {
    pub(super) fn new(settings: SpanSettings) -> Self {
        Self {
            settings,
            spent: VecDeque::new(),
            watched: BTreeMap::new(),
        }
    }

    /// Goes by other settings. What was sent counts on.
    pub(super) fn set(&mut self, settings: SpanSettings) {
        self.settings = settings;
    }

    /// Whether a snapshot is sent: that of a finding always, of the others those that chance, a number from
    /// 0 to 1, picks. `ratio` is that of the target, if it has one of its own.
    pub(super) fn wants(&self, has_finding: bool, chance: f64, ratio: Option<f64>) -> bool {
        has_finding || chance < ratio.unwrap_or(self.settings.ratio)
    }

    /// A target is watched.
    pub(super) fn note_watched(&mut self, target: &Arc<str>, now: Monotonic) {
        let now = second(now);
        if let Some(at) = self.watched.get_mut(target) {
            *at = now;
            return;
        }
        self.watched.retain(|_, at| *at + TARGET_SECONDS > now);
        self.watched.insert(Arc::clone(target), now);
    }

    /// What a target may send now.
    pub(super) fn limits(&mut self, target: &Arc<str>, now: Monotonic) -> SpanLimits {
        let now = second(now);
        while self
            .spent
            .front()
            .is_some_and(|it| it.second + SECONDS <= now)
        {
            self.spent.pop_front();
        }
        let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let all = Amount {
            traces: size(self.settings.traces_per_minute),
            spans: size(self.settings.spans_per_minute),
        };
        let free = all.minus(self.sum(|_| true));
        let reserve = |n: usize| (n / RESERVED_PART).max(usize::from(n > 1));
        let reserved = Amount {
            traces: reserve(all.traces),
            spans: reserve(all.spans),
        };
        let ordinary = all.minus(reserved).minus(self.sum(|it| !it.is_finding));
        let ordinary = ordinary.at_most(free);
        let own = |is_finding| self.sum(|it| it.target == *target && it.is_finding == is_finding);
        let part = |free: Amount, own: Amount| match self.watched.len() {
            0 | 1 => free,
            _ => free.both(own, part_of),
        };
        let (free, ordinary) = (part(free, own(true)), part(ordinary, own(false)));
        SpanLimits {
            traces: free.traces,
            spans: free.spans,
            spans_per_trace: size(self.settings.spans_per_trace),
            ordinary: OrdinaryLimits {
                traces: ordinary.traces,
                spans: ordinary.spans,
            },
        }
    }

    fn sum(&self, counts: impl Fn(&Spent) -> bool) -> Amount {
        let spent = self.spent.iter().filter(|it| counts(it));
        spent.fold(Amount::default(), |sum, it| sum.plus(it.amount))
    }

    /// So much was sent.
    pub(super) fn spend(
        &mut self,
        target: &Arc<str>,
        is_finding: bool,
        amount: Amount,
        now: Monotonic,
    ) {
        let second = second(now);
        let is_same = |it: &&mut Spent| {
            it.second == second && it.target == *target && it.is_finding == is_finding
        };
        match self.spent.iter_mut().rev().find(is_same) {
            Some(spent) => spent.amount = spent.amount.plus(amount),
            None => self.spent.push_back(Spent {
                second,
                target: Arc::clone(target),
                is_finding,
                amount,
            }),
        }
    }
}

fn second(at: Monotonic) -> u64 {
    at.since(Monotonic::default()).as_secs()
}

/// So much that what a target sent in a minute is then at most twice what is left free.
fn part_of(free: usize, own: usize) -> usize {
    let part = (free.saturating_mul(2).saturating_sub(own)) / 3;
    // The last one is for whoever has none.
    part.max(usize::from(own == 0)).min(free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn budget() -> Budget {
        Budget::new(SpanSettings {
            ratio: 0.25,
            traces_per_minute: 60,
            spans_per_minute: 600,
            ..SpanSettings::default()
        })
    }

    fn at(milliseconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(milliseconds))
    }

    fn amount(traces: usize, spans: usize) -> Amount {
        Amount { traces, spans }
    }

    #[test]
    fn a_share_is_sent_and_all_findings() {
        let budget = budget();
        assert!(budget.wants(false, 0.2, None) && !budget.wants(false, 0.25, None));
        assert!(budget.wants(true, 0.9, Some(0.0)));
        assert!(budget.wants(false, 0.9, Some(1.0)) && !budget.wants(false, 0.0, Some(0.0)));
    }

    #[test]
    fn no_minute_has_more_than_it_may() {
        let (mut budget, target) = (budget(), Arc::from("a"));
        let mut sent: Vec<(u64, usize)> = Vec::new();
        // Whoever takes whatever there is whenever there is some.
        for now in (0..400_000).step_by(700) {
            let limits = budget.limits(&target, at(now));
            let take = limits.traces.min(7);
            budget.spend(&target, true, amount(take, take), at(now));
            sent.push((now, take));
        }
        for (start, _) in &sent {
            let in_minute = sent
                .iter()
                .filter(|(at, _)| (*start..start + 60_000).contains(at));
            let total: usize = in_minute.map(|(_, n)| n).sum();
            assert!(total <= 60, "{total} from {start}");
        }
        let total: usize = sent.iter().map(|(_, n)| n).sum();
        assert!(total >= 6 * 60);
    }

    #[test]
    fn findings_have_a_reserve() {
        let (mut budget, target) = (budget(), Arc::from("a"));
        let limits = budget.limits(&target, at(0));
        assert_eq!((limits.traces, limits.spans), (60, 600));
        assert_eq!((limits.ordinary.traces, limits.ordinary.spans), (45, 450));
        budget.spend(&target, false, amount(45, 100), at(0));
        let limits = budget.limits(&target, at(10_000));
        assert_eq!((limits.traces, limits.ordinary.traces), (15, 0));
        assert_eq!((limits.spans, limits.ordinary.spans), (500, 350));
        // Findings may use what others do not.
        budget.spend(&target, true, amount(10, 400), at(10_000));
        let limits = budget.limits(&target, at(10_000));
        assert_eq!(
            (limits.traces, limits.spans, limits.ordinary.spans),
            (5, 100, 100)
        );
        assert_eq!(budget.limits(&target, at(61_000)).ordinary.traces, 45);
    }

    #[test]
    fn a_target_leaves_something_for_others() {
        let mut budget = budget();
        let targets: Vec<Arc<str>> = ["a", "b", "c"].map(Arc::from).to_vec();
        for target in &targets {
            budget.note_watched(target, at(0));
        }
        for target in &targets {
            // One that always wants all.
            for _ in 0..10 {
                let limits = budget.limits(target, at(0)).ordinary;
                let all = amount(limits.traces, limits.spans);
                budget.spend(target, false, all, at(0));
            }
            let own = budget.sum(|it| it.target == *target);
            assert!(own.traces >= 3 && own.spans >= 30, "{target} {own:?}");
        }
        assert_eq!(amount(1, 0).is_over(), Some(SPANS_LIMIT));
        assert_eq!(amount(0, 0).is_over(), Some(TRACES_LIMIT));
        assert_eq!(amount(1, 1).is_over(), None);
    }
}
