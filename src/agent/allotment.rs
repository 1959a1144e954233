//! How many tasks of a process may be read, so that all that is kept of all processes fits into memory: whoever makes
//! very many tasks in very many processes takes nothing from others but that.
//!
//! What a process had at its latest look counts, whether it was read or only counted, and who has been watched for longest
//! comes first: so it does not depend on the order of looks who is read, and the same ones are.

use crate::ids::ProcessId;
use crate::time::Timestamp;
use std::collections::HashMap;

/// Tasks that are read of a process that has more than there is room for, if there is room for these.
const TASKS_MIN: u64 = 250;
/// Of the room that is left, the part of a process of which it is not known yet how many tasks it has: several of them are
/// read at once.
const NEW: u64 = 16;
/// And the part that another one may have more than at its latest look.
const MORE: u64 = 64;

/// What a process had at its latest look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) process: ProcessId,
    /// Since when it is watched.
    pub(super) since: Timestamp,
    /// Whose it is.
    pub(super) person: Option<u32>,
    /// 0 if that is not known yet.
    pub(super) n_tasks: u64,
}

/// What there is room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Tasks of all processes together that may be read; those of one person may be half of that.
    pub(super) total: u64,
    /// Tasks that all processes have.
    pub(super) n_tasks: u64,
}

impl Room {
    /// How many tasks may be read of `process`, which has `own` of them. The claims of all processes are looked at only if they
    /// have so many that it depends on them.
    pub(super) fn tasks_max(
        self,
        process: ProcessId,
        own: u64,
        claims: impl Iterator<Item = Claim>,
    ) -> u32 {
        let (n_granted, own_part) = match self.n_tasks <= self.total / 2 {
            true => (self.n_tasks, Some(own)),
            false => granted(claims, process, self.total),
        };
        let own_part = own_part.unwrap_or(0);
        if own_part < own {
            return as_u32(own_part);
        }
        let part = if own == 0 { NEW } else { MORE };
        let more = self.total.saturating_sub(n_granted) / part;
        let most = own.saturating_add(more.max(TASKS_MIN));
        // Those that hardly change keep the same: another cap means to read what sleeps again.
        let round = 1_u64 << most.max(1).ilog2();
        as_u32(if round >= own { round } else { most })
    }
}

/// The tasks that are granted to processes together, and those of `process`. Whose tasks do not fit has a few of them read, as
/// long as these do.
fn granted(
    claims: impl Iterator<Item = Claim>,
    process: ProcessId,
    total: u64,
) -> (u64, Option<u64>) {
    let mut claims: Vec<Claim> = claims.collect();
    claims.sort_unstable_by_key(|claim| (claim.since, claim.process));
    let (mut n_granted, mut of_process) = (0_u64, None);
    let mut of_persons: HashMap<Option<u32>, u64> = HashMap::new();
    for is_whole in [true, false] {
        claims.retain(|claim| {
            let n_tasks = match is_whole {
                true => claim.n_tasks,
                false => TASKS_MIN,
            };
            let of_person = of_persons.entry(claim.person).or_default();
            let of_person_then = of_person.saturating_add(n_tasks);
            let n_then = n_granted.saturating_add(n_tasks);
            let fits = n_then <= total && of_person_then <= total / 2;
            if fits {
                (n_granted, *of_person) = (n_then, of_person_then);
                if claim.process == process {
                    of_process = Some(n_tasks);
                }
            }
            !fits
        });
    }
    (n_granted, of_process)
}

fn as_u32(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Pid, StartTime};
    use std::time::Duration;

    fn id(pid: i32) -> ProcessId {
        ProcessId {
            pid: Pid::new(pid).unwrap(),
            start: StartTime(1),
        }
    }

    fn claims(of: &[(u32, u64)]) -> Vec<Claim> {
        let claim = |(at, (person, n_tasks)): (usize, &(u32, u64))| {
            let at = u32::try_from(at).unwrap() + 1;
            Claim {
                process: id(at.try_into().unwrap()),
                since: Timestamp::new(Duration::from_secs(at.into())),
                person: Some(*person),
                n_tasks: *n_tasks,
            }
        };
        of.iter().enumerate().map(claim).collect()
    }

    fn each(of: &[(u32, u64)], total: u64) -> Vec<u32> {
        let claims = claims(of);
        let room = Room {
            total,
            n_tasks: claims.iter().map(|it| it.n_tasks).sum(),
        };
        let max = |it: &Claim| room.tasks_max(it.process, it.n_tasks, claims.iter().copied());
        claims.iter().map(max).collect()
    }

    #[test]
    fn nobody_is_held_back_while_there_is_room() {
        let max = each(&[(1, 10), (1, 90_000), (2, 0), (3, 400_000)], 2_000_000);
        assert!(max[1] >= 90_000 && max[3] >= 400_000, "{max:?}");
        // A part of what is left, as a power of two.
        assert_eq!([max[0], max[2]], [16_384, 65_536]);
    }

    #[test]
    fn one_person_has_half_and_the_oldest_processes_come_first() {
        let mut of = vec![(7, 250_000); 15];
        of.push((8, 5_000));
        of.push((9, 0));
        let max = each(&of, 2_000_000);
        assert!(max[..4].iter().all(|max| *max >= 250_000), "{max:?}");
        // What one person may have is used up.
        assert!(max[4..15].iter().all(|max| *max == 0), "{max:?}");
        assert!(max[15] >= 5_000 && max[16] >= 32_768, "{max:?}");
        let n_read: u64 = max
            .iter()
            .zip(&of)
            .map(|(max, (_, n))| (*n).min((*max).into()))
            .sum();
        assert!(n_read <= 2_000_000, "{n_read}");
    }

    #[test]
    fn all_together_have_no_more() {
        let of: Vec<_> = (0..30).map(|person| (person, 300_000)).collect();
        let max = each(&of, 2_000_000);
        let n_granted = max.iter().filter(|max| **max >= 300_000).count();
        assert_eq!(n_granted, 6, "{max:?}");
        assert!(max[6..].iter().all(|max| *max == 250), "{max:?}");
        // Of 8 with 601 tasks each, 2 of one person have room for a few.
        let max = each(&[(1, 601); 8], 1_000);
        assert_eq!(max, [250, 250, 0, 0, 0, 0, 0, 0]);
    }
}
