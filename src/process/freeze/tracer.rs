//! The thread that stops a process by ptrace(2): seizes and interrupts all its threads
//! (`PTRACE_SEIZE`, `PTRACE_INTERRUPT`), which no signal has a part in, so that its parent, its shell
//! and its job control notice nothing. ptrace(2) knows a tracer as a thread; this one lives for one
//! pause.
//!
//! Facts of the kernel that this rests on (ptrace(2); kernel/ptrace.c and kernel/signal.c of Linux
//! 6.18):
//!
//! - When the tracing thread ends, in whatever way, the kernel lets all its tracees go, those that
//!   have not stopped yet too, and does nothing else meanwhile (exit_ptrace()). `PTRACE_DETACH` can only
//!   let go of one that has stopped, and those that it lets go first take the processors from us: of a
//!   thousand threads the last one stood for 200 ms longer. So the process is let go by ending.
//! - A thread that gets a signal after it was seized stops before the signal reaches it. The signal
//!   goes on to it when its stop was never waited for and the tracer ends. So stops are looked at by
//!   `PTRACE_GETSIGINFO`, never waited for: no signal is lost even when we are killed.
//! - A thread that was stopped by a signal (SIGSTOP) before is stopped again when it is let go, unless
//!   SIGCONT came meanwhile.
//! - An ended thread stays a zombie until its tracer waits for it, and an execve(2) by another thread
//!   of the process waits for that. That other thread then has the id of the first one.

use super::PauseEnd;
use crate::ids::{Pid, ProcessId};
use crate::process::ProcessError;
use crate::procfs::{ProcRoot, ProcfsError};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{getpid, gettid};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// Most attempts to seize a thread that is refused for no reason that can be seen: its tracer may
/// have let it go between the attempt and the look for who that was.
const SEIZE_ATTEMPTS_MAX: u32 = 20;
/// The same of one that an earlier thread of ours traces: that is ending, for which it has to get a processor.
const OWN_ATTEMPTS_MAX: u32 = 2_500;
/// The time between two of them.
const SEIZE_AGAIN: Duration = Duration::from_micros(200);
/// The first and the longest sleep between two looks at threads that have not stopped yet. Sleeping
/// leaves them the processor that they may need to do so.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_micros(10), Duration::from_millis(1)];

/// What the kernel takes at most to let one thread go, and to end ours.
const LET_GO: Duration = Duration::from_micros(4);
const END: Duration = Duration::from_micros(100);
/// From so many threads on, the time that seizing them took tells whether the limit can be kept.
const THREADS_MANY: usize = 64;

/// Whether the kernel keeps us from ptrace(2) altogether, as a seccomp filter does (`SystemCallFilter=` of systemd.exec(5)). It
/// is tried on a process that cannot be: none has so high an id (`PID_MAX_LIMIT`, include/linux/threads.h), which is what is
/// said if the call is allowed (kernel/ptrace.c).
pub fn is_kept_from_tracing() -> bool {
    let none = nix::unistd::Pid::from_raw(i32::MAX);
    ptrace::seize(none, ptrace::Options::empty()) != Err(Errno::ESRCH)
}

/// What a seized thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tracee {
    /// It runs, or stands before a signal that came meanwhile.
    Seized,
    /// It runs, or has stopped since it was last looked at.
    Interrupted,
    /// It stands, perhaps before a signal that came meanwhile.
    Stopped,
    /// It has ended, or is about to.
    Ended,
}

/// The work of the tracing thread.
pub(super) struct Tracer {
    root: ProcRoot,
    id: ProcessId,
    limit: Duration,
    threads_max: usize,
    /// The threads that were seized.
    tracees: BTreeMap<Pid, Tracee>,
    /// How many were left alone because the limit was reached.
    n_left: usize,
    /// When the first one was.
    began: Option<Instant>,
}

