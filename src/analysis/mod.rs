//! What task graphs mean: the figures of one, and what becomes known from round to round. Pure: no clock,
//! no I/O.

mod coroutines;
mod facts;
mod finding;
mod held_up;
mod history;
mod lines;
mod look;
mod sight;
mod standing;
mod summary;
mod times;
mod waiting;

pub use coroutines::{CoroutineFigures, Coroutines};
pub use finding::{Finding, FindingFrame, FindingKind, FindingTask, Fingerprint, Mark};
pub use history::{CYCLES_MAX, FunctionRules, History, Observation, Rules};
pub use look::{Look, Moment};
pub use summary::{DEPTH_BOUNDS, Depths, Summary, summarize};
pub use times::TaskTimes;
