//! What files that a configuration names should hold, as far as one look at them tells. Whether certificates and keys
//! go together is found out by whoever uses them.

/// Bytes that the value of a header may have: servers take no more in all of them.
const HEADER_BYTES_MAX: usize = 16 << 10;

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
                let value = text.trim_end_matches(['\n', '\r']);
                match value {
                    "" => Err("it is empty"),
                    _ if value.len() > HEADER_BYTES_MAX => Err("it has more than 16 KiB"),
                    _ if !value.chars().all(is_visible) => {
                        Err("it has characters that no header may have")
                    }
                    _ => Ok(()),
                }
            }
            Self::WebConfig | Self::Certificates | Self::PrivateKey => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_header_is_one_line_of_a_moderate_length() {
        let longest = [b'x'; HEADER_BYTES_MAX];
        for good in [&b"Bearer secret"[..], b"x\r\n", b" ~", &longest] {
            assert_eq!(FileKind::HeaderValue.check(good), Ok(()));
        }
        let invisible = "it has characters that no header may have";
        let too_long = [&longest[..], b"x"].concat();
        for (bad, why) in [
            (&b""[..], "it is empty"),
            (b"\n\n", "it is empty"),
            (b"a\nb", invisible),
            (b"\xff", invisible),
            ("é".as_bytes(), invisible),
            (b"\0", invisible),
            (&too_long, "it has more than 16 KiB"),
        ] {
            assert_eq!(FileKind::HeaderValue.check(bad), Err(why));
        }
    }
}
