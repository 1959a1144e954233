//! OpenTelemetry: our spans and families in the types of its SDK, whose exporters send them over OTLP.

mod metrics;
mod spans;

pub use metrics::Collector;
pub use spans::{ProcessResource, resource_of, span_data};
