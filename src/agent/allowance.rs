//! How much memory what is read of processes may take, in one table. Together it has to stay below what the unit allows
//! (`MemoryMax=`); `deploy/install.md` has the sum.

use crate::graph::Snapshot;
use crate::limits::Limits;

const MIB: u64 = 1 << 20;

/// What a process may be decoded into whatever it has: types, code objects and texts that its tasks share.
const OF_PROCESS: u64 = 4 * MIB;
/// For each task that may be read: itself, a name of 64 characters, a stack of a few functions, and who awaits it. What is
/// looked at twice counts twice, so this is about twice of what is kept.
const OF_TASK: u64 = 768;
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
}

impl Allowance {
    /// For a round, which may read so many tasks. What it decodes is in proportion to that, so that a limit for the tasks of
    /// all processes is one for memory.
    pub(super) fn of_round(tasks_max: u32) -> Self {
        let of_tasks = u64::from(tasks_max).saturating_mul(OF_TASK);
        Self {
            tasks_max,
            decoded_max: OF_PROCESS.saturating_add(of_tasks),
        }
    }

    /// These caps, if they allow no less already.
    pub(super) fn within(self, limits: Limits) -> Limits {
        Limits {
            tasks_max: limits.tasks_max.min(self.tasks_max),
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
        let within = |tasks_max| Allowance::of_round(tasks_max).within(Limits::default());
        let decoded = |tasks_max| within(tasks_max).decoded_bytes_max;
        assert_eq!(decoded(0), 4 << 20);
        assert_eq!(decoded(600_000) - decoded(0), 460_800_000);
        assert_eq!(decoded(u32::MAX), Limits::default().decoded_bytes_max);
        let few = Limits {
            tasks_max: 3,
            ..Limits::default()
        };
        assert_eq!(Allowance::of_round(9).within(few).tasks_max, 3);
        assert_eq!(within(9).tasks_max, 9);
    }
}
