//! asyncio as a process's interpreter keeps it: task objects in linked lists per thread and
//! interpreter, each with the set of those who await it. Fills a [`TaskGraph`](crate::graph::TaskGraph).
//!
//! Those lists hold tasks written in C (`_asyncio.Task` and its subclasses, Modules/_asynciomodule.c of
//! CPython 3.14 and 3.15). Tasks that are implemented in Python are found through sets of their
//! interpreter.
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
mod python_task;
mod task;
mod walk;

pub use offsets::{ASYNCIO_SECTION, AsyncioOffsets, AsyncioOffsetsError, find_asyncio};
pub use walk::{Knowledge, Read, Stillness, Workspace, read_graph};
