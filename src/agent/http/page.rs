//! The page at `/`: the version, links, and how the targets are doing.

use super::runbooks::RUNBOOKS;
use crate::agent::answers::{count, findings_of, n_omitted, state};
use crate::analysis::{Finding, FindingFrame, FindingKind, FindingTask};
use crate::metrics::{AgentView, ProcessView, TargetView};
use crate::sanitize::escape;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::{Result as Written, Write as _};
use std::time::Duration;

/// Rows of a table.
const ROWS_MAX: usize = 200;
/// Bytes after which no more findings are added: names in them may be long.
const FINDINGS_BYTES_MAX: usize = 1 << 20;

const STYLE: &str = "
:root { color-scheme: light dark; --text: #1c2024; --dim: #60666d; --line: #dfe2e6; --page: #fff; --card: #f5f6f8;
  --link: #0b5cad; --bad: #b3261e; --bad-page: #fdecea; --warn: #8a5300; --warn-page: #fff3dc; --good: #1a6b3a;
  --good-page: #e5f4ea }
@media (prefers-color-scheme: dark) { :root { --text: #e4e6e9; --dim: #a0a6ae; --line: #363b42; --page: #16181c;
  --card: #20242a; --link: #7db7f5; --bad: #ff9d94; --bad-page: #4a1c19; --warn: #f5c26b; --warn-page: #45310e;
  --good: #85d6a1; --good-page: #173a24 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1.5rem 1.25rem 3rem;
  color: var(--text); background: var(--page) }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem 1rem }
h1 { font-size: 1.5rem; margin: 0 }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
a { color: var(--link) }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin-left: auto }
.dim { color: var(--dim) }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0 0; padding: 0; list-style: none }
.tiles li { flex: 1 1 8rem; padding: .6rem .9rem; border-radius: 6px; background: var(--card) }
.tiles b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums }
.tiles .bad { background: var(--bad-page); color: var(--bad) }
.tiles .warn { background: var(--warn-page); color: var(--warn) }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { color: var(--dim); font-weight: 500; font-size: .85rem; white-space: nowrap }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
td.name { font-weight: 600 }
.mark { display: inline-block; padding: 0 .5rem; border-radius: 4px; white-space: nowrap; background: var(--card) }
.mark.bad { background: var(--bad-page); color: var(--bad) }
.mark.warn { background: var(--warn-page); color: var(--warn) }
.mark.good { background: var(--good-page); color: var(--good) }
code { font: .87em ui-monospace, monospace; overflow-wrap: anywhere }
.path { list-style: none; margin: 0; padding: 0 }
.path li + li::before { content: '\\2192  awaits '; color: var(--dim) }
.nowrap { white-space: nowrap }
.links a { margin-left: .75rem; display: inline-block }
.why { overflow-wrap: anywhere; min-width: 16rem }
";

/// How something is doing: the class of what shows it.
const GOOD: &str = "good";
const WARN: &str = "warn";
const BAD: &str = "bad";
const NEUTRAL: &str = "";

/// The page. Without `details` nothing of the programs is shown but their targets.
pub(super) fn page(view: &AgentView, details: bool) -> String {
    let mut html = String::with_capacity(16 << 10);
    // Writing to a String does not fail.
    let _ = write(&mut html, view, details);
    html
}

fn write(html: &mut String, view: &AgentView, details: bool) -> Written {
    let version = view.build.version;
    write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>asyncio-agent</title><style>{STYLE}</style></head>\n<body>\n\
         <header><h1>asyncio-agent</h1>\
         <span class=\"dim\">{version} watches the asyncio tasks of running Python processes</span>\n\
         <nav><a href=\"/metrics\">Metrics</a>"
    )?;
    if details {
        html.push_str(
            " <a href=\"/api/v1/findings\">Findings (JSON)</a> \
             <a href=\"/api/v1/targets\">Targets (JSON)</a>",
        );
    }
    html.push_str(
        " <a href=\"/-/healthy\" title=\"the agent runs\">Healthy</a> \
         <a href=\"/-/ready\" title=\"every target has been looked at\">Ready</a></nav></header>\n",
    );
    write_tiles(html, view)?;
    if details {
        write_findings(html, view)?;
    }
    write_targets(html, view, details)?;
    write_hidden(html, view)?;
    if details {
        write_idle_rules(html, view)?;
    }
    write_runbooks(html)?;
    html.push_str("</body>\n</html>\n");
    Ok(())
}

