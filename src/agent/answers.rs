//! What the agent knows, in the form in which it is told to whoever asks: over HTTP, and on its socket.

use crate::analysis::{Finding, FindingKind, FindingTask};
use crate::metrics::{AgentView, ProcessView, TargetView};
use crate::protocol::{
    FindingAnswer, FindingFrameAnswer, FindingTaskAnswer, FindingsAnswer, ProcessAnswer,
    TargetAnswer, TargetsAnswer,
};
use crate::sanitize::escape;
use crate::spans::TraceId;

/// How a process is doing, in one word.
pub(super) fn state(process: &ProcessView) -> &'static str {
    match &process.latest {
        _ if process.hangs => "hangs",
        _ if process.is_overdue => "late",
        Some(scan) => scan.outcome.as_str(),
        None => "new",
    }
}

/// The targets and their processes.
pub(super) fn targets(view: &AgentView) -> TargetsAnswer {
    let target = |target: &TargetView| TargetAnswer {
        name: target.name.as_ref().to_owned(),
        labels: target.labels.iter().cloned().collect(),
        up: target.is_up(),
        processes: target.processes.iter().map(process).collect(),
    };
    TargetsAnswer {
        targets: view.targets.iter().map(target).collect(),
        hidden_processes: u64::try_from(view.n_hidden).unwrap_or(u64::MAX),
    }
}

/// What is known of a process.
pub(super) fn process(process: &ProcessView) -> ProcessAnswer {
    let scan = process.latest.as_ref();
    let program = process.program.as_deref();
    ProcessAnswer {
        pid: process.id.pid.as_raw(),
        state: state(process).into(),
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

/// What is open.
pub(super) fn findings(view: &AgentView) -> FindingsAnswer {
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
        kind: finding.kind.as_str().into(),
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
