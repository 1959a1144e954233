//! The configuration as written: which keys there are, and whether each holds a text, a list or a
//! map. What the texts mean is decided in `validate`. A key without a value counts as left out.

use super::document::{Node, Spot, Value};
use super::problem::Problems;

/// A value with its place and path.
#[derive(Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) spot: Spot,
    pub(super) path: String,
}

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct RawConfig {
    pub(super) web: RawWeb,
    pub(super) discovery: RawDiscovery,
    pub(super) targets: Vec<RawTarget>,
}

/// `web`.
#[derive(Debug, Default)]
pub(super) struct RawWeb {
    /// `None`: not given.
    pub(super) listen: Option<Vec<Located<String>>>,
}

/// `discovery`.
#[derive(Debug, Default)]
pub(super) struct RawDiscovery {
    pub(super) interval: Option<Located<String>>,
}

/// One of `targets`.
#[derive(Debug)]
pub(super) struct RawTarget {
    pub(super) name: Option<Located<String>>,
    pub(super) matches: Option<RawMatch>,
    pub(super) interval: Option<Located<String>>,
}

/// `match` of a target.
#[derive(Debug)]
pub(super) struct RawMatch {
    pub(super) pid: Option<Located<String>>,
    pub(super) command: Option<Located<String>>,
}

impl RawConfig {
    /// Takes the document apart.
    pub(super) fn read(document: &Node, problems: &mut Problems) -> Self {
        if matches!(document.value, Value::Null) {
            return Self::default();
        }
        let keys = ["web", "discovery", "targets"];
        let Some(top) = Section::open(document, "", &keys, problems) else {
            return Self::default();
        };
        Self {
            web: RawWeb::read(&top, problems),
            discovery: RawDiscovery::read(&top, problems),
            targets: RawTarget::read_all(&top, problems),
        }
    }
}

impl RawWeb {
    fn read(top: &Section<'_>, problems: &mut Problems) -> Self {
        let Some(web) = top.section("web", &["listen"], problems) else {
            return Self::default();
        };
        let listen = web.get("listen").map(|(node, path)| match &node.value {
            Value::List(items) => {
                if items.is_empty() {
                    problems.add(
                        node.spot,
                        &path,
                        "the list is empty, expected at least one address",
                    );
                }
                let texts = items.iter().enumerate();
                texts
                    .filter_map(|(at, item)| scalar(item, format!("{path}[{at}]"), problems))
                    .collect()
            }
            _ => scalar(node, path, problems).into_iter().collect(),
        });
        Self { listen }
    }
}

impl RawDiscovery {
    fn read(top: &Section<'_>, problems: &mut Problems) -> Self {
        let Some(discovery) = top.section("discovery", &["interval"], problems) else {
            return Self::default();
        };
        Self {
            interval: discovery.scalar("interval", problems),
        }
    }
}

impl RawTarget {
    fn read_all(top: &Section<'_>, problems: &mut Problems) -> Vec<Self> {
        let Some((node, path)) = top.get("targets") else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            let what = format!("{}, expected a list of targets", node.value.describe());
            problems.add(node.spot, &path, what);
            return Vec::new();
        };
        let items = items.iter().enumerate();
        items
            .filter_map(|(at, item)| Self::read(item, &format!("{path}[{at}]"), problems))
            .collect()
    }

    fn read(node: &Node, path: &str, problems: &mut Problems) -> Option<Self> {
        let target = Section::open(node, path, &["name", "match", "interval"], problems)?;
        if target.get("name").is_none() {
            target.missing("name", "expected the name of the target", problems);
        }
        if target.get("match").is_none() {
            target.missing("match", RawMatch::EXPECTED, problems);
        }
        Some(Self {
            name: target.text("name", problems),
            matches: RawMatch::read(&target, problems),
            interval: target.scalar("interval", problems),
        })
    }
}

impl RawMatch {
    const EXPECTED: &str =
        "expected a map with `pid`, `command` or both, such as {command: 'myapp'}";

