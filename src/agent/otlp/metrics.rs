//! Metrics over OTLP: our families, every interval.
//!
//! What sends can be replaced, so that counters go on when the configuration changes.

use super::answer::{Failure, Taken};
use super::health::{Health, Signal};
use super::metrics_client::MetricsClient;
use super::told_to_stop;
use crate::agent::clock::Clock;
use crate::config;
use crate::export::otlp::{Collector, MetricsRequest};
use crate::metrics::AgentView;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::Temporality;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

/// The pause before a request is sent again; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// So many requests may be refused for good before the others are not even tried.
const REFUSALS_MAX: u32 = 3;

/// What has been told so far. It outlives what sends it.
#[derive(Debug, Clone)]
pub(super) struct Told {
    collector: Arc<Mutex<Collector>>,
    /// Held from a collection until its answers are noted. What ends may still send when its successor begins: of both
    /// the same increase would be told, or none.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// An agent that has told nothing yet.
pub(super) fn nothing_told(host: &str) -> Told {
    let resource = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "asyncio-agent"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", host.to_owned()),
            KeyValue::new("host.name", host.to_owned()),
        ])
        .build();
    let collector = Collector::new(&resource, Temporality::Cumulative);
    Told {
        collector: Arc::new(Mutex::new(collector)),
        turn: Arc::default(),
    }
}

/// What the SDK calls it.
pub(super) fn temporality(setting: config::Temporality) -> Temporality {
    match setting {
        config::Temporality::Cumulative => Temporality::Cumulative,
        config::Temporality::Delta => Temporality::Delta,
        config::Temporality::LowMemory => Temporality::LowMemory,
    }
}

/// Where metrics go, and how often.
#[derive(Debug, Clone)]
pub(super) struct MetricsRoute {
    pub(super) client: Arc<MetricsClient>,
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
        clock: Clock,
        told: Told,
        latest: Arc<dyn Fn() -> Arc<AgentView> + Send + Sync>,
        health: Arc<Health>,
    ) -> Self {
        let (route, routes) = watch::channel(route);
        let (stop, stopped) = watch::channel(false);
        let sending = Sending {
            clock,
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
    clock: Clock,
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
                    _ = ticks.tick() => self.send(&route.client).await,
                    changed = self.routes.changed() => {
                        if changed.is_ok() {
                            break;
                        }
                    }
                    () = told_to_stop(&mut stopped) => {
                        self.send(&route.client).await;
                        return;
                    }
                }
            }
            route = self.routes.borrow_and_update().clone();
            // Who asked for the pause may not be who is sent to now.
            self.silent_until = None;
        }
    }

    /// Sends, unless the receiver does not want to hear anything yet.
    async fn send(&mut self, client: &MetricsClient) {
        if self
            .silent_until
            .is_some_and(|until| Instant::now() < until)
        {
            return;
        }
        let turn = Arc::clone(&self.told.turn);
        let _turn = turn.lock().await;
        let (told, latest, clock) = (self.told.clone(), Arc::clone(&self.latest), self.clock);
        let collect = move || with(&told, |told| told.collect(&latest(), clock.timestamp()));
        // With many series this takes a while.
        let collected = tokio::task::spawn_blocking(collect);
        // It panicked, or the agent ends.
        let Ok(mut collection) = collected.await else {
            return;
        };
        let (mut all, mut n_final) = (Ok(Taken::default()), 0);
        loop {
            let next = move || (collection.next_request(), collection);
            let Ok((request, rest)) = tokio::task::spawn_blocking(next).await else {
                break;
            };
            collection = rest;
            let Some(request) = request else {
                break;
            };
            let result = ask(client, &request).await;
            self.health.count_export(Signal::Metrics, &result);
            if result.is_ok() {
                with(&self.told, |told| told.note_taken(&request));
            }
            let failure = result.as_ref().err();
            n_final += u32::from(failure.is_some_and(|it| it.is_final));
            // What the receiver does not like may be in this one only.
            let ends = failure.is_some_and(|it| !it.is_final || n_final >= REFUSALS_MAX);
            all = both(all, result);
            if ends {
                break;
            }
        }
        let pause = all.as_ref().err().and_then(Failure::kept_pause);
        self.silent_until = pause.map(|pause| Instant::now() + pause);
        self.health.note_state(Signal::Metrics, &all);
    }
}

