//! From a pid to snapshots: recognise the runtime, bind a reader to the process, read.

mod access;
mod error;
mod freeze;
mod image;
mod owned_memory;
mod unsuitable;

pub use crate::asyncio::Workspace;
pub use crate::memory::Sign;
pub use access::{Access, Aspect, Check, Reader, Verdict, what_agent_lacks};
pub use error::ProcessError;
pub use freeze::is_kept_from_tracing;
pub use image::sign_of;

use crate::asyncio::{self, AsyncioOffsets, Knowledge, Read, Stillness, find_asyncio, read_graph};
use crate::cpython::{
    self, DecodeError, Interpreter, Modules, Offsets, RuntimeSite, TypeCache, find_runtime,
    has_module, imports,
};
use crate::elf::ElfImage;
use crate::graph::{LongWait, ProcessInfo, ReadStats, Snapshot, TaskGraph};
use crate::ids::{Pid, ProcessId, TaskId, Tid};
use crate::limits::{Limits, SCAN_TIME, Stop};
use crate::memory::{self, ProcessVm, ReadErrorKind, ReadMemory, RemoteAddr};
use crate::procfs::{Asleep, ClockShift, Maps, ProcRoot, ProcfsError, ThreadIds, WaitsIn};
use image::Image;
use owned_memory::OwnedMemory;
use rustc_hash::FxHashMap;
use std::time::Duration;
use unsuitable::{explain_offsets, no_asyncio, no_runtime};

/// The sections of ELF files that are looked for.
const SECTIONS: [&str; 2] = [cpython::RUNTIME_SECTION, asyncio::ASYNCIO_SECTION];

/// Most looks at the modules of an interpreter that imports some just then.
const MODULES_LOOKS_MAX: u32 = 20;

/// Most looks at a process that executes another program just then.
const LOOKS_MAX: u32 = 10;

/// Most times that a process is read which executes another program meanwhile.
const READS_MAX: u32 = 3;

/// A process whose task graph can be read.
#[derive(Debug)]
pub struct Process {
    root: ProcRoot,
    id: ProcessId,
    /// The thread by which its memory is reached.
    thread: Pid,
    memory: OwnedMemory,
    /// By what it is told that it still executes the same program; `None` if the kernel does not say.
    sign: Option<Sign>,
    limits: Limits,
    /// Ends its snapshots.
    stop: Option<Stop>,
    site: RuntimeSite,
    asyncio: AsyncioOffsets,
    knowledge: Knowledge,
    workspace: Workspace,
    last: Option<Exact>,
    /// It slept while it was read last, so that this was all of one moment.
    slept: bool,
    /// For how long the latest snapshot kept it from running.
    stood_still: Duration,
    /// How much is kept: see [`keep_at_most`](Self::keep_at_most).
    snapshot_bytes_max: usize,
    code_bytes_max: usize,
    /// What the latest snapshot found out of the tasks that were asked about.
    long_waits: Vec<LongWait>,
    thread_ids: ThreadIds,
    /// What is between its clock and ours, if that is known.
    clock_shift: Option<ClockShift>,
}

/// A table in which a process describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The section of a file in which it stands.
    pub section: &'static str,
    /// Where it is in memory, if that is kept.
    pub at: Option<RemoteAddr>,
    /// The file that is mapped there: data of the process.
    pub file: Option<String>,
}

/// A snapshot of a process that did not run while it was taken.
#[derive(Debug)]
struct Exact {
    asleep: Asleep,
    snapshot: Snapshot,
}

impl Process {
    /// Binds a reader to the process `pid`.
    ///
    /// # Errors
    ///
    /// When there is no such process, it may not be read, or it runs nothing that is supported.
    pub fn attach(root: &ProcRoot, pid: Pid, limits: Limits) -> Result<Self, ProcessError> {
        let explain = |error| ProcessError::of_procfs(pid, error);
        if root.is_of_our_pid_namespace() == Some(false) {
            return Err(ProcessError::OtherPidNamespace { pid });
        }
        let stat = root.stat(pid).map_err(explain)?;
        root.expect_process(pid).map_err(explain)?;
        let Some(thread) = root.living_thread_of(pid, stat).map_err(explain)? else {
            return Err(ProcessError::NotFound { pid });
        };
        let start = stat.start_time;
        let id = ProcessId { pid, start };
        let bound = Self::bind_settled(root, id, thread, limits);
        bound.map_err(|error| match root.stat(pid) {
            // What could not be found may just have gone.
            Ok(now) if (now.start_time, now.has_ended) == (start, stat.has_ended) => error,
            _ => ProcessError::Gone { pid },
        })
    }

