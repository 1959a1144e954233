//! From a snapshot to traces.

use super::layout::{Chosen, Layout, Omitted};
use super::model::{Attribute, Link, Span, SpanId, Trace, TraceId, Traces};
use crate::analysis::{FindingKind, Fingerprint, Mark, TaskTimes};
use crate::graph::{Cycles, Frame, TaskGraph, TaskIdx, TaskState, Via};
use crate::sanitize::escape_start;
use crate::time::Timestamp;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;

/// Longer texts are cut.
const TEXT_CHARS_MAX: usize = 1_024;
/// Longer names of spans are cut.
const NAME_CHARS_MAX: usize = 200;
/// Links of one span.
const LINKS_MAX: usize = 128;

/// A snapshot, and what is known of it.
pub struct Facts<'f> {
    /// Its graph.
    pub graph: &'f TaskGraph,
    /// The cycles in it.
    pub cycles: &'f Cycles,
    /// Whether nothing is missing in it.
    pub is_complete: bool,
    /// Since when its tasks have been seen.
    pub times: &'f TaskTimes,
    /// The findings that its tasks are part of.
    marks: FxHashMap<TaskIdx, Mark>,
    /// Which of them are to be told; `None`: all.
    to_be_told: Option<BTreeSet<Fingerprint>>,
}

impl std::fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts")
            .field("marks", &self.marks)
            .field("is_complete", &self.is_complete)
            .finish_non_exhaustive()
    }
}

impl<'f> Facts<'f> {
    /// What is known of a snapshot.
    pub fn new(
        (graph, is_complete): (&'f TaskGraph, bool),
        cycles: &'f Cycles,
        marks: impl IntoIterator<Item = (TaskIdx, Mark)>,
        times: &'f TaskTimes,
    ) -> Self {
        let mut by_task = FxHashMap::default();
        for (task, mark) in marks {
            by_task.entry(graph.entry(task)).or_insert(mark);
        }
        Self {
            graph,
            cycles,
            is_complete,
            times,
            marks: by_task,
            to_be_told: None,
        }
    }

    /// Only these findings are to be told; the others may as well be left out.
    pub fn telling(mut self, findings: BTreeSet<Fingerprint>) -> Self {
        self.to_be_told = Some(findings);
        self
    }

    pub(super) fn is_to_be_told(&self, at: TaskIdx) -> bool {
        let all = self.to_be_told.as_ref();
        let is_one = |mark: Mark| all.is_none_or(|all| all.contains(&mark.fingerprint));
        self.mark(at).is_some_and(is_one)
    }

    pub(super) fn mark(&self, at: TaskIdx) -> Option<Mark> {
        self.marks.get(&at).copied()
    }
}

/// How much of a snapshot is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanLimits {
    /// Traces.
    pub traces: usize,
    /// Spans altogether.
    pub spans: usize,
    /// Spans of one trace.
    pub spans_per_trace: usize,
    /// How much of it may be of trees without a finding that is to be told.
    pub ordinary: OrdinaryLimits,
}

/// How much is sent of trees in which nothing is found that is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrdinaryLimits {
    /// Traces.
    pub traces: usize,
    /// Spans altogether.
    pub spans: usize,
}

impl SpanLimits {
    /// The same for all trees.
    pub const fn alike(traces: usize, spans: usize, spans_per_trace: usize) -> Self {
        Self {
            traces,
            spans,
            spans_per_trace,
            ordinary: OrdinaryLimits { traces, spans },
        }
    }
}

