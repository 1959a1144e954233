//! Checked little-endian fields of a copied piece of memory.

use super::RemoteAddr;

/// A field lies outside of what was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("field at offset {offset} lies outside of the {len} bytes copied")]
pub struct OutOfBounds {
    /// Where the field begins.
    pub offset: u64,
    /// How much was copied.
    pub len: usize,
}

/// A copied piece of memory whose fields are taken by offset. Offsets come from tables of the
/// process, so each access is checked.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    /// Wraps copied bytes.
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    fn array<const N: usize>(self, offset: u64) -> Result<[u8; N], OutOfBounds> {
        usize::try_from(offset)
            .ok()
            .and_then(|start| self.0.get(start..)?.first_chunk::<N>().copied())
            .ok_or(OutOfBounds {
                offset,
                len: self.0.len(),
            })
    }

    /// The byte at `offset`.
    ///
    /// # Errors
    ///
    /// When it lies outside; so do the others.
    pub fn u8_at(self, offset: u64) -> Result<u8, OutOfBounds> {
        self.array(offset).map(u8::from_le_bytes)
    }

    /// The signed byte at `offset`.
    ///
    /// # Errors
    ///
    /// When it lies outside.
    pub fn i8_at(self, offset: u64) -> Result<i8, OutOfBounds> {
        self.array(offset).map(i8::from_le_bytes)
    }

    /// The 32-bit number at `offset`.
    ///
    /// # Errors
    ///
    /// When it lies outside.
    pub fn u32_at(self, offset: u64) -> Result<u32, OutOfBounds> {
        self.array(offset).map(u32::from_le_bytes)
    }

    /// The signed 32-bit number at `offset`.
    ///
    /// # Errors
    ///
    /// When it lies outside.
    pub fn i32_at(self, offset: u64) -> Result<i32, OutOfBounds> {
        self.array(offset).map(i32::from_le_bytes)
    }

    /// The 64-bit number at `offset`.
    ///
    /// # Errors
    ///
    /// When it lies outside.
    pub fn u64_at(self, offset: u64) -> Result<u64, OutOfBounds> {
        self.array(offset).map(u64::from_le_bytes)
    }

    /// The signed 64-bit number at `offset`.
    ///
    /// # Errors
    ///
    /// When it lies outside.
    pub fn i64_at(self, offset: u64) -> Result<i64, OutOfBounds> {
        self.array(offset).map(i64::from_le_bytes)
    }

    /// The address at `offset`.
    ///
    /// # Errors
    ///
    /// When it lies outside.
    pub fn addr_at(self, offset: u64) -> Result<RemoteAddr, OutOfBounds> {
        self.u64_at(offset).map(RemoteAddr::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_little_endian_and_checked() {
        let bytes = Bytes::new(&[0xff, 1, 0, 0, 0, 0, 0, 0, 0x80]);
        assert_eq!(bytes.u64_at(1), Ok(0x8000_0000_0000_0001));
        assert_eq!(bytes.i8_at(0), Ok(-1));
        assert_eq!(bytes.u64_at(2), Err(OutOfBounds { offset: 2, len: 9 }));
        assert_eq!(
            bytes.u8_at(u64::MAX),
            Err(OutOfBounds {
                offset: u64::MAX,
                len: 9
            })
        );
    }
}
