//! Metrics over OTLP: our families, every interval.
//!
//! The SDK's own periodic reader has a thread of its own and keeps its exporter for ever. Here the exporter can be
//! replaced, so that counters go on when the configuration changes.

use super::answer::{Failure, Taken};
use super::health::{Health, Signal};
use super::told_to_stop;
use super::transport::Exporter;
use crate::export::otlp::Collector;
use crate::metrics::{AgentView, collect};
use opentelemetry::KeyValue;
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

/// What has been told so far. It outlives what sends it.
pub(super) type Told = Arc<Mutex<Collector>>;

/// An agent that has told nothing yet.
pub(super) fn nothing_told(host: &str, temporality: Temporality) -> Told {
    let resource = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "asyncio-agent"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", host.to_owned()),
            KeyValue::new("host.name", host.to_owned()),
        ])
        .build();
    Arc::new(Mutex::new(Collector::new(resource, temporality)))
}

/// Where metrics go, and how often.
#[derive(Debug, Clone)]
pub(super) struct MetricsRoute {
    pub(super) exporter: Arc<Exporter<MetricExporter>>,
    pub(super) interval: Duration,
}

/// What sends metrics.
#[derive(Debug)]
pub(super) struct MetricsPusher {
    task: JoinHandle<()>,
    route: watch::Sender<MetricsRoute>,
    stop: watch::Sender<bool>,
}

impl MetricsPusher {
    /// Begins to send what `latest` gives.
    pub(super) fn start(
        route: MetricsRoute,
        told: Told,
        latest: Arc<dyn Fn() -> Arc<AgentView> + Send + Sync>,
        health: Arc<Health>,
    ) -> Self {
        let (route, routes) = watch::channel(route);
        let (stop, stopped) = watch::channel(false);
        let sending = Sending {
            told,
            latest,
            health,
            routes,
            silent_until: None,
        };
        let task = tokio::spawn(sending.run(stopped));
        Self { task, route, stop }
    }

    /// Sends by another route from now on.
    pub(super) fn replace(&self, route: MetricsRoute) {
        self.route.send_replace(route);
    }

    /// Sends metrics once more, and ends; takes at most so long.
    pub(super) async fn stop(mut self, at_most: Duration) {
        // A failed send means that it has ended.
        let _ = self.stop.send(true);
        if tokio::time::timeout(at_most, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

struct Sending {
    told: Told,
    latest: Arc<dyn Fn() -> Arc<AgentView> + Send + Sync>,
    health: Arc<Health>,
    routes: watch::Receiver<MetricsRoute>,
    /// The receiver asked for a pause until then.
    silent_until: Option<Instant>,
}

impl Sending {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut route = self.routes.borrow_and_update().clone();
        loop {
            let mut ticks = tokio::time::interval(route.interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.reset();
            loop {
                tokio::select! {
                    _ = ticks.tick() => self.send(&route.exporter).await,
                    changed = self.routes.changed() => {
                        if changed.is_ok() {
                            break;
                        }
                    }
                    () = told_to_stop(&mut stopped) => {
                        self.send(&route.exporter).await;
                        return;
                    }
                }
            }
            route = self.routes.borrow_and_update().clone();
        }
    }

    /// Sends, unless the receiver does not want to hear anything yet.
    async fn send(&mut self, exporter: &Exporter<MetricExporter>) {
        if self
            .silent_until
            .is_some_and(|until| Instant::now() < until)
        {
            return;
        }
        let Some(result) = self.try_to_send(exporter).await else {
            return;
        };
        let pause = result.as_ref().err().and_then(|failure| failure.pause);
        self.silent_until = pause.map(|pause| Instant::now() + pause);
        self.health.note_export(Signal::Metrics, &result);
    }

    /// `None` if nothing could be collected.
    async fn try_to_send(
        &self,
        exporter: &Exporter<MetricExporter>,
    ) -> Option<Result<Taken, Failure>> {
        let (told, latest) = (Arc::clone(&self.told), Arc::clone(&self.latest));
        // With many series this takes a while.
        let collected = tokio::task::spawn_blocking(move || {
            let families = collect(&latest()).into();
            with(&told, |told| told.collect(families))
        });
        // It panicked, or the agent ends.
        let collected = collected.await.ok()?;
        let [numbers, histograms] = match collected {
            Ok(collected) => collected,
            Err(error) => {
                return Some(Err(Failure {
                    why: error.to_string(),
                    is_final: false,
                    pause: None,
                }));
            }
        };
        let result = exporter.ear.hear(exporter.inner.export(&numbers)).await;
        with(&self.told, |told| match result {
            Ok(_) => told.note_taken(),
            Err(_) => told.give_back(),
        });
        let mut taken = match result {
            Ok(taken) => taken,
            Err(failure) => return Some(Err(failure)),
        };
        let result = exporter.ear.hear(exporter.inner.export(&histograms)).await;
        Some(result.map(|more| {
            taken.n_refused += more.n_refused;
            if taken.why.is_empty() {
                taken.why = more.why;
            }
            taken
        }))
    }
}

/// Changes what has been told.
pub(super) fn with<R>(told: &Told, change: impl FnOnce(&mut Collector) -> R) -> R {
    // A collection that panicked has told nothing.
    change(&mut told.lock().unwrap_or_else(PoisonError::into_inner))
}
