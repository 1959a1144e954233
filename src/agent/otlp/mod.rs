//! Sending over OTLP: metrics every interval, and snapshots as spans. Rounds never wait for it.
//!
//! The exporter of spans is that of OpenTelemetry's SDK. What is ours is when something is sent, how much may wait,
//! and what becomes of it when the receiver does not take it.

mod answer;
mod health;
mod metrics;
mod metrics_client;
mod once;
mod queue;
mod sampling;
mod spans;
mod transport;

pub use once::{SendError, TraceSender, TracedProcess};
pub(super) use transport::FileContents;
pub use transport::OtlpError;

use super::clock::Clock;
use super::store::Store;
use crate::analysis::Fingerprint;
use crate::config::{OtlpMetricsSettings, OtlpReceiver, OtlpSettings, Settings, SpanSettings};
use crate::export::otlp::ProcessResource;
use crate::ids::ProcessId;
use crate::metrics::{OtlpView, ProgramView};
use crate::procfs::ProcRoot;
use crate::sanitize::escape;
use crate::spans::{SpanLimits, Trace, TraceId, Traces};
use crate::time::{Monotonic, Timestamp};
use health::Health;
use metrics::{MetricsPusher, MetricsRoute, Told};
use metrics_client::MetricsClient;
use opentelemetry_otlp::SpanExporter;
use queue::{Batch, Room};
use sampling::{Amount, Budget, SPANS_LIMIT, TRACES_LIMIT};
use spans::{SpanPusher, SpanQueue};
use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use transport::{Exporter, Transport};

/// How long the last things may take to be sent when the agent ends.
pub(super) const FLUSH_MAX: Duration = Duration::from_secs(3);

/// All that sending over OTLP takes, made of settings and the files that they name.
#[derive(Debug)]
pub(super) struct Prepared {
    settings: OtlpSettings,
    files: FileContents,
    metrics: Option<MetricsClient>,
    spans: Option<Exporter<SpanExporter>>,
}

impl Prepared {
    /// Reads files; sends nothing yet. Must be called within a tokio runtime. `None` if nothing is to be sent.
    ///
    /// # Errors
    ///
    /// When a file that the settings name is of no use.
    pub(super) fn new(settings: &Settings) -> Result<Option<Self>, OtlpError> {
        let Some(settings) = &settings.exporters.otlp else {
            return Ok(None);
        };
        let mut files = FileContents::default();
        let mut transport = |receiver: OtlpReceiver| {
            let transport = Transport::new(&receiver)?;
            files = std::mem::take(&mut files).and(&transport.files());
            Ok::<_, OtlpError>(transport)
        };
        let metrics = settings
            .metrics
            .enabled
            .then(|| transport(settings.metrics_receiver())?.metrics());
        let spans = settings
            .spans
            .enabled
            .then(|| transport(settings.spans_receiver())?.spans());
        let (metrics, spans) = (metrics.transpose()?, spans.transpose()?);
        Ok(Some(Self {
            settings: settings.clone(),
            files,
            metrics,
            spans,
        }))
    }

    /// What stood in the files.
    pub(super) fn files(&self) -> FileContents {
        self.files.clone()
    }
}

/// What sends over OTLP, if anything does.
#[derive(Debug)]
pub(super) struct Otlp {
    clock: Clock,
    store: Arc<Store>,
    health: Arc<Health>,
    host: Arc<str>,
    /// When the machine was started.
    booted: Option<Timestamp>,
    /// Made when metrics are sent for the first time.
    told: Option<Told>,
    metrics: Option<MetricsPusher>,
    spans: Option<SpanPusher>,
    /// Where rounds put snapshots.
    sink: Option<SpanSink>,
    /// What was sent lately; made when spans are sent for the first time.
    budget: Option<Arc<Mutex<Budget>>>,
}

impl Otlp {
    /// Sends nothing yet.
    pub(super) fn new(clock: Clock, store: &Arc<Store>) -> Self {
        let root = ProcRoot::default();
        Self {
            clock,
            store: Arc::clone(store),
            health: Arc::default(),
            host: root.host_name().unwrap_or_default().into(),
            booted: root.boot_time(),
            told: None,
            metrics: None,
            spans: None,
            sink: None,
            budget: None,
        }
    }

    /// How sending goes.
    pub(super) fn counts(&self) -> OtlpView {
        self.health.counts()
    }

    /// The traces in which findings were to be told that have not arrived, since this was asked before.
    pub(super) fn take_lost(&self) -> Vec<(ProcessId, TraceId)> {
        self.health.take_lost()
    }

    /// Where rounds put snapshots; `None` if they are not sent.
    pub(super) fn sink(&self) -> Option<SpanSink> {
        self.sink.clone()
    }

