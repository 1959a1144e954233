//! Whether a process uses asyncio, for `targets: auto`: found out by looking into its memory, which is worth
//! remembering. A process that does not is asked again after some looks at the list of processes, then after
//! twice as many, and so on; at once when it executes another file.

use super::clock::Clock;
use super::source::ProcessSource;
use crate::ids::ProcessId;
use crate::process::ProcessError;
use crate::time::Monotonic;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// A probe takes milliseconds. It may hang on a file of another machine that is gone.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Time for all probes of one look. Those that do not fit in wait for the next look; whoever starts
/// processes that are slow to probe keeps others waiting no longer.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// Attempts that hang, at once. No process is asked while there are so many.
const HANGING_MAX: usize = 4;
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
    n_hanging: Arc<AtomicUsize>,
    known: RefCell<HashMap<ProcessId, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    executable: Option<Vec<u8>>,
    /// `None`: it may not be looked at.
    uses_asyncio: Option<bool>,
    /// Looks until it is asked again.
    wait: u32,
    /// How many there were before this answer.
    pause: u32,
}

impl Probes {
    pub(super) fn new(source: Arc<dyn ProcessSource>) -> Self {
        Self {
            source,
            clock: Clock::start(),
            began: Monotonic::default(),
            n_hanging: Arc::default(),
            known: RefCell::default(),
        }
    }

    /// Says that a look begins, at these processes. What is known of others is dropped.
    pub(super) fn begin_look(&mut self, listed: &[ProcessId]) {
        self.began = self.clock.now();
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

    /// Whether the process can be read and uses asyncio; `None` if that may not be looked at.
    pub(super) fn uses_asyncio(&self, process: ProcessId) -> Option<bool> {
        let executable = self.source.facts().executable(process);
        let before = self.known.borrow().get(&process).cloned();
        let before = before.filter(|known| known.executable == executable);
        if let Some(known) = &before
            && (known.uses_asyncio == Some(true) || known.wait > 0)
        {
            return known.uses_asyncio;
        }
        if self.clock.now().since(self.began) > LOOK_MAX {
            return Some(false);
        }
        let answer = self.ask(process);
        let (pause_min, pause_max) = match &answer {
            Some(Err(ProcessError::NoAsyncio { .. } | ProcessError::NotStarted { .. })) => {
                PAUSES_OF_PYTHON
            }
            _ => PAUSES,
        };
        let twice = before.map_or(0, |known| known.pause * 2);
        let pause = twice.clamp(pause_min, pause_max);
        let uses_asyncio = match answer {
            Some(Ok(())) => Some(true),
            // A kernel thread may not be looked at either; it has no command line.
            Some(Err(ProcessError::Denied { .. }))
                if self.source.facts().command_line(process).is_some() =>
            {
                None
            }
            Some(Err(_)) | None => Some(false),
        };
        let known = Known {
            executable,
            uses_asyncio,
            wait: pause,
            pause,
        };
        self.known.borrow_mut().insert(process, known);
        uses_asyncio
    }

    /// Probes the process, on a thread that may be left to itself. `None`: that hangs.
    fn ask(&self, process: ProcessId) -> Option<Result<(), ProcessError>> {
        if self.n_hanging.load(Ordering::Acquire) >= HANGING_MAX {
            return None;
        }
        let (send, answer) = mpsc::sync_channel(1);
        let source = Arc::clone(&self.source);
        let n_hanging = Arc::clone(&self.n_hanging);
        // It counts as hanging until it has answered.
        n_hanging.fetch_add(1, Ordering::AcqRel);
        let thread = std::thread::Builder::new().name("probe".to_owned());
        let asking = thread.spawn(move || {
            let found = catch_unwind(AssertUnwindSafe(|| source.probe(process)));
            n_hanging.fetch_sub(1, Ordering::AcqRel);
            // Nobody listens any more to an answer that comes late.
            let _ = send.send(found);
        });
        if asking.is_err() {
            self.n_hanging.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        answer.recv_timeout(ANSWER_MAX).ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::AttachedProcess;
    use super::*;
    use crate::ids::{Pid, StartTime};
    use crate::procfs::ProcfsError;
    use crate::targets::ReadFacts;
    use std::sync::Mutex;

    /// A process that is never ready, and how often it was asked.
    #[derive(Debug, Default)]
    struct Shy {
        asked: AtomicUsize,
        executable: Mutex<Vec<u8>>,
    }

    impl ProcessSource for Shy {
        fn processes(&self) -> Result<Vec<ProcessId>, ProcfsError> {
            Ok(Vec::new())
        }

        fn facts(&self) -> &dyn ReadFacts {
            self
        }

        fn probe(&self, id: ProcessId) -> Result<(), ProcessError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            match id.pid.as_raw() {
                1 => Err(ProcessError::NotPython {
                    pid: id.pid,
                    supported: String::new(),
                }),
                2 => panic!("this is part of the test"),
                _ => Ok(()),
            }
        }

        fn attach(&self, id: ProcessId) -> Result<Box<dyn AttachedProcess>, ProcessError> {
            Err(ProcessError::Gone { pid: id.pid })
        }
    }

    impl ReadFacts for Shy {
        fn executable(&self, _process: ProcessId) -> Option<Vec<u8>> {
            Some(self.executable.lock().unwrap().clone())
        }

        fn command_line(&self, _process: ProcessId) -> Option<Vec<u8>> {
            None
        }

        fn user_and_parent(&self, _process: ProcessId) -> Option<(Option<u32>, Option<Pid>)> {
            None
        }

        fn cgroups(&self, _process: ProcessId) -> Option<Vec<Vec<u8>>> {
            None
        }

        fn user_id(&self, _name: &str) -> Option<u32> {
            None
        }
    }

    fn process(pid: i32) -> ProcessId {
        ProcessId {
            pid: Pid::new(pid).unwrap(),
            start: StartTime(1),
        }
    }

    #[test]
    fn what_is_no_python_is_asked_less_and_less_often() {
        let shy = Arc::new(Shy::default());
        let mut probes = Probes::new(Arc::clone(&shy) as Arc<dyn ProcessSource>);
        let mut at = Vec::new();
        for look in 0..60 {
            let before = shy.asked.load(Ordering::SeqCst);
            probes.begin_look(&[process(1)]);
            assert_eq!(probes.uses_asyncio(process(1)), Some(false));
            if shy.asked.load(Ordering::SeqCst) > before {
                at.push(look);
            }
        }
        assert_eq!(at, [0, 8, 24, 56]);
        // Another program may be a Python.
        shy.executable.lock().unwrap().push(b'x');
        probes.uses_asyncio(process(1));
        assert_eq!(shy.asked.load(Ordering::SeqCst), 5);
    }

    #[test]
    fn a_python_stays_one_and_a_panic_is_no_answer() {
        let shy = Arc::new(Shy::default());
        let mut probes = Probes::new(Arc::clone(&shy) as Arc<dyn ProcessSource>);
        for _ in 0..3 {
            probes.begin_look(&[process(3)]);
            assert_eq!(probes.uses_asyncio(process(3)), Some(true));
        }
        assert_eq!(shy.asked.load(Ordering::SeqCst), 1);
        assert_eq!(probes.uses_asyncio(process(2)), Some(false));
        probes.begin_look(&[]);
        assert!(probes.known.borrow().is_empty());
    }
}
