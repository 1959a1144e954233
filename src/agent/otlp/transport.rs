//! Exporters of the OpenTelemetry SDK, made of our settings: gRPC or HTTP, certificates, headers.

use super::answer::Ear;
use super::metrics_client::{AGENT, MetricsClient, Way};
use crate::config::{Compression, OtlpProtocol, OtlpReceiver, Secret};
use hyper::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig,
    WithTonicConfig,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use std::collections::HashMap;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use tonic::codec::CompressionEncoding;
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint};

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
    /// The settings say that nothing is compressed, and the SDK would follow a variable.
    #[error(
        "{variable} asks for gzip and exporters.otlp.compression for none: the variable must go"
    )]
    Compression {
        /// The name of the variable.
        variable: String,
    },
    /// A certificate of a file cannot be used.
    #[error("{}: {source}", file.display())]
    Certificate {
        /// Which file.
        file: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// A key cannot be used with its certificate.
    #[error("{}: not the key of the certificate in {}: {source}", key.display(), certificate.display())]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// TLS cannot be spoken.
    #[error("exporters.otlp.tls: {0}")]
    Tls(#[from] rustls::Error),
    /// The certificates that this machine knows cannot be used.
    #[error(
        "exporters.otlp: no certificates of authorities on this machine ({0}): install ca-certificates, or name a file of them in \
         exporters.otlp.tls.ca_file"
    )]
    Roots(io::Error),
    /// Nothing can be sent there.
    #[error("exporters.otlp.endpoint: {endpoint}: {why}")]
    Endpoint {
        /// Where to.
        endpoint: String,
        /// Why not.
        why: String,
    },
    /// The SDK refuses the settings.
    #[error("exporters.otlp: {0}")]
    Build(#[from] ExporterBuildError),
}

/// The receiver of a signal, with all files read: what an exporter is made of.
#[derive(Debug)]
pub(super) struct Transport {
    receiver: OtlpReceiver,
    headers: HashMap<String, String>,
    security: Security,
    files: FileContents,
    ear: Ear,
}

/// What stood in the files that settings name: renewed certificates and secrets have the same names.
#[derive(Clone, PartialEq, Eq, Default)]
pub(in crate::agent) struct FileContents(Arc<[Vec<u8>]>);

impl FileContents {
    /// With those of more files.
    pub(super) fn and(self, more: &Self) -> Self {
        Self(self.0.iter().chain(&*more.0).cloned().collect())
    }
}

impl std::fmt::Debug for FileContents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileContents").finish_non_exhaustive()
    }
}

enum Security {
    Grpc(Box<ClientTlsConfig>),
    Http(Arc<Client>),
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
    pub(super) fn new(receiver: &OtlpReceiver) -> Result<Self, OtlpError> {
        let (mut headers, mut files) = (HashMap::new(), Vec::new());
        for (name, secret) in &receiver.headers {
            let value = revealed(name, secret)?;
            if matches!(secret, Secret::File(_)) {
                files.push(value.clone().into_bytes());
            }
            headers.insert(name.clone(), value);
        }
        let tls = TlsFiles::read(receiver, &mut files)?;
        let ear = Ear::new(headers.values(), receiver.timeout);
        let security = match receiver.protocol {
            OtlpProtocol::Grpc => Security::Grpc(Box::new(tls.for_grpc()?)),
            OtlpProtocol::Http => Security::Http(Arc::new(Client {
                hyper: HyperClient::new(tls.for_http()?, receiver.timeout, None),
                headers: header_map(&headers)?,
                ear: ear.clone(),
            })),
        };
        Ok(Self {
            receiver: receiver.clone(),
            headers,
            security,
            files: FileContents(files.into()),
            ear,
        })
    }

    /// What stood in the files.
    pub(super) fn files(&self) -> FileContents {
        self.files.clone()
    }

    /// Sends spans; each request once.
    pub(super) fn spans(&self) -> Result<Exporter<SpanExporter>, OtlpError> {
        self.check_compression("TRACES_")?;
        let (builder, once) = (SpanExporter::builder(), RetryPolicy::disabled());
        let inner = match &self.security {
            Security::Grpc(tls) => {
                let builder = self.grpc(builder.with_tonic(), tls)?;
                builder.with_retry_policy(once).build()?
            }
            Security::Http(client) => {
                let builder = self.http(builder.with_http(), client);
                builder.with_retry_policy(once).build()?
            }
        };
        Ok(self.heard(inner))
    }

    /// Sends metrics; each request once.
    pub(super) fn metrics(&self) -> Result<MetricsClient, OtlpError> {
        let way = match &self.security {
            Security::Grpc(tls) => Way::Grpc {
                service: self.service(tls)?,
                headers: self.metadata()?,
            },
            Security::Http(client) => Way::Http {
                client: Arc::clone(client),
                uri: self
                    .receiver
                    .endpoint
                    .parse()
                    .map_err(|error| self.no_endpoint(error))?,
                compresses: self.receiver.compression == Compression::Gzip,
            },
        };
        let timeout = self.receiver.timeout;
        Ok(MetricsClient::new(way, self.ear.clone(), timeout))
    }

