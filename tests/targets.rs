//! Which process belongs to which target: the rules on made-up facts, beside a plain second reading of
//! them, and the names that come out.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its end")]
#![cfg(feature = "cli")]

use asyncio_agent::config::{self, MatchSettings, Matching, Settings, TargetSettings, UserId};
use asyncio_agent::ids::{Pid, ProcessId, StartTime};
use asyncio_agent::targets::{
    Assigned, Assignment, OTHER, ReadFacts, UnknownUser, assign, idle_rules, settle_names,
    unknown_users,
};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// A made-up process.
#[derive(Debug, Clone, Default)]
struct Made {
    pid: i32,
    parent: i32,
    start: u64,
    executable: &'static str,
    command: String,
    user: u32,
    cgroup: String,
    uses_asyncio: bool,
    /// May not be looked at.
    is_hidden: bool,
}

impl Made {
    fn id(&self) -> ProcessId {
        ProcessId {
            pid: Pid::new(self.pid).unwrap(),
            start: StartTime(self.start),
        }
    }
}

/// Made-up processes, and what was asked about them.
#[derive(Debug, Default)]
struct World {
    processes: Vec<Made>,
    asked: RefCell<BTreeMap<(&'static str, i32), u32>>,
}

impl World {
    fn of(processes: Vec<Made>) -> Self {
        Self {
            processes,
            asked: RefCell::default(),
        }
    }

    fn ask(&self, what: &'static str, process: ProcessId) -> Option<&Made> {
        let pid = process.pid.as_raw();
        *self.asked.borrow_mut().entry((what, pid)).or_insert(0) += 1;
        self.processes.iter().find(|made| made.id() == process)
    }

    fn assign(&self, targets: &[TargetSettings]) -> Vec<Assignment> {
        let Assigned { found, hidden } = self.assign_all(targets);
        assert_eq!(hidden, []);
        found
    }

    fn assign_all(&self, targets: &[TargetSettings]) -> Assigned {
        let ids: Vec<_> = self.processes.iter().map(Made::id).collect();
        let uses_asyncio = |process| {
            let made = self.ask("asyncio", process)?;
            (!made.is_hidden).then_some(made.uses_asyncio)
        };
        assign(targets, &ids, Pid::new(99), self, &uses_asyncio)
    }

    /// Each process that belongs to a target, with the target's position and its name.
    fn named(&self, targets: &str) -> Vec<(i32, usize, String)> {
        let found = self.assign(&settings(targets).targets);
        let found = found
            .into_iter()
            .map(|it| (it.process.pid.as_raw(), it.target, it.name));
        found.collect()
    }
}

impl ReadFacts for World {
    fn executable(&self, process: ProcessId) -> Option<Vec<u8>> {
        let made = self.ask("executable", process)?;
        (!made.executable.is_empty() && !made.is_hidden)
            .then(|| made.executable.as_bytes().to_vec())
    }

    fn hides_executable(&self, process: ProcessId) -> bool {
        let mut all = self.processes.iter();
        all.any(|made| made.id() == process && made.is_hidden)
    }

    fn command_line(&self, process: ProcessId) -> Option<Vec<u8>> {
        let made = self.ask("command", process)?;
        Some(made.command.replace(' ', "\0").into_bytes())
    }

    fn user_and_parent(&self, process: ProcessId) -> Option<(Option<u32>, Option<Pid>)> {
        let made = self.ask("status", process)?;
        Some((Some(made.user), Pid::new(made.parent)))
    }

    fn cgroups(&self, process: ProcessId) -> Option<Vec<Vec<u8>>> {
        let made = self.ask("cgroup", process)?;
        Some(vec![b"/".to_vec(), made.cgroup.clone().into_bytes()])
    }

