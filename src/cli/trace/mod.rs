//! `agentctl trace`: the tasks of a process as spans, printed or sent once.

mod receiver;
#[cfg(feature = "agent")]
mod send;

use super::args::TraceArgs;
use super::exit::Exit;
use super::explain::{self, Stop};
use super::{output, views};
use crate::analysis::{CYCLES_MAX, FunctionRules, History, Look, Moment, Rules};
#[cfg(feature = "agent")]
use crate::config::OtlpSettings;
use crate::graph::{Snapshot, TaskGraph, find_cycles};
use crate::limits::Limits;
use crate::process::{Process, ProcessError};
use crate::procfs::ProcRoot;
use crate::render;
use crate::spans::{Facts, SpanLimits, Traces, traces_of};
use crate::time::{Monotonic, Timestamp};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Looks in the time that somebody watches, if they are not closer or further apart than the following.
const LOOKS: u32 = 20;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A wait that nobody watches for.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// `agentctl trace`.
pub(super) fn trace(args: &TraceArgs) -> Result<Exit, Stop> {
    // What is wrong with the arguments is told before a process is watched.
    let settings = match receiver::of(args) {
        Ok(settings) => settings,
        Err(exit) => return Ok(exit),
    };
    #[cfg(feature = "agent")]
    let receiver = settings.as_ref().map(OtlpSettings::spans_receiver);
    #[cfg(feature = "agent")]
    let sender = receiver.as_ref().map(send::sender).transpose()?;
    #[cfg(not(feature = "agent"))]
    if settings.is_some() {
        return Err(explain::no_exporter());
    }
    let process = Process::attach(&ProcRoot::default(), args.pid, Limits::default())
        .map_err(|error| explain::unreadable(&error))?;
    let mut watch = Watch::begin(process);
    let snapshot = watch.watch(args.time)?;
    let limits = receiver::limits(args, settings.as_ref());
    let traces = watch.traces(&snapshot, &limits);
    if args.print {
        let color = views::is_colored(args.color);
        output::text_to_stdout(|out| render::traces(&traces, color, out))?;
    }
    let has_cycle = views::report_cycles(&snapshot.graph);
    if args.time.is_none() {
        output::say(
            "agentctl: one look does not tell for how long something has waited, so no span has a length; \
             --for 5s watches\n",
        );
    }
    #[cfg(feature = "agent")]
    if let Some(to) = receiver.as_ref().zip(sender) {
        send::send(args, to, watch.process.id(), &snapshot, &traces)?;
    }
    Ok(views::finish(&snapshot, &args.pid.to_string(), has_cycle))
}

/// A process that is looked at until somebody has seen enough.
struct Watch {
    process: Process,
    history: History,
    started: Instant,
    /// The graph of the latest snapshot.
    graph: Weak<TaskGraph>,
    now: Moment,
}

impl Watch {
    fn begin(process: Process) -> Self {
        let rules = Rules {
            // Who reads a process once sees its cycles.
            cycle_confirmations: 1,
            stuck_after: NEVER,
            functions: Arc::new(NoWaits),
            follow_frames: true,
        };
        Self {
            history: History::new(Arc::new(rules), process.id().seed()),
            process,
            started: now(),
            graph: Weak::new(),
            now: Moment {
                at: Monotonic::default(),
                wall: wall_clock(),
            },
        }
    }

    /// Looks at the process for so long, or once; gives the last snapshot.
    fn watch(&mut self, time: Option<Duration>) -> Result<Snapshot, Stop> {
        let mut snapshot = self.look().map_err(|error| explain::unreadable(&error))?;
        let Some(time) = time else {
            return Ok(snapshot);
        };
        let mean = (time / LOOKS).clamp(PAUSE_MIN, PAUSE_MAX);
        loop {
            let left = time.saturating_sub(self.now.at.since(Monotonic::default()));
            if left.is_zero() {
                return Ok(snapshot);
            }
            std::thread::sleep(irregular(mean).min(left));
            match self.look() {
                Ok(new) => snapshot = new,
                Err(ProcessError::Gone { .. }) => {
                    let seen = self.now.at.since(Monotonic::default());
                    output::say(&format!(
                        "agentctl: the process ended; this is what was seen until then, {:.1} s after the first look\n",
                        seen.as_secs_f64()
                    ));
                    return Ok(snapshot);
                }
                Err(error) => return Err(explain::unreadable(&error)),
            }
        }
    }

    fn look(&mut self) -> Result<Snapshot, ProcessError> {
        let snapshot = self.process.snapshot()?;
        self.now = Moment {
            at: Monotonic::new(now().saturating_duration_since(self.started)),
            wall: wall_clock(),
        };
        let graph = &snapshot.graph;
        let look = Look {
            now: self.now,
            is_complete: snapshot.complete,
            n_missing: snapshot.stats.tasks_missing(),
            // A process that did not run has the very graph of before.
            slept: self.graph.as_ptr() == Arc::as_ptr(graph),
            confirms: true,
            finding_bytes_max: usize::MAX,
        };
        let cycles = find_cycles(graph, CYCLES_MAX);
        self.history.observe(graph, &cycles, look);
        self.graph = Arc::downgrade(graph);
        Ok(snapshot)
    }

    /// The traces of the last snapshot.
    fn traces(&self, snapshot: &Snapshot, limits: &SpanLimits) -> Traces {
        let graph = &*snapshot.graph;
        let cycles = find_cycles(graph, CYCLES_MAX);
        let times = self.history.times(graph, self.now);
        let marks = self.history.marks(graph, &cycles);
        let facts = Facts::new((graph, snapshot.complete), &cycles, marks, &times);
        // Keys of the standard library's maps: the system gives the first, later ones differ.
        let word = || u128::from(RandomState::new().hash_one(0_u8));
        traces_of(&facts, limits, word() << 64 | word())
    }
}

/// Nobody's wait is a finding.
#[derive(Debug)]
struct NoWaits;

impl FunctionRules for NoWaits {
    fn includes(&self, _: &str) -> bool {
        false
    }

    fn excludes(&self, _: &str) -> bool {
        true
    }

    fn is_idle(&self, _: &str) -> bool {
        true
    }

    fn is_never_idle(&self, _: &str) -> bool {
        false
    }
}

/// A time that is `mean` on average: a task that goes round a loop can look the same at regular times.
fn irregular(mean: Duration) -> Duration {
    let tenths = u32::try_from(RandomState::new().hash_one(0_u8) % 11).unwrap_or(0);
    mean.saturating_mul(5 + tenths) / 10
}

#[expect(
    clippy::disallowed_methods,
    reason = "who watches reads the clock, at the edge; nothing below does"
)]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "as above")]
fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::new(since_epoch.unwrap_or_default())
}
