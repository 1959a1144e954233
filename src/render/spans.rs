//! Traces as text: the spans that are sent over OTLP, as a tree.
//!
//! A line tells a span, with its length and what a trace view would list beside it; lines below it tell what
//! is wrong with it, and its links. Texts in spans are escaped already; of each 200 characters are shown.

use super::cut;
use super::lines::{Ink, Lines};
use crate::spans::{Attribute, AttributeValue, Link, Span, SpanId, Trace, TraceId, Traces};
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// Levels of indentation before a part of its own begins at the left edge: a chain of thousands of spans would
/// be megabytes of blanks otherwise.
const LEVELS_MAX: usize = 32;
/// Links of a span that are told one by one.
const LINKS_SHOWN: usize = 5;

/// Prints the traces to `out`, and what was left out of them.
///
/// # Errors
///
/// Those of the writer.
pub fn traces(traces: &Traces, color: bool, out: &mut dyn fmt::Write) -> fmt::Result {
    let mut names = FxHashMap::default();
    for trace in &traces.traces {
        for span in &trace.spans {
            if let Some(id) = text(&span.attributes, "asyncio.task.id") {
                let name = text(&span.attributes, "asyncio.task.name").unwrap_or(id);
                names.insert(span.id, (name, id));
            }
        }
    }
    let mut view = SpanView {
        names: &names,
        lines: Lines::new(out, None, color),
        parts: VecDeque::new(),
        n_parts: 0,
    };
    for trace in &traces.traces {
        view.trace(trace)?;
    }
    match traces.n_roots_omitted {
        0 if traces.traces.is_empty() => view.lines.last(Ink::Note, "(no tasks)"),
        0 => Ok(()),
        n => {
            let left_out = format!("… {n} more root tasks, left out with all below them");
            view.lines.last(Ink::Note, &left_out)
        }
    }
}

struct SpanView<'v, 'o> {
    /// Name and id of the task that a span stands for.
    names: &'v FxHashMap<SpanId, (&'v str, &'v str)>,
    lines: Lines<'o>,
    /// What goes on at the left edge: its number, the span above, and those below.
    parts: VecDeque<(usize, usize, Vec<usize>)>,
    n_parts: usize,
}

/// Spans that are yet to be printed.
struct Level {
    spans: std::vec::IntoIter<usize>,
    /// Where the prefix of the line above ends.
    prefix_len: usize,
}

