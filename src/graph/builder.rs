//! Building a [`TaskGraph`]: interning while tasks are added, resolving awaiters at the end.

use super::{
    AwaitEdge, Frame, FrameIdx, StackIdx, Task, TaskGraph, TaskIdx, TaskName, TaskState, TextIdx,
    Thread, Via, as_u32,
};
use crate::ids::{AddressMap, TaskId, Tid};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;

/// What a text takes beside its bytes: counts of who refers to it, and two places in which it stands.
const BYTES_PER_TEXT: usize = 64;

/// A task as a reader found it. Names and texts are interned with [`GraphBuilder::text`] before.
#[derive(Debug, Clone, Copy)]
pub struct NewTask {
    /// Its address.
    pub id: TaskId,
    /// Its name.
    pub name: TaskName,
    /// Where it stands.
    pub state: TaskState,
    /// Its cancellation was asked for.
    pub cancelling: bool,
    /// Its coroutine stack.
    pub stack: StackIdx,
    /// Type name of what the innermost frame waits on.
    pub awaiting: Option<TextIdx>,
}

/// A frame as a reader found it.
#[derive(Debug, Clone, Copy)]
pub struct NewFrame<'t> {
    /// Qualified name of the function.
    pub function: &'t str,
    /// File name.
    pub file: Option<&'t str>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// How the reader got to it.
    pub via: Via,
}

/// Collects threads, tasks and edges, and makes a [`TaskGraph`] of them.
#[derive(Debug)]
pub struct GraphBuilder {
    text_index: FxHashMap<Arc<str>, TextIdx>,
    texts: Vec<Arc<str>>,
    text_bytes: usize,
    frame_index: FxHashMap<Frame, FrameIdx>,
    frames: Vec<Frame>,
    stack_index: FxHashMap<Box<[FrameIdx]>, StackIdx>,
    stack_frames: Vec<FrameIdx>,
    stacks: Vec<Range<u32>>,
    threads: Vec<Thread>,
    tasks: Vec<Task>,
    edges: Vec<AwaitEdge>,
}

impl Default for GraphBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl GraphBuilder {
    /// An empty graph to fill.
    pub fn new() -> Self {
        let mut stack_index = FxHashMap::default();
        stack_index.insert(Box::default(), StackIdx::EMPTY);
        Self {
            text_index: FxHashMap::default(),
            texts: Vec::new(),
            text_bytes: 0,
            frame_index: FxHashMap::default(),
            frames: Vec::new(),
            stack_index,
            stack_frames: Vec::new(),
            stacks: vec![Range { start: 0, end: 0 }],
            threads: Vec::new(),
            tasks: Vec::new(),
            edges: Vec::new(),
        }
    }

    /// Makes room for so many tasks, with an edge each.
    pub fn reserve(&mut self, n_tasks: usize) {
        self.tasks.reserve(n_tasks);
        self.edges.reserve(n_tasks);
    }

    /// Makes room for so many edges.
    pub fn reserve_edges(&mut self, n_edges: usize) {
        self.edges.reserve(n_edges);
    }

    /// How many tasks were added.
    pub fn n_tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Interns a text.
    pub fn text(&mut self, text: &str) -> TextIdx {
        if let Some(known) = self.text_index.get(text) {
            return *known;
        }
        let at = TextIdx(as_u32(self.texts.len()));
        self.text_bytes = self
            .text_bytes
            .saturating_add(text.len())
            .saturating_add(BYTES_PER_TEXT);
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.text_index.insert(text, at);
        at
    }

    /// About how many bytes of memory all texts take, and finding them.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// A task's name: a text that is what a default name is shown as becomes that default name,
    /// because CPython turns the one into the other as soon as somebody asks for it.
    pub fn name(&mut self, text: &str) -> TaskName {
        let number = text.strip_prefix("Task-").and_then(|digits| {
            let number: u64 = digits.parse().ok()?;
            (number.to_string() == digits).then_some(number)
        });
        number.map_or_else(|| TaskName::Text(self.text(text)), TaskName::Number)
    }

