//! Whether a process is watched, why, and what to do if it should be.

use super::{Looker, Reading, Subject, fix};
use crate::process::Reader;
use crate::protocol::{ConditionAnswer, FixAnswer, ProcessAnswer, RuleAnswer, WatchedAnswer};
use crate::targets::{Explained, RuleFinding, program_name, units_of};
use std::time::Duration;

/// Rules that hold but for one condition, of which it is said which one that is.
const MISSES_MAX: usize = 3;

/// What gives the agent more threads.
pub const MORE_THREADS: &str = "give the agent more threads: TasksMax= of its unit, the limit of pids of its container, or its \
                                user's (ulimit -u)";

/// Why a process could not be asked whether it uses asyncio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unprobed {
    /// That hangs, or too many others do.
    Hangs,
    /// The system gives the agent no more threads.
    NoThread,
}

/// What is known of how processes are watched.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// What the agent knows of this process, and by which name of a target; `None` if it does not watch it, or no agent
    /// was asked.
    pub now: Option<(String, ProcessAnswer)>,
    /// As many others are watched, or would be, as may be.
    pub is_full: bool,
    /// Why the agent could not ask it whether it uses asyncio, if it could not.
    pub unprobed: Option<Unprobed>,
    /// How many processes that is (`limits.processes`).
    pub processes_max: u32,
    /// Time between two looks at the list of processes.
    pub interval: Duration,
}

/// Whether it is watched.
pub(super) fn watched(
    looker: Looker,
    subject: Subject<'_>,
    watch: Watch,
    explained: Explained,
) -> WatchedAnswer {
    let Explained {
        rules, assignment, ..
    } = &explained;
    let rule = assignment.as_ref().and_then(|assignment| {
        let mut decided = rules
            .iter()
            .filter(|rule| rule.target == assignment.target && !rule.excludes);
        Some(decided.nth(assignment.alternative)?.path.clone())
    });
    let (state, why) = state(looker, subject, &watch, &explained, rule.as_deref());
    let target = assignment.as_ref().map(|it| it.name.clone());
    let (now_target, now) = watch.now.unzip();
    let rules = rules
        .iter()
        .map(|it| rule_answer(it, &explained, rule.as_deref()));
    WatchedAnswer {
        state: state.into(),
        why,
        rules: rules.collect(),
        target: now_target.or(target),
        rule,
        now,
    }
}

fn state(
    looker: Looker,
    subject: Subject<'_>,
    watch: &Watch,
    explained: &Explained,
    rule: Option<&str>,
) -> (&'static str, String) {
    let is_agent = looker.reader == Reader::Agent;
    let is_itself = u32::try_from(subject.process.pid.as_raw()) == Ok(looker.pid);
    let rule = rule.unwrap_or("its rule");
    let name = explained.assignment.as_ref().map(|it| it.name.as_str());
    match (&watch.now, name) {
        (Some((target, _)), Some(_)) => ("watched", format!("as {target:?}, by {rule}")),
        (Some((target, _)), None) => (
            "watched",
            format!(
                "as {target:?}, until the next look at the processes: it or the configuration has changed, and no rule \
                 holds any more"
            ),
        ),
        (None, _) if watch.unprobed == Some(Unprobed::NoThread) => (
            "unclear",
            "the agent could not ask it whether it uses asyncio: it can start no more threads; it is asked again".to_owned(),
        ),
        (None, _) if watch.unprobed == Some(Unprobed::Hangs) => (
            "unclear",
            "the agent could not ask it whether it uses asyncio: that hangs, or does for other processes of the same user; \
             it is asked again"
                .to_owned(),
        ),
        (None, _) if is_agent && is_itself => (
            "left_out",
            "it is the agent, which never watches itself".to_owned(),
        ),
        (None, Some(name)) if watch.is_full => (
            "left_out",
            format!(
                "it belongs to {name:?} by {rule}, but as many others are watched as limits.processes allows ({})",
                watch.processes_max
            ),
        ),
        (None, Some(name)) if is_agent => (
            "soon",
            format!(
                "as {name:?}, by {rule}, from the next look at the processes on (every {:?})",
                watch.interval
            ),
        ),
        (None, Some(name)) => ("would_be", format!("as {name:?}, by {rule}")),
        (None, None) if explained.is_hidden => (
            "unclear",
            "a rule depends on what may not be looked at: permission denied".to_owned(),
        ),
        (None, None) if subject.targets.is_empty() => {
            ("no", "no targets are configured".to_owned())
        }
        (None, None) => match excluded(explained) {
            Some((holds, excludes)) => {
                let why = format!("{} holds, but {} leaves it out", holds.path, excludes.path);
                ("no", why)
            }
            None => ("no", "no rule holds".to_owned()),
        },
    }
}

