//! The chain of suspended frames of a coroutine: what it awaits, what that awaits, and so on.
//!
//! A coroutine, generator or asynchronous generator carries its frame inside it. While it awaits,
//! the awaited object lies on top of the frame's stack:
//!
//! ```text
//! coroutine  [ head | gi_frame_state | frame: executable .. stackpointer | locals | stack ]
//!                                                             |                   ^
//!                                                             +-------------------+ - quirk
//! ```
//!
//! Each step is checked against the code object: the instruction must lie in its code, the stack
//! pointer in its stack. A frame that was reused between two reads rarely passes both.

use super::{CodeCache, CodeInfo, DecodeError, Kind, Offsets, ThreadState, TypeCache};
use crate::graph::Via;
use crate::limits::LimitHit;
use crate::memory::{Bytes, Reader, RemoteAddr};
use std::rc::Rc;

/// `owner` of a frame that is embedded in a generator-like object (enum `_frameowner`).
const OWNED_BY_GENERATOR: u8 = 1;
/// Frames with this owner and higher ones run no Python code (`FRAME_OWNED_BY_INTERPRETER`,
/// `FRAME_OWNED_BY_CSTACK`).
const FIRST_OWNER_WITHOUT_CODE: u8 = 3;
/// The first member of generator steps and wrappers after the object head is what they wrap.
const WORD: u64 = 8;

/// What a frame costs whoever keeps its stack.
const BYTES_PER_FRAME: usize = 16;

/// Where a coroutine stands (`gi_frame_state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameState {
    /// Never started.
    Created,
    /// Suspended at a plain `yield`: for a coroutine, in a bare `yield` at the bottom of its chain.
    Suspended,
    /// Suspended in an `await` or `yield from`.
    Awaiting,
    /// Being executed.
    Executing,
    /// Ended: its frame is gone.
    Ended,
}

/// A frame of a chain.
#[derive(Debug, Clone)]
pub struct ChainFrame {
    /// Its code.
    pub code: Rc<CodeInfo>,
    /// Index of the instruction at which it stands.
    pub unit: u64,
    /// How the chain came to it.
    pub via: Via,
}

/// What a coroutine waits for.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Where the outermost coroutine stands; `None` if the object is no coroutine at all.
    pub state: Option<FrameState>,
    /// The frames, outermost first.
    pub frames: Vec<ChainFrame>,
    /// The object the innermost frame awaits, when it is not one with a frame of its own.
    pub awaited: Option<RemoteAddr>,
    /// A cap that ended the chain.
    pub cut: Option<LimitHit>,
}

/// Follows chains; keeps what it learned of types and code objects.
#[derive(Debug, Default)]
pub struct ChainReader {
    /// Types seen.
    pub types: TypeCache,
    /// Code objects seen.
    pub codes: CodeCache,
    buffer: Vec<u8>,
}

/// One generator-like object, read at once.
struct Step {
    frame: Option<(Rc<CodeInfo>, u64)>,
    state: FrameState,
    awaited: Option<RemoteAddr>,
}

