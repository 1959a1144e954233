//! Traces sent at once, for whoever waits for them to arrive.

use super::super::AgentError;
use super::spans::requests;
use super::transport::Transport;
use crate::config::OtlpSettings;
use crate::export::otlp::{ProcessResource, resource_of};
use crate::ids::ProcessId;
use crate::procfs::ProcRoot;
use crate::spans::Traces;
use opentelemetry_sdk::trace::SpanExporter as _;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long it may take to find out that nobody can be reached.
const CONNECT_MAX: Duration = Duration::from_secs(3);

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
    /// Nothing could be made of the settings.
    #[error(transparent)]
    Prepare(#[from] AgentError),
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
    },
}

impl From<super::OtlpError> for SendError {
    fn from(error: super::OtlpError) -> Self {
        Self::Prepare(error.into())
    }
}

/// Sends all of the traces, and returns when the receiver has taken them. It is asked several times if it has no
/// time for them.
///
/// # Errors
///
/// When a file that the settings name is of no use, or the receiver has not taken all traces.
pub fn send_traces(
    settings: &OtlpSettings,
    process: TracedProcess,
    traces: &Traces,
) -> Result<(), SendError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| AgentError::System {
            what: "start threads",
            source,
        })?;
    runtime.block_on(send(settings, process, traces))
}

async fn send(
    settings: &OtlpSettings,
    process: TracedProcess,
    traces: &Traces,
) -> Result<(), SendError> {
    let transport = Transport::new(settings)?;
    let mut exporter = transport.spans()?;
    let root = ProcRoot::default();
    let started = process.process.start.since_boot();
    exporter.set_resource(&resource_of(&ProcessResource {
        service: process.service,
        labels: Vec::new(),
        process: process.process,
        started: root.boot_time().map(|booted| booted.after(started)),
        executable: process.executable,
        python_version: process.python_version,
        host: root.host_name().unwrap_or_default(),
    }));
    for spans in requests(traces) {
        if let Err(error) = exporter.export(spans).await {
            let address = transport.address();
            // The SDK does not say why it could not reach anybody.
            let why = transport.latest_failure();
            return Err(match reach(&address).await {
                Err(why) => SendError::Connect { address, why },
                Ok(()) => SendError::Refused {
                    address,
                    why: why.unwrap_or_else(|| error.to_string()),
                },
            });
        }
    }
    Ok(())
}

/// Tries to connect.
async fn reach(address: &str) -> Result<(), String> {
    match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", CONNECT_MAX.as_secs())),
    }
}
