//! Foreign text made safe to show: characters that move the cursor, hide or reorder text become
//! visible escapes in Python's notation. It owns what is escaped, not where.
//!
//! A backslash stays as it is: the escapes are for reading, not for reading back.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with its control characters, line separators, bidirectional controls and other invisible
/// format characters written as escapes such as `\n`, `\x1b`, `\u202e`.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    push(&mut escaped, text);
    Cow::Owned(escaped)
}

/// The first `chars_max` characters of `text`, escaped, with `…` in place of what was cut.
pub fn escape_start(text: &str, chars_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        None => escape(text),
        Some((end, _)) => {
            const CUT: char = '…';
            // Not more than it takes: there can be many of them.
            let mut start = String::with_capacity(end + CUT.len_utf8());
            push(&mut start, &text[..end]);
            start.push(CUT);
            Cow::Owned(start)
        }
    }
}

/// Appends `text` to `into` as [`escape`] would write it.
pub fn push(into: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            c if is_unsafe(c) => push_code(into, u32::from(c)),
            c => into.push(c),
        }
    }
}

fn push_code(into: &mut String, code: u32) {
    let written = match code {
        0..=0xff => write!(into, "\\x{code:02x}"),
        0x100..=0xffff => write!(into, "\\u{code:04x}"),
        _ => write!(into, "\\U{code:08x}"),
    };
    written.expect("writing to a String does not fail");
}

/// Whether `c` moves the cursor, hides or reorders text.
///
/// Zero width joiner and non-joiner and the variation selectors are left alone: emoji and several
/// scripts need them.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'                      // soft hyphen: shown or not, as the terminal likes
            | '\u{61c}'                   // Arabic letter mark
            | '\u{180e}'                  // Mongolian vowel separator
            | '\u{200b}'                  // zero width space
            | '\u{200e}' | '\u{200f}'     // left-to-right and right-to-left mark
            | '\u{2028}'..='\u{202e}'     // line, paragraph separator; embeddings and overrides
            | '\u{2060}'..='\u{206f}'     // word joiner, invisible operators, isolates
            | '\u{feff}'                  // byte order mark
            | '\u{fff9}'..='\u{fffb}'     // interlinear annotation
            | '\u{e0000}'..='\u{e007f}') // tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        assert_eq!(
            escape("a\nb\t\x1b[31m\x7f\u{9b}\u{202e}x\u{e0041}"),
            "a\\nb\\t\\x1b[31m\\x7f\\x9b\\u202ex\\U000e0041"
        );
    }

    #[test]
    fn long_text_is_cut_before_it_is_escaped() {
        assert_eq!(escape_start("中\n文", 2), "中\\n…");
        assert!(matches!(escape_start("中文", 2), Cow::Borrowed("中文")));
        assert_eq!(escape_start("x", 0), "…");
    }

    #[test]
    fn what_can_be_seen_stays() {
        for text in ["", "héllo 中文 🎵 👩‍👩‍👧 ❤️", r"C:\n"] {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
        }
    }
}
