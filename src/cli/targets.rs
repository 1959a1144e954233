//! `agentctl targets`: which processes a configuration stands for now. What a running agent watches is in `watched`.

use super::args::TargetsArgs;
use super::columns::columns;
use super::config::unusable;
use super::exit::Exit;
use super::explain::{Failure, Stop};
use super::{output, watched};
use crate::config::{self, Matching, Settings, TargetSettings};
use crate::ids::ProcessId;
use crate::process::ProcessError;
use crate::procfs::ProcRoot;
use crate::sanitize::{escape, escape_start};
use crate::targets::{Assignment, ReadFacts, assign, probe, settle_names, unknown_users};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Characters of a command line that are shown.
const COMMAND_CHARS_MAX: usize = 100;
/// Processes for which it is said why they cannot be read.
const REASONS_MAX: usize = 20;

/// What probing the processes gave, each asked once.
type Answers = RefCell<BTreeMap<ProcessId, Result<(), ProcessError>>>;

/// Lists the processes that belong to targets.
pub(super) fn targets(args: &TargetsArgs) -> Result<Exit, Stop> {
    if args.agent.agent.is_some() {
        return watched::targets(&args.agent, args.format);
    }
    let settings = match args.config.as_deref().map(config::load).transpose() {
        Ok(settings) => settings.unwrap_or_else(Settings::default),
        Err(error) => return Ok(unusable(&error)),
    };
    let root = ProcRoot::default();
    let processes = root.processes().map_err(|error| {
        let message = format!("cannot list processes: {error}");
        Stop::Failed(Failure::other(message))
    })?;
    let answers = Answers::default();
    let ask = |process| is_readable(&root, process, &answers);
    let mut found = assign(&settings.targets, &processes, None, &root, &ask);
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
    let table = table(&root, &settings.targets, &found, &answers);
    output::to_stdout(|out| out.write_all(table.as_bytes()))?;
    for user in unknown_users(&settings.targets, &root) {
        output::say(&format!("agentctl: {}\n", escape(&user.to_string())));
    }
    output::say(&remarks(&found, &answers, n_left_out));
    Ok(Exit::Done)
}

/// Whether the process can be read and uses asyncio.
fn is_readable(root: &ProcRoot, process: ProcessId, answers: &Answers) -> bool {
    let known = answers.borrow().get(&process).map(Result::is_ok);
    known.unwrap_or_else(|| {
        let answer = probe(root, process);
        let is_readable = answer.is_ok();
        answers.borrow_mut().insert(process, answer);
        is_readable
    })
}

fn table(
    root: &ProcRoot,
    targets: &[TargetSettings],
    found: &[Assignment],
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
            rule(targets, assignment),
            readable.to_owned(),
            command(root, assignment.process),
        ]
    });
    columns(head, rows)
}

/// The path of the conditions that held.
fn rule(targets: &[TargetSettings], assignment: &Assignment) -> String {
    let Assignment {
        target,
        alternative,
        ..
    } = assignment;
    match targets.get(*target).map(|target| &target.matches) {
        Some(Matching::Any(alternatives)) if alternatives.len() > 1 => {
            format!("targets[{target}].match[{alternative}]")
        }
        Some(Matching::Auto) if targets.len() == 1 => "auto".to_owned(),
        _ => format!("targets[{target}].match"),
    }
}

fn command(root: &ProcRoot, process: ProcessId) -> String {
    let arguments = ReadFacts::command_line(root, process).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
    escape_start(arguments.trim_end(), COMMAND_CHARS_MAX).into_owned()
}

/// What the table does not say.
fn remarks(
    found: &[Assignment],
    answers: &BTreeMap<ProcessId, Result<(), ProcessError>>,
    n_left_out: usize,
) -> String {
    let mut remarks = String::new();
    let mut say = |text: &str| {
        let text = escape_start(text, 1_000);
        writeln!(remarks, "agentctl: {text}").expect("writing to a String does not fail");
    };
    if found.is_empty() {
        say("no process matches");
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
    let is_denied =
        |answer: &&Result<(), ProcessError>| matches!(answer, Err(ProcessError::Denied { .. }));
    let n_denied_listed = found
        .iter()
        .filter_map(|it| answers.get(&it.process))
        .filter(is_denied)
        .count();
    let n_denied = answers.values().filter(is_denied).count() - n_denied_listed;
    if n_denied > 0 {
        let plural = if n_denied == 1 { "" } else { "es" };
        say(&format!(
            "{n_denied} process{plural} may not be read by this user; what of that uses asyncio is not \
             listed"
        ));
    }
    if n_left_out > 0 {
        say(&format!(
            "{n_left_out} more processes match than limits.processes allows"
        ));
    }
    remarks
}