    /// Sends by other settings from now on, if there are any. Counters go on, and spans that wait are sent by the
    /// new settings; without any, what is there is sent by the old ones. Must be called within a tokio runtime.
    pub(super) fn replace(&mut self, prepared: Option<Prepared>) {
        let (mut old_metrics, mut old_spans) = (None, None);
        let settings = prepared.as_ref().map(|it| it.settings.clone());
        let settings = settings.unwrap_or_default();
        let (metrics, spans) = prepared.map_or((None, None), |it| (it.metrics, it.spans));
        match metrics {
            Some(client) => self.send_metrics(client, settings.metrics),
            None => old_metrics = self.metrics.take(),
        }
        match spans {
            Some(exporter) => self.send_spans(exporter, settings.spans),
            None => {
                self.sink = None;
                old_spans = self.spans.take();
            }
        }
        if old_metrics.is_some() || old_spans.is_some() {
            tokio::spawn(stop(old_metrics, old_spans));
        }
    }

    fn send_metrics(&mut self, client: MetricsClient, settings: OtlpMetricsSettings) {
        let told = self
            .told
            .get_or_insert_with(|| metrics::nothing_told(&self.host));
        let temporality = metrics::temporality(settings.temporality);
        metrics::with(told, |told| told.set_temporality(temporality));
        let route = MetricsRoute {
            client: Arc::new(client),
            interval: settings.interval,
        };
        match &self.metrics {
            Some(pusher) => pusher.replace(route),
            None => {
                let store = Arc::clone(&self.store);
                let latest = Arc::new(move || store.latest());
                let (told, health) = (told.clone(), Arc::clone(&self.health));
                self.metrics = Some(MetricsPusher::start(
                    route, self.clock, told, latest, health,
                ));
            }
        }
    }

    fn send_spans(&mut self, exporter: Exporter<SpanExporter>, settings: SpanSettings) {
        let room = Room {
            spans: usize::try_from(settings.queue).unwrap_or(usize::MAX),
            bytes: usize::try_from(settings.queue_bytes).unwrap_or(usize::MAX),
        };
        let queue = match &mut self.spans {
            Some(pusher) => {
                pusher.replace(exporter, room);
                pusher.queue()
            }
            None => {
                let pusher = SpanPusher::start(exporter, room, Arc::clone(&self.health));
                self.spans.insert(pusher).queue()
            }
        };
        let new = || Arc::new(Mutex::new(Budget::new(settings.clone())));
        let budget = Arc::clone(self.budget.get_or_insert_with(new));
        // Nothing that is done under the lock can be left half done.
        budget
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set(settings);
        self.sink = Some(SpanSink {
            queue,
            budget,
            clock: self.clock,
            host: Arc::clone(&self.host),
            booted: self.booted,
        });
    }

    /// Sends what is there, and ends.
    pub(super) async fn stop(&mut self) {
        self.sink = None;
        stop(self.metrics.take(), self.spans.take()).await;
    }
}

/// Sends what is there.
async fn stop(metrics: Option<MetricsPusher>, spans: Option<SpanPusher>) {
    let spans = async {
        if let Some(spans) = spans {
            spans.stop(FLUSH_MAX).await;
        }
    };
    let metrics = async {
        if let Some(metrics) = metrics {
            metrics.stop(FLUSH_MAX).await;
        }
    };
    tokio::join!(spans, metrics);
}

async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could say it.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Takes snapshots as spans. Copies share what may be sent.
#[derive(Debug, Clone)]
pub(super) struct SpanSink {
    queue: SpanQueue,
    budget: Arc<Mutex<Budget>>,
    clock: Clock,
    host: Arc<str>,
    /// When the machine was started.
    booted: Option<Timestamp>,
}

/// Whose snapshot is sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Subject {
    pub(super) target: Arc<str>,
    pub(super) labels: Arc<[(String, String)]>,
    /// The share of its snapshots that is sent, if it has one of its own.
    pub(super) ratio: Option<f64>,
}

/// A snapshot that may be sent.
pub(super) struct Offer<'o> {
    pub(super) process: ProcessId,
    pub(super) program: &'o ProgramView,
    pub(super) subject: &'o Subject,
    /// The findings that are to be told by it.
    pub(super) findings: &'o BTreeSet<Fingerprint>,
}

/// What became of a snapshot.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The traces in which findings are told.
    pub(super) told: Vec<(Fingerprint, TraceId)>,
    /// The findings that were to be told and are not, and why.
    pub(super) untold: Vec<(Fingerprint, &'static str)>,
    /// The limits that left out something.
    pub(super) limit_hits: Vec<&'static str>,
}

/// Why a finding is not told: its tree is too large. It will be the next time as well.
pub(super) const TOO_LARGE: &str = "spans_per_trace";

