//! The `cpython` style against CPython's own tool of the same version, byte for byte, wherever that
//! tool is right.

mod support;

use support::agentctl::{self, Answer};
use support::python::{self, Python};
use support::target::Target;

/// One test for each program that is compared, so that they run side by side.
macro_rules! compared {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                compare(stringify!($name));
            }
        )*

        const COMPARED: &[&str] = &[$(stringify!($name)),*];
    };
}

compared! {
    as_completed async_generators big_function blocked cancelling code_names cycle_of_three
    cycle_of_two cycles_that_open default_names eager gather generators music names nested_gather never_started
    no_loop primitives running shared shield subclass task_group thread_ended threads
    threads_and_main timeout uvloop_tasks wait wait_for wide
}

/// A version that a reason holds for; none where it holds for both.
type Version = Option<(u32, u32)>;

/// What is not compared, and why.
const NOT_COMPARED: &[(&str, Version, &str)] = &[
    (
        "big_function",
        Some((3, 14)),
        "3.14 gives up on line tables above 4 096 bytes",
    ),
    (
        "code_names",
        Some((3, 14)),
        "3.14 prints NULs for names that are not ASCII",
    ),
    (
        "names",
        Some((3, 14)),
        "3.14 prints NULs for names that are not ASCII",
    ),
    (
        "threads",
        Some((3, 14)),
        "3.14 does not look at threads younger than the main one",
    ),
    (
        "threads_and_main",
        Some((3, 14)),
        "3.14 does not look at threads younger than the main one",
    ),
    (
        "uvloop_tasks",
        Some((3, 15)),
        "Debian has no uvloop for 3.15",
    ),
    ("churn", None, "it does not stand still"),
    ("churn_python", None, "it does not stand still"),
    ("churn_threads", None, "it does not stand still"),
    (
        "eager_running",
        None,
        "frames of a running task are not followed",
    ),
    ("forked", None, "its processes are copies of each other"),
    ("held_up", None, "it does not stand still"),
    ("lines", None, "it does not stand still"),
    ("long_waits", None, "its tasks come and go"),
    (
        "packages",
        None,
        "it takes packages; its findings are what counts",
    ),
    ("passages", None, "its findings are what counts"),
    ("loops_alone", None, "it does not stand still"),
    ("mends", None, "it does not stand still"),
    ("modules_change", None, "it does not stand still"),
    ("renamed", None, "it does not stand still"),
    ("rounds", None, "it does not stand still"),
    ("shared_names", None, "it does not stand still"),
    ("hangs_elsewhere", None, "it does not stand still"),
    ("in_step", None, "it does not stand still"),
    ("signalled", None, "it does not stand still"),
    ("threads_at_work", None, "it does not stand still"),
    ("ticking", None, "it does not stand still"),
    (
        "control_names",
        None,
        "printed raw, they would be commands to the terminal",
    ),
    ("deep_chain", None, "pstree ends in a RecursionError"),
    (
        "deep_coroutines",
        None,
        "more frames than the tool follows: no output at all",
    ),
    (
        "huge_function",
        None,
        "both give up on line tables above 65 536 bytes",
    ),
    (
        "long_names",
        None,
        "3.14 fails on a name cut inside a character, 3.15 cuts at 255",
    ),
    (
        "main_thread_ended",
        None,
        "the tool looks at the first thread only, which has ended",
    ),
    ("no_asyncio", None, "nothing to show: see live_errors.rs"),
    (
        "python_tasks",
        None,
        "the tool does not know tasks implemented in Python",
    ),
    (
        "sub_interpreters",
        None,
        "the tool reads one interpreter only, the newest",
    ),
    (
        "surrogate_names",
        None,
        "the tool cannot print lone surrogates",
    ),
];

/// A reason not to compare must name a program that exists.
#[test]
fn every_program_is_compared_or_has_a_reason() {
    for entry in python::programs().read_dir().expect("tests/programs") {
        let file = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("ASCII");
        let Some(name) = file
            .strip_suffix(".py")
            .filter(|name| !name.starts_with('_'))
        else {
            continue;
        };
        let excluded = NOT_COMPARED.iter().any(|(program, ..)| *program == name);
        assert!(COMPARED.contains(&name) || excluded, "{name}");
    }
    for (program, ..) in NOT_COMPARED {
        assert!(python::program_path(program).exists(), "{program}");
    }
}

fn compare(program: &str) {
    let mut differing = Vec::new();
    for python in python::all()
        .iter()
        .filter(|python| is_compared(program, python))
    {
        let target = Target::start(python.program(program));
        for view in ["ps", "pstree"] {
            let pid = target.pid_text();
            let mut tool = python.command();
            tool.args(["-m", "asyncio", view, &pid]);
            let theirs = Answer::of(tool);
            let ours = agentctl::run(&[view, "--style", "cpython", &pid]);
            if ours != theirs {
                differing.push(format!(
                    "{view} of {program}.py on Python {}\nours:   {}\ntheirs: {}",
                    python.full_version,
                    first_difference(&ours, &theirs),
                    first_difference(&theirs, &ours)
                ));
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n\n"));
}

fn is_compared(program: &str, python: &Python) -> bool {
    let excluded = NOT_COMPARED.iter().any(|(excluded, version, _)| {
        *excluded == program && version.is_none_or(|version| version == python.version)
    });
    !excluded && python.has_what_it_needs(program)
}

/// Status, standard error, and the first line of standard output that the other does not have there.
fn first_difference(this: &Answer, other: &Answer) -> String {
    let mut others = other.stdout.split_inclusive('\n');
    let line = this
        .stdout
        .split_inclusive('\n')
        .enumerate()
        .find(|(_, line)| others.next() != Some(line));
    let stderr: String = this.stderr.chars().take(600).collect();
    format!("status {}, stderr {stderr:?}, line {line:?}", this.status)
}
