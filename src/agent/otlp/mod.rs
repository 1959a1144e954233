//! Sending over OTLP: metrics every interval, and snapshots as spans. Rounds never wait for it.
//!
//! The exporters are those of OpenTelemetry's SDK. What is ours is when something is sent, how much may wait,
//! and what becomes of it when the receiver does not take it.

mod health;
mod metrics;
mod once;
mod sampling;
mod spans;
mod transport;

pub use once::{SendError, TraceSender, TracedProcess};
pub use transport::OtlpError;

use super::clock::Clock;
use super::store::Store;
use crate::config::{OtlpSettings, Settings};
use crate::export::otlp::ProcessResource;
use crate::ids::ProcessId;
use crate::metrics::ProgramView;
use crate::procfs::ProcRoot;
use crate::sanitize::escape;
use crate::spans::{SpanLimits, Traces};
use crate::time::Timestamp;
pub(super) use health::Health;
use metrics::MetricsPusher;
use opentelemetry_otlp::{MetricExporter, SpanExporter};
use sampling::Budget;
use spans::{Batch, SpanPusher, SpanQueue};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use transport::Transport;

/// How long the last things may take to be sent when the agent ends.
pub(super) const FLUSH_MAX: Duration = Duration::from_secs(3);

/// All that sending over OTLP takes, made of settings and the files that they name.
#[derive(Debug)]
pub(super) struct Prepared {
    settings: OtlpSettings,
    metrics: Option<MetricExporter>,
    spans: Option<SpanExporter>,
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
        let transport = Transport::new(settings)?;
        let (has_metrics, has_spans) = (settings.metrics.enabled, settings.spans.enabled);
        Ok(Some(Self {
            settings: settings.clone(),
            metrics: has_metrics.then(|| transport.metrics()).transpose()?,
            spans: has_spans.then(|| transport.spans()).transpose()?,
        }))
    }
}

/// What sends over OTLP.
#[derive(Debug)]
pub(super) struct Otlp {
    metrics: Option<MetricsPusher>,
    spans: Option<SpanPusher>,
    /// Where rounds put snapshots.
    sink: Option<SpanSink>,
}

impl Otlp {
    /// Begins to send. Must be called within a tokio runtime.
    pub(super) fn start(
        prepared: Prepared,
        clock: Clock,
        store: &Arc<Store>,
        health: &Arc<Health>,
    ) -> Self {
        let Prepared {
            settings,
            metrics,
            spans,
        } = prepared;
        let root = ProcRoot::default();
        let host: Arc<str> = root.host_name().unwrap_or_default().into();
        let metrics = metrics.map(|exporter| {
            let store = Arc::clone(store);
            let latest = Arc::new(move || store.latest());
            let (interval, health) = (settings.metrics.interval, Arc::clone(health));
            MetricsPusher::start(exporter, interval, &host, latest, health)
        });
        let (spans, sink) = match spans {
            Some(exporter) => {
                let spans_max = usize::try_from(settings.spans.queue).unwrap_or(usize::MAX);
                let (pusher, queue) = SpanPusher::start(exporter, spans_max, Arc::clone(health));
                let budget = Budget::new(settings.spans, clock.now());
                let sink = SpanSink {
                    queue,
                    budget: Arc::new(Mutex::new(budget)),
                    clock,
                    host,
                    booted: root.boot_time(),
                };
                (Some(pusher), Some(sink))
            }
            None => (None, None),
        };
        Self {
            metrics,
            spans,
            sink,
        }
    }

    /// Where rounds put snapshots; `None` if they are not sent.
    pub(super) fn sink(&self) -> Option<SpanSink> {
        self.sink.clone()
    }

    /// Sends what is there, and ends.
    pub(super) async fn stop(self) {
        let spans = async {
            if let Some(spans) = self.spans {
                spans.stop(FLUSH_MAX).await;
            }
        };
        let metrics = async {
            if let Some(metrics) = self.metrics {
                metrics.stop(FLUSH_MAX).await;
            }
        };
        tokio::join!(spans, metrics);
    }
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
}

impl SpanSink {
    fn budget<R>(&self, ask: impl FnOnce(&mut Budget) -> R) -> R {
        // Nothing that is done under the lock can be left half done.
        ask(&mut self.budget.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How much of a snapshot may be sent, and a number that is another one each time, to make ids of; `None`
    /// if it is not to be sent.
    pub(super) fn wanted(&self, has_new_finding: bool) -> Option<(SpanLimits, u128)> {
        // Keys of the standard library's maps: the system gives the first, later ones differ.
        let word = || RandomState::new().hash_one(0_u8);
        let seed = u128::from(word()) << 64 | u128::from(word());
        #[expect(clippy::cast_precision_loss, reason = "53 bits")]
        let chance = (word() >> 11) as f64 / (1_u64 << 53) as f64;
        let now = self.clock.now();
        self.budget(|budget| {
            let wants = budget.wants(has_new_finding, chance);
            let limits = wants.then(|| budget.limits(now))?;
            (limits.traces > 0 && limits.spans > 0).then_some((limits, seed))
        })
    }

    /// Sends the traces of a snapshot, if there is room for them.
    pub(super) fn send(
        &self,
        process: ProcessId,
        program: &ProgramView,
        subject: &Subject,
        traces: Traces,
    ) -> bool {
        let (n_traces, n_spans) = (traces.traces.len(), traces.n_spans());
        let resource = ProcessResource {
            service: escape(&subject.target).into_owned(),
            labels: subject.labels.to_vec(),
            process,
            started: self
                .booted
                .map(|booted| booted.after(process.start.since_boot())),
            executable: program.executable.clone(),
            python_version: program.python_version.clone(),
            host: self.host.to_string(),
        };
        let is_taken = self.queue.offer(Batch { resource, traces });
        if is_taken {
            self.budget(|budget| budget.spend(n_traces, n_spans));
        }
        is_taken
    }
}
