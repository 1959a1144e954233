//! Whether the files that a configuration names would do for a start.

use super::http::WebRules;
use super::otlp::Prepared;
use super::{AgentError, runtime_of_one};
use crate::config::{Settings, WebFile};

/// Reads the files that the settings name, as a start does, and makes of them what it does: certificates, keys,
/// hashes and headers. Listens nowhere, and sends nothing.
///
/// # Errors
///
/// When a start would fail because of one of them.
pub fn check_files(settings: &Settings, web_file: &WebFile) -> Result<(), AgentError> {
    WebRules::new(settings, web_file)?;
    // What sends is made within a runtime; nothing of it runs before something is sent.
    let runtime = runtime_of_one()?;
    let _within = runtime.enter();
    Prepared::new(settings)?;
    Ok(())
}
