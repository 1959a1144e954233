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
//! The places also change when another one gives up waiting. Where the first in line is served first (locks, semaphores and
//! queues), the line has moved if another one is first. If the same one is, it stands; unless it is alone, and was alone
//! before: then it may have gone away and come back. If it did so by itself, each turn was two changes of the deque and one
//! place. Somebody who joined it and gave up makes another number of changes; several who did add up to any number, now and
//! then to that one. So it counts only where most looks have found it.
//!
//! A task that is executed holds up its event loop until it comes to its next `await`. The loop takes what is to be done from
//! a deque: as long as it has taken nothing, it is held up, however busy its thread is.

use super::Walk;
use crate::cpython::{
    Attributes, BLOCK_ITEMS, DecodeError, Deque, DequeItem, first_parameter, read_deque,
    taken_from_deque,
};
use crate::graph::{StackIdx, TaskState};
use crate::memory::RemoteAddr;
use rustc_hash::FxHashMap;

/// Futures of one deque that are looked at.
const WAITERS_MAX: u64 = 65_536;

/// An empty deque at the end of its block goes back to the middle of it (`deque_popleft`, Modules/_collectionsmodule.c).
const CYCLE_ITEMS: u64 = BLOCK_ITEMS / 2;

/// For each look that found that somebody has joined who was alone and has given up, so many must have found that who was alone has
/// gone round by itself, and one more.
const ROUNDS_PER_VISIT: u32 = 2;

/// Looks in a row in which a line may be missing without being forgotten: some do not get as far as that.
const MISSES_MAX: u8 = 8;
/// Lines that may be missing at once.
const MISSING_MAX: usize = 4_096;

/// The attributes that hold the deques, in the order of [`QUEUES`].
const ATTRIBUTES: [&str; 3] = ["_waiters", "_getters", "_putters"];
/// Which function waits for a turn in which of them, and its file; whether the first in line is served first.
const QUEUES: [(&str, &str, Queue); 6] = [
    ("Event.wait", "asyncio/locks.py", (0, false)),
    ("Condition.wait", "asyncio/locks.py", (0, false)),
    ("Lock.acquire", "asyncio/locks.py", (0, true)),
    ("Semaphore.acquire", "asyncio/locks.py", (0, true)),
    ("Queue.get", "asyncio/queues.py", (1, true)),
    ("Queue.put", "asyncio/queues.py", (2, true)),
];

/// An attribute, and whether the first in line is served first.
type Queue = (usize, bool);

/// The position of the timer among the variables of `sleep(delay, result)` (Lib/asyncio/tasks.py: delay, result, loop,
/// future, h; the last two have been set when it waits).
const TIMER_OF_SLEEP: u64 = 4;
/// Where a timer has the time at which it is due, behind its head. CPython gives the slots of a class places by their
/// names, and those of its base come first (Lib/asyncio/events.py: `_scheduled` and `_when` of TimerHandle, seven of
/// Handle). Of uvloop's it is the last member (uvloop/cbhandles.pxd of 0.22 and later: the table of methods, then callback,
/// args, _cancelled, timer, loop, context, _debug_info, __weakref__, _when).
const WHEN: [(&str, u64); 2] = [("TimerHandle", 64), ("uvloop.loop.TimerHandle", 72)];

/// Where a line stood in which the first one is served first, by the primitive and its attribute.
pub(super) type Fronts = FxHashMap<(RemoteAddr, usize), Front>;

/// Where a line stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Front {
    /// The one whose turn is next.
    first: DequeItem,
    /// Nobody else waits.
    is_alone: bool,
    /// Another number when the line has moved.
    n_moves: u64,
    /// The position of the first one in its block, and how often the deque was changed.
    index: u64,
    n_changes: u64,
    /// Looks that found that the only one in the line has gone round, as it seems, and those that found that others had been
    /// there, since another one was the first.
    n_rounds: u32,
    n_visits: u32,
    /// Looks in a row in which the line was missing.
    n_missing: u8,
}

impl Front {
    /// Where it stands now, with what it was at the walk before.
    fn now(deque: &Deque, before: Option<&Self>) -> Option<Self> {
        let first = *deque.items.first()?;
        let mut now = Self {
            first,
            is_alone: deque.items.len() == 1,
            n_moves: first.place.as_u64(),
            index: deque.index,
            n_changes: deque.n_changes,
            n_rounds: 0,
            n_visits: 0,
            n_missing: 0,
        };
        if let Some(before) = before {
            let has_moved = before.first.item != first.item || now.went_round_alone(before);
            now.n_moves = before.n_moves.wrapping_add(u64::from(has_moved));
        }
        now.n_moves = now.n_moves.max(1);
        Some(now)
    }

