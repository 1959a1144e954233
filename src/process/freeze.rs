//! Stopping a process while it is read: the one exception to the rule that a process is never
//! stopped, made only on request.
//!
//! All threads of the process are seized and interrupted (ptrace(2): `PTRACE_SEIZE`,
//! `PTRACE_INTERRUPT`), which no signal has a part in: its parent, its shell and its job control
//! notice nothing. ptrace(2) knows a tracer as a thread, so all calls are made by one thread of ours,
//! which lives for one pause. It looks at the clock too, because nobody else could let the process go
//! when a read takes longer than was allowed.
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
//!   of the process waits for that.

use super::ProcessError;
use crate::graph::Problem;
use crate::ids::{Pid, ProcessId};
use crate::procfs::{ProcRoot, ProcfsError};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::getpid;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Most attempts to seize a thread that is refused for no reason that can be seen: its tracer may
/// have let it go between the attempt and the look for who that was.
const SEIZE_ATTEMPTS_MAX: u32 = 20;
/// The time between two of them.
const SEIZE_AGAIN: Duration = Duration::from_micros(200);
/// Looks at threads that have not stopped yet before the tracer begins to sleep between two looks.
const LOOKS_AWAKE: u32 = 20;
/// The longest sleep between two looks.
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(1);

/// Signals of the terminal that would stop us with everything we hold.
const TERMINAL_STOPS: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

/// A process that stands still. It is let go when this value goes, on whatever way, and when the
/// limit of the pause is reached.
#[derive(Debug)]
pub(super) struct Freeze {
    pid: Pid,
    /// Closed to have the process let go.
    hold: Option<Sender<()>>,
    tracer: Option<JoinHandle<Pause>>,
    /// The signal mask of the thread that asked, to be put back by that thread.
    mask: Option<SigSet>,
    of_this_thread: PhantomData<*const ()>,
}

/// A pause that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pause {
    /// How long the process stood still, from the first moment at which one of its threads could be
    /// held up until all had been let go.
    pub(super) stood_still: Duration,
    /// What became of it.
    end: PauseEnd,
    /// How long it was allowed to take.
    limit: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PauseEnd {
    /// The process was let go when it had been read.
    Done,
    /// It was let go because the limit was reached.
    Limit,
    /// It was let go because so many of its threads had not stopped when the limit was reached.
    NotStopped { running: usize, of: usize },
}

impl Freeze {
    /// Stops the process, for no longer than `limit`. When not all of its threads have stopped by then
    /// (one in an uninterruptible sleep does not), it is let go at once and [`Pause::problem`] tells.
    ///
    /// # Errors
    ///
    /// When the process has ended, is traced by somebody else, or may not be stopped. Then it runs on
    /// as before.
    pub(super) fn begin(
        root: &ProcRoot,
        id: ProcessId,
        limit: Duration,
        threads_max: u32,
    ) -> Result<Self, ProcessError> {
        let pid = id.pid;
        let failed = |why: String| ProcessError::Failed { pid, why };
        let (hold, held) = channel();
        let (ready, is_ready) = channel();
        let tracer = Tracer {
            root: root.clone(),
            id,
            limit,
            threads_max: usize::try_from(threads_max).unwrap_or(usize::MAX),
            tracees: BTreeMap::new(),
            began: None,
        };
        // The thread has the mask of the one that starts it. A mask that cannot be set costs nothing
        // but the protection against being suspended in the middle.
        let mask = SigSet::from_iter(TERMINAL_STOPS)
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .ok();
        let mut freeze = Self {
            pid,
            hold: Some(hold),
            tracer: None,
            mask,
            of_this_thread: PhantomData,
        };
        let thread = thread::Builder::new()
            .name("freeze".to_owned())
            .spawn(move || tracer.run(&ready, &held))
            .map_err(|why| failed(format!("no thread to stop it by: {why}")))?;
        freeze.tracer = Some(thread);
        match is_ready.recv() {
            Ok(Ok(())) => Ok(freeze),
            Ok(Err(error)) => Err(error),
            // Only a panic ends the thread before that.
            Err(_) => freeze.end().and(Err(failed("it was not stopped".to_owned()))),
        }
    }

    /// Lets the process go.
    ///
    /// # Errors
    ///
    /// When the thread that held it has panicked, which has let it go too.
    pub(super) fn end(mut self) -> Result<Pause, ProcessError> {
        self.let_go().ok_or_else(|| ProcessError::Failed {
            pid: self.pid,
            why: "the thread that stopped it has panicked".to_owned(),
        })
    }

    fn let_go(&mut self) -> Option<Pause> {
        drop(self.hold.take());
        let pause = self.tracer.take().and_then(|tracer| tracer.join().ok());
        if let Some(mask) = self.mask.take() {
            // It was the mask of this thread before, so it can be set.
            let _ = mask.thread_set_mask();
        }
        pause
    }
}

