//! Views of a task graph as text: the table of `ps`, the tree of `pstree`, CSV; and the spans of `trace`.
//!
//! Pure: a graph goes in, text comes out line by line, so that no view is ever held as a whole.
//! JSON belongs to `protocol`. Three styles: [`Style::Agent`] is our own; the other two are, byte for
//! byte, what tools of CPython print (module `cpython`).
//!
//! Names, functions and files are data of a foreign process. Whatever goes to a terminal has its
//! control characters written as visible escapes ([`escape`]). Our own style shows 200 characters of each;
//! all other forms are exact.

mod cpython;
mod csv;
mod cut;
mod cycles;
mod fold;
mod labels;
mod lines;
mod spans;
mod table;
mod tree;
mod width;

pub use crate::sanitize::escape;
pub use csv::ps_csv;
pub use cycles::report_cycles;
pub use spans::traces;

use crate::graph::TaskGraph;
use std::fmt;

/// Rows for the awaiters of one task in a table for people, unless they ask for all.
pub const AWAITERS_MAX: usize = 100;

/// How a view looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Style {
    /// Our own.
    #[default]
    Agent,
    /// What `python -m asyncio ps|pstree` of CPython 3.14 and 3.15 prints.
    Cpython,
    /// What the first version of those commands printed.
    Classic,
}

/// What to show of a graph.
#[derive(Clone, Copy, Default)]
pub struct View<'a> {
    /// Only the tasks whose name or one of whose functions passes; a tree also shows all that await
    /// them.
    pub matches: Option<&'a dyn Fn(&str) -> bool>,
    /// How many tasks deep a tree goes; the tasks that nobody awaits are the first level.
    pub depth: Option<u32>,
    /// How many lines are printed at most, the note of what was left out not counted. Not for CSV.
    pub lines_max: Option<u64>,
    /// How many awaiters of each task the table of [`Style::Agent`] has rows for; another row tells how
    /// many more there are. A graph can have as many awaits as there are pairs of tasks.
    pub awaiters_max: Option<usize>,
    /// Use colors (only [`Style::Agent`] has any).
    pub color: bool,
    /// Print names as they are even in the styles of CPython and in CSV: for pipes and files.
    /// [`Style::Agent`] always escapes.
    pub raw_names: bool,
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("matches", &self.matches.is_some())
            .field("depth", &self.depth)
            .field("lines_max", &self.lines_max)
            .field("awaiters_max", &self.awaiters_max)
            .field("color", &self.color)
            .field("raw_names", &self.raw_names)
            .finish()
    }
}

/// Prints the table of all tasks, one row for each awaiter of each, to `out`. Tells whether tasks
/// await one another in a circle; the styles of CPython do not look for that and answer no.
///
/// # Errors
///
/// Those of the two writers.
pub fn ps(
    graph: &TaskGraph,
    style: Style,
    view: &View<'_>,
    out: &mut dyn fmt::Write,
    err: &mut dyn fmt::Write,
) -> Result<bool, fmt::Error> {
    match style {
        Style::Agent => table::ps(graph, view, out, err),
        Style::Cpython | Style::Classic => {
            cpython::ps(graph, style, view, out, err).map(|()| false)
        }
    }
}

/// Prints who awaits whom as a tree to `out`, and await cycles to `err`. Tells whether there are any.
///
/// # Errors
///
/// Those of the two writers.
pub fn pstree(
    graph: &TaskGraph,
    style: Style,
    view: &View<'_>,
    out: &mut dyn fmt::Write,
    err: &mut dyn fmt::Write,
) -> Result<bool, fmt::Error> {
    match style {
        Style::Agent => tree::pstree(graph, view, out, err),
        Style::Cpython | Style::Classic => cpython::pstree(graph, style, view, out, err),
    }
}

/// What to print in our own style instead of nothing.
fn nothing_to_show(graph: &TaskGraph) -> &'static str {
    match graph.tasks().is_empty() {
        true => "(no tasks)",
        false => "(no task matches)",
    }
}
