//! One task object: its fields, and what they point to.

use super::offsets::AsyncioOffsets;
use crate::cpython::{
    DecodeError, Kind, Offsets, TypeCache, read_changing_set, read_int, read_set, read_text,
};
use crate::graph::{GraphBuilder, TaskName};
use crate::limits::LimitHit;
use crate::memory::{Bytes, Reader, RemoteAddr};

/// `fut_state` of a future that is not done (enum `fut_state`, Modules/_asynciomodule.c).
const STATE_PENDING: u32 = 0;
const STATE_LAST: u32 = 2;
/// More requests for cancellation than this were never made: the field is something else.
pub(super) const CANCELS_MAX: u32 = 1 << 20;

/// The fields of a task object, as they stand in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawTask {
    pub(super) at: RemoteAddr,
    pub(super) type_at: RemoteAddr,
    pub(super) name: RemoteAddr,
    pub(super) awaited_by: RemoteAddr,
    pub(super) awaited_by_is_set: bool,
    pub(super) is_task: bool,
    pub(super) is_pending: bool,
    pub(super) is_cancelling: bool,
    /// It is implemented in Python, and in no list.
    pub(super) is_python: bool,
    pub(super) coro: RemoteAddr,
    /// The future that it waits for.
    pub(super) awaits: RemoteAddr,
    pub(super) next: RemoteAddr,
    pub(super) previous: RemoteAddr,
}

impl RawTask {
    /// Reads the task object at `at`.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is no task.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        layout: &AsyncioOffsets,
        at: RemoteAddr,
    ) -> Result<Self, DecodeError> {
        let size = usize::try_from(layout.task_size).unwrap_or(usize::MAX);
        DecodeError::check_address("address of a task", at)?;
        let object = Bytes::new(reader.bytes(at, size)?);
        let implausible = |what, value| DecodeError::Implausible { what, value, at };
        let flag = |what, offset| match object.u8_at(offset) {
            Ok(value @ (0 | 1)) => Ok(value == 1),
            Ok(value) => Err(implausible(what, u64::from(value))),
            Err(error) => Err(error.into()),
        };
        let state = object.u32_at(layout.future_state())?;
        if state > STATE_LAST {
            return Err(implausible("state of a task", u64::from(state)));
        }
        let cancels = object.u32_at(layout.num_cancels_requested())?;
        let task = Self {
            at,
            type_at: object.addr_at(layout.object_type)?,
            name: object.addr_at(layout.task_name)?.untagged(),
            awaited_by: object.addr_at(layout.task_awaited_by)?.untagged(),
            awaited_by_is_set: flag("awaited_by_is_set of a task", layout.task_awaited_by_is_set)?,
            is_task: flag("is_task of a task", layout.task_is_task)?,
            is_pending: state == STATE_PENDING,
            is_cancelling: (1..=CANCELS_MAX).contains(&cancels),
            is_python: false,
            coro: object.addr_at(layout.task_coro)?.untagged(),
            awaits: object.addr_at(layout.task_fut_waiter())?,
            next: object.addr_at(layout.task_node)?,
            previous: object.addr_at(layout.task_node.saturating_add(8))?,
        };
        if task.is_task {
            Ok(task)
        } else {
            Err(implausible("is_task of a task", 0))
        }
    }

    /// Whether `self` and `other` can be the same task: what never changes in a pending task is equal.
    pub(super) fn is_same_object(&self, other: &Self) -> bool {
        self.at == other.at && self.type_at == other.type_at && self.coro == other.coro
    }

    /// Whether the same nodes precede and follow both in their lists.
    pub(super) fn has_links_of(&self, other: &Self) -> bool {
        self.previous == other.previous && self.next == other.next
    }

    /// Its name, interned in `graph`.
    ///
    /// # Errors
    ///
    /// When it is neither a string nor an int.
    pub(super) fn read_name(
        &self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        types: &mut TypeCache,
        graph: &mut GraphBuilder,
    ) -> Result<TaskName, DecodeError> {
        if self.name.is_null() {
            return Ok(TaskName::Unknown);
        }
        match types.type_of(reader, offsets, self.name)?.kind {
            Kind::Int => Ok(TaskName::Number(read_int(reader, offsets, self.name)?)),
            Kind::Text => {
                let before = graph.text_bytes();
                let name = graph.name(&read_text(reader, offsets, self.name)?);
                // Nothing if it was known.
                reader.keep(graph.text_bytes().saturating_sub(before))?;
                Ok(name)
            }
            _ => {
                let value = self.name.as_u64();
                Err(DecodeError::Implausible {
                    what: "name of a task",
                    value,
                    at: self.at,
                })
            }
        }
    }

    /// Adds who awaits it to `awaiters`; the result is the cap that left some of them out. A set that may be
    /// changing is looked at whole, as its count may be older.
    ///
    /// # Errors
    ///
    /// When the set of awaiters cannot be read.
    pub(super) fn read_awaiters(
        &self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        is_changing: bool,
        awaiters: &mut Vec<RemoteAddr>,
    ) -> Result<Option<LimitHit>, DecodeError> {
        if self.awaited_by.is_null() {
            return Ok(None);
        }
        if !self.awaited_by_is_set {
            awaiters.push(self.awaited_by);
            return Ok(None);
        }
        let awaiters_max = LimitHit {
            what: "awaiters_per_task_max",
            limit: u64::from(reader.limits().awaiters_per_task_max),
        };
        let set = match is_changing {
            true => read_changing_set(reader, offsets, self.awaited_by, awaiters_max)?,
            false => read_set(reader, offsets, self.awaited_by, awaiters_max)?,
        };
        let n_members = u64::try_from(set.members.len()).unwrap_or(u64::MAX);
        if set.cut.is_none() && n_members < set.count {
            return Err(DecodeError::Implausible {
                what: "member count of a set",
                value: set.count,
                at: self.awaited_by,
            });
        }
        awaiters.extend(set.members);
        Ok(set.cut)
    }
}

/// Whether the future at `at` is a task.
///
/// # Errors
///
/// When it cannot be read or is no future.
pub(super) fn is_task(
    reader: &mut Reader<'_>,
    layout: &AsyncioOffsets,
    at: RemoteAddr,
) -> Result<bool, DecodeError> {
    DecodeError::check_address("address of an awaiter", at)?;
    match reader.array(at.plus(layout.task_is_task))? {
        [0] => Ok(false),
        [1] => Ok(true),
        [value] => Err(DecodeError::Implausible {
            what: "is_task of an awaiter",
            value: u64::from(value),
            at,
        }),
    }
}
