//! The targets by their names: each has a position for as long as it is there. Those of the configuration
//! always are; those named after what processes run come and go with these.

use super::schedule::TargetIdx;
use crate::config::TargetSettings;
use std::collections::{BTreeMap, BTreeSet};

/// Which name has which position.
#[derive(Debug, Default)]
pub(super) struct Roster {
    positions: BTreeMap<String, usize>,
    /// Names that are always there.
    fixed: BTreeSet<String>,
    /// Positions that were given back.
    free: Vec<usize>,
}

impl Roster {
    /// Makes the targets whose names the configuration says those that are always there.
    pub(super) fn fix(&mut self, targets: &[TargetSettings]) {
        self.fixed.clear();
        for name in targets.iter().filter_map(|target| target.name.as_fixed()) {
            self.position_of(name);
            self.fixed.insert(name.to_owned());
        }
    }

    /// The position of a name; a new name gets one.
    pub(super) fn position_of(&mut self, name: &str) -> TargetIdx {
        if let Some(position) = self.positions.get(name) {
            return TargetIdx(*position);
        }
        let next = self.positions.len();
        let position = self.free.pop().unwrap_or(next);
        self.positions.insert(name.to_owned(), position);
        TargetIdx(position)
    }

    /// The names and their positions.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.positions.iter().map(|(name, at)| (name.as_str(), *at))
    }

    /// Gives back the positions that no process is at; returns them.
    pub(super) fn drop_unused(&mut self, is_used: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut dropped = Vec::new();
        self.positions.retain(|name, at| {
            let stays = self.fixed.contains(name) || is_used(*at);
            if !stays {
                dropped.push(*at);
            }
            stays
        });
        self.free.extend(&dropped);
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn positions_are_given_back() {
        let settings = parse("a", "targets: [{name: a, match: {pid: 1}}, {match: auto}]").unwrap();
        let mut roster = Roster::default();
        roster.fix(&settings.targets);
        assert_eq!(roster.position_of("x"), TargetIdx(1));
        assert_eq!(roster.position_of("y"), TargetIdx(2));
        assert_eq!(roster.position_of("x"), TargetIdx(1));
        assert_eq!(roster.drop_unused(|at| at == 2), [1]);
        assert_eq!(roster.position_of("z"), TargetIdx(1));
        assert_eq!(roster.position_of("x"), TargetIdx(3));
        let names: Vec<_> = roster.names().collect();
        assert_eq!(names, [("a", 0), ("x", 3), ("y", 2), ("z", 1)]);
        let settings = parse("a", "targets: [{name: x, match: {pid: 1}}]").unwrap();
        roster.fix(&settings.targets);
        assert_eq!(roster.drop_unused(|_| false), [0, 2, 1]);
    }
}
