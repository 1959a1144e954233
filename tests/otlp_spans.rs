//! The spans that rotel received of a snapshot, one by one, against what the program knows of its own tasks.

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use support::agent::Agent;
use support::python;
use support::rotel::{Ports, ReceivedSpan, Receiver};
use support::target::{Target, wait_until};
use support::truth::{stack_matches, tasks_by_id};

/// Programs, and the names of their tasks that are on a cycle.
const PROGRAMS: [(&str, &[&str]); 6] = [
    ("shared", &[]),
    ("task_group", &[]),
    ("threads", &[]),
    ("generators", &[]),
    ("nested_gather", &[]),
    ("cycle_of_three", &["ring a", "ring b", "ring c"]),
];

/// The spans of one snapshot, by their ids.
struct Spans<'s> {
    by_id: BTreeMap<&'s str, &'s ReceivedSpan>,
    /// Those that stand for tasks, by the ids of the tasks.
    tasks: BTreeMap<&'s str, &'s ReceivedSpan>,
    /// The frames of each task by the id of its span, outermost first.
    frames: BTreeMap<&'s str, Vec<&'s ReceivedSpan>>,
}

impl<'s> Spans<'s> {
    fn new(spans: &'s [ReceivedSpan]) -> Self {
        let by_id: BTreeMap<&str, &ReceivedSpan> =
            spans.iter().map(|span| (span.field("ID"), span)).collect();
        assert_eq!(by_id.len(), spans.len(), "an id stands for one span");
        let tasks = spans.iter().filter(|span| is_task(span));
        let tasks: BTreeMap<&str, &ReceivedSpan> = tasks
            .map(|span| (span.attribute("asyncio.task.id"), span))
            .collect();
        let mut below: BTreeMap<&str, &ReceivedSpan> = BTreeMap::new();
        for frame in spans.iter().filter(|span| !is_task(span)) {
            let before = below.insert(frame.field("Parent ID"), frame);
            assert!(before.is_none(), "below a span is one frame: {frame:?}");
        }
        let chain = |task: &'s ReceivedSpan| {
            let mut frames: Vec<&ReceivedSpan> = Vec::new();
            let mut id = task.field("ID");
            while let Some(frame) = below.get(id) {
                frames.push(frame);
                id = frame.field("ID");
            }
            frames
        };
        let frames: BTreeMap<&str, Vec<&ReceivedSpan>> = tasks
            .values()
            .map(|task| (task.field("ID"), chain(task)))
            .collect();
        let n_frames: usize = frames.values().map(Vec::len).sum();
        assert_eq!(
            tasks.len() + n_frames,
            spans.len(),
            "all are tasks or frames"
        );
        Self {
            by_id,
            tasks,
            frames,
        }
    }

    fn frames(&self, task: &ReceivedSpan) -> &[&ReceivedSpan] {
        &self.frames[task.field("ID")]
    }

    /// The task that a span of a task stands below, by its innermost frame.
    fn awaiter(&self, task: &ReceivedSpan) -> Option<&str> {
        let parent = self.by_id.get(task.field("Parent ID"))?;
        let above = self.tasks.values().find(|above| {
            let frames = self.frames(above);
            frames.last().unwrap_or(above).field("ID") == parent.field("ID")
        });
        let above = above.unwrap_or_else(|| panic!("not below an innermost span: {task:?}"));
        Some(above.attribute("asyncio.task.id"))
    }
}

fn is_task(span: &ReceivedSpan) -> bool {
    !span.attribute("asyncio.task.id").is_empty()
}

/// The spans of a snapshot that arrived whole; not of the first one, in which nothing has waited yet.
fn of_one_snapshot(spans: Vec<ReceivedSpan>) -> Option<Vec<ReceivedSpan>> {
    let mut by_end: BTreeMap<String, Vec<ReceivedSpan>> = BTreeMap::new();
    for span in spans {
        by_end
            .entry(span.field("End time").to_owned())
            .or_default()
            .push(span);
    }
    by_end.into_values().skip(2).find(|spans| {
        let roots: Vec<&ReceivedSpan> = spans
            .iter()
            .filter(|span| span.field("Parent ID").is_empty())
            .collect();
        let n_tasks = spans.iter().filter(|span| is_task(span)).count();
        roots.first().is_some_and(|root| {
            root.attribute("asyncio.snapshot.roots") == roots.len().to_string()
                && root.attribute("asyncio.snapshot.tasks") == n_tasks.to_string()
        })
    })
}

