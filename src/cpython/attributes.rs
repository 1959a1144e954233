//! Attributes of instances of classes written in Python. Their values stand in one of three places
//! (Objects/dictobject.c and Include/internal/pycore_dict.h of CPython 3.14 and 3.15):
//!
//! ```text
//!   managed dict | ... | object: head, fields | inline values: header, value, value ...
//! ```
//!
//! - As long as the pointer to the managed dict is null, in the array behind the object's fields. The
//!   keys are those that all instances of the class share (`ht_cached_keys`).
//! - In an array that the dict points to (`ma_values`), often that same one: the dict of a class's keys.
//! - Beside the keys of the dict.

use super::dict::{Keys, text_is};
use super::{DecodeError, Offsets, TypeCache};
use crate::memory::{Reader, RemoteAddr};
use rustc_hash::FxHashMap;

/// Bits of `tp_flags` (Include/object.h).
const INLINE_VALUES: u64 = 1 << 2;
const MANAGED_DICT: u64 = 1 << 4;
/// The array of values (`PyDictValues`) begins with four bytes: capacity, size, whether it is embedded
/// in an object, whether it is valid. The values follow at 8.
const VALUES_HEADER_BYTES: u64 = 8;
/// No instance has more attributes than this.
const ATTRIBUTES_MAX: u64 = 4_096;
/// No object has more bytes of fields than this. The event loops of uvloop have a buffer of 256 000 bytes among theirs.
const FIELDS_BYTES_MAX: u64 = 1 << 20;
/// What a type or a name costs that is remembered.
const BYTES_PER_ITEM: usize = 64;

/// What is needed of a class to find the attributes of its instances.
#[derive(Debug, Clone, Copy)]
struct Class {
    flags: u64,
    basic_size: u64,
    shared_keys: RemoteAddr,
}

/// Where the values are that belong to keys.
#[derive(Debug, Clone, Copy)]
enum Values {
    /// So many at most, in an array.
    Array(RemoteAddr, u64),
    /// Beside the keys.
    BesideKeys,
}

/// An attribute of an object; both null if there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attribute {
    /// Where the pointer to its value stands.
    pub at: RemoteAddr,
    /// The value.
    pub value: RemoteAddr,
}

