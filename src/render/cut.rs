//! What our own style leaves out of a text that is too long for a line, and what it keeps of what it made
//! for a view. Names, functions and files may have 16 384 characters each, and stand in a line for each task
//! or await.

use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::hash::Hash;

/// Characters of a name, a function or a file that are shown.
const CHARS_MAX: usize = 200;
/// Bytes of texts that a [`Cache`] keeps.
const CACHE_BYTES_MAX: usize = 16 << 20;

/// Whether [`start`] or [`end`] cuts.
pub(super) fn is_long(text: &str) -> bool {
    text.len() > CHARS_MAX && text.chars().nth(CHARS_MAX).is_some()
}

/// The beginning of a name or a function.
pub(super) fn start(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// The end of a path, which tells more than its beginning.
pub(super) fn end(text: &str) -> Cow<'_, str> {
    if !is_long(text) {
        return Cow::Borrowed(text);
    }
    let first = text.char_indices().nth_back(CHARS_MAX - 1);
    Cow::Owned(format!("…{}", &text[first.map_or(0, |(at, _)| at)..]))
}

/// Texts that most lines share, so that they are made once; forgotten when they are too many to be kept.
pub(super) struct Cache<K, V> {
    made: FxHashMap<K, V>,
    n_bytes: usize,
}

impl<K: Eq + Hash, V: AsRef<str> + Clone> Cache<K, V> {
    pub(super) fn new() -> Self {
        Self {
            made: FxHashMap::default(),
            n_bytes: 0,
        }
    }

    /// What `make` gives for `key`.
    pub(super) fn get(&mut self, key: K, make: impl FnOnce() -> V) -> V {
        if let Some(known) = self.made.get(&key) {
            return known.clone();
        }
        let made = make();
        if self.n_bytes > CACHE_BYTES_MAX {
            self.made.clear();
            self.n_bytes = 0;
        }
        self.n_bytes += size_of::<(K, V)>() + made.as_ref().len();
        self.made.insert(key, made.clone());
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn what_fits_is_whole() {
        for text in ["", "main", &"é".repeat(CHARS_MAX)] {
            assert!(!is_long(text));
            assert_eq!((&*start(text), &*end(text)), (text, text));
        }
        let long = format!("a{}z", "é".repeat(CHARS_MAX));
        assert!(is_long(&long));
        assert_eq!(*start(&long), format!("a{}…", "é".repeat(CHARS_MAX - 1)));
        assert_eq!(*end(&long), format!("…{}z", "é".repeat(CHARS_MAX - 1)));
    }

    #[test]
    fn a_cache_does_not_grow_on() {
        let mut cache: Cache<usize, Rc<str>> = Cache::new();
        let text: Rc<str> = "x".repeat(1 << 20).into();
        for key in 0..100 {
            assert_eq!(cache.get(key, || text.clone()), text);
            assert_eq!(cache.get(key, || panic!("kept")), text);
            assert!(cache.made.len() <= 17);
        }
    }
}
