//! The lines in the log about on-demand requests over HTTP: who asked for what, whether that was allowed and why, and what
//! came of it. What is allowed has one before anything is read, so that it is there whatever reading does to the agent,
//! and one when it is over; what is refused has the second only. What is one too many of an address is told together, so
//! that nobody fills the log.

use super::site::Answer;
use crate::agent::requests::next_number;
use crate::agent::turnstile::Turnstile;
use crate::ids::Pid;
use crate::sanitize::escape_start;
use hyper::StatusCode;
use std::net::IpAddr;

/// Where all that is asked for on demand is.
pub(super) const ON_DEMAND: &str = "/api/v1/";

/// Characters of a reason: it may quote what a client has sent.
const WHY_CHARS_MAX: usize = 1_000;

/// Who asks.
pub(super) struct Client {
    /// Stands for all addresses that they have.
    pub(super) address: IpAddr,
    /// Whose password was good, if one is needed.
    pub(super) user: Option<String>,
    /// By what they may be shown programs.
    pub(super) right: &'static str,
}

/// The lines of the log. Those of refused requests are counted apart: they must not hide who was answered.
#[derive(Debug, Clone)]
pub(in crate::agent) struct Audit(Turnstile<(IpAddr, bool)>);

impl Default for Audit {
    fn default() -> Self {
        Self(Turnstile::new())
    }
}

impl Audit {
    /// Says that a request for `what`, which follows [`ON_DEMAND`], is allowed.
    pub(super) fn allow(&self, client: &Client, what: &str) -> Noted {
        let (address, (asks, pid)) = (client.address, asked(what));
        // How often an address may have a process read is bounded anyway, and none of that is to be hidden.
        let line = (pid.is_some() || self.pass(address, true)).then(|| Line {
            number: next_number(),
            address,
            user: client.user.clone(),
            asks,
            pid,
            why: client.right,
            result: None,
            bytes: 0,
        });
        if let Some(line) = &line {
            line.tell(None);
        }
        Noted(line)
    }

    /// Says that it is refused, by this answer.
    pub(super) fn refuse(&self, client: &Client, what: &str, answer: &Answer) {
        let address = client.address;
        // Such are told together already, by who counts them.
        if answer.status() == StatusCode::TOO_MANY_REQUESTS || !self.pass(address, false) {
            return;
        }
        let (asks, pid) = asked(what);
        let text = String::from_utf8_lossy(&answer.body().bytes);
        tracing::info!(
            request = next_number(),
            %address,
            user = client.user.as_deref(),
            asks,
            pid,
            allowed = false,
            why = escape_start(text.trim_end(), WHY_CHARS_MAX).into_owned(),
            result = result(answer.status(), pid),
            bytes = answer.body().bytes.len(),
            "on-demand request over HTTP"
        );
    }

    fn pass(&self, address: IpAddr, allowed: bool) -> bool {
        let tell = move |n| tell_many(address, allowed, n);
        self.0.pass((address, allowed), tell)
    }
}

/// A request that was allowed, and is over when this is dropped: then that is said, if it has lines of its own.
#[derive(Debug)]
pub(super) struct Noted(Option<Line>);

#[derive(Debug)]
struct Line {
    number: u64,
    address: IpAddr,
    user: Option<String>,
    asks: Option<&'static str>,
    pid: Option<i32>,
    why: &'static str,
    /// What came of it, and how many bytes that are to be sent; `None` if it was not answered.
    result: Option<(&'static str, usize)>,
    /// Bytes that the connection was handed.
    bytes: usize,
}

impl Line {
    /// Says that it begins, or is over with this result.
    fn tell(&self, result: Option<&str>) {
        let begins = if result.is_none() { " begins" } else { "" };
        tracing::info!(
            request = self.number,
            address = %self.address,
            user = self.user.as_deref(),
            asks = self.asks,
            pid = self.pid,
            allowed = true,
            why = self.why,
            result,
            bytes = result.map(|_| self.bytes),
            "on-demand request over HTTP{begins}"
        );
    }
}

impl Noted {
    /// It is answered by this, of which nothing but the head is sent if the request asks for that only.
    pub(super) fn answer(&mut self, answer: &Answer, is_head: bool) {
        if let Some(line) = &mut self.0 {
            let length = if is_head {
                0
            } else {
                answer.body().bytes.len()
            };
            line.result = Some((result(answer.status(), line.pid), length));
        }
    }

    /// The connection was handed so many bytes more.
    pub(super) fn hand_over(&mut self, bytes: usize) {
        if let Some(line) = &mut self.0 {
            line.bytes += bytes;
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let Some(line) = &self.0 else {
            return;
        };
        let result = match line.result {
            None => "not answered".to_owned(),
            Some((result, length)) if line.bytes >= length => result.to_owned(),
            Some((result, _)) => format!("{result}, not taken"),
        };
        line.tell(Some(&result));
    }
}

/// One line for all requests of an address in a while that have none of their own.
fn tell_many(address: IpAddr, allowed: bool, requests: u64) {
    tracing::warn!(
        %address,
        requests,
        allowed,
        "more on-demand requests over HTTP, too many to be told one by one"
    );
}

/// What is asked for, in one word, and of which process.
fn asked(what: &str) -> (Option<&'static str>, Option<i32>) {
    let parts: Vec<&str> = what.split('/').collect();
    match parts[..] {
        ["targets"] => (Some("targets"), None),
        ["findings"] => (Some("findings"), None),
        ["targets", pid, shape] => {
            let shapes = ["snapshot", "ps", "pstree"];
            let Some(shape) = shapes.into_iter().find(|it| *it == shape) else {
                return (None, None);
            };
            let pid: Option<Pid> = pid.parse().ok();
            (Some(shape), pid.map(Pid::as_raw))
        }
        _ => (None, None),
    }
}

fn result(status: StatusCode, pid: Option<i32>) -> &'static str {
    match status {
        StatusCode::OK => "ok",
        StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED => "bad_request",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "not_allowed",
        StatusCode::NOT_FOUND if pid.is_some() => "process_not_found",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::SERVICE_UNAVAILABLE => "busy",
        StatusCode::GATEWAY_TIMEOUT => "timed_out",
        _ => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::asked;

    #[test]
    fn what_is_asked_for_is_told_in_our_words_only() {
        for (what, expected) in [
            ("targets", (Some("targets"), None)),
            ("findings", (Some("findings"), None)),
            ("targets/7/ps", (Some("ps"), Some(7))),
            ("targets/x/pstree", (Some("pstree"), None)),
            ("targets/-7/snapshot", (Some("snapshot"), None)),
            ("targets/7/rm", (None, None)),
            ("targets/7", (None, None)),
            ("secret\"", (None, None)),
            ("", (None, None)),
        ] {
            assert_eq!(asked(what), expected, "{what}");
        }
    }
}
