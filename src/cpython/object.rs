//! Ints, lists, tuples, sets, functions and weak references.

use super::types::read_c_string;
use super::{DecodeError, Offsets, TypeCache};
use crate::limits::LimitHit;
use crate::memory::{Bytes, Reader, RemoteAddr};

/// Bits per digit of an int (`PyLong_SHIFT`, Include/cpython/longintrepr.h).
const DIGIT_BITS: u32 = 30;
/// A slot of a set: key and hash.
const SLOT_BYTES: u64 = 16;
/// What a member costs whoever keeps it: an address, and an edge of the graph.
const BYTES_PER_MEMBER: usize = 64;
/// Slots copied at once.
const SLOTS_PER_READ: u64 = 256;

/// The int at `at`, if it is not negative and fits 64 bits.
///
/// # Errors
///
/// When it cannot be read or is another one.
pub fn read_int(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
) -> Result<u64, DecodeError> {
    let layout = &offsets.long_object;
    let tag = reader.u64_at(at.plus(layout.lv_tag))?;
    let implausible = |what, value| DecodeError::Implausible { what, value, at };
    // `lv_tag`: bits 0-1 sign (0 positive, 1 zero, 2 negative), from bit 3 on the number of digits.
    match (tag & 3, tag >> 3) {
        (1, _) => Ok(0),
        (0, n_digits @ 1..=3) => {
            let mut value: u64 = 0;
            for position in 0..n_digits {
                let digit_at = at
                    .plus(offsets.long_object.ob_digit)
                    .plus(position.saturating_mul(4));
                let digit = u32::from_le_bytes(reader.array(digit_at)?);
                let shift = u32::try_from(position)
                    .unwrap_or(0)
                    .saturating_mul(DIGIT_BITS);
                let part = u64::from(digit).checked_mul(1_u64.checked_shl(shift).unwrap_or(0));
                value = part
                    .filter(|_| digit >> DIGIT_BITS == 0)
                    .and_then(|part| value.checked_add(part))
                    .ok_or_else(|| implausible("digit of an int", u64::from(digit)))?;
            }
            Ok(value)
        }
        _ => Err(implausible("tag of an int", tag)),
    }
}

/// The members of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Addresses of the members, in the order of the hash table, which is the order in which Python
    /// iterates over it.
    pub members: Vec<RemoteAddr>,
    /// How many there are, by the set's own count.
    pub count: u64,
    /// A cap was reached before the end.
    pub cut: Option<LimitHit>,
}

/// The hash table of a set, as its object describes it.
struct Table {
    at: RemoteAddr,
    used: u64,
    slots: u64,
}

impl Table {
    fn of(
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        set: RemoteAddr,
    ) -> Result<Self, DecodeError> {
        let layout = &offsets.set_object;
        let used = reader.u64_at(set.plus(layout.used))?;
        let mask = reader.u64_at(set.plus(layout.mask))?;
        let at = reader.addr_at(set.plus(layout.table))?;
        let implausible = |what, value| DecodeError::Implausible {
            what,
            value,
            at: set,
        };
        let slots = mask.checked_add(1).filter(|slots| slots.is_power_of_two());
        let slots = slots.ok_or_else(|| implausible("mask of a set", mask))?;
        if used > slots {
            return Err(implausible("member count of a set", used));
        }
        Ok(Self { at, used, slots })
    }

    /// Its members, as far as the caps allow, until so many were found.
    fn members(&self, reader: &mut Reader<'_>, wanted: u64) -> Result<Set, DecodeError> {
        let mut set = Set {
            members: Vec::new(),
            count: self.used,
            cut: None,
        };
        let slots_max = reader.limits().set_slots_max;
        if self.slots > slots_max {
            set.cut = Some(LimitHit {
                what: "set_slots_max",
                limit: slots_max,
            });
        }
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let end = self.slots.min(slots_max);
        let mut slot: u64 = 0;
        let mut buffer = Vec::new();
        while slot < end && set.members.len() < wanted {
            let n = SLOTS_PER_READ.min(end.saturating_sub(slot));
            buffer.resize(
                usize::try_from(n.saturating_mul(SLOT_BYTES)).unwrap_or(0),
                0,
            );
            let from = self.at.plus(slot.saturating_mul(SLOT_BYTES));
            reader.read(from, &mut buffer)?;
            let n_before = set.members.len();
            for entry in buffer.chunks_exact(16) {
                let entry = Bytes::new(entry);
                let (key, hash) = (entry.addr_at(0)?, entry.i64_at(8)?);
                // A deleted slot keeps a dummy key with hash -1, which no live key has.
                if !key.is_null() && hash != -1 && set.members.len() < wanted {
                    set.members.push(key);
                }
            }
            let n_found = set.members.len().saturating_sub(n_before);
            reader.keep(n_found.saturating_mul(BYTES_PER_MEMBER))?;
            slot = slot.saturating_add(n);
        }
        Ok(set)
    }
}

/// The set at `at`, at most as many of its members as the cap `members_max` allows.
///
/// # Errors
///
/// When it cannot be read or its table contradicts its counts.
pub fn read_set(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
    members_max: LimitHit,
) -> Result<Set, DecodeError> {
    let table = Table::of(reader, offsets, at)?;
    // A table that holds more than the set counts is read as it is, as by [`read_changing_set`].
    let mut set = table.members(reader, members_max.limit)?;
    if members_max.limit < table.used {
        set.cut = Some(members_max);
    }
    let n_members = u64::try_from(set.members.len()).unwrap_or(u64::MAX);
    if set.cut.is_none() && n_members < table.used {
        return Err(DecodeError::Implausible {
            what: "member count of a set",
            value: table.used,
            at,
        });
    }
    Ok(set)
}

