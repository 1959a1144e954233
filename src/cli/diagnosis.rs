//! `agentctl explain`: what stands in the way of a process being watched and read, told by the running agent, or found
//! out from here.

use super::agent::{Agent, bad_answer};
use super::args::{ExplainArgs, ExplainFormat};
use super::config::{rules_of, unusable};
use super::exit::Exit;
use super::explain::{Stop, stopped, unreadable};
use super::output;
use super::source::stop_of;
use crate::config::Settings;
use crate::diagnosis::{Looker, Reading, Subject, Watch, diagnose};
use crate::ids::ProcessId;
use crate::limits::Limits;
use crate::process::{Access, Process, ProcessError, Reader};
use crate::procfs::{Owner, ProcRoot, ProcfsError};
use crate::protocol::{
    ConditionAnswer, ExplainAnswer, FoundAnswer, Request, RuleAnswer, WatchedAnswer,
    answer_from_json, answer_to_json,
};
use crate::sanitize::escape_start;
use crate::targets::{assign, probe};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;

/// Characters of a text that are shown.
const TEXT_CHARS_MAX: usize = 1_000;
/// Characters of what a process has, which stands in a line for each condition.
const FACT_CHARS_MAX: usize = 200;

/// `agentctl explain`.
pub(super) fn explain(args: &ExplainArgs) -> Result<Exit, Stop> {
    let is_direct = args.via.direct || args.config.is_some();
    let answer = match Agent::find_for(args.pid, &args.via.agent, is_direct)? {
        Some(agent) => {
            let path = agent.path().to_owned();
            let json = agent.ask(Request::Explain(args.pid))?;
            answer_from_json(&json).map_err(|error| bad_answer(&path, &error.to_string()))?
        }
        None => {
            let settings = match rules_of(args.config.as_deref()) {
                Ok(settings) => settings,
                Err(error) => return Ok(unusable(&error)),
            };
            look(args, &settings).map_err(|error| unreadable(&error))?
        }
    };
    // As JSON it is written anew: nothing that came over the socket goes to a terminal as it is.
    let bytes = match args.format {
        ExplainFormat::Text => text(&answer).into_bytes(),
        ExplainFormat::Json => answer_to_json(&answer),
    };
    output::to_stdout(|out| out.write_all(&bytes))?;
    if let Some(stop) = stop_of(args.pid) {
        output::say(&stopped(args.pid, stop));
    }
    let error = answer.found.error.as_ref();
    Ok(error.map_or(Exit::Done, |error| Exit::of_code(&error.code)))
}

/// Looks from here.
fn look(args: &ExplainArgs, settings: &Settings) -> Result<ExplainAnswer, ProcessError> {
    let (root, pid) = (ProcRoot::default(), args.pid);
    let failed = |error: ProcfsError| match error {
        ProcfsError::NoProcess { pid } => ProcessError::NotFound { pid },
        ProcfsError::Thread { pid, process } => ProcessError::Thread { pid, process },
        error => ProcessError::Failed {
            pid,
            why: error.to_string(),
        },
    };
    let Owner {
        id: process, users, ..
    } = root.owner(pid).map_err(failed)?;
    let read = Process::attach(&root, pid, Limits::default()).and_then(|mut attached| {
        if attached.id() != process {
            return Err(ProcessError::Gone { pid });
        }
        let snapshot = attached.snapshot()?;
        Ok((attached.tables(), snapshot))
    });
    if let Err(error @ (ProcessError::NotFound { .. } | ProcessError::Gone { .. })) = read {
        return Err(error);
    }
    let access = Access::look(&root, pid, Reader::Agentctl).map_err(failed)?;
    let processes = root.processes().map_err(failed)?;
    let subject = Subject {
        process,
        users: Some(users),
        targets: &settings.targets,
        processes: &processes,
        facts: &root,
    };
    let looker = Looker {
        reader: Reader::Agentctl,
        pid: std::process::id(),
        user: std::fs::metadata("/proc/self").ok().map(|own| own.uid()),
    };
    let watch = Watch {
        now: None,
        unprobed: None,
        is_full: is_left_out(&root, settings, &processes, process),
        processes_max: settings.limits.processes,
        interval: settings.discovery.interval,
    };
    let reading = Reading {
        access: Some(access),
        read,
    };
    let answer = diagnose(looker, subject, watch, &reading);
    match root.owner(pid) {
        Ok(owner) if owner.id == process => Ok(answer),
        _ => Err(ProcessError::Gone { pid }),
    }
}

/// Whether as many others that have run for longer belong to targets as may be watched.
fn is_left_out(
    root: &ProcRoot,
    settings: &Settings,
    processes: &[ProcessId],
    process: ProcessId,
) -> bool {
    let processes_max = usize::try_from(settings.limits.processes).unwrap_or(usize::MAX);
    let older: Vec<_> = processes
        .iter()
        .copied()
        .filter(|it| (it.start, it.pid) < (process.start, process.pid))
        .collect();
    if older.len() < processes_max {
        return false;
    }
    let uses_asyncio = |process| Some(probe(root, process).is_ok());
    let assigned = assign(&settings.targets, &older, None, root, &uses_asyncio);
    assigned.found.len() >= processes_max
}

