//! The tree of `pstree` in our own style.
//!
//! Every task is printed in full once, where it is met first; further on it is referred to. So the
//! output is linear in the graph, whatever the graph.
//!
//! Depth: below [`LEVELS_MAX`] levels of indentation a node's children move to a section of their own
//! at the left edge, with a number at both ends. A prefix that grows with each level would make the
//! output quadratic (a chain of 100 000 tasks: gigabytes), and nobody can read it that far to the
//! right; a prefix that stops growing would no longer tell who is under whom.

use super::cut;
use super::cycles::{self, name};
use super::fold::{Alike, Sibling, fold};
use super::labels::Labels;
use super::lines::{Ink, Lines};
use super::{Style, View, nothing_to_show};
use crate::graph::{
    Branch, Child, Cycles, Selection, Shapes, TaskGraph, TaskIdx, TaskName, TaskState, find_cycles,
    select,
};
use crate::ids::Tid;
use crate::sanitize::escape;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::rc::Rc;

/// Levels of indentation (tasks and frames) before a section of its own begins.
const LEVELS_MAX: usize = 32;
/// Unlisted awaiters named on a task's line.
const UNLISTED_NAMED: usize = 3;
/// What nearly everything waits on in the end; naming these would say nothing.
const USUAL_AWAITABLES: [&str; 5] = [
    "_asyncio.FutureIter",
    "FutureIter",
    "_asyncio.Future",
    "_asyncio.Task",
    "coroutine",
];

