//! `exporters`. What the section `otlp` leaves out is taken from the variables that OpenTelemetry defines
//! (`OTEL_EXPORTER_OTLP_*`), then from the defaults.

use super::super::FileKind;
use super::super::document::Node;
use super::super::section::{Item, Located, Reader, Section, path_of};
use super::super::settings::{
    Compression, ExporterSettings, OtlpMetricsSettings, OtlpProtocol, OtlpSettings,
    OtlpTlsSettings, PrometheusSettings, Secret, SpanSettings, Temporality,
};
use super::INTERVALS;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

const KEYS: [&str; 10] = [
    "endpoint",
    "protocol",
    "headers",
    "headers_file",
    "tls",
    "compression",
    "timeout",
    "metrics",
    "spans",
    "enabled",
];

const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);

pub(super) fn read(top: &Section<'_>, reader: &mut Reader<'_>) -> ExporterSettings {
    let default = ExporterSettings::default();
    let Some(exporters) = top.section("exporters", &["prometheus", "otlp"], reader) else {
        return default;
    };
    exporters.section("prometheus", &[], reader);
    let otlp = exporters.section("otlp", &KEYS, reader);
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
    match Section::open(document, "", &KEYS, reader) {
        Some(section) => otlp_settings(&section, reader),
        None => OtlpSettings::default(),
    }
}

fn otlp_settings(section: &Section<'_>, reader: &mut Reader<'_>) -> OtlpSettings {
    let default = OtlpSettings::default();
    let protocols = [
        ("grpc", OtlpProtocol::Grpc),
        ("http/protobuf", OtlpProtocol::Http),
    ];
    let protocol = text_of(section, "protocol", "PROTOCOL", reader)
        .and_then(|text| text.choice(&protocols, reader))
        .unwrap_or(default.protocol);
    let endpoint = text_of(section, "endpoint", "ENDPOINT", reader);
    let compressions = [("none", Compression::None), ("gzip", Compression::Gzip)];
    let compression = text_of(section, "compression", "COMPRESSION", reader)
        .and_then(|text| text.choice(&compressions, reader));
    OtlpSettings {
        endpoint: match endpoint {
            None => protocol.endpoint_default().to_owned(),
            Some(text) => {
                if let Err(why) = check_endpoint(&text.value, protocol) {
                    text.problem(why, reader);
                }
                text.value
            }
        },
        protocol,
        headers: headers(section, reader),
        tls: tls(section, reader),
        compression: compression.unwrap_or(default.compression),
        timeout: timeout(section, reader).unwrap_or(default.timeout),
        metrics: metrics(section, default.metrics, reader),
        spans: spans(section, default.spans, reader),
    }
}

/// The text at `key`, or that of the variable `OTEL_EXPORTER_OTLP_…`.
fn text_of(
    section: &Section<'_>,
    key: &str,
    variable: &str,
    reader: &mut Reader<'_>,
) -> Option<Located> {
    match section.get(key) {
        Some(item) => item.scalar(reader),
        None => text_of_variable(section, key, variable, reader),
    }
}

fn text_of_variable(
    section: &Section<'_>,
    key: &str,
    variable: &str,
    reader: &Reader<'_>,
) -> Option<Located> {
    let variable = format!("OTEL_EXPORTER_OTLP_{variable}");
    let value = (reader.variables)(&variable).filter(|value| !value.is_empty())?;
    Some(Located {
        value,
        spot: section.spot,
        path: format!("{} (from {variable})", path_of(&section.path, key)),
    })
}

/// The timeout; as a variable it is a number of milliseconds.
fn timeout(section: &Section<'_>, reader: &mut Reader<'_>) -> Option<Duration> {
    if let Some(item) = section.get("timeout") {
        return item.scalar(reader)?.duration(TIMEOUTS, reader);
    }
    let mut text = text_of_variable(section, "timeout", "TIMEOUT", reader)?;
    text.value += "ms";
    text.duration(TIMEOUTS, reader)
}

