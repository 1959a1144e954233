//! What the agent knows now: one immutable view, replaced as a whole.

use crate::metrics::AgentView;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Holds the latest [`AgentView`]. Readers never wait for a view to be made.
#[derive(Debug, Default)]
pub(super) struct Store {
    latest: RwLock<Arc<AgentView>>,
    ready: AtomicBool,
}

impl Store {
    /// The latest view. Stays as it is while the caller holds it.
    pub(super) fn latest(&self) -> Arc<AgentView> {
        // The lock guards nothing but the swap of a pointer, which cannot be left half done.
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&latest)
    }

    /// Makes `view` the latest.
    pub(super) fn publish(&self, view: AgentView) {
        let view = Arc::new(view);
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        *latest = view;
    }

    /// Whether the processes that were there at the start have all been looked at once. A look that
    /// hangs counts: it may never end.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Says that they have.
    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }
}
