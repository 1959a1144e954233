//! The settings that the agent runs with. Values of this module are valid; how they were written is
//! the business of the rest of `config`.

mod control;
mod exporters;
mod name;
mod pattern;
mod secret;
mod target;
mod web;

pub use control::{ControlSettings, ControlSocket};
pub use exporters::{
    Compression, ExporterSettings, OtlpMetricsSettings, OtlpProtocol, OtlpReceiver, OtlpSettings,
    OtlpTlsSettings, PrometheusSettings, SpanSettings, Temporality,
};
pub(super) use name::NameError;
pub use name::NameTemplate;
pub use pattern::{CommandPattern, Glob, GlobError, Star};
pub use secret::Secret;
pub use target::{MatchSettings, Matching, TargetName, TargetSettings, UserId};
pub use web::{ClientAuth, TlsSettings, TlsVersion, WebDetails, WebFile, WebSettings};

use crate::sanitize::escape;
use std::path::Path;
use std::time::Duration;

/// Everything a configuration file can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The HTTP server.
    pub web: WebSettings,
    /// The socket on which `agentctl` asks the agent.
    pub control: ControlSettings,
    /// How processes are found.
    pub discovery: DiscoverySettings,
    /// What is watched, in the order of the file: a process belongs to the first that matches it.
    pub targets: Vec<TargetSettings>,
    /// What is worked out from the snapshots.
    pub analysis: AnalysisSettings,
    /// What the agent may use and produce.
    pub limits: LimitSettings,
    /// Where the results go.
    pub exporters: ExporterSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            web: WebSettings::default(),
            control: ControlSettings::default(),
            discovery: DiscoverySettings::default(),
            targets: vec![TargetSettings::auto()],
            analysis: AnalysisSettings::default(),
            limits: LimitSettings::default(),
            exporters: ExporterSettings::default(),
        }
    }
}

impl Settings {
    /// One line that says that the file they are from is good.
    pub fn checked(&self, file: &Path) -> String {
        let file = file.to_string_lossy();
        let n_targets = self.targets.len();
        let plural = if n_targets == 1 { "" } else { "s" };
        format!("{}: ok, {n_targets} target{plural}", escape(&file))
    }
}

/// How processes are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoverySettings {
    /// Time between two looks at the list of processes.
    pub interval: Duration,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
        }
    }
}

/// What is worked out from the snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnalysisSettings {
    /// Await cycles.
    pub cycles: CycleSettings,
    /// Stuck tasks.
    pub stuck: StuckSettings,
    /// How many coroutines have series of their own.
    pub top: TopSettings,
}

/// When an await cycle counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CycleSettings {
    /// Consecutive snapshots in which the same cycle must stand; at least 1.
    pub confirmations: u32,
}

impl Default for CycleSettings {
    fn default() -> Self {
        Self { confirmations: 2 }
    }
}

/// When a task counts as stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckSettings {
    /// For how long its innermost frame must have stood at the same instruction.
    pub after: Duration,
    /// Only tasks of which a coroutine matches one of these; all when it is `*`.
    pub include: Vec<Glob>,
    /// No tasks of which a coroutine matches one of these.
    pub exclude: Vec<Glob>,
    /// No tasks that wait in a function that matches one of these: the innermost one of the program's own, or one of a
    /// library that it has called.
    pub idle: Vec<Glob>,
    /// But those that wait in a function that matches one of these.
    pub never_idle: Vec<Glob>,
}

impl StuckSettings {
    /// Functions in which tasks wait for hours and nothing is wrong: for the end of a
    /// program or a server, for a signal, for its next connection, the next request or message on one, or the next
    /// piece of work, or for a thread or another process.
    pub const IDLE_DEFAULT: [&str; 47] = [
        "main",
        "*.main",
        "run_until_complete",
        "Queue.get",
        "SimpleQueue.get",
        "StreamReader.*",
        "*.sock_accept",
        "*.sock_recv*",
        "*._drain_helper",
        "*.sock_send*",
        "*._sock_sendfile*",
        "*.wait_readable",
        "*.wait_writable",
        "Event.wait",
        "Condition.wait",
        "*.receive",
        "*.recv",
        "*DataQueue.read",
        "PubSub.*",
        "_SignalReceiver.*",
        "site-packages",
        "run_in_executor",
        "run_sync_in_worker_thread",
        "*.run_sync_in_worker_thread",
        "add_signal_handler",
        "add_reader",
        "Queue.join",
        "Process.wait",
        "Process.communicate",
        "*.serve_forever",
        "*.run_forever",
        "*.wait_closed",
        "*.wait_for_termination",
        "*.wait_for_state_change",
        "*.start_serving",
        "*.poll",
        "*.poll_*",
        "_StreamResponseMixin.*",
        "_run_app",
        "RequestHandler.start",
        "Server.serve",
        "Server._serve",
        "Server.main_loop",
        "LifespanOn.main",
        "worker_serve",
        "*.keepalive",
        "*.heartbeat",
    ];

