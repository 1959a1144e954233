//! The agent's own log on stderr, a line for each event: logfmt, or JSON (RFC 8259). Both begin with `time`,
//! `level` and `msg`; then come the fields.
//!
//! What is logged is a change of state, never a round. Names and errors that are logged can be of processes
//! that want to be taken for somebody else: however a value looks, it can neither end its line nor begin
//! another field. Messages are texts of ours; what is not goes into a field, of which a bounded part is shown.

use super::args::{LogFormat, LogLevel, complain};
use super::log_buffer::{LogBuffer, Lost};
use super::threads::starting_threads;
use crate::sanitize::{escape, is_unsafe};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Write as _};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Counts the lines that were lost, once logging has started.
static LOST: OnceLock<Lost> = OnceLock::new();
/// How the log is written, once logging is to start.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();
/// Bytes of a value as it is written, escapes and all.
const VALUE_BYTES_MAX: usize = 4_096;
/// The same of lines of level `error`: what is wrong with a configuration, or a stack of the agent itself.
const ERROR_BYTES_MAX: usize = 65_536;

/// Starts logging, until what it gives is dropped, which writes what waits within a second. Does nothing if the
/// program logs already.
///
/// A thread of its own writes: whoever reads the log may stand still, and the disk may be full. Lines are lost then,
/// and the agent goes on.
pub(super) fn start(level: LogLevel, format: LogFormat) -> WorkerGuard {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let _ = FORMAT.set(format);
    let (lines, guard) = starting_threads(|| LogBuffer::start(std::io::stderr()));
    let lost = lines.lost();
    let started = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(lines)
        .log_internal_errors(false)
        .event_format(Lines { format })
        .finish()
        // What the SDK has to say of its work is heard where it is asked to do it.
        .with(filter_fn(|event| {
            !event.target().starts_with("opentelemetry")
        }))
        .try_init();
    if started.is_ok() {
        let _ = LOST.set(lost);
        std::panic::set_hook(Box::new(log_panic));
    }
    guard
}

/// Says why the program ends now, without a thread of its own: as a line of the log if that is JSON, else as programs do.
pub(super) fn say_at_once(why: &str, hint: Option<&'static str>) {
    if FORMAT.get() == Some(&LogFormat::Json) {
        let format = LogFormat::Json;
        let direct = tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .event_format(Lines { format })
            .finish();
        return tracing::subscriber::with_default(direct, || {
            tracing::error!(error = why, hint, "the agent cannot run");
        });
    }
    complain(&format!("asyncio-agent: {}", escape(why)));
    if let Some(hint) = hint {
        complain(&format!("  hint: {hint}"));
    }
}

/// How many lines were lost since the start.
pub(super) fn lines_lost() -> u64 {
    LOST.get().map_or(0, Lost::count)
}

/// How many bytes of a line this text takes as a value.
pub(super) fn written_bytes(value: &str) -> usize {
    quoted(value, VALUE_BYTES_MAX).len()
}

/// What a panic says.
pub(super) fn text_of<'p>(panic: &'p PanicHookInfo<'_>) -> Option<&'p str> {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// A panic is a line like all others, whatever it says.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let text = text_of(panic);
    let location = panic.location().map(ToString::to_string);
    // It is made only if RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let is_made = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = is_made.then(|| backtrace.to_string());
    tracing::error!(panic = text, location, backtrace, "panicked");
}

/// Writes events as lines.
#[derive(Debug)]
struct Lines {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let line = line(self.format, &time, event);
        writer.write_str(&line)
    }
}