/// For whoever was called by an alert.
fn write_runbooks(html: &mut String) -> Written {
    html.push_str("<h2>Runbooks</h2>\n<p class=\"links\">What each alert means, and what to do:");
    for (name, _) in RUNBOOKS {
        write!(html, "\n<a href=\"/runbooks/{name}\">{name}</a>")?;
    }
    html.push_str("</p>\n");
    Ok(())
}

/// What somebody who was called looks for first.
fn write_tiles(html: &mut String, view: &AgentView) -> Written {
    let processes = || view.targets.iter().flat_map(|target| &target.processes);
    let findings = |kind| processes().filter_map(|it| count(it, kind)).sum::<u64>();
    let pending = processes().filter_map(|process| process.latest.as_ref()?.summary.as_ref());
    let pending: u64 = pending.map(|it| it.n_pending_tasks).sum();
    let unreadable = view.targets.iter().filter(|target| {
        let states = target.processes.iter().map(|it| state(it));
        states.map(class_of).any(|class| class == BAD)
    });
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let tiles = [
        ("await cycle", findings(FindingKind::AwaitCycle), BAD),
        ("stuck task", findings(FindingKind::StuckTask), WARN),
        ("unreadable target", number(unreadable.count()), BAD),
        ("target", number(view.targets.len()), NEUTRAL),
        ("process", number(processes().count()), NEUTRAL),
        ("task", pending, NEUTRAL),
    ];
    html.push_str("<ul class=\"tiles\">\n");
    for (what, n, class) in tiles {
        let class = if n == 0 { NEUTRAL } else { class };
        let plural = match (n, what.ends_with('s')) {
            (1, _) => "",
            (_, true) => "es",
            (_, false) => "s",
        };
        writeln!(html, "<li class=\"{class}\"><b>{n}</b>{what}{plural}</li>")?;
    }
    html.push_str("</ul>\n");
    Ok(())
}

fn write_findings(html: &mut String, view: &AgentView) -> Written {
    let all = view.targets.iter().flat_map(|target| {
        let processes = target.processes.iter();
        processes.flat_map(move |process| {
            findings_of(process).map(move |finding| (target, &**process, finding))
        })
    });
    let mut all: Vec<Found<'_>> = all.collect();
    // Cycles first, then what has lasted longest.
    all.sort_by_key(|(_, _, finding)| (finding.kind, Reverse(finding.age)));
    html.push_str("<h2>Findings</h2>\n");
    if all.is_empty() {
        html.push_str("<p class=\"dim\">No await cycles, no stuck tasks.</p>\n");
        return Ok(());
    }
    html.push_str(
        "<div class=\"wide\"><table>\n\
         <tr><th>What<th>Target<th>Process<th>Seen for<th>Task, and where it waits</tr>\n",
    );
    let mut n_shown: usize = 0;
    for ((target, process, finding), n) in alike(&all).into_iter().take(ROWS_MAX) {
        if html.len() > FINDINGS_BYTES_MAX {
            break;
        }
        let (what, class) = match finding.kind {
            FindingKind::AwaitCycle => ("Await cycle", BAD),
            FindingKind::StuckTask => ("Stuck task", WARN),
        };
        let pid = process.id.pid;
        write!(
            html,
            "<tr><td><span class=\"mark {class}\">{what}</span><td class=\"name\">{}\
             <td><a href=\"/api/v1/targets/{pid}/pstree\">{pid}</a>\
             <td class=\"nowrap\">{}<td><ol class=\"path\">",
            in_html(&target.name),
            in_words(finding.age),
        )?;
        write_path(html, finding)?;
        html.push_str("</ol>");
        if n > 1 {
            write!(
                html,
                "<span class=\"dim\">and {} more at the same place</span>",
                n - 1
            )?;
        }
        html.push_str("</tr>\n");
        n_shown = n_shown.saturating_add(n);
    }
    html.push_str("</table></div>\n");
    let processes = view.targets.iter().flat_map(|target| &target.processes);
    let kinds = [FindingKind::AwaitCycle, FindingKind::StuckTask];
    let omitted = processes.flat_map(|process| kinds.map(|kind| n_omitted(process, kind)));
    let n_omitted = usize::try_from(omitted.sum::<u64>()).unwrap_or(usize::MAX);
    write_left_out(html, all.len().saturating_add(n_omitted), n_shown)
}

