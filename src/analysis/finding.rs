//! What somebody should be told: an await cycle that lasts, a task that is stuck.

use super::coroutines::is_wrapper;
use crate::graph::{Frame, TaskGraph, TaskIdx, is_installed, is_python};
use crate::ids::TaskId;
use crate::time::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Tasks of a finding that are kept.
const TASKS_MAX: usize = 16;
/// Frames of each that are kept: the innermost ones, and the first one of the program itself if it is none of these.
const FRAMES_MAX: usize = 32;
/// Longer names are cut.
const TEXT_CHARS_MAX: usize = 256;

/// What kind of finding it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// Tasks await each other in a circle: none of them can ever go on.
    AwaitCycle,
    /// A task has waited at the same place for too long.
    StuckTask,
}

impl FindingKind {
    /// Its name in logs, labels and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AwaitCycle => "await_cycle",
            Self::StuckTask => "stuck_task",
        }
    }
}

/// Names one finding for as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Of which finding a task is part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// What kind it is.
    pub kind: FindingKind,
    /// Which one.
    pub fingerprint: Fingerprint,
}

/// Something that somebody should be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind it is.
    pub kind: FindingKind,
    /// Stays the same from round to round.
    pub fingerprint: Fingerprint,
    /// When it was first seen: by then it was there.
    pub first_seen: Timestamp,
    /// For how long it has been seen.
    pub age: Duration,
    /// The tasks. Of a cycle each awaits the next, the last awaits the first.
    pub tasks: Arc<[FindingTask]>,
    /// How many more there are.
    pub tasks_omitted: u64,
}

/// A task of a finding. Its texts are data of a foreign process and may hold anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingTask {
    /// Its address.
    pub id: TaskId,
    /// Its name; empty when it is not known.
    pub name: String,
    /// The qualified name of its coroutine function; empty when it is not known.
    pub coroutine: String,
    /// Its coroutine stack, innermost first, as far as it is kept.
    pub frames: Vec<FindingFrame>,
}

/// Where a frame stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingFrame {
    /// Qualified name of the function.
    pub function: String,
    /// Its file; empty when it is not known.
    pub file: String,
    /// The line, from 1.
    pub line: Option<u32>,
}

impl Finding {
    /// The same, seen for `age` by now.
    pub(super) fn aged(&self, age: Duration) -> Self {
        Self {
            age,
            ..self.clone()
        }
    }

    /// How many tasks it has.
    pub(super) fn n_tasks(&self) -> u64 {
        let n_kept = u64::try_from(self.tasks.len()).unwrap_or(u64::MAX);
        n_kept.saturating_add(self.tasks_omitted)
    }
}

impl FindingFrame {
    /// ` file:line`, as far as that is known.
    fn write_place(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            return Ok(());
        }
        write!(f, " {}", self.file)?;
        match self.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

/// As one line: `task (coroutine file:line, in Lock.acquire file:line)`, and of a cycle ` -> ... -> first task`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, task) in self.tasks.iter().enumerate() {
            if position > 0 {
                f.write_str(" -> ")?;
            }
            task.fmt(f)?;
        }
        match (self.tasks_omitted, self.tasks.is_empty()) {
            (0, _) => {}
            (omitted, true) => write!(f, "{omitted} tasks")?,
            (omitted, false) => write!(f, " -> ... {omitted} more")?,
        }
        match (self.kind, self.tasks.first()) {
            (FindingKind::AwaitCycle, Some(first)) => write!(f, " -> {}", first.name_or_id()),
            _ => Ok(()),
        }
    }
}

impl FindingTask {
    /// About how many bytes of memory it takes.
    fn bytes(&self) -> usize {
        let frame = |frame: &FindingFrame| {
            let texts = frame.function.len().saturating_add(frame.file.len());
            texts.saturating_add(size_of::<FindingFrame>())
        };
        let frames = self.frames.iter().map(frame).sum::<usize>();
        let texts = self.name.len().saturating_add(self.coroutine.len());
        frames
            .saturating_add(texts)
            .saturating_add(size_of::<Self>())
    }

