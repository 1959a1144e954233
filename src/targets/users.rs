//! What a configuration says that will do nothing on this machine as it is: users that conditions name, and the group of
//! `control.group`, if there are none such, and control groups that look otherwise from here. That may change, so it is no
//! error.

use super::ReadFacts;
use crate::config::{ControlSettings, Glob, MatchSettings, Matching, TargetSettings, UserId};
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

/// A group that is named and should not be, or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DoubtfulGroup<'t> {
    /// This machine does not know it.
    #[error(
        "control.group: there is no group {name} on this machine; until there is, root alone may ask for everything"
    )]
    Unknown {
        /// Its name.
        name: &'t str,
    },
    /// It has the name that systemd makes up a group with, for a unit with `DynamicUser=` (systemd.exec(5)).
    #[error(
        "control.group: a group asyncio-agent keeps the systemd unit from starting, which makes up its own of that name; \
         take another one, such as asyncio-agent-users"
    )]
    OfUnit,
}

/// What is doubtful about the group whose members may ask for everything, if anything is.
pub fn doubtful_group(control: &ControlSettings) -> Option<DoubtfulGroup<'_>> {
    match control.group.as_deref()? {
        "asyncio-agent" => Some(DoubtfulGroup::OfUnit),
        name => (!is_group(name)).then_some(DoubtfulGroup::Unknown { name }),
    }
}

/// A condition on control groups where their paths are shown relative to our own (cgroup_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "targets[{target}]: `cgroup` matches nothing from within this control group namespace, in which paths begin with /..; \
     begin the pattern with **/, or use container_id or systemd_unit"
)]
pub struct UnseenCgroup {
    /// The position of the first target with such a condition.
    pub target: usize,
}

/// The first condition on control groups that can match nothing because `reader` is within a namespace of them.
pub fn unseen_cgroup(targets: &[TargetSettings], reader: &dyn ReadFacts) -> Option<UnseenCgroup> {
    let is_unseen = |conditions: &MatchSettings| {
        let pattern = conditions.cgroup.as_ref().map(Glob::as_str);
        // Only those of processes in our own group begin otherwise than with `/..`.
        pattern.is_some_and(|it| !it.starts_with("**") && !it.starts_with("/.."))
    };
    let mut all = targets.iter();
    let target = all.position(|target| all_conditions(target).any(is_unseen))?;
    let is_within = reader.is_in_cgroup_namespace();
    is_within.then_some(UnseenCgroup { target })
}

/// All conditions of a target, those on the process above included.
fn all_conditions(target: &TargetSettings) -> impl Iterator<Item = &MatchSettings> {
    let matches: &[MatchSettings] = match &target.matches {
        Matching::Auto => &[],
        Matching::Any(matches) => matches,
    };
    let conditions = matches.iter().chain(&target.exclude);
    conditions.flat_map(|it| [Some(it), it.parent.as_deref()].into_iter().flatten())
}

/// The users that conditions of `targets` name and that `reader` does not know. Asks for each once.
pub fn unknown_users<'t>(
    targets: &'t [TargetSettings],
    reader: &dyn ReadFacts,
) -> Vec<UnknownUser<'t>> {
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for (target, settings) in targets.iter().enumerate() {
        for conditions in all_conditions(settings) {
            if let Some(UserId::Name(name)) = &conditions.user {
                named.entry(name).or_insert(target);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::procfs::ProcRoot;

    #[test]
    fn conditions_on_control_groups_are_told_where_paths_are_relative() {
        let text =
            "targets: [{name: a, match: {pid: 1}}, {name: b, match: {parent: {cgroup: /x/**}}}]";
        let told = |groups: Option<&str>, text: &str| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("1")).unwrap();
            if let Some(groups) = groups {
                std::fs::write(folder.path().join("1/cgroup"), groups).unwrap();
            }
            let settings = config::parse("x", text).unwrap();
            unseen_cgroup(&settings.targets, &ProcRoot::at(folder.path()))
        };
        let elsewhere = Some("0::/../../../init.scope\n");
        assert_eq!(told(elsewhere, text), Some(UnseenCgroup { target: 1 }));
        assert_eq!(told(Some("0::/init.scope\n"), text), None);
        assert_eq!(told(None, text), None);
        assert_eq!(
            told(
                elsewhere,
                &text.replace("/x/", "'**/x/").replace("**}}", "**'}}")
            ),
            None
        );
    }

    #[test]
    fn the_group_that_the_unit_makes_up_is_told() {
        let group = |name: &str| ControlSettings {
            group: Some(name.to_owned()),
            ..ControlSettings::default()
        };
        assert_eq!(
            doubtful_group(&group("asyncio-agent")),
            Some(DoubtfulGroup::OfUnit)
        );
        assert_eq!(doubtful_group(&group("root")), None);
    }
}
