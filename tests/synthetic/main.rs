//! The readers over memory made up by hand, then damaged one field at a time, and at random.

mod process;
mod python_tasks;

use asyncio_agent::asyncio::{Stillness, find_asyncio};
use asyncio_agent::cpython::{Modules, Offsets, OffsetsError};
use asyncio_agent::graph::{TaskGraph, TaskState, find_cycles};
use asyncio_agent::limits::Limits;
use asyncio_agent::memory::{ReadMemory, RemoteAddr, SynthMemory};
use process::layout::*;
use process::{Synth, debug_offsets, make_type, object};
use proptest::prelude::*;

/// One line a task: name, state, stack, awaiters.
fn lines(graph: &TaskGraph) -> Vec<String> {
    let name = |at| {
        graph
            .name(at)
            .map_or_else(|| "?".to_owned(), |name| name.to_string())
    };
    graph
        .indices()
        .map(|at| {
            let task = graph.task(at);
            let frames: Vec<String> = graph
                .stack(task.stack)
                .map(|frame| {
                    let file = frame.file.map_or("?", |file| graph.text(file));
                    let line = frame
                        .line
                        .map_or_else(|| "?".to_owned(), |line| line.to_string());
                    format!("{} {file}:{line}", graph.text(frame.function))
                })
                .collect();
            let awaiters: Vec<String> = graph
                .awaiters(at)
                .iter()
                .map(|edge| {
                    edge.awaiter_task
                        .map_or_else(|| "unlisted".to_owned(), name)
                })
                .collect();
            format!(
                "{} {:?} {} <- {}",
                name(at),
                task.state,
                frames.join(", "),
                awaiters.join(", ")
            )
        })
        .collect()
}

#[test]
fn the_example_is_read_as_it_was_made() {
    let read = Synth::example().read();
    assert_eq!(
        lines(&read.graph),
        [
            "main Suspended sleep /app/🎵.py:701, main /app/主.py:10 <- ",
            "Task-7 Suspended sleep /app/🎵.py:701, Worker.run /app/work.py:70 <- main",
            "héllo Suspended sleep /app/🎵.py:701, Worker.run /app/work.py:70 <- main, Task-7",
        ]
    );
    assert_eq!(
        (read.n_problems, read.tasks_unreadable, read.restarts),
        (0, 0, 0)
    );
    assert_eq!(read.graph.threads().len(), 1);
    let awaiting = read.graph.tasks()[0]
        .awaiting
        .map(|text| read.graph.text(text));
    assert_eq!(awaiting, Some("_asyncio.Future"));
}

#[test]
fn tasks_of_an_ended_thread_are_in_their_interpreters_list() {
    let mut synth = Synth::example();
    let head = synth.interpreter.plus(INTERPRETER_TASKS);
    let code = synth.code("left", "/app/left.py", 5);
    let iter = synth.future_iter();
    let coroutine = synth.coroutine(code, 0, iter);
    let name = synth.text("left behind");
    let at = object(&mut synth.memory, synth.types.future, TASK_SIZE);
    synth.memory.put_addr(at.plus(TASK_NAME), name);
    synth.memory.put(at.plus(TASK_IS_TASK), &[1]);
    synth.memory.put_addr(at.plus(TASK_CORO), coroutine);
    for (place, value) in [
        (head, at.plus(TASK_NODE)),
        (head.plus(8), at.plus(TASK_NODE)),
    ] {
        synth.memory.put_addr(place, value);
    }
    synth.memory.put_addr(at.plus(TASK_NODE), head);
    synth.memory.put_addr(at.plus(TASK_NODE + 8), head);
    let read = synth.read();
    assert_eq!(read.graph.tasks().len(), 4);
    assert_eq!(
        read.graph
            .threads()
            .iter()
            .map(|t| t.tid.0)
            .collect::<Vec<_>>(),
        [4242, 0]
    );
    assert_eq!(read.n_problems, 0);
}

