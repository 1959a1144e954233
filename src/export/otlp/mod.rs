//! OpenTelemetry: our spans and families in the types of its SDK, whose exporters send them over OTLP.

mod metrics;
mod spans;

pub use metrics::{Families, Instruments, depth_histograms};
pub use spans::{ProcessResource, resource_of, span_data};
