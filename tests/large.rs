//! Graphs that defeat a careless tree: deep, wide, shared again and again. Our own style must print
//! them at once, in little text; what bounds it is written in `render/tree.rs`.
#![allow(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

use asyncio_agent::graph::{
    GraphBuilder, NewFrame, NewTask, StackIdx, TaskGraph, TaskName, TaskState, Via,
};
use asyncio_agent::ids::{TaskId, Tid};
use asyncio_agent::render::{Style, View, ps, ps_csv, pstree};
use std::fmt;

/// A graph of tasks with these names, of which each pair awaits: awaiter, awaited.
fn graph(names: &[String], edges: impl IntoIterator<Item = (usize, usize)>) -> TaskGraph {
    let mut builder = GraphBuilder::new();
    builder.begin_thread(0, Tid(7));
    let frame = |builder: &mut GraphBuilder, function| {
        builder.frame(NewFrame {
            function,
            file: Some("app.py"),
            line: Some(5),
            via: Via::Await,
        })
    };
    let frames = [frame(&mut builder, "sleep"), frame(&mut builder, "work")];
    let stack = builder.stack(&frames);
    let id = |at: usize| TaskId(0x1000 + 0x10 * at as u64);
    let mut tasks = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let name = TaskName::Text(builder.text(name));
        tasks.push(builder.add_task(NewTask {
            id: id(at),
            name,
            state: TaskState::Suspended,
            cancelling: false,
            stack,
            awaiting: None,
        }));
    }
    for (awaiter, awaited) in edges {
        builder.add_edge(tasks[awaited], id(awaiter), stack);
    }
    builder.finish()
}

fn names(n: usize, name: impl Fn(usize) -> String) -> Vec<String> {
    (0..n).map(name).collect()
}

/// Counts what is written, and the longest piece written at once.
#[derive(Default)]
struct Counter {
    lines: u64,
    bytes: usize,
    longest: usize,
}

impl fmt::Write for Counter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.lines += text.matches('\n').count() as u64;
        self.bytes += text.len();
        self.longest = self.longest.max(text.len());
        Ok(())
    }
}

fn views(graph: &TaskGraph) -> (Counter, Counter, Counter) {
    let [mut tree, mut table, mut errors]: [Counter; 3] = Default::default();
    let view = View::default();
    pstree(graph, Style::Agent, &view, &mut tree, &mut errors).unwrap();
    ps(graph, Style::Agent, &view, &mut table, &mut errors).unwrap();
    assert!(tree.longest < 1_000 && table.longest < 1_000);
    (tree, table, errors)
}

#[test]
fn a_chain_of_a_hundred_thousand() {
    let n = 100_000;
    let graph = graph(
        &names(n, |at| format!("t{at}")),
        (1..n).map(|at| (at - 1, at)),
    );
    let (tree, table, errors) = views(&graph);
    assert!(
        tree.lines > 300_000 && tree.bytes < 40_000_000,
        "{}",
        tree.bytes
    );
    assert_eq!((table.lines, errors.bytes), (100_002, 0));
    let mut csv = Counter::default();
    ps_csv(&graph, &View::default(), &mut csv).unwrap();
    assert!(csv.lines == 100_001 && csv.longest < 1_000);
}

#[test]
fn a_circle_of_a_hundred_thousand() {
    let n = 100_000;
    let graph = graph(
        &names(n, |at| format!("t{at}")),
        (0..n).map(|at| (at, (at + 1) % n)),
    );
    let (tree, _, errors) = views(&graph);
    assert!(tree.lines > 300_000);
    // Both views tell the cycle, without its middle.
    assert!(errors.lines == 4 && errors.bytes < 2_000);
}

#[test]
fn a_long_chain_where_each_awaits_the_first_again() {
    let n = 20_000;
    let back = (1..n).map(|at| (at, 0));
    let graph = graph(
        &names(n, |at| format!("t{at}")),
        (1..n).map(|at| (at - 1, at)).chain(back),
    );
    let (tree, _, errors) = views(&graph);
    assert!(tree.lines > 80_000 && tree.bytes < 20_000_000);
    assert!(errors.lines == 2 * 102 && errors.bytes < 200_000);
}

