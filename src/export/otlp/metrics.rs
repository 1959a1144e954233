//! Families as instruments of OpenTelemetry's SDK.
//!
//! Numbers are told by observable instruments: they are asked when metrics are collected, so series of targets
//! that are gone end. The histogram of depths describes the tasks of one moment, like everything else here,
//! but the SDK only knows histograms that grow. So it is recorded anew each time, by a provider of its own.

use crate::metrics::{CATALOG, DataPoint, Family, Histogram, Kind, MetricDef, Value};
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    Instrument, InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Stream, Temporality,
};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Who made the metrics.
fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("asyncio-agent")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}

/// Series of one metric that there is room for at first. The SDK takes the memory of all of them at once, and
/// adds up what is beyond.
const SERIES_AT_FIRST: usize = 256;

/// Families as what the SDK's exporters send.
///
/// With [`Temporality::Delta`] counters tell what came since the collection before, or since the last one
/// before it that was not given back.
#[derive(Debug)]
pub struct Collector {
    resource: Resource,
    temporality: Temporality,
    series_max: usize,
    instruments: Instruments,
    /// What the receiver has.
    taken: Option<Arc<[Family]>>,
}

impl Collector {
    /// One whose counters begin at zero now.
    pub fn new(resource: Resource, temporality: Temporality) -> Self {
        Self {
            instruments: Instruments::new(&resource, temporality, SERIES_AT_FIRST),
            series_max: SERIES_AT_FIRST,
            resource,
            temporality,
            taken: None,
        }
    }

    /// Tells by this temporality from now on.
    pub fn set_temporality(&mut self, temporality: Temporality) {
        if temporality != self.temporality {
            self.temporality = temporality;
            self.renew();
        }
    }

    /// Families of one moment: their numbers, and their histograms.
    ///
    /// # Errors
    ///
    /// When the SDK refuses.
    pub fn collect(
        &mut self,
        families: Arc<[Family]>,
    ) -> Result<[ResourceMetrics; 2], opentelemetry_sdk::error::OTelSdkError> {
        let points = families.iter().map(|family| family.points.len());
        let n_series = points.max().unwrap_or(0);
        if n_series > self.series_max {
            self.series_max = n_series.next_power_of_two();
            self.renew();
        }
        let histograms = depth_histograms(self, &families)?;
        Ok([self.instruments.collect(families)?, histograms])
    }

    /// The receiver took the numbers of the latest collection.
    pub fn note_taken(&mut self) {
        self.taken = Some(self.instruments.current());
    }

    /// The receiver did not take them: what counters grew by is told again with the next ones.
    pub fn give_back(&mut self) {
        if self.temporality == Temporality::Delta {
            self.renew();
        }
    }

    /// Makes new instruments, which have told what the receiver has.
    fn renew(&mut self) {
        self.instruments = Instruments::new(&self.resource, self.temporality, self.series_max);
        if let Some(taken) = &self.taken {
            // It fails only after an end, which nobody brought about.
            let _ = self.instruments.collect(Arc::clone(taken));
        }
    }
}

/// All instruments that tell numbers, and what they tell.
struct Instruments {
    current: Arc<Mutex<Arc<[Family]>>>,
    reader: Shared,
    _provider: SdkMeterProvider,
}

impl std::fmt::Debug for Instruments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instruments").finish_non_exhaustive()
    }
}

impl Instruments {
    fn new(resource: &Resource, temporality: Temporality, series_max: usize) -> Self {
        let reader = Shared::new(temporality);
        let provider = provider(resource, &reader, series_max);
        let meter = provider.meter_with_scope(scope());
        let current: Arc<Mutex<Arc<[Family]>>> = Arc::new(Mutex::new(Arc::default()));
        let numbers = CATALOG.iter().filter(|def| def.kind != Kind::Histogram);
        for def in numbers {
            let current = Arc::clone(&current);
            register(&meter, def, move || points_of(&shown(&current), def));
        }
        Self {
            current,
            reader,
            _provider: provider,
        }
    }

    fn current(&self) -> Arc<[Family]> {
        shown(&self.current)
    }

    fn collect(
        &self,
        families: Arc<[Family]>,
    ) -> Result<ResourceMetrics, opentelemetry_sdk::error::OTelSdkError> {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = families;
        self.reader.collected()
    }
}

