//! What a snapshot has read, kept and done so far, and whether it may go on.

use super::{ReadError, ReadErrorKind, RemoteAddr};
use crate::limits::{ALL, Limits, SCAN_TIME, SYSCALL_WORK, Sixteenths, Stop};

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

#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    pub(super) stats: ReaderStats,
    work: u64,
    /// With so much work it is checked whether that is too much, and whether the snapshot is to end.
    checkpoint: u64,
    decoded_bytes: u64,
    /// How much of all that may be used up now.
    part: Sixteenths,
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
            part: ALL,
            stop: None,
        }
    }

    /// From now on so much may have been read, decoded and done of what may be altogether, and not more.
    pub(super) fn set_part(&mut self, part: Sixteenths) {
        self.part = part;
        // The next one is of the other cap.
        self.checkpoint = 0;
    }

    fn cap(&self, most: u64) -> u64 {
        match self.part {
            ALL => most,
            part => most
                .checked_div(ALL.into())
                .unwrap_or(most)
                .saturating_mul(part.into()),
        }
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
        within(
            "bytes_read_max",
            bytes <= self.cap(self.limits.bytes_read_max),
        )?;
        self.stats.syscalls = self.stats.syscalls.saturating_add(1);
        self.stats.bytes = bytes;
        self.work(SYSCALL_WORK)
    }

    /// Counts `bytes` bytes of what was decoded and is kept.
    pub(super) fn keep(&mut self, bytes: usize) -> Result<(), ReadError> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        // What does not fit is not kept, and takes nothing from what comes after.
        let bytes = self.decoded_bytes.saturating_add(bytes);
        within(
            "decoded_bytes_max",
            bytes <= self.cap(self.limits.decoded_bytes_max),
        )?;
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
        let work_max = self.cap(self.limits.work_max);
        within("work_max", self.work <= work_max)?;
        let is_over = |stop: &Stop| stop.has_passed(self.part);
        within(SCAN_TIME, !self.stop.as_ref().is_some_and(is_over))?;
        let next = self.work.saturating_add(CHECKED_EVERY);
        self.checkpoint = next.min(work_max.saturating_add(1));
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
    fn a_first_look_leaves_something_for_the_others() {
        let mut meter = Meter::new(Limits {
            decoded_bytes_max: 800,
            bytes_read_max: 800,
            ..Limits::default()
        });
        let stop = Stop::default();
        meter.stop = Some(stop.clone());
        meter.set_part(FIRST_LOOK);
        assert_eq!(meter.keep(450), Ok(()));
        assert!(meter.keep(1).is_err() && meter.copy(451).is_err());
        assert_eq!(meter.copy(450), Ok(()));
        stop.pass(FIRST_LOOK);
        let end = |meter: &mut Meter| (0..=CHECKED_EVERY).find_map(|_| meter.spend(8).err());
        let ended = end(&mut meter).map(|error| error.kind);
        assert_eq!(ended, Some(ReadErrorKind::Limit(SCAN_TIME)));
        meter.set_part(ALL);
        assert_eq!(end(&mut meter), None);
        assert_eq!((meter.keep(350), meter.copy(350)), (Ok(()), Ok(())));
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
