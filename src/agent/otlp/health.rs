//! How sending goes: counted, and told in the log when it changes.

use crate::metrics::OtlpView;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

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
    fails: BTreeMap<Signal, bool>,
    drops: BTreeMap<&'static str, bool>,
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
    pub(super) fn note_export(&self, signal: Signal, result: Result<(), String>) {
        let failed = result.is_err();
        let before = self.with(|state| {
            let result = if failed { "failed" } else { "ok" };
            let counts = &mut state.counts;
            *counts.exports.entry((signal.as_str(), result)).or_default() += 1;
            state.fails.insert(signal, failed).unwrap_or(false)
        });
        let signal = signal.as_str();
        match result {
            Err(error) if !before => {
                tracing::warn!(
                    signal,
                    error,
                    "OTLP: the receiver does not take what is sent"
                );
            }
            Ok(()) if before => {
                tracing::info!(signal, "OTLP: the receiver takes again what is sent")
            }
            _ => {}
        }
    }

    /// The receiver took so many spans.
    pub(super) fn note_spans(&self, n_spans: usize) {
        self.with(|state| {
            state.counts.spans += n_spans as u64;
            state.drops.clear();
        });
    }

    /// So many spans were dropped.
    pub(super) fn note_dropped(&self, why: &'static str, n_spans: usize) {
        let is_new = self.with(|state| {
            *state.counts.dropped_spans.entry(why).or_default() += n_spans as u64;
            state.drops.insert(why, true).is_none()
        });
        if is_new {
            tracing::warn!(why, n_spans, "OTLP: spans are dropped");
        }
    }
}
