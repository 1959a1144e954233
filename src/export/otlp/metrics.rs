//! Families as instruments of OpenTelemetry's SDK.
//!
//! Numbers are told by observable instruments: they are asked when metrics are collected, so series of targets
//! that are gone end. The histogram of depths describes the tasks of one moment, like everything else here,
//! but the SDK only knows histograms that grow. So it is recorded anew each time, by a provider of its own
//! ([`depth_histograms`]).

use crate::metrics::{CATALOG, DataPoint, Family, Histogram, Kind, MetricDef, Value};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality,
};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Who made the metrics.
const SCOPE: &str = "asyncio-agent";

/// Where families come from: all of one moment.
type Source = dyn Fn() -> Vec<Family> + Send + Sync;

/// The families of the latest collection.
#[derive(Clone)]
pub struct Families {
    source: Arc<Source>,
    latest: Arc<Mutex<Arc<[Family]>>>,
}

impl std::fmt::Debug for Families {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Families").finish_non_exhaustive()
    }
}

impl Families {
    /// Those that `source` gives.
    pub fn new(source: impl Fn() -> Vec<Family> + Send + Sync + 'static) -> Self {
        Self {
            source: Arc::new(source),
            latest: Arc::new(Mutex::new(Arc::default())),
        }
    }

    /// Those of the latest collection.
    pub fn latest(&self) -> Arc<[Family]> {
        // The lock guards nothing but the swap of a pointer.
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&latest)
    }

    fn renew(&self) {
        let new: Arc<[Family]> = (self.source)().into();
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

/// All instruments that tell numbers.
#[derive(Debug)]
pub struct Instruments;

impl Instruments {
    /// Registers them with a provider. For each collection there are new families.
    pub fn register(provider: &SdkMeterProvider, families: &Families) {
        let meter = provider.meter(SCOPE);
        let numbers = CATALOG.iter().filter(|def| def.kind != Kind::Histogram);
        for (number, def) in numbers.enumerate() {
            let families = families.clone();
            let points = move || {
                // Instruments are asked in the order in which they were made.
                if number == 0 {
                    families.renew();
                }
                points_of(&families.latest(), def)
            };
            register(&meter, def, points);
        }
    }
}

/// The value of each series of a metric.
fn points_of(families: &[Family], def: &MetricDef) -> Vec<(Vec<KeyValue>, f64)> {
    let family = families.iter().find(|family| family.def.name == def.name);
    let points = family.into_iter().flat_map(|family| &family.points);
    points
        .filter_map(|point| match point.value {
            Value::Number(value) => Some((attributes(def, point), value)),
            Value::Histogram(_) => None,
        })
        .collect()
}

fn register(
    meter: &Meter,
    def: &'static MetricDef,
    points: impl Fn() -> Vec<(Vec<KeyValue>, f64)> + Send + Sync + 'static,
) {
    let (name, unit) = def.in_opentelemetry();
    match def.kind {
        Kind::Counter => {
            meter
                .f64_observable_counter(name)
                .with_unit(unit)
                .with_description(def.help)
                .with_callback(move |observer| {
                    for (attributes, value) in points() {
                        observer.observe(value, &attributes);
                    }
                })
                .build();
        }
        Kind::Gauge | Kind::Histogram => {
            meter
                .f64_observable_gauge(name)
                .with_unit(unit)
                .with_description(def.help)
                .with_callback(move |observer| {
                    for (attributes, value) in points() {
                        observer.observe(value, &attributes);
                    }
                })
                .build();
        }
    }
}

fn attributes(def: &MetricDef, point: &DataPoint) -> Vec<KeyValue> {
    let own = def.labels.iter().zip(&point.labels);
    let own = own.map(|(key, value)| KeyValue::new(*key, value.clone()));
    let more = point.more.iter();
    own.chain(more.map(|(key, value)| KeyValue::new(key.clone(), value.clone())))
        .collect()
}

/// The histograms of one moment.
///
/// # Errors
///
/// When the SDK refuses.
pub fn depth_histograms(
    resource: Resource,
    families: &[Family],
) -> Result<ResourceMetrics, opentelemetry_sdk::error::OTelSdkError> {
    let reader = Shared(Arc::new(ManualReader::builder().build()));
    let provider = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_reader(reader.clone())
        .build();
    let meter = provider.meter(SCOPE);
    for family in families {
        let histograms = family.points.iter().filter_map(|point| match &point.value {
            Value::Histogram(histogram) => Some((point, histogram)),
            Value::Number(_) => None,
        });
        let mut instrument = None;
        for (point, histogram) in histograms {
            let instrument = instrument.get_or_insert_with(|| {
                let bounds = histogram.buckets.iter().map(|(bound, _)| *bound).collect();
                let (name, unit) = family.def.in_opentelemetry();
                meter
                    .f64_histogram(name)
                    .with_unit(unit)
                    .with_description(family.def.help)
                    .with_boundaries(bounds)
                    .build()
            });
            let attributes = attributes(family.def, point);
            for (value, count) in samples(histogram) {
                for _ in 0..count {
                    instrument.record(value, &attributes);
                }
            }
        }
    }
    let mut metrics = ResourceMetrics::default();
    reader.collect(&mut metrics)?;
    Ok(metrics)
}

/// Numbers that make this histogram: as many in each bucket, and the same sum.
fn samples(histogram: &Histogram) -> Vec<(f64, u64)> {
    let mut buckets = Vec::new();
    let (mut below, mut counted) = (0.0, 0);
    for (bound, up_to) in &histogram.buckets {
        // Depths are whole numbers.
        buckets.push((below + 1.0, *bound, up_to - counted));
        (below, counted) = (*bound, *up_to);
    }
    let beyond = histogram.count.saturating_sub(counted);
    let as_f64 = |count: u64| count as f64;
    let least: f64 = buckets.iter().map(|(low, _, n)| low * as_f64(*n)).sum();
    let most: f64 = buckets.iter().map(|(_, high, n)| high * as_f64(*n)).sum();
    let sum = histogram.sum - (below + 1.0) * as_f64(beyond);
    let share = match most > least {
        true => ((sum - least) / (most - least)).clamp(0.0, 1.0),
        false => 0.0,
    };
    let mut samples: Vec<(f64, u64)> = buckets
        .iter()
        .map(|(low, high, n)| (low + share * (high - low), *n))
        .collect();
    if beyond > 0 {
        let told: f64 = samples.iter().map(|(value, n)| value * as_f64(*n)).sum();
        samples.push(((histogram.sum - told) / as_f64(beyond), beyond));
    }
    samples
}

/// A reader that its maker keeps a hold of.
#[derive(Debug, Clone)]
struct Shared(Arc<ManualReader>);

impl MetricReader for Shared {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}
