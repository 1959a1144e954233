//! TLS of the server, as the file of `web.config_file` says.

use crate::config::{ClientAuth, TlsSettings, TlsVersion};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, SupportedProtocolVersion};

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM file with what it should have.
    #[error("{}: {source}", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The authorities cannot be used.
    #[error("client_ca_file: {0}")]
    Authorities(#[from] VerifierBuilderError),
    /// The certificate, its key and the versions do not go together.
    #[error("cert_file and key_file: {0}")]
    Mismatch(#[from] rustls::Error),
}

/// What accepts TLS connections. Reads the files that the settings name.
///
/// # Errors
///
/// When they do not make a server.
pub(in crate::agent) fn acceptor(settings: &TlsSettings) -> Result<TlsAcceptor, TlsError> {
    let key = PrivateKeyDer::from_pem_file(&settings.key_file);
    let key = key.map_err(|source| TlsError::File {
        file: settings.key_file.clone(),
        source,
    })?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(settings))?;
    let builder = match (settings.client_auth, &settings.client_ca_file) {
        (ClientAuth::Require, Some(file)) => {
            let mut authorities = RootCertStore::empty();
            for certificate in certificates(file)? {
                authorities.add(certificate)?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(authorities.into(), provider)
                    .build()?;
            builder.with_client_cert_verifier(verifier)
        }
        // The configuration was refused if it asks for certificates without an authority.
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(certificates(&settings.cert_file)?, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File {
        file: file.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(file).map_err(failed)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(failed)?;
    match certificates.is_empty() {
        true => Err(failed(pem::Error::NoItemsFound)),
        false => Ok(certificates),
    }
}

fn versions(settings: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::Tls12, &TLS12), (TlsVersion::Tls13, &TLS13)];
    let wanted = settings.min_version..=settings.max_version;
    let wanted = all
        .into_iter()
        .filter(|(version, _)| wanted.contains(version));
    wanted.map(|(_, version)| version).collect()
}
