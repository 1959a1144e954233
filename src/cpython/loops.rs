//! Whether an instruction of a function can be executed a second time in one call: whether it stands in a loop. Whoever
//! awaits where no loop is around has not gone on and come back.
//!
//! So all ways are followed that lead on from an `await`: to the next instruction, to where a jump leads, and to the handler
//! of an exception, which any instruction may raise. An `await` is itself a small loop, from `SEND` to a jump back to it
//! (Python/codegen.c, `codegen_add_yield_from`); it awaits the same object each time.
//!
//! The numbers are those of Include/opcode_ids.h, and the words for caches behind an instruction those of
//! `_PyOpcode_Caches` in Include/internal/pycore_opcode_metadata.h, of CPython 3.14.10 and 3.15.2. Exception tables are
//! described in InternalDocs/exception_handling.md.

use super::code::read_bytes;
use super::{CodeInfo, DecodeError, Offsets, PyVersion};
use crate::memory::Reader;

/// Code units of one function that are looked at: an opcode and its argument each.
const UNITS_MAX: u64 = 1 << 17;
const UNIT_BYTES: usize = 2;
/// `co_exceptiontable` of a code object: the third member after the head of an object with a size (`PyCodeObject`,
/// Include/cpython/code.h).
const EXCEPTION_TABLE: u64 = 24;

/// What is needed of the instructions of a version, by opcode. A question mark is where there is no such instruction, or one
/// that stands in the place of another, of which nothing is known then: of `sys.settrace`, a profiler, the JIT.
#[derive(Debug)]
pub(super) struct Instructions {
    /// How many words for caches follow, as a digit.
    pub(super) caches: &'static [u8; 256],
    /// `f` may jump forward, and `j` does; `b` jumps backward; `a` is the jump backward of an `await`, and `s` its `SEND`,
    /// which may jump forward; `x` does not lead to the next instruction; `e` is a part of the next one's argument.
    pub(super) kinds: &'static [u8; 256],
}

const OF_3_14: Instructions = Instructions {
    caches: b"\
        00050000000000000?0000000000000000000013000050000000300311000000\
        000000100001000090000000000040001000111100100040000000010???????\
        0555555555555553333333333333333333333311111111111999999999999900\
        44110144411333333111??????????????????????0001?001111000013301??",
    kinds: b"\
        .................?..x..............x............................\
        .....ef....baj......................ffffxxs..............???????\
        ...........................................ffffbb...............\
        .....s..............??????????????????????...f?j.ffff.x......b??",
};

const OF_3_15: Instructions = Instructions {
    caches: b"\
        00051000000000000?0000000000000000001300005000000030031100000000\
        00001010001000090000000000040001000111100100040000000010????????\
        1555555555555555333333311333333333333333311111111111111999999999\
        999944111111144411333333111??????????????0001?001111100013311???",
    kinds: b"\
        .................?x..............x..............................\
        ...ef.....baj......................ffffxxs..............????????\
        ..............................................fffff..bb.........\
        ..........sss..............??????????????...f?j.ffff.x......b???",
};

/// An instruction.
#[derive(Debug, Clone, Copy)]
struct Instruction {
    kind: u8,
    /// The unit behind it and its caches.
    next: usize,
    /// Where it may jump.
    target: Option<usize>,
}

/// The units from `start` to before `end`, and where an exception in them leads.
#[derive(Debug, Clone, Copy)]
struct Protected {
    start: usize,
    end: usize,
    handler: usize,
}

impl Instructions {
    /// Those of a supported version.
    fn of(version: PyVersion) -> &'static Self {
        Self::of_minor(version.minor())
    }

    /// Those of CPython 3.`minor`.
    pub(super) fn of_minor(minor: u8) -> &'static Self {
        match minor {
            ..=14 => &OF_3_14,
            _ => &OF_3_15,
        }
    }

    /// The instructions of `code`, by their first units; nothing if one is unknown, or the code is damaged.
    fn decode(&self, code: &[u8]) -> Option<Vec<Option<Instruction>>> {
        let n_units = code.len() / UNIT_BYTES;
        let mut instructions = vec![None; n_units];
        let (mut at, mut argument) = (0_usize, 0_usize);
        while at < n_units {
            let first = at.checked_mul(UNIT_BYTES)?;
            let opcode = usize::from(*code.get(first)?);
            let low = usize::from(*code.get(first.checked_add(1)?)?);
            argument = argument.checked_mul(256)?.checked_add(low)?;
            let kind = *self.kinds.get(opcode)?;
            let caches = char::from(*self.caches.get(opcode)?).to_digit(10)?;
            let next = at
                .checked_add(1)?
                .checked_add(usize::try_from(caches).ok()?)?;
            let target = match kind {
                b'f' | b'j' | b's' => Some(next.checked_add(argument)?),
                b'a' | b'b' => Some(next.checked_sub(argument)?),
                _ => None,
            };
            *instructions.get_mut(at)? = Some(Instruction { kind, next, target });
            if kind != b'e' {
                argument = 0;
            }
            at = next;
        }
        Some(instructions)
    }
}

