//! What is said of rules: each condition with what it wants and what a process has, on made-up facts.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its end")]
#![cfg(feature = "cli")]

use asyncio_agent::config::parse;
use asyncio_agent::ids::{Pid, ProcessId, StartTime};
use asyncio_agent::targets::{ConditionFinding, Explained, ReadFacts, explain_rules};

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The processes 1 (root's supervisor), 20 below it (a worker of user 7) and 30 (hidden: nothing but its user is told).
struct Made;

impl ReadFacts for Made {
    fn executable(&self, process: ProcessId) -> Option<Vec<u8>> {
        match process.pid.as_raw() {
            30 => None,
            pid => Some(format!("/opt/bin/program{pid}\x1b[31m").into_bytes()),
        }
    }

    fn hides_executable(&self, process: ProcessId) -> bool {
        process.pid.as_raw() == 30
    }

    fn command_line(&self, process: ProcessId) -> Option<Vec<u8>> {
        Some(match process.pid.as_raw() {
            1 => b"supervisor\0--secret=x\0".to_vec(),
            _ => [&b"worker\0-Q\0"[..], &[b'y'; 5_000]].concat(),
        })
    }

    fn user_and_parent(&self, process: ProcessId) -> Option<(Option<u32>, Option<Pid>)> {
        match process.pid.as_raw() {
            1 => Some((Some(0), None)),
            _ => Some((Some(7), Pid::new(1))),
        }
    }

    fn cgroups(&self, process: ProcessId) -> Option<Vec<Vec<u8>>> {
        match process.pid.as_raw() {
            20 => Some(
                [
                    format!("/system.slice/docker-{CONTAINER}.scope"),
                    "/system.slice/a.service".to_owned(),
                    "/system.slice/a.service".to_owned(),
                ]
                .map(String::into_bytes)
                .to_vec(),
            ),
            _ => None,
        }
    }

    fn user_id(&self, name: &str) -> Option<u32> {
        (name == "shop").then_some(7)
    }
}

fn id(pid: i32) -> ProcessId {
    let start = StartTime(u64::try_from(pid).unwrap());
    let pid = Pid::new(pid).unwrap();
    ProcessId { pid, start }
}

fn explain(targets: &str, pid: i32, uses_asyncio: Option<bool>) -> Explained {
    let settings = parse("test", &format!("targets: {targets}")).unwrap_or_else(|e| panic!("{e}"));
    let all = [1, 20, 30].map(id);
    explain_rules(&settings.targets, &all, id(pid), &Made, &|_| uses_asyncio)
}

/// The one condition of the one rule.
fn condition(matches: &str, pid: i32) -> ConditionFinding {
    let explained = explain(&format!("[{{name: a, match: {{{matches}}}}}]"), pid, None);
    assert_eq!(explained.rules.len(), 1);
    let rule = &explained.rules[0];
    assert_eq!(
        (rule.path.as_str(), rule.conditions.len()),
        ("targets[0].match", 1)
    );
    assert_eq!(rule.holds, rule.conditions[0].holds);
    assert_eq!(explained.assignment.is_some(), rule.holds == Some(true));
    assert_eq!(explained.is_hidden, rule.holds.is_none());
    rule.conditions[0].clone()
}

/// Conditions of a process, and what is told of each: key, what it wants, what the process has, whether it holds.
type Case<'c> = (
    &'c str,
    i32,
    &'c str,
    &'c str,
    Option<&'c str>,
    Option<bool>,
);

