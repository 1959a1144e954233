//! Processes at work whose tasks are hard to tell from what they were a moment before: all have the same
//! name, or each takes a new one all the time, or goes round a loop without a pause.

mod support;

use asyncio_agent::graph::{StackIdx, TaskGraph, TaskIdx, TaskState};
use std::collections::BTreeMap;
use support::churn::attach;
use support::python;
use support::target::Target;

const SNAPSHOTS: usize = 400;

/// The names of the functions of a stack.
fn functions(graph: &TaskGraph, stack: StackIdx) -> Vec<&str> {
    let frames = graph.stack(stack);
    frames.map(|frame| graph.text(frame.function)).collect()
}

/// The kind of a stack by the only function of this sort that it may have.
fn kind<'g>(functions: &[&'g str], sort: &str) -> Option<&'g str> {
    let kinds: Vec<&str> = functions
        .iter()
        .filter_map(|function| function.strip_prefix(sort))
        .collect();
    assert!(kinds.len() <= 1, "frames of several tasks: {functions:?}");
    kinds.first().copied()
}

#[test]
fn one_name_for_all() {
    judge_kinds("one", 1);
    judge_kinds("one", 3);
}

#[test]
fn names_of_equal_text() {
    judge_kinds("equal", 1);
    judge_kinds("both", 3);
}

/// Reads a program whose tasks all have one name, in strings as `names` says.
fn judge_kinds(names: &str, n_threads: usize) {
    for python in python::all() {
        let mut program = python.program("shared_names");
        program.args([names, &n_threads.to_string()]);
        let target = Target::start(program);
        let threads: Vec<u64> =
            serde_json::from_value(target.truth["threads"].clone()).expect("a list");
        assert_eq!(threads.len(), n_threads);
        let mut process = attach(&target);
        let (mut n_tasks, mut n_edges, mut n_left_out, mut n_without_stack) = (0_u64, 0_u64, 0, 0);
        for _ in 0..SNAPSHOTS {
            let snapshot = process.snapshot().expect("it runs");
            let graph = &snapshot.graph;
            n_left_out += snapshot.stats.problems;
            for thread in graph.threads() {
                for task in graph.tasks_of(thread) {
                    let functions = functions(graph, graph.task(task).stack);
                    let of_awaited = kind(&functions, "awaited_");
                    let Some(kind) = of_awaited.or_else(|| kind(&functions, "awaiting_")) else {
                        continue;
                    };
                    let kind: usize = kind.parse().expect("a number");
                    assert_eq!(thread.tid.0, threads[kind % n_threads], "{functions:?}");
                    n_tasks += 1;
                }
            }
            for edge in graph.edges() {
                let awaited = functions(graph, graph.task(edge.awaited).stack);
                let awaiter = functions(graph, edge.stack);
                // Its coroutine has just ended, or changed all the time.
                if awaited.is_empty() && graph.task(edge.awaited).state == TaskState::Pending {
                    n_without_stack += 1;
                    continue;
                }
                let kind_of_awaited = kind(&awaited, "awaited_");
                assert!(
                    kind_of_awaited.is_some() && kind_of_awaited == kind(&awaiter, "awaiting_"),
                    "Python {}: {awaited:?} {:?} awaited by {awaiter:?} {:?}",
                    python.full_version,
                    graph.task(edge.awaited),
                    edge.awaiter_task.map(|awaiter| graph.task(awaiter))
                );
                n_edges += 1;
            }
        }
        assert!(n_edges > 5_000 && n_tasks > n_edges, "{n_edges} {n_tasks}");
        assert!(n_without_stack * 100 < n_edges, "{n_without_stack}");
        assert!(n_left_out * 20 < n_edges, "{n_left_out} of {n_edges}");
        assert!(target.end().success());
    }
}

/// The worker that a task waits for or is, by its name.
fn worker(graph: &TaskGraph, task: TaskIdx) -> Option<u64> {
    let name = graph.name(task)?.to_string();
    let worker = match name.strip_prefix("waits for ") {
        Some(worker) => worker,
        None => name.split_once(": ")?.0,
    };
    worker.parse().ok()
}

#[test]
fn names_that_change_all_the_time() {
    for python in python::all() {
        let target = Target::start(python.program("renamed"));
        let n_workers = target.truth["workers"].as_u64().expect("a number");
        let mut process = attach(&target);
        let (mut n_complete, mut ended) = (0, BTreeMap::<u64, usize>::new());
        for _ in 0..SNAPSHOTS {
            let snapshot = process.snapshot().expect("it runs");
            let graph = &snapshot.graph;
            if !snapshot.complete {
                continue;
            }
            n_complete += 1;
            *ended.entry(snapshot.stats.tasks_ended).or_default() += 1;
            // Two for each worker, and that of `main`.
            assert_eq!(graph.tasks().len() as u64, 2 * n_workers + 1);
            let mut awaited_by: BTreeMap<u64, u64> = BTreeMap::new();
            for edge in graph.edges() {
                let awaiter = edge.awaiter_task.expect("it is in the snapshot");
                // Only `main` is no worker's.
                let Some(waiting) = worker(graph, awaiter) else {
                    continue;
                };
                if let Some(working) = worker(graph, edge.awaited) {
                    assert_eq!(working, waiting);
                }
                assert_eq!(
                    functions(graph, graph.task(edge.awaited).stack).last(),
                    Some(&"working")
                );
                *awaited_by.entry(waiting).or_default() += 1;
            }
            let each = awaited_by.values().filter(|n| **n == 1).count() as u64;
            assert_eq!(each, n_workers, "{awaited_by:?}");
        }
        assert!(
            n_complete * 10 >= SNAPSHOTS * 9,
            "{n_complete} of {SNAPSHOTS} were complete"
        );
        assert_eq!(ended, BTreeMap::from([(0, n_complete)]));
        assert!(target.end().success());
    }
}

#[test]
fn no_stack_is_of_two_rounds_of_a_loop() {
    for python in python::all() {
        let target = Target::start(python.program("rounds"));
        let first_pairs: BTreeMap<String, u32> =
            serde_json::from_value(target.truth["first_pairs"].clone()).expect("lines by function");
        let mut process = attach(&target);
        let mut n_stacks = 0;
        for _ in 0..SNAPSHOTS {
            let snapshot = process.snapshot().expect("it runs");
            let graph = &snapshot.graph;
            for task in graph.tasks() {
                let ways = graph.stack(task.stack).filter_map(|frame| {
                    let first = first_pairs.get(graph.text(frame.function))?;
                    frame.line?.checked_sub(*first)
                });
                let ways: Vec<u32> = ways.collect();
                if task.state == TaskState::Suspended && ways.len() == first_pairs.len() {
                    assert!(ways.iter().all(|way| *way == ways[0]), "{ways:?}");
                    n_stacks += 1;
                }
            }
        }
        assert!(n_stacks > SNAPSHOTS * 50, "{n_stacks}");
        assert!(target.end().success());
    }
}
