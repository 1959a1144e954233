//! What the agent says about its targets, as metric families. Pure: values in, families out.
//!
//! [`CATALOG`] is the only place in which names, labels and help texts are written. How families
//! become bytes is the business of `export`.

mod bound;
mod catalog;
mod collect;
mod exemplar;
mod increase;
mod otel;
mod view;

pub use catalog::{
    AGENT_LIMITS, CATALOG, DROPPED_SPANS, Kind, MetricDef, OTLP_RESULTS, OTLP_SIGNALS,
    PROBLEM_CODES, limit_label,
};
pub use collect::{
    DataPoint, Family, Histogram, OTHER, Value, collect, collect_beside, has_folded,
};
pub use exemplar::{Exemplar, SeriesExemplar, exemplars};
pub use view::{
    AgentView, BuildInfo, ConfigView, OtlpView, ProcessView, ProgramView, RoundOutcome, Scan,
    ScanCounts, TargetView, Top, Totals,
};
