//! Reading a live process by `process_vm_readv` (process_vm_readv(2)): it copies between address
//! spaces without stopping the process and needs nothing but the right to trace it.

use super::{Piece, ReadError, ReadErrorKind, ReadMemory, RemoteAddr};
use crate::ids::Pid;
use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use std::io::IoSliceMut;

/// Most ranges of one call (`IOV_MAX`, limits.h of Linux).
const PIECES_MAX: usize = 1024;

/// The memory of a live process.
#[derive(Debug, Clone, Copy)]
pub struct ProcessVm {
    pid: Pid,
}

impl ProcessVm {
    /// The memory of the process `pid`. Does no access yet.
    pub fn new(pid: Pid) -> Self {
        Self { pid }
    }

    fn pid(self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.pid.as_raw())
    }

    fn read_some(self, at: RemoteAddr, into: &mut [u8]) -> Result<usize, Errno> {
        let remote = [remote(at, into.len())?];
        process_vm_readv(self.pid(), &mut [IoSliceMut::new(into)], &remote)
    }
}

fn remote(at: RemoteAddr, len: usize) -> Result<RemoteIoVec, Errno> {
    let base = usize::try_from(at.as_u64()).map_err(|_| Errno::EFAULT)?;
    Ok(RemoteIoVec { base, len })
}

/// Why a call failed; `None` if only because the range is not mapped.
fn failure(errno: Errno) -> Option<ReadErrorKind> {
    match errno {
        Errno::EFAULT => None,
        Errno::ESRCH => Some(ReadErrorKind::ProcessGone),
        Errno::EPERM | Errno::EACCES => Some(ReadErrorKind::Denied),
        Errno::ENOSYS => Some(ReadErrorKind::Unavailable),
        errno => Some(ReadErrorKind::Os(errno as i32)),
    }
}

impl ReadMemory for ProcessVm {
    fn read_exact(&self, at: RemoteAddr, into: &mut [u8]) -> Result<(), ReadError> {
        let len = into.len();
        let fail = |kind| ReadError { at, len, kind };
        let mut rest = into;
        let mut next = at;
        while !rest.is_empty() {
            // A short count means that the next byte is not mapped; asking again from there gives
            // the reason.
            match self.read_some(next, rest) {
                Ok(0) => return Err(fail(ReadErrorKind::Unmapped)),
                Ok(n) => {
                    rest = rest.get_mut(n..).unwrap_or_default();
                    next = next.plus(u64::try_from(n).unwrap_or(u64::MAX));
                }
                Err(errno) => {
                    return Err(fail(failure(errno).unwrap_or(ReadErrorKind::Unmapped)));
                }
            }
        }
        Ok(())
    }

    fn read_pieces(&self, pieces: &mut [Piece<'_>]) -> Result<usize, ReadError> {
        let mut filled: usize = 0;
        for batch in pieces.chunks_mut(PIECES_MAX) {
            let mut remotes = Vec::with_capacity(batch.len());
            for piece in batch.iter() {
                // An address that no pointer of ours can hold is nothing that is mapped.
                let Ok(remote) = remote(piece.at, piece.into.len()) else {
                    break;
                };
                remotes.push(remote);
            }
            let first = batch.first().map_or(RemoteAddr::NULL, |piece| piece.at);
            let mut locals: Vec<IoSliceMut<'_>> = batch
                .iter_mut()
                .take(remotes.len())
                .map(|piece| IoSliceMut::new(piece.into))
                .collect();
            let copied = match process_vm_readv(self.pid(), &mut locals, &remotes) {
                Ok(copied) => copied,
                Err(errno) => match failure(errno) {
                    None => return Ok(filled),
                    Some(kind) => {
                        let (at, len) = (first, 0);
                        return Err(ReadError { at, len, kind });
                    }
                },
            };
            let mut end: usize = 0;
            let whole = remotes
                .iter()
                .take_while(|remote| {
                    end = end.saturating_add(remote.len);
                    end <= copied
                })
                .count();
            filled = filled.saturating_add(whole);
            if whole < batch.len() {
                break;
            }
        }
        Ok(filled)
    }
}
