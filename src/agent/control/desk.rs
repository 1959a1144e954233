//! What is answered to a request: who may ask for it, then what was asked for. All that blocks runs on threads of
//! its own, so many at once, and is waited for so long.

use super::explanation::explain;
use super::members::Members;
use super::rights::{Peer, Refusal, Rights};
use super::{ControlLimits, ControlRules};
use crate::agent::answers;
use crate::agent::clock::Clock;
use crate::agent::reads::{NotRead, ReadLimits, Reads};
use crate::agent::source::ProcessSource;
use crate::agent::store::Store;
use crate::graph::Snapshot;
use crate::ids::ProcessId;
use crate::limits::Stop;
use crate::metrics::{AgentView, ProcessView};
use crate::process::ProcessError;
use crate::protocol::{
    ANSWER_BYTES_MAX, ControlError, ExplainAnswer, Request, answer_to_json, write_snapshot,
};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

/// Requests at once for which it is found out what may be asked, of all but root.
const DECISIONS_OF_ALL_MAX: usize = 2;
/// The same of root.
const DECISIONS_OF_ROOT_MAX: usize = 1;
/// The same of all, and looks at who is in the group.
pub(in crate::agent) const DECISIONS_MAX: usize = DECISIONS_OF_ALL_MAX + DECISIONS_OF_ROOT_MAX + 1;

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
    decisions: Arc<Semaphore>,
    decisions_of_root: Arc<Semaphore>,
}

/// What came of a request.
pub(super) struct Outcome {
    /// What whoever asked may ask for; `None` if that was not found out.
    pub(super) rights: Option<Rights>,
    /// The answer, as JSON.
    pub(super) answer: Result<Vec<u8>, Failure>,
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
    Snapshot,
    Explanation,
}

impl Desk {
    pub(in crate::agent) fn new(
        store: Arc<Store>,
        source: Arc<dyn ProcessSource>,
        rules: watch::Receiver<Arc<ControlRules>>,
        reads: Reads,
    ) -> Self {
        Self {
            store,
            source,
            rules,
            clock: Clock::start(),
            reads,
            members: Members::default(),
            decisions: Arc::new(Semaphore::new(DECISIONS_OF_ALL_MAX)),
            decisions_of_root: Arc::new(Semaphore::new(DECISIONS_OF_ROOT_MAX)),
        }
    }