/// A process can have an await for each pair of its tasks, and call each task what it likes.
#[test]
fn long_names_of_tasks_that_all_await_one_another() {
    let n = 200;
    let name = |at| format!("{}{at}", "é".repeat(16_300));
    let graph = graph(&names(n, name), (0..n * n).map(|pair| (pair / n, pair % n)));
    let view = View {
        awaiters_max: Some(100),
        ..View::default()
    };
    let [mut tree, mut table, mut errors]: [Counter; 3] = Default::default();
    ps(&graph, Style::Agent, &view, &mut table, &mut errors).unwrap();
    assert_eq!(table.lines, 2 + 200 * 101);
    assert!(table.longest < 1_500, "{}", table.longest);
    pstree(&graph, Style::Agent, &view, &mut tree, &mut errors).unwrap();
    assert!(tree.longest < 1_000, "{}", tree.longest);
    assert!(errors.bytes < 20_000_000, "{}", errors.bytes);
    let mut text = String::new();
    let few = View {
        lines_max: Some(500),
        ..view
    };
    ps(&graph, Style::Agent, &few, &mut text, &mut errors).unwrap();
    assert_eq!(text.matches("(and 100 more)").count(), 4);
    assert!(text.ends_with("\n… 19702 more lines not shown\n"));
}

#[test]
fn a_ladder_of_diamonds() {
    // Two wide, fourteen levels high, between one task at either end: 2^14 ways through it.
    let levels = 14;
    let n = 2 + 2 * levels;
    let rungs = (0..levels - 1).flat_map(|level| {
        let (up, down) = (1 + 2 * level, 3 + 2 * level);
        [
            (up, down),
            (up, down + 1),
            (up + 1, down),
            (up + 1, down + 1),
        ]
    });
    let ends = [(0, 1), (0, 2), (n - 3, n - 1), (n - 2, n - 1)];
    let graph = graph(&names(n, |at| format!("t{at}")), rungs.chain(ends));
    let (tree, _, _) = views(&graph);
    assert!(tree.lines < 200, "{}", tree.lines);
    let (mut theirs, mut none) = (Counter::default(), String::new());
    let view = View::default();
    pstree(&graph, Style::Cpython, &view, &mut theirs, &mut none).unwrap();
    assert!(theirs.lines > 1 << 14);
    let (mut theirs, mut note) = (Counter::default(), String::new());
    let view = View {
        lines_max: Some(100),
        ..View::default()
    };
    pstree(&graph, Style::Cpython, &view, &mut theirs, &mut note).unwrap();
    assert_eq!(theirs.lines, 100);
    assert!(!note.is_empty());
}

#[test]
fn a_fan_of_ten_thousand() {
    let n = 10_001;
    let alike = graph(
        &names(n, |at| format!("worker-{at}")),
        (1..n).map(|at| (0, at)),
    );
    let (tree, table, _) = views(&alike);
    assert_eq!((tree.lines, table.lines), (7, 10_003));
    // Names that tell something are all shown.
    let letters = |at: usize| char::from(b'a' + u8::try_from(at % 26).unwrap());
    let name = |at: usize| [at, at / 26, at / 676].map(letters).iter().collect();
    let different = graph(&names(n, name), (1..n).map(|at| (0, at)));
    let (tree, _, _) = views(&different);
    assert_eq!(tree.lines, 3 + 3 * 10_000);
}

#[test]
fn a_stack_of_sixty_thousand_frames() {
    let mut builder = GraphBuilder::new();
    let frames: Vec<_> = (0..60_000)
        .map(|line| {
            builder.frame(NewFrame {
                function: "step",
                file: Some("app.py"),
                line: Some(line),
                via: Via::Await,
            })
        })
        .collect();
    let stack = builder.stack(&frames);
    for at in 0..1_000 {
        builder.add_task(NewTask {
            id: TaskId(at),
            name: TaskName::Number(at),
            state: TaskState::Suspended,
            cancelling: at % 2 == 0,
            stack: if at == 0 { StackIdx::EMPTY } else { stack },
            awaiting: None,
        });
    }
    let (tree, table, _) = views(&builder.finish());
    assert!(tree.bytes < 1_000_000 && table.bytes < 1_000_000);
}
