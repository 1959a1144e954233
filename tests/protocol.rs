//! The JSON form of snapshots, by the public functions of `protocol`: what is written follows the
//! schema, what was written reads back the same, what people write by hand is understood.
//! What is said about files that cannot be read is in `protocol_errors.rs`.

#![cfg(feature = "edges")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use asyncio_agent::graph::{
    Frame, GraphBuilder, NewFrame, NewTask, Problem, ProcessInfo, ReadStats, Snapshot, StackIdx,
    TaskName, TaskState, Via,
};
use asyncio_agent::ids::{Pid, StartTime, TaskId, Tid};
use asyncio_agent::limits::LimitsHit;
use asyncio_agent::protocol::{SCHEMA_VERSION, SNAPSHOT_SCHEMA, read_snapshot, write_snapshot};
use expect_test::expect;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

const BY_HAND: &str = include_str!("snapshots/by_hand.json");
const SAMPLES: [&str; 5] = [
    include_str!("snapshots/example.json"),
    include_str!("snapshots/cycle.json"),
    include_str!("snapshots/partial.json"),
    include_str!("snapshots/minimal.json"),
    BY_HAND,
];

fn read(text: &str) -> Snapshot {
    match read_snapshot(text.as_bytes()) {
        Ok(snapshot) => snapshot,
        Err(error) => panic!("{:?}: {error}", error.position()),
    }
}

