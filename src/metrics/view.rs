//! What the agent knows at one moment: the input of [`collect`](super::collect). Made by the agent's
//! store, never changed afterwards.

use super::exemplar::Exemplar;
use crate::analysis::{FindingKind, Fingerprint, Observation, Summary};
use crate::ids::ProcessId;
use crate::limits::LimitsHit;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Everything the agent knows.
#[derive(Debug, Clone, Default)]
pub struct AgentView {
    /// The agent itself.
    pub build: BuildInfo,
    /// When its counters were zero.
    pub since: Timestamp,
    /// The targets, in the order of the configuration.
    pub targets: Vec<TargetView>,
    /// What the agent lacks to read processes of all users, as advice.
    pub lacks: Option<Arc<str>>,
    /// Processes that might belong to a target, which cannot be found out because the agent may not look at them.
    pub n_hidden: usize,
    /// Processes that belong to targets and are not watched, because there are more than the configuration allows.
    pub n_left_out: usize,
    /// Processes of which it is not known whether they use asyncio, because asking them, or others, hangs.
    pub unprobed: Arc<[ProcessId]>,
    /// The same because the system gives the agent no more threads to ask them on.
    pub unstarted: Arc<[ProcessId]>,
    /// Rules of the configuration that no process belongs to, by their paths: of very many the first ones.
    pub idle_rules: Arc<[String]>,
    /// How many of them there are.
    pub n_idle_rules: usize,
    /// Problems met since the start, by their code.
    pub problems: BTreeMap<String, u64>,
    /// Bytes copied from processes since the start.
    pub bytes_read: u64,
    /// How often each limit was reached since the start, by its name.
    pub limit_hits: BTreeMap<String, u64>,
    /// How many coroutines of a target have series of their own.
    pub top: Top,
    /// How many series there may be; 0: any number.
    pub series_max: usize,
    /// The latest attempt to load the configuration.
    pub config: ConfigView,
    /// What was sent over OTLP.
    pub otlp: OtlpView,
    /// Lines of the log that were lost since the start.
    pub log_lines_lost: u64,
}

/// What was sent over OTLP since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtlpView {
    /// Requests, by what they sent and how they ended.
    pub exports: BTreeMap<(&'static str, &'static str), u64>,
    /// Spans that the receiver took.
    pub spans: u64,
    /// Spans that were not sent, by the reason.
    pub dropped_spans: BTreeMap<&'static str, u64>,
}

/// How many coroutines of a target have series of their own, by metric; the others are `other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Top {
    /// Those with the most tasks.
    pub tasks: usize,
    /// Those with the longest waits.
    pub waits: usize,
    /// Those with the most stuck tasks.
    pub stuck: usize,
}

/// What became of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConfigView {
    /// The latest attempt to load it failed: the agent runs with the one before.
    pub last_reload_failed: bool,
    /// When the one was loaded that the agent runs with.
    pub loaded_at: Timestamp,
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
    /// When its counters were zero.
    pub since: Timestamp,
    /// The processes that match it now.
    pub processes: Vec<Arc<ProcessView>>,
    /// Rounds since the start.
    pub scans: ScanCounts,
    /// Labels that its series have besides.
    pub labels: Arc<[(String, String)]>,
    /// Its processes have series of their own.
    pub per_process: bool,
    /// Time between two rounds over each of its processes; `None` before that is known.
    pub interval: Option<Duration>,
    /// The share of its snapshots that is sent as spans, if it has one of its own.
    pub spans_ratio: Option<f64>,
    /// What was observed since the start.
    pub totals: Totals,
}

/// What was observed since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Tasks that began.
    pub started: u64,
    /// Tasks that ended.
    pub finished: u64,
    /// Cycles that were confirmed.
    pub cycle_detections: u64,
    /// Tasks that were found to be stuck.
    pub stuck_detections: u64,
    /// The latest trace in which a cycle was sent that was not sent before.
    pub cycle_exemplar: Option<Exemplar>,
}

impl Totals {
    /// This trace has not arrived: nothing leads to it.
    pub fn forget_trace(&mut self, trace: u128) {
        if self.cycle_exemplar.is_some_and(|it| it.trace == trace) {
            self.cycle_exemplar = None;
        }
    }

    /// Takes up what a round observed.
    pub fn add(&mut self, observation: &Observation) {
        let opened = |kind| {
            let findings = observation.findings.iter();
            let opened = findings
                .filter(|it| it.kind == kind && observation.opened.contains(&it.fingerprint));
            u64::try_from(opened.count()).unwrap_or(u64::MAX)
        };
        let add = |total: &mut u64, more: u64| *total = total.saturating_add(more);
        add(&mut self.started, observation.n_started);
        add(&mut self.finished, observation.n_finished);
        add(&mut self.cycle_detections, opened(FindingKind::AwaitCycle));
        add(&mut self.stuck_detections, opened(FindingKind::StuckTask));
    }
}

