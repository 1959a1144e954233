//! `--freeze`: a process that stands still while it is read gives an exact picture, and nothing of it
//! is left behind: no thread stopped, no signal lost, no system call broken.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::agentctl::{self, Answer};
use support::churn::{Churn, Truth, attach};
use support::judge::Judge;
use support::python::{self, Python};
use support::target::{Target, wait_until};
use support::truth;

const NO_SUCH_PROCESS: i32 = 3;
const PERMISSION_DENIED: i32 = 4;
const NOT_SUPPORTED: i32 = 5;

/// A limit that a read reaches on no machine.
const LONG: &str = "--freeze=10s";

/// The snapshot of a process that stood still until it was read; also that this was said.
fn frozen(pid: u32) -> Value {
    let answer = agentctl::run(&["snapshot", &pid.to_string(), LONG]);
    assert_eq!(answer.status, 0, "{}", answer.stderr);
    let said = format!("agentctl: process {pid} stood still for ");
    assert!(answer.stderr.starts_with(&said), "{}", answer.stderr);
    assert!(answer.stderr.ends_with(" ms\n"), "{}", answer.stderr);
    assert_eq!(answer.stderr.lines().count(), 1, "{}", answer.stderr);
    assert_is_let_go(pid);
    let snapshot: Value = serde_json::from_str(&answer.stdout).expect("a snapshot is JSON");
    assert!(snapshot["stats"]["paused_seconds"].as_f64() > Some(0.0));
    snapshot
}

/// A program in a process that never sleeps, so that it has to be held.
fn awake(python: &Python, program: &str) -> Target {
    let mut command = python.program(program);
    command.env("STAY_AWAKE", "1");
    Target::start(command)
}

/// The snapshot of a process that slept, and so was not held; also that this was said.
fn of_sleeping(pid: u32, freeze: &str) -> Value {
    let answer = agentctl::run(&["snapshot", &pid.to_string(), freeze]);
    let said = format!("agentctl: process {pid} slept while it was read and was not stopped\n");
    assert_eq!((answer.status, answer.stderr), (0, said));
    let snapshot: Value = serde_json::from_str(&answer.stdout).expect("a snapshot is JSON");
    assert_eq!(snapshot["stats"]["paused_seconds"], 0.0);
    assert_eq!(snapshot["complete"], true);
    snapshot
}

/// The state of each thread as `/proc` has it: `t` when a tracer holds it, `T` when a signal has
/// stopped it.
fn states(pid: u32) -> BTreeMap<String, char> {
    let mut states = BTreeMap::new();
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    for thread in threads.into_iter().flatten().flatten() {
        // A thread may end at any time.
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        if let Some((_, rest)) = stat.rsplit_once(") ") {
            let id = thread.file_name().to_string_lossy().into_owned();
            states.extend(rest.chars().next().map(|state| (id, state)));
        }
    }
    states
}

fn has_state(pid: u32, state: char) -> bool {
    states(pid).values().any(|of_thread| *of_thread == state)
}

/// A tracer that has ended has let go: the kernel sees to it before the end can be waited for.
fn assert_is_let_go(pid: u32) {
    for thread in states(pid).keys() {
        let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
        assert!(!status.contains("(tracing stop)"), "{status}");
        for line in status.lines().filter(|line| line.starts_with("TracerPid")) {
            assert_eq!(line, "TracerPid:\t0", "thread {thread} of {pid}");
        }
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().expect("a pid"));
    kill(pid, signal).expect("our own child can be signalled");
}

/// An `agentctl` that ends with the test: a process that it holds does not even end when killed.
struct Freezing(Option<Child>);

