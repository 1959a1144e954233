//! Reading a live process by `process_vm_readv` (process_vm_readv(2)): it copies between address
//! spaces without stopping the process and needs nothing but the right to trace it.

use super::{Piece, ReadError, ReadErrorKind, ReadMemory, RemoteAddr};
use crate::ids::Pid;
use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use std::io::IoSliceMut;

/// Most ranges of one call: `IOV_MAX` (limits.h of Linux), one of them for a sign.
const PIECES_MAX: usize = 1023;

/// What a program is told by from every other: what stands at this address of its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sign {
    /// Where.
    pub at: RemoteAddr,
    /// What.
    pub bytes: [u8; 16],
}

/// The memory of a live process.
#[derive(Debug, Clone, Copy)]
pub struct ProcessVm {
    pid: Pid,
    /// Of the program that alone is read.
    sign: Option<Sign>,
}

impl ProcessVm {
    /// The memory of the process `pid`. Does no access yet.
    pub fn new(pid: Pid) -> Self {
        Self { pid, sign: None }
    }

    /// As long as the process executes the program with this sign: every read is of that one, or fails with
    /// [`ReadErrorKind::OtherProgram`]. One call copies from one address space, whatever the process executes meanwhile
    /// (process_vm_rw_core() of mm/process_vm_access.c), so the sign is copied with all else that a call copies.
    #[must_use]
    pub fn only_of(self, sign: Option<Sign>) -> Self {
        Self { sign, ..self }
    }

    fn pid(self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.pid.as_raw())
    }

    fn read_some(self, at: RemoteAddr, into: &mut [u8]) -> Result<usize, ReadErrorKind> {
        let wanted = remote(at, into.len()).map_err(failure)?;
        let into = IoSliceMut::new(into);
        let Some(sign) = self.sign else {
            return process_vm_readv(self.pid(), &mut [into], &[wanted]).map_err(failure);
        };
        let mut found = Sign::default().bytes;
        let of_sign = remote(sign.at, found.len()).map_err(failure)?;
        let mut locals = [IoSliceMut::new(&mut found), into];
        let copied = process_vm_readv(self.pid(), &mut locals, &[of_sign, wanted]);
        sign.beyond(found, copied)
    }

    /// Copies these ranges, and gives how many bytes.
    fn read_ranges(
        self,
        mut locals: Vec<IoSliceMut<'_>>,
        mut remotes: Vec<RemoteIoVec>,
    ) -> Result<usize, ReadErrorKind> {
        let Some(sign) = self.sign else {
            return process_vm_readv(self.pid(), &mut locals, &remotes).map_err(failure);
        };
        let mut found = Sign::default().bytes;
        remotes.insert(0, remote(sign.at, found.len()).map_err(failure)?);
        let mut all = Vec::with_capacity(remotes.len());
        all.push(IoSliceMut::new(&mut found));
        all.extend(locals);
        let copied = process_vm_readv(self.pid(), &mut all, &remotes);
        sign.beyond(found, copied)
    }
}

impl Sign {
    /// How many bytes were copied after what stands where the sign should be.
    fn beyond(self, found: [u8; 16], copied: Result<usize, Errno>) -> Result<usize, ReadErrorKind> {
        match copied {
            Ok(copied) if found == self.bytes => Ok(copied.saturating_sub(found.len())),
            // There is nothing, not even part of it.
            Ok(_) | Err(Errno::EFAULT) => Err(ReadErrorKind::OtherProgram),
            Err(errno) => Err(failure(errno)),
        }
    }
}

fn remote(at: RemoteAddr, len: usize) -> Result<RemoteIoVec, Errno> {
    let base = usize::try_from(at.as_u64()).map_err(|_| Errno::EFAULT)?;
    Ok(RemoteIoVec { base, len })
}

/// Why a call failed.
fn failure(errno: Errno) -> ReadErrorKind {
    match errno {
        Errno::EFAULT => ReadErrorKind::Unmapped,
        Errno::ESRCH => ReadErrorKind::ProcessGone,
        Errno::EPERM | Errno::EACCES => ReadErrorKind::Denied,
        Errno::ENOSYS => ReadErrorKind::Unavailable,
        errno => ReadErrorKind::Os(errno as i32),
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
                Err(kind) => return Err(fail(kind)),
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
            let n_wanted = remotes.len();
            let locals: Vec<IoSliceMut<'_>> = batch
                .iter_mut()
                .take(n_wanted)
                .map(|piece| IoSliceMut::new(piece.into))
                .collect();
            let copied = match self.read_ranges(locals, remotes) {
                Ok(copied) => copied,
                Err(ReadErrorKind::Unmapped) => return Ok(filled),
                Err(kind) => {
                    let (at, len) = (first, 0);
                    return Err(ReadError { at, len, kind });
                }
            };
            let mut end: usize = 0;
            let whole = batch
                .iter()
                .take(n_wanted)
                .take_while(|piece| {
                    end = end.saturating_add(piece.into.len());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_but_of_the_program_with_the_sign() {
        let bytes: [u8; 16] = std::array::from_fn(|n| u8::try_from(n).unwrap());
        let place = |at: &[u8]| RemoteAddr::new(at.as_ptr().addr().try_into().unwrap());
        let (data, at) = ([7; 3000], place(&bytes));
        let own = Pid::new(std::process::id().try_into().unwrap()).unwrap();
        let nowhere = RemoteAddr::new(8);
        let read = |sign, at| {
            let memory = ProcessVm::new(own).only_of(sign);
            let mut into = [0; 3000];
            let one = memory.read_exact(at, &mut into).map(|()| into);
            let mut parts = vec![[0; 1]; 3000];
            let places = (0..3000).map(|n| match n {
                2500 => at,
                _ => place(&data).plus(n),
            });
            let pieces = places.zip(&mut parts);
            let mut pieces: Vec<_> = pieces.map(|(at, into)| Piece { at, into }).collect();
            let many = memory.read_pieces(&mut pieces).map_err(|error| error.kind);
            (one.map_err(|error| error.kind), many)
        };
        let changed = [1; 16];
        for sign in [None, Some(Sign { at, bytes })] {
            assert_eq!(read(sign, place(&data)), (Ok(data), Ok(3000)));
            let unmapped = Err(ReadErrorKind::Unmapped);
            assert_eq!(read(sign, nowhere), (unmapped, Ok(2500)));
        }
        for (at, bytes) in [(at, changed), (nowhere, bytes)] {
            let other = ReadErrorKind::OtherProgram;
            let found = read(Some(Sign { at, bytes }), place(&data));
            assert_eq!(found, (Err(other), Err(other)));
        }
    }
}
