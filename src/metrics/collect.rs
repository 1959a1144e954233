//! From what the agent knows to families: one function per metric, all of them listed in [`collect`].

use super::catalog::{self, MetricDef};
use super::view::{AgentView, RoundOutcome, TargetView};
use crate::analysis::Summary;
use std::collections::BTreeMap;

/// A metric with its data points.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Which metric.
    pub def: &'static MetricDef,
    /// Its data points; may be empty.
    pub points: Vec<DataPoint>,
}

/// One number.
#[derive(Debug, Clone, PartialEq)]
pub struct DataPoint {
    /// The values of the labels, in the order of [`MetricDef::labels`].
    pub labels: Vec<String>,
    /// The number.
    pub value: f64,
}

/// All families of `view`, in the order of the catalogue.
pub fn collect(view: &AgentView) -> Vec<Family> {
    vec![
        family(&catalog::BUILD_INFO, build_info(view)),
        per_target(&catalog::SCAN_DURATION_SECONDS, view, scan_duration),
        family(&catalog::SCAN_PROBLEMS_TOTAL, problems(view)),
        per_target(&catalog::SCANS_HANGING, view, |target| {
            let n_hanging = target.processes.iter().filter(|it| it.hangs).count();
            Some(as_f64(n_hanging as u64))
        }),
        family(&catalog::SCANS_TOTAL, scans(view)),
        per_target(&catalog::AWAIT_CYCLES, view, |target| {
            sum(target, |summary| summary.n_await_cycles)
        }),
        per_target(&catalog::AWAIT_DEPTH_MAX, view, |target| {
            let depths = summaries(target).map(|summary| summary.await_depth_max);
            depths.max().map(as_f64)
        }),
        per_target(&catalog::PENDING_TASKS, view, |target| {
            sum(target, |summary| summary.n_pending_tasks)
        }),
        per_target(&catalog::SNAPSHOT_TIMESTAMP_SECONDS, view, snapshot_time),
        per_target(&catalog::TARGET_PROCESSES, view, |target| {
            Some(as_f64(target.processes.len() as u64))
        }),
        per_target(&catalog::TARGET_UP, view, |target| {
            Some(if target.is_up() { 1.0 } else { 0.0 })
        }),
    ]
}

fn family(def: &'static MetricDef, points: Vec<DataPoint>) -> Family {
    Family { def, points }
}

/// One data point for each target that has a value.
fn per_target(
    def: &'static MetricDef,
    view: &AgentView,
    value: impl Fn(&TargetView) -> Option<f64>,
) -> Family {
    let points = view.targets.iter().filter_map(|target| {
        value(target).map(|value| DataPoint {
            labels: vec![target.name.as_ref().to_owned()],
            value,
        })
    });
    family(def, points.collect())
}

/// What was found in the processes that could be read.
fn summaries(target: &TargetView) -> impl Iterator<Item = &Summary> {
    target
        .scans_latest()
        .filter_map(|scan| scan.summary.as_ref())
}

/// The sum over the processes that could be read; `None` if none could.
fn sum(target: &TargetView, figure: impl Fn(&Summary) -> u64) -> Option<f64> {
    summaries(target)
        .map(figure)
        .reduce(u64::saturating_add)
        .map(as_f64)
}

fn build_info(view: &AgentView) -> Vec<DataPoint> {
    vec![DataPoint {
        labels: vec![
            view.build.version.to_owned(),
            view.build.revision.to_owned(),
        ],
        value: 1.0,
    }]
}

fn scan_duration(target: &TargetView) -> Option<f64> {
    let slowest = target.scans_latest().map(|scan| scan.took).max();
    slowest.map(|took| took.as_secs_f64())
}

fn snapshot_time(target: &TargetView) -> Option<f64> {
    let read = target.scans_latest().filter(|scan| scan.summary.is_some());
    read.map(|scan| scan.at).min().map(|at| at.as_secs_f64())
}

/// Every code known in advance, so that the first problem is seen as an increase from 0, and those
/// met besides.
fn problems(view: &AgentView) -> Vec<DataPoint> {
    let known = catalog::PROBLEM_CODES.iter().map(|code| (*code, 0));
    let mut by_code: BTreeMap<&str, u64> = known.collect();
    by_code.extend(view.problems.iter().map(|(code, count)| (&**code, *count)));
    let points = by_code.into_iter().map(|(code, count)| DataPoint {
        labels: vec![code.to_owned()],
        value: as_f64(count),
    });
    points.collect()
}

/// Every result of every target, so that the first failure is seen as an increase from 0.
fn scans(view: &AgentView) -> Vec<DataPoint> {
    let points = view.targets.iter().flat_map(|target| {
        RoundOutcome::ALL.into_iter().map(|outcome| DataPoint {
            labels: vec![target.name.as_ref().to_owned(), outcome.as_str().to_owned()],
            value: as_f64(target.scans.count(outcome)),
        })
    });
    points.collect()
}

/// Prometheus knows only floating point numbers; counts beyond 2^53 lose their last digits.
fn as_f64(count: u64) -> f64 {
    count as f64
}
