//! What is answered to a request: who may ask for it, then what was asked for. All that blocks runs on threads of
//! its own, so many at once, and is waited for so long.

use super::explanation::explain;
use super::members::Members;
use super::pauses::Pauses;
use super::rights::{Peer, Refusal, Rights};
use super::{ControlLimits, ControlRules};
use crate::agent::allowance::Size;
use crate::agent::answers;
use crate::agent::bounded::Bounded;
use crate::agent::clock::Clock;
use crate::agent::large::LargePlace;
use crate::agent::looks::Looks;
use crate::agent::reads::{Asker, Made, NotRead, READS_MAX, ReadLimits, Reads};
use crate::agent::source::{AttachedProcess, ProcessSource};
use crate::agent::store::Store;
use crate::graph::{Problem, Snapshot};
use crate::ids::ProcessId;
use crate::limits::{FIRST_LOOK, Stop};
use crate::metrics::{AgentView, ProcessView};
use crate::process::ProcessError;
use crate::procfs::UserIds;
use crate::protocol::{ControlError, ExplainAnswer, Request, answer_to_json, write_snapshot};
use std::cell::Cell;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Requests at once for which it is found out what may be asked, those included that hang, and a look at who is in the
/// group.
pub(in crate::agent) const DECISIONS_MAX: usize = READS_MAX + 1;

/// Most times that a process is read for its owner of which it is not certain that it was the owner's all the while.
const OWNED_READS_MAX: u32 = 3;

/// What requests are answered with.
#[derive(Clone)]
pub(in crate::agent) struct Desk {
    store: Arc<Store>,
    pub(super) source: Arc<dyn ProcessSource>,
    pub(super) rules: watch::Receiver<Arc<ControlRules>>,
    clock: Clock,
    /// The processes that are read because somebody asks for them, here or over HTTP.
    reads: Reads,
    /// Members of the group, for what has to be decided before that is known for certain.
    pub(super) members: Members,
    /// The requests for which it is found out what may be asked, which takes turns as reads do: who has very many threads,
    /// or is in a group on a machine that hangs, keeps nobody else from being answered.
    decisions: Reads,
    /// Processes that are stopped because somebody asks for that.
    pauses: Pauses,
}

/// What came of a request.
pub(super) struct Outcome {
    /// What whoever asked may ask for; `None` if that was not found out.
    pub(super) rights: Option<Rights>,
    pub(super) answer: Result<Answer, Failure>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) json: Vec<u8>,
    /// Of a large read; to be held until it has been sent.
    pub(super) place: Option<LargePlace>,
}

impl From<Vec<u8>> for Answer {
    fn from(json: Vec<u8>) -> Self {
        Self { json, place: None }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// What whoever asked is told.
    pub(super) error: ControlError,
    /// What is not allowed, for the log.
    pub(super) denial: Option<String>,
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self {
            error,
            denial: None,
        }
    }
}

/// What remains to be done for a request.
enum Step {
    Answer(Vec<u8>),
    /// The process has to be read.
    Read(ProcessId, Wanted),
}

/// What is to be told of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// For which it is stopped, if a time is given, and for no longer than that.
    Snapshot(Option<Duration>),
    Explanation,
}

impl Desk {
    pub(in crate::agent) fn new(
        store: Arc<Store>,
        source: Arc<dyn ProcessSource>,
        rules: watch::Receiver<Arc<ControlRules>>,
        reads: Reads,
    ) -> Self {
        let clock = Clock::start();
        Self {
            store,
            source,
            rules,
            clock,
            pauses: Pauses::new(clock),
            reads,
            members: Members::default(),
            decisions: Reads::default(),
        }
    }

