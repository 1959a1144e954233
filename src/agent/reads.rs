//! Reading a process because somebody asks for it, on the socket or over HTTP: on a thread of its own, for so long, and
//! so many at once.
//!
//! A process can make every read of it hang in the kernel, for as long as it likes (userfaultfd(2), a file system of its
//! own). So root, members of the group, owners and HTTP each have places of their own, within which each person has a
//! share, and a read that takes long makes room for the next one. Over HTTP that is the person whose process is read:
//! it is the process that hangs, and who asks is often not known. Owners with an account and those without (subordinate
//! user ids, containers) have places apart: whoever has many user ids without one keeps nobody with an account waiting.
//! Of those who wait for a turn, it is that of who had none for longest, however often somebody asks.

use super::people::Person;
use crate::limits::Stop;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// A read that takes longer counts as one that hangs, and gives its turn to another.
const HANGS_AFTER: Duration = Duration::from_secs(3);

/// Reads at once for all together, those included that hang.
pub(super) const READS_MAX: usize = 4 + 6 + 2 * OF_OWNERS_MAX + 4;
/// Those for owners with an account, and for owners without one.
const OF_OWNERS_MAX: usize = 8;

/// For whom a process is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Asker {
    /// Root.
    Root,
    /// This user, who may read every process.
    Member(u32),
    /// This person, who may read its own.
    Owner(Person),
    /// Whoever asks over HTTP, for a process of the person with this id.
    Web(Option<u32>),
}

impl Asker {
    /// How many reads may hang for all askers of the kind, and for one of them.
    fn hanging_max(self) -> (usize, usize) {
        match self {
            Self::Root => (4, 4),
            Self::Member(_) => (6, 2),
            Self::Owner(_) => (OF_OWNERS_MAX, 1),
            Self::Web(_) => (4, 1),
        }
    }

    fn is_of_kind(self, other: Self) -> bool {
        match (self, other) {
            (Self::Owner(person), Self::Owner(other)) => person.has_account == other.has_account,
            _ => std::mem::discriminant(&self) == std::mem::discriminant(&other),
        }
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
    /// Who waits for a turn.
    waiting: BTreeMap<u64, Asker>,
    /// The latest turn of each asker, as long as it has another read or waits for one.
    latest: HashMap<Asker, u64>,
}

/// A read; until this is dropped.
#[derive(Debug)]
struct Place {
    number: u64,
    reads: Reads,
}

/// Somebody who waits for a turn; until this is dropped.
#[derive(Debug)]
struct Waiting {
    number: u64,
    asker: Asker,
    reads: Reads,
}

impl Taken {
    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether nobody alike who waits had no turn for longer.
    fn is_first(&self, number: u64, asker: Asker) -> bool {
        let rank = |(number, asker): (&u64, &Asker)| (self.latest.get(asker).copied(), *number);
        let own = rank((&number, &asker));
        let alike = self.waiting.iter().filter(|it| it.1.is_of_kind(asker));
        alike.map(rank).all(|other| own <= other)
    }

    /// Forgets when an asker had a turn that is not here any more.
    fn forget(&mut self, asker: Asker) {
        let mut here = self
            .waiting
            .values()
            .chain(self.reads.values().map(|it| &it.0));
        if here.all(|it| *it != asker) {
            self.latest.remove(&asker);
        }
    }
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
        let waiting = self.wait(asker);
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // What is given back from here on is not missed.
            freed.as_mut().enable();
            match self.try_take(&waiting) {
                Err(NotRead::Busy) => freed.await,
                taken => return taken,
            }
        }
    }

    fn wait(&self, asker: Asker) -> Waiting {
        let mut taken = self.taken();
        let number = taken.next();
        taken.waiting.insert(number, asker);
        Waiting {
            number,
            asker,
            reads: self.clone(),
        }
    }

    fn try_take(&self, waiting: &Waiting) -> Result<Place, NotRead> {
        let asker = waiting.asker;
        let (all_max, of_one_max) = asker.hanging_max();
        let mut taken = self.taken();
        let of_kind = || taken.reads.values().filter(|it| it.0.is_of_kind(asker));
        let n_hanging = |it: &Asker| of_kind().filter(|(by, hangs)| *hangs && by == it).count();
        if n_hanging(&asker) >= of_one_max || of_kind().filter(|it| it.1).count() >= all_max {
            return Err(NotRead::OthersHang);
        }
        // One that does not hang at a time.
        if of_kind().any(|it| !it.1) || !taken.is_first(waiting.number, asker) {
            return Err(NotRead::Busy);
        }
        let number = taken.next();
        taken.reads.insert(number, (asker, false));
        taken.latest.insert(asker, number);
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
        let mut taken = self.reads.taken();
        if let Some((asker, _)) = taken.reads.remove(&self.number) {
            taken.forget(asker);
        }
        drop(taken);
        self.reads.freed.notify_waiters();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut taken = self.reads.taken();
        taken.waiting.remove(&self.number);
        taken.forget(self.asker);
        drop(taken);
        // The turn may be that of one who waited behind it.
        self.reads.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn owner(id: u32, has_account: bool) -> Asker {
        Asker::Owner(Person { id, has_account })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whatever_hangs_leaves_room_for_others() {
        let reads = Reads::default();
        let mut held = Vec::new();
        let take = |asker| reads.try_take(&reads.wait(asker));
        let mut hang = |asker| {
            let place = take(asker).unwrap();
            reads.note_hanging(place.number);
            held.push(place);
        };
        hang(owner(7, true));
        let others_hang = NotRead::OthersHang;
        assert_eq!(take(owner(7, true)).unwrap_err(), others_hang);
        (8..15).for_each(|user| hang(owner(user, true)));
        assert_eq!(take(owner(99, true)).unwrap_err(), others_hang);
        hang(Asker::Web(Some(7)));
        hang(owner(7, false));
        let others = [
            Asker::Root,
            Asker::Member(7),
            Asker::Member(8),
            owner(8, false),
            Asker::Web(Some(8)),
            Asker::Web(None),
        ];
        for other in others {
            let limits = ReadLimits::default();
            assert_eq!(reads.read(other, limits, |_| 1).await, Ok(1), "{other:?}");
        }
        held.clear();
        let taken = reads.taken();
        assert!(taken.reads.is_empty() && taken.latest.is_empty() && taken.waiting.is_empty());
    }

    #[test]
    fn whoever_asks_often_waits_for_who_asks_once() {
        let reads = Reads::default();
        let mut busy: Vec<_> = (0..8).map(|_| reads.wait(owner(1, false))).collect();
        let place = reads.try_take(&busy.remove(0)).unwrap();
        let (first, second) = (reads.wait(owner(2, false)), reads.wait(owner(3, false)));
        let with_account = reads.wait(owner(3, true));
        assert!(reads.try_take(&with_account).is_ok());
        let is_turn = |of: &Waiting| match reads.try_take(of) {
            Ok(_) => true,
            Err(why) => {
                assert_eq!(why, NotRead::Busy);
                false
            }
        };
        assert!(!is_turn(&first), "one at a time");
        drop(place);
        assert!(!is_turn(&busy[0]) && !is_turn(&second));
        assert!(is_turn(&first));
        // That one goes, and the other as well, without a turn.
        drop(first);
        assert!(!is_turn(&busy[0]));
        drop(second);
        assert!(is_turn(&busy[0]));
        busy.remove(0);
        // Who comes anew is before who has had a turn.
        let anew = reads.wait(owner(2, false));
        assert!(!is_turn(&busy[0]) && is_turn(&anew));
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
