//! One look at one task: its name, where it stands, who awaits it.

use super::Walk;
use super::first::Depth;
use crate::asyncio::task::RawTask;
use crate::cpython::{ChainFrame, CopyOrder, DecodeError, FrameState, TypeInfo};
use crate::graph::{FrameIdx, NewFrame, StackIdx, TaskName, TaskState, TextIdx};
use crate::limits::LimitHit;
use crate::memory::RemoteAddr;
use std::ops::Range;

/// The function that executes a task which is implemented in Python (Lib/asyncio/tasks.py).
const TASK_STEP: &str = "Task.__step_run_and_handle_result";

/// With more threads, they are not looked at for each task that is looked at alone.
const THREADS_LOOKED_AT_MAX: usize = 32;

/// Where a task stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) stack: StackIdx,
    /// Type name of what the innermost frame awaits.
    pub(super) awaiting: Option<TextIdx>,
    pub(super) state: TaskState,
    /// Which objects the stack was made of, and for which time a task that sleeps waits.
    pub(super) objects: u64,
    /// A cap left a part of the stack out.
    pub(super) cut: Cut,
}

impl Place {
    /// Nothing is known of where it stands.
    pub(super) const UNKNOWN: Self = Self {
        stack: StackIdx::EMPTY,
        awaiting: None,
        state: TaskState::Pending,
        objects: 0,
        cut: Cut::NONE,
    };
}

/// A place, and what makes it comparable with that of another look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting {
    pub(super) place: Place,
    /// The stack without the frames that were found on the thread.
    own_stack: StackIdx,
    order: CopyOrder,
}

impl Sighting {
    /// Of a task without a coroutine.
    fn without_stack(state: TaskState) -> Self {
        Self {
            place: Place {
                state,
                ..Place::UNKNOWN
            },
            own_stack: StackIdx::EMPTY,
            order: CopyOrder::NO_LINKS,
        }
    }

    /// Whether this look, taken after `earlier`, confirms it: it found the same objects, and each of
    /// them was copied while its holder was seen to hold it, before and after. A holder keeps what it
    /// holds from being freed, and a task its coroutine, always the same one.
    pub(super) fn confirms(&self, earlier: &Self) -> bool {
        self.is_same_place(earlier)
            && earlier.order.holder_first | self.order.holder_last == u64::MAX
    }

    /// Whether both looks saw the same.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        let (now, before) = (&self.place, &other.place);
        let is_running = |place: &Place| place.state == TaskState::Running;
        // The instruction of what is being executed changes all the time.
        let stands = (is_running(now) && is_running(before))
            || (now.state == before.state && self.own_stack == other.own_stack);
        stands && now.objects == before.objects && now.awaiting == before.awaiting
    }

    /// The place, without the frames of the thread, unless `earlier` found the same ones.
    pub(super) fn lasting_place(&self, earlier: &Self) -> Place {
        let mut place = self.place;
        if place.stack != earlier.place.stack {
            place.stack = self.own_stack;
        }
        place
    }
}

/// The cap that left something out, by its number in `Walk::cuts`; 0 if none did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cut(u8);

impl Cut {
    const NONE: Self = Self(0);
}

/// Who awaits a task.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Awaiters {
    /// Their addresses, in `Walk::awaiters`.
    start: u32,
    len: u32,
    /// A cap left some of them out.
    pub(super) cut: Cut,
}

impl Awaiters {
    /// The positions of their addresses in `Walk::awaiters`.
    pub(super) fn positions(self) -> Range<usize> {
        let index = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        index(self.start)..index(self.start.saturating_add(self.len))
    }
}

/// The stack that was made last: the next task often stands in the same place.
#[derive(Debug, Default)]
pub(super) struct LastStack {
    frames: Vec<ChainFrame>,
    stack: Option<StackIdx>,
}

impl Walk<'_, '_> {
    /// The name of a task.
    pub(super) fn look_at_name(&mut self, task: &RawTask) -> Result<TaskName, DecodeError> {
        let types = &mut self.chains.types;
        task.read_name(self.reader, self.offsets, types, &mut self.graph)
    }

