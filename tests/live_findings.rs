//! Cycles and stuck tasks of real programs: in how many rounds they become known, where they show, and that they
//! end when the program mends them.
#![cfg(feature = "agent")]
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod support;

use asyncio_agent::agent::{AttachedProcess, HostProcesses, ProcessSource};
use asyncio_agent::config::WebFile;
use asyncio_agent::graph::{Snapshot, find_cycles};
use asyncio_agent::ids::ProcessId;
use asyncio_agent::limits::Stop;
use asyncio_agent::process::ProcessError;
use asyncio_agent::procfs::ProcfsError;
use asyncio_agent::targets::ReadFacts;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use support::agent::Agent;
use support::churn::attach;
use support::python::{self, Python};
use support::target::{Target, wait_until};
use support::zoo::Running;

/// The kinds and paths of what is open.
fn findings(agent: &Agent) -> Vec<(String, String)> {
    let (status, body) = agent.get("/api/v1/findings");
    assert!(status.contains(" 200 "), "{status}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = answer["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| (text(&finding["kind"]), text(&finding["path"])))
        .collect()
}

/// Waits for so many more rounds over `app`.
fn wait_for_rounds(agent: &Agent, n: u32) {
    let n_scans = || {
        let scans = agent.value("asyncio_agent_scans_total{target=\"app\",result=\"ok\"}");
        scans.unwrap_or_default()
    };
    let enough = n_scans() + f64::from(n);
    wait_until("more rounds", || n_scans() >= enough);
}

#[test]
fn findings_show_everywhere_and_end_when_they_are_mended() {
    for python in python::all() {
        let mut target = Target::start(python.program("mends"));
        let mut agent = Agent::start(&format!(
            "web: {{listen: 127.0.0.1:0}}\n\
             analysis: {{stuck: {{after: 1s}}}}\n\
             targets: [{{name: app, match: {{pid: {}}}, interval: 100ms}}]\n",
            target.pid()
        ));
        let series = |name: &str| format!("{name}{{target=\"app\"}}");
        agent.wait_for_value(&series("asyncio_target_up"), 1.0);
        for name in ["asyncio_await_cycles", "asyncio_stuck_tasks"] {
            assert_eq!(agent.value(&series(name)), Some(0.0), "{name}");
        }
        for time in 1_u32..=2 {
            target.write(b"cycle stick\n");
            agent.wait_for_value(&series("asyncio_await_cycles"), 1.0);
            agent.wait_for_value(&series("asyncio_await_cycle_tasks"), 2.0);
            let detections = series("asyncio_await_cycle_detections_total");
            agent.wait_for_value(&detections, f64::from(time));
            agent.wait_for_value(&series("asyncio_stuck_tasks"), 1.0);
            let by_coroutine =
                "asyncio_stuck_tasks_by_coroutine{target=\"app\",coroutine=\"call_upstream\"}";
            agent.wait_for_value(by_coroutine, 1.0);
            let mut told = findings(&agent);
            told.sort();
            let [(cycle, ring), (stuck, place)] = &told[..] else {
                panic!("{told:?}");
            };
            assert_eq!(
                (cycle.as_str(), stuck.as_str()),
                ("await_cycle", "stuck_task")
            );
            assert!(ring.contains("reader (awaits /") && ring.contains("writer (awaits /"));
            assert!(ring.contains("/mends.py:17"), "{ring}");
            assert!(place.contains("asks upstream (call_upstream /"), "{place}");
            assert!(place.contains("/mends.py:21"), "{place}");
            target.write(b"mend\n");
            agent.wait_for_value(&series("asyncio_await_cycles"), 0.0);
            agent.wait_for_value(&series("asyncio_stuck_tasks"), 0.0);
            wait_until("nothing is open", || findings(&agent).is_empty());
        }
        // What ends with its process ends as well.
        target.write(b"cycle\n");
        agent.wait_for_value(&series("asyncio_await_cycles"), 1.0);
        drop(target);
        wait_until("the cycle is told as ended", || {
            agent.log().matches("msg=\"found no more\"").count() == 5
        });
        let (_, log) = agent.end_with("TERM");
        let count = |what: &str, kind: &str| {
            let mut lines = log.lines().filter(|line| line.contains(what));
            let lines = lines.by_ref().filter(|line| line.contains(kind));
            lines.count()
        };
        for (kind, n) in [("kind=\"await_cycle\"", 3), ("kind=\"stuck_task\"", 2)] {
            assert_eq!(count("level=warn msg=\"found\" ", kind), n, "{log}");
            assert_eq!(count("level=info msg=\"found no more\" ", kind), n, "{log}");
        }
        assert_eq!(
            count("/mends.py:17, in _wait ", "kind=\"await_cycle\""),
            3,
            "{log}"
        );
        assert_eq!(count("/mends.py:21", "path=\"asks upstream ("), 2, "{log}");
    }
}

