//! What is wrong with a configuration, and how it is shown: `file:line:column: path: what`, then the
//! line with a mark below it. All of it is safe for a terminal, whatever the file holds: messages are
//! escaped, and in lines with marks a character that cannot be shown is replaced, for the marks to
//! stay in place.

use super::document::Spot;
use super::hidden::{HiddenParts, without_secrets};
use super::places::places;
use crate::sanitize::{escape, escape_start, is_unsafe};
use std::fmt;
use std::path::PathBuf;

/// Characters of a source line that are shown on each side of the column.
const CONTEXT_CHARS: usize = 100;

/// Characters of a quoted text, and of a path, that are shown.
const QUOTE_CHARS: usize = 100;
/// Characters of a message that are shown; only those of the YAML parser may be longer.
const WHAT_CHARS: usize = 600;
/// Problems that are shown; more would be read by nobody.
const PROBLEMS_MAX: usize = 50;
/// Lines of explanation that are shown.
const DETAIL_LINES: usize = 10;

/// `text` in quotes without secrets, cut if it is long.
pub(super) fn quote(text: &str) -> String {
    // Before it is cut: half a secret looks like none.
    let text = &*without_secrets(text);
    match text.char_indices().nth(QUOTE_CHARS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

/// Line and column, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path of the setting, such as `targets[0].interval`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, and what was expected.
    pub what: String,
    /// Further lines that explain it; may be empty.
    pub detail: String,
    /// The source line, or the part of it around the column, and the place of the mark in it.
    source: Option<(String, usize)>,
}

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {why}", escape(&file.to_string_lossy()))]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        why: String,
    },
    /// Its content is wrong.
    #[error("{}", Listing { file, problems, n_more: *n_more })]
    Invalid {
        /// The file's name. What is wrong may be in one that it names.
        file: String,
        /// What is wrong, in the order of the text, then in that of files that it names; never empty.
        problems: Vec<ConfigProblem>,
        /// How many problems there are after these.
        n_more: usize,
    },
}

impl ConfigError {
    /// The whole message of a program that needs the configuration.
    pub fn explained(&self, program: &str) -> String {
        match self {
            Self::Unreadable { why, .. } => {
                let hint = match why.starts_with("Permission denied") {
                    true => {
                        "\n  hint: the user that reads it must be able to: that of the service owns no file, so \
                         everybody must (chmod a+r)"
                    }
                    false => "",
                };
                format!("{program}: cannot read {self}{hint}")
            }
            Self::Invalid {
                file,
                problems,
                n_more,
            } => {
                let n = problems.len() + n_more;
                let plural = if n == 1 { "" } else { "s" };
                let file = escape(file);
                format!("{self}\n{program}: {file} cannot be used: {n} problem{plural}")
            }
        }
    }

    /// The same without the lines of the file, which may hold secrets: for answers and logs that others
    /// read.
    pub fn without_lines(mut self) -> Self {
        if let Self::Invalid { problems, .. } = &mut self {
            for problem in problems {
                problem.source = None;
                problem.detail.clear();
            }
        }
        self
    }

    /// This, and what is wrong with a file that the first one names.
    pub(super) fn and(mut self, other: Self) -> Self {
        match (&mut self, other) {
            (
                Self::Invalid {
                    problems, n_more, ..
                },
                Self::Invalid {
                    problems: others,
                    n_more: others_more,
                    ..
                },
            ) => {
                problems.extend(others);
                *n_more += others_more;
            }
            // What cannot be read is told where it is named.
            (_, Self::Unreadable { .. }) | (Self::Unreadable { .. }, _) => {}
        }
        self
    }

    /// The problems found in the text.
    pub fn problems(&self) -> &[ConfigProblem] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Invalid { problems, .. } => problems,
        }
    }
}

struct Listing<'e> {
    file: &'e str,
    problems: &'e [ConfigProblem],
    n_more: usize,
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(
                f,
                "{}:{}:{}: ",
                escape(&problem.file),
                problem.line,
                problem.column
            )?;
            if !problem.path.is_empty() {
                write!(f, "{}: ", problem.path)?;
            }
            f.write_str(&problem.what)?;
            if let Some((line, mark)) = &problem.source {
                let indent: String = line
                    .chars()
                    .take(*mark)
                    .map(|c| if c == '\t' { '\t' } else { ' ' })
                    .collect();
                write!(f, "\n    {line}\n    {indent}^")?;
            }
            for line in problem.detail.lines() {
                write!(f, "\n  {line}")?;
            }
        }
        if self.n_more > 0 {
            let plural = if self.n_more == 1 { "" } else { "s" };
            let file = escape(self.file);
            write!(f, "\n{file}: {} more problem{plural}", self.n_more)?;
        }
        Ok(())
    }
}

/// Collects problems while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Found>);

#[derive(Debug)]
struct Found {
    at: At,
    path: String,
    what: String,
    detail: String,
}

#[derive(Debug)]
enum At {
    Spot(Spot),
    Place(Option<Place>),
}

impl Problems {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Notes that the setting `path` at `spot` is wrong.
    pub(super) fn add(&mut self, spot: Spot, path: &str, what: impl Into<String>) {
        self.add_with_detail(spot, path, what, String::new());
    }

