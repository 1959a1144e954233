//! Which pages one look at a process touched, in the order in which they were needed. A process
//! looks much the same a moment later, so the next look can copy many of them in one system call.

use rustc_hash::FxHashMap;

/// A chunk that was touched, and which of its pages were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) number: u64,
    pub(super) pages: u8,
    /// The number of its copy.
    copied: u64,
}

/// The pages that a look touched, in order. Gives no promise: a page may be gone or mean something
/// else by now.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    steps: Vec<Step>,
    positions: FxHashMap<u64, u32>,
}

impl Trail {
    /// Adds a chunk that is touched for the first time, and says where on the trail it is.
    pub(super) fn push(&mut self, number: u64) -> u32 {
        let position = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        self.steps.push(Step {
            number,
            pages: 0,
            copied: 0,
        });
        self.positions.insert(number, position);
        position
    }

    /// Notes pages of the chunk at `position`, from this copy, as touched.
    pub(super) fn touch(&mut self, position: u32, pages: u8, copied: u64) {
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        if let Some(step) = self.steps.get_mut(position) {
            step.pages |= pages;
            step.copied = copied;
        }
    }

    /// The same chunks in the order in which they were copied. A look that expects them copies in the
    /// same order, which makes the order in which two places were copied tell something (see
    /// [`Moment`](super::Moment)).
    #[must_use]
    pub fn in_order_of_copies(&self) -> Self {
        let mut steps = self.steps.clone();
        steps.sort_by_key(|step| step.copied);
        let positions = (0..).zip(&steps).map(|(at, step)| (step.number, at));
        let positions = positions.collect();
        Self { steps, positions }
    }

    /// Where on the trail the chunk is.
    pub(super) fn position(&self, number: u64) -> Option<u32> {
        self.positions.get(&number).copied()
    }

    /// The chunks from `position` on.
    pub(super) fn from(&self, position: u32) -> &[Step] {
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        self.steps.get(position..).unwrap_or_default()
    }

    /// How many chunks are on it.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The touched ranges: first address and length in bytes, in the order in which they were needed.
    /// For measuring what copying them costs.
    pub fn ranges(&self) -> Vec<(super::RemoteAddr, usize)> {
        self.steps
            .iter()
            .flat_map(|step| super::chunks::runs(step.pages).map(|run| (step.number, run)))
            .map(|(number, run)| (run.address(number), run.bytes()))
            .collect()
    }
}
