//! One look at one task: everything its pointers lead to.

use super::Walk;
use super::heads::TaskList;
use crate::asyncio::task::RawTask;
use crate::cpython::{ChainFrame, CopyOrder, DecodeError, FrameState, ThreadState, TypeInfo};
use crate::graph::{FrameIdx, NewFrame, StackIdx, TaskName, TaskState, TextIdx};
use crate::limits::LimitHit;
use crate::memory::{Moment, RemoteAddr};
use std::ops::Range;

/// What a task costs the walk and the graph, its name, stack and edges left out.
const BYTES_PER_TASK: usize = 200;

/// What a look at a task found.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    pub(super) name: TaskName,
    pub(super) state: TaskState,
    pub(super) place: Place,
    /// Its awaiters, in `Walk::awaiters`.
    pub(super) awaiters: Awaiters,
    /// When its object and its name were copied.
    pub(super) moment: Moment,
    /// Where its name is.
    pub(super) name_at: RemoteAddr,
    /// Its name was seen before or when its object was copied: if the name is still there later, the
    /// object was that of the task with this name.
    pub(super) is_named_first: bool,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) stack: StackIdx,
    /// The stack without the frames that were found on the thread.
    pub(super) own_stack: StackIdx,
    /// Type name of what the innermost frame awaits.
    pub(super) awaiting: Option<TextIdx>,
    /// Which objects the stack was made of.
    objects: u64,
    order: CopyOrder,
    /// A cap left a part of the stack out.
    pub(super) cut: Option<LimitHit>,
}

impl Look {
    /// Whether this look, taken after `earlier`, confirms it: it found the same objects, and each of
    /// them was copied while its holder was seen to hold it, before and after. A holder keeps what it
    /// holds from being freed.
    pub(super) fn confirms(&self, earlier: &Self) -> bool {
        let (now, before) = (&self.place, &earlier.place);
        let is_running = |look: &Self| look.state == TaskState::Running;
        // The instruction of what is being executed changes all the time.
        let stands = (is_running(self) && is_running(earlier))
            || (self.state == earlier.state && now.own_stack == before.own_stack);
        stands
            && now.objects == before.objects
            && now.awaiting == before.awaiting
            && (before.order.holder_first & earlier.trusted_links()) | now.order.holder_last
                == u64::MAX
    }

    /// The links of its stack that can be told from this look: all, or all but the one from the task's
    /// object to its coroutine.
    fn trusted_links(&self) -> u64 {
        if self.is_named_first { u64::MAX } else { !1 }
    }

    /// Leaves out the frames of the thread, unless `earlier` found the same ones.
    pub(super) fn keep_lasting_frames(&mut self, earlier: &Self) {
        if self.place.stack != earlier.place.stack {
            self.place.stack = self.place.own_stack;
        }
    }
}

/// Who awaits a task.
#[derive(Debug, Clone, Default)]
pub(super) struct Awaiters {
    /// Their addresses, in `Walk::awaiters`.
    range: Range<u32>,
    /// When what says so was copied.
    pub(super) moment: Moment,
    /// A cap left some of them out.
    pub(super) cut: Option<LimitHit>,
}

impl Awaiters {
    /// The positions of their addresses in `Walk::awaiters`.
    pub(super) fn positions(&self) -> Range<usize> {
        let index = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        index(self.range.start)..index(self.range.end)
    }
}

/// The stack that was made last: the next task often stands in the same place.
#[derive(Debug, Default)]
pub(super) struct LastStack {
    frames: Vec<ChainFrame>,
    stack: Option<StackIdx>,
}

impl Walk<'_, '_> {
    /// Looks at a task whose object was read.
    pub(super) fn look_at(
        &mut self,
        list: Option<&TaskList>,
        task: &RawTask,
    ) -> Result<Look, DecodeError> {
        self.reader.keep(BYTES_PER_TASK)?;
        let awaiters = self.look_at_awaiters(task)?;
        let types = &mut self.chains.types;
        let name = task.read_name(self.reader, self.offsets, types, &mut self.graph)?;
        let named = match task.name.is_null() {
            true => task.moment,
            false => self.reader.moment(task.name, 1),
        };
        let is_current = list.is_some_and(|list| task.at == list.running_task);
        let thread = list.and_then(|list| list.thread).filter(|_| is_current);
        let (state, place) = self.look_at_stack(task, thread)?;
        let state = match state {
            _ if is_current => TaskState::Running,
            Some(FrameState::Executing) => TaskState::Running,
            Some(FrameState::Created) => TaskState::Created,
            Some(FrameState::Suspended | FrameState::Awaiting) => TaskState::Suspended,
            Some(FrameState::Ended) | None => TaskState::Pending,
        };
        Ok(Look {
            name,
            state,
            place,
            awaiters,
            moment: task.moment.with(named),
            name_at: task.name,
            is_named_first: named.is_not_after(task.moment),
        })
    }

    /// Who awaits a task.
    pub(super) fn look_at_awaiters(&mut self, task: &RawTask) -> Result<Awaiters, DecodeError> {
        let start = self.awaiters.len();
        let read = task.read_awaiters(self.reader, self.offsets, &mut self.awaiters);
        if read.is_err() {
            self.awaiters.truncate(start);
        }
        let read = read?;
        let index = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Ok(Awaiters {
            range: index(start)..index(self.awaiters.len()),
            moment: read.moment,
            cut: read.cut,
        })
    }

    /// Their addresses.
    pub(super) fn addresses(&self, awaiters: &Awaiters) -> &[RemoteAddr] {
        self.awaiters.get(awaiters.positions()).unwrap_or_default()
    }

    /// Where a task stands, and the state of its coroutine. If `thread` executes it, its stack goes on
    /// with the frames that the thread is in.
    pub(super) fn look_at_stack(
        &mut self,
        task: &RawTask,
        thread: Option<ThreadState>,
    ) -> Result<(Option<FrameState>, Place), DecodeError> {
        let coroutine = task.coro;
        if coroutine.is_null() {
            return Ok((None, Place::default()));
        }
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        let chain = self
            .chains
            .follow(reader, offsets, coroutine, task.moment)?;
        let mut frames = std::mem::take(&mut self.chain_buffer);
        frames.clear();
        frames.extend_from_slice(self.chains.frames());
        let own_stack = self.stack(&frames);
        let mut stack = own_stack;
        if let Some(thread) = thread.filter(|_| chain.state == Some(FrameState::Executing)) {
            // The thread does not wait for us: frames that make no sense are frames that it left.
            let running = self.chains.running(self.reader, offsets, thread, coroutine);
            match running {
                Ok(running) => frames.extend(running.unwrap_or_default()),
                Err(error) if error.is_fatal() => return Err(error),
                Err(_) => {}
            }
            stack = self.stack(&frames);
        }
        self.chain_buffer = frames;
        let place = Place {
            stack: stack?,
            own_stack: own_stack?,
            awaiting: chain.awaiting.map(|info| self.type_name(info)),
            objects: chain.hash,
            order: chain.order,
            cut: chain.cut,
        };
        Ok((chain.state, place))
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
