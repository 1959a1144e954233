//! The objects of the JSON form as the reader accepts them. Only what a view cannot do without is
//! required; null stands for "left out"; fields it does not know are passed over, because a newer
//! or foreign writer may have more to say.

use super::scalar::{
    Count, Id, Interpreter, Line, ProcessNumber, Seconds, State, Text, Version, ViaWord,
};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// What a message calls an object that was expected.
pub(super) trait Shape {
    const EXPECTED: &'static str;
}

/// A JSON object with the fields of `T`. Derived code alone would take an array for it too.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Shape + Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Shape + Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// The whole file.
#[derive(Debug, Deserialize)]
pub(super) struct Root<'a> {
    #[expect(dead_code, reason = "checked while it is read")]
    pub(super) schema_version: Option<Version>,
    #[serde(borrow)]
    pub(super) process: Option<Object<Process<'a>>>,
    pub(super) complete: Option<bool>,
    #[serde(borrow)]
    pub(super) problems: Option<Vec<Object<Problem<'a>>>>,
    pub(super) stats: Option<Object<Stats>>,
    #[serde(borrow)]
    pub(super) threads: Vec<Object<Thread<'a>>>,
}

impl Shape for Root<'_> {
    const EXPECTED: &'static str = "an object with \"threads\"";
}

/// What is known of the process.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Process<'a> {
    pub(super) pid: Option<ProcessNumber>,
    pub(super) start_time: Option<Count>,
    #[serde(borrow)]
    pub(super) python_version: Option<Text<'a>>,
    pub(super) free_threaded: Option<bool>,
}

impl Shape for Process<'_> {
    const EXPECTED: &'static str = "an object that describes the process";
}

/// A part that could not be read.
#[derive(Debug, Deserialize)]
pub(super) struct Problem<'a> {
    #[serde(borrow)]
    pub(super) code: Text<'a>,
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
    pub(super) at: Option<Id>,
}

impl Shape for Problem<'_> {
    const EXPECTED: &'static str = "a problem: an object with \"code\"";
}

/// What the read cost.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Stats {
    pub(super) syscalls: Option<Count>,
    pub(super) bytes_read: Option<Count>,
    pub(super) tasks_unreadable: Option<Count>,
    pub(super) tasks_ended: Option<Count>,
    pub(super) problems: Option<Count>,
    pub(super) restarts: Option<Count>,
    pub(super) duration_seconds: Option<Seconds>,
    pub(super) paused_seconds: Option<Seconds>,
}

impl Shape for Stats {
    const EXPECTED: &'static str = "an object of counters";
}

/// The tasks of one thread.
#[derive(Debug, Deserialize)]
pub(super) struct Thread<'a> {
    pub(super) interpreter_id: Option<Interpreter>,
    pub(super) thread_id: Option<Count>,
    #[serde(borrow)]
    pub(super) tasks: Vec<Object<Task<'a>>>,
}

impl Shape for Thread<'_> {
    const EXPECTED: &'static str = "a thread: an object with \"tasks\"";
}

/// One task.
#[derive(Debug, Deserialize)]
pub(super) struct Task<'a> {
    pub(super) task_id: Id,
    #[serde(borrow)]
    pub(super) task_name: Option<Text<'a>>,
    pub(super) state: Option<State>,
    pub(super) cancelling: Option<bool>,
    #[serde(borrow)]
    pub(super) awaiting: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) coroutine_stack: Option<Vec<Frame<'a>>>,
    #[serde(borrow)]
    pub(super) awaited_by: Option<Vec<Object<Awaiter<'a>>>>,
}

impl Shape for Task<'_> {
    const EXPECTED: &'static str = "a task: an object with \"task_id\"";
}

/// One that waits for a task.
#[derive(Debug, Deserialize)]
pub(super) struct Awaiter<'a> {
    pub(super) task_id: Id,
    #[serde(borrow)]
    pub(super) call_stack: Option<Vec<Frame<'a>>>,
}

impl Shape for Awaiter<'_> {
    const EXPECTED: &'static str = "an awaiter: an object with \"task_id\"";
}

/// A frame: an object, or only the function's name.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) funcname: Text<'a>,
    pub(super) filename: Option<Text<'a>>,
    pub(super) lineno: Option<Line>,
    pub(super) via: Option<ViaWord>,
}

#[derive(Deserialize)]
struct FrameFields<'a> {
    #[serde(borrow)]
    funcname: Text<'a>,
    #[serde(borrow)]
    filename: Option<Text<'a>>,
    lineno: Option<Line>,
    via: Option<ViaWord>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Frame<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FrameVisitor)
    }
}

struct FrameVisitor;

impl FrameVisitor {
    fn named(name: Cow<'_, str>) -> Frame<'_> {
        Frame {
            funcname: Text(name),
            // As Python's tools have it: a frame without a place, not one whose place is unknown.
            filename: Some(Text(Cow::Borrowed(""))),
            lineno: None,
            via: None,
        }
    }
}

impl<'de> Visitor<'de> for FrameVisitor {
    type Value = Frame<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame: an object with \"funcname\", or a function name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Self::named(Cow::Borrowed(name)))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Self::named(Cow::Owned(name.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let FrameFields {
            funcname,
            filename,
            lineno,
            via,
        } = FrameFields::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Frame {
            funcname,
            filename,
            lineno,
            via,
        })
    }
}
