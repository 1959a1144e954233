//! The time that a read of a process may take.

use crate::limits::{ALL, CONFIRMED, FIRST_LOOK, PLACES, REST, SEEN, Stop};
use std::time::Duration;
use tokio::time::sleep;

/// Ends what knows `stop` after `time`, and says before how much of it has passed.
pub(super) async fn stop_after(time: Duration, stop: &Stop) {
    let mut passed = 0;
    for part in [FIRST_LOOK, SEEN, PLACES, CONFIRMED, REST] {
        let until = part.until;
        sleep(time.saturating_mul(u32::from(until - passed)) / u32::from(ALL)).await;
        stop.pass(until);
        passed = until;
    }
}
