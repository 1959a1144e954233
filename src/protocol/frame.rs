//! How requests and answers stand on the agent's socket: a header of fixed length, then as many bytes as it
//! announces. Works on bytes and any reader or writer; who is at the other end is not its business.
//!
//! ```text
//! 0        4          6       8           12
//! | "AIOA" | version  | kind  | length    | length bytes
//! ```
//!
//! Numbers are big endian. These twelve bytes stay what they are in every version, so that each side can tell the
//! other which one it speaks. Whoever asks sends one request and gets one answer.

use std::io::{self, Read, Write};

/// The version of requests and answers that this build speaks.
pub const PROTOCOL_VERSION: u16 = 1;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 12;

/// The longest request.
pub const REQUEST_BYTES_MAX: u32 = 4_096;

/// The longest answer.
pub const ANSWER_BYTES_MAX: u32 = 256 << 20;

/// With this it begins.
const MAGIC: [u8; 4] = *b"AIOA";

/// What follows a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A request, as JSON.
    Request,
    /// What was asked for, as JSON.
    Answer,
    /// Why there is no answer, as JSON.
    Error,
}

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What follows it.
    pub kind: FrameKind,
    /// How many bytes of that.
    pub length: u32,
}

/// Why bytes are no frame that can be used.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// They cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// They do not begin as a frame does.
    #[error("not the protocol of asyncio-agent")]
    Foreign,
    /// They are of another version.
    #[error("version {found} of the protocol; this is version {PROTOCOL_VERSION}")]
    Version {
        /// Which one.
        found: u16,
    },
    /// They are of a kind that is not expected here.
    #[error("kind {found} of a message, which is not expected here")]
    Kind {
        /// Which one.
        found: u16,
    },
    /// There are too many of them.
    #[error("{length} bytes; at most {length_max} are allowed")]
    TooLong {
        /// How many.
        length: u32,
        /// How many there may be.
        length_max: u32,
    },
}

impl FrameError {
    /// The stable snake_case code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "socket_failed",
            Self::Foreign | Self::Kind { .. } => "bad_request",
            Self::Version { .. } => "unsupported_version",
            Self::TooLong { .. } => "too_long",
        }
    }
}

impl FrameKind {
    fn number(self) -> u16 {
        match self {
            Self::Request => 1,
            Self::Answer => 2,
            Self::Error => 3,
        }
    }

    /// How long what is of this kind may be.
    fn length_max(self) -> u32 {
        match self {
            Self::Request => REQUEST_BYTES_MAX,
            Self::Answer | Self::Error => ANSWER_BYTES_MAX,
        }
    }
}

impl Header {
    /// The header of these bytes.
    ///
    /// # Errors
    ///
    /// When there are more than such a frame may have.
    pub fn of(kind: FrameKind, bytes: &[u8]) -> Result<Self, FrameError> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self { kind, length }.checked()
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&PROTOCOL_VERSION.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.kind.number().to_be_bytes());
        bytes[8..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// Reads a header of one of the kinds in `expected`.
    ///
    /// # Errors
    ///
    /// When it is none, or announces too much.
    pub fn parse(bytes: [u8; HEADER_BYTES], expected: &[FrameKind]) -> Result<Self, FrameError> {
        let [m0, m1, m2, m3, v0, v1, k0, k1, l0, l1, l2, l3] = bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(FrameError::Foreign);
        }
        let found = u16::from_be_bytes([v0, v1]);
        if found != PROTOCOL_VERSION {
            return Err(FrameError::Version { found });
        }
        let found = u16::from_be_bytes([k0, k1]);
        let kind = expected.iter().find(|kind| kind.number() == found);
        let kind = *kind.ok_or(FrameError::Kind { found })?;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        Self { kind, length }.checked()
    }

    fn checked(self) -> Result<Self, FrameError> {
        let (length, length_max) = (self.length, self.kind.length_max());
        match length > length_max {
            true => Err(FrameError::TooLong { length, length_max }),
            false => Ok(self),
        }
    }
}

/// Writes a frame.
///
/// # Errors
///
/// When it is too long or cannot be written.
pub fn write_frame(kind: FrameKind, bytes: &[u8], mut into: impl Write) -> Result<(), FrameError> {
    let header = Header::of(kind, bytes)?;
    into.write_all(&header.to_bytes())?;
    into.write_all(bytes)?;
    Ok(into.flush()?)
}

/// Reads the header of a frame of one of the kinds in `expected`. What follows is left in `from`, which may hold
/// more or less than it announces.
///
/// # Errors
///
/// When it is none that can be used, or cannot be read.
pub fn read_header(mut from: impl Read, expected: &[FrameKind]) -> Result<Header, FrameError> {
    let mut header = [0; HEADER_BYTES];
    from.read_exact(&mut header)?;
    Header::parse(header, expected)
}