    /// Like [`add`](Self::add), with more lines of explanation.
    pub(super) fn add_with_detail(
        &mut self,
        spot: Spot,
        path: &str,
        what: impl Into<String>,
        detail: String,
    ) {
        self.0.push(Found {
            at: At::Spot(spot),
            path: path.to_owned(),
            what: what.into(),
            detail,
        });
    }

    /// Notes that the text is not YAML.
    pub(super) fn add_syntax(&mut self, place: Option<Place>, what: String) {
        self.add_to_text(place, format!("not valid YAML: {what}"));
    }

    /// Notes what is wrong with the text at `place`.
    fn add_to_text(&mut self, place: Option<Place>, what: String) {
        self.0.push(Found {
            at: At::Place(place),
            path: String::new(),
            what,
            detail: String::new(),
        });
    }

    /// The first of them, with their places in `text`, whose outermost map has the keys `top`; `None`: it is not YAML.
    pub(super) fn into_error(
        mut self,
        file: &str,
        text: &str,
        top: Option<&[(Spot, String)]>,
        is_main: bool,
    ) -> ConfigError {
        self.0.sort_by_key(|found| match found.at {
            At::Spot(spot) => Some(spot),
            At::Place(_) => None,
        });
        let n_more = self.0.len().saturating_sub(PROBLEMS_MAX);
        self.0.truncate(PROBLEMS_MAX);
        let spots = self.0.iter().filter_map(|found| match found.at {
            At::Spot(spot) => Some(spot),
            At::Place(_) => None,
        });
        let spots = spots.chain(top.into_iter().flatten().map(|(spot, _)| *spot));
        let places = places(text, spots.collect());
        let keys = top.map(|top| {
            let keys = top.iter();
            let keys = keys.filter_map(|(spot, key)| Some((*places.get(spot)?, &**key)));
            keys.collect()
        });
        let mut hidden = match is_main {
            true => HiddenParts::of(text, keys.as_ref()),
            false => HiddenParts::everywhere(),
        };
        let mut problems: Vec<ConfigProblem> = self
            .0
            .into_iter()
            .map(|found| {
                let place = match found.at {
                    At::Spot(spot) => places.get(&spot).copied(),
                    At::Place(place) => place,
                };
                // An empty document has no place of its own.
                let place = place.unwrap_or(Place { line: 1, column: 1 });
                let line = source_line(text, place, &mut hidden);
                found.into_problem(file, place, line)
            })
            .collect();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        ConfigError::Invalid {
            file: file.to_owned(),
            problems,
            n_more,
        }
    }
}

impl Found {
    fn into_problem(
        self,
        file: &str,
        place: Place,
        source: Option<(String, usize)>,
    ) -> ConfigProblem {
        ConfigProblem {
            file: file.to_owned(),
            line: place.line,
            column: place.column,
            path: escape_start(&without_secrets(&self.path), QUOTE_CHARS).into_owned(),
            what: escape_start(&without_secrets(&self.what), WHAT_CHARS).into_owned(),
            detail: shown_detail(&without_secrets(&self.detail)),
            source,
        }
    }
}

/// What is wrong with a file whose content is no text: its first `n_valid` bytes are.
pub(super) fn not_utf8(file: &str, content: &[u8], n_valid: usize) -> ConfigError {
    let (valid, rest) = content.split_at(n_valid.min(content.len()));
    let valid = String::from_utf8_lossy(valid);
    let valid = valid.strip_prefix('\u{feff}').unwrap_or(&valid);
    let line = valid.rsplit('\n').next().unwrap_or_default();
    let place = Place {
        line: valid.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    };
    let byte = rest.first().copied().unwrap_or_default();
    let mut problems = Problems::default();
    let what = format!("the byte 0x{byte:02x} is not UTF-8 text, expected a file in UTF-8");
    problems.add_to_text(Some(place), what);
    let text = format!("{valid}{}", String::from_utf8_lossy(rest));
    problems.into_error(file, &text, None, true)
}

/// The line of `place` without its secrets, cut around its column, and the characters before the column in what is
/// left.
fn source_line(text: &str, place: Place, hidden: &mut HiddenParts) -> Option<(String, usize)> {
    let number = place.line.checked_sub(1)?;
    let line = text.lines().nth(number)?;
    if line.trim().is_empty() {
        return None;
    }
    let (line, column) = hidden.hide(number, line, place.column.saturating_sub(1));
    let first = column.saturating_sub(CONTEXT_CHARS);
    Some((part_of(&line, first), column - first))
}

/// Lines of which some mark places in the others with `^`, cut around the first mark.
fn shown_detail(detail: &str) -> String {
    let is_marks = |line: &str| line.contains('^') && line.chars().all(|c| " ^".contains(c));
    let marks = detail.lines().find(|line| is_marks(line));
    let first = marks.and_then(|line| line.find('^')).unwrap_or(0);
    let first = first.saturating_sub(CONTEXT_CHARS);
    let lines = detail.lines().take(DETAIL_LINES);
    let shown: Vec<_> = lines.map(|line| part_of(line, first)).collect();
    shown.join("\n")
}

/// So much of a line as is shown, from the character number `first` on.
fn part_of(line: &str, first: usize) -> String {
    let shown = line.chars().skip(first).take(2 * CONTEXT_CHARS);
    let shown = shown.map(|c| match c {
        c if c != '\t' && is_unsafe(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    });
    shown.collect()
}
