//! What the text of a setting means: durations, sizes, numbers, patterns, files. A value that is wrong is
//! a problem, and the default stands in for it.

use super::FileKind;
use super::hidden::looks_like_path;
use super::problem::quote;
use super::section::{Item, Located, Reader, Section};
use super::settings::{CommandPattern, Glob, GlobError, Star};
use super::units::{
    DURATION_FORM, SIZE_FORM, parse_duration, parse_size, show_duration, show_size,
};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Memory that all patterns of a file may take. An ordinary one needs a few KiB; a repeated class of
/// Unicode needs megabytes, and a file has room for thousands of them.
pub(super) const PATTERNS_BYTES_MAX: usize = 64 << 20;
/// How much memory is tried for one pattern.
const PATTERN_BYTES: [usize; 4] = [8 << 10, 128 << 10, 1 << 20, PATTERN_BYTES_MAX];
/// Memory that one pattern may take.
const PATTERN_BYTES_MAX: usize = 8 << 20;

impl Section<'_> {
    /// The duration at `key`.
    pub(super) fn duration(
        &self,
        key: &str,
        range: RangeInclusive<Duration>,
        default: Duration,
        reader: &mut Reader<'_>,
    ) -> Duration {
        let text = self.get(key).and_then(|item| item.scalar(reader));
        let value = text.and_then(|text| text.duration(range, reader));
        value.unwrap_or(default)
    }

    /// The size at `key`, in bytes.
    pub(super) fn size(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
        default: u64,
        reader: &mut Reader<'_>,
    ) -> u64 {
        let text = self.get(key).and_then(|item| item.scalar(reader));
        let value = text.and_then(|text| text.size(&range, reader));
        value.unwrap_or(default)
    }

    /// The number at `key`.
    pub(super) fn number<T: FromStr + PartialOrd + Display>(
        &self,
        key: &str,
        range: RangeInclusive<T>,
        default: T,
        reader: &mut Reader<'_>,
    ) -> T {
        let text = self.get(key).and_then(|item| item.scalar(reader));
        let value = text.and_then(|text| text.number(&range, reader));
        value.unwrap_or(default)
    }

    /// The truth value at `key`.
    pub(super) fn flag(&self, key: &str, default: bool, reader: &mut Reader<'_>) -> bool {
        let text = self.get(key).and_then(|item| item.scalar(reader));
        let value = text.and_then(|text| text.choice(&[("true", true), ("false", false)], reader));
        value.unwrap_or(default)
    }

    /// The choice at `key`.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[(&str, T)],
        reader: &mut Reader<'_>,
    ) -> Option<T> {
        let text = self.get(key)?.scalar(reader)?;
        text.choice(choices, reader)
    }

    /// The path of a file at `key`. That it cannot be what it should is a problem, but it is the path all the same.
    pub(super) fn file(
        &self,
        key: &str,
        kind: FileKind,
        reader: &mut Reader<'_>,
    ) -> Option<PathBuf> {
        self.get(key)?.text(reader)?.file(kind, reader)
    }

    /// The glob at `key`.
    pub(super) fn glob(&self, key: &str, star: Star, reader: &mut Reader<'_>) -> Option<Glob> {
        self.get(key)?.text(reader)?.glob(star, reader)
    }
}

impl Located {
    /// Notes that it is out of range.
    fn out_of_range(&self, from: impl Display, to: impl Display, reader: &mut Reader<'_>) {
        let text = quote(&self.value);
        let what = format!("{text} is out of range, expected {from} to {to}");
        self.problem(what, reader);
    }

    /// The duration that it says.
    pub(super) fn duration(
        &self,
        range: RangeInclusive<Duration>,
        reader: &mut Reader<'_>,
    ) -> Option<Duration> {
        match parse_duration(&self.value) {
            Ok(value) if range.contains(&value) => return Some(value),
            Ok(_) => {
                let (from, to) = (show_duration(*range.start()), show_duration(*range.end()));
                self.out_of_range(from, to, reader);
            }
            Err(why) => self.problem(format!("{why}, expected {DURATION_FORM}"), reader),
        }
        None
    }

    /// The bytes that it says.
    fn size(&self, range: &RangeInclusive<u64>, reader: &mut Reader<'_>) -> Option<u64> {
        match parse_size(&self.value) {
            Ok(value) if range.contains(&value) => return Some(value),
            Ok(_) => {
                let (from, to) = (show_size(*range.start()), show_size(*range.end()));
                self.out_of_range(from, to, reader);
            }
            Err(why) => self.problem(format!("{why}, expected {SIZE_FORM}"), reader),
        }
        None
    }

