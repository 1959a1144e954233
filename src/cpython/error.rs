//! Why a structure of the interpreter could not be decoded.

use crate::limits::LimitHit;
use crate::memory::{OutOfBounds, ReadError, ReadErrorKind, RemoteAddr};

/// A structure that could not be decoded. Costs the task it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Its bytes could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A field lies outside of its object, by the process's own table.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
    /// A value that cannot be true.
    #[error("implausible {what} {value:#x} at {at}")]
    Implausible {
        /// Which value.
        what: &'static str,
        /// The value.
        value: u64,
        /// The object it is in.
        at: RemoteAddr,
    },
    /// A cap was reached.
    #[error("{0}")]
    Limit(LimitHit),
}

impl DecodeError {
    /// That an object can be at `at`.
    ///
    /// # Errors
    ///
    /// When none can.
    pub fn check_address(what: &'static str, at: RemoteAddr) -> Result<(), Self> {
        let value = at.as_u64();
        match at.is_plausible() {
            true => Ok(()),
            false => Err(Self::Implausible { what, value, at }),
        }
    }

    /// Whether the process cannot be read at all any more.
    pub fn is_fatal(self) -> bool {
        matches!(self, Self::Read(error) if error.kind.is_fatal())
    }

    /// Whether a cap ended it.
    pub fn is_limit(self) -> bool {
        self.limit().is_some()
    }

    /// The cap that ended it, of [`crate::limits::LIMITS`].
    pub fn limit(self) -> Option<&'static str> {
        match self {
            Self::Read(error) => match error.kind {
                ReadErrorKind::Limit(what) => Some(what),
                _ => None,
            },
            Self::Limit(hit) => Some(hit.what),
            Self::OutOfBounds(_) | Self::Implausible { .. } => None,
        }
    }

    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Read(error) => error.kind.code(),
            Self::OutOfBounds(_) => "field_out_of_bounds",
            Self::Implausible { .. } => "implausible_value",
            Self::Limit(_) => "limit_hit",
        }
    }

    /// The remote address it happened at.
    pub fn at(self) -> Option<RemoteAddr> {
        match self {
            Self::Read(ReadError { at, kind, .. }) => {
                (!matches!(kind, ReadErrorKind::Limit(_))).then_some(at)
            }
            Self::Implausible { at, .. } => Some(at),
            Self::OutOfBounds(_) | Self::Limit(_) => None,
        }
    }
}
