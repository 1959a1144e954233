//! What is left out when there would be more series than `limits.series` allows: what matters least first, of
//! all targets or of the last ones, and never what an alert about a program rests on.

use super::catalog::{self, MetricDef};
use super::collect::Family;

/// Families that tell the same in more detail, or how things are called.
const DETAILS: [MetricDef; 2] = [catalog::AWAIT_DEPTH, catalog::PROCESS_INFO];

/// Families of which the last targets may have none, what matters least first.
const LEAST_FIRST: [MetricDef; 18] = [
    catalog::TARGET_INTERVAL_SECONDS,
    catalog::FOLDED_COROUTINES,
    catalog::IDLE_TASKS,
    catalog::AWAIT_EDGES,
    catalog::EVENT_LOOPS,
    catalog::ROOT_TASKS,
    catalog::RUNNING_TASKS,
    catalog::SCANS_TOTAL,
    catalog::SCAN_DURATION_SECONDS,
    catalog::TASKS_FINISHED_TOTAL,
    catalog::TASKS_STARTED_TOTAL,
    catalog::AWAIT_DEPTH_MAX,
    catalog::AWAIT_CYCLE_TASKS,
    catalog::SNAPSHOT_TIMESTAMP_SECONDS,
    catalog::TASK_WAIT_SECONDS_MAX,
    catalog::SNAPSHOT_COVERAGE_RATIO,
    catalog::SCANS_HANGING,
    catalog::PENDING_TASKS,
];

/// Makes `families` have `series_max` series at most, if that can be done without what every target keeps.
/// `without_pids` makes them anew, without series of single processes.
pub(super) fn bound(
    families: &mut Vec<Family>,
    series_max: usize,
    without_pids: impl FnOnce() -> Vec<Family>,
) {
    let n_over = |families: &[Family]| n_series(families).saturating_sub(series_max);
    if n_over(families) > 0 {
        clear(families, is_by_coroutine);
    }
    if n_over(families) > 0 {
        clear(families, is_detail);
    }
    if n_over(families) > 0 {
        *families = without_pids();
        clear(families, is_by_coroutine);
        clear(families, is_detail);
    }
    let mut n_over = n_over(families);
    for least in &LEAST_FIRST {
        for family in families.iter_mut().filter(|it| it.def.name == least.name) {
            while n_over > 0 && !family.points.is_empty() {
                n_over = n_over.saturating_sub(drop_last_target(family));
            }
        }
    }
}

/// How many series there are.
pub(super) fn n_series(families: &[Family]) -> usize {
    families.iter().map(Family::n_series).sum()
}

fn is_by_coroutine(def: &MetricDef) -> bool {
    def.labels.contains(&"coroutine")
}

fn is_detail(def: &MetricDef) -> bool {
    DETAILS.iter().any(|it| it.name == def.name)
}

fn clear(families: &mut [Family], which: fn(&MetricDef) -> bool) {
    for family in families.iter_mut().filter(|family| which(family.def)) {
        family.points.clear();
    }
}

/// Drops all that the family has of the last target in it; says how many series.
fn drop_last_target(family: &mut Family) -> usize {
    let target = family
        .points
        .last()
        .map(|point| point.labels.first().cloned());
    let of_target = family.points.iter().rev();
    let n = of_target
        .take_while(|point| target.as_ref() == Some(&point.labels.first().cloned()))
        .count();
    let dropped = family
        .points
        .split_off(family.points.len().saturating_sub(n));
    dropped.iter().map(|point| point.n_series()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::CATALOG;

    /// What an alert about a program rests on; [`limits.series`] never costs it.
    const KEPT: [MetricDef; 6] = [
        catalog::AWAIT_CYCLE_DETECTIONS_TOTAL,
        catalog::AWAIT_CYCLES,
        catalog::STUCK_TASKS,
        catalog::TARGET_PROCESSES,
        catalog::TARGET_UNREADABLE_PROCESSES,
        catalog::TARGET_UP,
    ];

    #[test]
    fn every_family_of_a_target_is_left_out_at_one_point_or_never() {
        let of_targets = CATALOG
            .iter()
            .filter(|it| it.labels.first() == Some(&"target"));
        for def in of_targets {
            let has = |list: &[MetricDef]| list.iter().filter(|it| it.name == def.name).count();
            let n = usize::from(is_by_coroutine(def)) + has(&DETAILS) + has(&LEAST_FIRST);
            assert_eq!(n + has(&KEPT), 1, "{}", def.name);
        }
    }
}
