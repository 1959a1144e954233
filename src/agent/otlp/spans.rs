//! Sends what waits in the queue of spans: one request after the other, each as often as it takes. Rounds only put
//! batches into the queue and never wait. The exporter can be replaced: what waits is then sent by the new one.

use super::answer::Failure;
use super::health::{Health, Signal};
use super::queue::{Batch, Room, Turn, Waiting};
use super::told_to_stop;
use super::transport::Exporter;
use crate::export::otlp::{resource_of, span_data};
use crate::spans::Trace;
use opentelemetry::trace::Status;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use std::hash::{BuildHasher as _, RandomState};
use std::iter::Peekable;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Spans in one request, and about so many bytes: receivers take 4 MiB over gRPC unless they are told otherwise.
const REQUEST_SPANS_MAX: usize = 2_000;
const REQUEST_BYTES_MAX: usize = 2 << 20;
/// The pause after the first request that failed; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// It is not longer than this, unless the receiver asks for more.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// So many batches may be refused at the end before the others are not even tried.
const REFUSALS_AT_END: u32 = 3;

/// Takes batches without waiting.
#[derive(Debug, Clone)]
pub(super) struct SpanQueue {
    waiting: Arc<Mutex<Waiting>>,
    has_more: Arc<Notify>,
    health: Arc<Health>,
}

