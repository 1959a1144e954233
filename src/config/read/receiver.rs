//! Where OTLP goes, and how: what holds for all of it, and what one signal has of its own.

use super::super::FileKind;
use super::super::problem::quote;
use super::super::section::{Item, Located, Reader, Section, path_of};
use super::super::settings::{Compression, OtlpProtocol, OtlpReceiver, OtlpTlsSettings, Secret};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

pub(super) const KEYS: [&str; 7] = [
    "endpoint",
    "protocol",
    "headers",
    "headers_file",
    "tls",
    "compression",
    "timeout",
];

const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);

/// A signal of OpenTelemetry.
pub(super) struct Signal {
    /// Its section.
    pub(super) key: &'static str,
    /// What stands in the names of its variables.
    pub(super) variables: &'static str,
    /// Where it is below an endpoint that is for all signals.
    pub(super) path: &'static str,
}

pub(super) const METRICS: Signal = Signal {
    key: "metrics",
    variables: "METRICS_",
    path: OtlpReceiver::METRICS_PATH,
};

pub(super) const SPANS: Signal = Signal {
    key: "spans",
    variables: "TRACES_",
    path: OtlpReceiver::SPANS_PATH,
};

/// What is said about a receiver.
#[derive(Default)]
struct Given {
    endpoint: Option<String>,
    protocol: Option<OtlpProtocol>,
    headers: Option<BTreeMap<String, Secret>>,
    ca_file: Option<PathBuf>,
    own_files: Option<(Option<PathBuf>, Option<PathBuf>)>,
    compression: Option<Compression>,
    timeout: Option<Duration>,
}

/// The receiver of all signals, as `exporters.otlp` says. Also whether its endpoint is given.
pub(super) fn receiver(section: &Section<'_>, reader: &mut Reader<'_>) -> (OtlpReceiver, bool) {
    let source = Source {
        own: Some(section),
        all: None,
        path: section.path.clone(),
        section,
        variables: "",
    };
    let given = source.read(OtlpProtocol::Grpc, reader);
    let protocol = given.protocol.unwrap_or(OtlpProtocol::Grpc);
    let is_given = given.endpoint.is_some();
    let at = protocol.endpoint_default().to_owned();
    let default = OtlpReceiver {
        endpoint: at,
        protocol,
        ..OtlpReceiver::default()
    };
    (given.over(default), is_given)
}

/// What the variable prefers of `temporality`; case does not matter there.
pub(super) fn preferred<T: Copy>(
    all: &Section<'_>,
    signal: &Signal,
    choices: &[(&str, T)],
    reader: &mut Reader<'_>,
) -> Option<T> {
    let source = Source {
        own: None,
        all: None,
        path: path_of(&all.path, signal.key),
        section: all,
        variables: signal.variables,
    };
    let (key, variable) = ("temporality", "TEMPORALITY_PREFERENCE");
    let mut text = source.text_of_variable(key, key, variable, reader)?;
    text.value.make_ascii_lowercase();
    text.choice(choices, reader)
}

