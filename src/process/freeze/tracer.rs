//! The thread that stops a process by ptrace(2): seizes and interrupts all its threads
//! (`PTRACE_SEIZE`, `PTRACE_INTERRUPT`), which no signal has a part in, so that its parent, its shell
//! and its job control notice nothing. ptrace(2) knows a tracer as a thread; this one lives for one
//! pause.
//!
//! Facts of the kernel that this rests on (ptrace(2); kernel/ptrace.c and kernel/signal.c of Linux
//! 6.18):
//!
//! - When the tracing thread ends, in whatever way, the kernel lets all its tracees go, those that
//!   have not stopped yet too. `PTRACE_DETACH` can only let go of one that has stopped.
//! - A thread that gets a signal after it was seized stops before the signal reaches it. The signal
//!   goes on to it when its stop was never waited for and the tracer ends, or when it is passed on with
//!   `PTRACE_DETACH`. So stops are looked at by `PTRACE_GETSIGINFO`, never waited for: no signal is
//!   lost even when we are killed.
//! - A thread that was stopped by a signal (SIGSTOP) before is stopped again when it is let go, unless
//!   SIGCONT came meanwhile.
//! - An ended thread stays a zombie until its tracer waits for it, and an execve(2) by another thread
//!   of the process waits for that. That other thread then has the id of the first one.

use super::{Pause, PauseEnd};
use crate::ids::{Pid, ProcessId};
use crate::process::{ProcessError, explain_procfs};
use crate::procfs::{ProcRoot, ProcfsError};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{getpid, gettid};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// Most attempts to seize a thread that is refused for no reason that can be seen: its tracer may
/// have let it go between the attempt and the look for who that was.
const SEIZE_ATTEMPTS_MAX: u32 = 20;
/// The time between two of them.
const SEIZE_AGAIN: Duration = Duration::from_micros(200);
/// The first and the longest sleep between two looks at threads that have not stopped yet. Sleeping
/// leaves them the processor that they may need to do so.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_micros(10), Duration::from_millis(1)];

/// What a seized thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tracee {
    /// It runs, or stands before a signal that came meanwhile.
    Seized,
    /// It runs, or has stopped since it was last looked at.
    Interrupted,
    /// It stands. When it is let go it gets this signal, which it stood before.
    Stopped(Option<i32>),
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

    /// Stops the process, tells `ready`, and lets it go when `held` is closed or the limit is reached.
    pub(super) fn run(
        mut self,
        ready: &Sender<Result<(), ProcessError>>,
        held: &Receiver<()>,
    ) -> Pause {
        // Sending fails when nobody waits any more, which `held` tells as well.
        let end = match self.stop_all() {
            Err(error) => {
                let pause = self.let_go(PauseEnd::Done);
                let _ = ready.send(Err(error));
                return pause;
            }
            // There is no time left to read anything in.
            Ok(true) if self.is_over() => PauseEnd::Limit,
            Ok(true) => {
                let _ = ready.send(Ok(()));
                let left = self.limit.saturating_sub(self.elapsed());
                match held.recv_timeout(left) {
                    Err(RecvTimeoutError::Timeout) => PauseEnd::Limit,
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => PauseEnd::Done,
                }
            }
            Ok(false) => PauseEnd::NotStopped {
                running: self.n_left
                    + self.count(|it| matches!(it, Tracee::Seized | Tracee::Interrupted)),
                of: self.n_left + self.count(|it| !matches!(it, Tracee::Ended)),
            },
        };
        let pause = self.let_go(end);
        // Whoever waits for that goes on when the process does. Nobody does who was told before.
        let _ = ready.send(Ok(()));
        pause
    }

    /// Stops all threads; returns whether all stand.
    fn stop_all(&mut self) -> Result<bool, ProcessError> {
        loop {
            // A thread that this listing shows and that was seized before it is the process's own:
            // while we hold it, nobody else can get its id.
            let listed = self.list()?;
            let n_interrupted = self.interrupt(&listed);
            let n_seized = self.seize_new(&listed)?;
            if self.n_left > 0 || n_seized > 0 && self.is_over() {
                return Ok(false);
            }
            if n_seized == 0 {
                if !self.await_stops() {
                    return Ok(false);
                }
                // Nobody was left to start another thread when the listing was made.
                if n_interrupted == 0 {
                    return Ok(true);
                }
            }
        }
    }

    /// The threads of the process.
    fn list(&self) -> Result<Vec<Pid>, ProcessError> {
        let pid = self.id.pid;
        let explain = |error| match error {
            ProcfsError::NoProcess { .. } => ProcessError::Gone { pid },
            error => explain_procfs(pid, error),
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

    /// Interrupts those that were seized and are listed; returns how many.
    fn interrupt(&mut self, listed: &[Pid]) -> usize {
        let mut n_interrupted = 0;
        for thread in listed {
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
        let lives = |thread: &&Pid| {
            let stat = self.root.stat(**thread);
            stat.is_ok_and(|stat| !stat.has_ended && !stat.is_io_worker)
        };
        let is_new = |thread: &&Pid| !self.tracees.contains_key(thread);
        let new: Vec<Pid> = listed
            .iter()
            .filter(is_new)
            .filter(lives)
            .copied()
            .collect();
        // Not only from the first interrupt on: a thread that gets a signal once it is seized stands.
        self.began.get_or_insert_with(now);
        let mut n_seized = 0;
        for (at, thread) in new.iter().enumerate() {
            if self.is_over() {
                self.n_left = new.len() - at;
                break;
            }
            if self.seize(*thread)? {
                self.tracees.insert(*thread, Tracee::Seized);
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
        for _ in 0..SEIZE_ATTEMPTS_MAX {
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
                if let Ok(info) = ptrace::getsiginfo(raw(*thread)) {
                    *tracee = Tracee::Stopped(signal_of(&info));
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

    /// Looks which of those that have not stopped yet have ended; returns how many.
    fn look_for_ended(&mut self) -> usize {
        let mut n_ended = 0;
        for (thread, tracee) in &mut self.tracees {
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

    /// Lets all threads go.
    fn let_go(&mut self, end: PauseEnd) -> Pause {
        for (thread, tracee) in &self.tracees {
            if let Tracee::Stopped(signal) = *tracee {
                let signal = signal.map(Signal::try_from).transpose();
                // Real-time signals have no name here. For those, as for threads that have not
                // stopped, the kernel does it when this thread ends, which is now.
                if let Ok(signal) = signal {
                    // It fails for one that was killed.
                    let _ = ptrace::detach(raw(*thread), signal);
                }
            }
        }
        Pause {
            stood_still: self.elapsed(),
            end,
        }
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
        self.began.map_or(Duration::ZERO, |began| {
            now().saturating_duration_since(began)
        })
    }
}

/// A process that traces another.
struct TracerProcess {
    /// Its thread that does.
    thread: Pid,
    process: Pid,
    /// Its name, if it can be seen.
    name: Option<String>,
}

/// The signal that a stopped thread stands before; none if it was interrupted, or stopped by a signal
/// that reached it before.
fn signal_of(info: &libc::siginfo_t) -> Option<i32> {
    let of_event_stop = info.si_signo | (libc::PTRACE_EVENT_STOP << 8);
    (info.si_code != of_event_stop).then_some(info.si_signo)
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
