//! Tasks from JSON into a graph, one after the other while they are read: a snapshot of a million
//! tasks is in memory once, as a graph.

use super::dto::{Awaiter, Frame, Object, Problem, Process, Stats, Task};
use super::scalar::{Count, Interpreter, Text, Version};
use crate::graph::{
    FrameIdx, GraphBuilder, NewFrame, NewTask, StackIdx, TaskGraph, TaskIdx, TaskName,
};
use crate::ids::{AddressMap, TaskId, Tid};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// What a file says beside its tasks.
#[derive(Debug, Default)]
pub(super) struct Around {
    pub(super) process: Option<Process>,
    pub(super) complete: Option<bool>,
    pub(super) problems: Option<Vec<Object<Problem>>>,
    pub(super) stats: Option<Stats>,
}

/// Fills a graph with what a file lists.
#[derive(Debug, Default)]
pub(super) struct Filler {
    builder: GraphBuilder,
    /// The stack being interned; kept for its memory.
    frames: Vec<FrameIdx>,
    /// Who awaits whom, and the stack that was given with it.
    edges: Vec<NewEdge>,
    /// The stack of each task that is listed.
    stacks: AddressMap<TaskId, StackIdx>,
}

/// An edge as it was read.
#[derive(Debug)]
struct NewEdge {
    awaited: TaskIdx,
    awaiter: TaskId,
    /// The one that was given.
    stack: Option<StackIdx>,
    is_loose: bool,
}

impl Filler {
    fn add_task(&mut self, task: Task) {
        let word = task.state.map(|state| state.0).unwrap_or_default();
        let name = match &task.task_name {
            None => TaskName::Unknown,
            Some(Text(name)) => self.builder.name(name),
        };
        let awaiting = task.awaiting.map(|text| self.builder.text(&text.0));
        let stack = self.stack(task.coroutine_stack.as_deref().unwrap_or_default());
        let id = task.task_id.0;
        let at = self.builder.add_task(NewTask {
            id,
            name,
            state: word.state,
            cancelling: word.cancelling || task.cancelling.unwrap_or(false),
            stack,
            awaiting,
        });
        if task.needs_one.unwrap_or(false) {
            self.builder.set_needs_one(at);
        }
        self.stacks.insert(id, stack);
        for Object(awaiter) in task.awaited_by.unwrap_or_default() {
            let Awaiter {
                task_id,
                call_stack,
                loose,
            } = awaiter;
            let stack = call_stack.map(|frames| self.stack(&frames));
            self.edges.push(NewEdge {
                awaited: at,
                awaiter: task_id.0,
                stack,
                is_loose: loose.unwrap_or(false),
            });
        }
    }

    fn stack(&mut self, frames: &[Frame]) -> StackIdx {
        self.frames.clear();
        for frame in frames {
            let frame = self.builder.frame(NewFrame {
                function: &frame.funcname.0,
                file: frame.filename.as_ref().map(|file| &*file.0),
                line: frame.lineno.map(|line| line.0),
                via: frame.via.map(|via| via.0).unwrap_or_default(),
            });
            self.frames.push(frame);
        }
        self.builder.stack(&self.frames)
    }

    /// The graph, when everything was read. A stack that an edge leaves out is the one that was given
    /// for its awaiter before, or else that of the task.
    pub(super) fn finish(mut self) -> TaskGraph {
        self.builder.reserve_edges(self.edges.len());
        for edge in self.edges {
            let NewEdge {
                awaited, awaiter, ..
            } = edge;
            let stack = match edge.stack {
                Some(stack) => {
                    self.stacks.insert(awaiter, stack);
                    stack
                }
                None => self.stacks.get(&awaiter).copied().unwrap_or_default(),
            };
            self.builder.add_edge(awaited, awaiter, stack);
            if edge.is_loose {
                self.builder.loosen_edge();
            }
        }
        drop(self.stacks);
        self.builder.finish()
    }
}