impl Drop for Freeze {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Pause {
    /// Why what was read meanwhile is not the picture of one moment; `None` when it is.
    pub(super) fn problem(&self) -> Option<Problem> {
        let limit = self.limit.as_millis();
        let message = match self.end {
            PauseEnd::Done => return None,
            PauseEnd::Limit => {
                format!("it was let go after {limit} ms, and the rest was read while it ran")
            }
            PauseEnd::NotStopped { running, of } => format!(
                "{running} of {of} threads had not stopped after {limit} ms, so it was let go and \
                 read while it ran"
            ),
        };
        Some(Problem {
            code: "pause_limit".to_owned(),
            message,
            at: None,
        })
    }
}

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
struct Tracer {
    root: ProcRoot,
    id: ProcessId,
    limit: Duration,
    threads_max: usize,
    /// The threads that were seized.
    tracees: BTreeMap<Pid, Tracee>,
    /// When the first one was.
    began: Option<Instant>,
}

impl Tracer {
    fn run(mut self, ready: &Sender<Result<(), ProcessError>>, held: &Receiver<()>) -> Pause {
        // Sending fails when nobody waits any more, which `held` tells as well.
        let end = match self.stop_all() {
            Err(error) => {
                let pause = self.let_go(PauseEnd::Done);
                let _ = ready.send(Err(error));
                return pause;
            }
            Ok(true) => {
                let _ = ready.send(Ok(()));
                let left = self.limit.saturating_sub(self.elapsed());
                match held.recv_timeout(left) {
                    Err(RecvTimeoutError::Timeout) => PauseEnd::Limit,
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => PauseEnd::Done,
                }
            }
            Ok(false) => PauseEnd::NotStopped {
                running: self.count(|tracee| matches!(tracee, Tracee::Interrupted)),
                of: self.count(|tracee| !matches!(tracee, Tracee::Ended)),
            },
        };
        let is_not_stopped = matches!(end, PauseEnd::NotStopped { .. });
        let pause = self.let_go(end);
        if is_not_stopped {
            let _ = ready.send(Ok(()));
        }
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
            if n_seized == 0 {
                if !self.await_stops() {
                    return Ok(false);
                }
                // Nobody was left to start another thread when the listing was made.
                if n_interrupted == 0 {
                    return Ok(true);
                }
            } else if self.elapsed() >= self.limit {
                return Ok(false);
            }
        }
    }

    /// The threads of the process.
    fn list(&self) -> Result<Vec<Pid>, ProcessError> {
        let pid = self.id.pid;
        let explain = |error| match error {
            ProcfsError::NoProcess { .. } => ProcessError::Gone { pid },
            error => super::explain_procfs(pid, error),
        };
        if self.root.stat(pid).map_err(explain)?.start_time != self.id.start {
            return Err(ProcessError::Gone { pid });
        }
        let most = self.threads_max.saturating_add(1);
        let listed: Vec<_> = self
            .root
            .threads(pid)
            .map_err(explain)?
            .take(most)
            .collect();
        if listed.len() == most {
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

    /// Seizes those that are not seized yet; returns how many.
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
        for thread in new {
            if self.seize(thread)? {
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
        let tracer = self.root.status(thread).ok()?.tracer?;
        let status = self.root.status(tracer).ok();
        let process = status.map_or(tracer, |status| status.process);
        // The process's name, not the thread's.
        let name = self.root.status(process).ok().map(|status| status.name);
        Some(TracerProcess { process, name })
    }

    /// Waits until those that were interrupted have stopped or ended; returns whether they have before
    /// the limit.
    fn await_stops(&mut self) -> bool {
        let mut sleep = Duration::from_micros(20);
        for n_looks in 0.. {
            if self.look() {
                return true;
            }
            if self.elapsed() >= self.limit {
                return false;
            }
            if n_looks < LOOKS_AWAKE {
                thread::yield_now();
            } else {
                thread::sleep(sleep);
                sleep = (sleep * 2).min(LOOK_AGAIN_MAX);
            }
        }
        false
    }

    /// Looks at those that have not stopped yet; returns whether there are none any more.
    fn look(&mut self) -> bool {
        let mut have_stopped = true;
        for (thread, tracee) in &mut self.tracees {
            if *tracee == Tracee::Interrupted {
                // It fails for one that has not stopped.
                if let Ok(info) = ptrace::getsiginfo(raw(*thread)) {
                    *tracee = Tracee::Stopped(signal_of(&info));
                } else if self.root.stat(*thread).map_or(true, |stat| stat.has_ended) {
                    *tracee = Tracee::Ended;
                } else {
                    have_stopped = false;
                }
            }
        }
        // The first thread is its parent's to wait for.
        let first = self.id.pid;
        self.tracees
            .retain(|thread, tracee| *tracee != Tracee::Ended || *thread == first || !reap(*thread));
        have_stopped
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
            limit: self.limit,
        }
    }

    fn count(&self, is_counted: impl Fn(&Tracee) -> bool) -> usize {
        let tracees = self.tracees.values();
        tracees.filter(|tracee| is_counted(tracee)).count()
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
