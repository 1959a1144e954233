//! The one large read at a time: a process that somebody asks for may have more than is read of it in a small one, and
//! there is memory for one such picture with its answer, not for one of each person.
//!
//! Its place is held until the picture is dropped and the answer has been sent. While somebody else waits for it, an
//! answer that is not taken is given up, so nobody holds it for long. Who waits takes turns as for other reads: next is
//! who had none for longest.

use super::fair_queue::FairQueue;
use super::reads::Asker;
use hyper::body::Bytes;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Time that a client has in any case to take a large answer.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// The place for a large read.
#[derive(Debug, Clone)]
pub(super) struct Large {
    taken_within: Duration,
    state: Arc<Mutex<State>>,
    /// It was given back, or its answer is being sent from now on.
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// By person.
    queue: FairQueue<Asker>,
}

#[derive(Debug)]
struct Held {
    by: Asker,
    /// From then on the answer may be given up, by this.
    sending: Option<(Instant, Arc<Notify>)>,
}

/// The place, held; until this is dropped.
#[derive(Debug)]
pub(super) struct LargePlace(Large);

/// Somebody who waits; until this is dropped.
struct Waiting<'a> {
    number: u64,
    by: Asker,
    large: &'a Large,
}

/// An answer that is being sent.
struct Body {
    bytes: Bytes,
    _place: LargePlace,
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Default for Large {
    fn default() -> Self {
        Self {
            taken_within: TAKEN_WITHIN,
            state: Arc::default(),
            changed: Arc::default(),
        }
    }
}

impl Large {
    /// The place, as soon as it is the turn of `asker`.
    pub(super) async fn take(&self, asker: Asker) -> LargePlace {
        let waiting = self.wait(asker);
        loop {
            let mut changed = pin!(self.changed.notified());
            // What changes from here on is not missed.
            changed.as_mut().enable();
            let given_up_at = match self.try_take(&waiting) {
                Ok(place) => return place,
                Err(given_up_at) => given_up_at,
            };
            match given_up_at {
                None => changed.await,
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(at) => self.give_up(),
                },
            }
        }
    }

    fn wait(&self, asker: Asker) -> Waiting<'_> {
        let by = asker.person();
        let number = self.state().queue.join(by);
        let large = self;
        Waiting { number, by, large }
    }

    /// # Errors
    ///
    /// From when on what the holder sends may be given up, if it is being sent.
    fn try_take(&self, waiting: &Waiting<'_>) -> Result<LargePlace, Option<Instant>> {
        let mut state = self.state();
        if let Some(held) = &state.held {
            return Err(held.sending.as_ref().map(|(at, _)| *at));
        }
        let by = waiting.by;
        if !state.queue.is_first(waiting.number, by, |_| true) {
            return Err(None);
        }
        state.queue.take_turn(by);
        state.held = Some(Held { by, sending: None });
        Ok(LargePlace(self.clone()))
    }

    /// Ends the answer that has been sent for long enough.
    fn give_up(&self) {
        let mut state = self.state();
        let sending = state.held.as_mut().and_then(|held| held.sending.take());
        match sending {
            Some((at, give_up)) if at <= Instant::now() => give_up.notify_one(),
            // It is another one by now.
            other => {
                if let Some(held) = &mut state.held {
                    held.sending = other;
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LargePlace {
    /// The same bytes, which are the answer, with which the place is given back when the last of them is dropped. `give_up` is
    /// notified when that is to be before they have been sent.
    pub(super) fn send(self, bytes: Bytes, give_up: &Arc<Notify>) -> Bytes {
        let at = Instant::now() + self.0.taken_within;
        if let Some(held) = &mut self.0.state().held {
            held.sending = Some((at, Arc::clone(give_up)));
        }
        self.0.changed.notify_waiters();
        Bytes::from_owner(Body {
            bytes,
            _place: self,
        })
    }
}

impl Drop for LargePlace {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if let Some(held) = state.held.take() {
            state.queue.forget(held.by, |_| false);
        }
        drop(state);
        self.0.changed.notify_waiters();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.large.state();
        let State { held, queue } = &mut *state;
        let holds = |by| held.as_ref().is_some_and(|held| held.by == by);
        queue.leave(self.number, holds);
        drop(state);
        // The turn may be that of one who waited behind it.
        self.large.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::people::Person;
    use tokio::time::{sleep, timeout};

    fn owner(id: u32) -> Asker {
        Asker::Owner(Person {
            id,
            has_account: true,
        })
    }

    #[tokio::test]
    async fn whoever_asks_often_waits_for_who_asks_once() {
        let large = Large::default();
        let place = large.take(owner(1)).await;
        let again = large.wait(owner(1));
        // As a member, too, it is the same person.
        let as_member = large.wait(Asker::Member(1));
        let other = large.wait(owner(2));
        assert!(large.try_take(&other).is_err(), "one at a time");
        drop(place);
        assert!(large.try_take(&again).is_err() && large.try_take(&as_member).is_err());
        let place = large.try_take(&other).unwrap();
        drop(other);
        drop(place);
        assert!(large.try_take(&as_member).is_err());
        assert!(large.try_take(&again).is_ok());
        drop((again, as_member));
        let state = large.state();
        assert!(state.queue.is_empty() && state.held.is_none());
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_is_given_up_for_who_waits() {
        let large = Large {
            taken_within: Duration::from_millis(50),
            ..Large::default()
        };
        let (first, give_up) = (large.take(owner(1)).await, Arc::new(Notify::new()));
        let short = Duration::from_millis(200);
        let waits = async || timeout(short, large.take(owner(2))).await;
        // While it is being read, it is not given up.
        assert!(waits().await.is_err());
        let answer = first.send("large".into(), &give_up);
        assert_eq!(answer, "large");
        // Nor while nobody waits.
        sleep(short).await;
        assert!(timeout(Duration::ZERO, give_up.notified()).await.is_err());
        let (second, ()) = tokio::join!(large.take(owner(2)), async {
            give_up.notified().await;
            drop(answer);
        });
        let give_up = Arc::new(Notify::new());
        let _answer = second.send("large".into(), &give_up);
        assert!(timeout(Duration::ZERO, give_up.notified()).await.is_err());
    }
}