/// A rule that holds, and the one that leaves the process out all the same.
fn excluded(explained: &Explained) -> Option<(&RuleFinding, &RuleFinding)> {
    let holds = |excludes| {
        let rules = explained.rules.iter();
        rules.filter(move |rule| rule.excludes == excludes && rule.holds == Some(true))
    };
    holds(false).find_map(|rule| Some((rule, holds(true).find(|it| it.target == rule.target)?)))
}

fn rule_answer(rule: &RuleFinding, explained: &Explained, decides: Option<&str>) -> RuleAnswer {
    let taken = explained.assignment.as_ref().map(|it| it.target);
    let is_excluded = || {
        let mut rules = explained.rules.iter();
        rules.any(|it| it.excludes && it.target == rule.target && it.holds == Some(true))
    };
    let note = match rule.holds {
        Some(true) if rule.excludes => Some("leaves it out of this target".to_owned()),
        Some(true) if decides == Some(rule.path.as_str()) => Some("decides".to_owned()),
        Some(true) if is_excluded() => Some("an exclude of its target leaves it out".to_owned()),
        Some(true) if taken.is_some_and(|taken| taken < rule.target) => {
            Some("an earlier target has it".to_owned())
        }
        Some(true) => Some("an earlier map of the same target decides".to_owned()),
        Some(false) | None => None,
    };
    let conditions = rule.conditions.iter().map(|condition| ConditionAnswer {
        key: condition.key.into(),
        wanted: condition.wanted.clone(),
        found: condition.found.clone(),
        holds: condition.holds,
    });
    RuleAnswer {
        path: rule.path.clone(),
        holds: rule.holds,
        note,
        conditions: conditions.collect(),
    }
}

/// What to do if it should be watched.
pub(super) fn fixes(
    reader: Reader,
    subject: Subject<'_>,
    watch: &Watch,
    explained: &Explained,
    reading: &Reading,
) -> Vec<FixAnswer> {
    if watch.now.is_none() && watch.unprobed == Some(Unprobed::NoThread) {
        return vec![fix("watched", MORE_THREADS.to_owned())];
    }
    if watch.now.is_some() || watch.unprobed.is_some() || explained.is_hidden {
        return Vec::new();
    }
    if explained.assignment.is_some() {
        let text = format!("raise limits.processes, which is {}", watch.processes_max);
        return watch
            .is_full
            .then(|| fix("watched", text))
            .into_iter()
            .collect();
    }
    if let Some((_, excludes)) = excluded(explained) {
        let text = format!("if it is to be watched, change {}", excludes.path);
        return vec![fix("watched", text)];
    }
    // What is no Python with asyncio is not to be watched, whatever the rules say.
    if matches!(&reading.read, Err(error) if !error.is_refusal()) {
        return Vec::new();
    }
    let mut fixes: Vec<_> = near_misses(explained).take(MISSES_MAX).collect();
    if fixes.is_empty() {
        fixes.push(a_target_for(subject, reader));
    }
    fixes.into_iter().map(|text| fix("watched", text)).collect()
}

/// Rules of which all conditions but one hold.
fn near_misses(explained: &Explained) -> impl Iterator<Item = String> {
    let rules = explained.rules.iter().filter(|rule| !rule.excludes);
    rules.filter_map(|rule| {
        let mut missing = rule.conditions.iter().filter(|it| it.holds != Some(true));
        let (condition, None) = (missing.next()?, missing.next()) else {
            return None;
        };
        // `auto` is nothing that could be changed.
        (condition.holds == Some(false) && condition.key != "auto").then(|| {
            let has = condition.found.as_deref().unwrap_or("nothing");
            let (path, key, wanted) = (&rule.path, condition.key, &condition.wanted);
            format!(
                "if {path} is to hold, change {key}: it wants {wanted}, and the process has {has}"
            )
        })
    })
}

/// A target that would have it.
fn a_target_for(subject: Subject<'_>, reader: Reader) -> String {
    let Subject { process, facts, .. } = subject;
    let cgroups = facts.cgroups(process).unwrap_or_default();
    let is_plain = |text: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
        !text.is_empty() && text.chars().all(is_plain)
    };
    // A user's own service manager is one of everything that the user runs.
    let is_its = |unit: &&str| unit.ends_with(".service") && !unit.starts_with("user@");
    let unit = units_of(&cgroups).filter(is_its).last();
    let unit = unit.filter(|unit| is_plain(unit));
    let program = facts
        .command_line(process)
        .and_then(|line| program_name(&line));
    let program = program.filter(|program| is_plain(program));
    let target = match (unit, program) {
        (Some(unit), _) => format!("{{name: '{unit}', match: {{systemd_unit: '{unit}'}}}}"),
        (None, Some(program)) => {
            let pattern = program.replace('.', r"\.");
            format!("{{name: '{program}', match: {{command: '{pattern}'}}}}")
        }
        (None, None) => "{match: auto}".to_owned(),
    };
    let whose = match reader {
        Reader::Agent => "the agent's configuration",
        Reader::Agentctl => "the configuration",
    };
    format!("if it is to be watched, add a target to {whose}, such as - {target}")
}
