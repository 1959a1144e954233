//! One round over one process: attach if need be, read, work out the figures. Blocks.

use super::allowance::Allowance;
use super::clock::Clock;
use super::otlp::{Offer, Sent, SpanSink, Subject};
use super::source::{AttachedProcess, ProcessSource};
use crate::analysis::{
    CYCLES_MAX, Fingerprint, History, Look, Moment, Observation, Rules, Summary, summarize,
};
use crate::graph::{LongWait, Problem, Snapshot, TaskGraph, find_cycles};
use crate::ids::{ProcessId, TaskId};
use crate::limits::Stop;
use crate::metrics::{ProgramView, RoundOutcome, Scan};
use crate::process::{ProcessError, Sign};
use crate::procfs::UserIds;
use crate::sanitize::escape;
use crate::spans::{Facts, traces_of};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What is kept of a process from round to round. During a round, the round has it.
#[derive(Default)]
pub(super) struct Kept {
    /// The attached process; lost with a round that failed.
    pub(super) attached: Option<Box<dyn AttachedProcess>>,
    /// What is known of its tasks; lost with a round that panicked.
    pub(super) known: Option<Box<Known>>,
    /// It is a Python that did not use asyncio when it was last looked into.
    pub(super) without_asyncio: Option<WithoutAsyncio>,
    /// The user whose it was, by all its user ids, when it was last read.
    pub(super) owner: Option<u32>,
}

/// A Python that does not use asyncio. As long as it maps no more memory it has not imported it, most likely.
pub(super) struct WithoutAsyncio {
    version: String,
    mapped_bytes: u64,
    /// Rounds after which it is looked into in any case.
    rounds_left: u32,
}

impl WithoutAsyncio {
    /// What is kept of a process that had so much mapped and failed in that way; `None` if it is something else.
    fn of(error: &ProcessError, mapped_bytes: Option<u64>, rounds_left: u32) -> Option<Self> {
        let ProcessError::NoAsyncio { version, .. } = error else {
            return None;
        };
        Some(Self {
            version: version.clone(),
            mapped_bytes: mapped_bytes?,
            rounds_left,
        })
    }

    /// Whether it need not be looked into now that it has so much mapped.
    fn is_unchanged(&self, mapped_bytes: Option<u64>) -> bool {
        self.rounds_left > 0 && mapped_bytes == Some(self.mapped_bytes)
    }

    fn into_error(self, process: ProcessId) -> ProcessError {
        ProcessError::NoAsyncio {
            pid: process.pid,
            version: self.version,
        }
    }
}

/// Rounds over a Python without asyncio that only look whether it maps more memory, before one looks into it.
const ROUNDS_OUTSIDE: u32 = 20;

/// What is known of the tasks of a process.
pub(super) struct Known {
    history: History,
    /// The graph of the latest snapshot. As long as this points there no other graph can be there.
    graph: Weak<TaskGraph>,
    /// Its figures.
    summary: Summary,
}

/// What a round goes by.
pub(super) struct RoundRules {
    pub(super) rules: Arc<Rules>,
    /// It counts as one that confirms a cycle.
    pub(super) confirms: bool,
    /// How many bytes the texts of findings may take.
    pub(super) finding_bytes_max: usize,
}

