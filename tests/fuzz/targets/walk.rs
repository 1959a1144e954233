//! The whole walk over damaged memory that changes while it is read: it ends within its limits, and
//! what comes out is a graph that holds together and can be shown.

use super::edits::{self, Damaged};
use super::render;
use asyncio_agent::asyncio::{AsyncioOffsets, Read, find_asyncio, read_graph};
use asyncio_agent::cpython::{
    DecodeError, Modules, RuntimeSite, TypeCache, find_runtime, has_module,
};
use asyncio_agent::limits::{Limits, SYSCALL_WORK};
use asyncio_agent::memory::{ReadMemory, Reader};
use asyncio_agent::render::View;

/// Small enough for what they promise to be checked: seconds and gigabytes become milliseconds and
/// megabytes.
pub(crate) const LIMITS: Limits = Limits {
    interpreters_max: 8,
    threads_max: 32,
    tasks_max: 128,
    frames_per_task_max: 64,
    awaiters_per_task_max: 128,
    set_slots_max: 1 << 12,
    string_chars_max: 1_024,
    line_table_bytes_max: 1 << 12,
    bytes_read_max: 16 << 20,
    copies_bytes_max: 1 << 20,
    decoded_bytes_max: 1 << 20,
    work_max: 100_000,
    problems_max: 40,
};

/// Reads after the work of a snapshot is used up: those of one read that was begun before.
const READS_BEYOND: u64 = 2_048;

/// The one place that knows how a walk is called.
fn walk(
    reader: &mut Reader<'_>,
    site: &RuntimeSite,
    asyncio: &AsyncioOffsets,
) -> Result<Read, DecodeError> {
    read_graph(reader, site, asyncio)
}

pub(crate) fn run(data: &[u8]) {
    let damaged = Damaged::new(data);
    // Tables as they were before the damage lead deeper; damaged ones must lead nowhere.
    let (site, asyncio) = match damaged.flags & 1 {
        0 => (damaged.image.site, damaged.image.asyncio),
        _ => match attach(&damaged) {
            Some(found) => found,
            None => return,
        },
    };
    let mut limits = LIMITS;
    if damaged.flags & 2 != 0 {
        limits.copies_bytes_max = 1 << 15;
        limits.tasks_max = 6;
        limits.frames_per_task_max = 3;
        limits.awaiters_per_task_max = 1;
    }
    if damaged.flags & 4 != 0 {
        limits.work_max = 4_000;
        limits.decoded_bytes_max = 2_000;
        limits.problems_max = 2;
    }
    let mut reader = Reader::new(&damaged.memory, limits);
    let read = match walk(&mut reader, &site, &asyncio) {
        Ok(read) => read,
        Err(error) => {
            assert!(error.is_fatal(), "{error}");
            return;
        }
    };
    let mut types = TypeCache::default();
    for interpreter in &read.interpreters {
        let _ = has_module(
            &mut reader,
            &site.offsets,
            &mut types,
            *interpreter,
            "asyncio",
        );
    }
    let stats = reader.stats();
    assert!(stats.bytes <= limits.bytes_read_max);
    let reads_max = limits.work_max / SYSCALL_WORK + READS_BEYOND;
    let n_reads = damaged.memory.n_reads();
    assert!(n_reads <= reads_max, "{n_reads} reads");
    check(&read, &limits);
    if read.graph.tasks().len() <= 32 {
        render::show(&read.graph, &View::default());
    }
}

/// What attaching finds in the memory before it changes.
fn attach(damaged: &Damaged) -> Option<(RuntimeSite, AsyncioOffsets)> {
    let memory: &dyn ReadMemory = &damaged.before;
    let maps = &damaged.image.maps;
    let mut modules = Modules::new(maps, |_| None);
    let site = find_runtime(memory, maps, &mut modules).ok()??;
    let asyncio = find_asyncio(memory, maps, &mut modules, &site.offsets).ok()??;
    Some((site, asyncio))
}

fn check(read: &Read, limits: &Limits) {
    let graph = &read.graph;
    let n_tasks = graph.tasks().len();
    assert!(n_tasks <= limits.tasks_max as usize);
    assert!(read.problems.len() <= limits.problems_max as usize);
    assert!(read.problems.len() as u64 <= read.n_problems);
    assert!(read.interpreters.len() <= limits.interpreters_max as usize);
    let name_bytes_max = 4 * usize::try_from(limits.string_chars_max).expect("small");
    for at in graph.indices() {
        let task = graph.task(at);
        let frames_max = 2 * limits.frames_per_task_max as usize;
        assert!(graph.stack(task.stack).len() <= frames_max);
        assert!(graph.awaiters(at).len() <= limits.awaiters_per_task_max as usize);
        if let Some(name) = graph.name(at) {
            assert!(name.to_string().len() <= name_bytes_max);
        }
        for frame in graph.stack(task.stack) {
            assert!(graph.text(frame.function).len() <= name_bytes_max);
        }
    }
    for edge in graph.edges() {
        assert!(edge.awaited.as_usize() < n_tasks);
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    edits::seeds()
}

#[cfg(test)]
mod tests {
    use super::super::image::{Build, Image, N_TASKS};
    use super::*;

    /// Otherwise the fuzzer would begin with something broken, and get nowhere.
    #[test]
    fn undamaged_processes_are_read_whole() {
        for build in [Build::V3_14, Build::V3_15, Build::FreeThreaded] {
            let image = Image::of(build);
            let mut reader = Reader::new(&image.pages, LIMITS);
            let read = walk(&mut reader, &image.site, &image.asyncio).expect("it does not go away");
            assert_eq!(read.problems, [], "{build:?}");
            assert_eq!(read.graph.tasks().len(), N_TASKS);
            assert_eq!(read.interpreters.len(), 2);
            let n_frames = |at| read.graph.stack(read.graph.task(at).stack).len();
            let frames: Vec<_> = read.graph.indices().map(n_frames).collect();
            assert_eq!(frames, [2, 2, 2, 2, 3, 3, 1, 1, 1]);
            let mut types = TypeCache::default();
            let first = read.interpreters[0];
            let offsets = &image.site.offsets;
            let found = has_module(&mut reader, offsets, &mut types, first, "asyncio");
            assert_eq!(found, Ok(true));
        }
    }
}
