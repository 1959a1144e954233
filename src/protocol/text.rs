//! The bytes of a snapshot on their way to the JSON reader: bounded, and found to be text while they
//! pass, so that a file is never in memory as a whole.

use super::error::SnapshotFormatError;
use std::io::{self, Read};

const BUFFER_BYTES: usize = 1 << 16;
/// As many bytes tell how a text is encoded (RFC 4627, section 3).
const HEAD_BYTES: usize = 4;

/// Why there is no more text, other than that it has ended.
#[derive(Debug)]
pub(super) enum Cut {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It is not what JSON is made of.
    NotText(SnapshotFormatError),
}

/// Hands on what is UTF-8. At the first byte that is not, or beyond the bound, reading fails and
/// [`cut`](Self::cut) says why.
#[derive(Debug)]
pub(super) struct Utf8<R> {
    from: R,
    bytes_max: u64,
    buffer: Vec<u8>,
    /// The next byte to hand on, the end of those that are known to be UTF-8, and of those read.
    next: usize,
    end: usize,
    filled: usize,
    bytes_read: u64,
    /// Lines and columns before the buffer.
    lines: usize,
    columns: usize,
    /// There were only blanks.
    is_blank: bool,
    cut: Option<Cut>,
}

impl<R: Read> Utf8<R> {
    pub(super) fn new(from: R, bytes_max: u64) -> Self {
        Self {
            from,
            bytes_max,
            buffer: vec![0; BUFFER_BYTES],
            next: 0,
            end: 0,
            filled: 0,
            bytes_read: 0,
            lines: 0,
            columns: 0,
            is_blank: true,
            cut: None,
        }
    }

    /// Why reading failed, if it did.
    pub(super) fn cut(self) -> Option<Cut> {
        self.cut
    }

    /// Whether nothing but blanks was read.
    pub(super) fn is_blank(&self) -> bool {
        self.is_blank
    }

    /// Reads on, until there is something to hand on or nothing left.
    fn fill(&mut self) -> Result<(), Cut> {
        let done = &self.buffer[..self.end];
        match done.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => {
                self.lines += done.iter().filter(|byte| **byte == b'\n').count();
                self.columns = done.len() - at - 1;
            }
            None => self.columns += done.len(),
        }
        // A character that was cut at most, or what is no character.
        self.buffer.copy_within(self.end..self.filled, 0);
        self.filled -= self.end;
        (self.next, self.end) = (0, 0);
        let is_head = self.bytes_read == 0;
        loop {
            let n_read = match self.from.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(Cut::Unreadable)?,
            };
            self.filled += n_read;
            self.bytes_read += n_read as u64;
            if self.bytes_read > self.bytes_max {
                return Err(Cut::NotText(SnapshotFormatError::TooLarge));
            }
            let is_all = n_read == 0;
            if is_head && self.filled < HEAD_BYTES && !is_all {
                continue;
            }
            let read = &self.buffer[..self.filled];
            if is_head {
                check_head(read)?;
            }
            let (n_valid, is_bad) = match std::str::from_utf8(read) {
                Ok(text) => (text.len(), false),
                Err(error) => (error.valid_up_to(), error.error_len().is_some() || is_all),
            };
            if n_valid == 0 && is_bad {
                return Err(Cut::NotText(SnapshotFormatError::NotUtf8 {
                    line: self.lines + 1,
                    column: self.columns + 1,
                }));
            }
            if n_valid > 0 || is_all {
                self.is_blank &= read[..n_valid].trim_ascii().is_empty();
                self.end = n_valid;
                return Ok(());
            }
        }
    }
}

impl<R: Read> Read for Utf8<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.next == self.end {
            if self.cut.is_none() {
                self.cut = self.fill().err();
            }
            if self.cut.is_some() {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let n = into.len().min(self.end - self.next);
        into[..n].copy_from_slice(&self.buffer[self.next..self.next + n]);
        self.next += n;
        Ok(n)
    }
}

/// That a text with these first bytes may be UTF-8.
fn check_head(head: &[u8]) -> Result<(), Cut> {
    if head.starts_with(b"\xef\xbb\xbf") {
        return Err(Cut::NotText(SnapshotFormatError::ByteOrderMark));
    }
    // JSON text never holds a NUL byte, and in the wide encodings one of its first two is NUL.
    let is_marked = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    if is_marked || head.iter().take(2).any(|byte| *byte == 0) {
        return Err(Cut::NotText(SnapshotFormatError::WideText));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in parts of this length.
    struct Parts<'a>(&'a [u8], usize);

    impl Read for Parts<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(into.len());
            into[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn read(bytes: &[u8], part: usize, bytes_max: u64) -> (Vec<u8>, Option<SnapshotFormatError>) {
        let mut text = Utf8::new(Parts(bytes, part), bytes_max);
        let mut out = Vec::new();
        let failed = text.read_to_end(&mut out).is_err();
        let why = match text.cut() {
            Some(Cut::NotText(why)) => Some(why),
            Some(Cut::Unreadable(why)) => panic!("{why}"),
            None => None,
        };
        assert_eq!(failed, why.is_some());
        (out, why)
    }

    #[test]
    fn what_is_text_passes_however_it_is_cut() {
        for part in 1..9 {
            let text = "{\"é\": \"𝄞\"}\n".as_bytes();
            assert_eq!(read(text, part, 100), (text.to_vec(), None));
            let bad = b"{\n\"\xc3\xa9\xff\"";
            let why = SnapshotFormatError::NotUtf8 { line: 2, column: 4 };
            assert_eq!(read(bad, part, 100), (bad[..5].to_vec(), Some(why)));
            let cut = b"[1]\n\xf0\x9d\x84";
            let why = SnapshotFormatError::NotUtf8 { line: 2, column: 1 };
            assert_eq!(read(cut, part, 100), (cut[..4].to_vec(), Some(why)));
            let marked = SnapshotFormatError::ByteOrderMark;
            assert_eq!(
                read(b"\xef\xbb\xbf{}", part, 100),
                (Vec::new(), Some(marked))
            );
        }
    }

    #[test]
    fn reading_stops_at_the_bound() {
        assert_eq!(read(b"abc", 2, 3), (b"abc".to_vec(), None));
        assert_eq!(read(b"abcd", 2, 3).1, Some(SnapshotFormatError::TooLarge));
        let mut endless = Utf8::new(io::repeat(b' '), 1 << 20);
        assert!(io::copy(&mut endless, &mut io::sink()).is_err());
        assert!(endless.is_blank());
    }

    #[test]
    fn what_cannot_be_read_is_told_apart() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::IsADirectory.into())
            }
        }
        let mut text = Utf8::new(Broken, 100);
        assert!(text.read(&mut [0]).is_err());
        let Some(Cut::Unreadable(error)) = text.cut() else {
            panic!("no reason")
        };
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }
}
