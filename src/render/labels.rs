//! What frames are called in each style, as numbers: equal labels are one node of a tree.

use super::Style;
use crate::graph::{Frame, FrameIdx, StackIdx, TaskGraph, Via};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// A stack with more different entries than this is shown without its middle.
const FRAMES_MAX: usize = 32;
/// How many of the outermost and of the innermost entries are then shown.
const FRAMES_KEPT: usize = 12;

/// The labels of the frames of one graph in one style, made as they are needed.
pub(super) struct Labels<'g> {
    graph: &'g TaskGraph,
    style: Style,
    texts: Vec<Box<str>>,
    by_text: FxHashMap<Box<str>, u32>,
    by_frame: FxHashMap<FrameIdx, u32>,
    by_stack: FxHashMap<StackIdx, Rc<[u32]>>,
}

impl<'g> Labels<'g> {
    pub(super) fn new(graph: &'g TaskGraph, style: Style) -> Self {
        Self {
            graph,
            style,
            texts: Vec::new(),
            by_text: FxHashMap::default(),
            by_frame: FxHashMap::default(),
            by_stack: FxHashMap::default(),
        }
    }

    /// The text of a label, as it was read.
    pub(super) fn text(&self, label: u32) -> &str {
        &self.texts[label as usize]
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
        let text = label(self.graph, self.style, self.graph.frame(at));
        let label = self.intern(text);
        self.by_frame.insert(at, label);
        label
    }

    fn intern(&mut self, text: String) -> u32 {
        let text: Box<str> = text.into();
        let next = u32::try_from(self.texts.len()).expect("fewer labels than frames and stacks");
        let texts = &mut self.texts;
        *self.by_text.entry(text).or_insert_with_key(|text| {
            texts.push(text.clone());
            next
        })
    }

    /// Repetitions (recursion) become one entry with a count; of what is still long, the middle goes.
    fn shortened(&mut self, labels: &[u32]) -> Vec<u32> {
        let mut short: Vec<u32> = Vec::new();
        let mut n_frames: Vec<usize> = Vec::new();
        for run in labels.chunk_by(|a, b| a == b) {
            short.push(match run.len() {
                1 => run[0],
                n => self.intern(format!("{}  × {n}", self.text(run[0]))),
            });
            n_frames.push(run.len());
        }
        if short.len() > FRAMES_MAX {
            let middle = FRAMES_KEPT..short.len() - FRAMES_KEPT;
            let n: usize = n_frames[middle.clone()].iter().sum();
            let note = self.intern(format!("… {n} frames not shown …"));
            short.splice(middle, [note]);
        }
        short
    }
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

fn label(graph: &TaskGraph, style: Style, frame: &Frame) -> String {
    let function = function(graph, style, frame);
    let file = frame.file.map(|file| graph.text(file));
    match (style, file, frame.line) {
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
