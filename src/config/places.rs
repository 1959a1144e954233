//! Where keys and values of a document stand in its text: all places that are asked for, in one more reading.
//!
//! The YAML crate (`yaml_serde`, `de.rs`) tells a position only with an error. [`Probe`] therefore asks for each key or
//! value that is sought as a "newtype" in a "newtype" and so on, until the parser finds that too deep: that error bears
//! the position of what comes next, which is still unread, and is read as what it is then. Positions are in the error's
//! text only, by line and column.

use super::document::{Spot, walk};
use super::problem::Place;
use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;

/// Keys and values whose places are looked for, and where the parser says that they are.
pub(super) struct Sought {
    spots: BTreeSet<Spot>,
    found: RefCell<Vec<(Mark, Spot)>>,
}

/// A position as the parser has it. Both numbers begin at 0, and lines end also at characters at which no editor ends
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    line: usize,
    column: usize,
}

impl Sought {
    /// Whether the place of this one is looked for.
    pub(super) fn has(&self, spot: Spot) -> bool {
        self.spots.contains(&spot)
    }

    /// Notes where the error says that it arose. One that says nothing arose where the text begins, or is of an empty
    /// document.
    pub(super) fn note(&self, spot: Spot, error: &impl fmt::Display) {
        let text = error.to_string();
        let mark = text.rsplit_once(" at line ").and_then(|(_, at)| {
            let (line, column) = at.split_once(" column ")?;
            let number = |text: &str| text.parse::<usize>().ok()?.checked_sub(1);
            Some(Mark {
                line: number(line)?,
                column: number(column)?,
            })
        });
        let start = Mark { line: 0, column: 0 };
        let found = (mark.unwrap_or(start), spot);
        self.found.borrow_mut().push(found);
    }
}

/// Fails wherever it is put, and reads nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct Probe {
    depth: usize,
}

/// More than the parser allows (`yaml_serde`, `de.rs`, `remaining_depth`).
const PROBE_DEPTH_MAX: usize = 200;

impl<'de> DeserializeSeed<'de> for Probe {
    type Value = Infallible;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Infallible, D::Error> {
        deserializer.deserialize_newtype_struct("", self)
    }
}

impl<'de> Visitor<'de> for Probe {
    type Value = Infallible;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Infallible, D::Error> {
        let depth = self.depth + 1;
        if depth > PROBE_DEPTH_MAX {
            return Err(D::Error::custom("no depth is too much"));
        }
        Probe { depth }.deserialize(deserializer)
    }
}

/// The places of `spots` in the text that their document was read from.
pub(super) fn places(text: &str, spots: BTreeSet<Spot>) -> BTreeMap<Spot, Place> {
    // A text that could not be read must not be read again: it may have been refused because that takes too long.
    if spots.is_empty() {
        return BTreeMap::new();
    }
    let sought = Sought {
        spots,
        found: RefCell::default(),
    };
    if sought.has(Spot::ROOT)
        && let Err(error) = Probe::default().deserialize(serde_yaml::Deserializer::from_str(text))
    {
        sought.note(Spot::ROOT, &error);
    }
    // It could be read before, or there would be no spots.
    let _ = walk(text, Some(&sought));
    let mut found = sought.found.into_inner();
    found.sort_unstable();
    let mut at = Mark { line: 0, column: 0 };
    let mut place = Place { line: 1, column: 1 };
    let mut chars = text.chars().peekable();
    let mut places = BTreeMap::new();
    for (mark, spot) in found {
        while at < mark {
            let Some(c) = chars.next() else {
                break;
            };
            let is_break = match c {
                // The line ends at the second one.
                '\r' => chars.peek() != Some(&'\n'),
                c => matches!(c, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}'),
            };
            at = match is_break {
                true => Mark {
                    line: at.line + 1,
                    column: 0,
                },
                false => Mark {
                    column: at.column + 1,
                    ..at
                },
            };
            place = match c {
                '\n' => Place {
                    line: place.line + 1,
                    column: 1,
                },
                _ => Place {
                    column: place.column + 1,
                    ..place
                },
            };
        }
        places.insert(spot, place);
    }
    places
}
