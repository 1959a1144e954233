//! Addresses in another process. They have no operators: arithmetic on foreign numbers is checked.

use std::fmt;

/// An address in another process's memory. Never dereferenced, only read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RemoteAddr(u64);

impl RemoteAddr {
    /// The null address.
    pub const NULL: Self = Self(0);

    /// The address with this number.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// Its number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Whether it is null.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// Whether an object of CPython can be here: not null, aligned to a pointer, in the lower half
    /// of the address space, where Linux keeps processes.
    pub const fn is_plausible(self) -> bool {
        self.0 != 0 && self.0.is_multiple_of(8) && self.0 >> 63 == 0
    }

    /// The address `offset` bytes further, unless the sum overflows.
    pub fn checked_add(self, offset: u64) -> Option<Self> {
        self.0.checked_add(offset).map(Self)
    }

    /// The address `offset` bytes further, wrapping at the end of the address space. For addresses
    /// that are only read afterwards: what wraps is not mapped, and the read says so.
    #[must_use]
    pub fn plus(self, offset: u64) -> Self {
        Self(self.0.wrapping_add(offset))
    }

    /// The address `offset` bytes before, wrapping like [`plus`](Self::plus).
    #[must_use]
    pub fn minus(self, offset: u64) -> Self {
        Self(self.0.wrapping_sub(offset))
    }

    /// How many bytes after `earlier` this address is, if it is not before it.
    pub fn offset_from(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// Without the tag bits that CPython keeps in the low bits of stack references and of some
    /// fields. Objects are aligned to 16 bytes, so three bits are never part of an address; 3.14
    /// uses two of them, free-threaded 3.15 three (Include/internal/pycore_stackref.h).
    #[must_use]
    pub const fn untagged(self) -> Self {
        Self(self.0 & !7)
    }
}

impl fmt::Display for RemoteAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
