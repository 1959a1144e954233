//! Families as requests of OTLP (opentelemetry-proto, `metrics.proto` and `metrics_service.proto`).
//!
//! OpenTelemetry's SDK is not between: its numbers belong to instruments, which begin to count when they are made and
//! have room for so many series, and what it has collected can only be sent as a whole. Here each counter says since
//! when it counts, what was told is known series by series, and a request is as large as receivers take.

use crate::metrics::{AgentView, DataPoint, Family, Histogram, Kind, MetricDef, Value, collect};
use crate::time::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_sdk::metrics::Temporality;
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Bytes in one request: receivers take 4 MiB over gRPC unless they are told otherwise.
const REQUEST_BYTES_MAX: usize = 2 << 20;
/// What each message of protobuf takes beside its content: a key and a length.
const FRAMING: usize = 8;
/// Series whose counters have grown by what nobody was told. If there are more, those that have ended are forgotten.
const UNTOLD_MAX: usize = 100_000;

/// Families as requests, and what of them has been told.
#[derive(Debug)]
pub struct Collector {
    header: Arc<Header>,
    temporality: Temporality,
    /// What was collected last, and when.
    before: Option<(Arc<AgentView>, Timestamp)>,
    /// By how much counters have grown since the receiver was told, by metric.
    untold: BTreeMap<&'static str, BTreeMap<Series, Untold>>,
}

/// What is the same in all requests.
#[derive(Debug)]
struct Header {
    resource: Resource,
    scope: InstrumentationScope,
}

/// What tells a series from others of its metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    labels: Vec<String>,
    more: Arc<[(String, String)]>,
}

impl Series {
    fn of(point: &DataPoint) -> Self {
        Self {
            labels: point.labels.clone(),
            more: Arc::clone(&point.more),
        }
    }
}

/// What nobody was told of a series.
#[derive(Debug, Clone, Copy)]
struct Untold {
    more: f64,
    since: Timestamp,
}