impl ChainReader {
    /// The chain that begins with the coroutine at `coroutine`.
    ///
    /// # Errors
    ///
    /// When a part of it cannot be read or contradicts itself.
    pub fn follow(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        coroutine: RemoteAddr,
    ) -> Result<Chain, DecodeError> {
        let mut chain = Chain {
            state: None,
            frames: Vec::new(),
            awaited: None,
            cut: None,
        };
        let frames_max = reader.limits().frames_per_task_max;
        let mut at = coroutine;
        let mut via = Via::Await;
        // Wrappers have no frame, so steps are bounded apart from frames.
        for _ in 0..u64::from(frames_max).saturating_mul(2) {
            let kind = self.types.type_of(reader, offsets, at)?.kind;
            match kind {
                Kind::Coroutine | Kind::AsyncGenerator => {}
                Kind::Generator => via = Via::Generator,
                Kind::AsyncGeneratorStep => {
                    at = reader.addr_at(at.plus(offsets.pyobject.size))?;
                    continue;
                }
                Kind::AnextAwaitable | Kind::CoroutineWrapper => {
                    at = reader.addr_at(at.plus(offsets.pyobject.size))?;
                    via = if kind == Kind::CoroutineWrapper {
                        Via::CoroutineWrapper
                    } else {
                        Via::AnextAwaitable
                    };
                    continue;
                }
                _ => {
                    chain.awaited = Some(at);
                    return Ok(chain);
                }
            }
            let step = self.read_step(reader, offsets, at)?;
            chain.state.get_or_insert(step.state);
            if let Some((code, unit)) = step.frame {
                reader.keep(BYTES_PER_FRAME)?;
                chain.frames.push(ChainFrame { code, unit, via });
            }
            match step.awaited {
                Some(next) if step.state == FrameState::Awaiting => at = next,
                _ => return Ok(chain),
            }
            via = Via::Await;
            if chain.frames.len() >= usize::try_from(frames_max).unwrap_or(usize::MAX) {
                break;
            }
        }
        let limit = u64::from(frames_max);
        chain.cut = Some(LimitHit {
            what: "frames_per_task_max",
            limit,
        });
        Ok(chain)
    }

    fn read_step(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
    ) -> Result<Step, DecodeError> {
        let frame_at = at.plus(offsets.gen_object.gi_iframe);
        let size = offsets
            .gen_object
            .gi_iframe
            .saturating_add(offsets.interpreter_frame.localsplus);
        self.buffer.resize(usize::try_from(size).unwrap_or(0), 0);
        reader.read(at, &mut self.buffer)?;
        let object = Bytes::new(&self.buffer);
        let state = frame_state(
            offsets,
            object.i8_at(offsets.gen_object.gi_frame_state)?,
            at,
        )?;
        if state == FrameState::Ended {
            return Ok(Step {
                frame: None,
                state,
                awaited: None,
            });
        }
        let field = |offset: u64| offsets.gen_object.gi_iframe.saturating_add(offset);
        let layout = &offsets.interpreter_frame;
        let owner = object.u8_at(field(layout.owner))?;
        if owner != OWNED_BY_GENERATOR {
            let value = u64::from(owner);
            return Err(DecodeError::Implausible {
                what: "owner of a frame",
                value,
                at: frame_at,
            });
        }
        let code_at = object.addr_at(field(layout.executable))?.untagged();
        let instr_ptr = object.addr_at(field(layout.instr_ptr))?;
        let stack_pointer = object.addr_at(field(layout.stackpointer))?.untagged();
        let copy_index = if offsets.free_threaded {
            object.u32_at(field(layout.tlbc_index))?
        } else {
            0
        };
        let code = self
            .codes
            .code_at(reader, offsets, &mut self.types, code_at)?;
        let code_start = code_start(reader, offsets, code_at, copy_index)?;
        let unit = code.unit_of(code_start, instr_ptr)?;
        let mut awaited = None;
        if state == FrameState::Awaiting {
            let stack = frame_at
                .plus(layout.localsplus)
                .plus(code.locals.saturating_mul(WORD));
            awaited = Some(top_of_stack(reader, offsets, &code, stack, stack_pointer)?);
        }
        Ok(Step {
            frame: Some((code, unit)),
            state,
            awaited,
        })
    }
}

