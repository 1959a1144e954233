//! The single values of the JSON form as the reader accepts them, each with a word for what was
//! expected.

use crate::graph::{TaskState, Via};
use crate::ids::{Pid, TaskId};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A string. Halves of surrogate pairs, which Python's `json` writes and UTF-8 cannot hold, are
/// replaced.
#[derive(Debug)]
pub(super) struct Text(pub(super) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes, because for these the JSON reader lets halves of surrogate pairs pass.
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Text(String::from_utf8_lossy(bytes).into_owned()))
    }
}

/// Declares a value read from a JSON string, a whole number or a float, with what is expected of it.
macro_rules! scalar {
    ($(#[$doc:meta])* $name:ident($value:ty), $expected:expr, $deserialize:ident, $($visit:item)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(super) struct $name(pub(super) $value);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ScalarVisitor;

                impl Visitor<'_> for ScalarVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "{}", $expected)
                    }

                    $($visit)+
                }

                deserializer.$deserialize(ScalarVisitor)
            }
        }
    };
}

/// The whole number that is written as a float: JSON does not tell `3` from `3.0`.
fn whole<T: FromStr>(number: f64) -> Option<T> {
    let digits = (number.fract() == 0.0).then(|| format!("{:.0}", number + 0.0))?;
    digits.parse().ok()
}

scalar! {
    /// An address: hexadecimal or decimal digits in a string, or a whole number.
    Id(TaskId),
    "an id: a string such as \"0x7f12ab\" or \"123\", or a whole number from 0",
    deserialize_any,
    fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
        text.parse()
            .map(Id)
            .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Id, E> {
        Ok(Id(TaskId(number)))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Id, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Id, E> {
        match whole(number) {
            Some(whole) => self.visit_u64(whole),
            None => Err(E::invalid_type(Unexpected::Float(number), &self)),
        }
    }
}

scalar! {
    /// A whole number that cannot be negative.
    Count(u64),
    format_args!("a whole number from 0 to {}", u64::MAX),
    deserialize_u64,
    fn visit_u64<E: Error>(self, number: u64) -> Result<Count, E> {
        Ok(Count(number))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Count, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Count, E> {
        match whole(number) {
            Some(whole) => self.visit_u64(whole),
            None => Err(E::invalid_type(Unexpected::Float(number), &self)),
        }
    }
}

scalar! {
    /// The number of an interpreter.
    Interpreter(i64),
    "an interpreter's number: a whole number of 64 bits",
    deserialize_i64,
    fn visit_i64<E: Error>(self, number: i64) -> Result<Interpreter, E> {
        Ok(Interpreter(number))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Interpreter, E> {
        i64::try_from(number)
            .map(Interpreter)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Interpreter, E> {
        match whole(number) {
            Some(whole) => self.visit_i64(whole),
            None => Err(E::invalid_type(Unexpected::Float(number), &self)),
        }
    }
}

scalar! {
    /// A line number.
    Line(u32),
    format_args!("a line number (0 to {}) or null", u32::MAX),
    deserialize_u64,
    fn visit_u64<E: Error>(self, number: u64) -> Result<Line, E> {
        u32::try_from(number)
            .map(Line)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Line, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Line, E> {
        match whole(number) {
            Some(whole) => self.visit_u64(whole),
            None => Err(E::invalid_type(Unexpected::Float(number), &self)),
        }
    }
}

scalar! {
    /// A process id.
    ProcessNumber(Pid),
    format_args!("a process id (1 to {}) or null", i32::MAX),
    deserialize_u64,
    fn visit_u64<E: Error>(self, number: u64) -> Result<ProcessNumber, E> {
        i32::try_from(number)
            .ok()
            .and_then(Pid::new)
            .map(ProcessNumber)
            .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<ProcessNumber, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<ProcessNumber, E> {
        match whole(number) {
            Some(whole) => self.visit_u64(whole),
            None => Err(E::invalid_type(Unexpected::Float(number), &self)),
        }
    }
}

scalar! {
    /// A version of the form that this build can read. Which one, nobody needs to know yet.
    Version(()),
    format_args!("a version number, of which {} is the newest", super::SCHEMA_VERSION),
    deserialize_u64,
    fn visit_u64<E: Error>(self, number: u64) -> Result<Version, E> {
        match number {
            0 => Err(E::invalid_value(Unexpected::Unsigned(0), &self)),
            1..=super::SCHEMA_VERSION => Ok(Version(())),
            _ => Err(E::custom(format_args!(
                "this agentctl reads versions up to {} and the file has {number}; \
                 read it with a newer agentctl",
                super::SCHEMA_VERSION
            ))),
        }
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Version, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Version, E> {
        match whole(number) {
            Some(whole) => self.visit_u64(whole),
            None => Err(E::invalid_type(Unexpected::Float(number), &self)),
        }
    }
}

scalar! {
    /// A span of time in seconds.
    Seconds(Duration),
    "a number of seconds from 0, or null",
    deserialize_f64,
    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Seconds, E> {
        Duration::try_from_secs_f64(seconds)
            .map(Seconds)
            .map_err(|_| E::invalid_value(Unexpected::Float(seconds), &self))
    }
    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Seconds, E> {
        Ok(Seconds(Duration::from_secs(seconds)))
    }
    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Seconds, E> {
        Err(E::invalid_value(Unexpected::Signed(seconds), &self))
    }
}

/// A task's state as the file has it: `cancelling` alone stands for a pending task that is being
/// cancelled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StateWord {
    pub(super) state: TaskState,
    pub(super) cancelling: bool,
}

scalar! {
    /// One of the words for a state.
    State(StateWord),
    "one of pending, created, suspended, running, cancelling",
    deserialize_str,
    fn visit_str<E: Error>(self, word: &str) -> Result<State, E> {
        let (state, cancelling) = match word {
            "pending" => (TaskState::Pending, false),
            "created" => (TaskState::Created, false),
            "suspended" => (TaskState::Suspended, false),
            "running" => (TaskState::Running, false),
            "cancelling" => (TaskState::Pending, true),
            _ => return Err(E::invalid_value(Unexpected::Str(word), &self)),
        };
        Ok(State(StateWord { state, cancelling }))
    }
}

scalar! {
    /// One of the words for how a frame was reached.
    ViaWord(Via),
    "one of generator, anext_awaitable, thread, coroutine_wrapper, await, or null",
    deserialize_str,
    fn visit_str<E: Error>(self, word: &str) -> Result<ViaWord, E> {
        match word {
            "await" => Ok(ViaWord(Via::Await)),
            "generator" => Ok(ViaWord(Via::Generator)),
            "anext_awaitable" => Ok(ViaWord(Via::AnextAwaitable)),
            "thread" => Ok(ViaWord(Via::Thread)),
            "coroutine_wrapper" => Ok(ViaWord(Via::CoroutineWrapper)),
            _ => Err(E::invalid_value(Unexpected::Str(word), &self)),
        }
    }
}
