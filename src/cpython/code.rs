//! Code objects: the function's name, its file, and the line of each instruction
//! (`PyCodeObject`, Include/cpython/code.h). Decoded once per process, as long as no code object is
//! deleted in it: interpreters count that (`code_object_generation`).

use super::line_table::line_at;
use super::{DecodeError, Kind, Offsets, TypeCache, read_text};
use crate::memory::{Bytes, Reader, RemoteAddr};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A code unit is an opcode and its argument.
const UNIT_BYTES: u64 = 2;

/// What is needed of a code object.
#[derive(Debug, Clone)]
pub struct CodeInfo {
    /// Qualified name.
    pub function: Arc<str>,
    /// File name; `None` when it could not be read.
    pub file: Option<Arc<str>>,
    /// What could not be read of it, if the rest could.
    pub problem: Option<DecodeError>,
    at: RemoteAddr,
    fields: CodeFields,
    line_table: Arc<[u8]>,
    /// The look in which the object was last seen to be the one that was decoded.
    look: u64,
}

/// The fields of a code object, as they stand in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CodeFields {
    qualname: RemoteAddr,
    filename: RemoteAddr,
    line_table: RemoteAddr,
    first_line: i32,
    /// Local variables, cells included.
    locals: u64,
    stack_size: u64,
    /// Length of its code.
    units: u64,
}

impl CodeFields {
    fn read(
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
    ) -> Result<Self, DecodeError> {
        let layout = &offsets.code_object;
        let size = usize::try_from(layout.size).unwrap_or(usize::MAX);
        let object = Bytes::new(reader.bytes(at, size)?);
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
        // `ob_size` of a code object is its length in units; it follows the object head.
        let units = object.u64_at(offsets.pyobject.size)?;
        if units == 0 || units > 1 << 32 {
            return Err(implausible("number of code units", units));
        }
        Ok(Self {
            qualname: object.addr_at(layout.qualname)?,
            filename: object.addr_at(layout.filename)?,
            line_table: object.addr_at(layout.linetable)?,
            first_line: object.i32_at(layout.firstlineno)?,
            locals: small("number of locals", layout.firstlineno.wrapping_add(4))?,
            stack_size: small("stack size", layout.firstlineno.wrapping_sub(4))?,
            units,
        })
    }
}

impl CodeInfo {
    /// Where the object is.
    pub fn at(&self) -> RemoteAddr {
        self.at
    }

    /// Length of its code, in units.
    pub fn n_units(&self) -> u64 {
        self.fields.units
    }

    /// Words between a frame's head and its stack.
    pub fn locals(&self) -> u64 {
        self.fields.locals
    }

    /// Depth of its stack, in words.
    pub fn stack_size(&self) -> u64 {
        self.fields.stack_size
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
        unit.filter(|unit| *unit < self.fields.units)
            .ok_or(DecodeError::Implausible {
                what: "instruction pointer",
                value: instr_ptr.as_u64(),
                at: self.at,
            })
    }

    /// The line of the instruction with this index, if the code has one for it.
    pub fn line(&self, unit: u64) -> Option<u32> {
        line_at(&self.line_table, self.fields.first_line, unit)
    }

    /// How many bytes [`line`](Self::line) may look at.
    pub fn line_table_bytes(&self) -> usize {
        self.line_table.len()
    }
}

/// A code object of a [`CodeCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeIdx(u32);

impl CodeIdx {
    /// Its number, the same as long as it is remembered.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// What a code object and the first of its lines cost, texts and line table left out.
const BYTES_PER_CODE: usize = 512;

/// Code objects remembered by the low bits of their address, before the hash table is asked.
const RECENT: usize = 256;
/// Bytes of text and line tables kept from one snapshot to the next.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// The code objects seen.
#[derive(Debug, Default)]
pub struct CodeCache {
    by_addr: FxHashMap<RemoteAddr, CodeIdx>,
    recent: Vec<Option<(RemoteAddr, CodeIdx)>>,
    infos: Vec<CodeInfo>,
    /// Line tables by the address of their bytes object: each is kept once, whoever refers to it.
    line_tables: FxHashMap<RemoteAddr, Arc<[u8]>>,
    lines: FxHashMap<(CodeIdx, u64), Option<u32>>,
    kept_bytes: usize,
    look: u64,
}

impl CodeCache {
    /// Begins a look: each code object is seen anew to be the one that was decoded. One that was
    /// deleted may have left its place to another.
    pub fn begin_look(&mut self) {
        self.keep_at_most(KEPT_BYTES_MAX);
        self.look = self.look.wrapping_add(1);
        self.recent.clear();
        self.recent.resize(RECENT, None);
    }

