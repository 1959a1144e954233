//! What metrics are called in OpenTelemetry: dotted names, and units by UCUM. The standard translation of
//! these (OpenTelemetry's specification, compatibility/prometheus_and_openmetrics.md) gives the names of the
//! catalogue.

use super::MetricDef;

/// Name in the catalogue, name, unit.
const NAMES: &[(&str, &str, &str)] = &[
    ("asyncio_agent_build_info", "asyncio.agent.build_info", ""),
    (
        "asyncio_agent_bytes_read_total",
        "asyncio.agent.bytes_read",
        "By",
    ),
    (
        "asyncio_agent_config_last_reload_success_timestamp_seconds",
        "asyncio.agent.config.last_reload_success.timestamp",
        "s",
    ),
    (
        "asyncio_agent_config_last_reload_successful",
        "asyncio.agent.config.last_reload_successful",
        "",
    ),
    (
        "asyncio_agent_folded_coroutines",
        "asyncio.agent.folded_coroutines",
        "{coroutine}",
    ),
    (
        "asyncio_agent_folded_series",
        "asyncio.agent.folded_series",
        "{series}",
    ),
    (
        "asyncio_agent_hidden_processes",
        "asyncio.agent.hidden_processes",
        "{process}",
    ),
    (
        "asyncio_agent_limit_hits_total",
        "asyncio.agent.limit.hits",
        "{hit}",
    ),
    (
        "asyncio_agent_log_lines_lost_total",
        "asyncio.agent.log.lines_lost",
        "{line}",
    ),
    (
        "asyncio_agent_otlp_dropped_spans_total",
        "asyncio.agent.otlp.dropped_spans",
        "{span}",
    ),
    (
        "asyncio_agent_otlp_exports_total",
        "asyncio.agent.otlp.exports",
        "{export}",
    ),
    (
        "asyncio_agent_otlp_spans_total",
        "asyncio.agent.otlp.spans",
        "{span}",
    ),
    ("asyncio_agent_privileged", "asyncio.agent.privileged", ""),
    (
        "asyncio_agent_scan_duration_seconds",
        "asyncio.agent.scan.duration",
        "s",
    ),
    (
        "asyncio_agent_scan_problems_total",
        "asyncio.agent.scan.problems",
        "{problem}",
    ),
    (
        "asyncio_agent_scans_hanging",
        "asyncio.agent.scans.hanging",
        "{scan}",
    ),
    ("asyncio_agent_scans_total", "asyncio.agent.scans", "{scan}"),
    (
        "asyncio_await_cycle_detections_total",
        "asyncio.await.cycle.detections",
        "{cycle}",
    ),
    (
        "asyncio_await_cycle_tasks",
        "asyncio.await.cycle.tasks",
        "{task}",
    ),
    ("asyncio_await_cycles", "asyncio.await.cycles", "{cycle}"),
    ("asyncio_await_depth", "asyncio.await.depth", "{task}"),
    (
        "asyncio_await_depth_max",
        "asyncio.await.depth.max",
        "{task}",
    ),
    ("asyncio_await_edges", "asyncio.await.edges", "{edge}"),
    ("asyncio_event_loops", "asyncio.event_loops", "{event_loop}"),
    ("asyncio_pending_tasks", "asyncio.pending_tasks", "{task}"),
    ("asyncio_process_info", "asyncio.process.info", ""),
    ("asyncio_root_tasks", "asyncio.root_tasks", "{task}"),
    ("asyncio_running_tasks", "asyncio.running_tasks", "{task}"),
    (
        "asyncio_snapshot_coverage_ratio",
        "asyncio.snapshot.coverage",
        "1",
    ),
    (
        "asyncio_snapshot_timestamp_seconds",
        "asyncio.snapshot.timestamp",
        "s",
    ),
    ("asyncio_idle_tasks", "asyncio.idle_tasks", "{task}"),
    ("asyncio_stuck_tasks", "asyncio.stuck_tasks", "{task}"),
    (
        "asyncio_stuck_tasks_by_coroutine",
        "asyncio.stuck_tasks.by_coroutine",
        "{task}",
    ),
    (
        "asyncio_target_interval_seconds",
        "asyncio.target.interval",
        "s",
    ),
    (
        "asyncio_target_processes",
        "asyncio.target.processes",
        "{process}",
    ),
    (
        "asyncio_target_unreadable_processes",
        "asyncio.target.unreadable_processes",
        "{process}",
    ),
    ("asyncio_target_up", "asyncio.target.up", ""),
    (
        "asyncio_task_wait_seconds_max",
        "asyncio.task.wait_seconds.max",
        "s",
    ),
    (
        "asyncio_task_wait_seconds_max_by_coroutine",
        "asyncio.task.wait_seconds.max.by_coroutine",
        "s",
    ),
    (
        "asyncio_tasks_by_coroutine",
        "asyncio.tasks.by_coroutine",
        "{task}",
    ),
    (
        "asyncio_tasks_finished_total",
        "asyncio.tasks.finished",
        "{task}",
    ),
    (
        "asyncio_tasks_started_total",
        "asyncio.tasks.started",
        "{task}",
    ),
];

impl MetricDef {
    /// Its name and unit in OpenTelemetry.
    pub fn in_opentelemetry(&self) -> (&'static str, &'static str) {
        let known = NAMES.iter().find(|(name, ..)| *name == self.name);
        known.map_or((self.name, ""), |(_, name, unit)| (*name, *unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{CATALOG, Kind};

    /// The standard translation, as far as our names need it.
    fn translated(name: &str, unit: &str, kind: Kind) -> String {
        let mut words: Vec<&str> = name.split(['.', '_']).collect();
        let unit = match unit {
            "s" => "seconds",
            "By" => "bytes",
            "1" if kind == Kind::Gauge => "ratio",
            "1" | "" => "",
            // Annotations do not count.
            unit if unit.starts_with('{') => "",
            unit => panic!("unit {unit}"),
        };
        if !unit.is_empty() && !words.contains(&unit) {
            words.push(unit);
        }
        if kind == Kind::Counter {
            words.push("total");
        }
        words.join("_")
    }

    #[test]
    fn names_of_opentelemetry_become_those_of_prometheus() {
        for def in CATALOG {
            let (name, unit) = def.in_opentelemetry();
            assert!(
                NAMES.iter().any(|(known, ..)| *known == def.name),
                "{}",
                def.name
            );
            assert_eq!(translated(name, unit, def.kind), def.name);
            assert!(
                name.starts_with("asyncio.") && !name.ends_with("total"),
                "{name}"
            );
        }
        for (name, ..) in NAMES {
            assert!(
                CATALOG.iter().any(|def| def.name == *name),
                "{name} is no metric"
            );
        }
    }
}
