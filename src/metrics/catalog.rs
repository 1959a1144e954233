//! All metrics: name, kind, labels, help.

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the agent runs.
    Counter,
    /// May go up and down.
    Gauge,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricDef {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells, in one line.
    pub help: &'static str,
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> MetricDef {
    MetricDef {
        name,
        kind: Kind::Gauge,
        labels,
        help,
    }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> MetricDef {
    MetricDef {
        name,
        kind: Kind::Counter,
        labels,
        help,
    }
}

pub(super) const BUILD_INFO: MetricDef = gauge(
    "asyncio_agent_build_info",
    &["version", "revision"],
    "The agent's version; always 1.",
);

pub(super) const SCAN_DURATION_SECONDS: MetricDef = gauge(
    "asyncio_agent_scan_duration_seconds",
    &["target"],
    "Time that the latest round took over the slowest process of the target.",
);

pub(super) const SCAN_PROBLEMS_TOTAL: MetricDef = counter(
    "asyncio_agent_scan_problems_total",
    &["code"],
    "Problems met in rounds: parts of a snapshot that could not be read, and rounds that failed.",
);

pub(super) const SCANS_HANGING: MetricDef = gauge(
    "asyncio_agent_scans_hanging",
    &["target"],
    "Rounds over processes of the target that hang: they run, for more than 5 seconds already.",
);

pub(super) const SCANS_TOTAL: MetricDef = counter(
    "asyncio_agent_scans_total",
    &["target", "result"],
    "Rounds over processes of the target, by result: ok (all was read), partial (read with \
     problems), unsuitable (no Python with asyncio in it), failed, gone (the process ended) or \
     panicked.",
);

pub(super) const AWAIT_CYCLES: MetricDef = gauge(
    "asyncio_await_cycles",
    &["target"],
    "Cycles of tasks that await each other, as the latest round over each process of the target \
     saw them; absent while no process can be read.",
);

pub(super) const AWAIT_DEPTH_MAX: MetricDef = gauge(
    "asyncio_await_depth_max",
    &["target"],
    "Tasks on the longest chain of tasks that await each other (members of a cycle count as one), \
     as the latest round over each process of the target saw them; absent while no process can be \
     read.",
);

pub(super) const PENDING_TASKS: MetricDef = gauge(
    "asyncio_pending_tasks",
    &["target"],
    "Tasks that are not done, in all processes of the target together, as the latest round over \
     each saw them; absent while no process can be read.",
);

pub(super) const SNAPSHOT_TIMESTAMP_SECONDS: MetricDef = gauge(
    "asyncio_snapshot_timestamp_seconds",
    &["target"],
    "When the oldest of the snapshots was taken that the numbers of the target rest on, in seconds \
     since 1970.",
);

pub(super) const TARGET_PROCESSES: MetricDef = gauge(
    "asyncio_target_processes",
    &["target"],
    "Processes that match the target, as of the latest look at the list of processes.",
);

pub(super) const TARGET_UP: MetricDef = gauge(
    "asyncio_target_up",
    &["target"],
    "1 if the latest round could read at least one process of the target and failed on none of \
     them, otherwise 0. A process without Python or without asyncio counts as neither. Also 0 while \
     a round over one of them hangs (runs for more than 5 seconds) or is overdue by more than 2 \
     intervals (at least 5 seconds): then the other numbers are old.",
);

/// The values of `code` that are known before one of them is met, by name: those of the tables in
/// `ARCHITECTURE.md`.
pub const PROBLEM_CODES: &[&str] = &[
    "already_traced",
    "awaiter_unreadable",
    "bad_offsets",
    "edge_unsettled",
    "field_out_of_bounds",
    "freeze_denied",
    "implausible_value",
    "limit_hit",
    "list_torn",
    "memory_unmapped",
    "no_asyncio",
    "not_python",
    "not_started",
    "other",
    "panicked",
    "pause_limit",
    "permission_denied",
    "process_gone",
    "process_not_found",
    "read_failed",
    "stack_unsettled",
    "unsupported_python",
];

/// All metrics, by name.
pub const CATALOG: &[MetricDef] = &[
    BUILD_INFO,
    SCAN_DURATION_SECONDS,
    SCAN_PROBLEMS_TOTAL,
    SCANS_HANGING,
    SCANS_TOTAL,
    AWAIT_CYCLES,
    AWAIT_DEPTH_MAX,
    PENDING_TASKS,
    SNAPSHOT_TIMESTAMP_SECONDS,
    TARGET_PROCESSES,
    TARGET_UP,
];
