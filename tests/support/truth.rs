//! Comparing a snapshot with what the program itself knows (`tests/programs/_truth.py`).

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One task of a snapshot, with the thread it is listed under.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    pub task: &'a Value,
    pub thread: &'a Value,
}

/// The tasks of a snapshot by their id.
pub fn tasks_by_id(snapshot: &Value) -> BTreeMap<&str, Listed<'_>> {
    let mut tasks = BTreeMap::new();
    for thread in list(&snapshot["threads"]) {
        for task in list(&thread["tasks"]) {
            let listed = Listed { task, thread };
            let before = tasks.insert(text(&task["task_id"]), listed);
            assert!(before.is_none(), "listed twice: {task}");
        }
    }
    tasks
}

/// Fails if the snapshot says anything else than the program.
pub fn assert_matches(truth: &Value, snapshot: &Value, what: &str) {
    let found = differences(truth, snapshot);
    let shown: Vec<&str> = found.iter().take(20).map(String::as_str).collect();
    assert!(
        found.is_empty(),
        "{what}: {} differences between the program and its snapshot\n  {}",
        found.len(),
        shown.join("\n  ")
    );
}

/// What a snapshot says differently from the program it was taken of.
pub fn differences(truth: &Value, snapshot: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if snapshot["complete"] != true || !list(&snapshot["problems"]).is_empty() {
        let problems = &snapshot["problems"];
        found.push(format!("it is not complete: {problems}"));
    }
    let mut tasks = tasks_by_id(snapshot);
    let stacks: BTreeMap<&str, &Value> = tasks
        .iter()
        .map(|(id, listed)| (*id, &listed.task["coroutine_stack"]))
        .collect();
    for expected in list(&truth["tasks"]) {
        match tasks.remove(text(&expected["id"])) {
            Some(listed) => compare_task(expected, listed, &stacks, &mut found),
            None => found.push(format!("missing: {}", brief(expected))),
        }
    }
    for listed in tasks.values() {
        found.push(format!("not known to the program: {}", brief(listed.task)));
    }
    found
}

fn compare_task(
    expected: &Value,
    listed: Listed<'_>,
    stacks: &BTreeMap<&str, &Value>,
    found: &mut Vec<String>,
) {
    let task = listed.task;
    let mut compare = |what: &str, expected_value: &Value, value: &Value| {
        if expected_value != value {
            let (expected_value, value) = (brief(expected_value), brief(value));
            found.push(format!(
                "{}: {what} is {value}, not {expected_value}",
                brief(&expected["name"])
            ));
        }
    };
    compare("name", &expected["name"], &task["task_name"]);
    compare("state", &expected["state"], &task["state"]);
    compare("cancelling", &expected["cancelling"], &task["cancelling"]);
    compare("thread", &expected["thread"], &listed.thread["thread_id"]);
    compare(
        "interpreter",
        &expected["interpreter"],
        &listed.thread["interpreter_id"],
    );
    if let Some(lines) = expected.get("lines") {
        let frames = list(&task["coroutine_stack"]);
        let seen = frames
            .iter()
            .map(|frame| (&frame["filename"], &frame["lineno"]));
        compare("lines", lines, &serde_json::json!(seen.collect::<Vec<_>>()));
    }

    let stack = functions(&task["coroutine_stack"]);
    let pattern: Vec<&str> = list(&expected["stack"]).iter().map(text).collect();
    if !stack_matches(&pattern, &stack) {
        found.push(format!(
            "{}: stack is {stack:.400?}, not {pattern:.400?}",
            brief(&expected["name"])
        ));
    }

    let awaiters: BTreeSet<&str> = list(&task["awaited_by"])
        .iter()
        .map(|awaiter| text(&awaiter["task_id"]))
        .collect();
    let expected_awaiters: BTreeSet<&str> =
        list(&expected["awaited_by"]).iter().map(text).collect();
    if awaiters != expected_awaiters || awaiters.len() != list(&task["awaited_by"]).len() {
        found.push(format!(
            "{}: awaited by {}, not by {expected_awaiters:?}",
            brief(&expected["name"]),
            brief(&task["awaited_by"])
        ));
    }
    for awaiter in list(&task["awaited_by"]) {
        // It is given only if it is not the one of the task.
        let is_listed = stacks.contains_key(text(&awaiter["task_id"]));
        if !is_listed || awaiter.get("call_stack").is_some() {
            found.push(format!(
                "{}: the awaiter is not listed, or has another stack here than as a task: {}",
                brief(&expected["name"]),
                brief(awaiter)
            ));
        }
    }
}

/// Whether a stack is the expected one; a first `...` stands for any number of frames.
pub fn stack_matches(pattern: &[&str], stack: &[&str]) -> bool {
    match pattern {
        ["...", outer @ ..] => stack.ends_with(outer),
        _ => pattern == stack,
    }
}

fn functions(stack: &Value) -> Vec<&str> {
    list(stack)
        .iter()
        .map(|frame| text(&frame["funcname"]))
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The value, or its beginning if it is long.
fn brief(value: &Value) -> String {
    value.to_string().chars().take(400).collect()
}
