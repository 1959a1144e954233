//! The table of `ps` in our own style: columns as wide as their content, places by file and line.
//!
//! A cell wider than its column's limit pushes the rest of its own line to the right and no other line's.
//! Stacks of many frames are shown without their middle, and of long texts a part (`cut`). So lines have a
//! bound, whatever the process calls its tasks; a [`View`] bounds their number.

use super::cut::{self, Cache};
use super::cycles::{self, name};
use super::lines::{Ink, Lines};
use super::{View, nothing_to_show, width};
use crate::graph::{
    AwaitEdge, Cycles, Frame, Selection, StackIdx, TaskGraph, TaskIdx, TaskName, TaskState,
    TextIdx, Thread, find_cycles, select,
};
use crate::sanitize::{escape, push};
use std::fmt::{self, Write};
use std::rc::Rc;

/// The columns, and how wide each may become.
const COLUMNS: [(&str, usize); N_COLUMNS] = [
    ("interpreter", 20),
    ("tid", 20),
    ("task id", 20),
    ("task name", 60),
    ("state", 30),
    ("coroutine stack", 200),
    ("at", 120),
    ("awaiter chain", 200),
    ("awaiter name", 60),
    ("awaiter id", 20),
];
const N_COLUMNS: usize = 10;
const NAME: usize = 3;
const STATE: usize = 4;
const AWAITER_NAME: usize = 8;

/// So many rows decide how wide the columns are.
const ROWS_MEASURED_MAX: u64 = 100_000;

/// A stack of more frames is shown without its middle.
const FRAMES_MAX: usize = 16;
/// How many frames of either end are then shown.
const FRAMES_KEPT: usize = 6;