    /// The same with the frames that it is told by only.
    fn brief(mut self) -> Self {
        let frames = self.inside().into_iter().chain(self.place());
        self.frames = frames.cloned().collect();
        self
    }

    /// Its name, or its address when that is not known.
    pub fn name_or_id(&self) -> String {
        match self.name.is_empty() {
            true => self.id.to_string(),
            false => self.name.clone(),
        }
    }

    /// Where the program waits, rather than where a library does that for it. If all of it is in libraries, the
    /// innermost place that is not in Python's own.
    pub fn place(&self) -> Option<&FindingFrame> {
        let frames = || self.frames.iter().filter(|frame| !is_python(&frame.file));
        let own = frames().find(|frame| !is_installed(&frame.file));
        own.or_else(|| frames().next())
            .or_else(|| self.frames.first())
    }

    /// Where it stands, which is the innermost line of a tree, if that is elsewhere than its [`place`](Self::place): in
    /// a library.
    pub fn inside(&self) -> Option<&FindingFrame> {
        let innermost = self.frames.first()?;
        let place = self.place()?;
        (!std::ptr::eq(innermost, place)).then_some(innermost)
    }
}

impl fmt::Display for FindingTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.name_or_id(), self.coroutine)?;
        if let Some(place) = self.place() {
            if place.function != self.coroutine {
                write!(f, ", in {}", place.function)?;
            }
            place.write_place(f)?;
        }
        if let Some(inside) = self.inside() {
            write!(f, ", in {}", inside.function)?;
            inside.write_place(f)?;
        }
        f.write_str(")")
    }
}

/// The tasks of a finding, as far as they are kept, and how many are not. `left` is the room that there is for them and for those of
/// further findings, in bytes.
pub(super) fn tasks_of(
    graph: &TaskGraph,
    tasks: &[TaskIdx],
    left: &mut usize,
) -> (Arc<[FindingTask]>, u64) {
    let kept = tasks.iter().take(TASKS_MAX).map_while(|at| {
        let task = task_of(graph, *at);
        let task = if task.bytes() > *left {
            task.brief()
        } else {
            task
        };
        *left = left.checked_sub(task.bytes())?;
        Some(task)
    });
    let kept: Arc<[FindingTask]> = kept.collect();
    let omitted = tasks.len().saturating_sub(kept.len());
    (kept, u64::try_from(omitted).unwrap_or(u64::MAX))
}

fn task_of(graph: &TaskGraph, at: TaskIdx) -> FindingTask {
    let task = graph.task(at);
    let file_of = |frame: &Frame| frame.file.map_or("", |file| graph.text(file));
    let is_own = |frame: &Frame| !is_python(file_of(frame)) && !is_installed(file_of(frame));
    let own = graph.stack(task.stack).position(is_own);
    let further = own.filter(|own| *own >= FRAMES_MAX);
    let innermost = graph.stack(task.stack).take(FRAMES_MAX);
    let further = further.and_then(|own| graph.stack(task.stack).nth(own));
    let frames = innermost.chain(further).map(|frame| FindingFrame {
        function: short(graph.text(frame.function)),
        file: short(file_of(frame)),
        line: frame.line,
    });
    FindingTask {
        id: task.id,
        name: graph
            .name(at)
            .map_or_else(String::new, |name| short(&name.to_string())),
        coroutine: short(coroutine_of(graph, at)),
        frames: frames.collect(),
    }
}

/// The qualified name of a task's coroutine function: of its outermost frame that is no wrapper.
pub(super) fn coroutine_of(graph: &TaskGraph, at: TaskIdx) -> &str {
    let frames = || graph.stack(graph.task(at).stack).rev();
    let mut names = frames().map(|frame| graph.text(frame.function));
    let outermost = names.next().unwrap_or_default();
    let is_own = |name: &&str| !is_wrapper(name);
    Some(outermost)
        .filter(is_own)
        .or_else(|| names.find(is_own))
        .unwrap_or(outermost)
}

fn short(text: &str) -> String {
    cut(text, TEXT_CHARS_MAX)
}

/// At most so many characters of a text, with `...` in place of what was cut.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}