    /// Binds to the process by one of its threads. That it does not execute what can be read is
    /// only said if it does not become something else at that moment.
    fn bind_settled(
        root: &ProcRoot,
        id: ProcessId,
        thread: Pid,
        limits: Limits,
    ) -> Result<Self, ProcessError> {
        let pid = id.pid;
        let mut n_looks = 0;
        let mut signs = Vec::new();
        loop {
            let (image, maps) =
                Image::look(root, thread).map_err(|error| ProcessError::of_procfs(pid, error))?;
            let bound = Self::bind(root, id, thread, limits, &maps, image.sign);
            n_looks += 1;
            let may_change = match &bound {
                // By the next look there is a sign of the program.
                Ok(_) => image.sign.is_none() && n_looks < LOOKS_MAX,
                Err(error) => is_verdict(error),
            };
            if !may_change || image.has_settled(root, pid, thread) {
                return bound;
            }
            signs.push(image.sign);
            if n_looks == LOOKS_MAX {
                // One that maps other files all the time is still the same program.
                let is_same = signs.iter().all(|sign| *sign == image.sign);
                return if is_same && !image.is_unfinished {
                    bound
                } else {
                    Err(ProcessError::NotStarted { pid })
                };
            }
        }
    }

    /// Binds to the process by one of its threads; they all share its memory.
    fn bind(
        root: &ProcRoot,
        id: ProcessId,
        thread: Pid,
        limits: Limits,
        maps: &Maps,
        sign: Option<Sign>,
    ) -> Result<Self, ProcessError> {
        let pid = id.pid;
        let memory = OwnedMemory::new(ProcessVm::new(thread).only_of(sign), root);
        probe(pid, &memory, maps)?;
        let mut modules = Modules::new(maps, |mapped| {
            let file = root.open_mapped(thread, mapped)?;
            ElfImage::read(&mut |at, into| file.read_at(at, into), &SECTIONS).ok()
        });
        let site = find_runtime(&memory, maps, &mut modules)
            .map_err(|error| explain_offsets(pid, maps, error))?
            .ok_or_else(|| no_runtime(pid, maps))?;
        let asyncio = find_asyncio(&memory, maps, &mut modules, &site.offsets)
            .map_err(|error| ProcessError::BadOffsets {
                pid,
                why: error.to_string(),
            })?
            .ok_or_else(|| match memory.read_exact(site.runtime, &mut [0]) {
                Err(error) if error.kind == ReadErrorKind::OtherProgram => {
                    ProcessError::NotStarted { pid }
                }
                _ => no_asyncio(pid, &site),
            })?;
        drop(modules);
        Ok(Self {
            root: root.clone(),
            id,
            thread,
            memory,
            sign,
            limits,
            stop: None,
            site,
            asyncio,
            knowledge: Knowledge::default(),
            workspace: Workspace::default(),
            last: None,
            slept: false,
            stood_still: Duration::ZERO,
            snapshot_bytes_max: usize::MAX,
            code_bytes_max: usize::MAX,
            long_waits: Vec::new(),
            thread_ids: ThreadIds::default(),
            clock_shift: root.clock_shift(thread),
        })
    }

    /// Which process this is.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// The sign of the program that it was attached to, if the process still executes that one; `None` also if that
    /// cannot be told. All that a snapshot has is of the program whose sign was told before and after it.
    pub fn program(&self) -> Option<Sign> {
        let sign = self.sign?;
        let is_there = self.memory.read_exact(sign.at, &mut [0]).is_ok();
        is_there.then_some(sign)
    }

    /// What is known of it.
    pub fn info(&self) -> ProcessInfo {
        ProcessInfo {
            pid: Some(self.id.pid),
            start_time: Some(self.id.start),
            python_version: Some(self.site.offsets.version.to_string()),
            free_threaded: Some(self.site.offsets.free_threaded),
        }
    }

