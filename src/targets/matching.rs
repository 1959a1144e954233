//! The rules: which conditions hold for a process, and so which target it belongs to.

use super::Assignment;
use super::facts::{Facts, ReadFacts, container_in, positions, units_in};
use super::program::program_name;
use crate::config::{
    CommandPattern, Glob, MatchSettings, Matching, NameTemplate, TargetName, TargetSettings, UserId,
};
use crate::ids::{Pid, ProcessId};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

/// Processes above one another that are looked at for the name of a worker.
const NAMED_ABOVE_MAX: usize = 8;

/// Says which target each of the processes belongs to, those left out that belong to none. The process
/// with the id `own` is left out too. What has run for longest comes first.
///
/// `uses_asyncio` says whether a process can be read and runs a supported Python with asyncio in use. As
/// that takes reading its memory, it is asked for `match: auto` only.
pub fn assign(
    targets: &[TargetSettings],
    processes: &[ProcessId],
    own: Option<Pid>,
    reader: &dyn ReadFacts,
    uses_asyncio: &dyn Fn(ProcessId) -> bool,
) -> Vec<Assignment> {
    let mut processes: Vec<_> = processes.to_vec();
    processes.sort_unstable_by_key(|process| (process.start, process.pid));
    let look = Look::new(targets, &processes, reader, uses_asyncio);
    let others = (0..processes.len()).filter(|at| Some(processes[*at].pid) != own);
    others.filter_map(|at| look.assignment(at)).collect()
}

/// One look at all processes.
struct Look<'l> {
    targets: &'l [TargetSettings],
    reader: &'l dyn ReadFacts,
    uses_asyncio: &'l dyn Fn(ProcessId) -> bool,
    all: Vec<Facts>,
    positions: HashMap<Pid, usize>,
    /// For each condition on parents that was asked for (its address is its identity), and each process: the nearest process, itself or
    /// above it, that meets it.
    above: RefCell<HashMap<*const MatchSettings, Vec<Above>>>,
    /// The ids of user names.
    users: RefCell<HashMap<&'l str, Option<u32>>>,
    parents: Vec<OnceCell<Option<usize>>>,
}

/// The nearest process that meets a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    Unknown,
    None,
    At(usize),
}

impl<'l> Look<'l> {
    fn new(
        targets: &'l [TargetSettings],
        processes: &[ProcessId],
        reader: &'l dyn ReadFacts,
        uses_asyncio: &'l dyn Fn(ProcessId) -> bool,
    ) -> Self {
        let all: Vec<_> = processes.iter().copied().map(Facts::new).collect();
        Self {
            targets,
            reader,
            uses_asyncio,
            positions: positions(&all),
            parents: all.iter().map(|_| OnceCell::new()).collect(),
            all,
            above: RefCell::default(),
            users: RefCell::default(),
        }
    }

    /// The target of the process at this position.
    fn assignment(&self, at: usize) -> Option<Assignment> {
        let targets = self.targets.iter().enumerate();
        targets.into_iter().find_map(|(number, target)| {
            let alternative = self.alternative(&target.matches, at)?;
            let is_excluded = target.exclude.iter().any(|exclude| self.meets(exclude, at));
            (!is_excluded).then(|| Assignment {
                process: self.all[at].process,
                target: number,
                alternative,
                name: self.name(target, alternative, at),
            })
        })
    }

    /// Which of the alternatives the process meets first.
    fn alternative(&self, matches: &'l Matching, at: usize) -> Option<usize> {
        match matches {
            Matching::Auto => self.all[at].uses_asyncio(self.uses_asyncio).then_some(0),
            Matching::Any(alternatives) => alternatives.iter().position(|it| self.meets(it, at)),
        }
    }

