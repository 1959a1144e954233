//! Families for Prometheus, through the `prometheus` crate: an own collector makes them new from the
//! latest view at every scrape, so a series that has no source any more is gone at once.

use crate::metrics::{AgentView, CATALOG, Family, Kind, collect};
use prometheus::core::{Collector, Desc};
use prometheus::proto;
use prometheus::{Registry, TextEncoder};
use std::collections::HashMap;
use std::sync::Arc;

/// The content type of what [`PrometheusExporter::scrape`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes the text exposition format.
#[derive(Debug)]
pub struct PrometheusExporter {
    registry: Registry,
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
        registry.register(Box::new(ViewCollector::new(latest)?))?;
        Ok(Self { registry })
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

struct ViewCollector<F> {
    descriptions: Vec<Desc>,
    latest: F,
}

impl<F> ViewCollector<F> {
    fn new(latest: F) -> Result<Self, prometheus::Error> {
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
        })
    }
}

impl<F: Fn() -> Arc<AgentView> + Send + Sync> Collector for ViewCollector<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let view = (self.latest)();
        collect(&view).into_iter().map(convert).collect()
    }
}

fn convert(family: Family) -> proto::MetricFamily {
    let Family { def, points } = family;
    let metrics = points.into_iter().map(|point| {
        let labels = def.labels.iter().zip(point.labels).map(|(name, value)| {
            let mut label = proto::LabelPair::default();
            label.set_name((*name).to_owned());
            label.set_value(value);
            label
        });
        let mut metric = proto::Metric::from_label(labels.collect());
        match def.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(point.value);
                metric.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(point.value);
                metric.set_gauge(gauge);
            }
        }
        metric
    });
    let mut converted = proto::MetricFamily::default();
    converted.set_name(def.name.to_owned());
    converted.set_help(def.help.to_owned());
    converted.set_field_type(match def.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge => proto::MetricType::GAUGE,
    });
    converted.set_metric(metrics.collect());
    converted
}
