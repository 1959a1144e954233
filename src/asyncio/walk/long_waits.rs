//! Why tasks wait that have waited for long, of those about which that was asked (Lib/asyncio of CPython 3.14 and 3.15):
//!
//! - Somebody has set a timer that ends the wait: `asyncio.timeout` and what is made of it, `asyncio.wait` with a
//!   timeout, `call_later(..., task.cancel)`; of the task, or of one that awaits it and passes the cancellation on.
//! - It waits for a thread or another process: the future has a callback of `wrap_future` (futures.py).
//! - It is the task that the event loop was started for: it has a callback of `run_until_complete` (base_events.py).

use super::Walk;
use super::holds::{Needs, WaitAttributes, wait_attributes};
use crate::cpython::{DecodeError, FrameState, in_cell};
use crate::graph::LongWait;
use crate::ids::TaskId;
use crate::memory::RemoteAddr;
use rustc_hash::{FxHashMap, FxHashSet};
use std::time::Duration;

/// Tasks above one that are asked for timers of theirs.
const ABOVE_MAX: usize = 256;

/// The callback of a future that stands for one of `concurrent.futures`, and its file.
const OF_EXECUTOR: (&str, &str) = (
    "_chain_future.<locals>._call_check_cancel",
    "asyncio/futures.py",
);
/// The callback of the task that an event loop was started for, and its file.
const OF_MAIN_TASK: (&str, &str) = ("_run_until_complete_cb", "asyncio/base_events.py");

impl Walk<'_, '_> {
    /// Looks closely at those tasks about which it was asked.
    pub(super) fn find_long_waits(&mut self) -> Result<(), DecodeError> {
        let asked = std::mem::take(self.asked);
        let of_record = |task: &TaskId| self.by_address.get(&RemoteAddr::new(task.0)).copied();
        let records: Vec<u32> = asked.iter().filter_map(of_record).collect();
        if records.is_empty() {
            return Ok(());
        }
        let mut attributes = wait_attributes();
        self.reader.look_aside();
        let looked = self.look_at_long_waits(&mut attributes, &records);
        self.reader.look_back();
        match looked {
            // Nothing is known of the others then.
            Err(error) if !error.is_fatal() => self.note(error.code(), "long waits", error),
            looked => looked,
        }
    }