impl Tracer {
    pub(super) fn new(root: &ProcRoot, id: ProcessId, limit: Duration, threads_max: u32) -> Self {
        Self {
            root: root.clone(),
            id,
            limit,
            threads_max: usize::try_from(threads_max).unwrap_or(usize::MAX),
            tracees: BTreeMap::new(),
            n_left: 0,
            began: None,
        }
    }

    /// The process that it stops.
    pub(super) fn pid(&self) -> Pid {
        self.id.pid
    }

    /// Stops the process, tells `ready` when it stands, and ends when `held` is closed or the limit is
    /// reached. The end of the thread lets the process go.
    pub(super) fn run(
        mut self,
        ready: &Sender<Result<(), ProcessError>>,
        held: &Receiver<()>,
    ) -> Outcome {
        let end = self.stop_all().map(|failed| match failed {
            Some(end) => end,
            // There is no time left to read anything in.
            None if self.is_over() => PauseEnd::Limit,
            None => {
                // Sending fails when nobody waits any more, which `held` tells as well.
                let _ = ready.send(Ok(()));
                let left = self.limit.saturating_sub(self.elapsed());
                let early = self.time_to_let_go().saturating_sub(END);
                match held.recv_timeout(left.saturating_sub(early)) {
                    Err(RecvTimeoutError::Timeout) => PauseEnd::Limit,
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => PauseEnd::Done,
                }
            }
        });
        // Nothing stood still if no thread could be seized.
        let began = self.began.filter(|_| !self.tracees.is_empty());
        Outcome {
            thread: gettid(),
            time_to_let_go: self.time_to_let_go(),
            began,
            held: elapsed_since(began),
            end,
        }
    }

    /// Stops all threads; returns why not all stand.
    fn stop_all(&mut self) -> Result<Option<PauseEnd>, ProcessError> {
        loop {
            // A thread that this listing shows and that was seized before it is the process's own:
            // while we hold it, nobody else can get its id.
            let listed = self.list()?;
            let n_interrupted = self.interrupt(&listed);
            let n_seized = self.seize_new(&listed)?;
            let n_to_interrupt = self.count(|tracee| matches!(tracee, Tracee::Seized));
            if self.n_left > 0 || n_to_interrupt > 0 && self.is_over() {
                return Ok(Some(self.not_stopped()));
            }
            // Interrupting them takes as long as seizing them at least, and only then do they stand.
            let least = self.elapsed() * 2 + self.time_to_let_go();
            if n_seized >= THREADS_MANY && least > self.limit {
                let of = self.count(|tracee| !matches!(tracee, Tracee::Ended));
                return Ok(Some(PauseEnd::TooManyThreads { of }));
            }
            if n_seized == 0 {
                if !self.await_stops() {
                    return Ok(Some(self.not_stopped()));
                }
                // Nobody was left to start another thread when the listing was made.
                if n_interrupted == 0 {
                    return Ok(None);
                }
            }
        }
    }

    fn not_stopped(&self) -> PauseEnd {
        let running = |tracee: &Tracee| matches!(tracee, Tracee::Seized | Tracee::Interrupted);
        let of = self.n_left + self.count(|tracee| !matches!(tracee, Tracee::Ended));
        match self.n_left + self.count(running) {
            0 => PauseEnd::Limit,
            running => PauseEnd::NotStopped { running, of },
        }
    }

    /// The threads of the process.
    fn list(&self) -> Result<Vec<Pid>, ProcessError> {
        let pid = self.id.pid;
        let explain = |error| match error {
            ProcfsError::NoProcess { .. } => ProcessError::Gone { pid },
            error => ProcessError::of_procfs(pid, error),
        };
        if self.root.stat(pid).map_err(explain)?.start_time != self.id.start {
            return Err(ProcessError::Gone { pid });
        }
        let listed = self.root.thread_ids(pid).map_err(explain)?;
        if listed.len() > self.threads_max {
            return Err(ProcessError::Failed {
                pid,
                why: format!("it has more than {} threads", self.threads_max),
            });
        }
        Ok(listed)
    }