    /// Answers `request` of `peer`. Before anything is read for it that they may ask for, `allow` is called.
    pub(super) async fn ask(
        &self,
        peer: Peer,
        request: Request,
        limits: ControlLimits,
        allow: impl FnOnce(&Rights),
    ) -> Outcome {
        let rules = Arc::clone(&self.rules.borrow());
        match self.decide(peer, request, &rules, limits).await {
            Err(error) => Outcome {
                rights: None,
                answer: Err(error.into()),
            },
            Ok((rights, step)) => {
                if step.is_ok() {
                    allow(&rights);
                }
                let answer = match step {
                    Err(error) => Err(error),
                    Ok(Step::Answer(answer)) => Ok(answer.into()),
                    Ok(Step::Read(id, wanted)) => {
                        self.read((id, wanted), &rights, &rules, limits).await
                    }
                };
                let rights = Some(rights);
                Outcome { rights, answer }
            }
        }
    }

    /// Finds out what `peer` may ask for, and answers what takes no reading.
    async fn decide(
        &self,
        peer: Peer,
        request: Request,
        rules: &Arc<ControlRules>,
        limits: ControlLimits,
    ) -> Result<(Rights, Result<Step, Failure>), ControlError> {
        let person = self.source.person(peer.user);
        // By what was found out the last time: what may be asked for is not known yet.
        let asker = match peer.user {
            0 => Asker::Root,
            user if self.members.include(user) => Asker::Member(person.id),
            _ => Asker::Owner(person),
        };
        let (desk, rules) = (self.clone(), Arc::clone(rules));
        let decide = move |stop: &Stop| {
            let rights = Rights::of(peer, rules.group.as_deref()).map_err(|why| unknown(&why))?;
            desk.members.note(peer.user, &rights);
            let step = desk.first_step(&rights, request, &rules, stop);
            let step = step.map_err(|refusal| desk.refused(refusal, &rights, &rules));
            Ok((rights, step))
        };
        let decided = self.decisions.read(asker, limits.decisions, decide).await;
        decided.map_err(|why| {
            undone(
                why,
                "earlier requests of yours hang, or those of too many users do",
            )
        })?
    }

    fn first_step(
        &self,
        rights: &Rights,
        request: Request,
        rules: &ControlRules,
        stop: &Stop,
    ) -> Result<Step, Refusal> {
        let source = &*self.source;
        let looks = &mut Rights::looks(stop);
        // Before what it is about.
        let progress = answers::progress(&self.store);
        let mut pinned = |pid| Ok::<_, Refusal>(rights.pin(source, pid, looks)?.0);
        Ok(match request {
            Request::Snapshot { pid, freeze } => {
                let id = pinned(pid)?;
                // A read takes no longer.
                let allowed = rules.freeze.unwrap_or_default().min(rules.scan_time);
                match freeze {
                    Some(asked) if asked > allowed => {
                        return Err(Refusal::NoFreeze { pid, allowed });
                    }
                    _ => Step::Read(id, Wanted::Snapshot(freeze)),
                }
            }
            Request::Explain(pid) => Step::Read(pinned(pid)?, Wanted::Explanation),
            Request::Targets => {
                let view = visible(&self.store.latest(), rights, source, looks)?;
                Step::Answer(answer_to_json(&answers::targets(&view, progress)))
            }
            Request::Findings => {
                let view = visible(&self.store.latest(), rights, source, looks)?;
                Step::Answer(answer_to_json(&answers::findings(&view, progress)))
            }
        })
    }

