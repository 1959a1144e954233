//! Metric families as other systems want them.

pub mod openmetrics;
pub mod prometheus;
