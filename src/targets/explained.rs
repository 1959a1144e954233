//! Why a process belongs to a target or to none: every rule, condition by condition, with what each wants and what the
//! process has. Nothing of other processes is told but their ids: whoever asks for one process need not be allowed to
//! see another.

use super::facts::{ReadFacts, container_in, units_in};
use super::matching::{Above, Condition, Look};
use super::{Assignment, IdleRules};
use crate::config::{MatchSettings, Matching, TargetSettings, UserId};
use crate::ids::ProcessId;
use std::collections::BTreeSet;

/// Characters of what is wanted, and of what a process has.
const TEXT_CHARS_MAX: usize = 1_000;
/// Rules without a process that are told.
const IDLE_RULES_MAX: usize = 50;
/// Parts of a list (control groups, units, processes above one another) that are told.
const PARTS_MAX: usize = 8;

/// What the rules say of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Each map of `match`, then of `exclude`, of each target, in the order of the configuration.
    pub rules: Vec<RuleFinding>,
    /// The target that it belongs to.
    pub assignment: Option<Assignment>,
    /// It belongs to none as far as is known, but might if we were allowed to look at it.
    pub is_hidden: bool,
}

/// What became of one map of conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFinding {
    /// Where it stands in the configuration, such as `targets[0].match[1]`.
    pub path: String,
    /// The position of its target.
    pub target: usize,
    /// It is one of `exclude`: a process that meets it does not belong to the target.
    pub excludes: bool,
    /// Whether all its conditions hold. `None`: it cannot be found out.
    pub holds: Option<bool>,
    /// Its conditions.
    pub conditions: Vec<ConditionFinding>,
}

/// What became of one condition. Texts are cut, and data of a configuration or of a process: they may hold anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionFinding {
    /// Its key, such as `command`; `auto` for `match: auto`.
    pub key: &'static str,
    /// What it wants.
    pub wanted: String,
    /// What the process has. `None`: nothing, or it may not be looked at.
    pub found: Option<String>,
    /// Whether it holds. `None`: it cannot be found out.
    pub holds: Option<bool>,
}

/// Says by which rules `process` belongs to which target. `processes` are those among which its parents are looked for.
///
/// `uses_asyncio` is as for [`assign`](super::assign).
pub fn explain_rules(
    targets: &[TargetSettings],
    processes: &[ProcessId],
    process: ProcessId,
    reader: &dyn ReadFacts,
    uses_asyncio: &dyn Fn(ProcessId) -> Option<bool>,
) -> Explained {
    let mut processes = processes.to_vec();
    // The list may have been made before it began.
    processes.retain(|it| it.pid != process.pid);
    processes.push(process);
    let look = Look::new(targets, &processes, reader, uses_asyncio);
    let at = processes.len() - 1;
    let mut rules = Vec::new();
    for (target, settings) in targets.iter().enumerate() {
        match &settings.matches {
            Matching::Auto => rules.push(look.auto_rule(target, at, uses_asyncio)),
            Matching::Any(alternatives) => {
                let alternatives = alternatives.iter().enumerate();
                rules.extend(alternatives.map(|(number, conditions)| {
                    let path = rule_path(targets, target, number);
                    look.rule((path, target, false), conditions, at)
                }));
            }
        }
        let excludes = settings.exclude.iter().enumerate();
        rules.extend(excludes.map(|(number, conditions)| {
            let path = numbered(target, "exclude", number, settings.exclude.len());
            look.rule((path, target, true), conditions, at)
        }));
    }
    let assignment = look.assignment(at);
    Explained {
        rules,
        is_hidden: assignment.is_none(),
        assignment: assignment.flatten(),
    }
}

/// Where the map with the number `alternative` of the `match` of a target stands in the configuration.
pub fn rule_path(targets: &[TargetSettings], target: usize, alternative: usize) -> String {
    match targets.get(target).map(|target| &target.matches) {
        Some(Matching::Any(alternatives)) => {
            numbered(target, "match", alternative, alternatives.len())
        }
        Some(Matching::Auto) if targets.len() == 1 => "auto".to_owned(),
        _ => format!("targets[{target}].match"),
    }
}

/// Rules that no process belongs to, by their paths: of very many the first ones, and how many there are.
///
/// A rule may well have none now. One that never has is mistyped, or stands behind one that takes all of its processes.
pub fn idle_rules(targets: &[TargetSettings], found: &[Assignment]) -> IdleRules {
    let used: BTreeSet<(usize, usize)> =
        found.iter().map(|it| (it.target, it.alternative)).collect();
    let mut idle = IdleRules::default();
    for (target, settings) in targets.iter().enumerate() {
        let n_alternatives = match &settings.matches {
            Matching::Auto => 1,
            Matching::Any(alternatives) => alternatives.len(),
        };
        for alternative in (0..n_alternatives).filter(|it| !used.contains(&(target, *it))) {
            idle.n = idle.n.saturating_add(1);
            if idle.first.len() < IDLE_RULES_MAX {
                idle.first.push(rule_path(targets, target, alternative));
            }
        }
    }
    idle
}

/// A single map need not stand in a list.
fn numbered(target: usize, part: &str, number: usize, count: usize) -> String {
    match count {
        1 => format!("targets[{target}].{part}"),
        _ => format!("targets[{target}].{part}[{number}]"),
    }
}