/// The receiver that a signal has of its own; `None` if it has none. `section` is its section, `of_all` that of
/// all signals.
pub(super) fn own_receiver(
    signal: &Signal,
    section: Option<&Section<'_>>,
    (all, of_all, is_given): (&Section<'_>, &OtlpReceiver, bool),
    reader: &mut Reader<'_>,
) -> Option<OtlpReceiver> {
    let source = Source {
        own: section,
        all: Some(all),
        path: path_of(&all.path, signal.key),
        section: section.unwrap_or(all),
        variables: signal.variables,
    };
    let given = source.read(of_all.protocol, reader);
    if given.is_nothing() {
        return None;
    }
    let protocol = given.protocol.unwrap_or(of_all.protocol);
    let mut default = OtlpReceiver {
        protocol,
        ..of_all.clone()
    };
    if !is_given {
        default.endpoint = protocol.endpoint_default().to_owned();
    }
    Some(given.over(default.below(signal.path)))
}

impl Given {
    fn is_nothing(&self) -> bool {
        let Self {
            endpoint,
            protocol,
            headers,
            ca_file,
            own_files,
            compression,
            timeout,
        } = self;
        endpoint.is_none()
            && protocol.is_none()
            && headers.is_none()
            && ca_file.is_none()
            && own_files.is_none()
            && compression.is_none()
            && timeout.is_none()
    }

    /// With what `default` says of the rest.
    fn over(self, default: OtlpReceiver) -> OtlpReceiver {
        let default_files = (default.tls.cert_file, default.tls.key_file);
        let (cert_file, key_file) = self.own_files.unwrap_or(default_files);
        OtlpReceiver {
            endpoint: self.endpoint.unwrap_or(default.endpoint),
            protocol: self.protocol.unwrap_or(default.protocol),
            headers: self.headers.unwrap_or(default.headers),
            tls: OtlpTlsSettings {
                ca_file: self.ca_file.or(default.tls.ca_file),
                cert_file,
                key_file,
            },
            compression: self.compression.unwrap_or(default.compression),
            timeout: self.timeout.unwrap_or(default.timeout),
        }
    }
}

/// Where a receiver is looked for: in a section, then in variables, unless what is said of all signals comes
/// before those.
struct Source<'s, 'n> {
    own: Option<&'s Section<'n>>,
    /// That of all signals.
    all: Option<&'s Section<'n>>,
    /// Where its keys would be.
    path: String,
    /// What a problem is about that has no place of its own.
    section: &'s Section<'n>,
    /// What stands in the names of its variables behind `OTEL_EXPORTER_OTLP_`.
    variables: &'static str,
}

impl<'n> Source<'_, 'n> {
    fn read(&self, protocol_default: OtlpProtocol, reader: &mut Reader<'_>) -> Given {
        let protocols = [
            ("grpc", OtlpProtocol::Grpc),
            ("http/protobuf", OtlpProtocol::Http),
        ];
        let protocol = self
            .text("protocol", "PROTOCOL", reader)
            .and_then(|text| text.choice(&protocols, reader));
        let endpoint = self.text("endpoint", "ENDPOINT", reader);
        let compressions = [("none", Compression::None), ("gzip", Compression::Gzip)];
        let compression = self
            .text("compression", "COMPRESSION", reader)
            .and_then(|text| text.choice(&compressions, reader));
        let mut given = Given {
            endpoint: endpoint.map(|text| {
                if let Err(why) = check_endpoint(&text.value, protocol.unwrap_or(protocol_default))
                {
                    text.problem(why, reader);
                }
                text.value
            }),
            protocol,
            headers: self.headers(reader),
            compression,
            timeout: self.timeout(reader),
            ..Given::default()
        };
        self.read_files(&mut given, reader);
        given
    }

    fn item(&self, key: &str) -> Option<Item<'n>> {
        self.own.and_then(|own| own.get(key))
    }

    /// The text at `key`, or that of the variable.
    fn text(&self, key: &str, variable: &str, reader: &mut Reader<'_>) -> Option<Located> {
        match self.item(key) {
            Some(item) => item.scalar(reader),
            None => self.text_of_variable(key, key, variable, reader),
        }
    }

    /// The text of the variable for `key`, which is below the key `top`.
    fn text_of_variable(
        &self,
        top: &str,
        key: &str,
        variable: &str,
        reader: &Reader<'_>,
    ) -> Option<Located> {
        if self.all.is_some_and(|all| all.get(top).is_some()) {
            return None;
        }
        let variable = format!("OTEL_EXPORTER_OTLP_{}{variable}", self.variables);
        let value = (reader.variables)(&variable).filter(|value| !value.is_empty())?;
        Some(Located {
            value,
            written: None,
            spot: self.section.spot,
            path: format!("{} (from {variable})", path_of(&self.path, key)),
        })
    }

    /// The timeout; as a variable it is a number of milliseconds.
    fn timeout(&self, reader: &mut Reader<'_>) -> Option<Duration> {
        if let Some(item) = self.item("timeout") {
            return item.scalar(reader)?.duration(TIMEOUTS, reader);
        }
        let text = self.text_of_variable("timeout", "timeout", "TIMEOUT", reader)?;
        let milliseconds = text.value.trim().parse().ok().map(Duration::from_millis);
        let is_possible = |it: &Duration| TIMEOUTS.contains(it);
        if !milliseconds.as_ref().is_some_and(is_possible) {
            let what = format!(
                "{}, expected a number of milliseconds from {} to {}",
                quote(&text.value),
                TIMEOUTS.start().as_millis(),
                TIMEOUTS.end().as_millis()
            );
            text.problem(what, reader);
        }
        milliseconds.filter(is_possible)
    }

    /// `headers` holds values, `headers_file` the files that hold them. No value is ever quoted.
    fn headers(&self, reader: &mut Reader<'_>) -> Option<BTreeMap<String, Secret>> {
        let mut headers = BTreeMap::new();
        let inline = self.item("headers");
        let files = self.item("headers_file");
        if inline.is_none() && files.is_none() {
            return self.headers_of_variable(reader);
        }
        for (name, text) in texts(inline, reader) {
            if !is_visible(&text.value) {
                text.problem(NO_HEADER, reader);
            }
            add_header(&mut headers, &name, Secret::Inline(text.value), reader);
        }
        for (name, text) in texts(files, reader) {
            if let Some(path) = text.file(FileKind::HeaderValue, reader) {
                add_header(&mut headers, &name, Secret::File(path), reader);
            }
        }
        Some(headers)
    }

    /// `OTEL_EXPORTER_OTLP_HEADERS`: `name=value,name=value`, with `%2C` for a comma in a value and so on, as in the
    /// header `baggage` of W3C (OpenTelemetry, `protocol/exporter.md`).
    fn headers_of_variable(&self, reader: &mut Reader<'_>) -> Option<BTreeMap<String, Secret>> {
        let is_given = |all: &Section<'_>| all.get("headers_file").is_some();
        if self.all.is_some_and(is_given) {
            return None;
        }
        let text = self.text_of_variable("headers", "headers", "HEADERS", reader)?;
        let mut headers = BTreeMap::new();
        for pair in text.value.split(',').filter(|pair| !pair.trim().is_empty()) {
            let name = |value: &str| Located {
                value: value.trim().to_owned(),
                written: None,
                spot: text.spot,
                path: text.path.clone(),
            };
            match pair.split_once('=') {
                Some((key, value)) => {
                    let value = decoded(value.trim());
                    if !is_visible(&value) {
                        text.problem(NO_HEADER, reader);
                    }
                    add_header(&mut headers, &name(key), Secret::Inline(value), reader);
                }
                None => text.problem("an entry without =, expected name=value,name=value", reader),
            }
        }
        Some(headers)
    }

    fn read_files(&self, given: &mut Given, reader: &mut Reader<'_>) {
        let keys = ["ca_file", "cert_file", "key_file"];
        let tls = self.own.and_then(|own| own.section("tls", &keys, reader));
        // Where the half that a variable gives of a pair comes from.
        let mut of_variable = None;
        let mut file = |key: &str, variable: &str| {
            let kind = match key {
                "key_file" => FileKind::PrivateKey,
                _ => FileKind::Certificates,
            };
            match &tls {
                Some(tls) if tls.get(key).is_some() => tls.file(key, kind, reader),
                _ => {
                    let text =
                        self.text_of_variable("tls", &format!("tls.{key}"), variable, reader)?;
                    let (spot, path) = (text.spot, text.path.clone());
                    if key != "ca_file" {
                        of_variable = Some((spot, path));
                    }
                    text.file(kind, reader)
                }
            }
        };
        given.ca_file = file("ca_file", "CERTIFICATE");
        let cert_file = file("cert_file", "CLIENT_CERTIFICATE");
        let key_file = file("key_file", "CLIENT_KEY");
        if cert_file.is_some() != key_file.is_some() {
            let what = "cert_file and key_file belong together, expected both or none";
            match of_variable {
                Some((spot, path)) => reader.problems.add(spot, &path, what),
                None => tls.as_ref().unwrap_or(self.section).problem(what, reader),
            }
        }
        given.own_files =
            (cert_file.is_some() || key_file.is_some()).then_some((cert_file, key_file));
    }
}

