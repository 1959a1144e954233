//! One look at the list of processes: which are to be watched, and under which name of a target.

use super::probe::Probes;
use super::source::ProcessSource;
use crate::config::{Settings, TargetSettings, successors};
use crate::ids::ProcessId;
use crate::procfs::ProcfsError;
use crate::sanitize::escape;
use crate::targets::{
    Assigned, Assignment, IdleRules, OTHER, UnknownUser, assign, idle_rules, settle_names,
    unknown_users, unseen_cgroup,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What is kept from one look to the next.
pub(super) struct Discovery {
    source: Arc<dyn ProcessSource>,
    targets: Arc<[TargetSettings]>,
    processes_max: usize,
    names_max: usize,
    /// The names that targets have by now, each with the position of its target.
    names: BTreeSet<(usize, String)>,
    probes: Probes,
    /// Whether it has been told which users there are not, and which rules no process belongs to.
    has_told: bool,
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The processes to watch; what has run for longest comes first.
    pub(super) found: Vec<Assignment>,
    /// The users that these run as, as far as that can be found out, or whose user ids those are.
    pub(super) users: Vec<Option<u32>>,
    /// Processes that match but are one too many.
    pub(super) n_left_out: usize,
    /// Processes whose name of a target was one too many, and which belong to `other` now.
    pub(super) n_others: usize,
    /// Processes that might belong to a target, which cannot be found out because we may not look at them.
    pub(super) hidden: Vec<ProcessId>,
    /// Processes of which it is not known whether they use asyncio, because asking them, or others, hangs.
    pub(super) unprobed: Vec<ProcessId>,
    /// The same because there is no thread to ask them on.
    pub(super) unstarted: Vec<ProcessId>,
    /// Rules that no process belongs to.
    pub(super) idle_rules: IdleRules,
}

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiscoveryError {
    #[error("{0}")]
    Procfs(ProcfsError),
    #[error("a defect of the agent")]
    Panicked,
}

impl Discovery {
    pub(super) fn new(settings: &Settings, source: Arc<dyn ProcessSource>) -> Self {
        let size = |limit| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            probes: Probes::new(Arc::clone(&source)),
            source,
            targets: settings.targets.clone().into(),
            processes_max: size(settings.limits.processes),
            names_max: size(settings.limits.target_names),
            names: BTreeSet::new(),
            has_told: false,
        }
    }

    /// From now on these settings hold. Processes keep the names that their targets have by now.
    pub(super) fn set_settings(&mut self, settings: &Settings) {
        let size = |limit| usize::try_from(limit).unwrap_or(usize::MAX);
        let successor_of: BTreeMap<usize, usize> = successors(&self.targets, &settings.targets)
            .into_iter()
            .enumerate()
            .filter_map(|(new, old)| Some((old?, new)))
            .collect();
        let names = std::mem::take(&mut self.names).into_iter();
        self.names = names
            .filter_map(|(target, name)| Some((*successor_of.get(&target)?, name)))
            .collect();
        self.targets = settings.targets.clone().into();
        self.processes_max = size(settings.limits.processes);
        self.names_max = size(settings.limits.target_names);
        self.has_told = false;
    }

    /// Looks at the list of processes once. Blocks. A panic costs this look.
    pub(super) fn look(&mut self) -> Result<Look, DiscoveryError> {
        let look = catch_unwind(AssertUnwindSafe(|| self.look_once()));
        look.unwrap_or(Err(DiscoveryError::Panicked))
    }

    fn look_once(&mut self) -> Result<Look, DiscoveryError> {
        let listed = self.source.processes().map_err(DiscoveryError::Procfs)?;
        self.source.look_up_people();
        self.probes.begin_look(&listed);
        let facts = self.source.facts();
        let is_first = !std::mem::replace(&mut self.has_told, true);
        if is_first {
            for UnknownUser { target, name } in unknown_users(&self.targets, facts) {
                tracing::warn!(target_position = target, user = %escape(name), "no such user on this machine");
            }
            if let Some(unseen) = unseen_cgroup(&self.targets, facts) {
                tracing::warn!(target_position = unseen.target, "{unseen}");
            }
        }
        let probes = &self.probes;
        let uses_asyncio = |process| probes.uses_asyncio(process);
        let Assigned { mut found, hidden } =
            assign(&self.targets, &listed, None, facts, &uses_asyncio);
        let idle_rules = idle_rules(&self.targets, &found);
        if is_first && idle_rules.n > 0 {
            let (rules, n) = (idle_rules.first.join(", "), idle_rules.n);
            tracing::info!(rules, n, "no process belongs to these rules now");
        }
        let user = |it: &Assignment| {
            let user = facts.user_and_parent(it.process)?.0?;
            Some(self.source.person(user).id)
        };
        let n_left_out = found.len().saturating_sub(self.processes_max);
        if n_left_out > 0 {
            keep_first(&mut found, self.processes_max, user);
        }
        let n_others = settle_names(&mut found, &self.targets, self.names_max, &self.names);
        let names = found.iter().filter(|it| it.name != OTHER);
        self.names = names.map(|it| (it.target, it.name.clone())).collect();
        let users = found.iter().map(user).collect();
        Ok(Look {
            found,
            users,
            n_left_out,
            n_others,
            hidden,
            unprobed: self.probes.unknown(),
            unstarted: self.probes.unstarted(),
            idle_rules,
        })
    }
}

