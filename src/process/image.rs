//! What program a process executes, and whether it is still the same: a process that executes another
//! one (execve(2)) keeps its pid and its start time.
//!
//! A program is told by its sign: 16 random bytes that the kernel gives each (`AT_RANDOM`), and where they are. Nothing
//! else is sure to differ: without randomisation of addresses, a program that executes itself has the same mappings again.
//!
//! The bytes are in the memory of the program, which can change them, and whoever writes programs can give two of theirs the
//! same sign. That matters when one of them executes a third of another user (a setuid program) that executes the other in
//! the end: so it does not do to look before and after a read whether the sign is the same. It is copied with whatever is
//! read ([`ProcessVm::only_of`]), and that third program, whose addresses are random and whose own sign nobody else knows, has
//! at that very address what was chosen for it by chance only ([`is_telling`]): its arguments, which others choose, fill a part of the
//! addresses at which a stack may be, one in some thousand. What is read for an owner on demand does not rest on it
//! (`procfs/owner_watch.rs`).

use crate::ids::Pid;
use crate::memory::{ProcessVm, ReadMemory, RemoteAddr, Sign};
use crate::procfs::{Auxv, Maps, ProcRoot, ProcfsError};
use std::thread;
use std::time::Duration;

/// How long a process is given to become another one.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How many times so, if it does not sleep.
const LOOKS_AGAIN_MAX: u32 = 20;

/// Bytes of a stack in which the sign is looked for: room for 16 000 arguments and variables.
const STACK_BYTES_MAX: usize = 128 << 10;
/// Bytes of the stack that are read at once: what comes after them may not be mapped.
const PAGE_BYTES: u64 = 4096;

/// Below this address a program without randomisation has what every process that executes it has there.
const RANDOM_FROM: u64 = 1 << 40;
/// Different bytes that a sign has at least. Of one in a million million programs fewer of the 16 differ; much of any memory is
/// zeros, or pointers to the same few objects.
const BYTES_THAT_DIFFER_MIN: usize = 8;

/// The sign of the program that the process or thread `pid` executes; `None` if that cannot be told.
pub fn sign_of(root: &ProcRoot, pid: Pid) -> Option<Sign> {
    find_sign(root, pid, root.auxv(pid).ok())
}

/// The same, by what the process was told, if that may be read.
fn find_sign(root: &ProcRoot, thread: Pid, auxv: Option<Auxv>) -> Option<Sign> {
    let at = match auxv {
        Some(Auxv::Random(at)) => at,
        Some(Auxv::Missing | Auxv::Unset) => return None,
        None => random_by_stack(root, thread)?,
    };
    let mut sign = Sign {
        at,
        ..Sign::default()
    };
    let read = ProcessVm::new(thread).read_exact(at, &mut sign.bytes);
    read.is_ok().then_some(sign).filter(is_telling)
}

fn random_by_stack(root: &ProcRoot, thread: Pid) -> Option<RemoteAddr> {
    let mut at = root.stat(thread).ok()?.stack_start;
    let memory = ProcessVm::new(thread);
    let mut bytes = Vec::new();
    while bytes.len() < STACK_BYTES_MAX {
        let in_page = PAGE_BYTES.saturating_sub(at.as_u64() % PAGE_BYTES);
        let known = bytes.len();
        bytes.resize(known.saturating_add(usize::try_from(in_page).ok()?), 0);
        memory.read_exact(at, bytes.get_mut(known..)?).ok()?;
        if let Some(at) = Auxv::random_by_stack(&bytes) {
            return Some(at);
        }
        at = at.plus(in_page);
    }
    None
}

/// Whether another program is not going to have the same there, even if whoever made this one wants that: what is there
/// is not what is anywhere, and not where it can be foreseen what other programs have.
fn is_telling(sign: &Sign) -> bool {
    let mut bytes = sign.bytes;
    bytes.sort_unstable();
    let n_different = bytes.chunk_by(|a, b| a == b).count();
    let at = sign.at.as_u64();
    // In the upper half is the kernel, with a page that all processes see.
    at >= RANDOM_FROM && at >> 63 == 0 && n_different >= BYTES_THAT_DIFFER_MIN
}