/// Prints the tree to `out` and the cycles to `err`.
pub(super) fn pstree(
    graph: &TaskGraph,
    view: &View<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<bool, fmt::Error> {
    let found = find_cycles(graph, cycles::CYCLES_MAX);
    let selection = view
        .matches
        .map(|matches| select(graph, matches).with_awaiters(graph));
    let mut names: FxHashMap<TaskName, u32> = FxHashMap::default();
    for task in graph.tasks() {
        *names.entry(task.name).or_default() += 1;
    }
    let mut tree = Tree {
        graph,
        depth_max: view.depth.unwrap_or(u32::MAX),
        shapes: Shapes::of(graph, &found, selection.as_ref()),
        cycles: &found,
        selection,
        names,
        labels: Labels::new(graph, Style::Agent),
        lines: Lines::new(out, view.lines_max, view.color),
        prefix: String::new(),
        seen: vec![Seen::No; graph.tasks().len()],
        sections: VecDeque::new(),
        n_sections: 0,
        tasks_left_out: 0,
    };
    tree.all()?;
    let n_twice = graph.indices().filter(|at| graph.entry(*at) != *at).count();
    if n_twice > 0 {
        let s = if n_twice == 1 {
            "y of a task that is"
        } else {
            "ies of tasks that are"
        };
        writeln!(
            err,
            "{n_twice} earlier entr{s} listed more than once not shown"
        )?;
    }
    cycles::report(graph, &found, err)
}

/// Whether and where a task was printed.
#[derive(Debug, Clone, Copy)]
enum Seen {
    No,
    Above,
    /// What is under it is in the section of this number.
    Section(u32),
}

/// A line of the tree.
enum Node {
    Task {
        task: TaskIdx,
        /// Who awaits it here; none for a root.
        awaiter: Option<TaskIdx>,
    },
    Frame {
        branch: Rc<Branch>,
        node: u32,
    },
}

/// Nodes whose lines are being printed.
struct Level {
    nodes: std::vec::IntoIter<Sibling<Node>>,
    /// How many tasks deep they are.
    depth: u32,
    /// Where the prefix of the line above ends.
    prefix_len: usize,
}

/// What continues at the left edge.
struct Section {
    number: u32,
    title: String,
    nodes: Vec<Sibling<Node>>,
    depth: u32,
}

struct Tree<'a, 'o> {
    graph: &'a TaskGraph,
    depth_max: u32,
    cycles: &'a Cycles,
    shapes: Shapes,
    selection: Option<Selection>,
    /// How many tasks have each name.
    names: FxHashMap<TaskName, u32>,
    labels: Labels<'a>,
    lines: Lines<'o>,
    prefix: String,
    seen: Vec<Seen>,
    sections: VecDeque<Section>,
    n_sections: u32,
    tasks_left_out: u64,
}

impl Tree<'_, '_> {
    fn all(&mut self) -> fmt::Result {
        let graph = self.graph;
        let mut entries = self
            .cycles
            .entries()
            .iter()
            .copied()
            .filter(|at| self.is_selected(*at))
            .collect::<Vec<_>>()
            .into_iter()
            .peekable();
        if entries.peek().is_none() {
            return self.lines.last(Ink::Note, nothing_to_show(graph));
        }
        let busy = |thread: &&crate::graph::Thread| graph.tasks_of(thread).len() > 0;
        let has_threads = graph.threads().iter().filter(busy).count() > 1;
        let has_interpreters = graph
            .threads()
            .iter()
            .filter(busy)
            .any(|thread| thread.interpreter_id != 0);
        for thread in graph.threads() {
            let Some(end) = graph.tasks_of(thread).last() else {
                continue;
            };
            let mut roots = Vec::new();
            while let Some(task) = entries.next_if(|at| *at <= end) {
                roots.push(Node::Task {
                    task,
                    awaiter: None,
                });
            }
            if roots.is_empty() {
                continue;
            }
            if has_threads || has_interpreters {
                let title = thread_title(thread.tid, thread.interpreter_id, has_interpreters);
                self.lines.ink(Ink::Note, &title);
                self.lines.end()?;
            }
            let roots = self.folded(roots);
            self.forest(roots)?;
        }
        self.note_left_out()
    }

    /// Prints roots, each followed by the sections that it led to.
    fn forest(&mut self, roots: Vec<Sibling<Node>>) -> fmt::Result {
        for root in roots {
            self.prefix.clear();
            let below = self.line(root, true, 1, 0)?;
            self.below(below)?;
            while let Some(section) = self.sections.pop_front() {
                self.prefix.clear();
                self.lines.text().push_str("└── ");
                let number = format!("[{}] ", section.number);
                self.lines.ink(Ink::Note, &number);
                self.lines.ink(Ink::Name, &section.title);
                self.lines.ink(Ink::Note, "  continued");
                self.lines.end()?;
                self.prefix.push_str("    ");
                self.below(Some(Level {
                    nodes: section.nodes.into_iter(),
                    depth: section.depth,
                    prefix_len: 0,
                }))?;
            }
        }
        Ok(())
    }

    fn below(&mut self, first: Option<Level>) -> fmt::Result {
        let mut levels: Vec<Level> = first.into_iter().collect();
        while let Some(level) = levels.last_mut() {
            let Some(node) = level.nodes.next() else {
                self.prefix.truncate(level.prefix_len);
                levels.pop();
                continue;
            };
            let is_last = level.nodes.as_slice().is_empty();
            let (depth, n_levels) = (level.depth, levels.len());
            levels.extend(self.line(node, is_last, depth, n_levels)?);
        }
        Ok(())
    }

    /// Prints a node's line. What it gives back is to be printed below it.
    fn line(
        &mut self,
        node: Sibling<Node>,
        is_last: bool,
        depth: u32,
        n_levels: usize,
    ) -> Result<Option<Level>, fmt::Error> {
        let line = self.lines.text();
        line.push_str(&self.prefix);
        line.push_str(if is_last { "└── " } else { "├── " });
        let nodes = match &node {
            Sibling::Alike(alike) => self.alike(alike),
            Sibling::One(Node::Task { task, awaiter }) => self.task(*task, *awaiter, depth),
            Sibling::One(Node::Frame { branch, node }) => self.frame(branch, *node),
        };
        let depth = match &node {
            Sibling::One(Node::Task { .. }) => depth.saturating_add(1),
            _ => depth,
        };
        if n_levels >= LEVELS_MAX && !nodes.is_empty() {
            self.continue_elsewhere(&node, nodes, depth);
            self.lines.end()?;
            return Ok(None);
        }
        self.lines.end()?;
        if nodes.is_empty() {
            return Ok(None);
        }
        let prefix_len = self.prefix.len();
        self.prefix.push_str(if is_last { "    " } else { "│   " });
        Ok(Some(Level {
            nodes: nodes.into_iter(),
            depth,
            prefix_len,
        }))
    }

    fn continue_elsewhere(&mut self, node: &Sibling<Node>, nodes: Vec<Sibling<Node>>, depth: u32) {
        self.n_sections += 1;
        let number = self.n_sections;
        let title = match node {
            Sibling::One(Node::Task { task, .. }) => {
                self.seen[task.as_usize()] = Seen::Section(number);
                format!("(T) {}", self.full_name(*task))
            }
            Sibling::One(Node::Frame { branch, node }) => {
                escape(&self.labels.text(branch.label(*node))).into_owned()
            }
            Sibling::Alike(_) => String::new(),
        };
        self.lines
            .ink(Ink::Note, &format!("  ↓ continued at [{number}]"));
        self.sections.push_back(Section {
            number,
            title,
            nodes,
            depth,
        });
    }

    fn alike(&mut self, alike: &Alike) -> Vec<Sibling<Node>> {
        let like = name(self.graph, alike.like);
        let mut text = format!("× {} more like {like}", alike.n);
        let named: Vec<_> = alike.named.iter().map(|at| name(self.graph, *at)).collect();
        text.push_str(": ");
        text.push_str(&named.join(", "));
        if alike.n > named.len() as u64 {
            text.push_str(", …");
        }
        if alike.n_tasks > alike.n {
            let _ = write!(text, " ({} tasks with all they await)", alike.n_tasks);
        }
        self.lines.text().push_str("(T) ");
        self.lines.ink(Ink::Note, &text);
        if self.lines.is_full() {
            self.tasks_left_out += alike.n_tasks;
        }
        Vec::new()
    }

    fn task(&mut self, at: TaskIdx, awaiter: Option<TaskIdx>, depth: u32) -> Vec<Sibling<Node>> {
        self.lines.text().push_str("(T) ");
        let name = self.full_name(at);
        self.lines.ink(Ink::Name, &name);
        if awaiter.is_some_and(|awaiter| self.cycles.closes(awaiter, at)) {
            self.lines.ink(Ink::Cycle, "  ↻ closes an await cycle");
            return Vec::new();
        }
        match self.seen[at.as_usize()] {
            Seen::No => {}
            Seen::Above => {
                self.lines.ink(Ink::Note, "  ↑ see above");
                return Vec::new();
            }
            Seen::Section(number) => {
                self.lines.ink(Ink::Note, &format!("  see [{number}]"));
                return Vec::new();
            }
        }
        let marks = marks(self.graph, at);
        self.lines.ink(Ink::State, &marks);
        if let Some(awaiter) = awaiter {
            let elsewhere = elsewhere(self.graph, at, awaiter);
            self.lines.ink(Ink::Note, &elsewhere);
        }
        let unlisted = unlisted(self.graph, at);
        self.lines.ink(Ink::Note, &unlisted);
        let awaited = self.awaited(at);
        if depth >= self.depth_max && !awaited.is_empty() {
            let mut tasks: Vec<TaskIdx> = awaited.iter().map(|(_, task)| *task).collect();
            tasks.sort_unstable();
            tasks.dedup();
            let s = if tasks.len() == 1 { "" } else { "s" };
            let note = format!("  … awaits {} task{s} not shown (depth limit)", tasks.len());
            self.lines.ink(Ink::Note, &note);
            return Vec::new();
        }
        if self.lines.is_full() {
            self.tasks_left_out += 1;
        }
        self.seen[at.as_usize()] = Seen::Above;
        let labels = &mut self.labels;
        let branch = if awaited.is_empty() {
            Branch::leaf(at, &labels.of_stack(self.graph.task(at).stack))
        } else {
            Branch::awaiting(at, awaited.into_iter(), |stack| labels.of_stack(stack))
        };
        if branch.children(0).is_empty() {
            self.awaitable(at);
        }
        self.nodes(&Rc::new(branch), 0)
    }

    fn frame(&mut self, branch: &Rc<Branch>, node: u32) -> Vec<Sibling<Node>> {
        let label = self.labels.text(branch.label(node));
        let line = self.lines.text();
        line.push(' ');
        line.push_str(&escape(&label));
        if branch.children(node).is_empty() {
            self.awaitable(branch.task());
        }
        self.nodes(branch, node)
    }

    /// Tells what the innermost frame of a task waits on, if that is out of the ordinary.
    fn awaitable(&mut self, at: TaskIdx) {
        let Some(kind) = self.graph.task(at).awaiting else {
            return;
        };
        let kind = self.graph.text(kind);
        if !USUAL_AWAITABLES.contains(&kind) {
            let note = format!("  waits on {}", escape(&cut::start(kind)));
            self.lines.ink(Ink::Note, &note);
        }
    }

    fn is_selected(&self, at: TaskIdx) -> bool {
        let selection = self.selection.as_ref();
        selection.is_none_or(|selection| selection.contains(at))
    }

    fn awaited(&self, at: TaskIdx) -> Vec<(crate::graph::StackIdx, TaskIdx)> {
        self.graph
            .awaited(at)
            .map(|edge| (edge.stack, self.graph.entry(edge.awaited)))
            .filter(|(_, awaited)| self.is_selected(*awaited))
            .collect()
    }

    fn nodes(&self, branch: &Rc<Branch>, node: u32) -> Vec<Sibling<Node>> {
        let nodes = branch.children(node).iter().map(|child| match *child {
            Child::Frame(node) => Node::Frame {
                branch: branch.clone(),
                node,
            },
            Child::Task(task) => Node::Task {
                task,
                awaiter: Some(branch.task()),
            },
        });
        self.folded(nodes.collect())
    }

    fn folded(&self, nodes: Vec<Node>) -> Vec<Sibling<Node>> {
        fold(nodes, &self.shapes, |node| match node {
            Node::Task { task, .. } => Some(*task),
            Node::Frame { .. } => None,
        })
    }

    /// The name, with the id where the name alone does not tell which task is meant.
    fn full_name(&self, at: TaskIdx) -> String {
        let task = self.graph.task(at);
        let shown = name(self.graph, at);
        let is_cut = match task.name {
            TaskName::Text(text) => cut::is_long(self.graph.text(text)),
            TaskName::Unknown | TaskName::Number(_) => false,
        };
        let is_ambiguous = is_cut || self.names.get(&task.name).is_some_and(|n| *n > 1);
        if is_ambiguous && task.name != TaskName::Unknown {
            format!("{shown} {}", task.id)
        } else {
            shown.into_owned()
        }
    }

    fn note_left_out(&mut self) -> fmt::Result {
        let note = match (self.lines.left_out(), self.tasks_left_out) {
            (0, _) => return Ok(()),
            (lines, tasks) => format!("… {lines} more lines with {tasks} tasks not shown"),
        };
        self.lines.last(Ink::Note, &note)
    }
}

fn thread_title(tid: Tid, interpreter_id: i64, has_interpreters: bool) -> String {
    let mut title = match tid {
        Tid(0) => "tasks whose thread has ended".to_owned(),
        Tid(tid) => format!("thread {tid}"),
    };
    if has_interpreters {
        let _ = write!(title, ", interpreter {interpreter_id}");
    }
    title
}

/// A note of the thread of a task that another thread's task awaits.
fn elsewhere(graph: &TaskGraph, at: TaskIdx, awaiter: TaskIdx) -> String {
    let (own, other) = (graph.thread_of(at), graph.thread_of(awaiter));
    let is_other_interpreter = own.interpreter_id != other.interpreter_id;
    if own.tid == other.tid && !is_other_interpreter {
        return String::new();
    }
    if own.tid == Tid(0) {
        return "  (its thread has ended)".to_owned();
    }
    let title = thread_title(own.tid, own.interpreter_id, is_other_interpreter);
    format!("  (in {title})")
}

fn marks(graph: &TaskGraph, at: TaskIdx) -> String {
    let task = graph.task(at);
    let state = match task.state {
        TaskState::Running => Some("running"),
        TaskState::Created => Some("never started"),
        TaskState::Pending | TaskState::Suspended => None,
    };
    match (state, task.cancelling) {
        (None, false) => String::new(),
        (Some(state), false) => format!(" [{state}]"),
        (None, true) => " [being cancelled]".into(),
        (Some(state), true) => format!(" [{state}, being cancelled]"),
    }
}

/// A note of the awaiters of a task that are not in any list.
fn unlisted(graph: &TaskGraph, at: TaskIdx) -> String {
    let mut ids: Vec<_> = graph
        .awaiters(at)
        .iter()
        .filter(|edge| edge.awaiter_task.is_none())
        .map(|edge| edge.awaiter)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return String::new();
    }
    let named: Vec<String> = ids
        .iter()
        .take(UNLISTED_NAMED)
        .map(|id| id.to_string())
        .collect();
    let more = match ids.len() - named.len() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("  (awaited by {}{more}, not in the list)", named.join(", "))
}