/// The answer for people.
fn text(answer: &ExplainAnswer) -> String {
    let mut text = String::new();
    head(&mut text, answer);
    watched(&mut text, &answer.watched);
    readable(&mut text, answer);
    found(&mut text, &answer.found);
    line(&mut text, "\nfix");
    if answer.fixes.is_empty() {
        line(&mut text, "  nothing stands in the way");
    }
    for fix in &answer.fixes {
        line(
            &mut text,
            &format!("  {}: {}", shown(&fix.about), shown(&fix.text)),
        );
    }
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{}", line.trim_end()).expect("writing to a String does not fail");
}

fn shown(text: &str) -> String {
    escape_start(text, TEXT_CHARS_MAX).into_owned()
}

fn head(text: &mut String, answer: &ExplainAnswer) {
    let command = answer.command.as_deref().unwrap_or("(no command line)");
    line(text, &format!("process {}: {}", answer.pid, shown(command)));
    if let Some([real, effective, saved]) = answer.users {
        let user = match real == effective && real == saved {
            true => format!("user {real}"),
            false => format!("users {real}, {effective} and {saved} (real, effective and saved)"),
        };
        line(text, &format!("  runs as {user}"));
    }
    let reader = &answer.reader;
    let user = reader.user.map(|user| format!(", user {user}"));
    line(
        text,
        &format!(
            "  looked at by {} (process {}{})",
            shown(&reader.program),
            reader.pid,
            user.unwrap_or_default()
        ),
    );
}

fn watched(text: &mut String, watched: &WatchedAnswer) {
    let state = match &*watched.state {
        "watched" => "yes,",
        "soon" => "not yet:",
        "would_be" => "it would be,",
        "unclear" => "that cannot be found out:",
        _ => "no:",
    };
    line(text, &format!("\nwatched: {state} {}", shown(&watched.why)));
    if let Some(now) = &watched.now {
        let error = match now.error.is_empty() {
            true => String::new(),
            false => format!(" ({})", shown(&now.error)),
        };
        let found = match (now.await_cycles, now.stuck_tasks) {
            (Some(cycles), Some(stuck)) => format!("; {cycles} await cycles, {stuck} stuck tasks"),
            _ => String::new(),
        };
        line(
            text,
            &format!("  latest round: {}{error}{found}", shown(&now.state)),
        );
    }
    for rule in &watched.rules {
        show_rule(text, rule);
    }
}

fn show_rule(text: &mut String, rule: &RuleAnswer) {
    let note = rule.note.as_ref().map(|note| format!(", {}", shown(note)));
    line(
        text,
        &format!(
            "  {}: {}{}",
            shown(&rule.path),
            holds(rule.holds),
            note.unwrap_or_default()
        ),
    );
    for condition in &rule.conditions {
        show_condition(text, condition);
    }
}

fn show_condition(text: &mut String, condition: &ConditionAnswer) {
    let has = match (&condition.found, condition.holds) {
        (Some(found), _) => escape_start(found, FACT_CHARS_MAX).into_owned(),
        (None, None) => "(may not be looked at)".to_owned(),
        (None, Some(_)) => "(nothing)".to_owned(),
    };
    line(
        text,
        &format!(
            "    {:<13} {:<15} wants {}; has {has}",
            shown(&condition.key),
            holds(condition.holds),
            shown(&condition.wanted)
        ),
    );
}

fn holds(holds: Option<bool>) -> &'static str {
    match holds {
        Some(true) => "holds",
        Some(false) => "does not hold",
        None => "not known",
    }
}

fn readable(text: &mut String, answer: &ExplainAnswer) {
    let readable = &answer.readable;
    let state = if readable.is_readable { "yes" } else { "no" };
    line(text, &format!("\nreadable: {state}"));
    for check in &readable.checks {
        let verdict = match &*check.verdict {
            "fine" => "ok",
            "blocks" => "in the way",
            _ => "not known",
        };
        line(
            text,
            &format!(
                "  {:<15} {verdict:<10} {}",
                shown(&check.check),
                shown(&check.finding)
            ),
        );
    }
}

fn found(text: &mut String, found: &FoundAnswer) {
    match (&found.error, &found.python_version) {
        (Some(error), _) => line(
            text,
            &format!(
                "\nfound: nothing ({}): {}",
                shown(&error.code),
                shown(&error.message)
            ),
        ),
        (None, version) => {
            let build = match found.free_threaded {
                Some(true) => ", free-threaded",
                _ => "",
            };
            let version = version.as_deref().unwrap_or("of an unknown version");
            line(text, &format!("\nfound: Python {}{build}", shown(version)));
        }
    }
    if let Some(executable) = &found.executable {
        line(text, &format!("  executable      {}", shown(executable)));
    }
    if found.error.is_some() {
        return;
    }
    for table in &found.tables {
        let at = table
            .address
            .as_ref()
            .map(|at| format!(" at {}", shown(at)));
        let file = table
            .file
            .as_ref()
            .map(|file| format!(" of {}", shown(file)));
        line(
            text,
            &format!(
                "  table           {}{}{}",
                shown(&table.section),
                at.unwrap_or_default(),
                file.unwrap_or_default()
            ),
        );
    }
    line(text, &format!("  event loops     {}", found.loops));
    line(
        text,
        &format!(
            "  tasks           {} in {} threads",
            found.tasks, found.threads
        ),
    );
    let problems = found.problems.iter();
    let problems: Vec<_> = problems
        .map(|(code, n)| format!("{} {n}", shown(code)))
        .collect();
    let complete = match (found.is_complete, &problems[..]) {
        (true, _) => "yes".to_owned(),
        (false, []) => "no".to_owned(),
        (false, problems) => format!("no: {}", problems.join(", ")),
    };
    line(text, &format!("  complete        {complete}"));
}
