//! Stopping a process while it is read: the one exception to the rule that a process is never
//! stopped, made only on request.
//!
//! Here is what holds a process ([`Freeze`]) and what a read does with it; the thread of `tracer` does
//! the work. It looks at the clock too, because nobody else could let the process go when a read takes
//! longer than was allowed. Another thread ([`keep`]) tells when it has let go, which it does by ending.

mod tracer;

use super::{Process, ProcessError};
use crate::asyncio::Workspace;
use crate::graph::{Problem, Snapshot};
use crate::ids::{Pid, ProcessId};
use crate::limits::Stop;
use crate::procfs::ProcRoot;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
pub use tracer::is_kept_from_tracing;
use tracer::{Outcome, Tracer};

/// Most pauses for one snapshot: see [`read_frozen`].
const PAUSES_MAX: u32 = 3;
/// The time in which the process runs between two of them.
const PAUSE_AGAIN: Duration = Duration::from_millis(1);

/// Most looks whether the tracing thread has ended, the first of them without a sleep, and the sleep
/// between two later ones. It has nothing left to do, so it takes microseconds, and ends in any case.
const END_LOOKS_MAX: u32 = 10_000;
const END_LOOKS_AT_ONCE: u32 = 200;
const END_AGAIN: Duration = Duration::from_micros(20);

/// Signals of the terminal that would stop us with all that we hold.
const TERMINAL_STOPS: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

impl Process {
    /// Reads the task graph while the process stands still: because it sleeps, or else because it is
    /// stopped, for no longer than `pause_max` altogether. A snapshot that was not read to its end by then
    /// has the problem `pause_limit`.
    ///
    /// # Errors
    ///
    /// As [`snapshot`](Self::snapshot), and when the process is traced by somebody else or may not be
    /// stopped.
    pub fn snapshot_frozen(&mut self, pause_max: Duration) -> Result<Snapshot, ProcessError> {
        let mut workspace = std::mem::take(&mut self.workspace);
        let snapshot = self.snapshot_frozen_in(pause_max, &mut workspace);
        self.workspace = workspace;
        snapshot
    }

    /// Like [`Self::snapshot_frozen`], in memory that is shared with other processes.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn snapshot_frozen_in(
        &mut self,
        pause_max: Duration,
        workspace: &mut Workspace,
    ) -> Result<Snapshot, ProcessError> {
        self.stood_still = Duration::ZERO;
        read_frozen(self, pause_max, workspace)
    }

    /// For how long the latest [`snapshot_frozen`](Self::snapshot_frozen) kept it from running, also if that has failed.
    pub fn stood_still(&self) -> Duration {
        self.stood_still
    }
}

/// Reads a process that stands still meanwhile, for no longer than `limit` altogether.
///
/// One that sleeps is read as it is. If it did not run until that was done, the picture is exact, and
/// nothing is stopped.
///
/// Another one that was not read yet is read before, while it runs: what is learned there shortens the
/// pause, and a process that cannot be read is not stopped at all.
///
/// A process is stopped anywhere, so once in some thousand times in the middle of a change to what is
/// read. Then the picture has a hole, and another one is taken a moment later, if the limit leaves time
/// for it.
///
/// # Errors
///
/// As [`Process::snapshot_frozen`].
fn read_frozen(
    process: &mut Process,
    limit: Duration,
    workspace: &mut Workspace,
) -> Result<Snapshot, ProcessError> {
    if let Some(mut snapshot) = process.read_asleep(workspace)? {
        snapshot.stats.paused = Some(Duration::ZERO);
        return Ok(snapshot);
    }
    if process.knowledge.trail().is_empty() {
        process.read(workspace, Some(&mut || false))?;
    }
    let mut stood_still = Duration::ZERO;
    let mut n_pauses = 0;
    loop {
        let left = limit.saturating_sub(stood_still);
        let (root, threads_max) = (&process.root, process.limits.threads_max);
        let begun = Freeze::begin(root, process.id, left, threads_max);
        let freeze = begun.map_err(|NotFrozen { error, stood_still }| {
            process.stood_still += stood_still;
            error
        })?;
        let (mut freeze, mut pause) = (Some(freeze), None);
        // What was read is put together when the process runs again.
        let mut let_go = || {
            pause = freeze.take().map(Freeze::end);
            matches!(&pause, Some(Ok(pause)) if pause.end == PauseEnd::Done)
        };
        let read = process.read(workspace, Some(&mut let_go));
        let Some(pause) = pause.or_else(|| freeze.map(Freeze::end)) else {
            return read;
        };
        if let Ok(pause) = &pause {
            stood_still += pause.stood_still;
            process.stood_still = stood_still;
        }
        let (mut snapshot, pause) = (read?, pause?);
        n_pauses += 1;
        let is_cut = pause.end != PauseEnd::Done;
        let has_time = limit.saturating_sub(stood_still) > pause.stood_still * 2;
        let is_over = process.stop.as_ref().is_some_and(Stop::is_stopped);
        if snapshot.complete || is_cut || !has_time || is_over || n_pauses == PAUSES_MAX {
            snapshot.stats.paused = Some(stood_still);
            if let Some(problem) = pause.problem(limit) {
                snapshot.add_problem(problem);
            }
            return Ok(snapshot);
        }
        thread::sleep(PAUSE_AGAIN);
    }
}

