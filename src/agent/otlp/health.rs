//! How sending goes: counted, and told in the log when it changes.

use super::answer::{Failure, Taken};
use super::queue::Dropped;
use crate::ids::ProcessId;
use crate::metrics::OtlpView;
use crate::spans::TraceId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Signal {
    Metrics,
    Traces,
}

impl Signal {
    fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        }
    }
}

/// How sending goes.
#[derive(Debug, Default)]
pub(in crate::agent) struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counts: OtlpView,
    modes: BTreeMap<Signal, Mode>,
    drops: BTreeMap<&'static str, Drops>,
    lost: Vec<(ProcessId, TraceId)>,
}

/// Spans are dropped for one reason.
#[derive(Debug, Clone, Copy)]
struct Drops {
    latest: Instant,
    /// Nothing waited any more at a time after that.
    is_over: bool,
}

/// After so long without another one, drops are over. A queue that is full now and empty then, because the receiver is
/// slow, is in one state.
const QUIET: Duration = Duration::from_secs(60);

/// How the latest request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Taken,
    TakenInPart,
    Failed,
}

impl Mode {
    fn of(result: &Result<Taken, Failure>) -> Self {
        match result {
            Ok(taken) if taken.n_refused > 0 || !taken.why.is_empty() => Self::TakenInPart,
            Ok(_) => Self::Taken,
            Err(_) => Self::Failed,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "ok",
            Self::TakenInPart => "partial",
            Self::Failed => "failed",
        }
    }
}

impl Health {
    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        // Nothing that is done under the lock can be left half done.
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The numbers now.
    pub(in crate::agent) fn counts(&self) -> OtlpView {
        self.with(|state| state.counts.clone())
    }

    /// A request ended.
    pub(super) fn note_export(&self, signal: Signal, result: &Result<Taken, Failure>) {
        self.count_export(signal, result);
        self.note_state(signal, result);
    }

    /// A request ended, which is counted only.
    pub(super) fn count_export(&self, signal: Signal, result: &Result<Taken, Failure>) {
        let key = (signal.as_str(), Mode::of(result).as_str());
        self.with(|state| *state.counts.exports.entry(key).or_default() += 1);
    }

    /// Sending goes like this now, which is told if it is new.
    pub(super) fn note_state(&self, signal: Signal, result: &Result<Taken, Failure>) {
        let mode = Mode::of(result);
        let before = self.with(|state| state.modes.insert(signal, mode).unwrap_or_default());
        if mode == before {
            return;
        }
        let signal = signal.as_str();
        match result {
            Err(Failure { why, is_final, .. }) => {
                let is_final = *is_final;
                tracing::warn!(
                    signal,
                    error = why,
                    is_final,
                    "OTLP: the receiver does not take what is sent"
                );
            }
            Ok(Taken { n_refused, why }) if mode == Mode::TakenInPart => {
                tracing::warn!(
                    signal,
                    n_refused,
                    error = why,
                    "OTLP: the receiver takes only a part of what is sent"
                );
            }
            Ok(_) => tracing::info!(signal, "OTLP: the receiver takes again what is sent"),
        }
    }

    /// The receiver took so many spans of a request, and refused so many.
    pub(super) fn note_spans(&self, n_taken: usize, n_refused: usize) {
        self.with(|state| {
            state.counts.spans += n_taken as u64;
            if n_refused > 0 {
                let dropped = &mut state.counts.dropped_spans;
                *dropped.entry("refused").or_default() += n_refused as u64;
            }
        });
    }

    /// These were dropped.
    pub(super) fn note_dropped(&self, why: &'static str, dropped: Dropped) {
        let Dropped { n_spans, traces } = dropped;
        if n_spans == 0 {
            return;
        }
        self.note_lost(traces);
        let is_new = self.with(|state| {
            *state.counts.dropped_spans.entry(why).or_default() += n_spans as u64;
            let now = Instant::now();
            let drops = Drops {
                latest: now,
                is_over: false,
            };
            let before = state.drops.insert(why, drops);
            before.is_none_or(|it| it.is_over && now.duration_since(it.latest) > QUIET)
        });
        if is_new {
            tracing::warn!(why, n_spans, "OTLP: spans are dropped");
        }
    }

    /// Nothing waits any more.
    pub(super) fn note_empty(&self) {
        let ended = self.with(|state| {
            let mut ended = Vec::new();
            state.drops.retain(|why, drops| {
                drops.is_over = true;
                let has_ended = drops.latest.elapsed() > QUIET;
                ended.extend(has_ended.then_some(*why));
                !has_ended
            });
            ended
        });
        for why in ended {
            tracing::info!(why, "OTLP: no spans are dropped any more");
        }
    }

    /// The findings in these traces have not arrived.
    pub(super) fn note_lost(&self, traces: Vec<(ProcessId, TraceId)>) {
        self.with(|state| state.lost.extend(traces));
    }

    /// The traces of findings that have not arrived, since this was asked before.
    pub(super) fn take_lost(&self) -> Vec<(ProcessId, TraceId)> {
        self.with(|state| std::mem::take(&mut state.lost))
    }
}