fn nanoseconds(span: &ReceivedSpan, key: &str) -> u128 {
    span.field(key)
        .parse()
        .unwrap_or_else(|_| panic!("{key}: {span:?}"))
}

/// What holds of every span.
fn check_span(spans: &Spans<'_>, span: &ReceivedSpan, pid: u32) {
    let [start, end] = ["Start time", "End time"].map(|key| nanoseconds(span, key));
    assert!(start <= end, "{span:?}");
    assert_eq!(span.field("Kind"), "SPAN_KIND_INTERNAL");
    match spans.by_id.get(span.field("Parent ID")) {
        None => {
            assert_eq!(span.field("Parent ID"), "");
            assert_eq!(span.attribute("asyncio.snapshot"), "true");
            assert_eq!(span.attribute("asyncio.snapshot.complete"), "true");
        }
        Some(parent) => {
            assert!(nanoseconds(parent, "Start time") <= start, "{span:?}");
            assert_eq!(parent.field("Trace ID"), span.field("Trace ID"));
            assert_eq!(span.attribute("asyncio.snapshot"), "");
        }
    }
    let resource = &span.resource;
    assert_eq!(resource["service.name"], "shop");
    assert_eq!(resource["team"], "a");
    assert_eq!(resource["process.pid"], pid.to_string());
    assert_eq!(resource["process.runtime.name"], "cpython");
    assert!(resource["process.runtime.version"].starts_with("3.1"));
    assert!(!resource["process.executable.name"].contains('/'));
    assert!(resource["process.creation.time"].ends_with('Z'));
    let host = &resource["host.name"];
    assert!(resource["service.instance.id"].starts_with(&format!("{host}:{pid}:")));
}

/// A task, against what the program and a snapshot know of it.
fn check_task(spans: &Spans<'_>, expected: &Value, frames: &Value) {
    let id = expected["id"].as_str().expect("text");
    let task = spans.tasks[id];
    assert_eq!(
        task.attribute("asyncio.task.name"),
        expected["name"],
        "{task:?}"
    );
    assert_eq!(task.attribute("asyncio.task.state"), expected["state"]);
    let thread = task.attribute("asyncio.thread.native_id");
    assert_eq!(thread, expected["thread"].to_string());
    // Innermost first, as the program tells them.
    let received: Vec<&ReceivedSpan> = spans.frames(task).iter().rev().copied().collect();
    let names: Vec<&str> = received.iter().map(|frame| frame.field("Name")).collect();
    let stack = expected["stack"].as_array().expect("a list").iter();
    let stack: Vec<&str> = stack.map(|it| it.as_str().expect("text")).collect();
    assert!(stack_matches(&stack, &names), "{stack:?} {names:?}");
    let coroutine = task.attribute("code.function.name");
    assert_eq!(Some(&coroutine), names.last());
    assert_eq!(task.field("Name"), format!("task {coroutine}"));
    let places: Vec<(&str, &str, &str)> = received
        .iter()
        .map(|frame| {
            (
                frame.attribute("code.function.name"),
                frame.attribute("code.file.path"),
                frame.attribute("code.line.number"),
            )
        })
        .collect();
    let frames = frames.as_array().expect("a list").iter();
    let lines: Vec<String> = frames.clone().map(|it| it["lineno"].to_string()).collect();
    let expected_places: Vec<(&str, &str, &str)> = frames
        .zip(&lines)
        .map(|(it, line)| {
            let text = |key: &str| it[key].as_str().expect("text");
            (text("funcname"), text("filename"), line.as_str())
        })
        .collect();
    assert_eq!(places, expected_places);
    check_awaiters(spans, task, expected);
}

