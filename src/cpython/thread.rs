//! Interpreters and their threads: two linked lists, both newest first.

use super::{DecodeError, Offsets};
use crate::limits::LimitHit;
use crate::memory::{Reader, RemoteAddr};
use rustc_hash::FxHashSet;

/// An interpreter of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interpreter {
    /// Its state.
    pub at: RemoteAddr,
    /// Its id: 0 is the main one.
    pub id: i64,
}

/// A thread in an interpreter. One thread of the operating system may have one in several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadState {
    /// Its state.
    pub at: RemoteAddr,
    /// The operating system's id of it, in the process's pid namespace.
    pub native_thread_id: u64,
}

/// What an interpreter or a thread costs, with its list of tasks.
const BYTES_PER_ITEM: usize = 256;

/// A list walked as far as it could be.
type Walked<T> = (Vec<T>, Option<DecodeError>);

/// The interpreters of the runtime at `runtime`; with the error that ended the walk early, if any.
pub fn interpreters(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    runtime: RemoteAddr,
) -> Walked<Interpreter> {
    let layout = offsets.interpreter_state;
    let head = runtime.plus(offsets.runtime_state.interpreters_head);
    let limit = LimitHit {
        what: "interpreters_max",
        limit: u64::from(reader.limits().interpreters_max),
    };
    walk(reader, head, layout.next, limit, |reader, at| {
        let id = i64::from_le_bytes(reader.array(at.plus(layout.id))?);
        if id < 0 {
            let value = id.unsigned_abs();
            return Err(DecodeError::Implausible {
                what: "interpreter id",
                value,
                at,
            });
        }
        Ok(Interpreter { at, id })
    })
}

/// The threads of `interpreter`; with the error that ended the walk early, if any.
pub fn threads(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    interpreter: Interpreter,
) -> Walked<ThreadState> {
    let layout = offsets.thread_state;
    let head = interpreter.at.plus(offsets.interpreter_state.threads_head);
    let limit = LimitHit {
        what: "threads_max",
        limit: u64::from(reader.limits().threads_max),
    };
    walk(reader, head, layout.next, limit, |reader, at| {
        let owner = reader.addr_at(at.plus(layout.interp))?;
        if owner != interpreter.at {
            let value = owner.as_u64();
            return Err(DecodeError::Implausible {
                what: "interpreter of a thread",
                value,
                at,
            });
        }
        let native_thread_id = reader.u64_at(at.plus(layout.native_thread_id))?;
        Ok(ThreadState {
            at,
            native_thread_id,
        })
    })
}

fn walk<T>(
    reader: &mut Reader<'_>,
    head: RemoteAddr,
    next_offset: u64,
    limit: LimitHit,
    mut read: impl FnMut(&mut Reader<'_>, RemoteAddr) -> Result<T, DecodeError>,
) -> Walked<T> {
    let mut found = Vec::new();
    let mut seen = FxHashSet::default();
    let mut link = head;
    loop {
        let at = match reader.addr_at(link) {
            Ok(at) if at.is_null() => return (found, None),
            Ok(at) => at,
            Err(error) => return (found, Some(error.into())),
        };
        if !at.is_plausible() || !seen.insert(at) {
            let value = at.as_u64();
            return (
                found,
                Some(DecodeError::Implausible {
                    what: "list link",
                    value,
                    at: link,
                }),
            );
        }
        if u64::try_from(found.len()).unwrap_or(u64::MAX) >= limit.limit {
            return (found, Some(DecodeError::Limit(limit)));
        }
        let item = reader.keep(BYTES_PER_ITEM).map_err(DecodeError::from);
        match item.and_then(|()| read(reader, at)) {
            Ok(item) => found.push(item),
            Err(error) => return (found, Some(error)),
        }
        link = at.plus(next_offset);
    }
}
