//! Task graphs from bytes: tasks listed several times, awaiters that no list holds, cycles, any text.

use super::input::Input;
use asyncio_agent::graph::{
    GraphBuilder, NewFrame, NewTask, StackIdx, TaskGraph, TaskIdx, TaskName, TaskState, Via,
};
use asyncio_agent::ids::{TaskId, Tid};

const TASKS_MAX: usize = 200;
const EDGES_MAX: usize = 600;
const FRAMES_MAX: usize = 600;
/// The id of the first task that has none of its own, and the distance to the next.
const FIRST_ID: u64 = 0x7f00_0000_1000;
const ID_STEP: u64 = 0xd0;

const TEXTS: [&str; 8] = [
    "main",
    "C.work",
    "Task-7",
    "worker-12",
    "",
    "~",
    "x\u{1b}[0m\n\u{202e}\"",
    "取得",
];
const STATES: [TaskState; 4] = [
    TaskState::Pending,
    TaskState::Created,
    TaskState::Suspended,
    TaskState::Running,
];
const VIAS: [Via; 5] = [
    Via::Await,
    Via::Generator,
    Via::AnextAwaitable,
    Via::Thread,
    Via::CoroutineWrapper,
];

#[derive(Default)]
struct Maker {
    builder: GraphBuilder,
    stacks: Vec<StackIdx>,
    tasks: Vec<(TaskIdx, TaskId)>,
    n_edges: usize,
    n_frames: usize,
}

/// The graph that these bytes tell, step by step.
pub(crate) fn graph(mut input: Input<'_>) -> TaskGraph {
    let mut maker = Maker::default();
    maker.stacks.push(StackIdx::EMPTY);
    while !input.is_empty() {
        match input.u8() % 8 {
            0 => {
                let interpreter = i64::from(input.u8() % 3);
                let tid = Tid(u64::from(input.u8() % 4));
                maker.builder.begin_thread(interpreter, tid);
            }
            1 => maker.stack(&mut input),
            2 | 3 => maker.task(&mut input),
            _ => maker.edge(&mut input),
        }
    }
    maker.builder.finish()
}

impl Maker {
    fn stack(&mut self, input: &mut Input<'_>) {
        let n = usize::from(input.u8() % 12).min(FRAMES_MAX - self.n_frames);
        self.n_frames += n;
        let mut frames = Vec::new();
        for _ in 0..n {
            let kind = input.u8();
            let function = text(input);
            let file = (kind & 1 == 0).then(|| text(input));
            frames.push(self.builder.frame(NewFrame {
                function: &function,
                file: file.as_deref(),
                line: (kind & 2 == 0).then(|| u32::from(input.u8())),
                // Plain awaits are the usual.
                via: if kind & 4 == 0 {
                    Via::Await
                } else {
                    input.choose(&VIAS)
                },
            }));
        }
        self.stacks.push(self.builder.stack(&frames));
    }

    fn task(&mut self, input: &mut Input<'_>) {
        if self.tasks.len() >= TASKS_MAX {
            return;
        }
        let kind = input.u8();
        let usual = FIRST_ID + ID_STEP * self.tasks.len() as u64;
        let id = match kind & 7 {
            0 => TaskId(input.u64()),
            1 => self.some_task(input).map_or(TaskId(usual), |(_, id)| id),
            _ => TaskId(usual),
        };
        let name = match (kind >> 3) & 3 {
            0 => TaskName::Number(u64::from(input.u8())),
            1 => TaskName::Unknown,
            // As the readers make names; one that looks like a default name becomes it.
            _ => self.builder.name(&text(input)),
        };
        let awaiting = (kind & 32 != 0).then(|| self.builder.text(&text(input)));
        let stack = input.choose(&self.stacks);
        let at = self.builder.add_task(NewTask {
            id,
            name,
            state: STATES[usize::from(kind >> 6)],
            cancelling: kind & 63 == 63,
            stack,
            awaiting,
        });
        self.tasks.push((at, id));
    }

    fn edge(&mut self, input: &mut Input<'_>) {
        let Some((awaited, _)) = self.some_task(input) else {
            return;
        };
        if self.n_edges >= EDGES_MAX {
            return;
        }
        self.n_edges += 1;
        let kind = input.u8();
        let awaiter = match self.some_task(input) {
            Some((_, id)) if kind & 15 != 0 => id,
            _ => TaskId(input.u64()),
        };
        let stack = input.choose(&self.stacks);
        self.builder.add_edge(awaited, awaiter, stack);
    }

    fn some_task(&self, input: &mut Input<'_>) -> Option<(TaskIdx, TaskId)> {
        let at = usize::from(input.u8());
        self.tasks.get(at.checked_rem(self.tasks.len())?).copied()
    }
}

fn text(input: &mut Input<'_>) -> String {
    match input.u8() {
        kind @ 0..128 => TEXTS[usize::from(kind) % TEXTS.len()].to_owned(),
        _ => input.text(),
    }
}

/// Bytes of a graph with a bit of everything.
pub(crate) fn seed() -> Vec<u8> {
    let mut seed = vec![0, 0, 1];
    // Two stacks, five tasks with different names, edges that share one and close a cycle.
    seed.extend([1, 3, 0, 0, 0, 1, 4, 1, 1, 2, 1, 4, 0, 2, 7]);
    seed.extend([1, 1, 0, 1, 2, 3]);
    for task in 0..5 {
        seed.extend([2, 2 | (16 * (task % 2)) | (64 * (task % 4)), task, task % 3]);
    }
    for edge in [
        [1, 1, 0, 1],
        [2, 1, 1, 2],
        [3, 1, 1, 0],
        [4, 1, 3, 1],
        [1, 1, 4, 2],
        [2, 0, 9, 9],
    ] {
        seed.push(4);
        seed.extend(edge);
    }
    seed
}
