//! Users that conditions name, and the group of `control.group`, if there are none such. They may be made later, so
//! this is no error.

use super::ReadFacts;
use crate::config::{ControlSettings, MatchSettings, Matching, TargetSettings, UserId};
use crate::procfs::is_group;
use std::collections::BTreeMap;

/// A user that is named and that this machine does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error(
    "targets[{target}]: there is no user {name} on this machine; until there is, no process runs as it"
)]
pub struct UnknownUser<'t> {
    /// The position of the first target whose conditions name it.
    pub target: usize,
    /// Its name.
    pub name: &'t str,
}

/// A group that is named and that this machine does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "control.group: there is no group {name} on this machine; until there is, root alone may ask for everything"
)]
pub struct UnknownGroup<'t> {
    /// Its name.
    pub name: &'t str,
}

/// The group whose members may ask for everything, if this machine does not know it.
pub fn unknown_group(control: &ControlSettings) -> Option<UnknownGroup<'_>> {
    let name = control.group.as_deref()?;
    (!is_group(name)).then_some(UnknownGroup { name })
}

/// The users that conditions of `targets` name and that `reader` does not know. Asks for each once.
pub fn unknown_users<'t>(
    targets: &'t [TargetSettings],
    reader: &dyn ReadFacts,
) -> Vec<UnknownUser<'t>> {
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for (target, settings) in targets.iter().enumerate() {
        let matches: &[MatchSettings] = match &settings.matches {
            Matching::Auto => &[],
            Matching::Any(matches) => matches,
        };
        for conditions in matches.iter().chain(&settings.exclude) {
            let above = conditions.parent.as_deref();
            for conditions in [Some(conditions), above].into_iter().flatten() {
                if let Some(UserId::Name(name)) = &conditions.user {
                    named.entry(name).or_insert(target);
                }
            }
        }
    }
    let named = named.into_iter();
    let unknown = named.filter(|(name, _)| reader.user_id(name).is_none());
    let mut unknown: Vec<_> = unknown
        .map(|(name, target)| UnknownUser { target, name })
        .collect();
    unknown.sort_unstable();
    unknown
}
