//! Reading a configuration file. The only place of `config` that opens one.

use super::{ConfigError, Settings, parse};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Bytes a configuration file may have: room for thousands of targets.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads the settings of the file at `path`.
///
/// # Errors
///
/// When the file cannot be read, or its content is wrong: then all that is wrong with it.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let unreadable = |why: String| ConfigError::Unreadable {
        file: path.to_owned(),
        why,
    };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        unreadable(format!("line {line}: not UTF-8 text"))
    })?;
    parse(&path.display().to_string(), &text)
}
