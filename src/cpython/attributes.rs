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
//!
//! What has `__slots__` has its values among its fields; where, say the members of its class and of the classes that this is
//! derived from (`PyHeapType_GET_MEMBERS`, Include/internal/pycore_object.h; `type_new_descriptors`, Objects/typeobject.c).

use super::dict::{Keys, text_is};
use super::{DecodeError, Offsets, TypeCache};
use crate::memory::{Reader, RemoteAddr};
use rustc_hash::FxHashMap;

/// Bits of `tp_flags` (Include/object.h).
const INLINE_VALUES: u64 = 1 << 2;
const MANAGED_DICT: u64 = 1 << 4;
const HEAP_TYPE: u64 = 1 << 9;
const HAVE_GC: u64 = 1 << 14;
const LIST_SUBCLASS: u64 = 1 << 25;
const TUPLE_SUBCLASS: u64 = 1 << 26;
const DICT_SUBCLASS: u64 = 1 << 29;
/// Where `tp_base` stands behind `tp_flags` (`PyTypeObject`, Include/cpython/object.h).
const BASE_BEHIND_FLAGS: u64 = 88;
/// A member of a class (`PyMemberDef`, Include/descrobject.h): its name, what it is, where it is.
const MEMBER_BYTES: u64 = 40;
/// One that is an object, and is missing as long as it is null (`Py_T_OBJECT_EX`).
const MEMBER_IS_OBJECT: u64 = 16;
/// Members of a class that are looked at, and classes that it is derived from.
const MEMBERS_MAX: u64 = 256;
const BASES_MAX: u32 = 16;
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

/// Which type of Python's own a class is derived from, if it is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collection {
    /// `list`.
    List,
    /// `tuple`, as named tuples are.
    Tuple,
    /// `dict`.
    Dict,
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
    /// By class, where each of the names has its slot; 0 where there is none.
    slots: FxHashMap<RemoteAddr, [u64; N]>,
    /// The position among `names` of each string seen, if it is one of them.
    known: FxHashMap<RemoteAddr, Option<usize>>,
}