/// What a round leaves behind.
pub(super) struct RoundReport {
    pub(super) process: ProcessId,
    pub(super) kept: Kept,
    pub(super) scan: Scan,
    /// Processor time that the round took.
    pub(super) used: Duration,
    /// What it runs, if it was read.
    pub(super) program: Option<ProgramView>,
    /// Why it could not be read, or not all of it, as a code and as a text.
    pub(super) failure: Option<(&'static str, String)>,
    /// Problems met, by their code.
    pub(super) problems: BTreeMap<String, u64>,
    /// So soon the process is to be looked at again, sooner than its interval says.
    pub(super) look_again: Option<Duration>,
    /// What became of it as spans.
    pub(super) sent: Sent,
}

/// What a round is to do.
pub(super) struct Job {
    pub(super) process: ProcessId,
    pub(super) rules: RoundRules,
    /// What may be read of it, and kept.
    pub(super) allowance: Allowance,
    /// Ends the reading.
    pub(super) stop: Stop,
    pub(super) clock: Clock,
    /// The snapshot as spans.
    pub(super) spans: Option<SpanJob>,
}

/// What a round has to do with spans.
pub(super) struct SpanJob {
    /// Where they go.
    pub(super) sink: SpanSink,
    /// Whose they are.
    pub(super) subject: Subject,
    /// Findings of before that no trace tells yet.
    pub(super) untold: Vec<Fingerprint>,
}

/// Reads a process once, and no further once that is stopped. A panic on the way costs this round and what was kept.
pub(super) fn run_round(source: &dyn ProcessSource, kept: Kept, job: &Job) -> RoundReport {
    let (process, clock) = (job.process, job.clock);
    let began = clock.now();
    let taken_before = Clock::taken_by_thread();
    let Kept {
        attached,
        known,
        without_asyncio,
        owner: owner_before,
    } = kept;
    // Asked before it is looked into: what it maps meanwhile is news next time.
    let mapped_bytes = match attached {
        Some(_) => None,
        None => source.mapped_bytes(process),
    };
    let unchanged = without_asyncio.filter(|it| it.is_unchanged(mapped_bytes));
    let rounds_left = unchanged.as_ref().map(|it| it.rounds_left - 1);
    let is_read_by = unchanged.is_none().then_some(attached.as_deref());
    let owned = Owned::look(source, process, is_read_by, owner_before);
    // What was found in it while it was another's is not told to whose it is now.
    let known = known.filter(|_| owned.owner == owner_before);
    let read = match unchanged {
        Some(it) => Ok(Err(it.into_error(process))),
        None => catch_unwind(AssertUnwindSafe(|| read(source, process, attached, job))),
    };
    let now = Moment {
        at: clock.now(),
        wall: clock.timestamp(),
    };
    let read_of = read.as_ref().ok().map(Result::as_ref);
    let read_of = read_of.map(|it| it.map(|(attached, snapshot)| (&**attached, snapshot)));
    let (owner, program) = owned.of_read(source, read_of, &job.stop);
    let mut report = RoundReport {
        process,
        kept: Kept {
            attached: None,
            known,
            without_asyncio: None,
            owner,
        },
        scan: Scan {
            at: now.wall,
            took: now.at.since(began),
            outcome: RoundOutcome::Panicked,
            ..Scan::default()
        },
        used: Duration::ZERO,
        program,
        failure: None,
        problems: BTreeMap::new(),
        look_again: None,
        sent: Sent::default(),
    };
    match read {
        Ok(Ok((mut attached, snapshot))) => {
            let asked = report.take_in(&snapshot, attached.long_waits(), job, now);
            attached.ask(asked);
            report.kept.attached = Some(attached);
        }
        Ok(Err(error)) => {
            report.scan.outcome = outcome_of(&error);
            let rounds_left = rounds_left.unwrap_or(ROUNDS_OUTSIDE);
            report.kept.without_asyncio = WithoutAsyncio::of(&error, mapped_bytes, rounds_left);
            report.failure = Some((error.code(), error.to_string()));
            if report.scan.outcome.is_failure() {
                report.problems.insert(error.code().to_owned(), 1);
            }
        }
        Err(_) => report.panicked(),
    }
    report.used = Clock::taken_by_thread().saturating_sub(taken_before);
    report
}

/// Whose a process is, and that of one program.
struct Owned {
    process: ProcessId,
    /// The sign of the program that it executed before that was looked up; `None` if it is not going to be read.
    sign: Option<Option<Sign>>,
    owner: Option<u32>,
    /// How many page faults it had had then, if that is known.
    faults: Option<u64>,
}

impl Owned {
    /// Looks at a process before it is read, which is by what it is attached to, if it is. It was `owner_before`'s the last
    /// time.
    fn look(
        source: &dyn ProcessSource,
        process: ProcessId,
        is_read_by: Option<Option<&dyn AttachedProcess>>,
        owner_before: Option<u32>,
    ) -> Self {
        // Told with less if it is the same program.
        let sign = |attached: Option<&dyn AttachedProcess>| {
            let known = attached.and_then(AttachedProcess::program);
            known.or_else(|| source.program(process.pid))
        };
        let sign = is_read_by.map(sign);
        // If nobody can tell just now, it is as before: findings do not end for that.
        let (owner, faults) = owner_of(source, process).unwrap_or((owner_before, None));
        Self {
            process,
            sign,
            owner,
            faults,
        }
    }