type Found<'v> = (&'v TargetView, &'v ProcessView, &'v Finding);

/// Findings that differ in their tasks only, as when one function leaks, are one: the first, and how many there are.
fn alike<'v>(all: &[Found<'v>]) -> Vec<(Found<'v>, usize)> {
    let mut groups: Vec<(Found<'v>, usize)> = Vec::new();
    let mut known: BTreeMap<_, usize> = BTreeMap::new();
    for found in all {
        let (target, process, finding) = *found;
        let place = |task: &'v FindingTask| {
            let frames = task.frames.iter();
            let frames = frames.map(|it| (it.function.as_str(), it.file.as_str(), it.line));
            (task.coroutine.as_str(), frames.collect::<Vec<_>>())
        };
        let places: Vec<_> = finding.tasks.iter().map(place).collect();
        let group = (&target.name, process.id, finding.kind, places);
        match known.entry(group) {
            Entry::Occupied(at) => groups[*at.get()].1 += 1,
            Entry::Vacant(new) => {
                new.insert(groups.len());
                groups.push((*found, 1));
            }
        }
    }
    groups
}

fn write_path(html: &mut String, finding: &Finding) -> Written {
    for task in finding.tasks.iter() {
        write_task(html, task)?;
    }
    if finding.tasks_omitted > 0 {
        write!(html, "<li>… {} more tasks", finding.tasks_omitted)?;
    }
    match (finding.kind, finding.tasks.first()) {
        (FindingKind::AwaitCycle, Some(first)) => write!(
            html,
            "<li><b>{}</b> <span class=\"dim\">again: none of them can ever go on</span>",
            in_html(&first.name_or_id())
        ),
        _ => Ok(()),
    }
}

fn write_task(html: &mut String, task: &FindingTask) -> Written {
    write!(html, "<li><b>{}</b>", in_html(&task.name_or_id()))?;
    let Some(place) = task.place() else {
        return Ok(());
    };
    write!(html, " in {}", in_html(&task.coroutine))?;
    if place.function != task.coroutine {
        write!(html, ", {}", in_html(&place.function))?;
    }
    write_place(html, place)?;
    if let Some(inside) = task.inside() {
        write!(html, ", in {}", in_html(&inside.function))?;
        write_place(html, inside)?;
    }
    Ok(())
}

fn write_place(html: &mut String, place: &FindingFrame) -> Written {
    if place.file.is_empty() {
        return Ok(());
    }
    write!(html, " <code>{}", in_html(&place.file))?;
    if let Some(line) = place.line {
        write!(html, ":{line}")?;
    }
    html.push_str("</code>");
    Ok(())
}

fn write_targets(html: &mut String, view: &AgentView, details: bool) -> Written {
    html.push_str("<h2>Targets</h2>\n");
    if view.targets.is_empty() {
        html.push_str("<p class=\"dim\">No process is watched.</p>\n");
        return Ok(());
    }
    html.push_str(
        "<div class=\"wide\"><table>\n<tr><th>Target<th>Process<th>State<th class=\"n\">Tasks\
         <th class=\"n\">Cycles<th class=\"n\">Stuck",
    );
    html.push_str(match details {
        true => "<th>Python<th>Executable</tr>\n",
        false => "</tr>\n",
    });
    let mut n_rows: usize = 0;
    for target in &view.targets {
        let rows = target.processes.len().max(1);
        if n_rows < ROWS_MAX {
            write_target(html, target, details, ROWS_MAX - n_rows)?;
        }
        n_rows = n_rows.saturating_add(rows);
    }
    html.push_str("</table></div>\n");
    write_left_out(html, n_rows, n_rows.min(ROWS_MAX))
}