impl SpanQueue {
    fn with<R>(&self, change: impl FnOnce(&mut Waiting) -> R) -> R {
        // Nothing that is done under the lock can be left half done.
        change(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many spans may wait.
    pub(super) fn spans_max(&self) -> usize {
        self.with(|waiting| waiting.spans_max())
    }

    /// Puts a batch into the queue; what is dropped for it, or it itself if there is no room, is counted.
    ///
    /// # Errors
    ///
    /// When there is no room for it; it says of what.
    pub(super) fn offer(&self, batch: Batch) -> Result<(), &'static str> {
        let (taken, lost) = self.with(|waiting| waiting.offer(batch));
        for (why, dropped) in lost {
            self.health.note_dropped(why, dropped);
        }
        self.has_more.notify_one();
        taken
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
    /// Begins to send what is put into the queue, in which there is so much room.
    pub(super) fn start(exporter: Exporter<SpanExporter>, room: Room, health: Arc<Health>) -> Self {
        let (exporters, replaced) = watch::channel(Slot::default());
        let (stop, stopped) = watch::channel(false);
        let queue = SpanQueue {
            waiting: Arc::new(Mutex::new(Waiting::new(room))),
            has_more: Arc::default(),
            health,
        };
        let sending = Sending {
            exporter,
            replaced,
            queue: queue.clone(),
            stopped,
            pause: PAUSE,
            n_refused: 0,
        };
        let task = tokio::spawn(sending.run());
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

    /// Sends by another exporter from now on; so much may wait.
    pub(super) fn replace(&mut self, exporter: Exporter<SpanExporter>, room: Room) {
        self.exporters
            .send_replace(Arc::new(Mutex::new(Some(exporter))));
        self.queue.with(|waiting| waiting.set_room(room));
    }

    /// Sends what is in the queue, for at most so long. What is left is dropped.
    pub(super) async fn stop(mut self, at_most: Duration) {
        // A failed send means that it has ended.
        let _ = self.stop.send(true);
        if tokio::time::timeout(at_most, &mut self.task).await.is_err() {
            self.task.abort();
        }
        let left = self.queue.with(Waiting::drop_all);
        self.queue.health.note_dropped("failed", left);
    }
}

struct Sending {
    exporter: Exporter<SpanExporter>,
    replaced: watch::Receiver<Slot>,
    queue: SpanQueue,
    stopped: watch::Receiver<bool>,
    /// The pause after the next request that fails.
    pause: Duration,
    /// Batches that were refused, one after the other.
    n_refused: u32,
}

impl Sending {
    /// Until it is told to stop and nothing is left, or nobody takes what is left.
    async fn run(mut self) {
        while let Some(turn) = self.next().await {
            self.take_replacement();
            let pause = match self.send(&turn).await {
                Ok(()) => continue,
                Err(failure) => failure.kept_pause(),
            };
            let is_stopped = *self.stopped.borrow();
            let is_final = self.n_refused > 0 && self.n_refused < REFUSALS_AT_END;
            if is_stopped && is_final {
                continue;
            }
            // At the end nobody is asked again and again.
            if is_stopped || !self.wait(pause).await {
                return;
            }
        }
    }

    async fn next(&mut self) -> Option<Turn> {
        loop {
            if let Some(turn) = self.queue.with(Waiting::next) {
                return Some(turn);
            }
            self.queue.health.note_empty();
            if *self.stopped.borrow() {
                return None;
            }
            tokio::select! {
                () = self.queue.has_more.notified() => {}
                () = told_to_stop(&mut self.stopped) => {}
            }
        }
    }

    /// Sends as much of a batch as one request may have.
    async fn send(&mut self, turn: &Turn) -> Result<(), Failure> {
        let health = Arc::clone(&self.queue.health);
        let resource = resource_of(&turn.batch.resource);
        self.exporter.inner.set_resource(&resource);
        let mut left = spans_from(&turn.batch.traces, turn.n_sent).peekable();
        let request = next_request(&mut left);
        drop(left);
        let n_spans = request.len();
        let export = self.exporter.inner.export(request);
        let result = self.exporter.ear.hear(export).await;
        health.note_export(Signal::Traces, &result);
        match result {
            Ok(taken) => {
                let n_refused = taken.n_refused.min(n_spans);
                health.note_spans(n_spans - n_refused, n_refused);
                if n_refused == n_spans && turn.batch.is_finding {
                    health.note_lost(turn.batch.lost(turn.n_sent.0, n_spans + turn.n_sent.1));
                }
                self.queue.with(|waiting| waiting.note_sent(n_spans));
                (self.pause, self.n_refused) = (PAUSE, 0);
                Ok(())
            }
            Err(failure) => {
                if failure.is_final {
                    let dropped = self.queue.with(Waiting::drop_refused);
                    health.note_dropped("refused", dropped);
                    self.n_refused = self.n_refused.saturating_add(1);
                } else {
                    self.queue.with(Waiting::note_failed);
                    self.n_refused = 0;
                }
                Err(failure)
            }
        }
    }

    /// Waits after a failure, until there is another exporter, or the end. Says whether to go on.
    async fn wait(&mut self, asked_for: Option<Duration>) -> bool {
        let pause = asked_for.map_or(self.pause, |asked_for| asked_for.max(self.pause));
        self.pause = self.pause.saturating_mul(2).min(PAUSE_MAX);
        tokio::select! {
            () = tokio::time::sleep(irregular(pause)) => true,
            () = another(&mut self.replaced) => true,
            // There is time for one attempt, unless the receiver does not want any.
            () = told_to_stop(&mut self.stopped) => asked_for.is_none(),
        }
    }

    /// Takes up another exporter, if there is one.
    fn take_replacement(&mut self) {
        if !self.replaced.has_changed().unwrap_or(false) {
            return;
        }
        let slot = Arc::clone(&self.replaced.borrow_and_update());
        let new = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(new) = new {
            self.exporter = new;
            (self.pause, self.n_refused) = (PAUSE, 0);
        }
    }
}

/// Up to a quarter longer: many agents must not ask all at once.
fn irregular(pause: Duration) -> Duration {
    let percent = u32::try_from(RandomState::new().hash_one(0_u8) % 26).unwrap_or(0);
    pause.saturating_mul(100 + percent) / 100
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
pub(super) fn requests(traces: &[Trace]) -> impl Iterator<Item = Vec<SpanData>> {
    let mut spans = spans_from(traces, (0, 0)).peekable();
    std::iter::from_fn(move || spans.peek().is_some().then(|| next_request(&mut spans)))
}

/// The spans behind so many traces, and so many spans of the next one.
fn spans_from(
    traces: &[Trace],
    (n_traces, n_spans): (usize, usize),
) -> impl Iterator<Item = SpanData> {
    let left = traces.iter().skip(n_traces).enumerate();
    left.flat_map(move |(at, trace)| span_data(trace, if at == 0 { n_spans } else { 0 }))
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
    use crate::spans::{Span, SpanId, TraceId};
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
            n_links_omitted: 0,
            error: None,
        });
        let trace = Trace {
            id: TraceId(1),
            spans: spans.collect(),
            findings: BTreeSet::new(),
        };
        let mut spans = span_data(&trace, 0).peekable();
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
