//! Real Python processes of every supported version: each of `tests/programs` says what it built,
//! and the snapshot must say the same.

mod support;

use asyncio_agent::graph::{NameText, text};
use asyncio_agent::ids::Pid;
use asyncio_agent::limits::Limits;
use asyncio_agent::process::Process;
use asyncio_agent::procfs::ProcRoot;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::sync::Arc;
use support::agentctl;
use support::churn::{Churn, attach};
use support::python::{self, Unpacked};
use support::target::{Target, wait_until};
use support::truth;

/// One test for each program, so that they run side by side.
macro_rules! programs {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        const PROGRAMS: &[&str] = &[$(stringify!($name)),*];
    };
}

programs! {
    as_completed async_generators big_function blocked cancelling code_names control_names
    cycle_of_three cycle_of_two deep_chain deep_coroutines default_names eager eager_running forked gather generators huge_function
    long_names main_thread_ended music names nested_gather never_started no_loop primitives python_tasks running shared shield
    sub_interpreters subclass surrogate_names task_group thread_ended threads threads_and_main
    timeout uvloop_tasks wait wait_for wide
}

/// Programs with tests of their own.
const TESTED_ELSEWHERE: &[&str] = &[
    "churn",
    "churn_python",
    "churn_threads",
    "cycles_that_open",
    "hangs_elsewhere",
    "in_step",
    "held_up",
    "lines",
    "long_waits",
    "packages",
    "passages",
    "loops_alone",
    "mends",
    "modules_change",
    "no_asyncio",
    "renamed",
    "rounds",
    "shared_names",
    "signalled",
    "threads_at_work",
    "ticking",
];

/// What a process that was forked has of the other one's tasks is no task of it.
#[test]
fn copies_of_tasks_are_none() {
    for python in python::all() {
        let target = Target::start(python.program("forked"));
        let threads = fs::read_dir(format!("/proc/{}/task", target.pid())).expect("it lives");
        let children = threads.map(|thread| {
            let path = thread.expect("an entry").path().join("children");
            fs::read_to_string(path).expect("the kernel lists children")
        });
        let children: String = children.collect();
        let child: u32 = children.trim().parse().expect("one child");
        let snapshot = agentctl::snapshot(child);
        let what = &python.full_version;
        assert_eq!(
            snapshot["threads"],
            serde_json::json!([]),
            "{what}: {snapshot}"
        );
        assert_eq!(snapshot["complete"], true, "{what}: {snapshot}");
    }
}

fn check(program: &str) {
    for python in python::all()
        .iter()
        .filter(|python| python.has_what_it_needs(program))
    {
        let target = Target::start(python.program(program));
        let snapshot = agentctl::snapshot(target.pid());
        let what = format!("{program}.py on Python {}", python.full_version);
        truth::assert_matches(&target.truth, &snapshot, &what);
        let process = &snapshot["process"];
        assert_eq!(process["pid"], target.pid(), "{what}");
        assert_eq!(
            process["python_version"],
            python.full_version.as_str(),
            "{what}"
        );
        assert_eq!(process["start_time"], start_time(target.pid()), "{what}");
        assert_eq!(process["free_threaded"], false, "{what}");
        assert!(target.end().success(), "{what}: it did not end well");
    }
}

/// Field 22 of `/proc/PID/stat`, counted behind the command in parentheses.
fn start_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is alive");
    let after_command = stat.rsplit(") ").next().expect("a command in parentheses");
    let field = after_command.split(' ').nth(19).expect("a field 22");
    field.parse().expect("a number")
}

#[test]
fn every_program_has_its_test() {
    let here: BTreeSet<String> = python::programs()
        .read_dir()
        .expect("tests/programs")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|file| Some(file.strip_suffix(".py")?.to_owned()))
        .filter(|name| !name.starts_with('_'))
        .collect();
    let tested: BTreeSet<String> = PROGRAMS
        .iter()
        .chain(TESTED_ELSEWHERE)
        .map(|name| (*name).to_owned())
        .collect();
    assert_eq!(here, tested);
}