    /// Interrupts those that were seized and are listed, until the limit is reached; returns how many.
    fn interrupt(&mut self, listed: &[Pid]) -> usize {
        let mut n_interrupted = 0;
        for thread in listed {
            if self.is_over() {
                break;
            }
            if let Some(tracee @ Tracee::Seized) = self.tracees.get_mut(thread) {
                // Only one that has ended cannot be, which the look at it will tell.
                let _ = ptrace::interrupt(raw(*thread));
                *tracee = Tracee::Interrupted;
                n_interrupted += 1;
            }
        }
        n_interrupted
    }

    /// Seizes those that are not seized yet, until the limit is reached; returns how many.
    fn seize_new(&mut self, listed: &[Pid]) -> Result<usize, ProcessError> {
        let mut new = Vec::new();
        for thread in listed {
            if self.tracees.contains_key(thread) {
                continue;
            }
            // No moment of the pause, if they are the first.
            if self.began.is_some() && self.is_over() {
                self.n_left += 1;
                continue;
            }
            let stat = self.root.stat(*thread);
            if stat.is_ok_and(|stat| !stat.has_ended && !stat.is_io_worker) {
                new.push(*thread);
            }
        }
        // Not only from the first interrupt on: a thread that gets a signal once it is seized stands.
        self.began.get_or_insert_with(now);
        let mut n_seized = 0;
        for thread in new {
            if self.is_over() {
                self.n_left += 1;
            } else if self.seize(thread)? {
                self.tracees.insert(thread, Tracee::Seized);
                n_seized += 1;
            }
        }
        Ok(n_seized)
    }

    /// Seizes a thread; returns whether it has not ended.
    fn seize(&self, thread: Pid) -> Result<bool, ProcessError> {
        let pid = self.id.pid;
        let mut error = ProcessError::FreezeDenied {
            pid,
            why: Errno::EPERM.desc().to_owned(),
        };
        let (mut n_attempts, mut attempts_max) = (0, SEIZE_ATTEMPTS_MAX);
        while n_attempts < attempts_max {
            n_attempts += 1;
            match ptrace::seize(raw(thread), ptrace::Options::empty()) {
                Ok(()) => return Ok(true),
                Err(Errno::ESRCH) => return Ok(false),
                // One that has ended, is traced, or may not be traced.
                Err(Errno::EPERM) => {}
                Err(errno) => {
                    let why = errno.desc().to_owned();
                    return Err(ProcessError::FreezeDenied { pid, why });
                }
            }
            if self.root.stat(thread).map_or(true, |stat| stat.has_ended) {
                return Ok(false);
            }
            if let Some(tracer) = self.tracer_of(thread) {
                // It has executed another program, and so taken the id of the first thread.
                if tracer.thread.as_raw() == gettid().as_raw() {
                    return Ok(true);
                }
                let is_own = tracer.process.as_raw() == getpid().as_raw();
                if is_own {
                    attempts_max = OWN_ATTEMPTS_MAX;
                }
                let is_certain = tracer.name.is_some() && !is_own;
                error = ProcessError::Traced {
                    pid,
                    tracer: tracer.process,
                    name: tracer.name,
                };
                if is_certain {
                    return Err(error);
                }
            }
            thread::sleep(SEIZE_AGAIN);
        }
        Err(error)
    }

    /// Who traces a thread. That may be an earlier thread of ours which is just ending.
    fn tracer_of(&self, thread: Pid) -> Option<TracerProcess> {
        let thread = self.root.status(thread).ok()?.tracer?;
        let status = self.root.status(thread).ok();
        let process = status.map_or(thread, |status| status.process);
        // The process's name, not the thread's.
        let name = self.root.status(process).ok().map(|status| status.name);
        Some(TracerProcess {
            thread,
            process,
            name,
        })
    }

