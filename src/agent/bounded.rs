//! An answer that does not become longer than it may.

use std::fmt;
use std::io;

/// Bytes that are written, up to a bound. What goes beyond it is an error, and none of it is kept.
#[derive(Debug)]
pub(super) struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    is_full: bool,
}

impl Bounded {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            bytes_max,
            is_full: false,
        }
    }

    /// What was written.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn add(&mut self, bytes: &[u8]) -> bool {
        let length = self.bytes.len().saturating_add(bytes.len());
        self.is_full |= length > self.bytes_max;
        if !self.is_full {
            self.bytes.extend_from_slice(bytes);
        }
        !self.is_full
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.add(bytes) {
            true => Ok(bytes.len()),
            false => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes()).then_some(()).ok_or(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::io::Write as _;

    #[test]
    fn what_is_too_long_is_not_kept() {
        let mut answer = Bounded::new(5);
        answer.write_all(b"ab").unwrap();
        answer.write_str("cde").unwrap();
        assert!(!answer.is_full);
        assert!(answer.write_str("f").is_err());
        assert!(answer.is_full && answer.write_all(b"g").is_err());
        assert_eq!(answer.into_bytes(), b"abcde");
    }
}
