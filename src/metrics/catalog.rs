//! All metrics: name, kind, labels, help.

use crate::limits::TASKS_MAX;

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the agent runs.
    Counter,
    /// May go up and down.
    Gauge,
    /// Numbers counted by size, as they are now: the counts go up and down too.
    Histogram,
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

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> MetricDef {
    MetricDef {
        name,
        kind: Kind::Histogram,
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

pub(super) const BYTES_READ_TOTAL: MetricDef = counter(
    "asyncio_agent_bytes_read_total",
    &[],
    "Bytes copied from the memory of processes.",
);

pub(super) const CONFIG_LAST_RELOAD_SUCCESSFUL: MetricDef = gauge(
    "asyncio_agent_config_last_reload_successful",
    &[],
    "1 if the latest attempt to load the configuration succeeded, 0 if the agent goes on with the one \
     before.",
);

pub(super) const CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS: MetricDef = gauge(
    "asyncio_agent_config_last_reload_success_timestamp_seconds",
    &[],
    "When the configuration was loaded that the agent runs with, in seconds since 1970.",
);

pub(super) const FOLDED_COROUTINES: MetricDef = gauge(
    "asyncio_agent_folded_coroutines",
    &["target"],
    "Coroutines of the target that have no series of their own in asyncio_tasks_by_coroutine but are \
     counted as other, as of the latest rounds.",
);

pub(super) const FOLDED_SERIES: MetricDef = gauge(
    "asyncio_agent_folded_series",
    &[],
    "Series that are left out now because there would be more than limits.series: by coroutine first, then \
     depths by size and infos, then by process, then what matters least of the last targets; never cycles, stuck \
     tasks and whether a target can be read.",
);

pub(super) const HIDDEN_PROCESSES: MetricDef = gauge(
    "asyncio_agent_hidden_processes",
    &[],
    "Processes of which it cannot be found out whether they belong to a target, because the agent may not look at them: \
     a rule depends on their executable, or on whether they use asyncio. As of the latest look at the list of processes.",
);

pub(super) const LIMIT_HITS_TOTAL: MetricDef = counter(
    "asyncio_agent_limit_hits_total",
    &["limit"],
    "How often a limit was reached: something was left out, put off or added up. traces_per_minute and \
     spans_per_minute are keys of exporters.otlp.spans in the configuration, the others without _max keys of limits; \
     probes_hanging, rounds_hanging and those with _max are built in, threads is what the system allows the agent. series \
     counts answers.",
);

pub(super) const LOG_LINES_LOST_TOTAL: MetricDef = counter(
    "asyncio_agent_log_lines_lost_total",
    &[],
    "Lines of the agent's log that were lost, because whoever takes them did not take them in time or they could not be \
     written, as of the latest round.",
);

pub(super) const OTLP_DROPPED_SPANS_TOTAL: MetricDef = counter(
    "asyncio_agent_otlp_dropped_spans_total",
    &["reason"],
    "Spans that the receiver of OTLP has not got: too many waited (queue_full), or they took too much memory (queue_bytes), it refused them for good (refused), or they were \
     left when the agent ended (failed).",
);

pub(super) const OTLP_EXPORTS_TOTAL: MetricDef = counter(
    "asyncio_agent_otlp_exports_total",
    &["signal", "result"],
    "Requests over OTLP, as of the latest round: what was sent, and whether the receiver took it, or a part of it.",
);

pub(super) const OTLP_SPANS_TOTAL: MetricDef = counter(
    "asyncio_agent_otlp_spans_total",
    &[],
    "Spans that the receiver of OTLP took, as of the latest round.",
);

pub(super) const PRIVILEGED: MetricDef = gauge(
    "asyncio_agent_privileged",
    &[],
    "Whether the agent can read processes of all users: it has CAP_SYS_PTRACE, which counts for all processes that it sees. Others \
     may be missing among the targets and say nothing of it. As of the start of the agent.",
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

pub(super) const AWAIT_CYCLE_DETECTIONS_TOTAL: MetricDef = counter(
    "asyncio_await_cycle_detections_total",
    &["target"],
    "Await cycles that were confirmed since the agent started: seen in as many snapshots in a row as the \
     configuration wants.",
);

pub(super) const AWAIT_CYCLE_TASKS: MetricDef = gauge(
    "asyncio_await_cycle_tasks",
    &["target"],
    "Tasks on confirmed await cycles, as the latest round over each process of the target saw them; \
     absent while no process can be read.",
);

pub(super) const AWAIT_CYCLES: MetricDef = gauge(
    "asyncio_await_cycles",
    &["target"],
    "Confirmed cycles of tasks that await each other and can never go on, as the latest round over \
     each process of the target saw them, at most 64 of each process; one that a partial snapshot lacks counts until a \
     complete one does. Absent while no process can be read.",
);

pub(super) const AWAIT_DEPTH: MetricDef = histogram(
    "asyncio_await_depth",
    &["target"],
    "Tasks by their depth now, as the latest round over each process saw them: the number of tasks on \
     the longest chain of awaiters that ends with the task, itself included.",
);

pub(super) const AWAIT_DEPTH_MAX: MetricDef = gauge(
    "asyncio_await_depth_max",
    &["target"],
    "Tasks on the longest chain of tasks that await each other (members of a cycle count as one), \
     as the latest round over each process of the target saw them; absent while no process can be \
     read.",
);

pub(super) const AWAIT_EDGES: MetricDef = gauge(
    "asyncio_await_edges",
    &["target"],
    "Edges from a task to one that awaits it, as the latest round over each process saw them; absent \
     while no process can be read.",
);

pub(super) const EVENT_LOOPS: MetricDef = gauge(
    "asyncio_event_loops",
    &["target"],
    "Threads that run an event loop or have tasks, as the latest round over each process saw them; \
     absent while no process can be read.",
);

pub(super) const PENDING_TASKS: MetricDef = gauge(
    "asyncio_pending_tasks",
    &["target"],
    "Tasks that are not done, in all processes of the target together, as the latest round over \
     each saw them, those included for which limits.tasks_per_process or limits.tasks leaves no room; absent while no process can \
     be read.",
);

pub(super) const PROCESS_INFO: MetricDef = gauge(
    "asyncio_process_info",
    &["target", "pid", "python_version", "executable"],
    "A process of the target that was read, and what it ran in the latest round that could read it; always 1.",
);

pub(super) const ROOT_TASKS: MetricDef = gauge(
    "asyncio_root_tasks",
    &["target"],
    "Tasks that no other task awaits, as the latest round over each process saw them; absent while no \
     process can be read.",
);

pub(super) const RUNNING_TASKS: MetricDef = gauge(
    "asyncio_running_tasks",
    &["target"],
    "Tasks that were being executed at the moment of the latest round over their process; absent while \
     no process can be read.",
);

pub(super) const SNAPSHOT_COVERAGE_RATIO: MetricDef = gauge(
    "asyncio_snapshot_coverage_ratio",
    &["target"],
    "Of the tasks of the processes that could be read, the share that the latest rounds did read; 1 if none is \
     known to be missing. Those for which a limit left no room or time are counted and missing. \
     If a list of tasks, of threads or of interpreters could not be followed to its end, by a limit or otherwise, \
     nobody knows how many are missing: as many of that process count as were read, so that it is \
     0.5 at most. Tasks that ended meanwhile are not counted.",
);

pub(super) const SNAPSHOT_TIMESTAMP_SECONDS: MetricDef = gauge(
    "asyncio_snapshot_timestamp_seconds",
    &["target"],
    "When the oldest of the snapshots was taken that the numbers of the target rest on, in seconds \
     since 1970.",
);

pub(super) const IDLE_TASKS: MetricDef = gauge(
    "asyncio_idle_tasks",
    &["target"],
    "Tasks that have waited at the same place for longer than analysis.stuck.after and are not stuck, because they \
     wait where analysis.stuck.idle or exclude says that this may take long, or the program has set a timer that ends \
     the wait; as of the latest rounds, absent while no process can be read.",
);

pub(super) const STUCK_TASKS: MetricDef = gauge(
    "asyncio_stuck_tasks",
    &["target"],
    "Tasks that have waited at the same place for longer than analysis.stuck.after, those left out that \
     await other tasks, sleep, have no thread any more, or are idle (asyncio_idle_tasks); as of \
     the latest rounds \
     (one that a partial snapshot lacks counts until a complete one does), absent while no process can be read.",
);

pub(super) const STUCK_TASKS_BY_COROUTINE: MetricDef = gauge(
    "asyncio_stuck_tasks_by_coroutine",
    &["target", "coroutine"],
    "Stuck tasks by the qualified name of their coroutine function, as of the latest rounds; other: those of \
     all further ones.",
);

pub(super) const TASK_WAIT_SECONDS_MAX: MetricDef = gauge(
    "asyncio_task_wait_seconds_max",
    &["target"],
    "The longest time for which a task has been seen waiting at the same place, members of a cycle that none of them \
     can leave included, those left out that await other tasks otherwise, sleep, have no thread any more, or have \
     reason to wait (analysis.stuck.idle, exclude); as of the latest rounds, \
     absent while no process can be read.",
);

pub(super) const TASK_WAIT_SECONDS_MAX_BY_COROUTINE: MetricDef = gauge(
    "asyncio_task_wait_seconds_max_by_coroutine",
    &["target", "coroutine"],
    "The longest time for which a task of the coroutine function has been seen waiting at the same place, of the tasks \
     that count in asyncio_task_wait_seconds_max, as of the latest rounds; other: a task of any further function.",
);

pub(super) const TASKS_BY_COROUTINE: MetricDef = gauge(
    "asyncio_tasks_by_coroutine",
    &["target", "coroutine"],
    "Tasks that are not done by the qualified name of their coroutine function, as of the latest rounds; \
     other: those of all further ones.",
);

pub(super) const TASKS_FINISHED_TOTAL: MetricDef = counter(
    "asyncio_tasks_finished_total",
    &["target"],
    "Tasks that were in one snapshot and not in the next, since the agent started. Those that began and ended between two \
     rounds were never seen.",
);

pub(super) const TASKS_STARTED_TOTAL: MetricDef = counter(
    "asyncio_tasks_started_total",
    &["target"],
    "Tasks that were not in the snapshot before, since the agent started. Those that began and ended between two rounds were \
     never seen.",
);

pub(super) const TARGET_INTERVAL_SECONDS: MetricDef = gauge(
    "asyncio_target_interval_seconds",
    &["target"],
    "Time between two rounds over each process of the target, as configured.",
);

pub(super) const TARGET_PROCESSES: MetricDef = gauge(
    "asyncio_target_processes",
    &["target"],
    "Processes of the target that are watched: those that match it, without those for which limits.processes leaves no room. As of the \
     latest look at the list of processes.",
);

pub(super) const TARGET_UNREADABLE_PROCESSES: MetricDef = gauge(
    "asyncio_target_unreadable_processes",
    &["target"],
    "Processes of the target that should be read and are not: the latest round failed on them, or a round \
     hangs (runs for more than 5 seconds) or is overdue by more than 2 intervals (at least 5 seconds). Those \
     without Python or without asyncio are not counted.",
);

pub(super) const TARGET_UP: MetricDef = gauge(
    "asyncio_target_up",
    &["target"],
    "1 if the latest round could read at least one process of the target and \
     asyncio_target_unreadable_processes is 0, otherwise 0: also if it has no process, or none with Python and \
     asyncio in it.",
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
    "other_pid_namespace",
    "panicked",
    "pause_limit",
    "permission_denied",
    "process_gone",
    "process_not_found",
    "read_failed",
    "stack_unsettled",
    "unsupported_python",
];

/// How a cap of [`LIMITS`](crate::limits::LIMITS) is called in the label `limit`: as in the configuration, if it has a key
/// there.
pub fn limit_label(cap: &str) -> &str {
    match cap {
        TASKS_MAX => "tasks_per_process",
        "bytes_read_max" => "scan_bytes",
        cap => cap,
    }
}

/// The values of `limit` besides those of [`LIMITS`](crate::limits::LIMITS), by name.
pub const AGENT_LIMITS: &[&str] = &[
    "cpu_share",
    "probes_hanging",
    "processes",
    "rounds_hanging",
    "series",
    "spans_per_minute",
    "target_names",
    "threads",
    "traces_per_minute",
];

/// Why spans are not sent.
pub const DROPPED_SPANS: [&str; 4] = ["failed", "queue_bytes", "queue_full", "refused"];
/// What is sent over OTLP.
pub const OTLP_SIGNALS: [&str; 2] = ["metrics", "traces"];
/// How a request ends.
pub const OTLP_RESULTS: [&str; 3] = ["failed", "ok", "partial"];

/// All metrics, by name.
pub const CATALOG: &[MetricDef] = &[
    BUILD_INFO,
    BYTES_READ_TOTAL,
    CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS,
    CONFIG_LAST_RELOAD_SUCCESSFUL,
    FOLDED_COROUTINES,
    FOLDED_SERIES,
    HIDDEN_PROCESSES,
    LIMIT_HITS_TOTAL,
    LOG_LINES_LOST_TOTAL,
    OTLP_DROPPED_SPANS_TOTAL,
    OTLP_EXPORTS_TOTAL,
    OTLP_SPANS_TOTAL,
    PRIVILEGED,
    SCAN_DURATION_SECONDS,
    SCAN_PROBLEMS_TOTAL,
    SCANS_HANGING,
    SCANS_TOTAL,
    AWAIT_CYCLE_DETECTIONS_TOTAL,
    AWAIT_CYCLE_TASKS,
    AWAIT_CYCLES,
    AWAIT_DEPTH,
    AWAIT_DEPTH_MAX,
    AWAIT_EDGES,
    EVENT_LOOPS,
    IDLE_TASKS,
    PENDING_TASKS,
    PROCESS_INFO,
    ROOT_TASKS,
    RUNNING_TASKS,
    SNAPSHOT_COVERAGE_RATIO,
    SNAPSHOT_TIMESTAMP_SECONDS,
    STUCK_TASKS,
    STUCK_TASKS_BY_COROUTINE,
    TARGET_INTERVAL_SECONDS,
    TARGET_PROCESSES,
    TARGET_UNREADABLE_PROCESSES,
    TARGET_UP,
    TASK_WAIT_SECONDS_MAX,
    TASK_WAIT_SECONDS_MAX_BY_COROUTINE,
    TASKS_BY_COROUTINE,
    TASKS_FINISHED_TOTAL,
    TASKS_STARTED_TOTAL,
];