    /// Who awaits a task.
    pub(super) fn look_at_awaiters(&mut self, task: &RawTask) -> Result<Awaiters, DecodeError> {
        let start = self.awaiters.len();
        let is_changing = self.depth == Depth::Names;
        let (reader, awaiters) = (&mut *self.reader, &mut self.awaiters);
        let read = task.read_awaiters(reader, self.offsets, is_changing, awaiters);
        if read.is_err() {
            self.awaiters.truncate(start);
        }
        let cut = self.cut(read?);
        let index = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let len = index(self.awaiters.len().saturating_sub(start));
        let start = index(start);
        Ok(Awaiters { start, len, cut })
    }

    fn cut(&mut self, limit: Option<LimitHit>) -> Cut {
        let Some(limit) = limit else {
            return Cut::NONE;
        };
        let known = self.cuts.iter().position(|known| *known == limit);
        let at = known.unwrap_or(self.cuts.len());
        if known.is_none() {
            self.cuts.push(limit);
        }
        // There are fewer caps than that.
        Cut(u8::try_from(at.saturating_add(1)).unwrap_or(u8::MAX))
    }

    /// The cap behind a [`Cut`].
    pub(super) fn limit(&self, cut: Cut) -> Option<LimitHit> {
        let at = usize::from(cut.0).checked_sub(1)?;
        self.cuts.get(at).copied()
    }

    /// Their addresses.
    pub(super) fn addresses(&self, awaiters: &Awaiters) -> &[RemoteAddr] {
        self.awaiters.get(awaiters.positions()).unwrap_or_default()
    }

    /// Where a task stands that was found in this list, if any. If the list's thread executes it, its
    /// stack goes on with the frames that the thread is in.
    pub(super) fn look_at_place(
        &mut self,
        list: Option<u32>,
        task: &RawTask,
    ) -> Result<Sighting, DecodeError> {
        let is_current = self.running.contains_key(&task.at);
        let coroutine = task.coro;
        if coroutine.is_null() {
            return Ok(Sighting::without_stack(match is_current {
                true => TaskState::Running,
                false => TaskState::Pending,
            }));
        }
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        let with_order = self.depth == Depth::Names;
        let chain = self.chains.follow(reader, offsets, coroutine, with_order)?;
        let mut objects = chain.hash;
        if let Some(due) = self.end_of_sleep()? {
            objects ^= due;
        }
        let mut frames = std::mem::take(&mut self.chain_buffer);
        frames.clear();
        frames.extend_from_slice(self.chains.frames());
        let own_stack = self.stack(&frames);
        let mut stack = own_stack;
        if chain.state == Some(FrameState::Executing) {
            // The thread does not wait for us: frames that make no sense are frames that it left.
            match self.frames_of_thread(list, task) {
                Ok(running) => frames.extend(running),
                Err(error) if error.is_fatal() => return Err(error),
                Err(_) => {}
            }
            stack = self.stack(&frames);
        }
        self.chain_buffer = frames;
        let state = match chain.state {
            // What executes a coroutine says so first and last of all.
            Some(FrameState::Executing) => TaskState::Running,
            None if is_current => TaskState::Running,
            Some(FrameState::Created) => TaskState::Created,
            Some(FrameState::Suspended | FrameState::Awaiting) => TaskState::Suspended,
            Some(FrameState::Ended) | None => TaskState::Pending,
        };
        let awaiting = chain.awaiting.map(|info| self.type_name(info));
        let place = Place {
            stack: stack?,
            awaiting,
            state,
            objects,
            cut: self.cut(chain.cut),
        };
        Ok(Sighting {
            place,
            own_stack: own_stack?,
            order: chain.order,
        })
    }

    /// The frames that the thread which executes a task is in, of those that the task called.
    fn frames_of_thread(
        &mut self,
        list: Option<u32>,
        task: &RawTask,
    ) -> Result<Vec<ChainFrame>, DecodeError> {
        let current = self.running.get(&task.at).copied();
        let list = current.or_else(|| usize::try_from(list?).ok());
        let Some(list) = list.and_then(|at| self.lists.get(at)) else {
            return Ok(Vec::new());
        };
        // Threads do not say that they execute a task that is implemented in Python.
        let (running_task, thread) = (list.running_task, list.thread);
        let Some(thread) = thread.filter(|_| running_task.is_null() == task.is_python) else {
            return Ok(Vec::new());
        };
        // Of others they name the one that began last: it may take its eager first step inside another one.
        let within = match task.is_python || running_task == task.at {
            true => None,
            false => Some(RawTask::read(self.reader, self.layout, running_task)?.coro),
        };
        let (reader, coroutine) = (&mut *self.reader, task.coro);
        let running = self
            .chains
            .running(reader, self.offsets, thread, coroutine, within)?;
        let mut running = running.unwrap_or_default();
        if task.is_python {
            running.truncate(self.n_frames_of_own(&running));
        }
        Ok(running)
    }

