//! Await trees as spans: what a snapshot looks like in a trace view. Pure: no clock, no exporter.
//!
//! A trace stands for a task that no other task awaits, with all that it waits for below it:
//!
//! ```text
//! task main                       a task, by its coroutine function
//! └── main                        its frames, outermost first
//!     └── TaskGroup.__aexit__     innermost: what awaits
//!         └── task worker         an awaited task
//!             └── ...
//! ```
//!
//! A span begins when the task, or the frame at its instruction, was first seen, and ends with the
//! snapshot: its length is the observed wait. Nothing has ended, and each root says so
//! (`asyncio.snapshot`). A span never begins before its parent; a task that was seen before has the true
//! moment as an attribute.
//!
//! Each task is one span. Who else awaits it is a link, and so is the edge that closes a cycle; the innermost
//! frame of such an awaiter says what it awaits, and links there. What does not fit is told by spans that say
//! how much was left out; below such a span may stand what must not be left out. Nothing recurses.

mod build;
mod layout;
mod model;

pub use build::{Facts, OrdinaryLimits, SpanLimits, traces_of};
pub use model::{Attribute, AttributeValue, CutBy, Link, Span, SpanId, Trace, TraceId, Traces};
