//! Where processes come from: this machine, or what a test makes up. Everything here blocks.

use super::allowance::Allowance;
use super::looks::Looks;
use super::people::{People, Person};
use crate::graph::{LongWait, Snapshot};
use crate::ids::{Pid, ProcessId, TaskId};
use crate::limits::{Limits, Stop};
use crate::process::{
    Access, Process, ProcessError, Reader, Sign, Table, Workspace, sign_of, what_agent_lacks,
};
use crate::procfs::{ForeignThread, Owner, OwnerWatch, ProcRoot, ProcfsError, UserIds};
use crate::targets::{ReadFacts, probe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lists processes and attaches to them.
pub trait ProcessSource: Send + Sync + 'static {
    /// The processes that can be seen, this one left out.
    ///
    /// # Errors
    ///
    /// When there is no list to be had.
    fn processes(&self) -> Result<Vec<ProcessId>, ProcfsError>;

    /// What is known of them without reading their memory.
    fn facts(&self) -> &dyn ReadFacts;

    /// Whether the process is known to have ended. Takes no longer than looking it up.
    fn has_ended(&self, id: ProcessId) -> bool {
        let _ = id;
        false
    }

    /// How much memory the process has mapped, in bytes. A process that imports a module maps more. A source that does
    /// not know has it looked into each time.
    fn mapped_bytes(&self, id: ProcessId) -> Option<u64> {
        let _ = id;
        None
    }

    /// Which process has the id `pid` now, and whose it is. A source that does not know that has no such
    /// process.
    ///
    /// # Errors
    ///
    /// When there is none, or that cannot be found out.
    fn owner(&self, pid: Pid) -> Result<Owner, ProcessError> {
        Err(ProcessError::NotFound { pid })
    }

    /// The sign of the program that the process `pid` executes; `None` if that cannot be told. To a source that knows no
    /// programs all are the same.
    fn program(&self, pid: Pid) -> Option<Sign> {
        let _ = pid;
        Some(Sign::default())
    }

    /// A thread of the process that has other user ids than `users`, or may have. Takes one of `looks` for each thread
    /// that is looked at. A source that knows no threads has none.
    ///
    /// # Errors
    ///
    /// When the process has ended, or that cannot be found out.
    fn foreign_thread(
        &self,
        id: ProcessId,
        users: UserIds,
        looks: &mut Looks,
    ) -> Result<Option<ForeignThread>, ProcessError> {
        let _ = (id, users, looks);
        Ok(None)
    }

    /// A source for reading the process `id` for its owner `user`, hardly anything twice once `stop` says so. `None`: a source
    /// that knows no programs, for which this one does.
    fn for_owner(&self, id: ProcessId, user: u32, stop: &Stop) -> Option<OwnersSource> {
        let _ = (id, user, stop);
        None
    }

    /// Whether there is a process `pid` that the source does not see, and so says that there is none.
    fn hides(&self, pid: Pid) -> bool {
        let _ = pid;
        false
    }

    /// Whether users see no processes but their own (proc(5), `hidepid`), so that nobody may be told of another's.
    fn hides_from_strangers(&self) -> bool {
        false
    }

    /// What the agent lacks to read processes of all users, as advice; `None`: nothing that is known.
    fn lacks(&self) -> Option<String> {
        None
    }

    /// What the kernel's rule for reading the process `pid` comes to. `None`: nothing is known of it.
    fn access(&self, pid: Pid) -> Option<Access> {
        let _ = pid;
        None
    }

    /// Whose a user id is, by what was looked up last. Does not block.
    fn person(&self, user: u32) -> Person {
        Person::unknown(user)
    }

    /// Looks up whose user ids are.
    fn look_up_people(&self) {}

    /// Finds out whether the process can be read and uses asyncio.
    ///
    /// # Errors
    ///
    /// Why not.
    fn probe(&self, id: ProcessId) -> Result<(), ProcessError>;

    /// From now on these caps hold for each snapshot. A source whose snapshots have none may ignore them.
    fn set_limits(&self, limits: Limits) {
        let _ = limits;
    }

    /// Binds a reader to this process and no other.
    ///
    /// # Errors
    ///
    /// When it has ended, may not be read, or runs nothing that can be read.
    fn attach(&self, id: ProcessId) -> Result<Box<dyn AttachedProcess>, ProcessError>;
}

