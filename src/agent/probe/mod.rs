//! Whether a process uses asyncio, for `targets: auto`: found out by looking into its memory, which is worth
//! remembering. A process that does not is asked again after some looks at the list of processes, then after
//! twice as many, and so on; at once when it executes another file, or is a Python that has mapped more memory: it may
//! have imported asyncio. One that cannot be asked, because that hangs or
//! too many others do, or no thread can be started for it, is neither: what was known of it goes on to hold, and it is told.

mod hanging;

use super::clock::Clock;
use super::source::ProcessSource;
use crate::ids::ProcessId;
use crate::process::ProcessError;
use crate::time::Monotonic;
use hanging::Hanging;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

/// A probe takes milliseconds. It may hang on a file of another machine that is gone, or because its process wants
/// it to.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Time for all probes of one look. Those that do not fit in wait for the next look; whoever starts
/// processes that are slow to probe keeps others waiting no longer.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// Time in one look for probes of one user's processes, for the same reason.
const LOOK_OF_USER_MAX: Duration = Duration::from_millis(2_500);
/// Looks until a process is asked again that cannot be read, or is no Python: the first time, and at most.
/// Few programs become one without executing another file.
const PAUSES: (u32, u32) = (8, 64);
/// The same of a Python that has not imported asyncio yet: it may have just started.
const PAUSES_OF_PYTHON: (u32, u32) = (1, 4);

/// What is known of the processes that were asked.
pub(super) struct Probes {
    source: Arc<dyn ProcessSource>,
    clock: Clock,
    /// When the look began.
    began: Monotonic,
    /// For how long processes of each user have been asked since.
    used: RefCell<HashMap<Option<u32>, Duration>>,
    hanging: Hanging,
    known: RefCell<HashMap<ProcessId, Known>>,
    unknown: RefCell<Vec<ProcessId>>,
    unstarted: RefCell<Vec<ProcessId>>,
}

#[derive(Debug, Clone)]
struct Known {
    executable: Option<Vec<u8>>,
    /// How much it had mapped, if it is a Python that may come to use asyncio.
    mapped_bytes: Option<u64>,
    answer: Answer,
    /// It used asyncio when that was last found out.
    is_watched: bool,
    /// Looks until it is asked again.
    wait: u32,
    /// How many there were before this answer.
    pause: u32,
}

/// What came of asking a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    UsesAsyncio,
    DoesNot,
    /// It may not be looked at.
    Denied,
    /// Asking it hangs, or would be one too many that hangs.
    Unknown,
    /// There was no thread to ask it on.
    Unstarted,
}

impl Probes {
    pub(super) fn new(source: Arc<dyn ProcessSource>) -> Self {
        Self {
            source,
            clock: Clock::start(),
            began: Monotonic::default(),
            used: RefCell::default(),
            hanging: Hanging::default(),
            known: RefCell::default(),
            unknown: RefCell::default(),
            unstarted: RefCell::default(),
        }
    }

    /// Says that a look begins, at these processes. What is known of others is dropped.
    pub(super) fn begin_look(&mut self, listed: &[ProcessId]) {
        self.began = self.clock.now();
        self.used.get_mut().clear();
        self.unknown.get_mut().clear();
        self.unstarted.get_mut().clear();
        let known = self.known.get_mut();
        if known.is_empty() {
            return;
        }
        let listed: HashSet<_> = listed.iter().collect();
        known.retain(|process, _| listed.contains(process));
        for probe in known.values_mut() {
            probe.wait = probe.wait.saturating_sub(1);
        }
    }

    /// The processes that were to be asked since the look began, and of which nothing is known because they hang, or
    /// others do.
    pub(super) fn unknown(&self) -> Vec<ProcessId> {
        self.unknown.borrow().clone()
    }

    /// The same of which nothing is known because the system gave no thread to ask them on.
    pub(super) fn unstarted(&self) -> Vec<ProcessId> {
        self.unstarted.borrow().clone()
    }