    fn user_id(&self, name: &str) -> Option<u32> {
        *self.asked.borrow_mut().entry(("user", 0)).or_insert(0) += 1;
        match name {
            "root" => Some(0),
            "celery" => Some(7),
            _ => None,
        }
    }
}

fn settings(targets: &str) -> Settings {
    let text = format!("targets:\n{targets}\n");
    config::parse("agent.yaml", &text).unwrap_or_else(|error| panic!("{error}"))
}

fn made(pid: i32, command: &str) -> Made {
    Made {
        pid,
        start: 10 + u64::try_from(pid).unwrap(),
        command: command.to_owned(),
        executable: "/usr/bin/python3.14",
        ..Made::default()
    }
}

fn found(pid: i32, target: usize, name: &str) -> (i32, usize, String) {
    (pid, target, name.to_owned())
}

#[test]
fn users_that_there_are_not_are_found_wherever_they_are_named() {
    let world = World::of(Vec::new());
    let settings = settings(
        "- {name: a, match: {user: root}}
- {name: b, match: [{user: celery}, {user: nobody-here, pid: 1}, {user: 12345}]}
- {name: c, match: {pid: 1, parent: {user: above}}, exclude: {user: left-out}}
- {name: d, match: {user: nobody-here}}
- {name: e, match: auto}",
    );
    let unknown = |target, name| UnknownUser { target, name };
    assert_eq!(
        unknown_users(&settings.targets, &world),
        [
            unknown(1, "nobody-here"),
            unknown(2, "above"),
            unknown(2, "left-out")
        ]
    );
    // Each is looked up once, which may take a name server.
    assert_eq!(world.asked.borrow().get(&("user", 0)), Some(&5));
}

#[test]
fn each_condition_is_one_of_its_own() {
    let container = "5c".repeat(32);
    let mut one = made(1, "python3 -m app --port 80");
    one.user = 7;
    one.cgroup = format!("/system.slice/docker-{container}.scope");
    let mut two = made(2, "java -jar x");
    two.executable = "/opt/java (deleted)/bin/java";
    two.cgroup = "/system.slice/checkout@3.service/worker".to_owned();
    let mut kernel = made(3, "");
    kernel.executable = "";
    let world = World::of(vec![one, two, kernel]);
    for (conditions, pids) in [
        ("pid: 2", &[2][..]),
        ("command: 'app --port'", &[1]),
        ("command: '.*'", &[1, 2]),
        ("executable: 'python3*'", &[1]),
        ("executable: 'ython3*'", &[]),
        ("executable: '/usr/*/python3.14'", &[1]),
        ("executable: '/*'", &[]),
        ("executable: '/**'", &[1, 2]),
        ("user: 7", &[1]),
        ("user: celery", &[1]),
        ("user: root", &[2, 3]),
        ("user: nobody-here", &[]),
        ("systemd_unit: 'checkout@*.service'", &[2]),
        ("systemd_unit: system.slice", &[1, 2]),
        ("systemd_unit: worker", &[]),
        ("cgroup: '/system.slice/*'", &[1]),
        ("cgroup: '/system.slice/**'", &[1, 2]),
        ("cgroup: /", &[1, 2, 3]),
        ("container_id: 5c5c5c5c5c5c", &[1]),
        ("container_id: c5c5c5c5c5c5", &[]),
        ("user: 7, command: java", &[]),
        ("user: 0, command: java", &[2]),
    ] {
        let named = world.named(&format!("- {{name: a, match: {{{conditions}}}}}"));
        let matched: Vec<_> = named.iter().map(|it| it.0).collect();
        assert_eq!(matched, pids, "{conditions}");
    }
}

#[test]
fn the_first_target_that_matches_has_the_process() {
    let world = World::of(vec![
        made(1, "a x"),
        made(2, "b x"),
        made(3, "c x"),
        made(99, "a x"),
    ]);
    let targets = "
- {name: one, match: [{command: ^a}, {command: ^b}], exclude: {pid: 2}}
- {name: rest, match: {command: x}}";
    let expected = [found(1, 0, "one"), found(2, 1, "rest"), found(3, 1, "rest")];
    assert_eq!(world.named(targets), expected);
    let found = world.assign(&settings("- {name: o, match: [{pid: 7}, {command: ^b}]}").targets);
    assert_eq!((found.len(), found[0].alternative), (1, 1));
}

#[test]
fn children_join_their_parent() {
    let tree = |pid: i32, parent: i32, command: &str| Made {
        parent,
        ..made(pid, command)
    };
    let world = World::of(vec![
        tree(1, 0, "init"),
        tree(2, 1, "gunicorn shop"),
        tree(3, 2, "uv run"),
        tree(4, 3, "python worker"),
        tree(5, 1, "gunicorn cart"),
        tree(6, 5, "python worker"),
        // The parent that it names is younger: that id was taken over by another process.
        Made {
            start: 1,
            ..tree(7, 5, "python worker")
        },
        // What cannot be: each the other's parent, and one its own.
        Made {
            start: 50,
            ..tree(8, 9, "python worker")
        },
        Made {
            start: 50,
            ..tree(9, 8, "x")
        },
        tree(10, 10, "python worker"),
    ]);
    let targets = "
- {name: '${app}', match: {parent: {command: 'gunicorn (?P<app>\\w+)'}}}
- {name: orphan, match: {command: worker}}";
    let expected = [
        found(7, 1, "orphan"),
        found(2, 0, "shop"),
        found(3, 0, "shop"),
        found(4, 0, "shop"),
        found(5, 0, "cart"),
        found(6, 0, "cart"),
        found(10, 1, "orphan"),
        found(8, 1, "orphan"),
    ];
    assert_eq!(world.named(targets), expected);
    let workers = "- {name: w, match: {command: worker, parent: {pid: 2}}}";
    assert_eq!(world.named(workers), [found(4, 0, "w")]);
    // Each process was asked for its parent once for each of the two looks.
    assert!(world.asked.borrow().iter().all(|(_, times)| *times <= 2));
}

/// Processes of which two may not be looked at.
fn partly_hidden() -> World {
    let hidden = |pid, parent, command| Made {
        is_hidden: true,
        parent,
        ..made(pid, command)
    };
    World::of(vec![
        hidden(1, 0, "init"),
        hidden(2, 1, "worker"),
        Made {
            parent: 2,
            ..made(3, "worker")
        },
        Made {
            executable: "/bin/sh",
            ..made(4, "sh")
        },
        Made {
            uses_asyncio: true,
            ..made(5, "python")
        },
        Made {
            parent: 3,
            executable: "/usr/bin/gunicorn",
            ..made(6, "worker")
        },
    ])
}

#[test]
fn what_may_not_be_looked_at_is_told_where_a_rule_depends_on_it() {
    let world = partly_hidden();
    for (targets, found, hidden) in [
        (
            "- {name: a, match: {executable: python3.14}}",
            &[3, 5][..],
            &[1, 2][..],
        ),
        // What else is asked for says that they do not belong to it.
        (
            "- {name: a, match: {executable: python3.14, command: work}}",
            &[3],
            &[2],
        ),
        (
            "- {name: a, match: {executable: python3.14, user: celery}}",
            &[],
            &[],
        ),
        // One of the alternatives is clear; another target is.
        (
            "- {name: a, match: [{executable: x}, {command: worker}]}",
            &[2, 3, 6],
            &[1],
        ),
        (
            "- {name: a, match: {executable: x}}\n- {name: b, match: {pid: 1}}",
            &[1],
            &[2],
        ),
        // If it did belong to it, it would be left out.
        (
            "- {name: a, match: {executable: x}, exclude: {pid: 1}}",
            &[],
            &[2],
        ),
        // Below a process that may be the one.
        (
            "- {name: a, match: {parent: {executable: gunicorn}}}",
            &[6],
            &[1, 2, 3],
        ),
        (
            "- {name: a, match: {parent: {executable: gunicorn}, command: sh}}",
            &[],
            &[],
        ),
        ("- {match: auto}", &[5], &[1, 2]),
        ("- {name: a, match: {command: worker}}", &[2, 3, 6], &[]),
    ] {
        let assigned = world.assign_all(&settings(targets).targets);
        let pids = |ids: Vec<ProcessId>| -> Vec<i32> {
            ids.into_iter().map(|id| id.pid.as_raw()).collect()
        };
        let belong = pids(assigned.found.into_iter().map(|it| it.process).collect());
        assert_eq!(
            (&belong[..], &pids(assigned.hidden)[..]),
            (found, hidden),
            "{targets}"
        );
    }
}

#[test]
fn a_long_line_of_processes_takes_no_longer_than_many_short_ones() {
    let line = (1..20_000).map(|pid| Made {
        parent: pid - 1,
        ..made(pid, "x")
    });
    let world = World::of(line.collect());
    let targets = settings("- {name: a, match: {parent: {pid: 1}, command: x}}").targets;
    // The facts are found by a search through all of them, which is no part of what is tested.
    let facts = Quick(&world);
    let ids: Vec<_> = world.processes.iter().rev().map(Made::id).collect();
    let assigned = assign(&targets, &ids, None, &facts, &|_| Some(false));
    assert_eq!(assigned.found.len(), world.processes.len());
}

/// The facts of processes that stand in the order of their ids.
struct Quick<'w>(&'w World);

