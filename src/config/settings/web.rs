//! The HTTP server: where it listens, and what its own file says about TLS and passwords. That file has
//! the form which Prometheus exporters share (prometheus/exporter-toolkit, `docs/web-configuration.md`).

use super::Secret;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSettings {
    /// Addresses to listen on; at least one. Port 0 stands for any free port.
    pub listen: Vec<SocketAddr>,
    /// The file with TLS and passwords, see [`WebFile`].
    pub config_file: Option<PathBuf>,
    /// Who is shown names, files and stacks of programs.
    pub details: WebDetails,
    /// Whether `POST /-/reload` reads the configuration again.
    pub reload: bool,
}

impl Default for WebSettings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9849))],
            config_file: None,
            details: WebDetails::Loopback,
            reload: false,
        }
    }
}

/// Who is shown names, files and stacks of programs over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebDetails {
    /// Whoever connects to a loopback address, and clients that have said who they are, see [`WebFile`].
    Loopback,
    /// Only clients that have said who they are.
    Users,
}

/// What the file named by `web.config_file` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebFile {
    /// TLS; plain HTTP without.
    pub tls: Option<TlsSettings>,
    /// The bcrypt hashes of the passwords, by user; anybody may ask when it is empty.
    pub users: BTreeMap<String, Secret>,
}

/// TLS of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Its certificate, PEM.
    pub cert_file: PathBuf,
    /// The key of that, PEM.
    pub key_file: PathBuf,
    /// The authorities that clients' certificates must be from, PEM.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients need a certificate.
    pub client_auth: ClientAuth,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// The newest version that is spoken.
    pub max_version: TlsVersion,
}

/// Whether clients need a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// They need none.
    None,
    /// They need one of the authorities in `client_ca_file`.
    Require,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}