    /// Functions of which something is wrong with who waits in them for long: for a lock, a semaphore, a connection of
    /// a pool. Pools of libraries wait in queues, events and conditions, like those who have nothing to do.
    pub const NEVER_IDLE_DEFAULT: [&str; 17] = [
        "acquire",
        "*.acquire",
        "*._acquire",
        "*._acquire_impl",
        "*.acquire_on_behalf_of*",
        "*.acquire_read",
        "*.acquire_write",
        "*acquire_conn*",
        "*.getconn",
        "*.get_conn",
        "*._get_conn",
        "*.get_connection",
        "*.wait_for_connection",
        "*._wait_for_available_connection",
        "*Pool.checkout",
        "Queue.put",
        "MemoryObjectSendStream.send",
    ];

    /// A glob of the defaults, which are known to be good.
    fn glob(text: &str) -> Glob {
        Glob::new(text, Star::Anything, 1 << 20).expect("a good glob: a test compiles all of them")
    }
}

impl Default for StuckSettings {
    fn default() -> Self {
        Self {
            after: Duration::from_secs(60),
            include: vec![Self::glob("*")],
            exclude: Vec::new(),
            idle: Self::IDLE_DEFAULT.map(Self::glob).into(),
            never_idle: Self::NEVER_IDLE_DEFAULT.map(Self::glob).into(),
        }
    }
}

/// How many coroutines of a target have series of their own, by metric; the others are `other`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopSettings {
    /// Those with the most tasks.
    pub coroutines: u32,
    /// Those with the longest waits.
    pub waits: u32,
    /// Those with the most stuck tasks.
    pub stuck: u32,
}

impl Default for TopSettings {
    fn default() -> Self {
        Self {
            coroutines: 20,
            waits: 10,
            stuck: 10,
        }
    }
}

/// What the agent may use and produce. Over a limit it does less, and says so in a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitSettings {
    /// Rounds at once.
    pub rounds: u32,
    /// Tasks read of one process.
    pub tasks_per_process: u32,
    /// Tasks of all processes together; those of one person half of that.
    pub tasks: u32,
    /// Time for one scan of one process.
    pub scan_time: Duration,
    /// Bytes copied from one process in one scan.
    pub scan_bytes: u64,
    /// Share of one core that scans may take on average; greater than 0, may exceed 1.
    pub cpu_share: f64,
    /// Processes watched.
    pub processes: u32,
    /// Series that /metrics may have.
    pub series: u32,
    /// Names that targets may have together; further processes belong to the target `other`.
    pub target_names: u32,
}

impl Eq for LimitSettings {}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            rounds: 8,
            tasks_per_process: 1_000_000,
            tasks: 800_000,
            scan_time: Duration::from_secs(2),
            scan_bytes: 8 << 30,
            cpu_share: 0.05,
            processes: 2_000,
            series: 20_000,
            target_names: 500,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_patterns_are_good() {
        let stuck = StuckSettings::default();
        let is_in =
            |globs: &[Glob], name: &str| globs.iter().any(|glob| glob.is_match(name.as_bytes()));
        assert!(is_in(&stuck.include, "anything.<locals>.at/all"));
        assert!(is_in(&stuck.idle, "Server.serve_forever"));
        assert!(!is_in(&stuck.idle, "Server.handle"));
        assert!(is_in(&stuck.never_idle, "Lock.acquire"));
        assert!(!is_in(&stuck.never_idle, "Queue.get"));
    }
}
