//! The writer: streams a snapshot as JSON, without building it in memory first.

use super::SCHEMA_VERSION;
use super::layout::LinePerTask;
use crate::graph::{
    AwaitEdge, Frame, Problem, ProcessInfo, ReadStats, Snapshot, StackIdx, TaskGraph, TaskIdx,
    TaskState, Thread, Via,
};
use crate::ids::{AddressMap, TaskId};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

/// Writes `snapshot` as JSON of the schema, and a final line feed. With `keep`, only the tasks that
/// it accepts; all threads stay.
///
/// # Errors
///
/// When `out` cannot be written.
pub fn write_snapshot(
    snapshot: &Snapshot,
    keep: Option<&dyn Fn(TaskIdx) -> bool>,
    mut out: impl Write,
) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, LinePerTask::default());
    let stacks = Stacks {
        graph: &snapshot.graph,
        keep,
        given: RefCell::default(),
    };
    Root { snapshot, stacks }.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// What is kept of the tasks.
type Keep<'a> = Option<&'a dyn Fn(TaskIdx) -> bool>;

/// Which stack a reader takes for an awaiter when none is given: the writer gives only others.
struct Stacks<'a> {
    graph: &'a TaskGraph,
    keep: Keep<'a>,
    /// Those that were given.
    given: RefCell<AddressMap<TaskId, StackIdx>>,
}

impl Stacks<'_> {
    fn is_kept(&self, at: TaskIdx) -> bool {
        self.keep.is_none_or(|keep| keep(at))
    }

    /// Whether the stack of this edge has to be given, which it is then.
    fn must_be_given(&self, edge: &AwaitEdge) -> bool {
        let mut given = self.given.borrow_mut();
        let known = given.get(&edge.awaiter).copied().or_else(|| {
            let task = edge.awaiter_task.filter(|at| self.is_kept(*at))?;
            Some(self.graph.task(task).stack)
        });
        let is_other = known != Some(edge.stack);
        if is_other {
            given.insert(edge.awaiter, edge.stack);
        }
        is_other
    }
}

struct Root<'a> {
    snapshot: &'a Snapshot,
    stacks: Stacks<'a>,
}

impl Serialize for Root<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Snapshot {
            process,
            graph,
            problems,
            stats,
            complete,
        } = self.snapshot;
        let threads = Each(|| {
            graph.threads().iter().map(|thread| OneThread {
                graph,
                thread,
                stacks: &self.stacks,
            })
        });
        let mut root = serializer.serialize_struct("Snapshot", 6)?;
        root.serialize_field("schema_version", &SCHEMA_VERSION)?;
        root.serialize_field("process", &Process(process))?;
        root.serialize_field("complete", complete)?;
        root.serialize_field("problems", &Each(|| problems.iter().map(OneProblem)))?;
        root.serialize_field("stats", &Stats(stats))?;
        root.serialize_field("threads", &threads)?;
        root.end()
    }
}

struct Process<'a>(&'a ProcessInfo);

impl Serialize for Process<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ProcessInfo {
            pid,
            start_time,
            python_version,
            free_threaded,
        } = self.0;
        let mut process = serializer.serialize_struct("Process", 4)?;
        process.serialize_field("pid", &pid.map(|pid| pid.as_raw()))?;
        process.serialize_field("start_time", &start_time.map(|start| start.0))?;
        process.serialize_field("python_version", python_version)?;
        process.serialize_field("free_threaded", free_threaded)?;
        process.end()
    }
}

struct OneProblem<'a>(&'a Problem);

impl Serialize for OneProblem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Problem { code, message, at } = self.0;
        let mut problem = serializer.serialize_struct("Problem", 3)?;
        problem.serialize_field("code", code)?;
        problem.serialize_field("message", message)?;
        problem.serialize_field("at", &at.map(|at| Text(TaskId(at))))?;
        problem.end()
    }
}

struct Stats<'a>(&'a ReadStats);

impl Serialize for Stats<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ReadStats {
            syscalls,
            bytes_read,
            tasks_unreadable,
            tasks_counted,
            tasks_ended,
            edges_ended,
            problems,
            restarts,
            limits_hit: _,
            lists_cut: _,
            running_loops: _,
            duration,
            paused,
        } = self.0;
        let mut stats = serializer.serialize_struct("Stats", 10)?;
        stats.serialize_field("syscalls", syscalls)?;
        stats.serialize_field("bytes_read", bytes_read)?;
        stats.serialize_field("tasks_unreadable", tasks_unreadable)?;
        stats.serialize_field("tasks_counted", tasks_counted)?;
        stats.serialize_field("tasks_ended", tasks_ended)?;
        stats.serialize_field("edges_ended", edges_ended)?;
        stats.serialize_field("problems", problems)?;
        stats.serialize_field("restarts", restarts)?;
        let seconds = |span: &Option<Duration>| span.map(|span| span.as_secs_f64());
        stats.serialize_field("duration_seconds", &seconds(duration))?;
        stats.serialize_field("paused_seconds", &seconds(paused))?;
        stats.end()
    }
}