    /// The tables in which it describes itself, by which everything else is found.
    pub fn tables(&self) -> Vec<Table> {
        let at = self.site.runtime;
        let file = self.root.path_mapped_at(self.thread, at.as_u64());
        vec![
            Table {
                section: cpython::RUNTIME_SECTION,
                at: Some(at),
                file: file.unwrap_or_default(),
            },
            Table {
                section: asyncio::ASYNCIO_SECTION,
                at: None,
                file: None,
            },
        ]
    }

    /// The ranges of memory that the last snapshot touched, in the order in which it needed them: first
    /// address and length in bytes. For measuring what copying them costs.
    pub fn touched(&self) -> Vec<(RemoteAddr, usize)> {
        self.knowledge.trail().ranges()
    }

    /// Has the next snapshot read the process even if it has not run since the last one. For measuring.
    pub fn forget_last(&mut self) {
        self.last = None;
    }

    /// From now on these caps hold for each snapshot.
    pub fn set_limits(&mut self, limits: Limits) {
        if limits != self.limits {
            self.limits = limits;
            self.last = None;
        }
    }

    /// From one snapshot to the next so much is kept of it: its latest one, if it takes no more than so many bytes for each
    /// task and this besides; and what was decoded of its code.
    pub fn keep_at_most(&mut self, snapshot_bytes_max: usize, code_bytes_max: usize) {
        self.snapshot_bytes_max = snapshot_bytes_max;
        self.code_bytes_max = code_bytes_max;
    }

    /// Snapshots from now on read nothing more once `stop` says so; what is missing then is a problem of
    /// theirs.
    pub fn stop_with(&mut self, stop: Option<Stop>) {
        self.stop = stop;
    }

    /// Reads the task graph once. A process that has not run since it was read last is not read again: the
    /// same graph describes it. One that executes another program meanwhile is read anew, a few times.
    ///
    /// # Errors
    ///
    /// When the process has ended, may not be read any more, or has not imported asyncio (yet).
    /// Everything else that goes wrong is in the snapshot's problems.
    pub fn snapshot(&mut self) -> Result<Snapshot, ProcessError> {
        let mut workspace = std::mem::take(&mut self.workspace);
        let snapshot = self.snapshot_in(&mut workspace);
        self.workspace = workspace;
        snapshot
    }

