//! Pass two: what each task's pointers lead to.

use super::Walk;
use super::lists::{Lists, TaskList};
use crate::asyncio::task::RawTask;
use crate::cpython::{Chain, ChainFrame, DecodeError, FrameState, Kind, ThreadState};
use crate::graph::{FrameIdx, NewFrame, NewTask, StackIdx, TaskState, TextIdx};
use crate::ids::TaskId;
use crate::memory::RemoteAddr;

/// What a task costs the walk and the graph, its name, stack and edges left out.
const BYTES_PER_TASK: usize = 200;

/// Everything of a task but its awaiters' stacks.
pub(super) struct Details {
    pub(super) task: NewTask,
    pub(super) awaiters: Vec<RemoteAddr>,
}

impl Walk<'_, '_> {
    /// The details of all tasks in the order of the lists; those that made no sense are read again
    /// with fresh copies, and left out if they still make none.
    pub(super) fn read_tasks(
        &mut self,
        lists: &Lists,
    ) -> Result<Vec<Option<Details>>, DecodeError> {
        let mut details = Vec::with_capacity(lists.n_tasks());
        let mut n_unread: u64 = 0;
        for (list, task) in lists.tasks() {
            details.push(match self.read_details(list, task) {
                Ok(details) => Some(details),
                Err(error) if error.is_fatal() => return Err(error),
                Err(_) => {
                    n_unread = n_unread.saturating_add(1);
                    None
                }
            });
        }
        if n_unread == 0 {
            return Ok(details);
        }
        self.reader.forget_all();
        for ((list, task), slot) in lists.tasks().zip(&mut details) {
            if slot.is_some() {
                continue;
            }
            let Some(now) = self.still_there(task)? else {
                self.leave_out_ended();
                continue;
            };
            match self.read_details(list, &now) {
                Ok(details) => *slot = Some(details),
                Err(error) => self.leave_out(task, error.code(), error)?,
            }
        }
        Ok(details)
    }

    fn read_details(&mut self, list: &TaskList, task: &RawTask) -> Result<Details, DecodeError> {
        self.reader.keep(BYTES_PER_TASK)?;
        let types = &mut self.chains.types;
        let name = task.read_name(self.reader, self.offsets, types, &mut self.graph)?;
        let thread = list.thread.filter(|_| task.at == list.running_task);
        let (state, stack, awaiting) = self.read_stack(task.coro, thread)?;
        let state = match state {
            _ if task.at == list.running_task => TaskState::Running,
            Some(FrameState::Executing) => TaskState::Running,
            Some(FrameState::Created) => TaskState::Created,
            Some(FrameState::Suspended | FrameState::Awaiting) => TaskState::Suspended,
            Some(FrameState::Ended) | None => TaskState::Pending,
        };
        let (awaiters, cut) = task.read_awaiters(self.reader, self.offsets)?;
        if let Some(limit) = cut {
            let what = format!("awaiters of task {}", task.at);
            self.note("limit_hit", &what, DecodeError::Limit(limit))?;
        }
        let id = TaskId(task.at.as_u64());
        let cancelling = task.is_cancelling;
        let task = NewTask {
            id,
            name,
            state,
            cancelling,
            stack,
            awaiting,
        };
        Ok(Details { task, awaiters })
    }

    /// The stack of the coroutine at `coroutine`, and the type of what its innermost frame awaits. If
    /// `thread` executes it, with the frames that the thread is in.
    pub(super) fn read_stack(
        &mut self,
        coroutine: RemoteAddr,
        thread: Option<ThreadState>,
    ) -> Result<(Option<FrameState>, StackIdx, Option<TextIdx>), DecodeError> {
        if coroutine.is_null() {
            return Ok((None, StackIdx::EMPTY, None));
        }
        let mut chain = self.chains.follow(self.reader, self.offsets, coroutine)?;
        if let Some(thread) = thread.filter(|_| chain.state == Some(FrameState::Executing)) {
            // The thread does not wait for us: frames that make no sense are frames that it left.
            match self
                .chains
                .running(self.reader, self.offsets, thread, coroutine)
            {
                Ok(running) => chain.frames.extend(running.unwrap_or_default()),
                Err(error) if error.is_fatal() => return Err(error),
                Err(_) => {}
            }
        }
        if let Some(limit) = chain.cut {
            let what = format!("stack of coroutine {coroutine}");
            self.note("limit_hit", &what, DecodeError::Limit(limit))?;
        }
        let mut frames = Vec::with_capacity(chain.frames.len());
        for frame in chain.frames.iter().rev() {
            frames.push(self.frame(frame)?);
        }
        let stack = self.graph.stack(&frames);
        Ok((chain.state, stack, self.awaited_type(&chain)?))
    }

    fn frame(&mut self, frame: &ChainFrame) -> Result<FrameIdx, DecodeError> {
        let key = (frame.code.at(), frame.unit, frame.via);
        if let Some(known) = self.frames.get(&key) {
            return Ok(*known);
        }
        // A line table is decoded byte by byte, from its start.
        let decoding = frame.code.line_table_bytes().saturating_mul(8);
        self.reader.spend(decoding)?;
        let at = self.graph.frame(NewFrame {
            function: &frame.code.function,
            file: frame.code.file.as_deref(),
            line: frame.code.line(frame.unit),
            via: frame.via,
        });
        self.frames.insert(key, at);
        if let Some(error) = frame.code.problem {
            let what = format!("code object {}", frame.code.at());
            self.note(error.code(), &what, error)?;
        }
        Ok(at)
    }

    fn awaited_type(&mut self, chain: &Chain) -> Result<Option<TextIdx>, DecodeError> {
        let Some(mut awaited) = chain.awaited else {
            return Ok(None);
        };
        let types = &mut self.chains.types;
        let mut info = types.type_of(self.reader, self.offsets, awaited)?;
        if info.kind == Kind::FutureIter {
            // The iterator's only member is its future; that is what a person wants to know.
            let future = self
                .reader
                .addr_at(awaited.plus(self.offsets.pyobject.size))?;
            if !future.is_null() {
                awaited = future;
                info = types.type_of(self.reader, self.offsets, awaited)?;
            }
        }
        Ok(Some(self.graph.text(types.name(info))))
    }
}
