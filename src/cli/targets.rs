//! `agentctl targets`: what the running agent watches (in `watched`), or without one which processes a configuration stands
//! for now.

use super::agent::Agent;
use super::args::{AnswerFormat, TargetsArgs};
use super::columns::columns;
use super::config::{rules_of, unusable};
use super::exit::Exit;
use super::explain::{Failure, Stop, permission_hints};
use super::{output, watched};
use crate::config::TargetSettings;
use crate::ids::{Pid, ProcessId};
use crate::process::ProcessError;
use crate::procfs::ProcRoot;
use crate::sanitize::{escape, escape_start};
use crate::targets::{
    Assigned, Assignment, IdleRules, ReadFacts, assign, idle_rules, probe, rule_path, settle_names,
    unknown_users, unseen_cgroup,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use terminal_size::terminal_size_of;

/// Processes for which it is said why they cannot be read.
const REASONS_MAX: usize = 20;

/// What probing the processes gave, each asked once.
type Answers = RefCell<BTreeMap<ProcessId, Result<(), ProcessError>>>;

/// Lists the processes that belong to targets.
pub(super) fn targets(args: &TargetsArgs) -> Result<Exit, Stop> {
    let is_direct = args.direct || args.all || args.config.is_some();
    let agent = match args.format {
        // Nobody else tells it in this form.
        AnswerFormat::Json => Some(Agent::reach(&args.agent)?),
        AnswerFormat::Text => Agent::find(&args.agent, is_direct)?,
    };
    if let Some(agent) = agent {
        return watched::targets(agent, args.format);
    }
    let settings = match rules_of(args.config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => return Ok(unusable(&error)),
    };
    let root = ProcRoot::default();
    let processes = root.processes().map_err(|error| {
        let message = format!("cannot list processes: {error}");
        Stop::Failed(Failure::other(message))
    })?;
    let answers = Answers::default();
    let ask = |process| is_readable(&root, process, &answers);
    let Assigned { mut found, hidden } = assign(&settings.targets, &processes, None, &root, &ask);
    let limit = |limit| usize::try_from(limit).unwrap_or(usize::MAX);
    let processes_max = limit(settings.limits.processes);
    let n_left_out = found.len().saturating_sub(processes_max);
    found.truncate(processes_max);
    let names_max = limit(settings.limits.target_names);
    settle_names(&mut found, &settings.targets, names_max, &[].into());
    found.sort_by(|a, b| (a.target, &a.name, a.process).cmp(&(b.target, &b.name, b.process)));
    for assignment in &found {
        ask(assignment.process);
    }
    let answers = answers.into_inner();
    let listed: &[ProcessId] = if args.all { &hidden } else { &[] };
    let mut table = table(&root, &settings.targets, (&found, listed), &answers);
    if let Some(width) = terminal_width().filter(|_| !args.wide) {
        table = cut_lines(&table, width);
    }
    output::to_stdout(|out| out.write_all(table.as_bytes()))?;
    for user in unknown_users(&settings.targets, &root) {
        output::say(&format!("agentctl: {}\n", escape(&user.to_string())));
    }
    if let Some(cgroup) = unseen_cgroup(&settings.targets, &root) {
        output::say(&format!("agentctl: {cgroup}\n"));
    }
    let idle = idle_rules(&settings.targets, &found);
    output::say(&remarks(&found, &answers, n_left_out, &idle));
    if let Some(example) = hidden.last() {
        output::say(&about_hidden(hidden.len(), example.pid, args.all));
    }
    Ok(Exit::Done)
}

/// Whether the process can be read and uses asyncio; `None` if it may not be looked at. A kernel thread may not either,
/// but it has no command line.
fn is_readable(root: &ProcRoot, process: ProcessId, answers: &Answers) -> Option<bool> {
    let mut answers = answers.borrow_mut();
    let answer = answers
        .entry(process)
        .or_insert_with(|| probe(root, process));
    match answer {
        Err(error) if error.is_refusal() => {
            ReadFacts::command_line(root, process).map_or(Some(false), |_| None)
        }
        answer => Some(answer.is_ok()),
    }
}

/// What to say about processes of which it cannot be found out whether they belong to a target.
fn about_hidden(n: usize, example: Pid, are_listed: bool) -> String {
    let (plural, they) = if n == 1 {
        ("", "it belongs")
    } else {
        ("es", "they belong")
    };
    let list = if are_listed { "" } else { "; --all lists them" };
    let failure = Failure {
        hints: permission_hints(example),
        ..Failure::other(format!(
            "{n} process{plural} could not be looked at, so whether {they} to a target is not known: permission \
             denied{list}"
        ))
    };
    failure.to_string()
}

/// How many characters a line of the terminal has that we write to. `None`: it is none, or that is not known.
fn terminal_width() -> Option<usize> {
    let (width, _) = terminal_size_of(io::stdout())?;
    Some(width.0.into()).filter(|width| *width > 0)
}

/// Lines of `width` characters at most.
fn cut_lines(table: &str, width: usize) -> String {
    let lines = table
        .lines()
        .map(|line| match line.char_indices().nth(width) {
            None => format!("{line}\n"),
            Some(_) => {
                let start: String = line.chars().take(width.saturating_sub(1)).collect();
                format!("{start}…\n")
            }
        });
    lines.collect()
}

fn table(
    root: &ProcRoot,
    targets: &[TargetSettings],
    (found, hidden): (&[Assignment], &[ProcessId]),
    answers: &BTreeMap<ProcessId, Result<(), ProcessError>>,
) -> String {
    let head = ["TARGET", "PID", "RULE", "READABLE", "COMMAND"];
    let rows = found.iter().map(|assignment| {
        let answer = answers.get(&assignment.process);
        let readable = match answer {
            Some(Err(error)) => error.code(),
            _ => "yes",
        };
        [
            escape_start(&assignment.name, usize::MAX).into_owned(),
            assignment.process.pid.to_string(),
            rule_path(targets, assignment.target, assignment.alternative),
            readable.to_owned(),
            command(root, assignment.process),
        ]
    });
    let hidden = hidden.iter().map(|process| {
        [
            "?".to_owned(),
            process.pid.to_string(),
            "?".to_owned(),
            "permission_denied".to_owned(),
            command(root, *process),
        ]
    });
    columns(head, rows.chain(hidden))
}

fn command(root: &ProcRoot, process: ProcessId) -> String {
    let arguments = ReadFacts::command_line(root, process).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
    escape(arguments.trim_end()).into_owned()
}

/// What the table does not say.
fn remarks(
    found: &[Assignment],
    answers: &BTreeMap<ProcessId, Result<(), ProcessError>>,
    n_left_out: usize,
    idle: &IdleRules,
) -> String {
    let mut remarks = String::new();
    let mut say = |text: &str| {
        let text = escape_start(text, 1_000);
        writeln!(remarks, "agentctl: {text}").expect("writing to a String does not fail");
    };
    if found.is_empty() {
        say("no process matches");
    } else if idle.n > 0 {
        say(&format!(
            "no process belongs to {} now{}",
            idle.first.join(", "),
            match idle.n.saturating_sub(idle.first.len()) {
                0 => String::new(),
                n => format!(", and to {n} rules more"),
            }
        ));
    }
    let listed = found
        .iter()
        .filter_map(|it| answers.get(&it.process)?.as_ref().err());
    for error in listed.clone().take(REASONS_MAX) {
        say(&error.to_string());
    }
    let n_more = listed.count().saturating_sub(REASONS_MAX);
    if n_more > 0 {
        say(&format!("{n_more} more cannot be read"));
    }
    if n_left_out > 0 {
        say(&format!(
            "{n_left_out} more processes match than limits.processes allows"
        ));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_the_terminal_does() {
        assert_eq!(cut_lines("äbc\nabcd\n\n", 3), "äbc\nab…\n\n");
    }

    #[test]
    fn hidden_processes_are_told_with_what_helps() {
        let own = Pid::new(i32::try_from(std::process::id()).expect("a pid")).expect("a pid");
        let told = about_hidden(2, own, false);
        assert!(told.starts_with(
            "agentctl: 2 processes could not be looked at, so whether they belong to a target is not known: \
             permission denied; --all lists them\n"
        ));
        assert!(!about_hidden(1, own, true).contains("--all"));
    }
}
