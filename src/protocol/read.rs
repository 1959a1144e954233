//! The reader: JSON bytes to a snapshot, or what is wrong with them and where.

use super::dto::{Frame, Object, Problem, Process, Root, Stats, Task, Thread};
use super::error::SnapshotFormatError;
use super::scalar::{Count, Text};
use crate::graph::{
    self, FrameIdx, GraphBuilder, NewFrame, NewTask, ProcessInfo, ReadStats, Snapshot, StackIdx,
    TaskName,
};
use crate::ids::{StartTime, Tid};

/// Reads a snapshot.
///
/// # Errors
///
/// When the bytes are not JSON of the schema.
pub fn read_snapshot(bytes: &[u8]) -> Result<Snapshot, SnapshotFormatError> {
    let text = text_of(bytes)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let Object(root) = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| json_error(error.inner(), &error.path().to_string()))?;
    deserializer.end().map_err(|error| json_error(&error, ""))?;
    Ok(snapshot_of(root))
}

/// The bytes as text, if they are UTF-8 that JSON can begin with.
fn text_of(bytes: &[u8]) -> Result<&str, SnapshotFormatError> {
    if bytes.trim_ascii().is_empty() {
        return Err(SnapshotFormatError::Empty);
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(SnapshotFormatError::ByteOrderMark);
    }
    // JSON text never holds a NUL byte, and in the wide encodings one of its first two is NUL.
    let is_marked = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    if is_marked || bytes.iter().take(2).any(|byte| *byte == 0) {
        return Err(SnapshotFormatError::WideText);
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line_start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        SnapshotFormatError::NotUtf8 {
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: 1 + before.len() - line_start,
        }
    })
}

/// The error in JSON's words: the JSON library speaks of maps and sequences. It also calls the whole
/// file `.`, and a place between two fields `?`.
fn json_error(error: &serde_json::Error, path: &str) -> SnapshotFormatError {
    let path = path.strip_suffix('?').unwrap_or(path);
    let path = path.strip_suffix('.').unwrap_or(path);
    let (line, column) = (error.line(), error.column());
    let whole = error.to_string();
    let what = whole
        .strip_suffix(&format!(" at line {line} column {column}"))
        .unwrap_or(&whole);
    let what = [
        ("invalid type: map,", "invalid type: object,"),
        ("invalid type: sequence,", "invalid type: array,"),
    ]
    .iter()
    .find_map(|(theirs, ours)| Some(format!("{ours}{}", what.strip_prefix(theirs)?)))
    .unwrap_or_else(|| what.to_owned());
    let what = match what.strip_suffix(", expected a sequence") {
        Some(found) => format!("{found}, expected an array"),
        None => what,
    };
    let what = if error.is_eof() {
        format!("cut off: {what}")
    } else {
        what
    };
    SnapshotFormatError::Json {
        line,
        column,
        path: shortened(path),
        what: shortened(&what),
    }
}

/// The text without its middle if it is long: a message may quote a whole name or key of the file.
fn shortened(text: &str) -> String {
    const PART_CHARS: usize = 240;
    let mut starts = text.char_indices().map(|(at, _)| at);
    let (head, tail) = (starts.nth(PART_CHARS), starts.nth_back(PART_CHARS));
    match (head, tail) {
        (Some(head), Some(tail)) => format!("{}...{}", &text[..head], &text[tail..]),
        _ => text.to_owned(),
    }
}

fn snapshot_of(root: Root<'_>) -> Snapshot {
    let Root {
        schema_version: _,
        process,
        complete,
        problems,
        stats,
        threads,
    } = root;
    let problems: Vec<_> = problems
        .unwrap_or_default()
        .into_iter()
        .map(|Object(problem)| problem_of(problem))
        .collect();
    let mut filler = Filler::default();
    for Object(thread) in threads {
        filler.add_thread(thread);
    }
    let stats = stats.map(|Object(stats)| stats).unwrap_or_default();
    Snapshot {
        process: process_of(process.map(|Object(process)| process).unwrap_or_default()),
        graph: filler.builder.finish().into(),
        stats: stats_of(&stats, problems.len()),
        complete: complete.unwrap_or(problems.is_empty()),
        problems,
    }
}

fn process_of(process: Process<'_>) -> ProcessInfo {
    ProcessInfo {
        pid: process.pid.map(|pid| pid.0),
        start_time: process.start_time.map(|start| StartTime(start.0)),
        python_version: process.python_version.map(|text| text.0.into_owned()),
        free_threaded: process.free_threaded,
    }
}

fn problem_of(problem: Problem<'_>) -> graph::Problem {
    graph::Problem {
        code: problem.code.0.into_owned(),
        message: problem
            .message
            .map(|text| text.0.into_owned())
            .unwrap_or_default(),
        at: problem.at.map(|at| at.0.0),
    }
}

/// The counters; a file that lists problems without counting them has as many as it lists.
fn stats_of(stats: &Stats, n_problems: usize) -> ReadStats {
    let count = |count: Option<Count>| count.map_or(0, |count| count.0);
    ReadStats {
        syscalls: count(stats.syscalls),
        bytes_read: count(stats.bytes_read),
        tasks_unreadable: count(stats.tasks_unreadable),
        tasks_ended: count(stats.tasks_ended),
        problems: stats.problems.map_or(n_problems as u64, |count| count.0),
        restarts: count(stats.restarts),
        duration: stats.duration_seconds.map(|seconds| seconds.0),
        paused: stats.paused_seconds.map(|seconds| seconds.0),
    }
}

/// Fills a graph with what a file lists.
#[derive(Default)]
struct Filler {
    builder: GraphBuilder,
    /// The stack being interned; kept for its memory.
    frames: Vec<FrameIdx>,
}

impl Filler {
    fn add_thread(&mut self, thread: Thread<'_>) {
        let interpreter_id = thread.interpreter_id.map_or(0, |id| id.0);
        let tid = Tid(thread.thread_id.map_or(0, |id| id.0));
        self.builder.begin_thread(interpreter_id, tid);
        for Object(task) in thread.tasks {
            self.add_task(task);
        }
    }

    fn add_task(&mut self, task: Task<'_>) {
        let word = task.state.map(|state| state.0).unwrap_or_default();
        let name = match &task.task_name {
            None => TaskName::Unknown,
            Some(Text(name)) => self.builder.name(name),
        };
        let awaiting = task.awaiting.map(|text| self.builder.text(&text.0));
        let stack = self.stack(task.coroutine_stack);
        let at = self.builder.add_task(NewTask {
            id: task.task_id.0,
            name,
            state: word.state,
            cancelling: word.cancelling || task.cancelling.unwrap_or(false),
            stack,
            awaiting,
        });
        for Object(awaiter) in task.awaited_by.unwrap_or_default() {
            let stack = self.stack(awaiter.call_stack);
            self.builder.add_edge(at, awaiter.task_id.0, stack);
        }
    }

    fn stack(&mut self, frames: Option<Vec<Frame<'_>>>) -> StackIdx {
        self.frames.clear();
        for frame in frames.unwrap_or_default() {
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
}
