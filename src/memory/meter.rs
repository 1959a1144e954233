//! What a snapshot has read, kept and done so far, and whether it may go on.

use super::{ReadError, ReadErrorKind, RemoteAddr};
use crate::limits::{Limits, SCAN_TIME, SYSCALL_WORK, Stop};

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
            stop: None,
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
        self.stats.syscalls = self.stats.syscalls.saturating_add(1);
        self.stats.bytes = self.stats.bytes.saturating_add(bytes);
        let bytes_max = self.limits.bytes_read_max;
        within("bytes_read_max", self.stats.bytes <= bytes_max)?;
        self.work(SYSCALL_WORK)
    }

    /// Counts `bytes` bytes of what was decoded and is kept.
    pub(super) fn keep(&mut self, bytes: usize) -> Result<(), ReadError> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.decoded_bytes = self.decoded_bytes.saturating_add(bytes);
        let bytes_max = self.limits.decoded_bytes_max;
        within("decoded_bytes_max", self.decoded_bytes <= bytes_max)
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
        within("work_max", self.work <= self.limits.work_max)?;
        let is_stopped = self.stop.as_ref().is_some_and(Stop::is_stopped);
        within(SCAN_TIME, !is_stopped)?;
        let next = self.work.saturating_add(CHECKED_EVERY);
        self.checkpoint = next.min(self.limits.work_max.saturating_add(1));
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
