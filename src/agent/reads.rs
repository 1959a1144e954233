//! Reading a process because somebody asks for it, on the socket or over HTTP: on a thread of its own, for so long, and
//! so many at once.
//!
//! A process can make every read of it hang in the kernel, for as long as it likes (userfaultfd(2), a file system of its
//! own). So root, members of the group, owners and HTTP each have places of their own, within which each user has a
//! share, and a read that takes long makes room for the next one. Over HTTP that is the user whose process is read:
//! it is the process that hangs, and who asks is often not known.

use crate::limits::Stop;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// A read that takes longer counts as one that hangs, and gives its turn to another.
const HANGS_AFTER: Duration = Duration::from_secs(3);

/// Reads at once for all together, those included that hang.
pub(super) const READS_MAX: usize = 4 + 6 + 8 + 4;

/// For whom a process is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Root.
    Root,
    /// This user, who may read every process.
    Member(u32),
    /// This user, who may read its own.
    Owner(u32),
    /// Whoever asks over HTTP, for a process of this user.
    Web(Option<u32>),
}

impl Asker {
    /// How many reads may hang for all askers of the kind, and for one of them.
    fn hanging_max(self) -> (usize, usize) {
        match self {
            Self::Root => (4, 4),
            Self::Member(_) => (6, 2),
            Self::Owner(_) => (8, 1),
            Self::Web(_) => (4, 1),
        }
    }

    fn is_of_kind(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// How long whoever asks is kept waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadLimits {
    /// For its turn, when others are being answered.
    pub(super) turn_max: Duration,
    /// For a process to be read.
    pub(super) scan_max: Duration,
    /// For that to end when it is told to.
    pub(super) scan_end_max: Duration,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            turn_max: Duration::from_secs(5),
            scan_max: Duration::from_secs(20),
            scan_end_max: Duration::from_secs(5),
        }
    }
}

/// Why nothing was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotRead {
    /// Others were being answered.
    Busy,
    /// Too many reads hang that the same user asked for, or whose processes are the same user's.
    OthersHang,
    /// It hangs, or took too long.
    TimedOut,
    /// A defect of the agent.
    Panicked,
}

/// The reads that run.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads {
    taken: Arc<Mutex<Taken>>,
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// For whom each is, and whether it counts as one that hangs.
    reads: BTreeMap<u64, (Asker, bool)>,
}

/// A read; until this is dropped.
#[derive(Debug)]
struct Place {
    number: u64,
    reads: Reads,
}

impl Reads {
    /// Has `work`, which blocks, done for `asker` on a thread of its own as soon as it is its turn. It ends when the
    /// [`Stop`] says so; if it does not, it is left to itself.
    ///
    /// # Errors
    ///
    /// Why it was not done, or is not waited for.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        asker: Asker,
        limits: ReadLimits,
        work: impl FnOnce(&Stop) -> T + Send + 'static,
    ) -> Result<T, NotRead> {
        let place = match timeout(limits.turn_max, self.take(asker)).await {
            Ok(place) => place?,
            Err(_) => return Err(NotRead::Busy),
        };
        let (reads, number) = (self.clone(), place.number);
        let of_work = Stop::default();
        let of_timer = of_work.clone();
        // On its own: whoever asked may go away.
        let timing = tokio::spawn(async move {
            tokio::join!(
                async {
                    sleep(HANGS_AFTER).await;
                    reads.note_hanging(number);
                },
                async {
                    sleep(limits.scan_max).await;
                    of_timer.stop();
                }
            );
        });
        let reading = tokio::task::spawn_blocking(move || {
            let _place = place;
            work(&of_work)
        });
        let at_most = limits.scan_max.saturating_add(limits.scan_end_max);
        let read = timeout(at_most, reading).await;
        timing.abort();
        match read {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(_)) => Err(NotRead::Panicked),
            // One that hangs in the kernel keeps its place, and nobody waits for it.
            Err(_) => Err(NotRead::TimedOut),
        }
    }

    async fn take(&self, asker: Asker) -> Result<Place, NotRead> {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // What is given back from here on is not missed.
            freed.as_mut().enable();
            match self.try_take(asker) {
                Err(NotRead::Busy) => freed.await,
                taken => return taken,
            }
        }
    }

    fn try_take(&self, asker: Asker) -> Result<Place, NotRead> {
        let (all_max, of_one_max) = asker.hanging_max();
        let mut taken = self.taken();
        let of_kind = || taken.reads.values().filter(|it| it.0.is_of_kind(asker));
        let n_hanging = |it: &Asker| of_kind().filter(|(by, hangs)| *hangs && by == it).count();
        if n_hanging(&asker) >= of_one_max || of_kind().filter(|it| it.1).count() >= all_max {
            return Err(NotRead::OthersHang);
        }
        // One that does not hang at a time.
        if of_kind().any(|it| !it.1) {
            return Err(NotRead::Busy);
        }
        let number = taken.next;
        taken.next += 1;
        taken.reads.insert(number, (asker, false));
        Ok(Place {
            number,
            reads: self.clone(),
        })
    }

    fn note_hanging(&self, number: u64) {
        if let Some((_, hangs)) = self.taken().reads.get_mut(&number) {
            *hangs = true;
        }
        self.freed.notify_waiters();
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing in here panics half way.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.reads.taken().reads.remove(&self.number);
        self.reads.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test(flavor = "multi_thread")]
    async fn whatever_hangs_leaves_room_for_others() {
        let reads = Reads::default();
        let mut held = Vec::new();
        let mut hang = |asker| {
            let place = reads.try_take(asker).unwrap();
            reads.note_hanging(place.number);
            held.push(place);
        };
        hang(Asker::Owner(7));
        assert_eq!(
            reads.try_take(Asker::Owner(7)).unwrap_err(),
            NotRead::OthersHang
        );
        (8..15).for_each(|user| hang(Asker::Owner(user)));
        assert_eq!(
            reads.try_take(Asker::Owner(99)).unwrap_err(),
            NotRead::OthersHang
        );
        hang(Asker::Web(Some(7)));
        let others = [
            Asker::Root,
            Asker::Member(7),
            Asker::Member(8),
            Asker::Web(Some(8)),
            Asker::Web(None),
        ];
        for other in others {
            let limits = ReadLimits::default();
            assert_eq!(reads.read(other, limits, |_| 1).await, Ok(1), "{other:?}");
        }
        held.clear();
        assert!(reads.taken().reads.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn turns_are_waited_for_and_long_reads_are_ended() {
        let reads = Reads::default();
        let limits = ReadLimits {
            turn_max: Duration::from_millis(50),
            scan_max: Duration::from_millis(200),
            scan_end_max: Duration::from_millis(50),
        };
        let (end, ended) = mpsc::channel::<()>();
        let endless = reads.read(Asker::Root, limits, move |_| ended.recv().is_ok());
        let mut endless = std::pin::pin!(endless);
        let second = async {
            sleep(Duration::from_millis(10)).await;
            reads.read(Asker::Root, limits, |_| true).await
        };
        let (first, second) = tokio::join!(endless.as_mut(), second);
        assert_eq!(
            (first, second),
            (Err(NotRead::TimedOut), Err(NotRead::Busy))
        );
        end.send(()).unwrap();
        let patient = ReadLimits::default();
        let until_told = |stop: &Stop| {
            while !stop.is_stopped() {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        assert_eq!(reads.read(Asker::Root, patient, |_| ()).await, Ok(()));
        let told = reads.read(Asker::Root, limits, until_told).await;
        assert_eq!(told, Ok(()));
    }
}
