//! Traces as spans of OpenTelemetry's SDK, and the process that they are about as their resource.

use crate::ids::ProcessId;
use crate::sanitize::escape;
use crate::spans::{Attribute, AttributeValue, Span, Trace};
use crate::time::Timestamp;
use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanLinks};
use std::time::UNIX_EPOCH;

/// Who made the spans.
const SCOPE: &str = "asyncio-agent";

/// The process that a trace is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessResource {
    /// The name of its target.
    pub service: String,
    /// Labels of its target.
    pub labels: Vec<(String, String)>,
    /// Which process.
    pub process: ProcessId,
    /// When it started, if that is known.
    pub started: Option<Timestamp>,
    /// Its executable file; may be empty.
    pub executable: String,
    /// The version of its Python; may be empty.
    pub python_version: String,
    /// The name of this machine; may be empty.
    pub host: String,
}

/// The resource of OpenTelemetry's semantic conventions that stands for a process.
pub fn resource_of(process: &ProcessResource) -> Resource {
    let pid = process.process.pid.as_raw();
    let mut attributes = vec![
        KeyValue::new("service.name", process.service.clone()),
        KeyValue::new("process.pid", i64::from(pid)),
        KeyValue::new("process.runtime.name", "cpython"),
        // What tells one of them from those with the same pid, and from the same pid of another machine.
        KeyValue::new(
            "service.instance.id",
            format!("{}:{pid}:{}", process.host, process.process.start.0),
        ),
    ];
    let mut text = |key: &'static str, value: &str| {
        if !value.is_empty() {
            attributes.push(KeyValue::new(key, escape(value).into_owned()));
        }
    };
    text("process.runtime.version", &process.python_version);
    let name = process.executable.rsplit('/').next().unwrap_or_default();
    text("process.executable.name", name);
    text("host.name", &process.host);
    if let Some(started) = process.started {
        text("process.creation.time", &started.to_rfc3339());
    }
    let labels = process.labels.iter();
    attributes.extend(labels.map(|(key, value)| KeyValue::new(key.clone(), value.clone())));
    Resource::builder_empty()
        .with_attributes(attributes)
        .build()
}

/// The spans of a trace, without the first `n_skipped`; each made when it is asked for.
pub fn span_data(trace: &Trace, n_skipped: usize) -> impl Iterator<Item = SpanData> {
    let scope = InstrumentationScope::builder(SCOPE)
        .with_version(env!("CARGO_PKG_VERSION"))
        .build();
    let spans = trace.spans.iter().skip(n_skipped);
    spans.map(move |span| data(trace, span, &scope))
}

fn data(trace: &Trace, span: &Span, scope: &InstrumentationScope) -> SpanData {
    let mut links = SpanLinks::default();
    links.links = span
        .links
        .iter()
        .map(|link| {
            let context = context(link.trace.0, link.span.0);
            Link::new(context, link.attributes.iter().map(key_value).collect(), 0)
        })
        .collect();
    links.dropped_count = u32::try_from(span.n_links_omitted).unwrap_or(u32::MAX);
    let parent = span.parent.map_or(0, |parent| parent.0);
    let time = |at: Timestamp| {
        let time = UNIX_EPOCH.checked_add(at.since_epoch());
        time.unwrap_or(UNIX_EPOCH)
    };
    SpanData {
        span_context: context(trace.id.0, span.id.0),
        parent_span_id: SpanId::from_bytes(parent.to_be_bytes()),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: span.name.clone().into(),
        start_time: time(span.start),
        end_time: time(span.end),
        attributes: span.attributes.iter().map(key_value).collect(),
        dropped_attributes_count: 0,
        events: Default::default(),
        links,
        status: match &span.error {
            Some(error) => Status::error(error.clone()),
            None => Status::Unset,
        },
        instrumentation_scope: scope.clone(),
    }
}

fn context(trace: u128, span: u64) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(trace.to_be_bytes()),
        SpanId::from_bytes(span.to_be_bytes()),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    )
}

fn key_value(attribute: &Attribute) -> KeyValue {
    let value = match &attribute.value {
        AttributeValue::Text(text) => Value::from(text.clone()),
        AttributeValue::Number(number) => Value::from(*number),
        AttributeValue::Seconds(seconds) => Value::from(*seconds),
        AttributeValue::Flag(flag) => Value::from(*flag),
    };
    KeyValue::new(attribute.key, value)
}
