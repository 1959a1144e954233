//! The objects of the JSON form as the reader accepts them. Only what a view cannot do without is
//! required; null stands for "left out"; fields it does not know are passed over, because a newer
//! or foreign writer may have more to say.

use super::scalar::{Count, Id, Line, ProcessNumber, Seconds, State, Text, ViaWord};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};
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

/// What is known of the process.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Process {
    pub(super) pid: Option<ProcessNumber>,
    pub(super) start_time: Option<Count>,
    pub(super) python_version: Option<Text>,
    pub(super) free_threaded: Option<bool>,
}

impl Shape for Process {
    const EXPECTED: &'static str = "an object that describes the process";
}

/// A part that could not be read.
#[derive(Debug, Deserialize)]
pub(super) struct Problem {
    pub(super) code: Text,
    pub(super) message: Option<Text>,
    pub(super) at: Option<Id>,
}

impl Shape for Problem {
    const EXPECTED: &'static str = "a problem: an object with \"code\"";
}

/// What the read cost.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Stats {
    pub(super) syscalls: Option<Count>,
    pub(super) bytes_read: Option<Count>,
    pub(super) tasks_unreadable: Option<Count>,
    pub(super) tasks_counted: Option<Count>,
    pub(super) tasks_ended: Option<Count>,
    pub(super) edges_ended: Option<Count>,
    pub(super) problems: Option<Count>,
    pub(super) restarts: Option<Count>,
    pub(super) duration_seconds: Option<Seconds>,
    pub(super) paused_seconds: Option<Seconds>,
}

impl Shape for Stats {
    const EXPECTED: &'static str = "an object of counters";
}

/// One task.
#[derive(Debug, Deserialize)]
pub(super) struct Task {
    pub(super) task_id: Id,
    pub(super) task_name: Option<Text>,
    pub(super) state: Option<State>,
    pub(super) cancelling: Option<bool>,
    pub(super) needs_one: Option<bool>,
    pub(super) awaiting: Option<Text>,
    pub(super) coroutine_stack: Option<Vec<Frame>>,
    pub(super) awaited_by: Option<Vec<Object<Awaiter>>>,
}

impl Shape for Task {
    const EXPECTED: &'static str = "a task: an object with \"task_id\"";
}

/// One that waits for a task.
#[derive(Debug, Deserialize)]
pub(super) struct Awaiter {
    pub(super) task_id: Id,
    pub(super) call_stack: Option<Vec<Frame>>,
    pub(super) loose: Option<bool>,
}

impl Shape for Awaiter {
    const EXPECTED: &'static str = "an awaiter: an object with \"task_id\"";
}

/// A frame: an object, or only the function's name.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) funcname: Text,
    pub(super) filename: Option<Text>,
    pub(super) lineno: Option<Line>,
    pub(super) via: Option<ViaWord>,
}

#[derive(Deserialize)]
struct FrameFields {
    funcname: Text,
    filename: Option<Text>,
    lineno: Option<Line>,
    via: Option<ViaWord>,
}

impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FrameVisitor)
    }
}

struct FrameVisitor;

impl FrameVisitor {
    fn named(name: &str) -> Frame {
        Frame {
            funcname: Text(name.to_owned()),
            // As Python's tools have it: a frame without a place, not one whose place is unknown.
            filename: Some(Text(String::new())),
            lineno: None,
            via: None,
        }
    }
}

impl<'de> Visitor<'de> for FrameVisitor {
    type Value = Frame;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame: an object with \"funcname\", or a function name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Self::named(name))
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
