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

use super::{
    CodeCache, CodeIdx, CodeInfo, DecodeError, Kind, Offsets, ThreadState, TypeCache, TypeInfo,
};
use crate::graph::Via;
use crate::limits::LimitHit;
use crate::memory::{Bytes, Moment, Reader, RemoteAddr};
use std::ops::Range;

/// `owner` of a frame that is embedded in a generator-like object (enum `_frameowner`).
const OWNED_BY_GENERATOR: u8 = 1;
/// Frames with this owner and higher ones run no Python code (`FRAME_OWNED_BY_INTERPRETER`,
/// `FRAME_OWNED_BY_CSTACK`).
const FIRST_OWNER_WITHOUT_CODE: u8 = 3;
/// The first member of generator steps and wrappers after the object head is what they wrap.
const WORD: u64 = 8;

/// Of the hash of FxHash (rustc-hash 1).
const HASH_FACTOR: u64 = 0x517c_c1b7_2722_0a95;
/// Bytes of an object that are looked at: a generator with a few local variables.
const OBJECT_BYTES: usize = 512;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainFrame {
    /// Its code.
    pub code: CodeIdx,
    /// Index of the instruction at which it stands.
    pub unit: u64,
    /// How the chain came to it.
    pub via: Via,
}

/// What a coroutine waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// Where the outermost coroutine stands; `None` if the object is no coroutine at all.
    pub state: Option<FrameState>,
    /// The type of what the innermost frame awaits, when that has no frame of its own; for an iterator
    /// of a future, the future's.
    pub awaiting: Option<TypeInfo>,
    /// A cap that ended the chain.
    pub cut: Option<LimitHit>,
    /// Made of the addresses of its objects, of their code, and of the first of their variables: different ones nearly
    /// always give different numbers. While a task stands none of this changes.
    pub hash: u64,
    /// In which order its objects were copied.
    pub order: CopyOrder,
}

impl Chain {
    fn stand_on(&mut self, step: &Step, object: &Object) {
        self.state.get_or_insert(step.state);
        for word in object.words(step.variables.clone()) {
            self.mix(word);
        }
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(HASH_FACTOR);
    }
}

/// In which order the objects of a chain were copied, link by link: whether who holds a reference was
/// copied before what it holds, or after. The 64th bit stands for all further links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyOrder {
    /// Links whose holder was not copied after what it holds.
    pub holder_first: u64,
    /// Links whose holder was not copied before what it holds.
    pub holder_last: u64,
}

impl CopyOrder {
    /// Of a chain without links.
    pub const NO_LINKS: Self = Self {
        holder_first: u64::MAX,
        holder_last: u64::MAX,
    };

    fn add(&mut self, link: u32, holder: Moment, held: Moment) {
        let bit = 1_u64 << link.min(63);
        if !holder.is_not_after(held) {
            self.holder_first &= !bit;
        }
        if !held.is_not_after(holder) {
            self.holder_last &= !bit;
        }
    }
}

/// Follows chains; keeps what it learned of types and code objects.
#[derive(Debug, Default)]
pub struct ChainReader {
    /// Types seen.
    pub types: TypeCache,
    /// Code objects seen.
    pub codes: CodeCache,
    /// The frames of the chain followed last, outermost first.
    frames: Vec<ChainFrame>,
    /// Where they are.
    places: Vec<RemoteAddr>,
}

/// What an object is to a chain.
enum Part {
    /// It has a frame, which the chain came to in a way of its own if there is one.
    Frame(Option<Via>),
    /// It stands for another object, to which the chain comes by it.
    Wrapper(RemoteAddr, Option<Via>),
    /// It has no frame; this is its type, or its future's.
    End(TypeInfo),
}

/// One generator-like object, read at once.
struct Step {
    frame: Option<(CodeIdx, u64)>,
    state: FrameState,
    /// What it awaits, and where that is kept.
    awaited: Option<(RemoteAddr, RemoteAddr)>,
    /// Where its variables and its stack are in the object, if it stands.
    variables: Range<u64>,
}