/// What a process executes at a moment. Whatever cannot be found out is left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) sign: Option<Sign>,
    /// It is in the middle of execve(2).
    pub(super) is_unfinished: bool,
    /// Where files are mapped ([`Maps::layout`]): the program, and its libraries as they are loaded.
    layout: u64,
}

impl Image {
    /// What the process executes that has this thread, and its mappings.
    ///
    /// # Errors
    ///
    /// When its mappings cannot be read.
    pub(super) fn look(root: &ProcRoot, thread: Pid) -> Result<(Self, Maps), ProcfsError> {
        let look = |thread| root.maps(thread).map(|maps| (maps.layout, maps));
        Self::look_by(root, thread, look)
    }

    /// The same, by whatever tells the layout of its mappings.
    fn look_by<T>(
        root: &ProcRoot,
        thread: Pid,
        layout: impl FnOnce(Pid) -> Result<(u64, T), ProcfsError>,
    ) -> Result<(Self, T), ProcfsError> {
        // Before the mappings: what is found by them must not be taken for a later program's.
        let auxv = root.auxv(thread).ok();
        let sign = find_sign(root, thread, auxv);
        let (layout, told) = layout(thread)?;
        let image = Self {
            sign,
            is_unfinished: auxv == Some(Auxv::Unset),
            layout,
        };
        Ok((image, told))
    }

    /// Whether the process `pid` executes this still, a moment later: it neither executes another
    /// program nor loads more of this one. One that does not sleep is given longer, because it may wait
    /// for a processor to do so.
    pub(super) fn has_settled(&self, root: &ProcRoot, pid: Pid, thread: Pid) -> bool {
        let layout = |thread| Ok((root.layout(thread)?, ()));
        let is_same = || Self::look_by(root, thread, layout).is_ok_and(|(now, ())| now == *self);
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
    use crate::memory::ReadErrorKind;
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
        let root = ProcRoot::default();
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
            let memory = ProcessVm::new(pid).only_of(before.sign);
            let read = || memory.read_exact(before.sign.unwrap().at, &mut [0]);
            read().unwrap();
            child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
            let error = loop {
                match read() {
                    Ok(()) => thread::yield_now(),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind, ReadErrorKind::OtherProgram);
            let after = settled();
            assert_eq!(after.layout, before.layout);
            assert_ne!(after, before);
            before = after;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Who may not open `auxv` finds the same, whatever else is on the stack.
    #[test]
    fn the_sign_is_found_on_the_stack() {
        let root = ProcRoot::default();
        for n_arguments in [0, 3_000] {
            let mut child = Command::new("sh")
                .args(["-c", "read line", "sh"])
                .args(vec!["x"; n_arguments])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let pid = Pid::new(child.id().try_into().unwrap()).unwrap();
            // The kernel may still be making it.
            let mut tries = (0..2_000).map(|_| {
                thread::sleep(Duration::from_millis(1));
                let random = random_by_stack(&root, pid).map(Auxv::Random);
                random.is_some() && root.auxv(pid).ok() == random
            });
            assert!(tries.any(|is_found| is_found));
            let sign = sign_of(&root, pid).unwrap();
            assert_eq!(find_sign(&root, pid, None), Some(sign));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn what_may_be_anywhere_tells_nothing() {
        let bytes: [u8; 16] = std::array::from_fn(|n| u8::try_from(n).unwrap());
        let tells = |at, bytes| {
            let at = RemoteAddr::new(at);
            is_telling(&Sign { at, bytes })
        };
        let at = 0x7ffe_0000_0000;
        assert!(tells(at, bytes));
        assert!(!tells(0x40_0000, bytes) && !tells(0xffff_ffff_ff60_0000, bytes));
        assert!(!tells(at, [0; 16]) && !tells(at, bytes.map(|byte| byte % 7)));
    }
}
