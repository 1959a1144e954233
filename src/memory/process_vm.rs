//! Reading a live process by `process_vm_readv` (process_vm_readv(2)): it copies between address
//! spaces without stopping the process and needs nothing but the right to trace it.

use super::{ReadError, ReadErrorKind, ReadMemory, RemoteAddr};
use crate::ids::Pid;
use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use std::io::IoSliceMut;

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

    fn read_some(self, at: RemoteAddr, into: &mut [u8]) -> Result<usize, Errno> {
        let base = usize::try_from(at.as_u64()).map_err(|_| Errno::EFAULT)?;
        let remote = [RemoteIoVec {
            base,
            len: into.len(),
        }];
        let pid = nix::unistd::Pid::from_raw(self.pid.as_raw());
        process_vm_readv(pid, &mut [IoSliceMut::new(into)], &remote)
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
                Ok(0) | Err(Errno::EFAULT) => return Err(fail(ReadErrorKind::Unmapped)),
                Ok(n) => {
                    rest = rest.get_mut(n..).unwrap_or_default();
                    next = next.plus(u64::try_from(n).unwrap_or(u64::MAX));
                }
                Err(Errno::ESRCH) => return Err(fail(ReadErrorKind::ProcessGone)),
                Err(Errno::EPERM | Errno::EACCES) => return Err(fail(ReadErrorKind::Denied)),
                Err(errno) => return Err(fail(ReadErrorKind::Os(errno as i32))),
            }
        }
        Ok(())
    }
}