/// Finds attributes of these names. Made for one snapshot: it remembers classes and names by address.
#[derive(Debug)]
pub struct Attributes<const N: usize> {
    names: [&'static str; N],
    classes: FxHashMap<RemoteAddr, Class>,
    /// The position among `names` of each string seen, if it is one of them.
    known: FxHashMap<RemoteAddr, Option<usize>>,
}

impl<const N: usize> Attributes<N> {
    /// For attributes of these names.
    pub fn new(names: [&'static str; N]) -> Self {
        Self {
            names,
            classes: FxHashMap::default(),
            known: FxHashMap::default(),
        }
    }

    /// The attributes that the object at `at` itself has, not its class.
    ///
    /// # Errors
    ///
    /// When the object, or what holds its attributes, cannot be read.
    pub fn of(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        types: &mut TypeCache,
        at: RemoteAddr,
    ) -> Result<[Attribute; N], DecodeError> {
        DecodeError::check_address("object address", at)?;
        let mut found = [Attribute::default(); N];
        let Some((keys, values)) = self.place(reader, offsets, at)? else {
            return Ok(found);
        };
        if keys.n_entries > ATTRIBUTES_MAX {
            return Err(DecodeError::Implausible {
                what: "number of attributes",
                value: keys.n_entries,
                at,
            });
        }
        for position in 0..keys.n_entries {
            let (key_at, beside) = keys.entry(position);
            let key = reader.addr_at(key_at)?;
            if key.is_null() {
                continue;
            }
            let Some(name) = self.name(reader, offsets, types, key)? else {
                continue;
            };
            let value_at = match values {
                Values::BesideKeys => beside,
                Values::Array(_, n_values) if position >= n_values => continue,
                Values::Array(first, _) => first.plus(position.saturating_mul(8)),
            };
            let value = reader.addr_at(value_at)?;
            if let Some(found) = found.get_mut(name).filter(|_| !value.is_null()) {
                *found = Attribute {
                    at: value_at,
                    value,
                };
            }
        }
        Ok(found)
    }

    /// The keys and values of an object, if it is one that has attributes.
    fn place(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
    ) -> Result<Option<(Keys, Values)>, DecodeError> {
        let class_at = reader.addr_at(at.plus(offsets.pyobject.ob_type))?;
        let class = self.class(reader, offsets, class_at)?;
        if class.flags & MANAGED_DICT == 0 {
            return Ok(None);
        }
        let dict = reader.addr_at(at.minus(offsets.quirks.managed_dict_before))?;
        if !dict.is_null() {
            return Self::place_in_dict(reader, offsets, dict).map(Some);
        }
        if class.flags & INLINE_VALUES == 0 {
            // The dict is made when the first attribute is set.
            return Ok(None);
        }
        let values = at.plus(class.basic_size);
        let (capacity, is_valid) = Self::header(reader, values)?;
        if !is_valid {
            return Err(DecodeError::Implausible {
                what: "inline values of an object",
                value: u64::from(is_valid),
                at,
            });
        }
        let keys = Keys::read(reader, class.shared_keys)?;
        let values = Values::Array(values.plus(VALUES_HEADER_BYTES), capacity);
        Ok(Some((keys, values)))
    }

    fn place_in_dict(
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        dict: RemoteAddr,
    ) -> Result<(Keys, Values), DecodeError> {
        DecodeError::check_address("address of a dict", dict)?;
        let ma_keys = dict.plus(offsets.dict_object.ma_keys);
        let keys = reader.addr_at(ma_keys)?;
        let keys = Keys::read(reader, keys)?;
        // `ma_values` follows `ma_keys` (`PyDictObject`, Include/cpython/dictobject.h).
        let values = reader.addr_at(ma_keys.plus(8))?;
        if values.is_null() {
            return Ok((keys, Values::BesideKeys));
        }
        DecodeError::check_address("address of a dict's values", values)?;
        let (capacity, _) = Self::header(reader, values)?;
        Ok((
            keys,
            Values::Array(values.plus(VALUES_HEADER_BYTES), capacity),
        ))
    }

    /// How many values an array has room for, and whether they count.
    fn header(reader: &mut Reader<'_>, values: RemoteAddr) -> Result<(u64, bool), DecodeError> {
        let [capacity, _, _, valid] = reader.array(values)?;
        Ok((u64::from(capacity), valid == 1))
    }

    fn class(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
    ) -> Result<Class, DecodeError> {
        if let Some(known) = self.classes.get(&at) {
            return Ok(*known);
        }
        DecodeError::check_address("type address", at)?;
        reader.keep(BYTES_PER_ITEM)?;
        let flags = reader.u64_at(at.plus(offsets.type_object.tp_flags))?;
        let basic_size = reader.u64_at(at.plus(offsets.quirks.type_basic_size))?;
        if basic_size > FIELDS_BYTES_MAX {
            return Err(DecodeError::Implausible {
                what: "size of an instance",
                value: basic_size,
                at,
            });
        }
        let shared_keys = match flags & INLINE_VALUES {
            0 => RemoteAddr::NULL,
            _ => reader.addr_at(at.plus(offsets.quirks.type_cached_keys))?,
        };
        let class = Class {
            flags,
            basic_size,
            shared_keys,
        };
        self.classes.insert(at, class);
        Ok(class)
    }

    /// Which of the names a key is.
    fn name(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        types: &mut TypeCache,
        key: RemoteAddr,
    ) -> Result<Option<usize>, DecodeError> {
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        reader.keep(BYTES_PER_ITEM)?;
        let mut which = None;
        for (position, name) in self.names.iter().enumerate() {
            if text_is(reader, offsets, types, key, name)? {
                which = Some(position);
                break;
            }
        }
        self.known.insert(key, which);
        Ok(which)
    }
}
