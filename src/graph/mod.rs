//! The task graph of one process: threads, tasks, coroutine stacks, and who awaits whom.
//!
//! This is the model that every reader fills and every output consumes. It imports nothing of either.
//! Text, frames and stacks are stored once and referred to by index, because ten thousand tasks of
//! one program usually stand in a handful of places.
//!
//! A graph is made by [`GraphBuilder`] and does not change afterwards. It never resolves a
//! contradiction of its input: a task listed twice is there twice, an awaiter that is not in any
//! list keeps its id.

mod builder;
mod cycle;
mod deadlock;
mod forest;
mod long_wait;
mod origin;
mod select;
mod shape;
mod snapshot;
#[cfg(any(test, feature = "fixtures"))]
pub mod text;

pub use builder::{GraphBuilder, NewFrame, NewTask};
pub use cycle::{Cycle, Cycles, find_cycles};
pub use deadlock::find_deadlocks;
pub use forest::{Branch, Child};
pub use long_wait::LongWait;
pub use origin::{is_installed, is_python};
pub use select::{Selection, select};
pub use shape::{ShapeIdx, Shapes};
pub use snapshot::{Problem, ProcessInfo, ReadStats, Snapshot};

use crate::ids::{AddressMap, TaskId, Tid};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Index of a task in a [`TaskGraph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskIdx(u32);

/// Index of an interned text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TextIdx(u32);

/// Index of an interned frame. Equal frames have equal indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameIdx(u32);

/// Index of an interned stack. Equal stacks have equal indices. The default is the one without frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StackIdx(u32);

impl TaskIdx {
    /// The position in [`TaskGraph::tasks`].
    pub fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl StackIdx {
    /// The stack without frames.
    pub const EMPTY: Self = Self(0);
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TaskState {
    /// Not done; nothing more is known.
    #[default]
    Pending,
    /// Its coroutine has never been started.
    Created,
    /// Its coroutine waits in an `await`.
    Suspended,
    /// A step of it is being executed by its thread.
    Running,
}

/// A task's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TaskName {
    /// It has none, or the name could not be read.
    #[default]
    Unknown,
    /// The default name `Task-<number>`, which CPython 3.12 and later keep as a number until somebody asks.
    Number(u64),
    /// A name that somebody gave.
    Text(TextIdx),
}

/// How the reader came from the frame outside to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Via {
    /// By a plain `await` of a coroutine or asynchronous generator: the chain that CPython's own
    /// reader follows too.
    #[default]
    Await,
    /// The frame belongs to a generator: an `__await__` written with `yield from`, `@types.coroutine`.
    Generator,
    /// Through the `anext_awaitable` that `anext()` with a default returns.
    AnextAwaitable,
    /// The frame is being executed: it was found on its thread's stack, above the task's outermost
    /// coroutine. A snapshot of it is older than what the thread does by now.
    Thread,
    /// Through the `coroutine_wrapper` that `coroutine.__await__()` returns.
    CoroutineWrapper,
}

/// One entry of a coroutine stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Qualified name of the function.
    pub function: TextIdx,
    /// File name as the code object has it; `None` when it could not be read.
    pub file: Option<TextIdx>,
    /// Line being executed, from 1; `None` when the code has none for that instruction.
    pub line: Option<u32>,
    /// How the reader got here from the next outer frame.
    pub via: Via,
}

/// One pending task.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its address in the process.
    pub id: TaskId,
    /// Its name.
    pub name: TaskName,
    /// Where it stands.
    pub state: TaskState,
    /// Somebody asked for its cancellation and it has not ended yet.
    pub cancelling: bool,
    /// Its coroutine stack.
    pub stack: StackIdx,
    /// Type name of what the innermost frame waits on, such as `_asyncio.FutureIter`.
    pub awaiting: Option<TextIdx>,
    /// What it stands on: the objects of its stack and the future that it waits for, as one number. In two
    /// snapshots of a process that give different ones it had run in between; equal ones prove nothing,
    /// as memory is used again. 0 when it is not known.
    pub footing: u64,
    /// It goes on as soon as one of what it awaits has ended, not only when all have.
    pub needs_one: bool,
    /// Its footing tells this wait from every other one at the same place. That of others may be the same again when
    /// they have gone round a loop.
    pub has_turn: bool,
    /// It is noted as awaiter of tasks, but waits for something else at the moment.
    pub waits_elsewhere: bool,
    awaiters: Range<u32>,
}

/// `awaited` is awaited by `awaiter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwaitEdge {
    /// The task that is waited for.
    pub awaited: TaskIdx,
    /// Who waits.
    pub awaiter: TaskId,
    /// The awaiter in this graph; `None` when no list holds it (it is not a task, or could not be read).
    pub awaiter_task: Option<TaskIdx>,
    /// The awaiter's coroutine stack.
    pub stack: StackIdx,
    /// The awaiter can go on without the awaited: it has a timeout, or waits for something else at the moment.
    /// Readers find that out only where it matters, on await cycles.
    pub is_loose: bool,
}

/// The tasks of one thread (thread id 0: of an interpreter, their thread having ended).
#[derive(Debug, Clone)]
pub struct Thread {
    /// The interpreter's id: 0 is the main one.
    pub interpreter_id: i64,
    /// The thread's id.
    pub tid: Tid,
    /// How often the kernel has given it a processor, if that is known.
    pub runs: Option<u64>,
    /// It runs an event loop now. Tasks of one that is not run go on when the program runs it again.
    pub runs_loop: bool,
    tasks: Range<u32>,
}

/// The task graph of one process at one moment.
#[derive(Debug, Clone)]
pub struct TaskGraph {
    texts: Vec<Arc<str>>,
    frames: Vec<Frame>,
    stack_frames: Vec<FrameIdx>,
    stacks: Vec<Range<u32>>,
    threads: Vec<Thread>,
    tasks: Vec<Task>,
    edges: Vec<AwaitEdge>,
    by_id: AddressMap<TaskId, TaskIdx>,
    /// For each task the range of `awaited` that holds what it waits for.
    awaited_ranges: Vec<Range<u32>>,
    awaited: Vec<u32>,
}

impl TaskGraph {
    /// Notes how often the kernel has given each of the first `threads_max` threads a processor.
    pub fn note_runs(&mut self, threads_max: usize, mut runs: impl FnMut(Tid) -> Option<u64>) {
        for thread in self.threads.iter_mut().take(threads_max) {
            thread.runs = runs(thread.tid);
        }
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        let text = |text: &Arc<str>| text.len().saturating_add(size_of::<Arc<str>>() * 2);
        let texts = self.texts.iter().map(text).sum::<usize>();
        let of_each = [
            size_of_val(&*self.frames),
            size_of_val(&*self.stack_frames),
            size_of_val(&*self.stacks),
            size_of_val(&*self.threads),
            size_of_val(&*self.tasks),
            size_of_val(&*self.edges),
            self.by_id
                .len()
                .saturating_mul(size_of::<(TaskId, TaskIdx)>() * 2),
            size_of_val(&*self.awaited_ranges),
            size_of_val(&*self.awaited),
        ];
        of_each.into_iter().fold(texts, usize::saturating_add)
    }

    /// All tasks, thread by thread in the order of the threads, each thread's in its list's order.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The indices of all tasks, in the order of [`tasks`](Self::tasks).
    pub fn indices(&self) -> impl ExactSizeIterator<Item = TaskIdx> + use<> {
        (0..as_u32(self.tasks.len())).map(TaskIdx)
    }

    /// The threads, in the order in which they were read.
    pub fn threads(&self) -> &[Thread] {
        &self.threads
    }

    /// The tasks of `thread`.
    pub fn tasks_of(&self, thread: &Thread) -> impl ExactSizeIterator<Item = TaskIdx> + use<> {
        thread.tasks.clone().map(TaskIdx)
    }

    /// The thread whose list holds the task at `at`.
    pub fn thread_of(&self, at: TaskIdx) -> &Thread {
        let position = self
            .threads
            .partition_point(|thread| thread.tasks.end <= at.0);
        &self.threads[position]
    }

    /// The task at `at`.
    pub fn task(&self, at: TaskIdx) -> &Task {
        &self.tasks[at.as_usize()]
    }

    /// The task with this id. When several lists hold it, the last one.
    pub fn find(&self, id: TaskId) -> Option<TaskIdx> {
        self.by_id.get(&id).copied()
    }

    /// The entry that stands for the task at `at`: the last one with its id. It is `at` itself unless
    /// several lists hold the task. Edges name their awaiter by this entry.
    pub fn entry(&self, at: TaskIdx) -> TaskIdx {
        self.find(self.task(at).id).unwrap_or(at)
    }

    /// All await edges, ordered by the awaited task, then as they were read.
    pub fn edges(&self) -> &[AwaitEdge] {
        &self.edges
    }

    /// Who awaits the task at `at`.
    pub fn awaiters(&self, at: TaskIdx) -> &[AwaitEdge] {
        let range = &self.task(at).awaiters;
        &self.edges[range.start as usize..range.end as usize]
    }

    /// The edges to the tasks that the task at `at` awaits, in the order of the awaited tasks.
    pub fn awaited(&self, at: TaskIdx) -> impl ExactSizeIterator<Item = &AwaitEdge> {
        let range = &self.awaited_ranges[at.as_usize()];
        self.awaited[range.start as usize..range.end as usize]
            .iter()
            .map(|edge| &self.edges[*edge as usize])
    }

    /// The frames of a stack, innermost first.
    pub fn stack(
        &self,
        at: StackIdx,
    ) -> impl ExactSizeIterator<Item = &Frame> + DoubleEndedIterator {
        self.stack_frame_indices(at)
            .iter()
            .map(|frame| &self.frames[frame.0 as usize])
    }

    /// The frame indices of a stack, innermost first. Equal indices mean equal frames.
    pub fn stack_frame_indices(&self, at: StackIdx) -> &[FrameIdx] {
        let range = &self.stacks[at.0 as usize];
        &self.stack_frames[range.start as usize..range.end as usize]
    }

    /// The frame at `at`.
    pub fn frame(&self, at: FrameIdx) -> &Frame {
        &self.frames[at.0 as usize]
    }

    /// An interned text.
    pub fn text(&self, at: TextIdx) -> &str {
        &self.texts[at.0 as usize]
    }

    /// The name of the task at `at`; `None` when it is unknown. It is data of a foreign process and
    /// may hold anything.
    pub fn name(&self, at: TaskIdx) -> Option<NameText<'_>> {
        match self.task(at).name {
            TaskName::Unknown => None,
            TaskName::Number(number) => Some(NameText::Number(number)),
            TaskName::Text(text) => Some(NameText::Text(self.text(text))),
        }
    }
}

/// A task's name, ready to be shown: `Display` gives what `task.get_name()` would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameText<'g> {
    /// The default name of this number.
    Number(u64),
    /// A given name.
    Text(&'g str),
}

impl fmt::Display for NameText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "Task-{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Indices are `u32`: `GraphBuilder` refuses to grow beyond.
fn as_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
