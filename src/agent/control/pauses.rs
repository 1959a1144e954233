//! How often a process may be stopped on demand: for a twentieth of its time at most, whoever asks and however many do.
//! So nobody who may read a process can keep it from its work.

use crate::agent::clock::Clock;
use crate::ids::{Pid, ProcessId};
use crate::protocol::ControlError;
use crate::time::Monotonic;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many times as long as it stood still a process is left in peace after.
const REST: u32 = 20;
/// The least time for which it is.
const REST_MIN: Duration = Duration::from_secs(1);
/// Processes that are left in peace at a time. More than can be stopped in the time that is the longest rest of one of them.
const RESTING_MAX: usize = 10_000;

/// The processes that are stopped for a request, or were a while ago.
#[derive(Debug, Clone)]
pub(super) struct Pauses {
    clock: Clock,
    /// Until when each is not stopped again.
    resting: Arc<Mutex<HashMap<ProcessId, Monotonic>>>,
}

impl Pauses {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            resting: Arc::default(),
        }
    }

    /// Notes that the process may be stopped from now on, for no longer than `limit`.
    ///
    /// # Errors
    ///
    /// For how long it may not be.
    pub(super) fn begin(&self, id: ProcessId, limit: Duration) -> Result<(), Duration> {
        self.begin_at(id, limit, self.clock.now())
    }

    /// Notes that it was let go after it stood still for so long; not at all if it slept, or could not be read.
    pub(super) fn end(&self, id: ProcessId, stood_still: Duration) {
        self.end_at(id, stood_still, self.clock.now());
    }

    fn begin_at(&self, id: ProcessId, limit: Duration, now: Monotonic) -> Result<(), Duration> {
        let mut resting = self.resting();
        if resting.len() >= RESTING_MAX {
            resting.retain(|_, until| *until > now);
        }
        let left = resting.get(&id).map_or(Duration::ZERO, |it| it.since(now));
        if !left.is_zero() {
            return Err(left);
        }
        if resting.len() >= RESTING_MAX {
            return Err(REST_MIN);
        }
        // Until it is known for how long it stood still.
        resting.insert(id, now.after(limit).after(rest(limit)));
        Ok(())
    }

    fn end_at(&self, id: ProcessId, stood_still: Duration, now: Monotonic) {
        let mut resting = self.resting();
        match stood_still.is_zero() {
            true => resting.remove(&id),
            false => resting.insert(id, now.after(rest(stood_still))),
        };
    }

    fn resting(&self) -> MutexGuard<'_, HashMap<ProcessId, Monotonic>> {
        // Nothing in here panics half way.
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rest(stood_still: Duration) -> Duration {
    stood_still.saturating_mul(REST).max(REST_MIN)
}

/// Why the agent stops no process, or none for so long, in words; `allowed` is for how long it may, zero: not at all.
pub(super) fn denial(allowed: Duration) -> String {
    match allowed.as_millis() {
        0 => "the agent stops no process (control.freeze)".to_owned(),
        limit => format!(
            "the agent stops a process for {limit} ms at most (control.freeze, limits.scan_time)"
        ),
    }
}

/// The same as an error about a process.
pub(super) fn not_allowed(pid: Pid, allowed: Duration) -> ControlError {
    let mut hints = vec![
        "without --freeze it is read while it runs; without --agent, agentctl stops it as the user who runs it".to_owned(),
    ];
    if !allowed.is_zero() {
        hints.insert(0, format!("--freeze={}ms is allowed", allowed.as_millis()));
    }
    ControlError {
        code: "freeze_not_allowed".to_owned(),
        message: format!("process {pid} is not stopped: {}", denial(allowed)),
        hints,
    }
}

/// The process is left in peace for so long.
pub(super) fn rests(pid: Pid, rest: Duration) -> ControlError {
    let message = format!(
        "process {pid} is read for somebody else who has it stopped, or was stopped a moment ago: it is for a twentieth of its time \
         at most"
    );
    let again = rest.as_secs_f64().max(0.1);
    let hint = format!("try again in {again:.1} s; without --freeze it is read while it runs");
    super::desk::error("busy", &message, &hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Pid, StartTime};

    #[test]
    fn a_process_is_stopped_for_a_part_of_its_time_only() {
        let pauses = Pauses::new(Clock::start());
        let ms = Duration::from_millis;
        let at = |time| Monotonic::default().after(ms(time));
        let process = |pid, start| ProcessId {
            pid: Pid::new(pid).unwrap(),
            start: StartTime(start),
        };
        let (one, same_pid) = (process(7, 1), process(7, 2));
        assert_eq!(pauses.begin_at(one, ms(100), at(0)), Ok(()));
        // While it is stopped nobody else stops it, nor after if it is never told to have been let go.
        assert_eq!(pauses.begin_at(one, ms(1), at(50)), Err(ms(2_050)));
        assert_eq!(pauses.begin_at(same_pid, ms(100), at(50)), Ok(()));
        pauses.end_at(one, ms(60), at(60));
        assert_eq!(pauses.begin_at(one, ms(1), at(1_259)), Err(ms(1)));
        assert_eq!(pauses.begin_at(one, ms(1), at(1_260)), Ok(()));
        pauses.end_at(one, Duration::from_micros(1), at(1_261));
        assert_eq!(pauses.begin_at(one, ms(1), at(2_000)), Err(ms(261)));
        // One that slept was not stopped.
        assert_eq!(pauses.begin_at(one, ms(1), at(2_261)), Ok(()));
        pauses.end_at(one, Duration::ZERO, at(2_262));
        assert_eq!(pauses.begin_at(one, ms(1), at(2_262)), Ok(()));
    }

    #[test]
    fn there_is_a_bound_for_all_together() {
        let pauses = Pauses::new(Clock::start());
        let (second, now) = (Duration::from_secs(1), Monotonic::default());
        let begin = |pid, now| {
            let pid = Pid::new(pid).unwrap();
            let start = StartTime(1);
            pauses.begin_at(ProcessId { pid, start }, second, now)
        };
        for pid in 1..=10_000 {
            assert_eq!(begin(pid, now), Ok(()));
        }
        assert_eq!(begin(10_001, now), Err(REST_MIN));
        assert_eq!(begin(10_001, now.after(second * 21)), Ok(()));
        assert_eq!(pauses.resting().len(), 1);
    }
}
