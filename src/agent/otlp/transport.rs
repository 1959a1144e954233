//! Exporters of the OpenTelemetry SDK, made of our settings: gRPC or HTTP, certificates, headers.
//!
//! The SDK collects metrics on threads of its own, which no HTTP client of tokio can be used on. What is sent
//! over HTTP therefore goes through a client that hands each request to the agent's runtime.

use crate::config::{
    Compression, OtlpProtocol, OtlpSettings, OtlpTlsSettings, Secret, Temporality,
};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
    WithTonicConfig,
};
use std::collections::HashMap;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Why nothing can be sent over OTLP.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// A file cannot be read.
    #[error("{}: {source}", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is no PEM file with what it should have.
    #[error("{}: {source}", file.display())]
    Pem {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The content of a file cannot be a header.
    #[error("the value of the header {name} has characters that no header may have")]
    Header {
        /// Which header.
        name: String,
    },
    /// Certificates and keys do not go together.
    #[error("exporters.otlp.tls: {0}")]
    Tls(#[from] rustls::Error),
    /// The certificates that this machine knows cannot be used.
    #[error("the certificates of this machine: {0}")]
    Roots(io::Error),
    /// The SDK refuses the settings.
    #[error("exporters.otlp: {0}")]
    Build(#[from] ExporterBuildError),
}

/// Settings with all files read: what exporters are made of.
#[derive(Debug)]
pub(super) struct Transport {
    settings: OtlpSettings,
    headers: HashMap<String, String>,
    security: Security,
}

enum Security {
    Grpc(Box<ClientTlsConfig>),
    Http(Arc<OnRuntime>),
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Grpc(_) => "Grpc",
            Self::Http(_) => "Http",
        })
    }
}

impl Transport {
    /// Reads the files that the settings name. Must be called within a tokio runtime.
    pub(super) fn new(settings: &OtlpSettings) -> Result<Self, OtlpError> {
        let mut headers = HashMap::new();
        for (name, secret) in &settings.headers {
            headers.insert(name.clone(), revealed(name, secret)?);
        }
        let security = match settings.protocol {
            OtlpProtocol::Grpc => Security::Grpc(Box::new(grpc_tls(&settings.tls)?)),
            OtlpProtocol::Http => Security::Http(Arc::new(OnRuntime {
                runtime: Handle::current(),
                client: HyperClient::new(connector(&settings.tls)?, settings.timeout, None),
                failure: Mutex::default(),
            })),
        };
        Ok(Self {
            settings: settings.clone(),
            headers,
            security,
        })
    }

    /// Sends spans.
    pub(super) fn spans(&self) -> Result<SpanExporter, OtlpError> {
        let builder = SpanExporter::builder();
        Ok(match &self.security {
            Security::Grpc(tls) => self.grpc(builder.with_tonic(), tls)?.build()?,
            Security::Http(client) => self
                .http(builder.with_http(), client, "v1/traces")
                .build()?,
        })
    }

    /// Sends metrics.
    pub(super) fn metrics(&self) -> Result<MetricExporter, OtlpError> {
        let builder = MetricExporter::builder().with_temporality(self.temporality());
        Ok(match &self.security {
            Security::Grpc(tls) => self.grpc(builder.with_tonic(), tls)?.build()?,
            Security::Http(client) => self
                .http(builder.with_http(), client, "v1/metrics")
                .build()?,
        })
    }

    fn temporality(&self) -> opentelemetry_sdk::metrics::Temporality {
        match self.settings.metrics.temporality {
            Temporality::Cumulative => opentelemetry_sdk::metrics::Temporality::Cumulative,
            Temporality::Delta => opentelemetry_sdk::metrics::Temporality::Delta,
        }
    }

    fn grpc<B: WithExportConfig + WithTonicConfig>(
        &self,
        builder: B,
        tls: &ClientTlsConfig,
    ) -> Result<B, OtlpError> {
        let mut builder = builder
            .with_endpoint(&self.settings.endpoint)
            .with_timeout(self.settings.timeout)
            .with_metadata(self.metadata()?);
        if self.is_https() {
            builder = builder.with_tls_config(tls.clone());
        }
        Ok(match self.settings.compression {
            Compression::Gzip => builder.with_compression(opentelemetry_otlp::Compression::Gzip),
            Compression::None => builder,
        })
    }

    fn http<B: WithExportConfig + WithHttpConfig>(
        &self,
        builder: B,
        client: &Arc<OnRuntime>,
        path: &str,
    ) -> B {
        let client: Arc<dyn HttpClient> = Arc::<OnRuntime>::clone(client);
        let builder = builder
            .with_endpoint(self.url(path))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(self.settings.timeout)
            .with_shared_http_client(client)
            .with_headers(self.headers.clone());
        match self.settings.compression {
            Compression::Gzip => builder.with_compression(opentelemetry_otlp::Compression::Gzip),
            Compression::None => builder,
        }
    }

