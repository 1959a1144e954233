//! asyncio as a process's interpreter keeps it: task objects in linked lists per thread and
//! interpreter, each with the set of those who await it. Fills a [`TaskGraph`](crate::graph::TaskGraph).
//!
//! Only tasks written in C are here (`_asyncio.Task` and its subclasses): they are what those lists
//! hold (Modules/_asynciomodule.c of CPython 3.14 and 3.15).
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

mod offsets;
mod task;
mod walk;

pub use offsets::{ASYNCIO_SECTION, AsyncioOffsets, AsyncioOffsetsError, find_asyncio};
pub use walk::{Knowledge, Read, Stillness, Workspace, read_graph};
