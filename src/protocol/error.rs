//! Why a text is not a snapshot, and where in it that shows.

use super::SNAPSHOT_BYTES_MAX;

/// Why bytes are not a snapshot. `Display` gives the reason without the position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotFormatError {
    /// There is nothing in it.
    #[error("empty; expected a JSON object with \"threads\"")]
    Empty,
    /// It is larger than [`SNAPSHOT_BYTES_MAX`].
    #[error("larger than {} MiB, the most that is read", SNAPSHOT_BYTES_MAX >> 20)]
    TooLarge,
    /// It begins with a byte order mark.
    #[error("begins with a byte order mark; save it as UTF-8 without one")]
    ByteOrderMark,
    /// It begins as UTF-16 or UTF-32 text does.
    #[error("UTF-16 or UTF-32 text; save it as UTF-8")]
    WideText,
    /// Some bytes are not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8 {
        /// The line of the first bad byte, from 1.
        line: usize,
        /// Its column in bytes, from 1.
        column: usize,
    },
    /// It is not JSON, or not JSON of the schema.
    #[error("{}{what}", at(path))]
    Json {
        /// The line at which the reader stopped, from 1.
        line: usize,
        /// The column in bytes, from 1; 0 stands before the first byte of the line.
        column: usize,
        /// The value that is wrong, such as `threads[0].tasks[3].task_id`; empty for the whole file.
        path: String,
        /// What is wrong and what was expected.
        what: String,
    },
}

impl SnapshotFormatError {
    /// The stable snake_case code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "snapshot_empty",
            Self::TooLarge => "snapshot_too_large",
            Self::ByteOrderMark | Self::WideText | Self::NotUtf8 { .. } => "snapshot_not_utf8",
            Self::Json { .. } => "snapshot_malformed",
        }
    }

    /// Line and column in bytes, both from 1, where a position is known.
    pub fn position(&self) -> Option<(usize, usize)> {
        match self {
            Self::Empty | Self::TooLarge => None,
            Self::ByteOrderMark | Self::WideText => Some((1, 1)),
            Self::NotUtf8 { line, column } | Self::Json { line, column, .. } => {
                Some((*line, (*column).max(1)))
            }
        }
    }
}

/// The path as the beginning of a message.
fn at(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!("{path}: ")
    }
}
