//! Reading configuration files and the environment. The only place of `config` that does.

use super::{ConfigError, Settings, Surroundings, WebFile, parse_in, parse_web_file};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// Bytes a configuration file may have: room for thousands of targets.
const FILE_BYTES_MAX: u64 = 1 << 20;

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

/// Reads the file that `web.config_file` names. Paths in it are relative to its folder.
///
/// # Errors
///
/// As [`load`].
pub fn load_web_file(path: &Path) -> Result<WebFile, ConfigError> {
    let text = text_of(path)?;
    parse_web_file(surroundings(path), &path.display().to_string(), &text)
}

/// Reads the settings, and the file that `web.config_file` names if it names one.
///
/// # Errors
///
/// As [`load`], for the first of the two that is not good.
pub fn load_with_web_file(path: &Path) -> Result<(Settings, WebFile), ConfigError> {
    let settings = load(path)?;
    let web_file = match &settings.web.config_file {
        Some(path) => load_web_file(path)?,
        None => WebFile::default(),
    };
    Ok((settings, web_file))
}

fn surroundings(path: &Path) -> Surroundings<'_> {
    Surroundings {
        // A variable that is no text counts as not set.
        variables: &|name| std::env::var(name).ok(),
        base: path.parent(),
    }
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |why: String| ConfigError::Unreadable {
        file: path.to_owned(),
        why,
    };
    let is_file = fs::metadata(path).map(|of| of.is_file());
    // Opening a pipe that nobody writes to would take for ever.
    if !is_file.map_err(|error| unreadable(error.to_string()))? {
        return Err(unreadable("it is no regular file".to_owned()));
    }
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        unreadable(format!("line {line}: not UTF-8 text"))
    })
}