/// The traces of a snapshot. `seed` must be another one each time: ids are made of it.
pub fn traces_of(facts: &Facts<'_>, limits: &SpanLimits, seed: u128) -> Traces {
    let mut layout = Layout::of(facts);
    let mut ids = Ids::new(seed);
    let Chosen { sent, cut_by } = layout.choose(facts, limits, ids.word());
    let mut places: FxHashMap<TaskIdx, (TraceId, SpanId)> = FxHashMap::default();
    let mut traces = Vec::with_capacity(sent.len());
    for number in &sent {
        let id = ids.trace();
        let chosen = layout.trees[*number]
            .iter()
            .filter(|at| layout.is_chosen(**at));
        for at in chosen {
            places.insert(*at, (id, ids.span()));
        }
        traces.push(Trace {
            id,
            spans: Vec::new(),
            findings: BTreeSet::new(),
        });
    }
    let n_roots = layout.trees.len();
    for (number, trace) in sent.iter().zip(&mut traces) {
        let tree = &layout.trees[*number];
        let mut builder = TraceBuilder {
            facts,
            layout: &layout,
            places: &places,
            omitted: layout.omitted(tree),
            ids: &mut ids,
            frames_max: layout.frames_max(*number),
            innermost: FxHashMap::default(),
            gaps: FxHashMap::default(),
            spans: Vec::new(),
        };
        for at in tree.iter().filter(|at| layout.is_chosen(**at)) {
            builder.add_task(*at);
            trace
                .findings
                .extend(facts.mark(*at).map(|mark| mark.fingerprint));
        }
        trace.spans = builder.spans;
        if let Some(root) = trace.spans.first_mut() {
            root.attributes.extend([
                Attribute::flag("asyncio.snapshot", true),
                Attribute::flag("asyncio.snapshot.complete", facts.is_complete),
                Attribute::count("asyncio.snapshot.tasks", facts.graph.tasks().len()),
                Attribute::count("asyncio.snapshot.roots", n_roots),
                Attribute::count("asyncio.snapshot.roots_sent", sent.len()),
                Attribute::count("asyncio.tree.tasks", tree.len()),
                Attribute::count("asyncio.tree.findings", trace.findings.len()),
            ]);
        }
    }
    Traces {
        traces,
        n_roots_omitted: n_roots - sent.len(),
        cut_by,
    }
}

/// Ids that do not repeat: a number that is counted, and mixed by a function that gives different numbers for
/// different ones (SplitMix64).
struct Ids {
    high: u64,
    low: u64,
    next: u64,
}

impl Ids {
    fn new(seed: u128) -> Self {
        let [high, low] = [seed >> 64, seed & u128::from(u64::MAX)];
        let word = |half| u64::try_from(half).unwrap_or(0);
        Self {
            high: word(high),
            low: word(low),
            next: 0,
        }
    }

    fn word(&mut self) -> u64 {
        loop {
            self.next = self.next.wrapping_add(1);
            let mut word = self
                .low
                .wrapping_add(self.next.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            if word != 0 {
                return word;
            }
        }
    }

    fn trace(&mut self) -> TraceId {
        TraceId(u128::from(self.high) << 64 | u128::from(self.word()))
    }

    fn span(&mut self) -> SpanId {
        SpanId(self.word())
    }
}

struct TraceBuilder<'b> {
    facts: &'b Facts<'b>,
    layout: &'b Layout,
    places: &'b FxHashMap<TaskIdx, (TraceId, SpanId)>,
    omitted: FxHashMap<TaskIdx, Omitted>,
    ids: &'b mut Ids,
    /// Frames of a task at most.
    frames_max: usize,
    /// The span below which stands what a task awaits, and when that begins.
    innermost: FxHashMap<TaskIdx, (SpanId, Timestamp)>,
    /// The same of what stands for tasks that are left out below it.
    gaps: FxHashMap<TaskIdx, (SpanId, Timestamp)>,
    spans: Vec<Span>,
}

