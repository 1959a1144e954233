//! Probes of made-up processes.

use super::*;
use crate::agent::source::AttachedProcess;
use crate::ids::{Pid, StartTime};
use crate::procfs::ProcfsError;
use crate::targets::ReadFacts;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A process that is never ready, and how often it was asked.
#[derive(Debug, Default)]
struct Shy {
    asked: AtomicUsize,
    executable: Mutex<Vec<u8>>,
    mapped_bytes: AtomicU64,
    /// Those that hang do so no more.
    is_released: AtomicBool,
}

impl ProcessSource for Shy {
    fn processes(&self) -> Result<Vec<ProcessId>, ProcfsError> {
        Ok(Vec::new())
    }

    fn facts(&self) -> &dyn ReadFacts {
        self
    }

    fn mapped_bytes(&self, _: ProcessId) -> Option<u64> {
        Some(self.mapped_bytes.load(Ordering::SeqCst))
    }

    fn probe(&self, id: ProcessId) -> Result<(), ProcessError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match id.pid.as_raw() {
            1 => Err(ProcessError::NotPython {
                pid: id.pid,
                supported: String::new(),
            }),
            4 => Err(ProcessError::NoAsyncio {
                pid: id.pid,
                version: String::new(),
            }),
            2 => panic!("this is part of the test"),
            pid @ 100.. if pid % 100 < 50 => {
                while !self.is_released.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            }
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

    /// A hundred process ids each; the first fifty of them hang.
    fn user_and_parent(&self, process: ProcessId) -> Option<(Option<u32>, Option<Pid>)> {
        let user = u32::try_from(process.pid.as_raw() / 100).ok();
        Some((user, None))
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
fn a_python_that_has_grown_is_asked_at_once() {
    let shy = Arc::new(Shy::default());
    let mut probes = Probes::new(Arc::clone(&shy) as Arc<dyn ProcessSource>);
    let mut at = Vec::new();
    for look in 0..20 {
        let before = shy.asked.load(Ordering::SeqCst);
        if look >= 10 {
            shy.mapped_bytes.fetch_add(4096, Ordering::SeqCst);
        }
        probes.begin_look(&[process(1), process(4)]);
        assert_eq!(probes.uses_asyncio(process(4)), Some(false));
        if shy.asked.load(Ordering::SeqCst) > before {
            at.push(look);
        }
    }
    assert_eq!(at[..4], [0, 1, 3, 7]);
    assert!(at.iter().rev().take(10).rev().copied().eq(10..20), "{at:?}");
    // What is no Python may grow as it likes.
    probes.uses_asyncio(process(1));
    let asked = shy.asked.load(Ordering::SeqCst);
    shy.mapped_bytes.fetch_add(4096, Ordering::SeqCst);
    probes.uses_asyncio(process(1));
    assert_eq!(shy.asked.load(Ordering::SeqCst), asked);
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

#[test]
fn processes_that_hang_keep_those_of_others_from_nothing_and_are_not_forgotten() {
    let shy = Arc::new(Shy::default());
    let mut probes = Probes::new(Arc::clone(&shy) as Arc<dyn ProcessSource>);
    // User 1 has many that hang, after one that was known before; users 2 and 0 have one each.
    let listed: Vec<_> = (99..140).chain([160, 250, 3]).map(process).collect();
    probes.begin_look(&listed);
    assert_eq!(probes.uses_asyncio(process(160)), Some(true));
    // It executes another program, and cannot be asked any more.
    shy.executable.lock().unwrap().push(b'x');
    for _ in 0..3 {
        probes.begin_look(&listed);
        for pid in 100..140 {
            assert_eq!(probes.uses_asyncio(process(pid)), Some(false), "{pid}");
        }
        assert_eq!(probes.uses_asyncio(process(160)), Some(true), "it stays");
        for other in [250, 3] {
            assert_eq!(probes.uses_asyncio(process(other)), Some(true), "{other}");
        }
    }
    let unknown = probes.unknown();
    assert!(unknown.contains(&process(100)) && unknown.contains(&process(160)));
    assert!(!unknown.contains(&process(250)));
    // One that was asked before, and two for each user at most that hang.
    assert_eq!(
        shy.asked.load(Ordering::SeqCst),
        1 + hanging::OF_USER_MAX + 2
    );
    shy.is_released.store(true, Ordering::SeqCst);
    let mut looks = 0;
    while !(100..140).all(|pid| probes.uses_asyncio(process(pid)) == Some(true)) {
        probes.begin_look(&listed);
        looks += 1;
        std::thread::sleep(Duration::from_millis(1));
        assert!(looks < 10_000, "they are not asked again");
    }
    probes.begin_look(&listed);
    assert_eq!(probes.uses_asyncio(process(160)), Some(true));
    assert_eq!(probes.unknown(), []);
}
