//! All views of a graph in all styles. Input: what to show (4 bytes), then a graph in the language of
//! the tests; or, after a byte 0, a graph told by bytes.

use super::graphs::{self, graph};
use super::input::Input;
use asyncio_agent::analysis::summarize;
use asyncio_agent::graph::{TaskGraph, find_cycles, text};
use asyncio_agent::render::{Style, View, ps, ps_csv, pstree, report_cycles};
use std::fmt::{self, Write};

/// Bytes of a view after which its reader goes away. Trees in the styles of CPython repeat what several
/// tasks await, as its tool does, and so may be longer than any graph.
const BYTES_MAX: usize = 1 << 20;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (flags, depth, lines, name) = (input.u8(), input.u8(), input.u8(), input.u8());
    let graph = match input.clone().rest() {
        [0, rest @ ..] => graph(Input::new(rest)),
        text => match std::str::from_utf8(text)
            .ok()
            .and_then(|text| text::parse(text).ok())
        {
            Some(graph) => graph,
            None => return,
        },
    };
    let matches = |text: &str| text.bytes().any(|byte| byte % 16 == name % 16);
    let view = View {
        matches: (flags & 1 != 0).then_some(&matches),
        depth: (flags & 2 != 0).then_some(u32::from(depth)),
        lines_max: (flags & 4 != 0).then_some(u64::from(lines)),
        awaiters_max: (flags & 32 != 0).then_some(usize::from(depth)),
        color: flags & 8 != 0,
        raw_names: flags & 16 != 0,
    };
    show(&graph, &view);
    if text_can_tell(&graph) {
        let printed = text::print(&graph);
        let again = text::parse(&printed).unwrap_or_else(|error| panic!("{error} in\n{printed}"));
        assert_eq!(text::print(&again), printed);
    }
}

/// All views of a graph.
pub(crate) fn show(graph: &TaskGraph, view: &View<'_>) {
    let summary = summarize(graph, &find_cycles(graph, 0));
    for style in [Style::Agent, Style::Cpython, Style::Classic] {
        for print in [ps, pstree] {
            let (mut out, mut err) = (Output::new(graph, style, view), Output::errors(view));
            let is_cyclic = print(graph, style, view, &mut out, &mut err);
            if out.is_full || err.is_full {
                continue;
            }
            let is_cyclic = is_cyclic.expect("only a full output fails");
            if style == Style::Agent {
                assert_eq!(is_cyclic, summary.n_await_cycles > 0);
            }
        }
    }
    let mut out = Output::new(graph, Style::Cpython, view);
    let _ = ps_csv(graph, view, &mut out);
    let _ = report_cycles(graph, &mut Output::errors(view));
}

/// Looks at what is printed and forgets it.
struct Output {
    n_bytes: usize,
    n_lines: u64,
    lines_max: u64,
    /// What must not appear.
    is_bad: fn(char) -> bool,
    is_full: bool,
}

impl Output {
    fn new(graph: &TaskGraph, style: Style, view: &View<'_>) -> Self {
        let is_bad: fn(char) -> bool = match style {
            Style::Agent if view.color => |c| is_control(c) && c != '\x1b',
            Style::Agent => is_control,
            _ if view.raw_names => |_| false,
            _ => is_control,
        };
        Self {
            lines_max: match style {
                Style::Agent => lines_of(graph),
                Style::Cpython | Style::Classic => u64::MAX,
            },
            is_bad,
            ..Self::errors(view)
        }
    }

    fn errors(view: &View<'_>) -> Self {
        Self {
            n_bytes: 0,
            n_lines: 0,
            lines_max: u64::MAX,
            is_bad: if view.raw_names {
                |_| false
            } else {
                is_control
            },
            is_full: false,
        }
    }
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.n_bytes += text.len();
        self.n_lines += text.bytes().filter(|byte| *byte == b'\n').count() as u64;
        assert!(self.n_lines <= self.lines_max, "{} lines", self.n_lines);
        let bad = text.chars().find(|c| (self.is_bad)(*c));
        assert_eq!(bad, None, "in {text:?}");
        self.is_full = self.n_bytes > BYTES_MAX;
        if self.is_full {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

fn is_control(c: char) -> bool {
    c.is_control() && c != '\n' || c == '\u{202e}'
}

/// Lines that our own style needs at most: every task in full once and named once for each edge, each
/// with its stack, a heading for each thread and section, a line for each fold.
fn lines_of(graph: &TaskGraph) -> u64 {
    let frames = |stack| graph.stack(stack).len() as u64;
    let tasks: u64 = graph
        .tasks()
        .iter()
        .map(|task| 3 + frames(task.stack))
        .sum();
    let edges: u64 = graph
        .edges()
        .iter()
        .map(|edge| 3 + 2 * frames(edge.stack))
        .sum();
    tasks + edges + graph.threads().len() as u64 + 8
}

/// Whether the language of the tests has words for everything in this graph: it numbers threads with
/// signed numbers.
fn text_can_tell(graph: &TaskGraph) -> bool {
    graph
        .threads()
        .iter()
        .all(|thread| i64::try_from(thread.tid.0).is_ok())
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        include_str!("../../golden/graphs/cycle_of_three.graph"),
        include_str!("../../golden/graphs/diamond.graph"),
        include_str!("../../golden/graphs/music.graph"),
        include_str!("../../golden/graphs/shared_awaiter.graph"),
        include_str!("../../golden/graphs/states.graph"),
        include_str!("../../golden/graphs/unicode.graph"),
        include_str!("../../golden/graphs/unknown_awaiter.graph"),
        include_str!("../../golden/graphs/wide.graph"),
    ];
    let mut seeds: Vec<Vec<u8>> = (0_u8..)
        .zip(texts)
        .map(|(flags, text)| [&[flags * 5, 2, 9, flags], text.as_bytes()].concat())
        .collect();
    seeds.push([&[0, 0, 0, 0, 0][..], &graphs::seed()].concat());
    seeds
}
