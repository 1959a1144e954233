//! What the agent knows, in the form in which it is told to whoever asks: over HTTP, and on its socket.

use super::store::Store;
use crate::analysis::{Finding, FindingKind, FindingTask};
use crate::metrics::{AgentView, ProcessView, TargetView};
use crate::protocol::{
    FindingAnswer, FindingFrameAnswer, FindingTaskAnswer, FindingsAnswer, OmittedFindings,
    ProcessAnswer, ProgressAnswer, TargetAnswer, TargetsAnswer,
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

/// How far the agent is. Asked before the view is taken: what is ready then is in it.
pub(super) fn progress(store: &Store) -> ProgressAnswer {
    ProgressAnswer {
        ready: store.is_ready(),
        running_seconds: Some(store.running().as_secs_f64()),
        lacks: store.lacks().map(str::to_owned),
        left_out_processes: u64::try_from(store.latest().n_left_out).unwrap_or(u64::MAX),
    }
}

/// The targets and their processes.
pub(super) fn targets(view: &AgentView, progress: ProgressAnswer) -> TargetsAnswer {
    let target = |target: &TargetView| TargetAnswer {
        name: target.name.as_ref().to_owned(),
        labels: target.labels.iter().cloned().collect(),
        up: target.is_up(),
        processes: target.processes.iter().map(|it| process(it)).collect(),
    };
    TargetsAnswer {
        targets: view.targets.iter().map(target).collect(),
        hidden_processes: u64::try_from(view.n_hidden).unwrap_or(u64::MAX),
        progress,
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

/// How many findings of this kind are open, those included that are not told one by one; `None` if nothing is known of
/// the tasks of the process.
pub(super) fn count(process: &ProcessView, kind: FindingKind) -> Option<u64> {
    let observation = process.latest.as_ref()?.observation.as_ref()?;
    Some(match kind {
        FindingKind::AwaitCycle => observation.n_cycles,
        FindingKind::StuckTask => observation.n_stuck,
    })
}

/// How many of them are not told one by one.
pub(super) fn n_omitted(process: &ProcessView, kind: FindingKind) -> u64 {
    let told = findings_of(process).filter(|finding| finding.kind == kind);
    let told = u64::try_from(told.count()).unwrap_or(u64::MAX);
    count(process, kind).unwrap_or(0).saturating_sub(told)
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
pub(super) fn findings(view: &AgentView, progress: ProgressAnswer) -> FindingsAnswer {
    let (mut findings, mut omitted) = (Vec::new(), Vec::new());
    for target in &view.targets {
        for process in &target.processes {
            let of_process = findings_of(process);
            findings.extend(of_process.map(|it| finding(it, target, process)));
            for kind in [FindingKind::AwaitCycle, FindingKind::StuckTask] {
                let count = n_omitted(process, kind);
                if count > 0 {
                    omitted.push(OmittedFindings {
                        target: target.name.as_ref().to_owned(),
                        pid: process.id.pid.as_raw(),
                        kind: kind.as_str().into(),
                        count,
                    });
                }
            }
        }
    }
    FindingsAnswer {
        findings,
        omitted,
        progress,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Observation;
    use crate::ids::{Pid, ProcessId, StartTime};
    use crate::metrics::{RoundOutcome, Scan};
    use std::sync::Arc;

    fn view(observation: Option<Observation>) -> AgentView {
        let id = ProcessId {
            pid: Pid::new(7).unwrap(),
            start: StartTime(1),
        };
        let process = ProcessView {
            latest: observation.map(|observation| Scan {
                outcome: RoundOutcome::Ok,
                observation: Some(Arc::new(observation)),
                ..Scan::default()
            }),
            ..ProcessView::new(id)
        };
        AgentView {
            targets: vec![TargetView {
                name: "web".into(),
                processes: vec![process.into()],
                ..TargetView::default()
            }],
            ..AgentView::default()
        }
    }

    fn ready() -> ProgressAnswer {
        ProgressAnswer {
            ready: true,
            running_seconds: Some(1.0),
            lacks: None,
            left_out_processes: 0,
        }
    }

    #[test]
    fn what_is_not_told_one_by_one_is_counted() {
        let many = view(Some(Observation {
            n_stuck: 70,
            ..Observation::default()
        }));
        let answer = findings(&many, ready());
        assert_eq!(answer.omitted.len(), 1);
        let omitted = &answer.omitted[0];
        assert_eq!(
            (&*omitted.kind, omitted.pid, omitted.count),
            ("stuck_task", 7, 70)
        );
        let process = &targets(&many, ready()).targets[0].processes[0];
        assert_eq!(
            (process.await_cycles, process.stuck_tasks),
            (Some(0), Some(70))
        );
    }

    #[test]
    fn of_a_process_that_was_never_read_nothing_is_known() {
        let process = &targets(&view(None), ready()).targets[0].processes[0];
        assert_eq!((process.await_cycles, process.stuck_tasks), (None, None));
    }
}
