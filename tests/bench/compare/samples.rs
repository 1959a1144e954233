//! Numbers measured several times, and what may be said of them.

use std::time::{Duration, Instant};

/// Values of one thing, in the order in which they were measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds a time, in milliseconds.
    pub(crate) fn push_time(&mut self, time: Duration) {
        self.push(1e3 * time.as_secs_f64());
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// The value below which this part of all values lies.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let n_below = sorted
            .iter()
            .zip(1_u32..)
            .filter(|(_, n)| f64::from(*n) <= part * sorted.len() as f64);
        n_below.last().map_or(f64::NAN, |(value, _)| *value)
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The standard deviation of a sample.
    pub(crate) fn deviation(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 = self.0.iter().map(|value| (value - mean).powi(2)).sum();
        (squares / (self.0.len() as f64 - 1.0)).sqrt()
    }

    /// Half the width of the 95 % confidence interval of the mean (Student's t).
    pub(crate) fn half_width(&self) -> f64 {
        t_95(self.0.len().saturating_sub(1)) * self.deviation() / (self.0.len() as f64).sqrt()
    }

    /// "median (min)".
    pub(crate) fn median_and_min(&self) -> String {
        if self.0.is_empty() {
            return "–".to_owned();
        }
        format!("{} ({})", shown(self.median()), shown(self.min()))
    }
}

/// A number with three digits that count.
pub(crate) fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 99.5 => format!("{value:.0}"),
        size if size >= 9.95 => format!("{value:.1}"),
        size if size >= 0.995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// How often the one is the other: of the medians, and of the minima.
pub(crate) fn ratio(theirs: &Samples, ours: &Samples) -> String {
    if theirs.len() == 0 || ours.len() == 0 {
        return "–".to_owned();
    }
    format!(
        "**{}** ({})",
        shown(theirs.median() / ours.median()),
        shown(theirs.min() / ours.min())
    )
}

/// The time that a call takes, and what it gives.
pub(crate) fn timed<R>(call: impl FnOnce() -> R) -> (Duration, R) {
    let start = Instant::now();
    let result = call();
    (start.elapsed(), result)
}

/// The 97.5 % quantile of Student's t distribution.
fn t_95(degrees_of_freedom: usize) -> f64 {
    const QUANTILES: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    let at = degrees_of_freedom.checked_sub(1);
    at.map_or(f64::NAN, |at| QUANTILES.get(at).copied().unwrap_or(2.042))
}
