//! Await cycles as CPython's tool finds them: same search, same order, same starting points.
//!
//! Tasks are known by id alone here, so one that is listed twice is one task, and awaiters that are
//! not listed take part.

use super::set_order::set_order;
use super::{Style, View, name};
use crate::graph::TaskGraph;
use crate::ids::TaskId;
use rustc_hash::FxHashMap;
use std::fmt::{self, Write};

/// Bytes of names printed at most: 20 million names of ordinary length. Python's tool ends with an error
/// when it is a thousand tasks deep, and cuts long names, so this cuts no output that one could want of it.
const NAMES_BYTES_MAX: usize = 256 << 20;

/// Prints the cycles of the graph to `err`; nothing when there are none. Tells whether there are any.
pub(super) fn report(
    graph: &TaskGraph,
    style: Style,
    view: &View<'_>,
    err: &mut dyn Write,
) -> Result<bool, fmt::Error> {
    let dash = if style == Style::Classic { '–' } else { '-' };
    let (mut is_first, mut n_bytes, mut n_left_out) = (true, 0_usize, 0_u64);
    Search::new(graph).run(&mut |cycle| {
        if is_first {
            writeln!(
                err,
                "ERROR: await-graph contains cycles {dash} cannot print a tree!\n"
            )?;
        }
        if n_bytes > NAMES_BYTES_MAX {
            n_left_out += 1;
            return Ok(());
        }
        is_first = false;
        err.write_str("cycle: ")?;
        for (at, id) in cycle.iter().chain(cycle.first()).enumerate() {
            if at > 0 {
                err.write_str(" → ")?;
            }
            match graph.find(*id).filter(|at| graph.name(*at).is_some()) {
                Some(at) => {
                    let name = name(graph, at, view);
                    n_bytes += name.len();
                    err.write_str(&name)?;
                }
                None => write!(err, "{id}")?,
            }
        }
        err.write_str("\n")
    })?;
    if n_left_out > 0 {
        writeln!(err, "… {n_left_out} more cycles not shown")?;
    }
    Ok(!is_first)
}

/// What a node of the search has been through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    /// On the path, at this position.
    Open(usize),
    Done,
}

struct Search {
    /// The awaiters in the order of their first edge.
    awaiters: Vec<TaskId>,
    /// What each awaits, in the order of the edges.
    awaited: FxHashMap<TaskId, Vec<u64>>,
    marks: FxHashMap<TaskId, Mark>,
    path: Vec<TaskId>,
}

impl Search {
    fn new(graph: &TaskGraph) -> Self {
        let mut awaiters = Vec::new();
        let mut awaited: FxHashMap<TaskId, Vec<u64>> = FxHashMap::default();
        for edge in graph.edges() {
            let id = graph.task(edge.awaited).id;
            let known = awaited.entry(edge.awaiter).or_insert_with(|| {
                awaiters.push(edge.awaiter);
                Vec::new()
            });
            known.push(id.0);
        }
        Self {
            awaiters,
            awaited,
            marks: FxHashMap::default(),
            path: Vec::new(),
        }
    }

    fn run(&mut self, found: &mut dyn FnMut(&[TaskId]) -> fmt::Result) -> fmt::Result {
        for start in std::mem::take(&mut self.awaiters) {
            if self.mark(start) != Mark::New {
                continue;
            }
            let mut levels = vec![self.open(start)];
            while let Some(level) = levels.last_mut() {
                let Some(next) = level.next() else {
                    levels.pop();
                    if let Some(done) = self.path.pop() {
                        self.marks.insert(done, Mark::Done);
                    }
                    continue;
                };
                let next = TaskId(next);
                match self.mark(next) {
                    Mark::New => levels.push(self.open(next)),
                    Mark::Open(at) => found(&self.path[at..])?,
                    Mark::Done => {}
                }
            }
        }
        Ok(())
    }

    fn mark(&self, id: TaskId) -> Mark {
        self.marks.get(&id).copied().unwrap_or(Mark::New)
    }

    fn open(&mut self, id: TaskId) -> std::vec::IntoIter<u64> {
        self.marks.insert(id, Mark::Open(self.path.len()));
        self.path.push(id);
        let awaited = self.awaited.remove(&id).unwrap_or_default();
        set_order(awaited).into_iter()
    }
}