impl Quick<'_> {
    fn made(&self, process: ProcessId) -> &Made {
        &self.0.processes[usize::try_from(process.pid.as_raw() - 1).unwrap()]
    }
}

impl ReadFacts for Quick<'_> {
    fn executable(&self, _process: ProcessId) -> Option<Vec<u8>> {
        None
    }

    fn command_line(&self, process: ProcessId) -> Option<Vec<u8>> {
        Some(self.made(process).command.clone().into_bytes())
    }

    fn user_and_parent(&self, process: ProcessId) -> Option<(Option<u32>, Option<Pid>)> {
        Some((None, Pid::new(self.made(process).parent)))
    }

    fn cgroups(&self, _process: ProcessId) -> Option<Vec<Vec<u8>>> {
        None
    }

    fn user_id(&self, _name: &str) -> Option<u32> {
        None
    }
}

#[test]
fn nothing_is_read_that_no_rule_needs() {
    let world = || World::of(vec![made(1, "a"), made(2, "b")]);
    let asked = |targets: &str| {
        let world = world();
        world.named(targets);
        let asked = world.asked.borrow();
        assert!(asked.values().all(|times| *times == 1), "{asked:?}");
        let what = asked.keys().map(|(what, pid)| format!("{what}{pid}"));
        what.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        asked("- {name: a, match: {pid: 1, command: a}}"),
        "command1"
    );
    assert_eq!(
        asked("- {name: a, match: [{command: x}, {command: y}], exclude: {command: z}}"),
        "command1 command2"
    );
    assert_eq!(
        asked("- {name: a, match: [{user: celery}, {user: celery, pid: 1}]}"),
        "status1 status2 user0"
    );
    assert_eq!(
        asked("- {name: a, match: {pid: 1}}\n- {match: auto}"),
        "asyncio2"
    );
}

