//! `/runbooks/NAME`: what each alert means and what to do about it, as in `dashboards/runbooks/`. The pages are a part of
//! the program, so that whoever was called has them wherever the agent can be reached.

use super::site::{Answer, TEXT, response, text};
use hyper::StatusCode;

macro_rules! runbooks {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../dashboards/runbooks/", $name, ".md")))),+]
    };
}

/// The pages, by the name of their alert.
pub(super) const RUNBOOKS: &[(&str, &str)] = runbooks![
    "AsyncioAgentDown",
    "AsyncioAgentProcessesLeftOut",
    "AsyncioAgentReloadFailed",
    "AsyncioAgentScanFailing",
    "AsyncioAgentScanSlow",
    "AsyncioAgentSeriesLeftOut",
    "AsyncioAgentUnprivileged",
    "AsyncioAwaitCycle",
    "AsyncioAwaitDepthGrowing",
    "AsyncioCoverageLow",
    "AsyncioSnapshotsOld",
    "AsyncioStuckTasks",
    "AsyncioTargetUnreadable",
    "AsyncioTaskLeak",
];

/// The page of an alert, as the text that it was written as.
pub(super) fn answer(alert: &str) -> Answer {
    match RUNBOOKS.iter().find(|(name, _)| *name == alert) {
        Some((_, page)) => response(StatusCode::OK, TEXT, *page),
        None => text(
            StatusCode::NOT_FOUND,
            "no such runbook; those that there are stand on /\n",
        ),
    }
}