impl SpanSink {
    /// Sends a snapshot, if its turn has come or a finding is to be told by it. `make` makes its traces within
    /// limits, with a number that is another one each time, to make ids of it.
    pub(super) fn take(
        &self,
        offer: &Offer<'_>,
        make: impl FnOnce(&SpanLimits, u128) -> Traces,
    ) -> Sent {
        // Keys of the standard library's maps: the system gives the first, later ones differ.
        let word = || RandomState::new().hash_one(0_u8);
        let seed = u128::from(word()) << 64 | u128::from(word());
        #[expect(clippy::cast_precision_loss, reason = "53 bits")]
        let chance = (word() >> 11) as f64 / (1_u64 << 53) as f64;
        let (target, now) = (&offer.subject.target, self.clock.now());
        let has_finding = !offer.findings.is_empty();
        // Held until all of it is spent: of two rounds each would have what is there for one.
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.note_watched(target, now);
        if !budget.wants(has_finding, chance, offer.subject.ratio) {
            return Sent::default();
        }
        let mut limits = budget.limits(target, now);
        let free = match has_finding {
            true => (limits.traces, limits.spans),
            false => (limits.ordinary.traces, limits.ordinary.spans),
        };
        let (traces, spans) = free;
        if let Some(limit) = (Amount { traces, spans }).is_over() {
            return Sent {
                untold: offer.findings.iter().map(|it| (*it, limit)).collect(),
                limit_hits: vec![limit],
                ..Sent::default()
            };
        }
        // What is larger than the queue would not be taken.
        limits.spans = limits.spans.min(self.queue.spans_max());
        limits.ordinary.spans = limits.ordinary.spans.min(limits.spans);
        let traces = make(&limits, seed);
        self.send(offer, traces, &mut budget, now)
    }

    fn send(&self, offer: &Offer<'_>, traces: Traces, budget: &mut Budget, now: Monotonic) -> Sent {
        let mut sent = Sent::default();
        let Traces { traces, cut_by, .. } = traces;
        let hits = [(cut_by.traces, TRACES_LIMIT), (cut_by.spans, SPANS_LIMIT)];
        let hits = hits.into_iter().filter(|(is_hit, _)| *is_hit);
        sent.limit_hits.extend(hits.map(|(_, limit)| limit));
        let mut why = sent.limit_hits.first().copied().unwrap_or(TOO_LARGE);
        let tells = |trace: &Trace| !trace.findings.is_disjoint(offer.findings);
        let (telling, ordinary): (Vec<Trace>, Vec<Trace>) = traces.into_iter().partition(tells);
        for (traces, is_finding) in [(telling, true), (ordinary, false)] {
            for traces in batches(traces) {
                let told = traces
                    .iter()
                    .flat_map(|trace| trace.findings.iter().map(|it| (*it, trace.id)))
                    .filter(|(finding, _)| is_finding && offer.findings.contains(finding))
                    .collect::<Vec<_>>();
                let batch = Batch {
                    resource: self.resource(offer),
                    traces,
                    is_finding,
                };
                let amount = Amount {
                    traces: batch.traces.len(),
                    spans: batch.n_spans(),
                };
                match self.queue.offer(batch) {
                    Ok(()) => {
                        budget.spend(&offer.subject.target, is_finding, amount, now);
                        sent.told.extend(told);
                    }
                    Err(lack) if is_finding => why = lack,
                    Err(_) => {}
                }
            }
        }
        let is_told = |finding: &Fingerprint| sent.told.iter().any(|(told, _)| told == finding);
        let untold = offer.findings.iter().filter(|it| !is_told(it));
        sent.untold = untold.map(|it| (*it, why)).collect();
        sent
    }

    fn resource(&self, offer: &Offer<'_>) -> ProcessResource {
        let (process, program) = (offer.process, offer.program);
        let started = process.start.since_boot();
        ProcessResource {
            service: escape(&offer.subject.target).into_owned(),
            labels: offer.subject.labels.to_vec(),
            process,
            started: self.booted.map(|booted| booted.after(started)),
            executable: program.executable.clone(),
            python_version: program.python_version.clone(),
            host: self.host.to_string(),
        }
    }
}

/// Memory of one batch, if it is not a single trace that takes more.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Traces in parts that are not too large to be dropped for each other.
fn batches(traces: Vec<Trace>) -> Vec<Vec<Trace>> {
    let mut batches: Vec<Vec<Trace>> = Vec::new();
    let mut n_bytes = 0;
    for trace in traces {
        let more = trace.n_bytes();
        n_bytes += more;
        match batches.last_mut() {
            Some(batch) if n_bytes <= BATCH_BYTES_MAX => batch.push(trace),
            _ => {
                n_bytes = more;
                batches.push(vec![trace]);
            }
        }
    }
    batches
}
