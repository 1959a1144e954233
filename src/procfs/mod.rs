//! What `/proc` says about processes, read under a root that tests can replace.

mod listing;

pub use listing::ProcfsError;

use std::path::PathBuf;

/// The mount point of procfs. Everything in this module reads below it.
#[derive(Debug, Clone)]
pub struct ProcRoot(PathBuf);

impl ProcRoot {
    /// A procfs mounted at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl Default for ProcRoot {
    /// `/proc`.
    fn default() -> Self {
        Self::at("/proc")
    }
}