    /// Host and port of the receiver.
    pub(super) fn address(&self) -> String {
        let endpoint = &self.settings.endpoint;
        let rest = endpoint.split_once("://").map_or(&**endpoint, |it| it.1);
        let authority = rest.split('/').next().unwrap_or(rest);
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.contains(']'));
        match (has_port, self.is_https()) {
            (true, _) => authority.to_owned(),
            (false, true) => format!("{authority}:443"),
            (false, false) => format!("{authority}:80"),
        }
    }

    /// Why the latest request over HTTP got no answer, if it got none.
    pub(super) fn latest_failure(&self) -> Option<String> {
        match &self.security {
            Security::Grpc(_) => None,
            Security::Http(client) => client.with_failure(|failure| failure.clone()),
        }
    }

    fn is_https(&self) -> bool {
        self.settings.endpoint.starts_with("https://")
    }

    /// What is below the endpoint.
    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.settings.endpoint.trim_end_matches('/'))
    }

    fn metadata(&self) -> Result<MetadataMap, OtlpError> {
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let no_header = || OtlpError::Header { name: name.clone() };
            let key = HeaderName::try_from(name).map_err(|_| no_header())?;
            let value = HeaderValue::try_from(value).map_err(|_| no_header())?;
            headers.insert(key, value);
        }
        Ok(MetadataMap::from_headers(headers))
    }
}

/// The value of a secret; of a file without the line end at its end.
fn revealed(name: &str, secret: &Secret) -> Result<String, OtlpError> {
    let value = match secret {
        Secret::Inline(value) => value.clone(),
        Secret::File(file) => {
            let text = read(file)?;
            String::from_utf8_lossy(&text)
                .trim_end_matches(['\n', '\r'])
                .to_owned()
        }
    };
    let is_visible = |c: char| (' '..='~').contains(&c);
    match value.chars().all(is_visible) {
        true => Ok(value),
        false => Err(OtlpError::Header {
            name: name.to_owned(),
        }),
    }
}

/// Bytes that are read of a file of certificates, or of a key: the largest bundles have some hundred KiB.
const PEM_BYTES_MAX: u64 = 4 << 20;

fn read(file: &Path) -> Result<Vec<u8>, OtlpError> {
    let mut bytes = Vec::new();
    let opened = File::open(file);
    opened
        .and_then(|opened| opened.take(PEM_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|source| OtlpError::File {
            file: file.to_owned(),
            source,
        })?;
    Ok(bytes)
}

fn grpc_tls(settings: &OtlpTlsSettings) -> Result<ClientTlsConfig, OtlpError> {
    let mut tls = ClientTlsConfig::new();
    // The SDK finds out only when it connects that a file is none of certificates.
    for file in [&settings.ca_file, &settings.cert_file]
        .into_iter()
        .flatten()
    {
        certificates(file)?;
    }
    if let Some(key) = &settings.key_file {
        private_key(key)?;
    }
    tls = match &settings.ca_file {
        Some(file) => tls.ca_certificate(Certificate::from_pem(read(file)?)),
        None => tls.with_native_roots(),
    };
    if let (Some(certificate), Some(key)) = (&settings.cert_file, &settings.key_file) {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

fn connector(settings: &OtlpTlsSettings) -> Result<HttpsConnector<HttpConnector>, OtlpError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions()?;
    let builder = match &settings.ca_file {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate)?;
            }
            builder.with_root_certificates(roots)
        }
        None => {
            use hyper_rustls::ConfigBuilderExt as _;
            builder.with_native_roots().map_err(OtlpError::Roots)?
        }
    };
    let config = match (&settings.cert_file, &settings.key_file) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            builder.with_client_auth_cert(chain, private_key(key)?)?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .build())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, OtlpError> {
    let no_pem = |source| OtlpError::Pem {
        file: file.to_owned(),
        source,
    };
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let all: Vec<_> = all.map_err(no_pem)?;
    match all.is_empty() {
        true => Err(no_pem(pem::Error::NoItemsFound)),
        false => Ok(all),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, OtlpError> {
    PrivateKeyDer::from_pem_file(file).map_err(|source| OtlpError::Pem {
        file: file.to_owned(),
        source,
    })
}

/// A client whose requests are made on the agent's runtime, whichever thread asks for them.
#[derive(Debug)]
struct OnRuntime {
    runtime: Handle,
    client: HyperClient<HttpsConnector<HttpConnector>>,
    /// Why the latest request got no answer. The SDK keeps that to itself.
    failure: Mutex<Option<String>>,
}

impl OnRuntime {
    fn with_failure<R>(&self, look: impl FnOnce(&mut Option<String>) -> R) -> R {
        // Nothing that is done under the lock can be left half done.
        look(&mut self.failure.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An error with its causes.
fn with_causes(error: &HttpError) -> String {
    let mut shown = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_shown = cause.to_string();
        // Many say what their cause says.
        if !shown.ends_with(&cause_shown) {
            shown += ": ";
            shown += &cause_shown;
        }
        next = cause.source();
    }
    shown
}

impl HttpClient for OnRuntime {
    fn send_bytes<'a, 'f>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        let client = self.client.clone();
        let sent = self
            .runtime
            .spawn(async move { client.send_bytes(request).await });
        Box::pin(async move {
            let answer = sent.await?;
            let failure = answer.as_ref().err().map(with_causes);
            self.with_failure(|latest| *latest = failure);
            answer
        })
    }
}
