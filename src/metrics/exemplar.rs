//! Traces that show what counters counted, for formats that have exemplars.

use super::catalog::{self, MetricDef};
use super::view::{AgentView, Totals};
use crate::time::Timestamp;

/// A trace in which something is that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemplar {
    /// The trace.
    pub trace: u128,
    /// When the snapshot was taken that it shows.
    pub at: Timestamp,
}

/// The exemplar of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesExemplar {
    /// The metric, a counter.
    pub def: &'static MetricDef,
    /// The labels of the series.
    pub labels: Vec<(String, String)>,
    /// The latest trace of something that it counted.
    pub exemplar: Exemplar,
}

/// All exemplars of `view`: of series of targets, and of those that single processes have or could have.
pub fn exemplars(view: &AgentView) -> Vec<SeriesExemplar> {
    let mut all = Vec::new();
    for target in view.targets.iter().filter(|target| !target.name.is_empty()) {
        let mut add = |totals: &Totals, pid: Option<String>| {
            let Some(exemplar) = totals.cycle_exemplar else {
                return;
            };
            let name = ("target".to_owned(), target.name.as_ref().to_owned());
            let pid = pid.map(|pid| ("pid".to_owned(), pid));
            let more = target.labels.iter().cloned();
            all.push(SeriesExemplar {
                def: &catalog::AWAIT_CYCLE_DETECTIONS_TOTAL,
                labels: std::iter::once(name).chain(more).chain(pid).collect(),
                exemplar,
            });
        };
        add(&target.totals, None);
        for process in &target.processes {
            add(&process.totals, Some(process.id.pid.to_string()));
        }
    }
    all
}
