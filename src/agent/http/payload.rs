//! The body of an answer, with what is held for it until it has been sent, and counts how much was.

use super::audit::Noted;
use super::outbox::{Holder, Outbox};
use super::places::Answering;
use crate::agent::large::LargePlace;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Notify;

/// Bytes that a connection is handed at a time.
const PART_BYTES: usize = 64 << 10;

/// What an answer says.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) bytes: Bytes,
    /// Of a large read.
    pub(super) place: Option<LargePlace>,
    /// The request, if it is in the log.
    pub(super) noted: Option<Noted>,
}

impl<B: Into<Bytes>> From<B> for Payload {
    fn from(bytes: B) -> Self {
        Self {
            bytes: bytes.into(),
            place: None,
            noted: None,
        }
    }
}

impl Payload {
    /// The same, whose bytes count as being sent until the last of them is dropped. `give_up` is notified if that is to be
    /// before they have been sent.
    pub(super) fn post(
        self,
        outbox: &Arc<Outbox>,
        holder: Holder,
        give_up: &Arc<Notify>,
        answering: Answering,
    ) -> Sending {
        let bytes = match self.place {
            Some(place) => place.send(self.bytes, give_up),
            None => outbox.post(self.bytes, holder, give_up),
        };
        Sending {
            rest: answering.until_sent(bytes),
            noted: self.noted,
        }
    }
}

/// A body that is being sent.
#[derive(Debug)]
pub(super) struct Sending {
    rest: Bytes,
    noted: Option<Noted>,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.rest.len().min(PART_BYTES);
        let part = self.rest.split_to(length);
        if let Some(noted) = &mut self.noted {
            noted.hand_over(length);
        }
        Poll::Ready((length > 0).then(|| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}