    /// Whether the only one in the line went away and came back, as far as can be told, and nobody else was there meanwhile.
    fn went_round_alone(&mut self, before: &Self) -> bool {
        (self.n_rounds, self.n_visits) = (before.n_rounds, before.n_visits);
        if !self.is_alone || !before.is_alone || self.first.place == before.first.place {
            return false;
        }
        let n_places = self.index.wrapping_sub(before.index);
        let n_changes = self.n_changes.wrapping_sub(before.n_changes);
        let more = n_changes.wrapping_sub(n_places.wrapping_mul(2));
        let is_round = more.is_multiple_of(2 * CYCLE_ITEMS);
        let looks = match is_round {
            true => &mut self.n_rounds,
            false => &mut self.n_visits,
        };
        *looks = looks.saturating_add(1);
        is_round && self.n_rounds > self.n_visits.saturating_mul(ROUNDS_PER_VISIT)
    }
}

/// The futures of a deque.
#[derive(Debug, Default)]
struct Line {
    places: FxHashMap<RemoteAddr, RemoteAddr>,
    first: Option<DequeItem>,
    /// Where the first one is served first.
    front: Option<Front>,
}

impl Line {
    fn of(items: &[DequeItem]) -> Self {
        Self {
            first: items.first().copied(),
            places: items.iter().map(|it| (it.item, it.place)).collect(),
            front: None,
        }
    }

    /// What tells a turn apart: how far the line has moved, or the places of the future and of the one whose turn is next.
    /// Nothing if it does not wait here, or is the only one that waits for an event: programs make an event for each turn, at the
    /// same address as the one before.
    fn turn_of(&self, future: RemoteAddr) -> u64 {
        let (Some(place), Some(first)) = (self.places.get(&future), self.first) else {
            return 0;
        };
        match self.front {
            Some(front) => front.n_moves,
            None if self.places.len() == 1 => 0,
            None => place.as_u64() ^ first.place.as_u64().rotate_left(32),
        }
    }
}

/// What is known of the primitives, for one look.
struct Primitives {
    attributes: Attributes<3>,
    /// Which attribute a stack waits at, if it does.
    stacks: FxHashMap<StackIdx, Option<Queue>>,
    /// Who waits there, by primitive and attribute.
    lines: FxHashMap<(RemoteAddr, usize), Line>,
    /// What event loops have taken.
    taken: FxHashMap<RemoteAddr, u64>,
}

impl Walk<'_, '_> {
    /// Finds out which turns tasks wait for.
    pub(super) fn find_turns(&mut self) -> Result<(), DecodeError> {
        self.turns.clear();
        let mut primitives = Primitives {
            attributes: Attributes::new(ATTRIBUTES),
            stacks: FxHashMap::default(),
            lines: FxHashMap::default(),
            taken: FxHashMap::default(),
        };
        let found = self.find_all_turns(&mut primitives);
        let keeps_missing = self.fronts.len() <= MISSING_MAX;
        self.fronts.retain(|_, front| {
            front.n_missing = front.n_missing.saturating_add(1);
            keeps_missing && front.n_missing <= MISSES_MAX
        });
        let lines = primitives.lines.into_iter();
        let fronts = lines.filter_map(|(of, line)| Some((of, line.front?)));
        self.fronts.extend(fronts);
        found
    }

