//! The table with which `_asyncio` describes its structures (`_Py_AsyncioModuleDebugOffsets`,
//! Modules/_asynciomodule.c): thirteen words in the section `.AsyncioDebug`, in 3.14 in the
//! extension module, from 3.15 on in the executable or libpython. It has neither cookie nor version;
//! what it says must agree with the main table.

use crate::cpython::{Modules, Offsets, find_word, writable_file_mappings};
use crate::memory::{Bytes, ReadMemory, RemoteAddr};
use crate::procfs::Maps;

/// The section in which the table stands.
pub const ASYNCIO_SECTION: &str = ".AsyncioDebug";
const TABLE_BYTES: usize = 104;
/// Bounds for the size of a task object.
const TASK_BYTES_MIN: u64 = 64;
const TASK_BYTES_MAX: u64 = 512;
const THREAD_STATE_BYTES_MAX: u64 = 64 << 20;
const WORD: u64 = 8;
/// Places looked at when the table must be searched for.
const PLACES_MAX: usize = 256;

/// Where the parts of asyncio's structures are, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsyncioOffsets {
    /// Size of a task object.
    pub task_size: u64,
    /// Its name: a string, or an int until somebody asks for it.
    pub task_name: u64,
    /// Who awaits it: null, a future or task, or a set of them.
    pub task_awaited_by: u64,
    /// The type of any object.
    pub object_type: u64,
    /// A byte that is 1 in tasks and 0 in other futures.
    pub task_is_task: u64,
    /// A byte that says whether `awaited_by` is a set.
    pub task_awaited_by_is_set: u64,
    /// Its coroutine.
    pub task_coro: u64,
    /// Its node in the list of tasks.
    pub task_node: u64,
    /// In an interpreter's state: the head of the list of tasks whose thread has ended.
    pub interpreter_tasks_head: u64,
    /// In a thread's state: the running event loop.
    pub thread_running_loop: u64,
    /// In a thread's state: the task that is being executed.
    pub thread_running_task: u64,
    /// In a thread's state: the head of the list of tasks created in it.
    pub thread_tasks_head: u64,
}

/// A table that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("asyncio's {field} is {value}")]
pub struct AsyncioOffsetsError {
    /// Which field.
    pub field: &'static str,
    /// Its value.
    pub value: u64,
}

impl AsyncioOffsets {
    /// What no table says but follows from the fields beside it (`FutureObj`, `TaskObj`): the
    /// state of the future stands before the byte `is_task`.
    pub fn future_state(&self) -> u64 {
        self.task_is_task.saturating_sub(4)
    }

    /// How often the task's cancellation was asked for stands after it.
    pub fn num_cancels_requested(&self) -> u64 {
        self.task_is_task.saturating_add(4)
    }

    /// The first callback of a future follows its event loop, which follows the head of the object
    /// (`fut_callback0`).
    pub fn future_callback(&self, offsets: &Offsets) -> u64 {
        offsets.pyobject.size.saturating_add(WORD)
    }

    /// The future that a task waits for stands before its coroutine (`task_fut_waiter`).
    pub fn task_fut_waiter(&self) -> u64 {
        self.task_coro.saturating_sub(8)
    }

    fn parse(table: Bytes<'_>, offsets: &Offsets) -> Result<Self, AsyncioOffsetsError> {
        let word = |index: u64| table.u64_at(index.saturating_mul(WORD)).unwrap_or(u64::MAX);
        let check = |ok: bool, field, value| {
            if ok {
                Ok(value)
            } else {
                Err(AsyncioOffsetsError { field, value })
            }
        };
        let size = word(0);
        check(
            (TASK_BYTES_MIN..=TASK_BYTES_MAX).contains(&size),
            "task size",
            size,
        )?;
        let inside = |value: u64, from: u64, width: u64, size: u64| {
            value >= from
                && value.checked_add(width).is_some_and(|end| end <= size)
                && (width < WORD || value.is_multiple_of(WORD))
        };
        let head = offsets.pyobject.size;
        let in_task = |index, field, width, from: u64| {
            let value = word(index);
            check(inside(value, from, width, size), field, value)
        };
        let interpreter_size = word(7);
        let expected = offsets.interpreter_state.size;
        check(
            interpreter_size == expected,
            "interpreter state size",
            interpreter_size,
        )?;
        let thread_size = word(9);
        let thread_min = offsets.thread_state.size;
        check(
            (thread_min..=THREAD_STATE_BYTES_MAX).contains(&thread_size),
            "thread state size",
            thread_size,
        )?;
        let in_thread = |index, field, width| {
            let value = word(index);
            check(inside(value, thread_min, width, thread_size), field, value)
        };
        let interpreter_tasks_head = word(8);
        check(
            inside(interpreter_tasks_head, 0, 16, interpreter_size),
            "interpreter tasks head",
            interpreter_tasks_head,
        )?;
        Ok(Self {
            task_size: size,
            task_name: in_task(1, "task name", WORD, head)?,
            object_type: offsets.pyobject.ob_type,
            task_awaited_by: in_task(2, "task awaited_by", WORD, head)?,
            task_is_task: in_task(3, "task is_task", 1, head.saturating_add(4))?,
            task_awaited_by_is_set: in_task(4, "task awaited_by_is_set", 1, head)?,
            task_coro: in_task(5, "task coro", WORD, head.saturating_add(WORD))?,
            task_node: in_task(6, "task node", 16, head)?,
            interpreter_tasks_head,
            thread_running_loop: in_thread(10, "running loop", WORD)?,
            thread_running_task: in_thread(11, "running task", WORD)?,
            thread_tasks_head: in_thread(12, "thread tasks head", 16)?,
        })
    }

    fn read(
        memory: &dyn ReadMemory,
        at: RemoteAddr,
        offsets: &Offsets,
    ) -> Option<Result<Self, AsyncioOffsetsError>> {
        let mut table = [0; TABLE_BYTES];
        memory.read_exact(at, &mut table).ok()?;
        Some(Self::parse(Bytes::new(&table), offsets))
    }
}

/// asyncio's table: by the section in whichever mapped file has it, or by what it must look like.
///
/// # Errors
///
/// `Ok(None)` when there is none: asyncio has not been imported (3.14). An error when there is one,
/// but what it says cannot be true.
pub fn find_asyncio(
    memory: &dyn ReadMemory,
    maps: &Maps,
    modules: &mut Modules<'_>,
    offsets: &Offsets,
) -> Result<Option<AsyncioOffsets>, AsyncioOffsetsError> {
    let mut refused = None;
    let by_section =
        modules.find_section(
            ASYNCIO_SECTION,
            "_asyncio",
            |at| match AsyncioOffsets::read(memory, at, offsets)? {
                Ok(table) => Some(table),
                Err(error) => {
                    refused = Some(error);
                    None
                }
            },
        );
    if let Some(table) = by_section.or_else(|| search(memory, maps, offsets)) {
        return Ok(Some(table));
    }
    refused.map_or(Ok(None), Err)
}

/// Looks through the initialised data of all mapped files for something that passes every check.
fn search(memory: &dyn ReadMemory, maps: &Maps, offsets: &Offsets) -> Option<AsyncioOffsets> {
    let signature = offsets.interpreter_state.size.to_le_bytes();
    let before = 7 * WORD;
    writable_file_mappings(maps)
        .flat_map(|mapping| find_word(memory, mapping, signature))
        .take(PLACES_MAX)
        .find_map(|place| AsyncioOffsets::read(memory, place.minus(before), offsets)?.ok())
}
