//! The OpenMetrics text format, version 1.0.0
//! (<https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>), which the
//! `prometheus` crate does not write.

use crate::metrics::{Exemplar, SeriesExemplar};
use prometheus::proto::{Metric, MetricFamily, MetricType};
use std::collections::HashMap;
use std::fmt::Write as _;

/// The content type of the format.
pub const OPENMETRICS_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Exemplars by the name of their metric, and the sorted labels of their series.
type Exemplars = HashMap<&'static str, HashMap<Vec<(String, String)>, Exemplar>>;

/// Families in the format, with these exemplars.
pub(super) fn write(families: &[MetricFamily], of_series: Vec<SeriesExemplar>) -> String {
    let mut exemplars = Exemplars::new();
    for SeriesExemplar {
        def,
        mut labels,
        exemplar,
    } in of_series
    {
        labels.sort_unstable();
        let of_metric = exemplars.entry(def.name).or_default();
        of_metric.insert(labels, exemplar);
    }
    let mut text = String::with_capacity(64 << 10);
    for family in families {
        write_family(&mut text, family, &exemplars);
    }
    text.push_str("# EOF\n");
    text
}

fn write_family(text: &mut String, family: &MetricFamily, exemplars: &Exemplars) {
    let kind = family.get_field_type();
    let name = match kind {
        // Only its samples have the suffix.
        MetricType::COUNTER => family.name().trim_end_matches("_total"),
        _ => family.name(),
    };
    let type_name = match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        _ => "unknown",
    };
    // Writing to a String does not fail.
    let _ = writeln!(text, "# TYPE {name} {type_name}");
    let _ = writeln!(text, "# HELP {name} {}", escaped(family.help()));
    for metric in family.get_metric() {
        match kind {
            MetricType::COUNTER => {
                let value = metric.get_counter().get_value();
                write_sample(text, name, "_total", metric, None, value);
                write_exemplar(text, family.name(), metric, exemplars);
            }
            MetricType::HISTOGRAM => write_histogram(text, name, metric),
            _ => write_sample(text, name, "", metric, None, metric.get_gauge().get_value()),
        }
    }
}

/// Puts the exemplar of a series, if it has one, behind its sample, which is the last line. Its label has 40
/// characters; the format allows 128.
fn write_exemplar(text: &mut String, name: &str, metric: &Metric, exemplars: &Exemplars) {
    let Some(of_metric) = exemplars.get(name) else {
        return;
    };
    let labels = metric.get_label().iter();
    let owned = labels.map(|it| (it.name().to_owned(), it.value().to_owned()));
    let mut labels: Vec<_> = owned.collect();
    labels.sort_unstable();
    if let Some(exemplar) = of_metric.get(&labels) {
        text.truncate(text.trim_end_matches('\n').len());
        let (trace, at) = (exemplar.trace, exemplar.at.as_secs_f64());
        let _ = writeln!(text, " # {{trace_id=\"{trace:032x}\"}} 1 {at:.3}");
    }
}

fn write_histogram(text: &mut String, name: &str, metric: &Metric) {
    let histogram = metric.get_histogram();
    let mut has_last = false;
    for bucket in histogram.get_bucket() {
        let (bound, count) = (bucket.upper_bound(), as_f64(bucket.cumulative_count()));
        has_last = bound == f64::INFINITY;
        write_sample(text, name, "_bucket", metric, Some(bound), count);
    }
    let count = as_f64(histogram.get_sample_count());
    if !has_last {
        write_sample(text, name, "_bucket", metric, Some(f64::INFINITY), count);
    }
    write_sample(text, name, "_count", metric, None, count);
    let sum = histogram.get_sample_sum();
    write_sample(text, name, "_sum", metric, None, sum);
}

