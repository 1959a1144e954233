//! CPython's interpreter as seen from outside: its offset tables, objects, code objects and frames.
//!
//! We mirror only the fields we use. Where they are, the process itself says in its table of debug
//! offsets (`_Py_DebugOffsets`, Include/internal/pycore_debug_offsets.h); what no table says is in
//! [`Quirks`], by version. Nothing here knows asyncio.
//!
//! Every byte is untrusted: a read gives a value or a [`DecodeError`], never a panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

mod attributes;
mod chain;
mod code;
mod deque;
mod dict;
mod error;
mod line_table;
mod locals;
mod locate;
mod loops;
mod modules;
mod object;
mod offsets;
mod text;
mod thread;
mod types;
mod version;

pub use attributes::{Attribute, Attributes, Collection};
pub use chain::{Chain, ChainFrame, ChainReader, CopyOrder, FrameState};
pub use code::{CodeCache, CodeIdx, CodeInfo};
pub use deque::{BLOCK_ITEMS, Deque, DequeItem, read_deque, taken_from_deque};
pub use dict::{find_in_dict, read_dict_values};
pub use error::DecodeError;
pub use locals::{Variables, first_parameter, in_cell};
pub use locate::{
    Modules, RUNTIME_SECTION, RuntimeSite, find_runtime, find_word, guess_version,
    writable_file_mappings,
};
pub use loops::is_in_loop;
pub use modules::{find_modules, has_module, imports, module_dict, module_state};
pub use object::{
    Function, Set, name_of_c_function, names_of_code, read_changing_set, read_function, read_int,
    read_list, read_set, read_tuple, weakly_referenced,
};
pub use offsets::{Offsets, OffsetsError};
pub use text::read_text;
pub use thread::{Interpreter, ThreadState, interpreters, threads};
pub use types::{Kind, TypeCache, TypeInfo};
pub use version::{PyVersion, Quirks, SUPPORTED};

/// What is reached through objects of a process only, for the fuzzer to call directly.
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures {
    /// The line of the code unit `unit` by a location table (see `line_table`), for a function that
    /// begins at `first_line`.
    pub fn line_at(table: &[u8], first_line: i32, unit: u64) -> Option<u32> {
        crate::cpython::line_table::line_at(table, first_line, unit)
    }

    use crate::cpython::loops::{Instructions, is_await_in_loop};

    /// Of the instructions of CPython 3.`minor`, by opcode: how many words for caches follow, and what they do (see `loops`).
    pub fn instructions(minor: u8) -> [&'static [u8; 256]; 2] {
        let instructions = Instructions::of_minor(minor);
        [instructions.caches, instructions.kinds]
    }

    /// Whether the `await` to which the unit belongs is in a loop of this code, by CPython 3.`minor`.
    pub fn is_in_loop(minor: u8, code: &[u8], exception_table: &[u8], unit: usize) -> Option<bool> {
        is_await_in_loop(Instructions::of_minor(minor), code, exception_table, unit)
    }
}
