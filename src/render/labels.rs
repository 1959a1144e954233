//! What frames are called in each style, as numbers: equal labels are one node of a tree. Their texts are
//! made when they are shown and not kept: together they may be far longer than the texts of the graph.

use super::{Style, cut};
use crate::graph::{Frame, FrameIdx, StackIdx, TaskGraph, Via};
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;

/// A stack with more different entries than this is shown without its middle.
const FRAMES_MAX: usize = 32;
/// How many of the outermost and of the innermost entries are then shown.
const FRAMES_KEPT: usize = 12;

/// What a label stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Label {
    /// A frame, and all others that are called the same.
    Frame(FrameIdx),
    /// So many of that label one after the other.
    Run(u32, usize),
    /// So many frames that are not shown.
    Gap(usize),
}

/// The labels of the frames of one graph in one style, made as they are needed.
pub(super) struct Labels<'g> {
    graph: &'g TaskGraph,
    style: Style,
    labels: Vec<Label>,
    /// Those of frames by the hash of their text, which a process cannot foresee.
    by_text: FxHashMap<u64, Vec<u32>>,
    hashes: RandomState,
    /// Those of no single frame.
    others: FxHashMap<Label, u32>,
    by_frame: FxHashMap<FrameIdx, u32>,
    by_stack: FxHashMap<StackIdx, Rc<[u32]>>,
}

impl<'g> Labels<'g> {
    pub(super) fn new(graph: &'g TaskGraph, style: Style) -> Self {
        Self {
            graph,
            style,
            labels: Vec::new(),
            by_text: FxHashMap::default(),
            hashes: RandomState::new(),
            others: FxHashMap::default(),
            by_frame: FxHashMap::default(),
            by_stack: FxHashMap::default(),
        }
    }

    /// The text of a label, as it was read; of long names and files a part in our own style.
    pub(super) fn text(&self, label: u32) -> String {
        match self.labels[label as usize] {
            Label::Frame(at) => {
                label_text(self.graph, self.style, self.graph.frame(at), Part::Shown)
            }
            Label::Run(label, n) => format!("{}  × {n}", self.text(label)),
            Label::Gap(n) => format!("… {n} frames not shown …"),
        }
    }

    /// The labels of a stack, outermost first.
    pub(super) fn of_stack(&mut self, stack: StackIdx) -> Rc<[u32]> {
        if let Some(known) = self.by_stack.get(&stack) {
            return known.clone();
        }
        let frames = shown_frames(self.graph, self.style, stack);
        let labels: Vec<u32> = frames.iter().rev().map(|at| self.of_frame(*at)).collect();
        let labels: Rc<[u32]> = match self.style {
            Style::Agent => self.shortened(&labels).into(),
            Style::Cpython | Style::Classic => labels.into(),
        };
        self.by_stack.insert(stack, labels.clone());
        labels
    }

    fn of_frame(&mut self, at: FrameIdx) -> u32 {
        if let Some(known) = self.by_frame.get(&at) {
            return *known;
        }
        let (graph, style) = (self.graph, self.style);
        let whole = |at| label_text(graph, style, graph.frame(at), Part::Whole);
        let text = whole(at);
        let hash = self.hashes.hash_one(&text);
        let same = self.by_text.get(&hash).into_iter().flatten().find(|label| {
            matches!(self.labels[**label as usize], Label::Frame(other) if whole(other) == text)
        });
        let label = same.copied().unwrap_or_else(|| {
            let label = add(&mut self.labels, Label::Frame(at));
            self.by_text.entry(hash).or_default().push(label);
            label
        });
        self.by_frame.insert(at, label);
        label
    }

    fn other(&mut self, label: Label) -> u32 {
        let labels = &mut self.labels;
        *self
            .others
            .entry(label)
            .or_insert_with(|| add(labels, label))
    }

    /// Repetitions (recursion) become one entry with a count; of what is still long, the middle goes.
    fn shortened(&mut self, labels: &[u32]) -> Vec<u32> {
        let mut short: Vec<u32> = Vec::new();
        let mut n_frames: Vec<usize> = Vec::new();
        for run in labels.chunk_by(|a, b| a == b) {
            short.push(match run.len() {
                1 => run[0],
                n => self.other(Label::Run(run[0], n)),
            });
            n_frames.push(run.len());
        }
        if short.len() > FRAMES_MAX {
            let middle = FRAMES_KEPT..short.len() - FRAMES_KEPT;
            let n: usize = n_frames[middle.clone()].iter().sum();
            let note = self.other(Label::Gap(n));
            short.splice(middle, [note]);
        }
        short
    }
}

fn add(labels: &mut Vec<Label>, label: Label) -> u32 {
    let next = u32::try_from(labels.len()).expect("fewer labels than frames and stacks");
    labels.push(label);
    next
}

/// The frames of a stack that a style shows, innermost first. CPython's reader follows plain awaits
/// only, so its styles end where another way leads further in.
pub(super) fn shown_frames(graph: &TaskGraph, style: Style, stack: StackIdx) -> &[FrameIdx] {
    let frames = graph.stack_frame_indices(stack);
    let inner = match style {
        Style::Agent => None,
        Style::Cpython | Style::Classic => frames
            .iter()
            .rposition(|at| graph.frame(*at).via != Via::Await),
    };
    &frames[inner.map_or(0, |at| at + 1)..]
}

/// What a frame's function is called in tables.
pub(super) fn function<'g>(graph: &'g TaskGraph, style: Style, frame: &Frame) -> &'g str {
    let qualified = graph.text(frame.function);
    match style {
        Style::Agent | Style::Cpython => qualified,
        Style::Classic => bare(qualified),
    }
}

fn bare(qualified: &str) -> &str {
    match qualified.rsplit_once('.') {
        Some((_, name)) => name,
        None => qualified,
    }
}

/// How much of a label.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    /// What its style shows.
    Shown,
}

fn label_text(graph: &TaskGraph, style: Style, frame: &Frame, part: Part) -> String {
    let is_cut = style == Style::Agent && part == Part::Shown;
    let function = match function(graph, style, frame) {
        function if is_cut => cut::start(function),
        function => Cow::Borrowed(function),
    };
    let file = frame.file.map(|file| match graph.text(file) {
        file if is_cut => cut::end(file),
        file => Cow::Borrowed(file),
    });
    match (style, file.as_deref(), frame.line) {
        (Style::Classic, _, _) | (_, Some(""), Some(0) | None) | (_, Some("~"), None) => {
            function.into()
        }
        // Python shows a file that is missing as it shows any missing thing.
        (Style::Cpython, None, None) => format!("{function} None"),
        (Style::Cpython, None, Some(line)) => format!("{function} None:{line}"),
        (Style::Agent, None, None) => function.into(),
        (Style::Agent, None, Some(line)) => format!("{function} line {line}"),
        (_, Some(file), None) => format!("{function} {file}"),
        (_, Some(file), Some(line)) => format!("{function} {file}:{line}"),
    }
}
