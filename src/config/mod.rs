//! The configuration: from the text of a YAML file to [`Settings`] that are known to be good.
//!
//! Steps, each in its file: `document` (YAML to a tree that remembers where things stand), `section`
//! (maps with checked keys), `variables` (`${NAME}` in values), `value` (what a text means), `read`
//! (which settings there are, a file for each section), [`settings`](Settings). All problems of a file
//! are found in one go and shown with file, line, column and the line itself. `show` writes settings
//! down again, `change` compares two of them. Only `load` touches the file system.

mod change;
mod depth;
mod document;
mod files;
mod hidden;
mod load;
mod places;
mod problem;
mod read;
mod section;
mod settings;
mod show;
mod tags;
mod units;
mod value;
mod variables;

pub use change::{Change, diff, successors};
pub use files::FileKind;
pub use load::{is_credential_of_service, load, load_to_check, load_with_web_file};
pub use problem::{ConfigError, ConfigProblem};
pub use settings::{
    AnalysisSettings, ClientAuth, CommandPattern, Compression, ControlSettings, ControlSocket,
    CycleSettings, DiscoverySettings, ExporterSettings, Glob, GlobError, LimitSettings,
    MatchSettings, Matching, NameTemplate, OtlpMetricsSettings, OtlpProtocol, OtlpReceiver,
    OtlpSettings, OtlpTlsSettings, PrometheusSettings, Secret, Settings, SpanSettings, Star,
    StuckSettings, TargetName, TargetSettings, Temporality, TlsSettings, TlsVersion, TopSettings,
    UserId, WebDetails, WebFile, WebSettings,
};
pub use show::show;
pub use units::{DURATION_FORM, parse_duration};

use document::Node;
use section::Reader;
use std::collections::BTreeMap;
use std::path::Path;

/// The commented file with every option at its default, as it is shipped.
pub const DEFAULTS: &str = include_str!("../../config/agent.yaml");

/// What the text of a configuration is read with.
#[derive(Clone, Copy)]
pub struct Surroundings<'s> {
    /// The environment variables.
    pub variables: &'s dyn Fn(&str) -> Option<String>,
    /// The folder that paths in the text are relative to; `None` leaves them as they are.
    pub base: Option<&'s Path>,
    /// Looks at a file that the text names, and says why it cannot be what it should; `None`: nobody looks.
    pub files: Option<&'s CheckFile>,
}

/// Whether a file can be read and holds what it should; if not, why.
pub type CheckFile = dyn Fn(&Path, FileKind) -> Result<(), String>;

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Surroundings");
        shown.field("base", &self.base).finish_non_exhaustive()
    }
}

impl Surroundings<'_> {
    /// No variables, and paths that stay as they are.
    pub const NONE: Surroundings<'static> = Surroundings {
        variables: &|_| None,
        base: None,
        files: None,
    };
}

/// Reads settings from the text of a configuration, without environment variables. `file` is the name
/// that problems are shown with; nothing is opened.
///
/// # Errors
///
/// The problems of the text, in the order in which they stand in it; of very many the first.
pub fn parse(file: &str, text: &str) -> Result<Settings, ConfigError> {
    parse_in(Surroundings::NONE, file, text)
}

/// Reads settings from the text of a configuration that stands in these surroundings.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_in(
    surroundings: Surroundings<'_>,
    file: &str,
    text: &str,
) -> Result<Settings, ConfigError> {
    parse_by(read::read, surroundings, file, text, true).map_err(|(_, error)| error)
}

/// Reads the settings of `exporters.otlp` from its keys alone, such as those that a command line gives. What they
/// leave out is taken from the variables, then from the defaults.
///
/// # Errors
///
/// As [`parse`]; paths of problems begin with these keys.
pub fn parse_otlp(
    surroundings: Surroundings<'_>,
    keys: &BTreeMap<&str, String>,
) -> Result<OtlpSettings, ConfigError> {
    // A map of texts is YAML in any case.
    let text = serde_yaml::to_string(keys).unwrap_or_default();
    let read = |document: &Node, reader: &mut Reader<'_>| read::read_otlp(document, reader);
    parse_by(read, surroundings, "arguments", &text, false).map_err(|(_, error)| error)
}

/// Reads what the file named by `web.config_file` says.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_web_file(
    surroundings: Surroundings<'_>,
    file: &str,
    text: &str,
) -> Result<WebFile, ConfigError> {
    parse_by(read::read_web_file, surroundings, file, text, false).map_err(|(_, error)| error)
}

/// With an error come the settings as far as they could be read, defaults in place of what is wrong. Only the main file has
/// sections without secrets, of which lines are shown as they stand.
fn parse_by<T>(
    read: impl FnOnce(&Node, &mut Reader<'_>) -> T,
    surroundings: Surroundings<'_>,
    file: &str,
    text: &str,
    is_main: bool,
) -> Result<T, (Option<T>, ConfigError)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        problems: problem::Problems::default(),
        variables: surroundings.variables,
        base: surroundings.base,
        files: surroundings.files,
        pattern_bytes: value::PATTERNS_BYTES_MAX,
    };
    let document = document::read(text, &mut reader.problems);
    let top = document.as_ref().map(Node::keys);
    let settings = document.map(|document| read(&document, &mut reader));
    match settings {
        Some(settings) if reader.problems.is_empty() => Ok(settings),
        settings => {
            let error = reader
                .problems
                .into_error(file, text, top.as_deref(), is_main);
            Err((settings, error))
        }
    }
}
