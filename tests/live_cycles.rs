//! Cycles of every kind in real processes: which of them nobody can leave.

mod support;

use asyncio_agent::graph::{Snapshot, TaskGraph, TaskIdx, find_cycles, find_deadlocks};
use std::collections::BTreeSet;
use support::churn::attach;
use support::python::{self, Python};
use support::target::Target;

fn name(graph: &TaskGraph, at: TaskIdx) -> String {
    graph
        .name(at)
        .map(|name| name.to_string())
        .unwrap_or_default()
}

/// The names of the tasks on cycles, and of those on cycles that nobody can leave.
fn on_cycles(snapshot: &Snapshot) -> (BTreeSet<String>, BTreeSet<String>) {
    let graph = &*snapshot.graph;
    let cycles = find_cycles(graph, usize::MAX);
    let deadlocks = find_deadlocks(graph, &cycles, usize::MAX);
    let tasks = |of: &[asyncio_agent::graph::Cycle]| {
        let tasks = of.iter().flat_map(|cycle| &cycle.tasks);
        tasks.map(|at| name(graph, *at)).collect()
    };
    let dead = deadlocks.map(|deadlocks| tasks(&deadlocks.cycles));
    (tasks(&cycles.cycles), dead.unwrap_or_default())
}

fn check(python: &Python, tasks: &str, stays_awake: bool) {
    let mut command = python.program("cycles_that_open");
    command.arg(tasks);
    if stays_awake {
        command.env("STAY_AWAKE", "1");
    }
    let what = format!("{tasks}, awake: {stays_awake}, {}", python.full_version);
    let target = Target::start(command);
    let mut process = attach(&target);
    for _ in 0..3 {
        let snapshot = process.snapshot().expect("a snapshot");
        assert!(snapshot.complete, "{what}: {:?}", snapshot.problems);
        let (on_cycles, dead) = on_cycles(&snapshot);
        let is_dead = |name: &&String| name.starts_with("dead_");
        let expected: BTreeSet<String> = on_cycles.iter().filter(is_dead).cloned().collect();
        assert_eq!(dead, expected, "{what}");
        // Each case has two tasks at least.
        assert!(expected.len() >= 42, "{what}: {expected:?}");
        let open = on_cycles.iter().filter(|name| !is_dead(name));
        assert!(open.count() >= 24, "{what}: {on_cycles:?}");
    }
}

#[test]
fn deadlocks_of_native_tasks_are_told_from_cycles_that_open() {
    for python in python::all() {
        check(python, "native", false);
        check(python, "native", true);
    }
}

#[test]
fn deadlocks_of_python_tasks_are_told_from_cycles_that_open() {
    for python in python::all() {
        check(python, "python", false);
        check(python, "python", true);
    }
}
