//! `/api/v1/…`: the targets and their processes, what was found, and the tasks of a process, read now.

use super::rules::WebRules;
use super::site::{Answer, JSON, Site, TEXT, response, text};
use crate::agent::answers::{findings, targets};
use crate::graph::Snapshot;
use crate::ids::{Pid, ProcessId};
use crate::limits::Stop;
use crate::metrics::ProcessView;
use crate::process::ProcessError;
use crate::protocol::{answer_to_json, write_snapshot};
use crate::render::{self, Style, View};
use crate::sanitize::escape;
use hyper::StatusCode;
use std::sync::Arc;

/// Lines of a table or a tree.
const LINES_MAX: u64 = 100_000;

/// How the tasks of a process are shown.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Snapshot,
    Ps,
    Pstree,
}

/// The answer for what follows `/api/v1/`.
pub(super) async fn answer(
    site: &Site,
    rules: &WebRules,
    what: &str,
    query: Option<&str>,
) -> Answer {
    if query.is_some_and(|query| !query.is_empty()) {
        return text(StatusCode::BAD_REQUEST, "no parameters are known here\n");
    }
    let view = site.store.latest();
    let parts: Vec<&str> = what.split('/').collect();
    match parts[..] {
        ["targets"] => json(answer_to_json(&targets(&view))),
        ["findings"] => json(answer_to_json(&findings(&view))),
        ["targets", pid, shape] => {
            let shape = match shape {
                "snapshot" => Shape::Snapshot,
                "ps" => Shape::Ps,
                "pstree" => Shape::Pstree,
                _ => return not_found(),
            };
            let is_it = |process: &&ProcessView| process.id.pid.to_string() == pid;
            let mut processes = view.targets.iter().flat_map(|target| &target.processes);
            match processes.find(is_it) {
                Some(process) => read(site, rules, process.id, shape).await,
                None => text(
                    StatusCode::NOT_FOUND,
                    "no such process is watched; see /api/v1/targets\n",
                ),
            }
        }
        _ => not_found(),
    }
}

fn not_found() -> Answer {
    text(
        StatusCode::NOT_FOUND,
        "not found; there are /api/v1/targets, /api/v1/findings, and \
         /api/v1/targets/PID/snapshot, ps and pstree\n",
    )
}

fn json(body: Vec<u8>) -> Answer {
    response(StatusCode::OK, JSON, body)
}

/// Reads the process now, on a thread of its own.
async fn read(site: &Site, rules: &WebRules, id: ProcessId, shape: Shape) -> Answer {
    let Ok(permit) = Arc::clone(&site.snapshots).try_acquire_owned() else {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "other processes are being read for somebody; try again\n",
        );
    };
    let source = Arc::clone(&site.source);
    let stop = Stop::default();
    let timer = stop.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let snapshot = source.attach(id)?.snapshot(&stop)?;
        Ok::<_, ProcessError>(show(&snapshot, id.pid, shape))
    });
    let mut reading = std::pin::pin!(reading);
    let read = tokio::select! {
        read = reading.as_mut() => read,
        () = tokio::time::sleep(rules.scan_time) => {
            timer.stop();
            reading.await
        }
    };
    match read {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let status = match error {
                ProcessError::NotFound { .. } | ProcessError::Gone { .. } => StatusCode::NOT_FOUND,
                _ => StatusCode::BAD_GATEWAY,
            };
            text(status, &format!("{}\n", escape(&error.to_string())))
        }
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "a defect of the agent\n"),
    }
}

fn show(snapshot: &Snapshot, pid: Pid, shape: Shape) -> Answer {
    let view = View {
        matches: None,
        depth: None,
        lines_max: Some(LINES_MAX),
        awaiters_max: Some(render::AWAITERS_MAX),
        color: false,
        raw_names: false,
    };
    let (mut out, mut notes) = (String::new(), String::new());
    let graph = &snapshot.graph;
    let shown = match shape {
        Shape::Snapshot => {
            let mut body = Vec::new();
            let written = write_snapshot(snapshot, None, &mut body);
            return match written {
                Ok(()) => json(body),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            };
        }
        Shape::Ps => render::ps(graph, Style::Agent, &view, &mut out, &mut notes),
        Shape::Pstree => render::pstree(graph, Style::Agent, &view, &mut out, &mut notes),
    };
    if shown.is_err() {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "cannot write text\n");
    }
    out.push_str(&notes);
    if !snapshot.complete {
        let n = snapshot.stats.problems;
        out.push_str(&format!(
            "process {pid}: the picture is not complete: {n} problems; see snapshot\n"
        ));
    }
    response(StatusCode::OK, TEXT, out)
}