impl Collector {
    /// One that has told nothing.
    pub fn new(resource: &opentelemetry_sdk::Resource, temporality: Temporality) -> Self {
        let scope = InstrumentationScope {
            name: "asyncio-agent".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let resource = resource.into();
        Self {
            header: Arc::new(Header { resource, scope }),
            temporality,
            before: None,
            untold: BTreeMap::new(),
        }
    }

    /// Tells by this temporality from now on.
    pub fn set_temporality(&mut self, temporality: Temporality) {
        self.temporality = temporality;
    }

    /// What is to be told of `view`, `now`.
    pub fn collect(&mut self, view: &Arc<AgentView>, now: Timestamp) -> Collection {
        self.note_increase(view);
        let n_untold: usize = self.untold.values().map(BTreeMap::len).sum();
        let keeps_ended = self.temporality == Temporality::Delta && n_untold <= UNTOLD_MAX;
        let mut families = collect(view);
        for family in families
            .iter_mut()
            .filter(|it| it.def.kind == Kind::Counter)
        {
            self.tell(family, keeps_ended);
        }
        self.before = Some((Arc::clone(view), now));
        let points = families.into_iter().flat_map(|Family { def, points }| {
            let points = points.into_iter();
            points.map(move |point| (def, point))
        });
        Collection {
            header: Arc::clone(&self.header),
            temporality: self.temporality,
            at: now,
            points: points.collect(),
        }
    }

    /// The receiver took what was in this request.
    pub fn note_taken(&mut self, request: &MetricsRequest) {
        for (metric, series) in &request.counters {
            if let Some(untold) = self.untold.get_mut(metric) {
                untold.remove(series);
            }
        }
    }

    fn note_increase(&mut self, view: &Arc<AgentView>) {
        let (families, at) = match &self.before {
            Some((before, at)) => (collect(&view.increase(before)), *at),
            None => (collect(view), Timestamp::default()),
        };
        for Family { def, points } in &families {
            if def.kind != Kind::Counter {
                continue;
            }
            let untold = self.untold.entry(def.name).or_default();
            for point in points {
                if let Value::Number(more) = point.value
                    && more > 0.0
                {
                    let nothing = Untold {
                        more: 0.0,
                        since: point.since.max(at),
                    };
                    untold.entry(Series::of(point)).or_insert(nothing).more += more;
                }
            }
        }
    }

    /// Makes the points of a counter tell what they grew by, if that is to be told; `keeps_ended`: also those of
    /// series that are there no more.
    fn tell(&mut self, family: &mut Family, keeps_ended: bool) {
        let untold = self.untold.entry(family.def.name).or_default();
        let at = self
            .before
            .as_ref()
            .map_or_else(Timestamp::default, |(_, at)| *at);
        let mut ended: BTreeSet<Series> = untold.keys().cloned().collect();
        for point in &mut family.points {
            let series = Series::of(point);
            ended.remove(&series);
            if self.temporality == Temporality::Delta {
                let untold = untold.get(&series).copied();
                let since = point.since.max(at);
                point.since = untold.map_or(since, |it| it.since);
                point.value = Value::Number(untold.map_or(0.0, |it| it.more));
            }
        }
        for series in ended {
            if !keeps_ended {
                untold.remove(&series);
            } else if let Some(Untold { more, since }) = untold.get(&series).copied() {
                family.points.push(DataPoint {
                    labels: series.labels,
                    more: series.more,
                    since,
                    value: Value::Number(more),
                });
            }
        }
    }
}

/// What is to be told at one moment; gives one request after the other.
#[derive(Debug)]
pub struct Collection {
    header: Arc<Header>,
    temporality: Temporality,
    at: Timestamp,
    points: VecDeque<(&'static MetricDef, DataPoint)>,
}

/// One request.
#[derive(Debug)]
pub struct MetricsRequest {
    /// As it is sent.
    pub message: ExportMetricsServiceRequest,
    /// How many data points it has.
    pub n_points: usize,
    /// The series of counters in it.
    counters: Vec<(&'static str, Series)>,
}

impl Collection {
    /// The next request, with as many data points as receivers take at once; `None` if all was given. A metric may
    /// stand in several requests.
    pub fn next_request(&mut self) -> Option<MetricsRequest> {
        let (mut metrics, mut counters) = (Vec::<Metric>::new(), Vec::new());
        let mut n_bytes = self.header.resource.encoded_len() + self.header.scope.encoded_len();
        let (mut n_points, mut latest) = (0, None);
        while let Some((def, point)) = self.points.front() {
            let def = *def;
            let new = (latest != Some(def.name)).then(|| self.metric(def));
            let data = self.data_point(def, point);
            n_bytes += FRAMING + data.encoded_len();
            n_bytes += new.as_ref().map_or(0, |it| FRAMING + it.encoded_len());
            if n_points > 0 && n_bytes > REQUEST_BYTES_MAX {
                break;
            }
            if def.kind == Kind::Counter {
                counters.push((def.name, Series::of(point)));
            }
            metrics.extend(new);
            if let Some(metric) = metrics.last_mut() {
                data.put_into(metric);
            }
            (n_points, latest) = (n_points + 1, Some(def.name));
            self.points.pop_front();
        }
        let Header { resource, scope } = &*self.header;
        let request = || MetricsRequest {
            message: ExportMetricsServiceRequest {
                resource_metrics: vec![ResourceMetrics {
                    resource: Some(resource.clone()),
                    scope_metrics: vec![ScopeMetrics {
                        scope: Some(scope.clone()),
                        metrics,
                        schema_url: String::new(),
                    }],
                    schema_url: String::new(),
                }],
            },
            n_points,
            counters,
        };
        (n_points > 0).then(request)
    }

    /// A metric without data points.
    fn metric(&self, def: &MetricDef) -> Metric {
        let (name, unit) = def.in_opentelemetry();
        let told = |delta: bool| match delta {
            true => AggregationTemporality::Delta.into(),
            false => AggregationTemporality::Cumulative.into(),
        };
        let data = match def.kind {
            Kind::Gauge => metric::Data::Gauge(Gauge::default()),
            Kind::Counter => metric::Data::Sum(Sum {
                aggregation_temporality: told(self.temporality == Temporality::Delta),
                is_monotonic: true,
                ..Sum::default()
            }),
            Kind::Histogram => {
                metric::Data::Histogram(opentelemetry_proto::tonic::metrics::v1::Histogram {
                    aggregation_temporality: told(self.temporality != Temporality::Cumulative),
                    ..Default::default()
                })
            }
        };
        Metric {
            name: name.to_owned(),
            description: def.help.to_owned(),
            unit: unit.to_owned(),
            data: Some(data),
            ..Metric::default()
        }
    }

