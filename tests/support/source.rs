//! A Rust source file as the architecture test sees it: its code without comments and texts, and
//! the paths it names. No parser: it knows just enough of Rust's surface.
#![allow(missing_docs, unreachable_pub)]

/// A path that a source names, such as `crate::graph::Frame`.
#[derive(Debug)]
pub struct NamedPath {
    /// The path, with `super::` that leaves the module written as `crate::`.
    pub text: String,
    /// File and line.
    pub at: String,
    /// Inside the file's unit tests.
    pub in_tests: bool,
}

/// One file.
#[derive(Debug)]
pub struct Source {
    /// Its path from the root of the repository.
    pub shown: String,
    /// Its text, with comments and the contents of literals blanked out.
    pub code: String,
    /// Its number of lines.
    pub n_lines: usize,
}

impl Source {
    pub fn parse(shown: String, text: &str) -> Self {
        Self {
            shown,
            code: blank_comments_and_literals(text),
            n_lines: text.lines().count(),
        }
    }

    /// The top-level module the file belongs to.
    pub fn module(&self) -> &str {
        let below = self.shown.trim_start_matches("src/");
        below.split(['/', '.']).next().unwrap_or(below)
    }

    /// How many modules deep the file is: `src/graph/mod.rs` is at 1, `src/graph/cycle.rs` at 2.
    fn depth(&self) -> usize {
        let parts = self.shown.trim_start_matches("src/").split('/').count();
        if self.shown.ends_with("/mod.rs") {
            parts - 1
        } else {
            parts
        }
    }

    /// Where the file's unit tests begin: they come last.
    fn tests_from(&self) -> usize {
        if self.shown.ends_with("/tests.rs") || self.shown.contains("/tests/") {
            return 0;
        }
        self.code
            .match_indices("#[cfg(test)]")
            .find(|(at, found)| {
                let after = self.code[at + found.len()..].trim_start();
                after.starts_with("mod ") && after.find(['{', ';']) == after.find('{')
            })
            .map_or(self.code.len(), |(at, _)| at)
    }

    /// Every path that the code names, imports written out one by one.
    pub fn paths(&self) -> Vec<NamedPath> {
        let tests_from = self.tests_from();
        let bytes = self.code.as_bytes();
        let mut found = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            if !is_word(bytes[at]) {
                at += 1;
                continue;
            }
            let start = at;
            let mut paths = Vec::new();
            at = read_tree(&self.code, at, "", &mut paths);
            let in_tests = start > tests_from;
            let line = self.code[..start].matches('\n').count() + 1;
            for path in paths {
                if let Some(text) = self.seen_from_root(path, in_tests) {
                    let at = format!("{}:{line}", self.shown);
                    found.push(NamedPath { text, at, in_tests });
                }
            }
        }
        found
    }

    /// The path as seen from the crate's root; `None` for one that stays inside the module.
    fn seen_from_root(&self, path: String, in_tests: bool) -> Option<String> {
        let n_supers = path.split("::").take_while(|part| *part == "super").count();
        if n_supers == 0 {
            return path.contains("::").then_some(path);
        }
        // In `mod tests` one more `super` leads to the file itself.
        if n_supers < self.depth() + usize::from(in_tests) {
            return None;
        }
        let rest: Vec<&str> = path.split("::").skip(n_supers).collect();
        (rest != ["*"]).then(|| format!("crate::{}", rest.join("::")))
    }
}

/// Whether `path` is `prefix` or lies below it.
pub fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Reads a path or a tree of paths such as `a::{b, c::{d, e}}`; returns where it ends.
fn read_tree(code: &str, mut at: usize, prefix: &str, paths: &mut Vec<String>) -> usize {
    let bytes = code.as_bytes();
    let mut path = prefix.to_owned();
    loop {
        let start = at;
        while at < bytes.len() && (is_word(bytes[at]) || bytes[at] == b'*') {
            at += 1;
        }
        path.push_str(&code[start..at]);
        if !code[at..].starts_with("::") {
            paths.push(path);
            return at;
        }
        at += 2;
        path.push_str("::");
        if bytes.get(at) == Some(&b'{') {
            return read_group(code, at + 1, &path, paths);
        }
        if !bytes
            .get(at)
            .is_some_and(|byte| is_word(*byte) || *byte == b'*')
        {
            // `Vec::<u8>` and the like.
            paths.push(path.trim_end_matches(':').to_owned());
            return at;
        }
    }
}

fn read_group(code: &str, mut at: usize, prefix: &str, paths: &mut Vec<String>) -> usize {
    let bytes = code.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'}' => return at + 1,
            byte if is_word(byte) || byte == b'*' => {
                at = read_tree(code, at, prefix, paths);
                // A new name, if there is one, is not a path.
                if code[at..].trim_start().starts_with("as ") {
                    at += code[at..].find([',', '}']).unwrap_or(1);
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The text with comments, strings and characters replaced by blanks; lines stay where they are.
fn blank_comments_and_literals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = skip_length(rest, out.chars().next_back());
        if skipped == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let blanked = rest[..skipped].chars();
            out.extend(blanked.map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[skipped..];
        }
    }
    out
}

/// The length of the comment or literal that `rest` begins with; 0 if it begins with code.
fn skip_length(rest: &str, before: Option<char>) -> usize {
    let bytes = rest.as_bytes();
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        rest.find("*/").map_or(rest.len(), |end| end + 2)
    } else if bytes[0] == b'"' {
        escaped_length(rest, b'"')
    } else if bytes[0] == b'\'' {
        // A character, and not a lifetime: an escape, or one character and a quote.
        let one = rest[1..].chars().next().map_or(0, char::len_utf8);
        let is_character = bytes.get(1) == Some(&b'\\') || bytes.get(1 + one) == Some(&b'\'');
        if is_character {
            escaped_length(rest, b'\'')
        } else {
            0
        }
    } else if !in_word && (rest.starts_with("r\"") || rest.starts_with("r#")) {
        let n_hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
        if bytes.get(1 + n_hashes) != Some(&b'"') {
            return 0;
        }
        let closing = format!("\"{}", "#".repeat(n_hashes));
        let open = 2 + n_hashes;
        rest[open..]
            .find(&closing)
            .map_or(rest.len(), |end| open + end + closing.len())
    } else {
        0
    }
}

fn escaped_length(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[test]
fn paths_are_found_through_groups_comments_and_literals() {
    let text = r##"
use crate::{ids::{Pid, Tid as T}, graph};
// use crate::cli;
use super::super::render;
fn f<'a>(x: &'a str) { std::fs::read("crate::agent"); let c = '"'; nix::x(); Vec::<u8>::new() }
const R: &str = r#"tokio::spawn"#;
#[cfg(test)]
mod tests { use super::super::cpython; }
"##;
    let source = Source::parse("src/process/x.rs".to_owned(), text);
    let found: Vec<String> = source.paths().into_iter().map(|path| path.text).collect();
    assert_eq!(
        found,
        [
            "crate::ids::Pid",
            "crate::ids::Tid",
            "crate::graph",
            "crate::render",
            "std::fs::read",
            "nix::x"
        ]
    );
}
