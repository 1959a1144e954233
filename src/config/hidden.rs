//! Secrets in lines of a configuration that are shown: what stands for them is [`HIDDEN`], as in `show`. The text may
//! be anything, so this goes by how it looks, and hides rather too much:
//!
//! - what is below `headers` and `basic_auth_users`, also if that is misspelt without its last letter,
//! - what follows a key that sounds like a secret, such as `authorization` or `api-key`,
//! - user and password in an address, words after `Bearer` or `Basic`, and bcrypt hashes.

use regex::Regex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

/// What stands for a secret.
pub(super) const HIDDEN: &str = "<hidden>";

/// A key whose values are secrets, and what follows in its line.
static SECTION: LazyLock<Regex> = LazyLock::new(|| {
    compiled(r#"(?:^|[\s{,\["'])((?:headers?|basic_auth_users?)["']?\s*:)(?:\s|$|["'{\[])"#)
});
/// A single secret, each kind in a group of its own.
static SECRETS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let of_key = concat!(
        r"(?i)(?:authorization|passw|secret|token|api[-_]?key|cookie|credential|private[-_]?key)",
        r#"[\w-]*["']?\s*:\s+(\S.*)$"#
    );
    [
        of_key,
        r"://(\S*)@",
        r"\b(?:Bearer|Basic)\s+(\S+)",
        r"(\$2[a-z]?\$\S+)",
    ]
    .map(compiled)
    .to_vec()
});

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("it is written here, and tested")
}

/// Whether the setting with this path holds a secret.
pub(super) fn is_secret(path: &str) -> bool {
    let is_key = |key: &str| matches!(key, "headers" | "basic_auth_users");
    path.split(['.', '[']).any(is_key)
}

/// The parts of lines that are hidden.
pub(super) struct HiddenParts {
    /// From which byte on lines are hidden because of the lines before, by their number from 0.
    from: BTreeMap<usize, usize>,
    /// The parts of the line that was shown last, with its number: a long line may have many problems.
    latest: Option<(usize, Vec<Range<usize>>)>,
}

/// A section of secrets that goes on.
struct Open {
    /// Spaces before its key.
    indent: usize,
    /// Spaces before the keys in it, once there was one.
    indent_within: Option<usize>,
    /// Brackets of it that are open.
    depth: usize,
}

impl HiddenParts {
    /// Those of a text.
    pub(super) fn of(text: &str) -> Self {
        let mut hidden = BTreeMap::new();
        let mut open: Option<Open> = None;
        for (number, line) in text.lines().enumerate() {
            let content = line.trim_start();
            let indent = line.len() - content.len();
            if content.is_empty() {
                continue;
            }
            open = open.filter(|open| open.depth > 0 || indent > open.indent);
            if let Some(open) = &mut open {
                hidden.insert(number, indent + open.first_hidden(indent, content));
                open.depth = depth_after(open.depth, content);
            } else if let Some(key) = SECTION.captures(line).and_then(|found| found.get(1)) {
                let rest = &line[key.end()..];
                if !content.starts_with('#') {
                    open = Some(Open {
                        indent: key.start(),
                        indent_within: None,
                        depth: depth_after(0, rest),
                    });
                }
                let value = rest.trim_start();
                if !value.is_empty() && !value.starts_with('#') {
                    hidden.insert(number, line.len() - value.len());
                }
            }
        }
        Self {
            from: hidden,
            latest: None,
        }
    }

    /// The parts of the line with this number that are hidden, by where they begin.
    fn parts(&mut self, number: usize, line: &str) -> &[Range<usize>] {
        if self.latest.as_ref().is_none_or(|(of, _)| *of != number) {
            let mut parts: Vec<Range<usize>> = Vec::new();
            let from = self.from.get(&number);
            parts.extend(from.map(|from| *from..line.trim_end().len()));
            for secret in SECRETS.iter() {
                let found = secret.captures_iter(line);
                parts.extend(found.filter_map(|found| Some(found.get(1)?.range())));
            }
            parts.retain(|part| !part.is_empty());
            parts.sort_unstable_by_key(|part| part.start);
            self.latest = Some((number, parts));
        }
        self.latest.as_ref().map_or(&[], |(_, parts)| parts)
    }

