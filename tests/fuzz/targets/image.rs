//! The small valid process that inputs damage: the one of the tests on synthetic memory, with everything
//! added that the readers tell apart.

use super::pages::Pages;
use super::process::layout::*;
use super::process::{HEAPTYPE, Synth, make_type, object};
use asyncio_agent::asyncio::{AsyncioOffsets, find_asyncio};
use asyncio_agent::cpython::{Modules, Quirks, RuntimeSite, find_runtime};
use asyncio_agent::memory::RemoteAddr;
use asyncio_agent::procfs::Maps;
use std::sync::LazyLock;

/// Tasks of the process.
pub(crate) const N_TASKS: usize = 9;
/// The mapping of the tables.
pub(crate) const DATA: u64 = 0x60_0000;
/// Where the layout of `process` has what it does not name.
const CURRENT_FRAME: u64 = 32;
const FRAME_PREVIOUS: u64 = 16;
const FRAME_SIZE: u64 = 64;
const DICT_KEYS: u64 = 24;
const TABLE_BYTES: u64 = 888;
/// What an iterator, step or wrapper holds stands after its head.
const INNER: u64 = 16;

/// What the process was built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    V3_14,
    V3_15,
    /// 3.14, read as if it were free-threaded. Only the code that follows copies of instructions
    /// becomes reachable by that; objects keep their heads.
    FreeThreaded,
}

/// A whole process.
pub(crate) struct Image {
    pub(crate) pages: Pages,
    pub(crate) maps: Maps,
    pub(crate) site: RuntimeSite,
    pub(crate) asyncio: AsyncioOffsets,
    /// Objects and other places of which many depend.
    pub(crate) places: Vec<RemoteAddr>,
    pub(crate) coroutines: Vec<RemoteAddr>,
    pub(crate) tasks: Vec<RemoteAddr>,
    /// A thread and an interpreter without tasks.
    pub(crate) idle: [RemoteAddr; 2],
    pub(crate) heap: RemoteAddr,
    pub(crate) heap_bytes: u64,
}

impl Image {
    /// The process of this build.
    pub(crate) fn of(build: Build) -> &'static Self {
        static V3_14: LazyLock<Image> = LazyLock::new(|| Image::new(Build::V3_14));
        static V3_15: LazyLock<Image> = LazyLock::new(|| Image::new(Build::V3_15));
        static FREE_THREADED: LazyLock<Image> = LazyLock::new(|| Image::new(Build::FreeThreaded));
        match build {
            Build::V3_14 => &V3_14,
            Build::V3_15 => &V3_15,
            Build::FreeThreaded => &FREE_THREADED,
        }
    }

    fn new(build: Build) -> Self {
        let mut synth = Synth::example();
        let mut places = add_steps(&mut synth);
        places.extend(add_running(&mut synth));
        places.extend(add_lists(&mut synth));
        places.push(add_modules(&mut synth));
        let idle = add_idle(&mut synth);
        places.extend([synth.interpreter, synth.thread]);
        places.extend(idle);
        places.extend(
            synth
                .tasks
                .iter()
                .chain(&synth.coroutines)
                .chain(&synth.codes),
        );
        let types = synth.types;
        places.extend([types.coroutine, types.code, types.text, types.int]);
        places.extend([types.set, types.future_iter, types.future]);
        places.extend([synth.runtime, synth.asyncio_table]);
        if build == Build::V3_15 {
            become_3_15(&mut synth);
        }
        let pages = Pages::of(&synth.memory);
        let mut modules = Modules::new(&synth.maps, |_| None);
        let mut site = find_runtime(&pages, &synth.maps, &mut modules)
            .expect("a table that makes sense")
            .expect("a runtime");
        let asyncio = find_asyncio(&pages, &synth.maps, &mut modules, &site.offsets)
            .expect("a table that makes sense")
            .expect("a table");
        drop(modules);
        if build == Build::FreeThreaded {
            let offsets = &mut site.offsets;
            offsets.free_threaded = true;
            offsets.quirks = Quirks {
                text_kind_shift: offsets.quirks.text_kind_shift,
                ..Quirks::of(offsets.version, true)
            };
            // Zero in the example: the first copy, which is the code itself.
            offsets.interpreter_frame.tlbc_index = 4;
            offsets.code_object.co_tlbc = 56;
        }
        let in_heap = |at: &u64| *at > DATA + 0x10_0000;
        let heap = pages.addresses().find(in_heap).expect("a heap");
        let n_pages = pages.addresses().filter(in_heap).count() as u64;
        Self {
            pages,
            maps: synth.maps,
            site,
            asyncio,
            places,
            coroutines: synth.coroutines,
            tasks: synth.tasks,
            idle,
            heap: RemoteAddr::new(heap),
            heap_bytes: n_pages * 4096,
        }
    }
}

