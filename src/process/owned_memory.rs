//! The memory of a process, as it is read for its owner.

use crate::memory::{Piece, ProcessVm, ReadError, ReadMemory, RemoteAddr};
use crate::procfs::{OwnerWatch, ProcRoot};

/// The memory of a process, watched over if it is read for its owner.
#[derive(Debug)]
pub(super) struct OwnedMemory {
    memory: ProcessVm,
    watch: Option<OwnerWatch>,
}

impl OwnedMemory {
    /// `memory`, watched over as `root` is.
    pub(super) fn new(memory: ProcessVm, root: &ProcRoot) -> Self {
        Self {
            memory,
            watch: root.watch().cloned(),
        }
    }

    fn look<T>(&self, mut read: impl FnMut(&ProcessVm) -> T) -> T {
        match &self.watch {
            Some(watch) => watch.read(|| read(&self.memory)),
            None => read(&self.memory),
        }
    }
}

impl ReadMemory for OwnedMemory {
    fn read_exact(&self, at: RemoteAddr, into: &mut [u8]) -> Result<(), ReadError> {
        self.look(|memory| memory.read_exact(at, into))
    }

    fn read_pieces(&self, pieces: &mut [Piece<'_>]) -> Result<usize, ReadError> {
        self.look(|memory| memory.read_pieces(pieces))
    }
}