    /// Reads the process now.
    async fn read(
        &self,
        (id, wanted): (ProcessId, Wanted),
        rights: &Rights,
        rules: &Arc<ControlRules>,
        limits: ControlLimits,
    ) -> Result<Answer, Failure> {
        // One that is to be stopped is read twice.
        let n_reads = match wanted {
            Wanted::Snapshot(Some(_)) => 2,
            Wanted::Snapshot(None) | Wanted::Explanation => 1,
        };
        let scan_time = rules.scan_time.saturating_mul(n_reads);
        let limits = ReadLimits {
            scan_max: scan_time.min(limits.reads.scan_max),
            ..limits.reads
        };
        let desk = self.clone();
        let (rights, rules) = (rights.clone(), Arc::clone(rules));
        let asker = rights.asker(&*self.source);
        let work = move |stop: &Stop, size: Size| {
            let mut answer = Bounded::new(size.answer_max());
            let read = match wanted {
                Wanted::Snapshot(freeze) => {
                    let read = desk.snapshot((id, freeze), &rights, stop, size);
                    read.map(|snapshot| {
                        let is_cut = Size::has_cut(&snapshot);
                        (write_snapshot(&snapshot, None, &mut answer).is_ok(), is_cut)
                    })
                }
                Wanted::Explanation => {
                    let explained = desk.explain(id, &rights, &rules, stop, size);
                    explained.map(|(explained, is_cut)| {
                        let json = answer_to_json(&explained);
                        (answer.write_all(&json).is_ok(), is_cut)
                    })
                }
            };
            match read {
                Ok((true, is_cut)) => (Ok(answer.into_bytes()), is_cut),
                Ok((false, _)) => (Err(too_large(size).into()), true),
                Err(refusal) => (Err(desk.refused(refusal, &rights, &rules)), false),
            }
        };
        let read = match wanted {
            // Not to be stopped once more because there was not enough room.
            Wanted::Snapshot(Some(_)) => self.reads.read_large(asker, limits, Arc::new(work)).await,
            _ => self.reads.read_as_needed(asker, limits, work).await,
        };
        let others_hang = "other processes that you asked for hang, or those of too many users do";
        let Made { what, place, .. } = read.map_err(|why| undone(why, others_hang))?;
        what.map(|json| Answer { json, place })
    }

    /// What somebody with these rights is told who gets no process. Where processes are hidden from those whose they are
    /// not, nothing is told of them that is not told of one that does not exist.
    fn refused(&self, refusal: Refusal, rights: &Rights, rules: &ControlRules) -> Failure {
        let is_stranger = !rights.are_unbounded();
        let group = rules.group.as_deref();
        let denial = refusal.denial(is_stranger);
        let refusal = match is_stranger && self.source.hides_from_strangers() {
            true => refusal.hidden(),
            false => refusal,
        };
        Failure {
            error: refusal.into_error(group),
            denial,
        }
    }

    fn snapshot(
        &self,
        (id, freeze): (ProcessId, Option<Duration>),
        rights: &Rights,
        stop: &Stop,
        size: Size,
    ) -> Result<Snapshot, Refusal> {
        let Some(limit) = freeze else {
            return self.read_snapshot((id, None), rights, stop, size);
        };
        let pid = id.pid;
        let rests = |rest| Refusal::Rests { pid, rest };
        self.pauses.begin(id, limit).map_err(rests)?;
        let stood_still = Cell::default();
        let read = self.read_snapshot((id, Some((limit, &stood_still))), rights, stop, size);
        let stood_still = stood_still.take();
        self.pauses.end(id, stood_still);
        // Whatever became of the read.
        if !stood_still.is_zero() {
            let (pid, seconds) = (pid.as_raw(), stood_still.as_secs_f64());
            tracing::info!(pid, seconds, "a process was stopped on demand");
        }
        read
    }

    /// Reads a process, which is stopped meanwhile if a time is given, and for no longer. For how long it stood still then, is told
    /// beside that.
    fn read_snapshot(
        &self,
        (id, freeze): (ProcessId, Option<(Duration, &Cell<Duration>)>),
        rights: &Rights,
        stop: &Stop,
        size: Size,
    ) -> Result<Snapshot, Refusal> {
        let read = |source: &dyn ProcessSource, _| {
            let began = self.clock.now();
            let mut attached = source.attach(id)?;
            attached.allow(size.allowance());
            let mut snapshot = match freeze {
                None => attached.snapshot(stop)?,
                Some((limit, stood_still)) => {
                    let read = read_frozen(&mut *attached, limit, stop, size);
                    stood_still.set(attached.stood_still());
                    read?
                }
            };
            snapshot.stats.duration = Some(self.clock.now().since(began));
            Ok(snapshot)
        };
        // It is not stopped once more.
        let reads_max = freeze.map_or(OWNED_READS_MAX, |_| 1);
        read_theirs(&*self.source, id, reads_max, rights, stop, read)
    }

