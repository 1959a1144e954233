//! The whole walk over damaged memory that changes while it is read: it ends within its limits, and
//! what comes out is a graph that holds together and can be shown.

use super::edits::{self, Damaged};
use super::image::{Build, Image, N_TASKS};
use super::render;
use asyncio_agent::asyncio::{
    AsyncioOffsets, Knowledge, Read, Stillness, Workspace, find_asyncio, read_graph,
};
use asyncio_agent::cpython::{
    DecodeError, Modules, RuntimeSite, TypeCache, find_runtime, has_module,
};
use asyncio_agent::graph::text;
use asyncio_agent::limits::{Limits, SYSCALL_WORK, TASKS_MAX};
use asyncio_agent::memory::{ReadMemory, Reader, ReaderStats};
use asyncio_agent::render::View;

/// Small enough for what they promise to be checked: seconds and gigabytes become milliseconds and
/// megabytes.
pub(crate) const LIMITS: Limits = Limits {
    interpreters_max: 8,
    threads_max: 32,
    tasks_max: 128,
    tasks_cap: TASKS_MAX,
    tasks_counted_max: 1_000,
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

/// Reads after the work of a snapshot is used up, and bytes of one that was begun before.
const READS_BEYOND: u64 = 2_048;
const BYTES_BEYOND: u64 = 1 << 17;

/// What a walk is told of whether the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It runs when the walk begins.
    Ran,
    /// It slept then, and ran before the walk had ended.
    Woke,
    /// It slept all the time.
    SleptOn,
    /// It was held all the time.
    Held,
}

impl Told {
    const ALL: [Self; 4] = [Self::Woke, Self::SleptOn, Self::Held, Self::Ran];
}

/// Walks as the library's callers do: what one walk learned and the memory it used are kept for the next.
#[derive(Default)]
pub(crate) struct Walker {
    knowledge: Knowledge,
    pub(crate) workspace: Workspace,
}

impl Walker {
    /// The one place that knows how a walk is called. Gives what was read, and what that cost.
    pub(crate) fn walk(
        &mut self,
        memory: &dyn ReadMemory,
        limits: Limits,
        (site, asyncio): &(RuntimeSite, AsyncioOffsets),
        stillness: Told,
    ) -> Result<(Read, ReaderStats), DecodeError> {
        let buffers = std::mem::take(&mut self.workspace.buffers);
        let mut reader = Reader::reuse(memory, limits, buffers);
        let (knowledge, workspace) = (&mut self.knowledge, &mut self.workspace);
        let stillness = match stillness {
            Told::Ran => Stillness::Runs,
            Told::Woke => Stillness::Slept(&mut || false),
            Told::SleptOn => Stillness::Slept(&mut || true),
            Told::Held => Stillness::Held(&mut || true),
        };
        let read = read_graph(&mut reader, site, asyncio, knowledge, workspace, stillness)?;
        let mut types = TypeCache::default();
        for interpreter in &read.interpreters {
            let offsets = &site.offsets;
            let _ = has_module(&mut reader, offsets, &mut types, *interpreter, "asyncio");
        }
        let stats = reader.stats();
        self.workspace.buffers = reader.into_buffers();
        Ok((read, stats))
    }
}

pub(crate) fn run(data: &[u8]) {
    let damaged = Damaged::new(data);
    let flags = damaged.flags;
    // Tables as they were before the damage lead deeper; damaged ones must lead nowhere.
    let found = match flags & 1 {
        0 => Some((damaged.image.site, damaged.image.asyncio)),
        _ => attach(&damaged),
    };
    let Some(found) = found else {
        return;
    };
    let limits = limits(flags);
    let mut walker = Walker::default();
    let mut reads: Vec<Read> = Vec::new();
    for nth in 0..=(flags >> 6) {
        let n_reads = damaged.memory.n_reads();
        let stillness = Told::ALL[usize::from((flags >> 4) + nth) % 4];
        match walker.walk(&damaged.memory, limits, &found, stillness) {
            Ok((read, stats)) => {
                assert!(stats.bytes <= limits.bytes_read_max + BYTES_BEYOND);
                check(&read, &limits);
                reads.push(read);
            }
            Err(error) => assert!(error.is_fatal(), "{error}"),
        }
        let reads_max = limits.work_max / SYSCALL_WORK + READS_BEYOND;
        let n_reads = damaged.memory.n_reads() - n_reads;
        assert!(n_reads <= reads_max, "{n_reads} reads");
    }
    if damaged.memory.is_constant() {
        check_equal(&reads);
    }
    if let Some(read) = reads.last()
        && read.graph.tasks().len() <= 32
    {
        render::show(&read.graph, &View::default());
    }
    if flags & 8 != 0 {
        check_clean(walker.workspace);
    }
}

