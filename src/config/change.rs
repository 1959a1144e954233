//! What differs between two configurations, and what of that a running agent can take over.

use super::settings::{Settings, TargetSettings};
use std::collections::BTreeMap;

/// What differs between the settings in effect and new ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Paths of settings that can be changed while the agent runs, such as `limits` or
    /// `targets[2]` (of the new file).
    pub live: Vec<String>,
    /// Paths of settings that take a restart: sockets are opened at the start.
    pub needs_restart: Vec<&'static str>,
}

impl Change {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.needs_restart.is_empty()
    }
}

/// What differs between `old` and `new`. A target that only moved counts too: a process belongs to the
/// first that matches it.
pub fn diff(old: &Settings, new: &Settings) -> Change {
    let mut change = Change::default();
    if old.web.listen != new.web.listen {
        change.needs_restart.push("web.listen");
    }
    if old.control.socket != new.control.socket {
        change.needs_restart.push("control.socket");
    }
    let live = [
        (
            "web.config_file",
            old.web.config_file != new.web.config_file,
        ),
        ("web.details", old.web.details != new.web.details),
        ("web.reload", old.web.reload != new.web.reload),
        ("control.group", old.control.group != new.control.group),
        ("control.freeze", old.control.freeze != new.control.freeze),
        ("discovery", old.discovery != new.discovery),
    ];
    let live = live.into_iter().filter(|(_, differs)| *differs);
    change.live.extend(live.map(|(path, _)| path.to_owned()));
    change.live.extend(targets(&old.targets, &new.targets));
    let live = [
        ("analysis", old.analysis != new.analysis),
        ("limits", old.limits != new.limits),
        (
            "exporters.prometheus",
            old.exporters.prometheus != new.exporters.prometheus,
        ),
        ("exporters.otlp", old.exporters.otlp != new.exporters.otlp),
    ];
    let live = live.into_iter().filter(|(_, differs)| *differs);
    change.live.extend(live.map(|(path, _)| path.to_owned()));
    change
}

fn targets(old: &[TargetSettings], new: &[TargetSettings]) -> Vec<String> {
    let differing = new
        .iter()
        .enumerate()
        .filter(|(at, target)| old.get(*at) != Some(target));
    let mut paths: Vec<_> = differing.map(|(at, _)| format!("targets[{at}]")).collect();
    if old.len() > new.len() {
        paths.push("targets".to_owned());
    }
    paths
}

/// For each of the new targets the position of the old one that it goes on from: that with the same
/// name, so that what is known of its processes stays known.
pub fn successors(old: &[TargetSettings], new: &[TargetSettings]) -> Vec<Option<usize>> {
    let name = |target: &TargetSettings| match &target.name {
        super::TargetName::Program => None,
        super::TargetName::Text(template) => Some(template.to_string()),
    };
    // The first of several without a name; others have names of their own.
    let mut by_name = BTreeMap::new();
    for (at, target) in old.iter().enumerate().rev() {
        by_name.insert(name(target), at);
    }
    new.iter()
        .map(|target| by_name.remove(&name(target)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn settings(text: &str) -> Settings {
        parse("a", text).unwrap()
    }

    #[test]
    fn what_differs_is_told() {
        let old = settings("targets: [{name: a, match: {pid: 1}}, {name: b, match: {pid: 2}}]");
        assert!(diff(&old, &old).is_empty());
        let new = settings(
            "web: {listen: 127.0.0.1:1, details: users, reload: true}\ncontrol: {socket: none, group: adm, freeze: 1s}\nlimits: {rounds: 2}\nexporters: {otlp: {}}\n\
             targets: [{name: a, match: {pid: 1}}, {name: b, match: {pid: 3}}, {match: auto}]",
        );
        let change = diff(&old, &new);
        assert_eq!(change.needs_restart, ["web.listen", "control.socket"]);
        assert_eq!(
            change.live,
            [
                "web.details",
                "web.reload",
                "control.group",
                "control.freeze",
                "targets[1]",
                "targets[2]",
                "limits",
                "exporters.otlp"
            ]
        );
        assert_eq!(diff(&new, &old).live[4..6], ["targets[1]", "targets"]);
    }

    #[test]
    fn targets_go_on_under_their_names() {
        let old = settings("targets: [{name: a, match: {pid: 1}}, {match: auto}]").targets;
        let new =
            "targets: [{match: auto}, {name: b, match: {pid: 1}}, {name: a, match: {pid: 7}}]";
        let new = settings(new).targets;
        assert_eq!(successors(&old, &new), [Some(1), None, Some(0)]);
    }
}
