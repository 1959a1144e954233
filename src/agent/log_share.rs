//! How much of the log each user may take with what becomes of their processes, so that nobody fills it. What is too much
//! is told together, and nothing but the log is without it.

use super::telemetry::written_bytes;
use super::turnstile::{Pace, Turnstile};
use crate::ids::ProcessId;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Which part of the program its lines are of.
pub(super) const MODULE: &str = module_path!();

/// Bytes of lines that each user may take, of findings and of their processes each. At once that is about two thousand
/// findings with usual paths, all of the processes that may be watched with two lines each, or 240 lines of the longest
/// that can be made; then 32 short ones a second, or two of the longest. So what many services of one user find when a
/// database goes away is told one by one, and a user takes no more of the journal for long than by requests.
///
/// Root has no more: root in a container may be anybody, and where all services are root's, one of them must not hide
/// the others.
const PACE: Pace = Pace {
    a_second: 8 << 10,
    at_once: 1 << 20,
};
/// Bytes of a line beside the texts that a process has chosen.
const LINE_BYTES: usize = 256;
/// How often it is told what was left out.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Targets that are named then, those with the most first.
const TARGETS_MAX: usize = 10;

/// The process that a line is about.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) target: Arc<str>,
    pub(super) process: ProcessId,
    /// Whose it is, if that is known: those of whom it is not share what one has.
    pub(super) person: Option<u32>,
}

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Says {
    /// A finding is new.
    Opened,
    /// A finding has ended.
    Closed,
    /// A finding was sent as a trace.
    Sent,
    /// Something else that became of a process.
    OfProcess,
}

/// What was left out of one user's.
#[derive(Debug, Default)]
struct LeftOut {
    lines: BTreeMap<Says, u64>,
    targets: BTreeMap<Arc<str>, u64>,
}

#[derive(Debug, Clone)]
pub(super) struct LogShares {
    /// Lines of findings and others apart: processes that come and go must not hide findings.
    turnstile: Turnstile<(Option<u32>, bool)>,
    left_out: Arc<Mutex<HashMap<Option<u32>, LeftOut>>>,
}

impl LogShares {
    pub(super) fn new() -> Self {
        Self {
            turnstile: Turnstile::with(PACE),
            left_out: Arc::default(),
        }
    }

    /// Whether there is room for a line with this text in it. If not, that is counted, and told in a while. Must be called
    /// within a tokio runtime.
    pub(super) fn take(&self, about: &About, says: Says, text: &str) -> bool {
        let bytes = LINE_BYTES + written_bytes(&about.target) + written_bytes(text);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let who = (about.person, says == Says::OfProcess);
        let is_room = self.turnstile.take(who, bytes);
        if !is_room && self.leave_out(about, says) {
            let (shares, person) = (self.clone(), about.person);
            tokio::spawn(async move {
                tokio::time::sleep(TELL_EVERY).await;
                shares.tell(person);
            });
        }
        is_room
    }

    /// Whether this is the first line since they were told.
    fn leave_out(&self, about: &About, says: Says) -> bool {
        let mut left_out = self.left_out();
        let is_first = !left_out.contains_key(&about.person);
        let left_out = left_out.entry(about.person).or_default();
        *left_out.lines.entry(says).or_default() += 1;
        *left_out
            .targets
            .entry(Arc::clone(&about.target))
            .or_default() += 1;
        is_first
    }

    /// Tells what was left out of one user's.
    fn tell(&self, person: Option<u32>) {
        let left_out = self.left_out().remove(&person);
        if let Some(left_out) = left_out {
            left_out.tell(person);
        }
    }

    /// Tells what was left out and is not told yet.
    pub(super) fn tell_all(&self) {
        let left_out = std::mem::take(&mut *self.left_out());
        for (person, left_out) in left_out {
            left_out.tell(person);
        }
    }

