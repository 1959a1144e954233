//! A YAML document as a tree in which every key and value knows its [`Spot`].
//!
//! A spot is the number of the key or value in the order of reading; `places` finds where in the text that is.
//! Duplicate keys are all kept here.

use super::depth::{DEPTH_MAX, find_too_deep};
use super::places::{Probe, Sought};
use super::problem::{Place, Problems, quote};
use super::tags::{has_tag_directive, with_plain_tags};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::fmt;

/// Keys and values a document may hold, those repeated through aliases included.
const NODES_MAX: u32 = 200_000;

/// What is wrong with a tag.
const TAGS: &str = "tags (a word after !) have no meaning here";

/// Where a key or a value stands in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot(u32);

impl Spot {
    /// That of the document as a whole.
    pub(super) const ROOT: Self = Self(0);
}

/// A key or a value.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it stands.
    pub(super) spot: Spot,
    /// What it is.
    pub(super) value: Value,
}

impl Node {
    /// The keys that it has as a map; those that are no texts are empty.
    pub(super) fn keys(&self) -> Vec<(Spot, String)> {
        let Value::Map(entries) = &self.value else {
            return Vec::new();
        };
        let keys = entries.iter().map(|(key, _)| match &key.value {
            Value::Text(name) => (key.spot, name.clone()),
            _ => (key.spot, String::new()),
        });
        keys.collect()
    }
}

/// What a [`Node`] is.
#[derive(Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as text.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map with its entries as written.
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// What this is, for a person.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(value) => format!("the truth value {value}"),
            Self::Number(text) => format!("the number {text}"),
            Self::Text(text) => format!("the text {}", quote(text)),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a map".to_owned(),
        }
    }
}

/// Reads the one document of `text`. `None`: it is not YAML, which is in `problems` then.
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Node> {
    if let Some(place) = find_control_character(text) {
        let what = "control characters are not allowed".to_owned();
        problems.add_syntax(Some(place), what);
        return None;
    }
    if let Some(at) = find_too_deep(text) {
        let what = format!("more than {DEPTH_MAX} lists and maps within one another");
        problems.add_syntax(Some(place_of(text, at)), what);
        return None;
    }
    if let Some(line) = has_tag_directive(text) {
        let what = format!("{TAGS}, and so has %TAG");
        problems.add_syntax(Some(Place { line, column: 1 }), what);
        return None;
    }
    // The parser tells of tags only if they are plain.
    let plain = with_plain_tags(text).and_then(|plain| walk(&plain, None).err());
    let has_tag = |error: &serde_yaml::Error| error.to_string().contains(TAGS);
    let read = match plain.filter(has_tag) {
        Some(error) => Err(error),
        None => walk(text, None),
    };
    match read {
        Ok(document) => Some(document),
        Err(error) => {
            let mut message = error.to_string();
            let location = error.location();
            if let Some(at) = &location {
                // It is shown in front of the message.
                let place = format!(" at line {} column {}", at.line(), at.column());
                message = message.replacen(&place, "", 1);
            }
            // Before them the parser puts the keys above, in which anything may stand.
            if message.contains(TAGS) {
                TAGS.clone_into(&mut message);
            }
            // It tells the value.
            if message.contains("invalid value:") || message.contains("invalid type:") {
                message = "a value is not what its tag says".to_owned();
            }
            let place = location.map(|at| place_of(text, at.index()));
            let place = if message.contains("more than one document") {
                find_second_document(text)
            } else {
                place
            };
            problems.add_syntax(place, message);
            None
        }
    }
}

/// The parser refuses control characters too, but does not say in which line.
fn find_control_character(text: &str) -> Option<Place> {
    text.lines().enumerate().find_map(|(line, content)| {
        let is_refused = |c: char| c.is_control() && !matches!(c, '\t' | '\u{85}' | '\r');
        let column = content.chars().position(is_refused)?;
        Some(Place {
            line: line + 1,
            column: column + 1,
        })
    })
}

