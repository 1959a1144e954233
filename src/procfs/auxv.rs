//! What the kernel told the program when it was executed (getauxval(3)): in `/proc/PID/auxv`, which only the user of the
//! process and root may open, and on the stack of the program.

use super::{ProcRoot, ProcfsError};
use crate::ids::Pid;
use crate::memory::RemoteAddr;

/// `AT_RANDOM` (include/uapi/linux/auxvec.h).
const RANDOM: u64 = 25;

/// What is used of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auxv {
    /// There are none of these: a kernel thread, a process that has ended, or a kernel of another make.
    Missing,
    /// It is not filled in yet: the process is executing another program at the moment. The kernel
    /// writes it when the program has been mapped (create_elf_tables() of fs/binfmt_elf.c).
    Unset,
    /// The address of 16 bytes that are random, and others each time a program is executed.
    Random(RemoteAddr),
}

impl Auxv {
    /// Parses the file's bytes: pairs of words of 64 bits.
    pub fn parse(bytes: &[u8]) -> Self {
        let none = match bytes.first_chunk() {
            Some([0, 0, 0, 0, 0, 0, 0, 0]) => Self::Unset,
            _ => Self::Missing,
        };
        let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).ok();
        bytes
            .chunks_exact(16)
            .map(|pair| pair.split_at(8))
            .find_map(|(kind, value)| {
                let value = word(value).filter(|_| word(kind) == Some(RANDOM))?;
                Some(Self::Random(RemoteAddr::new(value)))
            })
            .unwrap_or(none)
    }

    /// Where the random bytes are, by what is on a stack from where it began: the number of arguments, where each of them
    /// and each variable of the environment is, with a null after either, then what is in the file (create_elf_tables() of
    /// fs/binfmt_elf.c). `None`: `bytes` end before that.
    pub fn random_by_stack(bytes: &[u8]) -> Option<RemoteAddr> {
        let (words, _) = bytes.as_chunks();
        let words: Vec<u64> = words.iter().copied().map(u64::from_ne_bytes).collect();
        let n_args = usize::try_from(*words.first()?).ok()?;
        let environment = words.get(n_args.checked_add(2)?..)?;
        let n_variables = environment.iter().position(|it| *it == 0)?;
        // Where variables were removed since (unsetenv(3)), the null is where they were, too.
        let rest = environment.get(n_variables..)?;
        let n_nulls = rest.iter().position(|it| *it != 0)?;
        let n_before = words.len().checked_sub(rest.len())?.checked_add(n_nulls)?;
        match Self::parse(bytes.get(n_before.checked_mul(8)?..)?) {
            Self::Random(at) => Some(at),
            Self::Missing | Self::Unset => None,
        }
    }
}

impl ProcRoot {
    /// What `/proc/PID/auxv` says of the process or thread `pid`.
    ///
    /// # Errors
    ///
    /// When there is none or it may not be read.
    pub fn auxv(&self, pid: Pid) -> Result<Auxv, ProcfsError> {
        Ok(Auxv::parse(&self.read(pid, "auxv")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_random_bytes_are_found() {
        let bytes = |words: &[u64]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_ne_bytes()).collect()
        };
        let found = Auxv::parse(&bytes(&[6, 25, 25, 0x7ffe_0000, 0, 0]));
        assert_eq!(found, Auxv::Random(RemoteAddr::new(0x7ffe_0000)));
        assert_eq!(Auxv::parse(&bytes(&[0, 0])), Auxv::Unset);
        assert_eq!(Auxv::parse(&bytes(&[25])), Auxv::Missing);
        assert_eq!(Auxv::parse(&bytes(&[6, 4096, 0, 0])), Auxv::Missing);
        assert_eq!(Auxv::parse(b""), Auxv::Missing);
    }

    #[test]
    fn the_random_bytes_are_found_on_the_stack() {
        let find = |words: &[u64]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            Auxv::random_by_stack(&bytes)
        };
        let at = Some(RemoteAddr::new(9));
        // A variable may lie at 25; two were removed.
        let whole = [2, 71, 72, 0, 25, 8, 0, 0, 0, 6, 25, 25, 9, 0, 0];
        assert_eq!(find(&whole), at);
        for n in 0..whole.len() {
            assert_eq!(find(&whole[..n]), at.filter(|_| n > 12), "{n} words");
        }
        assert_eq!(find(&[0, 0, 0, 25, 9]), at);
        assert_eq!(find(&[u64::MAX, 0, 0, 25, 9]), None);
    }
}
