//! Reading a process because somebody asks for it, on the socket or over HTTP: on a thread of its own, for so long, and
//! so many at once. What somebody may ask for is found out by the same rules, apart from the reads.
//!
//! A process can make every read of it hang in the kernel, for as long as it likes (userfaultfd(2), a file system of its
//! own). So root, members of the group, owners and HTTP each have places of their own, within which each person has a
//! share, and a read that takes long makes room for the next one. Over HTTP that is the person whose process is read:
//! it is the process that hangs, and who asks is often not known. Owners with an account and those without (subordinate
//! user ids, containers) have places apart: whoever has many user ids without one keeps nobody with an account waiting. A
//! person who asks in several of these ways still has one share.
//! Of those who wait for a turn, it is that of who had none for longest, however often somebody asks.
//!
//! A read is a small one at first. If that is not enough the process is read once more, by the one large read that there
//! may be at a time ([`Large`]).

use super::allowance::Size;
use super::fair_queue::FairQueue;
use super::large::{Large, LargePlace};
use super::people::Person;
use super::scan_time::stop_after;
use crate::limits::Stop;
use std::collections::BTreeMap;
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
    /// The person with this id, who may read every process.
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

    /// The same for each person, as whatever kind they ask.
    pub(super) fn person(self) -> Self {
        match self {
            Self::Owner(Person { id, .. }) => Self::Member(id),
            Self::Root | Self::Member(_) | Self::Web(_) => self,
        }
    }

    fn is_same_person(self, other: Self) -> bool {
        self.person() == other.person()
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
    /// For the place of a large read.
    pub(super) large_max: Duration,
    /// For a process to be read.
    pub(super) scan_max: Duration,
    /// For that to end when it is told to.
    pub(super) scan_end_max: Duration,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            turn_max: Duration::from_secs(5),
            large_max: Duration::from_secs(10),
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
    large: Large,
}

/// What was made of a process that was read.
#[derive(Debug)]
pub(super) struct Made<T> {
    pub(super) what: T,
    /// There was more than there is room for.
    pub(super) is_cut: bool,
    /// Of a large read; to be held until its answer has been sent.
    pub(super) place: Option<LargePlace>,
}

#[derive(Debug, Default)]
struct Taken {
    /// For whom each is, and whether it counts as one that hangs.
    reads: BTreeMap<u64, (Asker, bool)>,
    queue: FairQueue<Asker>,
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
    /// Whether a process is being read for this person that does not hang.
    fn is_busy_for(&self, asker: Asker) -> bool {
        let mut reads = self.reads.values();
        reads.any(|(by, hangs)| !hangs && by.is_same_person(asker))
    }

    /// Whether nobody alike who waits had no turn for longer, those left out who are busy with another read.
    fn is_first(&self, number: u64, asker: Asker) -> bool {
        let may_be = |other: Asker| other.is_of_kind(asker) && !self.is_busy_for(other);
        self.queue.is_first(number, asker, may_be)
    }
}

