//! What the agent can be asked on its socket, and what it says when there is no answer: JSON, which stands in a
//! frame. Answers are the JSON of the HTTP interface, and snapshots.

use crate::ids::Pid;
use crate::limits::PAUSE_LIMITS;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where the agent listens when it is a service, and where `agentctl` looks for it.
pub const SOCKET_DEFAULT: &str = "/run/asyncio-agent/agent.sock";

/// What the agent can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The tasks of a process, read now.
    Snapshot {
        /// Which.
        pid: Pid,
        /// It is to be stopped meanwhile, for no longer than this, which is one of [`PAUSE_LIMITS`]. `None`: it is not.
        freeze: Option<Duration>,
    },
    /// Whether a process is watched, whether it can be read, and what was found in it.
    Explain(Pid),
    /// Cycles and stuck tasks that are open.
    Findings,
    /// The targets and their processes.
    Targets,
}

/// A request as it is written: `{"snapshot":{"pid":7}}`, `{"snapshot":{"pid":7,"freeze_ms":50}}`, `{"explain":{"pid":7}}`,
/// `"findings"`, `"targets"`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Written {
    Snapshot {
        pid: i32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        freeze_ms: Option<u32>,
    },
    Explain {
        pid: i32,
    },
    Findings,
    Targets,
}

/// Why a text is no request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It is not JSON of a request.
    #[error("not a request: {0}")]
    Malformed(#[from] serde_json::Error),
    /// No process can have this id.
    #[error("{0} is not the id of a process")]
    NoPid(i32),
    /// No process can be stopped for so long.
    #[error("a process can be stopped for 1 to 10000 ms, not for {0}")]
    NoPause(u32),
}

impl Request {
    /// What it asks for, in a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshot { .. } => "snapshot",
            Self::Explain(_) => "explain",
            Self::Findings => "findings",
            Self::Targets => "targets",
        }
    }

    /// The process that it asks for.
    pub fn pid(self) -> Option<Pid> {
        match self {
            Self::Snapshot { pid, .. } | Self::Explain(pid) => Some(pid),
            Self::Findings | Self::Targets => None,
        }
    }

    /// For how long at most the process is to be stopped, if it is.
    pub fn freeze(self) -> Option<Duration> {
        match self {
            Self::Snapshot { freeze, .. } => freeze,
            Self::Explain(_) | Self::Findings | Self::Targets => None,
        }
    }

    /// As JSON.
    pub fn to_json(self) -> Vec<u8> {
        let written = match self {
            Self::Snapshot { pid, freeze } => Written::Snapshot {
                pid: pid.as_raw(),
                freeze_ms: freeze.map(|it| u32::try_from(it.as_millis()).unwrap_or(u32::MAX)),
            },
            Self::Explain(pid) => Written::Explain { pid: pid.as_raw() },
            Self::Findings => Written::Findings,
            Self::Targets => Written::Targets,
        };
        serde_json::to_vec(&written).expect("numbers and words can be written as JSON")
    }

    /// Reads what [`Self::to_json`] writes.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn from_json(json: &[u8]) -> Result<Self, RequestError> {
        let id = |pid| Pid::new(pid).ok_or(RequestError::NoPid(pid));
        let pause = |ms: u32| {
            let pause = Some(Duration::from_millis(ms.into()));
            pause
                .filter(|pause| PAUSE_LIMITS.contains(pause))
                .ok_or(RequestError::NoPause(ms))
        };
        Ok(match serde_json::from_slice(json)? {
            Written::Snapshot { pid, freeze_ms } => Self::Snapshot {
                pid: id(pid)?,
                freeze: freeze_ms.map(pause).transpose()?,
            },
            Written::Explain { pid } => Self::Explain(id(pid)?),
            Written::Findings => Self::Findings,
            Written::Targets => Self::Targets,
        })
    }
}

/// Why the agent does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// The stable snake_case code: one of a process that cannot be read, or one of those in `ARCHITECTURE.md`.
    pub code: String,
    /// What is wrong. May quote names of a process: anything.
    pub message: String,
    /// What can be done about it.
    #[serde(default)]
    pub hints: Vec<String>,
}

impl ControlError {
    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        super::answer_to_json(self)
    }

    /// Reads what [`Self::to_json`] writes.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_read_as_they_were_written() {
        let pid = Pid::new(i32::MAX).unwrap();
        let snapshot = |ms: Option<u64>| Request::Snapshot {
            pid,
            freeze: ms.map(Duration::from_millis),
        };
        for (request, json) in [
            (snapshot(None), r#"{"snapshot":{"pid":2147483647}}"#),
            (
                snapshot(Some(1)),
                r#"{"snapshot":{"pid":2147483647,"freeze_ms":1}}"#,
            ),
            (
                snapshot(Some(10_000)),
                r#"{"snapshot":{"pid":2147483647,"freeze_ms":10000}}"#,
            ),
            (Request::Explain(pid), r#"{"explain":{"pid":2147483647}}"#),
            (Request::Findings, r#""findings""#),
            (Request::Targets, r#""targets""#),
        ] {
            assert_eq!(String::from_utf8(request.to_json()).unwrap(), json);
            assert_eq!(Request::from_json(json.as_bytes()).unwrap(), request);
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            "",
            "{}",
            "7",
            r#""snapshot""#,
            r#""everything""#,
            r#"{"snapshot":{}}"#,
            r#"{"snapshot":{"pid":0}}"#,
            r#"{"snapshot":{"pid":-1}}"#,
            r#"{"snapshot":{"pid":4294967297}}"#,
            r#"{"snapshot":{"pid":"7"}}"#,
            r#"{"snapshot":{"pid":7,"freeze":true}}"#,
            r#"{"snapshot":{"pid":7,"freeze_ms":0}}"#,
            r#"{"snapshot":{"pid":7,"freeze_ms":10001}}"#,
            r#"{"snapshot":{"pid":7,"freeze_ms":-1}}"#,
            r#"{"snapshot":{"pid":7,"freeze_ms":true}}"#,
            r#"{"explain":{"pid":7,"freeze_ms":50}}"#,
            r#""explain""#,
            r#"{"explain":{"pid":0}}"#,
            r#"{"snapshot":{"pid":7},"targets":null}"#,
            r#""targets" x"#,
        ] {
            assert!(Request::from_json(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::from_json(&bytes);
            let _ = ControlError::from_json(&bytes);
        }

        #[test]
        fn errors_are_read_as_they_were_written(code: String, message: String, hint: String) {
            let hints = vec![hint];
            let error = ControlError { code, message, hints };
            prop_assert_eq!(ControlError::from_json(&error.to_json()).unwrap(), error);
        }
    }
}