/// A process whose task graph can be read again and again.
pub trait AttachedProcess: Send {
    /// Reads it once, and no further once `stop` says so.
    ///
    /// # Errors
    ///
    /// When it cannot be read any more; then it must be attached to anew.
    fn snapshot(&mut self, stop: &Stop) -> Result<Snapshot, ProcessError>;

    /// The sign of the program that is read, if the process executes it still; `None` also if that cannot be told. What a
    /// snapshot has is of no other program, if this is the same before and after it.
    fn program(&self) -> Option<Sign> {
        Some(Sign::default())
    }

    /// Has the next snapshot look closely at these tasks, which have waited for long. A source whose tasks have
    /// no reasons to wait may ignore them.
    fn ask(&mut self, tasks: Vec<TaskId>) {
        let _ = tasks;
    }

    /// From now on no more is read than this, and than the source allows. A source whose snapshots have no caps may
    /// ignore it.
    fn allow(&mut self, allowance: Allowance) {
        let _ = allowance;
    }

    /// Has the next snapshot stop the process while it is read, for no longer than `pause_max`. A source whose processes
    /// cannot be stopped may ignore it.
    fn freeze(&mut self, pause_max: Duration) {
        let _ = pause_max;
    }

    /// For how long the latest snapshot kept the process from running, also if it has failed.
    fn stood_still(&self) -> Duration {
        Duration::ZERO
    }

    /// What the latest snapshot found out of the tasks that were asked about.
    fn long_waits(&self) -> &[LongWait] {
        &[]
    }

    /// The tables by which it is read.
    fn tables(&self) -> Vec<Table> {
        Vec::new()
    }
}

/// What a process is read from for its owner.
pub struct OwnersSource {
    /// The source.
    pub source: Box<dyn ProcessSource>,
    /// Whether all that was read from it so far was of programs of that user only, also if the process executed others.
    pub is_certain: Box<dyn Fn() -> bool>,
}

impl std::fmt::Debug for OwnersSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnersSource").finish_non_exhaustive()
    }
}

/// The processes of this machine.
#[derive(Debug, Clone, Default)]
pub struct HostProcesses {
    root: ProcRoot,
    people: People,
    /// Shared with the processes that were attached to.
    limits: Arc<Mutex<Limits>>,
    workspaces: Workspaces,
}

/// Memory for reading processes: as many pieces as are read at once, not one for each process.
type Workspaces = Arc<Mutex<Vec<Workspace>>>;

/// A process of this machine.
struct HostProcess {
    process: Process,
    limits: Arc<Mutex<Limits>>,
    allowance: Allowance,
    freeze: Option<Duration>,
    workspaces: Workspaces,
}

impl HostProcesses {
    /// The processes that the procfs at `root` shows.
    pub fn at(root: ProcRoot, limits: Limits) -> Self {
        Self {
            root,
            people: People::default(),
            limits: Arc::new(Mutex::new(limits)),
            workspaces: Workspaces::default(),
        }
    }
}

impl ProcessSource for HostProcesses {
    fn processes(&self) -> Result<Vec<ProcessId>, ProcfsError> {
        self.root.processes()
    }

    fn facts(&self) -> &dyn ReadFacts {
        &self.root
    }

    fn has_ended(&self, id: ProcessId) -> bool {
        match self.root.stat(id.pid) {
            Ok(stat) if stat.start_time != id.start => true,
            Ok(stat) if stat.has_ended => !matches!(self.root.living_thread(id.pid), Ok(Some(_))),
            Ok(_) => false,
            Err(error) => matches!(error, ProcfsError::NoProcess { .. }),
        }
    }

    fn mapped_bytes(&self, id: ProcessId) -> Option<u64> {
        let stat = self.root.stat(id.pid).ok()?;
        let bytes = stat.mapped_bytes;
        (stat.start_time == id.start && bytes > 0).then_some(bytes)
    }

    fn owner(&self, pid: Pid) -> Result<Owner, ProcessError> {
        self.root.owner(pid).map_err(|error| ownerless(pid, error))
    }

    fn program(&self, pid: Pid) -> Option<Sign> {
        let thread = self.root.living_thread(pid).ok()?;
        sign_of(&self.root, thread?)
    }

