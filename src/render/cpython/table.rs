//! The table of `ps` in the styles of CPython.

use super::super::labels::{function, shown_frames};
use super::{Style, View, name, shown};
use crate::graph::{StackIdx, TaskGraph, TaskIdx, select};
use crate::ids::{TaskId, Tid};
use crate::render::cut::Cache;
use crate::render::lines::Lines;
use std::fmt::{self, Write};
use std::rc::Rc;

/// Prints the table.
pub(in crate::render) fn ps(
    graph: &TaskGraph,
    style: Style,
    view: &View<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> fmt::Result {
    let selection = view.matches.map(|matches| select(graph, matches));
    let mut table = Table {
        graph,
        style,
        view,
        chains: Cache::new(),
        lines: Lines::new(out, view.lines_max, false),
    };
    table.head()?;
    for thread in graph.threads() {
        for at in graph.tasks_of(thread) {
            if selection.as_ref().is_none_or(|tasks| tasks.contains(at)) {
                table.task(thread.tid, at)?;
            }
        }
    }
    match table.lines.left_out() {
        0 => Ok(()),
        n => writeln!(err, "… {n} more lines not shown"),
    }
}

struct Table<'a, 'o> {
    graph: &'a TaskGraph,
    style: Style,
    view: &'a View<'a>,
    chains: Cache<StackIdx, Rc<str>>,
    lines: Lines<'o>,
}

impl Table<'_, '_> {
    fn head(&mut self) -> fmt::Result {
        let line = self.lines.text();
        write!(line, "{:<10} {:<20} {:<20} ", "tid", "task id", "task name")?;
        let dashes = match self.style {
            Style::Classic => {
                write!(line, "{:<50} {:<20} ", "coroutine chain", "awaiter name")?;
                135
            }
            Style::Agent | Style::Cpython => {
                write!(line, "{:<50} {:<50} ", "coroutine stack", "awaiter chain")?;
                write!(line, "{:<15} ", "awaiter name")?;
                180
            }
        };
        write!(line, "{:<15}", "awaiter id")?;
        self.lines.end()?;
        write!(self.lines.text(), "{:-<dashes$}", "")?;
        self.lines.end()
    }

    fn task(&mut self, tid: Tid, at: TaskIdx) -> fmt::Result {
        let graph = self.graph;
        let awaiters = graph.awaiters(at);
        if awaiters.is_empty() {
            return self.row(tid, at, StackIdx::EMPTY, "", TaskId(0));
        }
        for edge in awaiters {
            match edge.awaiter_task {
                None => self.row(tid, at, edge.stack, "Unknown", edge.awaiter)?,
                Some(awaiter) => {
                    let awaiter = name(graph, awaiter, self.view);
                    self.row(tid, at, edge.stack, &awaiter, edge.awaiter)?;
                }
            }
        }
        Ok(())
    }

    fn row(
        &mut self,
        tid: Tid,
        at: TaskIdx,
        awaiter_stack: StackIdx,
        awaiter: &str,
        awaiter_id: TaskId,
    ) -> fmt::Result {
        let task = self.graph.task(at);
        let name = name(self.graph, at, self.view);
        let (id, awaiter_id) = (task.id.to_string(), awaiter_id.to_string());
        let chain = self.chain(awaiter_stack);
        let own = self.chain(task.stack);
        let line = self.lines.text();
        write!(line, "{:<10} {id:<20} {name:<20} ", tid.0)?;
        match self.style {
            Style::Classic => write!(line, "{chain:<50} {awaiter:<20} ")?,
            Style::Agent | Style::Cpython => {
                write!(line, "{own:<50} {chain:<50} {awaiter:<15} ")?;
            }
        }
        write!(line, "{awaiter_id:<15}")?;
        self.lines.end()
    }

    fn chain(&mut self, stack: StackIdx) -> Rc<str> {
        let Self {
            graph, style, view, ..
        } = *self;
        self.chains.get(stack, || {
            let mut chain = String::new();
            for (at, frame) in shown_frames(graph, style, stack).iter().enumerate() {
                chain.push_str(if at == 0 { "" } else { " -> " });
                chain.push_str(&shown(function(graph, style, graph.frame(*frame)), view));
            }
            chain.into()
        })
    }
}