fn limits(flags: u8) -> Limits {
    let mut limits = LIMITS;
    if flags & 2 != 0 {
        limits.copies_bytes_max = 1 << 15;
        limits.tasks_max = 6;
        limits.frames_per_task_max = 3;
        limits.awaiters_per_task_max = 1;
    }
    if flags & 4 != 0 {
        limits.work_max = 4_000;
        limits.decoded_bytes_max = 2_000;
        limits.problems_max = 2;
    }
    limits
}

/// What is learned from memory that does not change makes no difference.
fn check_equal(reads: &[Read]) {
    let whole = reads.iter().filter(|read| read.n_problems == 0);
    let mut graphs = whole.map(|read| text::print(&read.graph));
    if let Some(first) = graphs.next() {
        for graph in graphs {
            assert_eq!(graph, first);
        }
        // To learn is work, and to look more than once is.
        let is_cut = |read: &Read| {
            read.problems
                .iter()
                .any(|problem| problem.code == "limit_hit")
        };
        assert!(
            reads
                .iter()
                .all(|read| read.n_problems == 0 || is_cut(read))
        );
    }
}

/// What a walk used leaves nothing behind for the walk of another process.
fn check_clean(workspace: Workspace) {
    let image = Image::of(Build::V3_15);
    let mut walker = Walker {
        workspace,
        ..Walker::default()
    };
    let found = (image.site, image.asyncio);
    let read = walker.walk(&image.pages, LIMITS, &found, Told::Woke);
    let (read, _) = read.expect("it does not go away");
    assert_eq!((read.graph.tasks().len(), read.n_problems), (N_TASKS, 0));
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
    // Four bytes a character, and an ellipsis.
    let name_bytes_max = 4 * (1 + usize::try_from(limits.string_chars_max).expect("small"));
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
    use super::*;

    /// Otherwise the fuzzer would begin with something broken, and get nowhere.
    #[test]
    fn undamaged_processes_are_read_whole() {
        for build in [Build::V3_14, Build::V3_15, Build::FreeThreaded] {
            let image = Image::of(build);
            let found = (image.site, image.asyncio);
            let mut walker = Walker::default();
            for stillness in Told::ALL.repeat(2) {
                let read = walker.walk(&image.pages, LIMITS, &found, stillness);
                let (read, _) = read.expect("it does not go away");
                assert_eq!(read.problems, [], "{build:?}");
                assert_eq!(read.graph.tasks().len(), N_TASKS);
                assert_eq!(read.interpreters.len(), 3);
                let n_frames = |at| read.graph.stack(read.graph.task(at).stack).len();
                let frames: Vec<_> = read.graph.indices().map(n_frames).collect();
                assert_eq!(frames, [2, 2, 2, 2, 3, 3, 1, 1, 1]);
            }
        }
    }

    #[test]
    fn processes_with_many_of_something_are_read_whole() {
        let limits = Limits {
            interpreters_max: 100,
            threads_max: 100,
            ..LIMITS
        };
        for (build, nth) in (0..3).flat_map(|build| (0..4).map(move |nth| (build, nth))) {
            let damaged = Damaged::new(&edits::input_with_many(build, nth, 40));
            let found = (damaged.image.site, damaged.image.asyncio);
            let read = Walker::default().walk(&damaged.memory, limits, &found, Told::Woke);
            let (read, _) = read.expect("it does not go away");
            assert_eq!(read.problems, [], "{build} {nth}");
            let first = read
                .graph
                .task(read.graph.indices().next().expect("a task"));
            let found = (
                read.graph.tasks().len(),
                read.graph.stack(first.stack).len(),
                read.interpreters.len(),
            );
            let expected = match nth {
                0 => (N_TASKS + 40, 2, 3),
                1 => (N_TASKS, 42, 3),
                2 => (N_TASKS, 2, 3),
                _ => (N_TASKS, 2, 43),
            };
            assert_eq!(found, expected, "{build} {nth}");
        }
    }
}
