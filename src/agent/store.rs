//! What the agent knows now: one immutable view, replaced as a whole.

use super::clock::Clock;
use super::source::ProcessSource;
use crate::metrics::{AgentView, ProcessView};
use crate::time::Monotonic;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

/// Holds the latest [`AgentView`]. Readers never wait for a view to be made.
pub(super) struct Store {
    latest: RwLock<Arc<AgentView>>,
    ready: AtomicBool,
    /// Started with the store, and so with the agent.
    clock: Clock,
    source: Arc<dyn ProcessSource>,
    /// What the agent lacks, as of its start.
    lacks: Option<String>,
    /// How often series were left out of what was served.
    n_cut: OnceLock<Arc<AtomicU64>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("ready", &self.ready)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// A store that knows nothing yet. `source` is asked which processes have ended.
    pub(super) fn new(source: Arc<dyn ProcessSource>) -> Self {
        Self {
            latest: RwLock::default(),
            ready: AtomicBool::default(),
            clock: Clock::start(),
            lacks: source.lacks(),
            source,
            n_cut: OnceLock::new(),
        }
    }

    /// From now on `n_cut` is how often series were left out of what was served.
    pub(super) fn set_cut_counter(&self, n_cut: Arc<AtomicU64>) {
        let _ = self.n_cut.set(n_cut);
    }

    /// How often series were left out of what was served.
    pub(super) fn n_cut(&self) -> u64 {
        self.n_cut.get().map_or(0, |it| it.load(Ordering::Relaxed))
    }

    /// The latest view, without processes that have ended since: nobody is shown numbers of a process that is
    /// gone, even if its next round is far off. Stays as it is while the caller holds it.
    pub(super) fn latest(&self) -> Arc<AgentView> {
        // The lock guards nothing but the swap of a pointer, which cannot be left half done.
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        let latest = Arc::clone(&latest);
        let processes = latest.targets.iter().flat_map(|target| &target.processes);
        let ended = processes.filter(|process| self.source.has_ended(process.id));
        let ended: BTreeSet<_> = ended.map(|process| process.id).collect();
        if ended.is_empty() {
            return latest;
        }
        let mut without = AgentView::clone(&latest);
        let lives = |process: &Arc<ProcessView>| !ended.contains(&process.id);
        for target in &mut without.targets {
            target.processes.retain(lives);
        }
        Arc::new(without)
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

    /// What the agent lacks to read processes of all users, as advice.
    pub(super) fn lacks(&self) -> Option<&str> {
        self.lacks.as_deref()
    }

    /// For how long the agent has run.
    pub(super) fn running(&self) -> Duration {
        self.clock.now().since(Monotonic::default())
    }

    /// Says that they have.
    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }
}