/// A process that stands still. It is let go when this value goes, on whatever way, and when the
/// limit of the pause is reached.
#[derive(Debug)]
struct Freeze {
    pid: Pid,
    /// Closed to have the process let go.
    hold: Option<Sender<()>>,
    keeper: Option<JoinHandle<Option<Pause>>>,
    /// The signal mask of the thread that asked, to be put back by that thread.
    mask: Option<SigSet>,
    of_this_thread: PhantomData<*const ()>,
}

/// A process that was not stopped as a whole.
#[derive(Debug)]
struct NotFrozen {
    error: ProcessError,
    /// For how long some of its threads stood until that was clear.
    stood_still: Duration,
}

impl From<ProcessError> for NotFrozen {
    fn from(error: ProcessError) -> Self {
        Self {
            error,
            stood_still: Duration::ZERO,
        }
    }
}

/// A pause that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pause {
    /// How long the process stood still, from the first moment at which one of its threads could be
    /// held up until all had been let go.
    stood_still: Duration,
    /// What became of it.
    end: PauseEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PauseEnd {
    /// The process was let go when it had been read.
    Done,
    /// It was let go because the limit was reached.
    Limit,
    /// It was let go because so many of its threads had not stopped when the limit was reached.
    NotStopped { running: usize, of: usize },
    /// It was let go because seizing its threads showed that it has too many for the limit.
    TooManyThreads { of: usize },
}

impl Freeze {
    /// Stops the process, for no longer than `limit`. When not all of its threads have stopped by then
    /// (one in an uninterruptible sleep does not), it is let go at once and [`Pause::problem`] tells.
    ///
    /// # Errors
    ///
    /// When the process has ended, is traced by somebody else, or may not be stopped. Then it runs on
    /// as before.
    fn begin(
        root: &ProcRoot,
        id: ProcessId,
        limit: Duration,
        threads_max: u32,
    ) -> Result<Self, NotFrozen> {
        let pid = id.pid;
        let failed = |why: String| ProcessError::Failed { pid, why };
        let (hold, held) = channel();
        let (ready, is_ready) = channel();
        let tracer = Tracer::new(root, id, limit, threads_max);
        // The thread has the mask of the one that starts it. A mask that cannot be set costs nothing
        // but the protection against being suspended in the middle.
        let mask = SigSet::from_iter(TERMINAL_STOPS)
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .ok();
        let mut freeze = Self {
            pid,
            hold: Some(hold),
            keeper: None,
            mask,
            of_this_thread: PhantomData,
        };
        let thread = thread::Builder::new()
            .name("freeze".to_owned())
            .spawn(move || keep(tracer, &ready, held))
            .map_err(|why| failed(format!("no thread to stop it by: {why}")))?;
        freeze.keeper = Some(thread);
        match is_ready.recv() {
            Ok(Ok(())) => Ok(freeze),
            Ok(Err(error)) => {
                let stood_still = freeze.end().map_or(Duration::ZERO, |it| it.stood_still);
                Err(NotFrozen { error, stood_still })
            }
            // Only a panic ends the thread before that.
            Err(_) => {
                freeze.end()?;
                Err(failed("it was not stopped".to_owned()).into())
            }
        }
    }