    /// Like [`Self::snapshot`], in memory that is shared with other processes.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn snapshot_in(&mut self, workspace: &mut Workspace) -> Result<Snapshot, ProcessError> {
        let mut n_reads = 1;
        loop {
            match self.read(workspace, None) {
                Err(ProcessError::NotStarted { .. }) if n_reads < READS_MAX => n_reads += 1,
                read => return read,
            }
        }
    }

    /// Reads the task graph if the process sleeps; `None` if it does not, or ran before it was read.
    fn read_asleep(&mut self, workspace: &mut Workspace) -> Result<Option<Snapshot>, ProcessError> {
        if self.root.asleep(self.id.pid).is_none() {
            return Ok(None);
        }
        let snapshot = self.read(workspace, None)?;
        Ok(self.slept.then_some(snapshot))
    }

    fn attach_anew(&mut self) -> Result<(), ProcessError> {
        let pid = self.id.pid;
        let anew = Self::attach(&self.root, pid, self.limits)?;
        if anew.id != self.id {
            return Err(ProcessError::Gone { pid });
        }
        let (stop, stood_still) = (self.stop.take(), self.stood_still);
        *self = Self {
            stop,
            stood_still,
            ..anew
        };
        Ok(())
    }

    /// Gives the latest snapshot once more: the process has slept on.
    fn keep(&mut self, last: Exact) -> Snapshot {
        self.last.insert(last).snapshot.clone()
    }

    /// Reads the task graph of the program that the process executes. `let_go` is of a process that is held; it is asked when nothing is left to
    /// be read whether it was held until then.
    fn read(
        &mut self,
        workspace: &mut Workspace,
        let_go: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Snapshot, ProcessError> {
        let pid = self.id.pid;
        if self.must_attach_anew()? {
            self.attach_anew()?;
        }
        // Best asked first: what the process did before does not matter.
        let asleep = match let_go {
            Some(_) => None,
            None => self.root.asleep(pid),
        };
        self.long_waits.clear();
        let last = self.last.take();
        let last = last.filter(|last| asleep.as_ref() == Some(&last.asleep));
        let is_asked = self.knowledge.is_asked();
        let last = match last {
            Some(last) if !is_asked => {
                self.check_same()?;
                self.slept = true;
                return Ok(self.keep(last));
            }
            last => last,
        };
        let buffers = std::mem::take(&mut workspace.buffers);
        let mut reader = memory::Reader::reuse(&self.memory, self.limits, buffers);
        reader.stop_with(self.stop.clone());
        let root = &self.root;
        let mut slept_on = asleep
            .as_ref()
            .map(|asleep| move || root.slept_on(pid, asleep));
        let stillness = match (let_go, &mut slept_on) {
            (Some(let_go), _) => Stillness::Held(let_go),
            (None, Some(slept_on)) => Stillness::Slept(slept_on),
            (None, None) => Stillness::Runs,
        };
        let (site, asyncio) = (&self.site, &self.asyncio);
        let knowledge = &mut self.knowledge;
        knowledge.set_clock(self.clock_shift.and_then(ClockShift::now));
        let mut read = read_graph(&mut reader, site, asyncio, knowledge, workspace, stillness)
            .map_err(|error| self.explain_decode(error))?;
        let has_asyncio = has_asyncio(&read, &mut reader, &self.site.offsets);
        if self.must_attach_anew()? {
            return Err(ProcessError::NotStarted { pid });
        }
        if !has_asyncio {
            return Err(no_asyncio(pid, &self.site));
        }
        let stats = reader.stats();
        workspace.buffers = reader.into_buffers();
        self.note_runs(&mut read.graph);
        let long_waits = std::mem::take(&mut read.long_waits);
        self.keep_long_waits(long_waits, &read.graph, read.is_exact);
        let is_whole = read.limits_hit.names().all(|limit| limit != SCAN_TIME);
        let slept = read.is_exact && is_whole && asleep.is_some();
        self.slept = slept;
        let is_untroubled = read.is_exact && read.n_problems == 0;
        if let Some(last) = last.filter(|_| is_untroubled) {
            // It was read again for these alone.
            return Ok(self.keep(last));
        }
        let snapshot = Snapshot {
            process: self.info(),
            stats: stats_of(&read, stats.syscalls, stats.bytes),
            graph: read.graph.into(),
            problems: read.problems,
            complete: read.n_problems == 0,
        };
        self.keep_of(&snapshot, asleep.filter(|_| slept));
        Ok(snapshot)
    }

    /// Keeps what may be kept of a snapshot: all of it if the process sleeps, and has done so while it was read.
    fn keep_of(&mut self, snapshot: &Snapshot, asleep: Option<Asleep>) {
        self.knowledge.keep_at_most(self.code_bytes_max);
        let graph = &snapshot.graph;
        let of_tasks = graph.tasks().len().saturating_mul(BYTES_PER_TASK);
        let bytes_max = of_tasks.saturating_add(self.snapshot_bytes_max);
        let asleep = asleep.filter(|_| graph.bytes() <= bytes_max);
        self.last = asleep.map(|asleep| {
            let mut snapshot = snapshot.clone();
            snapshot.stats.syscalls = 0;
            snapshot.stats.bytes_read = 0;
            Exact { asleep, snapshot }
        });
    }

    fn note_runs(&mut self, graph: &mut TaskGraph) {
        let (root, thread_ids, pid) = (&self.root, &mut self.thread_ids, self.id.pid);
        thread_ids.begin();
        graph.note_runs(THREADS_RUN_MAX, |tid| {
            root.times_run(pid, thread_ids.ours(root, pid, tid)?)
        });
    }

    /// Keeps what was found out of tasks that were asked about. An event loop that waits in its selector is not held up,
    /// whatever its timers say: it has gone there after they were read, or it has a clock of its own. Nor is one whose process
    /// is stopped. One that is in a callback, or of which that cannot be told, and whose thread waits elsewhere, is blocked; also in a
    /// selector, if the process slept all the time (`is_exact`), so that it cannot be the one of the event loop.
    fn keep_long_waits(&mut self, waits: Vec<LongWait>, graph: &TaskGraph, is_exact: bool) {
        self.long_waits = by_our_clock(waits, self.clock_shift);
        let mut known: FxHashMap<Tid, Option<WaitsIn>> = FxHashMap::default();
        for wait in &mut self.long_waits {
            let is_of_interest = wait.loop_is_blocked || wait.loop_due_at.is_some();
            let task = graph.find(wait.task).filter(|_| is_of_interest);
            let Some(tid) = task.map(|task| graph.thread_of(task).tid) else {
                wait.loop_is_blocked = false;
                continue;
            };
            let waits = *known.entry(tid).or_insert_with(|| {
                let (root, pid) = (&self.root, self.id.pid);
                let thread = self.thread_ids.ours(root, pid, tid);
                thread.and_then(|thread| root.waits_in(pid, thread))
            });
            // A callback may use a file with a time limit.
            let is_in_selector_of_callback = wait.loop_is_in_callback && is_exact;
            let is_free = match waits {
                Some(WaitsIn::Epoll) => !is_in_selector_of_callback,
                Some(WaitsIn::Stop) => true,
                Some(WaitsIn::Other | WaitsIn::OtherSelector) | None => false,
            };
            wait.loop_due_at = wait.loop_due_at.filter(|_| !is_free);
            wait.loop_is_blocked &= match waits {
                Some(WaitsIn::Other) => true,
                Some(WaitsIn::OtherSelector) | None => wait.loop_is_in_callback,
                Some(WaitsIn::Epoll) => is_in_selector_of_callback,
                Some(WaitsIn::Stop) => false,
            };
        }
    }

    /// Has the next snapshot look closely at these tasks, which have waited for long.
    pub fn ask(&mut self, tasks: Vec<TaskId>) {
        self.knowledge.ask(tasks);
    }

    /// What the latest snapshot found out of the tasks that were asked about, as far as they could be read.
    pub fn long_waits(&self) -> &[LongWait] {
        &self.long_waits
    }

    /// Whether what was found at attach no longer holds: the process has executed another program,
    /// which leaves its pid and its start time, or the thread by which we read has ended.
    fn must_attach_anew(&self) -> Result<bool, ProcessError> {
        if !self.has_thread() {
            // Another thread has to serve, if one is left.
            return Ok(true);
        }
        self.check_same()?;
        // The same at the same place; all that can be told without a sign.
        let mut head = [0; 16];
        match self.memory.read_exact(self.site.runtime, &mut head) {
            Ok(()) => Ok(!self.site.offsets.is_head_of(&head)),
            Err(error)
                if [ReadErrorKind::OtherProgram, ReadErrorKind::Unmapped].contains(&error.kind) =>
            {
                Ok(true)
            }
            Err(error) => Err(self.explain_decode(error.into())),
        }
    }

    /// Whether the thread by which we read is still one of the process. The first one is as long as
    /// there is a process.
    fn has_thread(&self) -> bool {
        let pid = self.id.pid;
        self.thread == pid || self.root.has_thread(pid, self.thread)
    }

    /// That the pid is still this process's.
    fn check_same(&self) -> Result<(), ProcessError> {
        let pid = self.id.pid;
        match self.root.stat(pid) {
            Ok(stat) if stat.start_time == self.id.start && self.has_thread() => Ok(()),
            Ok(_) | Err(ProcfsError::NoProcess { .. }) => Err(ProcessError::Gone { pid }),
            Err(error) => Err(ProcessError::of_procfs(pid, error)),
        }
    }

    fn explain_decode(&self, error: DecodeError) -> ProcessError {
        let pid = self.id.pid;
        match error {
            DecodeError::Read(error) if error.kind == ReadErrorKind::ProcessGone => {
                ProcessError::Gone { pid }
            }
            DecodeError::Read(error) if error.kind == ReadErrorKind::OtherProgram => {
                ProcessError::NotStarted { pid }
            }
            error => {
                let refused = match &error {
                    DecodeError::Read(error) => refusal(error.kind),
                    _ => None,
                };
                match refused {
                    Some(what) => ProcessError::Denied {
                        pid,
                        what: what.to_owned(),
                    },
                    None => ProcessError::Failed {
                        pid,
                        why: error.to_string(),
                    },
                }
            }
        }
    }
}