#[test]
fn automatic_names_are_those_of_programs() {
    let auto = |pid, parent, command: &str| Made {
        parent,
        uses_asyncio: pid != 4,
        ..made(pid, command)
    };
    let world = World::of(vec![
        auto(1, 0, "python3 /srv/shop.py"),
        auto(2, 1, "python3 -c from\u{a0}x"),
        auto(3, 1, "python3 -s --multiprocessing-fork 7"),
        auto(4, 1, "python3 other.py"),
        auto(5, 0, "python3 -s --multiprocessing-fork 7"),
        auto(6, 0, "python3 -m shop.worker"),
    ]);
    let expected = [
        found(1, 0, "shop.py"),
        found(2, 0, "-c"),
        found(3, 0, "shop.py"),
        found(5, 0, "python"),
        found(6, 0, "shop.worker"),
    ];
    assert_eq!(world.named("- match: auto"), expected);
}

#[test]
fn captures_are_cut_and_escaped() {
    let long = "x".repeat(100_000);
    let world = World::of(vec![
        made(1, "w -Q a\x1b[31m\n\u{202e}"),
        made(2, &format!("w -Q {long}{long}")),
        made(3, "w -Q"),
        made(4, "w -Q \u{0}"),
    ]);
    let targets = "- {name: 'w-${q}', match: {command: '(?s)-Q ?(?P<q>.*)'}}";
    let named = world.named(targets);
    assert_eq!(named[0].2, "w-a\\x1b[31m\\n\\u202e");
    assert_eq!(named[1].2, format!("w-{}…", &long[..100]));
    assert_eq!(named[2].2, "w-");
    let targets = "- {name: '${q}', match: {command: '(?P<q>nothing)?'}}";
    assert!(world.named(targets).iter().all(|it| it.2 == "unnamed"));
    let targets = "- {name: '${2:-none}-${1}', match: {command: '(.) -Q(x)?'}}";
    assert!(world.named(targets).iter().all(|it| it.2 == "none-w"));
}

fn assignment(pid: i32, target: usize, name: &str) -> Assignment {
    Assignment {
        process: made(pid, "").id(),
        target,
        alternative: 0,
        name: name.to_owned(),
    }
}