    /// The line with this number without its secrets, and where in it the character is that had the number `column`.
    pub(super) fn hide(&mut self, number: usize, line: &str, column: usize) -> (String, usize) {
        let at = line
            .char_indices()
            .nth(column)
            .map_or(line.len(), |(at, _)| at);
        let (mut shown, mut shown_to, mut column) = (String::new(), 0, column);
        for range in self.parts(number, line) {
            if range.end <= shown_to {
                continue;
            }
            let start = range.start.max(shown_to);
            shown.push_str(&line[shown_to..start]);
            let (begins, ends) = (start, range.end);
            if at >= ends {
                let n_chars = line[begins..ends].chars().count();
                column = (column + HIDDEN.len()).saturating_sub(n_chars);
            } else if at > begins {
                column = shown.chars().count();
            }
            shown.push_str(HIDDEN);
            shown_to = ends;
        }
        shown.push_str(&line[shown_to..]);
        (shown, column)
    }
}

impl Open {
    /// How much of the content of a line within is shown: the name of a header or user.
    fn first_hidden(&mut self, indent: usize, content: &str) -> usize {
        let is_key = self.depth == 0 && *self.indent_within.get_or_insert(indent) == indent;
        let key = is_key.then(|| content.find(": ")).flatten();
        key.map_or(0, |key| {
            let value = content[key + 1..].trim_start();
            content.len() - value.len()
        })
    }
}

/// How many brackets are open after `content`, at the most: those in texts count as well, as nobody knows where texts
/// end if something is wrong.
fn depth_after(depth: usize, content: &str) -> usize {
    content.chars().fold(depth, |depth, c| match c {
        '{' | '[' => depth + 1,
        '}' | ']' => depth.saturating_sub(1),
        _ => depth,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_is_shown() {
        for (text, shown) in [
            ("a: 1\n# a\n", "a: 1\n# a\n"),
            (
                "headers:\n  x-a: s\n  b: |\n    s: s\n\n    s\nprotocol: p\n",
                "headers:\n  x-a: <hidden>\n  b: <hidden>\n    <hidden>\n\n    <hidden>\nprotocol: p\n",
            ),
            (
                "  otlp: {headers: {a: s}, protocol: p}\n  a: b\n",
                "  otlp: {headers: <hidden>\n  a: b\n",
            ),
            (
                "o: {headers: {a: s,\ns: s},\nb: c}\n",
                "o: {headers: <hidden>\n<hidden>\nb: c}\n",
            ),
            ("header:\n  a: 's'\n", "header:\n  a: <hidden>\n"),
            ("headers:\n  a:b\n", "headers:\n  <hidden>\n"),
            ("headers_file:\n  a: f\n", "headers_file:\n  a: f\n"),
            (
                "basic_auth_users:\n  eva: s # s\n",
                "basic_auth_users:\n  eva: <hidden>\n",
            ),
            ("eva: $2y$10$abc/.x d\n", "eva: <hidden> d\n"),
            (
                "endpoint: http://eva:s@x@host:1/p\n",
                "endpoint: http://<hidden>@host:1/p\n",
            ),
            ("X-Api-Key: s s\n", "X-Api-Key: <hidden>\n"),
            ("x: Bearer s y\n", "x: Bearer <hidden> y\n"),
            (
                "\"Authorization\" : 's'\n",
                "\"Authorization\" : <hidden>\n",
            ),
        ] {
            let mut hidden = HiddenParts::of(text);
            let lines = text.lines().enumerate();
            let lines: String = lines
                .map(|(number, line)| hidden.hide(number, line, 0).0 + "\n")
                .collect();
            assert_eq!(lines, shown, "{text}");
        }
    }

    #[test]
    fn the_place_stays_or_is_where_hidden_text_begins() {
        let mut hidden = HiddenParts::of("");
        let mut column = |column| hidden.hide(0, "é: http://ü:secret@host: x", column).1;
        for (before, after) in [(0, 0), (10, 10), (12, 10), (17, 10), (18, 18), (25, 25)] {
            assert_eq!(column(before), after, "{before}");
        }
        let mut hidden = HiddenParts::of("");
        let mut column = |column| hidden.hide(0, "a://s@b", column).1;
        for (before, after) in [(4, 4), (5, 12), (6, 13), (7, 14)] {
            assert_eq!(column(before), after, "{before}");
        }
    }
}
