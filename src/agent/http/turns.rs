//! One at a time, and fairly: who waits for a turn is served by address in a circle, so that nobody can fill the
//! line for others. Of one address it is by turns somebody who was not refused before and somebody who was: who comes
//! anew is soon served even if many try again and again.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// What is done one at a time.
#[derive(Debug, Default)]
pub(super) struct Turns {
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    is_taken: bool,
    /// No address has nobody.
    waiting: BTreeMap<IpAddr, OfAddress>,
    /// The address that had the latest turn.
    latest: Option<IpAddr>,
}

/// Who came first is at the front.
#[derive(Debug, Default)]
struct OfAddress {
    new: VecDeque<oneshot::Sender<Turn>>,
    refused: VecDeque<oneshot::Sender<Turn>>,
    /// Its next turn is for one of those who were refused.
    is_for_refused: bool,
}

/// The right to do it, until dropped.
#[derive(Debug)]
pub(super) struct Turn {
    /// `None` once it was passed on.
    turns: Option<Arc<Turns>>,
}

impl Line {
    /// Who is next; there are as many of them as wait, those included who went away.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let after = self.latest.map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.waiting.range((after, Bound::Unbounded));
        let next = later.next().or_else(|| self.waiting.first_key_value());
        let address = next.map(|(address, _)| *address)?;
        self.latest = Some(address);
        let of_address = self.waiting.get_mut(&address)?;
        let next = of_address.next();
        if of_address.is_empty() {
            self.waiting.remove(&address);
        }
        next
    }

    /// Leaves those out who went away: no more wait than there are connections.
    fn forget_gone(&mut self) {
        self.waiting.retain(|_, of_address| {
            of_address.new.retain(|waits| !waits.is_closed());
            of_address.refused.retain(|waits| !waits.is_closed());
            !of_address.is_empty()
        });
    }
}

impl OfAddress {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let is_for_refused = self.is_for_refused;
        self.is_for_refused ^= true;
        match is_for_refused {
            true => self.refused.pop_front().or_else(|| self.new.pop_front()),
            false => self.new.pop_front().or_else(|| self.refused.pop_front()),
        }
    }

    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.refused.is_empty()
    }
}

impl Turns {
    /// Waits for a turn, among those of the address; `was_refused` tells that it is not for the first time.
    pub(super) async fn wait(self: &Arc<Self>, address: IpAddr, was_refused: bool) -> Option<Turn> {
        let told = {
            let mut line = self.line();
            if !line.is_taken {
                line.is_taken = true;
                return Some(Turn {
                    turns: Some(Arc::clone(self)),
                });
            }
            line.forget_gone();
            let (tell, told) = oneshot::channel();
            let of_address = line.waiting.entry(address).or_default();
            match was_refused {
                true => of_address.refused.push_back(tell),
                false => of_address.new.push_back(tell),
            }
            told
        };
        // Whoever has the turn passes it on.
        told.await.ok()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing in here panics half way.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        while let Some(turns) = self.turns.take() {
            let next = {
                let mut line = turns.line();
                let next = line.next();
                line.is_taken = next.is_some();
                next
            };
            let Some(next) = next else { return };
            let turn = Turn { turns: Some(turns) };
            // Whoever went away gets none.
            if let Err(mut turn) = next.send(turn) {
                self.turns = turn.turns.take();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    type Waits = Pin<Box<dyn Future<Output = Option<Turn>>>>;

    fn poll(waits: &mut Waits) -> Poll<Option<Turn>> {
        pin!(waits).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn wait(turns: &Arc<Turns>, (last, was_refused): (u8, bool)) -> Waits {
        let turns = Arc::clone(turns);
        let address = IpAddr::from([10, 0, 0, last]);
        Box::pin(async move { turns.wait(address, was_refused).await })
    }

    /// Has those wait whose addresses are given by their last byte, and whether they were refused; tells who is served, by
    /// their places in it.
    fn served(who: &[(u8, bool)], gone: &[usize]) -> Vec<usize> {
        let turns = Arc::new(Turns::default());
        let Poll::Ready(mut turn) = poll(&mut wait(&turns, (0, false))) else {
            panic!("nobody waits in vain");
        };
        let begin = |who: &(u8, bool)| {
            let mut waits = wait(&turns, *who);
            assert!(poll(&mut waits).is_pending(), "one at a time");
            Some(waits)
        };
        let mut waiting: Vec<_> = who.iter().map(begin).collect();
        for at in gone {
            waiting[*at] = None;
        }
        let mut served = Vec::new();
        while turn.take().is_some() {
            let mut ready = (0..waiting.len()).filter(|at| {
                let Some(waits) = waiting[*at].as_mut() else {
                    return false;
                };
                let Poll::Ready(next) = poll(waits) else {
                    return false;
                };
                assert!(turn.is_none(), "one at a time");
                turn = next;
                true
            });
            let at = ready.next();
            assert_eq!(ready.next(), None);
            drop(ready);
            if let Some(at) = at {
                waiting[at] = None;
                served.push(at);
            }
        }
        let line = turns.line();
        assert!(line.waiting.is_empty() && !line.is_taken);
        served
    }

    #[test]
    fn addresses_take_turns_and_so_do_those_who_were_refused_before() {
        assert!(served(&[], &[]).is_empty());
        let (new, refused) = ((1, false), (1, true));
        assert_eq!(served(&[new; 3], &[]), [0, 1, 2]);
        assert_eq!(served(&[refused; 3], &[]), [0, 1, 2]);
        let all = [refused, refused, refused, refused, new, new];
        assert_eq!(served(&all, &[]), [4, 0, 5, 1, 2, 3]);
        let all = [1, 1, 1, 2, 2, 3].map(|last| (last, false));
        assert_eq!(served(&all, &[]), [0, 3, 5, 1, 4, 2]);
    }

    #[test]
    fn whoever_went_away_is_passed_over() {
        let all = [(1, false), (1, true), (2, false), (3, false)];
        assert_eq!(served(&all, &[0, 1, 2]), [3]);
        assert!(served(&all, &[0, 1, 2, 3]).is_empty());
    }

    #[test]
    fn whoever_went_away_takes_no_room() {
        let turns = Arc::new(Turns::default());
        let Poll::Ready(_turn) = poll(&mut wait(&turns, (0, false))) else {
            panic!("the turn is free");
        };
        let mut second = wait(&turns, (0, false));
        assert!(poll(&mut second).is_pending());
        for last in 1..100 {
            let mut gone = wait(&turns, (last, last % 2 == 0));
            assert!(poll(&mut gone).is_pending());
        }
        assert_eq!(turns.line().waiting.len(), 2);
    }
}