fn names_of(assignments: &[Assignment]) -> Vec<&str> {
    assignments.iter().map(|it| it.name.as_str()).collect()
}

#[test]
fn no_two_targets_have_the_same_name() {
    let targets = settings(
        "- {name: 'w-${q}', match: {command: '(?P<q>x)'}}\n- {name: w-a, match: {pid: 1}}\n- match: auto",
    )
    .targets;
    let mut found = [
        assignment(1, 0, "w-a"),
        assignment(2, 0, "w-b"),
        assignment(3, 1, "w-a"),
        assignment(4, 2, "w-b"),
        assignment(5, 2, "w-a (targets[0])"),
        assignment(6, 2, "other"),
    ];
    assert_eq!(settle_names(&mut found, &targets, 100, &BTreeSet::new()), 0);
    let expected = [
        "w-a (targets[0])",
        "w-b",
        "w-a",
        "w-b (targets[2])",
        "w-a (targets[0]) (targets[2])",
        "other (targets[2])",
    ];
    assert_eq!(names_of(&found), expected);
}

#[test]
fn names_beyond_the_limit_are_other() {
    let targets = settings("- {name: fixed, match: {pid: 1}}\n- match: auto").targets;
    let all = || {
        [
            assignment(1, 1, "a"),
            assignment(2, 1, "b"),
            assignment(3, 0, "fixed"),
        ]
    };
    let mut found = all();
    assert_eq!(settle_names(&mut found, &targets, 2, &BTreeSet::new()), 1);
    assert_eq!(names_of(&found), ["a", OTHER, "fixed"]);
    // A name that was there before stays.
    let mut found = all();
    let before = BTreeSet::from([(1, "b".to_owned())]);
    assert_eq!(settle_names(&mut found, &targets, 2, &before), 1);
    assert_eq!(names_of(&found), [OTHER, "b", "fixed"]);
}

/// The rules read once more, in the plainest way.
fn plainly(world: &World, targets: &[TargetSettings]) -> BTreeMap<i32, (usize, usize)> {
    let above = |made: &Made| {
        let mut line = vec![made.clone()];
        while line.len() < 20 {
            let last = &line[line.len() - 1];
            let parent = world.processes.iter().find(|it| it.pid == last.parent);
            let Some(parent) = parent.filter(|it| it.start <= last.start) else {
                break;
            };
            line.push(parent.clone());
        }
        line
    };
    fn meets(it: &MatchSettings, made: &Made, line: &[Made]) -> bool {
        let command = it.command.as_ref();
        let user = it.user.as_ref();
        let parent = it.parent.as_ref();
        it.pid.is_none_or(|pid| pid.as_raw() == made.pid)
            && command.is_none_or(|it| it.is_match(made.command.as_bytes()))
            && user.is_none_or(|user| *user == UserId::Number(made.user))
            && parent.is_none_or(|parent| line.iter().any(|above| meets(parent, above, &[])))
    }
    let mut belongs = BTreeMap::new();
    for made in &world.processes {
        let line = above(made);
        let found = targets.iter().enumerate().find_map(|(number, target)| {
            let alternative = match &target.matches {
                Matching::Auto => made.uses_asyncio.then_some(0),
                Matching::Any(any) => any.iter().position(|it| meets(it, made, &line)),
            }?;
            let excluded = target.exclude.iter().any(|it| meets(it, made, &line));
            (!excluded).then_some((number, alternative))
        });
        belongs.extend(found.map(|found| (made.pid, found)));
    }
    belongs
}

prop_compose! {
    fn some_process()(
        parent in 0..9_i32,
        start in 0..4_u64,
        command in "[ab]{1,2}",
        user in 0..2_u32,
        uses_asyncio in any::<bool>(),
    ) -> Made {
        Made { pid: 0, parent, start, command, user, uses_asyncio, ..Made::default() }
    }
}

fn some_conditions() -> impl Strategy<Value = String> {
    prop_oneof![
        (1..9_i32).prop_map(|pid| format!("pid: {pid}")),
        "[ab]{1,2}".prop_map(|text| format!("command: {text}")),
        (0..2_u32).prop_map(|user| format!("user: {user}")),
        ("[ab]", 0..2_u32).prop_map(|(text, user)| format!("command: {text}, user: {user}")),
    ]
}