fn write_hidden(html: &mut String, view: &AgentView) -> Written {
    if let Some(advice) = &view.lacks {
        writeln!(
            html,
            "<p><span class=\"mark warn\">Not all can be read</span> The agent cannot read processes of all users, and may not \
             even see them: {}</p>",
            in_html(advice)
        )?;
    }
    if view.n_left_out > 0 {
        let n = view.n_left_out;
        let (one, is) = if n == 1 {
            ("process", "is")
        } else {
            ("processes", "are")
        };
        writeln!(
            html,
            "<p><span class=\"mark warn\">{n} not watched</span> {n} {one} more than \
             <code>limits.processes</code> allows {is} not watched. <code>agentctl explain PID</code> says of a \
             process whether it is one of these.</p>"
        )?;
    }
    let n = view.n_hidden;
    if n == 0 {
        return Ok(());
    }
    let (plural, they) = match n {
        1 => ("", "it belongs"),
        _ => ("es", "they belong"),
    };
    writeln!(
        html,
        "<p><span class=\"mark warn\">{n} hidden process{plural}</span> The agent may not look at {n} process{plural} \
         (permission denied), so whether {they} to a target is not known. It needs <code>CAP_SYS_PTRACE</code>, or to run \
         as their user or root; <code>agentctl targets --all</code>, run as the agent's user, lists them.</p>"
    )
}

/// What is mistyped in the configuration shows by this.
fn write_idle_rules(html: &mut String, view: &AgentView) -> Written {
    let (idle, n) = (&view.idle_rules, view.n_idle_rules);
    if n == 0 {
        return Ok(());
    }
    html.push_str("<p class=\"dim\">No process belongs to these rules of the configuration now:");
    for path in idle.iter() {
        write!(html, " <code>{}</code>", in_html(path))?;
    }
    match n.saturating_sub(idle.len()) {
        0 => html.push_str("</p>\n"),
        more => writeln!(html, " and {more} more</p>")?,
    }
    Ok(())
}

fn write_target(html: &mut String, target: &TargetView, details: bool, rows_max: usize) -> Written {
    let name = in_html(&target.name);
    if target.processes.is_empty() {
        let columns = if details { 7 } else { 5 };
        return writeln!(
            html,
            "<tr><td class=\"name\">{name}<td class=\"dim\" colspan=\"{columns}\">\
             no process of it is watched now</tr>"
        );
    }
    for process in target.processes.iter().take(rows_max) {
        write!(html, "<tr><td class=\"name\">{name}")?;
        write_process(html, process, details)?;
        html.push_str("</tr>\n");
    }
    Ok(())
}

fn write_process(html: &mut String, process: &ProcessView, details: bool) -> Written {
    let pid = process.id.pid;
    match details {
        true => write!(
            html,
            "<td><a href=\"/api/v1/targets/{pid}/pstree\">{pid}</a>"
        )?,
        false => write!(html, "<td>{pid}")?,
    }
    let state = state(process);
    let class = class_of(state);
    write!(html, "<td><span class=\"mark {class}\">{state}</span>")?;
    if let Some(why) = process.failure.as_deref().filter(|_| details) {
        write!(html, "<div class=\"why\">{}</div>", in_html(why))?;
    }
    let summary = process
        .latest
        .as_ref()
        .and_then(|scan| scan.summary.as_ref());
    let tasks = summary.map_or(String::new(), |it| it.n_pending_tasks.to_string());
    write!(html, "<td class=\"n\">{tasks}")?;
    for (kind, class) in [
        (FindingKind::AwaitCycle, BAD),
        (FindingKind::StuckTask, WARN),
    ] {
        match count(process, kind) {
            // Of a process that could not be read nothing is known.
            None => html.push_str("<td>"),
            Some(0) => html.push_str("<td class=\"n dim\">0"),
            Some(n) => write!(
                html,
                "<td class=\"n\"><span class=\"mark {class}\">{n}</span>"
            )?,
        }
    }
    if !details {
        return Ok(());
    }
    match process.program.as_deref() {
        Some(program) => write!(
            html,
            "<td>{}<td><code>{}</code>",
            in_html(&program.python_version),
            in_html(&program.executable)
        ),
        None => write!(html, "<td><td>"),
    }
}

