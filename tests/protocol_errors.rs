//! What is said about snapshot files that cannot be read: position, place, what is wrong.

#![cfg(feature = "edges")]

use asyncio_agent::protocol::read_snapshot;
use expect_test::{Expect, expect};

/// `LINE:COLUMN: message (code)`.
fn answer(bytes: &[u8]) -> String {
    match read_snapshot(bytes) {
        Ok(_) => "no error".to_owned(),
        Err(error) => {
            let code = error.code();
            match error.position() {
                Some((line, column)) => format!("{line}:{column}: {error} ({code})"),
                None => format!("{error} ({code})"),
            }
        }
    }
}

fn check(bytes: impl AsRef<[u8]>, expected: Expect) {
    expected.assert_eq(&answer(bytes.as_ref()));
}

/// A file with one task of these fields.
fn task(fields: &str) -> String {
    format!("{{\"threads\": [{{\"tasks\": [\n{{\"task_id\": 1, {fields}}}]}}]}}")
}

#[test]
fn not_text() {
    check(
        "",
        expect![[r#"empty; expected a JSON object with "threads" (snapshot_empty)"#]],
    );
    check(
        " \n\t",
        expect![[r#"empty; expected a JSON object with "threads" (snapshot_empty)"#]],
    );
    check(
        "\u{feff}{\"threads\": []}",
        expect![
            "1:1: begins with a byte order mark; save it as UTF-8 without one (snapshot_not_utf8)"
        ],
    );
    check(
        b"\xff\xfe{\0}\0",
        expect!["1:1: UTF-16 or UTF-32 text; save it as UTF-8 (snapshot_not_utf8)"],
    );
    check(
        b"{\0\"\0",
        expect!["1:1: UTF-16 or UTF-32 text; save it as UTF-8 (snapshot_not_utf8)"],
    );
    check(
        b"{\"threads\": [\n  \"caf\xe9\"]}",
        expect!["2:7: not UTF-8 text (snapshot_not_utf8)"],
    );
}

#[test]
fn not_json() {
    check(
        "ps: 4242",
        expect!["1:1: expected value (snapshot_malformed)"],
    );
    check(
        "{\"threads\": [],}",
        expect!["1:16: trailing comma (snapshot_malformed)"],
    );
    check(
        "{'threads': []}",
        expect!["1:2: key must be a string (snapshot_malformed)"],
    );
    check(
        "{\"threads\": []} {}",
        expect!["1:17: trailing characters (snapshot_malformed)"],
    );
    check(
        "{\"threads\": [{\"tasks\": [{\"task_id\": 1,",
        expect![
            "1:38: threads[0].tasks[0]: cut off: EOF while parsing a value (snapshot_malformed)"
        ],
    );
    check(
        "{\"threads\": [{\"tasks\": [{\"task_id\": \"0x1",
        expect![
            "1:40: threads[0].tasks[0].task_id: cut off: EOF while parsing a string (snapshot_malformed)"
        ],
    );
    check(
        "{",
        expect!["1:1: cut off: EOF while parsing an object (snapshot_malformed)"],
    );
    check(
        "{\"threads\": [NaN]}",
        expect!["1:14: threads[0]: expected value (snapshot_malformed)"],
    );
    check(
        "\u{1f}\u{8b}\u{8}",
        expect!["1:1: expected value (snapshot_malformed)"],
    );
}

#[test]
fn not_the_form() {
    check(
        "[]",
        expect![[
            r#"1:1: invalid type: array, expected an object with "threads" (snapshot_malformed)"#
        ]],
    );
    check(
        "null",
        expect![[
            r#"1:4: invalid type: null, expected an object with "threads" (snapshot_malformed)"#
        ]],
    );
    check(
        "\"threads\"",
        expect![[
            r#"1:9: invalid type: string "threads", expected an object with "threads" (snapshot_malformed)"#
        ]],
    );
    check(
        "{}",
        expect!["1:2: missing field `threads` (snapshot_malformed)"],
    );
    check(
        "{\"threads\": null}",
        expect!["1:16: threads: invalid type: null, expected an array (snapshot_malformed)"],
    );
    check(
        "{\"threads\": {}}",
        expect!["1:13: threads: invalid type: object, expected an array (snapshot_malformed)"],
    );
    check(
        "{\"threads\": [[0, 1, []]]}",
        expect![[
            r#"1:14: threads[0]: invalid type: array, expected a thread: an object with "tasks" (snapshot_malformed)"#
        ]],
    );
    check(
        "{\"threads\": [{}]}",
        expect!["1:15: threads[0]: missing field `tasks` (snapshot_malformed)"],
    );
    check(
        "{\"threads\": [{\"tasks\": [{}]}]}",
        expect!["1:26: threads[0].tasks[0]: missing field `task_id` (snapshot_malformed)"],
    );
    check(
        "{\"threads\": [{\"tasks\": [{\"task_name\": \"a\"}]}]}",
        expect!["1:42: threads[0].tasks[0]: missing field `task_id` (snapshot_malformed)"],
    );
    check(
        "{\"threads\": [], \"complete\": \"yes\"}",
        expect![[
            r#"1:33: complete: invalid type: string "yes", expected a boolean (snapshot_malformed)"#
        ]],
    );
    check(
        "{\"threads\": [], \"problems\": [{}]}",
        expect!["1:31: problems[0]: missing field `code` (snapshot_malformed)"],
    );
    check(
        "{\"threads\": [], \"process\": [4242]}",
        expect![
            "1:28: process: invalid type: array, expected an object that describes the process (snapshot_malformed)"
        ],
    );
}

#[test]
fn a_field_given_twice() {
    check(
        "{\"threads\": [], \"threads\": []}",
        expect!["1:26: duplicate field `threads` (snapshot_malformed)"],
    );
    check(
        task("\"task_id\": 2"),
        expect!["2:25: threads[0].tasks[0]: duplicate field `task_id` (snapshot_malformed)"],
    );
    check(
        task("\"state\": \"running\", \"state\": \"running\""),
        expect!["2:43: threads[0].tasks[0]: duplicate field `state` (snapshot_malformed)"],
    );
    check(task("\"colour\": 1, \"colour\": 2"), expect!["no error"]);
}

#[test]
fn a_version_that_is_not_known() {
    check(
        "{\"schema_version\": 3, \"threads\": []}",
        expect![
            "1:21: schema_version: this agentctl reads versions up to 2 and the file has 3; read it with a newer agentctl (snapshot_malformed)"
        ],
    );
    check(
        "{\"schema_version\": 0, \"threads\": []}",
        expect![
            "1:21: schema_version: invalid value: integer `0`, expected a version number, of which 2 is the newest (snapshot_malformed)"
        ],
    );
    check(
        "{\"schema_version\": -1, \"threads\": []}",
        expect![
            "1:22: schema_version: invalid value: integer `-1`, expected a version number, of which 2 is the newest (snapshot_malformed)"
        ],
    );
    check(
        "{\"schema_version\": \"1\", \"threads\": []}",
        expect![[
            r#"1:22: schema_version: invalid type: string "1", expected a version number, of which 2 is the newest (snapshot_malformed)"#
        ]],
    );
    check(
        "{\"schema_version\": 1.5, \"threads\": []}",
        expect![
            "1:23: schema_version: invalid type: floating point `1.5`, expected a version number, of which 2 is the newest (snapshot_malformed)"
        ],
    );
}

#[test]
fn wrong_values() {
    check(
        task("\"task_name\": 5"),
        expect![
            "2:30: threads[0].tasks[0].task_name: invalid type: integer `5`, expected a string (snapshot_malformed)"
        ],
    );
    check(
        task("\"state\": \"asleep\""),
        expect![[
            r#"2:32: threads[0].tasks[0].state: invalid value: string "asleep", expected one of pending, created, suspended, running, cancelling (snapshot_malformed)"#
        ]],
    );
    check(
        task("\"cancelling\": 0"),
        expect![
            "2:31: threads[0].tasks[0].cancelling: invalid type: integer `0`, expected a boolean (snapshot_malformed)"
        ],
    );
    check(
        task("\"coroutine_stack\": \"main\""),
        expect![[
            r#"2:40: threads[0].tasks[0].coroutine_stack: invalid type: string "main", expected an array (snapshot_malformed)"#
        ]],
    );
    check(
        task("\"coroutine_stack\": [\"a\", {\"lineno\": 1}]"),
        expect![
            "2:53: threads[0].tasks[0].coroutine_stack[1]: missing field `funcname` (snapshot_malformed)"
        ],
    );
    check(
        task("\"coroutine_stack\": [\"a\", 7]"),
        expect![[
            r#"2:42: threads[0].tasks[0].coroutine_stack[1]: invalid type: integer `7`, expected a frame: an object with "funcname", or a function name (snapshot_malformed)"#
        ]],
    );
    check(
        task("\"coroutine_stack\": [{\"funcname\": \"a\", \"via\": \"magic\"}]"),
        expect![[
            r#"2:67: threads[0].tasks[0].coroutine_stack[0].via: invalid value: string "magic", expected one of generator, anext_awaitable, thread, coroutine_wrapper, await, or null (snapshot_malformed)"#
        ]],
    );
    check(
        task("\"awaited_by\": [{\"call_stack\": []}]"),
        expect![
            "2:48: threads[0].tasks[0].awaited_by[0]: missing field `task_id` (snapshot_malformed)"
        ],
    );
    check(
        task("\"awaited_by\": [\"0x1\"]"),
        expect![[
            r#"2:35: threads[0].tasks[0].awaited_by[0]: invalid type: string "0x1", expected an awaiter: an object with "task_id" (snapshot_malformed)"#
        ]],
    );
}

#[test]
fn ids_out_of_range() {
    let id = |id: &str| format!("{{\"threads\": [{{\"tasks\": [{{\"task_id\": {id}}}]}}]}}");
    check(
        id("\"0xfffffffffffffffff\""),
        expect![[
            r#"1:57: threads[0].tasks[0].task_id: invalid value: string "0xfffffffffffffffff", expected an id: a string such as "0x7f12ab" or "123", or a whole number from 0 (snapshot_malformed)"#
        ]],
    );
    check(
        id("\"0x\""),
        expect![[
            r#"1:40: threads[0].tasks[0].task_id: invalid value: string "0x", expected an id: a string such as "0x7f12ab" or "123", or a whole number from 0 (snapshot_malformed)"#
        ]],
    );
    check(
        id("\"-1\""),
        expect![[
            r#"1:40: threads[0].tasks[0].task_id: invalid value: string "-1", expected an id: a string such as "0x7f12ab" or "123", or a whole number from 0 (snapshot_malformed)"#
        ]],
    );
    check(
        id("\"Task-1\""),
        expect![[
            r#"1:44: threads[0].tasks[0].task_id: invalid value: string "Task-1", expected an id: a string such as "0x7f12ab" or "123", or a whole number from 0 (snapshot_malformed)"#
        ]],
    );
    check(
        id("-1"),
        expect![[
            r#"1:39: threads[0].tasks[0].task_id: invalid value: integer `-1`, expected an id: a string such as "0x7f12ab" or "123", or a whole number from 0 (snapshot_malformed)"#
        ]],
    );
    check(
        id("1.5"),
        expect![[
            r#"1:40: threads[0].tasks[0].task_id: invalid type: floating point `1.5`, expected an id: a string such as "0x7f12ab" or "123", or a whole number from 0 (snapshot_malformed)"#
        ]],
    );
    check(
        id("18446744073709551616"),
        expect![[
            r#"1:57: threads[0].tasks[0].task_id: invalid type: floating point `1.8446744073709552e+19`, expected an id: a string such as "0x7f12ab" or "123", or a whole number from 0 (snapshot_malformed)"#
        ]],
    );
    check(
        id("1e999"),
        expect!["1:42: threads[0].tasks[0].task_id: number out of range (snapshot_malformed)"],
    );
    check(
        id("null"),
        expect![[
            r#"1:40: threads[0].tasks[0].task_id: invalid type: null, expected an id: a string such as "0x7f12ab" or "123", or a whole number from 0 (snapshot_malformed)"#
        ]],
    );
}

#[test]
fn line_numbers_out_of_range() {
    let line = |line: &str| {
        task(&format!(
            "\"coroutine_stack\": [{{\"funcname\": \"a\", \"lineno\": {line}}}]"
        ))
    };
    check(
        line("4294967296"),
        expect![
            "2:74: threads[0].tasks[0].coroutine_stack[0].lineno: invalid value: integer `4294967296`, expected a line number (0 to 4294967295) or null (snapshot_malformed)"
        ],
    );
    check(
        line("-1"),
        expect![
            "2:66: threads[0].tasks[0].coroutine_stack[0].lineno: invalid value: integer `-1`, expected a line number (0 to 4294967295) or null (snapshot_malformed)"
        ],
    );
    check(
        line("\"12\""),
        expect![[
            r#"2:67: threads[0].tasks[0].coroutine_stack[0].lineno: invalid type: string "12", expected a line number (0 to 4294967295) or null (snapshot_malformed)"#
        ]],
    );
}

#[test]
fn other_numbers_out_of_range() {
    check(
        "{\"threads\": [], \"process\": {\"pid\": 0}}",
        expect![
            "1:37: process.pid: invalid value: integer `0`, expected a process id (1 to 2147483647) or null (snapshot_malformed)"
        ],
    );
    check(
        "{\"threads\": [], \"process\": {\"pid\": 2147483648}}",
        expect![
            "1:46: process.pid: invalid value: integer `2147483648`, expected a process id (1 to 2147483647) or null (snapshot_malformed)"
        ],
    );
    check(
        "{\"threads\": [], \"stats\": {\"syscalls\": -1}}",
        expect![
            "1:41: stats.syscalls: invalid value: integer `-1`, expected a whole number from 0 to 18446744073709551615 (snapshot_malformed)"
        ],
    );
    check(
        "{\"threads\": [], \"stats\": {\"duration_seconds\": -0.5}}",
        expect![
            "1:51: stats.duration_seconds: invalid value: floating point `-0.5`, expected a number of seconds from 0, or null (snapshot_malformed)"
        ],
    );
    check(
        "{\"threads\": [], \"stats\": {\"duration_seconds\": 1e300}}",
        expect![
            "1:52: stats.duration_seconds: invalid value: floating point `1e+300`, expected a number of seconds from 0, or null (snapshot_malformed)"
        ],
    );
    check(
        "{\"threads\": [{\"interpreter_id\": 9223372036854775808, \"tasks\": []}]}",
        expect![
            "1:52: threads[0].interpreter_id: invalid value: integer `9223372036854775808`, expected an interpreter's number: a whole number of 64 bits (snapshot_malformed)"
        ],
    );
}

#[test]
fn deep_nesting_is_no_danger() {
    let deep = "[".repeat(1_000_000);
    check(
        &deep,
        expect![[
            r#"1:1: invalid type: array, expected an object with "threads" (snapshot_malformed)"#
        ]],
    );
    check(
        format!("{{\"threads\": {deep}"),
        expect![[
            r#"1:14: threads[0]: invalid type: array, expected a thread: an object with "tasks" (snapshot_malformed)"#
        ]],
    );
    check(
        format!("{{\"unknown\": {deep}"),
        expect!["1:1000012: unknown: cut off: EOF while parsing a list (snapshot_malformed)"],
    );
    let closed = "]".repeat(1_000_000);
    check(
        format!("{{\"unknown\": {deep}{closed}, \"threads\": []}}"),
        expect!["no error"],
    );
    let objects = "{\"a\":".repeat(1_000_000);
    check(
        objects,
        expect!["1:5000000: a: cut off: EOF while parsing a value (snapshot_malformed)"],
    );
}

#[test]
fn long_values_are_not_quoted_in_full() {
    let long = answer(task(&format!("\"state\": \"{}\"", "é".repeat(100_000))).as_bytes());
    assert!(long.len() < 1200, "{}", long.len());
    assert!(long.contains("invalid value: string \"éé"), "{long}");
    assert!(
        long.ends_with("running, cancelling (snapshot_malformed)"),
        "{long}"
    );
    let key = answer(format!("{{\"{}\": [", "k".repeat(100_000)).as_bytes());
    assert!(key.len() < 1200, "{}", key.len());
}
