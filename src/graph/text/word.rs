//! Words of the graph language: splitting a line into them, and quoting.

use std::fmt::Write as _;

/// One word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// What it says, without quotes and escapes.
    pub(super) text: String,
    /// It was (in part) quoted.
    pub(super) is_quoted: bool,
    /// The line number after a file, if there is one: `FILE:LINE`.
    pub(super) line: Option<u32>,
    /// `~` or `^` before it.
    pub(super) mark: Option<char>,
}

impl Word {
    /// Whether it is this word of the language and not a name.
    pub(super) fn is(&self, keyword: &str) -> bool {
        !self.is_quoted && self.mark.is_none() && self.line.is_none() && self.text == keyword
    }
}

/// Splits a line into words. Commas are words of their own, a comment ends the line.
pub(super) fn split(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '#' && !rest.starts_with("#0x") {
            break;
        }
        if first == ',' {
            words.push(plain(",", None));
            rest = rest[1..].trim_start();
            continue;
        }
        let mark = matches!(first, '~' | '+' | '!' | '^').then_some(first);
        let body = &rest[usize::from(mark.is_some())..];
        rest = if body.starts_with('"') {
            let (text, after) = unquote(body)?;
            let end = bare_len(after);
            let line = match after[..end].strip_prefix(':') {
                Some(digits) => Some(number(digits)?),
                None if end == 0 => None,
                None => return Err(format!("not understood: {}", &after[..end])),
            };
            words.push(Word {
                text,
                is_quoted: true,
                line,
                mark,
            });
            &after[end..]
        } else {
            let end = bare_len(body);
            words.push(plain(&body[..end], mark));
            &body[end..]
        }
        .trim_start();
    }
    Ok(words)
}

fn bare_len(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || c == ',')
        .unwrap_or(text.len())
}

fn plain(word: &str, mark: Option<char>) -> Word {
    let (text, line) = match word.rsplit_once(':') {
        Some((file, digits)) if !file.is_empty() => match number(digits) {
            Ok(line) => (file, Some(line)),
            Err(_) => (word, None),
        },
        _ => (word, None),
    };
    Word {
        text: text.into(),
        is_quoted: false,
        line,
        mark,
    }
}

fn number(digits: &str) -> Result<u32, String> {
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits
        .parse()
        .ok()
        .filter(|_| is_plain)
        .ok_or_else(|| format!("not a number: {digits}"))
}

/// The content of the quoted word at the beginning of `text`, and what follows it.
fn unquote(text: &str) -> Result<(String, &str), String> {
    let mut content = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '"' {
            return Ok((content, &text[at + 1..]));
        }
        if c != '\\' {
            content.push(c);
            continue;
        }
        content.push(match chars.next().map(|(_, c)| c) {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let hex: String = chars
                    .by_ref()
                    .map(|(_, c)| c)
                    .take_while(|c| *c != '}')
                    .filter(|c| *c != '{')
                    .collect();
                u32::from_str_radix(&hex, 16)
                    .ok()
                    .and_then(char::from_u32)
                    .ok_or_else(|| format!("not a character: {hex}"))?
            }
            Some(c @ ('"' | '\\')) => c,
            _ => return Err("not an escape".into()),
        });
    }
    Err("a quote is never closed".into())
}

/// Writes `text` so that it reads back as one word, quoted if it must be or `must_quote` says so.
pub(super) fn write_word(into: &mut String, text: &str, must_quote: bool) {
    let is_plain = !must_quote
        && !text.is_empty()
        && !text.starts_with(['#', '"', '~', '+', '!', '^', '<', '@', ':', '-', '?'])
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || ",\"\\".contains(c))
        && plain(text, None).line.is_none();
    if is_plain {
        into.push_str(text);
        return;
    }
    into.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => into.extend(['\\', c]),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                let _ = write!(into, "\\u{{{:x}}}", u32::from(c));
            }
            c => into.push(c),
        }
    }
    into.push('"');
}
