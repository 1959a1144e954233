//! Maps whose keys are checked, and the values in them: which keys there are, and whether each holds a
//! text, a list or a map. What a text means is in `value`. A key without a value counts as left out.

use super::CheckFile;
use super::document::{Node, Spot, Value};
use super::hidden::{HIDDEN, is_harmless, looks_like_path, may_be_secret, shown_key};
use super::problem::{Problems, quote};
use super::variables::{Variables, expand};
use std::path::Path;

/// What is needed everywhere while a configuration is read.
pub(super) struct Reader<'v> {
    /// What is wrong with it so far.
    pub(super) problems: Problems,
    /// The environment.
    pub(super) variables: Variables<'v>,
    /// The folder that paths are relative to; `None` leaves them as they are.
    pub(super) base: Option<&'v Path>,
    /// Looks at files that are named; `None`: nobody looks.
    pub(super) files: Option<&'v CheckFile>,
    /// Memory that is left for patterns.
    pub(super) pattern_bytes: usize,
}

/// A text with its place and path.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) value: String,
    /// As it was written, if variables were filled in.
    pub(super) written: Option<String>,
    pub(super) spot: Spot,
    pub(super) path: String,
}

impl Located {
    /// Notes that it is wrong.
    pub(super) fn problem(&self, what: impl Into<String>, reader: &mut Reader<'_>) {
        self.problem_with_detail(what, String::new(), reader);
    }

    /// The same with more lines of explanation. What variables hold is not told, nor what stands where secrets
    /// may be and is not harmless.
    pub(super) fn problem_with_detail(
        &self,
        what: impl Into<String>,
        detail: String,
        reader: &mut Reader<'_>,
    ) {
        let is_hidden =
            may_be_secret(&self.path) && !is_harmless(&self.value) && !looks_like_path(&self.value);
        let what: String = what.into();
        let quoted = quote(&self.value);
        let (what, detail) = match &self.written {
            // A default may be a secret, too.
            Some(written) if !(is_hidden && written.contains(":-")) => {
                let parts = what.split(&quoted);
                let parts: Vec<_> = parts.map(|it| without(it, &self.value, written)).collect();
                let stands_for = format!("what {} stands for", quote(written));
                (parts.join(&stands_for), String::new())
            }
            None if !is_hidden => (what, detail),
            _ => {
                let as_it_is = format!("{:?}", self.value);
                let what = what.replace(&quoted, HIDDEN).replace(&as_it_is, HIDDEN);
                (what, String::new())
            }
        };
        let problems = &mut reader.problems;
        problems.add_with_detail(self.spot, &self.path, what, detail);
    }
}

/// `what` with `written` in place of `value`, unless that is so short that anything may contain it, and that it
/// tells nothing.
fn without(what: &str, value: &str, written: &str) -> String {
    const SECRET_CHARS_MIN: usize = 4;
    match value.len() < SECRET_CHARS_MIN {
        true => what.to_owned(),
        false => what.replace(value, written),
    }
}

/// What a value is, for a person; of what may be a secret only its kind.
fn describe(value: &Value, path: &str) -> String {
    match value {
        Value::Text(_) if may_be_secret(path) => "a text".to_owned(),
        Value::Number(_) if may_be_secret(path) => "a number".to_owned(),
        value => value.describe(),
    }
}

/// A value that is not nothing, with its path.
#[derive(Debug)]
pub(super) struct Item<'n> {
    pub(super) node: &'n Node,
    pub(super) path: String,
}

impl<'n> Item<'n> {
    /// Notes that it is wrong.
    pub(super) fn problem(&self, what: impl Into<String>, reader: &mut Reader<'_>) {
        reader.problems.add(self.node.spot, &self.path, what);
    }

    /// Notes that it is of another kind than the one expected.
    pub(super) fn unexpected(&self, expected: &str, reader: &mut Reader<'_>) {
        let what = describe(&self.node.value, &self.path);
        let what = format!("{what}, expected {expected}");
        self.problem(what, reader);
    }

    /// The map that it is, with these keys.
    pub(super) fn section(&self, known: &[&str], reader: &mut Reader<'_>) -> Option<Section<'n>> {
        Section::open(self.node, &self.path, known, reader)
    }

    /// The items of the list that it is. Items that are nothing are problems.
    pub(super) fn list(&self) -> Option<Vec<Item<'n>>> {
        let Value::List(nodes) = &self.node.value else {
            return None;
        };
        let items = nodes.iter().enumerate().map(|(at, node)| Item {
            node,
            path: format!("{}[{at}]", self.path),
        });
        Some(items.collect())
    }

    /// The entries of a map with keys of any name; repeated ones are problems.
    pub(super) fn entries(
        &self,
        expected: &str,
        reader: &mut Reader<'_>,
    ) -> Vec<(Located, Item<'n>)> {
        let Value::Map(entries) = &self.node.value else {
            self.unexpected(expected, reader);
            return Vec::new();
        };
        let mut found: Vec<(Located, Item<'n>)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (key, value) in entries {
            let Some(name) = key_of(key, &self.path, reader) else {
                continue;
            };
            // One without a value may itself be what should stand there.
            let is_alone = matches!(value.value, Value::Null) && holds_secrets(&self.path);
            let path = match is_alone {
                true => path_of(&self.path, HIDDEN),
                false => path_of(&self.path, name),
            };
            if !seen.insert(name) {
                let what = "duplicate key, expected it once";
                reader.problems.add(key.spot, &path, what);
                continue;
            }
            let name = Located {
                value: name.to_owned(),
                written: None,
                spot: key.spot,
                path: path.clone(),
            };
            found.push((name, Item { node: value, path }));
        }
        found
    }

