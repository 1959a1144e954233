//! The rules: which conditions hold for a process, and so which target it belongs to.

use super::facts::{Facts, ReadFacts, container_in, positions, units_in};
use super::program::program_name;
use super::{Assigned, Assignment};
use crate::config::{
    CommandPattern, Glob, MatchSettings, Matching, NameTemplate, TargetName, TargetSettings, UserId,
};
use crate::ids::{Pid, ProcessId};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

/// Processes above one another that are looked at for the name of a worker.
const NAMED_ABOVE_MAX: usize = 8;

/// Says which target each of the processes belongs to, those left out that belong to none. The process
/// with the id `own` is left out too.
///
/// `uses_asyncio` says whether a process can be read and runs a supported Python with asyncio in use; `None` if we
/// may not look. As that takes reading its memory, it is asked for `match: auto` only.
pub fn assign(
    targets: &[TargetSettings],
    processes: &[ProcessId],
    own: Option<Pid>,
    reader: &dyn ReadFacts,
    uses_asyncio: &dyn Fn(ProcessId) -> Option<bool>,
) -> Assigned {
    let mut processes: Vec<_> = processes.to_vec();
    processes.sort_unstable_by_key(|process| (process.start, process.pid));
    let look = Look::new(targets, &processes, reader, uses_asyncio);
    let others = (0..processes.len()).filter(|at| Some(processes[*at].pid) != own);
    let mut assigned = Assigned::default();
    for at in others {
        match look.assignment(at) {
            Some(Some(assignment)) => assigned.found.push(assignment),
            Some(None) => {}
            None => assigned.hidden.push(processes[at]),
        }
    }
    assigned
}