fn stats_of(read: &Read, syscalls: u64, bytes_read: u64) -> ReadStats {
    ReadStats {
        syscalls,
        bytes_read,
        tasks_unreadable: read.tasks_unreadable,
        tasks_counted: read.tasks_counted,
        lists_cut: read.lists_cut,
        tasks_ended: read.tasks_ended,
        edges_ended: read.edges_ended,
        problems: read.n_problems,
        restarts: read.restarts,
        limits_hit: read.limits_hit,
        running_loops: read.running_loops,
        ..ReadStats::default()
    }
}

/// What a task takes in a snapshot that is kept, with what belongs to it: an ordinary name and its part of an ordinary stack.
const BYTES_PER_TASK: usize = 400;
/// Threads that the kernel is asked about for one snapshot: a file is opened for each, and the process says how many
/// have event loops.
const THREADS_RUN_MAX: usize = 1_024;

/// Whether asyncio was imported.
fn has_asyncio(read: &Read, reader: &mut memory::Reader<'_>, offsets: &Offsets) -> bool {
    if !read.graph.tasks().is_empty() || read.running_loops > 0 {
        return true;
    }
    // What a limit left out is not known to be missing.
    if read.limits_hit.names().next().is_some() {
        return true;
    }
    let mut interpreters = read.interpreters.iter();
    let has_it = interpreters.any(|interpreter| !lacks_asyncio(reader, offsets, *interpreter));
    reader.look_back();
    has_it
}