fn check(cases: &[Case<'_>]) {
    for (matches, pid, key, wanted, found, holds) in cases {
        let told = condition(matches, *pid);
        let expected = (*key, *wanted, *found, *holds);
        let told = (told.key, &*told.wanted, told.found.as_deref(), told.holds);
        assert_eq!(told, expected, "{matches} of {pid}");
    }
}

#[test]
fn a_condition_is_told_with_what_it_wants_and_what_the_process_has() {
    check(&[
        ("pid: 20", 20, "pid", "20", Some("20"), Some(true)),
        ("pid: 21", 20, "pid", "21", Some("20"), Some(false)),
        (
            "executable: 'program*'",
            20,
            "executable",
            "program*",
            Some("/opt/bin/program20\x1b[31m"),
            Some(true),
        ),
        ("executable: 'x'", 30, "executable", "x", None, None),
        ("user: 8", 20, "user", "8", Some("7"), Some(false)),
        ("user: shop", 20, "user", "7 (shop)", Some("7"), Some(true)),
        (
            "user: nobody-here",
            20,
            "user",
            "nobody-here, whom this machine does not know",
            Some("7"),
            Some(false),
        ),
    ]);
    let command = condition("command: '-Q y+$'", 20);
    assert_eq!((command.key, command.holds), ("command", Some(true)));
    let found = command.found.unwrap();
    assert!(
        found.starts_with("worker -Q yyy") && found.len() == 1_000,
        "{}",
        found.len()
    );
}

#[test]
fn control_groups_are_told_each_once() {
    check(&[
        (
            "systemd_unit: 'a.*'",
            20,
            "systemd_unit",
            "a.*",
            Some(&*format!(
                "system.slice, docker-{CONTAINER}.scope, a.service"
            )),
            Some(true),
        ),
        ("systemd_unit: x", 1, "systemd_unit", "x", None, Some(false)),
        (
            "cgroup: '/x'",
            20,
            "cgroup",
            "/x",
            Some(&*format!(
                "/system.slice/docker-{CONTAINER}.scope, /system.slice/a.service"
            )),
            Some(false),
        ),
        (
            "container_id: 0123456789ab",
            20,
            "container_id",
            "0123456789ab",
            Some(CONTAINER),
            Some(true),
        ),
    ]);
}

#[test]
fn of_other_processes_nothing_is_told_but_their_ids() {
    check(&[
        (
            "parent: {command: superv, user: 0}",
            20,
            "parent",
            "{command: superv, user: 0}",
            Some("process 1"),
            Some(true),
        ),
        (
            "parent: {command: worker}",
            20,
            "parent",
            "{command: worker}",
            Some("the process itself"),
            Some(true),
        ),
        (
            "parent: {user: 9}",
            20,
            "parent",
            "{user: 9}",
            Some("none of processes 20, 1"),
            Some(false),
        ),
        (
            "parent: {executable: x}",
            30,
            "parent",
            "{executable: x}",
            Some("processes 30, 1, not all of which may be looked at"),
            None,
        ),
    ]);
}

#[test]
fn rules_are_told_in_their_order_with_their_places() {
    let targets = "[{name: a, match: [{pid: 1}, {pid: 20}], exclude: {user: 7}}, \
                   {name: b, match: {pid: 20}, exclude: [{pid: 1}, {pid: 2}]}, {match: auto}]";
    let explained = explain(targets, 20, Some(true));
    let rules: Vec<_> = explained
        .rules
        .iter()
        .map(|rule| (rule.path.as_str(), rule.target, rule.excludes, rule.holds))
        .collect();
    let expected = [
        ("targets[0].match[0]", 0, false, Some(false)),
        ("targets[0].match[1]", 0, false, Some(true)),
        ("targets[0].exclude", 0, true, Some(true)),
        ("targets[1].match", 1, false, Some(true)),
        ("targets[1].exclude[0]", 1, true, Some(false)),
        ("targets[1].exclude[1]", 1, true, Some(false)),
        ("targets[2].match", 2, false, Some(true)),
    ];
    assert_eq!(rules, expected);
    let assignment = explained.assignment.unwrap();
    assert_eq!((assignment.target, assignment.name.as_str()), (1, "b"));
}

#[test]
fn auto_is_a_rule_too() {
    for (uses_asyncio, found) in [
        (Some(true), Some("it can be read, and does")),
        (Some(false), Some("it does not, or cannot be read")),
        (None, None),
    ] {
        let explained = explain("auto", 20, uses_asyncio);
        let [rule] = &explained.rules[..] else {
            panic!("{explained:?}");
        };
        assert_eq!((rule.path.as_str(), rule.holds), ("auto", uses_asyncio));
        assert_eq!(rule.conditions[0].found.as_deref(), found);
        assert_eq!(explained.is_hidden, uses_asyncio.is_none());
    }
}

/// All conditions are told, also those after one that does not hold; a process that began after the list was made
/// is looked at as well.
#[test]
fn nothing_is_passed_over() {
    let explained = explain(
        "[{name: a, match: {pid: 3, command: worker, user: 9, executable: x}}]",
        40,
        None,
    );
    let keys = explained.rules[0].conditions.iter();
    let keys: Vec<_> = keys.map(|it| (it.key, it.holds)).collect();
    let expected =
        ["pid", "executable", "command", "user"].map(|key| (key, Some(key == "command")));
    assert_eq!(keys, expected);
    assert_eq!(explained.rules[0].holds, Some(false));
}