/// Sends a request, a few times if the receiver has no time for it.
async fn ask(client: &MetricsClient, request: &MetricsRequest) -> Result<Taken, Failure> {
    let ends = Instant::now() + client.timeout();
    let mut pause = PAUSE;
    loop {
        let result = client.send(&request.message).await;
        match &result {
            Err(Failure {
                is_final: false,
                pause: None,
                ..
            }) if Instant::now() + pause < ends => tokio::time::sleep(pause).await,
            _ => return result,
        }
        pause *= 2;
    }
}

/// What was said to several requests: a failure, if there was one.
fn both(one: Result<Taken, Failure>, other: Result<Taken, Failure>) -> Result<Taken, Failure> {
    let (mut one, other) = (one?, other?);
    one.n_refused += other.n_refused;
    if one.why.is_empty() {
        one.why = other.why;
    }
    Ok(one)
}

/// Changes what has been told.
pub(super) fn with<R>(told: &Told, change: impl FnOnce(&mut Collector) -> R) -> R {
    // A collection that panicked has told nothing.
    change(
        &mut told
            .collector
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
    )
}

#[cfg(test)]
mod tests {
    use super::super::transport::Transport;
    use super::*;
    use crate::config::{OtlpProtocol, OtlpReceiver};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const TAKEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    const LATER: &str =
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 600\r\nContent-Length: 0\r\n\r\n";

    /// Answers each request on a connection of its own, after a pause; counts those that it was sent.
    async fn receiver(answer: &'static str, pause: Duration) -> (MetricsRoute, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let n_asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&n_asked);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let mut request = vec![0; 1 << 20];
                    if stream.read(&mut request).await.unwrap_or(0) > 0 {
                        count.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(pause).await;
                        // Whoever asked may be gone.
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
        let transport = Transport::new(&OtlpReceiver {
            endpoint,
            protocol: OtlpProtocol::Http,
            ..OtlpReceiver::default()
        });
        let route = MetricsRoute {
            client: Arc::new(transport.unwrap().metrics().unwrap()),
            interval: Duration::from_millis(20),
        };
        (route, n_asked)
    }

    fn pusher(route: MetricsRoute, told: &Told) -> MetricsPusher {
        let latest = Arc::new(|| Arc::new(AgentView::default()));
        MetricsPusher::start(route, Clock::start(), told.clone(), latest, Arc::default())
    }

    async fn wait_for(n_asked: &AtomicUsize) {
        let asked = async {
            while n_asked.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let asked = tokio::time::timeout(Duration::from_secs(20), asked).await;
        asked.expect("a request");
    }

    #[tokio::test]
    async fn another_receiver_is_not_kept_waiting_by_what_the_first_asked_for() {
        let (first, n_first) = receiver(LATER, Duration::ZERO).await;
        let (second, n_second) = receiver(TAKEN, Duration::ZERO).await;
        let pusher = pusher(first, &nothing_told("host"));
        wait_for(&n_first).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(n_first.load(Ordering::SeqCst), 1);
        pusher.replace(second);
        wait_for(&n_second).await;
        pusher.stop(Duration::from_secs(5)).await;
    }

    #[tokio::test]
    async fn what_ends_has_its_answer_before_its_successor_collects() {
        let (slow, n_slow) = receiver(TAKEN, Duration::from_millis(600)).await;
        let (other, n_other) = receiver(TAKEN, Duration::ZERO).await;
        let told = nothing_told("host");
        let old = pusher(slow, &told);
        wait_for(&n_slow).await;
        let new = pusher(other, &told);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(n_other.load(Ordering::SeqCst), 0);
        old.stop(Duration::from_secs(5)).await;
        wait_for(&n_other).await;
        new.stop(Duration::from_secs(5)).await;
    }
}
