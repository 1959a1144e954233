//! The agent's own log: lines of `time level message key=value…` on stderr.
//!
//! What is logged is a change of state, never a round. Names and errors that are logged can be of processes
//! that want to be taken for somebody else: however a value looks, it can neither end its line nor begin
//! another field. Messages are texts of ours; what is not goes into a field.

use super::args::LogLevel;
use crate::sanitize::{escape, is_unsafe};
use std::fmt::{self, Write as _};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Starts logging. Does nothing if the program logs already.
pub(super) fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .fmt_fields(Fields)
        .try_init();
}

/// Writes fields as `key=value`. Texts are quoted, as in JSON; other values if they would be ambiguous
/// without quotes.
#[derive(Debug)]
struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line {
            writer,
            is_empty: true,
            result: Ok(()),
        };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    is_empty: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn push(&mut self, field: &Field, value: &str) {
        if self.result.is_ok() {
            self.result = self.write(field, value);
        }
    }

    fn write(&mut self, field: &Field, value: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_empty) {
            self.writer.write_char(' ')?;
        }
        match field.name() {
            "message" => self.writer.write_str(value),
            name => write!(self.writer, "{name}={value}"),
        }
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.push(field, &escape(value)),
            _ => self.push(field, &quoted(value)),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        if field.name() == "message" {
            self.push(field, &escape(&value));
        } else if is_plain(&value) {
            self.push(field, &value);
        } else {
            self.push(field, &quoted(&value));
        }
    }
}

/// Whether a value ends where it seems to, and is no quoted one.
fn is_plain(value: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !is_unsafe(c) && !"=\"\\".contains(c);
    !value.is_empty() && value.chars().all(is_plain)
}

/// A string of JSON (RFC 8259, 7) with nothing in it that moves the cursor, hides or reorders text.
fn quoted(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if is_unsafe(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String does not fail.
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    /// What `log` logs, without the time.
    fn logged(log: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Log(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Log {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let log_of_test = Log::default();
        let writer = log_of_test.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .fmt_fields(Fields)
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = log_of_test.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn values_forge_neither_fields_nor_lines() {
        let name = "a\" pid=1 kind=\"x\\\n2026 ERROR gone\r\u{1b}[2J\u{202e}\u{e0041}";
        let expected =
            "\"a\\\" pid=1 kind=\\\"x\\\\\\n2026 ERROR gone\\r\\u001b[2J\\u202e\\udb40\\udc41\"";
        let text = logged(|| tracing::warn!(name, "found"));
        assert_eq!(text, format!(" WARN found name={expected}\n"));
        let shown = logged(|| tracing::warn!(%name, path = %"a -> b", "found"));
        assert_eq!(
            shown,
            format!(" WARN found name={expected} path=\"a -> b\"\n")
        );
        let read = serde_json::from_str::<String>(expected).unwrap();
        assert_eq!(read, name);
        let message = logged(|| tracing::error!("{name}"));
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(!message.contains('\u{1b}'), "{message}");
    }

    #[test]
    fn what_is_not_ambiguous_needs_no_quotes() {
        let text = logged(|| {
            let (address, nothing) = (std::net::Ipv6Addr::LOCALHOST, None::<u32>);
            tracing::info!(%address, n = 7, path = %"", text = "x", is = true, nothing, "on");
        });
        assert_eq!(
            text,
            " INFO on address=::1 n=7 path=\"\" text=\"x\" is=true\n"
        );
    }
}