    fn data_point(&self, def: &MetricDef, point: &DataPoint) -> OtlpPoint {
        let time_unix_nano = nanoseconds(self.at);
        match &point.value {
            Value::Number(value) => OtlpPoint::Number(NumberDataPoint {
                attributes: attributes(def, point),
                start_time_unix_nano: match def.kind {
                    Kind::Counter => nanoseconds(point.since.min(self.at)),
                    // It tells a moment.
                    Kind::Gauge | Kind::Histogram => 0,
                },
                time_unix_nano,
                value: Some(number_data_point::Value::AsDouble(*value)),
                ..NumberDataPoint::default()
            }),
            // It describes the tasks of one moment, like everything else here, which OTLP has no word for.
            Value::Histogram(Histogram {
                buckets,
                count,
                sum,
            }) => OtlpPoint::Histogram(HistogramDataPoint {
                attributes: attributes(def, point),
                start_time_unix_nano: time_unix_nano,
                time_unix_nano,
                count: *count,
                sum: Some(*sum),
                bucket_counts: counts_of_buckets(buckets, *count),
                explicit_bounds: buckets.iter().map(|(bound, _)| *bound).collect(),
                ..HistogramDataPoint::default()
            }),
        }
    }
}

enum OtlpPoint {
    Number(NumberDataPoint),
    Histogram(HistogramDataPoint),
}

impl OtlpPoint {
    fn encoded_len(&self) -> usize {
        match self {
            Self::Number(point) => point.encoded_len(),
            Self::Histogram(point) => point.encoded_len(),
        }
    }

    fn put_into(self, metric: &mut Metric) {
        match (&mut metric.data, self) {
            (Some(metric::Data::Gauge(gauge)), Self::Number(point)) => {
                gauge.data_points.push(point)
            }
            (Some(metric::Data::Sum(sum)), Self::Number(point)) => sum.data_points.push(point),
            (Some(metric::Data::Histogram(histogram)), Self::Histogram(point)) => {
                histogram.data_points.push(point);
            }
            // The catalogue says what a family has.
            _ => {}
        }
    }
}

/// How many numbers there are in each bucket, and beyond the last one.
fn counts_of_buckets(buckets: &[(f64, u64)], count: u64) -> Vec<u64> {
    let up_to = buckets.iter().map(|(_, up_to)| *up_to).chain([count]);
    let mut below = 0;
    up_to
        .map(|up_to| up_to.saturating_sub(std::mem::replace(&mut below, up_to)))
        .collect()
}

fn attributes(def: &MetricDef, point: &DataPoint) -> Vec<KeyValue> {
    let own = def.labels.iter().copied().zip(&point.labels);
    let more = point.more.iter().map(|(key, value)| (&**key, value));
    own.chain(more)
        .map(|(key, value)| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(any_value::Value::StringValue(value.clone())),
            }),
            ..KeyValue::default()
        })
        .collect()
}

fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.since_epoch().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Pid, ProcessId, StartTime};
    use crate::metrics::{ProcessView, TargetView, Top, Totals};
    use std::time::Duration;

    const STARTED: &str = "asyncio.tasks.started";

    fn at(seconds: u64) -> Timestamp {
        Timestamp::new(Duration::from_secs(seconds))
    }

    fn totals(started: u64) -> Totals {
        Totals {
            started,
            ..Totals::default()
        }
    }

    fn id(number: usize) -> ProcessId {
        ProcessId {
            pid: Pid::new(i32::try_from(number + 1).unwrap()).unwrap(),
            start: StartTime(1),
        }
    }

    /// A target whose processes have started so many tasks each.
    fn target(name: &str, since: u64, started: &[u64]) -> TargetView {
        let process = |(number, started): (usize, &u64)| {
            Arc::new(ProcessView {
                since: at(since),
                totals: totals(*started),
                ..ProcessView::new(id(number))
            })
        };
        TargetView {
            name: name.into(),
            since: at(since),
            processes: started.iter().enumerate().map(process).collect(),
            totals: totals(started.iter().sum()),
            ..TargetView::default()
        }
    }

    fn view(targets: Vec<TargetView>) -> Arc<AgentView> {
        Arc::new(AgentView {
            targets,
            since: at(1),
            top: Top::default(),
            ..AgentView::default()
        })
    }

    fn labeled(mut target: TargetView, team: &str) -> TargetView {
        target.labels = [("team".to_owned(), team.to_owned())].into();
        target
    }

    fn per_process(mut target: TargetView) -> TargetView {
        target.per_process = true;
        target
    }

    fn collector(temporality: Temporality) -> Collector {
        let resource = opentelemetry_sdk::Resource::builder_empty().build();
        Collector::new(&resource, temporality)
    }

    /// What a request tells of started tasks: labels without keys, start in seconds, value.
    fn started(request: &MetricsRequest) -> Vec<(String, u64, f64)> {
        let mut told = Vec::new();
        for metric in &request.message.resource_metrics[0].scope_metrics[0].metrics {
            let Some(metric::Data::Sum(sum)) = &metric.data else {
                continue;
            };
            for point in sum.data_points.iter().filter(|_| metric.name == STARTED) {
                let labels = point.attributes.iter().map(|it| {
                    match it.value.clone().and_then(|it| it.value) {
                        Some(any_value::Value::StringValue(text)) => text,
                        other => panic!("{other:?}"),
                    }
                });
                let labels: Vec<String> = labels.collect();
                let Some(number_data_point::Value::AsDouble(value)) = point.value else {
                    panic!("no number");
                };
                let start = point.start_time_unix_nano / 1_000_000_000;
                told.push((labels.join(" "), start, value));
            }
        }
        told
    }

    /// What is told of started tasks; the receiver takes it or not.
    fn told(
        collector: &mut Collector,
        view: &Arc<AgentView>,
        now: u64,
        takes: bool,
    ) -> Vec<(String, u64, f64)> {
        let mut collection = collector.collect(view, at(now));
        let mut all = Vec::new();
        while let Some(request) = collection.next_request() {
            all.extend(started(&request));
            if takes {
                collector.note_taken(&request);
            }
        }
        all
    }

    fn one(labels: &str, start: u64, value: f64) -> Vec<(String, u64, f64)> {
        vec![(labels.to_owned(), start, value)]
    }

    #[test]
    fn a_counter_began_when_it_did_whatever_happens() {
        let mut collector = collector(Temporality::Cumulative);
        let shop = |started| target("shop", 5, &[started]);
        assert_eq!(
            told(&mut collector, &view(vec![shop(3)]), 10, true),
            one("shop", 5, 3.0)
        );
        // Many more series, a failure, the other temporality and back.
        let mut many: Vec<_> = (0..3_000)
            .map(|it| target(&format!("t{it}"), 15, &[it]))
            .collect();
        many.push(shop(4));
        let many = view(many);
        for (now, takes, temporality) in [
            (20, true, Temporality::Cumulative),
            (30, false, Temporality::Cumulative),
            (40, false, Temporality::Delta),
            (50, true, Temporality::Cumulative),
            (60, true, Temporality::LowMemory),
        ] {
            collector.set_temporality(temporality);
            let told = told(&mut collector, &many, now, takes);
            assert_eq!(told.len(), 3_001);
            if temporality != Temporality::Delta {
                assert!(told.contains(&("shop".to_owned(), 5, 4.0)));
                assert!(told.contains(&("t2999".to_owned(), 15, 2_999.0)));
            }
        }
        // Another target of this name.
        let other = view(vec![target("shop", 61, &[1])]);
        assert_eq!(told(&mut collector, &other, 70, true), one("shop", 61, 1.0));
    }

    #[test]
    fn each_increase_is_told_once() {
        let mut it = collector(Temporality::Delta);
        let shop = |started| vec![target("shop", 5, &[started])];
        assert_eq!(told(&mut it, &view(shop(3)), 10, true), one("shop", 5, 3.0));
        assert_eq!(
            told(&mut it, &view(shop(3)), 20, true),
            one("shop", 10, 0.0)
        );
        // What was not taken is told again, since when it was not.
        assert_eq!(
            told(&mut it, &view(shop(5)), 30, false),
            one("shop", 20, 2.0)
        );
        assert_eq!(
            told(&mut it, &view(shop(9)), 40, false),
            one("shop", 20, 6.0)
        );
        assert_eq!(
            told(&mut it, &view(shop(9)), 50, true),
            one("shop", 20, 6.0)
        );
        // Another target of this name, that has counted further already.
        let other = view(vec![target("shop", 55, &[10])]);
        assert_eq!(told(&mut it, &other, 60, true), one("shop", 55, 10.0));
        it.set_temporality(Temporality::Cumulative);
        let other = view(vec![target("shop", 55, &[12])]);
        assert_eq!(told(&mut it, &other, 70, true), one("shop", 55, 12.0));
        it.set_temporality(Temporality::Delta);
        let other = view(vec![target("shop", 55, &[13])]);
        assert_eq!(told(&mut it, &other, 80, true), one("shop", 70, 1.0));
    }

    #[test]
    fn other_labels_do_not_tell_an_increase_again() {
        let mut it = collector(Temporality::Delta);
        let shop = |started: &[u64], team| labeled(target("shop", 5, started), team);
        assert_eq!(
            told(&mut it, &view(vec![shop(&[3, 4], "a")]), 10, true),
            one("shop a", 5, 7.0)
        );
        assert_eq!(
            told(&mut it, &view(vec![shop(&[5, 4], "b")]), 20, true),
            one("shop b", 10, 2.0)
        );
        // Not taken under the labels that it had then.
        let lost = told(&mut it, &view(vec![shop(&[6, 4], "b")]), 30, false);
        assert_eq!(lost, one("shop b", 20, 1.0));
        let single = view(vec![per_process(shop(&[6, 7], "c"))]);
        let mut both = told(&mut it, &single, 40, true);
        both.sort_by(|one, other| one.0.cmp(&other.0));
        let expected = [
            ("shop b", 20, 1.0),
            ("shop c 1", 30, 0.0),
            ("shop c 2", 30, 3.0),
        ];
        assert_eq!(
            both,
            expected.map(|(labels, start, value)| (labels.to_owned(), start, value))
        );
        assert_eq!(
            told(&mut it, &view(vec![shop(&[6, 8], "c")]), 50, true),
            one("shop c", 40, 1.0)
        );
    }

    #[test]
    fn requests_are_as_large_as_receivers_take_and_have_all_series_once() {
        let mut it = collector(Temporality::Delta);
        let long = "x".repeat(500);
        let targets = 0..6_000_u64;
        let targets = targets.map(|n| target(&format!("{long}{n}"), 5, &[n]));
        let view = view(targets.collect());
        let mut collection = it.collect(&view, at(10));
        let (mut n_requests, mut n_points, mut values) = (0, 0, Vec::new());
        while let Some(request) = collection.next_request() {
            assert!(request.message.encoded_len() <= REQUEST_BYTES_MAX);
            assert!(
                request.message.resource_metrics[0].scope_metrics[0]
                    .scope
                    .is_some()
            );
            n_requests += 1;
            n_points += request.n_points;
            let of_request = started(&request);
            // Every other request is taken.
            if n_requests % 2 == 0 {
                it.note_taken(&request);
            }
            values.extend(
                of_request
                    .into_iter()
                    .map(|(_, _, value)| (value, n_requests % 2 == 0)),
            );
        }
        let families = collect(&view);
        let all: usize = families.iter().map(|family| family.points.len()).sum();
        assert!(n_requests > 3 && n_points == all && values.len() == 6_000);
        let again = told(&mut it, &view, 20, true);
        for ((value, taken), (labels, _, more)) in values.iter().zip(&again) {
            let expected = if *taken { 0.0 } else { *value };
            assert_eq!(*more, expected, "{}", &labels[500..]);
        }
    }

    #[test]
    fn buckets_are_not_added_up() {
        assert_eq!(
            counts_of_buckets(&[(1.0, 2), (2.0, 2), (4.0, 5)], 6),
            [2, 0, 3, 1]
        );
        assert_eq!(counts_of_buckets(&[], 3), [3]);
    }
}