/// A condition that a map of `match` or `exclude` gives.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition<'l> {
    Pid(Pid),
    Executable(&'l Glob),
    Command(&'l CommandPattern),
    User(&'l UserId),
    SystemdUnit(&'l Glob),
    Cgroup(&'l Glob),
    ContainerId(&'l str),
    Parent(&'l MatchSettings),
}

impl<'l> Condition<'l> {
    /// Those that are given. What needs nothing read comes first, what takes a look at other processes last.
    pub(super) fn all(conditions: &'l MatchSettings) -> impl Iterator<Item = Self> {
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
        let all = [
            pid.map(Self::Pid),
            executable.as_ref().map(Self::Executable),
            command.as_ref().map(Self::Command),
            user.as_ref().map(Self::User),
            systemd_unit.as_ref().map(Self::SystemdUnit),
            cgroup.as_ref().map(Self::Cgroup),
            container_id.as_deref().map(Self::ContainerId),
            parent.as_deref().map(Self::Parent),
        ];
        all.into_iter().flatten()
    }
}

/// One look at all processes.
pub(super) struct Look<'l> {
    pub(super) targets: &'l [TargetSettings],
    pub(super) reader: &'l dyn ReadFacts,
    uses_asyncio: &'l dyn Fn(ProcessId) -> Option<bool>,
    pub(super) all: Vec<Facts>,
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
pub(super) enum Above {
    Unknown,
    None,
    /// None that is known; of one it cannot be found out.
    Unclear,
    At(usize),
}

impl<'l> Look<'l> {
    pub(super) fn new(
        targets: &'l [TargetSettings],
        processes: &[ProcessId],
        reader: &'l dyn ReadFacts,
        uses_asyncio: &'l dyn Fn(ProcessId) -> Option<bool>,
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

    /// The target of the process at this position. `Some(None)`: it belongs to none; `None`: none is known, but of
    /// one it cannot be found out.
    pub(super) fn assignment(&self, at: usize) -> Option<Option<Assignment>> {
        let mut is_clear = true;
        for (number, target) in self.targets.iter().enumerate() {
            let (alternative, is_hidden) = self.alternative(&target.matches, at);
            let is_excluded = || {
                let mut excluded = target.exclude.iter();
                excluded.any(|exclude| self.meets(exclude, at) == Some(true))
            };
            is_clear &= !is_hidden || is_excluded();
            if let Some(alternative) = alternative
                && !is_excluded()
            {
                return Some(Some(Assignment {
                    process: self.all[at].process,
                    target: number,
                    alternative,
                    name: self.name(target, alternative, at),
                }));
            }
        }
        is_clear.then_some(None)
    }

    /// Which of the alternatives the process meets first; whether there is one of which that cannot be found out.
    fn alternative(&self, matches: &'l Matching, at: usize) -> (Option<usize>, bool) {
        let alternatives = match matches {
            Matching::Auto => {
                let uses_asyncio = self.all[at].uses_asyncio(self.uses_asyncio);
                return (
                    (uses_asyncio == Some(true)).then_some(0),
                    uses_asyncio.is_none(),
                );
            }
            Matching::Any(alternatives) => alternatives,
        };
        let mut is_hidden = false;
        let found = alternatives.iter().position(|conditions| {
            let meets = self.meets(conditions, at);
            is_hidden |= meets.is_none();
            meets == Some(true)
        });
        (found, is_hidden)
    }

    /// Whether all conditions that are given hold, asked one after the other until one does not. `None`: that depends on
    /// what we may not look at.
    pub(super) fn meets(&self, conditions: &'l MatchSettings, at: usize) -> Option<bool> {
        let mut is_clear = true;
        for condition in Condition::all(conditions) {
            match self.holds(condition, at) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => is_clear = false,
            }
        }
        is_clear.then_some(true)
    }

    /// Whether one condition holds. `None`: that depends on what we may not look at.
    pub(super) fn holds(&self, condition: Condition<'l>, at: usize) -> Option<bool> {
        let facts = &self.all[at];
        let reader = self.reader;
        let cgroups = || facts.cgroups(reader).iter();
        Some(match condition {
            Condition::Pid(pid) => pid == facts.process.pid,
            Condition::Executable(glob) => match facts.executable(reader) {
                Some(path) => matches_path(glob, path),
                None if reader.hides_executable(facts.process) => return None,
                None => false,
            },
            // A kernel thread has no command line, not one that the pattern `.*` matches.
            Condition::Command(pattern) => facts
                .command(reader)
                .is_some_and(|command| pattern.is_match(command)),
            Condition::User(user) => {
                let wanted = self.user_id(user);
                wanted.is_some() && facts.user(reader) == wanted
            }
            Condition::SystemdUnit(glob) => {
                let mut units = cgroups().flat_map(|path| units_in(path));
                units.any(|unit| glob.is_match(unit))
            }
            Condition::Cgroup(glob) => cgroups().any(|path| glob.is_match(path)),
            Condition::ContainerId(id) => {
                let mut ids = cgroups().filter_map(|path| container_in(path));
                ids.any(|found| found.starts_with(id.as_bytes()))
            }
            Condition::Parent(parent) => match self.nearest(parent, at) {
                Above::None | Above::Unknown => false,
                Above::Unclear => return None,
                Above::At(_) => true,
            },
        })
    }

    pub(super) fn user_id(&self, user: &'l UserId) -> Option<u32> {
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
    pub(super) fn nearest(&self, conditions: &'l MatchSettings, at: usize) -> Above {
        let key: *const MatchSettings = conditions;
        let known = self.above.borrow_mut().remove(&key);
        let mut known = known.unwrap_or_else(|| vec![Above::Unknown; self.all.len()]);
        let mut asked = Vec::new();
        let mut next = Some(at);
        let mut found = Above::None;
        let mut n_unclear = 0;
        while let Some(at) = next {
            if known[at] != Above::Unknown {
                found = known[at];
                break;
            }
            // Marked as seen: whatever is said about parents, this comes to an end.
            known[at] = Above::None;
            asked.push(at);
            match self.meets(conditions, at) {
                Some(true) => {
                    found = Above::At(at);
                    break;
                }
                Some(false) => {}
                None => n_unclear = asked.len(),
            }
            next = self.parent(at);
        }
        for (n_below, asked) in asked.into_iter().enumerate() {
            known[asked] = match found {
                Above::None if n_below < n_unclear => Above::Unclear,
                found => found,
            };
        }
        let found = known[at];
        self.above.borrow_mut().insert(key, known);
        found
    }

    /// The position of the parent. A process that is younger than its child is none: it has the id of one
    /// that has ended.
    pub(super) fn parent(&self, at: usize) -> Option<usize> {
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
        let parent = parent.and_then(|parent| match self.nearest(parent, at) {
            Above::At(at) => captured(&parent.command, at),
            Above::Unknown | Above::Unclear | Above::None => None,
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
    /// its parent, with the same executable: whoever has adopted it since has another.
    fn program(&self, at: usize) -> String {
        let mut at = at;
        for _ in 0..NAMED_ABOVE_MAX {
            let arguments = self.all[at].arguments(self.reader).unwrap_or_default();
            if let Some(name) = program_name(arguments) {
                return name;
            }
            let executable = |at: usize| self.all[at].executable(self.reader);
            let parent = self
                .parent(at)
                .filter(|parent| executable(at).is_some() && executable(at) == executable(*parent));
            let Some(parent) = parent else {
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
