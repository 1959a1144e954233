//! `sys.modules`: which modules an interpreter has imported, and what is in them.

use super::dict::Keys;
use super::{DecodeError, Interpreter, Offsets, TypeCache, find_in_dict};
use crate::memory::{Reader, RemoteAddr};

/// Whether `interpreter` has a module named `name` in `sys.modules`.
///
/// # Errors
///
/// When the dict cannot be read.
pub fn has_module(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    types: &mut TypeCache,
    interpreter: Interpreter,
    name: &str,
) -> Result<bool, DecodeError> {
    let [module] = find_modules(reader, offsets, types, interpreter, [name])?;
    Ok(!module.is_null())
}

/// The modules of these names in an interpreter's `sys.modules`; null where there is none.
///
/// # Errors
///
/// When the dict cannot be read.
pub fn find_modules<const N: usize>(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    types: &mut TypeCache,
    interpreter: Interpreter,
    names: [&str; N],
) -> Result<[RemoteAddr; N], DecodeError> {
    let modules = modules_of(reader, offsets, interpreter)?;
    if modules.is_null() {
        return Ok([RemoteAddr::NULL; N]);
    }
    find_in_dict(reader, offsets, types, modules, names)
}

/// What differs after a module was imported: where the keys of `sys.modules` are, and how many there were
/// so far.
///
/// # Errors
///
/// When they cannot be read.
pub fn imports(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    interpreter: Interpreter,
) -> Result<(RemoteAddr, u64), DecodeError> {
    let modules = modules_of(reader, offsets, interpreter)?;
    if modules.is_null() {
        return Ok((RemoteAddr::NULL, 0));
    }
    let keys = reader.addr_at(modules.plus(offsets.dict_object.ma_keys))?;
    let keys = Keys::read(reader, keys)?;
    Ok((keys.at, keys.n_entries))
}

/// The dict with the globals of the module at `at`.
///
/// # Errors
///
/// When it cannot be read.
pub fn module_dict(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
) -> Result<RemoteAddr, DecodeError> {
    DecodeError::check_address("address of a module", at)?;
    // `md_dict` follows the head of the object (`PyModuleObject`, Include/internal/pycore_moduleobject.h).
    Ok(reader.addr_at(at.plus(offsets.pyobject.size))?)
}

/// What a module written in C keeps for itself; null if nothing.
///
/// # Errors
///
/// When the module cannot be read.
pub fn module_state(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
) -> Result<RemoteAddr, DecodeError> {
    DecodeError::check_address("address of a module", at)?;
    let state_at = offsets
        .pyobject
        .size
        .saturating_add(offsets.quirks.module_state);
    Ok(reader.addr_at(at.plus(state_at))?)
}

fn modules_of(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    interpreter: Interpreter,
) -> Result<RemoteAddr, DecodeError> {
    let at = offsets.interpreter_state.imports_modules;
    Ok(reader.addr_at(interpreter.at.plus(at))?)
}
