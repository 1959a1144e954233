//! What program a process executes, and whether it is still the same: a process that executes another
//! one (execve(2)) keeps its pid and its start time.

use crate::ids::Pid;
use crate::memory::{ProcessVm, ReadError, ReadErrorKind, ReadMemory, RemoteAddr};
use crate::procfs::{Auxv, Maps, ProcRoot, ProcfsError};
use std::thread;
use std::time::Duration;

/// How long a process is given to become another one.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How many times so, if it does not sleep.
const LOOKS_AGAIN_MAX: u32 = 20;

/// The sign of one execve(2): 16 random bytes that the kernel gives each program (`AT_RANDOM`), and where
/// they are. Nothing else is sure to differ: without randomisation of addresses, a program that executes
/// itself has the same mappings again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sign {
    at: RemoteAddr,
    random: [u8; 16],
}

impl Sign {
    fn read(memory: &ProcessVm, at: RemoteAddr) -> Result<Self, ReadError> {
        let mut random = [0; 16];
        memory.read_exact(at, &mut random)?;
        Ok(Self { at, random })
    }

    /// Whether the process has executed another program since.
    ///
    /// # Errors
    ///
    /// When its memory cannot be read.
    pub(super) fn is_gone(&self, memory: &ProcessVm) -> Result<bool, ReadError> {
        match Self::read(memory, self.at) {
            Ok(now) => Ok(now != *self),
            Err(error) if error.kind == ReadErrorKind::Unmapped => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// What a process executes at a moment. Whatever cannot be found out is left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) sign: Option<Sign>,
    /// It is in the middle of execve(2).
    pub(super) is_unfinished: bool,
    /// Where files are mapped: the program, and its libraries as they are loaded.
    files: Vec<(u64, u64)>,
}

impl Image {
    /// What the process executes that has this thread, and its mappings.
    ///
    /// # Errors
    ///
    /// When its mappings cannot be read.
    pub(super) fn look(root: &ProcRoot, thread: Pid) -> Result<(Self, Maps), ProcfsError> {
        // Before the mappings: what is found by them must not be taken for a later program's.
        let auxv = root.auxv(thread).unwrap_or(Auxv::Missing);
        let sign = match auxv {
            Auxv::Random(at) => Sign::read(&ProcessVm::new(thread), at).ok(),
            Auxv::Missing | Auxv::Unset => None,
        };
        let maps = root.maps(thread)?;
        let files = maps.mappings.iter().filter(|mapping| mapping.is_file());
        let image = Self {
            sign,
            is_unfinished: auxv == Auxv::Unset,
            files: files.map(|file| (file.start, file.inode)).collect(),
        };
        Ok((image, maps))
    }

    /// Whether the process `pid` executes this still, a moment later: it neither executes another
    /// program nor loads more of this one. One that does not sleep is given longer, because it may wait
    /// for a processor to do so.
    pub(super) fn has_settled(&self, root: &ProcRoot, pid: Pid, thread: Pid) -> bool {
        let is_same = || Self::look(root, thread).is_ok_and(|(now, _)| now == *self);
        for _ in 0..LOOKS_AGAIN_MAX {
            let is_asleep = root.asleep(pid).is_some();
            thread::sleep(LOOK_AGAIN);
            if self.is_unfinished || !is_same() {
                return false;
            }
            if is_asleep {
                break;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// Without randomisation of addresses a program that executes itself is where it was.
    #[test]
    fn a_program_is_told_from_itself_executed_anew() {
        let again = "read line; exec sh -c \"$0\" \"$0\"";
        let mut child = Command::new("setarch")
            .args(["-R", "sh", "-c", again, again])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::new(child.id().try_into().unwrap()).unwrap();
        let (root, memory) = (ProcRoot::default(), ProcessVm::new(pid));
        let settled = || {
            loop {
                let (image, _) = Image::look(&root, pid).unwrap();
                let is_shell = root.status(pid).unwrap().name == "sh";
                if is_shell && root.asleep(pid).is_some() && image.has_settled(&root, pid, pid) {
                    return image;
                }
            }
        };
        let mut before = settled();
        for _ in 0..3 {
            let sign = before.sign.unwrap();
            assert!(!sign.is_gone(&memory).unwrap());
            child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
            while !sign.is_gone(&memory).unwrap() {
                thread::yield_now();
            }
            let after = settled();
            assert_eq!(after.files, before.files);
            assert_ne!(after, before);
            before = after;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
