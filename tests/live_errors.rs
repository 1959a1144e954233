//! Processes that cannot be read: each has its own answer, its exit code and its advice.

mod support;

use asyncio_agent::ids::Pid;
use asyncio_agent::limits::Limits;
use asyncio_agent::process::Process;
use asyncio_agent::procfs::ProcRoot;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::agentctl::{self, Answer};
use support::python::{self, Unpacked};
use support::target::Target;
use tempfile::TempDir;

const NO_SUCH_PROCESS: i32 = 3;
const PERMISSION_DENIED: i32 = 4;
const NOT_SUPPORTED: i32 = 5;

/// Every command that reads a process gives the same answer: nothing on standard output, and on
/// standard error what is wrong and what to do.
fn assert_refused(pid: &str, status: i32, says: &[&str]) {
    for command in ["ps", "pstree", "snapshot"] {
        check_refusal(&agentctl::run(&[command, pid]), status, says);
    }
}

fn check_refusal(answer: &Answer, status: i32, says: &[&str]) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.stdout, "", "{answer:?}");
    assert!(answer.stderr.starts_with("agentctl: "), "{answer:?}");
    assert!(!answer.stderr.contains("panicked"), "{answer:?}");
    for text in says {
        assert!(
            answer.stderr.contains(text),
            "{answer:?} does not say {text:?}"
        );
    }
}

/// A process that ends with the test.
struct Bystander(Child);

