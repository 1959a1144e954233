//! `/api/v1/…`: the targets and their processes, what was found, and the tasks of a process, read now.

use super::rules::WebRules;
use super::site::{Answer, JSON, Site, TEXT, response, text};
use crate::analysis::{Finding, FindingKind, FindingTask};
use crate::graph::Snapshot;
use crate::ids::{Pid, ProcessId};
use crate::limits::Stop;
use crate::metrics::{AgentView, ProcessView, TargetView};
use crate::process::ProcessError;
use crate::protocol::{
    FindingAnswer, FindingFrameAnswer, FindingTaskAnswer, FindingsAnswer, ProcessAnswer,
    TargetAnswer, TargetsAnswer, answer_to_json, write_snapshot,
};
use crate::render::{self, Style, View};
use crate::sanitize::escape;
use crate::spans::TraceId;
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

/// How a process is doing, in one word.
pub(super) fn state(process: &ProcessView) -> &'static str {
    match &process.latest {
        _ if process.hangs => "hangs",
        _ if process.is_overdue => "late",
        Some(scan) => scan.outcome.as_str(),
        None => "new",
    }
}

fn targets(view: &AgentView) -> TargetsAnswer {
    let target = |target: &TargetView| TargetAnswer {
        name: target.name.as_ref().to_owned(),
        labels: target.labels.iter().cloned().collect(),
        up: target.is_up(),
        processes: target.processes.iter().map(process).collect(),
    };
    TargetsAnswer {
        targets: view.targets.iter().map(target).collect(),
    }
}

fn process(process: &ProcessView) -> ProcessAnswer {
    let scan = process.latest.as_ref();
    let program = process.program.as_deref();
    ProcessAnswer {
        pid: process.id.pid.as_raw(),
        state: state(process),
        error: process.failure.as_deref().unwrap_or_default().to_owned(),
        scanned_at: scan.map(|scan| scan.at.as_secs_f64()),
        scan_seconds: scan.map(|scan| scan.took.as_secs_f64()),
        python_version: program.map(|program| program.python_version.clone()),
        executable: program.map(|program| program.executable.clone()),
        pending_tasks: scan
            .and_then(|scan| scan.summary.as_ref())
            .map(|summary| summary.n_pending_tasks),
        await_cycles: count(process, FindingKind::AwaitCycle),
        stuck_tasks: count(process, FindingKind::StuckTask),
    }
}

/// How many findings of this kind are open.
pub(super) fn count(process: &ProcessView, kind: FindingKind) -> u64 {
    let findings = findings_of(process).filter(|finding| finding.kind == kind);
    u64::try_from(findings.count()).unwrap_or(u64::MAX)
}

/// The findings of a process that are open.
pub(super) fn findings_of(process: &ProcessView) -> impl Iterator<Item = &Finding> {
    let observation = process
        .latest
        .as_ref()
        .and_then(|it| it.observation.as_ref());
    let findings = observation.map(|it| it.findings.iter().map(AsRef::as_ref));
    findings.into_iter().flatten()
}

fn findings(view: &AgentView) -> FindingsAnswer {
    let mut findings = Vec::new();
    for target in &view.targets {
        for process in &target.processes {
            let of_process = findings_of(process);
            findings.extend(of_process.map(|it| finding(it, target, process)));
        }
    }
    FindingsAnswer { findings }
}

fn finding(finding: &Finding, target: &TargetView, process: &ProcessView) -> FindingAnswer {
    FindingAnswer {
        target: target.name.as_ref().to_owned(),
        pid: process.id.pid.as_raw(),
        kind: finding.kind.as_str(),
        fingerprint: finding.fingerprint.to_string(),
        first_seen: finding.first_seen.as_secs_f64(),
        age_seconds: finding.age.as_secs_f64(),
        path: escape(&finding.to_string()).into_owned(),
        trace_id: process
            .traces
            .get(&finding.fingerprint)
            .map(|trace| TraceId(*trace).to_string()),
        tasks: finding.tasks.iter().map(task).collect(),
        tasks_omitted: finding.tasks_omitted,
    }
}

fn task(task: &FindingTask) -> FindingTaskAnswer {
    let frames = task.frames.iter().map(|frame| FindingFrameAnswer {
        funcname: frame.function.clone(),
        filename: frame.file.clone(),
        lineno: frame.line,
    });
    FindingTaskAnswer {
        task_id: task.id.to_string(),
        task_name: task.name.clone(),
        coroutine: task.coroutine.clone(),
        coroutine_stack: frames.collect(),
    }
}
