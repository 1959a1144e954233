//! The styles of CPython: its tool's output in today's form (3.14, 3.15) and in its first form, byte
//! for byte, shortcomings included. Written from what the tool prints (Lib/asyncio/tools.py of CPython
//! 3.14.10 and 3.15.2; the first form from its description in the issue tracker).
//!
//! What they have that our own style does not: a task whose awaiters are all unlisted is missing from
//! the tree, a cycle hides the whole tree, a shared subtree is repeated each time. `depth` and
//! `lines_max` are ours; when they cut, a line on the error output says so.

mod cycles;
mod set_order;
mod table;
mod tree;

pub(super) use table::ps;
pub(super) use tree::pstree;

use super::{Style, View};
use crate::graph::{NameText, TaskGraph, TaskIdx};
use crate::sanitize::escape;
use std::borrow::Cow;

/// A task's name; Python prints one that is missing as `None`.
fn name<'g>(graph: &'g TaskGraph, at: TaskIdx, view: &View<'_>) -> Cow<'g, str> {
    match graph.name(at) {
        None => "None".into(),
        Some(NameText::Text(text)) => shown(text, view),
        Some(number) => number.to_string().into(),
    }
}

fn shown<'t>(text: &'t str, view: &View<'_>) -> Cow<'t, str> {
    if view.raw_names {
        text.into()
    } else {
        escape(text)
    }
}
