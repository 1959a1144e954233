//! Why tasks wait that have waited for long, of those about which that was asked (Lib/asyncio of CPython 3.14 and 3.15):
//!
//! - Somebody has set a timer that ends the wait: `asyncio.timeout` and what is made of it, `asyncio.wait` with a
//!   timeout, `call_later` of `task.cancel` or `future.set_result`; for the task, or for one that awaits it and passes
//!   the cancellation on.
//! - It waits for a thread or another process that is at work: the future has a callback of `wrap_future` (futures.py).
//! - It waits for a signal or a file: a handler of the event loop ends it ([`handlers`](super::handlers)).
//! - It is the task that the event loop was started for: it has a callback of `run_until_complete` (base_events.py).

use super::Walk;
use super::calls::Calls;
use super::handlers::Handled;
use super::holds::{Needs, WaitAttributes, Waiting, wait_attributes};
use super::passages::Passages;
use super::timers::Timer;
use crate::cpython::{CodeInfo, DecodeError, FrameState, ThreadState, in_cell, name_of_c_function};
use crate::graph::LongWait;
use crate::ids::TaskId;
use crate::memory::RemoteAddr;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::hash_map::Entry;
use std::time::Duration;

/// Tasks above one that are asked for timers of theirs.
const ABOVE_MAX: usize = 256;

/// The callback of a future that stands for one of `concurrent.futures`, and its file.
const OF_EXECUTOR: (&str, &str) = (
    "_chain_future.<locals>._call_check_cancel",
    "asyncio/futures.py",
);
/// The callback of the task that an event loop was started for, and its file; the name of uvloop's, which is implemented in C
/// (uvloop/loop.pyx, `Loop.run_until_complete`).
const OF_MAIN_TASK: (&str, &str) = ("_run_until_complete_cb", "asyncio/base_events.py");
const OF_MAIN_TASK_UVLOOP: &str = "done_cb";

/// How the name of the function of an event loop ends that is a turn of it, and its file.
const TURN: (&str, &str) = ("BaseEventLoop._run_once", "asyncio/base_events.py");
/// The same of the one in which it calls a callback; one from another thread has a class of its own.
const CALLBACK: (&str, &str) = ("Handle._run", "asyncio/events.py");
/// Any function of a selector: what executes inside of one that waits is a handler of a signal (`signal.signal`).
const SELECTOR: (&str, &str) = ("", "/selectors.py");

/// What awaits a coroutine that Cython has made.
const OF_CYTHON: &str = "coroutine_wrapper";
/// Where those functions are whose first parameter is what they wait for.
const PRIMITIVES: [&str; 2] = ["asyncio/locks.py", "asyncio/queues.py"];

/// What was found out in a look.
#[derive(Default)]
struct Known {
    /// Timers of event loops, by the task or future that they end.
    timers: FxHashMap<RemoteAddr, Timer>,
    calls: Calls,
    handled: Handled,
    /// By list, what is known of its event loop.
    loops: FxHashMap<u32, LoopWait>,
    passages: Passages,
    /// By record.
    waits: FxHashMap<u32, OwnWait>,
    /// By record, the tasks that it cancels when it is cancelled.
    cancelled_with: FxHashMap<u32, FxHashSet<RemoteAddr>>,
}

/// Where an event loop is in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    InCallback,
    /// In its selector, before or behind it.
    Elsewhere,
}

/// What was found out of an event loop. It is one that runs and executes no task, or nothing is known of it.
#[derive(Debug, Clone, Copy, Default)]
struct LoopWait {
    /// It is in a callback, or that cannot be told.
    may_be_blocked: bool,
    is_in_callback: bool,
    /// When its first timer is due.
    due: Option<Duration>,
}

