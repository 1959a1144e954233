//! The agent from end to end: started with a configuration, scraped over a socket, its processes
//! killed under it, and ended by a signal.

mod support;

use std::fs;
use std::process::Command;
use support::agent::{Agent, agent};
use support::agentctl::{Answer, snapshot};
use support::python;
use support::target::{Target, wait_until};
use support::zoo::own_user;

#[test]
fn asyncio_that_is_imported_late_is_seen_soon() {
    for python in python::all() {
        let mut command = Command::new(&python.path);
        command.args(["-c", LATE]);
        let mut target = Target::start(command);
        let agent = Agent::start(&format!(
            "web: {{listen: 127.0.0.1:0}}\n\
             targets: [{{name: late, match: {{pid: {}}}, interval: 100ms}}]\n",
            target.pid()
        ));
        // Twice as long each time, that many rounds would take minutes.
        let unsuitable = "asyncio_agent_scans_total{target=\"late\",result=\"unsuitable\"}";
        wait_until("many rounds", || agent.value(unsuitable) >= Some(25.0));
        target.write(b"import\n");
        agent.wait_for_value("asyncio_target_up{target=\"late\"}", 1.0);
        agent.wait_for_value("asyncio_pending_tasks{target=\"late\"}", 1.0);
    }
}

/// Imports asyncio when it is told to.
const LATE: &str = "
import os, sys
os.write(1, b'{}\\n')
os.read(0, 100)
assert 'asyncio' not in sys.modules
import asyncio
asyncio.run(asyncio.sleep(1000))
";

