//! Tasks that are implemented in Python: `asyncio.tasks._PyTask`, its subclasses, and other classes that
//! keep what matters in attributes of the same names (Lib/asyncio/tasks.py and futures.py of CPython 3.14
//! and 3.15).

use super::task::{CANCELS_MAX, RawTask};
use crate::cpython::{Attributes, DecodeError, Kind, Offsets, TypeCache, read_int, read_text};
use crate::memory::{Reader, RemoteAddr};

/// The attributes that are used, in the order in which [`read`] takes them.
const ATTRIBUTES: [&str; 7] = [
    "_coro",
    "_name",
    "_state",
    "_loop",
    "_num_cancels_requested",
    "_fut_waiter",
    "_Future__asyncio_awaited_by",
];
/// `_state` of a future that is not done (Lib/asyncio/base_futures.py).
const PENDING: &str = "PENDING";

/// Finds the attributes of tasks.
pub(super) type TaskAttributes = Attributes<7>;

/// To find the attributes of tasks.
pub(super) fn attributes() -> TaskAttributes {
    Attributes::new(ATTRIBUTES)
}

/// What an object is that was found among tasks or those who await them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PythonFuture {
    /// A task that is not done, and its event loop.
    Task(RawTask, RemoteAddr),
    /// A future, or a task that is done.
    Other,
    /// Nothing of the sort.
    Unknown,
}

/// Reads the future or task at `at`.
///
/// # Errors
///
/// When it cannot be read, or one of its attributes is not what it is in a task.
pub(super) fn read(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    types: &mut TypeCache,
    attributes: &mut TaskAttributes,
    at: RemoteAddr,
) -> Result<PythonFuture, DecodeError> {
    let found = attributes.of(reader, offsets, types, at)?;
    let [coro, name, state, event_loop, cancels, awaits, awaited_by] = found.map(|it| it.value);
    if coro.is_null() {
        return Ok(match event_loop.is_null() {
            true => PythonFuture::Unknown,
            false => PythonFuture::Other,
        });
    }
    if !is_pending(reader, offsets, types, state)? {
        return Ok(PythonFuture::Other);
    }
    let implausible = |what, value: RemoteAddr| DecodeError::Implausible {
        what,
        value: value.as_u64(),
        at,
    };
    let n_cancels = match cancels.is_null() {
        true => 0,
        false if types.type_of(reader, offsets, cancels)?.kind == Kind::Int => {
            read_int(reader, offsets, cancels)?
        }
        false => return Err(implausible("_num_cancels_requested of a task", cancels)),
    };
    // None, or a set; the class has it until the first one waits.
    let awaited_by = match type_name(reader, offsets, types, awaited_by)? {
        "" | "NoneType" => RemoteAddr::NULL,
        "set" => awaited_by,
        _ => return Err(implausible("__asyncio_awaited_by of a task", awaited_by)),
    };
    let task = RawTask {
        at,
        type_at: reader.addr_at(at.plus(offsets.pyobject.ob_type))?,
        name,
        awaited_by,
        awaited_by_is_set: !awaited_by.is_null(),
        is_task: true,
        is_pending: true,
        is_cancelling: (1..=u64::from(CANCELS_MAX)).contains(&n_cancels),
        is_python: true,
        coro,
        awaits,
        next: RemoteAddr::NULL,
        previous: RemoteAddr::NULL,
    };
    Ok(PythonFuture::Task(task, event_loop))
}

/// Whether this is the state of a future that is not done. Until it is, only its class has one.
fn is_pending(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    types: &mut TypeCache,
    state: RemoteAddr,
) -> Result<bool, DecodeError> {
    if state.is_null() {
        return Ok(true);
    }
    let is_text = types.type_of(reader, offsets, state)?.kind == Kind::Text;
    Ok(is_text && read_text(reader, offsets, state)? == PENDING)
}

/// The name of the type of the object at `at`; nothing if that is null.
fn type_name<'t>(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    types: &'t mut TypeCache,
    at: RemoteAddr,
) -> Result<&'t str, DecodeError> {
    if at.is_null() {
        return Ok("");
    }
    let info = types.type_of(reader, offsets, at)?;
    Ok(types.name(info))
}
