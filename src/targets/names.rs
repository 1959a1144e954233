//! Names of targets that come from processes: that two targets never have the same one, and that there
//! are not too many of them.

use super::Assignment;
use crate::config::TargetSettings;
use std::collections::{BTreeSet, HashMap, HashSet};

/// The name of the targets of processes whose own names are one too many.
pub const OTHER: &str = "other";

/// Makes the names those of different targets, and at most `names_max` of them; further processes get the
/// name [`OTHER`]. Names in `before`, which were settled on before, come first, so that a target stays
/// what it is. Returns how many processes got the name [`OTHER`].
pub fn settle_names(
    assignments: &mut [Assignment],
    targets: &[TargetSettings],
    names_max: usize,
    before: &BTreeSet<(usize, String)>,
) -> usize {
    let fixed: HashMap<&str, usize> = targets
        .iter()
        .enumerate()
        .filter_map(|(number, target)| Some((target.name.as_fixed()?, number)))
        .collect();
    let mut owners: HashMap<String, usize> = HashMap::new();
    owners.extend(
        fixed
            .iter()
            .map(|(name, number)| ((*name).to_owned(), *number)),
    );
    for (number, name) in before {
        owners.entry(name.clone()).or_insert(*number);
    }
    for assignment in assignments.iter_mut() {
        // A name with its target behind may again be somebody's; each time it is longer, and names of
        // processes have a length at most.
        while assignment.name == OTHER || {
            let owner = owners.entry(assignment.name.clone());
            *owner.or_insert(assignment.target) != assignment.target
        } {
            assignment.name += &format!(" (targets[{}])", assignment.target);
        }
    }
    let is_fixed = |it: &Assignment| fixed.contains_key(it.name.as_str());
    let mut taken: HashSet<String> = fixed.keys().map(|name| (*name).to_owned()).collect();
    let key = |it: &Assignment| (it.target, it.name.clone());
    let known = assignments.iter().filter(|it| before.contains(&key(it)));
    for assignment in known {
        if taken.len() < names_max {
            taken.insert(assignment.name.clone());
        }
    }
    let mut n_others = 0;
    for assignment in assignments.iter_mut() {
        if is_fixed(assignment) || taken.contains(&assignment.name) {
            continue;
        }
        if taken.len() < names_max {
            taken.insert(assignment.name.clone());
        } else {
            OTHER.clone_into(&mut assignment.name);
            n_others += 1;
        }
    }
    n_others
}