fn has_read(reads: &BTreeMap<u64, (Asker, bool)>, asker: Asker) -> bool {
    reads.values().any(|(by, _)| *by == asker)
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
                stop_after(limits.scan_max, &of_timer),
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

    /// Has `work` done in the same way, which says whether it was cut by the bounds of the size that it is given. Then it is
    /// done once more as the large read; or once more as it was, if others do not let go of that in time.
    ///
    /// # Errors
    ///
    /// The same.
    pub(super) async fn read_as_needed<T: Send + 'static>(
        &self,
        asker: Asker,
        limits: ReadLimits,
        work: impl Fn(&Stop, Size) -> (T, bool) + Send + Sync + 'static,
    ) -> Result<Made<T>, NotRead> {
        let work = Arc::new(work);
        let made = self.make(asker, limits, None, Arc::clone(&work)).await?;
        if !made.is_cut {
            return Ok(made);
        }
        // Many may wait, so nothing that was made is held meanwhile.
        drop(made);
        self.read_large(asker, limits, work).await
    }

    /// Has `work` done once, as the large read; or small, if others do not let go of that in time.
    ///
    /// # Errors
    ///
    /// The same.
    pub(super) async fn read_large<T: Send + 'static>(
        &self,
        asker: Asker,
        limits: ReadLimits,
        work: Arc<impl Fn(&Stop, Size) -> (T, bool) + Send + Sync + 'static>,
    ) -> Result<Made<T>, NotRead> {
        let place = timeout(limits.large_max, self.large.take(asker)).await;
        self.make(asker, limits, place.ok(), work).await
    }

    async fn make<T: Send + 'static>(
        &self,
        asker: Asker,
        limits: ReadLimits,
        place: Option<LargePlace>,
        work: Arc<impl Fn(&Stop, Size) -> (T, bool) + Send + Sync + 'static>,
    ) -> Result<Made<T>, NotRead> {
        let size = place.as_ref().map_or(Size::Small, |_| Size::Large);
        let make = move |stop: &Stop| {
            let (what, is_cut) = work(stop, size);
            Made {
                what,
                is_cut,
                // One that hangs, and is waited for no more, holds it still.
                place,
            }
        };
        self.read(asker, limits, make).await
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
        Waiting {
            number: self.taken().queue.join(asker),
            asker,
            reads: self.clone(),
        }
    }

    fn try_take(&self, waiting: &Waiting) -> Result<Place, NotRead> {
        let asker = waiting.asker;
        let (all_max, of_one_max) = asker.hanging_max();
        let mut taken = self.taken();
        let of_kind = || taken.reads.values().filter(|it| it.0.is_of_kind(asker));
        let is_own = |it: &&(Asker, bool)| it.1 && it.0.is_same_person(asker);
        let n_own = taken.reads.values().filter(is_own).count();
        if n_own >= of_one_max || of_kind().filter(|it| it.1).count() >= all_max {
            return Err(NotRead::OthersHang);
        }
        // One that does not hang at a time, of each kind and of each person.
        let is_busy = of_kind().any(|it| !it.1) || taken.is_busy_for(asker);
        if is_busy || !taken.is_first(waiting.number, asker) {
            return Err(NotRead::Busy);
        }
        let number = taken.queue.take_turn(asker);
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
        let mut taken = self.reads.taken();
        let Taken { reads, queue } = &mut *taken;
        if let Some((asker, _)) = reads.remove(&self.number) {
            queue.forget(asker, |asker| has_read(reads, asker));
        }
        drop(taken);
        self.reads.freed.notify_waiters();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut taken = self.reads.taken();
        let Taken { reads, queue } = &mut *taken;
        queue.leave(self.number, |asker| has_read(reads, asker));
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
        hang(Asker::Member(6));
        // Whoever asks with another user id is the same person.
        assert_eq!(take(owner(7, false)).unwrap_err(), others_hang);
        assert_eq!(take(owner(6, false)).unwrap_err(), others_hang);
        let others = [
            Asker::Root,
            Asker::Member(6),
            Asker::Member(7),
            Asker::Member(8),
            owner(88, false),
            Asker::Web(Some(8)),
            Asker::Web(None),
        ];
        for other in others {
            let limits = ReadLimits::default();
            assert_eq!(reads.read(other, limits, |_| 1).await, Ok(1), "{other:?}");
        }
        held.clear();
        let taken = reads.taken();
        assert!(taken.reads.is_empty() && taken.queue.is_empty());
    }

    #[test]
    fn whoever_asks_often_waits_for_who_asks_once() {
        let reads = Reads::default();
        let mut busy: Vec<_> = (0..8).map(|_| reads.wait(owner(1, false))).collect();
        let place = reads.try_take(&busy.remove(0)).unwrap();
        let (first, second) = (reads.wait(owner(2, false)), reads.wait(owner(3, false)));
        let with_account = reads.wait(owner(3, true));
        assert!(reads.try_take(&with_account).is_ok());
        // The one whose read that is waits for it also with this user id, and keeps no other waiting.
        let (same, other) = (reads.wait(owner(1, true)), reads.wait(owner(4, true)));
        assert_eq!(reads.try_take(&same).unwrap_err(), NotRead::Busy);
        assert!(reads.try_take(&other).is_ok());
        drop((same, other));
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
            large_max: Duration::ZERO,
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

    #[tokio::test(flavor = "multi_thread")]
    async fn what_does_not_fit_is_read_once_more_one_at_a_time() {
        let reads = Reads::default();
        let limits = ReadLimits {
            large_max: Duration::from_millis(50),
            ..ReadLimits::default()
        };
        let read = async |asker, needed| {
            let work = move |_: &Stop, size| (size, needed == Size::Large && size == Size::Small);
            let made = reads.read_as_needed(asker, limits, work).await.unwrap();
            assert_eq!(made.place.is_some(), made.what == Size::Large);
            made
        };
        let large = read(owner(7, true), Size::Large).await;
        assert_eq!((large.what, large.is_cut), (Size::Large, false));
        // Until it has been sent, others get what fits into a small one.
        let other = read(Asker::Root, Size::Large).await;
        assert_eq!((other.what, other.is_cut), (Size::Small, true));
        let small = read(Asker::Root, Size::Small).await;
        assert_eq!((small.what, small.is_cut), (Size::Small, false));
        drop(large);
        assert_eq!(read(Asker::Root, Size::Large).await.what, Size::Large);
    }
}