/// An endpoint is scheme, host and port, and for HTTP perhaps a path. It is not quoted: there may be a
/// password or a token in it.
fn check_endpoint(endpoint: &str, protocol: OtlpProtocol) -> Result<(), String> {
    let expected = match protocol {
        OtlpProtocol::Grpc => "expected one such as http://localhost:4317",
        OtlpProtocol::Http => "expected one such as http://localhost:4318",
    };
    let (scheme, rest) = endpoint.split_once("://").unwrap_or_default();
    if !["http", "https"].contains(&scheme) {
        return Err(format!("no http:// or https:// in front, {expected}"));
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(format!(
            "has a user in it, {expected} and `headers_file` for credentials"
        ));
    }
    if path.contains(['?', '#']) || path.contains(|c: char| c.is_control() || c == ' ') {
        return Err(format!("not an address, {expected}"));
    }
    if protocol == OtlpProtocol::Grpc && !["", "/"].contains(&path) {
        return Err(format!("grpc has no paths, {expected}"));
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an IPv6 address stand within brackets.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_host_char = |c: char| c.is_alphanumeric() || "-._".contains(c);
    let is_host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(is_host_char),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    if !is_host || !port.is_none_or(is_port) {
        return Err(format!("not an address, {expected}"));
    }
    Ok(())
}

/// `headers` holds values, `headers_file` the files that hold them. No value is ever quoted.
fn headers(section: &Section<'_>, reader: &mut Reader<'_>) -> BTreeMap<String, Secret> {
    let mut headers = BTreeMap::new();
    let inline = section.get("headers");
    let files = section.get("headers_file");
    if inline.is_none() && files.is_none() {
        return headers_of_variable(section, reader);
    }
    let entries = |item: Option<Item<'_>>, reader: &mut Reader<'_>| match item {
        Some(item) => {
            let entries = item.entries("a map from the names of headers to texts", reader);
            let texts = entries.into_iter().filter_map(|(name, item)| {
                let text = item.text(reader)?;
                Some((name, text))
            });
            texts.collect()
        }
        None => Vec::new(),
    };
    for (name, text) in entries(inline, reader) {
        let is_visible = |c: char| (' '..='~').contains(&c);
        if !text.value.chars().all(is_visible) {
            text.problem(
                "has characters that no header may have, expected ASCII",
                reader,
            );
        }
        add_header(&mut headers, &name, Secret::Inline(text.value), reader);
    }
    for (name, text) in entries(files, reader) {
        if let Some(path) = text.file(FileKind::HeaderValue, reader) {
            add_header(&mut headers, &name, Secret::File(path), reader);
        }
    }
    headers
}

fn add_header(
    headers: &mut BTreeMap<String, Secret>,
    name: &Located,
    value: Secret,
    reader: &mut Reader<'_>,
) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.value.is_empty() || !name.value.chars().all(is_token) {
        name.problem(
            "no name of a header, expected one such as authorization",
            reader,
        );
    } else if headers
        .insert(name.value.to_ascii_lowercase(), value)
        .is_some()
    {
        let what = "the header is given twice, expected it once";
        name.problem(what, reader);
    }
}

/// `OTEL_EXPORTER_OTLP_HEADERS`: `name=value,name=value`.
fn headers_of_variable(section: &Section<'_>, reader: &mut Reader<'_>) -> BTreeMap<String, Secret> {
    let mut headers = BTreeMap::new();
    let Some(text) = text_of_variable(section, "headers", "HEADERS", reader) else {
        return headers;
    };
    for pair in text.value.split(',').filter(|pair| !pair.trim().is_empty()) {
        let name = |value: &str| Located {
            value: value.trim().to_owned(),
            spot: text.spot,
            path: text.path.clone(),
        };
        match pair.split_once('=') {
            Some((key, value)) => {
                let value = Secret::Inline(value.trim().to_owned());
                add_header(&mut headers, &name(key), value, reader);
            }
            None => text.problem("an entry without =, expected name=value,name=value", reader),
        }
    }
    headers
}

fn tls(section: &Section<'_>, reader: &mut Reader<'_>) -> OtlpTlsSettings {
    let keys = ["ca_file", "cert_file", "key_file"];
    let tls = section.section("tls", &keys, reader);
    let mut file = |key: &str, variable: &str| {
        let kind = match key {
            "key_file" => FileKind::PrivateKey,
            _ => FileKind::Certificates,
        };
        match &tls {
            Some(tls) if tls.get(key).is_some() => tls.file(key, kind, reader),
            _ => text_of_variable(section, &format!("tls.{key}"), variable, reader)?
                .file(kind, reader),
        }
    };
    let settings = OtlpTlsSettings {
        ca_file: file("ca_file", "CERTIFICATE"),
        cert_file: file("cert_file", "CLIENT_CERTIFICATE"),
        key_file: file("key_file", "CLIENT_KEY"),
    };
    if settings.cert_file.is_some() != settings.key_file.is_some() {
        let what = "cert_file and key_file belong together, expected both or none";
        match &tls {
            Some(tls) => tls.problem(what, reader),
            None => section.problem(what, reader),
        }
    }
    settings
}

fn metrics(
    section: &Section<'_>,
    default: OtlpMetricsSettings,
    reader: &mut Reader<'_>,
) -> OtlpMetricsSettings {
    let keys = ["enabled", "interval", "temporality"];
    let choices = [
        ("cumulative", Temporality::Cumulative),
        ("delta", Temporality::Delta),
    ];
    let Some(metrics) = section.section("metrics", &keys, reader) else {
        return default;
    };
    let temporality = metrics.choice("temporality", &choices, reader);
    OtlpMetricsSettings {
        enabled: metrics.flag("enabled", default.enabled, reader),
        interval: metrics.duration("interval", INTERVALS, default.interval, reader),
        temporality: temporality.unwrap_or(default.temporality),
    }
}

fn spans(section: &Section<'_>, default: SpanSettings, reader: &mut Reader<'_>) -> SpanSettings {
    let keys = [
        "enabled",
        "ratio",
        "traces_per_minute",
        "spans_per_minute",
        "spans_per_trace",
        "queue",
    ];
    let Some(spans) = section.section("spans", &keys, reader) else {
        return default;
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
    }
}
