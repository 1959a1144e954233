//! One look at one task: everything its pointers lead to.

use super::Walk;
use super::heads::TaskList;
use crate::asyncio::task::RawTask;
use crate::cpython::{ChainFrame, DecodeError, FrameState, ThreadState, TypeInfo};
use crate::graph::{FrameIdx, NewFrame, StackIdx, TaskName, TaskState, TextIdx};
use crate::memory::{Moment, RemoteAddr};
use std::ops::Range;

/// What a task costs the walk and the graph, its name, stack and edges left out.
const BYTES_PER_TASK: usize = 200;

/// What a look at a task found.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    pub(super) name: TaskName,
    pub(super) state: TaskState,
    pub(super) stack: StackIdx,
    /// Type name of what the innermost frame awaits.
    pub(super) awaiting: Option<TextIdx>,
    pub(super) awaiters: Awaiters,
    /// When the task object was copied.
    pub(super) moment: Moment,
}

/// Who awaits a task.
#[derive(Debug, Clone, Default)]
pub(super) struct Awaiters {
    /// Their addresses, in `Walk::awaiters`.
    range: Range<u32>,
    /// No part of what says so was copied before.
    pub(super) earliest: Moment,
    /// No part of it was copied after.
    pub(super) latest: Moment,
}

impl Look {
    /// Whether both looks found the task standing in the same place. The frames of a task that is
    /// being executed change with every instruction.
    pub(super) fn stands_like(&self, other: &Self) -> bool {
        let is_running = |look: &Self| look.state == TaskState::Running;
        (is_running(self) && is_running(other))
            || (self.state == other.state
                && self.stack == other.stack
                && self.awaiting == other.awaiting)
    }
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
        let moment = self.reader.moment(task.at);
        let awaiters = self.look_at_awaiters(task)?;
        let types = &mut self.chains.types;
        let name = task.read_name(self.reader, self.offsets, types, &mut self.graph)?;
        let is_current = list.is_some_and(|list| task.at == list.running_task);
        let thread = list.and_then(|list| list.thread).filter(|_| is_current);
        let (state, stack, awaiting) = self.look_at_stack(task.coro, thread)?;
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
            stack,
            awaiting,
            awaiters,
            moment,
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
        if let Some(limit) = read.cut {
            let what = format!("awaiters of task {}", task.at);
            self.note("limit_hit", &what, DecodeError::Limit(limit))?;
        }
        let index = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Ok(Awaiters {
            range: index(start)..index(self.awaiters.len()),
            earliest: read.earliest,
            latest: read.latest,
        })
    }

    /// Their addresses.
    pub(super) fn addresses(&self, awaiters: &Awaiters) -> &[RemoteAddr] {
        self.awaiters.get(awaiters.positions()).unwrap_or_default()
    }

    /// The stack of the coroutine at `coroutine`, and the type of what its innermost frame awaits. If
    /// `thread` executes it, with the frames that the thread is in.
    pub(super) fn look_at_stack(
        &mut self,
        coroutine: RemoteAddr,
        thread: Option<ThreadState>,
    ) -> Result<(Option<FrameState>, StackIdx, Option<TextIdx>), DecodeError> {
        if coroutine.is_null() {
            return Ok((None, StackIdx::EMPTY, None));
        }
        let chain = self.chains.follow(self.reader, self.offsets, coroutine)?;
        let mut frames = std::mem::take(&mut self.chain_buffer);
        frames.clear();
        frames.extend_from_slice(self.chains.frames());
        if let Some(thread) = thread.filter(|_| chain.state == Some(FrameState::Executing)) {
            // The thread does not wait for us: frames that make no sense are frames that it left.
            let running = self
                .chains
                .running(self.reader, self.offsets, thread, coroutine);
            match running {
                Ok(running) => frames.extend(running.unwrap_or_default()),
                Err(error) if error.is_fatal() => return Err(error),
                Err(_) => {}
            }
        }
        if let Some(limit) = chain.cut {
            let what = format!("stack of coroutine {coroutine}");
            self.note("limit_hit", &what, DecodeError::Limit(limit))?;
        }
        let stack = self.stack(&frames);
        self.chain_buffer = frames;
        let awaiting = chain.awaiting.map(|info| self.type_name(info));
        Ok((chain.state, stack?, awaiting))
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
