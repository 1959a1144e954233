//! The daemon: finds the processes of the configured targets, reads each every interval, and serves
//! what it saw to Prometheus.
//!
//! The scheduler decides and is pure. The supervisor asks it at every event and does what it says:
//! the discovery and the rounds, which block, run on threads of their own. The store holds one
//! immutable view of all results; the HTTP server only ever reads that. Each part has its file; this
//! one starts and stops them.

mod allocator;
mod allotment;
mod allowance;
mod answers;
mod args;
mod bounded;
mod check;
mod clock;
mod control;
mod cores;
mod discovery;
mod fair_queue;
mod http;
mod large;
mod log_buffer;
mod log_share;
mod looks;
mod open_files;
mod otlp;
mod people;
mod probe;
mod reads;
mod reload;
mod requests;
mod roster;
mod rules;
mod sampler;
mod scan_time;
mod schedule;
mod service;
#[cfg(test)]
mod shifting;
mod shutdown;
mod source;
mod store;
mod supervisor;
mod telemetry;
mod threads;
mod told;
mod turnstile;
mod watched;

pub use allowance::Allowance;
pub use args::{command, run_from_args};
pub use check::{Unchecked, check_files};
pub use http::{TlsError, WebError};
pub use looks::{Looks, LooksEnded};
pub use otlp::{OtlpError, SendError, TraceSender, TracedProcess};
pub use people::Person;
pub use reload::LoadConfig;
pub use source::{AttachedProcess, HostProcesses, ProcessSource};

use crate::config::{Settings, WebFile};
use crate::export::prometheus::PrometheusExporter;
use crate::procfs::ProcRoot;
use control::ControlRules;
use http::WebRules;
use reads::Reads;
use reload::{ReloadRequest, Reloader};
use service::ServiceManager;
use shutdown::Signal;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use turnstile::Turnstile;

/// How long open connections may take to finish when the agent stops.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Threads for rounds, discovery, snapshots that somebody asks for and what they may ask for, reloads and passwords.
const BLOCKING_THREADS_MAX: usize =
    supervisor::ROUNDS_HANGING_MAX + reads::READS_MAX + control::DECISIONS_MAX + 6;

/// Why the agent could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address of the configuration.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The socket of `control.socket` cannot be listened on.
    #[error("control.socket: cannot listen on {}: {source}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file of `web.config_file` names others that are of no use.
    #[error("web.config_file: {0}")]
    Web(#[from] WebError),
    /// A file that `exporters.otlp` names is of no use.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The operating system refused something that every run needs.
    #[error("cannot {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A part ended that must not end; this is a defect of the agent.
    #[error("internal error: the {part} ended")]
    PartEnded {
        /// Which part.
        part: &'static str,
    },
    /// The metrics catalogue is malformed; this is a defect of the agent.
    #[error("internal error: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl AgentError {
    /// The file that is of no use, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Web(WebError::Hash { file, .. } | WebError::Tls(TlsError::File { file, .. }))
            | Self::Otlp(OtlpError::File { file, .. } | OtlpError::Pem { file, .. }) => Some(file),
            _ => None,
        }
    }

    /// Whether the configuration has to be mended, or the place that it names, for a start to work: trying again does
    /// not help. An address or a socket that is in use may be free a moment later.
    pub fn is_lasting(&self) -> bool {
        use io::ErrorKind as Kind;
        match self {
            Self::Listen { source, .. } => source.kind() == Kind::PermissionDenied,
            Self::Socket { source, .. } => matches!(
                source.kind(),
                Kind::NotFound
                    | Kind::PermissionDenied
                    | Kind::AlreadyExists
                    | Kind::NotADirectory
                    | Kind::ReadOnlyFilesystem
            ),
            Self::Web(_) | Self::Otlp(_) => self.file().is_some(),
            Self::System { .. } | Self::PartEnded { .. } | Self::Metrics(_) => false,
        }
    }
}

/// What the agent starts with.
pub struct AgentConfig {
    /// The settings.
    pub settings: Settings,
    /// What the file of `web.config_file` says.
    pub web_file: WebFile,
    /// Reads both again.
    pub load: Arc<LoadConfig>,
}