/// Like [`read_set`], of a set that may be changing: all of its table is looked at, whatever its count
/// says, because that may be older. What is a member all the time is found, if the set has the same
/// table before and after.
///
/// # Errors
///
/// When it cannot be read.
pub fn read_changing_set(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
    members_max: LimitHit,
) -> Result<Set, DecodeError> {
    let table = Table::of(reader, offsets, at)?;
    let one_more = members_max.limit.saturating_add(1);
    let mut set = table.members(reader, one_more)?;
    let max = usize::try_from(members_max.limit).unwrap_or(usize::MAX);
    if set.members.len() > max {
        set.members.truncate(max);
        set.cut = Some(members_max);
    }
    Ok(set)
}

/// The items of the list at `at`; nothing if there are more than `items_max`.
///
/// # Errors
///
/// When it cannot be read.
pub fn read_list(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
    items_max: u64,
) -> Result<Option<Vec<RemoteAddr>>, DecodeError> {
    let n_items = reader.u64_at(at.plus(offsets.list_object.ob_size))?;
    let items = reader.addr_at(at.plus(offsets.list_object.ob_item))?;
    read_items(reader, items, n_items, items_max)
}

/// The items of the tuple at `at`; nothing if there are more than `items_max`.
///
/// # Errors
///
/// When it cannot be read.
pub fn read_tuple(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
    items_max: u64,
) -> Result<Option<Vec<RemoteAddr>>, DecodeError> {
    let n_items = reader.u64_at(at.plus(offsets.tuple_object.ob_size))?;
    let items = at.plus(offsets.tuple_object.ob_item);
    read_items(reader, items, n_items, items_max)
}

fn read_items(
    reader: &mut Reader<'_>,
    items: RemoteAddr,
    n_items: u64,
    items_max: u64,
) -> Result<Option<Vec<RemoteAddr>>, DecodeError> {
    if n_items > items_max {
        return Ok(None);
    }
    let bytes = usize::try_from(n_items).map(|n| n.saturating_mul(BYTES_PER_MEMBER));
    reader.keep(bytes.unwrap_or(usize::MAX))?;
    let place = |n: u64| items.plus(n.saturating_mul(8));
    let all = (0..n_items).map(|n| Ok(reader.addr_at(place(n))?));
    all.collect::<Result<_, DecodeError>>().map(Some)
}

/// A function written in Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// Its code object.
    pub code: RemoteAddr,
    /// The tuple of the defaults of its parameters; null if they have none.
    pub defaults: RemoteAddr,
    /// The tuple of the cells of its free variables; null if it has none.
    pub closure: RemoteAddr,
}

/// The function at `at` (`PyFunctionObject`, Include/cpython/funcobject.h: `func_code` is the fifth member after
/// the head of the object, `func_defaults` the sixth, `func_closure` the eighth); nothing if it is something else.
///
/// # Errors
///
/// When it cannot be read.
pub fn read_function(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    types: &mut TypeCache,
    at: RemoteAddr,
) -> Result<Option<Function>, DecodeError> {
    let info = types.type_of(reader, offsets, at)?;
    if !matches!(types.name(info), "function") {
        return Ok(None);
    }
    let members = at.plus(offsets.pyobject.size);
    Ok(Some(Function {
        code: reader.addr_at(members.plus(32))?,
        defaults: reader.addr_at(members.plus(40))?,
        closure: reader.addr_at(members.plus(56))?,
    }))
}

/// The tuple of the names that the code at `code` uses: attributes, methods and globals (`co_names` of `PyCodeObject`,
/// Include/cpython/code.h: the second member after the head of an object with a size).
///
/// # Errors
///
/// When it cannot be read.
pub fn names_of_code(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    code: RemoteAddr,
) -> Result<RemoteAddr, DecodeError> {
    Ok(reader.addr_at(code.plus(offsets.pyobject.size).plus(16))?)
}

/// The name of the function at `at`, which is implemented in C (`PyCFunctionObject`, Include/cpython/methodobject.h: `m_ml`
/// is the first member after the head of the object, and `ml_name` the first of that); those that Cython makes begin
/// like these.
///
/// # Errors
///
/// When it cannot be read.
pub fn name_of_c_function(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    at: RemoteAddr,
) -> Result<String, DecodeError> {
    let definition = reader.addr_at(at.plus(offsets.pyobject.size))?;
    DecodeError::check_address("definition of a function", definition)?;
    let name = reader.addr_at(definition)?;
    read_c_string(reader, name)
}

/// What the weak reference at `at` refers to; null if that is gone.
///
/// # Errors
///
/// When it cannot be read or is no weak reference.
pub fn weakly_referenced(
    reader: &mut Reader<'_>,
    offsets: &Offsets,
    types: &mut TypeCache,
    at: RemoteAddr,
) -> Result<RemoteAddr, DecodeError> {
    let info = types.type_of(reader, offsets, at)?;
    // `KeyedRef` are those of a `WeakValueDictionary`.
    if !matches!(types.name(info), "weakref.ReferenceType" | "KeyedRef") {
        return Err(DecodeError::Implausible {
            what: "weak reference",
            value: at.as_u64(),
            at,
        });
    }
    // `wr_object` follows the head of the object (Include/cpython/weakrefobject.h). It is `None` once
    // what it referred to is gone.
    let to = reader.addr_at(at.plus(offsets.pyobject.size))?;
    let info = types.type_of(reader, offsets, to)?;
    Ok(match types.name(info) {
        "NoneType" => RemoteAddr::NULL,
        _ => to,
    })
}