fn line(format: LogFormat, time: &str, event: &Event<'_>) -> String {
    let bytes_max = match *event.metadata().level() {
        Level::ERROR => ERROR_BYTES_MAX,
        _ => VALUE_BYTES_MAX,
    };
    let mut line = Line {
        format,
        bytes_max,
        message: String::new(),
        fields: String::new(),
    };
    event.record(&mut line);
    let level = match *event.metadata().level() {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let (message, fields) = (quoted(&line.message, bytes_max), line.fields);
    match format {
        LogFormat::Logfmt => format!("time={time} level={level} msg={message}{fields}\n"),
        LogFormat::Json => {
            let time = quoted(time, bytes_max);
            format!("{{\"time\":{time},\"level\":\"{level}\",\"msg\":{message}{fields}}}\n")
        }
    }
}

/// A line that is put together.
struct Line {
    format: LogFormat,
    /// Bytes of each value.
    bytes_max: usize,
    message: String,
    /// Each with what separates it from the one before.
    fields: String,
}

impl Line {
    /// Adds a field. In JSON texts are in quotes, and so is whatever is no number or truth value; in logfmt texts
    /// are, and other values that would be ambiguous without.
    fn push(&mut self, field: &Field, value: Shown<'_>) {
        if field.name() == "message" {
            let (Shown::Text(text) | Shown::Word(text) | Shown::Literal(text)) = value;
            text.clone_into(&mut self.message);
            return;
        }
        // Other crates log too, and may call a field anything.
        let is_taken = matches!(field.name(), "time" | "level" | "msg");
        let name = format!("{}{}", if is_taken { "field_" } else { "" }, field.name());
        let value = match (self.format, value) {
            (_, Shown::Literal(text)) => text.to_owned(),
            (LogFormat::Logfmt, Shown::Word(text))
                if text.len() <= self.bytes_max && is_plain(text) =>
            {
                text.to_owned()
            }
            (_, Shown::Word(text) | Shown::Text(text)) => quoted(text, self.bytes_max),
        };
        // Writing to a String does not fail.
        let _ = match self.format {
            LogFormat::Logfmt => write!(self.fields, " {name}={value}"),
            LogFormat::Json => write!(self.fields, ",{}:{value}", quoted(&name, self.bytes_max)),
        };
    }
}

/// How a value is shown.
enum Shown<'v> {
    /// In quotes.
    Text(&'v str),
    /// In quotes if that is needed.
    Word(&'v str),
    /// As it is: a number or a truth value.
    Literal(&'v str),
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, Shown::Text(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Shown::Literal(if value { "true" } else { "false" }));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Shown::Literal(&value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Shown::Literal(&value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let shown = value.to_string();
        // JSON knows no others.
        match value.is_finite() {
            true => self.push(field, Shown::Literal(&shown)),
            false => self.push(field, Shown::Word(&shown)),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, Shown::Word(&format!("{value:?}")));
    }
}

/// Whether a value ends where it seems to, and is no quoted one.
fn is_plain(value: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !is_unsafe(c) && !"=\"\\".contains(c);
    !value.is_empty() && value.chars().all(is_plain)
}

/// A string of JSON (RFC 8259, 7) with nothing in it that moves the cursor, hides or reorders text. Between the quotes are
/// at most so many bytes, the last of which are `…` if that is not all.
fn quoted(value: &str, bytes_max: usize) -> String {
    const CUT: char = '…';
    let room = bytes_max.saturating_sub(CUT.len_utf8());
    let mut quoted = String::with_capacity(value.len().min(bytes_max) + 2);
    quoted.push('"');
    // Where it is cut if it turns out to be too long.
    let mut end = quoted.len();
    for c in value.chars() {
        if quoted.len() <= room + 1 {
            end = quoted.len();
        }
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
        if quoted.len() > bytes_max + 1 {
            quoted.truncate(end);
            quoted.push(CUT);
            break;
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::io;
    use std::sync::{Arc, Mutex};

    /// What `log` logs.
    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
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
            .with_max_level(LevelFilter::TRACE)
            .with_writer(move || writer.clone())
            .event_format(Lines { format })
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = log_of_test.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// The same as logfmt, without the time.
    fn logfmt(log: impl FnOnce()) -> String {
        let line = logged(LogFormat::Logfmt, log);
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.starts_with("time=2") && time.ends_with('Z'), "{time}");
        rest.to_owned()
    }

    /// The same as JSON, without the time.
    fn json(log: impl FnOnce()) -> Value {
        let text = logged(LogFormat::Json, log);
        let mut lines = text.lines();
        let mut line: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(lines.next(), None, "{text}");
        let time = line.as_object_mut().unwrap().remove("time").unwrap();
        assert!(time.as_str().is_some_and(|time| time.ends_with('Z')));
        line
    }

    const HOSTILE: &str = "a\" pid=1 kind=\"x\\\n2026 ERROR gone\r\u{1b}[2J\u{202e}\u{e0041}";

    #[test]
    fn values_forge_neither_fields_nor_lines() {
        let name = HOSTILE;
        let expected =
            "\"a\\\" pid=1 kind=\\\"x\\\\\\n2026 ERROR gone\\r\\u001b[2J\\u202e\\udb40\\udc41\"";
        let text = logfmt(|| tracing::warn!(name, "found"));
        assert_eq!(text, format!("level=warn msg=\"found\" name={expected}\n"));
        let shown = logfmt(|| tracing::warn!(%name, path = %"a -> b", "found"));
        assert_eq!(
            shown,
            format!("level=warn msg=\"found\" name={expected} path=\"a -> b\"\n")
        );
        let read = serde_json::from_str::<String>(expected).unwrap();
        assert_eq!(read, name);
        let message = logfmt(|| tracing::error!("{name}"));
        assert_eq!(message, format!("level=error msg={expected}\n"));
    }

    #[test]
    fn long_values_are_cut_by_what_is_written_of_them() {
        for c in ["x", "é", "\u{e0041}", "\"", "\n"] {
            for n in 0..5 {
                let value = c.repeat(VALUE_BYTES_MAX + n);
                let shown = quoted(&value, VALUE_BYTES_MAX);
                let is_whole = c == "x" && n == 0;
                assert_eq!(shown.ends_with("…\""), !is_whole, "{c:?} {n}");
                let most = VALUE_BYTES_MAX + 2;
                assert!((most - 12..=most).contains(&shown.len()), "{}", shown.len());
                let read: String = serde_json::from_str(&shown).unwrap();
                assert!(value.starts_with(read.trim_end_matches('…')));
                for shown in [
                    logfmt(|| tracing::warn!(value, "found")),
                    logfmt(|| tracing::warn!(%value, "found")),
                    logfmt(|| tracing::warn!("{value}")),
                ] {
                    assert!(shown.len() < VALUE_BYTES_MAX + 100, "{c:?}");
                }
                assert_eq!(written_bytes(&value), shown.len());
            }
        }
        // What the agent has to say of itself is longer.
        let value = "x".repeat(2 * VALUE_BYTES_MAX);
        assert!(logfmt(|| tracing::error!(value, "panicked")).contains(&value));
    }

    #[test]
    fn what_is_not_ambiguous_needs_no_quotes() {
        let text = logfmt(|| {
            let (address, nothing) = (std::net::Ipv6Addr::LOCALHOST, None::<u32>);
            tracing::info!(%address, n = 7, path = %"", text = "x", is = true, nothing, "on");
        });
        assert_eq!(
            text,
            "level=info msg=\"on\" address=::1 n=7 path=\"\" text=\"x\" is=true\n"
        );
    }

    #[test]
    fn json_has_numbers_truth_values_and_texts() {
        let line = json(|| {
            let address = std::net::Ipv6Addr::LOCALHOST;
            let nothing = None::<u32>;
            tracing::debug!(%address, n = -7, big = u64::MAX, is = false, nothing, x = 0.5, y = f64::NAN, "on");
        });
        let expected = serde_json::json!({
            "level": "debug", "msg": "on", "address": "::1", "n": -7, "big": u64::MAX, "is": false, "x": 0.5,
            "y": "NaN",
        });
        assert_eq!(line, expected);
        // Whoever else logs cannot say when, how bad, or what.
        let line = json(|| {
            tracing::trace!(
                time = 1,
                level = "x",
                msg = "y",
                r#type = "z",
                a.b = 2,
                "on"
            );
        });
        let expected = serde_json::json!({
            "level": "trace", "msg": "on", "field_time": 1, "field_level": "x", "field_msg": "y", "type": "z",
            "a.b": 2,
        });
        assert_eq!(line, expected);
        assert_eq!(json(|| tracing::info!(n = 1))["msg"], "");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn json_is_valid_whatever_values_hold(name in ".*", raw in prop::collection::vec(any::<char>(), 0..20)) {
            let raw: String = raw.into_iter().collect();
            let line = json(|| tracing::warn!(name, shown = %raw, debug = ?raw, "{name} {raw}"));
            prop_assert_eq!(&line["name"], &name);
            prop_assert_eq!(&line["shown"], &raw);
            prop_assert_eq!(&line["debug"], &format!("{raw:?}"));
            prop_assert_eq!(&line["msg"], &format!("{name} {raw}"));
            let text = logged(LogFormat::Logfmt, || tracing::warn!(name, shown = %raw, "found"));
            prop_assert_eq!(text.lines().count(), 1);
            prop_assert!(!text.trim_end_matches('\n').contains(is_unsafe));
        }
    }
}
