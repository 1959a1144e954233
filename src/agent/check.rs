//! Whether the files that a configuration names would do for a start.

use super::http::WebRules;
use super::otlp::Prepared;
use super::{AgentError, runtime_of_one};
use crate::config::{Settings, WebFile, is_credential_of_service};
use std::fmt;
use std::path::{Path, PathBuf};

/// A file because of which no more could be checked: it is given to the service only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchecked(PathBuf);

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.0.display();
        write!(
            f,
            "{file} and what else is secret is not checked: only the service has it"
        )
    }
}

/// Reads the files that the settings name, as a start does, and makes of them what it does: certificates, keys,
/// hashes and headers. Listens nowhere, and sends nothing. Says if that was not possible because only the service
/// has one of them ([`is_credential_of_service`]).
///
/// # Errors
///
/// When a start would fail because of one of them.
pub fn check_files(
    settings: &Settings,
    web_file: &WebFile,
) -> Result<Option<Unchecked>, AgentError> {
    let Err(error) = make_of_files(settings, web_file) else {
        return Ok(None);
    };
    let is_credential = |file: &&Path| is_credential_of_service(file);
    match error.file().filter(is_credential) {
        Some(file) => Ok(Some(Unchecked(file.to_owned()))),
        None => Err(error),
    }
}

fn make_of_files(settings: &Settings, web_file: &WebFile) -> Result<(), AgentError> {
    WebRules::new(settings, web_file)?;
    // What sends is made within a runtime; nothing of it runs before something is sent.
    let runtime = runtime_of_one()?;
    let _within = runtime.enter();
    Prepared::new(settings)?;
    Ok(())
}
