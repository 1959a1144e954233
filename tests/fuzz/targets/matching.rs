//! Which processes belong to which target: whatever processes say about themselves, each rule asks for each
//! fact once, and names are safe, few and of one target each.

use asyncio_agent::config::parse;
use asyncio_agent::ids::{Pid, ProcessId, StartTime};
use asyncio_agent::sanitize::is_unsafe;
use asyncio_agent::targets::{OTHER, ReadFacts, assign, explain_rules, settle_names};
use std::collections::{BTreeMap, BTreeSet};

/// Ends what is said of one process.
const PROCESS_END: u8 = 0x1e;
/// Ends one fact.
const FACT_END: u8 = 0x1f;
const NAMES_MAX: usize = 8;

const TARGETS: &str = r"
targets:
- name: 'w-${q}'
  match:
  - {command: '-Q *(?P<q>\S+)', user: 7}
  - {parent: {command: 'gunicorn (?P<q>.*)'}, executable: '/**/p?[a-z]*'}
  exclude: {systemd_unit: 'x@*.service'}
- {name: fixed, match: {container_id: 0123456789ab}}
- {name: '${1:-none}', match: {cgroup: '/a/*/c', command: '(.)'}}
- match: auto
";

/// The processes, by what they say about themselves: a byte each for user and parent, then command line,
/// executable and control groups.
struct Said<'d>(Vec<&'d [u8]>);

impl<'d> Said<'d> {
    fn of(&self, process: ProcessId) -> Option<&'d [u8]> {
        let at = usize::try_from(process.pid.as_raw()).ok()?;
        self.0.get(at.checked_sub(1)?).copied()
    }

    fn fact(&self, process: ProcessId, number: usize) -> Option<Vec<u8>> {
        let facts = self.of(process)?.get(2..)?;
        let mut facts = facts.split(|byte| *byte == FACT_END);
        facts.nth(number).map(<[u8]>::to_vec)
    }
}

impl ReadFacts for Said<'_> {
    fn executable(&self, process: ProcessId) -> Option<Vec<u8>> {
        self.fact(process, 1)
    }

    fn command_line(&self, process: ProcessId) -> Option<Vec<u8>> {
        self.fact(process, 0)
    }

    fn user_and_parent(&self, process: ProcessId) -> Option<(Option<u32>, Option<Pid>)> {
        let [user, parent, ..] = self.of(process)? else {
            return None;
        };
        Some((Some((*user).into()), Pid::new((*parent).into())))
    }

    fn cgroups(&self, process: ProcessId) -> Option<Vec<Vec<u8>>> {
        let paths = self.fact(process, 2)?;
        Some(
            paths
                .split(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect(),
        )
    }

    fn user_id(&self, _name: &str) -> Option<u32> {
        None
    }
}

pub(crate) fn run(data: &[u8]) {
    let settings = parse("agent.yaml", TARGETS).expect("our own text");
    let said = Said(data.split(|byte| *byte == PROCESS_END).take(100).collect());
    let processes = (1..).zip(&said.0).map(|(pid, text)| ProcessId {
        pid: Pid::new(pid).expect("greater than zero"),
        start: StartTime(text.first().copied().unwrap_or(0).into()),
    });
    let processes: Vec<_> = processes.collect();
    let uses_asyncio = |process: ProcessId| Some(process.pid.as_raw() % 2 == 0);
    let mut found = assign(
        &settings.targets,
        &processes,
        Pid::new(3),
        &said,
        &uses_asyncio,
    )
    .found;
    let ids: BTreeSet<_> = found.iter().map(|it| it.process).collect();
    assert_eq!(ids.len(), found.len());
    assert!(found.iter().all(|it| it.process.pid.as_raw() != 3));
    // What is said of a process is what becomes of it.
    let last = processes.iter().rfind(|it| it.pid.as_raw() != 3);
    if let Some(process) = last {
        let explained = explain_rules(
            &settings.targets,
            &processes,
            *process,
            &said,
            &uses_asyncio,
        );
        let assigned = found.iter().find(|it| it.process == *process);
        assert_eq!(explained.assignment.as_ref(), assigned);
        let texts = explained.rules.iter().flat_map(|rule| &rule.conditions);
        let mut texts = texts.filter_map(|condition| condition.found.as_deref());
        assert!(texts.all(|text| text.chars().count() < 10_000));
    }
    settle_names(&mut found, &settings.targets, NAMES_MAX, &BTreeSet::new());
    let mut owners = BTreeMap::new();
    for it in &found {
        assert!(
            !it.name.is_empty() && !it.name.contains(is_unsafe),
            "{it:?}"
        );
        assert!(it.name.chars().count() < 1_000, "{it:?}");
        if it.name != OTHER {
            assert_eq!(*owners.entry(&it.name).or_insert(it.target), it.target);
        }
    }
    assert!(owners.len() <= NAMES_MAX);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let id = "0123456789ab".repeat(6);
    let cgroup = format!("/docker/{}", &id[..64]);
    let one =
        b"\x07\x00celery\0-Q\0mail\0\x1f/usr/bin/python3\x1f/system.slice/x@1.service/y".to_vec();
    let two = format!("\x00\x01gunicorn shop\x1f/usr/bin/py3\x1f/a/b/c\n{cgroup}");
    let three = b"\x00\x02python3\0-X\0dev\0-m\0app.main\0x\x1f/x/pyz\x1f/".to_vec();
    let four =
        b"\x09\x02ld-linux.so.2\0--argv0\0a\0/b/python3\0/srv/__main__.py\0\x1f\x1f".to_vec();
    let all = [one.clone(), two.clone().into_bytes(), three, four].join(&PROCESS_END);
    vec![one, two.into_bytes(), all]
}