impl ChainReader {
    /// The frames that the thread at `thread` executes above the frame of `coroutine`, outermost first.
    /// The thread goes on meanwhile; `None` when what was read does not lead to that frame.
    ///
    /// # Errors
    ///
    /// When a frame on the way makes no sense.
    pub fn running(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        thread: ThreadState,
        coroutine: RemoteAddr,
    ) -> Result<Option<Vec<ChainFrame>>, DecodeError> {
        let outermost = coroutine.plus(offsets.gen_object.gi_iframe);
        let layout = &offsets.interpreter_frame;
        let mut frames = Vec::new();
        let mut at = reader.addr_at(thread.at.plus(offsets.thread_state.current_frame))?;
        for _ in 0..reader.limits().frames_per_task_max {
            if at == outermost {
                frames.reverse();
                return Ok(Some(frames));
            }
            if !at.is_plausible() {
                return Ok(None);
            }
            self.buffer
                .resize(usize::try_from(layout.size).unwrap_or(0), 0);
            reader.read(at, &mut self.buffer)?;
            let frame = Bytes::new(&self.buffer);
            let previous = frame.addr_at(layout.previous)?;
            // Frames of the interpreter itself stand between those of Python code.
            if frame.u8_at(layout.owner)? < FIRST_OWNER_WITHOUT_CODE {
                let code_at = frame.addr_at(layout.executable)?.untagged();
                let instr_ptr = frame.addr_at(layout.instr_ptr)?;
                let copy_index = match offsets.free_threaded {
                    true => frame.u32_at(layout.tlbc_index)?,
                    false => 0,
                };
                let code = self
                    .codes
                    .code_at(reader, offsets, &mut self.types, code_at)?;
                let start = code_start(reader, offsets, code_at, copy_index)?;
                let unit = code.unit_of(start, instr_ptr)?;
                reader.keep(BYTES_PER_FRAME)?;
                frames.push(ChainFrame {
                    code,
                    unit,
                    via: Via::Thread,
                });
            }
            at = previous;
        }
        Ok(None)
    }
}

/// The awaited object of a frame that awaits.
fn top_of_stack(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    code: &CodeInfo,
    stack: RemoteAddr,
    stack_pointer: RemoteAddr,
) -> Result<RemoteAddr, DecodeError> {
    let below = offsets.quirks.awaited_below_stack_pointer;
    let depth = stack_pointer.offset_from(stack);
    depth
        .filter(|depth| *depth >= below && *depth <= code.stack_size.saturating_mul(WORD))
        .ok_or(DecodeError::Implausible {
            what: "stack pointer",
            value: stack_pointer.as_u64(),
            at: stack,
        })?;
    Ok(reader.addr_at(stack_pointer.minus(below))?.untagged())
}

/// Where the instructions of the code object at `code` begin. A free-threaded build gives each
/// thread a copy of its own (`co_tlbc`: a count, then the copies; index 0 is the original).
fn code_start(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    code: RemoteAddr,
    copy_index: u32,
) -> Result<RemoteAddr, DecodeError> {
    if copy_index == 0 {
        return Ok(code.plus(offsets.code_object.co_code_adaptive));
    }
    let copies = reader.addr_at(code.plus(offsets.code_object.co_tlbc))?;
    let n_copies = reader.u64_at(copies)?;
    let index = u64::from(copy_index);
    if index >= n_copies {
        return Err(DecodeError::Implausible {
            what: "index of a code copy",
            value: index,
            at: code,
        });
    }
    Ok(reader.addr_at(copies.plus(WORD).plus(index.saturating_mul(WORD)))?)
}

fn frame_state(offsets: &Offsets, raw: i8, at: RemoteAddr) -> Result<FrameState, DecodeError> {
    let quirks = &offsets.quirks;
    match raw {
        _ if raw == quirks.state_created => Ok(FrameState::Created),
        _ if raw == quirks.state_suspended => Ok(FrameState::Suspended),
        _ if quirks.state_awaiting.contains(&raw) => Ok(FrameState::Awaiting),
        _ if raw == quirks.state_executing => Ok(FrameState::Executing),
        _ if quirks.state_ended.contains(&raw) => Ok(FrameState::Ended),
        _ => {
            let value = u64::from(raw.cast_unsigned());
            Err(DecodeError::Implausible {
                what: "frame state",
                value,
                at,
            })
        }
    }
}