#[test]
fn a_task_that_goes_round_in_step_is_not_stuck() {
    for python in python::all() {
        for kind in ["event", "condition", "lock", "semaphore", "put"] {
            let mut command = python.program("in_step");
            command.arg(kind);
            let target = Target::start(command);
            let agent = Agent::start(&format!(
                "web: {{listen: 127.0.0.1:0}}\n\
                 limits: {{cpu_share: 1}}\n\
                 analysis: {{stuck: {{after: 1s, exclude: [main]}}}}\n\
                 targets: [{{name: app, match: {{pid: {}}}, interval: 50ms}}]\n",
                target.pid()
            ));
            let n_stuck = "asyncio_stuck_tasks{target=\"app\"}";
            agent.wait_for_value(n_stuck, 1.0);
            let n_scans = || {
                let scans = agent.value("asyncio_agent_scans_total{target=\"app\",result=\"ok\"}");
                scans.unwrap_or_default()
            };
            let enough = n_scans() + 20.0;
            wait_until("more rounds", || n_scans() >= enough);
            let what = format!("{kind} on {}", python.full_version);
            assert_eq!(agent.value(n_stuck), Some(1.0), "{what}");
            let told = findings(&agent);
            let [(_, path)] = &told[..] else {
                panic!("{what}: {told:?}");
            };
            assert_shows_what_a_tree_does(&agent, target.pid(), path);
        }
    }
}

/// The path of a task in `Lock.acquire` has the line of its own function, and where it stands: the lines of the tree.
fn assert_shows_what_a_tree_does(agent: &Agent, pid: u32, path: &str) {
    let rest = path.strip_prefix("stuck for good (stuck ");
    let rest = rest.and_then(|rest| rest.strip_suffix(')'));
    let rest = rest.unwrap_or_else(|| panic!("{path}"));
    let (own, inside) = rest.split_once(", in Lock.acquire ").unwrap();
    let (status, tree) = agent.get(&format!("/api/v1/targets/{pid}/pstree"));
    assert!(status.contains(" 200 "), "{status} {tree}");
    let (_, task) = tree.split_once("stuck for good").unwrap();
    let frames: Vec<&str> = task.lines().skip(1).take(2).map(str::trim_end).collect();
    assert!(
        frames[0].ends_with(&format!(" stuck {own}")),
        "{path}\n{tree}"
    );
    assert!(
        frames[1].ends_with(&format!(" Lock.acquire {inside}")),
        "{path}\n{tree}"
    );
}

#[test]
fn tasks_that_hang_are_stuck_whatever_they_are_noted_to_await() {
    for python in python::all() {
        let target = Target::start(python.program("hangs_elsewhere"));
        let agent = Agent::start(&format!(
            "web: {{listen: 127.0.0.1:0}}\n\
             limits: {{cpu_share: 1}}\n\
             analysis: {{stuck: {{after: 1s}}}}\n\
             targets: [{{name: app, match: {{pid: {}}}, interval: 50ms}}]\n",
            target.pid()
        ));
        agent.wait_for_value("asyncio_stuck_tasks{target=\"app\"}", 4.0);
        let mut told = findings(&agent);
        told.sort();
        let names = told.iter().filter_map(|(_, path)| path.split(' ').next());
        let names: Vec<&str> = names.collect();
        let expected = [
            "hangs",
            "hangs_before_gather",
            "hangs_before_shield",
            "hangs_in_group",
        ];
        assert_eq!(names, expected, "{}", python.full_version);
    }
}

