//! What the log and the metrics say of processes that are not watched as they should be: once for each change of state.

use super::{HANGS_AFTER, Supervisor, count_limit};
use crate::diagnosis::MORE_THREADS;
use crate::ids::ProcessId;

impl Supervisor {
    /// So many processes were left out, and so many put into `other`.
    pub(super) fn note_over_limits(&mut self, n_over_limits: (usize, usize)) {
        let (left_out, other) = n_over_limits;
        let (left_out_before, other_before) = self.n_over_limits;
        // They come and go. More of them than there ever were is news.
        if left_out > left_out_before || other > other_before {
            tracing::warn!(
                left_out,
                other,
                "more processes than limits.processes allows, which are not watched, or more names than limits.target_names, \
                 which are put into `other`"
            );
        }
        self.n_over_limits = match n_over_limits {
            (0, 0) => (0, 0),
            _ => (left_out.max(left_out_before), other.max(other_before)),
        };
        self.totals.n_left_out = left_out;
        let limit_hits = &mut self.totals.limit_hits;
        let hits = |n| u64::try_from(n).unwrap_or(u64::MAX);
        count_limit(limit_hits, "processes", hits(n_over_limits.0));
        count_limit(limit_hits, "target_names", hits(n_over_limits.1));
    }

    /// It cannot be found out whether these processes belong to a target.
    pub(super) fn note_hidden(&mut self, hidden: &[ProcessId]) {
        let n = hidden.len();
        self.totals.n_hidden = n;
        if n == 0 && self.n_hidden_told > 0 {
            tracing::info!("all processes can be looked at");
            self.n_hidden_told = 0;
        }
        // They come and go. More of them than there ever were is news.
        if n > self.n_hidden_told {
            let example_pid = hidden.last().map(|process| process.pid.as_raw());
            let advice = "`agentctl explain PID` says of each what stands in the way; `agentctl targets --all` lists them";
            tracing::warn!(
                processes = n,
                example_pid,
                advice,
                "it cannot be found out whether these processes belong to a target: permission denied"
            );
            self.n_hidden_told = n;
        }
    }

    /// Of these processes it is not known whether they use asyncio: asking them hangs, or would be one too many.
    pub(super) fn note_unprobed(&mut self, unprobed: Vec<ProcessId>) {
        let n = unprobed.len();
        count_limit(
            &mut self.totals.limit_hits,
            "probes_hanging",
            u64::try_from(n).unwrap_or(u64::MAX),
        );
        match (self.totals.unprobed.is_empty(), unprobed.first()) {
            (true, Some(example)) => {
                let example_pid = example.pid.as_raw();
                tracing::warn!(
                    processes = n,
                    example_pid,
                    "it cannot be found out whether these processes use asyncio: asking them, or others of the same \
                     user, hangs"
                );
            }
            (false, None) => tracing::info!("all processes can be asked whether they use asyncio"),
            _ => {}
        }
        self.totals.unprobed = unprobed.into();
    }

    /// Of these it is not known either: there was no thread to ask them on.
    pub(super) fn note_unstarted(&mut self, unstarted: Vec<ProcessId>) {
        let n = unstarted.len();
        count_limit(
            &mut self.totals.limit_hits,
            "threads",
            u64::try_from(n).unwrap_or(u64::MAX),
        );
        match (self.totals.unstarted.is_empty(), unstarted.first()) {
            (true, Some(example)) => {
                let example_pid = example.pid.as_raw();
                tracing::warn!(
                    processes = n,
                    example_pid,
                    hint = MORE_THREADS,
                    "no more threads can be started, so it cannot be found out whether these processes use asyncio"
                );
            }
            (false, None) => tracing::info!("threads can be started again"),
            _ => {}
        }
        self.totals.unstarted = unstarted.into();
    }

    pub(super) fn note_postponed(&mut self, process: ProcessId) {
        count_limit(&mut self.totals.limit_hits, "cpu_share", 1);
        if let Some(watched) = self.watched.get_mut(&process)
            && !std::mem::replace(&mut watched.is_postponed, true)
        {
            let target = &self.totals.targets[watched.target].name;
            if !self.log.may_warn(&watched.about(process, target)) {
                return;
            }
            let (target, pid) = (&**target, process.pid.as_raw());
            tracing::warn!(
                target,
                pid,
                "the process is read less often than configured: it takes more than its part of limits.cpu_share"
            );
        }
    }

    pub(super) fn note_hanging(&mut self, process: ProcessId) {
        self.has_news = true;
        if let Some(watched) = self.watched.get_mut(&process) {
            watched.view_mut().hangs = true;
            let target = &self.totals.targets[watched.target].name;
            if !self.log.may_warn(&watched.about(process, target)) {
                return;
            }
            let (target, pid) = (&**target, process.pid.as_raw());
            let after_s = HANGS_AFTER.as_secs();
            tracing::warn!(target, pid, after_s, "reading the process hangs");
        }
    }

    pub(super) fn note_overdue(&mut self, process: ProcessId) {
        self.has_news = true;
        if let Some(watched) = self.watched.get_mut(&process) {
            watched.view_mut().is_overdue = true;
        }
    }

    pub(super) fn note_crowded_out(&mut self, process: ProcessId) {
        count_limit(&mut self.totals.limit_hits, "rounds_hanging", 1);
        if let Some(watched) = self.watched.get(&process)
            && !std::mem::replace(&mut self.is_crowded, true)
        {
            let target = &*self.totals.targets[watched.target].name;
            let pid = process.pid.as_raw();
            tracing::warn!(
                target,
                pid,
                "the process, and maybe more, is not read: too many others hang"
            );
        }
    }
}
