//! What can be said of one process to whoever wonders: would it be watched, can it be read, what was found in it, and what
//! to do about what stands in the way. `agentctl` and the agent make the same of what each of them knows, here.

mod advice;
mod watch;

pub use advice::advice;
pub use watch::{MORE_THREADS, Unprobed, Watch};

use crate::config::TargetSettings;
use crate::graph::Snapshot;
use crate::ids::ProcessId;
use crate::process::{Access, Check, ProcessError, Reader, Table, Verdict};
use crate::procfs::UserIds;
use crate::protocol::{
    CheckAnswer, ExplainAnswer, FixAnswer, FoundAnswer, FoundError, ReadableAnswer, ReaderAnswer,
    TableAnswer,
};
use crate::targets::{ReadFacts, explain_rules};
use std::collections::BTreeMap;

/// Characters of a command line, a path and a message.
const TEXT_CHARS_MAX: usize = 4_000;
/// Kinds of problems that are told.
const CODES_MAX: usize = 100;

/// Who looks.
#[derive(Debug, Clone, Copy)]
pub struct Looker {
    /// Which program.
    pub reader: Reader,
    /// Its process.
    pub pid: u32,
    /// Its effective user.
    pub user: Option<u32>,
}

/// A process, and what it is held against.
#[derive(Clone, Copy)]
pub struct Subject<'s> {
    /// Which process.
    pub process: ProcessId,
    /// Whose it is.
    pub users: Option<UserIds>,
    /// The rules.
    pub targets: &'s [TargetSettings],
    /// The processes among which its parents are looked for.
    pub processes: &'s [ProcessId],
    /// What is known of them.
    pub facts: &'s dyn ReadFacts,
}

impl std::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

/// What came of reading it.
#[derive(Debug)]
pub struct Reading {
    /// The parts of the kernel's rule, if they are known.
    pub access: Option<Access>,
    /// The tables and the tasks that were found, or why none were.
    pub read: Result<(Vec<Table>, Snapshot), ProcessError>,
}

/// Says all that can be said.
pub fn diagnose(
    looker: Looker,
    subject: Subject<'_>,
    watch: Watch,
    reading: &Reading,
) -> ExplainAnswer {
    let Subject {
        process,
        targets,
        processes,
        facts,
        ..
    } = subject;
    let command_line = facts.command_line(process);
    let uses_asyncio = |_| match &reading.read {
        Ok(_) => Some(true),
        // A kernel thread may not be looked at either; it has no command line.
        Err(error) if error.is_refusal() && command_line.is_some() => None,
        Err(_) => Some(false),
    };
    let explained = explain_rules(targets, processes, process, facts, &uses_asyncio);
    let mut fixes = watch::fixes(looker.reader, subject, &watch, &explained, reading);
    let readable = readable(reading);
    if let Some(access) = &reading.access {
        fixes.extend(access.fixes().into_iter().map(|text| fix("readable", text)));
    }
    let found = found(subject, reading);
    let is_program = command_line.is_some();
    fixes.extend(fixes_of_found(looker.reader, reading, is_program));
    ExplainAnswer {
        pid: process.pid.as_raw(),
        command: command_line.map(|line| command(&line)),
        users: subject.users.map(|it| [it.real, it.effective, it.saved]),
        reader: ReaderAnswer {
            program: looker.reader.name().into(),
            pid: looker.pid,
            user: looker.user,
        },
        watched: watch::watched(looker, subject, watch, explained),
        readable,
        found,
        fixes,
    }
}

fn fix(about: &'static str, text: String) -> FixAnswer {
    FixAnswer {
        about: about.into(),
        text,
    }
}

fn command(line: &[u8]) -> String {
    let start = &line[..line.len().min(TEXT_CHARS_MAX)];
    let text = String::from_utf8_lossy(start).replace('\0', " ");
    text.trim_end().to_owned()
}

fn readable(reading: &Reading) -> ReadableAnswer {
    let is_refused = matches!(&reading.read, Err(error) if error.is_refusal());
    let access = reading.access.as_ref();
    let checks = access.map(|access| access.checks.iter().map(check).collect());
    ReadableAnswer {
        is_readable: !is_refused && access.is_none_or(|access| access.is_granted),
        checks: checks.unwrap_or_default(),
    }
}

fn check(check: &Check) -> CheckAnswer {
    CheckAnswer {
        check: check.aspect.as_str().into(),
        verdict: Verdict::as_str(check.verdict).into(),
        finding: check.finding.clone(),
    }
}

fn found(subject: Subject<'_>, reading: &Reading) -> FoundAnswer {
    let executable = subject.facts.executable(subject.process);
    let executable = executable.map(|path| command(&path));
    let (tables, snapshot) = match &reading.read {
        Ok(read) => read,
        Err(error) => {
            return FoundAnswer {
                error: Some(FoundError {
                    code: error.code().into(),
                    message: error.to_string().chars().take(TEXT_CHARS_MAX).collect(),
                }),
                executable,
                ..FoundAnswer::default()
            };
        }
    };
    let graph = &*snapshot.graph;
    let counted = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let with_tasks = graph
        .threads()
        .iter()
        .filter(|thread| graph.tasks_of(thread).len() > 0);
    let tasks = counted(graph.tasks().len());
    FoundAnswer {
        error: None,
        python_version: snapshot.process.python_version.clone(),
        free_threaded: snapshot.process.free_threaded,
        executable,
        tables: tables.iter().map(table).collect(),
        threads: counted(with_tasks.count()),
        loops: snapshot.stats.running_loops,
        tasks: tasks.saturating_add(snapshot.stats.tasks_counted),
        is_complete: snapshot.complete,
        problems: problems(snapshot),
    }
}

fn table(table: &Table) -> TableAnswer {
    TableAnswer {
        section: table.section.into(),
        address: table.at.map(|at| at.to_string()),
        file: table
            .file
            .as_ref()
            .map(|file| file.chars().take(TEXT_CHARS_MAX).collect()),
    }
}

fn problems(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    let mut problems = BTreeMap::new();
    for problem in &snapshot.problems {
        if problems.len() < CODES_MAX || problems.contains_key(&problem.code) {
            *problems.entry(problem.code.clone()).or_insert(0) += 1;
        }
    }
    problems
}

/// What to do about what was found, or was not. Of a kernel thread, which is no program, there is nothing to be made.
fn fixes_of_found(reader: Reader, reading: &Reading, is_program: bool) -> Vec<FixAnswer> {
    let texts = match &reading.read {
        // The parts of the kernel's rule say more.
        Err(error) if error.is_refusal() => Vec::new(),
        Err(ProcessError::NotPython { .. }) if !is_program => Vec::new(),
        Err(error) => advice(error),
        Ok((_, snapshot)) if reader == Reader::Agent => {
            let limits = snapshot.stats.limits_hit.names();
            let key = limits.filter_map(|limit| match limit {
                "tasks" => Some("limits.tasks"),
                "tasks_max" => Some("limits.tasks_per_process"),
                "bytes_read_max" => Some("limits.scan_bytes"),
                "scan_time" => Some("limits.scan_time"),
                _ => None,
            });
            key.map(|key| format!("raise {key}, if all of the process is to be read"))
                .collect()
        }
        Ok(_) => Vec::new(),
    };
    texts.into_iter().map(|text| fix("found", text)).collect()
}
