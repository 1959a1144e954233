//! `agentctl findings` and `agentctl targets --agent`: what the running agent watches and has found.

use super::agent::{Agent, bad_answer, known_to_agent_only};
use super::args::{AnswerFormat, FindingsArgs};
use super::columns::columns;
use super::exit::Exit;
use super::explain::{Failure, Stop};
use super::output;
use crate::protocol::{
    FindingAnswer, FindingTaskAnswer, FindingsAnswer, ProcessAnswer, ProgressAnswer, Request,
    TargetsAnswer, answer_from_json, answer_to_json,
};
use crate::sanitize::escape_start;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

/// Characters of a name, of a path of tasks, and of a reason that are shown.
const TEXT_CHARS_MAX: usize = 1_000;

/// Why nobody else can be asked for findings.
const ONLY_AN_AGENT: &str =
    "findings are known only to a running agent, which looks at processes again and again";

/// `agentctl findings`.
pub(super) fn findings(args: &FindingsArgs) -> Result<Exit, Stop> {
    if args.direct {
        return Err(Stop::Failed(Failure {
            exit: Exit::Usage,
            message: format!("--direct cannot be used: {ONLY_AN_AGENT}"),
            hints: vec!["'agentctl pstree --direct PID' shows a process as it is now".to_owned()],
        }));
    }
    let agent = Agent::reach(&args.agent);
    let agent = agent.map_err(|stop| known_to_agent_only(stop, ONLY_AN_AGENT))?;
    let answer = ask(agent, Request::Findings, answer_from_json);
    let answer: FindingsAnswer = answer.map_err(|stop| known_to_agent_only(stop, ONLY_AN_AGENT))?;
    let has_cycle = answer.findings.iter().any(|it| it.kind == "await_cycle");
    let json = || answer_to_json(&answer);
    show(args.format, json, || {
        let rows = alike(&answer.findings).into_iter().map(|(finding, n)| {
            let more = match n {
                1 => String::new(),
                n => format!(", and {} more at the same place", n - 1),
            };
            [
                shown(&finding.target),
                finding.pid.to_string(),
                shown(&finding.kind),
                age(finding.age_seconds),
                format!("{}{more}", shown(&finding.path)),
            ]
        });
        let head = ["TARGET", "PID", "KIND", "AGE", "TASKS"];
        columns(head, rows)
    })?;
    note_progress(&answer.progress);
    if args.format == AnswerFormat::Text && answer.progress.ready && answer.findings.is_empty() {
        output::say(
            "agentctl: nothing was found in the processes that are watched and may be asked for\n",
        );
    }
    let n_more = answer.omitted.iter().map(|it| it.count);
    let n_more = n_more.fold(0, u64::saturating_add);
    if args.format == AnswerFormat::Text && n_more > 0 {
        let n_processes = answer.omitted.len();
        let plural = if n_processes == 1 { "" } else { "es" };
        output::say(&format!(
            "agentctl: {n_more} more, of {n_processes} process{plural} with very many, not shown\n"
        ));
    }
    Ok(if has_cycle {
        Exit::CycleFound
    } else {
        Exit::Done
    })
}

/// Findings that differ in their tasks only, as when one function leaks, are one: the oldest, and how many there are.
fn alike(findings: &[FindingAnswer]) -> Vec<(&FindingAnswer, usize)> {
    let mut groups: Vec<(&FindingAnswer, usize)> = Vec::new();
    let mut known: BTreeMap<_, usize> = BTreeMap::new();
    for finding in findings {
        let place = |task: &FindingTaskAnswer| {
            let frames = task.coroutine_stack.iter();
            let frames = frames.map(|it| (it.funcname.clone(), it.filename.clone(), it.lineno));
            (task.coroutine.clone(), frames.collect::<Vec<_>>())
        };
        let places: Vec<_> = finding.tasks.iter().map(place).collect();
        let group = (&finding.target, finding.pid, &finding.kind, places);
        match known.entry(group) {
            Entry::Vacant(new) => {
                new.insert(groups.len());
                groups.push((finding, 1));
            }
            Entry::Occupied(at) => {
                let (oldest, n) = &mut groups[*at.get()];
                *n += 1;
                if finding.age_seconds > oldest.age_seconds {
                    *oldest = finding;
                }
            }
        }
    }
    groups
}

/// `agentctl targets --agent`.
pub(super) fn targets(agent: Agent, format: AnswerFormat) -> Result<Exit, Stop> {
    let answer: TargetsAnswer = ask(agent, Request::Targets, answer_from_json)?;
    let json = || answer_to_json(&answer);
    show(format, json, || {
        let rows = answer.targets.iter().flat_map(|target| {
            let name = shown(&target.name);
            let none = target.processes.is_empty().then(|| row(&name, None));
            let all = target.processes.iter().map(move |it| row(&name, Some(it)));
            none.into_iter().chain(all.collect::<Vec<_>>())
        });
        let head = [
            "TARGET", "PID", "STATE", "TASKS", "CYCLES", "STUCK", "PYTHON", "ERROR",
        ];
        columns(head, rows)
    })?;
    note_progress(&answer.progress);
    if format == AnswerFormat::Text && answer.progress.ready && answer.targets.is_empty() {
        output::say("agentctl: nothing is watched that this user may ask for\n");
    }
    let n = answer.hidden_processes;
    if format == AnswerFormat::Text && n > 0 {
        let plural = if n == 1 { "" } else { "es" };
        output::say(&format!(
            "agentctl: the agent may not look at {n} process{plural}, so whether they belong to a target is not known; \
             its log says what it needs\n"
        ));
    }
    Ok(Exit::Done)
}