impl ChainReader {
    /// The frames of the chain followed last, outermost first.
    pub fn frames(&self) -> &[ChainFrame] {
        &self.frames
    }

    /// The frames of the chain followed last, outermost first, with the places where they are.
    pub fn placed_frames(&self) -> impl DoubleEndedIterator<Item = (ChainFrame, RemoteAddr)> {
        self.frames.iter().copied().zip(self.places.iter().copied())
    }

    /// The chain that begins with the coroutine at `coroutine`. Its frames are [`Self::frames`]. Only on
    /// demand its copies are put in order, otherwise [`Chain::order`] is that of a chain without links.
    ///
    /// # Errors
    ///
    /// When a part of it cannot be read or contradicts itself.
    pub fn follow(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        coroutine: RemoteAddr,
        with_order: bool,
    ) -> Result<Chain, DecodeError> {
        let mut chain = Chain {
            state: None,
            awaiting: None,
            cut: None,
            hash: 0,
            order: CopyOrder::NO_LINKS,
        };
        let (mut holder, mut anchor, mut next_anchor) = (None, RemoteAddr::NULL, 1_u32);
        self.frames.clear();
        self.places.clear();
        let frames_max = reader.limits().frames_per_task_max;
        let mut at = coroutine;
        let mut via = Via::Await;
        let mut object = Object::new();
        // Wrappers have no frame, so steps are bounded apart from frames.
        for link in 0..frames_max.saturating_mul(2) {
            DecodeError::check_address("object address", at)?;
            // What waits for itself was read in the middle of a change.
            if at == anchor {
                let (what, value) = ("chain of awaits", coroutine.as_u64());
                return Err(DecodeError::Implausible { what, value, at });
            }
            if link == next_anchor {
                anchor = at;
                next_anchor = next_anchor.saturating_mul(2);
            }
            object.read(reader, at, offsets.pyobject.size)?;
            chain.mix(at.as_u64());
            if with_order {
                let moment = reader.moment(at, object.len);
                if let Some(holder) = holder.replace(moment) {
                    chain.order.add(link, holder, moment);
                }
            }
            let type_at = object.bytes().addr_at(offsets.pyobject.ob_type)?;
            let info = self.types.type_at(reader, offsets, type_at)?;
            match self.part(reader, offsets, &object, info)? {
                Part::Frame(None) => {}
                Part::Frame(Some(by)) => via = by,
                Part::Wrapper(wrapped, by) => {
                    at = wrapped;
                    via = by.unwrap_or(via);
                    continue;
                }
                Part::End(awaited) => {
                    chain.awaiting = Some(awaited);
                    return Ok(chain);
                }
            }
            let step = self.read_step(reader, offsets, &mut object)?;
            chain.stand_on(&step, &object);
            if let Some((code, unit)) = step.frame {
                reader.keep(BYTES_PER_FRAME)?;
                chain.mix(u64::from(code.number()) ^ unit.rotate_left(32));
                self.frames.push(ChainFrame { code, unit, via });
                self.places.push(at.plus(offsets.gen_object.gi_iframe));
            }
            match step.awaited {
                Some((next, kept_at)) => {
                    // What says so may be on another page than the head of the object.
                    holder = holder.map(|moment: Moment| moment.with(reader.moment(kept_at, 1)));
                    at = next;
                }
                None => return Ok(chain),
            }
            via = Via::Await;
            if self.frames.len() >= usize::try_from(frames_max).unwrap_or(usize::MAX) {
                break;
            }
        }
        let (what, limit) = ("frames_per_task_max", u64::from(frames_max));
        chain.cut = Some(LimitHit { what, limit });
        Ok(chain)
    }

    fn part(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        object: &Object,
        info: TypeInfo,
    ) -> Result<Part, DecodeError> {
        // The first member of steps, wrappers and iterators is what they stand for.
        let mut member = || object.word(reader, offsets.pyobject.size);
        Ok(match info.kind {
            Kind::Coroutine | Kind::AsyncGenerator => Part::Frame(None),
            Kind::Generator => Part::Frame(Some(Via::Generator)),
            Kind::AsyncGeneratorStep => Part::Wrapper(member()?, None),
            Kind::AnextAwaitable => Part::Wrapper(member()?, Some(Via::AnextAwaitable)),
            Kind::CoroutineWrapper => Part::Wrapper(member()?, Some(Via::CoroutineWrapper)),
            Kind::FutureIter => {
                // The future is what a person wants to know.
                let future = member()?;
                Part::End(match future.is_null() {
                    true => info,
                    false => self.types.type_of(reader, offsets, future)?,
                })
            }
            _ => Part::End(info),
        })
    }

