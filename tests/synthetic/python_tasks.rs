//! Tasks that are implemented in Python, in memory made up by hand: found as they were made, and damaged.

use crate::process::layout::*;
use crate::process::{HEAPTYPE, Synth, make_type, object};
use crate::{lines, problem};
use asyncio_agent::limits::Limits;
use asyncio_agent::memory::{RemoteAddr, SynthMemory};

const INLINE_VALUES: u64 = 1 << 2;
const MANAGED_DICT: u64 = 1 << 4;
// As CPython 3.14 has them; no table says where they are.
const TYPE_BASIC_SIZE: u64 = 32;
const TYPE_CACHED_KEYS: u64 = 880;
const MODULE_DICT: u64 = 16;
const DICT_BEFORE: u64 = 24;
const DICT_KEYS: u64 = 24;
const DICT_VALUES: u64 = 32;
const KEYS_LOG2_INDEX_BYTES: u64 = 9;
const KEYS_KIND: u64 = 10;
const KEYS_N_ENTRIES: u64 = 24;
const NAMES: [&str; 4] = ["_loop", "_name", "_num_cancels_requested", "_coro"];

/// The example with two tasks implemented in Python, and the places in it that tests damage.
struct WithPython {
    synth: Synth,
    tasks: [RemoteAddr; 2],
    keys: RemoteAddr,
    modules: RemoteAddr,
    set: RemoteAddr,
    references: [RemoteAddr; 2],
}

/// A block of keys, with values beside them if there are any.
fn keys(synth: &mut Synth, entries: &[(&str, RemoteAddr)], kind: u8) -> RemoteAddr {
    let names: Vec<RemoteAddr> = entries.iter().map(|(name, _)| synth.text(name)).collect();
    let memory = &mut synth.memory;
    let at = memory.alloc(32 + 8 + 16 * 8);
    memory.put(at.plus(KEYS_LOG2_INDEX_BYTES), &[3]);
    memory.put(at.plus(KEYS_KIND), &[kind]);
    memory.put_u64(at.plus(KEYS_N_ENTRIES), entries.len() as u64);
    for (position, (name, (_, value))) in (0_u64..).zip(names.iter().zip(entries)) {
        let entry = at.plus(40 + 16 * position);
        memory.put_addr(entry, *name);
        memory.put_addr(entry.plus(8), *value);
    }
    at
}

fn dict(synth: &mut Synth, entries: &[(&str, RemoteAddr)]) -> RemoteAddr {
    let keys = keys(synth, entries, 1);
    let at = synth.memory.alloc(64);
    synth.memory.put_addr(at.plus(DICT_KEYS), keys);
    at
}

fn module(synth: &mut Synth, globals: &[(&str, RemoteAddr)]) -> RemoteAddr {
    let globals = dict(synth, globals);
    let at = synth.memory.alloc(64);
    synth.memory.put_addr(at.plus(MODULE_DICT), globals);
    at
}

/// A class, and the keys that its instances share.
fn class(synth: &mut Synth, name: &str, attributes: &[&str]) -> (RemoteAddr, RemoteAddr) {
    let entries: Vec<_> = attributes
        .iter()
        .map(|name| (*name, RemoteAddr::NULL))
        .collect();
    let keys = keys(synth, &entries, 2);
    let plain = make_type(&mut synth.memory, name, HEAPTYPE);
    let memory = &mut synth.memory;
    let mut name_at = [0; 8];
    asyncio_agent::memory::ReadMemory::read_exact(memory, plain.plus(TYPE_NAME), &mut name_at)
        .expect("just made");
    let at = memory.alloc(1024);
    memory.put(at.plus(TYPE_NAME), &name_at);
    memory.put_u64(at.plus(TYPE_FLAGS), HEAPTYPE | INLINE_VALUES | MANAGED_DICT);
    memory.put_u64(at.plus(TYPE_BASIC_SIZE), 16);
    memory.put_addr(at.plus(TYPE_CACHED_KEYS), keys);
    (at, keys)
}

fn instance(memory: &mut SynthMemory, class: RemoteAddr, values: &[RemoteAddr]) -> RemoteAddr {
    let at = memory.alloc(256).plus(32);
    memory.put_addr(at.plus(8), class);
    memory.put(at.plus(16), &[8, 0, 1, 1]);
    for (position, value) in (0_u64..).zip(values) {
        memory.put_addr(at.plus(24 + 8 * position), *value);
    }
    at
}

impl WithPython {
    fn new() -> Self {
        let mut synth = Synth::example();
        let running_loop = synth.memory.alloc(64);
        let thread = synth.thread;
        synth
            .memory
            .put_addr(thread.plus(RUNNING_LOOP), running_loop);
        let (class_at, keys) = class(&mut synth, "Task", &NAMES);
        let code = synth.code("in_python", "/app/python.py", 7);
        let tasks = ["one", "two"].map(|name| {
            let iter = synth.future_iter();
            let coroutine = synth.coroutine(code, 3, iter);
            let (name, cancels) = (synth.text(name), synth.int(0));
            let values = [running_loop, name, cancels, coroutine];
            instance(&mut synth.memory, class_at, &values)
        });
        let reference_type = make_type(&mut synth.memory, "weakref.ReferenceType", 0);
        let references = tasks.map(|task| {
            let at = object(&mut synth.memory, reference_type, 64);
            synth.memory.put_addr(at.plus(16), task);
            at
        });
        // Made by the function that makes a set of awaiters.
        let scratch = synth.memory.alloc(TASK_SIZE);
        let set = synth.awaited_by_set(scratch, &references);
        let (weak_set_class, _) = class(&mut synth, "WeakSet", &["data"]);
        let weak_set = instance(&mut synth.memory, weak_set_class, &[set]);
        let tasks_module = module(&mut synth, &[("_scheduled_tasks", weak_set)]);
        let modules = dict(&mut synth, &[("asyncio.tasks", tasks_module)]);
        let interpreter = synth.interpreter;
        synth.memory.put_addr(interpreter.plus(IMPORTS), modules);
        Self {
            synth,
            tasks,
            keys,
            modules,
            set,
            references,
        }
    }