/// One process of a target.
#[derive(Debug, Clone)]
pub struct ProcessView {
    /// Which process.
    pub id: ProcessId,
    /// When its counters were zero.
    pub since: Timestamp,
    /// Its latest round; `None` before the first has ended.
    pub latest: Option<Scan>,
    /// Whether a round over it runs for much too long now.
    pub hangs: bool,
    /// Whether its next round should have ended, or begun, long ago.
    pub is_overdue: bool,
    /// Why its latest round could not read it, or not all of it. May hold data of a foreign process: anything.
    pub failure: Option<Arc<str>>,
    /// What it runs; `None` before it could be read.
    pub program: Option<Arc<ProgramView>>,
    /// The user whose it was, by all its user ids, when that was read; `None`: several users', or nobody knows.
    pub owner: Option<u32>,
    /// What was observed since it is watched.
    pub totals: Totals,
    /// The traces in which its findings were sent, if they were.
    pub traces: Arc<BTreeMap<Fingerprint, u128>>,
}

impl ProcessView {
    /// One of which nothing is known yet.
    pub fn new(id: ProcessId) -> Self {
        Self {
            id,
            since: Timestamp::default(),
            latest: None,
            hangs: false,
            is_overdue: false,
            failure: None,
            program: None,
            owner: None,
            totals: Totals::default(),
            traces: Arc::default(),
        }
    }

    /// Whether nothing is known of it now although there should be.
    fn is_unreadable(&self) -> bool {
        let failed = |scan: &Scan| scan.outcome.is_failure();
        self.hangs || self.is_overdue || self.latest.as_ref().is_some_and(failed)
    }
}

/// What a process runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgramView {
    /// The version of Python.
    pub python_version: String,
    /// Its executable file. Data of a foreign process; may hold anything.
    pub executable: String,
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
    /// What that means, given the rounds before.
    pub observation: Option<Arc<Observation>>,
    /// Tasks that it could not read, those that ended meanwhile left out.
    pub tasks_unreadable: u64,
    /// Tasks that it only counted, because there are more than may be read of a process. They are among the pending
    /// ones of `summary`.
    pub tasks_counted: u64,
    /// It met lists that it could not follow to their end, with nobody knows how many tasks more.
    pub is_cut: bool,
    /// Bytes that it copied.
    pub bytes_read: u64,
    /// The limits that it reached.
    pub limit_hits: LimitsHit,
}

impl Default for Scan {
    /// A round that found nothing.
    fn default() -> Self {
        Self {
            at: Timestamp::default(),
            took: Duration::ZERO,
            outcome: RoundOutcome::Failed,
            summary: None,
            observation: None,
            tasks_unreadable: 0,
            tasks_counted: 0,
            is_cut: false,
            bytes_read: 0,
            limit_hits: LimitsHit::default(),
        }
    }
}

impl Scan {
    /// Tasks that it read; `None` if it read nothing.
    pub fn tasks_read(&self) -> Option<u64> {
        let summary = self.summary.as_ref()?;
        Some(summary.n_pending_tasks.saturating_sub(self.tasks_counted))
    }

    /// Tasks that it did not read, as far as is known. Where nobody knows how many there are, as many as were
    /// read, and one at least.
    pub fn tasks_missing(&self) -> u64 {
        let read = self.tasks_read().unwrap_or(0);
        let unknown = if self.is_cut { read.max(1) } else { 0 };
        let known = self.tasks_unreadable.saturating_add(self.tasks_counted);
        known.saturating_add(unknown)
    }
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
pub struct ScanCounts(pub(super) [u64; RoundOutcome::ALL.len()]);

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
        let any_read = self.scans_latest().any(|scan| scan.outcome.is_read());
        any_read && self.n_unreadable() == 0
    }

    /// How many processes cannot be read although they should: their latest round failed, or one hangs or is
    /// late. Those in which there is nothing to read are not among them.
    pub fn n_unreadable(&self) -> usize {
        let processes = self.processes.iter();
        processes.filter(|it| it.is_unreadable()).count()
    }

    /// The latest rounds over its processes.
    pub fn scans_latest(&self) -> impl Iterator<Item = &Scan> + Clone {
        self.processes
            .iter()
            .filter_map(|process| process.latest.as_ref())
    }
}
