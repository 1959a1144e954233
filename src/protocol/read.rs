//! The reader: JSON to a snapshot, or what is wrong with it and where. It reads from beginning to end
//! and keeps nothing but the graph (`fill`).

use super::SNAPSHOT_BYTES_MAX;
use super::dto::{Object, Problem, Process, Stats};
use super::error::SnapshotFormatError;
use super::fill::{Around, Filler, Root};
use super::scalar::Count;
use super::text::{Cut, Utf8};
use crate::graph::{self, ProcessInfo, ReadStats, Snapshot, TaskGraph};
use crate::ids::StartTime;
use crate::limits::LimitsHit;
use serde::de::DeserializeSeed as _;
use serde_path_to_error::Track;
use std::io;

/// Reads a snapshot that is in memory.
///
/// # Errors
///
/// When the bytes are not JSON of the schema.
pub fn read_snapshot(bytes: &[u8]) -> Result<Snapshot, SnapshotFormatError> {
    read_snapshot_from(bytes).expect("memory can always be read")
}

/// Reads a snapshot of at most [`SNAPSHOT_BYTES_MAX`] bytes.
///
/// # Errors
///
/// The outer one when `from` cannot be read; the inner one when what was read is not JSON of the schema.
pub fn read_snapshot_from(
    from: impl io::Read,
) -> io::Result<Result<Snapshot, SnapshotFormatError>> {
    let mut text = Utf8::new(from, SNAPSHOT_BYTES_MAX);
    let mut filler = Filler::default();
    let read = read_all(&mut text, &mut filler);
    let is_blank = text.is_blank();
    match text.cut() {
        Some(Cut::Unreadable(error)) => Err(error),
        Some(Cut::NotText(error)) => Ok(Err(error)),
        None if is_blank => Ok(Err(SnapshotFormatError::Empty)),
        None => Ok(read.map(|around| snapshot_of(around, filler.finish()))),
    }
}

fn read_all(text: impl io::Read, filler: &mut Filler) -> Result<Around, SnapshotFormatError> {
    let mut json = serde_json::Deserializer::from_reader(text);
    let mut track = Track::new();
    let around = Root(filler)
        .deserialize(serde_path_to_error::Deserializer::new(
            &mut json, &mut track,
        ))
        .map_err(|error| json_error(&error, &track.path().to_string()))?;
    json.end().map_err(|error| json_error(&error, ""))?;
    Ok(around)
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

fn snapshot_of(around: Around, graph: TaskGraph) -> Snapshot {
    let Around {
        process,
        complete,
        problems,
        stats,
    } = around;
    let problems: Vec<_> = problems
        .unwrap_or_default()
        .into_iter()
        .map(|Object(problem)| problem_of(problem))
        .collect();
    Snapshot {
        process: process_of(process.unwrap_or_default()),
        graph: graph.into(),
        stats: stats_of(&stats.unwrap_or_default(), problems.len()),
        complete: complete.unwrap_or(problems.is_empty()),
        problems,
    }
}

fn process_of(process: Process) -> ProcessInfo {
    ProcessInfo {
        pid: process.pid.map(|pid| pid.0),
        start_time: process.start_time.map(|start| StartTime(start.0)),
        python_version: process.python_version.map(|text| text.0),
        free_threaded: process.free_threaded,
    }
}

fn problem_of(problem: Problem) -> graph::Problem {
    graph::Problem {
        code: problem.code.0,
        message: problem.message.map(|text| text.0).unwrap_or_default(),
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
        tasks_counted: count(stats.tasks_counted),
        tasks_ended: count(stats.tasks_ended),
        edges_ended: count(stats.edges_ended),
        problems: stats.problems.map_or(n_problems as u64, |count| count.0),
        restarts: count(stats.restarts),
        limits_hit: LimitsHit::default(),
        lists_cut: 0,
        running_loops: 0,
        duration: stats.duration_seconds.map(|seconds| seconds.0),
        paused: stats.paused_seconds.map(|seconds| seconds.0),
    }
}
