//! What a suspended frame holds: its variables, and the values on its stack, such as the context managers of
//! the `with` blocks that it is in (`localsplus` of `_PyInterpreterFrame`,
//! Include/internal/pycore_interpframe_structs.h).

use super::{CodeInfo, DecodeError, Offsets};
use crate::memory::{Reader, RemoteAddr};

const WORD: u64 = 8;
/// Values of one frame that are looked at.
const VALUES_MAX: u64 = 1_024;

/// The values of one frame.
#[derive(Debug)]
pub struct Variables {
    /// Null where there is none (yet).
    words: Vec<RemoteAddr>,
    n_locals: usize,
}

impl Variables {
    /// Those of the suspended frame at `frame`, which executes `code`.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or are more than a frame has.
    pub fn read(
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        frame: RemoteAddr,
        code: &CodeInfo,
    ) -> Result<Self, DecodeError> {
        let layout = &offsets.interpreter_frame;
        let first = frame.plus(layout.localsplus);
        let end = reader.addr_at(frame.plus(layout.stackpointer))?.untagged();
        let most = code.locals().saturating_add(code.stack_size());
        let n_words = end.offset_from(first).and_then(|len| len.checked_div(WORD));
        let n_words = n_words
            .filter(|n| (code.locals()..=most).contains(n))
            .ok_or(DecodeError::Implausible {
                what: "stack pointer",
                value: end.as_u64(),
                at: frame,
            })?;
        let words = (0..n_words.min(VALUES_MAX)).map(|n| {
            let word = reader.addr_at(first.plus(n.saturating_mul(WORD)))?;
            Ok(word.untagged())
        });
        Ok(Self {
            words: words.collect::<Result<_, DecodeError>>()?,
            n_locals: usize::try_from(code.locals()).unwrap_or(usize::MAX),
        })
    }

    /// The parameter at this position, as it is or in a cell (see [`in_cell`]).
    pub fn parameter(&self, position: usize) -> Option<RemoteAddr> {
        let value = self.locals().get(position).copied();
        value.filter(|value| !value.is_null())
    }

    /// Its variables, those in cells included, as far as they have values.
    pub fn locals(&self) -> &[RemoteAddr] {
        let end = self.n_locals.min(self.words.len());
        self.words.get(..end).unwrap_or_default()
    }

    /// What it awaits, if it does.
    pub fn awaited(&self, offsets: &Offsets) -> Option<RemoteAddr> {
        let below = offsets.quirks.awaited_below_stack_pointer / WORD;
        let place = self.words.len().checked_sub(usize::try_from(below).ok()?)?;
        let awaited = self.words.get(place.max(self.n_locals)).copied();
        awaited.filter(|awaited| !awaited.is_null())
    }

    /// Everything that lies on its stack.
    pub fn on_stack(&self) -> &[RemoteAddr] {
        self.words.get(self.n_locals..).unwrap_or_default()
    }
}

/// What the cell at `cell` holds: the first member after the head of the object (`PyCellObject`,
/// Include/cpython/cellobject.h).
///
/// # Errors
///
/// When it cannot be read.
pub fn in_cell(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    cell: RemoteAddr,
) -> Result<RemoteAddr, DecodeError> {
    Ok(reader.addr_at(cell.plus(offsets.pyobject.size))?)
}

/// The first parameter of the function that the suspended frame at `frame` executes, such as the `self` of a method.
///
/// # Errors
///
/// When it cannot be read.
pub fn first_parameter(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    frame: RemoteAddr,
) -> Result<RemoteAddr, DecodeError> {
    let first = frame.plus(offsets.interpreter_frame.localsplus);
    Ok(reader.addr_at(first)?.untagged())
}
