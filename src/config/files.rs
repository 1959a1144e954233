//! What files that a configuration names should hold, as far as one look at them tells. Whether certificates and keys
//! go together is found out by whoever uses them.

/// What a file that a configuration names should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// What `web.config_file` names.
    WebConfig,
    /// Certificates, as PEM.
    Certificates,
    /// A private key, as PEM.
    PrivateKey,
    /// The value of a header.
    HeaderValue,
}

impl FileKind {
    /// What was expected, for a person.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::WebConfig => "a YAML file with tls_server_config or basic_auth_users",
            Self::Certificates => "a PEM file with certificates (-----BEGIN CERTIFICATE-----)",
            Self::PrivateKey => "a PEM file with a private key (-----BEGIN PRIVATE KEY-----)",
            Self::HeaderValue => "a file with the value of the header, one line of ASCII",
        }
    }

    /// What is wrong with the content of such a file. Nothing of it is quoted: it may be a secret.
    pub(super) fn check(self, content: &[u8]) -> Result<(), &'static str> {
        let holds = |what: &str| {
            content
                .windows(what.len())
                .any(|part| part == what.as_bytes())
        };
        let is_visible = |char: char| (' '..='~').contains(&char);
        match self {
            Self::Certificates if !holds("-----BEGIN CERTIFICATE-----") => {
                Err("no certificate in it")
            }
            Self::PrivateKey if !holds("PRIVATE KEY-----") => Err("no private key in it"),
            Self::HeaderValue => {
                let text = String::from_utf8_lossy(content);
                let is_good = text.trim_end_matches(['\n', '\r']).chars().all(is_visible);
                is_good
                    .then_some(())
                    .ok_or("it has characters that no header may have")
            }
            Self::WebConfig | Self::Certificates | Self::PrivateKey => Ok(()),
        }
    }
}