/// Keeps so many, those that come first. While others are left out, nobody has more than half of the places.
fn keep_first(
    found: &mut Vec<Assignment>,
    places: usize,
    person: impl Fn(&Assignment) -> Option<u32>,
) {
    let mut of_persons: HashMap<Option<u32>, usize> = HashMap::new();
    let is_kept: Vec<bool> = found
        .iter()
        .map(|it| {
            let n = of_persons.entry(person(it)).or_default();
            *n += 1;
            *n <= places / 2
        })
        .collect();
    let n_within = is_kept.iter().filter(|it| **it).count();
    let mut n_within = n_within.min(places);
    // What nobody else wants.
    let mut n_beyond = places - n_within;
    let mut within = is_kept.into_iter();
    found.retain(|_| {
        let room = match within.next() {
            Some(true) => &mut n_within,
            _ => &mut n_beyond,
        };
        let is_room = *room > 0;
        *room -= usize::from(is_room);
        is_room
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Pid, StartTime};

    /// Of so many processes of these persons, in this order, those that keep a place.
    fn kept(persons: &[u32], places: usize) -> Vec<usize> {
        let found = persons
            .iter()
            .enumerate()
            .map(|(target, person)| Assignment {
                process: ProcessId {
                    pid: Pid::new(i32::try_from(*person).unwrap()).unwrap(),
                    start: StartTime(1),
                },
                target,
                alternative: 0,
                name: String::new(),
            });
        let mut found: Vec<Assignment> = found.collect();
        keep_first(&mut found, places, |it| {
            u32::try_from(it.process.pid.as_raw()).ok()
        });
        found.iter().map(|it| it.target).collect()
    }

    #[test]
    fn nobody_has_more_than_half_of_the_places_while_others_want_them() {
        assert_eq!(kept(&[7, 7, 7, 7, 7, 8, 9], 4), [0, 1, 5, 6]);
        // What nobody else wants goes to whoever came first.
        assert_eq!(kept(&[7, 7, 7, 7, 7, 8], 4), [0, 1, 2, 5]);
        assert_eq!(kept(&[7, 7, 7, 7, 7, 7], 4), [0, 1, 2, 3]);
        assert_eq!(kept(&[1, 2, 3, 4, 5], 3), [0, 1, 2]);
        assert_eq!(kept(&[1, 1, 2], 1), [0]);
    }
}
