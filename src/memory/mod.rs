//! Access to another process's memory: addresses as types, one narrow read, copies for one snapshot.
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
mod chunks;
mod error;
mod meter;
mod process_vm;
mod reader;
#[cfg(any(test, feature = "fixtures"))]
mod synth;
mod trail;

pub use addr::RemoteAddr;
pub use bytes::{Bytes, OutOfBounds};
pub use chunks::Buffers;
pub use error::{ReadError, ReadErrorKind};
pub use meter::ReaderStats;
pub use process_vm::{ProcessVm, Sign};
pub use reader::{Moment, Reader};
#[cfg(any(test, feature = "fixtures"))]
pub use synth::SynthMemory;
pub use trail::Trail;

/// A range of a process's memory and where its copy goes.
#[derive(Debug)]
pub struct Piece<'b> {
    /// Its first address.
    pub at: RemoteAddr,
    /// As many bytes as are wanted.
    pub into: &'b mut [u8],
}

/// The one way in which the world enters: copying bytes out of a process.
pub trait ReadMemory {
    /// Fills `into` with the bytes at `at`, all of them.
    ///
    /// # Errors
    ///
    /// When the process is gone, may not be read, or a part of the range is not mapped.
    fn read_exact(&self, at: RemoteAddr, into: &mut [u8]) -> Result<(), ReadError>;

    /// Fills the pieces, one after the other, in as few system calls as possible. Gives the number of
    /// pieces filled: all of them, or those before the first that is not wholly mapped.
    ///
    /// # Errors
    ///
    /// When the process is gone or may not be read.
    fn read_pieces(&self, pieces: &mut [Piece<'_>]) -> Result<usize, ReadError> {
        for (position, piece) in pieces.iter_mut().enumerate() {
            match self.read_exact(piece.at, piece.into) {
                Ok(()) => {}
                Err(error) if error.kind == ReadErrorKind::Unmapped => return Ok(position),
                Err(error) => return Err(error),
            }
        }
        Ok(pieces.len())
    }
}
