//! What the agent knows at one moment: the input of [`collect`](super::collect). Made by the agent's
//! store, never changed afterwards.

use crate::analysis::Summary;
use crate::ids::ProcessId;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Everything the agent knows.
#[derive(Debug, Clone, Default)]
pub struct AgentView {
    /// The agent itself.
    pub build: BuildInfo,
    /// The targets, in the order of the configuration.
    pub targets: Vec<TargetView>,
    /// Problems met since the start, by their code.
    pub problems: BTreeMap<String, u64>,
}

/// Which agent this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildInfo {
    /// The package's version.
    pub version: &'static str,
    /// What it was built from, if the build was told.
    pub revision: &'static str,
}

impl Default for BuildInfo {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            revision: option_env!("ASYNCIO_AGENT_REVISION").unwrap_or("unknown"),
        }
    }
}

/// One target.
#[derive(Debug, Clone, Default)]
pub struct TargetView {
    /// Its name: any text.
    pub name: Arc<str>,
    /// The processes that match it now.
    pub processes: Vec<ProcessView>,
    /// Rounds since the start.
    pub scans: ScanCounts,
}

/// One process of a target.
#[derive(Debug, Clone)]
pub struct ProcessView {
    /// Which process.
    pub id: ProcessId,
    /// Its latest round; `None` before the first has ended.
    pub latest: Option<Scan>,
    /// Whether a round over it runs for much too long now.
    pub hangs: bool,
    /// Whether its next round should have ended, or begun, long ago.
    pub is_overdue: bool,
}

/// A round that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: RoundOutcome,
    /// What it found; `None` unless it could read the process.
    pub summary: Option<Summary>,
}

/// How a round over one process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoundOutcome {
    /// All was read.
    Ok,
    /// It was read, with problems.
    Partial,
    /// The process runs no Python, or no asyncio: there is nothing to read, and nothing is wrong.
    Unsuitable,
    /// It could not be read.
    Failed,
    /// It has ended.
    Gone,
    /// The agent itself failed.
    Panicked,
}

impl RoundOutcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::Partial,
        Self::Unsuitable,
        Self::Failed,
        Self::Gone,
        Self::Panicked,
    ];

    /// The value of the label `result`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Unsuitable => "unsuitable",
            Self::Failed => "failed",
            Self::Gone => "gone",
            Self::Panicked => "panicked",
        }
    }

    /// Whether the process was read.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Ok | Self::Partial)
    }

    /// Whether something is wrong.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Panicked)
    }
}

/// How many rounds ended in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanCounts([u64; RoundOutcome::ALL.len()]);

impl ScanCounts {
    /// Counts one more round that ended as `outcome`.
    pub fn add(&mut self, outcome: RoundOutcome) {
        self.0[outcome as usize] += 1;
    }

    /// The rounds that ended as `outcome`.
    pub fn count(&self, outcome: RoundOutcome) -> u64 {
        self.0[outcome as usize]
    }
}

impl TargetView {
    /// Whether at least one process was read in its latest round, none failed, and none is late.
    pub fn is_up(&self) -> bool {
        if self.processes.iter().any(|it| it.hangs || it.is_overdue) {
            return false;
        }
        let mut outcomes = self.scans_latest().map(|scan| scan.outcome);
        let any_read = outcomes.clone().any(RoundOutcome::is_read);
        any_read && !outcomes.any(RoundOutcome::is_failure)
    }

    /// The latest rounds over its processes.
    pub fn scans_latest(&self) -> impl Iterator<Item = &Scan> + Clone {
        self.processes
            .iter()
            .filter_map(|process| process.latest.as_ref())
    }
}
