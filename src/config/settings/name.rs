//! Names of targets with captures in them: `worker-${queue}`.
//!
//! What is captured was chosen by the process that is watched, so it is cut and escaped.

use super::super::problem::quote;
use super::super::variables::{self, Part, Variables};
use crate::sanitize::escape_start;
use std::fmt;

/// Characters of a name.
pub(in crate::config) const NAME_CHARS_MAX: usize = 200;
/// Characters of one capture in a name.
const CAPTURE_CHARS_MAX: usize = 100;

/// A name that may refer to captures of the target's regular expressions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameTemplate(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Capture(Reference),
}

/// A reference to a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Reference {
    /// Name or number of the group.
    pub(in crate::config) group: String,
    /// What stands for one that is not there or empty.
    pub(in crate::config) default: Option<String>,
}

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct NameError(pub(in crate::config) String);

impl NameTemplate {
    /// Reads a name. References to what `is_group` knows are captures, others environment variables.
    pub(in crate::config) fn parse(
        text: &str,
        is_group: impl Fn(&str) -> bool,
        variables: Variables<'_>,
    ) -> Result<Self, NameError> {
        let parts =
            variables::parts(text).map_err(|why| NameError(format!("{why}, {EXPECTED}")))?;
        let mut pieces: Vec<Piece> = Vec::new();
        for part in parts {
            let piece = match part {
                Part::Text(text) => unescaped(text)?,
                Part::Reference { name, default } if is_group(name) => {
                    pieces.push(Piece::Capture(Reference {
                        group: name.to_owned(),
                        default: default.map(str::to_owned),
                    }));
                    continue;
                }
                Part::Reference { name, default } => variables::value_of(name, default, variables)
                    .map_err(|why| {
                        NameError(format!(
                            "no pattern of the target captures {name}, and {why}"
                        ))
                    })?,
            };
            match pieces.last_mut() {
                Some(Piece::Text(text)) => text.push_str(&piece),
                _ => pieces.push(Piece::Text(piece)),
            }
        }
        Ok(Self(pieces))
    }

    /// A name without captures.
    pub fn fixed(name: &str) -> Self {
        Self(vec![Piece::Text(name.to_owned())])
    }

    /// The name, if it has no captures.
    pub fn as_fixed(&self) -> Option<&str> {
        match &self.0[..] {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The references to captures.
    pub(in crate::config) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Capture(reference) => Some(reference),
            Piece::Text(_) => None,
        })
    }

    /// The name with what `capture` gives for each group. What was captured is cut and escaped, and so
    /// is the whole.
    pub fn fill(&self, capture: impl Fn(&str) -> Option<String>) -> String {
        let mut name = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Capture(Reference { group, default }) => {
                    match capture(group).filter(|text| !text.is_empty()) {
                        Some(text) => name.push_str(&escape_start(&text, CAPTURE_CHARS_MAX)),
                        None => name.push_str(default.as_deref().unwrap_or_default()),
                    }
                }
            }
        }
        if name.is_empty() {
            return "unnamed".to_owned();
        }
        escape_start(&name, NAME_CHARS_MAX).into_owned()
    }
}

/// What a name may refer to, for messages.
const EXPECTED: &str = "expected ${GROUP} for a capture of a pattern of this target, ${NAME} for an \
                        environment variable, $${ for ${ itself";

/// A text between references. A `$` in front of a letter or digit is a reference with its braces forgotten; `$$` stands
/// for one there that is none. Any other `$` is itself.
fn unescaped(text: &str) -> Result<String, NameError> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        plain.push_str(&rest[..=at]);
        let after = &rest[at + 1..];
        let escaped = after
            .strip_prefix('$')
            .filter(|after| after.starts_with(is_word));
        if let (None, true) = (escaped, after.starts_with(is_word)) {
            let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
            let word = &after[..end];
            let shown = quote(&format!("${word}"));
            return Err(NameError(format!(
                "{shown} has no braces, expected ${{{}}} for a capture of a pattern of this target or an environment \
                 variable, or $$ for $ itself",
                escape_start(word, CAPTURE_CHARS_MAX)
            )));
        }
        rest = escaped.unwrap_or(after);
    }
    plain.push_str(rest);
    Ok(plain)
}

/// What [`unescaped`] makes this text of.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        escaped.push(c);
        if c == '$'
            && chars
                .peek()
                .is_some_and(|next| *next == '{' || is_word(*next))
        {
            escaped.push('$');
        }
    }
    escaped
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl fmt::Display for NameTemplate {
    /// As it would be written in a configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(&escaped(text))?,
                Piece::Capture(Reference { group, default }) => match default {
                    None => write!(f, "${{{group}}}")?,
                    Some(default) => write!(f, "${{{group}:-{default}}}")?,
                },
            }
        }
        Ok(())
    }
}