fn write_sample(
    text: &mut String,
    name: &str,
    suffix: &str,
    metric: &Metric,
    bound: Option<f64>,
    value: f64,
) {
    let _ = write!(text, "{name}{suffix}");
    let labels = metric.get_label().iter();
    let labels = labels.map(|label| (label.name(), escaped(label.value())));
    let bound = bound.map(|bound| ("le", number(bound, ".0")));
    let mut separator = '{';
    for (name, value) in labels.chain(bound) {
        let _ = write!(text, "{separator}{name}=\"{value}\"");
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {}", number(value, ""));
}

/// A number; whole ones with `suffix`, which bounds of buckets have.
fn number(value: f64, suffix: &str) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else if value.fract() == 0.0 {
        format!("{value}{suffix}")
    } else {
        value.to_string()
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('"', "\\\"")
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Whether somebody who accepts this (RFC 9110, `Accept`) would rather have OpenMetrics than the classic
/// format.
pub fn prefers_openmetrics(accept: &str) -> bool {
    let (mut openmetrics, mut classic) = (0.0_f64, 0.0_f64);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut is_known) = (1.0, true);
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("q", given)) => quality = given.parse().unwrap_or(0.0),
                Some(("version", given)) if media == "application/openmetrics-text" => {
                    is_known = matches!(given, "1.0.0" | "0.0.1");
                }
                _ => {}
            }
        }
        match &*media {
            "application/openmetrics-text" if is_known => openmetrics = openmetrics.max(quality),
            "text/plain" | "text/*" | "*/*" => classic = classic.max(quality),
            _ => {}
        }
    }
    openmetrics > 0.0 && openmetrics >= classic
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::prometheus::PrometheusExporter;
    use crate::ids::{Pid, ProcessId, StartTime};
    use crate::metrics::{AgentView, ProcessView, TargetView, Totals};
    use crate::time::Timestamp;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn what_is_preferred() {
        // What Prometheus 3 sends.
        assert!(prefers_openmetrics(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.1"
        ));
        assert!(prefers_openmetrics("application/openmetrics-text"));
        for classic in [
            "",
            "*/*",
            "text/html, */*;q=0.8",
            "text/plain;q=0.9, application/openmetrics-text;q=0.1",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=x",
        ] {
            assert!(!prefers_openmetrics(classic), "{classic}");
        }
    }

    #[test]
    fn counters_have_the_traces_of_what_they_counted() {
        let exemplar = |trace| Exemplar {
            trace,
            at: Timestamp::new(Duration::from_millis(1_700_000_000_125)),
        };
        let totals = |trace, n| Totals {
            cycle_detections: n,
            cycle_exemplar: trace,
            ..Totals::default()
        };
        let target = |name: &str, totals: Totals, processes: Vec<ProcessView>| TargetView {
            name: name.into(),
            labels: vec![("team".to_owned(), "a\"b".to_owned())].into(),
            per_process: !processes.is_empty(),
            totals,
            processes: processes.into_iter().map(Arc::new).collect(),
            ..TargetView::default()
        };
        let id = ProcessId {
            pid: Pid::new(7).unwrap(),
            start: StartTime(1),
        };
        let process = ProcessView {
            totals: totals(Some(exemplar(u128::MAX)), 1),
            ..ProcessView::new(id)
        };
        let all = totals(Some(exemplar(0xabc)), 2);
        let targets = vec![
            target("a\\", all, Vec::new()),
            target("b", all, vec![process]),
            target("c", totals(None, 3), Vec::new()),
        ];
        let view = Arc::new(AgentView {
            targets,
            ..AgentView::default()
        });
        let exporter = PrometheusExporter::new(move || Arc::clone(&view)).unwrap();
        let text = exporter.scrape_openmetrics();
        let name = "asyncio_await_cycle_detections_total";
        let lines = text.lines().filter(|line| line.starts_with(name));
        expect_test::expect![[r#"
            asyncio_await_cycle_detections_total{target="a\\",team="a\"b"} 2 # {trace_id="00000000000000000000000000000abc"} 1 1700000000.125
            asyncio_await_cycle_detections_total{target="c",team="a\"b"} 3
            asyncio_await_cycle_detections_total{target="b",team="a\"b",pid="7"} 1 # {trace_id="ffffffffffffffffffffffffffffffff"} 1 1700000000.125"#]].assert_eq(&lines.collect::<Vec<_>>().join("\n"));
        assert_eq!(text.matches(" # {").count(), 2);
        // The label set, names and values together.
        let sets = text.lines().filter_map(|line| line.split(" # {").nth(1));
        assert!(sets.map(str::len).all(|n| n <= 128));
        assert!(!exporter.scrape().unwrap().contains("trace_id"));
    }

    #[test]
    fn numbers_are_as_the_format_wants_them() {
        assert_eq!(number(1.0, ".0"), "1.0");
        assert_eq!(number(0.25, ".0"), "0.25");
        assert_eq!(number(f64::INFINITY, ".0"), "+Inf");
        assert_eq!(number(17.0, ""), "17");
    }
}