impl SpanView<'_, '_> {
    fn trace(&mut self, trace: &Trace) -> fmt::Result {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); trace.spans.len()];
        let mut positions: FxHashMap<SpanId, usize> = FxHashMap::default();
        for (at, span) in trace.spans.iter().enumerate() {
            positions.insert(span.id, at);
            if let Some(parent) = span.parent.and_then(|parent| positions.get(&parent)) {
                children[*parent].push(at);
            }
        }
        self.heading(trace)?;
        self.n_parts = 0;
        self.tree(trace, &children, vec![0])?;
        while let Some((number, above, below)) = self.parts.pop_front() {
            let name = cut::start(&trace.spans[above].name).into_owned();
            self.lines
                .ink(Ink::Note, &format!("[{number}] below {name}"));
            self.lines.end()?;
            self.tree(trace, &children, below)?;
        }
        Ok(())
    }

    fn heading(&mut self, trace: &Trace) -> fmt::Result {
        let is_task = |span: &&Span| text(&span.attributes, "asyncio.task.id").is_some();
        let n_tasks = trace.spans.iter().filter(is_task).count();
        let root = trace.spans.first();
        let n_all = root.and_then(|root| number(&root.attributes, "asyncio.tree.tasks"));
        let (id, n_spans) = (trace.id, trace.spans.len());
        let spans = counted(n_spans, "span");
        let tasks = match n_all.and_then(|n| usize::try_from(n).ok()) {
            Some(n_all) if n_all > n_tasks => format!("{n_tasks} of {n_all} tasks"),
            _ => counted(n_tasks, "task"),
        };
        let heading = format!("trace {id}: {spans}, {tasks}");
        self.lines.ink(Ink::Note, &heading);
        self.lines.end()
    }

    /// Prints these spans and all below them.
    fn tree(&mut self, trace: &Trace, children: &[Vec<usize>], spans: Vec<usize>) -> fmt::Result {
        let mut prefix = String::new();
        let first = spans.into_iter();
        let mut levels = vec![Level {
            spans: first,
            prefix_len: 0,
        }];
        while let Some(level) = levels.last_mut() {
            prefix.truncate(level.prefix_len);
            let Some(at) = level.spans.next() else {
                levels.pop();
                continue;
            };
            let is_last = level.spans.len() == 0;
            self.lines.text().push_str(&prefix);
            self.lines
                .text()
                .push_str(if is_last { "└── " } else { "├── " });
            self.span(&trace.spans[at])?;
            prefix.push_str(if is_last { "    " } else { "│   " });
            let below = &children[at];
            self.remarks(&trace.spans[at], trace.id, &prefix, !below.is_empty())?;
            if below.is_empty() {
                continue;
            }
            if levels.len() >= LEVELS_MAX {
                self.n_parts += 1;
                self.parts.push_back((self.n_parts, at, below.clone()));
                let goes_on = format!("{prefix}└── … goes on at [{}]", self.n_parts);
                self.lines.text().push_str(&goes_on);
                self.lines.end()?;
                continue;
            }
            levels.push(Level {
                spans: below.clone().into_iter(),
                prefix_len: prefix.len(),
            });
        }
        Ok(())
    }

    /// The line of a span, behind its prefix.
    fn span(&mut self, span: &Span) -> fmt::Result {
        let all = &span.attributes;
        let is_task = text(all, "asyncio.task.id").is_some();
        if is_task {
            self.lines.text().push_str("(T) ");
        }
        let ink = if is_task { Ink::Name } else { Ink::Note };
        let is_gap = text(all, "code.function.name").is_none() && !is_task;
        match is_task || is_gap {
            true => self.lines.ink(ink, &cut::start(&span.name)),
            false => self.lines.text().push_str(&cut::start(&span.name)),
        }
        if let Some(file) = text(all, "code.file.path") {
            write!(self.lines.text(), " {}", cut::end(file))?;
            if let Some(line) = number(all, "code.line.number") {
                write!(self.lines.text(), ":{line}")?;
            }
        }
        let length = duration(span.end.since(span.start));
        write!(self.lines.text(), "  {length}")?;
        for (key, shown) in [
            ("asyncio.task.name", "name"),
            ("asyncio.task.id", "id"),
            ("asyncio.task.state", "state"),
            ("asyncio.frame.via", "via"),
            ("asyncio.awaiting", "awaiting"),
        ] {
            if let Some(value) = text(all, key) {
                write!(self.lines.text(), "  {shown}={}", unambiguous(value))?;
            }
        }
        if flag(all, "asyncio.task.cancelling") {
            self.lines.text().push_str("  cancelling");
        }
        if let Some(observed) = seconds(all, "asyncio.task.observed") {
            write!(self.lines.text(), "  seen for {}", duration(observed))?;
        }
        for (key, what) in [
            ("asyncio.frames.omitted", "frame"),
            ("asyncio.tasks.omitted", "task"),
        ] {
            let n = number(all, key).and_then(|n| usize::try_from(n).ok());
            if let Some(n) = n {
                write!(self.lines.text(), "  {}", counted(n, what))?;
            }
        }
        self.lines.end()
    }

    /// What is wrong with a span, and who else awaits it.
    fn remarks(
        &mut self,
        span: &Span,
        trace: TraceId,
        prefix: &str,
        has_children: bool,
    ) -> fmt::Result {
        let indent = format!("{prefix}{}   ", if has_children { '│' } else { ' ' });
        if let Some(error) = &span.error {
            self.lines.text().push_str(&indent);
            self.lines.ink(Ink::Cycle, &format!("error: {error}"));
            self.lines.end()?;
        }
        for link in span.links.iter().take(LINKS_SHOWN) {
            self.lines.text().push_str(&indent);
            let shown = self.link(link, trace);
            let closes = flag(&link.attributes, "asyncio.link.closes_cycle");
            let ink = if closes { Ink::Cycle } else { Ink::Note };
            self.lines.ink(ink, &shown);
            self.lines.end()?;
        }
        let not_shown = span.links.len().saturating_sub(LINKS_SHOWN);
        if not_shown > 0 {
            let more = format!("{indent}and {}", counted(not_shown, "other link"));
            self.lines.text().push_str(&more);
            self.lines.end()?;
        }
        if let Some(awaited) = self.awaited_without_link(span) {
            self.lines.text().push_str(&indent);
            self.lines.ink(Ink::Note, &awaited);
            self.lines.end()?;
        }
        let in_no_trace = number(&span.attributes, "asyncio.awaiters.omitted");
        let in_no_trace =
            in_no_trace.map(|n| format!("also awaited by what stands in no trace: {n}"));
        let without_link = match span.n_links_omitted {
            0 => None,
            n => Some(format!("links that there is no room for: {n}")),
        };
        for omitted in in_no_trace.into_iter().chain(without_link) {
            self.lines.text().push_str(&indent);
            self.lines.ink(Ink::Note, &omitted);
            self.lines.end()?;
        }
        Ok(())
    }

    /// The task that a span awaits and that no link of it leads to: its trace, or its place in it, was cut.
    fn awaited_without_link(&self, span: &Span) -> Option<String> {
        let id = text(&span.attributes, "asyncio.awaited.task.id")?;
        let leads_there = |link: &Link| {
            let task = self.names.get(&link.span);
            text(&link.attributes, "asyncio.link") == Some("awaited")
                && task.is_some_and(|(_, of_task)| *of_task == id)
        };
        if span.links.iter().any(leads_there) {
            return None;
        }
        let name = text(&span.attributes, "asyncio.awaited.task.name");
        let (name, id) = (unambiguous(name.unwrap_or(id)), cut::start(id));
        Some(format!("awaits {name} ({id}), without a link to it"))
    }

    fn link(&self, link: &Link, trace: TraceId) -> String {
        let mut shown = match text(&link.attributes, "asyncio.link") {
            Some("awaited") => "link: awaits ".to_owned(),
            _ => "link: also awaited by ".to_owned(),
        };
        match self.names.get(&link.span) {
            Some((name, id)) => shown += &format!("{} ({id})", unambiguous(name)),
            None => shown += &format!("span {:016x}", link.span.0),
        }
        if link.trace != trace {
            shown += &format!(" of trace {}", link.trace);
        }
        if flag(&link.attributes, "asyncio.link.closes_cycle") {
            shown += "  ↻ closes an await cycle";
        }
        shown
    }
}