    /// The number that it says. None that is not a number is in a range.
    fn number<T: FromStr + PartialOrd + Display>(
        &self,
        range: &RangeInclusive<T>,
        reader: &mut Reader<'_>,
    ) -> Option<T> {
        // Rust reads a leading plus sign, and words for what is no number; nobody means either.
        let starts = self
            .value
            .starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let value = self.value.parse::<T>().ok().filter(|_| starts);
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let text = quote(&self.value);
            let (from, to) = (range.start(), range.end());
            let kind = if "0.5".parse::<T>().is_ok() {
                "a number"
            } else {
                "a whole number"
            };
            self.problem(
                format!("{text}, expected {kind} from {from} to {to}"),
                reader,
            );
        }
        value
    }

    /// Which of the choices it is.
    pub(super) fn choice<T: Copy>(
        &self,
        choices: &[(&str, T)],
        reader: &mut Reader<'_>,
    ) -> Option<T> {
        let found = choices.iter().find(|(name, _)| *name == self.value);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let what = format!("{}, expected {}", quote(&self.value), names.join(" or "));
            self.problem(what, reader);
        }
        found.map(|(_, value)| *value)
    }

    /// The path of a file that it is. That the file cannot be what it should is a problem, but it is the path all the
    /// same.
    pub(super) fn file(&self, kind: FileKind, reader: &mut Reader<'_>) -> Option<PathBuf> {
        let path = self.path(reader)?;
        let checked = reader.files.map_or(Ok(()), |check| check(&path, kind));
        if let Err(why) = checked {
            let expected = kind.expected();
            if looks_like_path(&self.value) {
                let file = quote(&path.to_string_lossy());
                self.problem(format!("{file}: {why}, expected {expected}"), reader);
            } else {
                let what = format!(
                    "the file that it names (not shown, as it may be a secret): {why}, expected {expected}"
                );
                self.problem(what, reader);
            }
        }
        Some(path)
    }

    /// The path that it is.
    pub(super) fn path(&self, reader: &mut Reader<'_>) -> Option<PathBuf> {
        if self.value.is_empty() || self.value.contains('\0') {
            self.problem("no path, expected that of a file", reader);
            return None;
        }
        let path = PathBuf::from(&self.value);
        Some(
            reader
                .base
                .map_or_else(|| path.clone(), |base| base.join(&path)),
        )
    }

    /// The glob that it is.
    pub(super) fn glob(&self, star: Star, reader: &mut Reader<'_>) -> Option<Glob> {
        if self.value.is_empty() {
            self.problem("empty, expected a pattern such as web-*", reader);
            return None;
        }
        let make = |bytes| Glob::new(&self.value, star, bytes);
        let is_too_big = |error: &GlobError| *error == GlobError::TooBig;
        match compile(
            &mut reader.pattern_bytes,
            GlobError::TooBig,
            make,
            is_too_big,
        ) {
            Ok(glob) => Some(glob),
            Err(GlobError::TooBig) => {
                self.problem(too_much_memory(), reader);
                None
            }
            Err(why) => {
                self.problem(format!("{why}, expected a pattern such as web-*"), reader);
                None
            }
        }
    }

    /// The regular expression that it is.
    pub(super) fn command_pattern(&self, reader: &mut Reader<'_>) -> Option<CommandPattern> {
        if self.value.is_empty() {
            let what = "empty, expected a regular expression to look for in the command line";
            self.problem(what, reader);
            return None;
        }
        let make = |bytes| CommandPattern::new(&self.value, bytes);
        let is_too_big = |error: &regex::Error| matches!(error, regex::Error::CompiledTooBig(_));
        let too_big = regex::Error::CompiledTooBig(0);
        match compile(&mut reader.pattern_bytes, too_big, make, is_too_big) {
            Ok(pattern) => Some(pattern),
            Err(regex::Error::CompiledTooBig(_)) => {
                self.problem(too_much_memory(), reader);
                None
            }
            Err(error) => {
                let (what, detail) = explain_pattern(&error.to_string());
                self.problem_with_detail(what, detail, reader);
                None
            }
        }
    }
}

/// The text of an item that may be one or a list of them.
pub(super) fn one_or_more<'n>(
    item: Item<'n>,
    what: &str,
    reader: &mut Reader<'_>,
) -> Vec<Item<'n>> {
    let Some(items) = item.list() else {
        return vec![item];
    };
    if items.is_empty() {
        item.problem(
            format!("the list is empty, expected at least one {what}"),
            reader,
        );
    }
    items
}

/// Compiles a pattern. What is tried is taken from `bytes_left`, also in vain: it takes time.
fn compile<T, E>(
    bytes_left: &mut usize,
    too_big: E,
    make: impl Fn(usize) -> Result<T, E>,
    is_too_big: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let mut result = Err(too_big);
    for bytes in PATTERN_BYTES {
        let Some(left) = bytes_left.checked_sub(bytes) else {
            break;
        };
        *bytes_left = left;
        result = make(bytes);
        if !matches!(&result, Err(error) if is_too_big(error)) {
            break;
        }
    }
    result
}

fn too_much_memory() -> String {
    format!(
        "takes too much memory, expected at most {} MiB for one pattern \
         and {} MiB for those of all targets",
        PATTERN_BYTES_MAX >> 20,
        PATTERNS_BYTES_MAX >> 20
    )
}

/// The reason in a regex error's last line, and the lines that show the place.
fn explain_pattern(message: &str) -> (String, String) {
    let mut lines: Vec<&str> = message.lines().collect();
    let reason = lines.pop().unwrap_or_default();
    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
    let reason = reason.trim_end_matches('.');
    let what = format!("{reason}, expected a regular expression");
    let place = lines.get(1..).unwrap_or_default().join("\n");
    (what, place)
}