/// Says so if what is missing may be there all the same, in whatever form the answer is: it is no all-clear.
fn note_progress(progress: &ProgressAnswer) {
    if let Some(advice) = &progress.lacks {
        output::say(&format!(
            "agentctl: the agent cannot read processes of all users: {}\n",
            shown(advice)
        ));
    }
    let n = progress.left_out_processes;
    if n > 0 {
        let (plural, are) = if n == 1 { ("", "is") } else { ("es", "are") };
        output::say(&format!(
            "agentctl: {n} process{plural} more than limits.processes allows {are} not watched; 'agentctl explain PID' says of one \
             whether it is one of them\n"
        ));
    }
    if progress.ready {
        return;
    }
    let since = match progress.running_seconds {
        Some(seconds) => format!("has started {} ago and ", age(seconds)),
        None => String::new(),
    };
    output::say(&format!(
        "agentctl: the agent {since}has not yet looked at all processes: ask again\n"
    ));
}

fn row(target: &str, process: Option<&ProcessAnswer>) -> [String; 8] {
    let Some(process) = process else {
        return [
            target,
            "-",
            "-",
            "-",
            "-",
            "-",
            "-",
            "no process is watched",
        ]
        .map(str::to_owned);
    };
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    [
        target.to_owned(),
        process.pid.to_string(),
        shown(&process.state),
        number(process.pending_tasks),
        number(process.await_cycles),
        number(process.stuck_tasks),
        shown(process.python_version.as_deref().unwrap_or("-")),
        shown(&process.error),
    ]
}

fn ask<T, E: fmt::Display>(
    agent: Agent,
    request: Request,
    read: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<T, Stop> {
    let path = agent.path().to_owned();
    agent.note_elsewhere();
    let json = agent.ask(request)?;
    read(&json).map_err(|error| bad_answer(&path, &error.to_string()))
}

/// Prints an answer. As JSON it is written anew: nothing that came over the socket goes to a terminal as it is.
fn show(
    format: AnswerFormat,
    json: impl FnOnce() -> Vec<u8>,
    text: impl FnOnce() -> String,
) -> Result<(), Stop> {
    let bytes = match format {
        AnswerFormat::Text => text().into_bytes(),
        AnswerFormat::Json => json(),
    };
    output::to_stdout(|out| out.write_all(&bytes))
}

fn shown(text: &str) -> String {
    escape_start(text, TEXT_CHARS_MAX).into_owned()
}

/// Seconds as people say them.
fn age(seconds: f64) -> String {
    let minutes = (seconds / 60.0).floor();
    let hours = (minutes / 60.0).floor();
    match seconds {
        _ if seconds < 60.0 => format!("{seconds:.0}s"),
        _ if minutes < 60.0 => format!("{minutes}m{:.0}s", (seconds % 60.0).floor()),
        _ if hours < 48.0 => format!("{hours}h{}m", minutes % 60.0),
        _ => format!("{}d{}h", (hours / 24.0).floor(), hours % 24.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::FindingFrameAnswer;

    #[test]
    fn ages_are_short() {
        let ages = [0.2, 59.0, 61.9, 3_600.0, 7_290.0, 200_000.0].map(age);
        assert_eq!(ages, ["0s", "59s", "1m1s", "1h0m", "2h1m", "2d7h"]);
    }

    #[test]
    fn findings_of_one_place_are_one_row() {
        let finding = |pid, line, age_seconds| FindingAnswer {
            target: "web".to_owned(),
            pid,
            kind: "stuck_task".into(),
            fingerprint: String::new(),
            first_seen: 0.0,
            age_seconds,
            path: format!("task {age_seconds}"),
            trace_id: None,
            tasks: vec![FindingTaskAnswer {
                task_id: format!("{age_seconds}"),
                task_name: format!("task {age_seconds}"),
                coroutine: "leak".to_owned(),
                coroutine_stack: vec![FindingFrameAnswer {
                    funcname: "leak".to_owned(),
                    filename: "app.py".to_owned(),
                    lineno: Some(line),
                }],
            }],
            tasks_omitted: 0,
        };
        let findings = [
            finding(7, 3, 10.0),
            finding(7, 4, 20.0),
            finding(7, 3, 30.0),
            finding(8, 3, 40.0),
            finding(7, 3, 20.0),
        ];
        let groups = alike(&findings).into_iter();
        let groups: Vec<_> = groups.map(|(it, n)| (it.age_seconds, n)).collect();
        assert_eq!(groups, [(30.0, 3), (20.0, 1), (40.0, 1)]);
    }
}