impl Bystander {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {program}: {e}"));
        Self(child)
    }

    fn pid_text(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn no_such_process() {
    let mut ended = Bystander::start("true", &[]);
    ended.0.wait().expect("our own child");
    let pid = ended.pid_text();
    assert_refused(&pid, NO_SUCH_PROCESS, &[&pid, "no process"]);
    assert_refused("2147483647", NO_SUCH_PROCESS, &["2147483647"]);
}

#[test]
fn a_process_that_has_ended_but_was_not_waited_for() {
    for python in python::all() {
        let mut target = Target::start(python.program("music"));
        target.kill_without_wait();
        let pid = target.pid_text();
        let parent = format!("its parent (process {}) has not waited", std::process::id());
        assert_refused(&pid, NO_SUCH_PROCESS, &[&pid, &parent, "a zombie"]);
    }
}

#[test]
fn arguments_that_are_no_process_ids() {
    for wrong in ["0", "-1", "abc", "99999999999", "", "1.5"] {
        for command in ["ps", "pstree", "snapshot"] {
            let answer = agentctl::run(&[command, wrong]);
            assert_eq!(answer.status, 2, "{wrong:?}: {answer:?}");
            assert_eq!(answer.stdout, "", "{wrong:?}: {answer:?}");
        }
    }
    for wrong in [
        &["ps"][..],
        &[],
        &["ps", "1", "2"],
        &["frobnicate"],
        &["ps", "1", "--style", "x"],
    ] {
        let answer = agentctl::run(wrong);
        assert_eq!(answer.status, 2, "{wrong:?}: {answer:?}");
    }
}

#[test]
fn a_process_that_is_not_python() {
    let sleep = Bystander::start("sleep", &["1000"]);
    let says = ["does not run CPython 3.14 or 3.15 (", "hint:"];
    assert_refused(
        &sleep.pid_text(),
        NOT_SUPPORTED,
        &[&sleep.pid_text(), says[0], says[1]],
    );
}

/// An interpreter of 3.11 says nothing of its layout; 3.13 does, in a form that is not supported.
#[test]
fn pythons_that_are_too_old() {
    for version in ["3.11", "3.13"] {
        let python = python::brought(version);
        let mut command = python.command();
        command.args([
            "-c",
            "import asyncio, os; os.write(1, b'{}\\n'); asyncio.run(asyncio.sleep(1000))",
        ]);
        let target = Target::start(command);
        let pid = target.pid_text();
        assert_refused(&pid, NOT_SUPPORTED, &[&pid, "hint:"]);
        let answer = agentctl::run(&["ps", &pid]);
        if version == "3.13" {
            for text in [python.full_version.as_str(), "3.14", "3.15"] {
                assert!(answer.stderr.contains(text), "{answer:?}");
            }
        }
    }
}

/// 3.14 has asyncio's table in an extension that is loaded on import. 3.15 has it built in, so there
/// it takes a look at whether the module was ever set up.
#[test]
fn a_python_without_asyncio() {
    for python in python::all() {
        let target = Target::start(python.program("no_asyncio"));
        let pid = target.pid_text();
        let says = [&pid, &python.full_version, "asyncio", "hint:"];
        assert_refused(&pid, NOT_SUPPORTED, &says);
    }
}

/// While modules are imported and forgotten, asyncio must not be taken for one that is not there.
#[test]
fn asyncio_among_modules_that_change() {
    for python in python::all() {
        let target = Target::start(python.program("modules_change"));
        let pid = Pid::new(target.pid().try_into().expect("a pid")).expect("not 0");
        for _ in 0..200 {
            let process = Process::attach(&ProcRoot::default(), pid, Limits::default());
            let snapshot = process.and_then(|mut process| process.snapshot());
            let snapshot = snapshot.expect("asyncio was imported");
            assert!(snapshot.graph.tasks().is_empty());
        }
    }
}

/// Whoever is on call wants to know that, and not only that all tasks stand where they stood.
#[test]
fn a_process_that_is_stopped_is_said_to_be() {
    for python in python::all() {
        let target = Target::start(python.program("music"));
        let pid = target.pid_text();
        for is_stopped in [false, true, false] {
            if is_stopped {
                target.stop();
            } else {
                target.go_on();
            }
            for command in ["ps", "pstree"] {
                let answer = agentctl::run(&[command, &pid]);
                assert_eq!(answer.status, 0, "{answer:?}");
                let said = format!("agentctl: process {pid} is stopped, ");
                let is_said = answer.stderr.contains(&said);
                assert_eq!(is_said, is_stopped, "{answer:?}");
                assert!(!is_stopped || answer.stderr.contains(&format!("'kill -CONT {pid}'")));
            }
        }
    }
}

/// A program may import asyncio long after it was first looked at.
#[test]
fn asyncio_that_is_imported_later() {
    for python in python::all() {
        let mut command = python.command();
        command.args([
            "-c",
            "import os\n\
             os.write(1, b'{}\\n')\n\
             os.read(0, 1)\n\
             import asyncio\n\
             asyncio.run(asyncio.sleep(1000))",
        ]);
        let mut target = Target::start(command);
        let before = agentctl::run(&["snapshot", &target.pid_text()]);
        assert!(!before.stdout.contains("task_id"), "{before:?}");
        target.write(b"x");
        support::target::wait_until("the task is seen", || {
            let answer = agentctl::run(&["snapshot", &target.pid_text()]);
            answer.status == 0 && answer.stdout.contains("\"sleep\"")
        });
    }
}

/// Root may read everything, so root's tool is run as nobody; others look at the first process.
#[test]
fn a_process_that_may_not_be_read() {
    let is_root = fs::metadata("/proc/self").expect("/proc").uid() == 0;
    if !is_root {
        assert_refused("1", PERMISSION_DENIED, &["permission", "hint:"]);
        return;
    }
    let (_folder, copy) = copy_for_all();
    for python in python::all() {
        let target = Target::start(python.program("music"));
        for freeze in [None, Some("--freeze")] {
            let pid = target.pid_text();
            let arguments: Vec<&str> = ["ps", &pid].into_iter().chain(freeze).collect();
            let answer = as_nobody(&copy, &arguments);
            let says = [&*pid, "permission", "hint:"];
            check_refusal(&answer, PERMISSION_DENIED, &says);
            let of_agent = "(agentctl ps, pstree, snapshot or explain with --agent)";
            assert!(answer.stderr.contains(of_agent), "{answer:?}");
        }
    }
}

/// A process of the same user may refuse to be read, or the kernel in its place when it has changed its
/// user: then "run it as the same user" is no help.
#[test]
fn a_process_that_is_not_dumpable() {
    let is_root = fs::metadata("/proc/self").expect("/proc").uid() == 0;
    let (_folder, copy) = copy_for_all();
    for python in python::all() {
        let mut command = python.command();
        command.args([
            "-c",
            "import asyncio, ctypes, os\n\
             PR_SET_DUMPABLE = 4\n\
             async def main():\n\
             \x20   os.write(1, b'{}\\n')\n\
             \x20   await asyncio.sleep(1000)\n\
             if os.getuid() == 0:\n\
             \x20   os.setgroups([])\n\
             \x20   os.setresgid(65534, 65534, 65534)\n\
             \x20   os.setresuid(65534, 65534, 65534)\n\
             assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0\n\
             asyncio.run(main())",
        ]);
        let target = Target::start(command);
        let pid = target.pid_text();
        let answer = if is_root {
            as_nobody(&copy, &["ps", &pid])
        } else {
            agentctl::run(&["ps", &pid])
        };
        let says = [&*pid, "permission", "not dumpable", "CAP_SYS_PTRACE"];
        check_refusal(&answer, PERMISSION_DENIED, &says);
        assert!(!answer.stderr.contains("as the same user"), "{answer:?}");
    }
}

/// An `agentctl` that everybody may run: the build folder need not be open to others.
fn copy_for_all() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = folder.path().join("agentctl");
    fs::copy(env!("CARGO_BIN_EXE_agentctl"), &copy).expect("a copy");
    for path in [folder.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own file");
    }
    (folder, copy)
}

