//! Metric families as other systems want them.

pub mod prometheus;
