//! What the scheduler is told, and what it answers.

use super::SchedulerSettings;
use crate::ids::ProcessId;
use crate::time::Monotonic;
use std::time::Duration;

/// The position of a target in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::agent) struct TargetIdx(pub(in crate::agent) usize);

/// What the scheduler is told.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::agent) enum Event {
    /// Time has passed. Also the first event.
    Wake,
    /// A discovery has ended. `None`: it failed, and nothing is known to have changed.
    Discovered(Option<Vec<Found>>),
    /// A round has ended.
    RoundEnded {
        /// Over which process.
        process: ProcessId,
        /// How.
        end: RoundEnd,
        /// Processor time that it took.
        used: Duration,
    },
    /// From now on these settings hold. The next discovery is due.
    Reconfigured(SchedulerSettings),
}

/// A process that belongs to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) struct Found {
    /// The process.
    pub(in crate::agent) process: ProcessId,
    /// Its target.
    pub(in crate::agent) target: TargetIdx,
    /// The user that it runs as, or whose user id that is, if that is known.
    pub(in crate::agent) user: Option<u32>,
    /// Time between two rounds over it.
    pub(in crate::agent) interval: Duration,
}

/// How a round ended, as far as the next one depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) enum RoundEnd {
    /// The process was read.
    Read,
    /// It was read, and is to be read again after so much time, chosen at random. If that is longer than its
    /// interval, some time within it will do.
    ReadAgain(Duration),
    /// It was read as far as a limit allows, which takes all that the limit allows.
    OverLimit,
    /// It may begin at any time to use what is read, and looking whether it has costs next to nothing.
    NotYet,
    /// It could not be read; later it may be.
    Failed,
    /// It has ended.
    Gone,
}

/// What the scheduler wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) enum Effect {
    /// Begin a discovery; answer with [`Event::Discovered`].
    Discover,
    /// Begin a round; answer with [`Event::RoundEnded`].
    BeginRound {
        /// Over which process.
        process: ProcessId,
    },
    /// The round over the process has begun to hang.
    Hangs {
        /// Which process.
        process: ProcessId,
    },
    /// The process should have been read long ago. It is until its round ends.
    Overdue {
        /// Which process.
        process: ProcessId,
    },
    /// The process is overdue because so many rounds hang that there is no place for one over it.
    CrowdedOut {
        /// Which process.
        process: ProcessId,
    },
    /// The next round over the process takes place later than its interval says, because its rounds take too
    /// much of the processor.
    Postponed {
        /// Which process.
        process: ProcessId,
    },
    /// Drop all that is kept for the process.
    Forget {
        /// Which process.
        process: ProcessId,
    },
    /// Send [`Event::Wake`] at this time. Replaces what was asked for before.
    WakeAt(Monotonic),
}
