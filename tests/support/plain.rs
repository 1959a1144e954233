//! A task graph as plain data: to be made of somebody else's answer, or changed on purpose.

use asyncio_agent::graph::{
    GraphBuilder, NewFrame, NewTask, ProcessInfo, ReadStats, Snapshot, TaskGraph, TaskName,
    TaskState, Via,
};
use asyncio_agent::ids::{TaskId, Tid};
use std::collections::HashMap;

#[derive(Debug, Clone)]
pub struct PlainTask {
    pub id: u64,
    pub name: String,
    pub state: TaskState,
    pub tid: u64,
    /// Innermost first.
    pub frames: Vec<PlainFrame>,
    /// The ids of those who await it.
    pub awaiters: Vec<u64>,
}

#[derive(Debug, Clone)]
pub struct PlainFrame {
    pub function: String,
    pub file: String,
    pub line: Option<u32>,
    pub via: Via,
}

/// The tasks of a graph, thread by thread.
pub fn tasks_of(graph: &TaskGraph) -> Vec<PlainTask> {
    let plain = |at| {
        let task = graph.task(at);
        let frames = graph.stack(task.stack).map(|frame| PlainFrame {
            function: graph.text(frame.function).to_owned(),
            file: frame.file.map_or("", |file| graph.text(file)).to_owned(),
            line: frame.line,
            via: frame.via,
        });
        PlainTask {
            id: task.id.0,
            name: graph
                .name(at)
                .map(|name| name.to_string())
                .unwrap_or_default(),
            state: task.state,
            tid: graph.thread_of(at).tid.0,
            frames: frames.collect(),
            awaiters: graph
                .awaiters(at)
                .iter()
                .map(|edge| edge.awaiter.0)
                .collect(),
        }
    };
    graph.indices().map(plain).collect()
}

/// A snapshot of these tasks. An awaiter that is not among them gets an empty stack.
pub fn snapshot_of(tasks: &[PlainTask], complete: bool) -> Snapshot {
    let mut builder = GraphBuilder::new();
    let mut stacks = HashMap::new();
    let mut added = Vec::new();
    let mut thread = None;
    for task in tasks {
        if thread != Some(task.tid) {
            builder.begin_thread(0, Tid(task.tid));
            thread = Some(task.tid);
        }
        let mut frames = Vec::new();
        for frame in &task.frames {
            frames.push(builder.frame(NewFrame {
                function: &frame.function,
                file: Some(&frame.file),
                line: frame.line,
                via: frame.via,
            }));
        }
        let stack = builder.stack(&frames);
        stacks.insert(task.id, stack);
        let name = TaskName::Text(builder.text(&task.name));
        added.push(builder.add_task(NewTask {
            id: TaskId(task.id),
            name,
            state: task.state,
            cancelling: false,
            stack,
            awaiting: None,
        }));
    }
    for (at, task) in added.into_iter().zip(tasks) {
        for awaiter in &task.awaiters {
            let stack = stacks.get(awaiter).copied();
            let stack = stack.unwrap_or(asyncio_agent::graph::StackIdx::EMPTY);
            builder.add_edge(at, TaskId(*awaiter), stack);
        }
    }
    Snapshot {
        process: ProcessInfo::default(),
        graph: builder.finish().into(),
        problems: Vec::new(),
        stats: ReadStats::default(),
        complete,
    }
}
