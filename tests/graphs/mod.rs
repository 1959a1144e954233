//! Random task graphs for the property tests: with cycles, tasks listed twice, awaiters that are not
//! listed, all states, and hostile names.

use asyncio_agent::graph::{
    FrameIdx, GraphBuilder, NewFrame, NewTask, StackIdx, TaskGraph, TaskName, TaskState, Via,
};
use asyncio_agent::ids::{TaskId, Tid};
use proptest::prelude::*;

const FUNCTIONS: [&str; 7] = [
    "main",
    "C.work",
    "f.<locals>.g",
    "<lambda>",
    "取得",
    "a b",
    "x\u{1b}[0m\n",
];
const FILES: [&str; 6] = [
    "",
    "~",
    "app.py",
    "/usr/lib/asyncio/tasks.py",
    "b c.py",
    "応用\u{202e}.py",
];
const KINDS: [&str; 3] = ["_asyncio.FutureIter", "some.Thing", "bad\r\nkind"];

#[derive(Debug, Clone)]
struct FrameSpec {
    function: usize,
    file: Option<usize>,
    line: Option<u32>,
    via: Via,
}

type StackSpec = Vec<FrameSpec>;

#[derive(Debug, Clone)]
struct TaskSpec {
    id: Id,
    name: Name,
    state: TaskState,
    cancelling: bool,
    stack: StackSpec,
    awaiting: Option<usize>,
    needs_one: bool,
    awaiters: Vec<(Awaiter, StackSpec, IsLoose)>,
}

type IsLoose = bool;

#[derive(Debug, Clone)]
enum Id {
    Usual,
    /// The id of the nth task before.
    Again(usize),
    Any(u64),
}

#[derive(Debug, Clone)]
enum Name {
    Unknown,
    Number(u64),
    Text(String),
}

#[derive(Debug, Clone)]
enum Awaiter {
    /// Some task; only one listed before if the graph is to have no cycle.
    Task(usize),
    /// The task itself or its own stack: what the real ones look like.
    TaskOwnStack(usize),
    Unlisted(u64),
}

/// What graphs to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kinds {
    /// Tasks at most.
    pub(crate) tasks_max: usize,
    /// Every task has a name.
    pub(crate) names: bool,
}

/// Graphs of up to so many tasks.
pub(crate) fn graphs(kinds: Kinds) -> impl Strategy<Value = TaskGraph> {
    let task = task(kinds);
    let threads = prop::collection::vec((0_i64..2, 0_u64..4), 1..4);
    (
        threads,
        prop::collection::vec((0_usize..6, task), 0..kinds.tasks_max),
        any::<bool>(),
        any::<u32>(),
    )
        .prop_map(|(threads, tasks, has_cycles, base)| build(&threads, &tasks, has_cycles, base))
}

fn stack() -> impl Strategy<Value = StackSpec> {
    let via = prop_oneof![
        12 => Just(Via::Await),
        1 => Just(Via::Generator),
        1 => Just(Via::CoroutineWrapper),
    ];
    let line = prop_oneof![
        1 => Just(None),
        1 => Just(Some(0)),
        4 => (1_u32..4).prop_map(Some),
    ];
    let frame = (
        0..FUNCTIONS.len(),
        prop::option::weighted(0.9, 0..FILES.len()),
        line,
        via,
    );
    let frame = frame.prop_map(|(function, file, line, via)| FrameSpec {
        function,
        file,
        line,
        via,
    });
    prop::collection::vec(frame, 0..4)
}

