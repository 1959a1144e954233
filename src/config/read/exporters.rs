//! `exporters`. What the section `otlp` leaves out is taken from the variables that OpenTelemetry defines
//! (`OTEL_EXPORTER_OTLP_*`), then from the defaults.

use super::super::document::Node;
use super::super::section::{Reader, Section};
use super::super::settings::{
    ExporterSettings, OtlpMetricsSettings, OtlpReceiver, OtlpSettings, PrometheusSettings,
    SpanSettings, Temporality,
};
use super::INTERVALS;
use super::receiver::{self, METRICS, SPANS, own_receiver};

pub(super) fn read(top: &Section<'_>, reader: &mut Reader<'_>) -> ExporterSettings {
    let default = ExporterSettings::default();
    let Some(exporters) = top.section("exporters", &["prometheus", "otlp"], reader) else {
        return default;
    };
    exporters.section("prometheus", &[], reader);
    let otlp = exporters.section("otlp", &keys(&["metrics", "spans", "enabled"]), reader);
    ExporterSettings {
        prometheus: PrometheusSettings {},
        otlp: otlp.and_then(|section| {
            let is_enabled = section.flag("enabled", true, reader);
            // What is turned off may name files that are not there yet.
            let files = reader.files.take_if(|_| !is_enabled);
            let settings = otlp_settings(&section, reader);
            reader.files = reader.files.or(files);
            is_enabled.then_some(settings)
        }),
    }
}

/// The keys of `exporters.otlp`, as a document of their own.
pub(in crate::config) fn read_otlp(document: &Node, reader: &mut Reader<'_>) -> OtlpSettings {
    match Section::open(document, "", &receiver::KEYS, reader) {
        Some(section) => otlp_settings(&section, reader),
        None => OtlpSettings::default(),
    }
}

/// Those of a receiver, and more.
fn keys(more: &[&'static str]) -> Vec<&'static str> {
    [&receiver::KEYS, more].concat()
}

fn otlp_settings(section: &Section<'_>, reader: &mut Reader<'_>) -> OtlpSettings {
    let default = OtlpSettings::default();
    let (receiver, is_given) = receiver::receiver(section, reader);
    let of_all = (section, &receiver, is_given);
    let metrics = metrics(of_all, default.metrics, reader);
    let spans = spans(of_all, default.spans, reader);
    OtlpSettings {
        receiver,
        metrics,
        spans,
    }
}

/// The receiver of all signals: its section, what that says, and whether it says where it is.
type OfAll<'s, 'n> = (&'s Section<'n>, &'s OtlpReceiver, bool);

fn metrics(
    of_all: OfAll<'_, '_>,
    default: OtlpMetricsSettings,
    reader: &mut Reader<'_>,
) -> OtlpMetricsSettings {
    let keys = keys(&["enabled", "interval", "temporality"]);
    let section = of_all.0.section(METRICS.key, &keys, reader);
    let receiver = own_receiver(&METRICS, section.as_ref(), of_all, reader);
    let choices = [
        ("cumulative", Temporality::Cumulative),
        ("delta", Temporality::Delta),
        ("lowmemory", Temporality::LowMemory),
    ];
    let is_given = |metrics: &Section<'_>| metrics.get("temporality").is_some();
    let temporality = match section.as_ref().filter(|it| is_given(it)) {
        Some(metrics) => metrics.choice("temporality", &choices, reader),
        None => receiver::preferred(of_all.0, &METRICS, &choices, reader),
    };
    let Some(metrics) = section else {
        return OtlpMetricsSettings {
            temporality: temporality.unwrap_or(default.temporality),
            receiver,
            ..default
        };
    };
    OtlpMetricsSettings {
        enabled: metrics.flag("enabled", default.enabled, reader),
        interval: metrics.duration("interval", INTERVALS, default.interval, reader),
        temporality: temporality.unwrap_or(default.temporality),
        receiver,
    }
}

fn spans(of_all: OfAll<'_, '_>, default: SpanSettings, reader: &mut Reader<'_>) -> SpanSettings {
    let keys = keys(&[
        "enabled",
        "ratio",
        "traces_per_minute",
        "spans_per_minute",
        "spans_per_trace",
        "queue",
        "queue_bytes",
    ]);
    let section = of_all.0.section(SPANS.key, &keys, reader);
    let receiver = own_receiver(&SPANS, section.as_ref(), of_all, reader);
    let Some(spans) = section else {
        return SpanSettings {
            receiver,
            ..default
        };
    };
    let many = 1..=10_000_000;
    SpanSettings {
        enabled: spans.flag("enabled", default.enabled, reader),
        ratio: spans.number("ratio", 0.0..=1.0, default.ratio, reader),
        traces_per_minute: spans.number(
            "traces_per_minute",
            many.clone(),
            default.traces_per_minute,
            reader,
        ),
        spans_per_minute: spans.number(
            "spans_per_minute",
            many.clone(),
            default.spans_per_minute,
            reader,
        ),
        spans_per_trace: spans.number(
            "spans_per_trace",
            10..=1_000_000,
            default.spans_per_trace,
            reader,
        ),
        queue: spans.number("queue", many, default.queue, reader),
        queue_bytes: spans.size(
            "queue_bytes",
            1 << 20..=1 << 40,
            default.queue_bytes,
            reader,
        ),
        receiver,
    }
}