#[test]
fn a_running_task_and_one_that_was_never_started() {
    let mut synth = Synth::example();
    synth
        .memory
        .put_addr(synth.thread.plus(RUNNING_TASK), synth.tasks[0]);
    let mut running = [0; 8];
    let running_at = synth.tasks[0].plus(TASK_CORO);
    synth.memory.read_exact(running_at, &mut running).unwrap();
    let running = RemoteAddr::new(u64::from_le_bytes(running));
    synth.memory.put(running.plus(GEN_STATE), &[0]);
    let outermost = synth.coroutines[3];
    synth
        .memory
        .put(outermost.plus(GEN_STATE), &[(-3_i8).cast_unsigned()]);
    let read = synth.read();
    let states: Vec<_> = read.graph.tasks().iter().map(|task| task.state).collect();
    assert_eq!(
        states,
        [TaskState::Running, TaskState::Created, TaskState::Suspended]
    );
    assert_eq!(read.n_problems, 0);
}

/// Damages the example, and says how many tasks and edges are left and which problems there are.
fn damaged(damage: impl FnOnce(&mut Synth)) -> (usize, usize, Vec<String>) {
    let mut synth = Synth::example();
    damage(&mut synth);
    let limits = Limits {
        set_slots_max: 1 << 10,
        ..Limits::default()
    };
    let read = synth.read_with(limits);
    let problems = read
        .problems
        .iter()
        .map(|problem| problem.code.clone())
        .collect();
    (read.graph.tasks().len(), read.graph.edges().len(), problems)
}

fn problem(code: &str) -> Vec<String> {
    vec![code.to_owned()]
}

#[test]
fn a_damaged_task_costs_that_task_only() {
    // A name that is no string and no int.
    let name_is_a_set = |synth: &mut Synth| {
        let set = object(&mut synth.memory, synth.types.set, 64);
        let task = synth.tasks[0];
        synth.memory.put_addr(task.plus(TASK_NAME), set);
    };
    assert_eq!(damaged(name_is_a_set), (2, 1, problem("implausible_value")));
    // A string longer than any memory: what is there of it is not mapped that far.
    let long_name = |synth: &mut Synth| {
        let text = synth.text("x");
        synth.memory.put_u64(text.plus(16), 1 << 40);
        let task = synth.tasks[0];
        synth.memory.put_addr(task.plus(TASK_NAME), text);
    };
    assert_eq!(damaged(long_name).2, problem("memory_unmapped"));
    // A string that is said to be ASCII, of two bytes a character.
    let wide_ascii = |synth: &mut Synth| {
        let text = synth.text("wide");
        synth.memory.put(text.plus(32), &[(2 << 2) | (3 << 5)]);
        let task = synth.tasks[0];
        synth.memory.put_addr(task.plus(TASK_NAME), text);
    };
    assert_eq!(damaged(wide_ascii), (2, 1, problem("implausible_value")));
    // A stack pointer outside of the stack.
    let stack_pointer = |synth: &mut Synth| {
        let frame = synth.coroutines[1].plus(GEN_FRAME + FRAME_STACK);
        synth.memory.put_u64(frame, 0x10);
    };
    assert_eq!(damaged(stack_pointer), (2, 1, problem("implausible_value")));
    // An instruction pointer outside of the code.
    let instr = |synth: &mut Synth| {
        let code = synth.codes[0];
        let frame = synth.coroutines[1].plus(GEN_FRAME + FRAME_INSTR);
        synth.memory.put_addr(frame, code.plus(CODE_START + 40));
    };
    assert_eq!(damaged(instr), (2, 1, problem("implausible_value")));
    // A frame that belongs to nobody known, a state that does not exist.
    let owner = |synth: &mut Synth| {
        let frame = synth.coroutines[1].plus(GEN_FRAME + FRAME_OWNER);
        synth.memory.put(frame, &[93]);
    };
    assert_eq!(damaged(owner), (2, 1, problem("implausible_value")));
    let state = |synth: &mut Synth| {
        let at = synth.coroutines[1].plus(GEN_STATE);
        synth.memory.put(at, &[77]);
    };
    assert_eq!(damaged(state), (2, 1, problem("implausible_value")));
}

