//! The answer to [`Request::Explain`](super::Request::Explain), as JSON: whether a process is watched, whether it can be
//! read, what was found in it, and what to do about what stands in the way.
//!
//! All texts may quote a process, a configuration or a security module: they may hold anything.

use super::api::ProcessAnswer;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A word of ours: one of few.
type Word = Cow<'static, str>;

/// What can be said of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplainAnswer {
    /// Its id.
    pub pid: i32,
    /// Its command line, its arguments joined by spaces; `None` if it has none.
    pub command: Option<String>,
    /// Its real, effective and saved user id.
    pub users: Option<[u32; 3]>,
    /// Who looked at it.
    pub reader: ReaderAnswer,
    /// Whether it is watched.
    pub watched: WatchedAnswer,
    /// Whether it can be read.
    pub readable: ReadableAnswer,
    /// What was found in it.
    pub found: FoundAnswer,
    /// What to do about what stands in the way.
    pub fixes: Vec<FixAnswer>,
}

/// Who looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderAnswer {
    /// `agentctl` or `asyncio-agent`.
    pub program: Word,
    /// Its process.
    pub pid: u32,
    /// Its user.
    pub user: Option<u32>,
}

/// Whether a process is watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchedAnswer {
    /// `watched`; `soon`: from the next look at the processes on; `would_be`: by an agent with this configuration;
    /// `left_out`: a rule holds, and yet it is not; `unclear`; `no`.
    pub state: Word,
    /// Why, in a sentence.
    pub why: String,
    /// The target that it belongs to.
    pub target: Option<String>,
    /// The rule by which it does.
    pub rule: Option<String>,
    /// What the agent knows of it; `None` if it does not watch it, or was not asked.
    pub now: Option<ProcessAnswer>,
    /// The rules, in the order of the configuration.
    pub rules: Vec<RuleAnswer>,
}

/// A rule: a map of `match` or of `exclude`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleAnswer {
    /// Where it stands in the configuration, such as `targets[0].match[1]`.
    pub path: String,
    /// Whether it holds; `None` if that cannot be found out.
    pub holds: Option<bool>,
    /// Why it decides nothing although it holds, or what it decides.
    pub note: Option<String>,
    /// Its conditions.
    pub conditions: Vec<ConditionAnswer>,
}

/// A condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionAnswer {
    /// Its key.
    pub key: Word,
    /// What it wants.
    pub wanted: String,
    /// What the process has; `None`: nothing, or it may not be looked at.
    pub found: Option<String>,
    /// Whether it holds; `None` if that cannot be found out.
    pub holds: Option<bool>,
}

/// Whether a process can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadableAnswer {
    /// Whether it can.
    pub is_readable: bool,
    /// The parts of the kernel's rule.
    pub checks: Vec<CheckAnswer>,
}

/// A part of the kernel's rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// Which part, such as `user` or `ptrace_scope`.
    pub check: Word,
    /// `fine`, `blocks` or `unknown`.
    pub verdict: Word,
    /// What was found, in words.
    pub finding: String,
}

/// What was found in a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct FoundAnswer {
    /// Why nothing was.
    pub error: Option<FoundError>,
    /// The version of Python.
    pub python_version: Option<String>,
    /// Whether it is a free-threaded build.
    pub free_threaded: Option<bool>,
    /// The executable file.
    pub executable: Option<String>,
    /// The tables in which Python and asyncio describe themselves.
    pub tables: Vec<TableAnswer>,
    /// Threads that have tasks.
    pub threads: u64,
    /// Threads that run an event loop.
    pub loops: u64,
    /// Tasks that are not done.
    pub tasks: u64,
    /// Nothing is known to be missing.
    pub is_complete: bool,
    /// What is missing: problems by their code.
    pub problems: BTreeMap<String, u64>,
}

/// Why nothing was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundError {
    /// The stable code of a process that cannot be read.
    pub code: Word,
    /// In words.
    pub message: String,
}

/// A table in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableAnswer {
    /// The section of a file in which it stands.
    pub section: Word,
    /// Where it is, in hexadecimal digits.
    pub address: Option<String>,
    /// The file that is mapped there.
    pub file: Option<String>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixAnswer {
    /// What it is about: `watched`, `readable` or `found`.
    pub about: Word,
    /// In words.
    pub text: String,
}
