//! The commands that show or save a snapshot.

use super::args::{
    ColorArg, PsArgs, PstreeArgs, SnapshotArgs, StyleArg, TableFormat, TreeFormat, ViewArgs,
};
use super::exit::Exit;
use super::explain::{self, Stop};
use super::{output, source};
use crate::graph::{Snapshot, TaskGraph, select};
use crate::protocol;
use crate::render::{self, View};
use std::fmt;
use std::io::{self, IsTerminal};

/// Lines that the agent style prints unless told otherwise: more than a person reads, and little
/// enough for a terminal. A deep tree would otherwise be gigabytes of indentation.
const LINES_MAX: u64 = 10_000;
/// Lines of its table that go elsewhere: more than a process in use has tasks. A hostile one has awaits
/// enough for any disk.
const PIPED_LINES_MAX: u64 = 1_000_000;
/// Bytes of notes that are kept until the view itself was printed.
const NOTES_BYTES_MAX: usize = 1 << 20;

/// `agentctl ps`.
pub(super) fn ps(args: &PsArgs) -> Result<Exit, Stop> {
    let (snapshot, name) = source::load(&args.view)?;
    let graph = &snapshot.graph;
    let is_agent = args.format == TableFormat::Table && args.view.style == StyleArg::Agent;
    let usual = match io::stdout().is_terminal() {
        true => LINES_MAX,
        false => PIPED_LINES_MAX,
    };
    let is_match = matcher(&args.view);
    let view = View {
        lines_max: lines_max(args.max_lines, is_agent.then_some(usual)),
        awaiters_max: args.max_lines.is_none().then_some(render::AWAITERS_MAX),
        ..view(&args.view, is_match.as_deref())
    };
    let has_cycle = match args.format {
        TableFormat::Table => {
            show(|out, notes| render::ps(graph, args.view.style.into(), &view, out, notes))
        }
        TableFormat::Csv => {
            show(|out, _| render::ps_csv(graph, &view, out)).map(|_| report_cycles(graph))
        }
        TableFormat::Json => {
            json(&snapshot, is_match.as_deref(), Awaiters::LeftOut).map(|()| report_cycles(graph))
        }
    }?;
    Ok(finish(&snapshot, &name, has_cycle))
}

/// `agentctl pstree`.
pub(super) fn pstree(args: &PstreeArgs) -> Result<Exit, Stop> {
    let (snapshot, name) = source::load(&args.view)?;
    let is_match = matcher(&args.view);
    let view = View {
        depth: args.depth,
        lines_max: lines_max(
            args.max_lines,
            (args.view.style == StyleArg::Agent).then_some(LINES_MAX),
        ),
        ..view(&args.view, is_match.as_deref())
    };
    let has_cycle = match args.format {
        TreeFormat::Tree => show(|out, notes| {
            render::pstree(&snapshot.graph, args.view.style.into(), &view, out, notes)
        }),
        TreeFormat::Json => json(&snapshot, is_match.as_deref(), Awaiters::Kept)
            .map(|()| report_cycles(&snapshot.graph)),
    }?;
    Ok(finish(&snapshot, &name, has_cycle))
}

/// `agentctl snapshot`.
pub(super) fn snapshot(args: &SnapshotArgs) -> Result<Exit, Stop> {
    let snapshot = source::of_process(args.pid, &args.freeze, &args.via)?;
    match &args.output {
        Some(path) if !source::is_standard(path) => {
            output::to_file(path, |out| protocol::write_snapshot(&snapshot, None, out))
        }
        _ => output::to_stdout(|out| protocol::write_snapshot(&snapshot, None, out)),
    }?;
    Ok(finish(&snapshot, &args.pid.to_string(), false))
}

type Matcher<'a> = Box<dyn Fn(&str) -> bool + 'a>;

fn matcher(args: &ViewArgs) -> Option<Matcher<'_>> {
    let filter = args.filter.as_ref()?;
    Some(Box::new(|name| filter.is_match(name)))
}

fn view<'a>(args: &ViewArgs, matches: Option<&'a dyn Fn(&str) -> bool>) -> View<'a> {
    let is_terminal = io::stdout().is_terminal();
    View {
        matches,
        depth: None,
        lines_max: None,
        awaiters_max: None,
        color: is_colored(args.color),
        raw_names: !is_terminal,
    }
}

/// Whether standard output is to be coloured.
pub(super) fn is_colored(when: ColorArg) -> bool {
    match when {
        ColorArg::Always => true,
        ColorArg::Never => false,
        ColorArg::Auto => io::stdout().is_terminal() && is_color_welcome(),
    }
}

/// Whether the environment is silent about colours (<https://no-color.org>).
fn is_color_welcome() -> bool {
    let is_empty = |name| std::env::var_os(name).is_none_or(|value| value.is_empty());
    is_empty("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn lines_max(given: Option<u64>, usual: Option<u64>) -> Option<u64> {
    match given {
        Some(0) => None,
        Some(lines) => Some(lines),
        None => usual,
    }
}

/// What goes to standard error after the view; what is more than one reads, at once.
struct Notes {
    held: String,
    is_terminal: bool,
}

impl Notes {
    fn say(&mut self) {
        let mut notes = std::mem::take(&mut self.held);
        // Names in the notes are raw when standard output is no terminal; standard error may be one.
        if self.is_terminal {
            let lines: Vec<_> = notes.split('\n').map(render::escape).collect();
            notes = lines.join("\n");
        }
        output::say(&notes);
    }
}

impl fmt::Write for Notes {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.held.push_str(text);
        if self.held.len() > NOTES_BYTES_MAX {
            self.say();
        }
        Ok(())
    }
}

/// Writes a view to standard output, then its notes to standard error.
fn show(
    view: impl FnOnce(&mut dyn fmt::Write, &mut dyn fmt::Write) -> Result<bool, fmt::Error>,
) -> Result<bool, Stop> {
    let mut notes = Notes {
        held: String::new(),
        is_terminal: io::stderr().is_terminal(),
    };
    let has_cycle = output::text_to_stdout(|out| view(out, &mut notes))?;
    notes.say();
    Ok(has_cycle)
}

/// Whether those who await the matching tasks are shown too, as in a tree.
#[derive(PartialEq, Eq)]
enum Awaiters {
    Kept,
    LeftOut,
}

fn json(
    snapshot: &Snapshot,
    matches: Option<&dyn Fn(&str) -> bool>,
    awaiters: Awaiters,
) -> Result<(), Stop> {
    let graph = &snapshot.graph;
    output::to_stdout(|out| match matches {
        None => protocol::write_snapshot(snapshot, None, out),
        Some(matches) => {
            let mut selection = select(graph, matches);
            if awaiters == Awaiters::Kept {
                selection = selection.with_awaiters(graph);
            }
            protocol::write_snapshot(snapshot, Some(&|at| selection.contains(at)), out)
        }
    })
}

/// Says on standard error which cycles there are, for forms that have no place for that.
pub(super) fn report_cycles(graph: &TaskGraph) -> bool {
    let mut notes = String::new();
    let has_cycle =
        render::report_cycles(graph, &mut notes).expect("writing to a String does not fail");
    output::say(&notes);
    has_cycle
}

/// Says what is missing, and ends with the status for what was found.
pub(super) fn finish(snapshot: &Snapshot, name: &str, has_cycle: bool) -> Exit {
    let notes = [
        explain::ended(snapshot, name),
        explain::partial(snapshot, name),
    ];
    for note in notes.iter().flatten() {
        output::say(note);
    }
    if has_cycle {
        Exit::CycleFound
    } else {
        Exit::Done
    }
}