#[test]
fn a_process_is_watched_by_pid_from_its_start_to_its_end() {
    for python in python::all() {
        let target = Target::start(python.program("music"));
        let agent = Agent::start(&format!(
            "web: {{listen: 127.0.0.1:0}}\n\
             targets: [{{name: music, match: {{pid: {}}}, interval: 100ms}}]\n",
            target.pid()
        ));
        agent.wait_for_value("asyncio_target_up{target=\"music\"}", 1.0);
        agent.wait_for_value("asyncio_pending_tasks{target=\"music\"}", 7.0);
        agent.wait_for_value("asyncio_await_depth_max{target=\"music\"}", 3.0);
        agent.wait_for_value("asyncio_await_cycles{target=\"music\"}", 0.0);
        let (_, body) = agent.get("/metrics");
        assert!(body.contains("\nasyncio_agent_build_info{"), "{body}");
        for line in body.lines() {
            assert!(
                line.starts_with('#') || line.rsplit_once(' ').is_some(),
                "{line:?}"
            );
        }

        drop(target);
        agent.wait_for_value("asyncio_target_up{target=\"music\"}", 0.0);
        // What is known of no process any more is not served as if it were.
        wait_until("the old count is gone", || {
            let count = agent.value("asyncio_pending_tasks{target=\"music\"}");
            count.is_none_or(|count| count == 0.0)
        });
        let (status, log) = agent.end_with("TERM");
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
fn processes_are_found_by_their_command_also_when_they_start_later() {
    for python in python::all() {
        // Only this test's processes have this in their command.
        let mark = format!("mark-{}-{}", std::process::id(), python.full_version);
        let agent = Agent::start(&format!(
            "web: {{listen: 127.0.0.1:0}}\n\
             discovery: {{interval: 100ms}}\n\
             targets:\n\
             - {{name: cycle, match: {{command: 'cycle_of_two\\.py {mark}$'}}, interval: 100ms}}\n\
             - {{name: nothing, match: {{command: 'never {mark}'}}, interval: 100ms}}\n",
        ));
        agent.wait_for_value("asyncio_target_up{target=\"cycle\"}", 0.0);
        let start = || {
            let mut command = python.program("cycle_of_two");
            command.arg(&mark);
            Target::start(command)
        };
        let first = start();
        agent.wait_for_value("asyncio_target_up{target=\"cycle\"}", 1.0);
        agent.wait_for_value("asyncio_await_cycles{target=\"cycle\"}", 1.0);
        agent.wait_for_value("asyncio_pending_tasks{target=\"cycle\"}", 4.0);
        let second = start();
        agent.wait_for_value("asyncio_pending_tasks{target=\"cycle\"}", 8.0);
        agent.wait_for_value("asyncio_await_cycles{target=\"cycle\"}", 2.0);
        drop(first);
        agent.wait_for_value("asyncio_pending_tasks{target=\"cycle\"}", 4.0);
        drop(second);
        agent.wait_for_value("asyncio_target_up{target=\"cycle\"}", 0.0);
        assert_eq!(
            agent.value("asyncio_target_up{target=\"nothing\"}"),
            Some(0.0)
        );
        let (status, log) = agent.end_with("INT");
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

#[test]
fn a_busy_process_does_not_disturb_the_agent() {
    for python in python::all() {
        let target = Target::start(python.program("churn"));
        let agent = Agent::start(&format!(
            "web: {{listen: 127.0.0.1:0}}\n\
             targets: [{{name: churn, match: {{pid: {}}}, interval: 20ms}}]\n",
            target.pid()
        ));
        agent.wait_for_value("asyncio_target_up{target=\"churn\"}", 1.0);
        for _ in 0..20 {
            let count = agent.value("asyncio_pending_tasks{target=\"churn\"}");
            assert!(count.is_some_and(|count| count >= 9.0), "{count:?}");
            assert_eq!(
                agent.value("asyncio_target_up{target=\"churn\"}"),
                Some(1.0)
            );
        }
        let (status, log) = agent.end_with("TERM");
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// How many tasks it has.
fn n_tasks(target: &Target) -> usize {
    let snapshot = snapshot(target.pid());
    let threads = snapshot["threads"].as_array().expect("a list").iter();
    let tasks = threads.map(|it| it["tasks"].as_array().expect("a list").len());
    tasks.sum()
}

#[test]
fn of_a_process_with_more_tasks_than_allowed_all_are_counted() {
    for python in python::all() {
        // In one list, in several and in sets, and in a list that changes all the time.
        for program in ["wide", "python_tasks", "churn"] {
            let target = Target::start(python.program(program));
            let n_tasks = (program != "churn").then(|| n_tasks(&target));
            let mut agent = Agent::start(&format!(
                "web: {{listen: 127.0.0.1:0}}\n\
                 limits: {{tasks_per_process: 3}}\n\
                 targets: [{{name: app, match: {{pid: {}}}, interval: 100ms}}]\n",
                target.pid()
            ));
            let value = |agent: &Agent, name: &str| {
                let value = agent.value(&format!("{name}{{target=\"app\"}}"));
                value.expect("the process is read")
            };
            let partial = "asyncio_agent_scans_total{target=\"app\",result=\"partial\"}";
            wait_until("some rounds", || agent.value(partial) >= Some(3.0));
            let pending = value(&agent, "asyncio_pending_tasks");
            let coverage = value(&agent, "asyncio_snapshot_coverage_ratio");
            match n_tasks {
                Some(n_tasks) => {
                    assert_eq!(pending, n_tasks as f64, "{program}");
                    assert_eq!(coverage, 3.0 / pending, "{program}");
                }
                None => {
                    assert!(pending > 3.0, "{program}: {pending}");
                    assert!(coverage < 0.8, "{program}: {coverage}");
                }
            }
            let by_coroutine = "asyncio_tasks_by_coroutine{target=\"app\",coroutine=\"other\"}";
            assert!(agent.value(by_coroutine) >= Some(1.0), "{program}");
            let (_, targets) = agent.get("/api/v1/targets");
            let why = "more tasks were only counted: limit tasks_max of 3 reached";
            assert!(targets.contains(why), "{program}: {targets}");
            let log = agent.log();
            assert_eq!(log.matches("is over a limit").count(), 1, "{log}");
        }
    }
}

#[test]
fn other_paths_are_not_found() {
    let agent = Agent::start("web: {listen: 127.0.0.1:0}\ntargets: []\n");
    assert!(agent.get("/metrics").0.contains(" 200 "));
    assert!(agent.get("/nothing").0.contains(" 404 "));
}

#[test]
fn a_bad_configuration_is_refused_with_file_line_and_reason() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("bad.yaml");
    for (config, line, says) in [
        ("web: {listen: 127.0.0.1:0}\ntargetz: []\n", 2, "targetz"),
        (
            "web: {listen: 127.0.0.1:0}\ntargets:\n- name: a\n  match: {pid: 1}\n  interval: 5\n",
            5,
            "5",
        ),
        (
            "targets:\n- name: a\n  match: {command: '('}\n  interval: 5s\n",
            3,
            "command",
        ),
        ("web: [\n", 2, ""),
    ] {
        fs::write(&path, config).expect("our own file");
        let answer = Answer::of(agent(&path));
        assert!(answer.status > 0, "{config:?}: {answer:?}");
        let place = format!("bad.yaml:{line}");
        assert!(
            answer.stderr.contains(&place),
            "{config:?}: no {place} in {answer:?}"
        );
        assert!(answer.stderr.contains(says), "{config:?}: {answer:?}");
        assert!(!answer.stderr.contains("panicked"), "{answer:?}");
    }
    let answer = Answer::of(agent(&folder.path().join("missing.yaml")));
    assert!(
        answer.status > 0 && answer.stderr.contains("missing.yaml"),
        "{answer:?}"
    );
}

#[test]
fn findings_of_one_user_do_not_fill_the_log() {
    const NOISY: u32 = 61_236;
    const QUIET: u32 = 61_237;
    let start = |user: u32| {
        let mut command = python::all()[0].command();
        // Anybody but root is one user.
        let user = if own_user() == 0 { user } else { own_user() };
        command.args(["-c", MANY_CYCLES, &user.to_string()]);
        Target::start(command)
    };
    let mut noisy: Vec<Target> = (0..5).map(|_| start(NOISY)).collect();
    let mut quiet = start(QUIET);
    let pids = noisy
        .iter()
        .map(|target| format!("{{pid: {}}}", target.pid()));
    let mut agent = Agent::start(&format!(
        "web: {{listen: 127.0.0.1:0}}\n\
         limits: {{cpu_share: 2}}\n\
         targets: [{{name: noisy, match: [{}], interval: 200ms}}, \
         {{name: quiet, match: {{pid: {}}}, interval: 200ms}}]\n",
        pids.collect::<Vec<_>>().join(", "),
        quiet.pid()
    ));
    let cycles = |target: &str| format!("asyncio_await_cycles{{target=\"{target}\"}}");
    let n_rounds = 2;
    for _ in 0..n_rounds {
        noisy.iter_mut().for_each(|it| it.write(b"cycle 64\n"));
        agent.wait_for_value(&cycles("noisy"), 320.0);
        noisy.iter_mut().for_each(|it| it.write(b"mend\n"));
        agent.wait_for_value(&cycles("noisy"), 0.0);
    }
    quiet.write(b"cycle 1\n");
    agent.wait_for_value(&cycles("quiet"), 1.0);
    let found = "msg=\"found\" target=\"quiet\"";
    let n_quiet = agent.log().matches(found).count();
    if own_user() == 0 {
        assert_eq!(n_quiet, 1, "{}", agent.log());
    }
    let (_, log) = agent.end_with("TERM");
    let is_long = |line: &&str| line.len() > 4_096 + 400;
    assert_eq!(log.lines().find(is_long), None);
    let of_noisy = log
        .lines()
        .filter(|line| line.contains(" target=\"noisy\""));
    let bytes: usize = of_noisy.map(str::len).sum();
    // 1 MiB at once and 8 KiB a second, as long as this may take at most; all of it is 3 MiB.
    assert!((500_000..2_400_000).contains(&bytes), "{bytes}");
    for (line, field) in [
        ("msg=\"found\"", " opened="),
        ("msg=\"found no more\"", " closed="),
    ] {
        let in_full = format!("{line} target=\"noisy\"");
        let n_in_full = log.matches(&in_full).count();
        let n_together = log.lines().filter_map(|line| {
            let (_, rest) = line.split_once(field)?;
            assert!(line.contains(" targets=\"noisy: "), "{line}");
            rest.split(' ').next()?.parse::<usize>().ok()
        });
        let n_together: usize = n_together.sum();
        assert!(n_together > 0 || field == " closed=", "{log}");
        // Nothing goes without being told.
        let n_quiet = if own_user() == 0 { 0 } else { 1 - n_quiet };
        let n_quiet = if field == " opened=" { n_quiet } else { 0 };
        assert_eq!(n_in_full + n_together, n_rounds * 320 + n_quiet, "{field}");
    }
}

/// As this user, makes so many cycles of tasks with names that take much room where they are shown, and ends them.
const MANY_CYCLES: &str = "
import asyncio, ctypes, os, sys

broken = []

async def awaits(others):
    await asyncio.wait(others[:1])

def told():
    words = os.read(0, 4096).split()
    if not words:
        os._exit(0)
    if words[0] == b'mend':
        for task in broken:
            task.cancel()
        broken.clear()
        return
    for _ in range(int(words[1])):
        after = [[] for _ in range(16)]
        tasks = [asyncio.create_task(awaits(it), name=chr(0xe0041) * 230) for it in after]
        for at, it in enumerate(after):
            it.append(tasks[(at + 1) % 16])
        broken.extend(tasks)

async def main():
    asyncio.get_running_loop().add_reader(0, told)
    os.write(1, b'{}\\n')
    while True:
        await asyncio.sleep(0.05)

user = int(sys.argv[1])
if user != os.getuid():
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    PR_SET_DUMPABLE = 4
    assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0
asyncio.run(main())
";
