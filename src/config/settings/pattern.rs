//! Patterns of a configuration: regular expressions and globs. Both are matched in time linear in the
//! text, whatever they are, and take a bounded amount of memory.

use regex::bytes::{Captures, Regex, RegexBuilder};

/// A regular expression that is looked for in a command line (the arguments, joined by spaces).
#[derive(Debug, Clone)]
pub struct CommandPattern(Regex);

impl CommandPattern {
    /// Compiles the expression into at most `bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// The regex crate's error, which shows the place in the expression.
    pub fn new(expression: &str, bytes_max: usize) -> Result<Self, regex::Error> {
        let mut builder = RegexBuilder::new(expression);
        builder.size_limit(bytes_max).build().map(Self)
    }

    /// Whether it is found in `command_line`.
    pub fn is_match(&self, command_line: &[u8]) -> bool {
        self.0.is_match(command_line)
    }

    /// What its groups match in `command_line`.
    pub fn captures<'c>(&self, command_line: &'c [u8]) -> Option<Captures<'c>> {
        self.0.captures(command_line)
    }

    /// Whether it has a group of this name or number.
    pub fn has_group(&self, name: &str) -> bool {
        match name.parse::<usize>() {
            Ok(number) => number < self.0.captures_len(),
            Err(_) => self.0.capture_names().flatten().any(|group| group == name),
        }
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for CommandPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for CommandPattern {}

/// A pattern that a whole text must match: `*` stands for any characters, `?` for one, `[a-z]` for one
/// of these and `[!a-z]` for one of the others. Anything else, a backslash too, is itself.
#[derive(Debug, Clone)]
pub struct Glob {
    text: String,
    regex: Regex,
}

/// What `*` does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Star {
    /// Nothing: for names.
    Anything,
    /// A slash, which only `**` matches: for paths.
    WithinPart,
}

/// Why a text is no glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// A `[` has no `]`.
    #[error("`[` without a `]`")]
    Unclosed,
    /// What stands between brackets is no set of characters, such as `[z-a]`.
    #[error("what is in [] is no set of characters")]
    BadSet,
    /// It takes too much memory.
    #[error("takes too much memory")]
    TooBig,
}

impl Glob {
    /// Compiles the pattern into at most `bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// When it is none, or takes more memory.
    pub fn new(text: &str, star: Star, bytes_max: usize) -> Result<Self, GlobError> {
        let mut builder = RegexBuilder::new(&expression_of(text, star)?);
        let regex = builder.size_limit(bytes_max).build();
        let regex = regex.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => GlobError::TooBig,
            _ => GlobError::BadSet,
        })?;
        let text = text.to_owned();
        Ok(Self { text, regex })
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Eq for Glob {}

/// The regular expression that a glob stands for.
fn expression_of(text: &str, star: Star) -> Result<String, GlobError> {
    // `.` is any character; bytes that are no UTF-8 match `*` only.
    let mut expression = r"(?s)\A".to_owned();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = after;
        match c {
            '*' if star == Star::Anything => expression.push_str("(?-u:.)*"),
            '*' if after.starts_with('*') => {
                rest = &after[1..];
                expression.push_str("(?-u:.)*");
            }
            '*' => expression.push_str("(?-u:[^/])*"),
            '?' if star == Star::Anything => expression.push('.'),
            '?' => expression.push_str("[^/]"),
            '[' => rest = push_set(&mut expression, after)?,
            c => expression.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    expression.push_str(r"\z");
    Ok(expression)
}

/// Appends the set that begins after a `[`; returns what follows its `]`.
fn push_set<'t>(expression: &mut String, text: &'t str) -> Result<&'t str, GlobError> {
    let (negation, set) = match text.strip_prefix('!') {
        Some(set) => ("^", set),
        None => ("", text),
    };
    // A `]` that comes first stands for itself, as in the shell.
    let first = set.chars().next().map_or(0, char::len_utf8);
    let end = set.get(first..).and_then(|rest| rest.find(']'));
    let end = first + end.ok_or(GlobError::Unclosed)?;
    expression.push('[');
    expression.push_str(negation);
    for c in set[..end].chars() {
        if !(c.is_alphanumeric() || c == '-') {
            expression.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
        } else {
            expression.push(c);
        }
    }
    expression.push(']');
    Ok(&set[end + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(glob: &str, star: Star, text: &str) -> bool {
        let glob = Glob::new(glob, star, 1 << 20).unwrap();
        glob.is_match(text.as_bytes())
    }

    #[test]
    fn globs_match_as_in_a_shell() {
        for (glob, text, in_names, in_paths) in [
            ("", "", true, true),
            ("a", "ab", false, false),
            ("*", "", true, true),
            ("*", "a/b\nc", true, false),
            ("**", "a/b", true, true),
            ("/a/*/c", "/a/b/c", true, true),
            ("/a/*", "/a/b/c", true, false),
            ("/a/**", "/a/b/c", true, true),
            ("?", "é", true, true),
            ("?", "/", true, false),
            ("a.b+(c)", "a.b+(c)", true, true),
            ("a.b", "axb", false, false),
            (r"a\x2db@*.service", r"a\x2db@1.service", true, true),
            ("[a-c]x", "bx", true, true),
            ("[!a-c]x", "bx", false, false),
            ("[!a-c]x", "dx", true, true),
            ("[]]", "]", true, true),
            ("[^&]", "^", true, true),
            ("[[:alpha:]]", ":]", true, true),
            ("[*]", "a", false, false),
        ] {
            assert_eq!(is_match(glob, Star::Anything, text), in_names, "{glob}");
            assert_eq!(is_match(glob, Star::WithinPart, text), in_paths, "{glob}");
        }
        assert!(
            Glob::new("a*", Star::WithinPart, 1 << 20)
                .unwrap()
                .is_match(b"a\xff")
        );
    }

    #[test]
    fn what_is_no_glob() {
        let error = |glob| Glob::new(glob, Star::Anything, 1 << 20).unwrap_err();
        assert_eq!(error("a[b"), GlobError::Unclosed);
        assert_eq!(error("[]"), GlobError::Unclosed);
        assert_eq!(error("[z-a]"), GlobError::BadSet);
        assert_eq!(error(&"?".repeat(100_000)), GlobError::TooBig);
    }
}