#[test]
fn a_damaged_set_of_awaiters() {
    let set_field = |field: u64, value: u64| {
        damaged(|synth| {
            let task = synth.tasks[2];
            let mains = synth.tasks[0];
            let set = synth.awaited_by_set(task, &[mains]);
            synth.memory.put_u64(set.plus(field), value);
        })
    };
    assert_eq!(set_field(SET_MASK, 1 << 63).2, problem("implausible_value"));
    assert_eq!(
        set_field(SET_MASK, u64::MAX).2,
        problem("implausible_value")
    );
    assert_eq!(set_field(SET_MASK, 6).2, problem("implausible_value"));
    assert_eq!(set_field(SET_USED, 9).2, problem("implausible_value"));
    assert_eq!(set_field(SET_USED, 3).2, problem("implausible_value"));
    assert_eq!(set_field(SET_TABLE, 0).2, problem("memory_unmapped"));
    // More slots than are looked at: what was seen counts, and the rest is reported.
    assert_eq!(set_field(SET_MASK, (1 << 40) - 1).2[0], "memory_unmapped");
}

#[test]
fn an_awaiter_that_is_nothing_known_is_no_edge() {
    let garbage = |synth: &mut Synth| {
        let nowhere = RemoteAddr::new(0x1_0000_0000);
        let task = synth.tasks[1];
        synth.awaited_by_one(task, nowhere);
    };
    assert_eq!(damaged(garbage), (3, 2, problem("awaiter_unreadable")));
}

#[test]
fn broken_lists_end() {
    // The second task's link leads back to itself.
    let own_tail = |synth: &mut Synth| {
        let node = synth.tasks[1].plus(TASK_NODE);
        synth.memory.put_addr(node, node);
    };
    assert_eq!(damaged(own_tail), (2, 1, problem("list_torn")));
    let null = |synth: &mut Synth| {
        let node = synth.tasks[1].plus(TASK_NODE);
        synth.memory.put_u64(node, 0);
    };
    let (tasks, _, problems) = damaged(null);
    assert!(
        tasks <= 2 && problems.contains(&"list_torn".to_owned()),
        "{tasks} {problems:?}"
    );
    // Threads and interpreters in a circle.
    let threads = |synth: &mut Synth| {
        let thread = synth.thread;
        synth.memory.put_addr(thread.plus(THREAD_NEXT), thread);
    };
    assert_eq!(damaged(threads), (3, 3, problem("list_torn")));
    let interpreters = |synth: &mut Synth| {
        let interpreter = synth.interpreter;
        synth
            .memory
            .put_addr(interpreter.plus(INTERPRETER_NEXT), interpreter);
    };
    assert_eq!(damaged(interpreters), (3, 3, problem("list_torn")));
}

#[test]
fn a_coroutine_that_awaits_itself_is_left_out() {
    let awaits_itself = |synth: &mut Synth| {
        let coroutine = synth.coroutines[1];
        let stack = coroutine.plus(GEN_FRAME + FRAME_LOCALS + 16);
        synth.memory.put_addr(stack, coroutine);
    };
    assert_eq!(damaged(awaits_itself), (2, 1, problem("implausible_value")));
}

#[test]
fn a_deep_stack_is_cut() {
    let mut synth = Synth::example();
    let mut inner = synth.coroutines[0];
    for _ in 0..50 {
        inner = synth.coroutine(synth.codes[0], 1, inner);
    }
    let task = synth.tasks[0];
    synth.memory.put_addr(task.plus(TASK_CORO), inner);
    let read = synth.read_with(Limits {
        frames_per_task_max: 40,
        ..Limits::default()
    });
    assert_eq!(read.graph.tasks().len(), 3);
    assert_eq!(read.graph.stack(read.graph.tasks()[0].stack).len(), 40);
    assert_eq!(read.problems[0].code, "limit_hit");
}

#[test]
fn limits_cut_and_say_so() {
    let tasks = Limits {
        tasks_max: 2,
        ..Limits::default()
    };
    let read = Synth::example().read_with(tasks);
    assert_eq!((read.graph.tasks().len(), read.n_problems), (2, 1));
    assert_eq!((read.tasks_counted, read.lists_cut), (1, 0));
    assert_eq!(
        read.problems[0].message,
        "1 more tasks were only counted: limit tasks_max of 2 reached"
    );
    let uncounted = Limits {
        tasks_counted_max: 0,
        ..tasks
    };
    let read = Synth::example().read_with(uncounted);
    assert_eq!((read.tasks_counted, read.lists_cut), (0, 1));
    let bytes = Limits {
        bytes_read_max: 1 << 14,
        ..Limits::default()
    };
    let read = Synth::example().read_with(bytes);
    assert!(read.n_problems > 0);
    let awaiters = Limits {
        awaiters_per_task_max: 1,
        ..Limits::default()
    };
    let read = Synth::example().read_with(awaiters);
    assert_eq!(
        (read.graph.edges().len(), read.problems[0].code.as_str()),
        (2, "limit_hit")
    );
}