    /// Answers `request` of `peer`.
    pub(super) async fn ask(&self, peer: Peer, request: Request, limits: ControlLimits) -> Outcome {
        let rules = Arc::clone(&self.rules.borrow());
        match self.decide(peer, request, &rules, limits).await {
            Err(error) => Outcome {
                rights: None,
                answer: Err(error.into()),
            },
            Ok((rights, step)) => Outcome {
                answer: match step {
                    Err(error) => Err(error),
                    Ok(Step::Answer(answer)) => Ok(answer),
                    Ok(Step::Read(id, wanted)) => {
                        self.read((id, wanted), &rights, &rules, limits).await
                    }
                },
                rights: Some(rights),
            },
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
        let turns = match peer.user {
            0 => &self.decisions_of_root,
            _ => &self.decisions,
        };
        let permit = self.permit(turns, limits).await?;
        let (desk, rules) = (self.clone(), Arc::clone(rules));
        let deciding = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let rights = Rights::of(peer, rules.group.as_deref());
            desk.members.note(peer.user, &rights);
            let step = desk.first_step(&rights, request);
            let step = step.map_err(|refusal| desk.refused(refusal, &rights, &rules));
            (rights, step)
        });
        let decided = timeout(limits.decision_max, deciding).await;
        decided.map_err(|_| timed_out())?.map_err(|_| defect())
    }

    fn first_step(&self, rights: &Rights, request: Request) -> Result<Step, Refusal> {
        let source = &*self.source;
        Ok(match request {
            Request::Snapshot(pid) => Step::Read(rights.pin(source, pid)?.0, Wanted::Snapshot),
            Request::Explain(pid) => Step::Read(rights.pin(source, pid)?.0, Wanted::Explanation),
            Request::Targets => {
                let view = visible(&self.store.latest(), rights, source);
                Step::Answer(answer_to_json(&answers::targets(&view)))
            }
            Request::Findings => {
                let view = visible(&self.store.latest(), rights, source);
                Step::Answer(answer_to_json(&answers::findings(&view)))
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
    ) -> Result<Vec<u8>, Failure> {
        let limits = ReadLimits {
            scan_max: rules.scan_time.min(limits.reads.scan_max),
            ..limits.reads
        };
        let desk = self.clone();
        let (rights, rules) = (rights.clone(), Arc::clone(rules));
        let asker = rights.asker(&*self.source);
        let work = move |stop: &Stop| {
            let refused = |refusal: Refusal| desk.refused(refusal, &rights, &rules);
            let mut answer = Bounded(Vec::new());
            let is_written = match wanted {
                Wanted::Snapshot => {
                    let snapshot = desk.snapshot(id, &rights, stop).map_err(refused)?;
                    write_snapshot(&snapshot, None, &mut answer).is_ok()
                }
                Wanted::Explanation => {
                    let explained = desk.explain(id, &rights, &rules, stop);
                    let json = answer_to_json(&explained.map_err(refused)?);
                    answer.write_all(&json).is_ok()
                }
            };
            if is_written {
                Ok(answer.0)
            } else {
                Err(too_large().into())
            }
        };
        let read = self.reads.read(asker, limits, work).await;
        read.map_err(|why| match why {
            NotRead::Busy => busy("the agent answers others"),
            NotRead::OthersHang => {
                busy("other processes that you asked for hang, or those of too many users do")
            }
            NotRead::TimedOut => timed_out(),
            NotRead::Panicked => defect(),
        })?
    }

    /// What somebody with these rights is told who gets no process. Where processes are hidden from those whose they are
    /// not, nothing is told of them that is not told of one that does not exist.
    fn refused(&self, refusal: Refusal, rights: &Rights, rules: &ControlRules) -> Failure {
        let is_stranger = !rights.are_unbounded();
        let group = rules.group.as_deref();
        let denial = refusal.denial();
        let refusal = match is_stranger && self.source.hides_from_strangers() {
            true => refusal.hidden(),
            false => refusal,
        };
        Failure {
            error: refusal.into_error(group),
            denial,
        }
    }

    fn snapshot(&self, id: ProcessId, rights: &Rights, stop: &Stop) -> Result<Snapshot, Refusal> {
        let source = &*self.source;
        let began = self.clock.now();
        let unreadable = |error| Refusal::of(source, error);
        let mut attached = source.attach(id).map_err(unreadable)?;
        let mut snapshot = attached.snapshot(stop).map_err(unreadable)?;
        snapshot.stats.duration = Some(self.clock.now().since(began));
        if !rights.are_unbounded() {
            check_still(source, id, rights)?;
        }
        Ok(snapshot)
    }

    fn explain(
        &self,
        id: ProcessId,
        rights: &Rights,
        rules: &ControlRules,
        stop: &Stop,
    ) -> Result<ExplainAnswer, Refusal> {
        let source = &*self.source;
        let (_, users) = rights.pin(source, id.pid)?;
        let view = told_of(&self.store.latest(), id, rights);
        let explained = explain(source, (id, users), rules, &view, stop);
        let explained = explained.map_err(Refusal::from)?;
        check_still(source, id, rights)?;
        Ok(explained)
    }

    /// Waits for its turn.
    async fn permit(
        &self,
        permits: &Arc<Semaphore>,
        limits: ControlLimits,
    ) -> Result<OwnedSemaphorePermit, ControlError> {
        match timeout(limits.reads.turn_max, Arc::clone(permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(busy("the agent answers others")),
        }
    }
}

/// That the process has not ended, or run a program of another user, since it was allowed to be read.
fn check_still(source: &dyn ProcessSource, id: ProcessId, rights: &Rights) -> Result<(), Refusal> {
    let (now, _) = rights.pin(source, id.pid)?;
    if now != id {
        return Err(ProcessError::Gone { pid: id.pid }.into());
    }
    Ok(())
}

/// What of `view` may be asked for. Targets of which nothing is left are left out.
fn visible(view: &Arc<AgentView>, rights: &Rights, source: &dyn ProcessSource) -> Arc<AgentView> {
    if rights.are_unbounded() {
        return Arc::clone(view);
    }
    let mut visible = AgentView::clone(view);
    let may_be_seen = |process: &ProcessView| {
        rights.include_view(process) && rights.include_process(source, process.id)
    };
    for target in &mut visible.targets {
        target.processes.retain(may_be_seen);
    }
    visible
        .targets
        .retain(|target| !target.processes.is_empty());
    Arc::new(visible)
}

/// What may be told of a process that may be asked for: nothing that was read while it was another's.
fn told_of(view: &Arc<AgentView>, id: ProcessId, rights: &Rights) -> Arc<AgentView> {
    let is_of_another = |it: &ProcessView| it.id == id && !rights.include_view(it);
    let mut views = view.targets.iter().flat_map(|it| &it.processes);
    if !views.any(is_of_another) {
        return Arc::clone(view);
    }
    let mut told = AgentView::clone(view);
    for process in told.targets.iter_mut().flat_map(|it| &mut it.processes) {
        if is_of_another(process) {
            *process = ProcessView {
                since: process.since,
                ..ProcessView::new(id)
            };
        }
    }
    Arc::new(told)
}

/// An answer that does not become longer than it may.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = u32::try_from(self.0.len().saturating_add(bytes.len()));
        if length.is_ok_and(|length| length <= ANSWER_BYTES_MAX) {
            self.0.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        Err(io::ErrorKind::FileTooLarge.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

fn too_large() -> ControlError {
    let message = format!(
        "the answer has more than {} MiB, too much to be sent",
        ANSWER_BYTES_MAX >> 20
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
            decision_max: Duration::from_secs(5),
            sending_max: Duration::from_secs(30),
        }
    }
}
