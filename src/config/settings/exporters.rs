//! Where results go. Names and defaults of OTLP are those of OpenTelemetry's specification
//! (`specification/protocol/exporter.md`).

use super::Secret;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExporterSettings {
    /// What Prometheus fetches.
    pub prometheus: PrometheusSettings,
    /// What is sent over OTLP; `None`: nothing.
    pub otlp: Option<OtlpSettings>,
}

/// What Prometheus fetches from /metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrometheusSettings {}

/// What is sent over OTLP, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtlpSettings {
    /// Where all of it goes that has no receiver of its own. Its endpoint is for all signals: with
    /// [`OtlpProtocol::Http`] they are below it.
    pub receiver: OtlpReceiver,
    /// Metrics.
    pub metrics: OtlpMetricsSettings,
    /// Await trees as spans.
    pub spans: SpanSettings,
}

impl OtlpSettings {
    /// Where metrics go.
    pub fn metrics_receiver(&self) -> OtlpReceiver {
        let own = self.metrics.receiver.clone();
        own.unwrap_or_else(|| self.receiver.below(OtlpReceiver::METRICS_PATH))
    }

    /// Where spans go.
    pub fn spans_receiver(&self) -> OtlpReceiver {
        let own = self.spans.receiver.clone();
        own.unwrap_or_else(|| self.receiver.below(OtlpReceiver::SPANS_PATH))
    }
}

/// A receiver of OpenTelemetry, and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpReceiver {
    /// Scheme, host and port, such as `http://localhost:4317`; with [`OtlpProtocol::Http`] also a path.
    pub endpoint: String,
    /// How to speak to it.
    pub protocol: OtlpProtocol,
    /// Headers of each request, by their names in lower case.
    pub headers: BTreeMap<String, Secret>,
    /// Certificates.
    pub tls: OtlpTlsSettings,
    /// How requests are compressed.
    pub compression: Compression,
    /// For how long a request may take.
    pub timeout: Duration,
}

impl OtlpReceiver {
    /// Where metrics are below an endpoint for all signals.
    pub(in crate::config) const METRICS_PATH: &'static str = "v1/metrics";
    /// The same of spans.
    pub(in crate::config) const SPANS_PATH: &'static str = "v1/traces";

    /// The receiver of one signal, if this is that of all.
    pub(in crate::config) fn below(&self, path: &str) -> Self {
        let endpoint = match self.protocol {
            OtlpProtocol::Grpc => self.endpoint.clone(),
            OtlpProtocol::Http => format!("{}/{path}", self.endpoint.trim_end_matches('/')),
        };
        Self {
            endpoint,
            ..self.clone()
        }
    }
}

impl Default for OtlpReceiver {
    fn default() -> Self {
        let protocol = OtlpProtocol::Grpc;
        Self {
            endpoint: protocol.endpoint_default().to_owned(),
            protocol,
            headers: BTreeMap::new(),
            tls: OtlpTlsSettings::default(),
            compression: Compression::None,
            timeout: Duration::from_secs(10),
        }
    }
}

/// How OTLP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// `grpc`
    Grpc,
    /// `http/protobuf`
    Http,
}

impl OtlpProtocol {
    /// Its name in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http/protobuf",
        }
    }

    /// Where a receiver on this machine listens.
    pub fn endpoint_default(self) -> &'static str {
        match self {
            Self::Grpc => "http://localhost:4317",
            Self::Http => "http://localhost:4318",
        }
    }
}

/// Certificates for `https`. Without any, the receiver's must be known to this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtlpTlsSettings {
    /// The authorities that the receiver's certificate must be from, PEM.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, PEM; given together with its key.
    pub cert_file: Option<PathBuf>,
    /// The key of our certificate, PEM.
    pub key_file: Option<PathBuf>,
}

/// How requests are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
}

/// Metrics over OTLP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpMetricsSettings {
    /// Whether they are sent.
    pub enabled: bool,
    /// Time between two requests.
    pub interval: Duration,
    /// What counters count from.
    pub temporality: Temporality,
    /// Where they go, if not where everything goes; the endpoint is theirs alone.
    pub receiver: Option<OtlpReceiver>,
}

impl Default for OtlpMetricsSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(60),
            temporality: Temporality::Cumulative,
            receiver: None,
        }
    }
}

/// What counters count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temporality {
    /// From the start of the agent.
    Cumulative,
    /// From the request before.
    Delta,
    /// Whatever takes the least memory to tell: counters that are read when they are sent, which all of ours are, from
    /// the start; histograms from the request before.
    LowMemory,
}

/// Await trees as spans over OTLP.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanSettings {
    /// Whether they are sent.
    pub enabled: bool,
    /// The share of snapshots whose trees are sent, from 0 to 1. Within the other limits that of a
    /// finding always is.
    pub ratio: f64,
    /// Traces in any minute; a part is kept for findings.
    pub traces_per_minute: u32,
    /// Spans in any minute; a part is kept for findings.
    pub spans_per_minute: u32,
    /// Spans of one trace; a larger tree is cut, and says so.
    pub spans_per_trace: u32,
    /// Spans that wait to be sent; when there are more, some are dropped and counted.
    pub queue: u32,
    /// Memory that they take, in bytes; the same.
    pub queue_bytes: u64,
    /// Where they go, if not where everything goes; the endpoint is theirs alone.
    pub receiver: Option<OtlpReceiver>,
}

impl Eq for SpanSettings {}

impl Default for SpanSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            ratio: 0.01,
            traces_per_minute: 60,
            spans_per_minute: 20_000,
            spans_per_trace: 2_000,
            queue: 50_000,
            queue_bytes: 64 << 20,
            receiver: None,
        }
    }
}