    fn read(target: &Section<'_>, problems: &mut Problems) -> Option<Self> {
        let conditions = target.section("match", &["pid", "command"], problems)?;
        let is_given = |(_, value): &(Node, Node)| !matches!(value.value, Value::Null);
        // A key that is misspelt has been told already.
        if !conditions.entries.iter().any(is_given) {
            let what = format!("no condition is given, {}", Self::EXPECTED);
            problems.add(conditions.spot, &conditions.path, what);
        }
        Some(Self {
            pid: conditions.scalar("pid", problems),
            command: conditions.text("command", problems),
        })
    }
}

/// A map whose keys have been checked.
struct Section<'n> {
    entries: &'n [(Node, Node)],
    path: String,
    spot: Spot,
}

impl<'n> Section<'n> {
    /// The map at `node`; unknown and repeated keys, and anything but a map, are problems.
    fn open(node: &'n Node, path: &str, known: &[&str], problems: &mut Problems) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let what = format!(
                "{}, expected a map with the keys {}",
                node.value.describe(),
                known.join(", ")
            );
            problems.add(node.spot, path, what);
            return None;
        };
        let section = Self {
            entries,
            path: path.to_owned(),
            spot: node.spot,
        };
        let mut seen: Vec<&str> = Vec::new();
        for (key, _) in entries {
            let name = match &key.value {
                Value::Text(name) => name.as_str(),
                other => {
                    let what = format!("a key is {}, expected a text", other.describe());
                    problems.add(key.spot, path, what);
                    continue;
                }
            };
            if !known.contains(&name) {
                let what = format!("unknown key, expected one of: {}", known.join(", "));
                problems.add(key.spot, &section.path_of(name), what);
            } else if seen.contains(&name) {
                let what = "duplicate key, expected it once";
                problems.add(key.spot, &section.path_of(name), what);
            } else {
                seen.push(name);
            }
        }
        Some(section)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The value of `key` and its path, if it has one.
    fn get(&self, key: &str) -> Option<(&'n Node, String)> {
        let (_, value) = self
            .entries
            .iter()
            .find(|(name, _)| matches!(&name.value, Value::Text(name) if name == key))?;
        (!matches!(value.value, Value::Null)).then(|| (value, self.path_of(key)))
    }

    fn missing(&self, key: &str, expected: &str, problems: &mut Problems) {
        problems.add(
            self.spot,
            &self.path_of(key),
            format!("missing, {expected}"),
        );
    }

    fn section(&self, key: &str, known: &[&str], problems: &mut Problems) -> Option<Self> {
        let (node, path) = self.get(key)?;
        Self::open(node, &path, known, problems)
    }

    /// The text at `key`.
    fn text(&self, key: &str, problems: &mut Problems) -> Option<Located<String>> {
        let (node, path) = self.get(key)?;
        text(node, path, problems)
    }

    /// The scalar at `key` as text: what it must look like is told when that is known.
    fn scalar(&self, key: &str, problems: &mut Problems) -> Option<Located<String>> {
        let (node, path) = self.get(key)?;
        scalar(node, path, problems)
    }
}

/// The text at `node`. A number or truth value is a problem: YAML may have changed it on the way.
fn text(node: &Node, path: String, problems: &mut Problems) -> Option<Located<String>> {
    if matches!(node.value, Value::Number(_) | Value::Bool(_)) {
        let what = format!(
            "{}, expected a text: put it in quotes",
            node.value.describe()
        );
        problems.add(node.spot, &path, what);
        return None;
    }
    scalar(node, path, problems)
}

/// The text, number or truth value at `node`, as text.
fn scalar(node: &Node, path: String, problems: &mut Problems) -> Option<Located<String>> {
    let value = match &node.value {
        Value::Text(text) | Value::Number(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        value => {
            let what = format!("{}, expected a text", value.describe());
            problems.add(node.spot, &path, what);
            return None;
        }
    };
    Some(Located {
        value,
        spot: node.spot,
        path,
    })
}
