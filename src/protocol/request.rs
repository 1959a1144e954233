//! What the agent can be asked on its socket, and what it says when there is no answer: JSON, which stands in a
//! frame. Answers are the JSON of the HTTP interface, and snapshots.

use crate::ids::Pid;
use serde::{Deserialize, Serialize};

/// Where the agent listens when it is a service, and where `agentctl` looks for it.
pub const SOCKET_DEFAULT: &str = "/run/asyncio-agent/agent.sock";

/// What the agent can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The tasks of a process, read now.
    Snapshot(Pid),
    /// Whether a process is watched, whether it can be read, and what was found in it.
    Explain(Pid),
    /// Cycles and stuck tasks that are open.
    Findings,
    /// The targets and their processes.
    Targets,
}

/// A request as it is written: `{"snapshot":{"pid":7}}`, `{"explain":{"pid":7}}`, `"findings"`, `"targets"`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Written {
    Snapshot { pid: i32 },
    Explain { pid: i32 },
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
}

impl Request {
    /// What it asks for, in a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshot(_) => "snapshot",
            Self::Explain(_) => "explain",
            Self::Findings => "findings",
            Self::Targets => "targets",
        }
    }

    /// The process that it asks for.
    pub fn pid(self) -> Option<Pid> {
        match self {
            Self::Snapshot(pid) | Self::Explain(pid) => Some(pid),
            Self::Findings | Self::Targets => None,
        }
    }

    /// As JSON.
    pub fn to_json(self) -> Vec<u8> {
        let written = match self {
            Self::Snapshot(pid) => Written::Snapshot { pid: pid.as_raw() },
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
        Ok(match serde_json::from_slice(json)? {
            Written::Snapshot { pid } => Self::Snapshot(id(pid)?),
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
        for (request, json) in [
            (Request::Snapshot(pid), r#"{"snapshot":{"pid":2147483647}}"#),
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