impl fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentConfig")
            .field("settings", &self.settings)
            .field("web_file", &self.web_file)
            .finish_non_exhaustive()
    }
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    addresses: Vec<SocketAddr>,
    socket: Option<PathBuf>,
    stop: watch::Sender<bool>,
    reloads: mpsc::Sender<ReloadRequest>,
    supervisor: JoinHandle<()>,
    servers: Vec<JoinHandle<()>>,
}

impl Agent {
    /// Starts the parts. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When an address cannot be listened on, or a file that `web.config_file` leads to is of no use;
    /// nothing runs then.
    pub async fn start(
        config: AgentConfig,
        source: Arc<dyn ProcessSource>,
    ) -> Result<Self, AgentError> {
        let AgentConfig {
            settings,
            web_file,
            load,
        } = config;
        let rules = WebRules::new(&settings, &web_file)?;
        let otlp = otlp::Prepared::new(&settings)?;
        let otlp_files = otlp.as_ref().map(otlp::Prepared::files);
        let listeners = listen(&settings.web.listen).await?;
        let socket = listen_to_agentctl(&settings).await?;
        let store = Arc::new(Store::new(Arc::clone(&source)));
        let exporter = Arc::new(exporter_of(&store)?);

        let (stop, stopped) = watch::channel(false);
        let (commands, obeyed) = mpsc::channel(1);
        let supervisor =
            supervisor::Supervisor::new(&settings, Arc::clone(&source), Arc::clone(&store), otlp);
        let supervisor = tokio::spawn(supervisor.run(obeyed, stopped.clone()));
        let (web, rules) = watch::channel(Arc::new(rules));
        let (control, control_rules) = watch::channel(Arc::new(ControlRules::new(&settings)));
        // One that is carried out, and one that came since.
        let (reloads, requests) = mpsc::channel(1);
        let reloader = Reloader {
            load,
            current: Arc::new(settings),
            otlp_files,
            supervisor: commands,
            web,
            control,
            service: ServiceManager::of_environment(),
        };
        tokio::spawn(reloader.run(requests));
        let (reads, turnstile) = (Reads::default(), Turnstile::new());
        let audit = http::Audit::default();
        let outbox = Arc::new(http::Outbox::new(http::SENDING_BYTES_MAX));
        let (mut addresses, mut servers) = (Vec::new(), Vec::new());
        for (listener, address) in listeners {
            tracing::info!(%address, "listening");
            addresses.push(address);
            let site = http::Site {
                store: Arc::clone(&store),
                exporter: Arc::clone(&exporter),
                source: Arc::clone(&source),
                rules: rules.clone(),
                reloads: reloads.clone(),
                reads: reads.clone(),
                turnstile: turnstile.clone(),
                audit: audit.clone(),
                shared: http::Shared::default(),
                outbox: Arc::clone(&outbox),
                is_local: address.ip().is_loopback(),
            };
            let server = http::serve(listener, site, Default::default(), stopped.clone());
            servers.push(tokio::spawn(server));
        }
        let path = socket.as_ref().map(|(_, file)| file.path().to_owned());
        if let Some((listener, file)) = socket {
            let desk = control::Desk::new(store, source, control_rules, reads);
            let limits = control::ControlLimits::default();
            let server = control::serve(listener, file, desk, outbox, limits, stopped);
            servers.push(tokio::spawn(server));
        }
        Ok(Self {
            addresses,
            socket: path,
            stop,
            reloads,
            supervisor,
            servers,
        })
    }

    /// The addresses it listens on, with the ports that were chosen for port 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The socket on which it answers `agentctl`, if there is one.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Has the configuration read again, without waiting for that.
    pub fn reload(&self) {
        // One that waits already will see what there is by then.
        let _ = self.reloads.try_send(ReloadRequest::Signal);
    }

    /// Waits for a part to end, which none does on its own.
    async fn failed(&mut self) -> AgentError {
        let part = (&mut self.supervisor).await;
        if let Err(error) = part {
            tracing::error!(%error, "the supervisor failed");
        }
        AgentError::PartEnded { part: "supervisor" }
    }

