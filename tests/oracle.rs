//! The styles of CPython against CPython: its own tool prints thousands of random graphs, and so do
//! we. `oracle/oracle.py` runs the tool; what it needs of an interpreter is `asyncio.tools`.
#![cfg(feature = "edges")]
#![allow(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod graphs;

use asyncio_agent::graph::{Frame, StackIdx, TaskGraph, Via, text};
use asyncio_agent::render::{Style, View, ps, pstree};
use graphs::{Kinds, graphs};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const N_GRAPHS: usize = 1_500;

/// The interpreters to ask: those that `ASYNCIO_AGENT_PYTHONS` names, else the ones that
/// `make interpreters` brings.
fn pythons() -> Vec<PathBuf> {
    let named = std::env::var_os("ASYNCIO_AGENT_PYTHONS").unwrap_or_default();
    let mut pythons: Vec<PathBuf> = std::env::split_paths(&named).collect();
    pythons.retain(|path| !path.as_os_str().is_empty());
    if pythons.is_empty() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interpreters/bin");
        pythons = ["python3.14", "python3.15"]
            .map(|name| folder.join(name))
            .into();
    }
    for python in &pythons {
        assert!(
            python.exists(),
            "{} is missing: run make interpreters, or name others in ASYNCIO_AGENT_PYTHONS",
            python.display()
        );
    }
    pythons
}

fn ask(python: &Path, command: &str, input: String) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/oracle.py");
    let mut child = Command::new(python)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONIOENCODING", "utf-8")
        .arg(script)
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{}", python.display());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn frames(graph: &TaskGraph, stack: StackIdx) -> Vec<Value> {
    let frame = |frame: &Frame| {
        json!({
            "funcname": graph.text(frame.function),
            "filename": frame.file.map(|file| graph.text(file)),
            "lineno": frame.line,
            "via": match frame.via {
                Via::Await => "await",
                Via::Generator => "generator",
                Via::CoroutineWrapper => "coroutine_wrapper",
                Via::AnextAwaitable => "anext_awaitable",
                Via::Thread => "thread",
            },
        })
    };
    graph.stack(stack).map(frame).collect()
}

fn snapshot(graph: &TaskGraph) -> Value {
    let mut threads = Vec::new();
    for thread in graph.threads() {
        let mut tasks = Vec::new();
        for at in graph.tasks_of(thread) {
            let awaited_by: Vec<Value> = graph
                .awaiters(at)
                .iter()
                .map(|edge| {
                    json!({
                        "task_id": edge.awaiter.to_string(),
                        "call_stack": frames(graph, edge.stack),
                    })
                })
                .collect();
            tasks.push(json!({
                "task_id": graph.task(at).id.to_string(),
                "task_name": graph.name(at).map(|name| name.to_string()),
                "coroutine_stack": frames(graph, graph.task(at).stack),
                "awaited_by": awaited_by,
            }));
        }
        threads.push(json!({"thread_id": thread.tid.0, "tasks": tasks}));
    }
    json!({"threads": threads})
}

#[test]
fn the_style_of_cpython_is_that_of_cpython() {
    let mut runner = TestRunner::deterministic();
    let mut cases: Vec<TaskGraph> = Vec::new();
    for at in 0..N_GRAPHS {
        let kinds = Kinds {
            tasks_max: [4, 8, 30][at % 3],
            names: at % 10 != 0,
        };
        cases.push(graphs(kinds).new_tree(&mut runner).unwrap().current());
    }
    let input: String = cases
        .iter()
        .map(|graph| format!("{}\n", snapshot(graph)))
        .collect();
    let view = View {
        raw_names: true,
        ..View::default()
    };
    for python in pythons() {
        let answers = ask(&python, "each", input.clone());
        assert_eq!(answers.len(), cases.len());
        let (mut n_trees, mut n_cycles) = (0, 0);
        for (graph, answer) in cases.iter().zip(&answers) {
            let answer: Value = serde_json::from_str(answer).unwrap();
            let (mut table, mut tree) = (String::new(), String::new());
            let (mut no_errors, mut errors) = (String::new(), String::new());
            ps(graph, Style::Cpython, &view, &mut table, &mut no_errors).unwrap();
            let has_cycle = pstree(graph, Style::Cpython, &view, &mut tree, &mut errors).unwrap();
            let check = |what: &str, ours: &str| {
                if let Some(theirs) = answer[what].as_str() {
                    assert_eq!(ours, theirs, "{what} of\n{}", text::print(graph));
                }
            };
            check("ps", &table);
            check("pstree", &tree);
            check("pstree_errors", &errors);
            assert_eq!(no_errors, "");
            if answer["pstree"].is_string() {
                assert_eq!(has_cycle, answer["pstree_errors"] != "");
                n_cycles += u32::from(has_cycle);
                n_trees += u32::from(!has_cycle && !tree.is_empty());
            }
        }
        // Both kinds must be well represented for this to say anything.
        assert!(
            n_trees > 250 && n_cycles > 250,
            "{n_trees} trees, {n_cycles} cycles"
        );
    }
}