/// Reads what follows a header. No more memory is taken than there are bytes.
///
/// # Errors
///
/// When it cannot be read, or there is less than announced.
pub fn read_payload(header: Header, from: impl Read) -> Result<Vec<u8>, FrameError> {
    let mut bytes = Vec::new();
    from.take(u64::from(header.length))
        .read_to_end(&mut bytes)?;
    match u32::try_from(bytes.len()) {
        Ok(length) if length == header.length => Ok(bytes),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [FrameKind; 3] = [FrameKind::Request, FrameKind::Answer, FrameKind::Error];

    /// Gives and takes a few bytes at a time, and is interrupted.
    struct Chunks<'a> {
        bytes: &'a mut Vec<u8>,
        sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    }

    impl Chunks<'_> {
        fn size(&mut self) -> io::Result<usize> {
            match self.sizes.next() {
                Some(0) | None => Err(io::ErrorKind::Interrupted.into()),
                Some(size) => Ok(*size),
            }
        }
    }

    impl Read for Chunks<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n = self.size()?.min(into.len()).min(self.bytes.len());
            into[..n].copy_from_slice(&self.bytes[..n]);
            self.bytes.drain(..n);
            Ok(n)
        }
    }

    impl Write for Chunks<'_> {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            let n = self.size()?.min(from.len());
            self.bytes.extend(&from[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn read(mut from: impl Read) -> Result<(FrameKind, Vec<u8>), FrameError> {
        let header = read_header(&mut from, &ALL)?;
        Ok((header.kind, read_payload(header, from)?))
    }

    fn code(bytes: &[u8]) -> &'static str {
        read(bytes).unwrap_err().code()
    }

    proptest! {
        #[test]
        fn frames_are_read_as_they_were_written_in_any_chunks(
            at in 0..3_usize,
            payload in prop::collection::vec(any::<u8>(), 0..300),
            rest in prop::collection::vec(any::<u8>(), 0..30),
            (first, mut sizes) in (1..40_usize, prop::collection::vec(0..40_usize, 0..5)),
        ) {
            sizes.push(first);
            let mut bytes = Vec::new();
            let sizes = || sizes.iter().cycle();
            let chunks = Chunks { bytes: &mut bytes, sizes: sizes() };
            write_frame(ALL[at], &payload, chunks).unwrap();
            bytes.extend(&rest);
            let chunks = Chunks { bytes: &mut bytes, sizes: sizes() };
            let (kind, again) = read(chunks).unwrap();
            prop_assert_eq!((kind, again), (ALL[at], payload));
            prop_assert_eq!(bytes, rest, "nothing behind it is taken");
        }

        #[test]
        fn what_is_cut_off_is_no_frame(payload in "[a-z]{0,20}", cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            write_frame(FrameKind::Answer, payload.as_bytes(), &mut bytes).unwrap();
            prop_assert_eq!(code(&bytes[..cut.index(bytes.len())]), "socket_failed");
        }

        #[test]
        fn garbage_is_no_frame(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assume!(!bytes.starts_with(&MAGIC));
            let expected = if bytes.len() < HEADER_BYTES { "socket_failed" } else { "bad_request" };
            prop_assert_eq!(code(&bytes), expected);
        }
    }

    #[test]
    fn what_is_not_understood_is_told_apart() {
        let header = |version: u16, kind: u16, length: u32| {
            let numbers = [version.to_be_bytes(), kind.to_be_bytes()].concat();
            [&MAGIC[..], &numbers, &length.to_be_bytes()].concat()
        };
        assert_eq!(code(&header(2, 1, 0)), "unsupported_version");
        // Of another version nothing more is known, whatever is in it.
        assert_eq!(code(&header(0, 9, u32::MAX)), "unsupported_version");
        assert_eq!(code(&header(1, 0, 0)), "bad_request");
        assert_eq!(code(&header(1, 4, 0)), "bad_request");
        assert_eq!(code(&header(1, 1, REQUEST_BYTES_MAX + 1)), "too_long");
        assert_eq!(code(&header(1, 2, ANSWER_BYTES_MAX + 1)), "too_long");
        assert_eq!(code(&header(1, 1, REQUEST_BYTES_MAX)), "socket_failed");
        let request = &header(1, 1, 0)[..];
        let error = read_header(request, &[FrameKind::Answer]).unwrap_err();
        assert_eq!(error.code(), "bad_request");
        let long = vec![0; REQUEST_BYTES_MAX as usize + 1];
        let error = write_frame(FrameKind::Request, &long, io::sink()).unwrap_err();
        assert_eq!(error.to_string(), "4097 bytes; at most 4096 are allowed");
    }
}