    fn find_all_turns(&mut self, primitives: &mut Primitives) -> Result<(), DecodeError> {
        for at in 0..self.records.len() {
            let Some(record) = self.records.get(at).filter(|record| record.is_alive) else {
                continue;
            };
            let stack = record.place.stack;
            if record.place.state == TaskState::Running {
                match self.taken_by_loop(primitives, record.list) {
                    Err(error) if error.is_fatal() => return Err(error),
                    // Its loop keeps that elsewhere, or has just begun or ended.
                    taken => self.turns.extend(taken.ok().flatten().map(|it| (at, it))),
                }
                continue;
            }
            let queue = primitives.stacks.get(&stack).copied();
            let queue = queue.unwrap_or_else(|| {
                let queue = self.queue_of(stack);
                primitives.stacks.insert(stack, queue);
                queue
            });
            let Some(queue) = queue else {
                continue;
            };
            match self.turn_of(primitives, at, queue) {
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

    /// The time at which a timer of asyncio or uvloop is due, by the clock of its event loop: the bits of a float. Nothing if
    /// it is no such timer.
    pub(super) fn when(&mut self, timer: RemoteAddr) -> Result<Option<u64>, DecodeError> {
        DecodeError::check_address("timer", timer)?;
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        let types = &mut self.chains.types;
        let info = types.type_of(reader, offsets, timer)?;
        let name = types.name(info);
        let Some((_, member)) = WHEN.iter().find(|(class, _)| *class == name) else {
            return Ok(None);
        };
        let due = reader.addr_at(timer.plus(offsets.pyobject.size.saturating_add(*member)))?;
        DecodeError::check_address("time of a timer", due)?;
        let info = types.type_of(reader, offsets, due)?;
        if !matches!(types.name(info), "float") {
            return Ok(None);
        }
        Ok(Some(reader.u64_at(due.plus(offsets.pyobject.size))?))
    }

    /// What tells how much the event loop of a list's thread has taken of what there is to be done; never 0. Nothing if it
    /// keeps that elsewhere.
    fn taken_by_loop(
        &mut self,
        primitives: &mut Primitives,
        list: u32,
    ) -> Result<Option<u64>, DecodeError> {
        let list = usize::try_from(list).ok().and_then(|at| self.lists.get(at));
        let event_loop = list.map_or(RemoteAddr::NULL, |list| list.running_loop);
        if !event_loop.is_plausible() {
            return Ok(None);
        }
        if let Some(taken) = primitives.taken.get(&event_loop) {
            return Ok(Some(*taken));
        }
        let deque = self.parts_of_loop(event_loop)?.ready;
        if !deque.is_plausible() || !self.type_is(deque, "collections.deque")? {
            return Ok(None);
        }
        let taken = taken_from_deque(self.reader, self.offsets, deque)?.max(1);
        primitives.taken.insert(event_loop, taken);
        Ok(Some(taken))
    }

    /// At which attribute the innermost function of a stack waits, if it is one that does.
    fn queue_of(&self, stack: StackIdx) -> Option<Queue> {
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
        (queue, is_fair): Queue,
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
            let deque = read_deque(reader, offsets, deque, WAITERS_MAX)?;
            line = Line::of(&deque.items);
            let before = self.fronts.get(&(primitive, queue));
            line.front = Front::now(&deque, before).filter(|_| is_fair);
        }
        let turn = line.turn_of(task.awaits);
        primitives.lines.insert((primitive, queue), line);
        Ok(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often the line has moved in looks at one who is alone, each so many changes and places after the one before.
    fn moves(looks: &[(u64, u64)]) -> Vec<bool> {
        let mut deque = Deque::default();
        let mut see = |(n_changes, n_places): (u64, u64)| {
            deque.n_changes += n_changes;
            deque.index += n_places;
            deque.items = vec![DequeItem {
                item: RemoteAddr::new(7),
                place: RemoteAddr::new(0x1000 + deque.index * 8),
            }];
            deque.clone()
        };
        let mut before = Front::now(&see((0, 0)), None).unwrap();
        let looks = looks.iter().map(|look| {
            let now = Front::now(&see(*look), Some(&before)).unwrap();
            let has_moved = now.n_moves != before.n_moves;
            before = now;
            has_moved
        });
        looks.collect()
    }

    #[test]
    fn who_goes_round_alone_is_told_from_who_stands_while_others_come_and_give_up() {
        let (none, rounds) = ((0, 0), [(2, 1), (20, 10), (62, 31)]);
        assert_eq!(
            moves(&[none, rounds[0], rounds[1], none, rounds[2]]),
            [false, true, true, false, true]
        );
        // One who joined and gave up; two at the same time; these and the former one, which together look like a round.
        let (one, two, all) = ((3, 2), (7, 3), (10, 5));
        assert_eq!(moves(&[one, all, none, two, all, all]), [false; 6]);
        assert_eq!(
            moves(&[all, one, all, two, all, all]),
            [true, false, false, false, false, false]
        );
        // Now and then somebody comes to one who goes round.
        let [round, ..] = rounds;
        assert_eq!(
            moves(&[round, round, round, one, round]),
            [true, true, true, false, true]
        );
    }
}