    /// How many tasks are left after some damage, and which problems there are.
    fn damaged(damage: impl FnOnce(&mut Self)) -> (usize, Vec<String>) {
        let mut made = Self::new();
        damage(&mut made);
        let read = made.synth.read_with(Limits::default());
        let problems = read.problems.into_iter().map(|problem| problem.code);
        (read.graph.tasks().len(), problems.collect())
    }
}

#[test]
fn found_as_they_were_made() {
    let made = WithPython::new();
    let read = made.synth.read();
    let python = lines(&read.graph).split_off(3);
    let expected =
        ["one", "two"].map(|name| format!("{name} Suspended in_python /app/python.py:7 <- "));
    assert_eq!(python, expected);
    assert_eq!((read.n_problems, read.graph.threads().len()), (0, 1));
}

#[test]
fn attributes_in_a_dict() {
    // One whose values stand in the object, and one whose values stand beside its keys.
    let mut made = WithPython::new();
    let shared = made.synth.memory.alloc(64);
    let (keys_at, task) = (made.keys, made.tasks[0]);
    made.synth.memory.put_addr(shared.plus(DICT_KEYS), keys_at);
    made.synth
        .memory
        .put_addr(shared.plus(DICT_VALUES), task.plus(16));
    made.synth.memory.put_addr(task.minus(DICT_BEFORE), shared);
    let name = made.synth.text("in a dict");
    let coroutine = *made.synth.coroutines.last().expect("just made");
    let own = dict(
        &mut made.synth,
        &[("other", name), ("_coro", coroutine), ("_name", name)],
    );
    let task = made.tasks[1];
    made.synth.memory.put_addr(task.minus(DICT_BEFORE), own);
    let read = made.synth.read();
    let lines = lines(&read.graph);
    assert_eq!(read.n_problems, 0);
    // Its loop is not known, so it stands with the tasks of no thread.
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[3].starts_with("one Suspended"), "{lines:?}");
    assert!(lines[4].starts_with("in a dict Suspended"), "{lines:?}");
}

#[test]
fn who_awaits_whom() {
    let mut made = WithPython::new();
    let (awaited, awaiter) = (made.tasks[0], made.synth.tasks[0]);
    // A native task that waits for one implemented in Python: nobody noted that but itself.
    made.synth
        .memory
        .put_addr(awaiter.plus(TASK_CORO - 8), awaited);
    let lines = lines(&made.synth.read_asleep().graph);
    assert!(lines[3].starts_with("one") && lines[3].ends_with("<- main"));
}

#[test]
fn damage_costs_what_it_hits() {
    assert_eq!(WithPython::damaged(|_| {}), (5, Vec::new()));
    let nowhere = RemoteAddr::new(0x1_0000_0000);
    // A dict that leads nowhere.
    let dict = WithPython::damaged(|made| {
        let at = made.tasks[0].minus(DICT_BEFORE);
        made.synth.memory.put_addr(at, nowhere);
    });
    assert_eq!(dict, (4, problem("memory_unmapped")));
    let values = WithPython::damaged(|made| {
        let at = made.tasks[0].plus(16);
        made.synth.memory.put(at, &[8, 0, 1, 0]);
    });
    // As of one that is being destroyed.
    assert_eq!(values, (4, Vec::new()));
    let cancels = WithPython::damaged(|made| {
        let name = made.synth.text("no number");
        let at = made.tasks[0].plus(24 + 16);
        made.synth.memory.put_addr(at, name);
    });
    assert_eq!(cancels, (4, problem("implausible_value")));
    let reference = WithPython::damaged(|made| {
        let at = made.references[0].plus(8);
        let text = made.synth.types.text;
        made.synth.memory.put_addr(at, text);
    });
    assert_eq!(reference, (4, problem("implausible_value")));
    // Keys that all of them share.
    for (field, value) in [
        (KEYS_N_ENTRIES, u64::MAX),
        (KEYS_N_ENTRIES, 1 << 19),
        (8, u64::MAX),
    ] {
        let (n_tasks, problems) = WithPython::damaged(|made| {
            let at = made.keys.plus(field);
            made.synth.memory.put_u64(at, value);
        });
        assert_eq!((n_tasks, problems.len()), (3, 2), "{problems:?}");
    }
}

#[test]
fn damaged_sets_and_modules_cost_the_tasks_of_no_list() {
    for (field, value) in [
        (SET_MASK, 1 << 63),
        (SET_MASK, 6),
        (SET_USED, 9),
        (SET_TABLE, 0),
    ] {
        let found = WithPython::damaged(|made| {
            let at = made.set.plus(field);
            made.synth.memory.put_u64(at, value);
        });
        assert_eq!(found, (3, problem("list_torn")), "{field} {value}");
    }
    // A count that is too high: its table is looked at for what is there.
    let used = WithPython::damaged(|made| {
        let at = made.set.plus(SET_USED);
        made.synth.memory.put_u64(at, 8);
    });
    assert_eq!(used, (5, Vec::new()));
    let modules = WithPython::damaged(|made| {
        let at = made.modules.plus(DICT_KEYS);
        made.synth.memory.put_u64(at, 0x1_0000_0000);
    });
    assert_eq!(modules, (3, problem("list_torn")));
}
