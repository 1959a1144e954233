//! The tree of `pstree` in the styles of CPython.

use super::{Style, View, cycles, name, shown};
use crate::graph::{Branch, Child, Selection, TaskGraph, TaskIdx, select};
use crate::render::labels::Labels;
use crate::render::lines::Lines;
use std::fmt::{self, Write};
use std::rc::Rc;

/// Prints the tree, or nothing but the cycles if there are any.
pub(in crate::render) fn pstree(
    graph: &TaskGraph,
    style: Style,
    view: &View<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<bool, fmt::Error> {
    if cycles::report(graph, style, view, err)? {
        return Ok(true);
    }
    let selection = view
        .matches
        .map(|matches| select(graph, matches).with_awaiters(graph));
    let mut tree = Tree {
        graph,
        style,
        view,
        selection,
        labels: Labels::new(graph, style),
        lines: Lines::new(out, view.lines_max, false),
        prefix: String::new(),
        is_cut: false,
    };
    for root in roots(graph) {
        if tree.is_selected(root) && tree.lines.left_out() == 0 {
            tree.root(root)?;
        }
    }
    if tree.is_cut || tree.lines.left_out() > 0 {
        writeln!(err, "… the tree is cut: not all of it is shown")?;
    }
    Ok(false)
}

/// The tasks that have no awaiter, listed or not, in the order in which their ids appear first.
fn roots(graph: &TaskGraph) -> impl Iterator<Item = TaskIdx> {
    let mut is_out = vec![false; graph.tasks().len()];
    for edge in graph.edges() {
        is_out[graph.entry(edge.awaited).as_usize()] = true;
    }
    graph.indices().filter_map(move |at| {
        let entry = graph.entry(at);
        let was_out = std::mem::replace(&mut is_out[entry.as_usize()], true);
        (!was_out).then_some(entry)
    })
}

/// A node whose children are being printed.
struct Level {
    branch: Rc<Branch>,
    node: u32,
    next: usize,
    /// How many tasks deep it is.
    depth: u32,
    /// Where the prefix of its own line ends.
    prefix_len: usize,
}

struct Tree<'a, 'o> {
    graph: &'a TaskGraph,
    style: Style,
    view: &'a View<'a>,
    selection: Option<Selection>,
    labels: Labels<'a>,
    lines: Lines<'o>,
    prefix: String,
    is_cut: bool,
}

impl Tree<'_, '_> {
    fn is_selected(&self, at: TaskIdx) -> bool {
        let selection = self.selection.as_ref();
        selection.is_none_or(|selection| selection.contains(at))
    }

    fn root(&mut self, root: TaskIdx) -> fmt::Result {
        self.task_line(root, true)?;
        let mut levels = Vec::new();
        self.prefix.clear();
        levels.extend(self.level(root, 1, true));
        while let Some(level) = levels.last_mut() {
            if self.lines.left_out() > 0 {
                break;
            }
            let children = level.branch.children(level.node);
            let Some(child) = children.get(level.next).copied() else {
                self.prefix.truncate(level.prefix_len);
                levels.pop();
                continue;
            };
            level.next += 1;
            let is_last = level.next == children.len();
            let (branch, depth) = (level.branch.clone(), level.depth);
            match child {
                Child::Frame(node) => {
                    self.frame_line(branch.label(node), is_last)?;
                    let prefix_len = self.indent(is_last);
                    levels.push(Level {
                        branch,
                        node,
                        next: 0,
                        depth,
                        prefix_len,
                    });
                }
                Child::Task(task) => {
                    self.task_line(task, is_last)?;
                    levels.extend(self.level(task, depth + 1, is_last));
                }
            }
        }
        Ok(())
    }

    /// What hangs under a task, unless it is too deep.
    fn level(&mut self, task: TaskIdx, depth: u32, is_last: bool) -> Option<Level> {
        let branch = self.branch(task);
        let awaits_none = self.graph.awaited(task).len() == 0;
        if self.view.depth.is_some_and(|max| depth >= max) && !awaits_none {
            self.is_cut = true;
            return None;
        }
        Some(Level {
            branch: Rc::new(branch),
            node: 0,
            next: 0,
            depth,
            prefix_len: self.indent(is_last),
        })
    }

    fn branch(&mut self, task: TaskIdx) -> Branch {
        let graph = self.graph;
        let selection = self.selection.as_ref();
        let mut awaited = graph
            .awaited(task)
            .map(|edge| (edge.stack, graph.entry(edge.awaited)))
            .filter(|(_, awaited)| selection.is_none_or(|tasks| tasks.contains(*awaited)))
            .peekable();
        let labels = &mut self.labels;
        if awaited.peek().is_some() {
            return Branch::awaiting(task, awaited, |stack| labels.of_stack(stack));
        }
        match self.style {
            // The first form knew a task's stack only from those that it awaits.
            Style::Classic => Branch::leaf(task, &[]),
            Style::Agent | Style::Cpython => {
                Branch::leaf(task, &labels.of_stack(graph.task(task).stack))
            }
        }
    }

    /// Extends the prefix below a line; gives its length before.
    fn indent(&mut self, is_last: bool) -> usize {
        let before = self.prefix.len();
        self.prefix.push_str(if is_last { "    " } else { "│   " });
        before
    }

    fn begin_line(&mut self, is_last: bool) {
        let line = self.lines.text();
        line.push_str(&self.prefix);
        line.push_str(if is_last { "└── " } else { "├── " });
    }

    fn task_line(&mut self, task: TaskIdx, is_last: bool) -> fmt::Result {
        self.begin_line(is_last);
        let name = name(self.graph, task, self.view);
        write!(self.lines.text(), "(T) {name}")?;
        self.lines.end()
    }

    /// A frame's mark is empty, the space after it is not.
    fn frame_line(&mut self, label: u32, is_last: bool) -> fmt::Result {
        self.begin_line(is_last);
        let label = self.labels.text(label);
        let line = self.lines.text();
        line.push(' ');
        line.push_str(&shown(&label, self.view));
        self.lines.end()
    }
}
