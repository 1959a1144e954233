//! What a snapshot has read, kept and done so far, and whether it may go on.

use super::{ReadError, ReadErrorKind, RemoteAddr};
use crate::limits::{ALL, Limits, REST, SCAN_TIME, SYSCALL_WORK, Share, Sixteenths, Stop};

/// Bytes that are read or looked at for one unit of work.
const BYTES_PER_WORK: u64 = 64;
/// Work between two looks at whether the snapshot is to end: a fraction of a millisecond.
const CHECKED_EVERY: u64 = 1 << 14;

/// What a reader has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReaderStats {
    /// System calls that copied memory, or tried to.
    pub syscalls: u64,
    /// Bytes copied, or tried to.
    pub bytes: u64,
}

/// What may have been used up.
#[derive(Debug)]
struct Caps {
    bytes_read: u64,
    decoded_bytes: u64,
    work: u64,
}

#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    pub(super) stats: ReaderStats,
    work: u64,
    /// With so much work it is checked whether that is too much, and whether the snapshot is to end.
    checkpoint: u64,
    decoded_bytes: u64,
    /// How much may be used up by now.
    caps: Caps,
    /// When what is done now ends, of the time that there is.
    until: Sixteenths,
    pub(super) stop: Option<Stop>,
}

impl Meter {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            stats: ReaderStats::default(),
            work: 0,
            checkpoint: 0,
            decoded_bytes: 0,
            caps: Caps {
                bytes_read: limits.bytes_read_max,
                decoded_bytes: limits.decoded_bytes_max,
                work: limits.work_max,
            },
            until: REST.until,
            stop: None,
        }
    }

    /// From now on no more may be read, decoded and done than this share of what is left of all that may be.
    pub(super) fn begin_part(&mut self, share: Share) {
        let cap = |used: u64, most: u64| match share.of_left {
            ALL => most,
            of_left => {
                let part = most.saturating_sub(used).checked_div(ALL.into());
                used.saturating_add(part.unwrap_or(0).saturating_mul(of_left.into()))
            }
        };
        self.caps = Caps {
            bytes_read: cap(self.stats.bytes, self.limits.bytes_read_max),
            decoded_bytes: cap(self.decoded_bytes, self.limits.decoded_bytes_max),
            work: cap(self.work, self.limits.work_max),
        };
        self.until = share.until;
        // The next one is of the other cap.
        self.checkpoint = 0;
    }

    /// Counts the work of looking at `bytes` bytes that were read before.
    #[inline]
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), ReadError> {
        let units = u64::try_from(bytes).unwrap_or(u64::MAX) / BYTES_PER_WORK;
        self.work(units.saturating_add(1))
    }

    /// Counts a system call that copies `len` bytes.
    pub(super) fn copy(&mut self, len: usize) -> Result<(), ReadError> {
        let bytes = u64::try_from(len).unwrap_or(u64::MAX);
        let bytes = self.stats.bytes.saturating_add(bytes);
        within("bytes_read_max", bytes <= self.caps.bytes_read)?;
        self.stats.syscalls = self.stats.syscalls.saturating_add(1);
        self.stats.bytes = bytes;
        self.work(SYSCALL_WORK)
    }

    /// Counts `bytes` bytes of what was decoded and is kept.
    pub(super) fn keep(&mut self, bytes: usize) -> Result<(), ReadError> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        // What does not fit is not kept, and takes nothing from what comes after.
        let bytes = self.decoded_bytes.saturating_add(bytes);
        within("decoded_bytes_max", bytes <= self.caps.decoded_bytes)?;
        self.decoded_bytes = bytes;
        Ok(())
    }

    #[inline]
    fn work(&mut self, more: u64) -> Result<(), ReadError> {
        self.work = self.work.saturating_add(more);
        match self.work < self.checkpoint {
            true => Ok(()),
            false => self.check(),
        }
    }

    #[cold]
    fn check(&mut self) -> Result<(), ReadError> {
        within("work_max", self.work <= self.caps.work)?;
        let is_over = |stop: &Stop| stop.has_passed(self.until);
        within(SCAN_TIME, !self.stop.as_ref().is_some_and(is_over))?;
        let next = self.work.saturating_add(CHECKED_EVERY);
        self.checkpoint = next.min(self.caps.work.saturating_add(1));
        Ok(())
    }
}

fn within(limit: &'static str, is_within: bool) -> Result<(), ReadError> {
    match is_within {
        true => Ok(()),
        false => Err(ReadError {
            at: RemoteAddr::NULL,
            len: 0,
            kind: ReadErrorKind::Limit(limit),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FIRST_LOOK;

    #[test]
    fn each_part_of_a_walk_leaves_something_for_the_others() {
        let mut meter = Meter::new(Limits {
            decoded_bytes_max: 800,
            bytes_read_max: 800,
            ..Limits::default()
        });
        let stop = Stop::default();
        meter.stop = Some(stop.clone());
        meter.begin_part(FIRST_LOOK);
        assert_eq!(meter.keep(450), Ok(()));
        assert!(meter.keep(1).is_err() && meter.copy(451).is_err());
        assert_eq!(meter.copy(450), Ok(()));
        stop.pass(FIRST_LOOK.until);
        let end = |meter: &mut Meter| (0..=CHECKED_EVERY).find_map(|_| meter.spend(8).err());
        let ended = end(&mut meter).map(|error| error.kind);
        assert_eq!(ended, Some(ReadErrorKind::Limit(SCAN_TIME)));
        // Of what is left.
        meter.begin_part(Share {
            of_left: 8,
            until: 10,
        });
        assert_eq!(end(&mut meter), None);
        assert_eq!((meter.keep(168), meter.copy(168)), (Ok(()), Ok(())));
        assert!(meter.keep(1).is_err() && meter.copy(1).is_err());
        meter.begin_part(REST);
        assert_eq!((meter.keep(182), meter.copy(182)), (Ok(()), Ok(())));
        assert!(meter.keep(1).is_err() && meter.copy(1).is_err());
    }

    #[test]
    fn a_snapshot_that_is_stopped_reads_no_more() {
        let stop = Stop::default();
        let mut meter = Meter::new(Limits::default());
        meter.stop = Some(stop.clone());
        assert_eq!(meter.spend(8), Ok(()));
        stop.stop();
        let end = (0..=CHECKED_EVERY).find_map(|_| meter.spend(8).err());
        assert_eq!(end.map(|it| it.kind), Some(ReadErrorKind::Limit(SCAN_TIME)));
        assert!(meter.copy(8).is_err() && meter.spend(0).is_err());
    }

    #[test]
    fn work_is_bounded_to_the_unit() {
        let work_max = 3 * SYSCALL_WORK;
        let mut meter = Meter::new(Limits {
            work_max,
            ..Limits::default()
        });
        let n_calls = (0..10).take_while(|_| meter.copy(1).is_ok()).count();
        assert_eq!(n_calls, 3);
    }
}