struct OneThread<'a> {
    graph: &'a TaskGraph,
    thread: &'a Thread,
    stacks: &'a Stacks<'a>,
}

impl Serialize for OneThread<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            graph,
            thread,
            stacks,
        } = self;
        let tasks = Each(|| {
            graph
                .tasks_of(thread)
                .filter(|at| stacks.is_kept(*at))
                .map(|at| OneTask { graph, at, stacks })
        });
        let mut out = serializer.serialize_struct("Thread", 3)?;
        out.serialize_field("interpreter_id", &thread.interpreter_id)?;
        out.serialize_field("thread_id", &thread.tid.0)?;
        out.serialize_field("tasks", &tasks)?;
        out.end()
    }
}

struct OneTask<'a> {
    graph: &'a TaskGraph,
    at: TaskIdx,
    stacks: &'a Stacks<'a>,
}

impl Serialize for OneTask<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let graph = self.graph;
        let task = graph.task(self.at);
        let awaited_by = Each(|| {
            graph.awaiters(self.at).iter().map(|edge| OneAwaiter {
                graph,
                edge,
                stacks: self.stacks,
            })
        });
        let mut out = serializer.serialize_struct("Task", 8)?;
        out.serialize_field("task_id", &Text(task.id))?;
        out.serialize_field("task_name", &graph.name(self.at).map(Text))?;
        out.serialize_field("state", state_word(task.state))?;
        out.serialize_field("cancelling", &task.cancelling)?;
        if task.needs_one {
            out.serialize_field("needs_one", &true)?;
        }
        out.serialize_field("awaiting", &task.awaiting.map(|text| graph.text(text)))?;
        out.serialize_field("coroutine_stack", &stack(graph, task.stack))?;
        out.serialize_field("awaited_by", &awaited_by)?;
        out.end()
    }
}

struct OneAwaiter<'a> {
    graph: &'a TaskGraph,
    edge: &'a AwaitEdge,
    stacks: &'a Stacks<'a>,
}

impl Serialize for OneAwaiter<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut awaiter = serializer.serialize_struct("Awaiter", 3)?;
        awaiter.serialize_field("task_id", &Text(self.edge.awaiter))?;
        if self.stacks.must_be_given(self.edge) {
            awaiter.serialize_field("call_stack", &stack(self.graph, self.edge.stack))?;
        }
        if self.edge.is_loose {
            awaiter.serialize_field("loose", &true)?;
        }
        awaiter.end()
    }
}

struct OneFrame<'a> {
    graph: &'a TaskGraph,
    frame: &'a Frame,
}

impl Serialize for OneFrame<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Frame {
            function,
            file,
            line,
            via,
        } = *self.frame;
        let mut frame = serializer.serialize_struct("Frame", 4)?;
        frame.serialize_field("funcname", self.graph.text(function))?;
        frame.serialize_field("filename", &file.map(|file| self.graph.text(file)))?;
        frame.serialize_field("lineno", &line)?;
        if let Some(word) = via_word(via) {
            frame.serialize_field("via", word)?;
        }
        frame.end()
    }
}

/// The frames of a stack, innermost first.
fn stack(graph: &TaskGraph, at: StackIdx) -> impl Serialize {
    Each(move || graph.stack(at).map(move |frame| OneFrame { graph, frame }))
}

fn state_word(state: TaskState) -> &'static str {
    match state {
        TaskState::Pending => "pending",
        TaskState::Created => "created",
        TaskState::Suspended => "suspended",
        TaskState::Running => "running",
    }
}

fn via_word(via: Via) -> Option<&'static str> {
    match via {
        Via::Await => None,
        Via::Generator => Some("generator"),
        Via::AnextAwaitable => Some("anext_awaitable"),
        Via::Thread => Some("thread"),
        Via::CoroutineWrapper => Some("coroutine_wrapper"),
    }
}

/// An array of what the iterator that `F` makes yields.
struct Each<F>(F);

impl<F, I> Serialize for Each<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// A string of what `T` displays.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