#[test]
fn what_was_found_before_a_limit_counts() {
    let whole = Synth::example().walk(Limits::default(), Stillness::Runs);
    assert_eq!((whole.graph.tasks().len(), whole.tasks_counted), (3, 0));
    let mut counted = [false; 4];
    for work_max in (0..20_000).step_by(10) {
        let limits = Limits {
            work_max,
            ..Limits::default()
        };
        let read = Synth::example().walk(limits, Stillness::Runs);
        if read.lists_cut > 0 {
            continue;
        }
        let n_read = read.graph.tasks().len();
        let n_counted = usize::try_from(read.tasks_counted).expect("a number");
        assert_eq!((n_read + n_counted, read.tasks_unreadable), (3, 0));
        counted[n_counted] = true;
        if n_counted > 0 {
            let start = format!("{n_counted} more tasks were only counted: ");
            let mut told = read.problems.iter().map(|it| it.message.as_str());
            assert!(told.any(|it| it.starts_with(&start) && it.contains("limit work_max")));
        }
    }
    assert!(counted[0] && counted[3]);
}

#[test]
fn counting_ends_where_a_list_leads_into_another_one() {
    let mut synth = Synth::example();
    // As when a thread has ended: its tasks have been spliced into the list of their interpreter.
    let head = synth.interpreter.plus(INTERPRETER_TASKS);
    let last = synth.tasks[2].plus(TASK_NODE);
    synth.memory.put_addr(last, head);
    synth.memory.put_addr(head.plus(8), last);
    let tasks_max = Limits {
        tasks_max: 1,
        ..Limits::default()
    };
    let read = synth.read_with(tasks_max);
    assert_eq!((read.tasks_counted, read.lists_cut), (2, 1));
    assert_eq!(read.restarts, 0);
}

#[test]
fn work_and_memory_are_bounded_whatever_the_process_says() {
    let work = Limits {
        work_max: 500,
        ..Limits::default()
    };
    let read = Synth::example().read_with(work);
    assert!(read.n_problems > 0);
    let decoded = Limits {
        decoded_bytes_max: 100,
        ..Limits::default()
    };
    let read = Synth::example().read_with(decoded);
    assert!(read.graph.tasks().len() < 3 && read.n_problems > 0);
    // With room for one copy only, everything is copied again and again, and found.
    let copies = Limits {
        copies_bytes_max: 1 << 14,
        ..Limits::default()
    };
    let read = Synth::example().read_with(copies);
    assert_eq!((read.graph.tasks().len(), read.n_problems), (3, 0));
    // A coroutine that awaits itself, with no other cap in the way.
    let mut synth = Synth::example();
    let coroutine = synth.coroutines[1];
    let stack = coroutine.plus(GEN_FRAME + FRAME_LOCALS + 16);
    synth.memory.put_addr(stack, coroutine);
    let endless = Limits {
        frames_per_task_max: u32::MAX,
        work_max: 1_000_000,
        ..Limits::default()
    };
    assert!(synth.read_with(endless).n_problems > 0);
}

#[test]
fn a_task_in_its_eager_step_counts_like_others() {
    let mut synth = Synth::example();
    let name = synth.text("eager");
    let at = object(&mut synth.memory, synth.types.future, TASK_SIZE);
    synth.memory.put_addr(at.plus(TASK_NAME), name);
    synth.memory.put(at.plus(TASK_IS_TASK), &[1]);
    synth.memory.put_addr(synth.thread.plus(RUNNING_TASK), at);
    let read = synth.read();
    assert_eq!((read.graph.tasks().len(), read.n_problems), (4, 0));
    let read = synth.read_with(Limits {
        tasks_max: 3,
        ..Limits::default()
    });
    assert_eq!((read.graph.tasks().len(), read.n_problems), (3, 1));
    assert_eq!(read.problems[0].code, "limit_hit");
}