fn as_nobody(agentctl: &Path, arguments: &[&str]) -> Answer {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(agentctl)
        .args(arguments);
    Answer::of(command)
}

/// Looking at a process again and again while it ends: every answer is one of the two true ones.
#[test]
fn a_process_that_ends_meanwhile() {
    for python in python::all() {
        let target = Target::start(python.program("wide"));
        let pid = target.pid_text();
        let ending = std::thread::spawn(move || target.end());
        loop {
            let answer = agentctl::run(&["ps", &pid]);
            match answer.status {
                0 => {}
                NO_SUCH_PROCESS => break,
                _ => panic!("{:?}", answer.stderr),
            }
        }
        assert!(ending.join().expect("no panic").success());
    }
}

/// A program that executes itself over and over is never called anything but a Python: not while the
/// next one is being made, and not while its libraries are being loaded.
#[test]
fn a_process_that_executes_itself() {
    for unpacked in Unpacked::all() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("again.py");
        // Without the shell script that starts the tests' interpreters: that one is no Python.
        fs::write(
            &program,
            "import os, select, sys\n\
             if len(sys.argv) == 1:\n\
             \x20   os.write(1, b'{}\\n')\n\
             if select.select([0], [], [], 0)[0]:\n\
             \x20   sys.exit()\n\
             own = open('/proc/self/cmdline', 'rb').read().split(b'\\0')[:-1]\n\
             os.execv(own[0], own if len(sys.argv) > 1 else [*own, b'again'])\n",
        )
        .expect("a file of ours");
        let mut command = unpacked.command(&unpacked.executable());
        command.args(["-I", "-S"]).arg(&program);
        let target = Target::start(command);
        let pid = i32::try_from(target.pid()).ok().and_then(Pid::new);
        let pid = pid.expect("a pid fits");
        let mut found = BTreeMap::new();
        for _ in 0..1_000 {
            let code = match Process::attach(&ProcRoot::default(), pid, Limits::default()) {
                Ok(_) => "attached",
                Err(error) => error.code(),
            };
            *found.entry(code).or_insert(0) += 1;
        }
        for code in [
            "not_python",
            "unsupported_python",
            "bad_offsets",
            "process_not_found",
        ] {
            assert!(!found.contains_key(code), "{found:?}");
        }
        assert!(target.end().success());
    }
}