fn shown(current: &Mutex<Arc<[Family]>>) -> Arc<[Family]> {
    // The lock guards nothing but the swap of a pointer.
    Arc::clone(&current.lock().unwrap_or_else(PoisonError::into_inner))
}

fn provider(resource: &Resource, reader: &Shared, series_max: usize) -> SdkMeterProvider {
    SdkMeterProvider::builder()
        .with_resource(resource.clone())
        .with_reader(reader.clone())
        .with_view(move |_: &Instrument| {
            let stream = Stream::builder().with_cardinality_limit(series_max);
            stream.build().ok()
        })
        .build()
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
fn depth_histograms(
    collector: &Collector,
    families: &[Family],
) -> Result<ResourceMetrics, opentelemetry_sdk::error::OTelSdkError> {
    let reader = Shared::new(collector.temporality);
    let provider = provider(&collector.resource, &reader, collector.series_max);
    let meter = provider.meter_with_scope(scope());
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
    reader.collected()
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

impl Shared {
    fn new(temporality: Temporality) -> Self {
        let reader = ManualReader::builder().with_temporality(temporality);
        Self(Arc::new(reader.build()))
    }

    fn collected(&self) -> Result<ResourceMetrics, opentelemetry_sdk::error::OTelSdkError> {
        let mut metrics = ResourceMetrics::default();
        self.0.collect(&mut metrics)?;
        Ok(metrics)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};

    /// A counter with as many series as values.
    fn family(values: &[f64]) -> Arc<[Family]> {
        let def = CATALOG.iter().find(|def| def.kind == Kind::Counter);
        let points = values.iter().enumerate();
        let points = points.map(|(number, value)| DataPoint {
            labels: Vec::new(),
            more: [("number".to_owned(), number.to_string())].into(),
            value: Value::Number(*value),
        });
        let family = Family {
            def: def.expect("there is one"),
            points: points.collect(),
        };
        [family].into()
    }

    /// The values that are told, in order.
    fn told(collector: &mut Collector, values: &[f64]) -> Vec<f64> {
        let collected = collector.collect(family(values));
        let [numbers, _] = collected.expect("the SDK takes it");
        let metrics = numbers.scope_metrics().flat_map(|scope| scope.metrics());
        let mut values = Vec::new();
        for metric in metrics {
            if let AggregatedMetrics::F64(MetricData::Sum(sum)) = metric.data() {
                values.extend(sum.data_points().map(|point| point.value()));
            }
        }
        values.sort_by(f64::total_cmp);
        values
    }

    fn collector(temporality: Temporality) -> Collector {
        Collector::new(Resource::builder_empty().build(), temporality)
    }

    #[test]
    fn however_many_series_there_are_none_are_added_up() {
        for temporality in [Temporality::Cumulative, Temporality::Delta] {
            let mut collector = collector(temporality);
            for count in [3_u32, 5_000, 20_000] {
                let values: Vec<f64> = (0..count)
                    .map(|it| f64::from(it) * f64::from(count))
                    .collect();
                assert_eq!(told(&mut collector, &values).len(), values.len());
                collector.note_taken();
            }
        }
    }

    #[test]
    fn what_counters_grew_by_is_told_until_it_is_taken() {
        let mut collector = collector(Temporality::Delta);
        assert_eq!(told(&mut collector, &[5.0]), [5.0]);
        collector.note_taken();
        assert_eq!(told(&mut collector, &[7.0]), [2.0]);
        collector.give_back();
        assert_eq!(told(&mut collector, &[8.0]), [3.0]);
        collector.note_taken();
        // More series than there was room for.
        let mut many = vec![1.0; SERIES_AT_FIRST + 1];
        many[0] = 10.0;
        assert_eq!(told(&mut collector, &many).iter().sum::<f64>(), 258.0);
        collector.note_taken();
        collector.set_temporality(Temporality::Cumulative);
        assert_eq!(told(&mut collector, &[11.0]), [11.0]);
        collector.note_taken();
        collector.set_temporality(Temporality::Delta);
        assert_eq!(told(&mut collector, &[13.0]), [2.0]);
    }
}