/// The interpreters with asyncio's own event loop, and those with another one that have it, with the argument that says so.
fn event_loops() -> Vec<(&'static Python, Option<&'static str>)> {
    // Debian has uvloop for 3.14 only.
    let has_uvloop = |python: &&Python| python.version == (3, 14);
    let with_uvloop = python::all().iter().filter(has_uvloop);
    let with_own = python::all().iter().map(|python| (python, None));
    with_own
        .chain(with_uvloop.map(|python| (python, Some("uvloop"))))
        .collect()
}

/// A program in a namespace of its own, as `unshare` makes it.
fn in_namespace(namespace: &[&str], program: &Command) -> Target {
    let mut command = Command::new("unshare");
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        command.arg("--map-root-user");
    }
    command.args(namespace).args(["--fork", "--kill-child"]);
    command.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut target = Target::start(command);
    target.look_at_child();
    target
}

#[test]
fn threads_in_another_pid_namespace_are_known() {
    for python in python::all() {
        let mut program = python.program("held_up");
        program.arg("beside");
        let target = in_namespace(&["--pid"], &program);
        let mut process = attach(&target);
        wait_until("the threads are there", || {
            let snapshot = process.snapshot().expect("a snapshot");
            let threads = snapshot.graph.threads();
            let n_known = threads.iter().filter(|it| it.runs.is_some()).count();
            assert!(threads.iter().any(|it| it.tid.0 == 1));
            (threads.len(), n_known) == (2, 2)
        });
    }
}

/// An agent that looks at the process so often, and for which a task is stuck after two seconds.
fn agent_on(target: &Target, interval: &str) -> Agent {
    Agent::start(&format!(
        "web: {{listen: 127.0.0.1:0}}\n\
         limits: {{cpu_share: 1}}\n\
         analysis: {{stuck: {{after: 2s}}}}\n\
         targets: [{{name: app, match: {{pid: {}}}, interval: {interval}}}]\n",
        target.pid()
    ))
}

#[test]
fn who_waits_for_long_with_a_reason_is_not_stuck() {
    for (python, event_loop) in event_loops() {
        let mut command = python.program("long_waits");
        command.args(event_loop);
        let what = format!("Python {} {event_loop:?}", python.full_version);
        assert_told_who_waits_for_long(&Target::start(command), &what);
    }
}

/// Event loops have another clock than the agent then.
#[test]
fn nor_is_it_in_another_time_namespace() {
    let offsets = ["100000", "-60"].iter().cycle();
    for ((python, event_loop), offset) in event_loops().into_iter().zip(offsets) {
        let mut program = python.program("long_waits");
        program.args(event_loop);
        let target = in_namespace(&["--time", "--monotonic", offset], &program);
        let what = format!(
            "Python {} {event_loop:?}, {offset} s ahead",
            python.full_version
        );
        assert_told_who_waits_for_long(&target, &what);
    }
}

fn assert_told_who_waits_for_long(target: &Target, what: &str) {
    let agent = agent_on(target, "200ms");
    let value = |name: &str| agent.value(&format!("{name}{{target=\"app\"}}"));
    // All that is stuck: a future of one's own, a lock below `main`, a pool, an executor
    // without a thread to spare, what a timeout does not reach, and what one ends in an hour that was set far from
    // there.
    let stuck = [
        "stuck borrowing",
        "stuck far",
        "stuck for_closed",
        "stuck lost",
        "stuck main",
        "stuck queued",
        "stuck shielded",
    ];
    wait_until("those that hang are found", || {
        value("asyncio_stuck_tasks") >= Some(7.0)
    });
    // Others would have been found by then.
    wait_for_rounds(&agent, 20);
    let mut told: Vec<String> = findings(&agent)
        .into_iter()
        .map(|(_, path)| path.split(" (").next().unwrap().to_owned())
        .collect();
    told.sort();
    assert_eq!(told, stuck, "{what}");
    // The event loop's own task, those with a timer and `below`, threads, an executor, another
    // event loop, an empty queue, signals, sockets and connections. The one that
    // waits again and again is one that waits for long now and then.
    let n_idle = value("asyncio_idle_tasks");
    assert!(
        [Some(40.0), Some(41.0)].contains(&n_idle),
        "{what}: {n_idle:?}"
    );
}

