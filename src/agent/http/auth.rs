//! Who may ask: HTTP basic authentication (RFC 7617) with bcrypt hashes, as Prometheus exporters do it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Credentials that were found to be good are remembered, so many of them: hashes take long by design.
const KNOWN_MAX: usize = 1_000;
/// A hash that stands for users who do not exist, so that they take as long as those who do.
const NOBODY: &str = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8qRkzNrZ6lD3nL4YfDIuKMkTuDBCoq";

/// The users who may ask, and their passwords.
pub(in crate::agent) struct Users {
    hashes: BTreeMap<String, String>,
    /// Hashes, with keys of this process, of credentials that were good.
    known: Mutex<BTreeSet<u64>>,
    keys: RandomState,
    /// One hash at a time, so that nobody can take all processors by guessing.
    turn: Semaphore,
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
        Self {
            hashes,
            known: Mutex::default(),
            keys: RandomState::new(),
            turn: Semaphore::new(1),
        }
    }

    /// Nobody has to say who they are.
    pub(in crate::agent) fn is_open(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether a request with these headers may be answered.
    pub(in crate::agent) async fn let_in(&self, headers: &HeaderMap) -> bool {
        if self.is_open() {
            return true;
        }
        let Some((user, password)) = credentials(headers) else {
            return false;
        };
        let key = self.keys.hash_one((&user, &password));
        if self.known().contains(&key) {
            return true;
        }
        let Ok(_turn) = self.turn.acquire().await else {
            return false;
        };
        let hash = self.hashes.get(&user);
        let is_user = hash.is_some();
        let hash = hash.map_or(NOBODY, |hash| hash.as_str()).to_owned();
        let verify = move || bcrypt::verify(password, &hash).unwrap_or(false);
        let is_right = tokio::task::spawn_blocking(verify).await.unwrap_or(false);
        if is_user && is_right {
            let mut known = self.known();
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(key);
        }
        is_user && is_right
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    fn basic(text: &str) -> HeaderMap {
        let value = format!("bAsIc {}", STANDARD.encode(text));
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&value).unwrap())])
    }

    #[tokio::test]
    async fn only_users_with_their_passwords_are_let_in() {
        let hash = bcrypt::hash("se:cret", 4).unwrap();
        let users = Users::new([("ann".to_owned(), hash)].into());
        for _ in 0..2 {
            assert!(users.let_in(&basic("ann:se:cret")).await);
        }
        for wrong in ["ann:se:cre", "ann:", "bob:se:cret", "ann", ""] {
            assert!(!users.let_in(&basic(wrong)).await, "{wrong}");
        }
        assert!(!users.let_in(&HeaderMap::new()).await);
        let other = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer x"))]);
        assert!(!users.let_in(&other).await);
        assert!(Users::new(BTreeMap::new()).let_in(&HeaderMap::new()).await);
    }

    #[test]
    fn the_hash_of_nobody_takes_as_long_as_any() {
        assert!(!bcrypt::verify("", NOBODY).unwrap());
    }
}
