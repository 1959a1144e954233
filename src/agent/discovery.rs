//! Which processes belong to which target: each to the first that matches it.

use super::schedule::{Found, TargetIdx};
use super::source::{ListedProcess, ProcessSource};
use crate::config::{MatchSettings, TargetSettings};
use crate::procfs::ProcfsError;

/// Looks at the list of processes once. Blocks.
pub(super) fn discover(
    source: &dyn ProcessSource,
    targets: &[TargetSettings],
) -> Result<Vec<Found>, ProcfsError> {
    let with_commands = targets
        .iter()
        .any(|target| target.matches.command.is_some());
    let listed = source.processes(with_commands)?;
    let found = listed.iter().filter_map(|process| {
        let target = targets
            .iter()
            .position(|target| matches(&target.matches, process))?;
        Some(Found {
            process: process.id,
            target: TargetIdx(target),
        })
    });
    Ok(found.collect())
}

/// Whether all conditions that are given hold.
fn matches(conditions: &MatchSettings, process: &ListedProcess) -> bool {
    let pid = conditions.pid.is_none_or(|pid| pid == process.id.pid);
    let command = || {
        conditions.command.as_ref().is_none_or(|pattern| {
            // A kernel thread has no command line, not one that the pattern `.*` matches.
            !process.command.is_empty() && pattern.is_match(&process.command)
        })
    };
    pid && command()
}
