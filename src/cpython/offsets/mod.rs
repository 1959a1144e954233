//! The table of debug offsets with which a CPython process describes its own structures
//! (`_Py_DebugOffsets`, Include/internal/pycore_debug_offsets.h): which fields we use of it, and
//! whether they make sense. Checked once at attach; what passed is used without further checks of
//! the table (each read is still bounded by what was copied).

mod v3_14;
mod v3_15;

use super::version::{PyVersion, Quirks};
use crate::memory::{Bytes, ReadError, ReadMemory, RemoteAddr};

/// The eight bytes with which the table begins, from 3.13 on.
pub(super) const COOKIE: [u8; 8] = *b"xdebugpy";
const HEADER_BYTES: usize = 24;

/// Positions of the used fields in the table of one minor version.
struct Wire {
    /// Size of the whole table. Its last word is the size of the debugger's script path.
    size: usize,
    runtime_state: [u16; 2],
    interpreter_state: [u16; 6],
    thread_state: [u16; 5],
    interpreter_frame: [u16; 8],
    code_object: [u16; 7],
    pyobject: [u16; 2],
    type_object: [u16; 3],
    tuple_object: [u16; 3],
    list_object: [u16; 3],
    set_object: [u16; 4],
    dict_object: [u16; 2],
    long_object: [u16; 3],
    bytes_object: [u16; 3],
    unicode_object: [u16; 4],
    gen_object: [u16; 3],
    llist_node: [u16; 2],
}

/// The table is not one that can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OffsetsError {
    /// It could not be read.
    #[error("cannot read the table of debug offsets: {0}")]
    Read(#[from] ReadError),
    /// It does not begin with the cookie.
    #[error("the table of debug offsets at {at} has no cookie")]
    NoCookie {
        /// Where it was looked for.
        at: RemoteAddr,
    },
    /// Its version cannot be read.
    #[error("version {found}")]
    Unsupported {
        /// The version, or its number when it is no version.
        found: String,
    },
    /// The runtime is there, but it has no interpreter (yet, or any more).
    #[error("the runtime has no interpreter")]
    NotStarted,
    /// A value makes no sense.
    #[error("{section}.{field} is {value}, limit {limit}")]
    Implausible {
        /// Section of the table.
        section: &'static str,
        /// Field of the section.
        field: &'static str,
        /// Value found.
        value: u64,
        /// Bound that it breaks.
        limit: u64,
    },
}

macro_rules! sections {
    ($(
        $(#[$doc:meta])* $section:ident: $type:ident (max $cap:expr) { $($field:ident: $width:expr),* $(,)? }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub struct $type {
                /// Size of the structure in bytes.
                pub size: u64,
                $(
                    #[doc = concat!("Offset of `", stringify!($field), "`.")]
                    pub $field: u64,
                )*
            }

            impl $type {
                fn read(table: Bytes<'_>, at: &[u16]) -> Result<Self, OffsetsError> {
                    let mut at = at.iter();
                    let mut next = |field: &'static str| {
                        at.next().and_then(|at| table.u64_at(u64::from(*at)).ok()).ok_or(
                            OffsetsError::Implausible {
                                section: stringify!($section),
                                field,
                                value: 0,
                                limit: 0,
                            },
                        )
                    };
                    let size = next("size")?;
                    check(stringify!($section), "size", size, 1, $cap)?;
                    $(
                        let $field = next(stringify!($field))?;
                        let width: u64 = $width;
                        let last = size.saturating_sub(width);
                        check(stringify!($section), stringify!($field), $field, 0, last)?;
                        if width > size || (width == 8 && !$field.is_multiple_of(8)) {
                            return Err(OffsetsError::Implausible {
                                section: stringify!($section),
                                field: stringify!($field),
                                value: $field,
                                limit: last,
                            });
                        }
                    )*
                    Ok(Self { size, $($field),* })
                }
            }
        )*

        /// What a process says about the layout of its structures, checked.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Offsets {
            /// The version it was built from.
            pub version: PyVersion,
            /// Whether it is a free-threaded build.
            pub free_threaded: bool,
            /// What the version does not say in the table.
            pub quirks: Quirks,
            $(
                #[doc = concat!("The section `", stringify!($section), "`.")]
                pub $section: $type,
            )*
        }

        impl Offsets {
            fn parse(
                version: PyVersion,
                free_threaded: bool,
                wire: &Wire,
                table: Bytes<'_>,
            ) -> Result<Self, OffsetsError> {
                Ok(Self {
                    version,
                    free_threaded,
                    quirks: Quirks::of(version, free_threaded),
                    $($section: $type::read(table, &wire.$section)?,)*
                })
            }
        }
    };
}

/// Largest size accepted for an object's structure.
const OBJECT_BYTES_MAX: u64 = 4096;
/// Largest size accepted for the state of a thread, an interpreter, the runtime.
const STATE_BYTES_MAX: u64 = 64 << 20;