    fn read_step(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        generator: &mut Object,
    ) -> Result<Step, DecodeError> {
        let at = generator.at;
        let layout = &offsets.interpreter_frame;
        let frame_offset = offsets.gen_object.gi_iframe;
        let frame_at = at.plus(frame_offset);
        generator.need(reader, frame_offset.saturating_add(layout.localsplus))?;
        let object = generator.bytes();
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
                variables: 0..0,
            });
        }
        let field = |offset: u64| frame_offset.saturating_add(offset);
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
        let info = self.code_info(code, code_at)?;
        let unit = info.unit_of(code_start, instr_ptr)?;
        let (mut awaited, mut variables) = (None, 0..0);
        if state == FrameState::Awaiting {
            let stack = frame_at
                .plus(layout.localsplus)
                .plus(info.locals().saturating_mul(WORD));
            let top = top_of_stack(offsets, info, stack, stack_pointer)?;
            let offset = top.offset_from(at).unwrap_or(u64::MAX);
            awaited = Some((generator.word(reader, offset)?.untagged(), top));
            variables = field(layout.localsplus)..offset;
        }
        Ok(Step {
            frame: Some((code, unit)),
            state,
            awaited,
            variables,
        })
    }
}

/// An object whose size depends on its type: what stands at its address is copied at once.
struct Object {
    at: RemoteAddr,
    buffer: [u8; OBJECT_BYTES],
    len: usize,
}

impl Object {
    fn new() -> Self {
        let (at, buffer, len) = (RemoteAddr::NULL, [0; OBJECT_BYTES], 0);
        Self { at, buffer, len }
    }

    fn read(
        &mut self,
        reader: &mut Reader<'_>,
        at: RemoteAddr,
        len: u64,
    ) -> Result<(), DecodeError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.at = at;
        self.len = reader.object(at, len.min(OBJECT_BYTES), &mut self.buffer)?;
        Ok(())
    }

    /// That at least its first `len` bytes are there.
    fn need(&mut self, reader: &mut Reader<'_>, len: u64) -> Result<(), DecodeError> {
        match usize::try_from(len) {
            Ok(len) if len <= self.len => Ok(()),
            _ => self.read(reader, self.at, len),
        }
    }

    fn bytes(&self) -> Bytes<'_> {
        Bytes::new(self.buffer.get(..self.len).unwrap_or_default())
    }

    /// The words in this range, as far as they were copied.
    fn words(&self, range: Range<u64>) -> impl Iterator<Item = u64> {
        let bytes = self.bytes();
        let offsets = range.step_by(8);
        offsets.map_while(move |offset| bytes.u64_at(offset).ok())
    }

    /// The word at this offset, which may lie beyond what was copied.
    fn word(&self, reader: &mut Reader<'_>, offset: u64) -> Result<RemoteAddr, DecodeError> {
        match self.bytes().addr_at(offset) {
            Ok(word) => Ok(word),
            Err(_) => Ok(reader.addr_at(self.at.plus(offset))?),
        }
    }
}

impl ChainReader {
    fn code_info(&self, code: CodeIdx, at: RemoteAddr) -> Result<&CodeInfo, DecodeError> {
        let (what, value) = ("code object", at.as_u64());
        let missing = DecodeError::Implausible { what, value, at };
        self.codes.info(code).ok_or(missing)
    }