/// Tasks come and go thousands of times a second: what a snapshot leaves out, it admits, and that is no
/// failure. Whether the rest is right is judged in `live_stress.rs`.
#[test]
fn churn() {
    for python in python::all() {
        let target = Churn {
            program: "churn",
            rate: "thousands",
        }
        .start(python);
        for round in 0..10 {
            let answer = agentctl::run(&["snapshot", &target.pid_text()]);
            let what = format!("round {round} on Python {}", python.full_version);
            assert_eq!(answer.status, 0, "{what}: {}", answer.stderr);
            let snapshot: Value = serde_json::from_str(&answer.stdout).expect("JSON");
            let is_partial = snapshot["complete"] == false;
            assert_eq!(
                is_partial,
                answer.stderr.contains(" is partial: "),
                "{what}: {}",
                answer.stderr
            );
            let has_ended = snapshot["stats"]["tasks_ended"].as_u64() > Some(0);
            let says_ended = answer.stderr.contains(" ended while it was read\n");
            assert_eq!(has_ended, says_ended, "{what}: {}", answer.stderr);
            assert!(truth::tasks_by_id(&snapshot).len() > 240, "{what}");
        }
    }
}

/// A process that has not run is not read again; one that has, is.
#[test]
fn process_that_has_not_run_is_not_read_again() {
    for python in python::all() {
        let target = Target::start(python.program("gather"));
        let pid = i32::try_from(target.pid()).ok().and_then(Pid::new);
        let pid = pid.expect("a pid fits");
        let mut process = Process::attach(&ProcRoot::default(), pid, Limits::default())
            .unwrap_or_else(|error| panic!("attach: {error}"));
        let mut snapshot = || process.snapshot().unwrap_or_else(|error| panic!("{error}"));
        // It may still be on its way to sleep.
        let first = (0..1_000)
            .map(|_| snapshot())
            .find(|snapshot| snapshot.stats.syscalls == 0)
            .expect("it sleeps at last");
        let again = snapshot();
        assert!(Arc::ptr_eq(&first.graph, &again.graph));
        assert_eq!((again.stats.syscalls, again.stats.bytes_read), (0, 0));
        assert!(again.complete && !again.graph.tasks().is_empty());

        // A signal that does nothing still has a thread executed.
        kill(nix::unistd::Pid::from_raw(pid.as_raw()), Signal::SIGSTOP).expect("it is ours");
        kill(nix::unistd::Pid::from_raw(pid.as_raw()), Signal::SIGCONT).expect("it is ours");
        let read = (0..1_000)
            .map(|_| snapshot())
            .find(|snapshot| snapshot.stats.syscalls > 0)
            .expect("it has run");
        assert!(!Arc::ptr_eq(&first.graph, &read.graph));
        assert_eq!(text::print(&first.graph), text::print(&read.graph));
        assert!(target.end().success());
    }
}

/// A process that executes another program may have everything where it was, if addresses are not
/// randomised. What was known of the program before does not hold of it.
#[test]
fn process_that_executes_a_program_at_the_same_addresses() {
    for unpacked in Unpacked::all() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("again.py");
        let done = folder.path().join("done");
        fs::write(
            &program,
            "import asyncio, os, sys\n\
             own = open('/proc/self/cmdline', 'rb').read().split(b'\\0')[:-2]\n\
             def become(name):\n\
             \x20   os.execv(own[0], [*own, name.encode()])\n\
             if sys.argv[2] == 'begin':\n\
             \x20   import ctypes\n\
             \x20   ADDR_NO_RANDOMIZE = 0x0040000\n\
             \x20   assert ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE) != -1\n\
             \x20   become('first')\n\
             def idle():\n\
             \x20   if sys.argv[2] == 'first':\n\
             \x20       os.write(1, b'{}\\n')\n\
             \x20   else:\n\
             \x20       open(sys.argv[1], 'w').close()\n\
             exec('''async def first():\n\
             \x20   loop = asyncio.get_running_loop()\n\
             \x20   loop.add_reader(0, lambda: become('other') if os.read(0, 1) else os._exit(0))\n\
             \x20   loop.call_soon(idle)\n\
             \x20   await asyncio.sleep(1_000_000)\n\
             asyncio.run(first())\n\
             '''.replace('first', sys.argv[2]))\n",
        )
        .expect("a file of ours");
        let mut command = unpacked.command(&unpacked.executable());
        command.env("PYTHONHASHSEED", "0").arg(&program);
        command.arg(&done).arg("begin");
        let mut target = Target::start(command);
        let mut process = attach(&target);
        let mut has_function = |name| {
            let snapshot = process.snapshot().unwrap_or_else(|error| panic!("{error}"));
            text::print(&snapshot.graph).contains(name)
        };
        assert!(has_function("first") && !has_function("other"));
        target.write(b"x");
        wait_until("it is the other one", || done.exists());
        assert!(has_function("other") && !has_function("first"));
        assert!(target.end().success());
    }
}

