//! How many columns of a terminal a text takes, and padding to a number of them.

use unicode_width::UnicodeWidthStr;

/// The columns that `text` takes. It must have been escaped.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// Appends spaces after a text of `used` columns up to `width`.
pub(super) fn pad(into: &mut String, used: usize, width: usize) {
    into.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
}