/// The parser does not say where a second document begins. A line of `---` always begins one, also
/// within a text of several lines.
fn find_second_document(text: &str) -> Option<Place> {
    let is_marker = |line: &str, marker| {
        let rest = line.strip_prefix(marker);
        rest.is_some_and(|rest: &str| rest.is_empty() || rest.starts_with([' ', '\t']))
    };
    let (mut has_begun, mut has_ended) = (false, false);
    for (line, content) in text.lines().enumerate() {
        if is_marker(content, "...") {
            has_ended = has_begun;
            continue;
        }
        let begins = is_marker(content, "---");
        let is_blank = content.trim().is_empty() || content.trim_start().starts_with('#');
        if has_begun && (begins || has_ended && !is_blank) {
            return Some(Place {
                line: line + 1,
                column: 1,
            });
        }
        has_begun |= begins || !(is_blank || content.starts_with('%'));
    }
    None
}

/// The place of the byte number `index`. The parser counts lines too, but YAML ends them at
/// characters that no editor does.
fn place_of(text: &str, index: usize) -> Place {
    let mut place = Place { line: 1, column: 1 };
    let before = text.char_indices().take_while(|(at, _)| *at < index);
    for (_, c) in before {
        if c == '\n' {
            place.line += 1;
            place.column = 1;
        } else {
            place.column += 1;
        }
    }
    place
}

/// Reads the document; on the way, the places of what is `sought` are noted.
pub(super) fn walk(text: &str, sought: Option<&Sought>) -> Result<Node, serde_yaml::Error> {
    let count = Cell::new(0);
    let seed = NodeSeed {
        count: &count,
        sought,
    };
    seed.deserialize(serde_yaml::Deserializer::from_str(text))
}

/// Reads the next key or value and numbers it.
#[derive(Clone, Copy)]
struct NodeSeed<'c> {
    count: &'c Cell<u32>,
    sought: Option<&'c Sought>,
}

impl NodeSeed<'_> {
    /// Looks at the next key or value, if its place is sought. `look` gives what is next a [`Probe`], which leaves it
    /// unread.
    fn note_place<T, E: Error>(self, look: impl FnOnce(Probe) -> Result<T, E>) {
        let next = Spot(self.count.get());
        if let Some(sought) = self.sought.filter(|sought| sought.has(next))
            && let Err(error) = look(Probe::default())
        {
            sought.note(next, &error);
        }
    }
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let spot = Spot(self.count.get());
        self.count.set(spot.0.saturating_add(1));
        let value = deserializer.deserialize_any(NodeVisitor { seed: self, spot })?;
        Ok(Node { spot, value })
    }
}

struct NodeVisitor<'c> {
    seed: NodeSeed<'c>,
    spot: Spot,
}

impl NodeVisitor<'_> {
    /// Fails if this is one too many.
    fn enter<E: Error>(&self) -> Result<(), E> {
        if self.spot.0 >= NODES_MAX {
            return Err(E::custom(format_args!(
                "more than {NODES_MAX} keys and values"
            )));
        }
        Ok(())
    }

    fn scalar<E: Error>(&self, value: Value) -> Result<Value, E> {
        self.enter().map(|()| value)
    }
}

impl<'de> Visitor<'de> for NodeVisitor<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map, a list, a text, a number, a truth value or nothing")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.scalar(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.scalar(Value::Number(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.scalar(Value::Number(value.to_string()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        self.scalar(Value::Number(value.to_string()))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        self.scalar(Value::Number(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.scalar(Value::Number(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.scalar(Value::Text(value.to_owned()))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _tagged: A) -> Result<Value, A::Error> {
        self.enter()?;
        Err(A::Error::custom(TAGS))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut nodes = Vec::new();
        loop {
            self.seed.note_place(|probe| list.next_element_seed(probe));
            let Some(node) = list.next_element_seed(self.seed)? else {
                return Ok(Value::List(nodes));
            };
            nodes.push(node);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut entries = Vec::new();
        loop {
            self.seed.note_place(|probe| map.next_key_seed(probe));
            let Some(key) = map.next_key_seed(self.seed)? else {
                return Ok(Value::Map(entries));
            };
            self.seed.note_place(|probe| map.next_value_seed(probe));
            entries.push((key, map.next_value_seed(self.seed)?));
        }
    }
}
