//! From what the agent knows to families: one function per metric, all of them listed in [`collect`].

use super::bound::{bound, n_series};
use super::catalog::{self, MetricDef};
use super::view::{AgentView, ProcessView, RoundOutcome, Scan, TargetView, Top, Totals};
use crate::analysis::{CoroutineFigures, DEPTH_BOUNDS, Depths, Observation, Summary};
use crate::limits::LIMITS;
use crate::sanitize::escape;
use crate::time::Timestamp;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The value of the label `coroutine` for all that have no series of their own.
pub const OTHER: &str = "other";

/// The same for those whose name is not known.
const UNKNOWN: &str = "unknown";

/// A metric with its data points.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Which metric.
    pub def: &'static MetricDef,
    /// Its data points; may be empty.
    pub points: Vec<DataPoint>,
}

/// One number, or what stands for one.
#[derive(Debug, Clone, PartialEq)]
pub struct DataPoint {
    /// The values of the labels, in the order of [`MetricDef::labels`].
    pub labels: Vec<String>,
    /// Further labels: those of the configuration, and `pid`.
    pub more: Arc<[(String, String)]>,
    /// Of a counter: when it was zero.
    pub since: Timestamp,
    /// The value.
    pub value: Value,
}

/// The value of a data point.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// Numbers counted by size.
    Histogram(Histogram),
}

/// Numbers counted by size.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Upper bounds, in order, each with how many numbers are not greater.
    pub buckets: Vec<(f64, u64)>,
    /// How many numbers there are.
    pub count: u64,
    /// All of them added up.
    pub sum: f64,
}

impl From<Depths> for Histogram {
    fn from(depths: Depths) -> Self {
        let mut count: u64 = 0;
        let mut buckets = Vec::with_capacity(DEPTH_BOUNDS.len());
        for (bound, more) in DEPTH_BOUNDS.iter().zip(depths.counts) {
            count = count.saturating_add(more);
            buckets.push((as_f64(*bound), count));
        }
        let deeper = depths.counts.last().copied().unwrap_or(0);
        Self {
            buckets,
            count: count.saturating_add(deeper),
            sum: as_f64(depths.sum),
        }
    }
}

/// Some processes of a target that have series together: all, or one.
struct Group<'v> {
    target: &'v TargetView,
    processes: &'v [Arc<ProcessView>],
    more: Arc<[(String, String)]>,
    since: Timestamp,
    totals: Totals,
    /// Figures by coroutine, and how many coroutines were added up before.
    coroutines: Vec<(Cow<'v, str>, CoroutineFigures)>,
    other: CoroutineFigures,
}

/// All families of `view`, in the order of the catalogue. If there were more series than the view allows, what
/// matters least is left out ([`bound`](super::bound)).
pub fn collect(view: &AgentView) -> Vec<Family> {
    collect_beside(view, 0)
}

/// The same where so many series are served besides.
pub fn collect_beside(view: &AgentView, n_others: usize) -> Vec<Family> {
    let mut families = collect_all(view, true);
    let all = n_series(&families);
    if view.series_max > 0 {
        let series_max = view.series_max.saturating_sub(n_others);
        bound(&mut families, series_max, || collect_all(view, false));
    }
    let folded = all.saturating_sub(n_series(&families));
    for family in &mut families {
        if family.def.name == catalog::FOLDED_SERIES.name {
            family.points = vec![point(Vec::new(), count(folded))];
        }
        if !family.def.labels.contains(&"target") {
            family
                .points
                .iter_mut()
                .for_each(|it| it.since = view.since);
        }
    }
    families
}

/// Whether series were left out of `families`, because there would have been too many.
pub fn has_folded(families: &[Family]) -> bool {
    let is_it = |family: &&Family| family.def.name == catalog::FOLDED_SERIES.name;
    let points = families.iter().find(is_it).map(|family| &family.points);
    let is_some = |point: &DataPoint| matches!(point.value, Value::Number(n) if n > 0.0);
    points.is_some_and(|points| points.iter().any(is_some))
}

impl Family {
    /// How many series it has.
    pub(super) fn n_series(&self) -> usize {
        self.points.iter().map(DataPoint::n_series).sum()
    }
}

impl DataPoint {
    /// How many series it makes.
    pub(super) fn n_series(&self) -> usize {
        match &self.value {
            Value::Number(_) => 1,
            // One for all numbers, their count and their sum.
            Value::Histogram(histogram) => histogram.buckets.len().saturating_add(3),
        }
    }
}