    fn explain(
        &self,
        id: ProcessId,
        rights: &Rights,
        rules: &ControlRules,
        stop: &Stop,
        size: Size,
    ) -> Result<(ExplainAnswer, bool), Refusal> {
        let view = told_of(&self.store.latest(), id, rights);
        let read = |source: &dyn ProcessSource, users| {
            explain(source, (id, users), rules, &view, stop, size)
        };
        read_theirs(&*self.source, id, OWNED_READS_MAX, rights, stop, read)
    }
}

/// Reads a process that is stopped meanwhile, for no longer than `limit`. It is read while it runs before that, and not stopped if it
/// sleeps, or for nothing: if there is no time left, or more of it than can be sent.
fn read_frozen(
    attached: &mut dyn AttachedProcess,
    limit: Duration,
    stop: &Stop,
    size: Size,
) -> Result<Snapshot, ProcessError> {
    let mut running = attached.snapshot(stop)?;
    let mut answer = Bounded::new(size.answer_max());
    if write_snapshot(&running, None, &mut answer).is_err() {
        return Ok(running);
    }
    if stop.has_passed(FIRST_LOOK.until) {
        running.add_problem(Problem {
            code: "pause_limit".to_owned(),
            message:
                "there was no time left to stop it (limits.scan_time), so it was read while it ran"
                    .to_owned(),
            at: None,
        });
        return Ok(running);
    }
    drop((running, answer));
    attached.freeze(limit);
    attached.snapshot(stop)
}

/// What `read` reads of a process. Told to its owner only if all of it is of programs that are the owner's, and so is why it could
/// not be read. Whose a process is and what it executes cannot be found out at once, and a program of the owner's may execute one
/// of root's (a setuid program) that executes one of the owner's in the end: see `procfs/owner_watch.rs`.
///
/// # Errors
///
/// When it cannot be read, or is not theirs who have these rights.
fn read_theirs<T>(
    source: &dyn ProcessSource,
    id: ProcessId,
    reads_max: u32,
    rights: &Rights,
    stop: &Stop,
    read: impl Fn(&dyn ProcessSource, UserIds) -> Result<T, ProcessError>,
) -> Result<T, Refusal> {
    for _ in 0..reads_max {
        let users = check_still(source, id, rights)?;
        let owners = rights
            .owner()
            .and_then(|user| source.for_owner(id, user, stop));
        let from = owners.as_ref().map_or(source, |owners| &*owners.source);
        let what = read(from, users).map_err(|error| Refusal::of(from, error));
        check_still(source, id, rights)?;
        if owners.is_none_or(|owners| (owners.is_certain)()) {
            return what;
        }
        if stop.is_stopped() {
            break;
        }
    }
    Err(Refusal::Uncertain { pid: id.pid })
}

/// That the process has not ended, or run a program of another user, since it was allowed to be read; and its user ids.
fn check_still(
    source: &dyn ProcessSource,
    id: ProcessId,
    rights: &Rights,
) -> Result<UserIds, Refusal> {
    // Also when the read was stopped: what it has found can be told.
    let looks = &mut Rights::looks(&Stop::default());
    match rights.pin(source, id.pid, looks) {
        Ok((now, users)) if now == id => Ok(users),
        // It was theirs as long as it was there.
        Ok(_)
        | Err(Refusal::Unsettled {
            error: ProcessError::NotFound { .. },
            ..
        }) => Err(ProcessError::Gone { pid: id.pid }.into()),
        Err(refusal) => Err(refusal),
    }
}

