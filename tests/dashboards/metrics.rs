//! The metrics that dashboards show are those that the agent exports, all of them.

use super::Dashboard;
use super::expression::selectors;
use asyncio_agent::metrics::{CATALOG, Kind, MetricDef};
use std::collections::BTreeSet;

/// What else there is: of Prometheus, and of every exporter.
const OTHERS: &[&str] = &[
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "up",
];

/// The metric that a series belongs to.
fn metric_of(series: &str) -> Option<&'static MetricDef> {
    CATALOG.iter().find(|metric| match metric.kind {
        Kind::Histogram => series.strip_prefix(metric.name).is_some_and(|suffix| {
            let suffixes = ["_bucket", "_count", "_sum"];
            suffixes.contains(&suffix)
        }),
        _ => metric.name == series,
    })
}

#[test]
fn dashboards_show_what_the_agent_exports() {
    let mut shown = BTreeSet::new();
    for dashboard in Dashboard::all() {
        for query in dashboard.queries() {
            for selector in selectors(&query.expression) {
                let metric = metric_of(&selector.metric);
                let is_known = metric.is_some() || OTHERS.contains(&&*selector.metric);
                assert!(is_known, "{}: {} is no metric", query.at, selector.metric);
                shown.extend(metric.map(|metric| metric.name));
                // On the page of one target every number is of this target.
                let of_target = metric.is_some_and(|metric| metric.labels.contains(&"target"));
                if dashboard.name == "target" && of_target {
                    let matcher = "target=\"$target\"";
                    assert!(selector.matchers.contains(matcher), "{}", query.at);
                }
            }
        }
    }
    let exported: BTreeSet<&str> = CATALOG.iter().map(|metric| metric.name).collect();
    assert_eq!(
        shown, exported,
        "metrics that are shown, and that there are"
    );
}
