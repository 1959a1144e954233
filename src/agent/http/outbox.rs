//! The answers that are being sent: memory that clients decide how long we hold.
//!
//! There is a bound on all of them together, in which one that many are sent counts once. An answer that would not fit makes the oldest ones be given up,
//! with their connections, so that nobody who takes an answer slowly, or not at all, keeps others from theirs.

use hyper::body::Bytes;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The answers that are being sent on all addresses.
#[derive(Debug)]
pub(in crate::agent) struct Outbox {
    /// Bytes of all answers together. One that is larger is sent alone.
    bytes_max: usize,
    sending: Mutex<Sending>,
}

#[derive(Debug, Default)]
struct Sending {
    /// Of all answers together, those that are the same in memory once.
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
    /// Tells the connection that it is to end.
    give_up: Arc<Notify>,
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
        match self.copies.contains_key(&place) {
            true => 0,
            false => place.1,
        }
    }

    /// Whether there was one that could be given up.
    fn give_up_oldest(&mut self, before: u64) -> bool {
        let oldest = self.answers.first_key_value().map(|(number, _)| *number);
        let oldest = oldest.filter(|number| *number < before);
        let Some(posted) = oldest.and_then(|number| self.remove(number)) else {
            return false;
        };
        posted.give_up.notify_one();
        true
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
    pub(in crate::agent) fn post(self: &Arc<Self>, bytes: Bytes, give_up: &Arc<Notify>) -> Bytes {
        let mut sending = self.sending();
        // Whoever is sent them holds them, so nothing else can be there meanwhile.
        let place = (bytes.as_ptr().addr(), bytes.len());
        while sending.bytes.saturating_add(sending.more(place)) > self.bytes_max
            && sending.give_up_oldest(u64::MAX)
        {}
        let number = sending.next;
        sending.next += 1;
        sending.bytes += sending.more(place);
        *sending.copies.entry(place).or_default() += 1;
        let give_up = Arc::clone(give_up);
        sending.answers.insert(number, Posted { place, give_up });
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
        while sending.give_up_oldest(number) {}
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

    /// Whether the connection was told to end since the last time.
    fn is_told(give_up: &Notify) -> bool {
        let told = pin!(give_up.notified());
        told.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn the_oldest_answer_makes_room_for_a_new_one() {
        let outbox = Arc::new(Outbox::new(10));
        let connections: [Arc<Notify>; 4] = Default::default();
        let told = || connections.each_ref().map(|it| is_told(it));
        let post = |at: usize, text: &'static str| outbox.post(text.into(), &connections[at]);
        let first = post(0, "1234");
        let second = post(1, "123456");
        assert_eq!(told(), [false; 4]);
        // What was sent takes no room, however its parts are dropped.
        let rest = second.slice(3..);
        drop(second);
        assert_eq!(outbox.bytes(), 10);
        drop(rest);
        assert_eq!(outbox.bytes(), 4);
        let second = post(1, "12345");
        let third = post(2, "123");
        assert_eq!(told(), [true, false, false, false]);
        assert_eq!(&first[..], b"1234", "it is there as long as it is held");
        // One that is too large for all is sent alone.
        let huge = post(3, "12345678901");
        assert_eq!(told(), [false, true, true, false]);
        drop((first, second, third));
        assert_eq!(outbox.bytes(), 11);
        drop(huge);
        assert_eq!(outbox.bytes(), 0);
        assert!(outbox.sending().answers.is_empty());
    }

    #[test]
    fn what_many_are_sent_counts_once() {
        let outbox = Arc::new(Outbox::new(10));
        let connections: [Arc<Notify>; 6] = Default::default();
        let told = || connections.each_ref().map(|it| is_told(it));
        let (made, other) = (Bytes::from(vec![b'a'; 6]), Bytes::from(vec![b'b'; 6]));
        let post = |at: usize, made: &Bytes| outbox.post(made.clone(), &connections[at]);
        let mut sent: Vec<_> = (0..5).map(|at| post(at, &made)).collect();
        assert_eq!((outbox.bytes(), told()), (6, [false; 6]));
        sent.truncate(3);
        assert_eq!(outbox.bytes(), 6);
        sent.push(post(5, &other));
        assert_eq!(
            (outbox.bytes(), told()),
            (6, [true, true, true, false, false, false])
        );
        // Those that were given up still hold it.
        sent.push(post(0, &made));
        assert_eq!(told(), [false, false, false, false, false, true]);
        drop(sent);
        assert_eq!(outbox.bytes(), 0);
        assert!(outbox.sending().copies.is_empty());
    }

    #[test]
    fn what_is_not_taken_is_given_up() {
        let outbox = Arc::new(Outbox::new(100));
        let connections: [Arc<Notify>; 2] = Default::default();
        let _old = outbox.post("old".into(), &connections[0]);
        let number = outbox.next();
        let _new = outbox.post("new".into(), &connections[1]);
        outbox.give_up_before(number);
        assert_eq!(connections.each_ref().map(|it| is_told(it)), [true, false]);
    }
}