sections! {
    /// The state of the whole runtime, `_PyRuntime`.
    runtime_state: RuntimeStateOffsets (max STATE_BYTES_MAX) { interpreters_head: 8 }
    /// The state of one interpreter.
    interpreter_state: InterpreterStateOffsets (max STATE_BYTES_MAX) {
        id: 8, next: 8, threads_head: 8, imports_modules: 8, code_object_generation: 8,
    }
    /// The public state of one thread in one interpreter.
    thread_state: ThreadStateOffsets (max STATE_BYTES_MAX) {
        next: 8, interp: 8, current_frame: 8, native_thread_id: 8,
    }
    /// A frame.
    interpreter_frame: FrameOffsets (max OBJECT_BYTES_MAX) {
        previous: 8, executable: 8, instr_ptr: 8, localsplus: 8, owner: 1, stackpointer: 8, tlbc_index: 4,
    }
    /// A code object.
    code_object: CodeOffsets (max OBJECT_BYTES_MAX) {
        filename: 8, qualname: 8, linetable: 8, firstlineno: 4, co_code_adaptive: 1, co_tlbc: 8,
    }
    /// The head of every object.
    pyobject: ObjectOffsets (max 64) { ob_type: 8 }
    /// A type.
    type_object: TypeOffsets (max OBJECT_BYTES_MAX) { tp_name: 8, tp_flags: 8 }
    /// A tuple.
    tuple_object: TupleOffsets (max OBJECT_BYTES_MAX) { ob_item: 8, ob_size: 8 }
    /// A list.
    list_object: ListOffsets (max OBJECT_BYTES_MAX) { ob_item: 8, ob_size: 8 }
    /// A set.
    set_object: SetOffsets (max OBJECT_BYTES_MAX) { used: 8, table: 8, mask: 8 }
    /// A dict.
    dict_object: DictOffsets (max OBJECT_BYTES_MAX) { ma_keys: 8 }
    /// An int.
    long_object: LongOffsets (max OBJECT_BYTES_MAX) { lv_tag: 8, ob_digit: 4 }
    /// A bytes object.
    bytes_object: BytesOffsets (max OBJECT_BYTES_MAX) { ob_size: 8, ob_sval: 1 }
    /// A string.
    unicode_object: TextOffsets (max OBJECT_BYTES_MAX) { state: 4, length: 8, asciiobject_size: 8 }
    /// A coroutine, generator or asynchronous generator.
    gen_object: GenOffsets (max OBJECT_BYTES_MAX) { gi_iframe: 8, gi_frame_state: 1 }
}

fn check(
    section: &'static str,
    field: &'static str,
    value: u64,
    min: u64,
    max: u64,
) -> Result<(), OffsetsError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(OffsetsError::Implausible {
            section,
            field,
            value,
            limit: max,
        })
    }
}

impl Offsets {
    /// Reads and checks the table at `at`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is of an unsupported version, or describes nonsense.
    pub fn read(memory: &dyn ReadMemory, at: RemoteAddr) -> Result<Self, OffsetsError> {
        let mut head = [0; HEADER_BYTES];
        memory.read_exact(at, &mut head)?;
        if !head.starts_with(&COOKIE) {
            return Err(OffsetsError::NoCookie { at });
        }
        let head = Bytes::new(&head);
        let hex = head.u64_at(8).unwrap_or(0);
        let unsupported = |found| OffsetsError::Unsupported { found };
        let Some(version) = PyVersion::from_hex(hex) else {
            return Err(OffsetsError::Implausible {
                section: "header",
                field: "version",
                value: hex,
                limit: u64::from(u32::MAX),
            });
        };
        let wire = match version.minor() {
            _ if !version.is_supported() => return Err(unsupported(version.to_string())),
            14 => &v3_14::WIRE,
            15 => &v3_15::WIRE,
            _ => return Err(unsupported(version.to_string())),
        };
        let free_threaded = head.u64_at(16).unwrap_or(u64::MAX);
        check("header", "free_threaded", free_threaded, 0, 1)?;
        let mut table = vec![0; wire.size];
        memory.read_exact(at, &mut table)?;
        let offsets = Self::parse(version, free_threaded == 1, wire, Bytes::new(&table))?;
        offsets.check_whole(wire, Bytes::new(&table))?;
        Ok(offsets)
    }

    /// Whether these 16 bytes begin the table that was read: the cookie and the same version.
    pub fn is_head_of(&self, head: &[u8; 16]) -> bool {
        let version = Bytes::new(head)
            .u64_at(8)
            .ok()
            .and_then(PyVersion::from_hex);
        head.starts_with(&COOKIE) && version == Some(self.version)
    }

    /// Checks what concerns more than one field.
    fn check_whole(&self, wire: &Wire, table: Bytes<'_>) -> Result<(), OffsetsError> {
        // A table of another layout would not end with this number.
        let last = u64::try_from(wire.size).unwrap_or(0).saturating_sub(8);
        let path_size = table.u64_at(last).unwrap_or(0);
        check(
            "debugger_support",
            "debugger_script_path_size",
            path_size,
            512,
            512,
        )?;
        let head = if self.free_threaded { 32 } else { 16 };
        check("pyobject", "size", self.pyobject.size, head, head)?;
        // A coroutine's frame is embedded in it. Its size is given without the first local.
        let frame_end = self
            .gen_object
            .gi_iframe
            .saturating_add(self.interpreter_frame.localsplus);
        check(
            "gen_object",
            "gi_iframe",
            frame_end,
            0,
            self.gen_object.size,
        )?;
        for (field, at) in ["next", "prev"].into_iter().zip(wire.llist_node) {
            let offset = table.u64_at(u64::from(at)).unwrap_or(u64::MAX);
            let expected = if field == "next" { 0 } else { 8 };
            check("llist_node", field, offset, expected, expected)?;
        }
        Ok(())
    }
}
