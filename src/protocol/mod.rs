//! The JSON form of a snapshot: one versioned schema, one writer, one reader.
//!
//! `snapshot.schema.json` beside this file says what the form is. The writer streams a
//! [`Snapshot`](crate::graph::Snapshot) to any [`std::io::Write`]; the reader takes any
//! [`std::io::Read`], accepts what people and other tools write by hand, and says where and why a file is wrong. Reading what
//! was written gives the same snapshot. Beside it: the answers of the agent's HTTP interface; and requests on its socket
//! and how they stand there, both ways.
//!
//! This module opens no files and knows nothing of text tables or trees: those are `cli` and
//! `render`.

mod api;
mod dto;
mod error;
mod explained;
mod fill;
mod frame;
mod layout;
mod read;
mod request;
mod scalar;
mod text;
mod write;

pub use api::{
    FindingAnswer, FindingFrameAnswer, FindingTaskAnswer, FindingsAnswer, OmittedFindings,
    ProcessAnswer, ProgressAnswer, TargetAnswer, TargetsAnswer, answer_from_json, answer_to_json,
};
pub use error::SnapshotFormatError;
pub use explained::{
    CheckAnswer, ConditionAnswer, ExplainAnswer, FixAnswer, FoundAnswer, FoundError,
    ReadableAnswer, ReaderAnswer, RuleAnswer, TableAnswer, WatchedAnswer,
};
pub use frame::{
    ANSWER_BYTES_MAX, FrameError, FrameKind, HEADER_BYTES, Header, PROTOCOL_VERSION,
    REQUEST_BYTES_MAX, read_header, read_payload, write_frame,
};
pub use read::{read_snapshot, read_snapshot_from};
pub use request::{ControlError, Request, RequestError, SOCKET_DEFAULT};
pub use write::write_snapshot;

/// The version of the form that this build writes, and the newest that it reads.
pub const SCHEMA_VERSION: u64 = 2;

/// The JSON Schema (draft 2020-12) of the form.
pub const SNAPSHOT_SCHEMA: &str = include_str!("snapshot.schema.json");

/// The largest snapshot file that is read.
pub const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;
