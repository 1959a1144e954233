//! What holds for the views of every graph.
#![allow(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod graphs;

use asyncio_agent::graph::{
    TaskGraph, TaskIdx, TaskState, find_cycles, find_deadlocks, select, text,
};
use asyncio_agent::render::{Style, View, ps, ps_csv, pstree};
use graphs::{Kinds, graphs};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

const SMALL: Kinds = Kinds {
    tasks_max: 12,
    names: false,
};
const LARGE: Kinds = Kinds {
    tasks_max: 60,
    names: false,
};

/// Everything a graph says, in its order, without its indices.
fn facts(graph: &TaskGraph) -> String {
    let mut facts = String::new();
    let stack = |facts: &mut String, at| {
        for frame in graph.stack(at) {
            let (function, file) = (
                graph.text(frame.function),
                frame.file.map(|f| graph.text(f)),
            );
            write!(
                facts,
                " {function:?} {file:?} {:?} {:?}",
                frame.line, frame.via
            )
            .unwrap();
        }
    };
    for thread in graph.threads() {
        writeln!(facts, "thread {:?} {:?}", thread.interpreter_id, thread.tid).unwrap();
        for at in graph.tasks_of(thread) {
            let task = graph.task(at);
            let awaiting = task.awaiting.map(|kind| graph.text(kind));
            write!(
                facts,
                "{} {:?} {:?} {} {} {awaiting:?}",
                task.id,
                graph.name(at),
                task.state,
                task.cancelling,
                task.needs_one
            )
            .unwrap();
            stack(&mut facts, task.stack);
            for edge in graph.awaiters(at) {
                write!(
                    facts,
                    "\n  <- {} {:?} {}",
                    edge.awaiter, edge.awaiter_task, edge.is_loose
                )
                .unwrap();
                stack(&mut facts, edge.stack);
            }
            facts.push('\n');
        }
    }
    facts
}

/// Who awaits whom, among listed tasks, each as its last entry.
fn edges(graph: &TaskGraph) -> HashSet<(TaskIdx, TaskIdx)> {
    graph
        .edges()
        .iter()
        .filter_map(|edge| Some((edge.awaiter_task?, graph.entry(edge.awaited))))
        .collect()
}

fn has_cycle(edges: &HashSet<(TaskIdx, TaskIdx)>) -> bool {
    // Takes away tasks that await nothing until none is left.
    let mut rest = edges.clone();
    loop {
        let awaiters: HashSet<TaskIdx> = rest.iter().map(|(awaiter, _)| *awaiter).collect();
        let n = rest.len();
        rest.retain(|(_, awaited)| awaiters.contains(awaited));
        if rest.len() == n {
            return n > 0;
        }
    }
}

fn tree(graph: &TaskGraph, style: Style, view: &View<'_>) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    pstree(graph, style, view, &mut out, &mut err).unwrap();
    (out, err)
}

fn table(graph: &TaskGraph, style: Style, view: &View<'_>) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    ps(graph, style, view, &mut out, &mut err).unwrap();
    (out, err)
}

fn n_rows(graph: &TaskGraph) -> usize {
    let rows = |at| graph.awaiters(at).len().max(1);
    graph.indices().map(rows).sum()
}

/// How many tasks a tree of our own style shows: in full, and in folded lines.
fn n_shown(out: &str) -> u64 {
    let number = |text: &str| text.split(' ').next()?.parse::<u64>().ok();
    let mut n = 0;
    for line in out.lines() {
        let Some((_, task)) = line.split_once("(T) ") else {
            continue;
        };
        let is_again = ["  ↑ see above", "  ↻ closes an await cycle", "  continued"]
            .iter()
            .any(|end| task.ends_with(end));
        // A task may be called like the mark of a folded line, but then no number follows.
        let folded = task
            .strip_prefix("× ")
            .filter(|more| number(more).is_some());
        if let Some(more) = folded {
            let all = task
                .rsplit_once(" (")
                .filter(|_| task.ends_with("they await)"));
            let told = all.map_or_else(|| number(more), |(_, all)| number(all));
            n += told.unwrap();
        } else if !is_again && !task.contains("  see [") {
            n += 1;
        }
    }
    n
}

fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut is_quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => record.push(std::mem::take(&mut field)),
            '\n' if !is_quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            c => field.push(c),
        }
    }
    assert!(!is_quoted && record.is_empty() && field.is_empty());
    records
}

/// The edges that hold their awaiter, unless what it awaits can go on.
fn holding_edges(graph: &TaskGraph) -> HashSet<(TaskIdx, TaskIdx)> {
    let firm = graph.edges().iter().filter(|edge| !edge.is_loose);
    // Of a task that is listed twice the last entry counts.
    let firm = firm.filter(|edge| graph.entry(edge.awaited) == edge.awaited);
    let firm = firm.filter_map(|edge| Some((edge.awaiter_task?, edge.awaited)));
    let waits = |at: TaskIdx| {
        !matches!(
            graph.task(at).state,
            TaskState::Running | TaskState::Created
        )
    };
    firm.filter(|(awaiter, _)| waits(*awaiter)).collect()
}