/// Reads the whole file.
pub(super) struct Root<'f>(pub(super) &'f mut Filler);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum RootField {
    SchemaVersion,
    Process,
    Complete,
    Problems,
    Stats,
    Threads,
    #[serde(other)]
    Unknown,
}

impl<'de> DeserializeSeed<'de> for Root<'_> {
    type Value = Around;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Around, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Root<'_> {
    type Value = Around;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"threads\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Around, A::Error> {
        let mut around = Around::default();
        let mut seen = Seen::default();
        while let Some(field) = map.next_key()? {
            match field {
                RootField::SchemaVersion => {
                    seen.note::<A::Error>("schema_version")?;
                    map.next_value::<Option<Version>>()?;
                }
                RootField::Process => {
                    seen.note::<A::Error>("process")?;
                    let process: Option<Object<Process>> = map.next_value()?;
                    around.process = process.map(|Object(process)| process);
                }
                RootField::Complete => {
                    seen.note::<A::Error>("complete")?;
                    around.complete = map.next_value()?;
                }
                RootField::Problems => {
                    seen.note::<A::Error>("problems")?;
                    around.problems = map.next_value()?;
                }
                RootField::Stats => {
                    seen.note::<A::Error>("stats")?;
                    let stats: Option<Object<Stats>> = map.next_value()?;
                    around.stats = stats.map(|Object(stats)| stats);
                }
                RootField::Threads => {
                    seen.note::<A::Error>("threads")?;
                    map.next_value_seed(Threads(self.0))?;
                }
                RootField::Unknown => {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
        }
        seen.require("threads")?;
        Ok(around)
    }
}

/// Reads the list of threads.
struct Threads<'f>(&'f mut Filler);

impl<'de> DeserializeSeed<'de> for Threads<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Threads<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut threads: A) -> Result<(), A::Error> {
        while threads.next_element_seed(Thread(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

/// Reads one thread.
struct Thread<'f>(&'f mut Filler);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ThreadField {
    InterpreterId,
    ThreadId,
    Tasks,
    #[serde(other)]
    Unknown,
}

impl<'de> DeserializeSeed<'de> for Thread<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Thread<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a thread: an object with \"tasks\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut interpreter_id, mut tid) = (0, Tid(0));
        let mut seen = Seen::default();
        self.0.builder.begin_thread(interpreter_id, tid);
        while let Some(field) = map.next_key()? {
            match field {
                ThreadField::InterpreterId => {
                    seen.note::<A::Error>("interpreter_id")?;
                    let id: Option<Interpreter> = map.next_value()?;
                    interpreter_id = id.map_or(0, |id| id.0);
                }
                ThreadField::ThreadId => {
                    seen.note::<A::Error>("thread_id")?;
                    let id: Option<Count> = map.next_value()?;
                    tid = Tid(id.map_or(0, |id| id.0));
                }
                ThreadField::Tasks => {
                    seen.note::<A::Error>("tasks")?;
                    map.next_value_seed(Tasks(&mut *self.0))?;
                }
                ThreadField::Unknown => {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
        }
        seen.require("tasks")?;
        // Fields are in any order.
        self.0.builder.name_thread(interpreter_id, tid);
        Ok(())
    }
}

/// Reads the tasks of a thread.
struct Tasks<'f>(&'f mut Filler);

impl<'de> DeserializeSeed<'de> for Tasks<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Tasks<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tasks: A) -> Result<(), A::Error> {
        while let Some(Object(task)) = tasks.next_element()? {
            self.0.add_task(task);
        }
        Ok(())
    }
}

/// The fields of an object that were given.
#[derive(Default)]
struct Seen(Vec<&'static str>);

impl Seen {
    fn note<E: Error>(&mut self, field: &'static str) -> Result<(), E> {
        if self.0.contains(&field) {
            return Err(E::duplicate_field(field));
        }
        self.0.push(field);
        Ok(())
    }

    fn require<E: Error>(&self, field: &'static str) -> Result<(), E> {
        if self.0.contains(&field) {
            return Ok(());
        }
        Err(E::missing_field(field))
    }
}