    /// Whose it was while it was read, and what it runs. The read is by what it was attached to, with what that gave, or failed;
    /// `None`: the agent has panicked.
    ///
    /// If the process has had no page fault since it was looked at before, all of it is certain (`procfs/owner_watch.rs`). Otherwise it is
    /// the owner's if it was read by the same program, which is told by its sign: a program of another user could be taken for it
    /// at the moment of a round if it happens to have at an address that it cannot foresee what was prepared for that
    /// (`process/image.rs`). Root's is told to root only, who is told everything.
    fn of_read(
        &self,
        source: &dyn ProcessSource,
        read: Option<Result<(&dyn AttachedProcess, &Snapshot), &ProcessError>>,
        stop: &Stop,
    ) -> (Option<u32>, Option<ProgramView>) {
        let process = self.process;
        let snapshot = read.and_then(Result::ok).map(|(_, it)| it);
        // Before it is known whose it is.
        let program = snapshot.map(|it| program(source, process, it));
        let Some(owner) = self.owner.filter(|owner| *owner != 0) else {
            return (self.owner, program);
        };
        let (now, faults) = owner_of(source, process).unwrap_or((self.owner, None));
        if now != self.owner {
            return (None, program);
        }
        if faults.is_some() && faults == self.faults {
            return (Some(owner), program);
        }
        let is_same = |sign: Option<Sign>| match read {
            Some(Ok((attached, _))) => sign.is_some() && attached.program() == sign,
            // Nothing was read.
            Some(Err(error)) if error.is_refusal() => true,
            _ => sign.is_some() && source.program(process.pid) == sign,
        };
        let is_theirs = self.sign.is_none_or(is_same);
        let certainly = snapshot.map(|it| owners_program(source, (process, owner), it, stop));
        (Some(owner).filter(|_| is_theirs), certainly)
    }
}

/// The user whose the process is by all its user ids, and by the kernel its memory; `None` if these differ. And how many page faults
/// it had had, if it did not fault just then.
fn owner_of(
    source: &dyn ProcessSource,
    process: ProcessId,
) -> Result<(Option<u32>, Option<u64>), ProcessError> {
    let owner = source.owner(process.pid)?;
    let user = owner.users.real;
    let is_one = owner.id == process && owner.users == UserIds::all(user);
    let user = (is_one && owner.is_dumpable).then_some(user);
    Ok((user, owner.faults))
}

/// What a process runs, as far as it is certain to be a program of this user's.
fn owners_program(
    source: &dyn ProcessSource,
    (process, owner): (ProcessId, u32),
    snapshot: &Snapshot,
    stop: &Stop,
) -> ProgramView {
    let Some(owners) = source.for_owner(process, owner, stop) else {
        return program(source, process, snapshot);
    };
    let program = program(&*owners.source, process, snapshot);
    match (owners.is_certain)() {
        true => program,
        false => ProgramView {
            executable: String::new(),
            ..program
        },
    }
}

fn program(source: &dyn ProcessSource, process: ProcessId, snapshot: &Snapshot) -> ProgramView {
    let executable = source.facts().executable(process).unwrap_or_default();
    ProgramView {
        python_version: snapshot.process.python_version.clone().unwrap_or_default(),
        executable: escape(&String::from_utf8_lossy(&executable)).into_owned(),
    }
}

/// Works out what a snapshot means.
fn understand(
    (snapshot, long_waits): (&Snapshot, &[LongWait]),
    process: ProcessId,
    known: Option<Box<Known>>,
    RoundRules {
        rules,
        confirms,
        finding_bytes_max,
    }: &RoundRules,
    now: Moment,
) -> (Observation, Box<Known>) {
    let (confirms, finding_bytes_max) = (*confirms, *finding_bytes_max);
    let mut known = known.unwrap_or_else(|| Box::new(Known::nothing(process, rules)));
    known.history.set_rules(Arc::clone(rules));
    known
        .history
        .note_long_waits(long_waits, Clock::of_event_loops(), now);
    // A process that slept on has the very graph of before.
    let slept = known.graph.as_ptr() == Arc::as_ptr(&snapshot.graph);
    let again = slept.then(|| known.history.observe_again(now, confirms));
    let observation = again.flatten().unwrap_or_else(|| {
        let graph = &*snapshot.graph;
        let cycles = find_cycles(graph, CYCLES_MAX);
        known.summary = summarize(graph, &cycles);
        let look = Look {
            now,
            is_complete: snapshot.complete,
            n_missing: snapshot.stats.tasks_missing(),
            slept,
            confirms,
            finding_bytes_max,
        };
        known.history.observe(graph, &cycles, look)
    });
    known.graph = Arc::downgrade(&snapshot.graph);
    (observation, known)
}

/// Sends a snapshot as spans, if its turn has come or a finding is to be told by it.
fn send_spans(
    SpanJob {
        sink,
        subject,
        untold,
    }: &SpanJob,
    (process, program): (ProcessId, &ProgramView),
    snapshot: &Snapshot,
    (observation, history): (&Observation, &History),
    now: Moment,
) -> Sent {
    let open = observation.findings.iter().map(|it| it.fingerprint);
    let is_to_be_told = |it: &Fingerprint| observation.opened.contains(it) || untold.contains(it);
    let findings: BTreeSet<Fingerprint> = open.filter(is_to_be_told).collect();
    let offer = Offer {
        process,
        program,
        subject,
        findings: &findings,
    };
    sink.take(&offer, |limits, seed| {
        let graph = &*snapshot.graph;
        let cycles = find_cycles(graph, CYCLES_MAX);
        let times = history.times(graph, now);
        let marks = history.marks(graph, &cycles);
        let facts = Facts::new((graph, snapshot.complete), &cycles, marks, &times);
        traces_of(&facts.telling(findings.clone()), limits, seed)
    })
}

/// A time that is `mean` on average and that nothing in a process can be in step with.
fn irregular(mean: Duration, process: ProcessId, clock: Clock) -> Duration {
    let mut hasher = DefaultHasher::new();
    (process, clock.now(), Clock::taken_by_thread()).hash(&mut hasher);
    // From a tenth of it to nineteen tenths.
    let tenth_thousandths = u32::try_from(hasher.finish() % 18_000).unwrap_or(0);
    mean.saturating_mul(1_000 + tenth_thousandths) / 10_000
}

impl Known {
    fn nothing(process: ProcessId, rules: &Arc<Rules>) -> Self {
        Self {
            history: History::new(Arc::clone(rules), process.seed()),
            graph: Weak::new(),
            summary: Summary::default(),
        }
    }
}

impl RoundReport {
    /// Takes up a snapshot: works out what it means, and sends it if it is to be sent. The tasks about which the next
    /// one is asked.
    fn take_in(
        &mut self,
        snapshot: &Snapshot,
        long_waits: &[LongWait],
        job: &Job,
        now: Moment,
    ) -> Vec<TaskId> {
        self.take(snapshot);
        let process = job.process;
        let known = self.kept.known.take();
        let program = self.program.clone().unwrap_or_default();
        let understand = || {
            let read = (snapshot, long_waits);
            let (observation, known) = understand(read, process, known, &job.rules, now);
            let sent = job.spans.as_ref().map(|spans| {
                let seen = (&observation, &known.history);
                send_spans(spans, (process, &program), snapshot, seen, now)
            });
            (observation, known, sent.unwrap_or_default())
        };
        match catch_unwind(AssertUnwindSafe(understand)) {
            Ok((mut observation, known, sent)) => {
                self.sent = sent;
                // Nothing is known of them but that they are there.
                let mut summary = known.summary;
                let n_counted = snapshot.stats.tasks_counted;
                let other = &mut observation.coroutines.other.n_tasks;
                *other = other.saturating_add(n_counted);
                summary.n_pending_tasks = summary.n_pending_tasks.saturating_add(n_counted);
                let within = observation.look_within;
                self.look_again = within.map(|within| irregular(within, process, job.clock));
                self.scan.summary = Some(summary);
                let asked = std::mem::take(&mut observation.asked);
                self.scan.observation = Some(Arc::new(observation));
                self.kept.known = Some(known);
                asked
            }
            Err(_) => {
                self.panicked();
                Vec::new()
            }
        }
    }

