//! A [`Branch`]: what hangs under one task in a tree, its coroutine stacks laid outermost first and
//! the tasks it awaits under them.
//!
//! Trees are unfolded branch by branch while they are printed, so that none is ever held as a whole.
//! What a frame is called, and so which frames are the same node, is the caller's business: a frame
//! is a number here.

use super::{StackIdx, TaskIdx, as_u32};
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;

/// What hangs under one task: a tree of labels whose root, node 0, is the task itself.
#[derive(Debug)]
pub struct Branch {
    task: TaskIdx,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    label: u32,
    children: Vec<Child>,
}

/// An entry under a node of a [`Branch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// A node further inside.
    Frame(u32),
    /// A task that is awaited here.
    Task(TaskIdx),
}

impl Branch {
    /// The branch of a task that awaits no other: its own stack, given outermost first.
    pub fn leaf(task: TaskIdx, outermost_first: &[u32]) -> Self {
        let mut branch = Self::new(task);
        let mut at = 0;
        for label in outermost_first {
            at = branch.push(at, *label);
        }
        branch
    }

    /// The branch of a task that awaits `awaited`, each with the stack in which it does. Frames with
    /// the same label under the same node are one node, and so is a task.
    pub fn awaiting(
        task: TaskIdx,
        awaited: impl Iterator<Item = (StackIdx, TaskIdx)>,
        mut labels: impl FnMut(StackIdx) -> Rc<[u32]>,
    ) -> Self {
        let mut branch = Self::new(task);
        let mut frames: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        let mut innermost: FxHashMap<StackIdx, u32> = FxHashMap::default();
        let mut hung: FxHashSet<(u32, TaskIdx)> = FxHashSet::default();
        for (stack, awaited) in awaited {
            let at = *innermost.entry(stack).or_insert_with(|| {
                labels(stack).iter().fold(0, |at, label| {
                    *frames
                        .entry((at, *label))
                        .or_insert_with(|| branch.push(at, *label))
                })
            });
            if hung.insert((at, awaited)) {
                branch.nodes[at as usize]
                    .children
                    .push(Child::Task(awaited));
            }
        }
        branch
    }

    fn new(task: TaskIdx) -> Self {
        Self {
            task,
            nodes: vec![Node {
                label: 0,
                children: Vec::new(),
            }],
        }
    }

    fn push(&mut self, under: u32, label: u32) -> u32 {
        let at = as_u32(self.nodes.len());
        self.nodes.push(Node {
            label,
            children: Vec::new(),
        });
        self.nodes[under as usize].children.push(Child::Frame(at));
        at
    }

    /// Whose branch this is.
    pub fn task(&self) -> TaskIdx {
        self.task
    }

    /// The label of a node; that of node 0 means nothing.
    pub fn label(&self, node: u32) -> u32 {
        self.nodes[node as usize].label
    }

    /// What hangs under a node, in the order in which it was found.
    pub fn children(&self, node: u32) -> &[Child] {
        &self.nodes[node as usize].children
    }
}
