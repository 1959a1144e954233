//! Answers that many ask for at once are made once for all of them.
//!
//! Whoever asks while an answer of the same kind is still waiting for its turn gets that one: it is made after they
//! asked, so nobody is told anything old. One answer is made at a time. So clients that ask as fast as they can, on as
//! many connections as they like, delay nobody for longer than the answer of each kind takes that is being made or waits.

use super::site::{Answer, response, text};
use hyper::StatusCode;
use hyper::body::Bytes;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, watch};

/// An answer, as far as its kind decides on it.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

/// Whether it could be made; `None` if that failed in a way that it should not.
type Outcome = Option<Result<Made, String>>;

/// What is being made, by its kind.
pub(in crate::agent) struct Shared<K> {
    /// Those that wait for their turn.
    waiting: Arc<Mutex<HashMap<K, watch::Receiver<Outcome>>>>,
    turn: Arc<Semaphore>,
}

impl<K> Clone for Shared<K> {
    fn clone(&self) -> Self {
        Self {
            waiting: Arc::clone(&self.waiting),
            turn: Arc::clone(&self.turn),
        }
    }
}

impl<K> Default for Shared<K> {
    fn default() -> Self {
        Self {
            waiting: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl<K> fmt::Debug for Shared<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl<K: Eq + Hash + Clone + Send + 'static> Shared<K> {
    /// The answer of this kind, made by `make`, or by what somebody else gave for the same kind. It blocks.
    pub(super) async fn answer(
        &self,
        kind: K,
        make: impl FnOnce() -> Result<Made, String> + Send + 'static,
    ) -> Answer {
        let mut outcome = self.join(kind, make);
        // An error means that the task that makes it is gone.
        let _ = outcome.wait_for(Option::is_some).await;
        let outcome = outcome.borrow().clone();
        match outcome {
            Some(Ok(Made { content_type, body })) => response(StatusCode::OK, content_type, body),
            Some(Err(why)) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{why}\n")),
            None => text(StatusCode::INTERNAL_SERVER_ERROR, "a defect of the agent\n"),
        }
    }

    fn join(
        &self,
        kind: K,
        make: impl FnOnce() -> Result<Made, String> + Send + 'static,
    ) -> watch::Receiver<Outcome> {
        let mut waiting = lock(&self.waiting);
        if let Some(outcome) = waiting.get(&kind) {
            return outcome.clone();
        }
        let (tell, outcome) = watch::channel(None);
        waiting.insert(kind.clone(), outcome.clone());
        let (all, turn) = (Arc::clone(&self.waiting), Arc::clone(&self.turn));
        // On its own: whoever asked first may go away, and others wait for the same.
        tokio::spawn(async move {
            // Nobody closes it.
            let _turn = turn.acquire_owned().await;
            // Who asks from now on asks for a newer one.
            lock(&all).remove(&kind);
            if let Ok(made) = tokio::task::spawn_blocking(make).await {
                tell.send_replace(Some(made));
            }
        });
        outcome
    }
}

/// A panic elsewhere leaves nothing behind that could be wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    fn made(body: impl Into<Bytes>) -> Result<Made, String> {
        Ok(Made {
            content_type: super::super::site::TEXT,
            body: body.into(),
        })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_asks_while_another_is_made_gets_the_next_one_with_all_others() {
        let shared: Shared<&str> = Shared::default();
        let (begun, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let shared = shared.clone();
            async move {
                let make = move || {
                    begun.send(()).unwrap();
                    may_go_on.recv().unwrap();
                    made("first")
                };
                shared.answer("a", make).await
            }
        });
        tokio::task::spawn_blocking(move || has_begun.recv().unwrap())
            .await
            .unwrap();
        let n_made = Arc::new(AtomicUsize::new(0));
        let others: Vec<_> = (0..400)
            .map(|_| {
                let n_made = Arc::clone(&n_made);
                shared.join("a", move || {
                    n_made.fetch_add(1, Ordering::SeqCst);
                    made("second")
                })
            })
            .collect();
        go_on.send(()).unwrap();
        assert_eq!(first.await.unwrap().into_body().bytes, "first");
        for mut outcome in others {
            let outcome = outcome.wait_for(Option::is_some).await.unwrap().clone();
            assert_eq!(outcome.unwrap().unwrap().body, "second");
        }
        assert_eq!(n_made.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_made_is_told_and_holds_up_nobody() {
        let shared: Shared<&str> = Shared::default();
        let answer = shared
            .answer("a", || panic!("this is part of the test"))
            .await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let answer = shared.answer("a", || Err("no".to_owned())).await;
        assert_eq!(answer.into_body().bytes, "no\n");
        assert_eq!(
            shared.answer("a", || made("yes")).await.into_body().bytes,
            "yes"
        );
        assert!(lock(&shared.waiting).is_empty());
    }
}
