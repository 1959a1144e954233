//! The answers that are being sent: memory that clients decide how long we hold.
//!
//! There is a bound on all of them together, in which one that many are sent counts once. When there is no room for another
//! one, whoever holds the most has the oldest of theirs given up, with its connection. So who takes answers slowly, or not at
//! all, keeps nobody else from theirs, whoever that is. Small answers take part in none of this: how many there are
//! is bounded by how many connections there may be. Nor do those of large reads, of which there is one
//! ([`LargePlace`](crate::agent::large::LargePlace)).

use hyper::body::Bytes;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes of an answer that is no longer small.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// Who is sent an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::agent) enum Holder {
    /// The person with this id, on the socket.
    Person(u32),
    /// Whoever has this address, over HTTP.
    Address(IpAddr),
}

/// The answers that are being sent on all addresses.
#[derive(Debug)]
pub(in crate::agent) struct Outbox {
    /// Bytes of all answers together that are not small. One more may be beyond it, of somebody who has no other.
    bytes_max: usize,
    sending: Mutex<Sending>,
}

#[derive(Debug, Default)]
struct Sending {
    /// Of all answers together that are not small, those that are the same in memory once.
    bytes: usize,
    /// How often each is being sent, by where it is.
    copies: HashMap<(usize, usize), usize>,
    /// By their numbers.
    answers: BTreeMap<u64, Posted>,
    /// The number of the next one.
    next: u64,
}

#[derive(Debug)]
struct Posted {
    place: (usize, usize),
    holder: Holder,
    /// Tells the connection that it is to end.
    give_up: Arc<Notify>,
}

impl Posted {
    fn is_small(&self) -> bool {
        is_small(self.place)
    }
}

fn is_small(place: (usize, usize)) -> bool {
    place.1 < SMALL_BYTES_MAX
}

/// An answer; whoever holds the last part of it that is not sent yet holds this.
struct Body {
    bytes: Bytes,
    number: u64,
    outbox: Arc<Outbox>,
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.outbox.sending().remove(self.number);
    }
}

impl Sending {
    fn remove(&mut self, number: u64) -> Option<Posted> {
        let posted = self.answers.remove(&number)?;
        if let Entry::Occupied(mut copies) = self.copies.entry(posted.place) {
            *copies.get_mut() -= 1;
            if *copies.get() == 0 {
                copies.remove();
                self.bytes -= posted.place.1;
            }
        }
        Some(posted)
    }

    /// How many bytes more one would be.
    fn more(&self, place: (usize, usize)) -> usize {
        match is_small(place) || self.copies.contains_key(&place) {
            true => 0,
            false => place.1,
        }
    }

    /// The oldest answer of whoever would hold the most if `new` had one more; `None` if they hold no other.
    fn least_missed(&self, new: Holder, place: (usize, usize)) -> Option<u64> {
        let mut held = BTreeMap::from([(new, (place.1, None))]);
        for (number, posted) in self.answers.iter().filter(|(_, it)| !it.is_small()) {
            let (bytes, oldest) = held.entry(posted.holder).or_default();
            *bytes += posted.place.1;
            oldest.get_or_insert(*number);
        }
        let most = held.values().map(|(bytes, _)| *bytes).max()?;
        let of_most = held.into_values().filter(|(bytes, _)| *bytes == most);
        of_most.filter_map(|(_, oldest)| oldest).min()
    }

    fn give_up(&mut self, number: u64) {
        if let Some(posted) = self.remove(number) {
            posted.give_up.notify_one();
        }
    }
}