    /// The frames that the thread at `thread` executes above the frame of `coroutine`, outermost first,
    /// up to that of the coroutine `within`, if one is given: it is executed inside the other, but is none
    /// of its own. The thread goes on meanwhile; `None` when what was read does not lead to that frame.
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
        within: Option<RemoteAddr>,
    ) -> Result<Option<Vec<ChainFrame>>, DecodeError> {
        let within = within.map(|within| within.plus(offsets.gen_object.gi_iframe));
        let outermost = coroutine.plus(offsets.gen_object.gi_iframe);
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
            let frame = ThreadFrame::read(reader, offsets, at)?;
            if let Some((code_at, instr_ptr, copy_index)) = frame.executes {
                let code = self
                    .codes
                    .code_at(reader, offsets, &mut self.types, code_at)?;
                let start = code_start(reader, offsets, code_at, copy_index)?;
                let unit = self.code_info(code, code_at)?.unit_of(start, instr_ptr)?;
                reader.keep(BYTES_PER_FRAME)?;
                frames.push(ChainFrame {
                    code,
                    unit,
                    via: Via::Thread,
                });
            }
            if within == Some(at) {
                frames.clear();
            }
            at = frame.previous;
        }
        Ok(None)
    }

    /// Of the functions that a thread executes, the one that the innermost of a kind has called, if it has called any, and the
    /// innermost of all; nothing if none is of that kind, or it is called from further out than frames are read. The thread goes on
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// When a frame on the way makes no sense.
    pub fn called_by(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        thread: ThreadState,
        is_it: impl Fn(&CodeInfo) -> bool,
    ) -> Result<Option<Option<[CodeIdx; 2]>>, DecodeError> {
        let (mut called, mut innermost) = (None, None);
        let mut at = reader.addr_at(thread.at.plus(offsets.thread_state.current_frame))?;
        for _ in 0..reader.limits().frames_per_task_max {
            if !at.is_plausible() {
                break;
            }
            let frame = ThreadFrame::read(reader, offsets, at)?;
            if let Some((code_at, ..)) = frame.executes {
                let code = self
                    .codes
                    .code_at(reader, offsets, &mut self.types, code_at)?;
                if is_it(self.code_info(code, code_at)?) {
                    return Ok(Some(called.zip(innermost).map(<[CodeIdx; 2]>::from)));
                }
                innermost = innermost.or(Some(code));
                called = Some(code);
            }
            at = frame.previous;
        }
        Ok(None)
    }
}

/// A frame that a thread executes.
struct ThreadFrame {
    /// The frame that has called it.
    previous: RemoteAddr,
    /// Its code, the instruction it is at, and which copy of the code that is in. Frames of the interpreter itself, which stand
    /// between those of Python code, have none.
    executes: Option<(RemoteAddr, RemoteAddr, u32)>,
}

impl ThreadFrame {
    fn read(
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
    ) -> Result<Self, DecodeError> {
        let layout = &offsets.interpreter_frame;
        let size = usize::try_from(layout.size).unwrap_or(usize::MAX);
        let frame = Bytes::new(reader.bytes(at, size)?);
        let is_of_python = frame.u8_at(layout.owner)? < FIRST_OWNER_WITHOUT_CODE;
        let executes = match is_of_python {
            true => Some((
                frame.addr_at(layout.executable)?.untagged(),
                frame.addr_at(layout.instr_ptr)?,
                match offsets.free_threaded {
                    true => frame.u32_at(layout.tlbc_index)?,
                    false => 0,
                },
            )),
            false => None,
        };
        Ok(Self {
            previous: frame.addr_at(layout.previous)?,
            executes,
        })
    }
}

/// Where the awaited object of a frame that awaits is kept: on top of its stack.
fn top_of_stack(
    offsets: &Offsets,
    code: &CodeInfo,
    stack: RemoteAddr,
    stack_pointer: RemoteAddr,
) -> Result<RemoteAddr, DecodeError> {
    let below = offsets.quirks.awaited_below_stack_pointer;
    let depth = stack_pointer.offset_from(stack);
    depth
        .filter(|depth| *depth >= below && *depth <= code.stack_size().saturating_mul(WORD))
        .ok_or(DecodeError::Implausible {
            what: "stack pointer",
            value: stack_pointer.as_u64(),
            at: stack,
        })?;
    Ok(stack_pointer.minus(below))
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