    /// Lets the process go.
    ///
    /// # Errors
    ///
    /// When the thread that held it has panicked, which has let it go too.
    fn end(mut self) -> Result<Pause, ProcessError> {
        self.let_go().ok_or_else(|| ProcessError::Failed {
            pid: self.pid,
            why: "the thread that stopped it has panicked".to_owned(),
        })
    }

    fn let_go(&mut self) -> Option<Pause> {
        drop(self.hold.take());
        let pause = self.keeper.take().and_then(|keeper| keeper.join().ok()?);
        if let Some(mask) = self.mask.take() {
            // It was the mask of this thread before, so it can be set.
            let _ = mask.thread_set_mask();
        }
        pause
    }
}

/// Has the thread of `tracer` stop the process, and returns when it has let it go; `None` when it has
/// panicked, which has let it go too. `ready` is told when the process stands or will not.
fn keep(
    tracer: Tracer,
    ready: &Sender<Result<(), ProcessError>>,
    held: Receiver<()>,
) -> Option<Pause> {
    let (stands, pid) = (ready.clone(), tracer.pid());
    let tracing = thread::Builder::new()
        .name("tracer".to_owned())
        .spawn(move || tracer.run(&stands, &held));
    // Sending fails when nobody waits any more.
    let outcome = match tracing {
        Ok(tracing) => tracing.join().ok()?,
        Err(why) => {
            let _ = ready.send(Err(ProcessError::Failed {
                pid,
                why: format!("no thread to stop it by: {why}"),
            }));
            return None;
        }
    };
    let pause = Pause {
        stood_still: await_end(&outcome),
        end: *outcome.end.as_ref().unwrap_or(&PauseEnd::Done),
    };
    // Whoever waits for that goes on when the process does. Nobody does who was told before.
    let _ = ready.send(outcome.end.map(|_| ()));
    Some(pause)
}

/// Waits until the kernel has let go what the tracing thread held; returns how long the process stood
/// still. That thread can be joined as soon as it does not use our memory any more, and lets go after that
/// (do_exit() of kernel/exit.c: exit_mm(), then exit_notify()); when it does not exist any more, it has.
///
/// We may get no processor for long when a thousand threads were let go. But nothing interrupts the kernel
/// in that, so it did not take much longer than until we last saw that thread.
fn await_end(outcome: &Outcome) -> Duration {
    let mut held = outcome.held;
    for look in 0..END_LOOKS_MAX {
        if kill(outcome.thread, None).is_err() {
            break;
        }
        held = outcome.elapsed();
        if look > END_LOOKS_AT_ONCE {
            thread::sleep(END_AGAIN);
        }
    }
    outcome.elapsed().min(held + outcome.time_to_let_go)
}