fn task(kinds: Kinds) -> impl Strategy<Value = TaskSpec> {
    let id = prop_oneof![
        12 => Just(Id::Usual),
        1 => (0_usize..8).prop_map(Id::Again),
        2 => prop_oneof![
            0_u64..40,
            (1_u64 << 61) - 2..(1_u64 << 61) + 2,
            any::<u64>(),
        ].prop_map(Id::Any),
    ];
    let text = prop_oneof![
        Just("worker".to_owned()),
        Just("Task-1".to_owned()),
        Just("thread".to_owned()),
        "[a-c]{0,2}[0-9]{0,2}",
        "\\PC{0,12}",
        any::<String>(),
    ];
    let has_names = kinds.names;
    let name = prop_oneof![
        1 => Just(if has_names { Name::Number(0) } else { Name::Unknown }),
        5 => (0_u64..30).prop_map(Name::Number),
        5 => text.prop_map(Name::Text),
    ];
    let state = prop_oneof![
        1 => Just(TaskState::Pending),
        1 => Just(TaskState::Created),
        4 => Just(TaskState::Suspended),
        1 => Just(TaskState::Running),
    ];
    let awaiter = prop_oneof![
        5 => (0_usize..40).prop_map(Awaiter::Task),
        5 => (0_usize..40).prop_map(Awaiter::TaskOwnStack),
        1 => prop_oneof![1_u64..4, any::<u64>()].prop_map(Awaiter::Unlisted),
    ];
    (
        id,
        name,
        state,
        (prop::bool::weighted(0.1), prop::bool::weighted(0.2)),
        stack(),
        prop::option::of(0..KINDS.len()),
        prop::collection::vec((awaiter, stack(), prop::bool::weighted(0.15)), 0..4),
    )
        .prop_map(
            |(id, name, state, (cancelling, needs_one), stack, awaiting, awaiters)| TaskSpec {
                id,
                name,
                state,
                cancelling,
                stack,
                awaiting,
                needs_one,
                awaiters,
            },
        )
}

fn build(
    threads: &[(i64, u64)],
    tasks: &[(usize, TaskSpec)],
    has_cycles: bool,
    base: u32,
) -> TaskGraph {
    let mut builder = GraphBuilder::new();
    let mut ids: Vec<TaskId> = Vec::new();
    for (at, (_, task)) in tasks.iter().enumerate() {
        let usual = 0x7f00_0000_0000 + (u64::from(base) * 16) + (at as u64) * 0xd0;
        ids.push(match task.id {
            Id::Usual => TaskId(usual),
            Id::Again(back) => ids.iter().rev().nth(back).copied().unwrap_or(TaskId(usual)),
            Id::Any(id) => TaskId(id),
        });
    }
    let mut threads = threads.iter();
    let begin = |builder: &mut GraphBuilder, thread: Option<&(i64, u64)>| {
        if let Some((interpreter, tid)) = thread {
            builder.begin_thread(*interpreter, Tid(*tid));
        }
    };
    begin(&mut builder, threads.next());
    let mut indices = Vec::new();
    let stacks: Vec<StackIdx> = tasks
        .iter()
        .map(|(_, task)| intern(&mut builder, &task.stack))
        .collect();
    for (at, (pause, task)) in tasks.iter().enumerate() {
        if *pause == 0 {
            begin(&mut builder, threads.next());
        }
        let name = match &task.name {
            Name::Unknown => TaskName::Unknown,
            Name::Number(number) => TaskName::Number(*number),
            Name::Text(text) => TaskName::Text(builder.text(text)),
        };
        let awaiting = task.awaiting.map(|kind| builder.text(KINDS[kind]));
        indices.push(builder.add_task(NewTask {
            id: ids[at],
            name,
            state: task.state,
            cancelling: task.cancelling,
            stack: stacks[at],
            awaiting,
        }));
        if task.needs_one {
            builder.set_needs_one(indices[at]);
        }
    }
    for (at, (_, task)) in tasks.iter().enumerate() {
        for (awaiter, stack, is_loose) in &task.awaiters {
            let below = if has_cycles { tasks.len() } else { at };
            match awaiter {
                Awaiter::Unlisted(id) => {
                    let stack = intern(&mut builder, stack);
                    builder.add_edge(indices[at], TaskId(*id), stack);
                }
                Awaiter::Task(_) | Awaiter::TaskOwnStack(_) if below == 0 => continue,
                Awaiter::Task(nth) => {
                    let stack = intern(&mut builder, stack);
                    builder.add_edge(indices[at], ids[nth % below], stack);
                }
                Awaiter::TaskOwnStack(nth) => {
                    builder.add_edge(indices[at], ids[nth % below], stacks[nth % below]);
                }
            }
            if *is_loose {
                builder.loosen_edge();
            }
        }
    }
    builder.finish()
}

fn intern(builder: &mut GraphBuilder, stack: &[FrameSpec]) -> StackIdx {
    let frames: Vec<FrameIdx> = stack
        .iter()
        .map(|frame| {
            builder.frame(NewFrame {
                function: FUNCTIONS[frame.function],
                file: frame.file.map(|file| FILES[file]),
                line: frame.line,
                via: frame.via,
            })
        })
        .collect();
    builder.stack(&frames)
}