/// A coroutine-like object of another type.
fn suspended(
    synth: &mut Synth,
    kind: RemoteAddr,
    code: RemoteAddr,
    awaited: RemoteAddr,
) -> RemoteAddr {
    let at = synth.coroutine(code, 5, awaited);
    synth.memory.put_addr(at.plus(8), kind);
    at
}

fn wrapper(synth: &mut Synth, kind: RemoteAddr, inner: RemoteAddr) -> RemoteAddr {
    let at = object(&mut synth.memory, kind, 24);
    synth.memory.put_addr(at.plus(INNER), inner);
    at
}

/// Two tasks of the thread that await through everything that has a frame or holds one that has.
fn add_steps(synth: &mut Synth) -> Vec<RemoteAddr> {
    let mut kind = |name| make_type(&mut synth.memory, name, 0);
    let (generator, async_generator) = (kind("generator"), kind("async_generator"));
    let (asend, anext) = (kind("async_generator_asend"), kind("anext_awaitable"));
    let wrapping = kind("coroutine_wrapper");
    let other = make_type(&mut synth.memory, "some.Awaitable", HEAPTYPE);
    let code = synth.code("Steps.gen", "/app/steps.py", 30);
    let outer_code = synth.code("outer", "/app/steps.py", 1);
    let iter = synth.future_iter();
    let yielding = suspended(synth, async_generator, code, iter);
    let step = wrapper(synth, asend, yielding);
    let outer = synth.coroutine(outer_code, 2, step);
    let name = synth.text("steps");
    let steps = synth.task(name, outer);
    let awaitable = object(&mut synth.memory, other, 32);
    let innermost = suspended(synth, generator, code, awaitable);
    let inner = synth.coroutine(code, 7, innermost);
    let wrapped = wrapper(synth, wrapping, inner);
    let next = wrapper(synth, anext, wrapped);
    let outer = synth.coroutine(outer_code, 3, next);
    let name = synth.text("wrappers");
    let wrappers = synth.task(name, outer);
    synth.awaited_by_one(wrappers, steps);
    vec![
        iter,
        step,
        awaitable,
        wrapped,
        next,
        generator,
        async_generator,
        asend,
        anext,
        wrapping,
    ]
}

/// A task that its thread executes, two frames deep.
fn add_running(synth: &mut Synth) -> Vec<RemoteAddr> {
    let code = synth.code("busy", "/app/busy.py", 90);
    let coroutine = synth.coroutine(code, 9, RemoteAddr::NULL);
    synth.memory.put(coroutine.plus(GEN_STATE), &[0]); // executing, in 3.14
    let name = synth.text("running");
    let task = synth.task(name, coroutine);
    synth.memory.put_addr(synth.thread.plus(RUNNING_TASK), task);
    synth.memory.put_addr(synth.thread.plus(RUNNING_LOOP), task);
    let mut previous = coroutine.plus(GEN_FRAME);
    let mut frames = Vec::new();
    for owner in [3, 0, 0] {
        let frame = synth.memory.alloc(FRAME_SIZE);
        synth.memory.put_addr(frame.plus(FRAME_EXECUTABLE), code);
        synth
            .memory
            .put_addr(frame.plus(FRAME_INSTR), code.plus(CODE_START + 4));
        synth.memory.put(frame.plus(FRAME_OWNER), &[owner]);
        synth.memory.put_addr(frame.plus(FRAME_PREVIOUS), previous);
        previous = frame;
        frames.push(frame);
    }
    synth
        .memory
        .put_addr(synth.thread.plus(CURRENT_FRAME), previous);
    frames
}

/// A task whose thread has ended, a second thread and a second interpreter with a task each.
fn add_lists(synth: &mut Synth) -> Vec<RemoteAddr> {
    let code = synth.code("elsewhere", "/app/elsewhere.py", 5);
    let thread = synth.memory.alloc(THREAD_IMPL_SIZE);
    let interpreter = synth.memory.alloc(INTERPRETER_SIZE);
    let other = synth.memory.alloc(THREAD_IMPL_SIZE);
    let memory = &mut synth.memory;
    memory.put_addr(synth.thread.plus(THREAD_NEXT), thread);
    memory.put_addr(thread.plus(THREAD_INTERP), synth.interpreter);
    memory.put_u64(thread.plus(THREAD_NATIVE), 4243);
    memory.put_addr(synth.interpreter.plus(INTERPRETER_NEXT), interpreter);
    memory.put_u64(interpreter.plus(INTERPRETER_ID), 1);
    memory.put_addr(interpreter.plus(THREADS_HEAD), other);
    memory.put_addr(other.plus(THREAD_INTERP), interpreter);
    memory.put_u64(other.plus(THREAD_NATIVE), 4244);
    let empty = interpreter.plus(INTERPRETER_TASKS);
    memory.put_addr(empty, empty);
    memory.put_addr(empty.plus(8), empty);
    let mut places = vec![thread, interpreter, other];
    for head in [
        synth.interpreter.plus(INTERPRETER_TASKS),
        thread.plus(THREAD_TASKS),
        other.plus(THREAD_TASKS),
    ] {
        let iter = synth.future_iter();
        let coroutine = synth.coroutine(code, 1, iter);
        let name = synth.int(77);
        let task = object(&mut synth.memory, synth.types.future, TASK_SIZE);
        let memory = &mut synth.memory;
        memory.put_addr(task.plus(TASK_NAME), name);
        memory.put(task.plus(TASK_IS_TASK), &[1]);
        memory.put_addr(task.plus(TASK_CORO), coroutine);
        memory.put_addr(task.plus(TASK_AWAITED_BY), synth.tasks[0]);
        let node = task.plus(TASK_NODE);
        for (place, value) in [
            (head, node),
            (head.plus(8), node),
            (node, head),
            (node.plus(8), head),
        ] {
            memory.put_addr(place, value);
        }
        places.push(task);
    }
    places
}