#[test]
fn no_amount_of_work_is_too_little_for_a_snapshot() {
    let mut synth = Synth::example();
    // A list that is torn, and a task whose stack makes no sense: both are looked at again.
    let node = synth.tasks[1].plus(TASK_NODE);
    synth.memory.put_u64(node, 0x1238);
    let frame = synth.coroutines[1].plus(GEN_FRAME + FRAME_STACK);
    synth.memory.put_u64(frame, 0x10);
    for work_max in (0..20_000).step_by(10) {
        let limits = Limits {
            work_max,
            ..Limits::default()
        };
        let read = synth.read_with(limits);
        assert!(read.n_problems > 0);
    }
}

/// What is kept counts, whatever there is many of.
#[test]
fn what_is_kept_of_types_code_objects_and_threads_is_bounded() {
    const MANY: u64 = 60;
    // A chain of wrappers, each of a type of its own.
    let types = |synth: &mut Synth| {
        let mut inner = synth.coroutines[0];
        for _ in 0..MANY {
            let kind = make_type(&mut synth.memory, "coroutine_wrapper", 0);
            let at = object(&mut synth.memory, kind, 24);
            synth.memory.put_addr(at.plus(16), inner);
            inner = at;
        }
        let task = synth.tasks[0];
        synth.memory.put_addr(task.plus(TASK_CORO), inner);
    };
    // A chain of coroutines, each with a code object of its own.
    let codes = |synth: &mut Synth| {
        let mut inner = synth.coroutines[0];
        for _ in 0..MANY {
            let code = synth.code("f", "", 1);
            inner = synth.coroutine(code, 1, inner);
        }
        let task = synth.tasks[0];
        synth.memory.put_addr(task.plus(TASK_CORO), inner);
    };
    let threads = |synth: &mut Synth| {
        let mut next = synth.thread;
        for _ in 0..MANY {
            let thread = synth.memory.alloc(THREAD_IMPL_SIZE);
            synth.memory.put_addr(thread.plus(THREAD_NEXT), next);
            let interpreter = synth.interpreter;
            synth
                .memory
                .put_addr(thread.plus(THREAD_INTERP), interpreter);
            let head = thread.plus(THREAD_TASKS);
            synth.memory.put_addr(head, head);
            next = thread;
        }
        let head = synth.interpreter.plus(THREADS_HEAD);
        synth.memory.put_addr(head, next);
    };
    let kinds: [fn(&mut Synth); 3] = [types, codes, threads];
    for (kind, add) in kinds.into_iter().enumerate() {
        let mut synth = Synth::example();
        add(&mut synth);
        assert_eq!(synth.read().problems, [], "{kind}");
        let limits = Limits {
            decoded_bytes_max: 250 * MANY,
            ..Limits::default()
        };
        assert!(synth.read_with(limits).n_problems > 0, "{kind}");
    }
}

#[test]
fn tables_that_cannot_be_true_are_refused_at_attach() {
    let with = |place: u64, value: u64| {
        let mut synth = Synth::example();
        let at = synth.runtime.plus(place);
        synth.memory.put_u64(at, value);
        synth.site()
    };
    assert!(matches!(with(0, 1), Err(OffsetsError::NoCookie { .. })));
    assert!(matches!(
        with(8, 0x030d_12f0),
        Err(OffsetsError::Unsupported { .. })
    ));
    assert!(matches!(
        with(8, 0x030f_00b1),
        Err(OffsetsError::Unsupported { .. })
    ));
    let refused = |place, value| {
        let site = with(place, value);
        assert!(
            matches!(site, Err(OffsetsError::Implausible { .. })),
            "{place} {value}: {site:?}"
        );
    };
    refused(8, u64::MAX); // no version of anything
    refused(16, 2); // neither free-threaded nor not
    refused(752, 511); // a table of another layout
    refused(400, 24); // an object head of another build
    refused(40, RUNTIME_SIZE - 7); // a field that ends outside
    refused(40, u64::MAX);
    refused(72, THREADS_HEAD + 1); // a pointer that is not aligned
    refused(664, 1 << 40); // an object of a terabyte
    refused(664, 0);
    // A runtime without an interpreter is one that is starting, or a copy that nobody uses.
    let mut synth = Synth::example();
    let head = synth.runtime.plus(INTERPRETERS_HEAD);
    synth.memory.put_u64(head, 0);
    assert_eq!(synth.site(), Err(OffsetsError::NotStarted));
}