impl TraceBuilder<'_> {
    /// Adds the spans of a task: itself, its frames, and what stands for those below it that are left out.
    fn add_task(&mut self, at: TaskIdx) {
        let facts = self.facts;
        let Some((_, id)) = self.places.get(&at).copied() else {
            return;
        };
        let parent = self.layout.above(at).and_then(|(above, has_gap)| {
            let spans = if has_gap { &self.gaps } else { &self.innermost };
            spans.get(&above).copied()
        });
        let seen = facts.times.task(at).min(facts.times.now());
        let start = parent.map_or(seen, |(_, earliest)| seen.max(earliest));
        let mut span = Span {
            id,
            parent: parent.map(|(parent, _)| parent),
            // Told from the frame of the same function below it.
            name: format!("task {}", name(self.coroutine(at))),
            start,
            end: facts.times.now(),
            attributes: self.attributes(at),
            links: Vec::new(),
            n_links_omitted: 0,
            error: None,
        };
        if start > seen {
            let waited = facts.times.now().since(seen);
            span.attributes
                .push(Attribute::seconds("asyncio.task.observed", waited));
        }
        self.add_links(at, &mut span);
        self.add_finding(at, &mut span);
        self.spans.push(span);
        let inner = self.add_frames(at, (id, start));
        self.innermost.insert(at, inner);
        self.add_awaited(at);
        if let Some(omitted) = self.omitted.get(&at).copied() {
            let gap = self.add_inner(inner, "(tasks left out)".to_owned(), inner.1);
            self.gaps.insert(at, gap);
            self.add_to_last([
                Attribute::count("asyncio.awaited.omitted", omitted.n_awaited),
                Attribute::count("asyncio.tasks.omitted", omitted.n_tasks),
            ]);
        }
    }

    /// Adds the frames of a task below its span; gives the innermost one.
    fn add_frames(&mut self, at: TaskIdx, task: (SpanId, Timestamp)) -> (SpanId, Timestamp) {
        let (facts, graph) = (self.facts, self.facts.graph);
        let mut inner = task;
        let frames: Vec<&Frame> = graph.stack(graph.task(at).stack).rev().collect();
        let n_frames = frames.len();
        let half = self.frames_max / 2;
        let gap = half..n_frames.saturating_sub(half);
        for (number, frame) in frames.into_iter().enumerate() {
            if n_frames > self.frames_max && gap.contains(&number) {
                if number == gap.start {
                    let left_out = Attribute::count("asyncio.frames.omitted", gap.len());
                    inner = self.add_inner(inner, "(frames left out)".to_owned(), inner.1);
                    self.add_to_last([left_out]);
                }
                continue;
            }
            let since = facts.times.frame(at, number);
            inner = self.add_inner(inner, name(graph.text(frame.function)), since);
            self.add_to_last(frame_attributes(graph, frame));
        }
        if let Some(awaiting) = graph.task(at).awaiting {
            let awaiting = Attribute::text("asyncio.awaiting", text(graph.text(awaiting)));
            self.add_to_last([awaiting]);
        }
        inner
    }

    /// Adds to the innermost span of a task what it awaits that does not stand below it: which task, and a link.
    fn add_awaited(&mut self, at: TaskIdx) {
        let (graph, cycles) = (self.facts.graph, self.facts.cycles);
        let Some(span) = self.spans.last_mut() else {
            return;
        };
        let mut is_first = true;
        let mut is_below: FxHashSet<TaskIdx> = FxHashSet::default();
        for edge in graph.awaited(at) {
            let awaited = graph.entry(edge.awaited);
            if self.layout.parent(awaited) == Some(at) && is_below.insert(awaited) {
                continue;
            }
            if std::mem::take(&mut is_first) {
                let id = graph.task(awaited).id.to_string();
                let id = Attribute::text("asyncio.awaited.task.id", id);
                span.attributes.push(id);
                if let Some(name) = graph.name(awaited) {
                    let name = text(&name.to_string());
                    let name = Attribute::text("asyncio.awaited.task.name", name);
                    span.attributes.push(name);
                }
            }
            if let Some(place) = self.places.get(&awaited) {
                link(span, "awaited", *place, cycles.closes(at, awaited));
            }
        }
    }

    /// Adds a span below another one, which does not begin before it.
    fn add_inner(
        &mut self,
        (parent, earliest): (SpanId, Timestamp),
        name: String,
        since: Timestamp,
    ) -> (SpanId, Timestamp) {
        let id = self.ids.span();
        let start = since.min(self.facts.times.now()).max(earliest);
        self.spans.push(Span {
            id,
            parent: Some(parent),
            name,
            start,
            end: self.facts.times.now(),
            attributes: Vec::new(),
            links: Vec::new(),
            n_links_omitted: 0,
            error: None,
        });
        (id, start)
    }

    fn add_to_last(&mut self, attributes: impl IntoIterator<Item = Attribute>) {
        if let Some(span) = self.spans.last_mut() {
            span.attributes.extend(attributes);
        }
    }

    /// The qualified name of its coroutine function; empty if it has no frame any more.
    fn coroutine(&self, at: TaskIdx) -> &str {
        let graph = self.facts.graph;
        let outermost = graph.stack(graph.task(at).stack).next_back();
        outermost.map_or("", |frame| graph.text(frame.function))
    }

    fn attributes(&self, at: TaskIdx) -> Vec<Attribute> {
        let graph = self.facts.graph;
        let (task, thread) = (graph.task(at), graph.thread_of(at));
        let thread_id = usize::try_from(thread.tid.0).unwrap_or(usize::MAX);
        let mut attributes = vec![
            Attribute::text("asyncio.task.id", task.id.to_string()),
            Attribute::text("asyncio.task.state", state(task.state)),
            Attribute::count("asyncio.thread.native_id", thread_id),
            Attribute::count("thread.id", thread_id),
        ];
        let coroutine = self.coroutine(at);
        if !coroutine.is_empty() {
            attributes.push(Attribute::text("code.function.name", text(coroutine)));
        }
        if let Some(task_name) = graph.name(at) {
            attributes.push(Attribute::text(
                "asyncio.task.name",
                text(&task_name.to_string()),
            ));
        }
        if thread.interpreter_id != 0 {
            let value = super::AttributeValue::Number(thread.interpreter_id);
            let key = "asyncio.interpreter.id";
            attributes.push(Attribute { key, value });
        }
        if task.cancelling {
            attributes.push(Attribute::flag("asyncio.task.cancelling", true));
        }
        attributes
    }

    /// Adds links to those who await a task as well, besides the one that it stands below.
    fn add_links(&self, at: TaskIdx, span: &mut Span) {
        let (graph, cycles) = (self.facts.graph, self.facts.cycles);
        let mut is_below = false;
        let mut n_omitted = 0;
        for edge in graph.awaiters(at) {
            let awaiter = edge.awaiter_task.map(|awaiter| graph.entry(awaiter));
            if awaiter.is_some() && awaiter == self.layout.parent(at) && !is_below {
                is_below = true;
                continue;
            }
            let place = awaiter.and_then(|awaiter| Some((awaiter, *self.places.get(&awaiter)?)));
            match place {
                Some((awaiter, place)) => link(span, "awaiter", place, cycles.closes(awaiter, at)),
                None => n_omitted += 1,
            }
        }
        if n_omitted > 0 {
            let omitted = Attribute::count("asyncio.awaiters.omitted", n_omitted);
            span.attributes.push(omitted);
        }
    }

    fn add_finding(&self, at: TaskIdx, span: &mut Span) {
        let Some(Mark { kind, fingerprint }) = self.facts.mark(at) else {
            return;
        };
        span.attributes.extend([
            Attribute::text("asyncio.finding.kind", kind.as_str()),
            Attribute::text("asyncio.finding.fingerprint", fingerprint.to_string()),
        ]);
        span.error = Some(match kind {
            FindingKind::AwaitCycle => {
                let awaited = self.awaited_on_cycle(at);
                format!("in await cycle {fingerprint}: awaits {awaited}, and can never go on")
            }
            FindingKind::StuckTask => {
                format!("stuck ({fingerprint}): it has not moved for too long")
            }
        });
    }

    /// The name of a task that it awaits and that is on its cycle: not all who show traces show links.
    fn awaited_on_cycle(&self, at: TaskIdx) -> String {
        let (graph, cycles) = (self.facts.graph, self.facts.cycles);
        let mut awaited = graph.awaited(at).map(|edge| graph.entry(edge.awaited));
        let next = awaited.find(|awaited| cycles.is_cyclic(at, *awaited));
        let next_name = next.and_then(|next| graph.name(next));
        next_name.map_or_else(|| "another task".to_owned(), |name| text(&name.to_string()))
    }
}