    /// Sees which tasks are executed now, and in which event loops, by what their threads say.
    pub(super) fn look_at_running(&mut self) {
        self.running.clear();
        let offset = self.layout.thread_running_task;
        let loop_offset = self.layout.thread_running_loop;
        for at in 0..self.lists.len() {
            let thread = self.lists.get(at).and_then(|list| list.thread);
            let Some(thread) = thread else {
                continue;
            };
            let running = self.reader.addr_at(thread.at.plus(offset));
            let event_loop = self.reader.addr_at(thread.at.plus(loop_offset));
            if let (Some(list), Ok(task), Ok(event_loop)) =
                (self.lists.get_mut(at), running, event_loop)
            {
                list.running_task = task;
                list.running_loop = event_loop;
                if !task.is_null() {
                    self.running.insert(task, at);
                }
            }
        }
    }

    /// The same, for a look at one task. With many threads it would be too much to look at.
    pub(super) fn look_at_running_aside(&mut self) {
        if self.lists.len() <= THREADS_LOOKED_AT_MAX {
            self.look_at_running();
        }
    }

    /// How many of the frames of a thread that executes a task are in no other task that is implemented
    /// in Python. One that starts eagerly is executed inside the one that made it.
    fn n_frames_of_own(&self, frames: &[ChainFrame]) -> usize {
        let begins_task = |frame: &ChainFrame| {
            let code = self.chains.codes.info(frame.code);
            code.is_some_and(|code| &*code.function == TASK_STEP)
        };
        frames.iter().position(begins_task).unwrap_or(frames.len())
    }

    fn stack(&mut self, frames: &[ChainFrame]) -> Result<StackIdx, DecodeError> {
        if let Some(stack) = self.last_stack.stack
            && self.last_stack.frames == frames
        {
            return Ok(stack);
        }
        let mut indices = std::mem::take(&mut self.frame_buffer);
        indices.clear();
        for frame in frames.iter().rev() {
            indices.push(self.frame(*frame)?);
        }
        let stack = self.graph.stack(&indices);
        self.frame_buffer = indices;
        self.last_stack.frames.clear();
        self.last_stack.frames.extend_from_slice(frames);
        self.last_stack.stack = Some(stack);
        Ok(stack)
    }

    fn frame(&mut self, frame: ChainFrame) -> Result<FrameIdx, DecodeError> {
        if let Some(known) = self.frames.get(&frame) {
            return Ok(*known);
        }
        let codes = &mut self.chains.codes;
        // A line table is decoded byte by byte, from its start.
        let decoding = codes
            .info(frame.code)
            .map_or(0, |code| code.line_table_bytes());
        self.reader.spend(decoding.saturating_mul(8))?;
        let line = codes.line(frame.code, frame.unit);
        let code = codes.info(frame.code);
        let at = self.graph.frame(NewFrame {
            function: code.map_or("", |code| &code.function),
            file: code.and_then(|code| code.file.as_deref()),
            line,
            via: frame.via,
        });
        let problem = code.and_then(|code| Some((code.at(), code.problem?)));
        self.frames.insert(frame, at);
        if let Some((at, error)) = problem {
            self.note(error.code(), &format!("code object {at}"), error)?;
        }
        Ok(at)
    }

    fn type_name(&mut self, info: TypeInfo) -> TextIdx {
        let name = info.name_index();
        if let Some(Some(text)) = self.type_names.get(name) {
            return *text;
        }
        let text = self.graph.text(self.chains.types.name(info));
        if self.type_names.len() <= name {
            self.type_names.resize(name.saturating_add(1), None);
        }
        if let Some(known) = self.type_names.get_mut(name) {
            *known = Some(text);
        }
        text
    }
}