fn written(snapshot: &Snapshot) -> String {
    let mut out = Vec::new();
    write_snapshot(snapshot, None, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn assert_follows_schema(text: &str) {
    let schema: Value = serde_json::from_str(SNAPSHOT_SCHEMA).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let value: Value = serde_json::from_str(text).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(&value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\nin {text}");
}

#[test]
fn the_schema_is_one_and_says_its_version() {
    let schema: Value = serde_json::from_str(SNAPSHOT_SCHEMA).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    let version = &schema["properties"]["schema_version"];
    assert_eq!(version["maximum"], json!(SCHEMA_VERSION));
    assert_eq!(
        schema["$id"],
        json!(format!("urn:asyncio-agent:snapshot:{SCHEMA_VERSION}"))
    );
}

#[test]
fn samples_follow_the_schema_and_so_does_what_is_made_of_them() {
    for sample in SAMPLES {
        assert_follows_schema(sample);
        let once = written(&read(sample));
        assert_follows_schema(&once);
        assert_eq!(once, written(&read(&once)));
    }
}

#[test]
fn the_written_form_has_every_field_and_a_line_per_task() {
    expect![[r#"
        {
         "schema_version": 2,
         "process": {
          "pid": null,
          "start_time": null,
          "python_version": null,
          "free_threaded": null
         },
         "complete": true,
         "problems": [],
         "stats": {
          "syscalls": 0,
          "bytes_read": 0,
          "tasks_unreadable": 0,
          "tasks_counted": 0,
          "tasks_ended": 0,
          "edges_ended": 0,
          "problems": 0,
          "restarts": 0,
          "duration_seconds": null,
          "paused_seconds": null
         },
         "threads": [
          {
           "interpreter_id": 0,
           "thread_id": 0,
           "tasks": [
            {"task_id": "0x1", "task_name": "boss", "state": "pending", "cancelling": false, "awaiting": null, "coroutine_stack": [{"funcname": "gather", "filename": "", "lineno": null}, {"funcname": "main", "filename": "", "lineno": null}], "awaited_by": []},
            {"task_id": "0x2", "task_name": "worker", "state": "pending", "cancelling": true, "awaiting": null, "coroutine_stack": [], "awaited_by": [{"task_id": "0x1"}]},
            {"task_id": "0x3", "task_name": null, "state": "pending", "cancelling": false, "awaiting": null, "coroutine_stack": [{"funcname": "Aw.__await__", "filename": null, "lineno": null, "via": "generator"}], "awaited_by": [{"task_id": "0x1", "call_stack": [{"funcname": "main", "filename": null, "lineno": null}]}, {"task_id": "0x63", "call_stack": []}]}
           ]
          }
         ]
        }
    "#]]
    .assert_eq(&written(&read(BY_HAND)));
}

#[test]
fn written_tasks_can_be_chosen() {
    let snapshot = read(BY_HAND);
    let graph = &snapshot.graph;
    let mut out = Vec::new();
    let keep = |at| graph.task(at).id == TaskId(2);
    write_snapshot(&snapshot, Some(&keep), &mut out).unwrap();
    let value: Value = serde_json::from_slice(&out).unwrap();
    let tasks = value["threads"][0]["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0]["task_name"], "worker");
}

/// A stack is written once, with the task or else with the first who is awaited by it.
#[test]
fn stacks_of_awaiters_are_not_repeated() {
    let mut builder = GraphBuilder::new();
    let [deep, other] = ["deep", "other"].map(|function| {
        let frame = builder.frame(NewFrame {
            function,
            file: None,
            line: None,
            via: Via::Await,
        });
        builder.stack(&[frame; 100])
    });
    builder.begin_thread(0, Tid(1));
    for (id, stack) in [
        (1, deep),
        (2, deep),
        (3, StackIdx::EMPTY),
        (4, StackIdx::EMPTY),
    ] {
        let at = builder.add_task(NewTask {
            id: TaskId(id),
            name: TaskName::Unknown,
            state: TaskState::Pending,
            cancelling: false,
            stack,
            awaiting: None,
        });
        builder.add_edge(at, TaskId(1), deep);
        builder.add_edge(at, TaskId(2), if id == 3 { other } else { deep });
        builder.add_edge(at, TaskId(99), other);
    }
    let snapshot = Snapshot {
        graph: builder.finish().into(),
        ..read(r#"{"threads": []}"#)
    };
    let of_awaiters = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        let tasks = value["threads"][0]["tasks"].as_array().unwrap().clone();
        let given = |awaiter: &Value| {
            awaiter["call_stack"][0]["funcname"]
                .as_str()
                .map(str::to_owned)
        };
        let of_task = |task: &Value| {
            let awaiters = task["awaited_by"].as_array().unwrap();
            awaiters
                .iter()
                .map(given)
                .map(Option::unwrap_or_default)
                .collect::<Vec<_>>()
                .join(",")
        };
        tasks.iter().map(of_task).collect::<Vec<_>>()
    };
    // Once another one was given, a change back is given too.
    assert_eq!(
        of_awaiters(&written(&snapshot)),
        [",,other", ",,", ",other,", ",deep,"]
    );
    // A task that is left out has no stack of its own in the file.
    let mut out = Vec::new();
    let keep = |at| snapshot.graph.task(at).id != TaskId(1);
    write_snapshot(&snapshot, Some(&keep), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(of_awaiters(&text), ["deep,,other", ",other,", ",deep,"]);
    let again = read(&text);
    assert_eq!(text, written(&again));
    let depths = again
        .graph
        .edges()
        .iter()
        .map(|edge| again.graph.stack(edge.stack).len());
    assert!(depths.eq([100; 9]));
}

#[test]
fn fields_may_stand_in_any_order() {
    let text = r#"{"threads": [{"tasks": [{"awaited_by": [{"task_id": 2}], "task_id": 1},
        {"coroutine_stack": ["f"], "task_id": 2}], "thread_id": 7, "interpreter_id": 3}],
        "complete": false}"#;
    let snapshot = read(text);
    let thread = &snapshot.graph.threads()[0];
    assert_eq!((thread.interpreter_id, thread.tid), (3, Tid(7)));
    assert!(!snapshot.complete);
    let edge = snapshot.graph.edges()[0];
    assert_eq!(snapshot.graph.stack(edge.stack).len(), 1);
}

#[test]
fn what_is_left_out_has_a_meaning() {
    let minimal = read(r#"{"threads": []}"#);
    assert!(minimal.complete);
    assert_eq!(minimal.process, ProcessInfo::default());
    assert!(minimal.graph.threads().is_empty());
    let partial = read(r#"{"threads": [], "problems": [{"code": "task_vanished"}]}"#);
    assert!(!partial.complete);
    assert_eq!(partial.stats.problems, 1);
    assert_eq!(partial.problems[0].message, "");
    let claimed =
        read(r#"{"threads": [], "problems": [{"code": "task_vanished"}], "complete": true}"#);
    assert!(claimed.complete);
}

/// A snapshot may be printed to a terminal.
#[test]
fn what_moves_the_cursor_or_reorders_text_is_written_as_an_escape() {
    let name = "a\u{1b}[31m\u{9b}31m\u{7f}\u{85}\u{202e}\u{2066}\u{feff}\u{e0041}\"\\\n🎵é";
    let mut builder = GraphBuilder::new();
    builder.begin_thread(0, Tid(1));
    let text = builder.text(name);
    builder.add_task(NewTask {
        id: TaskId(1),
        name: TaskName::Text(text),
        state: TaskState::Pending,
        cancelling: false,
        stack: StackIdx::EMPTY,
        awaiting: None,
    });
    let snapshot = Snapshot {
        process: ProcessInfo::default(),
        graph: builder.finish().into(),
        problems: vec![Problem {
            code: "x".to_owned(),
            message: name.to_owned(),
            at: None,
        }],
        stats: ReadStats::default(),
        complete: false,
    };
    let text = written(&snapshot);
    let is_safe = |c: char| c == '\n' || !asyncio_agent::sanitize::is_unsafe(c);
    assert!(text.chars().all(is_safe), "{text:?}");
    let escaped = r#""a\u001b[31m\u009b31m\u007f\u0085\u202e\u2066\ufeff\udb40\udc41\"\\\n🎵é""#;
    assert_eq!(text.matches(escaped).count(), 2, "{text}");
    let back = read(&text);
    let at = back.graph.find(TaskId(1)).unwrap();
    assert_eq!(back.graph.name(at).unwrap().to_string(), name);
    assert_eq!(back.problems[0].message, name);
}

#[test]
fn halves_of_surrogate_pairs_are_replaced() {
    let text = r#"{"threads": [{"tasks": [{"task_id": 1, "task_name": "a\ud83db\ud83c\udfb5"}]}]}"#;
    let snapshot = read(text);
    let at = snapshot.graph.find(TaskId(1)).unwrap();
    let name = snapshot.graph.name(at).unwrap().to_string();
    assert!(
        name.starts_with("a\u{fffd}") && name.ends_with("b🎵"),
        "{name:?}"
    );
}

#[test]
fn default_names_are_numbers_again() {
    let name = |name: &str| {
        let text = json!({"threads": [{"tasks": [{"task_id": 1, "task_name": name}]}]});
        let snapshot = read(&text.to_string());
        snapshot.graph.tasks()[0].name
    };
    assert_eq!(name("Task-0"), TaskName::Number(0));
    assert_eq!(name("Task-17"), TaskName::Number(17));
    assert_eq!(
        name("Task-18446744073709551615"),
        TaskName::Number(u64::MAX)
    );
    for given in [
        "Task-",
        "Task-007",
        "Task-+1",
        "Task-18446744073709551616",
        "task-1",
        "",
    ] {
        assert!(matches!(name(given), TaskName::Text(_)), "{given}");
    }
}

/// A frame by its parts; the numbers choose from few texts, so that stacks repeat.
type FrameParts = (String, Option<String>, Option<u32>, Via);

#[derive(Debug, Clone)]
struct TaskParts {
    id: u64,
    name: Option<Result<u64, String>>,
    state: TaskState,
    cancelling: bool,
    awaiting: Option<String>,
    stack: Vec<FrameParts>,
    awaiters: Vec<(u64, Vec<FrameParts>)>,
}

fn any_frame() -> impl Strategy<Value = FrameParts> {
    let via = prop_oneof![
        4 => Just(Via::Await),
        1 => Just(Via::Generator),
        1 => Just(Via::AnextAwaitable),
        1 => Just(Via::CoroutineWrapper),
    ];
    let function = prop_oneof!["[a-c]", ".{0,6}"];
    (
        function,
        option::of("[xy]\\.py|.{0,3}"),
        option::of(any::<u32>()),
        via,
    )
}

fn any_id() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..8u64, 1 => any::<u64>()]
}

fn any_task() -> impl Strategy<Value = TaskParts> {
    let name = option::of(prop_oneof![
        any::<u64>().prop_map(Ok),
        ".{0,8}|Task-0?[0-9]{1,20}".prop_map(Err),
    ]);
    let state = prop_oneof![
        Just(TaskState::Pending),
        Just(TaskState::Created),
        Just(TaskState::Suspended),
        Just(TaskState::Running),
    ];
    let awaiters = vec((any_id(), vec(any_frame(), 0..3)), 0..3);
    let stack = vec(any_frame(), 0..4);
    (
        any_id(),
        name,
        state,
        any::<bool>(),
        option::of(".{0,4}"),
        stack,
        awaiters,
    )
        .prop_map(
            |(id, name, state, cancelling, awaiting, stack, awaiters)| TaskParts {
                id,
                name,
                state,
                cancelling,
                awaiting,
                stack,
                awaiters,
            },
        )
}

fn stack_of(builder: &mut GraphBuilder, frames: &[FrameParts]) -> StackIdx {
    let frames: Vec<_> = frames
        .iter()
        .map(|(function, file, line, via)| {
            builder.frame(NewFrame {
                function,
                file: file.as_deref(),
                line: *line,
                via: *via,
            })
        })
        .collect();
    builder.stack(&frames)
}

prop_compose! {
    fn any_snapshot()(
        threads in vec((any::<i64>(), any::<u64>(), vec(any_task(), 0..6)), 0..4),
        process in (option::of(1..=i32::MAX), option::of(any::<u64>()),
                    option::of(".{0,5}"), option::of(any::<bool>())),
        problems in vec((".{0,5}", ".{0,9}", option::of(any::<u64>())), 0..3),
        counters in any::<[u64; 8]>(),
        // Up to a day: seconds in a double keep the nanoseconds of that.
        nanoseconds in option::of(0..86_400_000_000_000u64),
        complete in any::<bool>(),
    ) -> Snapshot {
        let mut builder = GraphBuilder::new();
        for (interpreter_id, tid, tasks) in threads {
            builder.begin_thread(interpreter_id, Tid(tid));
            for task in tasks {
                add(&mut builder, &task);
            }
        }
        let (pid, start_time, python_version, free_threaded) = process;
        Snapshot {
            process: ProcessInfo {
                pid: pid.and_then(Pid::new),
                start_time: start_time.map(StartTime),
                python_version,
                free_threaded,
            },
            graph: builder.finish().into(),
            problems: problems
                .into_iter()
                .map(|(code, message, at)| Problem { code, message, at })
                .collect(),
            stats: ReadStats {
                syscalls: counters[0],
                bytes_read: counters[1],
                tasks_unreadable: counters[2],
                tasks_counted: counters[7],
                tasks_ended: counters[3],
                edges_ended: counters[4],
                problems: counters[5],
                restarts: counters[6],
                limits_hit: LimitsHit::default(),
                lists_cut: 0,
                running_loops: 0,
                duration: nanoseconds.map(Duration::from_nanos),
                paused: nanoseconds.map(|ns| Duration::from_nanos(ns / 3)),
            },
            complete,
        }
    }
}

fn add(builder: &mut GraphBuilder, task: &TaskParts) {
    let name = match &task.name {
        None => TaskName::Unknown,
        Some(Ok(number)) => TaskName::Number(*number),
        Some(Err(text)) => TaskName::Text(builder.text(text)),
    };
    let awaiting = task.awaiting.as_ref().map(|text| builder.text(text));
    let stack = stack_of(builder, &task.stack);
    let at = builder.add_task(NewTask {
        id: TaskId(task.id),
        name,
        state: task.state,
        cancelling: task.cancelling,
        stack,
        awaiting,
    });
    for (awaiter, stack) in &task.awaiters {
        let stack = stack_of(builder, stack);
        builder.add_edge(at, TaskId(*awaiter), stack);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_was_written_reads_back_the_same(snapshot in any_snapshot()) {
        let text = written(&snapshot);
        let again = read(&text);
        prop_assert_eq!(&text, &written(&again));
        prop_assert_eq!(&snapshot.process, &again.process);
        prop_assert_eq!(&snapshot.problems, &again.problems);
        prop_assert_eq!(snapshot.stats, again.stats);
        prop_assert_eq!(snapshot.complete, again.complete);
        prop_assert_eq!(snapshot.graph.edges().len(), again.graph.edges().len());
        for (edge, same) in snapshot.graph.edges().iter().zip(again.graph.edges()) {
            prop_assert_eq!(edge.awaited, same.awaited);
            prop_assert_eq!(edge.awaiter_task, same.awaiter_task);
            let [stack, same] = [(&snapshot, edge), (&again, same)].map(|(snapshot, edge)| {
                let graph = &snapshot.graph;
                let place = |frame: &Frame| {
                    let file = frame.file.map(|file| graph.text(file).to_owned());
                    (graph.text(frame.function).to_owned(), file, frame.line, frame.via)
                };
                graph.stack(edge.stack).map(place).collect::<Vec<_>>()
            });
            prop_assert_eq!(stack, same);
        }
    }

    #[test]
    fn what_is_written_follows_the_schema(snapshot in any_snapshot()) {
        assert_follows_schema(&written(&snapshot));
    }

    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..200)) {
        let _ = read_snapshot(&bytes);
    }

    #[test]
    fn any_damage_is_answered(at in 0..2000usize, byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = SAMPLES[0].as_bytes().to_vec();
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        let _ = read_snapshot(&bytes);
    }
}
