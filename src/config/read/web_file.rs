//! The file that `web.config_file` names: TLS and passwords, in the form that Prometheus exporters
//! share, as far as it is used here. Hashes are taken as they stand: they are full of `$`.

use super::super::FileKind;
use super::super::document::{Node, Value};
use super::super::section::{Located, Reader, Section};
use super::super::settings::{ClientAuth, Secret, TlsSettings, TlsVersion, WebFile};

const TLS_KEYS: [&str; 6] = [
    "cert_file",
    "key_file",
    "client_ca_file",
    "client_auth_type",
    "min_version",
    "max_version",
];

const KEYS: [&str; 2] = ["tls_server_config", "basic_auth_users"];

/// A file that says nothing would open the server to everybody, though it is named to close it.
const EXPECTED: &str = "tls_server_config or basic_auth_users with at least one user: without a file, leave out \
                        web.config_file";

const VERSIONS: [(&str, TlsVersion); 2] =
    [("TLS12", TlsVersion::Tls12), ("TLS13", TlsVersion::Tls13)];

/// Takes the document apart. The settings are of use only if no problem was found.
pub(in crate::config) fn read(document: &Node, reader: &mut Reader<'_>) -> WebFile {
    if matches!(document.value, Value::Null) {
        reader
            .problems
            .add(document.spot, "", format!("nothing, expected {EXPECTED}"));
        return WebFile::default();
    }
    let Some(top) = Section::open(document, "", &KEYS, reader) else {
        return WebFile::default();
    };
    let tls = tls(&top, reader);
    let mut file = WebFile {
        tls,
        ..WebFile::default()
    };
    let Some(users) = top.get("basic_auth_users") else {
        if !top.has_values() {
            let what = format!("neither TLS nor users, expected {EXPECTED}");
            top.problem(what, reader);
        }
        return file;
    };
    // Whoever empties the list, or the file, means to let nobody in, not everybody.
    let is_empty = matches!(&users.node.value, Value::Map(entries) if entries.is_empty());
    if is_empty && file.tls.is_none() && top.get("tls_server_config").is_none() {
        users.problem("no users, expected at least one", reader);
    }
    for (user, hash) in users.entries("a map from user names to bcrypt hashes", reader) {
        if user.value.is_empty() || user.value.contains(':') {
            user.problem("no user name, expected one without a colon", reader);
        }
        let Some(hash) = hash.plain_text(reader) else {
            continue;
        };
        if let Err(why) = check_hash(&hash) {
            hash.problem(why, reader);
        }
        file.users.insert(user.value, Secret::Inline(hash.value));
    }
    file
}

fn tls(top: &Section<'_>, reader: &mut Reader<'_>) -> Option<TlsSettings> {
    let tls = top.section("tls_server_config", &TLS_KEYS, reader)?;
    for key in ["cert_file", "key_file"] {
        if tls.get(key).is_none() {
            tls.missing(key, "expected the path of a PEM file", reader);
        }
    }
    let cert_file = tls.file("cert_file", FileKind::Certificates, reader);
    let key_file = tls.file("key_file", FileKind::PrivateKey, reader);
    let client_auth = [
        ("NoClientCert", ClientAuth::None),
        ("RequireAndVerifyClientCert", ClientAuth::Require),
    ];
    let client_ca_file = tls.file("client_ca_file", FileKind::Certificates, reader);
    let given = tls.choice("client_auth_type", &client_auth, reader);
    let client_auth = given.unwrap_or(ClientAuth::None);
    match (client_auth, &client_ca_file) {
        (ClientAuth::Require, None) => tls.missing(
            "client_ca_file",
            "expected the authorities of clients, as client_auth_type requires certificates",
            reader,
        ),
        // Who gives authorities means to keep others out.
        (ClientAuth::None, Some(_)) => tls.missing(
            "client_auth_type",
            "expected RequireAndVerifyClientCert, as client_ca_file has no effect otherwise",
            reader,
        ),
        _ => {}
    }
    let min_version = tls.choice("min_version", &VERSIONS, reader);
    let max_version = tls.choice("max_version", &VERSIONS, reader);
    let min_version = min_version.unwrap_or(TlsVersion::Tls12);
    let max_version = max_version.unwrap_or(TlsVersion::Tls13);
    if min_version > max_version {
        let what = "min_version is newer than max_version, expected at least one version between";
        tls.problem(what, reader);
    }
    Some(TlsSettings {
        cert_file: cert_file?,
        key_file: key_file?,
        client_ca_file,
        client_auth,
        min_version,
        max_version,
    })
}

/// Whether it has the form of a bcrypt hash: `$2y$10$` and 53 characters for salt and hash. A cost above
/// 16 would keep a core busy for seconds with each request.
fn check_hash(hash: &Located) -> Result<(), String> {
    let parsed = || {
        let rest = hash
            .value
            .strip_prefix("$2")?
            .strip_prefix(['a', 'b', 'y'])?;
        let (cost, rest) = rest.strip_prefix('$')?.split_once('$')?;
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '/';
        let is_whole = rest.len() == 53 && rest.chars().all(is_base64) && cost.len() == 2;
        cost.parse::<u32>().ok().filter(|_| is_whole)
    };
    match parsed() {
        Some(4..=16) => Ok(()),
        Some(_) => Err("its cost is out of range, expected 04 to 16, such as 10".to_owned()),
        None => Err(
            "not a bcrypt hash, expected one such as `htpasswd -nBC 10 USER` \
                     prints after the colon"
                .to_owned(),
        ),
    }
}