/// What was found out of one task, those left out that await it.
#[derive(Debug, Clone, Copy, Default)]
struct OwnWait {
    /// When the first timer is due of those that were set for what it waits for.
    due_itself: Option<Duration>,
    /// The first of all others that it has set, or that cancel it.
    due_around: Option<Duration>,
    /// The first of those that may end it, which is not certain.
    due_perhaps: Option<Duration>,
    for_executor: bool,
    for_signal: bool,
    for_file: bool,
    may_be_for_file: bool,
}

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
        let timers = self.all_timers().map(Some);
        let handled = self.handled_futures().map(Some);
        // What is not known of all is not answered of any: it is asked again.
        let (Some(timers), Some(handled)) = (Self::of_one(timers)?, Self::of_one(handled)?) else {
            return Ok(());
        };
        let mut known = Known {
            timers: self.timed_tasks(attributes, &timers)?,
            calls: self.calls_of_timers(&timers)?,
            handled,
            ..Known::default()
        };
        for record in records {
            match self.long_wait_of(attributes, &mut known, *record) {
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
        known: &mut Known,
        record: u32,
    ) -> Result<Option<LongWait>, DecodeError> {
        let Some(task) = self.alive(record).map(|record| record.task) else {
            return Ok(None);
        };
        let own = self.own_wait_of(attributes, known, record)?;
        let cannot_return = self.cannot_return(&mut known.passages, record);
        let event_loop = self.loop_wait_of(known, record).map(Some);
        let event_loop = Self::of_one(event_loop)?.unwrap_or_default();
        let is_main = match task.is_python {
            true => Ok(false),
            false => self.is_main_task(task.at),
        };
        Ok(Some(LongWait {
            task: TaskId(task.at.as_u64()),
            ends_at: self.first_due(attributes, known, record)?,
            ends_itself_at: own.due_itself,
            may_end_at: own.due_perhaps,
            for_executor: own.for_executor,
            for_signal: own.for_signal,
            for_file: own.for_file,
            may_be_for_file: own.may_be_for_file,
            loop_due_at: event_loop.due,
            // Whether it is, its thread tells.
            loop_is_blocked: event_loop.may_be_blocked,
            loop_is_in_callback: event_loop.is_in_callback,
            cannot_return: Self::of_one(cannot_return.map(Some))?.unwrap_or_default(),
            is_main: Self::of_one(is_main.map(Some))?.unwrap_or_default(),
        }))
    }

    /// What is to be known of the event loop that the thread of a task runs, while it executes no task.
    fn loop_wait_of(&mut self, known: &mut Known, record: u32) -> Result<LoopWait, DecodeError> {
        let Some(at) = self.alive(record).map(|record| record.list) else {
            return Ok(LoopWait::default());
        };
        if let Some(wait) = known.loops.get(&at) {
            return Ok(*wait);
        }
        let list = usize::try_from(at).ok().and_then(|at| self.lists.get(at));
        let idle = list.filter(|list| list.running_task.is_null());
        let idle = idle.filter(|list| list.running_loop.is_plausible());
        let wait = match idle.map(|list| (list.running_loop, list.thread)) {
            Some((event_loop, thread)) => self.look_at_loop(event_loop, thread)?,
            None => LoopWait::default(),
        };
        known.loops.insert(at, wait);
        Ok(wait)
    }

    fn look_at_loop(
        &mut self,
        event_loop: RemoteAddr,
        thread: Option<ThreadState>,
    ) -> Result<LoopWait, DecodeError> {
        let parts = self.parts_of_loop(event_loop)?;
        let timers = self.first_timers_of_loop(parts)?;
        let due = self.first_of(timers.into_iter().map(Timer::at).collect())?;
        let turn = match thread {
            Some(thread) => Self::of_one(self.turn_of_loop(thread))?,
            None => None,
        };
        Ok(match turn {
            Some(Turn::InCallback) => LoopWait {
                may_be_blocked: true,
                is_in_callback: true,
                due,
            },
            // Whatever is due is about to be done, if the thread gets to execute anything: another one may hold the GIL.
            Some(Turn::Elsewhere) => LoopWait {
                due,
                ..LoopWait::default()
            },
            None => LoopWait {
                // Whose functions are not to be seen.
                may_be_blocked: parts.is_uvloop,
                is_in_callback: false,
                due,
            },
        })
    }

    /// Where the event loop of a thread is in its turn, if it is one of asyncio's whose functions the thread executes: others may
    /// be set going by something else, and wait there.
    fn turn_of_loop(&mut self, thread: ThreadState) -> Result<Option<Turn>, DecodeError> {
        let is = |code: &CodeInfo, (name, file): (&str, &str)| {
            let own = code.file.as_deref().unwrap_or_default();
            code.function.ends_with(name) && own.ends_with(file)
        };
        let (reader, chains) = (&mut *self.reader, &mut self.chains);
        let called = chains.called_by(reader, self.offsets, thread, |code| is(code, TURN))?;
        Ok(called.map(|called| {
            let Some([Some(called), Some(innermost)]) =
                called.map(|codes| codes.map(|code| self.chains.codes.info(code)))
            else {
                return Turn::Elsewhere;
            };
            let is_selector = |code: &CodeInfo| is(code, SELECTOR);
            match is(called, CALLBACK) || (is_selector(called) && !is_selector(innermost)) {
                true => Turn::InCallback,
                false => Turn::Elsewhere,
            }
        }))
    }

    /// When the first of the timers is due that end the wait of a task.
    fn first_due(
        &mut self,
        attributes: &mut WaitAttributes,
        known: &mut Known,
        record: u32,
    ) -> Result<Option<Duration>, DecodeError> {
        let mut first: Option<Duration> = None;
        let mut seen = FxHashSet::from_iter([record]);
        let mut left = vec![record];
        while let Some(at) = left.pop() {
            let Some(task) = self.alive(at).map(|record| record.task.at) else {
                continue;
            };
            let own = self.own_wait_of(attributes, known, at)?;
            let due = own.due_itself.into_iter().chain(own.due_around);
            first = first.into_iter().chain(due).min();
            if seen.len() > ABOVE_MAX {
                continue;
            }
            let awaiters = self.alive(at).map(|it| self.addresses(&it.awaiters));
            let awaiters = awaiters.unwrap_or_default().iter().take(ABOVE_MAX);
            let awaiters: Vec<u32> = awaiters
                .filter_map(|at| self.by_address.get(at).copied())
                .collect();
            for awaiter in awaiters {
                if seen.len() > ABOVE_MAX || !seen.insert(awaiter) {
                    continue;
                }
                if self
                    .cancelled_with(attributes, known, awaiter)?
                    .contains(&task)
                {
                    left.push(awaiter);
                }
            }
        }
        Ok(first)
    }

    /// The tasks that a task cancels if it is cancelled itself, of those that it awaits.
    fn cancelled_with<'k>(
        &mut self,
        attributes: &mut WaitAttributes,
        known: &'k mut Known,
        record: u32,
    ) -> Result<&'k FxHashSet<RemoteAddr>, DecodeError> {
        Ok(match known.cancelled_with.entry(record) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let wait = self.wait_of(attributes, record)?;
                unknown.insert(match wait.needs {
                    Needs::All(all) if !wait.ends_cancelled => all.into_iter().collect(),
                    _ => FxHashSet::default(),
                })
            }
        })
    }

    fn own_wait_of(
        &mut self,
        attributes: &mut WaitAttributes,
        known: &mut Known,
        record: u32,
    ) -> Result<OwnWait, DecodeError> {
        if let Some(wait) = known.waits.get(&record) {
            return Ok(*wait);
        }
        let wait = self.read_own_wait(attributes, known, record)?;
        known.waits.insert(record, wait);
        Ok(wait)
    }

    fn read_own_wait(
        &mut self,
        attributes: &mut WaitAttributes,
        known: &Known,
        record: u32,
    ) -> Result<OwnWait, DecodeError> {
        let Some(task) = self.alive(record).map(|record| record.task) else {
            return Ok(OwnWait::default());
        };
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        let chain = self.chains.follow(reader, offsets, task.coro, false)?;
        let waits = matches!(
            chain.state,
            Some(FrameState::Awaiting | FrameState::Suspended)
        );
        let frames: Vec<_> = self.chains.placed_frames().rev().collect();
        let (mut itself, mut around) = (Vec::new(), Vec::new());
        let mut futures = vec![task.awaits];
        let (mut is_inside, mut is_in_uvloop) = (true, false);
        // A lock, an event or a queue.
        let mut primitive = None;
        for (depth, (frame, at)) in frames.into_iter().filter(|_| waits).enumerate() {
            let Some(frame) = self.frame_waiting(frame, at)? else {
                break;
            };
            let own = if is_inside { &mut itself } else { &mut around };
            own.extend(self.timers_of(attributes, &frame)?);
            if depth == 0 {
                is_in_uvloop = self.is_in_uvloop(&frame, task.awaits)?;
                let is_primitive = PRIMITIVES.iter().any(|file| frame.is_of(file));
                primitive = frame.variables.parameter(0).filter(|_| is_primitive);
            }
            if depth == 0 && frame.is("_wait", "asyncio/tasks.py") {
                let timers = self.timers_in(frame.variables.locals())?.into_iter();
                own.extend(timers.map(Timer::at));
                futures = self.futures_of_wait(&frame)?;
            }
            is_inside &= frame.is_of_library();
        }
        let futures = self.tasks_behind(attributes, futures)?.futures;
        let timer_of = |at: &RemoteAddr| known.timers.get(at).copied();
        itself.extend(futures.iter().filter_map(timer_of));
        around.extend(timer_of(&task.at));
        let mut perhaps = Vec::new();
        let ended = futures.iter().chain(&primitive);
        let ended = ended.flat_map(|at| known.calls.uses_of(*at));
        let cancelled = known.calls.uses_of(task.at).iter();
        for used in ended.chain(cancelled.filter(|used| used.cancels)) {
            let own = if used.is_certain {
                &mut itself
            } else {
                &mut perhaps
            };
            own.push(Timer::at(used.timer));
        }
        Ok(OwnWait {
            due_itself: self.first_of(itself)?,
            due_around: self.first_of(around)?,
            due_perhaps: self.first_of(perhaps)?,
            for_executor: self.is_for_executor(attributes, &futures)?,
            for_signal: futures
                .iter()
                .any(|it| known.handled.by_signal.contains(it)),
            for_file: is_in_uvloop || futures.iter().any(|it| known.handled.by_file.contains(it)),
            may_be_for_file: known.handled.is_cut,
        })
    }

    /// Whether a frame awaits a coroutine of uvloop's own, which has no frame: those that wait for a plain future have begun
    /// something with a file (uvloop/loop.pyx: `create_connection`, `sendfile` and many more). They are coroutines of
    /// Cython, which refer to the name of their module.
    fn is_in_uvloop(&mut self, frame: &Waiting, future: RemoteAddr) -> Result<bool, DecodeError> {
        let awaited = frame.variables.awaited(self.offsets);
        let awaited = awaited.filter(|at| at.is_plausible() && future.is_plausible());
        let Some(wrapper) = awaited else {
            return Ok(false);
        };
        let is_wrapper = self
            .type_name_of(wrapper)
            .map(|name| name.ends_with(OF_CYTHON));
        if !Self::of_one(is_wrapper.map(Some))?.unwrap_or_default()
            || !self.type_is(future, "_asyncio.Future")?
        {
            return Ok(false);
        }
        let coroutine = wrapper.plus(self.offsets.pyobject.size);
        let coroutine = self.reader.addr_at(coroutine)?;
        for (member, name) in self.members_of(coroutine)? {
            if name == "str" && self.text_of(member)? == "uvloop.loop" {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn first_of(&mut self, timers: Vec<Timer>) -> Result<Option<Duration>, DecodeError> {
        let mut first: Option<Duration> = None;
        for timer in timers {
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
            if value.is_plausible() && self.type_name_of(value)?.ends_with("TimerHandle") {
                timers.push(value);
            }
        }
        Ok(timers)
    }

    pub(super) fn type_is(&mut self, object: RemoteAddr, name: &str) -> Result<bool, DecodeError> {
        let types = &mut self.chains.types;
        let info = types.type_of(self.reader, self.offsets, object)?;
        Ok(types.name(info) == name)
    }

    /// When a timer is due; nothing if that makes no sense, or if it is of another kind than asyncio's and nobody else says.
    pub(super) fn due_of_timer(&mut self, timer: Timer) -> Result<Option<Duration>, DecodeError> {
        let due = match (self.when(timer.at)?, timer.due) {
            (None, Some(due)) if self.type_is(due, "float")? => {
                let bits = due.plus(self.offsets.pyobject.size);
                Some(self.reader.u64_at(bits)?)
            }
            (due, _) => due,
        };
        let due = due.and_then(|bits| Duration::try_from_secs_f64(f64::from_bits(bits)).ok());
        Ok(due.filter(|due| !due.is_zero()))
    }

    /// Whether a task is the one that its event loop was started for.
    fn is_main_task(&mut self, task: RemoteAddr) -> Result<bool, DecodeError> {
        if self.closure_of(task, OF_MAIN_TASK)?.is_some() {
            return Ok(true);
        }
        let callback = task.plus(self.layout.future_callback(self.offsets));
        let callback = self.reader.addr_at(callback)?;
        let is_of_cython = callback.is_plausible()
            && self
                .type_name_of(callback)?
                .ends_with("cython_function_or_method");
        Ok(is_of_cython
            && name_of_c_function(self.reader, self.offsets, callback)? == OF_MAIN_TASK_UVLOOP)
    }

    /// Whether what a future waits for, or one that it stands for, is being done in a thread or another process.
    fn is_for_executor(
        &mut self,
        attributes: &mut WaitAttributes,
        futures: &[RemoteAddr],
    ) -> Result<bool, DecodeError> {
        for future in futures {
            if let Some(closure) = self.closure_of(*future, OF_EXECUTOR)?
                && self.is_executed(attributes, closure)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The closure of the first callback of a future, if that is this function, in this file. Those of futures that are
    /// implemented in Python are not looked at.
    fn closure_of(
        &mut self,
        future: RemoteAddr,
        (name, file): (&str, &str),
    ) -> Result<Option<RemoteAddr>, DecodeError> {
        let callback = self.callback_of(future)?;
        let callback = callback.filter(|(code, _)| self.is_code(*code, name, file));
        Ok(callback.map(|(_, closure)| closure))
    }
}