/// Who awaits a task: one stands above it, the others are links.
fn check_awaiters(spans: &Spans<'_>, task: &ReceivedSpan, expected: &Value) {
    let awaiters = expected["awaited_by"].as_array().expect("a list").iter();
    let awaiters: BTreeSet<&str> = awaiters.map(|it| it.as_str().expect("text")).collect();
    let above = spans.awaiter(task);
    let mut told: Vec<&str> = above.into_iter().collect();
    for link in &task.links {
        let linked = spans.by_id[&*link["ID"]];
        assert_eq!(link["Trace ID"], linked.field("Trace ID"));
        assert_eq!(link["asyncio.link"], "awaiter");
        told.push(linked.attribute("asyncio.task.id"));
    }
    assert_eq!(told.len(), awaiters.len(), "{task:?}");
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), awaiters);
    // Only who is on a cycle can be awaited and stand below nobody.
    let closes = |link: &BTreeMap<String, String>| {
        link.get("asyncio.link.closes_cycle")
            .is_some_and(|it| it == "true")
    };
    assert!(above.is_some() || awaiters.is_empty() || task.links.iter().any(closes));
}

/// Tasks on a cycle are errors, and no others.
fn check_findings(spans: &Spans<'_>, on_cycle: &[&str]) {
    let mut fingerprints = BTreeSet::new();
    for task in spans.tasks.values() {
        let name = task.attribute("asyncio.task.name");
        let fingerprint = task.attribute("asyncio.finding.fingerprint");
        if on_cycle.contains(&name) {
            assert_eq!(task.field("Status code"), "STATUS_CODE_ERROR");
            assert!(
                task.field("Status message").contains(fingerprint),
                "{task:?}"
            );
            assert_eq!(task.attribute("asyncio.finding.kind"), "await_cycle");
            fingerprints.insert(fingerprint);
        } else {
            assert_eq!(task.field("Status code"), "STATUS_CODE_UNSET", "{name}");
            assert_eq!((fingerprint, task.field("Status message")), ("", ""));
        }
    }
    assert_eq!(fingerprints.len(), usize::from(!on_cycle.is_empty()));
    let all = spans.tasks.values().flat_map(|task| &task.links);
    let closing = all.filter(|link| link.contains_key("asyncio.link.closes_cycle"));
    assert_eq!(closing.count(), fingerprints.len());
    let roots = spans
        .tasks
        .values()
        .filter(|task| task.field("Parent ID").is_empty());
    let told = roots.map(|root| root.attribute("asyncio.tree.findings").parse::<usize>());
    let told: usize = told.map(|n| n.expect("a number")).sum();
    assert_eq!(told, fingerprints.len());
}

#[test]
fn every_task_and_frame_is_a_span_in_its_place() {
    for (at, (program, on_cycle)) in PROGRAMS.into_iter().enumerate() {
        let protocol = ["grpc", "http/protobuf"][at % 2];
        let ports = Ports::free();
        let receiver = Receiver::start(ports);
        let target = Target::start(python::all()[at % python::all().len()].program(program));
        let agent = Agent::start(&format!(
            "web: {{listen: 127.0.0.1:0}}\ndiscovery: {{interval: 100ms}}\n\
             targets: [{{name: shop, match: {{pid: {}}}, interval: 300ms, labels: {{team: a}}}}]\n\
             exporters: {{otlp: {{endpoint: 'http://127.0.0.1:{}', protocol: {protocol}, \
             metrics: {{enabled: false}}, spans: {{ratio: 1, traces_per_minute: 100000, \
             spans_per_minute: 1000000}}}}}}\n",
            target.pid(),
            ports.of(protocol),
        ));
        let mut received = None;
        wait_until("a snapshot arrives", || {
            received = of_one_snapshot(receiver.spans());
            received.is_some()
        });
        let received = received.expect("it was waited for");
        let spans = Spans::new(&received);
        for span in &received {
            check_span(&spans, span, target.pid());
        }
        let (_, body) = agent.get(&format!("/api/v1/targets/{}/snapshot", target.pid()));
        let snapshot: Value = serde_json::from_str(&body).expect("JSON");
        let tasks = tasks_by_id(&snapshot);
        let expected = target.truth["tasks"].as_array().expect("a list");
        assert_eq!(spans.tasks.len(), expected.len(), "{program}");
        for expected in expected {
            let id = expected["id"].as_str().expect("text");
            check_task(&spans, expected, &tasks[id].task["coroutine_stack"]);
        }
        check_findings(&spans, on_cycle);
        // Something was seen before this snapshot.
        assert!(
            received
                .iter()
                .any(|span| { nanoseconds(span, "Start time") < nanoseconds(span, "End time") })
        );
        drop(agent);
        assert!(target.end().success());
    }
}