/// What packages wait for, anyio among them: its scopes end waits, as `asyncio.timeout` does.
#[test]
fn who_waits_in_a_package_is_stuck_where_it_waits_for_a_lock_or_a_pool() {
    let anyio = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/libraries/site-packages");
    assert!(
        anyio.join("anyio").is_dir(),
        "anyio is not at {}: `make libraries` brings it",
        anyio.display()
    );
    for (python, event_loop) in event_loops() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("site-packages");
        std::fs::create_dir(&own).unwrap();
        let mut command = python.program("packages");
        command.arg(&anyio).arg(&own).args(event_loop);
        let target = Target::start(command);
        let agent = agent_on(&target, "200ms");
        wait_until("what hangs is found", || findings(&agent).len() >= 7);
        wait_for_rounds(&agent, 20);
        let mut told: Vec<String> = findings(&agent)
            .into_iter()
            .map(|(kind, path)| {
                // A circle begins anywhere.
                if kind == "await_cycle" {
                    let rings = ["closed ring (wrap.<locals>.ring /", "group in ring ("];
                    let ring = rings.iter().position(|ring| path.contains(ring));
                    return format!("{kind} {ring:?}");
                }
                let (task, rest) = path.split_once(" /").unwrap();
                let line = rest.split_once("packages.py:").unwrap().1;
                let line = line.split([')', ',']).next().unwrap();
                format!("{kind} {task} {line}")
            })
            .collect();
        told.sort();
        let expected = [
            "await_cycle Some(0)",
            "await_cycle Some(1)",
            "stuck_task stuck deep (deep 99",
            "stuck_task stuck endless (endless 76",
            "stuck_task stuck far (member 64",
            "stuck_task stuck from_pool (from_pool 95",
            "stuck_task stuck member (member 64",
        ];
        assert_eq!(
            told, expected,
            "Python {} {event_loop:?}",
            python.full_version
        );
    }
}

/// An event loop has something to do again and again, and no task is seen to do it: any of them might have gone round that
/// stands in a loop.
#[test]
fn who_cannot_have_gone_round_is_stuck() {
    for python in python::all() {
        let target = Target::start(python.program("passages"));
        let agent = agent_on(&target, "200ms");
        let what = &python.full_version;
        let told = || {
            let told = findings(&agent).into_iter();
            let functions = told.map(|(_, path)| {
                let (_, function) = path.split_once(" (").unwrap();
                function.split([' ', ',']).next().unwrap().to_owned()
            });
            functions.collect::<BTreeSet<String>>()
        };
        let once = [
            "after_others",
            "beating",
            "before_others",
            "below",
            "ends_its_loop",
            "in_block",
            "in_branch",
            "in_handler",
            "in_match",
            "plain",
            "streams_once",
            "supervised",
            "watched",
        ];
        wait_until("those that hang are found", || told().len() >= once.len());
        wait_for_rounds(&agent, 30);
        assert_eq!(Vec::from_iter(told()), once, "{what}");
    }
}

