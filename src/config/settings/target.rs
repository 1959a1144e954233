//! What is watched: named entries, each with conditions on processes.

use super::{CommandPattern, Glob, NameTemplate};
use crate::ids::Pid;
use std::collections::BTreeMap;
use std::time::Duration;

/// An entry that stands for one or many processes.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetSettings {
    /// Its name.
    pub name: TargetName,
    /// Which processes it stands for.
    pub matches: Matching,
    /// Which of these it does not stand for: those that meet one of these conditions.
    pub exclude: Vec<MatchSettings>,
    /// Time between two rounds over each of its processes.
    pub interval: Duration,
    /// Labels of its series, by their names.
    pub labels: BTreeMap<String, String>,
    /// Whether each process has series of its own, with a label `pid`.
    pub per_process: bool,
    /// The share of its snapshots that is sent as spans, from 0 to 1, if not that of all
    /// ([`SpanSettings::ratio`](super::SpanSettings::ratio)).
    pub spans_ratio: Option<f64>,
}

impl Eq for TargetSettings {}

impl TargetSettings {
    /// The interval of a target that sets none.
    pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(15);

    /// What `targets: auto` stands for.
    pub fn auto() -> Self {
        Self {
            name: TargetName::Program,
            matches: Matching::Auto,
            exclude: Vec::new(),
            interval: Self::INTERVAL_DEFAULT,
            labels: BTreeMap::new(),
            per_process: false,
            spans_ratio: None,
        }
    }
}

/// How a target is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetName {
    /// After the script or module that a process runs: a target for each of these.
    Program,
    /// By a text; if that has captures, a target for each text that comes out.
    Text(NameTemplate),
}

impl TargetName {
    /// The name, if all processes have the same.
    pub fn as_fixed(&self) -> Option<&str> {
        match self {
            Self::Program => None,
            Self::Text(template) => template.as_fixed(),
        }
    }
}

/// Which processes a target stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matching {
    /// All that can be read and run a supported Python with asyncio in use.
    Auto,
    /// Those that meet one of these; at least one.
    Any(Vec<MatchSettings>),
}

/// Conditions on a process. All that are given must hold; at least one is given. What cannot be found
/// out about a process does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MatchSettings {
    /// Its executable file: the whole path, or its last part if the pattern has no slash.
    pub executable: Option<Glob>,
    /// A pattern found somewhere in its command line.
    pub command: Option<CommandPattern>,
    /// The user that it runs as (its effective user id).
    pub user: Option<UserId>,
    /// A systemd unit that it is in, by its full name: a service, a scope, or a slice around it.
    pub systemd_unit: Option<Glob>,
    /// The path of its control group, of any hierarchy.
    pub cgroup: Option<Glob>,
    /// The beginning of the id of the container that it is in: 12 to 64 hexadecimal digits.
    pub container_id: Option<String>,
    /// Conditions that it or a process above it (its parent, the parent of that, and so on) meets. They
    /// have no `parent` of their own.
    pub parent: Option<Box<MatchSettings>>,
    /// Its process id.
    pub pid: Option<Pid>,
}

impl MatchSettings {
    /// The regular expressions in it whose captures may be in a name: its own, then that of `parent`.
    pub fn commands(&self) -> impl Iterator<Item = &CommandPattern> {
        let parent = self.parent.as_ref();
        let parent = parent.and_then(|parent| parent.command.as_ref());
        self.command.iter().chain(parent)
    }
}

/// A user, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserId {
    /// By number.
    Number(u32),
    /// By name, as this machine knows it when it looks for processes.
    Name(String),
}
