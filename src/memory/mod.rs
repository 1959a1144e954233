//! Access to another process's memory: addresses as types, one narrow read, a cache for one snapshot.
//!
//! Everything above reads through [`Reader`]; everything below is one implementation of
//! [`ReadMemory`]. Nothing here knows what the bytes mean.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

mod addr;
mod bytes;
mod error;
mod process_vm;
mod reader;
#[cfg(any(test, feature = "fixtures"))]
mod synth;

pub use addr::RemoteAddr;
pub use bytes::{Bytes, OutOfBounds};
pub use error::{ReadError, ReadErrorKind};
pub use process_vm::ProcessVm;
pub use reader::{Reader, ReaderStats};
#[cfg(any(test, feature = "fixtures"))]
pub use synth::SynthMemory;

/// The one way in which the world enters: copying bytes out of a process.
pub trait ReadMemory {
    /// Fills `into` with the bytes at `at`, all of them.
    ///
    /// # Errors
    ///
    /// When the process is gone, may not be read, or a part of the range is not mapped.
    fn read_exact(&self, at: RemoteAddr, into: &mut [u8]) -> Result<(), ReadError>;
}
