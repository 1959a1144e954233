//! Which turn of theirs tasks wait for that wait for a lock, an event or a queue.
//!
//! A task that goes round a loop can be seen at the same line, on objects at the same addresses: memory that is given
//! back is given out again. But each time it waits at one of asyncio's primitives (Lib/asyncio/locks.py and queues.py
//! of CPython 3.14 and 3.15) it puts a future into a deque of that primitive, at the next place. So the place tells
//! two turns apart. It belongs to what the task stands on ([`Task::footing`](crate::graph::Task::footing)), and so does
//! the place of the one whose turn is next: who waits in a line that moves is not stuck, however long it is.
//!
//! A task that sleeps waits for a timer, which has the time at which it is due: each sleep has another one.
//!
//! The places also change when a task gives up waiting: then it seems that the others have gone on, and their waits count
//! from there.

use super::Walk;
use crate::cpython::{Attributes, DecodeError, first_parameter, read_deque};
use crate::graph::StackIdx;
use crate::memory::RemoteAddr;
use rustc_hash::FxHashMap;

/// Futures of one deque that are looked at.
const WAITERS_MAX: u64 = 65_536;

/// The attributes that hold the deques, in the order of [`QUEUES`].
const ATTRIBUTES: [&str; 3] = ["_waiters", "_getters", "_putters"];
/// Which function waits for a turn in which of them, and its file.
const QUEUES: [(&str, &str, usize); 6] = [
    ("Event.wait", "asyncio/locks.py", 0),
    ("Condition.wait", "asyncio/locks.py", 0),
    ("Lock.acquire", "asyncio/locks.py", 0),
    ("Semaphore.acquire", "asyncio/locks.py", 0),
    ("Queue.get", "asyncio/queues.py", 1),
    ("Queue.put", "asyncio/queues.py", 2),
];

/// The position of the timer among the variables of `sleep(delay, result)` (Lib/asyncio/tasks.py: delay, result, loop,
/// future, h; the last two have been set when it waits).
const TIMER_OF_SLEEP: u64 = 4;
/// Where a timer has the time at which it is due, behind its head: CPython gives the slots of a class places by their
/// names, and those of its base come first (Lib/asyncio/events.py: `_scheduled` and `_when` of TimerHandle, seven of
/// Handle).
const WHEN: u64 = 64;

/// The futures of a deque.
#[derive(Debug, Default)]
struct Line {
    places: FxHashMap<RemoteAddr, RemoteAddr>,
    /// The place of the one whose turn is next.
    front: RemoteAddr,
}

impl Line {
    /// What tells a turn apart: the place of the future, and whose turn is next. Nothing if it does not wait here.
    fn turn_of(&self, future: RemoteAddr) -> u64 {
        let place = self.places.get(&future);
        place.map_or(0, |place| {
            place.as_u64() ^ self.front.as_u64().rotate_left(32)
        })
    }
}

/// What is known of the primitives, for one look.
struct Primitives {
    attributes: Attributes<3>,
    /// Which attribute a stack waits at, if it does.
    stacks: FxHashMap<StackIdx, Option<usize>>,
    /// Who waits there, by primitive and attribute.
    lines: FxHashMap<(RemoteAddr, usize), Line>,
}