    fn left_out(&self) -> MutexGuard<'_, HashMap<Option<u32>, LeftOut>> {
        // Nothing in here panics half way.
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeftOut {
    fn tell(self, uid: Option<u32>) {
        let lines = |says| self.lines.get(&says).copied();
        tracing::warn!(
            uid,
            opened = lines(Says::Opened),
            closed = lines(Says::Closed),
            sent = lines(Says::Sent),
            of_processes = lines(Says::OfProcess),
            targets = self.targets(),
            "more findings and changes of processes, too many to be told one by one: see /api/v1/findings, /api/v1/targets"
        );
    }

    /// Which targets they are of, and how many of each.
    fn targets(&self) -> String {
        let mut targets: Vec<_> = self.targets.iter().collect();
        targets.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let n_more = targets.len().saturating_sub(TARGETS_MAX);
        let named = targets.into_iter().take(TARGETS_MAX);
        let mut named: Vec<String> = named.map(|(name, n)| format!("{name}: {n}")).collect();
        if n_more > 0 {
            named.push(format!("and {n_more} more"));
        }
        named.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Pid, StartTime};

    fn about(person: Option<u32>, target: &str) -> About {
        About {
            target: target.into(),
            process: ProcessId {
                pid: Pid::new(7).unwrap(),
                start: StartTime(1),
            },
            person,
        }
    }

    /// Of so many lines, how many there is room for.
    fn n_told(shares: &LogShares, about: &About, says: Says, text: &str, n: u32) -> u32 {
        let told = (0..n).filter(|_| shares.take(about, says, text));
        u32::try_from(told.count()).unwrap()
    }

    #[tokio::test]
    async fn each_user_has_a_share_of_the_log() {
        let shares = LogShares::new();
        let fleet = about(Some(33), "web");
        let path =
            "reader (awaits /srv/app/web.py:17, in _wait /usr/lib/python3.14/asyncio/tasks.py:452)";
        let usual = n_told(&shares, &fleet, Says::Opened, path, 2_000);
        assert_eq!(usual, 2_000, "a fleet whose database goes away");
        let hostile = about(Some(1000), "x");
        let longest = "\u{e0041}".repeat(4_096);
        let n_long = n_told(&shares, &hostile, Says::Opened, &longest, 5_000);
        assert!((230..260).contains(&n_long), "{n_long}");
        // It hides nobody else, whether they are known or not, and its processes are told on.
        assert_eq!(n_told(&shares, &fleet, Says::Closed, "", 50), 50);
        for user in [Some(0), None] {
            let n = n_told(&shares, &about(user, "y"), Says::Opened, path, 100);
            assert_eq!(n, 100, "{user:?}");
        }
        assert_eq!(n_told(&shares, &hostile, Says::OfProcess, "", 100), 100);
        // A name of a target is chosen by a process as well.
        let long_name = about(Some(1001), &longest);
        assert!(n_told(&shares, &long_name, Says::Closed, "", 5_000) < 260);
    }

    #[tokio::test]
    async fn what_was_left_out_is_counted_by_target_until_it_is_told() {
        let shares = LogShares::new();
        let long = "x".repeat(5_000);
        let of = |target: &str| about(Some(1000), target);
        let n_long = n_told(&shares, &of("a"), Says::Opened, &long, 300);
        let n_closed = n_told(&shares, &of("b"), Says::Closed, &long, 20);
        assert!(n_long < 300 && n_closed == 0);
        for n in 0..12 {
            assert_eq!(
                n_told(&shares, &of(&format!("t{n:02}")), Says::Closed, &long, 1),
                0
            );
        }
        {
            let left_out = shares.left_out();
            let left_out = &left_out[&Some(1000)];
            let n_opened = 300 - n_long;
            assert_eq!(left_out.lines[&Says::Opened], u64::from(n_opened));
            assert_eq!(left_out.lines[&Says::Closed], 32);
            let shown =
                "t00: 1, t01: 1, t02: 1, t03: 1, t04: 1, t05: 1, t06: 1, t07: 1, and 4 more";
            assert_eq!(left_out.targets(), format!("a: {n_opened}, b: 20, {shown}"));
        }
        shares.tell(Some(1000));
        assert!(shares.left_out().is_empty());
        assert_eq!(n_told(&shares, &of("a"), Says::Opened, &long, 1), 0);
        assert_eq!(shares.left_out()[&Some(1000)].targets(), "a: 1");
        shares.tell_all();
        assert!(shares.left_out().is_empty());
    }
}