    /// Takes what a snapshot says of itself.
    fn take(&mut self, snapshot: &Snapshot) {
        self.problems = problems_of(snapshot);
        self.failure = snapshot
            .problems
            .first()
            .map(|_| ("partial", what_is_missing(snapshot)));
        let scan = &mut self.scan;
        scan.outcome = match snapshot.complete {
            true => RoundOutcome::Ok,
            false => RoundOutcome::Partial,
        };
        scan.tasks_unreadable = snapshot.stats.tasks_unreadable;
        scan.tasks_counted = snapshot.stats.tasks_counted;
        scan.is_cut = snapshot.stats.lists_cut > 0;
        scan.bytes_read = snapshot.stats.bytes_read;
        scan.limit_hits = snapshot.stats.limits_hit;
    }

    fn panicked(&mut self) {
        self.scan.outcome = RoundOutcome::Panicked;
        self.failure = Some(("panicked", "a defect of the agent".to_owned()));
        self.problems.insert("panicked".to_owned(), 1);
    }
}

fn read(
    source: &dyn ProcessSource,
    process: ProcessId,
    attached: Option<Box<dyn AttachedProcess>>,
    job: &Job,
) -> Result<(Box<dyn AttachedProcess>, Snapshot), ProcessError> {
    let mut attached = match attached {
        Some(attached) => attached,
        None => source.attach(process)?,
    };
    attached.allow(job.allowance);
    let snapshot = attached.snapshot(&job.stop)?;
    Ok((attached, snapshot))
}

fn outcome_of(error: &ProcessError) -> RoundOutcome {
    match error {
        ProcessError::NotFound { .. } | ProcessError::Thread { .. } | ProcessError::Gone { .. } => {
            RoundOutcome::Gone
        }
        ProcessError::NotPython { .. } | ProcessError::NoAsyncio { .. } => RoundOutcome::Unsuitable,
        _ => RoundOutcome::Failed,
    }
}

/// The first problem of each code, and how many more there are.
fn what_is_missing(snapshot: &Snapshot) -> String {
    let mut first: Vec<&Problem> = Vec::new();
    for problem in &snapshot.problems {
        if first.iter().all(|it| it.code != problem.code) {
            first.push(problem);
        }
    }
    let texts: Vec<&str> = first.iter().map(|it| it.message.as_str()).collect();
    let text = texts.join("; ");
    let told = u64::try_from(first.len()).unwrap_or(u64::MAX);
    match snapshot.stats.problems.saturating_sub(told) {
        0 => text,
        more => format!("{text}; and {more} more like this"),
    }
}

/// The snapshot's problems by code. Those that were only counted get a code of their own.
fn problems_of(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    let mut by_code = BTreeMap::new();
    for problem in &snapshot.problems {
        *by_code.entry(problem.code.clone()).or_insert(0) += 1;
    }
    let listed = snapshot.problems.len() as u64;
    let unlisted = snapshot.stats.problems.saturating_sub(listed);
    if unlisted > 0 {
        *by_code.entry("other".to_owned()).or_insert(0) += unlisted;
    }
    by_code
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::rules::rules;
    use crate::agent::shifting::Shifting;
    use crate::config::Settings;
    use crate::ids::{Pid, StartTime};
    use crate::procfs::{ProcRoot, ProcfsError};
    use crate::targets::ReadFacts;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    /// A Python without asyncio: how much it has mapped, and how often it was looked into.
    #[derive(Default)]
    struct Late {
        root: ProcRoot,
        mapped_bytes: AtomicU64,
        n_attached: AtomicU32,
    }

    impl ProcessSource for Late {
        fn processes(&self) -> Result<Vec<ProcessId>, ProcfsError> {
            Ok(Vec::new())
        }

        fn facts(&self) -> &dyn ReadFacts {
            &self.root
        }

        fn mapped_bytes(&self, _: ProcessId) -> Option<u64> {
            Some(self.mapped_bytes.load(Ordering::Relaxed))
        }

        fn probe(&self, _: ProcessId) -> Result<(), ProcessError> {
            Ok(())
        }

        fn attach(&self, id: ProcessId) -> Result<Box<dyn AttachedProcess>, ProcessError> {
            self.n_attached.fetch_add(1, Ordering::Relaxed);
            Err(ProcessError::NoAsyncio {
                pid: id.pid,
                version: "3.14".to_owned(),
            })
        }
    }

    fn job() -> Job {
        Job {
            allowance: Allowance::of_round(u32::MAX, 1),
            process: ProcessId {
                pid: Pid::new(7).unwrap(),
                start: StartTime(1),
            },
            rules: RoundRules {
                rules: rules(&Settings::default()),
                confirms: false,
                finding_bytes_max: 0,
            },
            stop: Stop::default(),
            clock: Clock::start(),
            spans: None,
        }
    }

    #[test]
    fn what_was_read_of_one_program_or_another_is_no_owners() {
        for (shifts, tells, owner) in [(0, true, Some(7)), (1, true, None), (0, false, None)] {
            let source = Shifting::new(shifts, tells);
            let report = run_round(&source, Kept::default(), &job());
            assert_eq!(report.scan.outcome, RoundOutcome::Ok);
            assert_eq!(report.kept.owner, owner, "{shifts} {tells}");
            // Once it is one program, it is the owner's again, and nothing of before is known.
            let before = report.kept;
            assert!(before.known.is_some());
            let report = run_round(&source, before, &job());
            let now = Some(7).filter(|_| tells);
            assert_eq!(report.kept.owner, now, "{shifts} {tells}");
        }
    }

    #[test]
    fn a_python_without_asyncio_is_looked_into_when_it_has_grown_and_now_and_then() {
        let (source, job) = (Late::default(), job());
        let mut kept = Kept::default();
        let mut rounds = |n: u32| {
            for _ in 0..n {
                let report = run_round(&source, std::mem::take(&mut kept), &job);
                assert_eq!(report.scan.outcome, RoundOutcome::Unsuitable);
                assert_eq!(report.failure.unwrap().0, "no_asyncio");
                kept = report.kept;
            }
            source.n_attached.load(Ordering::Relaxed)
        };
        assert_eq!(rounds(1 + ROUNDS_OUTSIDE), 1);
        assert_eq!(rounds(1), 2);
        assert_eq!(rounds(3), 2);
        source.mapped_bytes.store(4096, Ordering::Relaxed);
        assert_eq!(rounds(1), 3);
        assert_eq!(rounds(3), 3);
    }
}