impl Freezing {
    /// Starts one and returns when it has stopped the process, which takes long enough to read.
    fn start(target: &Target) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_agentctl"))
            .args(["snapshot", &target.pid_text(), LONG])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, with a parent in another one: the terminal's signals work.
            .process_group(0)
            .spawn()
            .expect("agentctl");
        let mut freezing = Self(Some(child));
        while !has_state(target.pid(), 't') {
            if freezing
                .child()
                .try_wait()
                .expect("our own child")
                .is_some()
            {
                break;
            }
            std::thread::yield_now();
        }
        freezing
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("not taken before its end")
    }

    /// What it wrote, when it has ended.
    fn answer(mut self) -> Answer {
        let child = self.0.take().expect("not taken before its end");
        let output = child.wait_with_output().expect("our own child");
        Answer {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Freezing {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn programs_of_all_kinds() {
    for program in [
        "blocked",
        "main_thread_ended",
        "music",
        "running",
        "sub_interpreters",
        "thread_ended",
        "threads",
    ] {
        for python in python::all() {
            let target = awake(python, program);
            let what = format!("{program}.py on Python {}", python.full_version);
            truth::assert_matches(&target.truth, &frozen(target.pid()), &what);
            assert!(target.end().success(), "{what}: it did not end well");
        }
    }
}

/// Tasks start and end up to tens of thousands of times a second, and threads with them, and yet nothing
/// is left out and nothing is wrong.
#[test]
fn an_exact_picture_of_churn() {
    for churn in Churn::all() {
        for python in python::all() {
            let what = format!("{churn} on Python {}", python.full_version);
            let target = churn.start(python);
            let mut process = attach(&target);
            let mut judge = Judge::new(Truth::of(&target));
            for round in 0..30 {
                let what = format!("{what}, round {round}");
                let snapshot = process.snapshot_frozen(Duration::from_secs(10));
                assert_is_let_go(target.pid());
                let snapshot = snapshot.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(snapshot.complete, "{what}: {:?}", snapshot.problems);
                assert_eq!(snapshot.stats.tasks_unreadable, 0, "{what}");
                // 0 of one that slept just then.
                assert!(snapshot.stats.paused.is_some(), "{what}");
                assert_eq!(judge.judge(&snapshot), 0, "{what}: {:?}", judge.findings);
            }
            assert!(target.end().success(), "{what}: it did not end well");
        }
    }
}

/// Threads that wait for locks, in system calls, sleep and compute: the program itself says at its end
/// whether one of them was disturbed.
#[test]
fn threads_at_work() {
    for python in python::all() {
        let target = Target::start(python.program("threads_at_work"));
        let what = format!("Python {}", python.full_version);
        for _ in 0..30 {
            let snapshot = frozen(target.pid());
            truth::assert_matches(&target.truth, &snapshot, &what);
        }
        assert_eq!(states(target.pid()).len(), 9, "{what}");
        assert!(target.end().success(), "{what}: a thread was disturbed");
    }
}

/// A process sends signals to the program as fast as they arrive, an ordinary and a real-time one in
/// turn; the program itself says at its end whether each did.
#[test]
fn no_signal_is_lost() {
    for python in python::all() {
        let target = awake(python, "signalled");
        let what = format!("Python {}", python.full_version);
        for _ in 0..100 {
            let snapshot = frozen(target.pid());
            truth::assert_matches(&target.truth, &snapshot, &what);
        }
        assert!(target.end().success(), "{what}: a signal was lost");
    }
}

#[test]
fn a_process_that_was_stopped_before_stays_so() {
    for python in python::all() {
        let target = Target::start(python.program("churn"));
        let pid = Pid::from_raw(target.pid().try_into().expect("a pid"));
        let changed = || {
            let flags = WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED | WaitPidFlag::WNOHANG;
            waitpid(pid, Some(flags)).expect("our own child")
        };
        let are_stopped = || states(target.pid()).values().all(|state| *state == 'T');
        send(target.pid(), Signal::SIGSTOP);
        wait_until("it is stopped", are_stopped);
        assert_eq!(changed(), WaitStatus::Stopped(pid, Signal::SIGSTOP));
        let mut snapshots = Vec::new();
        for _ in 0..5 {
            let mut snapshot = of_sleeping(target.pid(), LONG);
            snapshot["stats"].take();
            snapshots.push(snapshot);
            assert!(are_stopped());
            assert_eq!(changed(), WaitStatus::StillAlive);
        }
        assert!(snapshots.iter().all(|snapshot| *snapshot == snapshots[0]));
        send(target.pid(), Signal::SIGCONT);
        wait_until("it runs", || changed() == WaitStatus::Continued(pid));
        assert!(!has_state(target.pid(), 'T'));
        assert!(target.end().success());
    }
}

/// A process that sleeps need not be held, and is not: however many tasks it has, and however short the
/// limit is.
#[test]
fn a_process_that_sleeps_is_not_stopped() {
    for python in python::all() {
        let target = Target::start(python.program("wide"));
        wait_until("it sleeps", || {
            states(target.pid()).values().all(|it| *it == 'S')
        });
        let snapshot = of_sleeping(target.pid(), "--freeze=1ms");
        truth::assert_matches(&target.truth, &snapshot, "wide.py");
        // So it does not matter either who traces it.
        let tracer = trace(python, target.pid());
        of_sleeping(target.pid(), "--freeze=1ms");
        assert!(tracer.end().success());
        assert!(target.end().success());
    }
}

#[test]
fn an_agentctl_that_is_killed_leaves_nothing_stopped() {
    for python in python::all() {
        let target = awake(python, "wide");
        let mut n_killed = 0;
        for _ in 0..50 {
            let mut agentctl = Freezing::start(&target);
            agentctl.child().kill().expect("our own child");
            // One that was killed while it held the process has written nothing yet.
            let answer = agentctl.answer();
            n_killed += u32::from(answer.status == -1 && answer.stdout.is_empty());
            assert_is_let_go(target.pid());
            if n_killed == 10 {
                break;
            }
        }
        assert_eq!(n_killed, 10, "killed too late each time");
        truth::assert_matches(&target.truth, &agentctl::snapshot(target.pid()), "wide.py");
        assert!(target.end().success());
    }
}

/// Suspended from the terminal, it first lets the process go.
#[test]
fn an_agentctl_that_is_suspended_leaves_nothing_stopped() {
    let target = awake(&python::all()[0], "wide");
    let mut was_suspended = false;
    for _ in 0..20 {
        let mut agentctl = Freezing::start(&target);
        let id = agentctl.child().id();
        send(id, Signal::SIGTSTP);
        wait_until("it runs", || !has_state(target.pid(), 't'));
        wait_until("agentctl is suspended or has ended", || {
            was_suspended = has_state(id, 'T');
            was_suspended || has_state(id, 'Z')
        });
        assert_is_let_go(target.pid());
        send(id, Signal::SIGCONT);
        let answer = agentctl.answer();
        assert_eq!(answer.status, 0, "{}", answer.stderr);
        let snapshot: Value = serde_json::from_str(&answer.stdout).expect("a snapshot is JSON");
        truth::assert_matches(&target.truth, &snapshot, "wide.py");
        if was_suspended {
            return;
        }
    }
    panic!("suspended too late each time");
}

/// 10 000 tasks cannot be read within the shortest limit: it is kept all the same, and said.
#[test]
fn a_limit_that_is_reached() {
    for python in python::all() {
        let target = awake(python, "wide");
        let answer = agentctl::run(&["snapshot", &target.pid_text(), "--freeze=1ms"]);
        assert_is_let_go(target.pid());
        assert_eq!(answer.status, 0, "{}", answer.stderr);
        let lines: Vec<_> = answer.stderr.lines().collect();
        let (said, partial) = match lines[..] {
            [said, partial] => (said, partial),
            _ => panic!("{}", answer.stderr),
        };
        // On a busy machine it may not even have come to stand still.
        let says = [
            "; it was to be let go after 1 ms",
            " threads had not stopped after 1 ms",
        ];
        assert!(says.iter().any(|text| said.contains(text)), "{said}");
        assert!(
            partial.ends_with("is partial: 1 problem (pause_limit 1)"),
            "{partial}"
        );
        let mut snapshot: Value = serde_json::from_str(&answer.stdout).expect("JSON");
        let stats = &snapshot["stats"];
        assert!(stats["paused_seconds"].as_f64() >= Some(0.001), "{stats}");
        assert!(stats["paused_seconds"].as_f64() < stats["duration_seconds"].as_f64());
        assert_eq!(snapshot["complete"], false);
        assert_eq!(snapshot["problems"][0]["code"], "pause_limit");
        // This program changes nothing, so all was read in spite of it.
        snapshot["complete"] = true.into();
        snapshot["problems"] = Value::Array(Vec::new());
        truth::assert_matches(&target.truth, &snapshot, "wide.py");
    }
}

/// So many threads take long to be stopped, and fight for the processor when they are let go.
#[test]
fn very_many_threads() {
    const PROGRAM: &str = "\
import asyncio, os, threading, time
threading.stack_size(65536)
def work():
    while True: time.sleep(0.001)
for _ in range(500): threading.Thread(target=work, daemon=True).start()
async def main():
    asyncio.get_running_loop().add_reader(0, lambda: os._exit(len(os.read(0, 1))))
    os.write(1, b'{}\\n')
    await asyncio.sleep(1e6)
asyncio.run(main())
";
    for python in python::all() {
        let mut command = python.command();
        command.args(["-c", PROGRAM]);
        let target = Target::start(command);
        let snapshot = frozen(target.pid());
        assert_eq!(snapshot["complete"], true);
        // Too short a limit is either kept or said to have been too short.
        for limit in ["--freeze=1ms", "--freeze=5ms", "--freeze=20ms"] {
            let answer = agentctl::run(&["snapshot", &target.pid_text(), limit]);
            assert_is_let_go(target.pid());
            assert_eq!(answer.status, 0, "{}", answer.stderr);
            let snapshot: Value = serde_json::from_str(&answer.stdout).expect("JSON");
            let said = answer.stderr.lines().next().unwrap_or_default();
            let says = [
                "; it was to be let go after ",
                " of 501 threads had not stopped after ",
                "; its 501 threads are too many to be stopped and let go within ",
            ];
            let is_said = says.iter().any(|text| said.contains(text));
            assert_eq!(is_said, snapshot["complete"] == false, "{said}");
        }
        assert!(target.end().success(), "a thread was disturbed");
    }
}

/// A thread whose child has not executed its program yet (vfork(2)) sleeps so deep that it cannot be
/// stopped. The others are not kept waiting for it.
#[test]
fn a_thread_that_does_not_stop() {
    for python in python::all() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let fifo = folder.path().join("fifo");
        let mut command = python.command();
        command.arg("-c").arg(
            "import asyncio, hashlib, os, sys, threading\n\
             from concurrent.futures import ThreadPoolExecutor\n\
             os.mkfifo(sys.argv[1])\n\
             opens = (os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)\n\
             def spawn():\n\
             \x20   os.posix_spawn('/bin/true', ['true'], {}, file_actions=[opens])\n\
             def compute():\n\
             \x20   # Without the GIL, which the other one keeps.\n\
             \x20   hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)\n\
             async def main():\n\
             \x20   asyncio.get_running_loop().add_reader(0, os._exit, 0)\n\
             \x20   threading.Thread(target=compute, daemon=True).start()\n\
             \x20   os.write(1, b'{}\\n')\n\
             \x20   threading.Thread(target=spawn, daemon=True).start()\n\
             \x20   await asyncio.sleep(1_000_000)\n\
             asyncio.run(main())\n",
        );
        command.arg(&fifo);
        let target = Target::start(command);
        let pid = target.pid();
        wait_until("its thread waits for the child", || {
            states(pid).iter().any(|(thread, state)| {
                let children = format!("/proc/{pid}/task/{thread}/children");
                let children = fs::read_to_string(children).unwrap_or_default();
                *state == 'D' && !children.is_empty()
            })
        });
        let answer = agentctl::run(&["snapshot", &target.pid_text(), "--freeze"]);
        assert_is_let_go(target.pid());
        assert_eq!(answer.status, 0, "{}", answer.stderr);
        let said = "; 1 of 3 threads had not stopped after 50 ms";
        assert!(answer.stderr.contains(said), "{}", answer.stderr);
        assert!(
            answer.stdout.contains("\"pause_limit\""),
            "{}",
            answer.stdout
        );
        // Its child goes on, and so does the program.
        drop(
            fs::OpenOptions::new()
                .write(true)
                .open(&fifo)
                .expect("the fifo"),
        );
        wait_until("its thread has ended", || states(target.pid()).len() == 2);
        let snapshot = frozen(target.pid());
        assert_eq!(snapshot["complete"], true, "{snapshot}");
        assert!(target.end().success());
    }
}

/// A tracer of another make: it seizes a thread and says so, and lets it go when its input ends.
fn trace(python: &Python, thread: u32) -> Target {
    let mut command = python.command();
    command.arg("-c").arg(
        "import ctypes, os, sys\n\
         PTRACE_SEIZE = 0x4206\n\
         libc = ctypes.CDLL(None, use_errno=True)\n\
         done = libc.ptrace(PTRACE_SEIZE, int(sys.argv[1]), None, None)\n\
         assert done == 0, os.strerror(ctypes.get_errno())\n\
         os.write(1, b'{}\\n')\n\
         os.read(0, 1)\n",
    );
    command.arg(thread.to_string());
    Target::start(command)
}

#[test]
fn a_process_that_is_traced() {
    for python in python::all() {
        let target = awake(python, "threads");
        let threads = states(target.pid());
        assert_eq!(threads.len(), 4);
        // The first thread, then one of the others.
        for thread in [threads.keys().next(), threads.keys().next_back()] {
            let thread = thread.expect("four of them").parse().expect("a tid");
            let tracer = trace(python, thread);
            let comm = fs::read_to_string(format!("/proc/{}/comm", tracer.pid())).expect("alive");
            for command in ["ps", "pstree", "snapshot"] {
                let answer = agentctl::run(&[command, &target.pid_text(), "--freeze"]);
                assert_eq!(answer.status, PERMISSION_DENIED, "{answer:?}");
                assert_eq!(answer.stdout, "");
                let message = format!(
                    "agentctl: cannot stop process {}: it is traced by process {} ({})\n",
                    target.pid(),
                    tracer.pid(),
                    comm.trim_end()
                );
                assert!(answer.stderr.starts_with(&message), "{}", answer.stderr);
                for hint in [&*tracer.pid_text(), "without --freeze", "hint:"] {
                    assert!(answer.stderr.contains(hint), "{}", answer.stderr);
                }
                assert!(!has_state(target.pid(), 't'));
            }
            // Reading it needs no tracing.
            let snapshot = agentctl::snapshot(target.pid());
            truth::assert_matches(&target.truth, &snapshot, "a traced process");
            assert!(tracer.end().success());
            truth::assert_matches(&target.truth, &frozen(target.pid()), "traced before");
        }
        assert!(target.end().success());
    }
}

/// Several at once: each waits its turn or is refused, and says by whom.
#[test]
fn one_freeze_at_a_time() {
    let target = awake(&python::all()[0], "wide");
    let mut first = Freezing::start(&target);
    let answer = agentctl::run(&["ps", &target.pid_text(), "--freeze"]);
    if answer.status != 0 {
        assert_eq!(answer.status, PERMISSION_DENIED, "{}", answer.stderr);
        let message = format!("is traced by process {} (agentctl)\n", first.child().id());
        assert!(answer.stderr.contains(&message), "{}", answer.stderr);
        assert!(answer.stderr.contains("try again"), "{}", answer.stderr);
    }
    assert_eq!(first.answer().status, 0);
    assert_is_let_go(target.pid());
}

/// ptrace(2) may be refused to us although we may read, by a filter of system calls.
#[test]
fn a_filter_that_refuses_ptrace() {
    for python in python::all() {
        let target = awake(python, "music");
        let mut command = python.command();
        command.arg("-c").arg(
            "import ctypes, os, platform, struct, sys\n\
             PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2\n\
             ptrace = {'x86_64': 101, 'aarch64': 117}[platform.machine()]\n\
             # Load the number of the call; if it is not that one, skip the refusal.\n\
             steps = [(0x20, 0, 0, 0), (0x15, 0, 1, ptrace), (0x06, 0, 0, 0x50001),\n\
             \x20        (0x06, 0, 0, 0x7fff0000)]\n\
             steps = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *s) for s in steps))\n\
             program = struct.pack('HP', 4, ctypes.addressof(steps))\n\
             prctl = ctypes.CDLL(None, use_errno=True).prctl\n\
             prctl.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 4]\n\
             assert prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0\n\
             assert prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) == 0\n\
             os.execv(sys.argv[1], sys.argv[1:])\n",
        );
        command.args([env!("CARGO_BIN_EXE_agentctl"), "ps", &target.pid_text()]);
        command.env_clear();
        let mut frozen = Command::new(command.get_program());
        frozen.args(command.get_args()).arg("--freeze").env_clear();
        let answer = Answer::of(command);
        assert_eq!((answer.status, &*answer.stderr), (0, ""), "it may be read");
        let answer = Answer::of(frozen);
        assert_eq!(answer.status, PERMISSION_DENIED, "{answer:?}");
        let message = format!("cannot stop process {}: ptrace is refused", target.pid());
        for says in [&*message, "seccomp", "without --freeze"] {
            assert!(answer.stderr.contains(says), "{answer:?}");
        }
    }
}

/// Stopped again and again while it ends: every answer is true.
#[test]
fn a_process_that_ends_meanwhile() {
    for python in python::all() {
        let target = awake(python, "wide");
        let pid = target.pid_text();
        let ending = std::thread::spawn(move || target.end());
        loop {
            let answer = agentctl::run(&["ps", &pid, LONG]);
            match answer.status {
                0 => {}
                NOT_SUPPORTED if answer.stderr.contains("already ending") => {}
                NO_SUCH_PROCESS => break,
                _ => panic!("{:?}", answer.stderr),
            }
        }
        assert!(ending.join().expect("no panic").success());
    }
}

/// A stopped process can be killed, and its parent learns of it at once.
#[test]
fn a_process_that_is_killed_while_it_stands() {
    for python in python::all() {
        let mut target = awake(python, "wide");
        let agentctl = Freezing::start(&target);
        target.kill_without_wait();
        let answer = agentctl.answer();
        assert!(
            [0, NO_SUCH_PROCESS].contains(&answer.status),
            "{}",
            answer.stderr
        );
        assert!(!answer.stderr.contains("panicked"), "{}", answer.stderr);
    }
}

/// It executes itself over and over, from its first thread and from another one in turn, which ends
/// all other threads: none of that is held up.
#[test]
fn a_process_that_executes_another_program_meanwhile() {
    for python in python::all() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("again.py");
        fs::write(
            &program,
            "import asyncio, os, sys, threading\n\
             n = int(sys.argv[1])\n\
             if n == 0:\n\
             \x20   os.write(1, b'{}\\n')\n\
             def again():\n\
             \x20   os.execv(sys.executable, [sys.executable, __file__, str(n + 1)])\n\
             def in_thread():\n\
             \x20   threading.Thread(target=again, daemon=True).start()\n\
             async def main():\n\
             \x20   loop = asyncio.get_running_loop()\n\
             \x20   loop.add_reader(0, os._exit, 0)\n\
             \x20   loop.call_later(0.01, again if n % 2 else in_thread)\n\
             \x20   await asyncio.sleep(1_000_000)\n\
             for _ in range(3):\n\
             \x20   threading.Thread(target=threading.Event().wait, daemon=True).start()\n\
             asyncio.run(main())\n",
        )
        .expect("a file of ours");
        let mut command = python.command();
        command.arg(&program).arg("0");
        let target = Target::start(command);
        let mut statuses = BTreeMap::new();
        // On a slow machine most answers come while Python starts.
        for n_answers in 0..3_000 {
            if n_answers >= 60 && statuses.contains_key(&0) {
                break;
            }
            let answer = agentctl::run(&["ps", &target.pid_text(), "--freeze"]);
            assert_is_let_go(target.pid());
            assert!(
                [0, NO_SUCH_PROCESS, NOT_SUPPORTED].contains(&answer.status),
                "{}",
                answer.stderr
            );
            *statuses.entry(answer.status).or_insert(0) += 1;
        }
        assert!(statuses.contains_key(&0), "{statuses:?}");
        assert!(target.end().success());
    }
}
