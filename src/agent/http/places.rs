//! The open connections: how many there may be, and which one makes room for another.

use hyper::body::Bytes;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::task::AbortHandle;

/// The connections to one address that is listened on.
#[derive(Debug)]
pub(super) struct Places {
    /// How many there may be.
    connections_max: usize,
    open: Vec<Place>,
    uses: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Place {
    client: IpAddr,
    connection: AbortHandle,
    used: Used,
}

/// When a connection was used the last time.
#[derive(Debug, Clone)]
pub(super) struct Used {
    /// Uses of all connections until then, this one included.
    at: Arc<AtomicU64>,
    all: Arc<AtomicU64>,
    /// Requests on it that are being answered.
    n_answered: Arc<AtomicUsize>,
}

/// A request that is being answered; until this is dropped.
#[derive(Debug)]
pub(super) struct Answering(Arc<AtomicUsize>);

/// An answer that is being sent.
struct Body {
    bytes: Bytes,
    _answering: Answering,
}

impl Answering {
    /// The same bytes, with which it ends when the last of them is dropped.
    pub(super) fn until_sent(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Body {
            bytes,
            _answering: self,
        })
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Used {
    /// It is used now.
    fn note(&self) {
        let now = self.all.fetch_add(1, Ordering::Relaxed);
        self.at.store(now, Ordering::Relaxed);
    }

    /// It is used now, by a request that is to be answered.
    pub(super) fn ask(&self) -> Answering {
        self.note();
        self.n_answered.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(&self.n_answered))
    }

    fn is_answered(&self) -> bool {
        self.n_answered.load(Ordering::Relaxed) > 0
    }

    fn at(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }
}

impl Places {
    pub(super) fn new(connections_max: usize) -> Self {
        Self {
            connections_max,
            open: Vec::new(),
            uses: Arc::default(),
        }
    }

    /// What a new connection is to note its uses in, of which this is one.
    pub(super) fn begin(&self) -> Used {
        let used = Used {
            at: Arc::default(),
            all: Arc::clone(&self.uses),
            n_answered: Arc::default(),
        };
        used.note();
        used
    }

    /// Lets a client have a connection. If there are too many, another one is closed: of the client that has the most, the
    /// one that has not asked for anything for the longest time, if there is one that is not being answered one of those. So
    /// nobody can take the places of others, and who shares an address with somebody who opens very many is answered still.
    pub(super) fn take(&mut self, client: IpAddr, connection: AbortHandle, used: Used) {
        self.open.retain(|place| !place.connection.is_finished());
        // Never the new one: those of its client may all be answers that nobody takes.
        if self.open.len() >= self.connections_max
            && let Some(at) = self.least_missed(client)
        {
            self.open.swap_remove(at).connection.abort();
        }
        self.open.push(Place {
            client,
            connection,
            used,
        });
    }

    /// The one that gives way to a connection of this client.
    fn least_missed(&self, client: IpAddr) -> Option<usize> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::from([(client, 1)]);
        for place in &self.open {
            *counts.entry(place.client).or_default() += 1;
        }
        let most = self
            .open
            .iter()
            .filter_map(|it| counts.get(&it.client))
            .max()?;
        let places = self.open.iter().enumerate();
        let of_most = places.filter(|(_, place)| counts.get(&place.client) == Some(most));
        let oldest = of_most.min_by_key(|(_, place)| (place.used.is_answered(), place.used.at()));
        oldest.map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::task::JoinHandle;

    /// Has these clients connect one after the other; before the last one does, the connections of `used` are used again.
    /// Says which are closed then.
    async fn closed(connections_max: usize, clients: &[u8], used: &[usize]) -> Vec<usize> {
        let mut places = Places::new(connections_max);
        let mut all: Vec<(JoinHandle<()>, Used)> = Vec::new();
        for (n, client) in clients.iter().enumerate() {
            if n + 1 == clients.len() {
                used.iter().for_each(|at| all[*at].1.note());
            }
            let connection = tokio::spawn(pending::<()>());
            let begun = places.begin();
            let client = IpAddr::from([10, 0, 0, *client]);
            places.take(client, connection.abort_handle(), begun.clone());
            all.push((connection, begun));
        }
        let mut closed = Vec::new();
        for (at, (connection, _)) in all.into_iter().enumerate() {
            tokio::task::yield_now().await;
            if connection.is_finished() {
                closed.push(at);
            }
        }
        closed
    }

    #[tokio::test]
    async fn the_one_that_was_not_used_for_the_longest_time_makes_room() {
        assert!(closed(3, &[1, 1, 1], &[]).await.is_empty());
        assert_eq!(closed(3, &[1, 1, 1, 1], &[]).await, [0]);
        assert_eq!(closed(3, &[1, 1, 1, 1], &[0]).await, [1]);
        assert_eq!(closed(3, &[1, 1, 1, 1], &[1, 0]).await, [2]);
    }

    #[tokio::test]
    async fn what_is_being_answered_makes_room_last() {
        let mut places = Places::new(2);
        let client = IpAddr::from([127, 0, 0, 1]);
        let mut take = || {
            let (connection, used) = (tokio::spawn(pending::<()>()), places.begin());
            places.take(client, connection.abort_handle(), used.clone());
            (connection, used)
        };
        let (scrape, used) = take();
        let asked = used.ask();
        let sent = asked.until_sent(Bytes::from_static(b"answer"));
        let mut others: Vec<_> = (0..10).map(|_| take().0).collect();
        let last = others.pop().unwrap();
        for other in others {
            assert!(other.await.unwrap_err().is_cancelled());
        }
        assert!(!scrape.is_finished() && !last.is_finished());
        // It is answered, and the oldest.
        drop(sent);
        let (_newest, _) = take();
        assert!(scrape.await.unwrap_err().is_cancelled());
        assert!(!last.is_finished());
    }

    #[tokio::test]
    async fn whoever_has_the_most_makes_room() {
        assert_eq!(closed(3, &[1, 2, 2, 2], &[]).await, [1]);
        assert_eq!(closed(3, &[1, 2, 2, 3], &[1, 2]).await, [1]);
        assert_eq!(closed(3, &[1, 2, 3, 3], &[]).await, [2]);
    }
}