/// Processes that execute one program after the other while they are read, each with everything where it was: no snapshot
/// has anything of two of them.
#[test]
fn processes_that_execute_other_programs_meanwhile() {
    for unpacked in Unpacked::all() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("again.py");
        fs::write(
            &program,
            "import asyncio, os, sys\n\
             own = open('/proc/self/cmdline', 'rb').read().split(b'\\0')[:-2]\n\
             n = int(sys.argv[1])\n\
             def again():\n\
             \x20   os.execv(own[0], [*own, b'%09d' % (n + 1)])\n\
             if n == 0:\n\
             \x20   import ctypes\n\
             \x20   ADDR_NO_RANDOMIZE = 0x0040000\n\
             \x20   assert ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE) != -1\n\
             \x20   again()\n\
             async def main():\n\
             \x20   loop = asyncio.get_running_loop()\n\
             \x20   loop.add_reader(0, os._exit, 0)\n\
             \x20   tasks = [loop.create_task(asyncio.sleep(1000), name=str(n)) for _ in range(2000)]\n\
             \x20   if n == 1:\n\
             \x20       os.write(1, b'{}\\n')\n\
             \x20   loop.call_later(0.02, again)\n\
             \x20   await tasks[0]\n\
             asyncio.run(main())\n",
        )
        .expect("a file of ours");
        let mut command = unpacked.command(&unpacked.executable());
        command.env("PYTHONHASHSEED", "0").arg(&program).arg("0");
        let target = Target::start(command);
        let mut process = attach(&target);
        let mut by_sign = BTreeMap::new();
        let mut n_reads = 0;
        // Programs are known by their signs: what was read with the same one before and after is of one program.
        while n_reads < 100 || by_sign.len() < 5 {
            n_reads += 1;
            assert!(n_reads < 10_000, "{by_sign:?}");
            let before = process.program();
            let snapshot = match process.snapshot() {
                Ok(snapshot) => snapshot,
                Err(error) if ["not_started", "no_asyncio"].contains(&error.code()) => continue,
                Err(error) => panic!("{error}"),
            };
            let graph = &snapshot.graph;
            let names = graph.indices().filter_map(|at| match graph.name(at) {
                Some(NameText::Text(name)) => name.parse::<u32>().ok(),
                _ => None,
            });
            let names: BTreeSet<u32> = names.collect();
            assert!(names.len() < 2, "{names:?}");
            let is_same = process.program() == before;
            if let (Some(name), Some(sign), true) = (names.first(), before, is_same) {
                let of_sign = by_sign.entry(sign.bytes).or_insert(*name);
                assert_eq!(of_sign, name);
            }
        }
        assert!(target.end().success());
    }
}

/// What the shell has opened is gone on with, as if the snapshot went to standard output; a folder is worked in though
/// those above it may not be searched.
#[test]
fn outputs_that_are_open_and_in_closed_folders() {
    let target = Target::start(python::all()[0].program("music"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let within = folder.path().join("closed/within");
    fs::create_dir_all(&within).expect("our own folder");
    let agentctl = format!(
        "{} snapshot {} -o",
        env!("CARGO_BIN_EXE_agentctl"),
        target.pid()
    );
    let script = "set -e; cd \"$1\"; chmod 0 ..
        AGENTCTL beside
        echo begin > log
        AGENTCTL /dev/stdout >> log
        { echo begin; AGENTCTL /dev/fd/1; echo end; } > other
        { AGENTCTL /dev/fd/3 3>&1 >&2; echo end; } | cat > third
        AGENTCTL /dev/stdin <> fourth
        chmod 700 ..";
    let mut command = Command::new("setpriv");
    if nix::unistd::Uid::effective().is_root() {
        // Without the right to go through folders that are closed.
        command.args(["--inh-caps=-all", "--bounding-set=-all,+sys_ptrace"]);
    }
    command
        .env("ASYNCIO_AGENT_SOCKET", "")
        .args(["sh", "-c", &script.replace("AGENTCTL", &agentctl), "sh"])
        .arg(&within);
    let answer = agentctl::Answer::of(command);
    assert_eq!((answer.status, &*answer.stderr), (0, ""));
    for (name, begin, end) in [
        ("beside", "", ""),
        ("log", "begin\n", ""),
        ("other", "begin\n", "end\n"),
        ("third", "", "end\n"),
        ("fourth", "", ""),
    ] {
        let text = fs::read_to_string(within.join(name)).expect(name);
        let rest = text.strip_prefix(begin).and_then(|it| it.strip_suffix(end));
        let snapshot: Result<Value, _> = serde_json::from_str(rest.unwrap_or_default());
        assert!(snapshot.is_ok(), "{name}: {text}");
    }
}
