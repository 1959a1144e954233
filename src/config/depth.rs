//! How deep lists and maps in brackets stand within one another, before the parser sees them: for each bracket it
//! looks at all that are open, so that its time grows with the product.
//!
//! This knows of YAML just what tells a bracket from one in a text (YAML 1.2.2, chapters 6 and 7): quotes, comments,
//! and that a text without quotes may hold brackets unless it is in brackets itself. In a text of several lines it
//! may be mistaken by some brackets, which is why what is allowed is many more than any configuration has.

/// Lists and maps in brackets within one another.
pub(super) const DEPTH_MAX: usize = 100;

/// What the next character is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    Comment,
    SingleQuotes,
    DoubleQuotes,
    /// A tag or an anchor.
    Word,
}

/// Where the first bracket stands that is one too deep, in bytes.
pub(super) fn find_too_deep(text: &str) -> Option<usize> {
    let mut within = Within::Nothing;
    let mut depth: usize = 0;
    // A value may begin here; nothing but blanks were in this line.
    let (mut begins, mut is_line_new) = (true, true);
    let mut before = b'\n';
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        let next = bytes.peek().map_or(b'\n', |(_, next)| *next);
        let was_line_new = is_line_new;
        is_line_new = byte == b'\n' || was_line_new && is_blank(byte);
        match (within, byte) {
            (Within::Comment, b'\n') => (within, begins) = (Within::Nothing, true),
            (Within::Word, _) if is_blank(byte) => within = Within::Nothing,
            (Within::SingleQuotes, b'\'') if next == b'\'' => drop(bytes.next()),
            (Within::DoubleQuotes, b'\\') => drop(bytes.next()),
            (Within::SingleQuotes, b'\'') | (Within::DoubleQuotes, b'"') => {
                within = Within::Nothing;
            }
            (Within::Nothing, b'\n') => begins = true,
            (Within::Nothing, _) if is_blank(byte) => {}
            (Within::Nothing, b'#') if is_blank(before) => within = Within::Comment,
            (Within::Nothing, b'[' | b'{') if begins || depth > 0 => {
                depth += 1;
                begins = true;
                if depth > DEPTH_MAX {
                    return Some(at);
                }
            }
            (Within::Nothing, b']' | b'}') if depth > 0 => (depth, begins) = (depth - 1, false),
            (Within::Nothing, b',') if depth > 0 => begins = true,
            (Within::Nothing, b'\'') if begins => (within, begins) = (Within::SingleQuotes, false),
            (Within::Nothing, b'"') if begins => (within, begins) = (Within::DoubleQuotes, false),
            (Within::Nothing, b'!' | b'&') if begins => within = Within::Word,
            // An entry of a list without brackets: none can be open, or the parser stops here.
            (Within::Nothing, b'-') if was_line_new && is_blank(next) => depth = 0,
            (Within::Nothing, b'-' | b'?') if begins && is_blank(next) => {}
            (Within::Nothing, b':') if is_blank(next) => begins = true,
            (Within::Nothing, _) => begins = false,
            _ => {}
        }
        before = byte;
    }
    None
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_within_one_another_are_counted() {
        for (open, n_open, close) in [
            ("[", 1, "]"),
            ("{a: ", 1, "}"),
            ("[\n", 1, "]"),
            ("[a, {b: ", 2, "}]"),
            ("- - [", 1, "]"),
            ("!t &a [", 1, "]"),
            ("['[', \"\\\"[\", x # [\n, [", 2, "]]"),
        ] {
            let deep = |n: usize| open.repeat(n) + &close.repeat(n);
            let fits = DEPTH_MAX / n_open;
            assert_eq!(find_too_deep(&deep(fits)), None, "{open:?}");
            let found = find_too_deep(&deep(fits + 1));
            assert!(
                found.is_some_and(|at| at <= (fits + 1) * open.len()),
                "{open:?}"
            );
            // One after the other they are not deep.
            assert_eq!(
                find_too_deep(&format!("- {}\n", deep(fits)).repeat(50)),
                None
            );
        }
    }

    #[test]
    fn brackets_in_texts_are_not() {
        for line in [
            "- command: 'it''s ([{'\n",
            "- command: \"\\\"([{\"\n",
            "- command: ^python.*[[{([\n",
            "- command: don't [\n",
            "- {name: a, match: {command: '[['}} # [[[\n",
            "- {name: it's, match: {command: \"{\"}}\n",
            "# [[[\n",
            "a-[: b[{\n",
        ] {
            assert_eq!(find_too_deep(&line.repeat(500)), None, "{line}");
        }
    }
}
