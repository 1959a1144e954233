//! The configuration: from the text of a YAML file to [`Settings`] that are known to be good.
//!
//! Four steps, each in its file: `document` (YAML to a tree that remembers where things stand), `raw`
//! (which keys there are, and of which shape), `validate` (what the values mean), [`settings`]. All
//! problems of a file are found in one go and shown with file, line, column and the line itself.
//! Only `load` touches the file system.

mod document;
mod load;
mod problem;
mod raw;
mod settings;
mod units;
mod validate;

pub use load::load;
pub use problem::{ConfigError, ConfigProblem};
pub use settings::{
    CommandPattern, DiscoverySettings, MatchSettings, Settings, TargetSettings, WebSettings,
};
pub use units::{DURATION_FORM, parse_duration};

/// Reads settings from the text of a configuration. `file` is the name that problems are shown
/// with; nothing is opened.
///
/// # Errors
///
/// The problems of the text, in the order in which they stand in it; of very many the first.
pub fn parse(file: &str, text: &str) -> Result<Settings, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut problems = problem::Problems::default();
    let settings = document::read(text, &mut problems)
        .map(|document| raw::RawConfig::read(&document, &mut problems))
        .map(|raw| validate::validate(raw, &mut problems));
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => Err(problems.into_error(file, text)),
    }
}
