//! Who may ask: HTTP basic authentication (RFC 7617) with bcrypt hashes, as Prometheus exporters do it.

use super::peer::Peer;
use super::turns::Turns;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Salt and hash that stand for users who do not exist. With the highest cost of those who do, so that they do not
/// take less time.
const NOBODY: &str = "CwTycUXWue0Thq9StjUM0uJ8qRkzNrZ6lD3nL4YfDIuKMkTuDBCoq";
/// What most tools take.
const USUAL_COST: u32 = 10;

/// The users who may ask, and their passwords.
pub(in crate::agent) struct Users {
    hashes: BTreeMap<String, String>,
    nobody: String,
    /// Of each user the password that was good, as a hash with keys of this process: bcrypt takes long by design.
    known: Arc<Mutex<BTreeMap<String, u64>>>,
    keys: RandomState,
    /// One hash at a time, so that nobody can take all processors by guessing.
    turns: Arc<Turns>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("n", &self.hashes.len())
            .finish_non_exhaustive()
    }
}

impl Users {
    pub(in crate::agent) fn new(hashes: BTreeMap<String, String>) -> Self {
        let cost = hashes.values().filter_map(|hash| cost(hash)).max();
        Self {
            nobody: format!("$2b${:02}${NOBODY}", cost.unwrap_or(USUAL_COST)),
            hashes,
            known: Arc::default(),
            keys: RandomState::new(),
            turns: Arc::default(),
        }
    }

    /// Whether these are the same users with the same passwords.
    pub(super) fn are_those_of(&self, other: &Self) -> bool {
        self.hashes == other.hashes
    }

    /// Nobody has to say who they are.
    pub(in crate::agent) fn is_open(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Who asks, if they have to say that: it is for requests that are answered.
    pub(super) fn name(&self, headers: &HeaderMap) -> Option<String> {
        if self.is_open() {
            return None;
        }
        credentials(headers).map(|(user, _)| user)
    }

    /// Whether a request with these headers from this peer may be answered. A password that was good before is known
    /// at once; others are checked one after the other.
    pub(super) async fn let_in(&self, headers: &HeaderMap, peer: &Peer) -> bool {
        if self.is_open() {
            return true;
        }
        let Some((user, password)) = credentials(headers) else {
            return false;
        };
        let key = self.keys.hash_one((&user, &password));
        let is_known = || lock(&self.known).get(&user) == Some(&key);
        if is_known() {
            return true;
        }
        let was_refused = peer.was_refused.load(Ordering::Relaxed);
        let Some(turn) = self.turns.wait(peer.address, was_refused).await else {
            return false;
        };
        // Meanwhile another request may have had the same.
        if is_known() {
            return true;
        }
        let hash = self.hashes.get(&user);
        let is_user = hash.is_some();
        let hash = hash.unwrap_or(&self.nobody).clone();
        let known = Arc::clone(&self.known);
        // It goes on if the peer does not wait for it, so the turn lasts as long, and what was found out is known.
        let verify = move || {
            let _turn = turn;
            let is_right = bcrypt::verify(password, &hash).unwrap_or(false) && is_user;
            if is_right {
                lock(&known).insert(user, key);
            }
            is_right
        };
        let is_right = tokio::task::spawn_blocking(verify).await.unwrap_or(false);
        peer.was_refused.store(!is_right, Ordering::Relaxed);
        is_right
    }
}

/// Nothing panics while it is locked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cost of a bcrypt hash, such as `$2y$10$` and what follows.
fn cost(hash: &str) -> Option<u32> {
    hash.split('$').nth(2)?.parse().ok()
}

/// The user and the password that a request gives.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let given = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = given.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use std::net::Ipv4Addr;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn here() -> Peer {
        Peer::new(Ipv4Addr::LOCALHOST.into())
    }

    fn basic(text: &str) -> HeaderMap {
        let value = format!("bAsIc {}", STANDARD.encode(text));
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&value).unwrap())])
    }

    #[tokio::test]
    async fn only_users_with_their_passwords_are_let_in() {
        let hash = bcrypt::hash("se:cret", 4).unwrap();
        let users = Users::new([("ann".to_owned(), hash)].into());
        for _ in 0..2 {
            assert!(users.let_in(&basic("ann:se:cret"), &here()).await);
        }
        for wrong in ["ann:se:cre", "ann:", "bob:se:cret", "ann", ""] {
            assert!(!users.let_in(&basic(wrong), &here()).await, "{wrong}");
        }
        assert!(!users.let_in(&HeaderMap::new(), &here()).await);
        let other = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer x"))]);
        assert!(!users.let_in(&other, &here()).await);
        let open = Users::new(BTreeMap::new());
        assert!(open.let_in(&HeaderMap::new(), &here()).await);
    }

    #[tokio::test]
    async fn a_password_that_was_good_is_known() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let users = Users::new([("ann".to_owned(), hash)].into());
        assert!(users.let_in(&basic("ann:secret"), &here()).await);
        // Nobody else gets a turn.
        let _turn = users.turns.wait(here().address, false).await;
        for _ in 0..2 {
            assert!(users.let_in(&basic("ann:secret"), &here()).await);
            let wrong = pin!(users.let_in(&basic("ann:wrong"), &here()))
                .poll(&mut Context::from_waker(Waker::noop()));
            assert!(wrong.is_pending());
        }
    }

    #[test]
    fn the_hash_of_nobody_takes_as_long_as_the_longest() {
        let hash = |cost| bcrypt::hash("secret", cost).unwrap();
        let users = [("ann", 4), ("bob", 6), ("eve", 5)];
        let users = users.map(|(user, cost)| (user.to_owned(), hash(cost)));
        let users = Users::new(users.into());
        assert_eq!(cost(&users.nobody), Some(6));
        // It is a hash, and so is compared as one.
        assert!(!bcrypt::verify("", &users.nobody).unwrap());
    }
}