fn collect_all(view: &AgentView, per_process: bool) -> Vec<Family> {
    let groups = view.targets.iter();
    let groups: Vec<Group<'_>> = groups
        .flat_map(|target| groups_of(target, per_process && target.per_process))
        .collect();
    let mut families = about_agent(view, &groups);
    families.extend(about_awaits(&groups));
    families.extend(about_tasks(view, &groups));
    families
}

fn about_agent(view: &AgentView, groups: &[Group<'_>]) -> Vec<Family> {
    let one = |value: f64| vec![point(Vec::new(), value)];
    vec![
        family(&catalog::BUILD_INFO, build_info(view)),
        family(&catalog::BYTES_READ_TOTAL, one(as_f64(view.bytes_read))),
        family(&catalog::CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS, {
            one(view.config.loaded_at.as_secs_f64())
        }),
        family(&catalog::CONFIG_LAST_RELOAD_SUCCESSFUL, {
            one(if view.config.last_reload_failed {
                0.0
            } else {
                1.0
            })
        }),
        family(
            &catalog::FOLDED_COROUTINES,
            per_group(groups, |it| {
                Some(count(it.coroutines.len().saturating_sub(view.top.tasks)))
            }),
        ),
        family(&catalog::FOLDED_SERIES, one(0.0)),
        family(&catalog::HIDDEN_PROCESSES, one(count(view.n_hidden))),
        family(&catalog::LIMIT_HITS_TOTAL, limit_hits(view)),
        family(
            &catalog::LOG_LINES_LOST_TOTAL,
            one(as_f64(view.log_lines_lost)),
        ),
        family(&catalog::OTLP_DROPPED_SPANS_TOTAL, dropped_spans(view)),
        family(&catalog::OTLP_EXPORTS_TOTAL, otlp_exports(view)),
        family(&catalog::OTLP_SPANS_TOTAL, one(as_f64(view.otlp.spans))),
        family(
            &catalog::PRIVILEGED,
            one(if view.lacks.is_none() { 1.0 } else { 0.0 }),
        ),
        family(
            &catalog::SCAN_DURATION_SECONDS,
            per_target(view, scan_duration),
        ),
        family(&catalog::SCAN_PROBLEMS_TOTAL, problems(view)),
        family(
            &catalog::SCANS_HANGING,
            per_target(view, |target| {
                Some(count(target.processes.iter().filter(|it| it.hangs).count()))
            }),
        ),
        family(&catalog::SCANS_TOTAL, scans(view)),
    ]
}

fn about_awaits(groups: &[Group<'_>]) -> Vec<Family> {
    vec![
        family(&catalog::AWAIT_CYCLE_DETECTIONS_TOTAL, {
            total(groups, |it| it.cycle_detections)
        }),
        family(
            &catalog::AWAIT_CYCLE_TASKS,
            observed(groups, |it| it.n_cycle_tasks),
        ),
        family(&catalog::AWAIT_CYCLES, observed(groups, |it| it.n_cycles)),
        family(&catalog::AWAIT_DEPTH, depths(groups)),
        family(
            &catalog::AWAIT_DEPTH_MAX,
            per_group(groups, |it| {
                it.summaries()
                    .map(|summary| summary.await_depth_max)
                    .max()
                    .map(as_f64)
            }),
        ),
        family(&catalog::AWAIT_EDGES, summed(groups, |it| it.n_await_edges)),
        family(&catalog::EVENT_LOOPS, summed(groups, |it| it.n_event_loops)),
    ]
}

fn about_tasks(view: &AgentView, groups: &[Group<'_>]) -> Vec<Family> {
    vec![
        family(&catalog::IDLE_TASKS, observed(groups, |it| it.n_idle)),
        family(
            &catalog::PENDING_TASKS,
            summed(groups, |it| it.n_pending_tasks),
        ),
        family(&catalog::PROCESS_INFO, process_info(view)),
        family(&catalog::ROOT_TASKS, summed(groups, |it| it.n_root_tasks)),
        family(
            &catalog::RUNNING_TASKS,
            summed(groups, |it| it.n_running_tasks),
        ),
        family(&catalog::SNAPSHOT_COVERAGE_RATIO, {
            per_group(groups, |it| it.coverage())
        }),
        family(
            &catalog::SNAPSHOT_TIMESTAMP_SECONDS,
            per_group(groups, |it| {
                let read = it.scans().filter(|scan| scan.summary.is_some());
                read.map(|scan| scan.at).min().map(|at| at.as_secs_f64())
            }),
        ),
        family(&catalog::STUCK_TASKS, observed(groups, |it| it.n_stuck)),
        family(&catalog::STUCK_TASKS_BY_COROUTINE, {
            by_coroutine(groups, view.top, By::Stuck)
        }),
        family(&catalog::TARGET_INTERVAL_SECONDS, {
            per_target(view, |target| target.interval.map(|it| it.as_secs_f64()))
        }),
        family(&catalog::TARGET_PROCESSES, {
            per_target(view, |target| Some(count(target.processes.len())))
        }),
        family(&catalog::TARGET_UNREADABLE_PROCESSES, {
            per_target(view, |target| Some(count(target.n_unreadable())))
        }),
        family(&catalog::TARGET_UP, {
            per_target(view, |target| Some(if target.is_up() { 1.0 } else { 0.0 }))
        }),
        family(
            &catalog::TASK_WAIT_SECONDS_MAX,
            per_group(groups, |it| {
                it.observations()
                    .map(|it| it.wait_max)
                    .max()
                    .map(|wait| wait.as_secs_f64())
            }),
        ),
        family(&catalog::TASK_WAIT_SECONDS_MAX_BY_COROUTINE, {
            by_coroutine(groups, view.top, By::Wait)
        }),
        family(&catalog::TASKS_BY_COROUTINE, {
            by_coroutine(groups, view.top, By::Tasks)
        }),
        family(
            &catalog::TASKS_FINISHED_TOTAL,
            total(groups, |it| it.finished),
        ),
        family(
            &catalog::TASKS_STARTED_TOTAL,
            total(groups, |it| it.started),
        ),
    ]
}

fn family(def: &'static MetricDef, points: Vec<DataPoint>) -> Family {
    Family { def, points }
}

/// The sum of a figure over the processes of each group.
fn summed(groups: &[Group<'_>], figure: fn(&Summary) -> u64) -> Vec<DataPoint> {
    per_group(groups, |it| it.sum(figure))
}

/// The same of what was observed from round to round.
fn observed(groups: &[Group<'_>], figure: fn(&Observation) -> u64) -> Vec<DataPoint> {
    per_group(groups, |it| {
        let figures = it.observations().map(figure);
        figures.reduce(u64::saturating_add).map(as_f64)
    })
}

fn total(groups: &[Group<'_>], figure: fn(&Totals) -> u64) -> Vec<DataPoint> {
    per_group(groups, |it| Some(as_f64(figure(&it.totals))))
}

fn groups_of(target: &TargetView, per_process: bool) -> Vec<Group<'_>> {
    // A place that no target has now.
    if target.name.is_empty() {
        return Vec::new();
    }
    if !per_process {
        let more = Arc::clone(&target.labels);
        let counts = (target.since, target.totals);
        return vec![Group::of(target, &target.processes, more, counts)];
    }
    let each = target.processes.iter().map(|process| {
        let pid = ("pid".to_owned(), process.id.pid.to_string());
        let more = target.labels.iter().cloned().chain([pid]).collect();
        let counts = (process.since, process.totals);
        Group::of(target, std::slice::from_ref(process), more, counts)
    });
    each.collect()
}

impl<'v> Group<'v> {
    fn of(
        target: &'v TargetView,
        processes: &'v [Arc<ProcessView>],
        more: Arc<[(String, String)]>,
        (since, totals): (Timestamp, Totals),
    ) -> Self {
        let mut group = Self {
            target,
            processes,
            more,
            since,
            totals,
            coroutines: Vec::new(),
            other: CoroutineFigures::default(),
        };
        let mut by_name: BTreeMap<Cow<'_, str>, CoroutineFigures> = BTreeMap::new();
        let mut other = CoroutineFigures::default();
        for observation in processes.iter().filter_map(|it| observation_of(it)) {
            for (name, figures) in &observation.coroutines.by_name {
                let name = if name.is_empty() { UNKNOWN } else { name };
                // Two names that look the same are one series.
                by_name.entry(escape(name)).or_default().add(figures);
            }
            other.add(&observation.coroutines.other);
        }
        group.coroutines = by_name.into_iter().collect();
        group.other = other;
        group
    }

    fn scans(&self) -> impl Iterator<Item = &'v Scan> + use<'v> {
        self.processes.iter().filter_map(|it| it.latest.as_ref())
    }

    fn summaries(&self) -> impl Iterator<Item = &'v Summary> + use<'v> {
        self.scans().filter_map(|scan| scan.summary.as_ref())
    }

    fn observations(&self) -> impl Iterator<Item = &'v Observation> + use<'v> {
        self.processes.iter().filter_map(|it| observation_of(it))
    }

    /// The sum over the processes that could be read; `None` if none could.
    fn sum(&self, figure: fn(&Summary) -> u64) -> Option<f64> {
        let figures = self.summaries().map(figure);
        figures.reduce(u64::saturating_add).map(as_f64)
    }

    fn coverage(&self) -> Option<f64> {
        let read = self.scans().filter_map(Scan::tasks_read);
        let read = as_f64(read.reduce(u64::saturating_add)?);
        let scans = self.scans().filter(|scan| scan.summary.is_some());
        let missing: u64 = scans.map(Scan::tasks_missing).fold(0, u64::saturating_add);
        Some(match missing {
            0 => 1.0,
            missing => read / (read + as_f64(missing)),
        })
    }
}

fn observation_of(process: &ProcessView) -> Option<&Observation> {
    process.latest.as_ref()?.observation.as_deref()
}

fn point(labels: Vec<String>, value: f64) -> DataPoint {
    DataPoint {
        labels,
        more: Arc::default(),
        since: Timestamp::default(),
        value: Value::Number(value),
    }
}

/// One data point for each group that has a value.
fn per_group(groups: &[Group<'_>], value: impl Fn(&Group<'_>) -> Option<f64>) -> Vec<DataPoint> {
    let points = groups.iter().filter_map(|group| {
        Some(DataPoint {
            labels: vec![group.target.name.as_ref().to_owned()],
            more: Arc::clone(&group.more),
            since: group.since,
            value: Value::Number(value(group)?),
        })
    });
    points.collect()
}

/// One data point for each target that has a value.
fn per_target(view: &AgentView, value: impl Fn(&TargetView) -> Option<f64>) -> Vec<DataPoint> {
    let named = view.targets.iter().filter(|target| !target.name.is_empty());
    let points = named.filter_map(|target| {
        Some(DataPoint {
            labels: vec![target.name.as_ref().to_owned()],
            more: Arc::clone(&target.labels),
            since: target.since,
            value: Value::Number(value(target)?),
        })
    });
    points.collect()
}

fn depths(groups: &[Group<'_>]) -> Vec<DataPoint> {
    let points = groups.iter().filter_map(|group| {
        let mut depths = Depths::default();
        let mut any = false;
        for summary in group.summaries() {
            depths.merge(&summary.await_depths);
            any = true;
        }
        any.then(|| DataPoint {
            labels: vec![group.target.name.as_ref().to_owned()],
            more: Arc::clone(&group.more),
            since: group.since,
            value: Value::Histogram(depths.into()),
        })
    });
    points.collect()
}

/// By which figure coroutines are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Tasks,
    Wait,
    Stuck,
}

impl By {
    fn of(self, figures: &CoroutineFigures) -> f64 {
        match self {
            Self::Tasks => as_f64(figures.n_tasks),
            Self::Wait => figures.wait_max.as_secs_f64(),
            Self::Stuck => as_f64(figures.n_stuck),
        }
    }

    fn top(self, top: Top) -> usize {
        match self {
            Self::Tasks => top.tasks,
            Self::Wait => top.waits,
            Self::Stuck => top.stuck,
        }
    }
}

/// The coroutines with the highest figures, and all others as one.
fn by_coroutine(groups: &[Group<'_>], top: Top, by: By) -> Vec<DataPoint> {
    let mut points = Vec::new();
    for group in groups {
        let mut coroutines: Vec<&(Cow<'_, str>, CoroutineFigures)> =
            group.coroutines.iter().collect();
        // Only tasks are told where there is nothing else.
        coroutines.retain(|(_, figures)| by.of(figures) > 0.0);
        coroutines.sort_by(|(name, one), (other_name, other)| {
            by.of(other)
                .total_cmp(&by.of(one))
                .then(name.cmp(other_name))
        });
        let mut others = group.other;
        let mut add = |name: &str, figures: &CoroutineFigures| {
            points.push(DataPoint {
                labels: vec![group.target.name.as_ref().to_owned(), name.to_owned()],
                more: Arc::clone(&group.more),
                since: group.since,
                value: Value::Number(by.of(figures)),
            });
        };
        for (position, (name, figures)) in coroutines.into_iter().enumerate() {
            // What is called like this would be a series twice.
            match position < by.top(top) && *name != OTHER {
                true => add(name, figures),
                false => others.add(figures),
            }
        }
        if group.observations().next().is_some() {
            add(OTHER, &others);
        }
    }
    points
}

fn build_info(view: &AgentView) -> Vec<DataPoint> {
    let build = view.build;
    vec![point(
        vec![build.version.to_owned(), build.revision.to_owned()],
        1.0,
    )]
}

fn process_info(view: &AgentView) -> Vec<DataPoint> {
    let mut points = Vec::new();
    for target in view.targets.iter().filter(|target| !target.name.is_empty()) {
        for process in &target.processes {
            let Some(program) = &process.program else {
                continue;
            };
            points.push(DataPoint {
                labels: vec![
                    target.name.as_ref().to_owned(),
                    process.id.pid.to_string(),
                    escape(&program.python_version).into_owned(),
                    escape(&program.executable).into_owned(),
                ],
                more: Arc::clone(&target.labels),
                since: target.since,
                value: Value::Number(1.0),
            });
        }
    }
    points
}

fn scan_duration(target: &TargetView) -> Option<f64> {
    let slowest = target.scans_latest().map(|scan| scan.took).max();
    slowest.map(|took| took.as_secs_f64())
}

/// Every code known in advance, so that the first problem is seen as an increase from 0, and those
/// met besides.
fn problems(view: &AgentView) -> Vec<DataPoint> {
    with_known(catalog::PROBLEM_CODES, &view.problems)
}

fn limit_hits(view: &AgentView) -> Vec<DataPoint> {
    let known: Vec<&str> = LIMITS
        .iter()
        .map(|cap| catalog::limit_label(cap))
        .chain(catalog::AGENT_LIMITS.iter().copied())
        .collect();
    with_known(&known, &view.limit_hits)
}

fn dropped_spans(view: &AgentView) -> Vec<DataPoint> {
    let count = |reason: &&'static str| view.otlp.dropped_spans.get(*reason).copied().unwrap_or(0);
    let points = catalog::DROPPED_SPANS.iter();
    points
        .map(|reason| point(vec![(*reason).to_owned()], as_f64(count(reason))))
        .collect()
}

fn otlp_exports(view: &AgentView) -> Vec<DataPoint> {
    let mut points = Vec::new();
    for signal in catalog::OTLP_SIGNALS {
        for result in catalog::OTLP_RESULTS {
            let count = view
                .otlp
                .exports
                .get(&(signal, result))
                .copied()
                .unwrap_or(0);
            points.push(point(
                vec![signal.to_owned(), result.to_owned()],
                as_f64(count),
            ));
        }
    }
    points
}

fn with_known(known: &[&str], counts: &BTreeMap<String, u64>) -> Vec<DataPoint> {
    let mut by_name: BTreeMap<&str, u64> = known.iter().map(|name| (*name, 0)).collect();
    by_name.extend(counts.iter().map(|(name, count)| (&**name, *count)));
    let points = by_name.into_iter();
    points
        .map(|(name, count)| point(vec![name.to_owned()], as_f64(count)))
        .collect()
}

/// Every result of every target, so that the first failure is seen as an increase from 0.
fn scans(view: &AgentView) -> Vec<DataPoint> {
    let named = view.targets.iter().filter(|target| !target.name.is_empty());
    let points = named.flat_map(|target| {
        RoundOutcome::ALL.into_iter().map(|outcome| DataPoint {
            labels: vec![target.name.as_ref().to_owned(), outcome.as_str().to_owned()],
            more: Arc::clone(&target.labels),
            since: target.since,
            value: Value::Number(as_f64(target.scans.count(outcome))),
        })
    });
    points.collect()
}

fn count(n: usize) -> f64 {
    as_f64(u64::try_from(n).unwrap_or(u64::MAX))
}

/// Prometheus knows only floating point numbers; counts beyond 2^53 lose their last digits.
fn as_f64(count: u64) -> f64 {
    count as f64
}