impl<const N: usize> Attributes<N> {
    /// For attributes of these names.
    pub fn new(names: [&'static str; N]) -> Self {
        Self {
            names,
            classes: FxHashMap::default(),
            slots: FxHashMap::default(),
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
        let class_at = reader.addr_at(at.plus(offsets.pyobject.ob_type))?;
        let slots = self.slots(reader, offsets, class_at)?;
        for (found, slot) in found.iter_mut().zip(slots).filter(|(_, slot)| *slot > 0) {
            let value_at = at.plus(slot);
            let value = reader.addr_at(value_at)?;
            if !value.is_null() {
                *found = Attribute {
                    at: value_at,
                    value,
                };
            }
        }
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

    /// The values of all attributes that the object at `at` itself has, at most `values_max` of them.
    ///
    /// # Errors
    ///
    /// When the object, or what holds its attributes, cannot be read.
    pub fn values_of(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
        values_max: u64,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        DecodeError::check_address("object address", at)?;
        let mut all = Vec::new();
        let Some((keys, values)) = self.place(reader, offsets, at)? else {
            return Ok(all);
        };
        for position in 0..keys.n_entries.min(values_max) {
            let value_at = match values {
                Values::BesideKeys => keys.entry(position).1,
                Values::Array(_, n_values) if position >= n_values => break,
                Values::Array(first, _) => first.plus(position.saturating_mul(8)),
            };
            let value = reader.addr_at(value_at)?;
            if !value.is_null() {
                all.push(value);
            }
        }
        Ok(all)
    }

    /// The words of an object itself, behind its head, at most `words_max`: what has `__slots__` or is implemented in C has
    /// its members there, among others that are no objects. None of what cannot refer to objects.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn members_of(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
        words_max: u64,
    ) -> Result<Vec<RemoteAddr>, DecodeError> {
        DecodeError::check_address("object address", at)?;
        let class_at = reader.addr_at(at.plus(offsets.pyobject.ob_type))?;
        let class = self.class(reader, offsets, class_at)?;
        if class.flags & HAVE_GC == 0 {
            return Ok(Vec::new());
        }
        let head = offsets.pyobject.size;
        let words = class.basic_size.saturating_sub(head) / 8;
        let word = |n: u64| reader.addr_at(at.plus(head).plus(n.saturating_mul(8)));
        let words = (0..words.min(words_max)).map(word);
        Ok(words.collect::<Result<_, _>>()?)
    }

    /// The type of Python's own that the class of an object is, or is derived from, if it is one of [`Collection`].
    ///
    /// # Errors
    ///
    /// When that cannot be read.
    pub fn collection(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        at: RemoteAddr,
    ) -> Result<Option<Collection>, DecodeError> {
        DecodeError::check_address("object address", at)?;
        let class_at = reader.addr_at(at.plus(offsets.pyobject.ob_type))?;
        let flags = self.class(reader, offsets, class_at)?.flags;
        let kinds = [
            (LIST_SUBCLASS, Collection::List),
            (TUPLE_SUBCLASS, Collection::Tuple),
            (DICT_SUBCLASS, Collection::Dict),
        ];
        let kind = kinds.into_iter().find(|(flag, _)| flags & flag != 0);
        Ok(kind.map(|(_, kind)| kind))
    }

    /// Where the instances of a class have the slots of the names, behind their beginning; 0 where they have none.
    fn slots(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        class_at: RemoteAddr,
    ) -> Result<[u64; N], DecodeError> {
        if let Some(known) = self.slots.get(&class_at) {
            return Ok(*known);
        }
        reader.keep(BYTES_PER_ITEM)?;
        let slots = match self.find_slots(reader, offsets, class_at) {
            // What it has in a dictionary can be read all the same.
            Err(error) if !error.is_fatal() && !error.is_limit() => [0; N],
            found => found?,
        };
        self.slots.insert(class_at, slots);
        Ok(slots)
    }

    fn find_slots(
        &mut self,
        reader: &mut Reader<'_>,
        offsets: &Offsets,
        class_at: RemoteAddr,
    ) -> Result<[u64; N], DecodeError> {
        let mut slots = [0; N];
        let size = self.class(reader, offsets, class_at)?.basic_size;
        let mut base = class_at;
        for _ in 0..BASES_MAX {
            if !base.is_plausible() || self.class(reader, offsets, base)?.flags & HEAP_TYPE == 0 {
                break;
            }
            // `ob_size` of the type, whose members stand behind all that types have.
            let n_members = reader.u64_at(base.plus(offsets.pyobject.size))?;
            let metaclass = reader.addr_at(base.plus(offsets.pyobject.ob_type))?;
            let first = base.plus(self.class(reader, offsets, metaclass)?.basic_size);
            for position in 0..n_members.min(MEMBERS_MAX) {
                let member = first.plus(position.saturating_mul(MEMBER_BYTES));
                if reader.u64_at(member.plus(8))? & 0xffff_ffff != MEMBER_IS_OBJECT {
                    continue;
                }
                let (name, slot) = (reader.addr_at(member)?, reader.u64_at(member.plus(16))?);
                let is_within = slot.checked_add(8).is_some_and(|end| end <= size);
                if let Some(position) = self.position_of(reader, name)?.filter(|_| is_within)
                    && let Some(found) = slots.get_mut(position).filter(|found| **found == 0)
                {
                    *found = slot;
                }
            }
            let flags = base.plus(offsets.type_object.tp_flags);
            base = reader.addr_at(flags.plus(BASE_BEHIND_FLAGS))?;
        }
        Ok(slots)
    }

    /// The position among the names of the one that stands at `name`, with a zero byte behind it.
    fn position_of(
        &self,
        reader: &mut Reader<'_>,
        name: RemoteAddr,
    ) -> Result<Option<usize>, DecodeError> {
        for (position, known) in self.names.iter().enumerate() {
            let bytes = reader.bytes(name, known.len().saturating_add(1))?;
            let text = bytes.strip_suffix(&[0]);
            if text.is_some_and(|text| text == known.as_bytes()) {
                return Ok(Some(position));
            }
        }
        Ok(None)
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
            // They have been cleared, as its destruction begins: it has no attributes any more
            // (`_PyObject_TryGetInstanceAttribute`, Objects/dictobject.c).
            return Ok(None);
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
