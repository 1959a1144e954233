//! Traces sent at once, for whoever waits for them to arrive.

use super::super::{AgentError, runtime_of_one};
use super::answer::{Failure, Taken};
use super::spans::requests;
use super::transport::{Exporter, Transport};
use crate::config::OtlpReceiver;
use crate::export::otlp::{ProcessResource, resource_of};
use crate::ids::ProcessId;
use crate::procfs::ProcRoot;
use crate::spans::Traces;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// How long it may take to find out that nobody can be reached.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// How often a request is sent, and how long it takes from the first to the second time; then it doubles.
const ATTEMPTS_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// For longer nobody waits, whatever the receiver asks for.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The process that traces are about.
#[derive(Debug, Clone)]
pub struct TracedProcess {
    /// What its service is called.
    pub service: String,
    /// Which process.
    pub process: ProcessId,
    /// Its executable file; may be empty.
    pub executable: String,
    /// The version of its Python; may be empty.
    pub python_version: String,
}

/// Why traces have not arrived.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nobody listens there.
    #[error("cannot connect to {address}: {why}")]
    Connect {
        /// Host and port.
        address: String,
        /// The system's reason.
        why: String,
    },
    /// The receiver does not take them.
    #[error("{address} does not take spans: {why}")]
    Refused {
        /// Host and port.
        address: String,
        /// What the SDK says.
        why: String,
        /// The receiver asks for so long a pause.
        pause: Option<Duration>,
    },
    /// The receiver takes some of them only.
    #[error("{address} does not take spans: {n_refused} of them were refused: {why}")]
    Partly {
        /// Host and port.
        address: String,
        /// So many it does not take.
        n_refused: usize,
        /// What it says about them; may be empty.
        why: String,
    },
}

/// What sends traces, with all files read that the settings name.
#[derive(Debug)]
pub struct TraceSender {
    runtime: Runtime,
    transport: Transport,
    exporter: Exporter<SpanExporter>,
}

impl TraceSender {
    /// Reads the files; sends nothing yet.
    ///
    /// # Errors
    ///
    /// When one of them is of no use.
    pub fn new(receiver: &OtlpReceiver) -> Result<Self, AgentError> {
        let runtime = runtime_of_one()?;
        // What sends is made within a runtime.
        let within = runtime.enter();
        let transport = Transport::new(receiver)?;
        let exporter = transport.spans()?;
        drop(within);
        Ok(Self {
            runtime,
            transport,
            exporter,
        })
    }

    /// Sends all of the traces, and returns when the receiver has taken them. It is asked several times if it has
    /// no time for them.
    ///
    /// # Errors
    ///
    /// When the receiver has not taken all of them.
    pub fn send(mut self, process: TracedProcess, traces: &Traces) -> Result<(), SendError> {
        let root = ProcRoot::default();
        let started = process.process.start.since_boot();
        self.exporter
            .inner
            .set_resource(&resource_of(&ProcessResource {
                service: process.service,
                labels: Vec::new(),
                process: process.process,
                started: root.boot_time().map(|booted| booted.after(started)),
                executable: process.executable,
                python_version: process.python_version,
                host: root.host_name().unwrap_or_default(),
            }));
        self.runtime.block_on(async {
            let (mut n_refused, mut why) = (0, String::new());
            for spans in requests(&traces.traces) {
                match ask(&self.exporter, spans).await {
                    Ok(taken) => {
                        n_refused += taken.n_refused;
                        if why.is_empty() {
                            why = taken.why;
                        }
                    }
                    Err(failure) => return Err(why_not(&self.transport, failure).await),
                }
            }
            match n_refused {
                0 => Ok(()),
                n_refused => Err(SendError::Partly {
                    address: self.transport.address(),
                    n_refused,
                    why,
                }),
            }
        })
    }
}

/// Sends a request, a few times if the receiver has no time for it.
async fn ask(exporter: &Exporter<SpanExporter>, spans: Vec<SpanData>) -> Result<Taken, Failure> {
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS_MAX {
        let result = exporter
            .ear
            .hear(exporter.inner.export(spans.clone()))
            .await;
        match result {
            Err(failure) if !failure.is_final && failure.pause <= Some(PAUSE_MAX) => {
                tokio::time::sleep(failure.pause.unwrap_or(pause)).await;
                pause *= 2;
            }
            result => return result,
        }
    }
    exporter.ear.hear(exporter.inner.export(spans)).await
}

/// Why the receiver did not take what was sent.
async fn why_not(transport: &Transport, failure: Failure) -> SendError {
    let address = transport.address();
    match reach(&address).await {
        Err(why) => SendError::Connect { address, why },
        Ok(()) => SendError::Refused {
            address,
            why: failure.why,
            pause: failure.pause,
        },
    }
}

/// Tries to connect.
async fn reach(address: &str) -> Result<(), String> {
    match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", CONNECT_MAX.as_secs())),
    }
}