const NO_HEADER: &str = "has characters that no header may have, expected ASCII";

fn is_visible(value: &str) -> bool {
    value.chars().all(|c| (' '..='~').contains(&c))
}

/// A value of a variable without its percent signs; as it is if they stand for no text.
fn decoded(value: &str) -> String {
    let decoded = percent_decode_str(value).decode_utf8();
    decoded.map_or_else(|_| value.to_owned(), Cow::into_owned)
}

/// The entries of a map from names to texts.
fn texts(item: Option<Item<'_>>, reader: &mut Reader<'_>) -> Vec<(Located, Located)> {
    let Some(item) = item else {
        return Vec::new();
    };
    let entries = item.entries("a map from the names of headers to texts", reader);
    let texts = entries.into_iter().filter_map(|(name, item)| {
        let text = item.text(reader)?;
        Some((name, text))
    });
    texts.collect()
}

fn add_header(
    headers: &mut BTreeMap<String, Secret>,
    name: &Located,
    value: Secret,
    reader: &mut Reader<'_>,
) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.value.is_empty() || !name.value.chars().all(is_token) {
        name.problem(
            "no name of a header, expected one such as authorization",
            reader,
        );
    } else if headers
        .insert(name.value.to_ascii_lowercase(), value)
        .is_some()
    {
        let what = "the header is given twice, expected it once";
        name.problem(what, reader);
    }
}

/// An endpoint is scheme, host and port, and for HTTP perhaps a path. It is not quoted: there may be a
/// password or a token in it.
fn check_endpoint(endpoint: &str, protocol: OtlpProtocol) -> Result<(), String> {
    let expected = match protocol {
        OtlpProtocol::Grpc => "expected one such as http://localhost:4317",
        OtlpProtocol::Http => "expected one such as http://localhost:4318",
    };
    let (scheme, rest) = endpoint.split_once("://").unwrap_or_default();
    if !["http", "https"].contains(&scheme) {
        return Err(format!("no http:// or https:// in front, {expected}"));
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(format!(
            "has a user in it, {expected} and `headers_file` for credentials"
        ));
    }
    if path.contains(['?', '#']) || path.contains(|c: char| c.is_control() || c == ' ') {
        return Err(format!("not an address, {expected}"));
    }
    if protocol == OtlpProtocol::Grpc && !["", "/"].contains(&path) {
        return Err(format!("grpc has no paths, {expected}"));
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an IPv6 address stand within brackets.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_host_char = |c: char| c.is_alphanumeric() || "-._".contains(c);
    let is_host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(is_host_char),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    if !is_host || !port.is_none_or(is_port) {
        return Err(format!("not an address, {expected}"));
    }
    Ok(())
}
