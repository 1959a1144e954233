//! The lines in the log about a request: one when it is decided that it may be asked for, before anything is read, so that it
//! is there whatever reading it does to the agent; and one when it is over. What is refused has the second only.

use super::rights::{Peer, Rights};
use crate::agent::requests::next_number;
use crate::protocol::Request;
use crate::sanitize::escape_start;
use std::time::Duration;

/// Characters of the reason: it may quote what a client has sent.
const WHY_CHARS_MAX: usize = 1_000;

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A request, as the log has it.
pub(super) struct Line {
    number: u64,
    peer: Peer,
    asks: Option<&'static str>,
    /// Of which process.
    of: Option<i32>,
    /// For how long at most it is to be stopped, in milliseconds.
    freeze_ms: Option<u64>,
}

impl Line {
    /// Of a request of `peer`; `None`: what came was none.
    pub(super) fn new(peer: Peer, request: Option<Request>) -> Self {
        Self {
            number: next_number(),
            peer,
            asks: request.map(Request::name),
            of: request.and_then(Request::pid).map(|pid| pid.as_raw()),
            freeze_ms: request.and_then(Request::freeze).map(milliseconds),
        }
    }

    /// It may be asked for.
    pub(super) fn begin(&self, rights: &Rights) {
        self.tell(true, Some(rights.to_string()), None);
    }

    /// It is over, with so many bytes sent; `denial` is why it was not allowed.
    pub(super) fn end(
        self,
        rights: Option<&Rights>,
        denial: Option<String>,
        result: &str,
        bytes: usize,
    ) {
        let allowed = rights.is_some() && denial.is_none();
        let why = denial.or_else(|| rights.map(ToString::to_string));
        self.tell(allowed, why, Some((result, bytes)));
    }

    /// `end` is what came of it, and how many bytes were sent.
    fn tell(&self, allowed: bool, why: Option<String>, end: Option<(&str, usize)>) {
        let Self { peer, asks, .. } = *self;
        let (result, bytes) = end.unzip();
        let begins = if end.is_none() { " begins" } else { "" };
        tracing::info!(
            request = self.number,
            uid = peer.user,
            gid = peer.group,
            client = peer.pid,
            asks,
            pid = self.of,
            freeze_ms = self.freeze_ms,
            allowed,
            why = why.map(|why| escape_start(&why, WHY_CHARS_MAX).into_owned()),
            result,
            bytes,
            "on-demand request{begins}"
        );
    }
}