/// Whether an interpreter certainly has not imported asyncio: twice in a row it was not among its
/// modules, and nothing was imported meanwhile. One whose modules cannot be read, or change all the time,
/// may well have.
fn lacks_asyncio(
    reader: &mut memory::Reader<'_>,
    offsets: &Offsets,
    interpreter: Interpreter,
) -> bool {
    let mut types = TypeCache::default();
    let mut lacked = None;
    for _ in 0..MODULES_LOOKS_MAX {
        reader.look_aside();
        let before = imports(reader, offsets, interpreter);
        let found = has_module(reader, offsets, &mut types, interpreter, "asyncio");
        reader.look_aside();
        let after = imports(reader, offsets, interpreter);
        lacked = match (before, found, after) {
            (_, Ok(true), _) => return false,
            (Ok(before), Ok(false), Ok(after)) if before == after => {
                if lacked == Some(after) {
                    return true;
                }
                Some(after)
            }
            _ => None,
        };
    }
    false
}

/// What was refused, if reads of whatever memory are.
fn refusal(kind: ReadErrorKind) -> Option<&'static str> {
    match kind {
        ReadErrorKind::Denied => Some("process_vm_readv"),
        ReadErrorKind::Unavailable => Some("process_vm_readv is not available"),
        _ => None,
    }
}

/// Tries to read a byte. The kernel may show the mappings of a process whose memory it does not let
/// us read (Yama's `ptrace_scope`).
fn probe(pid: Pid, memory: &dyn ReadMemory, maps: &Maps) -> Result<(), ProcessError> {
    for start in &maps.readable {
        let Err(error) = memory.read_exact(RemoteAddr::new(*start), &mut [0]) else {
            return Ok(());
        };
        if let Some(what) = refusal(error.kind) {
            let what = what.to_owned();
            return Err(ProcessError::Denied { pid, what });
        }
        if error.kind == ReadErrorKind::ProcessGone {
            return Err(ProcessError::Gone { pid });
        }
    }
    Ok(())
}

/// Whether this says what the process executes.
fn is_verdict(error: &ProcessError) -> bool {
    matches!(
        error,
        ProcessError::NotPython { .. }
            | ProcessError::Unsupported { .. }
            | ProcessError::BadOffsets { .. }
    )
}

/// Says by our clock when timers are due. Those of a clock of which nothing is known count for nothing.
fn by_our_clock(waits: Vec<LongWait>, shift: Option<ClockShift>) -> Vec<LongWait> {
    let by_ours = |wait: LongWait| wait.with_times(|time| shift?.to_ours(time));
    waits.into_iter().map(by_ours).collect()
}