    /// Interns a frame.
    pub fn frame(&mut self, frame: NewFrame<'_>) -> FrameIdx {
        let frame = Frame {
            function: self.text(frame.function),
            file: frame.file.map(|file| self.text(file)),
            line: frame.line,
            via: frame.via,
        };
        let frames = &mut self.frames;
        *self.frame_index.entry(frame).or_insert_with(|| {
            frames.push(frame);
            FrameIdx(as_u32(frames.len() - 1))
        })
    }

    /// Interns a stack, given innermost frame first.
    pub fn stack(&mut self, innermost_first: &[FrameIdx]) -> StackIdx {
        if let Some(known) = self.stack_index.get(innermost_first) {
            return *known;
        }
        let at = StackIdx(as_u32(self.stacks.len()));
        let start = as_u32(self.stack_frames.len());
        self.stack_frames.extend_from_slice(innermost_first);
        self.stacks.push(start..as_u32(self.stack_frames.len()));
        self.stack_index.insert(innermost_first.into(), at);
        at
    }

    /// Notes that a task waits for something else than the tasks that it is noted to await: see
    /// [`Task::has_turn`].
    pub fn set_has_turn(&mut self, task: TaskIdx) {
        let task = usize::try_from(task.0).ok();
        if let Some(task) = task.and_then(|at| self.tasks.get_mut(at)) {
            task.has_turn = true;
        }
    }

    /// [`Task::waits_elsewhere`].
    pub fn set_waits_elsewhere(&mut self, task: TaskIdx) {
        let at = usize::try_from(task.0).ok();
        if let Some(task) = at.and_then(|at| self.tasks.get_mut(at)) {
            task.waits_elsewhere = true;
        }
    }

    /// An interned text.
    pub fn text_at(&self, at: TextIdx) -> Option<&str> {
        self.texts.get(at.0 as usize).map(|text| &**text)
    }

    /// The functions and files of the frames of a stack, innermost first.
    pub fn frames_of(&self, stack: StackIdx) -> impl Iterator<Item = (&str, &str)> {
        let range = self.stacks.get(stack.0 as usize);
        let range = range.map_or(0..0, |range| range.start as usize..range.end as usize);
        let frames = self.stack_frames.get(range).unwrap_or_default().iter();
        frames.filter_map(|frame| {
            let frame = self.frames.get(frame.0 as usize)?;
            let file = frame.file.and_then(|file| self.text_at(file));
            Some((self.text_at(frame.function)?, file.unwrap_or_default()))
        })
    }

    /// Begins the next thread; tasks added from now on are its own.
    pub fn begin_thread(&mut self, interpreter_id: i64, tid: Tid) {
        let start = as_u32(self.tasks.len());
        self.threads.push(Thread {
            interpreter_id,
            tid,
            runs: None,
            runs_loop: true,
            tasks: start..start,
        });
    }

    /// Says whether the thread begun last runs an event loop, as it is taken for.
    pub fn set_runs_loop(&mut self, runs_loop: bool) {
        if let Some(thread) = self.threads.last_mut() {
            thread.runs_loop = runs_loop;
        }
    }

    /// Says whose tasks those of the thread begun last are, when that was not known then.
    pub fn name_thread(&mut self, interpreter_id: i64, tid: Tid) {
        if let Some(thread) = self.threads.last_mut() {
            thread.interpreter_id = interpreter_id;
            thread.tid = tid;
        }
    }

    /// Adds a task to the thread begun last (to a thread 0 of interpreter 0 if there was none).
    pub fn add_task(&mut self, task: NewTask) -> TaskIdx {
        if self.threads.is_empty() {
            self.begin_thread(0, Tid(0));
        }
        let at = TaskIdx(as_u32(self.tasks.len()));
        let NewTask {
            id,
            name,
            state,
            cancelling,
            stack,
            awaiting,
        } = task;
        self.tasks.push(Task {
            id,
            name,
            state,
            cancelling,
            stack,
            awaiting,
            footing: 0,
            needs_one: false,
            has_turn: false,
            waits_elsewhere: false,
            awaiters: 0..0,
        });
        if let Some(thread) = self.threads.last_mut() {
            thread.tasks.end = as_u32(self.tasks.len());
        }
        at
    }

