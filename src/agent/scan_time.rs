//! The time that a read of a process may take.

use crate::limits::{ALL, CONFIRMED, FIRST_LOOK, PLACES, SEEN, Stop};
use std::time::Duration;
use tokio::time::sleep;

/// Ends what knows `stop` after `time`, and says before how much of it has passed.
pub(super) async fn stop_after(time: Duration, stop: &Stop) {
    let mut passed = 0;
    for part in [FIRST_LOOK, SEEN, PLACES, CONFIRMED, ALL] {
        sleep(time.saturating_mul(u32::from(part - passed)) / u32::from(ALL)).await;
        stop.pass(part);
        passed = part;
    }
}