    /// Forgets everything if that is more than so many bytes of text and line tables.
    pub fn keep_at_most(&mut self, bytes_max: usize) {
        if self.kept_bytes > bytes_max {
            self.clear();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        let look = self.look;
        *self = Self {
            look,
            ..Self::default()
        };
    }

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
    ) -> Result<CodeIdx, DecodeError> {
        let place = usize::try_from(at.as_u64() >> 5).unwrap_or(0) % RECENT;
        if let Some(Some((known, code))) = self.recent.get(place)
            && *known == at
        {
            return Ok(*code);
        }
        let code = match self.still_same(reader, offsets, types, at)? {
            Some(known) => known,
            None => {
                if types.type_of(reader, offsets, at)?.kind != Kind::Code {
                    let (what, value) = ("code object", at.as_u64());
                    return Err(DecodeError::Implausible { what, value, at });
                }
                reader.keep(BYTES_PER_CODE)?;
                let info = self.read_code(reader, offsets, at)?;
                let code = CodeIdx(u32::try_from(self.infos.len()).unwrap_or(u32::MAX));
                let file_len = info.file.as_ref().map_or(0, |file| file.len());
                // Once here, and once in the graph.
                let texts = info.function.len().saturating_add(file_len);
                reader.keep(texts.saturating_mul(2))?;
                self.kept_bytes = self
                    .kept_bytes
                    .saturating_add(size_of::<CodeInfo>())
                    .saturating_add(info.function.len())
                    .saturating_add(file_len);
                self.infos.push(info);
                self.by_addr.insert(at, code);
                code
            }
        };
        if let Some(entry) = self.recent.get_mut(place) {
            *entry = Some((at, code));
        }
        Ok(code)
    }

    /// The code object that was decoded at `at`, if it is still there.
    fn still_same(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        types: &mut TypeCache,
        at: RemoteAddr,
    ) -> Result<Option<CodeIdx>, DecodeError> {
        let Some(code) = self.by_addr.get(&at).copied() else {
            return Ok(None);
        };
        let position = usize::try_from(code.0).unwrap_or(usize::MAX);
        let Some(info) = self.infos.get_mut(position) else {
            return Ok(None);
        };
        if info.look != self.look {
            let is_code = types.type_of(reader, offsets, at)?.kind == Kind::Code;
            if !is_code || CodeFields::read(reader, offsets, at)? != info.fields {
                return Ok(None);
            }
            info.look = self.look;
        }
        Ok(Some(code))
    }

    /// What is known of a code object.
    pub fn info(&self, code: CodeIdx) -> Option<&CodeInfo> {
        self.infos
            .get(usize::try_from(code.0).unwrap_or(usize::MAX))
    }

    /// The line of the instruction with this index, if the code has one for it.
    pub fn line(&mut self, code: CodeIdx, unit: u64) -> Option<u32> {
        if let Some(known) = self.lines.get(&(code, unit)) {
            return *known;
        }
        let line = self.info(code)?.line(unit);
        self.lines.insert((code, unit), line);
        self.kept_bytes = self.kept_bytes.saturating_add(32);
        line
    }

    fn read_code(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
    ) -> Result<CodeInfo, DecodeError> {
        let fields = CodeFields::read(reader, offsets, at)?;
        let function = read_text(reader, offsets, fields.qualname)?.into();
        let mut problem = None;
        let file = read_text(reader, offsets, fields.filename)
            .map_err(|error| problem = Some(error))
            .ok()
            .map(Arc::from);
        let line_table = self
            .line_table(reader, offsets, fields.line_table)
            .unwrap_or_else(|error| {
                problem = Some(error);
                Arc::default()
            });
        Ok(CodeInfo {
            function,
            file,
            problem,
            at,
            fields,
            line_table,
            look: self.look,
        })
    }

    fn line_table(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
    ) -> Result<Arc<[u8]>, DecodeError> {
        if let Some(known) = self.line_tables.get(&at) {
            return Ok(Arc::clone(known));
        }
        let table: Arc<[u8]> = read_bytes(reader, offsets, at)?.into();
        self.kept_bytes = self.kept_bytes.saturating_add(table.len());
        self.line_tables.insert(at, Arc::clone(&table));
        Ok(table)
    }
}

/// What the bytes object at `at` holds, if it is no longer than a line table may be.
pub(super) fn read_bytes(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
) -> Result<Vec<u8>, DecodeError> {
    let size = reader.u64_at(at.plus(offsets.bytes_object.ob_size))?;
    if size > reader.limits().line_table_bytes_max {
        return Err(DecodeError::Implausible {
            what: "size of a table",
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