/// Prints the table to `out` and the cycles to `err`.
pub(super) fn ps(
    graph: &TaskGraph,
    view: &View<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<bool, fmt::Error> {
    let found = find_cycles(graph, cycles::CYCLES_MAX);
    let mut table = Table {
        graph,
        found: &found,
        selection: view.matches.map(|matches| select(graph, matches)),
        has_interpreters: graph
            .threads()
            .iter()
            .any(|t| t.interpreter_id != 0 && graph.tasks_of(t).len() > 0),
        awaiters_max: view.awaiters_max.unwrap_or(usize::MAX),
        names: Cache::new(),
        stacks: Cache::new(),
        places: Cache::new(),
    };
    let mut widths = COLUMNS.map(|(title, _)| title.len());
    let mut is_empty = true;
    table.each_row(ROWS_MEASURED_MAX, &mut |cells| {
        is_empty = false;
        for ((width, cell), (_, max)) in widths.iter_mut().zip(cells).zip(COLUMNS) {
            if cell.columns <= max {
                *width = (*width).max(cell.columns);
            }
        }
        Ok(())
    })?;
    let mut lines = Lines::new(out, view.lines_max, view.color);
    let is_shown = |column: usize| column != 0 || table.has_interpreters;
    for (column, (title, _)) in COLUMNS.iter().enumerate().filter(|(at, _)| is_shown(*at)) {
        lines.text().push_str(title);
        let last = column + 1 == N_COLUMNS;
        let width = if last { 0 } else { widths[column] + 2 };
        width::pad(lines.text(), title.len(), width);
    }
    lines.end()?;
    let shown = (0..N_COLUMNS).filter(|at| is_shown(*at));
    let total: usize = shown.map(|at| widths[at] + 2).sum();
    lines.text().extend(std::iter::repeat_n('-', total - 2));
    lines.end()?;
    let first_column = usize::from(!table.has_interpreters);
    let rows_max = view.lines_max.unwrap_or(u64::MAX);
    let n_left_out = table.each_row(rows_max, &mut |cells| {
        write_row(&mut lines, &cells[first_column..], &widths[first_column..])
    })?;
    let n_left_out = n_left_out + lines.left_out();
    if is_empty {
        lines.last(Ink::Note, nothing_to_show(graph))?;
    }
    if n_left_out > 0 {
        let note = format!("… {n_left_out} more lines not shown");
        lines.last(Ink::Note, &note)?;
    }
    cycles::report(graph, &found, err)
}

fn write_row(lines: &mut Lines<'_>, cells: &[Cell], widths: &[usize]) -> fmt::Result {
    let end = cells.iter().rposition(|cell| cell.columns > 0);
    let end = end.map_or(0, |at| at + 1);
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate().take(end) {
        match cell.ink {
            Some(ink) => lines.ink(ink, &cell.text),
            None => lines.text().push_str(&cell.text),
        }
        if at + 1 < end {
            width::pad(lines.text(), cell.columns, width + 2);
            if cell.columns > *width {
                lines.text().push_str("  ");
            }
        }
    }
    lines.end()
}

/// Where a stack stands for a person: its innermost frame outside the `asyncio` package itself, whose
/// own frames (`sleep`, `TaskGroup.__aexit__`) are the same in every program; else the innermost.
pub(super) fn place(graph: &TaskGraph, stack: StackIdx) -> Option<&Frame> {
    let is_outside = |frame: &&Frame| {
        let file = frame.file.map_or("", |file| graph.text(file));
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        folder != "asyncio" && !folder.ends_with("/asyncio")
    };
    let mut frames = graph.stack(stack);
    frames
        .find(is_outside)
        .or_else(|| graph.stack(stack).next())
}

/// The text of one cell, its width and its color.
#[derive(Debug, Clone, Default)]
struct Cell {
    text: Rc<str>,
    columns: usize,
    ink: Option<Ink>,
}

impl Cell {
    fn new(text: impl Into<Rc<str>>) -> Self {
        let text = text.into();
        let columns = width::columns(&text);
        Self {
            text,
            columns,
            ink: None,
        }
    }

    fn ink(self, ink: Ink) -> Self {
        Self {
            ink: Some(ink),
            ..self
        }
    }
}

impl AsRef<str> for Cell {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

struct Table<'a> {
    graph: &'a TaskGraph,
    found: &'a Cycles,
    selection: Option<Selection>,
    has_interpreters: bool,
    awaiters_max: usize,
    names: Cache<TextIdx, Cell>,
    stacks: Cache<StackIdx, Cell>,
    places: Cache<StackIdx, Cell>,
}

impl Table<'_> {
    /// Hands out the rows of one task after the other, until there were `rows_max`; returns how many there
    /// are beyond.
    fn each_row(
        &mut self,
        rows_max: u64,
        row: &mut dyn FnMut(&[Cell; N_COLUMNS]) -> fmt::Result,
    ) -> Result<u64, fmt::Error> {
        let graph = self.graph;
        let (mut n_rows, mut n_beyond) = (0, 0);
        for thread in graph.threads() {
            for at in graph.tasks_of(thread) {
                if self
                    .selection
                    .as_ref()
                    .is_some_and(|tasks| !tasks.contains(at))
                {
                    continue;
                }
                let awaiters = graph.awaiters(at);
                let n_shown = awaiters.len().min(self.awaiters_max);
                let n_more = awaiters.len() - n_shown;
                let n_of_task = (n_shown + usize::from(n_more > 0)).max(1) as u64;
                if n_rows >= rows_max {
                    n_beyond += n_of_task;
                    continue;
                }
                n_rows += n_of_task;
                let mut cells = self.task(thread, at);
                if awaiters.is_empty() {
                    row(&cells)?;
                }
                for edge in &awaiters[..n_shown] {
                    self.awaiter(&mut cells, at, edge);
                    row(&cells)?;
                }
                if n_more > 0 {
                    cells[AWAITER_NAME - 1] = Cell::default();
                    cells[AWAITER_NAME] = Cell::new(format!("(and {n_more} more)")).ink(Ink::Note);
                    cells[AWAITER_NAME + 1] = Cell::default();
                    row(&cells)?;
                }
            }
        }
        Ok(n_beyond)
    }

    fn task(&mut self, thread: &Thread, at: TaskIdx) -> [Cell; N_COLUMNS] {
        let task = self.graph.task(at);
        let mut cells = [const { None }; N_COLUMNS].map(|_: Option<()>| Cell::default());
        cells[0] = Cell::new(thread.interpreter_id.to_string());
        cells[1] = Cell::new(thread.tid.to_string());
        cells[2] = Cell::new(task.id.to_string());
        cells[NAME] = self.name(at).ink(Ink::Name);
        cells[STATE] = state(self.graph, at);
        cells[5] = self.stack(task.stack);
        cells[6] = self.place(task.stack);
        cells
    }

    fn awaiter(&mut self, cells: &mut [Cell; N_COLUMNS], at: TaskIdx, edge: &AwaitEdge) {
        let at = self.graph.entry(at);
        cells[7] = self.stack(edge.stack);
        cells[AWAITER_NAME] = match edge.awaiter_task {
            None => Cell::new("(not in the list)").ink(Ink::Note),
            Some(awaiter) if self.found.is_cyclic(awaiter, at) => {
                Cell::new(format!("↻ {}", name(self.graph, awaiter))).ink(Ink::Cycle)
            }
            Some(awaiter) => self.name(awaiter),
        };
        cells[9] = Cell::new(edge.awaiter.to_string());
    }

    fn name(&mut self, at: TaskIdx) -> Cell {
        let graph = self.graph;
        match graph.task(at).name {
            TaskName::Unknown => Cell::new("(no name)"),
            TaskName::Number(_) => Cell::new(name(graph, at)),
            TaskName::Text(text) => self.names.get(text, || Cell::new(name(graph, at))),
        }
    }

    fn stack(&mut self, stack: StackIdx) -> Cell {
        let graph = self.graph;
        self.stacks.get(stack, || {
            let frames = graph.stack_frame_indices(stack);
            let mut text = String::new();
            for (at, frame) in frames.iter().enumerate() {
                let is_hidden = frames.len() > FRAMES_MAX
                    && (FRAMES_KEPT..frames.len() - FRAMES_KEPT).contains(&at);
                if is_hidden && at > FRAMES_KEPT {
                    continue;
                }
                text.push_str(if at == 0 { "" } else { " -> " });
                if is_hidden {
                    let n = frames.len() - 2 * FRAMES_KEPT;
                    write!(text, "… {n} more …").expect("writing to a String does not fail");
                } else {
                    push(
                        &mut text,
                        &cut::start(graph.text(graph.frame(*frame).function)),
                    );
                }
            }
            Cell::new(text)
        })
    }

    fn place(&mut self, stack: StackIdx) -> Cell {
        let graph = self.graph;
        self.places.get(stack, || {
            let Some(frame) = place(graph, stack) else {
                return Cell::default();
            };
            let file = cut::end(frame.file.map_or("", |file| graph.text(file)));
            match frame.line {
                Some(line) if file.is_empty() => Cell::new(format!("line {line}")),
                None => Cell::new(escape(&file)),
                Some(line) => Cell::new(format!("{}:{line}", escape(&file))),
            }
        })
    }
}

fn state(graph: &TaskGraph, at: TaskIdx) -> Cell {
    let task = graph.task(at);
    let state = match task.state {
        TaskState::Pending => "pending",
        TaskState::Created => "never started",
        TaskState::Suspended => "suspended",
        TaskState::Running => "running",
    };
    let is_worth_a_look =
        task.cancelling || matches!(task.state, TaskState::Running | TaskState::Created);
    let cell = match task.cancelling {
        true => Cell::new(format!("{state}, being cancelled")),
        false => Cell::new(state),
    };
    match is_worth_a_look {
        true => cell.ink(Ink::State),
        false => cell,
    }
}