    /// Whether all conditions that are given hold. Those that need nothing read come first.
    fn meets(&self, conditions: &'l MatchSettings, at: usize) -> bool {
        let facts = &self.all[at];
        let reader = self.reader;
        let MatchSettings {
            executable,
            command,
            user,
            systemd_unit,
            cgroup,
            container_id,
            parent,
            pid,
        } = conditions;
        let is_executable = |glob: &Glob| {
            let path = facts.executable(reader);
            path.is_some_and(|path| matches_path(glob, path))
        };
        let is_command = |pattern: &CommandPattern| {
            // A kernel thread has no command line, not one that the pattern `.*` matches.
            let command = facts.command(reader);
            command.is_some_and(|command| pattern.is_match(command))
        };
        let is_user = |user: &'l UserId| {
            let wanted = self.user_id(user);
            wanted.is_some() && facts.user(reader) == wanted
        };
        let is_unit = |glob: &Glob| {
            let mut units = facts.cgroups(reader).iter().flat_map(|path| units_in(path));
            units.any(|unit| glob.is_match(unit))
        };
        let is_cgroup = |glob: &Glob| {
            let mut paths = facts.cgroups(reader).iter();
            paths.any(|path| glob.is_match(path))
        };
        let is_container = |id: &String| {
            let mut ids = facts
                .cgroups(reader)
                .iter()
                .filter_map(|path| container_in(path));
            ids.any(|found| found.starts_with(id.as_bytes()))
        };
        pid.is_none_or(|pid| pid == facts.process.pid)
            && executable.as_ref().is_none_or(is_executable)
            && command.as_ref().is_none_or(is_command)
            && user.as_ref().is_none_or(is_user)
            && systemd_unit.as_ref().is_none_or(is_unit)
            && cgroup.as_ref().is_none_or(is_cgroup)
            && container_id.as_ref().is_none_or(is_container)
            && parent
                .as_deref()
                .is_none_or(|it| self.nearest(it, at).is_some())
    }

    fn user_id(&self, user: &'l UserId) -> Option<u32> {
        match user {
            UserId::Number(number) => Some(*number),
            UserId::Name(name) => {
                let mut users = self.users.borrow_mut();
                let id = users
                    .entry(name)
                    .or_insert_with(|| self.reader.user_id(name));
                *id
            }
        }
    }

    /// The position of the nearest process, itself or above it, that meets these conditions. Each process
    /// is asked once, so a long line of processes takes no longer than many short ones.
    fn nearest(&self, conditions: &'l MatchSettings, at: usize) -> Option<usize> {
        let key: *const MatchSettings = conditions;
        let known = self.above.borrow_mut().remove(&key);
        let mut known = known.unwrap_or_else(|| vec![Above::Unknown; self.all.len()]);
        let mut asked = Vec::new();
        let mut next = Some(at);
        let mut found = Above::None;
        while let Some(at) = next {
            if known[at] != Above::Unknown {
                found = known[at];
                break;
            }
            // Marked as seen: whatever is said about parents, this comes to an end.
            known[at] = Above::None;
            asked.push(at);
            if self.meets(conditions, at) {
                found = Above::At(at);
                break;
            }
            next = self.parent(at);
        }
        for at in asked {
            known[at] = found;
        }
        self.above.borrow_mut().insert(key, known);
        match found {
            Above::At(at) => Some(at),
            _ => None,
        }
    }

    /// The position of the parent. A process that is younger than its child is none: it has the id of one
    /// that has ended.
    fn parent(&self, at: usize) -> Option<usize> {
        let find = || {
            let parent = self.all[at].parent(self.reader)?;
            let parent = *self.positions.get(&parent)?;
            let is_older = self.all[parent].process.start <= self.all[at].process.start;
            (is_older && parent != at).then_some(parent)
        };
        *self.parents[at].get_or_init(find)
    }

    fn name(&self, target: &'l TargetSettings, alternative: usize, at: usize) -> String {
        let template = match &target.name {
            TargetName::Program => return self.program(at),
            TargetName::Text(template) => template,
        };
        match (template.as_fixed(), &target.matches) {
            (Some(name), _) => name.to_owned(),
            (None, Matching::Auto) => template.fill(|_| None),
            (None, Matching::Any(alternatives)) => {
                self.filled(template, &alternatives[alternative], at)
            }
        }
    }

    /// The name with the captures of the process's own command line, then of that of the process above it
    /// which `parent` is about.
    fn filled(&self, name: &NameTemplate, conditions: &'l MatchSettings, at: usize) -> String {
        let captured = |command: &'l Option<CommandPattern>, at: usize| {
            let pattern = command.as_ref()?;
            let captures = pattern.captures(self.all[at].command(self.reader)?)?;
            Some((pattern, captures))
        };
        let own = captured(&conditions.command, at);
        let parent = conditions.parent.as_deref();
        let parent = parent.and_then(|parent| {
            let at = self.nearest(parent, at)?;
            captured(&parent.command, at)
        });
        name.fill(|group| {
            let all = own.iter().chain(&parent);
            let mut all = all.filter(|(pattern, _)| pattern.has_group(group));
            let (_, captures) = all.next()?;
            let found = match group.parse() {
                Ok(number) => captures.get(number),
                Err(_) => captures.name(group),
            };
            Some(String::from_utf8_lossy(found?.as_bytes()).into_owned())
        })
    }

    /// The name of the program that a process runs. One that was started by `multiprocessing` runs that of
    /// its parent.
    fn program(&self, at: usize) -> String {
        let mut at = at;
        for _ in 0..NAMED_ABOVE_MAX {
            let arguments = self.all[at].arguments(self.reader).unwrap_or_default();
            if let Some(name) = program_name(arguments) {
                return name;
            }
            let Some(parent) = self.parent(at) else {
                break;
            };
            at = parent;
        }
        "python".to_owned()
    }
}

/// A pattern without a slash is about the last part of the path.
fn matches_path(glob: &Glob, path: &[u8]) -> bool {
    if glob.as_str().contains('/') {
        return glob.is_match(path);
    }
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    glob.is_match(last)
}
