//! One look at the list of processes: which are to be watched, and under which name of a target.

use super::probe::Probes;
use super::source::ProcessSource;
use crate::config::{Settings, TargetSettings, successors};
use crate::ids::ProcessId;
use crate::procfs::ProcfsError;
use crate::sanitize::escape;
use crate::targets::{
    Assigned, Assignment, IdleRules, OTHER, UnknownUser, assign, idle_rules, settle_names,
    unknown_users,
};
use std::collections::{BTreeMap, BTreeSet};
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
        let n_left_out = found.len().saturating_sub(self.processes_max);
        found.truncate(self.processes_max);
        let n_others = settle_names(&mut found, &self.targets, self.names_max, &self.names);
        let names = found.iter().filter(|it| it.name != OTHER);
        self.names = names.map(|it| (it.target, it.name.clone())).collect();
        let user = |it: &Assignment| {
            let user = facts.user_and_parent(it.process)?.0?;
            Some(self.source.person(user).id)
        };
        let users = found.iter().map(user).collect();
        Ok(Look {
            found,
            users,
            n_left_out,
            n_others,
            hidden,
            unprobed: self.probes.unknown(),
            idle_rules,
        })
    }
}