    /// Ends the rounds and the servers. Connections get a moment to finish.
    pub async fn stop(self) {
        // A failed send means that every part has ended already.
        let _ = self.stop.send(true);
        for server in self.servers {
            let _ = tokio::time::timeout(DRAIN_MAX, server).await;
        }
        if !self.supervisor.is_finished() {
            // It also sends what is to be sent over OTLP.
            let at_most = DRAIN_MAX.saturating_add(otlp::FLUSH_MAX);
            let _ = tokio::time::timeout(at_most, self.supervisor).await;
        }
    }
}

async fn listen(addresses: &[SocketAddr]) -> Result<Vec<(TcpListener, SocketAddr)>, AgentError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let address = *address;
        let failed = |source| AgentError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        listeners.push((listener, bound));
    }
    Ok(listeners)
}

/// What serves the metrics of this store and of the agent's own process.
fn exporter_of(store: &Arc<Store>) -> Result<PrometheusExporter, prometheus::Error> {
    let latest = Arc::clone(store);
    let exporter = PrometheusExporter::new(move || latest.latest())?;
    exporter.show_process()?;
    store.set_cut_counter(exporter.n_cut());
    Ok(exporter)
}

/// The socket for `agentctl`, if there is to be one.
async fn listen_to_agentctl(
    settings: &Settings,
) -> Result<Option<(UnixListener, control::SocketFile)>, AgentError> {
    let Some(path) = control::path_of(&settings.control.socket) else {
        return Ok(None);
    };
    let failed = |source| AgentError::Socket {
        path: path.clone(),
        source,
    };
    let listening = control::listen(path.clone()).await.map_err(failed)?;
    tracing::info!(socket = %path.display(), "agentctl is answered");
    control::note_doubts(&settings.control);
    Ok(Some(listening))
}

/// A runtime that works while somebody waits for it, without threads of its own.
fn runtime_of_one() -> Result<tokio::runtime::Runtime, AgentError> {
    build_runtime(&mut tokio::runtime::Builder::new_current_thread())
}

fn build_runtime(
    builder: &mut tokio::runtime::Builder,
) -> Result<tokio::runtime::Runtime, AgentError> {
    let built = builder.enable_all().build();
    built.map_err(|source| AgentError::System {
        what: "start threads",
        source,
    })
}

/// Runs the agent on this machine's processes until SIGTERM or SIGINT.
///
/// # Errors
///
/// When it cannot start, or a part of it fails for good.
pub fn run(config: AgentConfig) -> Result<(), AgentError> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS_MAX);
    let runtime = threads::starting_threads(|| {
        let runtime = build_runtime(&mut threads)?;
        // The first of those that do what blocks, without which nothing goes on either.
        drop(runtime.spawn_blocking(|| ()));
        Ok::<_, AgentError>(runtime)
    })?;
    let result = runtime.block_on(run_until_signal(config));
    // A read that hangs in the kernel must not keep the agent from ending.
    runtime.shutdown_background();
    result
}

async fn run_until_signal(config: AgentConfig) -> Result<(), AgentError> {
    let mut signals = shutdown::Signals::listen().map_err(|source| AgentError::System {
        what: "listen to signals",
        source,
    })?;
    let settings = &config.settings;
    let build = crate::metrics::BuildInfo::default();
    tracing::info!(
        version = build.version,
        targets = settings.targets.len(),
        "starting"
    );
    if settings.targets.is_empty() {
        tracing::warn!("no targets are configured: nothing will be watched");
    }
    let processes = HostProcesses::at(ProcRoot::default(), supervisor::scan_limits(settings));
    if let Some(hint) = processes.lacks() {
        tracing::warn!(
            hint,
            "without CAP_SYS_PTRACE only processes of the agent's own user can be read; others may not even be seen \
             (ProtectProc= of a unit, hidepid)"
        );
    }
    let mut agent = Agent::start(config, Arc::new(processes)).await?;
    let service = ServiceManager::of_environment();
    service.ready();
    let result = loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => agent.reload(),
                Signal::End(signal) => {
                    tracing::info!(signal, "stopping");
                    service.stopping();
                    break Ok(());
                }
            },
            error = agent.failed() => break Err(error),
        }
    };
    if result.is_ok() {
        agent.stop().await;
        tracing::info!("stopped");
    }
    result
}
