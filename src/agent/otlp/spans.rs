//! The queue of spans, and what sends them: one batch after the other, each as often as it takes, but not
//! for ever. Rounds only put batches into the queue and never wait. The exporter can be replaced: what waits is
//! then sent by the new one.

use super::health::{Health, Signal};
use super::told_to_stop;
use super::transport::Exporter;
use crate::export::otlp::{ProcessResource, resource_of, span_data};
use crate::spans::Traces;
use opentelemetry::trace::Status;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use std::iter::Peekable;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Batches that wait, however small they are.
const BATCHES_MAX: usize = 10_000;
/// Spans in one request, and about so many bytes: receivers take 4 MiB over gRPC unless they are told otherwise.
const REQUEST_SPANS_MAX: usize = 2_000;
const REQUEST_BYTES_MAX: usize = 2 << 20;
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

/// An exporter on its way to what sends.
type Slot = Arc<Mutex<Option<Exporter<SpanExporter>>>>;

/// What sends spans.
#[derive(Debug)]
pub(super) struct SpanPusher {
    task: JoinHandle<()>,
    queue: SpanQueue,
    exporters: watch::Sender<Slot>,
    stop: watch::Sender<bool>,
}

impl SpanPusher {
    /// Begins to send what is put into the queue, in which `spans_max` spans may wait.
    pub(super) fn start(
        exporter: Exporter<SpanExporter>,
        spans_max: usize,
        health: Arc<Health>,
    ) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES_MAX);
        let (exporters, replaced) = watch::channel(Slot::default());
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
            resource: Resource::builder_empty().build(),
            replaced,
            n_waiting,
            health,
            stopped,
        };
        let task = tokio::spawn(sending.run(batches));
        Self {
            task,
            queue,
            exporters,
            stop,
        }
    }

    /// Where batches are put.
    pub(super) fn queue(&self) -> SpanQueue {
        self.queue.clone()
    }

    /// Sends by another exporter from now on; `spans_max` spans may wait.
    pub(super) fn replace(&mut self, exporter: Exporter<SpanExporter>, spans_max: usize) {
        self.exporters
            .send_replace(Arc::new(Mutex::new(Some(exporter))));
        self.queue.spans_max = spans_max;
    }

    /// Sends what is in the queue, for at most so long. What is left is dropped.
    pub(super) async fn stop(mut self, at_most: Duration) {
        // A failed send means that it has ended.
        let _ = self.stop.send(true);
        if tokio::time::timeout(at_most, &mut self.task).await.is_err() {
            self.task.abort();
            let left = self.queue.n_waiting.load(Ordering::Acquire);
            if left > 0 {
                self.queue.health.note_dropped("failed", left);
            }
        }
    }
}

struct Sending {
    exporter: Exporter<SpanExporter>,
    /// Whose spans are sent.
    resource: Resource,
    replaced: watch::Receiver<Slot>,
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
            self.send(&batch).await;
        }
    }

    async fn send(&mut self, batch: &Batch) {
        self.resource = resource_of(&batch.resource);
        self.exporter.inner.set_resource(&self.resource);
        for spans in requests(&batch.traces) {
            self.send_spans(spans).await;
        }
    }

    async fn send_spans(&mut self, spans: Vec<SpanData>) {
        let n_spans = spans.len();
        if !self.is_sent(spans).await {
            self.health.note_dropped("failed", n_spans);
        }
        self.n_waiting.fetch_sub(n_spans, Ordering::AcqRel);
    }

    async fn is_sent(&mut self, spans: Vec<SpanData>) -> bool {
        let (mut attempt, mut pause) = (0, PAUSE);
        while attempt < ATTEMPTS_MAX {
            if self.take_replacement() {
                (attempt, pause) = (0, PAUSE);
            }
            attempt += 1;
            let sent = self.exporter.inner.export(spans.clone()).await;
            let is_sent = sent.is_ok();
            let result = sent.map_err(|error| self.exporter.explain(&error));
            self.health.note_export(Signal::Traces, result);
            if is_sent {
                self.health.note_spans(spans.len());
                return true;
            }
            if attempt < ATTEMPTS_MAX {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = another(&mut self.replaced) => {}
                    // At the end there is no time to wait.
                    () = told_to_stop(&mut self.stopped) => {}
                }
                pause = pause.saturating_mul(2);
            }
        }
        false
    }

    /// Whether there is another exporter now.
    fn take_replacement(&mut self) -> bool {
        if !self.replaced.has_changed().unwrap_or(false) {
            return false;
        }
        let slot = Arc::clone(&self.replaced.borrow_and_update());
        let new = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let is_new = new.is_some();
        if let Some(new) = new {
            self.exporter = new;
            self.exporter.inner.set_resource(&self.resource);
        }
        is_new
    }
}

async fn another(replaced: &mut watch::Receiver<Slot>) {
    // It is taken by whoever sends next. An error means that there will be none.
    if replaced.changed().await.is_ok() {
        replaced.mark_changed();
    } else {
        std::future::pending().await
    }
}

/// The spans of each request, made when it is its turn.
pub(super) fn requests(traces: &Traces) -> impl Iterator<Item = Vec<SpanData>> {
    let mut spans = traces.traces.iter().flat_map(span_data).peekable();
    std::iter::from_fn(move || spans.peek().is_some().then(|| next_request(&mut spans)))
}

/// As many spans as one request may have; at least one.
fn next_request(spans: &mut Peekable<impl Iterator<Item = SpanData>>) -> Vec<SpanData> {
    let mut request = Vec::new();
    let mut n_bytes = 0;
    while let Some(span) = spans.next_if(|span| {
        n_bytes += size(span);
        request.is_empty() || n_bytes <= REQUEST_BYTES_MAX
    }) {
        request.push(span);
        if request.len() >= REQUEST_SPANS_MAX {
            break;
        }
    }
    request
}

/// About how many bytes a span takes in a request: its texts, its links, and the rest.
fn size(span: &SpanData) -> usize {
    let texts = span.attributes.iter();
    let texts: usize = texts
        .map(|it| it.key.as_str().len() + it.value.as_str().len() + 8)
        .sum();
    let status = match &span.status {
        Status::Error { description } => description.len(),
        _ => 0,
    };
    // An id of a trace, one of a span, and up to two attributes.
    120 + span.name.len() + status + texts + 120 * span.links.links.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spans::{Span, SpanId, Trace, TraceId};
    use crate::time::Timestamp;
    use std::collections::BTreeSet;

    /// The sizes of the requests that a trace is sent in.
    fn requests(n_spans: u64, name: &str) -> Vec<usize> {
        let at = Timestamp::new(Duration::from_secs(1));
        let spans = (1..=n_spans).map(|id| Span {
            id: SpanId(id),
            parent: None,
            name: name.to_owned(),
            start: at,
            end: at,
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
        });
        let trace = Trace {
            id: TraceId(1),
            spans: spans.collect(),
            findings: BTreeSet::new(),
        };
        let mut spans = span_data(&trace).into_iter().peekable();
        let mut sizes = Vec::new();
        while spans.peek().is_some() {
            sizes.push(next_request(&mut spans).len());
        }
        sizes
    }

    #[test]
    fn a_large_trace_is_sent_in_several_requests() {
        assert_eq!(requests(3, "main"), [3]);
        assert_eq!(requests(4_500, "main"), [2_000, 2_000, 500]);
        let long = "x".repeat(REQUEST_BYTES_MAX / 4);
        assert_eq!(requests(7, &long), [3, 3, 1]);
        assert_eq!(requests(2, &"x".repeat(REQUEST_BYTES_MAX)), [1, 1]);
    }
}
