//! Tags of YAML (YAML 1.2.2, chapter 6.8.1), as far as the parser keeps them to itself: it tells of `!word`, but takes
//! `!!word` and `!<word>` for what they stand before, whatever the word. Those are made plain here, in a copy in which
//! everything else stays in place, for the parser to find those that are none of a text or a comment.

/// The words of tags that say of a value what it is anyway (YAML 1.2.2, chapter 10.3).
const KINDS: [&str; 7] = ["str", "int", "float", "bool", "null", "map", "seq"];

/// The text with all tags plain; `None` if nothing looks like one that is not.
pub(super) fn with_plain_tags(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    let mut has_changed = false;
    while let Some(at) = rest.find('!') {
        let (before, tag) = rest.split_at(at);
        plain.push_str(before);
        let end = tag.find(char::is_whitespace).unwrap_or(tag.len());
        let is_kind = |word: &str| KINDS.contains(&word.trim_end_matches([',', ']', '}']));
        let length = match tag.as_bytes().get(1) {
            Some(b'!') if !is_kind(&tag[2..end]) => 2,
            Some(b'<') => tag[..end].find('>').map_or(1, |at| at + 1),
            // What follows may be a tag again.
            _ => 1,
        };
        plain.push('!');
        plain.extend(std::iter::repeat_n('_', length - 1));
        has_changed |= length > 1;
        rest = &tag[length..];
    }
    plain.push_str(rest);
    has_changed.then_some(plain)
}

/// The line, from 1, in which a directive says what tags stand for: before the document.
pub(super) fn has_tag_directive(text: &str) -> Option<usize> {
    let mut lines = text.lines().enumerate();
    let (at, _) = lines
        .by_ref()
        .take_while(|(_, line)| !line.starts_with("---"))
        .find(|(_, line)| line.starts_with("%TAG"))?;
    Some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_plain_and_nothing_moves() {
        for (text, plain) in [
            (
                "a: !!python/object:os.system x",
                Some("a: !_python/object:os.system x"),
            ),
            ("a: !<tag:x,y> b > c", Some("a: !_________ b > c")),
            (
                "a: !!set {!!str b, !!int}",
                Some("a: !_set {!!str b, !!int}"),
            ),
            ("!!!x", Some("!_!x")),
            ("a: !x '!!str'", Some("a: !x '!_str'")),
            ("a: !!str b!", None),
            ("!< no end\n>", None),
            ("", None),
        ] {
            assert_eq!(with_plain_tags(text).as_deref(), plain, "{text}");
            assert!(
                plain.is_none_or(|plain| plain.len() == text.len()),
                "{text}"
            );
        }
        assert_eq!(has_tag_directive("# x\n%TAG ! tag:x,\n---\n"), Some(2));
        assert_eq!(has_tag_directive("---\na: |\n%TAG\n"), None);
    }
}
