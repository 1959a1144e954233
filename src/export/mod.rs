//! Metric families and spans as other systems want them. Nothing here owns a socket.

pub mod openmetrics;
pub mod otlp;
pub mod prometheus;
