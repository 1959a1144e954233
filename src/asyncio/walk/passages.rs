//! Whether a task passes the place at which it stands only once. Then it has stood there since it came, however much its
//! thread has done meanwhile: none of its functions stands in a loop, and it is not one of several that are made one after
//! the other, each of which would look like the one before.

use super::{Record, Walk};
use crate::cpython::{ChainFrame, CodeIdx, DecodeError, is_in_loop};
use rustc_hash::FxHashMap;

/// The iterator of a future implemented in C, which its task awaits.
const ITERATOR: &str = "_asyncio.FutureIter";

/// What is known of passages, for one look.
#[derive(Debug, Default)]
pub(super) struct Passages {
    /// By code and instruction, whether that is in a loop.
    in_loop: FxHashMap<(CodeIdx, u64), bool>,
}

impl Walk<'_, '_> {
    /// Whether a task cannot have gone on and come back to where it stands. Numbers in default names are given out once; of
    /// those with another name each may be one of many: whoever ends it may start the next.
    pub(super) fn cannot_return(
        &mut self,
        passages: &mut Passages,
        record: u32,
    ) -> Result<bool, DecodeError> {
        let is_made_once = self.alive(record).is_some_and(Record::has_own_name);
        Ok(is_made_once && !self.has_loop(passages, record)?)
    }

    /// Whether one of the functions of a task stands in a loop, or that is not known. What has no frame of its own may await
    /// one thing after the other.
    fn has_loop(&mut self, passages: &mut Passages, record: u32) -> Result<bool, DecodeError> {
        let Some(coroutine) = self.alive(record).map(|record| record.task.coro) else {
            return Ok(true);
        };
        let (reader, offsets) = (&mut *self.reader, self.offsets);
        let chain = self.chains.follow(reader, offsets, coroutine, false)?;
        let frames: Vec<_> = self.chains.placed_frames().collect();
        let innermost = frames.last().filter(|_| chain.cut.is_none()).copied();
        let innermost = match innermost {
            Some((frame, at)) => self.frame_waiting(frame, at)?,
            None => None,
        };
        let awaited = innermost.and_then(|frame| frame.variables.awaited(offsets));
        let Some(awaited) = awaited.filter(|at| at.is_plausible()) else {
            return Ok(true);
        };
        if !self.type_is(awaited, ITERATOR)? {
            return Ok(true);
        }
        for (frame, _) in frames {
            if self.is_in_loop(passages, frame)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a function stands in a loop, or that is not known.
    fn is_in_loop(
        &mut self,
        passages: &mut Passages,
        frame: ChainFrame,
    ) -> Result<bool, DecodeError> {
        let place = (frame.code, frame.unit);
        if let Some(is_in_loop) = passages.in_loop.get(&place) {
            return Ok(*is_in_loop);
        }
        let code = self.chains.codes.info(frame.code).cloned();
        let found = match &code {
            Some(code) => is_in_loop(self.reader, self.offsets, code, frame.unit)?,
            None => None,
        };
        let is_in_loop = found.unwrap_or(true);
        passages.in_loop.insert(place, is_in_loop);
        Ok(is_in_loop)
    }
}