/// What of `view` may be asked for. Targets of which nothing is left are left out.
///
/// # Errors
///
/// When it cannot be told whose a process is, or `looks` end: nobody may take that for none.
fn visible(
    view: &Arc<AgentView>,
    rights: &Rights,
    source: &dyn ProcessSource,
    looks: &mut Looks,
) -> Result<Arc<AgentView>, Refusal> {
    if rights.are_unbounded() {
        return Ok(Arc::clone(view));
    }
    let mut visible = AgentView::clone(view);
    let mut unknown = None;
    let mut may_be_seen = |process: &Arc<ProcessView>| {
        unknown.is_none()
            && rights.include_view(process)
            && rights
                .include_process(source, process.id, looks)
                .unwrap_or_else(|refusal| {
                    unknown = Some(refusal);
                    false
                })
    };
    for target in &mut visible.targets {
        target.processes.retain(&mut may_be_seen);
    }
    if let Some(refusal) = unknown {
        return Err(refusal);
    }
    visible
        .targets
        .retain(|target| !target.processes.is_empty());
    Ok(Arc::new(visible))
}

/// What may be told of a process that may be asked for: nothing that was read while it was another's.
fn told_of(view: &Arc<AgentView>, id: ProcessId, rights: &Rights) -> Arc<AgentView> {
    let is_of_another = |it: &Arc<ProcessView>| it.id == id && !rights.include_view(it);
    let mut views = view.targets.iter().flat_map(|it| &it.processes);
    if !views.any(is_of_another) {
        return Arc::clone(view);
    }
    let mut told = AgentView::clone(view);
    for process in told.targets.iter_mut().flat_map(|it| &mut it.processes) {
        if is_of_another(process) {
            *process = Arc::new(ProcessView {
                since: process.since,
                ..ProcessView::new(id)
            });
        }
    }
    Arc::new(told)
}

/// The agent has no time.
pub(super) fn busy(message: &str) -> ControlError {
    error(
        "busy",
        message,
        "try again in a moment; --direct asks no agent",
    )
}

fn timed_out() -> ControlError {
    let message = "it took too long, and was given up";
    error("timed_out", message, "try again; --direct asks no agent")
}

/// Why a request was not dealt with.
fn undone(why: NotRead, others_hang: &str) -> ControlError {
    match why {
        NotRead::Busy => busy("the agent answers others"),
        NotRead::OthersHang => busy(others_hang),
        NotRead::TimedOut => timed_out(),
        NotRead::Panicked => defect(),
    }
}

/// It cannot be found out what somebody may ask for.
fn unknown(why: &io::Error) -> ControlError {
    busy(&format!(
        "the agent cannot tell whether you are in its group: {why}"
    ))
}

fn too_large(size: Size) -> ControlError {
    if size == Size::Small {
        return busy("there is room for one large answer at a time, and others have it");
    }
    let message = format!(
        "the answer has more than {} MiB, too much to be sent",
        size.answer_max() >> 20
    );
    error(
        "answer_too_large",
        &message,
        "--direct asks no agent, and has no such bound",
    )
}

fn defect() -> ControlError {
    error("defect", "a defect of the agent", "its log says more")
}

/// Why there is no answer.
pub(super) fn error(code: &str, message: &str, hint: &str) -> ControlError {
    ControlError {
        code: code.to_owned(),
        message: message.to_owned(),
        hints: vec![hint.to_owned()],
    }
}

impl Default for ControlLimits {
    fn default() -> Self {
        Self {
            request_max: Duration::from_secs(5),
            reads: ReadLimits::default(),
            decisions: ReadLimits {
                turn_max: Duration::from_secs(5),
                large_max: Duration::ZERO,
                scan_max: Duration::from_secs(4),
                scan_end_max: Duration::from_secs(1),
            },
            sending_max: Duration::from_secs(30),
        }
    }
}