    fn look_at_long_waits(
        &mut self,
        attributes: &mut WaitAttributes,
        records: &[u32],
    ) -> Result<(), DecodeError> {
        let timers = match self.timed_tasks(attributes) {
            Err(error) if error.is_fatal() || error.is_limit() => return Err(error),
            timers => timers.unwrap_or_default(),
        };
        for record in records {
            match self.long_wait_of(attributes, &timers, *record) {
                Ok(wait) => self.long_waits.extend(wait),
                Err(error) if error.is_fatal() || error.is_limit() => return Err(error),
                // It has just gone on.
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn long_wait_of(
        &mut self,
        attributes: &mut WaitAttributes,
        timers: &FxHashMap<RemoteAddr, RemoteAddr>,
        record: u32,
    ) -> Result<Option<LongWait>, DecodeError> {
        let Some(task) = self.alive(record).map(|record| record.task) else {
            return Ok(None);
        };
        let future = task.awaits;
        let has_future = future.is_plausible() && self.type_is(future, "_asyncio.Future")?;
        Ok(Some(LongWait {
            task: TaskId(task.at.as_u64()),
            ends_at: self.first_due(attributes, timers, record)?,
            for_executor: has_future && self.has_callback(future, OF_EXECUTOR)?,
            is_main: !task.is_python && self.has_callback(task.at, OF_MAIN_TASK)?,
        }))
    }

    /// When the first of the timers is due that end the wait of a task.
    fn first_due(
        &mut self,
        attributes: &mut WaitAttributes,
        timers: &FxHashMap<RemoteAddr, RemoteAddr>,
        record: u32,
    ) -> Result<Option<Duration>, DecodeError> {
        let mut first: Option<Duration> = None;
        let mut seen = FxHashSet::from_iter([record]);
        let mut left = vec![record];
        while let Some(at) = left.pop() {
            let Some(task) = self.alive(at).map(|record| record.task.at) else {
                continue;
            };
            let due = self.due_of(attributes, timers, at)?;
            first = first.into_iter().chain(due).min();
            let awaiters = self
                .alive(at)
                .map(|it| self.addresses(&it.awaiters).to_vec());
            for awaiter in awaiters.unwrap_or_default() {
                let Some(awaiter) = self.by_address.get(&awaiter).copied() else {
                    continue;
                };
                if seen.len() > ABOVE_MAX || !seen.insert(awaiter) {
                    continue;
                }
                let wait = self.wait_of(attributes, awaiter)?;
                let needs_it = matches!(&wait.needs, Needs::All(all) if all.contains(&task));
                if needs_it && !wait.ends_cancelled {
                    left.push(awaiter);
                }
            }
        }
        Ok(first)
    }

    /// When the first timer is due that a task itself has set, or that cancels it.
    fn due_of(
        &mut self,
        attributes: &mut WaitAttributes,
        timers: &FxHashMap<RemoteAddr, RemoteAddr>,
        record: u32,
    ) -> Result<Option<Duration>, DecodeError> {
        let Some(task) = self.alive(record).map(|record| record.task) else {
            return Ok(None);
        };
        let mut own: Vec<RemoteAddr> = timers.get(&task.at).copied().into_iter().collect();
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        let chain = self.chains.follow(reader, offsets, task.coro, false)?;
        if matches!(
            chain.state,
            Some(FrameState::Awaiting | FrameState::Suspended)
        ) {
            let frames: Vec<_> = self.chains.placed_frames().collect();
            for (frame, at) in frames {
                let Some(frame) = self.frame_waiting(frame, at)? else {
                    continue;
                };
                own.extend(self.timers_of(attributes, &frame)?);
                if frame.is("_wait", "asyncio/tasks.py") {
                    own.extend(self.timers_in(frame.variables.locals())?);
                }
            }
        }
        let mut first: Option<Duration> = None;
        for timer in own {
            let due = self.due_of_timer(timer)?;
            first = first.into_iter().chain(due).min();
        }
        Ok(first)
    }

    /// The timers among the variables of a frame, which may be in cells.
    fn timers_in(&mut self, variables: &[RemoteAddr]) -> Result<Vec<RemoteAddr>, DecodeError> {
        let mut timers = Vec::new();
        for variable in variables.iter().copied().filter(|it| it.is_plausible()) {
            let mut value = variable;
            if self.type_is(value, "cell")? {
                value = in_cell(self.reader, self.offsets, value)?;
            }
            if value.is_plausible() && self.type_is(value, "TimerHandle")? {
                timers.push(value);
            }
        }
        Ok(timers)
    }

    fn type_is(&mut self, object: RemoteAddr, name: &str) -> Result<bool, DecodeError> {
        let types = &mut self.chains.types;
        let info = types.type_of(self.reader, self.offsets, object)?;
        Ok(types.name(info) == name)
    }

    /// When a timer is due; nothing if that makes no sense, or if it is of another kind than asyncio's.
    fn due_of_timer(&mut self, timer: RemoteAddr) -> Result<Option<Duration>, DecodeError> {
        let due = self.when(timer)?;
        let due = due.and_then(|bits| Duration::try_from_secs_f64(f64::from_bits(bits)).ok());
        Ok(due.filter(|due| !due.is_zero()))
    }

    /// Whether the first callback of a future is this function, in this file. Those of futures that are implemented
    /// in Python are not looked at.
    fn has_callback(
        &mut self,
        future: RemoteAddr,
        (name, file): (&str, &str),
    ) -> Result<bool, DecodeError> {
        let callback = self.callback_of(future)?;
        Ok(callback.is_some_and(|(code, _)| self.is_code(code, name, file)))
    }
}
