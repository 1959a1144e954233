//! The settings that the agent runs with. Values of this module are valid; how they were written is
//! the business of the rest of `config`.

use crate::ids::Pid;
use regex::bytes::{Regex, RegexBuilder};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Everything a configuration file can say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The HTTP server.
    pub web: WebSettings,
    /// How processes are found.
    pub discovery: DiscoverySettings,
    /// What is watched, in the order of the file: a process belongs to the first that matches it.
    pub targets: Vec<TargetSettings>,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSettings {
    /// Addresses to listen on; at least one. Port 0 stands for any free port.
    pub listen: Vec<SocketAddr>,
}

impl Default for WebSettings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9849))],
        }
    }
}

/// How processes are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoverySettings {
    /// Time between two looks at the list of processes.
    pub interval: Duration,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
        }
    }
}

/// A named entry that stands for one or many processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSettings {
    /// Its name: not empty, and no other target's.
    pub name: String,
    /// Which processes it stands for.
    pub matches: MatchSettings,
    /// Time between two rounds over each of its processes.
    pub interval: Duration,
}

impl TargetSettings {
    /// The interval of a target that sets none.
    pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(15);
}

/// Conditions on a process. All that are given must hold; at least one is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchSettings {
    /// Its process id.
    pub pid: Option<Pid>,
    /// A pattern found somewhere in its command line.
    pub command: Option<CommandPattern>,
}

/// A regular expression that is looked for in a command line (the arguments, joined by spaces).
#[derive(Debug, Clone)]
pub struct CommandPattern(Regex);

impl CommandPattern {
    /// Compiles the expression into at most `bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// The regex crate's error, which shows the place in the expression.
    pub fn new(expression: &str, bytes_max: usize) -> Result<Self, regex::Error> {
        let mut builder = RegexBuilder::new(expression);
        builder.size_limit(bytes_max).build().map(Self)
    }

    /// Whether it is found in `command_line`.
    pub fn is_match(&self, command_line: &[u8]) -> bool {
        self.0.is_match(command_line)
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for CommandPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for CommandPattern {}