/// The entries of an exception table, in order; nothing if it is damaged.
fn decode_exception_table(table: &[u8]) -> Option<Vec<Protected>> {
    let mut bytes = table.iter();
    let mut entries: Vec<Protected> = Vec::new();
    while !bytes.as_slice().is_empty() {
        let (start, size) = (number(&mut bytes)?, number(&mut bytes)?);
        let (handler, _depth) = (number(&mut bytes)?, number(&mut bytes)?);
        let end = start.checked_add(size)?;
        if entries.last().is_some_and(|before| start < before.end) {
            return None;
        }
        entries.push(Protected {
            start,
            end,
            handler,
        });
    }
    Some(entries)
}

/// A number of an exception table: six bits a byte, high ones first; bit 6 says that more follow.
fn number(bytes: &mut std::slice::Iter<'_, u8>) -> Option<usize> {
    let mut number = 0_usize;
    loop {
        let byte = bytes.next()?;
        number = number
            .checked_mul(64)?
            .checked_add(usize::from(byte & 0x3f))?;
        if byte & 0x40 == 0 {
            return Some(number);
        }
    }
}

/// Whether one comes back to the `await` that the unit belongs to.
fn comes_back(
    instructions: &[Option<Instruction>],
    protected: &[Protected],
    unit: usize,
) -> Option<bool> {
    let at = |unit: usize| instructions.get(unit).copied().flatten();
    // The await, from its `SEND` to its jump back.
    let mut all = instructions.iter().enumerate().skip(unit);
    let (jump, send) = all.find_map(|(jump, it)| {
        let jump_back = it.filter(|it| it.kind == b'a')?;
        Some((jump, jump_back.target?))
    })?;
    let after = at(send)
        .filter(|it| it.kind == b's' && send <= unit)?
        .target?;
    let mut seen = vec![false; instructions.len()];
    let mut left = vec![after];
    let handler_of = |unit: usize| {
        let place = protected.partition_point(|it| it.start <= unit);
        let entry = protected.get(place.checked_sub(1)?)?;
        (unit < entry.end).then_some(entry.handler)
    };
    left.extend((send..=jump).filter_map(handler_of));
    while let Some(unit) = left.pop() {
        if unit == send {
            return Some(true);
        }
        let instruction = at(unit)?;
        let seen = seen.get_mut(unit)?;
        if std::mem::replace(seen, true) {
            continue;
        }
        left.extend(instruction.target);
        if !matches!(instruction.kind, b'a' | b'b' | b'j' | b'x') {
            left.push(instruction.next);
        }
        left.extend(handler_of(unit));
    }
    Some(false)
}

/// Whether the `await` to which the unit belongs can be executed twice in one call of this code; nothing if that is not
/// known.
///
/// # Errors
///
/// When the code cannot be read.
pub fn is_in_loop(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    code: &CodeInfo,
    unit: u64,
) -> Result<Option<bool>, DecodeError> {
    let (Ok(unit), true) = (usize::try_from(unit), code.n_units() <= UNITS_MAX) else {
        return Ok(None);
    };
    let table = code.at().plus(offsets.pyobject.size).plus(EXCEPTION_TABLE);
    let table = reader.addr_at(table)?;
    let table = read_bytes(reader, offsets, table)?;
    let first = code.at().plus(offsets.code_object.co_code_adaptive);
    let n_bytes = usize::try_from(code.n_units().saturating_mul(2)).unwrap_or(0);
    let bytes = reader.bytes(first, n_bytes)?;
    Ok(is_await_in_loop(
        Instructions::of(offsets.version),
        bytes,
        &table,
        unit,
    ))
}

/// The same for code and exception table that were read.
pub(super) fn is_await_in_loop(
    instructions: &Instructions,
    code: &[u8],
    exception_table: &[u8],
    unit: usize,
) -> Option<bool> {
    let instructions = instructions.decode(code)?;
    let protected = decode_exception_table(exception_table)?;
    comes_back(&instructions, &protected, unit)
}