/// The tasks that are left when those are let go, again and again, that can go on.
fn held(graph: &TaskGraph) -> HashSet<TaskIdx> {
    let edges = holding_edges(graph);
    let mut held: HashSet<TaskIdx> = graph.indices().map(|at| graph.entry(at)).collect();
    loop {
        let stays = |at: &TaskIdx| {
            let mut holding = edges.iter().filter(|(awaiter, _)| awaiter == at).peekable();
            match graph.task(*at).needs_one {
                true => holding.peek().is_some() && holding.all(|(_, it)| held.contains(it)),
                false => holding.any(|(_, it)| held.contains(it)),
            }
        };
        let left: HashSet<TaskIdx> = held.iter().copied().filter(stays).collect();
        if left == held {
            return held;
        }
        held = left;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_printed_graph_reads_back(graph in graphs(LARGE)) {
        let printed = text::print(&graph);
        let again = text::parse(&printed).unwrap();
        prop_assert_eq!(facts(&graph), facts(&again));
    }

    #[test]
    fn cycles_are_closed_walks_and_all_are_found(graph in graphs(SMALL)) {
        let found = find_cycles(&graph, usize::MAX);
        let mut edges = edges(&graph);
        prop_assert_eq!(found.is_empty(), !has_cycle(&edges));
        prop_assert_eq!(found.len(), found.cycles.len());
        let mut different = HashSet::new();
        for cycle in &found.cycles {
            let tasks = &cycle.tasks;
            for (at, awaiter) in tasks.iter().enumerate() {
                let awaited = tasks[(at + 1) % tasks.len()];
                prop_assert!(edges.contains(&(*awaiter, awaited)));
                prop_assert!(found.is_cyclic(*awaiter, awaited));
            }
            let smallest = tasks.iter().map(|at| graph.task(*at).id).min();
            prop_assert_eq!(Some(graph.task(tasks[0]).id), smallest);
            prop_assert!(different.insert(tasks.clone()));
        }
        edges.retain(|(awaiter, awaited)| !found.closes(*awaiter, *awaited));
        prop_assert!(!has_cycle(&edges));
        let one = find_cycles(&graph, 1);
        prop_assert_eq!(one.cycles.len() as u64 + one.omitted, found.len() as u64);
    }

    #[test]
    fn deadlocks_are_the_cycles_that_nobody_can_leave(graph in graphs(SMALL)) {
        let held = held(&graph);
        let mut edges = holding_edges(&graph);
        edges.retain(|(awaiter, awaited)| held.contains(awaiter) && held.contains(awaited));
        let cycles = find_cycles(&graph, 0);
        let found = find_deadlocks(&graph, &cycles, usize::MAX);
        prop_assert_eq!(found.is_some(), has_cycle(&edges));
        let Some(found) = found else { return Ok(()) };
        for cycle in &found.cycles {
            prop_assert!(found.holds(&graph, cycle));
            for (at, awaiter) in cycle.tasks.iter().enumerate() {
                let awaited = cycle.tasks[(at + 1) % cycle.tasks.len()];
                prop_assert!(edges.contains(&(*awaiter, awaited)));
            }
        }
        edges.retain(|(awaiter, awaited)| !found.closes(*awaiter, *awaited));
        prop_assert!(!has_cycle(&edges));
    }

    #[test]
    fn entries_reach_every_task_and_no_more_than_needed(graph in graphs(SMALL)) {
        let found = find_cycles(&graph, 0);
        let edges = edges(&graph);
        let mut awaited_by: HashMap<TaskIdx, Vec<TaskIdx>> = HashMap::new();
        for (awaiter, awaited) in &edges {
            awaited_by.entry(*awaiter).or_default().push(*awaited);
        }
        let mut reached = HashSet::new();
        for entry in found.entries() {
            prop_assert!(!reached.contains(entry));
            let mut todo = vec![*entry];
            while let Some(task) = todo.pop() {
                if reached.insert(task) {
                    todo.extend(awaited_by.get(&task).into_iter().flatten());
                }
            }
        }
        let all: HashSet<TaskIdx> = graph.indices().map(|at| graph.entry(at)).collect();
        prop_assert_eq!(reached, all);
    }

    #[test]
    fn a_tree_shows_each_task_once(graph in graphs(LARGE)) {
        let all: HashSet<TaskIdx> = graph.indices().map(|at| graph.entry(at)).collect();
        let (out, err) = tree(&graph, Style::Agent, &View::default());
        prop_assert_eq!(n_shown(&out), all.len() as u64, "{}", out);
        let closed = out.lines().filter(|line| line.ends_with("↻ closes an await cycle")).count();
        let told = err.lines().filter(|line| line.starts_with("cycle")).count();
        let found = find_cycles(&graph, usize::MAX);
        prop_assert_eq!(told, found.len().min(100));
        // An edge with several stacks is in the tree several times.
        prop_assert!(closed >= found.len());
    }

    #[test]
    fn a_table_has_a_row_for_each_awaiter(graph in graphs(LARGE)) {
        for style in [Style::Agent, Style::Cpython, Style::Classic] {
            let (out, _) = table(&graph, style, &View::default());
            // Our own says so when there is nothing.
            let note = usize::from(style == Style::Agent && n_rows(&graph) == 0);
            prop_assert_eq!(out.lines().count(), 2 + n_rows(&graph) + note);
        }
        let raw = View { raw_names: true, ..View::default() };
        let mut csv = String::new();
        ps_csv(&graph, &raw, &mut csv).unwrap();
        let records = parse_csv(&csv);
        prop_assert_eq!(records.len(), 1 + n_rows(&graph));
        let mut names = records[1..].iter().map(|record| record[3].clone());
        for at in graph.indices() {
            let name = graph.name(at).map(|name| name.to_string()).unwrap_or_default();
            for _ in 0..graph.awaiters(at).len().max(1) {
                prop_assert_eq!(names.next(), Some(name.clone()));
            }
        }
        prop_assert!(records.iter().all(|record| record.len() == records[0].len()));
    }

    #[test]
    fn nothing_printed_for_a_terminal_controls_it(graph in graphs(LARGE)) {
        let plain = View::default();
        let raw = View { raw_names: true, ..plain };
        let mut printed = Vec::new();
        for (style, view) in [(Style::Agent, &raw), (Style::Cpython, &plain), (Style::Classic, &plain)] {
            printed.extend([tree(&graph, style, view), table(&graph, style, view)]);
        }
        let mut csv = String::new();
        ps_csv(&graph, &plain, &mut csv).unwrap();
        printed.push((csv, String::new()));
        for (out, err) in printed {
            for line in out.lines().chain(err.lines()) {
                prop_assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
            }
        }
    }

    #[test]
    fn a_limit_cuts_and_says_so(graph in graphs(LARGE), lines_max in 0_u64..40) {
        let view = View { lines_max: Some(lines_max), ..View::default() };
        for print in [tree, table] {
            let (all, _) = print(&graph, Style::Agent, &View::default());
            let (cut, _) = print(&graph, Style::Agent, &view);
            let n_all = all.lines().count();
            let n = usize::try_from(lines_max).unwrap();
            if n_all <= n {
                prop_assert_eq!(all, cut);
            } else if !graph.tasks().is_empty() {
                let begin: Vec<&str> = all.lines().take(n).collect();
                let lines: Vec<&str> = cut.lines().collect();
                prop_assert_eq!(&lines[..n], &begin[..]);
                let note = format!("… {} more lines", n_all - n);
                prop_assert!(lines[n].starts_with(&note), "{}", lines[n]);
                prop_assert_eq!(lines.len(), n + 1);
            }
        }
    }

    #[test]
    fn colors_change_nothing_else(graph in graphs(SMALL)) {
        let view = View { color: true, ..View::default() };
        for print in [tree, table] {
            let (plain, _) = print(&graph, Style::Agent, &View::default());
            let (mut colored, _) = print(&graph, Style::Agent, &view);
            for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[33m", "\x1b[1;31m"] {
                colored = colored.replace(code, "");
            }
            prop_assert_eq!(plain, colored);
        }
    }

    #[test]
    fn a_selection_holds_all_that_await_it(graph in graphs(SMALL)) {
        let chosen = select(&graph, &|name| name.contains('a'));
        let all = chosen.with_awaiters(&graph);
        for at in graph.indices() {
            prop_assert!(all.contains(at) || !chosen.contains(at));
            for edge in graph.awaiters(at).iter().filter(|_| all.contains(at)) {
                prop_assert!(edge.awaiter_task.is_none_or(|awaiter| all.contains(awaiter)));
            }
        }
        prop_assert_eq!(all.len(), graph.indices().filter(|at| all.contains(*at)).count());
        let view = View { matches: Some(&|name| name.contains('a')), ..View::default() };
        let (out, _) = tree(&graph, Style::Agent, &view);
        let shown = graph.indices().filter(|at| all.contains(*at) && graph.entry(*at) == *at);
        prop_assert_eq!(n_shown(&out), shown.count() as u64);
        let (out, _) = table(&graph, Style::Agent, &view);
        let rows = graph.indices().filter(|at| chosen.contains(*at));
        let rows: usize = rows.map(|at| graph.awaiters(at).len().max(1)).sum();
        // Without a row there is a line that says so.
        prop_assert_eq!(out.lines().count(), 2 + rows.max(1));
    }

    #[test]
    fn any_depth_prints(graph in graphs(SMALL), depth in 0_u32..4) {
        let view = View { depth: Some(depth), ..View::default() };
        for style in [Style::Agent, Style::Cpython, Style::Classic] {
            tree(&graph, style, &view);
        }
    }
}