    /// Whether the process can be read and uses asyncio; `None` if that may not be looked at. One that cannot be asked
    /// now does what it did when it could be.
    pub(super) fn uses_asyncio(&self, process: ProcessId) -> Option<bool> {
        let executable = self.source.facts().executable(process);
        let before = self.known.borrow().get(&process).cloned();
        let is_watched = before.as_ref().is_some_and(|known| known.is_watched);
        let before = before.filter(|known| known.executable == executable);
        let mapped_bytes = || self.source.mapped_bytes(process);
        if let Some(known) = &before
            && (known.answer == Answer::UsesAsyncio
                || known.wait > 0
                    && (known.mapped_bytes.is_none() || known.mapped_bytes == mapped_bytes()))
        {
            return self.tell(process, known.answer, is_watched);
        }
        let user = self.source.facts().user_and_parent(process);
        let user = user.and_then(|(user, _)| Some(self.source.person(user?).id));
        if self.has_no_time_for(user) {
            return Some(is_watched);
        }
        let began = self.clock.now();
        // Before it is asked: what it maps meanwhile is news next time.
        let mapped_bytes = mapped_bytes();
        let (answer, pauses) = self.ask(process, user);
        let used = self.clock.now().since(began);
        *self.used.borrow_mut().entry(user).or_default() += used;
        let twice = before.map_or(0, |known| known.pause * 2);
        let pause = match pauses {
            Some((min, max)) => twice.clamp(min, max),
            None => 0,
        };
        let may_come = pauses == Some(PAUSES_OF_PYTHON);
        let known = Known {
            executable,
            mapped_bytes: mapped_bytes.filter(|_| may_come),
            answer,
            is_watched: match answer {
                Answer::Unknown | Answer::Unstarted => is_watched,
                answer => answer == Answer::UsesAsyncio,
            },
            wait: pause,
            pause,
        };
        self.known.borrow_mut().insert(process, known);
        self.tell(process, answer, is_watched)
    }

    fn tell(&self, process: ProcessId, answer: Answer, is_watched: bool) -> Option<bool> {
        match answer {
            Answer::UsesAsyncio => Some(true),
            Answer::DoesNot => Some(false),
            Answer::Denied => None,
            Answer::Unknown => {
                self.unknown.borrow_mut().push(process);
                Some(is_watched)
            }
            Answer::Unstarted => {
                self.unstarted.borrow_mut().push(process);
                Some(is_watched)
            }
        }
    }

    fn has_no_time_for(&self, user: Option<u32>) -> bool {
        let of_user = self.used.borrow().get(&user).copied().unwrap_or_default();
        of_user > LOOK_OF_USER_MAX || self.clock.now().since(self.began) > LOOK_MAX
    }

    /// Asks the process, on a thread that may be left to itself; also tells how long to wait until it is asked again, if
    /// that is not at the next look.
    fn ask(&self, process: ProcessId, user: Option<u32>) -> (Answer, Option<(u32, u32)>) {
        let Some(place) = self.hanging.take(process, user) else {
            return (Answer::Unknown, None);
        };
        let (send, answer) = mpsc::sync_channel(1);
        let source = Arc::clone(&self.source);
        let thread = std::thread::Builder::new().name("probe".to_owned());
        let asking = thread.spawn(move || {
            let found = catch_unwind(AssertUnwindSafe(|| source.probe(process)));
            // It counts as hanging until it has answered.
            drop(place);
            // Nobody listens any more to an answer that comes late.
            let _ = send.send(found);
        });
        if asking.is_err() {
            return (Answer::Unstarted, None);
        }
        match answer.recv_timeout(ANSWER_MAX) {
            Err(_) => (Answer::Unknown, Some(PAUSES)),
            Ok(Ok(Ok(()))) => (Answer::UsesAsyncio, None),
            Ok(Ok(Err(ProcessError::NoAsyncio { .. } | ProcessError::NotStarted { .. }))) => {
                (Answer::DoesNot, Some(PAUSES_OF_PYTHON))
            }
            // A kernel thread may not be looked at either; it has no command line.
            Ok(Ok(Err(error)))
                if error.is_refusal() && self.source.facts().command_line(process).is_some() =>
            {
                (Answer::Denied, Some(PAUSES))
            }
            Ok(_) => (Answer::DoesNot, Some(PAUSES)),
        }
    }
}

#[cfg(test)]
mod tests;