impl Walk<'_, '_> {
    /// Finds out which turns tasks wait for.
    pub(super) fn find_turns(&mut self) -> Result<(), DecodeError> {
        self.turns.clear();
        let mut primitives = Primitives {
            attributes: Attributes::new(ATTRIBUTES),
            stacks: FxHashMap::default(),
            lines: FxHashMap::default(),
        };
        for at in 0..self.records.len() {
            let Some(record) = self.records.get(at).filter(|record| record.is_alive) else {
                continue;
            };
            let stack = record.place.stack;
            let queue = primitives.stacks.get(&stack).copied();
            let queue = queue.unwrap_or_else(|| {
                let queue = self.queue_of(stack);
                primitives.stacks.insert(stack, queue);
                queue
            });
            let Some(queue) = queue else {
                continue;
            };
            match self.turn_of(&mut primitives, at, queue) {
                Ok(turn) => {
                    self.turns.insert(at, turn);
                }
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) if error.is_limit() => {
                    return self.note(error.code(), "turns of tasks", error);
                }
                // It has just gone on, or is none of asyncio's primitives.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// What tells the sleep of a task apart whose stack was followed last: when it is due, by the clock of its event loop.
    /// Nothing if it does not sleep, or if its event loop has timers of another kind.
    pub(super) fn end_of_sleep(&mut self) -> Result<Option<u64>, DecodeError> {
        let Some((innermost, frame)) = self.chains.placed_frames().next_back() else {
            return Ok(None);
        };
        let code = self.chains.codes.info(innermost.code);
        let sleeps = code.is_some_and(|code| {
            let file = code.file.as_deref().unwrap_or_default();
            &*code.function == "sleep" && file.ends_with("asyncio/tasks.py")
        });
        if !sleeps {
            return Ok(None);
        }
        match self.due(frame) {
            Err(error) if error.is_fatal() => Err(error),
            due => Ok(due.ok().flatten()),
        }
    }

    /// The time at which the timer of the `sleep` with this frame is due: the bits of a float (`PyFloatObject`,
    /// Include/cpython/floatobject.h).
    fn due(&mut self, frame: RemoteAddr) -> Result<Option<u64>, DecodeError> {
        let variables = frame.plus(self.offsets.interpreter_frame.localsplus);
        let timer = variables.plus(TIMER_OF_SLEEP.saturating_mul(8));
        let timer = self.reader.addr_at(timer)?;
        self.when(timer.untagged())
    }

    /// The time at which a timer of asyncio is due, by the clock of its event loop: the bits of a float. Nothing if it
    /// is no such timer.
    pub(super) fn when(&mut self, timer: RemoteAddr) -> Result<Option<u64>, DecodeError> {
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        let types = &mut self.chains.types;
        let mut value = timer;
        for (class, member) in [("TimerHandle", WHEN), ("float", 0)] {
            DecodeError::check_address("timer", value)?;
            let info = types.type_of(reader, offsets, value)?;
            if types.name(info) != class {
                return Ok(None);
            }
            let member = offsets.pyobject.size.saturating_add(member);
            value = reader.addr_at(value.plus(member))?;
        }
        Ok(Some(value.as_u64()))
    }

    /// At which attribute the innermost function of a stack waits, if it is one that does.
    fn queue_of(&self, stack: StackIdx) -> Option<usize> {
        let (function, file) = self.graph.frames_of(stack).next()?;
        let mut queues = QUEUES.iter();
        let queue = queues.find(|(name, of, _)| function == *name && file.ends_with(of));
        queue.map(|(_, _, queue)| *queue)
    }

    /// Which turn a task waits for; 0 if it does not wait in the deque.
    fn turn_of(
        &mut self,
        primitives: &mut Primitives,
        record: usize,
        queue: usize,
    ) -> Result<u64, DecodeError> {
        let Some(task) = self.records.get(record).map(|record| record.task) else {
            return Ok(0);
        };
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        self.chains.follow(reader, offsets, task.coro, false)?;
        let innermost = self.chains.placed_frames().next_back();
        let Some((_, frame)) = innermost else {
            return Ok(0);
        };
        let primitive = first_parameter(reader, offsets, frame)?;
        if let Some(line) = primitives.lines.get(&(primitive, queue)) {
            return Ok(line.turn_of(task.awaits));
        }
        let types = &mut self.chains.types;
        let found = primitives
            .attributes
            .of(reader, offsets, types, primitive)?;
        let deque = found.get(queue).copied().unwrap_or_default().value;
        DecodeError::check_address("deque of futures", deque)?;
        let mut line = Line::default();
        let info = types.type_of(reader, offsets, deque)?;
        if matches!(types.name(info), "collections.deque") {
            let items = read_deque(reader, offsets, deque, WAITERS_MAX)?;
            line.front = items.first().map_or(RemoteAddr::NULL, |it| it.place);
            line.places
                .extend(items.into_iter().map(|it| (it.item, it.place)));
        }
        let turn = line.turn_of(task.awaits);
        primitives.lines.insert((primitive, queue), line);
        Ok(turn)
    }
}