    /// Sets what a task stands on: see [`Task::footing`].
    pub fn set_footing(&mut self, task: TaskIdx, footing: u64) {
        let at = usize::try_from(task.0).ok();
        if let Some(task) = at.and_then(|at| self.tasks.get_mut(at)) {
            task.footing = footing;
        }
    }

    /// Notes that a task goes on as soon as one of what it awaits has ended: see [`Task::needs_one`].
    pub fn set_needs_one(&mut self, task: TaskIdx) {
        let at = usize::try_from(task.0).ok();
        if let Some(task) = at.and_then(|at| self.tasks.get_mut(at)) {
            task.needs_one = true;
        }
    }

    /// Notes that `awaited` is awaited by `awaiter`, whose coroutine stack is `stack`. May be called
    /// in any order; the edges of one task keep theirs.
    pub fn add_edge(&mut self, awaited: TaskIdx, awaiter: TaskId, stack: StackIdx) {
        self.edges.push(AwaitEdge {
            awaited,
            awaiter,
            awaiter_task: None,
            stack,
            is_loose: false,
        });
    }

    /// Notes that the awaiter of the edge added last can go on without the awaited: see
    /// [`AwaitEdge::is_loose`].
    pub fn loosen_edge(&mut self) {
        if let Some(edge) = self.edges.last_mut() {
            edge.is_loose = true;
        }
    }

    /// The finished graph.
    pub fn finish(self) -> TaskGraph {
        let Self {
            texts,
            frames,
            stack_frames,
            stacks,
            threads,
            mut tasks,
            mut edges,
            ..
        } = self;
        let mut by_id = AddressMap::with_capacity_and_hasher(tasks.len(), Default::default());
        by_id.extend(
            (0..)
                .map(TaskIdx)
                .zip(&tasks)
                .map(|(at, task)| (task.id, at)),
        );
        if !edges.is_sorted_by_key(|edge| edge.awaited) {
            edges.sort_by_key(|edge| edge.awaited);
        }
        let mut latest: Option<(TaskId, Option<TaskIdx>)> = None;
        for (at, edge) in edges.iter_mut().enumerate() {
            // Tasks that were started together have the same awaiter.
            edge.awaiter_task = match latest {
                Some((awaiter, task)) if awaiter == edge.awaiter => task,
                _ => by_id.get(&edge.awaiter).copied(),
            };
            latest = Some((edge.awaiter, edge.awaiter_task));
            let awaiters = &mut tasks[edge.awaited.as_usize()].awaiters;
            if awaiters.start == awaiters.end {
                awaiters.start = as_u32(at);
            }
            awaiters.end = as_u32(at + 1);
        }
        let (awaited_ranges, awaited) = index_by_awaiter(tasks.len(), &edges);
        TaskGraph {
            texts,
            frames,
            stack_frames,
            stacks,
            threads,
            tasks,
            edges,
            by_id,
            awaited_ranges,
            awaited,
        }
    }
}

/// For each task the positions of the edges whose awaiter it is, in their order, as ranges of one list.
fn index_by_awaiter(n_tasks: usize, edges: &[AwaitEdge]) -> (Vec<Range<u32>>, Vec<u32>) {
    let mut ranges = vec![0..0; n_tasks];
    for awaiter in edges.iter().filter_map(|edge| edge.awaiter_task) {
        ranges[awaiter.as_usize()].end += 1;
    }
    let mut next = 0;
    for range in &mut ranges {
        let n_awaited = range.end;
        *range = next..next;
        next += n_awaited;
    }
    let mut awaited = vec![0; next as usize];
    for (at, edge) in (0..).zip(edges) {
        if let Some(awaiter) = edge.awaiter_task {
            let end = &mut ranges[awaiter.as_usize()].end;
            awaited[*end as usize] = at;
            *end += 1;
        }
    }
    (ranges, awaited)
}