/// A thread without tasks, and an interpreter without threads.
fn add_idle(synth: &mut Synth) -> [RemoteAddr; 2] {
    let thread = synth.memory.alloc(THREAD_IMPL_SIZE);
    let interpreter = synth.memory.alloc(INTERPRETER_SIZE);
    let memory = &mut synth.memory;
    memory.put_addr(thread.plus(THREAD_INTERP), synth.interpreter);
    memory.put_addr(thread.plus(THREAD_NEXT), synth.thread);
    memory.put_addr(synth.interpreter.plus(THREADS_HEAD), thread);
    memory.put_u64(interpreter.plus(INTERPRETER_ID), 2);
    memory.put_addr(interpreter.plus(INTERPRETER_NEXT), synth.interpreter);
    memory.put_addr(synth.runtime.plus(INTERPRETERS_HEAD), interpreter);
    let thread_tasks = thread.plus(THREAD_TASKS);
    for head in [thread_tasks, interpreter.plus(INTERPRETER_TASKS)] {
        memory.put_addr(head, head);
        memory.put_addr(head.plus(8), head);
    }
    [thread, interpreter]
}

/// `sys.modules` of the first interpreter, with two modules.
fn add_modules(synth: &mut Synth) -> RemoteAddr {
    let names = [synth.text("sys"), synth.text("asyncio")];
    let keys = synth.memory.alloc(128);
    synth.memory.put(keys.plus(8), &[3, 3, 1]);
    synth.memory.put_u64(keys.plus(24), 2);
    for (entry, name) in (0_u64..).zip(names) {
        synth.memory.put_addr(keys.plus(40 + 16 * entry), name);
    }
    let dict = object(&mut synth.memory, synth.types.set, 64);
    synth.memory.put_addr(dict.plus(DICT_KEYS), keys);
    synth.memory.put_addr(synth.interpreter.plus(IMPORTS), dict);
    keys
}

/// Turns a process of 3.14 into one of 3.15: another table, other states, another place of what a frame
/// awaits.
fn become_3_15(synth: &mut Synth) {
    let before = Pages::of(&synth.memory);
    let word = |at: RemoteAddr| {
        let mut bytes = [0; 8];
        let read = asyncio_agent::memory::ReadMemory::read_exact(&before, at, &mut bytes);
        read.expect("the image is mapped");
        u64::from_le_bytes(bytes)
    };
    let words: Vec<(u64, u64)> = (24..760)
        .step_by(8)
        .filter_map(|at| Some((position_in_3_15(at)?, word(synth.runtime.plus(at)))))
        .collect();
    for at in (24..TABLE_BYTES).step_by(8) {
        synth.memory.put_u64(synth.runtime.plus(at), 0);
    }
    for (at, word) in words {
        synth.memory.put_u64(synth.runtime.plus(at), word);
    }
    synth.memory.put_u64(synth.runtime.plus(8), 0x030f_02f0);
    for coroutine in synth.coroutines.clone() {
        let state = match word(coroutine.plus(GEN_STATE)).to_le_bytes()[0] {
            0xff => 2,
            _ => 4,
        };
        synth.memory.put(coroutine.plus(GEN_STATE), &[state]);
        let stack_pointer = coroutine.plus(GEN_FRAME + FRAME_STACK);
        synth.memory.put_u64(stack_pointer, word(stack_pointer) + 8);
    }
}

/// Where the table of 3.15 has the word that stands at `at` in that of 3.14.
fn position_in_3_15(at: u64) -> Option<u64> {
    let shift = match at {
        24..=208 => 0,
        224 => 24,
        248..=440 => 64,
        448..=640 => 96,
        664..=704 => 128,
        // The last word.
        752 => 128,
        _ => return None,
    };
    Some(at + shift)
}