    fn service(&self, tls: &ClientTlsConfig) -> Result<MetricsServiceClient<Channel>, OtlpError> {
        let endpoint = Endpoint::from_shared(self.receiver.endpoint.clone());
        let mut endpoint = endpoint
            .and_then(|endpoint| endpoint.user_agent(AGENT))
            .map_err(|error| self.no_endpoint(error))?;
        if self.is_https() {
            endpoint = endpoint
                .tls_config(tls.clone())
                .map_err(|error| self.no_endpoint(error))?;
        }
        let channel = endpoint.timeout(self.receiver.timeout).connect_lazy();
        let service = MetricsServiceClient::new(channel);
        Ok(match self.receiver.compression {
            Compression::Gzip => service
                .send_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Gzip),
            Compression::None => service,
        })
    }

    fn no_endpoint(&self, error: impl std::error::Error + 'static) -> OtlpError {
        OtlpError::Endpoint {
            endpoint: self.receiver.endpoint.clone(),
            why: chain(&error),
        }
    }

    fn heard<E>(&self, inner: E) -> Exporter<E> {
        let ear = self.ear.clone();
        Exporter { inner, ear }
    }

    fn grpc<B: WithExportConfig + WithTonicConfig>(
        &self,
        builder: B,
        tls: &ClientTlsConfig,
    ) -> Result<B, OtlpError> {
        let mut builder = builder
            .with_endpoint(&self.receiver.endpoint)
            .with_timeout(self.receiver.timeout)
            .with_interceptor(OnlyThese(self.metadata()?));
        if self.is_https() {
            builder = builder.with_tls_config(tls.clone());
        }
        Ok(match self.receiver.compression {
            Compression::Gzip => builder.with_compression(opentelemetry_otlp::Compression::Gzip),
            Compression::None => builder,
        })
    }

    fn http<B: WithExportConfig + WithHttpConfig>(&self, builder: B, client: &Arc<Client>) -> B {
        let client: Arc<dyn HttpClient> = Arc::<Client>::clone(client);
        let builder = builder
            .with_endpoint(&self.receiver.endpoint)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(self.receiver.timeout)
            .with_shared_http_client(client)
            .with_headers(self.headers.clone());
        match self.receiver.compression {
            Compression::Gzip => builder.with_compression(opentelemetry_otlp::Compression::Gzip),
            Compression::None => builder,
        }
    }

    /// Host and port of the receiver.
    pub(super) fn address(&self) -> String {
        let endpoint = &self.receiver.endpoint;
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

    fn is_https(&self) -> bool {
        self.receiver.endpoint.starts_with("https://")
    }

    fn metadata(&self) -> Result<MetadataMap, OtlpError> {
        Ok(MetadataMap::from_headers(header_map(&self.headers)?))
    }

    /// That the SDK does as the settings say: it compresses if a variable asks for it and nobody says how.
    fn check_compression(&self, signal: &str) -> Result<(), OtlpError> {
        let asks_for_gzip = |variable: &String| {
            let value = std::env::var(variable).unwrap_or_default();
            value.eq_ignore_ascii_case("gzip")
        };
        let mut variables = [signal, ""]
            .into_iter()
            .map(|signal| format!("OTEL_EXPORTER_OTLP_{signal}COMPRESSION"));
        match variables.find(asks_for_gzip) {
            Some(variable) if self.receiver.compression == Compression::None => {
                Err(OtlpError::Compression { variable })
            }
            _ => Ok(()),
        }
    }
}

fn header_map(headers: &HashMap<String, String>) -> Result<HeaderMap, OtlpError> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let no_header = || OtlpError::Header { name: name.clone() };
        let key = HeaderName::try_from(name).map_err(|_| no_header())?;
        let value = HeaderValue::try_from(value).map_err(|_| no_header())?;
        map.insert(key, value);
    }
    Ok(map)
}

/// The headers of requests over gRPC. The SDK adds those of variables, which were meant for another receiver if the
/// settings say something else.
#[derive(Debug, Clone)]
struct OnlyThese(MetadataMap);

