//! The queue of spans, and what sends them: one batch after the other, each as often as it takes, but not
//! for ever. Rounds only put batches into the queue and never wait.

use super::health::{Health, Signal};
use crate::export::otlp::{ProcessResource, resource_of, span_data};
use crate::spans::Traces;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Batches that wait, however small they are.
const BATCHES_MAX: usize = 10_000;
/// Spans in one request.
const REQUEST_SPANS_MAX: usize = 2_000;
/// How often a batch is sent; the exporter repeats each request some times by itself.
const ATTEMPTS_MAX: u32 = 4;
/// The pause after the first attempt that failed; it doubles.
const PAUSE: Duration = Duration::from_secs(1);

/// The traces of a snapshot.
#[derive(Debug)]
pub(in crate::agent) struct Batch {
    pub(in crate::agent) resource: ProcessResource,
    pub(in crate::agent) traces: Traces,
}

/// Takes batches without waiting.
#[derive(Debug, Clone)]
pub(in crate::agent) struct SpanQueue {
    sender: mpsc::Sender<Batch>,
    n_waiting: Arc<AtomicUsize>,
    spans_max: usize,
    health: Arc<Health>,
}

impl SpanQueue {
    /// Puts a batch into the queue; if there is no room for it, it is dropped and counted.
    pub(in crate::agent) fn offer(&self, batch: Batch) -> bool {
        let n_spans = batch.traces.n_spans();
        let waiting = self.n_waiting.fetch_add(n_spans, Ordering::AcqRel);
        let has_room = waiting.saturating_add(n_spans) <= self.spans_max;
        let is_taken = has_room && self.sender.try_send(batch).is_ok();
        if !is_taken {
            self.n_waiting.fetch_sub(n_spans, Ordering::AcqRel);
            self.health.note_dropped("queue_full", n_spans);
        }
        is_taken
    }
}

/// What sends spans.
#[derive(Debug)]
pub(super) struct SpanPusher {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl SpanPusher {
    /// Begins to send what is put into the queue.
    pub(super) fn start(
        exporter: opentelemetry_otlp::SpanExporter,
        spans_max: usize,
        health: Arc<Health>,
    ) -> (Self, SpanQueue) {
        let (sender, batches) = mpsc::channel(BATCHES_MAX);
        let (stop, stopped) = watch::channel(false);
        let n_waiting = Arc::new(AtomicUsize::new(0));
        let queue = SpanQueue {
            sender,
            n_waiting: Arc::clone(&n_waiting),
            spans_max,
            health: Arc::clone(&health),
        };
        let sending = Sending {
            exporter,
            n_waiting,
            health,
            stopped,
        };
        let task = tokio::spawn(sending.run(batches));
        (Self { task, stop }, queue)
    }

    /// Sends what is in the queue, for at most so long.
    pub(super) async fn stop(mut self, at_most: Duration) {
        // A failed send means that it has ended.
        let _ = self.stop.send(true);
        if tokio::time::timeout(at_most, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

struct Sending {
    exporter: opentelemetry_otlp::SpanExporter,
    n_waiting: Arc<AtomicUsize>,
    health: Arc<Health>,
    stopped: watch::Receiver<bool>,
}

impl Sending {
    async fn run(mut self, mut batches: mpsc::Receiver<Batch>) {
        loop {
            let batch = tokio::select! {
                batch = batches.recv() => batch,
                () = told_to_stop(&mut self.stopped) => {
                    // Nothing more comes; what is there is sent.
                    batches.close();
                    batches.recv().await
                }
            };
            let Some(batch) = batch else {
                return;
            };
            let n_spans = batch.traces.n_spans();
            self.send(&batch).await;
            self.n_waiting.fetch_sub(n_spans, Ordering::AcqRel);
        }
    }

    async fn send(&mut self, batch: &Batch) {
        self.exporter.set_resource(&resource_of(&batch.resource));
        for spans in requests(&batch.traces) {
            self.send_spans(spans).await;
        }
    }

    async fn send_spans(&mut self, spans: Vec<SpanData>) {
        let n_spans = spans.len();
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS_MAX {
            let sent = self.exporter.export(spans.clone()).await;
            let is_sent = sent.is_ok();
            let result = sent.map_err(|error| error.to_string());
            self.health.note_export(Signal::Traces, result);
            if is_sent {
                self.health.note_spans(n_spans);
                return;
            }
            if attempt < ATTEMPTS_MAX {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    // At the end there is no time to wait.
                    () = told_to_stop(&mut self.stopped) => {}
                }
                pause = pause.saturating_mul(2);
            }
        }
        self.health.note_dropped("failed", n_spans);
    }
}

/// The spans of each request, made when it is its turn. A trace is in one request as a whole.
pub(super) fn requests(traces: &Traces) -> impl Iterator<Item = Vec<SpanData>> {
    let mut traces = traces.traces.iter();
    std::iter::from_fn(move || {
        let mut spans = Vec::new();
        while spans.len() < REQUEST_SPANS_MAX {
            match traces.next() {
                Some(trace) => spans.extend(span_data(trace)),
                None => break,
            }
        }
        (!spans.is_empty()).then_some(spans)
    })
}

async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could say it.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