impl<'l> Look<'l> {
    fn auto_rule(
        &self,
        target: usize,
        at: usize,
        uses_asyncio: &dyn Fn(ProcessId) -> Option<bool>,
    ) -> RuleFinding {
        let holds = self.all[at].uses_asyncio(uses_asyncio);
        let found = match holds {
            Some(true) => Some("it can be read, and does"),
            Some(false) => Some("it does not, or cannot be read"),
            None => None,
        };
        RuleFinding {
            path: rule_path(self.targets, target, 0),
            target,
            excludes: false,
            holds,
            conditions: vec![ConditionFinding {
                key: "auto",
                wanted: "runs a supported Python with asyncio in use".to_owned(),
                found: found.map(str::to_owned),
                holds,
            }],
        }
    }

    fn rule(
        &self,
        (path, target, excludes): (String, usize, bool),
        conditions: &'l MatchSettings,
        at: usize,
    ) -> RuleFinding {
        let findings = Condition::all(conditions).map(|condition| ConditionFinding {
            key: condition.key(),
            wanted: self.wanted(condition),
            found: self.found(condition, at),
            holds: self.holds(condition, at),
        });
        RuleFinding {
            path,
            target,
            excludes,
            holds: self.meets(conditions, at),
            conditions: findings.collect(),
        }
    }

    fn wanted(&self, condition: Condition<'l>) -> String {
        let text = match condition {
            Condition::Pid(pid) => pid.to_string(),
            Condition::Executable(glob)
            | Condition::SystemdUnit(glob)
            | Condition::Cgroup(glob) => glob.as_str().to_owned(),
            Condition::Command(pattern) => pattern.as_str().to_owned(),
            Condition::User(UserId::Number(number)) => number.to_string(),
            Condition::User(user @ UserId::Name(name)) => match self.user_id(user) {
                Some(id) => format!("{id} ({name})"),
                None => format!("{name}, whom this machine does not know"),
            },
            Condition::ContainerId(id) => id.to_owned(),
            Condition::Parent(parent) => {
                let parts = Condition::all(parent)
                    .map(|part| format!("{}: {}", part.key(), self.wanted(part)));
                format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
            }
        };
        text.chars().take(TEXT_CHARS_MAX).collect()
    }

    fn found(&self, condition: Condition<'l>, at: usize) -> Option<String> {
        let (facts, reader) = (&self.all[at], self.reader);
        let cgroups = || facts.cgroups(reader).iter();
        match condition {
            Condition::Pid(_) => Some(facts.process.pid.to_string()),
            Condition::Executable(_) => facts.executable(reader).map(text),
            Condition::Command(_) => facts.command(reader).map(text),
            Condition::User(_) => facts.user(reader).map(|user| user.to_string()),
            Condition::SystemdUnit(_) => {
                listed(cgroups().flat_map(|path| units_in(path)).map(text))
            }
            Condition::Cgroup(_) => listed(cgroups().map(|path| text(path))),
            Condition::ContainerId(_) => {
                listed(cgroups().filter_map(|path| container_in(path)).map(text))
            }
            Condition::Parent(parent) => Some(match self.nearest(parent, at) {
                Above::At(above) if above == at => "the process itself".to_owned(),
                Above::At(above) => format!("process {}", self.all[above].process.pid),
                Above::Unclear => format!("{}, not all of which may be looked at", self.above(at)),
                Above::None | Above::Unknown => format!("none of {}", self.above(at)),
            }),
        }
    }

    /// The process and those above it.
    fn above(&self, at: usize) -> String {
        let mut above = std::iter::successors(Some(at), |at| self.parent(*at));
        let pids = above.by_ref().take(PARTS_MAX);
        let pids: Vec<_> = pids
            .map(|at| self.all[at].process.pid.to_string())
            .collect();
        let more = if above.next().is_some() { ", …" } else { "" };
        format!("processes {}{more}", pids.join(", "))
    }
}

impl Condition<'_> {
    fn key(self) -> &'static str {
        match self {
            Self::Pid(_) => "pid",
            Self::Executable(_) => "executable",
            Self::Command(_) => "command",
            Self::User(_) => "user",
            Self::SystemdUnit(_) => "systemd_unit",
            Self::Cgroup(_) => "cgroup",
            Self::ContainerId(_) => "container_id",
            Self::Parent(_) => "parent",
        }
    }
}

fn text(bytes: &[u8]) -> String {
    // A character has four bytes at most.
    let start = &bytes[..bytes.len().min(TEXT_CHARS_MAX * 4)];
    String::from_utf8_lossy(start)
        .chars()
        .take(TEXT_CHARS_MAX)
        .collect()
}

/// The parts, each once; `None` if there are none.
fn listed(parts: impl Iterator<Item = String>) -> Option<String> {
    let mut different: Vec<String> = Vec::new();
    for part in parts {
        if different.len() > PARTS_MAX {
            break;
        }
        if !different.contains(&part) {
            different.push(part);
        }
    }
    if different.len() > PARTS_MAX {
        different[PARTS_MAX] = "…".to_owned();
    }
    (!different.is_empty()).then(|| different.join(", "))
}