impl Outbox {
    pub(in crate::agent) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            sending: Mutex::default(),
        }
    }

    /// The same bytes, which count as being sent until the last of them is dropped. `give_up` is notified if
    /// they are to be dropped before they have been sent.
    pub(in crate::agent) fn post(
        self: &Arc<Self>,
        bytes: Bytes,
        holder: Holder,
        give_up: &Arc<Notify>,
    ) -> Bytes {
        let mut sending = self.sending();
        // Whoever is sent them holds them, so nothing else can be there meanwhile.
        let place = (bytes.as_ptr().addr(), bytes.len());
        loop {
            let more = sending.more(place);
            if more == 0 || sending.bytes.saturating_add(more) <= self.bytes_max {
                break;
            }
            let Some(number) = sending.least_missed(holder, place) else {
                break;
            };
            sending.give_up(number);
        }
        let number = sending.next;
        sending.next += 1;
        if !is_small(place) {
            sending.bytes += sending.more(place);
            *sending.copies.entry(place).or_default() += 1;
        }
        let posted = Posted {
            place,
            holder,
            give_up: Arc::clone(give_up),
        };
        sending.answers.insert(number, posted);
        drop(sending);
        Bytes::from_owner(Body {
            bytes,
            number,
            outbox: Arc::clone(self),
        })
    }

    /// The number of the next answer.
    pub(super) fn next(&self) -> u64 {
        self.sending().next
    }

    /// Gives up all answers with lower numbers.
    pub(super) fn give_up_before(&self, number: u64) {
        let mut sending = self.sending();
        while let Some((oldest, _)) = sending.answers.first_key_value()
            && *oldest < number
        {
            let oldest = *oldest;
            sending.give_up(oldest);
        }
    }

    /// Bytes of all answers that are being sent.
    #[cfg(test)]
    pub(in crate::agent) fn bytes(&self) -> usize {
        self.sending().bytes
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        // Nothing in here panics half way.
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    const KIB: usize = 1 << 10;

    /// An outbox for a MiB, and connections that are sent answers.
    struct Sent {
        outbox: Arc<Outbox>,
        connections: [Arc<Notify>; 8],
    }

    impl Sent {
        fn new() -> Self {
            Self {
                outbox: Arc::new(Outbox::new(1024 * KIB)),
                connections: Default::default(),
            }
        }

        /// Sends somebody an answer on the connection `at`.
        fn post(&self, at: usize, person: u32, bytes: &Bytes) -> Bytes {
            let holder = Holder::Person(person);
            let give_up = &self.connections[at];
            self.outbox.post(bytes.clone(), holder, give_up)
        }

        fn post_kib(&self, at: usize, person: u32, kib: usize) -> Bytes {
            self.post(at, person, &vec![b'a'; kib * KIB].into())
        }

        /// The connections that were told to end since the last time.
        fn told(&self) -> Vec<usize> {
            let is_told = |at: &usize| {
                let told = pin!(self.connections[*at].notified());
                told.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
            };
            (0..self.connections.len()).filter(is_told).collect()
        }
    }

    #[test]
    fn whoever_holds_the_most_makes_room_by_their_oldest_answer() {
        let sent = Sent::new();
        let slow = sent.post_kib(0, 1, 200);
        let first = sent.post_kib(1, 2, 400);
        let second = sent.post_kib(2, 2, 400);
        assert_eq!(sent.told(), [0; 0]);
        // It is the oldest, but not of who has the most.
        let third = sent.post_kib(3, 2, 400);
        assert_eq!(sent.told(), [1]);
        assert_eq!(first.len(), 400 * KIB, "it is there as long as it is held");
        let other = sent.post_kib(4, 3, 300);
        assert_eq!(sent.told(), [2]);
        assert_eq!(sent.outbox.bytes(), 900 * KIB);
        // What was sent takes no room, however its parts are dropped.
        let rest = slow.slice(3..);
        drop(slow);
        assert_eq!(sent.outbox.bytes(), 900 * KIB);
        drop(rest);
        assert_eq!(sent.outbox.bytes(), 700 * KIB);
        drop((first, second, third, other));
        assert_eq!(sent.outbox.bytes(), 0);
        assert!(sent.outbox.sending().answers.is_empty());
    }

    #[test]
    fn who_has_one_answer_only_gets_it_however_large() {
        let sent = Sent::new();
        let other = sent.post_kib(0, 1, 300);
        let large = sent.post_kib(1, 2, 2_000);
        assert_eq!(sent.told(), [0; 0]);
        // Another one of theirs takes its place, and so does one of somebody else.
        let again = sent.post_kib(2, 2, 2_000);
        assert_eq!(sent.told(), [1]);
        let of_third = sent.post_kib(3, 3, 700);
        assert_eq!(sent.told(), [2]);
        assert_eq!(sent.outbox.bytes(), 1_000 * KIB);
        drop((other, large, again, of_third));
        assert_eq!(sent.outbox.bytes(), 0);
    }

    #[test]
    fn small_answers_push_nothing_out_and_are_not_pushed_out() {
        let sent = Sent::new();
        let large = sent.post_kib(0, 1, 2_000);
        let small: Vec<_> = (0..100)
            .map(|person| sent.post_kib(1, person, 63))
            .collect();
        assert_eq!((sent.told(), sent.outbox.bytes()), (vec![], 2_000 * KIB));
        let newest = sent.post_kib(2, 2, 1_000);
        assert_eq!(sent.told(), [0]);
        drop((large, small, newest));
        assert!(sent.outbox.sending().answers.is_empty());
    }

    #[test]
    fn what_many_are_sent_counts_once() {
        let sent = Sent::new();
        let (made, other) = (
            Bytes::from(vec![b'a'; 600 * KIB]),
            Bytes::from(vec![b'b'; 600 * KIB]),
        );
        let mut held: Vec<_> = (0..5).map(|at| sent.post(at, 1, &made)).collect();
        assert_eq!((sent.told(), sent.outbox.bytes()), (vec![], 600 * KIB));
        held.truncate(3);
        assert_eq!(sent.outbox.bytes(), 600 * KIB);
        held.push(sent.post(5, 2, &other));
        assert_eq!(
            (sent.told(), sent.outbox.bytes()),
            (vec![0, 1, 2], 600 * KIB)
        );
        drop(held);
        assert_eq!(sent.outbox.bytes(), 0);
        assert!(sent.outbox.sending().copies.is_empty());
    }

    #[test]
    fn what_is_not_taken_is_given_up() {
        let sent = Sent::new();
        let old = [sent.post_kib(0, 1, 1), sent.post_kib(1, 1, 100)];
        let number = sent.outbox.next();
        let _new = sent.post_kib(2, 1, 1);
        sent.outbox.give_up_before(number);
        assert_eq!(sent.told(), [0, 1]);
        drop(old);
    }
}