/// A value that ends where it seems to, and is no other one.
fn unambiguous(value: &str) -> Cow<'_, str> {
    let shown = cut::start(value);
    if !shown.is_empty() && !shown.contains([' ', '"', '=', '(']) {
        return shown;
    }
    Cow::Owned(format!("\"{}\"", shown.replace('"', "\\\"")))
}

fn counted(n: usize, one: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {one}{s}")
}

/// For how long, as people say it.
fn duration(length: Duration) -> String {
    match length.as_secs_f64() {
        0.0 => "0s".to_owned(),
        seconds if seconds < 1.0 => format!("{:.0}ms", (seconds * 1_000.0).max(1.0)),
        seconds if seconds < 60.0 => format!("{seconds:.1}s"),
        _ => {
            let seconds = length.as_secs();
            let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
            match hours {
                0 => format!("{minutes}m{}s", seconds % 60),
                hours => format!("{hours}h{minutes}m"),
            }
        }
    }
}

fn value<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a AttributeValue> {
    let attribute = attributes.iter().find(|it| it.key == key)?;
    Some(&attribute.value)
}

fn text<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    match value(attributes, key)? {
        AttributeValue::Text(text) => Some(text),
        _ => None,
    }
}

fn number(attributes: &[Attribute], key: &str) -> Option<i64> {
    match value(attributes, key)? {
        AttributeValue::Number(number) => Some(*number),
        _ => None,
    }
}

fn seconds(attributes: &[Attribute], key: &str) -> Option<Duration> {
    match value(attributes, key)? {
        AttributeValue::Seconds(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        _ => None,
    }
}

fn flag(attributes: &[Attribute], key: &str) -> bool {
    value(attributes, key) == Some(&AttributeValue::Flag(true))
}
