//! Writing the graph language.

use super::word::write_word;
use super::{LOOSE, NEEDS_ONE, STATES, default_name, usual_id};
use crate::graph::{StackIdx, TaskGraph, TaskIdx, TaskName, Via};
use rustc_hash::FxHashMap;
use std::fmt::Write as _;

/// Writes a graph so that [`parse`](super::parse) makes the same of it.
pub fn print(graph: &TaskGraph) -> String {
    let mut out = String::new();
    let mut names: FxHashMap<TaskName, u32> = FxHashMap::default();
    for task in graph.tasks() {
        *names.entry(task.name).or_default() += 1;
    }
    for thread in graph.threads() {
        let _ = write!(out, "thread {}", thread.tid);
        if thread.interpreter_id != 0 {
            let _ = write!(out, " interpreter {}", thread.interpreter_id);
        }
        out.push('\n');
        for at in graph.tasks_of(thread) {
            write_task(&mut out, graph, at);
            for edge in graph.awaiters(at) {
                let _ = write!(out, "  {} ", if edge.is_loose { LOOSE } else { "<-" });
                match edge.awaiter_task {
                    Some(awaiter) if names.get(&graph.task(awaiter).name) == Some(&1) => {
                        write_name(&mut out, graph, awaiter);
                    }
                    _ => {
                        let _ = write!(out, "#{}", edge.awaiter);
                    }
                }
                let own = edge.awaiter_task.map(|awaiter| graph.task(awaiter).stack);
                if own.unwrap_or(StackIdx::EMPTY) != edge.stack || own.is_none() {
                    out.push_str(" :");
                    write_stack(&mut out, graph, edge.stack);
                }
                out.push('\n');
            }
        }
    }
    out
}

fn write_task(out: &mut String, graph: &TaskGraph, at: TaskIdx) {
    let task = graph.task(at);
    write_name(out, graph, at);
    if task.id.0 != usual_id(at.as_usize()) {
        let _ = write!(out, " #{}", task.id);
    }
    for (_, word) in STATES.iter().skip(1).filter(|(s, _)| *s == task.state) {
        let _ = write!(out, " {word}");
    }
    if task.cancelling {
        out.push_str(" cancelling");
    }
    if task.needs_one {
        let _ = write!(out, " {NEEDS_ONE}");
    }
    if let Some(kind) = task.awaiting {
        out.push_str(" waits ");
        write_word(out, graph.text(kind), false);
    }
    if task.stack != StackIdx::EMPTY {
        out.push_str(" @");
        write_stack(out, graph, task.stack);
    }
    out.push('\n');
}

fn write_name(out: &mut String, graph: &TaskGraph, at: TaskIdx) {
    match graph.task(at).name {
        TaskName::Unknown => out.push('?'),
        TaskName::Number(number) => {
            let _ = write!(out, "Task-{number}");
        }
        TaskName::Text(text) => {
            let text = graph.text(text);
            let means_more = default_name(text).is_some() || text == "thread";
            write_word(out, text, means_more);
        }
    }
}

fn write_stack(out: &mut String, graph: &TaskGraph, stack: StackIdx) {
    for (at, frame) in graph.stack(stack).enumerate() {
        out.push_str(if at == 0 { " " } else { ", " });
        match frame.via {
            Via::Await => {}
            Via::Generator => out.push('~'),
            Via::AnextAwaitable => out.push('+'),
            Via::Thread => out.push('!'),
            Via::CoroutineWrapper => out.push('^'),
        }
        write_word(out, graph.text(frame.function), false);
        match (frame.file, frame.line) {
            (None, None) => {}
            (None, Some(_)) => out.push_str(" -"),
            (Some(file), _) => {
                out.push(' ');
                write_word(out, graph.text(file), false);
            }
        }
        if let Some(line) = frame.line {
            let _ = write!(out, ":{line}");
        }
    }
}
