//! Reading configuration files and the environment. The only place of `config` that does.

use super::problem::not_utf8;
use super::{
    ConfigError, FileKind, Settings, Surroundings, WebFile, parse_by, parse_in, parse_web_file,
    read,
};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// Bytes a configuration file may have: room for thousands of targets.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes that a file of certificates, or of a key, may have: the largest bundles have some hundred KiB.
const PEM_BYTES_MAX: u64 = 4 << 20;

/// Reads the settings of the file at `path`, with this process's environment variables. Paths in it
/// are relative to its folder.
///
/// # Errors
///
/// When the file cannot be read, or its content is wrong: then all that is wrong with it.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let text = text_of(path)?;
    parse_in(surroundings(path), &path.display().to_string(), &text)
}

/// Reads the settings, and the file that `web.config_file` names if it names one, and looks at all other files that
/// these name.
///
/// # Errors
///
/// As [`load`], with what is wrong with the other files.
pub fn load_with_web_file(path: &Path) -> Result<(Settings, WebFile), ConfigError> {
    load_looking_at(path, &check_file)
}

/// The same for whoever only checks it, credentials apart that only the service has which they were given to
/// ([`is_credential_of_service`]): what is in them cannot be looked at.
///
/// # Errors
///
/// As [`load_with_web_file`].
pub fn load_to_check(path: &Path) -> Result<(Settings, WebFile), ConfigError> {
    load_looking_at(path, &|path, kind| match is_credential_of_service(path) {
        true => Ok(()),
        false => check_file(path, kind),
    })
}

/// Whether that is a file which systemd gives to a service only (`LoadCredential=`, systemd.exec(5)), and not to us: the
/// commands of `ExecReload=` do not get them.
pub fn is_credential_of_service(path: &Path) -> bool {
    path.starts_with("/run/credentials") && fs::metadata(path).is_err()
}

type CheckFile = dyn Fn(&Path, FileKind) -> Result<(), String>;

fn load_looking_at(path: &Path, check: &CheckFile) -> Result<(Settings, WebFile), ConfigError> {
    let text = text_of(path)?;
    let file = path.display().to_string();
    let settings = parse_by(
        read::read,
        looking_at_files(path, check),
        &file,
        &text,
        true,
    );
    let web_path = match &settings {
        Ok(settings) | Err((Some(settings), _)) => settings.web.config_file.as_deref(),
        Err((None, _)) => None,
    };
    let web_path = web_path.filter(|path| {
        check(path, FileKind::WebConfig).is_err() || !is_credential_of_service(path)
    });
    let web_file = web_path.map(|path| load_web_file(path, check)).transpose();
    match (settings, web_file) {
        (Ok(settings), web_file) => Ok((settings, web_file?.unwrap_or_default())),
        (Err((_, error)), Ok(_)) => Err(error),
        (Err((_, error)), Err(of_web_file)) => Err(error.and(of_web_file)),
    }
}

fn load_web_file(path: &Path, check: &CheckFile) -> Result<WebFile, ConfigError> {
    let text = text_of(path)?;
    parse_web_file(
        looking_at_files(path, check),
        &path.display().to_string(),
        &text,
    )
}

fn looking_at_files<'p>(path: &'p Path, check: &'p CheckFile) -> Surroundings<'p> {
    Surroundings {
        files: Some(check),
        ..surroundings(path)
    }
}

/// Whether a file that a configuration names can be read and holds what it should.
fn check_file(path: &Path, kind: FileKind) -> Result<(), String> {
    if kind == FileKind::WebConfig {
        return match text_of(path) {
            Err(ConfigError::Unreadable { why, .. }) => Err(why),
            _ => Ok(()),
        };
    }
    let content = bytes_of(path, PEM_BYTES_MAX)?;
    kind.check(&content).map_err(str::to_owned)
}

fn surroundings(path: &Path) -> Surroundings<'_> {
    Surroundings {
        // A variable that is no text counts as not set.
        variables: &|name| std::env::var(name).ok(),
        base: path.parent(),
        files: None,
    }
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    let bytes = bytes_of(path, FILE_BYTES_MAX).map_err(|why| ConfigError::Unreadable {
        file: path.to_owned(),
        why,
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let n_valid = error.utf8_error().valid_up_to();
        not_utf8(&path.display().to_string(), error.as_bytes(), n_valid)
    })
}

/// The content of a file that has so many bytes at most.
fn bytes_of(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let is_file = fs::metadata(path).map(|of| of.is_file());
    // Opening a pipe that nobody writes to would take for ever.
    if !is_file.map_err(|error| error.to_string())? {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("larger than {bytes_max} bytes"));
    }
    Ok(bytes)
}