#[test]
fn an_event_loop_that_a_callback_holds_up_is_told() {
    for (python, event_loop) in event_loops() {
        let start = |kind: &'static str| {
            let mut command = python.program("held_up");
            command.arg(kind).args(event_loop);
            (kind, Target::start(command))
        };
        let mut kinds = vec![
            "nothing", "select", "waits", "computes", "beside", "far", "alone", "gil",
        ];
        // Where the functions of an event loop are to be seen.
        if event_loop.is_none() {
            kinds.extend(["selects", "signal"]);
        }
        let n_ticks = kinds.len() - 2;
        let targets = kinds.into_iter().map(start);
        let mut program = python.program("held_up");
        program.arg("waits").args(event_loop);
        let shifted = in_namespace(&["--time", "--monotonic", "100000"], &program);
        let targets = targets.chain([("shifted", shifted)]);
        let targets: Vec<(&str, Target)> = targets.collect();
        let of_target = |(kind, target): &(&str, Target)| {
            let pid = target.pid();
            format!("{{name: {kind}, match: {{pid: {pid}}}, interval: 200ms}}")
        };
        let agent = Agent::start(&format!(
            "web: {{listen: 127.0.0.1:0}}\n\
             limits: {{cpu_share: 1}}\n\
             analysis: {{stuck: {{after: 2s}}}}\n\
             targets: [{}]\n",
            targets.iter().map(of_target).collect::<Vec<_>>().join(", ")
        ));
        let what = format!("Python {} {event_loop:?}", python.full_version);
        let n_stuck =
            |kind: &str| agent.value(&format!("asyncio_stuck_tasks{{target=\"{kind}\"}}"));
        for (kind, _) in &targets[2..] {
            let what = format!("{kind} on {what}");
            wait_until(&what, || n_stuck(kind) == Some(1.0));
        }
        wait_until("rounds of the one that goes on", || {
            let name = "asyncio_agent_scans_total{target=\"nothing\",result=\"ok\"}";
            agent.value(name) > Some(40.0)
        });
        for kind in ["nothing", "select"] {
            assert_eq!(n_stuck(kind), Some(0.0), "{kind} on {what}");
        }
        let told = findings(&agent);
        let names = told.iter().map(|(_, path)| path.split(' ').next());
        let (ticks, others): (Vec<_>, Vec<_>) = names.partition(|name| *name == Some("ticks"));
        assert_eq!(
            (ticks.len(), others.len()),
            (n_ticks, 1),
            "{what}: {told:?}"
        );
    }
}

#[test]
fn loops_that_look_the_same_at_each_round_are_not_stuck() {
    for (python, event_loop) in event_loops() {
        for kind in ["hangs", "0", "1", "2"] {
            let mut command = python.program("loops_alone");
            command.arg(kind).args(event_loop);
            let target = Target::start(command);
            let agent = agent_on(&target, "100ms");
            let n_stuck = || agent.value("asyncio_stuck_tasks{target=\"app\"}");
            let what = format!("{kind} on {} {event_loop:?}", python.full_version);
            if kind == "hangs" {
                wait_until("the one that hangs is found", || n_stuck() == Some(1.0));
                continue;
            }
            let n_scans = || {
                let scans = agent.value("asyncio_agent_scans_total{target=\"app\",result=\"ok\"}");
                scans.unwrap_or_default()
            };
            wait_until("many rounds", || {
                assert_eq!(n_stuck().unwrap_or_default(), 0.0, "{what}");
                n_scans() >= 60.0
            });
        }
    }
}

#[test]
fn who_waits_in_a_line_is_stuck_if_nobodys_turn_comes() {
    for python in python::all() {
        let start = |kind: &str| {
            let mut command = python.program("lines");
            command.arg(kind);
            Target::start(command)
        };
        let hung = start("give_up");
        let agent = agent_on(&hung, "200ms");
        let told = || -> BTreeSet<String> {
            let told = findings(&agent).into_iter();
            told.map(|(_, path)| path.split(' ').next().unwrap().to_owned())
                .collect()
        };
        let all = ["lock", "pool", "semaphore"].map(str::to_owned);
        wait_until("those that hang are found", || told().len() >= all.len());
        for _ in 0..8 {
            wait_for_rounds(&agent, 10);
            assert_eq!(Vec::from_iter(told()), all, "{}", python.full_version);
        }
        for kind in ["turns", "paused"] {
            let target = start(kind);
            let agent = agent_on(&target, "200ms");
            for _ in 0..4 {
                wait_for_rounds(&agent, 10);
                let what = format!("{kind} on {}", python.full_version);
                assert_eq!(findings(&agent), [], "{what}");
            }
        }
    }
}

#[test]
fn each_sleep_of_a_loop_is_another_wait() {
    const SLEEPS: usize = 30;
    for python in python::all() {
        let target = Target::start(python.program("hangs_elsewhere"));
        let mut process = attach(&target);
        let mut footings: BTreeMap<(String, u64), BTreeSet<u64>> = BTreeMap::new();
        wait_until("each loop has slept often enough", || {
            let snapshot = process.snapshot().unwrap();
            let graph = &snapshot.graph;
            for (at, task) in graph.indices().zip(graph.tasks()) {
                let name = graph.name(at).unwrap().to_string();
                let seen = footings.entry((name, task.id.0)).or_default();
                seen.insert(task.footing);
            }
            let mut loops = footings.iter().filter(|((name, _), _)| name == "works");
            loops.all(|(_, seen)| seen.len() >= SLEEPS)
        });
        let mut others = footings.iter().filter(|((name, _), _)| name == "hangs");
        assert!(
            others.all(|(_, seen)| seen.len() == 1),
            "{}",
            python.full_version
        );
    }
}