    /// Waits until those that were interrupted have stopped or ended; returns whether they have before
    /// the limit.
    fn await_stops(&mut self) -> bool {
        let [mut sleep, sleep_max] = LOOK_AGAIN;
        while !self.look() {
            if self.is_over() {
                return false;
            }
            thread::sleep(sleep);
            sleep = (sleep * 2).min(sleep_max);
        }
        true
    }

    /// Looks at those that have not stopped yet; returns whether there are none any more.
    fn look(&mut self) -> bool {
        let (mut n_stopped, mut n_running) = (0, 0);
        for (thread, tracee) in &mut self.tracees {
            if *tracee == Tracee::Interrupted {
                // It fails for one that has not stopped.
                if ptrace::getsiginfo(raw(*thread)).is_ok() {
                    *tracee = Tracee::Stopped;
                    n_stopped += 1;
                } else {
                    n_running += 1;
                }
            }
        }
        // That takes longer to find out, so not while there are some that stop.
        if n_running > 0 && n_stopped == 0 {
            n_running -= self.look_for_ended();
        }
        n_running == 0
    }

    /// Looks which of those that have not stopped yet have ended, until the limit is reached; returns how
    /// many.
    fn look_for_ended(&mut self) -> usize {
        let mut n_ended = 0;
        let (began, limit) = (self.began, self.limit);
        for (thread, tracee) in &mut self.tracees {
            if elapsed_since(began) >= limit {
                break;
            }
            let has_ended = || self.root.stat(*thread).map_or(true, |stat| stat.has_ended);
            if *tracee == Tracee::Interrupted && has_ended() {
                *tracee = Tracee::Ended;
                n_ended += 1;
            }
        }
        // The first thread is its parent's to wait for. Its id may become that of another one.
        let first = self.id.pid;
        self.tracees.retain(|thread, tracee| {
            *tracee != Tracee::Ended || *thread != first && !reap(*thread)
        });
        n_ended
    }

    fn count(&self, is_counted: impl Fn(&Tracee) -> bool) -> usize {
        let tracees = self.tracees.values();
        tracees.filter(|tracee| is_counted(tracee)).count()
    }

    /// Whether the limit has been reached.
    fn is_over(&self) -> bool {
        self.elapsed() >= self.limit
    }

    /// How long the process has been standing still.
    fn elapsed(&self) -> Duration {
        elapsed_since(self.began)
    }

    /// What it takes to let the process go.
    fn time_to_let_go(&self) -> Duration {
        LET_GO * u32::try_from(self.tracees.len()).unwrap_or(u32::MAX) + END
    }
}

/// What became of a pause when the thread that made it ended.
pub(super) struct Outcome {
    /// That thread.
    pub(super) thread: nix::unistd::Pid,
    /// What the kernel takes at most to end it and let the process go.
    pub(super) time_to_let_go: Duration,
    /// When the first thread of the process was seized.
    began: Option<Instant>,
    /// For how long the process had stood still when it began to end.
    pub(super) held: Duration,
    /// How it ended; an error if the process could not be stopped.
    pub(super) end: Result<PauseEnd, ProcessError>,
}

impl Outcome {
    /// How long the process has been standing still.
    pub(super) fn elapsed(&self) -> Duration {
        elapsed_since(self.began)
    }
}

fn elapsed_since(began: Option<Instant>) -> Duration {
    began.map_or(Duration::ZERO, |began| {
        now().saturating_duration_since(began)
    })
}

/// A process that traces another.
struct TracerProcess {
    /// Its thread that does.
    thread: Pid,
    process: Pid,
    /// Its name, if it can be seen.
    name: Option<String>,
}

/// Takes note of a thread's end; returns whether it has come to it.
fn reap(thread: Pid) -> bool {
    let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
    waitpid(raw(thread), Some(flags)) != Ok(WaitStatus::StillAlive)
}

fn raw(thread: Pid) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(thread.as_raw())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the limit of a pause has to be kept by the thread that holds the process"
)]
fn now() -> Instant {
    Instant::now()
}
