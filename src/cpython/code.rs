//! Code objects: the function's name, its file, and the line of each instruction
//! (`PyCodeObject`, Include/cpython/code.h). Decoded once per snapshot.

use super::line_table::line_at;
use super::{DecodeError, Kind, Offsets, TypeCache, read_text};
use crate::memory::{Bytes, Reader, RemoteAddr};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// A code unit is an opcode and its argument.
const UNIT_BYTES: u64 = 2;

/// What is needed of a code object.
#[derive(Debug, Clone)]
pub struct CodeInfo {
    /// Qualified name.
    pub function: String,
    /// File name; `None` when it could not be read.
    pub file: Option<String>,
    /// Local variables, cells included: words between a frame's head and its stack.
    pub locals: u64,
    /// Depth of its stack, in words.
    pub stack_size: u64,
    /// What could not be read of it, if the rest could.
    pub problem: Option<DecodeError>,
    at: RemoteAddr,
    units: u64,
    first_line: i32,
    line_table: Rc<[u8]>,
}

impl CodeInfo {
    /// Where the object is.
    pub fn at(&self) -> RemoteAddr {
        self.at
    }

    /// The index of the instruction at `instr_ptr`, in code that begins at `code_start`.
    ///
    /// # Errors
    ///
    /// When it lies outside of the code.
    pub fn unit_of(
        &self,
        code_start: RemoteAddr,
        instr_ptr: RemoteAddr,
    ) -> Result<u64, DecodeError> {
        let offset = instr_ptr.offset_from(code_start);
        let unit = offset.and_then(|offset| offset.checked_div(UNIT_BYTES));
        unit.filter(|unit| *unit < self.units)
            .ok_or(DecodeError::Implausible {
                what: "instruction pointer",
                value: instr_ptr.as_u64(),
                at: self.at,
            })
    }

    /// The line of the instruction with this index, if the code has one for it.
    pub fn line(&self, unit: u64) -> Option<u32> {
        line_at(&self.line_table, self.first_line, unit)
    }

    /// How many bytes [`line`](Self::line) may look at.
    pub fn line_table_bytes(&self) -> usize {
        self.line_table.len()
    }
}

/// The code objects seen in one snapshot.
#[derive(Debug, Default)]
pub struct CodeCache {
    by_addr: FxHashMap<RemoteAddr, Rc<CodeInfo>>,
    /// Line tables by the address of their bytes object: each is kept once, whoever refers to it.
    line_tables: FxHashMap<RemoteAddr, Rc<[u8]>>,
}

impl CodeCache {
    /// The code object at `at`.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is no code object.
    pub fn code_at(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        types: &mut TypeCache,
        at: RemoteAddr,
    ) -> Result<Rc<CodeInfo>, DecodeError> {
        if let Some(known) = self.by_addr.get(&at) {
            return Ok(Rc::clone(known));
        }
        if types.type_of(reader, offsets, at)?.kind != Kind::Code {
            return Err(DecodeError::Implausible {
                what: "code object",
                value: at.as_u64(),
                at,
            });
        }
        let info = Rc::new(self.read_code(reader, offsets, at)?);
        self.by_addr.insert(at, Rc::clone(&info));
        Ok(info)
    }

    fn read_code(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
    ) -> Result<CodeInfo, DecodeError> {
        let layout = &offsets.code_object;
        let mut object = vec![0; usize::try_from(layout.size).unwrap_or(0)];
        reader.read(at, &mut object)?;
        let object = Bytes::new(&object);
        let implausible = |what, value| DecodeError::Implausible { what, value, at };
        // The stack size stands before the first line, the number of locals after it (all `int`).
        let small = |what, offset: u64| -> Result<u64, DecodeError> {
            let value = u64::from(object.u32_at(offset)?);
            if value <= 1 << 24 {
                Ok(value)
            } else {
                Err(implausible(what, value))
            }
        };
        let stack_size = small("stack size", layout.firstlineno.wrapping_sub(4))?;
        let locals = small("number of locals", layout.firstlineno.wrapping_add(4))?;
        // `ob_size` of a code object is its length in units; it follows the object head.
        let units = object.u64_at(offsets.pyobject.size)?;
        if units == 0 || units > 1 << 32 {
            return Err(implausible("number of code units", units));
        }
        let function = read_text(reader, offsets, object.addr_at(layout.qualname)?)?;
        let mut problem = None;
        let file = read_text(reader, offsets, object.addr_at(layout.filename)?)
            .map_err(|error| problem = Some(error))
            .ok();
        let line_table_at = object.addr_at(layout.linetable)?;
        let line_table = self
            .line_table(reader, offsets, line_table_at)
            .unwrap_or_else(|error| {
                problem = Some(error);
                Rc::default()
            });
        Ok(CodeInfo {
            function,
            file,
            locals,
            stack_size,
            problem,
            at,
            units,
            first_line: object.i32_at(layout.firstlineno)?,
            line_table,
        })
    }

    fn line_table(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
    ) -> Result<Rc<[u8]>, DecodeError> {
        if let Some(known) = self.line_tables.get(&at) {
            return Ok(Rc::clone(known));
        }
        let table: Rc<[u8]> = read_bytes(reader, offsets, at)?.into();
        self.line_tables.insert(at, Rc::clone(&table));
        Ok(table)
    }
}

fn read_bytes(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
) -> Result<Vec<u8>, DecodeError> {
    let size = reader.u64_at(at.plus(offsets.bytes_object.ob_size))?;
    if size > reader.limits().line_table_bytes_max {
        return Err(DecodeError::Implausible {
            what: "size of a line table",
            value: size,
            at,
        });
    }
    let size = usize::try_from(size).unwrap_or(0);
    reader.keep(size)?;
    let mut bytes = vec![0; size];
    reader.read(at.plus(offsets.bytes_object.ob_sval), &mut bytes)?;
    Ok(bytes)
}
