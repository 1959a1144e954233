//! Versions of CPython, which of them can be read, and what differs between them but is in no table.
//! The only place that branches on a version.

use std::fmt;

/// A version as CPython's `PY_VERSION_HEX` encodes it (Include/patchlevel.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PyVersion(u32);

/// The minor versions of Python 3 that can be read.
pub const SUPPORTED: &[u8] = &[14, 15];

impl PyVersion {
    /// The version that this number encodes, if it is one of a Python 3.
    pub fn from_hex(hex: u64) -> Option<Self> {
        let version = Self(u32::try_from(hex).ok()?);
        (version.major() == 3 && matches!(version.level(), 0xa | 0xb | 0xc | 0xf))
            .then_some(version)
    }

    fn byte(self, index: usize) -> u8 {
        self.0.to_be_bytes().get(index).copied().unwrap_or(0)
    }

    fn major(self) -> u8 {
        self.byte(0)
    }

    /// The minor version: 14 of 3.14.10.
    pub fn minor(self) -> u8 {
        self.byte(1)
    }

    fn level(self) -> u8 {
        self.byte(3) >> 4
    }

    /// Whether it can be read: a released patch version of a supported minor version. The tables
    /// are stable from a minor version's first release on, but changed between pre-releases.
    pub fn is_supported(self) -> bool {
        SUPPORTED.contains(&self.minor()) && self.level() == 0xf
    }

    /// The supported versions, for messages: `3.14 or 3.15`.
    pub fn supported_text() -> String {
        let versions: Vec<String> = SUPPORTED.iter().map(|minor| format!("3.{minor}")).collect();
        versions.join(" or ")
    }
}

impl fmt::Display for PyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major(), self.minor(), self.byte(2))?;
        let serial = self.byte(3) & 0xf;
        match self.level() {
            0xa => write!(f, "a{serial}"),
            0xb => write!(f, "b{serial}"),
            0xc => write!(f, "rc{serial}"),
            _ => Ok(()),
        }
    }
}

/// Facts about a version that it does not describe in its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// `gi_frame_state` of a generator that was never started (enum `_framestate`,
    /// Include/internal/pycore_frame.h for 3.14, pycore_interpframe_structs.h for 3.15).
    pub state_created: i8,
    /// Suspended at a plain `yield`.
    pub state_suspended: i8,
    /// Suspended in an `await` or `yield from`; two values in 3.15.
    pub state_awaiting: [i8; 2],
    /// Being executed.
    pub state_executing: i8,
    /// Ended: 3.15 has only "cleared"; 3.14 also "completed".
    pub state_ended: [i8; 2],
    /// How far below the stack pointer the awaited object lies: 3.15 keeps a second word for each
    /// iterator above it (`SEND`, Python/bytecodes.c).
    pub awaited_below_stack_pointer: u64,
    /// First bit of the field `kind` in the state word of a string: free-threaded builds have a
    /// byte of their own before the bit field (Include/cpython/unicodeobject.h).
    pub text_kind_shift: u32,
    /// How far before an object the pointer to its dict stands (`MANAGED_DICT_OFFSET`,
    /// Include/internal/pycore_object.h).
    pub managed_dict_before: u64,
    /// `tp_basicsize` of a type: how many bytes its instances have (Include/cpython/object.h).
    pub type_basic_size: u64,
    /// `ht_cached_keys` of a type made by a class statement: the keys that its instances share
    /// (`PyHeapTypeObject`, Include/cpython/object.h; one word later in 3.15).
    pub type_cached_keys: u64,
    /// `md_state` of a module, behind the head of the object (`PyModuleObject`,
    /// Include/internal/pycore_moduleobject.h; `md_def` before it is gone in 3.15).
    pub module_state: u64,
}

impl Quirks {
    /// The facts for a supported version.
    pub fn of(version: PyVersion, free_threaded: bool) -> Self {
        let text_kind_shift = if free_threaded { 8 } else { 2 };
        let managed_dict_before = if free_threaded { 8 } else { 24 };
        // The head of each object has 16 bytes more in free-threaded builds.
        let more = if free_threaded { 16 } else { 0 };
        let type_basic_size = 32_u64.saturating_add(more);
        if version.minor() >= 15 {
            Self {
                state_created: 0,
                state_suspended: 1,
                state_awaiting: [2, 3],
                state_executing: 4,
                state_ended: [5, 5],
                awaited_below_stack_pointer: 16,
                text_kind_shift,
                managed_dict_before,
                type_basic_size,
                type_cached_keys: 888_u64.saturating_add(more),
                module_state: 8,
            }
        } else {
            Self {
                state_created: -3,
                state_suspended: -2,
                state_awaiting: [-1, -1],
                state_executing: 0,
                state_ended: [1, 4],
                awaited_below_stack_pointer: 8,
                text_kind_shift,
                managed_dict_before,
                type_basic_size,
                type_cached_keys: 880_u64.saturating_add(more),
                module_state: 16,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_text() {
        let text = |hex| PyVersion::from_hex(hex).map(|version| version.to_string());
        assert_eq!(text(0x030e_0af0).as_deref(), Some("3.14.10"));
        assert_eq!(text(0x030f_00b2).as_deref(), Some("3.15.0b2"));
        assert_eq!(text(0x020e_0af0), None);
        assert_eq!(text(0x1_030e_0af0), None);
        let supported = |hex| PyVersion::from_hex(hex).is_some_and(PyVersion::is_supported);
        assert!(supported(0x030e_00f0) && supported(0x030f_02f0));
        assert_eq!(PyVersion::supported_text(), "3.14 or 3.15");
        assert!(!supported(0x030d_12f0) && !supported(0x030f_00c1) && !supported(0x0310_00f0));
    }
}