/// How a process in this state is doing.
fn class_of(state: &str) -> &'static str {
    match state {
        "ok" => GOOD,
        "new" | "unsuitable" | "gone" => NEUTRAL,
        "partial" => WARN,
        _ => BAD,
    }
}

fn write_left_out(html: &mut String, n: usize, n_shown: usize) -> Written {
    match n.saturating_sub(n_shown) {
        0 => Ok(()),
        more => writeln!(html, "<p class=\"dim\">… and {more} more.</p>"),
    }
}

/// A span of time, with its two largest units.
fn in_words(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min {} s", seconds % 60),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Text of foreign processes may hold anything.
fn in_html(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for char in escape(text).chars() {
        match char {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            char => html.push(char),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_told_in_words() {
        let told = [0, 59, 60, 3_599, 3_600, 86_399, 90_000, 864_000]
            .map(|seconds| in_words(Duration::from_secs(seconds)));
        let expected = [
            "0 s",
            "59 s",
            "1 min 0 s",
            "59 min 59 s",
            "1 h 0 min",
            "23 h 59 min",
            "1 d 1 h",
            "10 d 0 h",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn findings_of_one_place_are_one_row() {
        use crate::analysis::{FindingFrame, Fingerprint, Observation};
        use crate::ids::{Pid, ProcessId, StartTime, TaskId};
        use crate::metrics::Scan;
        use crate::time::Timestamp;
        use std::sync::Arc;
        let finding = |id: u64, line| {
            let frame = FindingFrame {
                function: "leak".to_owned(),
                file: "app.py".to_owned(),
                line: Some(line),
            };
            let task = FindingTask {
                id: TaskId(id),
                name: format!("<{id}>"),
                coroutine: "leak".to_owned(),
                frames: vec![frame],
            };
            Arc::new(Finding {
                kind: FindingKind::StuckTask,
                fingerprint: Fingerprint(id),
                first_seen: Timestamp::default(),
                age: Duration::from_secs(100 + id),
                tasks: [task].into(),
                tasks_omitted: 0,
            })
        };
        let findings = (0..64).map(|id| finding(id, 3)).chain([finding(64, 4)]);
        let observation = Observation {
            findings: findings.collect(),
            n_stuck: 65,
            ..Observation::default()
        };
        let id = ProcessId {
            pid: Pid::new(7).unwrap(),
            start: StartTime(1),
        };
        let process = ProcessView {
            latest: Some(Scan {
                observation: Some(Arc::new(observation)),
                ..Scan::default()
            }),
            ..ProcessView::new(id)
        };
        let view = AgentView {
            targets: vec![TargetView {
                name: "web".into(),
                processes: vec![process.into()],
                ..TargetView::default()
            }],
            idle_rules: ["targets[1].match".to_owned()].into(),
            n_idle_rules: 3,
            ..AgentView::default()
        };
        let html = page(&view, true);
        assert_eq!(html.matches(">Stuck task<").count(), 2);
        assert_eq!(html.matches("and 63 more at the same place").count(), 1);
        // The one that was seen first stands for all.
        let oldest = html.find("<b>&lt;63&gt;</b>").unwrap();
        assert!(html.find("2 min 43 s").unwrap() < oldest, "{html}");
        assert!(!html.contains("&lt;62&gt;") && !html.contains("… and"));
        assert!(html.contains("now: <code>targets[1].match</code> and 2 more</p>"));
        assert!(!page(&view, false).contains("targets[1].match"));
    }
}
