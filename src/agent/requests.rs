//! What the lines of the log about one on-demand request have in common: its number.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of a request, on the socket or over HTTP: those since the agent started are counted.
pub(super) fn next_number() -> u64 {
    static LATEST: AtomicU64 = AtomicU64::new(0);
    LATEST.fetch_add(1, Ordering::Relaxed) + 1
}