/// The processes of this machine, read as often as the test allows.
#[derive(Clone, Default)]
struct Gate {
    host: HostProcesses,
    /// Rounds that may begin, and somebody who waits for more.
    rounds: Arc<(Mutex<u32>, Condvar)>,
}

impl Gate {
    fn allow(&self, rounds: u32) {
        *self.rounds.0.lock().unwrap() += rounds;
        self.rounds.1.notify_all();
    }
}

impl ProcessSource for Gate {
    fn processes(&self) -> Result<Vec<ProcessId>, ProcfsError> {
        self.host.processes()
    }

    fn facts(&self) -> &dyn ReadFacts {
        self.host.facts()
    }

    fn probe(&self, id: ProcessId) -> Result<(), ProcessError> {
        self.host.probe(id)
    }

    fn attach(&self, id: ProcessId) -> Result<Box<dyn AttachedProcess>, ProcessError> {
        Ok(Box::new(Gated(self.clone(), self.host.attach(id)?)))
    }
}

struct Gated(Gate, Box<dyn AttachedProcess>);

impl AttachedProcess for Gated {
    fn snapshot(&mut self, stop: &Stop) -> Result<Snapshot, ProcessError> {
        let (rounds, more) = &*self.0.rounds;
        let allowed = rounds.lock().unwrap();
        let mut allowed = more.wait_while(allowed, |allowed| *allowed == 0).unwrap();
        *allowed -= 1;
        drop(allowed);
        self.1.snapshot(stop)
    }
}

#[test]
fn a_cycle_is_known_in_as_many_rounds_as_are_to_confirm_it() {
    for (python, confirmations) in python::all().iter().zip([1, 2, 3].into_iter().cycle()) {
        let mut target = Target::start(python.program("mends"));
        let gate = Gate::default();
        let config = format!(
            "web: {{listen: 127.0.0.1:0}}\n\
             analysis: {{cycles: {{confirmations: {confirmations}}}}}\n\
             limits: {{scan_time: 1m}}\n\
             targets: [{{name: app, match: {{pid: {}}}, interval: 10ms}}]\n",
            target.pid()
        );
        let agent = Running::start_on(Arc::new(gate.clone()), &config, &WebFile::default());
        let value = |name: &str| agent.metric(name).get("app").copied();
        let mut n_rounds = 0;
        // Lets one round take place, and says how many cycles are known then.
        let mut round = || {
            gate.allow(1);
            n_rounds += 1;
            agent.eventually("the round has ended", |agent| {
                let metrics = agent.get("/metrics");
                let series = "asyncio_agent_scans_total{target=\"app\",result=";
                let scans = metrics.lines().filter(|line| line.starts_with(series));
                let scans = scans.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u32>().ok());
                scans.sum::<u32>() == n_rounds
            });
            value("asyncio_await_cycles")
        };
        assert_eq!(round(), Some(0.0));
        let mut process = attach(&target);
        let mut has_cycle = || {
            let snapshot = process.snapshot().unwrap();
            !find_cycles(&snapshot.graph, 1).cycles.is_empty()
        };
        for _ in 0..3 {
            target.write(b"cycle\n");
            wait_until("the cycle is there", &mut has_cycle);
            let rounds = 1 + (0..).take_while(|_| round() != Some(1.0)).count();
            assert!(rounds <= confirmations + 1, "{rounds} rounds");
            target.write(b"mend\n");
            wait_until("the cycle is gone", || !has_cycle());
            let rounds = 1 + (0..).take_while(|_| round() != Some(0.0)).count();
            assert!(rounds <= 2, "{rounds} rounds");
        }
        gate.allow(1_000_000);
    }
}