    /// The text that it is, with its variables filled in. A number or truth value is a problem: YAML
    /// may have changed it on the way.
    pub(super) fn text(&self, reader: &mut Reader<'_>) -> Option<Located> {
        if self.is_changed_by_yaml(reader) {
            return None;
        }
        self.scalar(reader)
    }

    /// Whether it is a number or truth value where a text is expected, which is a problem then.
    fn is_changed_by_yaml(&self, reader: &mut Reader<'_>) -> bool {
        let is_changed = matches!(self.node.value, Value::Number(_) | Value::Bool(_));
        if is_changed {
            self.unexpected("a text: put it in quotes", reader);
        }
        is_changed
    }

    /// The text that it is, as it stands.
    pub(super) fn plain_text(&self, reader: &mut Reader<'_>) -> Option<Located> {
        if self.is_changed_by_yaml(reader) {
            return None;
        }
        self.plain_scalar(reader)
    }

    /// The text, number or truth value that it is, as text with its variables filled in.
    pub(super) fn scalar(&self, reader: &mut Reader<'_>) -> Option<Located> {
        let mut scalar = self.plain_scalar(reader)?;
        match expand(&scalar.value, reader.variables) {
            Ok(value) if value == scalar.value => {}
            Ok(value) => scalar.written = Some(std::mem::replace(&mut scalar.value, value)),
            Err(what) => {
                scalar.problem(what, reader);
                return None;
            }
        }
        Some(scalar)
    }

    fn plain_scalar(&self, reader: &mut Reader<'_>) -> Option<Located> {
        let value = match &self.node.value {
            Value::Text(text) | Value::Number(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            _ => {
                self.unexpected("a text", reader);
                return None;
            }
        };
        Some(Located {
            value,
            written: None,
            spot: self.node.spot,
            path: self.path.clone(),
        })
    }
}

/// A map whose keys have been checked.
#[derive(Debug)]
pub(super) struct Section<'n> {
    entries: &'n [(Node, Node)],
    pub(super) path: String,
    pub(super) spot: Spot,
}

impl<'n> Section<'n> {
    /// The map at `node`; unknown and repeated keys, and anything but a map, are problems.
    pub(super) fn open(
        node: &'n Node,
        path: &str,
        known: &[&str],
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let expected = if known.is_empty() {
                "an empty map, as it has no keys yet".to_owned()
            } else {
                format!("a map with the keys {}", known.join(", "))
            };
            let what = format!("{}, expected {expected}", describe(&node.value, path));
            reader.problems.add(node.spot, path, what);
            return None;
        };
        let mut seen: Vec<&str> = Vec::new();
        for (key, _) in entries {
            let Some(name) = key_of(key, path, reader) else {
                continue;
            };
            let what = if !known.contains(&name) {
                match known {
                    [] => "unknown key, expected none".to_owned(),
                    _ => format!("unknown key, expected one of: {}", known.join(", ")),
                }
            } else if seen.contains(&name) {
                "duplicate key, expected it once".to_owned()
            } else {
                seen.push(name);
                continue;
            };
            reader.problems.add(key.spot, &path_of(path, name), what);
        }
        Some(Self {
            entries,
            path: path.to_owned(),
            spot: node.spot,
        })
    }

    /// The value of `key`, if it has one.
    pub(super) fn get(&self, key: &str) -> Option<Item<'n>> {
        let (_, node) = self
            .entries
            .iter()
            .find(|(name, _)| matches!(&name.value, Value::Text(name) if name == key))?;
        let path = path_of(&self.path, key);
        (!matches!(node.value, Value::Null)).then_some(Item { node, path })
    }

    /// The map at `key`, if there is one.
    pub(super) fn section(
        &self,
        key: &str,
        known: &[&str],
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        self.get(key)?.section(known, reader)
    }

    /// Whether any key has a value, a misspelt one included: that is told already.
    pub(super) fn has_values(&self) -> bool {
        let is_given = |(_, value): &(Node, Node)| !matches!(value.value, Value::Null);
        self.entries.iter().any(is_given)
    }

    /// Notes that `key` must be given.
    pub(super) fn missing(&self, key: &str, expected: &str, reader: &mut Reader<'_>) {
        let what = format!("missing, {expected}");
        reader
            .problems
            .add(self.spot, &path_of(&self.path, key), what);
    }

    /// Notes that the map as a whole is wrong.
    pub(super) fn problem(&self, what: impl Into<String>, reader: &mut Reader<'_>) {
        reader.problems.add(self.spot, &self.path, what);
    }
}

/// The text of a key; anything else is a problem.
fn key_of<'n>(key: &'n Node, path: &str, reader: &mut Reader<'_>) -> Option<&'n str> {
    if let Value::Text(name) = &key.value {
        return Some(name);
    }
    let what = format!("a key is {}, expected a text", describe(&key.value, path));
    reader.problems.add(key.spot, path, what);
    None
}

/// The path of a key in a section, as it is told.
pub(super) fn path_of(section: &str, key: &str) -> String {
    let key = shown_key(key);
    if section.is_empty() {
        key.into_owned()
    } else {
        format!("{section}.{key}")
    }
}

/// Whether what is in the section with this path is secret: headers, and users with their passwords.
fn holds_secrets(path: &str) -> bool {
    let last = path.rsplit('.').next();
    last.is_some_and(|it| ["headers", "headers_file", "basic_auth_users"].contains(&it))
}
