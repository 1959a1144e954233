//! Traces and spans as values.

use crate::analysis::Fingerprint;
use crate::time::Timestamp;
use std::collections::BTreeSet;

/// Names a trace; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub u128);

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Names a span; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub u64);

/// The await trees of one snapshot.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Traces {
    /// One for each root task; those with findings come first.
    pub traces: Vec<Trace>,
    /// Root tasks that have none because there would be too many.
    pub n_roots_omitted: usize,
    /// What left out something.
    pub cut_by: CutBy,
}

/// Which limits of a snapshot left out something. That of one trace is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CutBy {
    /// That of traces.
    pub traces: bool,
    /// That of spans altogether.
    pub spans: bool,
}

impl Traces {
    /// How many spans there are.
    pub fn n_spans(&self) -> usize {
        self.traces.iter().map(|trace| trace.spans.len()).sum()
    }
}

/// The await tree of one root task.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Its id.
    pub id: TraceId,
    /// Its spans: the root first, each after its parent.
    pub spans: Vec<Span>,
    /// The findings that tasks in it are part of.
    pub findings: BTreeSet<Fingerprint>,
}

/// A task, a frame, or what stands for some that were left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its id.
    pub id: SpanId,
    /// The span that it is below; `None` for the root of a trace.
    pub parent: Option<SpanId>,
    /// A function; few different ones.
    pub name: String,
    /// When it was first seen.
    pub start: Timestamp,
    /// The moment of the snapshot.
    pub end: Timestamp,
    /// More about it.
    pub attributes: Vec<Attribute>,
    /// Other spans that have to do with it.
    pub links: Vec<Link>,
    /// Such links that there was no room for.
    pub n_links_omitted: usize,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// What an allocator takes beside what it is asked for.
const ALLOCATION_BYTES: usize = 16;

impl Trace {
    /// The memory that it takes, in bytes; about.
    pub fn n_bytes(&self) -> usize {
        let spans: usize = self.spans.iter().map(Span::n_bytes_outside).sum();
        size_of::<Self>() + n_bytes(&self.spans) + spans
    }
}

impl Span {
    /// The memory that it takes beside itself.
    fn n_bytes_outside(&self) -> usize {
        let error = self.error.as_ref().map_or(0, String::capacity);
        let links = self.links.iter().map(|link| n_bytes_of(&link.attributes));
        let links = n_bytes(&self.links) + links.sum::<usize>();
        let name = self.name.capacity() + ALLOCATION_BYTES;
        name + error + links + n_bytes_of(&self.attributes)
    }
}

fn n_bytes_of(attributes: &Vec<Attribute>) -> usize {
    let text = |attribute: &Attribute| match &attribute.value {
        AttributeValue::Text(text) => text.capacity() + ALLOCATION_BYTES,
        _ => 0,
    };
    n_bytes(attributes) + attributes.iter().map(text).sum::<usize>()
}

fn n_bytes<T>(vector: &Vec<T>) -> usize {
    vector.capacity() * size_of::<T>() + ALLOCATION_BYTES
}

/// A key with a value. Texts are data of a foreign process, escaped.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// The key.
    pub key: &'static str,
    /// The value.
    pub value: AttributeValue,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Seconds.
    Seconds(f64),
    /// Yes or no.
    Flag(bool),
}

/// Leads from a span to another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The trace of the other one.
    pub trace: TraceId,
    /// The other one.
    pub span: SpanId,
    /// What it has to do with it.
    pub attributes: Vec<Attribute>,
}

impl Attribute {
    pub(super) fn text(key: &'static str, value: impl Into<String>) -> Self {
        let value = AttributeValue::Text(value.into());
        Self { key, value }
    }

    pub(super) fn count(key: &'static str, value: usize) -> Self {
        let value = AttributeValue::Number(i64::try_from(value).unwrap_or(i64::MAX));
        Self { key, value }
    }

    pub(super) fn flag(key: &'static str, value: bool) -> Self {
        let value = AttributeValue::Flag(value);
        Self { key, value }
    }

    pub(super) fn seconds(key: &'static str, value: std::time::Duration) -> Self {
        let value = AttributeValue::Seconds(value.as_secs_f64());
        Self { key, value }
    }
}
