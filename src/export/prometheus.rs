//! Families for Prometheus, through the `prometheus` crate: an own collector makes them new from the
//! latest view at every scrape, so a series that has no source any more is gone at once.

use super::openmetrics;
use crate::metrics::{
    AgentView, CATALOG, Family, Histogram, Kind, Value, collect_beside, exemplars, has_folded,
};
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto;
use prometheus::{Registry, TextEncoder};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The content type of what [`PrometheusExporter::scrape`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes the text exposition format.
pub struct PrometheusExporter {
    registry: Registry,
    latest: Arc<Latest>,
    /// Series that are shown besides those of a view.
    n_others: Arc<AtomicUsize>,
    n_cut: Arc<AtomicU64>,
}

/// Where views come from.
type Latest = dyn Fn() -> Arc<AgentView> + Send + Sync;

impl fmt::Debug for PrometheusExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusExporter").finish_non_exhaustive()
    }
}

impl PrometheusExporter {
    /// An exporter that asks `latest` for what to show at every scrape.
    ///
    /// # Errors
    ///
    /// When a metric of the catalogue is malformed; a test makes sure that none is.
    pub fn new(
        latest: impl Fn() -> Arc<AgentView> + Send + Sync + 'static,
    ) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let latest: Arc<Latest> = Arc::new(latest);
        let n_others = Arc::default();
        let n_cut = Arc::default();
        let collector = ViewCollector::new(
            Arc::clone(&latest),
            Arc::clone(&n_others),
            Arc::clone(&n_cut),
        )?;
        registry.register(Box::new(collector))?;
        Ok(Self {
            registry,
            latest,
            n_others,
            n_cut,
        })
    }

    /// Counts the scrapes in which series were left out.
    pub fn n_cut(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.n_cut)
    }

    /// From now on it also shows the usual `process_*` of this process.
    ///
    /// # Errors
    ///
    /// When they are shown already.
    pub fn show_process(&self) -> Result<(), prometheus::Error> {
        let process = ProcessCollector::for_self();
        let families = process.collect();
        let n_series = families.iter().map(|it| it.get_metric().len()).sum();
        self.n_others.store(n_series, Ordering::Relaxed);
        self.registry.register(Box::new(process))
    }

    /// What a scrape gets that asks for OpenMetrics.
    pub fn scrape_openmetrics(&self) -> String {
        // What was counted by then has been counted in a later view, too.
        let exemplars = exemplars(&(self.latest)());
        openmetrics::write(&self.registry.gather(), exemplars)
    }

    /// What a scrape gets.
    ///
    /// # Errors
    ///
    /// When the crate refuses to write a family.
    pub fn scrape(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

struct ViewCollector {
    descriptions: Vec<Desc>,
    latest: Arc<Latest>,
    n_others: Arc<AtomicUsize>,
    n_cut: Arc<AtomicU64>,
}

impl ViewCollector {
    fn new(
        latest: Arc<Latest>,
        n_others: Arc<AtomicUsize>,
        n_cut: Arc<AtomicU64>,
    ) -> Result<Self, prometheus::Error> {
        let descriptions = CATALOG.iter().map(|def| {
            let labels = def.labels.iter().map(|label| (*label).to_owned());
            Desc::new(
                def.name.to_owned(),
                def.help.to_owned(),
                labels.collect(),
                HashMap::new(),
            )
        });
        Ok(Self {
            descriptions: descriptions.collect::<Result<_, _>>()?,
            latest,
            n_others,
            n_cut,
        })
    }
}

impl Collector for ViewCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let view = (self.latest)();
        let n_others = self.n_others.load(Ordering::Relaxed);
        let families = collect_beside(&view, n_others);
        if has_folded(&families) {
            self.n_cut.fetch_add(1, Ordering::Relaxed);
        }
        families.into_iter().map(convert).collect()
    }
}

fn convert(family: Family) -> proto::MetricFamily {
    let Family { def, points } = family;
    let metrics = points.into_iter().map(|point| {
        let own = def.labels.iter().zip(point.labels);
        let own = own.map(|(name, value)| label((*name).to_owned(), value));
        let more = point.more.iter();
        let more = more.map(|(name, value)| label(name.clone(), value.clone()));
        let mut metric = proto::Metric::from_label(own.chain(more).collect());
        match (def.kind, point.value) {
            (Kind::Counter, Value::Number(value)) => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            (_, Value::Number(value)) => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
            (_, Value::Histogram(counted)) => metric.set_histogram(histogram(&counted)),
        }
        metric
    });
    let mut converted = proto::MetricFamily::default();
    converted.set_name(def.name.to_owned());
    converted.set_help(def.help.to_owned());
    converted.set_field_type(match def.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge => proto::MetricType::GAUGE,
        Kind::Histogram => proto::MetricType::HISTOGRAM,
    });
    converted.set_metric(metrics.collect());
    converted
}

fn label(name: String, value: String) -> proto::LabelPair {
    let mut label = proto::LabelPair::default();
    label.set_name(name);
    label.set_value(value);
    label
}

fn histogram(counted: &Histogram) -> proto::Histogram {
    let buckets = counted.buckets.iter().map(|(bound, count)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(*count);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counted.count);
    histogram.set_sample_sum(counted.sum);
    histogram
}

#[cfg(test)]
mod tests;
