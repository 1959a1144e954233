//! What the agent says of one process: by its own settings, with its own rights.

use super::ControlRules;
use crate::agent::allowance::Size;
use crate::agent::answers;
use crate::agent::source::ProcessSource;
use crate::config::Settings;
use crate::config::TargetSettings;
use crate::diagnosis::{Looker, Reading, Subject, Unprobed, Watch, diagnose};
use crate::ids::ProcessId;
use crate::limits::Stop;
use crate::metrics::AgentView;
use crate::process::{ProcessError, Reader};
use crate::procfs::UserIds;
use crate::protocol::ExplainAnswer;
use std::sync::Arc;
use std::time::Duration;

/// What of the configuration says which processes are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WatchRules {
    targets: Arc<[TargetSettings]>,
    processes_max: u32,
    interval: Duration,
}

impl WatchRules {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            targets: settings.targets.clone().into(),
            processes_max: settings.limits.processes,
            interval: settings.discovery.interval,
        }
    }
}

/// Says all that can be said of a process, which belongs to `users`, and whether it would be more with more room. Blocks, as
/// reading it may.
///
/// # Errors
///
/// When there is no such process.
pub(super) fn explain(
    source: &dyn ProcessSource,
    (id, users): (ProcessId, UserIds),
    rules: &ControlRules,
    view: &AgentView,
    stop: &Stop,
    size: Size,
) -> Result<(ExplainAnswer, bool), ProcessError> {
    let read = source.attach(id).and_then(|mut attached| {
        attached.allow(size.allowance());
        let snapshot = attached.snapshot(stop)?;
        Ok((attached.tables(), snapshot))
    });
    if let Err(error @ (ProcessError::NotFound { .. } | ProcessError::Gone { .. })) = read {
        return Err(error);
    }
    let is_cut = read.as_ref().is_ok_and(|(_, it)| Size::has_cut(it));
    let reading = Reading {
        access: source.access(id.pid),
        read,
    };
    let processes = source.processes().unwrap_or_default();
    let subject = Subject {
        process: id,
        users: Some(users),
        targets: &rules.watch.targets,
        processes: &processes,
        facts: source.facts(),
    };
    let looker = Looker {
        reader: Reader::Agent,
        pid: std::process::id(),
        user: Some(nix::unistd::geteuid().as_raw()),
    };
    let answer = diagnose(looker, subject, watch(rules, view, id), &reading);
    Ok((answer, is_cut))
}

fn watch(rules: &ControlRules, view: &AgentView, id: ProcessId) -> Watch {
    let now = view.targets.iter().find_map(|target| {
        let process = target.processes.iter().find(|process| process.id == id)?;
        Some((target.name.as_ref().to_owned(), answers::process(process)))
    });
    let n_watched: usize = view.targets.iter().map(|it| it.processes.len()).sum();
    let processes_max = rules.watch.processes_max;
    Watch {
        now,
        is_full: u32::try_from(n_watched).unwrap_or(u32::MAX) >= processes_max,
        unprobed: if view.unprobed.contains(&id) {
            Some(Unprobed::Hangs)
        } else if view.unstarted.contains(&id) {
            Some(Unprobed::NoThread)
        } else {
            None
        },
        processes_max,
        interval: rules.watch.interval,
    }
}
