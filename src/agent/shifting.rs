//! For tests: a process that executes other programs while it is read.

use super::source::{AttachedProcess, OwnersSource, ProcessSource};
use crate::graph::{GraphBuilder, ProcessInfo, ReadStats, Snapshot};
use crate::ids::{Pid, ProcessId, StartTime};
use crate::limits::Stop;
use crate::process::{ProcessError, Sign};
use crate::procfs::{Owner, ProcRoot, ProcfsError, UserIds};
use crate::targets::ReadFacts;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// A process of user 7 that executes other programs while it is read, which changes whose it is before anybody looks.
#[derive(Clone)]
pub(super) struct Shifting {
    facts: ProcRoot,
    /// How many programs it has executed.
    program: Arc<AtomicU8>,
    /// So many times more it executes one before it is read, and another one after that.
    shifts_left: Arc<AtomicU8>,
    /// Programs can be told from each other.
    tells: bool,
}

/// What it is read by.
struct Shifted {
    /// The program that it was attached to.
    read: u8,
    program: Arc<AtomicU8>,
    shifts: bool,
    tells: bool,
}

fn sign(program: u8) -> Sign {
    Sign {
        bytes: [program; 16],
        ..Sign::default()
    }
}

impl Shifting {
    pub(super) fn new(shifts_left: u8, tells: bool) -> Self {
        Self {
            facts: ProcRoot::default(),
            program: Arc::default(),
            shifts_left: Arc::new(shifts_left.into()),
            tells,
        }
    }
}

impl ProcessSource for Shifting {
    fn processes(&self) -> Result<Vec<ProcessId>, ProcfsError> {
        Ok(Vec::new())
    }

    fn facts(&self) -> &dyn ReadFacts {
        &self.facts
    }

    fn owner(&self, pid: Pid) -> Result<Owner, ProcessError> {
        let start = StartTime(1);
        Ok(Owner {
            id: ProcessId { pid, start },
            users: UserIds::all(7),
            is_dumpable: true,
            faults: None,
        })
    }

    fn program(&self, _pid: Pid) -> Option<Sign> {
        let now = self.program.load(Ordering::Relaxed);
        self.tells.then_some(sign(now))
    }

    fn for_owner(&self, _id: ProcessId, user: u32, _stop: &Stop) -> Option<OwnersSource> {
        assert_eq!(user, 7);
        let (tells, program) = (self.tells, Arc::clone(&self.program));
        let before = program.load(Ordering::Relaxed);
        Some(OwnersSource {
            source: Box::new(self.clone()),
            is_certain: Box::new(move || tells && program.load(Ordering::Relaxed) == before),
        })
    }

    fn probe(&self, id: ProcessId) -> Result<(), ProcessError> {
        self.attach(id).map(drop)
    }

    fn attach(&self, _id: ProcessId) -> Result<Box<dyn AttachedProcess>, ProcessError> {
        let left = self.shifts_left.load(Ordering::Relaxed);
        let shifts = left > 0;
        self.shifts_left
            .store(left.saturating_sub(1), Ordering::Relaxed);
        self.program.fetch_add(shifts.into(), Ordering::Relaxed);
        Ok(Box::new(Shifted {
            read: self.program.load(Ordering::Relaxed),
            program: Arc::clone(&self.program),
            shifts,
            tells: self.tells,
        }))
    }
}

impl AttachedProcess for Shifted {
    fn snapshot(&mut self, _stop: &Stop) -> Result<Snapshot, ProcessError> {
        // One that executes another program since is attached to anew.
        self.read = self.program.load(Ordering::Relaxed);
        let shifts = std::mem::take(&mut self.shifts);
        self.program.fetch_add(shifts.into(), Ordering::Relaxed);
        Ok(Snapshot {
            process: ProcessInfo {
                python_version: Some(format!("program {}", self.read)),
                ..ProcessInfo::default()
            },
            graph: GraphBuilder::new().finish().into(),
            problems: Vec::new(),
            stats: ReadStats::default(),
            complete: true,
        })
    }

    fn program(&self) -> Option<Sign> {
        let is_read = self.program.load(Ordering::Relaxed) == self.read;
        (self.tells && is_read).then_some(sign(self.read))
    }
}
