//! What counters grew by from one view to a later one.

use super::view::{AgentView, OtlpView, ScanCounts, Totals};
use std::collections::BTreeMap;
use std::sync::Arc;

impl AgentView {
    /// The same with what its counters grew by since `before`, an earlier view. A counter that has been zero in
    /// between (of a target, or a process, that was not watched for a while) grew by all that it says.
    ///
    /// It does not matter how series are made of counters: labels and `per_process` may have changed in between.
    #[must_use]
    pub fn increase(&self, before: &Self) -> Self {
        let mut view = self.clone();
        subtract(&mut view.problems, &before.problems);
        subtract(&mut view.limit_hits, &before.limit_hits);
        view.bytes_read = view.bytes_read.saturating_sub(before.bytes_read);
        view.otlp.subtract(&before.otlp);
        let targets: BTreeMap<_, _> = before
            .targets
            .iter()
            .map(|it| ((&it.name, it.since), it))
            .collect();
        let processes = before.targets.iter().flat_map(|target| &target.processes);
        let processes: BTreeMap<_, _> =
            processes.map(|it| ((it.id, it.since), it.totals)).collect();
        for target in &mut view.targets {
            if let Some(before) = targets.get(&(&target.name, target.since)) {
                target.scans.subtract(before.scans);
                target.totals.subtract(before.totals);
            }
            for process in &mut target.processes {
                if let Some(before) = processes.get(&(process.id, process.since)) {
                    Arc::make_mut(process).totals.subtract(*before);
                }
            }
        }
        view
    }
}

impl OtlpView {
    fn subtract(&mut self, before: &Self) {
        subtract(&mut self.exports, &before.exports);
        subtract(&mut self.dropped_spans, &before.dropped_spans);
        self.spans = self.spans.saturating_sub(before.spans);
    }
}

impl Totals {
    fn subtract(&mut self, before: Self) {
        let take = |total: &mut u64, before| *total = total.saturating_sub(before);
        take(&mut self.started, before.started);
        take(&mut self.finished, before.finished);
        take(&mut self.cycle_detections, before.cycle_detections);
        take(&mut self.stuck_detections, before.stuck_detections);
    }
}

impl ScanCounts {
    fn subtract(&mut self, before: Self) {
        for (count, before) in self.0.iter_mut().zip(before.0) {
            *count = count.saturating_sub(before);
        }
    }
}

fn subtract<K: Ord>(counts: &mut BTreeMap<K, u64>, before: &BTreeMap<K, u64>) {
    for (key, count) in counts {
        *count = count.saturating_sub(before.get(key).copied().unwrap_or(0));
    }
}