fn some_match() -> impl Strategy<Value = String> {
    let parent = some_conditions().prop_map(|it| format!("parent: {{{it}}}"));
    let both = (some_conditions(), some_conditions())
        .prop_map(|(own, above)| format!("{own}, parent: {{{above}}}"));
    prop_oneof![some_conditions(), parent, both].prop_map(|it| format!("{{{it}}}"))
}

fn some_targets() -> impl Strategy<Value = String> {
    let target = (
        prop_oneof![
            1 => Just("auto".to_owned()),
            5 => prop::collection::vec(some_match(), 1..3).prop_map(|it| format!("[{}]", it.join(","))),
        ],
        prop::collection::vec(some_match(), 0..2),
    );
    prop::collection::vec(target, 0..4).prop_map(|targets| {
        let lines = targets.iter().enumerate().map(|(n, (matches, exclude))| {
            let exclude = match &exclude[..] {
                [] => String::new(),
                some => format!(", exclude: [{}]", some.join(",")),
            };
            format!("- {{name: t{n}, match: {matches}{exclude}}}\n")
        });
        lines.collect::<String>()
    })
}

proptest! {
    #[test]
    fn the_rules_are_those_that_were_written(
        processes in prop::collection::vec(some_process(), 0..9),
        targets in some_targets(),
    ) {
        let processes = processes.into_iter().zip(1..).map(|(made, pid)| Made { pid, ..made });
        let world = World::of(processes.collect());
        let targets = if targets.is_empty() { " []".to_owned() } else { targets };
        let targets = settings(&targets).targets;
        let found = world.assign(&targets);
        let belongs: BTreeMap<_, _> = found
            .iter()
            .map(|it| (it.process.pid.as_raw(), (it.target, it.alternative)))
            .collect();
        prop_assert_eq!(belongs.len(), found.len());
        prop_assert_eq!(belongs, plainly(&world, &targets));
        prop_assert!(world.asked.borrow().values().all(|times| *times == 1));
    }

    #[test]
    fn names_are_few_safe_and_of_one_target_each(
        names in prop::collection::vec((0..3_usize, "[ab]|other|fixed|a \\(targets\\[1\\]\\)"), 0..12),
        before in prop::collection::btree_set((0..3_usize, "[abc]"), 0..4),
        names_max in 1..6_usize,
    ) {
        let targets = settings("- {match: auto}\n- {match: auto}\n- {name: fixed, match: {pid: 1}}").targets;
        let mut found: Vec<_> = names
            .iter()
            .zip(1..)
            .map(|((target, name), pid)| match target {
                2 => assignment(pid, 2, "fixed"),
                target => assignment(pid, *target, name),
            })
            .collect();
        let n_others = settle_names(&mut found, &targets, names_max, &before);
        let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
        for it in found.iter().filter(|it| it.name != OTHER) {
            let owner = *owners.entry(&it.name).or_insert(it.target);
            prop_assert_eq!(owner, it.target);
        }
        prop_assert!(owners.len() <= names_max);
        prop_assert_eq!(found.iter().filter(|it| it.name == OTHER).count(), n_others);
        prop_assert!(found.iter().all(|it| it.target != 2 || it.name == "fixed"));
    }

    #[test]
    fn any_command_line_has_a_safe_name(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(name) = asyncio_agent::targets::program_name(&raw) {
            prop_assert!(!name.is_empty() && name.chars().count() < 1_000);
            prop_assert!(!name.contains(asyncio_agent::sanitize::is_unsafe));
        }
    }
}

#[test]
fn rules_without_a_process_are_known() {
    let targets = "- {name: a, match: [{command: web}, {command: wep}]}\n\
                   - {name: b, match: {command: web}}\n\
                   - {name: c, match: {command: db}}";
    let targets = settings(targets).targets;
    let world = World::of(vec![made(1, "web"), made(2, "db")]);
    let idle = idle_rules(&targets, &world.assign(&targets));
    assert_eq!(idle.first, ["targets[0].match[1]", "targets[1].match"]);
    let many = vec![targets[2].clone(); 200];
    let many = idle_rules(&many, &[]);
    assert_eq!((many.n, many.first.len()), (200, 50));
}
