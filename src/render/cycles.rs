//! The report of await cycles on the error output, in our own style.

use super::cut;
use crate::graph::{Cycle, Cycles, NameText, TaskGraph, TaskIdx, find_cycles, find_deadlocks};
use crate::sanitize::escape;
use std::borrow::Cow;
use std::fmt::{self, Write};

/// Cycles told one by one.
pub(super) const CYCLES_MAX: usize = 100;
/// A longer cycle is told without its middle.
const TASKS_MAX: usize = 100;
/// How many tasks at either end are then told.
const TASKS_KEPT: usize = 20;

/// Prints the await cycles of the whole graph to `err`: a line that says what they are, then one line
/// for each. Prints nothing when there are none. Tells whether there are any. [`ps`](super::ps) and
/// [`pstree`](super::pstree) do this themselves; it is for outputs that have no place for it.
///
/// # Errors
///
/// Those of the writer.
pub fn report_cycles(graph: &TaskGraph, err: &mut dyn Write) -> Result<bool, fmt::Error> {
    report(graph, &find_cycles(graph, CYCLES_MAX), err)
}

pub(super) fn report(
    graph: &TaskGraph,
    found: &Cycles,
    err: &mut dyn Write,
) -> Result<bool, fmt::Error> {
    match found.len() {
        0 => return Ok(false),
        1 => writeln!(
            err,
            "the await graph has a cycle: these tasks wait for one another"
        )?,
        n => writeln!(
            err,
            "the await graph has {n} cycles: these tasks wait for one another"
        )?,
    }
    let deadlocks = find_deadlocks(graph, found, 0);
    for cycle in &found.cycles {
        let may_end = !deadlocks.as_ref().is_some_and(|it| it.holds(graph, cycle));
        line(graph, cycle, may_end, err)?;
    }
    if found.omitted > 0 {
        writeln!(err, "… and {} more cycles", found.omitted)?;
    }
    Ok(true)
}

fn line(graph: &TaskGraph, cycle: &Cycle, may_end: bool, err: &mut dyn Write) -> fmt::Result {
    let tasks = &cycle.tasks;
    err.write_str(match may_end {
        // It has a timeout, or a task on it waits for others as well, or for something else just now.
        true => "cycle that may end by itself: ",
        false => "cycle: ",
    })?;
    let (begin, end) = match tasks.len() {
        n if n > TASKS_MAX => (&tasks[..TASKS_KEPT], &tasks[n - TASKS_KEPT..]),
        _ => (&tasks[..], &tasks[..0]),
    };
    for task in begin {
        write!(err, "{} → ", name(graph, *task))?;
    }
    if !end.is_empty() {
        write!(err, "… {} more tasks … → ", tasks.len() - 2 * TASKS_KEPT)?;
    }
    for task in end {
        write!(err, "{} → ", name(graph, *task))?;
    }
    match tasks.first() {
        Some(first) => writeln!(err, "{}", name(graph, *first)),
        None => err.write_str("\n"),
    }
}

/// A task's name made safe to show, and not too long for it; its id when it has none.
pub(super) fn name(graph: &TaskGraph, at: TaskIdx) -> Cow<'_, str> {
    match graph.name(at) {
        None => graph.task(at).id.to_string().into(),
        Some(NameText::Text(text)) if cut::is_long(text) => {
            escape(&cut::start(text)).into_owned().into()
        }
        Some(NameText::Text(text)) => escape(text),
        Some(number) => number.to_string().into(),
    }
}
