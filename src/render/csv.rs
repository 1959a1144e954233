//! The table of `ps` as CSV, for machines: one record for each awaiter of each task.
//!
//! Quoting follows RFC 4180; records end with a line feed, as tools of this system expect. Fields are
//! never changed: a name that begins with `=` is written as it is, because a mark against spreadsheet
//! formulas would corrupt the data for everyone else. Open such a file in a spreadsheet by importing
//! its columns as text. Only on a terminal are control characters escaped.

use super::View;
use super::cut::Cache;
use super::cycles::CYCLES_MAX;
use super::table::place;
use crate::graph::{
    AwaitEdge, StackIdx, TaskGraph, TaskIdx, TaskState, Thread, find_cycles, select,
};
use crate::sanitize::escape;
use std::fmt::{self, Write};
use std::rc::Rc;

const HEAD: &str = "interpreter_id,tid,task_id,task_name,state,cancelling,coroutine_stack,filename,\
lineno,awaiting,awaiter_chain,awaiter_name,awaiter_id,awaiter_is_listed,in_cycle";

/// Prints the table as CSV to `out`. Tells whether tasks await one another in a circle;
/// [`report_cycles`](super::report_cycles) tells which.
///
/// # Errors
///
/// Those of the writer.
pub fn ps_csv(graph: &TaskGraph, view: &View<'_>, out: &mut dyn Write) -> Result<bool, fmt::Error> {
    let found = find_cycles(graph, CYCLES_MAX);
    let selection = view.matches.map(|matches| select(graph, matches));
    let mut records = Records {
        graph,
        raw_names: view.raw_names,
        chains: Cache::new(),
        line: String::new(),
    };
    writeln!(out, "{HEAD}")?;
    for thread in graph.threads() {
        for at in graph.tasks_of(thread) {
            if selection.as_ref().is_some_and(|tasks| !tasks.contains(at)) {
                continue;
            }
            if graph.awaiters(at).is_empty() {
                out.write_str(records.record(thread, at, None, false))?;
            }
            for edge in graph.awaiters(at) {
                let in_cycle = edge
                    .awaiter_task
                    .is_some_and(|awaiter| found.is_cyclic(awaiter, graph.entry(at)));
                out.write_str(records.record(thread, at, Some(edge), in_cycle))?;
            }
        }
    }
    Ok(!found.is_empty())
}

struct Records<'g> {
    graph: &'g TaskGraph,
    raw_names: bool,
    chains: Cache<StackIdx, Rc<str>>,
    line: String,
}

impl Records<'_> {
    fn record(
        &mut self,
        thread: &Thread,
        at: TaskIdx,
        edge: Option<&AwaitEdge>,
        in_cycle: bool,
    ) -> &str {
        let graph = self.graph;
        let task = graph.task(at);
        self.line.clear();
        self.field(&thread.interpreter_id.to_string());
        self.field(&thread.tid.to_string());
        self.field(&task.id.to_string());
        self.name(Some(at));
        self.field(match task.state {
            TaskState::Pending => "pending",
            TaskState::Created => "created",
            TaskState::Suspended => "suspended",
            TaskState::Running => "running",
        });
        self.field(if task.cancelling { "true" } else { "false" });
        self.chain(task.stack);
        let place = place(graph, task.stack);
        let file = place.and_then(|frame| frame.file);
        self.field(file.map_or("", |file| graph.text(file)));
        let line = place.and_then(|frame| frame.line);
        self.field(&line.map_or_else(String::new, |line| line.to_string()));
        self.field(task.awaiting.map_or("", |kind| graph.text(kind)));
        self.chain(edge.map_or(StackIdx::EMPTY, |edge| edge.stack));
        self.name(edge.and_then(|edge| edge.awaiter_task));
        self.field(&edge.map_or_else(String::new, |edge| edge.awaiter.to_string()));
        self.field(match edge.map(|edge| edge.awaiter_task) {
            None => "",
            Some(None) => "false",
            Some(Some(_)) => "true",
        });
        self.field(if in_cycle { "true" } else { "false" });
        self.line.pop();
        self.line.push('\n');
        &self.line
    }

    fn name(&mut self, at: Option<TaskIdx>) {
        let name = at.and_then(|at| self.graph.name(at));
        self.field(&name.map_or_else(String::new, |name| name.to_string()));
    }

    /// Appends the field of a stack. Most tasks share theirs, so the finished fields are kept.
    fn chain(&mut self, stack: StackIdx) {
        let Self {
            graph, raw_names, ..
        } = *self;
        let field = self.chains.get(stack, || {
            let functions: Vec<&str> = graph
                .stack(stack)
                .map(|frame| graph.text(frame.function))
                .collect();
            let mut field = String::new();
            push_field(&mut field, &functions.join(" -> "), raw_names);
            field.into()
        });
        self.line.push_str(&field);
    }

    /// Appends a field and a comma.
    fn field(&mut self, text: &str) {
        push_field(&mut self.line, text, self.raw_names);
    }
}

fn push_field(line: &mut String, text: &str, raw_names: bool) {
    let shown = if raw_names { text.into() } else { escape(text) };
    if shown.contains(['"', ',', '\n', '\r']) || shown.starts_with(' ') || shown.ends_with(' ') {
        line.push('"');
        line.push_str(&shown.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(&shown);
    }
    line.push(',');
}