    fn foreign_thread(
        &self,
        id: ProcessId,
        users: UserIds,
        looks: &mut Looks,
    ) -> Result<Option<ForeignThread>, ProcessError> {
        let mut may_look = || looks.take();
        let found = self.root.foreign_thread(id.pid, users, &mut may_look);
        found.map_err(|error| ownerless(id.pid, error))
    }

    fn for_owner(&self, id: ProcessId, user: u32, stop: &Stop) -> Option<OwnersSource> {
        let watch = OwnerWatch::new(&self.root, id, user, stop.clone());
        let source = Self {
            root: self.root.watched_by(watch.clone()),
            ..self.clone()
        };
        Some(OwnersSource {
            source: Box::new(source),
            is_certain: Box::new(move || watch.is_certain()),
        })
    }

    fn hides(&self, pid: Pid) -> bool {
        self.root.hides(pid)
    }

    fn hides_from_strangers(&self) -> bool {
        self.root.hides_from_strangers()
    }

    fn set_limits(&self, limits: Limits) {
        *lock(&self.limits) = limits;
    }

    fn lacks(&self) -> Option<String> {
        what_agent_lacks(&self.root)
    }

    fn access(&self, pid: Pid) -> Option<Access> {
        Access::look(&self.root, pid, Reader::Agent).ok()
    }

    fn person(&self, user: u32) -> Person {
        self.people.person(user)
    }

    fn look_up_people(&self) {
        self.people.look_up();
    }

    fn probe(&self, id: ProcessId) -> Result<(), ProcessError> {
        probe(&self.root, id)
    }

    fn attach(&self, id: ProcessId) -> Result<Box<dyn AttachedProcess>, ProcessError> {
        let process = Process::attach(&self.root, id.pid, latest(&self.limits))?;
        if process.id() != id {
            return Err(ProcessError::Gone { pid: id.pid });
        }
        Ok(Box::new(HostProcess {
            process,
            limits: Arc::clone(&self.limits),
            allowance: Allowance::of_round(u32::MAX, 1),
            freeze: None,
            workspaces: Arc::clone(&self.workspaces),
        }))
    }
}

impl AttachedProcess for HostProcess {
    fn snapshot(&mut self, stop: &Stop) -> Result<Snapshot, ProcessError> {
        let mut workspace = lock(&self.workspaces).pop().unwrap_or_default();
        let limits = latest(&self.limits);
        self.process.set_limits(self.allowance.within(limits));
        let allowance = self.allowance;
        self.process
            .keep_at_most(allowance.snapshot_bytes(), allowance.code_bytes());
        self.process.stop_with(Some(stop.clone()));
        let snapshot = match self.freeze.take() {
            Some(pause_max) => self.process.snapshot_frozen_in(pause_max, &mut workspace),
            None => self.process.snapshot_in(&mut workspace),
        };
        lock(&self.workspaces).push(workspace);
        snapshot
    }

    fn program(&self) -> Option<Sign> {
        self.process.program()
    }

    fn ask(&mut self, tasks: Vec<TaskId>) {
        self.process.ask(tasks);
    }

    fn allow(&mut self, allowance: Allowance) {
        self.allowance = allowance;
    }

    fn freeze(&mut self, pause_max: Duration) {
        self.freeze = Some(pause_max);
    }

    fn stood_still(&self) -> Duration {
        self.process.stood_still()
    }

    fn long_waits(&self) -> &[LongWait] {
        self.process.long_waits()
    }

    fn tables(&self) -> Vec<Table> {
        self.process.tables()
    }
}

/// Why it cannot be told whose the process `pid` is.
fn ownerless(pid: Pid, error: ProcfsError) -> ProcessError {
    match ProcessError::of_procfs(pid, error) {
        ProcessError::Failed { pid, why } => ProcessError::Failed {
            pid,
            why: format!("cannot tell whose it is: {why}"),
        },
        error => error,
    }
}

/// The caps that hold now. A copy: what is read with them may hang, and nothing may be locked for that long.
fn latest(limits: &Mutex<Limits>) -> Limits {
    *lock(limits)
}

/// A panic elsewhere leaves nothing behind that could be wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