#[test]
fn a_cookie_by_accident_is_no_runtime() {
    let mut synth = Synth::example();
    assert_eq!(synth.site_in_memory(), synth.site());
    let at = RemoteAddr::new(0x60_0010);
    synth.memory.put(at, b"xdebugpy");
    assert_eq!(synth.site_in_memory(), synth.site());
    let at = synth.runtime.plus(400);
    synth.memory.put_u64(at, 24);
    assert_eq!(synth.site_in_memory(), Ok(None));
}

#[test]
fn asyncios_table_must_agree_with_the_main_one() {
    let find = |index: u64, value: u64| {
        let mut synth = Synth::example();
        let at = synth.asyncio_table.plus(8 * index);
        synth.memory.put_u64(at, value);
        let site = synth.site().expect("a runtime").expect("a runtime");
        let mut modules = Modules::new(&synth.maps, |_| None);
        find_asyncio(&synth.memory, &synth.maps, &mut modules, &site.offsets)
    };
    assert!(find(7, INTERPRETER_SIZE).expect("plausible").is_some());
    for (index, value) in [
        (0, 8),
        (0, 1 << 30),
        (1, TASK_SIZE),
        (6, TASK_SIZE - 8),
        (9, 8),
        (12, 8),
    ] {
        assert_eq!(find(index, value), Ok(None), "word {index} = {value}");
    }
}

#[test]
fn offsets_are_not_taken_from_a_table_cut_short() {
    let mut memory = SynthMemory::new();
    let at = RemoteAddr::new(0x10_0000 - 400);
    debug_offsets(&mut memory, at);
    let mut short = SynthMemory::new();
    for (page, bytes) in memory.pages() {
        if page.as_u64() < 0x10_0000 {
            short.put(page, bytes);
        }
    }
    assert!(matches!(
        Offsets::read(&short, at),
        Err(OffsetsError::Read(_))
    ));
    assert!(Offsets::read(&memory, at).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever is written over the process's heap, a read ends, within its limits, without a panic.
    #[test]
    fn random_damage_never_hurts(
        damage in prop::collection::vec((0_u64..0x3000, prop_oneof![
            any::<u64>(),
            0_u64..64,
            (0_u64..0x3000).prop_map(|offset| 0x7f00_0000_0000 + offset),
        ]), 1..12),
    ) {
        let mut synth = Synth::example();
        for (offset, value) in damage {
            synth.memory.put_u64(RemoteAddr::new(0x7f00_0000_0000 + offset), value);
        }
        let limits = Limits {
            tasks_max: 1000,
            frames_per_task_max: 1000,
            string_chars_max: 1000,
            bytes_read_max: 64 << 20,
            ..Limits::default()
        };
        let read = synth.read_with(limits);
        prop_assert!(read.graph.tasks().len() <= 1000);
        for edge in read.graph.edges() {
            prop_assert!(edge.awaited.as_usize() < read.graph.tasks().len());
        }
    }
}

/// The example, in which two tasks await each other.
fn with_a_cycle() -> Synth {
    let mut synth = Synth::example();
    let [first, second] = [synth.tasks[0], synth.tasks[1]];
    synth.awaited_by_one(first, second);
    synth
}

#[test]
fn a_walk_that_is_ended_at_any_moment_says_so_or_has_it_all() {
    let synth = with_a_cycle();
    let whole = synth.walk(Limits::default(), Stillness::Runs);
    assert_eq!((whole.n_problems, lines(&whole.graph).len()), (0, 3));
    assert_eq!(find_cycles(&whole.graph, 1).cycles.len(), 1);
    // What a limit on work ends at each moment, a stop may end there.
    let mut ended = (0_u64..).step_by(8).map(|work_max| {
        let limits = Limits {
            work_max,
            ..Limits::default()
        };
        synth.walk(limits, Stillness::Runs)
    });
    let read = ended.find(|read| read.n_problems == 0);
    assert_eq!(
        read.map(|read| lines(&read.graph)),
        Some(lines(&whole.graph))
    );
}
