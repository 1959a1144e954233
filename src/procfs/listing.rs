//! Which processes there are: their ids, when they started, and their command lines.

use super::ProcRoot;
use crate::ids::{Pid, StartTime};
use std::io;
use std::path::PathBuf;

/// Bytes of a command line that are looked at.
const COMMAND_LINE_BYTES_MAX: u64 = 128 << 10;

/// Why something below `/proc` cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProcfsError {
    /// The operating system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The content is not as proc(5) describes it.
    #[error("{}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

impl ProcRoot {
    /// The ids of all processes that can be seen, in no order.
    ///
    /// # Errors
    ///
    /// When the directory cannot be listed.
    pub fn pids(&self) -> Result<Vec<Pid>, ProcfsError> {
        let io = |source| ProcfsError::Io {
            path: self.0.clone(),
            source,
        };
        let mut pids = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            pids.extend(name.to_str().and_then(|name| name.parse::<Pid>().ok()));
        }
        Ok(pids)
    }

    /// When the process started.
    ///
    /// # Errors
    ///
    /// When there is no such process, or its `stat` is malformed.
    pub fn start_time(&self, pid: Pid) -> Result<StartTime, ProcfsError> {
        let path = self.0.join(pid.to_string()).join("stat");
        let stat = std::fs::read(&path).map_err(|source| ProcfsError::Io {
            path: path.clone(),
            source,
        })?;
        // The second field is a name in parentheses that may hold spaces and parentheses itself.
        let field_22 = stat
            .iter()
            .rposition(|byte| *byte == b')')
            .and_then(|end| std::str::from_utf8(stat.get(end + 1..)?).ok())
            .and_then(|rest| rest.split_ascii_whitespace().nth(19)?.parse().ok());
        field_22.map(StartTime).ok_or(ProcfsError::Malformed {
            path,
            what: "no start time",
        })
    }

    /// The arguments of the process, each ended by a NUL byte as the kernel gives them. Empty for
    /// kernel threads and processes that have ended.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn command_line(&self, pid: Pid) -> Result<Vec<u8>, ProcfsError> {
        use std::io::Read as _;
        let path = self.0.join(pid.to_string()).join("cmdline");
        let mut bytes = Vec::new();
        std::fs::File::open(&path)
            .and_then(|file| file.take(COMMAND_LINE_BYTES_MAX).read_to_end(&mut bytes))
            .map_err(|source| ProcfsError::Io { path, source })?;
        Ok(bytes)
    }
}