impl Interceptor for OnlyThese {
    fn call(
        &mut self,
        mut request: tonic::Request<()>,
    ) -> Result<tonic::Request<()>, tonic::Status> {
        *request.metadata_mut() = self.0.clone();
        Ok(request)
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

/// Files of certificates and a key, read.
struct TlsFiles<'s> {
    /// The receiver is spoken to over TLS.
    is_used: bool,
    ca: Option<(&'s Path, Vec<u8>)>,
    own: Option<[(&'s Path, Vec<u8>); 2]>,
}

impl<'s> TlsFiles<'s> {
    fn read(receiver: &'s OtlpReceiver, files: &mut Vec<Vec<u8>>) -> Result<Self, OtlpError> {
        let settings = &receiver.tls;
        let mut one = |file: &'s Path| {
            let bytes = read(file)?;
            files.push(bytes.clone());
            Ok::<_, OtlpError>((file, bytes))
        };
        let ca = settings.ca_file.as_deref().map(&mut one).transpose()?;
        let own = match (&settings.cert_file, &settings.key_file) {
            (Some(certificate), Some(key)) => Some([one(certificate)?, one(key)?]),
            _ => None,
        };
        let is_used = receiver.endpoint.starts_with("https://");
        Ok(Self { is_used, ca, own })
    }

    fn for_grpc(&self) -> Result<ClientTlsConfig, OtlpError> {
        let mut tls = ClientTlsConfig::new();
        // The SDK finds out only when it connects that a file is none of certificates.
        tls = match &self.ca {
            Some((file, bytes)) => {
                certificates(file, bytes)?;
                tls.ca_certificate(Certificate::from_pem(bytes))
            }
            None if !self.is_used => tls,
            None => {
                // The SDK says no more than that there is an error.
                client_config()?
                    .with_native_roots()
                    .map_err(OtlpError::Roots)?;
                tls.with_native_roots()
            }
        };
        if let Some([certificate, key]) = &self.own {
            let provider = ring::default_provider();
            let chain = certificates(certificate.0, &certificate.1)?;
            CertifiedKey::from_der(chain, private_key(key.0, &key.1)?, &provider)
                .map_err(|source| no_pair(certificate.0, key.0, source))?;
            tls = tls.identity(Identity::from_pem(&certificate.1, &key.1));
        }
        Ok(tls)
    }

    fn for_http(&self) -> Result<HttpsConnector<HttpConnector>, OtlpError> {
        let builder = client_config()?;
        let builder = match &self.ca {
            Some((file, bytes)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file, bytes)? {
                    let added = roots.add(certificate);
                    added.map_err(|source| OtlpError::Certificate {
                        file: (*file).to_owned(),
                        source,
                    })?;
                }
                builder.with_root_certificates(roots)
            }
            None if !self.is_used => builder.with_root_certificates(RootCertStore::empty()),
            None => builder.with_native_roots().map_err(OtlpError::Roots)?,
        };
        let config = match &self.own {
            Some([certificate, key]) => {
                let chain = certificates(certificate.0, &certificate.1)?;
                builder
                    .with_client_auth_cert(chain, private_key(key.0, &key.1)?)
                    .map_err(|source| no_pair(certificate.0, key.0, source))?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .build())
    }
}

fn no_pair(certificate: &Path, key: &Path, source: rustls::Error) -> OtlpError {
    OtlpError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    }
}

/// What all TLS connections have in common.
fn client_config() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, OtlpError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    Ok(builder.with_safe_default_protocol_versions()?)
}

fn certificates(file: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, OtlpError> {
    let no_pem = |source| OtlpError::Pem {
        file: file.to_owned(),
        source,
    };
    let all = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(no_pem)?;
    match all.is_empty() {
        true => Err(no_pem(pem::Error::NoItemsFound)),
        false => Ok(all),
    }
}

fn private_key(file: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, OtlpError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|source| OtlpError::Pem {
        file: file.to_owned(),
        source,
    })
}

/// An exporter, and what hears what is said to its requests.
#[derive(Debug)]
pub(super) struct Exporter<E> {
    pub(super) inner: E,
    pub(super) ear: Ear,
}

/// A client that notes what was answered, and why a request got no answer; the SDK says "network error" of all.
#[derive(Debug)]
pub(super) struct Client {
    hyper: HyperClient<HttpsConnector<HttpConnector>>,
    /// Those that the settings ask for. The SDK adds those of variables.
    headers: HeaderMap,
    ear: Ear,
}

impl Client {
    /// The request with the headers that say what its body is, and with ours.
    fn with_our_headers(&self, mut request: Request<Bytes>) -> Request<Bytes> {
        let all = std::mem::replace(request.headers_mut(), self.headers.clone());
        for name in [CONTENT_TYPE, CONTENT_ENCODING, USER_AGENT] {
            if let Some(value) = all.get(&name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        request
    }
}

impl HttpClient for Client {
    fn send_bytes<'a, 'f>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let request = self.with_our_headers(request);
            let answer = self.hyper.send_bytes(request).await;
            self.ear
                .note_http(answer.as_ref().map_err(|error| chain(&**error)));
            answer
        })
    }
}

/// An error and what caused it.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some tell what their cause tells.
        if more.starts_with(&text) {
            text = more;
        } else if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: &'static str,
        source: Option<Box<Told>>,
    }

    #[test]
    fn a_reason_is_told_once() {
        let told = |texts: &[&'static str]| {
            let mut all = None;
            for text in texts.iter().rev() {
                all = Some(Box::new(Told { text, source: all }));
            }
            chain(&*all.unwrap())
        };
        assert_eq!(told(&["a", "b", "c"]), "a: b: c");
        assert_eq!(told(&["send: b", "b"]), "send: b");
        assert_eq!(
            told(&["b (os error 3): at once", "b (os error 3)"]),
            "b (os error 3): at once"
        );
        assert_eq!(
            told(&["transport error", "transport error: b", "b"]),
            "transport error: b"
        );
    }
}
