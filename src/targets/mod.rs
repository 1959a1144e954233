//! Which processes belong to which target, and how those targets are called. Pure, [`probe`] and the facts
//! of `/proc` apart: what is known of a process comes from [`ReadFacts`], and is asked for only when a rule
//! needs it, once.
//!
//! Each process belongs to the first target that matches it. Command lines, names of executables and
//! control groups are chosen by the processes, so nothing here trusts them: patterns take time linear in
//! what they look at, that is cut by `procfs`, names are cut and escaped, and their number has a cap.

mod explained;
mod facts;
mod matching;
mod names;
mod probe;
mod program;
mod users;

pub use explained::{
    ConditionFinding, Explained, RuleFinding, explain_rules, idle_rules, rule_path,
};
pub use facts::{ReadFacts, units_of};
pub use matching::assign;
pub use names::{OTHER, settle_names};
pub use probe::probe;
pub use program::program_name;
pub use users::{
    DoubtfulGroup, UnknownUser, UnseenCgroup, doubtful_group, unknown_users, unseen_cgroup,
};

use crate::ids::ProcessId;

/// What one look at all processes found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assigned {
    /// Those that belong to a target. What has run for longest comes first.
    pub found: Vec<Assignment>,
    /// Those that belong to none as far as is known, but might if we were allowed to look at them: a rule depends on
    /// the path of their executable, or on what is in their memory.
    pub hidden: Vec<ProcessId>,
}

/// Rules that no process belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdleRules {
    /// How many there are.
    pub n: usize,
    /// Where they stand in the configuration; of very many the first ones.
    pub first: Vec<String>,
}

/// A process and the target that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Which process.
    pub process: ProcessId,
    /// The position of the target in the configuration.
    pub target: usize,
    /// Which map of its `match` held; 0 for `match: auto`.
    pub alternative: usize,
    /// How the target is called, for this process.
    pub name: String,
}