impl Drop for Freeze {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Pause {
    /// Why what was read meanwhile is not the picture of one moment; `None` when it is. `limit` is what
    /// was allowed altogether.
    fn problem(&self, limit: Duration) -> Option<Problem> {
        let limit = limit.as_millis();
        let message = match self.end {
            PauseEnd::Done => return None,
            PauseEnd::Limit => {
                format!("it was to be let go after {limit} ms, and the rest was read while it ran")
            }
            PauseEnd::NotStopped { running, of } => format!(
                "{running} of {of} threads had not stopped after {limit} ms, so it was let go and \
                 read while it ran"
            ),
            PauseEnd::TooManyThreads { of } => format!(
                "its {of} threads are too many to be stopped and let go within {limit} ms, so it was \
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

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process::{Child, Command};

    const LONG: Duration = Duration::from_secs(600);

    /// A process that ends with the test.
    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> Self {
            Self(Command::new("sleep").arg("1000").spawn().unwrap())
        }

        fn id(&self) -> ProcessId {
            let pid = Pid::new(self.0.id().try_into().unwrap()).unwrap();
            let start = ProcRoot::default().stat(pid).unwrap().start_time;
            ProcessId { pid, start }
        }

        fn status(&self) -> String {
            std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap()
        }

        fn is_held(&self) -> bool {
            let status = self.status();
            let is_traced = !status.contains("TracerPid:\t0\n");
            assert_eq!(status.contains("(tracing stop)"), is_traced, "{status}");
            is_traced
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn begin(id: ProcessId, limit: Duration, threads_max: u32) -> Result<Freeze, ProcessError> {
        let begun = Freeze::begin(&ProcRoot::default(), id, limit, threads_max);
        begun.map_err(|not| not.error)
    }

    #[test]
    fn it_is_let_go_on_every_way() {
        let process = Sleeper::start();
        let mask = SigSet::thread_get_mask().unwrap();
        for _ in 0..20 {
            let freeze = begin(process.id(), LONG, 1).unwrap();
            assert!(process.is_held());
            let masked = SigSet::thread_get_mask().unwrap();
            assert!(TERMINAL_STOPS.iter().all(|signal| masked.contains(*signal)));
            let pause = freeze.end().unwrap();
            assert!(!process.is_held());
            assert_eq!((pause.end, pause.problem(LONG)), (PauseEnd::Done, None));
            assert!(pause.stood_still > Duration::ZERO);

            drop(begin(process.id(), LONG, 1).unwrap());
            assert!(!process.is_held());

            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let _freeze = begin(process.id(), LONG, 1).unwrap();
                assert!(!process.is_held(), "a read that panics");
            }));
            assert!(panicked.is_err() && !process.is_held());
        }
        assert_eq!(SigSet::thread_get_mask().unwrap(), mask);
    }

    #[test]
    fn the_limit_needs_nobody_who_asks() {
        let process = Sleeper::start();
        // Enough for it to be stopped on a busy machine.
        let limit = Duration::from_millis(500);
        let freeze = begin(process.id(), limit, 1).unwrap();
        for _ in 0..10_000 {
            if !process.is_held() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!process.is_held());
        let pause = freeze.end().unwrap();
        assert_eq!(pause.end, PauseEnd::Limit);
        assert!(pause.stood_still >= limit);
        let problem = pause.problem(limit).unwrap();
        assert_eq!(problem.code, "pause_limit");
        assert!(problem.message.contains(" 500 ms,"), "{}", problem.message);
    }

    #[test]
    fn one_that_was_stopped_before_stays_so() {
        let process = Sleeper::start();
        let pid = nix::unistd::Pid::from_raw(process.id().pid.as_raw());
        let changed = |wait| waitpid(pid, Some(WaitPidFlag::WUNTRACED | wait)).unwrap();
        kill(pid, Signal::SIGSTOP).unwrap();
        let stopped = WaitStatus::Stopped(pid, Signal::SIGSTOP);
        assert_eq!(changed(WaitPidFlag::empty()), stopped);
        for _ in 0..20 {
            let freeze = begin(process.id(), LONG, 1).unwrap();
            assert!(process.is_held());
            freeze.end().unwrap();
            while !process.status().contains("T (stopped)") {
                assert!(!process.is_held());
                thread::yield_now();
            }
            // Its parent, whose job control may wait for it, hears nothing of that.
            assert_eq!(changed(WaitPidFlag::WNOHANG), WaitStatus::StillAlive);
        }
    }

    #[test]
    fn without_time_it_is_let_go_before_it_is_read() {
        let process = Sleeper::start();
        for _ in 0..20 {
            let freeze = begin(process.id(), Duration::ZERO, 1).unwrap();
            assert!(!process.is_held());
            let pause = freeze.end().unwrap();
            assert_eq!(pause.end, PauseEnd::NotStopped { running: 1, of: 1 });
        }
    }

    #[test]
    fn what_is_not_to_be_stopped_is_not() {
        let mut process = Sleeper::start();
        let id = process.id();
        let another = ProcessId {
            start: crate::ids::StartTime(id.start.0 + 1),
            ..id
        };
        let gone = Some(ProcessError::Gone { pid: id.pid });
        assert_eq!(begin(another, LONG, 1).err(), gone);
        let too_many = begin(id, LONG, 0).err();
        assert!(matches!(too_many, Some(ProcessError::Failed { .. })));
        assert!(!process.is_held());
        process.0.kill().unwrap();
        process.0.wait().unwrap();
        assert_eq!(begin(id, LONG, 1).err(), gone);
    }
}
