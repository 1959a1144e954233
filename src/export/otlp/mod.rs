//! OpenTelemetry: our spans in the types of its SDK, whose exporters send them over OTLP, and our families as requests
//! of OTLP.

mod metrics;
mod spans;

pub use metrics::{Collection, Collector, MetricsRequest};
pub use spans::{ProcessResource, resource_of, span_data};
