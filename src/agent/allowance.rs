//! How much memory what is read of processes may take, in one table. Together it has to stay below what the unit allows
//! (`MemoryMax=`); `deploy/install.md` has the sum.

use crate::graph::Snapshot;
use crate::limits::{Limits, TASKS};

const MIB: u64 = 1 << 20;

/// What a process may be decoded into whatever it has: types, code objects and texts that its tasks share.
const OF_PROCESS: u64 = 4 * MIB;
/// For each task that may be read: itself, a name of 64 characters, a stack of a few functions, and who awaits it. What is
/// looked at twice counts twice, so this is about twice of what is kept.
const OF_TASK: u64 = 768;
/// What may be kept of all processes from round to round beside their tasks, and of one of them.
const KEPT: usize = 128 << 20;
const KEPT_OF_ONE: usize = 2 << 20;
/// Copies of its memory that are kept at a time. A larger process is copied in parts, some of them twice.
const COPIES: u64 = 8 * MIB;

/// What is decoded for whoever asks for a process, and how long the answer may be. Nearly all processes fit into a small
/// one; there may be many of those, and one large one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Large,
}

impl Size {
    /// What may be read.
    pub(super) fn allowance(self) -> Allowance {
        let decoded_max = match self {
            Self::Small => 8 * MIB,
            // Of ordinary tasks it fits into the answer.
            Self::Large => 80 * MIB,
        };
        Allowance {
            tasks_max: u32::MAX,
            decoded_max,
            kept_max: 0,
        }
    }

    /// Bytes of the answer.
    pub(super) fn answer_max(self) -> usize {
        match self {
            Self::Small => 8 << 20,
            Self::Large => 72 << 20,
        }
    }

    /// Whether a snapshot would have more in it if it had been given more room.
    pub(super) fn has_cut(snapshot: &Snapshot) -> bool {
        let mut hit = snapshot.stats.limits_hit.names();
        hit.any(|limit| limit == "decoded_bytes_max")
    }
}

/// What may be read of a process at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Tasks, if the configuration does not allow fewer.
    tasks_max: u32,
    /// Bytes of what is decoded.
    decoded_max: u64,
    /// Bytes of what is kept afterwards, beside what each task takes.
    kept_max: usize,
}

impl Allowance {
    /// For a round over one of so many processes, which may read so many tasks. What it decodes is in proportion to that, so that
    /// a limit for the tasks of all processes is one for memory.
    pub(super) fn of_round(tasks_max: u32, n_processes: usize) -> Self {
        let of_tasks = u64::from(tasks_max).saturating_mul(OF_TASK);
        Self {
            tasks_max,
            decoded_max: OF_PROCESS.saturating_add(of_tasks),
            kept_max: (KEPT / n_processes.max(1)).min(KEPT_OF_ONE),
        }
    }

    /// Bytes of the latest snapshot that are kept if the process sleeps, beside what each task takes. A longer one is read
    /// again.
    pub(super) fn snapshot_bytes(self) -> usize {
        self.kept_max / 4
    }

    /// The same of what was decoded of its code.
    pub(super) fn code_bytes(self) -> usize {
        self.kept_max / 2
    }

    /// The same of the texts of findings.
    pub(super) fn finding_bytes(self) -> usize {
        self.kept_max / 4
    }

    /// These caps, if they allow no less already.
    pub(super) fn within(self, limits: Limits) -> Limits {
        let tasks_cap = match self.tasks_max < limits.tasks_max {
            true => TASKS,
            false => limits.tasks_cap,
        };
        Limits {
            tasks_max: limits.tasks_max.min(self.tasks_max),
            tasks_cap,
            decoded_bytes_max: limits.decoded_bytes_max.min(self.decoded_max),
            copies_bytes_max: limits.copies_bytes_max.min(COPIES),
            ..limits
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_round_decodes_is_in_proportion_to_its_tasks() {
        let within = |tasks_max| Allowance::of_round(tasks_max, 1).within(Limits::default());
        let decoded = |tasks_max| within(tasks_max).decoded_bytes_max;
        assert_eq!(decoded(0), 4 << 20);
        assert_eq!(decoded(600_000) - decoded(0), 460_800_000);
        assert_eq!(decoded(u32::MAX), Limits::default().decoded_bytes_max);
        let few = Limits {
            tasks_max: 3,
            ..Limits::default()
        };
        assert_eq!(Allowance::of_round(9, 1).within(few).tasks_max, 3);
        assert_eq!(within(9).tasks_max, 9);
    }

    #[test]
    fn what_is_kept_of_all_processes_has_a_bound_however_many_they_are() {
        for n_processes in [0, 1, 10, 100, 2_000, 1_000_000] {
            let of_one = Allowance::of_round(9, n_processes);
            let kept = [
                of_one.snapshot_bytes(),
                of_one.code_bytes(),
                of_one.finding_bytes(),
            ];
            let kept: usize = kept.into_iter().sum();
            assert!(kept <= KEPT_OF_ONE && kept * n_processes <= KEPT, "{kept}");
        }
        assert_eq!(Allowance::of_round(9, 2_000).code_bytes(), 33_554);
    }
}
