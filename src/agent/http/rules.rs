//! What of the configuration the server goes by. Replaced as a whole when the configuration changes.

use super::auth::Users;
use super::tls::{TlsError, acceptor};
use crate::config::{ClientAuth, Secret, Settings, TlsSettings, WebDetails, WebFile};
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

/// What the server goes by.
pub(in crate::agent) struct WebRules {
    /// Whether `POST /-/reload` is answered.
    pub(super) reload: bool,
    /// Who is shown names, files and stacks of programs.
    details: WebDetails,
    /// The addresses that are listened on.
    pub(super) listen: Vec<SocketAddr>,
    /// With what is known of their passwords.
    pub(super) users: Arc<Users>,
    /// Plain HTTP without.
    pub(super) tls: Option<TlsAcceptor>,
    /// What that was made of: settings, and what stood in the files that they name.
    tls_of: Option<(TlsSettings, Vec<Vec<u8>>)>,
    /// Clients have to show a certificate.
    needs_certificate: bool,
    /// The longest time that a scan may take.
    pub(super) scan_time: Duration,
}

impl fmt::Debug for WebRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebRules")
            .field("reload", &self.reload)
            .field("details", &self.details)
            .field("users", &self.users)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// Why the settings of the server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// TLS cannot be offered.
    #[error("tls_server_config: {0}")]
    Tls(#[from] TlsError),
    /// A file with a hash cannot be read.
    #[error("basic_auth_users: {}: {source}", file.display())]
    Hash {
        /// Which file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl WebRules {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    ///
    /// When one of them is of no use.
    pub(in crate::agent) fn new(settings: &Settings, file: &WebFile) -> Result<Self, WebError> {
        let hash_of = |secret: &Secret| match secret {
            Secret::Inline(hash) => Ok(hash.clone()),
            Secret::File(path) => match fs::read_to_string(path) {
                Ok(hash) => Ok(hash.trim_end().to_owned()),
                Err(source) => Err(WebError::Hash {
                    file: path.clone(),
                    source,
                }),
            },
        };
        let users = file.users.iter();
        let users = users.map(|(user, secret)| Ok((user.clone(), hash_of(secret)?)));
        let tls = file.tls.as_ref();
        Ok(Self {
            reload: settings.web.reload,
            details: settings.web.details,
            listen: settings.web.listen.clone(),
            users: Users::new(users.collect::<Result<_, WebError>>()?).into(),
            needs_certificate: tls.is_some_and(|tls| tls.client_auth == ClientAuth::Require),
            tls: tls.map(acceptor).transpose()?,
            tls_of: tls.map(|tls| (tls.clone(), contents_of(tls))),
            scan_time: settings.limits.scan_time,
        })
    }

    /// Whose passwords were good under the rules before need not wait for it to be found out again, if users are the
    /// same.
    pub(in crate::agent) fn keep_known_of(&mut self, before: &Self) {
        if self.users.are_those_of(&before.users) {
            self.users = Arc::clone(&before.users);
        }
    }

    /// What of the file of `web.config_file` is not as it was, in words without secrets.
    pub(in crate::agent) fn changes_of_file(&self, before: &Self) -> Vec<&'static str> {
        let parts = [
            (
                "basic_auth_users of web.config_file",
                !self.users.are_those_of(&before.users),
            ),
            (
                "tls_server_config of web.config_file",
                self.tls_of != before.tls_of,
            ),
        ];
        let changed = parts.into_iter().filter(|(_, differs)| *differs);
        changed.map(|(part, _)| part).collect()
    }

    /// Whether connections may go on that began under other rules. Users say who they are with each request;
    /// with TLS there may be others now who may connect, or another certificate to be shown to them.
    pub(super) fn keep_connections_of(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || (self.tls.is_none() && other.tls.is_none())
    }

    /// Whether names, files and stacks of programs are shown on an address that only programs of this machine can
    /// reach (`is_local`), or on another.
    pub(super) fn show_details(&self, is_local: bool) -> bool {
        self.knows_clients() || (is_local && self.details == WebDetails::Loopback)
    }

    /// By what whoever is shown them may see them, for the log.
    pub(super) fn right(&self) -> &'static str {
        match (self.users.is_open(), self.needs_certificate) {
            (false, _) => "user",
            (true, true) => "certificate",
            (true, false) => "loopback",
        }
    }

    /// Why they are not.
    pub(super) fn why_no_details(&self) -> &'static str {
        match self.details {
            WebDetails::Loopback => {
                "names and files of programs are shown on loopback addresses only, or to users: set web.config_file\n"
            }
            WebDetails::Users => {
                "names and files of programs are shown to users only (web.details): set web.config_file; on its own \
                 host agentctl asks the agent's socket\n"
            }
        }
    }

    /// Whether whoever asks has said who they are.
    pub(super) fn knows_clients(&self) -> bool {
        self.needs_certificate || !self.users.is_open()
    }
}

/// What stands in the files of the server's TLS. They could be read just before: one that cannot be read now has changed.
fn contents_of(tls: &TlsSettings) -> Vec<Vec<u8>> {
    let files = [
        Some(&tls.cert_file),
        Some(&tls.key_file),
        tls.client_ca_file.as_ref(),
    ];
    let files = files.into_iter().flatten();
    files
        .map(|file| fs::read(file).unwrap_or_default())
        .collect()
}