/// Adds a link to a span, if there is room.
fn link(span: &mut Span, what: &'static str, (trace, id): (TraceId, SpanId), closes_cycle: bool) {
    if span.links.len() >= LINKS_MAX {
        span.n_links_omitted += 1;
        return;
    }
    let mut attributes = vec![Attribute::text("asyncio.link", what)];
    if closes_cycle {
        attributes.push(Attribute::flag("asyncio.link.closes_cycle", true));
    }
    span.links.push(Link {
        trace,
        span: id,
        attributes,
    });
}

fn frame_attributes(graph: &TaskGraph, frame: &Frame) -> Vec<Attribute> {
    let function = text(graph.text(frame.function));
    let mut attributes = vec![Attribute::text("code.function.name", function)];
    if let Some(file) = frame.file {
        attributes.push(Attribute::text("code.file.path", text(graph.text(file))));
    }
    if let Some(line) = frame.line {
        attributes.push(Attribute::count("code.line.number", line as usize));
    }
    let via = match frame.via {
        Via::Await => return attributes,
        Via::Generator => "generator",
        Via::AnextAwaitable => "anext_awaitable",
        Via::Thread => "thread",
        Via::CoroutineWrapper => "coroutine_wrapper",
    };
    attributes.push(Attribute::text("asyncio.frame.via", via));
    attributes
}

fn state(state: TaskState) -> &'static str {
    match state {
        TaskState::Pending => "pending",
        TaskState::Created => "created",
        TaskState::Suspended => "suspended",
        TaskState::Running => "running",
    }
}

fn text(text: &str) -> String {
    escape_start(text, TEXT_CHARS_MAX).into_owned()
}

fn name(function: &str) -> String {
    match function {
        "" => "?".to_owned(),
        function => escape_start(function, NAME_CHARS_MAX).into_owned(),
    }
}
