//! The page at `/`: the version, links, and how the targets are doing.

use super::api::{count, findings_of, state};
use super::site::{Answer, HTML, response};
use crate::analysis::FindingKind;
use crate::metrics::{AgentView, TargetView};
use crate::sanitize::{escape, escape_start};
use hyper::StatusCode;
use std::fmt::Write as _;

/// Rows of a table.
const ROWS_MAX: usize = 200;
/// Characters of a finding's path.
const PATH_CHARS_MAX: usize = 2_000;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222}\
    table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}\
    th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}\
    td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
    .bad{color:#a40000;font-weight:600}code{overflow-wrap:anywhere}";

/// The page. Without `details` nothing of the programs is shown but their targets.
pub(super) fn page(view: &AgentView, details: bool) -> Answer {
    let mut html = String::with_capacity(8 << 10);
    // Writing to a String does not fail.
    let _ = write(&mut html, view, details);
    response(StatusCode::OK, HTML, html)
}

fn write(html: &mut String, view: &AgentView, details: bool) -> std::fmt::Result {
    let version = view.build.version;
    write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>asyncio-agent</title><style>{STYLE}</style></head>\n<body>\n\
         <h1>asyncio-agent</h1>\n\
         <p>Watches the asyncio tasks of running Python processes. Version {version}.</p>\n\
         <ul>\n\
         <li><a href=\"/metrics\">Metrics</a></li>\n\
         <li><a href=\"/-/healthy\">Healthy</a>: the agent runs</li>\n\
         <li><a href=\"/-/ready\">Ready</a>: every target has been looked at</li>\n"
    )?;
    if details {
        html.push_str(
            "<li><a href=\"/api/v1/targets\">Targets</a> and \
             <a href=\"/api/v1/findings\">findings</a> as JSON</li>\n",
        );
    }
    html.push_str("</ul>\n");
    if details {
        write_findings(html, view)?;
    }
    write_targets(html, view, details)?;
    html.push_str("</body>\n</html>\n");
    Ok(())
}

fn write_findings(html: &mut String, view: &AgentView) -> std::fmt::Result {
    let all = view.targets.iter().flat_map(|target| {
        let of_process = move |process| findings_of(process).map(move |it| (target, process, it));
        target.processes.iter().flat_map(of_process)
    });
    let all: Vec<_> = all.collect();
    let n = all.len();
    html.push_str("<h2>Findings</h2>\n");
    if n == 0 {
        html.push_str("<p>No await cycles, no stuck tasks.</p>\n");
        return Ok(());
    }
    html.push_str("<table>\n<tr><th>What<th>Target<th>Process<th>Seen for<th>Where</tr>\n");
    for (target, process, finding) in all.into_iter().take(ROWS_MAX) {
        let what = match finding.kind {
            FindingKind::AwaitCycle => "Await cycle",
            FindingKind::StuckTask => "Stuck task",
        };
        let pid = process.id.pid;
        writeln!(
            html,
            "<tr><td class=\"bad\">{what}<td>{}<td><a href=\"/api/v1/targets/{pid}/pstree\">{pid}</a>\
             <td>{} s<td><code>{}</code></tr>",
            in_html(&target.name),
            finding.age.as_secs(),
            in_html(&escape_start(&finding.to_string(), PATH_CHARS_MAX)),
        )?;
    }
    html.push_str("</table>\n");
    write_left_out(html, n)
}

fn write_targets(html: &mut String, view: &AgentView, details: bool) -> std::fmt::Result {
    html.push_str("<h2>Targets</h2>\n");
    if view.targets.is_empty() {
        html.push_str("<p>No process is watched.</p>\n");
        return Ok(());
    }
    html.push_str(
        "<table>\n<tr><th>Target<th>Process<th>State<th class=\"n\">Tasks<th class=\"n\">Cycles\
         <th class=\"n\">Stuck<th>Python<th>Executable</tr>\n",
    );
    let mut n_rows: usize = 0;
    for target in &view.targets {
        let rows = target.processes.len().max(1);
        if n_rows < ROWS_MAX {
            write_target(html, target, details, ROWS_MAX - n_rows)?;
        }
        n_rows = n_rows.saturating_add(rows);
    }
    html.push_str("</table>\n");
    write_left_out(html, n_rows)
}

fn write_target(
    html: &mut String,
    target: &TargetView,
    details: bool,
    rows_max: usize,
) -> std::fmt::Result {
    let name = in_html(&target.name);
    if target.processes.is_empty() {
        return writeln!(html, "<tr><td>{name}<td colspan=\"7\">no process</tr>");
    }
    for process in target.processes.iter().take(rows_max) {
        let pid = process.id.pid;
        let state = state(process);
        let is_bad = !matches!(state, "ok" | "partial" | "new");
        let class = if is_bad { " class=\"bad\"" } else { "" };
        let why = process.failure.as_deref().filter(|_| details);
        let why = why.map_or(String::new(), |why| format!(": {}", in_html(why)));
        let summary = process
            .latest
            .as_ref()
            .and_then(|scan| scan.summary.as_ref());
        let tasks = summary.map_or(String::new(), |it| it.n_pending_tasks.to_string());
        let program = process.program.as_deref().filter(|_| details);
        let (python, executable) = program.map_or((String::new(), String::new()), |program| {
            let executable = format!("<code>{}</code>", in_html(&program.executable));
            (in_html(&program.python_version), executable)
        });
        let shown_pid = match details {
            true => format!("<a href=\"/api/v1/targets/{pid}/pstree\">{pid}</a>"),
            false => pid.to_string(),
        };
        writeln!(
            html,
            "<tr><td>{name}<td>{shown_pid}<td{class}>{state}{why}<td class=\"n\">{tasks}\
             <td class=\"n\">{}<td class=\"n\">{}<td>{python}<td>{executable}</tr>",
            count(process, FindingKind::AwaitCycle),
            count(process, FindingKind::StuckTask),
        )?;
    }
    Ok(())
}

fn write_left_out(html: &mut String, n: usize) -> std::fmt::Result {
    match n.saturating_sub(ROWS_MAX) {
        0 => Ok(()),
        more => writeln!(html, "<p>… and {more} more.</p>"),
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
