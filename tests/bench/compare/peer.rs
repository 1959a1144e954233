//! Processes that measure for us, at the other end of a pipe: a line asks, a line of JSON answers.

use super::samples::timed;
use super::support::python::Python;
use super::support::target::Target;
use asyncio_agent::ids::Pid;
use asyncio_agent::limits::Limits;
use asyncio_agent::process::{Process, ProcessError};
use asyncio_agent::procfs::ProcRoot;
use serde_json::{Value, json};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A process that answers.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let questions = child.stdin.take().expect("stdin is piped");
        let answers = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Self {
            child,
            questions,
            answers,
        }
    }

    /// CPython's own reader, of the same version as the process it reads.
    pub(crate) fn unwinder(python: &Python, target: &Target) -> Self {
        let mut command = python.script("tests/bench/programs/unwinder.py");
        command.arg(target.pid_text());
        Self::start(command)
    }

    /// Our own reader in a process of its own.
    pub(crate) fn reader(target: &Target) -> Self {
        let mut command = ourselves();
        command.args([READER, &target.pid_text()]);
        Self::start(command)
    }

    pub(crate) fn ask(&mut self, question: &str) -> Value {
        let asked = writeln!(self.questions, "{question}").and_then(|()| self.questions.flush());
        let mut line = String::new();
        let answered = asked.and_then(|()| self.answers.read_line(&mut line));
        match answered.map(|_| serde_json::from_str(&line)) {
            Ok(Ok(answer)) => answer,
            other => panic!("no answer to {question:?}: {other:?} {line:?}"),
        }
    }

    /// Asks for something that takes time; the error is the other side's.
    pub(crate) fn time(&mut self, question: &str) -> Result<Duration, String> {
        let answer = self.ask(question);
        match &answer["error"] {
            Value::Null => Ok(nanoseconds(&answer["ns"])),
            error => Err(error.as_str().unwrap_or_default().to_owned()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail only for a child that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn nanoseconds(value: &Value) -> Duration {
    Duration::from_nanos(value.as_u64().unwrap_or_default())
}

/// This program, to be given another job.
pub(crate) fn ourselves() -> Command {
    Command::new(std::env::current_exe().expect("Linux tells"))
}

/// The argument that makes this program a [`Peer::reader`].
pub(crate) const READER: &str = "--as-reader";

/// Attaches to a process.
pub(crate) fn attach(pid: u32) -> Result<Process, ProcessError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::new);
    let pid = pid.expect("a pid fits");
    Process::attach(&ProcRoot::default(), pid, Limits::default())
}

/// Answers `attach` and `scan`, each with its time and this process's peak memory so far.
pub(crate) fn read_on_request(pid: u32) -> io::Result<()> {
    let mut process = None;
    for line in io::stdin().lines() {
        let mut answer = match line?.as_str() {
            "attach" => {
                let (time, attached) = timed(|| attach(pid));
                let error = attached.as_ref().err().map(ToString::to_string);
                process = attached.ok();
                json!({"ns": in_nanoseconds(time), "error": error})
            }
            _ => scan(process.as_mut()),
        };
        answer["peak_kib"] = peak_memory_kib().into();
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

fn scan(process: Option<&mut Process>) -> Value {
    let Some(process) = process else {
        return json!({"error": "not attached"});
    };
    process.forget_last();
    let (time, snapshot) = timed(|| process.snapshot());
    match snapshot {
        Ok(snapshot) => {
            let codes = snapshot.problems.iter().map(|problem| &problem.code);
            json!({
                "ns": in_nanoseconds(time),
                "error": null,
                "tasks": snapshot.graph.tasks().len(),
                "complete": snapshot.complete,
                "problems": codes.take(3).collect::<Vec<_>>(),
            })
        }
        Err(error) => json!({"error": error.to_string()}),
    }
}

fn in_nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The most resident memory that this process ever had (`VmHWM`, proc_pid_status(5)).
fn peak_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    number.unwrap_or_default()
}
