//! The machine judge: whether what a snapshot says of the tasks of `tests/programs/_churn.py` can be true.
//!
//! That file says what the names of its tasks mean and where its functions can be suspended. From this
//! follows for every edge whether these two tasks ever wait for each other, and for every stack whether
//! it can be that task's. Nothing here knows how a snapshot is made.

use super::churn::{Name, Truth};
use asyncio_agent::graph::{AwaitEdge, Snapshot, StackIdx, TaskGraph, TaskIdx, TaskState, Via};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::ops::AddAssign;

/// Findings of one sort that are kept in full.
const FINDINGS_MAX: u64 = 3;
/// Snapshots after which one must have shown a number as high as the highest so far: tasks are started all
/// the time. A number that stays the highest was misread.
const HIGHEST_FOR_MAX: u64 = 2_000;

/// What the judge has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub scans: u64,
    /// Scans that say of themselves that nothing is missing.
    pub complete: u64,
    pub tasks: u64,
    /// Tasks left out, as the scans themselves say.
    pub tasks_unreadable: u64,
    pub tasks_ended: u64,
    pub restarts: u64,
    pub syscalls: u64,
    pub bytes_read: u64,
    /// Problems of the scans, by code.
    pub problems: BTreeMap<String, u64>,
    /// Edges judged.
    pub edges: u64,
    /// Of these, edges whose awaiter is in no list, so that only its stack says who it is.
    pub edges_unlisted: u64,
    /// Tasks that have an awaiter by their name and none in the scan. Right at many moments.
    pub unawaited: u64,
    /// Stacks judged.
    pub stacks: u64,
    /// Stacks of waiting tasks that end before the place where such a task waits, but are right so far.
    pub stacks_cut: u64,
    pub wrong_edges: u64,
    pub wrong_stacks: u64,
    /// Names that no task has, and names that two tasks have.
    pub wrong_names: u64,
    /// Tasks in the list of a thread that did not create them.
    pub wrong_threads: u64,
    /// Lasting tasks that are not in a scan that says it is complete.
    pub missing: u64,
    /// The highest task number seen: about how many tasks the process has started.
    pub highest_number: u64,
}

impl Counts {
    /// How much cannot be true.
    pub fn wrong(&self) -> u64 {
        self.wrong_edges + self.wrong_stacks + self.wrong_names + self.wrong_threads + self.missing
    }

    /// The share of the tasks met that were left out although they may well have lived, in per cent.
    pub fn unreadable_per_cent(&self) -> f64 {
        let met = self.tasks + self.tasks_unreadable + self.tasks_ended;
        100.0 * self.tasks_unreadable as f64 / (met.max(1)) as f64
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        for (code, n) in &other.problems {
            *self.problems.entry(code.clone()).or_default() += n;
        }
        self.highest_number = self.highest_number.max(other.highest_number);
        for (mine, theirs) in [
            (&mut self.scans, other.scans),
            (&mut self.complete, other.complete),
            (&mut self.tasks, other.tasks),
            (&mut self.tasks_unreadable, other.tasks_unreadable),
            (&mut self.tasks_ended, other.tasks_ended),
            (&mut self.restarts, other.restarts),
            (&mut self.syscalls, other.syscalls),
            (&mut self.bytes_read, other.bytes_read),
            (&mut self.edges, other.edges),
            (&mut self.edges_unlisted, other.edges_unlisted),
            (&mut self.unawaited, other.unawaited),
            (&mut self.stacks, other.stacks),
            (&mut self.stacks_cut, other.stacks_cut),
            (&mut self.wrong_edges, other.wrong_edges),
            (&mut self.wrong_stacks, other.wrong_stacks),
            (&mut self.wrong_names, other.wrong_names),
            (&mut self.wrong_threads, other.wrong_threads),
            (&mut self.missing, other.missing),
        ] {
            *mine += theirs;
        }
    }
}

/// Judges one snapshot after the other of one process.
#[derive(Debug)]
pub struct Judge {
    truth: Truth,
    pub counts: Counts,
    /// The first things that cannot be true, in full.
    pub findings: Vec<String>,
    /// The highest number so far, the scan that showed it, and the task.
    highest: Option<(u64, u64, String)>,
}

/// What can be said of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Wrong,
    /// Right as far as it goes, but such a task waits further inside.
    Cut,
    Right,
}

type Verdicts = HashMap<(StackIdx, String, TaskState), Verdict>;

impl Judge {
    pub fn new(truth: Truth) -> Self {
        Self {
            truth,
            counts: Counts::default(),
            findings: Vec::new(),
            highest: None,
        }
    }

    /// Judges a snapshot and adds to the counts; returns how much of it cannot be true.
    pub fn judge(&mut self, snapshot: &Snapshot) -> u64 {
        let before = self.counts.wrong();
        let (graph, stats) = (&snapshot.graph, &snapshot.stats);
        self.counts.scans += 1;
        self.counts.complete += u64::from(snapshot.complete);
        self.counts.tasks_unreadable += stats.tasks_unreadable;
        self.counts.tasks_ended += stats.tasks_ended;
        self.counts.restarts += stats.restarts;
        self.counts.syscalls += stats.syscalls;
        self.counts.bytes_read += stats.bytes_read;
        for problem in &snapshot.problems {
            *self
                .counts
                .problems
                .entry(problem.code.clone())
                .or_default() += 1;
        }
        let texts: Vec<Option<String>> = graph
            .indices()
            .map(|at| graph.name(at).map(|name| name.to_string()))
            .collect();
        let names: Vec<Option<Name<'_>>> = texts
            .iter()
            .map(|text| Name::parse(text.as_deref()?, &self.truth))
            .collect();
        let numbers: HashSet<u64> = names.iter().flatten().map(|name| name.number).collect();
        self.judge_names(graph, &names);
        self.judge_threads(graph, &names);
        let mut verdicts = Verdicts::new();
        for at in graph.indices() {
            let Some(name) = names[at.as_usize()] else {
                continue;
            };
            self.judge_stack(graph, at, name, &mut verdicts);
            if graph.awaiters(at).is_empty() && !name.awaiters.is_empty() {
                self.counts.unawaited += 1;
            }
            for edge in graph.awaiters(at) {
                self.judge_edge(graph, edge, name, &names, &numbers);
            }
        }
        if snapshot.complete {
            let missing = self
                .truth
                .lasting
                .iter()
                .find(|n| !numbers.contains(n))
                .copied();
            if let Some(missing) = missing {
                self.counts.missing += 1;
                self.find(
                    self.counts.missing,
                    &format_args!("missing: task {missing} lasts, and the snapshot is complete"),
                );
            }
        }
        self.counts.wrong() - before
    }

    fn judge_names(&mut self, graph: &TaskGraph, names: &[Option<Name<'_>>]) {
        let mut seen = HashSet::new();
        let mut highest = None;
        for (at, name) in graph.indices().zip(names) {
            self.counts.tasks += 1;
            match name {
                None => {
                    self.counts.wrong_names += 1;
                    self.find(
                        self.counts.wrong_names,
                        &format_args!("no task has this name: {}", Shown(graph, at)),
                    );
                }
                Some(name) if !seen.insert(name.number) => {
                    self.counts.wrong_names += 1;
                    self.find(
                        self.counts.wrong_names,
                        &format_args!("a second task of this name: {}", Shown(graph, at)),
                    );
                }
                Some(name) => highest = highest.max(Some((name.number, at))),
            }
        }
        let Some((highest, at)) = highest else {
            return;
        };
        let scan = self.counts.scans;
        match self.highest.take() {
            Some((number, since, shown)) if number > highest => {
                if scan - since <= HIGHEST_FOR_MAX {
                    self.highest = Some((number, since, shown));
                    return;
                }
                self.counts.wrong_names += 1;
                self.find(
                    self.counts.wrong_names,
                    &format_args!("no later snapshot knows such a number: {shown}"),
                );
            }
            Some((number, ..)) => self.counts.highest_number = number,
            None => {}
        }
        self.highest = Some((highest, scan, Shown(graph, at).to_string()));
    }

    fn judge_threads(&mut self, graph: &TaskGraph, names: &[Option<Name<'_>>]) {
        for thread in graph.threads() {
            // Thread 0 stands for threads that have ended.
            for at in graph.tasks_of(thread).filter(|_| thread.tid.0 != 0) {
                if names[at.as_usize()].is_some_and(|name| name.thread != thread.tid.0) {
                    self.counts.wrong_threads += 1;
                    let tid = thread.tid;
                    self.find(
                        self.counts.wrong_threads,
                        &format_args!("in the list of thread {tid}: {}", Shown(graph, at)),
                    );
                }
            }
        }
    }

    fn judge_stack(
        &mut self,
        graph: &TaskGraph,
        at: TaskIdx,
        name: Name<'_>,
        known: &mut Verdicts,
    ) {
        let task = graph.task(at);
        let key = (task.stack, name.kind.to_owned(), task.state);
        let verdict = *known
            .entry(key)
            .or_insert_with(|| self.truth.verdict(graph, task.stack, name, task.state));
        self.counts.stacks += 1;
        match verdict {
            Verdict::Right => {}
            Verdict::Cut => self.counts.stacks_cut += 1,
            Verdict::Wrong => {
                self.counts.wrong_stacks += 1;
                self.find(
                    self.counts.wrong_stacks,
                    &format_args!("impossible stack: {}", Shown(graph, at)),
                );
            }
        }
    }

    fn judge_edge(
        &mut self,
        graph: &TaskGraph,
        edge: &AwaitEdge,
        awaited: Name<'_>,
        names: &[Option<Name<'_>>],
        numbers: &HashSet<u64>,
    ) {
        self.counts.edges += 1;
        let others = graph.awaiters(edge.awaited).iter();
        let is_twice = others.filter(|other| other.awaiter == edge.awaiter).count() > 1;
        let is_right = match edge.awaiter_task {
            Some(awaiter) => {
                // An awaiter without a readable name was counted as such.
                names[awaiter.as_usize()].is_none_or(|name| awaited.may_be_awaited_by(name.me))
                    && edge.stack == graph.task(awaiter).stack
            }
            None => {
                self.counts.edges_unlisted += 1;
                self.is_possible_unlisted(graph, edge, awaited, numbers)
            }
        };
        if is_right && !is_twice {
            return;
        }
        self.counts.wrong_edges += 1;
        let awaiter = match edge.awaiter_task {
            Some(awaiter) => Shown(graph, awaiter).to_string(),
            None => format!("{} in no list, {}", edge.awaiter, Stack(graph, edge.stack)),
        };
        self.find(
            self.counts.wrong_edges,
            &format_args!(
                "wrong edge: {}\n    awaited by {awaiter}",
                Shown(graph, edge.awaited)
            ),
        );
    }

    /// Whether an awaiter that no list holds can be one of those who may await the task: not if all of
    /// them are in lists, and not with the stack of another function.
    fn is_possible_unlisted(
        &self,
        graph: &TaskGraph,
        edge: &AwaitEdge,
        awaited: Name<'_>,
        numbers: &HashSet<u64>,
    ) -> bool {
        awaited
            .awaiters(&self.truth)
            .filter(|awaiter| !numbers.contains(&awaiter.number))
            .any(|awaiter| {
                let state = TaskState::Pending;
                self.truth.verdict(graph, edge.stack, awaiter, state) == Verdict::Right
            })
    }

    /// Keeps a finding, if it is one of the first `nth` of its sort.
    fn find(&mut self, nth: u64, finding: &fmt::Arguments<'_>) {
        if nth <= FINDINGS_MAX {
            let scan = self.counts.scans;
            self.findings.push(format!("snapshot {scan}: {finding}"));
        }
    }
}

impl Truth {
    /// What can be said of a stack of the task `name` in this state. What only "pending" is said of may
    /// stand anywhere on its way.
    fn verdict(
        &self,
        graph: &TaskGraph,
        at: StackIdx,
        name: Name<'_>,
        state: TaskState,
    ) -> Verdict {
        let mut frames: Vec<SeenFrame<'_>> = graph
            .stack(at)
            .rev()
            .map(|frame| SeenFrame {
                function: graph.text(frame.function),
                is_own: frame.file.is_some_and(|file| graph.text(file) == self.file),
                line: frame.line,
                via: frame.via,
            })
            .collect();
        // Futures that are implemented in Python are awaited by a function of theirs.
        frames.pop_if(|last| !last.is_own && last.function == "Future.__await__");
        let Some(outermost) = frames.first() else {
            // The coroutine of a task that runs may just have ended.
            return match state {
                TaskState::Pending | TaskState::Running => Verdict::Right,
                _ => Verdict::Wrong,
            };
        };
        if !outermost.is_own || outermost.function != name.function {
            return Verdict::Wrong;
        }
        match state {
            TaskState::Created if frames.len() == 1 => Verdict::Right,
            TaskState::Created => Verdict::Wrong,
            TaskState::Running => self.verdict_of_running(&frames, name),
            TaskState::Suspended => self.verdict_of_waiting(&frames, name),
            TaskState::Pending => match self.verdict_of_waiting(&frames, name) {
                Verdict::Wrong => Verdict::Wrong,
                _ => Verdict::Right,
            },
        }
    }

    /// A running task may be in any function, but of the program's own only in those it can get to, and
    /// for a moment innermost in any that it calls to get a coroutine.
    fn verdict_of_running(&self, frames: &[SeenFrame<'_>], name: Name<'_>) -> Verdict {
        let is_possible = |(position, frame): (usize, &SeenFrame<'_>)| {
            let is_being_made = position + 1 == frames.len() && !self.awaits_at(frame.line);
            !frame.is_own
                || !self.is_suspendable(frame.function)
                || self.reaches(name.function, frame.function)
                || is_being_made
        };
        if frames.iter().enumerate().all(is_possible) {
            Verdict::Right
        } else {
            Verdict::Wrong
        }
    }

    fn verdict_of_waiting(&self, frames: &[SeenFrame<'_>], name: Name<'_>) -> Verdict {
        let verdict = self.follow(frames);
        let Some(depth) = name.depth else {
            return verdict;
        };
        let own = frames
            .iter()
            .filter(|frame| frame.function == name.function && frame.is_own);
        let n_own = own.count();
        let fits = n_own == depth || n_own < depth && verdict == Verdict::Cut;
        if fits { verdict } else { Verdict::Wrong }
    }

    /// Follows the frames of a waiting task inwards, from one of the program's own functions to the next.
    fn follow(&self, frames: &[SeenFrame<'_>]) -> Verdict {
        let mut frames = frames;
        while let [frame, inner @ ..] = frames {
            if frame.via == Via::Thread {
                return Verdict::Wrong;
            }
            let line = frame.line.and_then(|line| self.lines.get(&line));
            let Some(line) = line.filter(|line| line.function == frame.function) else {
                // An innermost frame may be on its way; nothing inside is awaited at such a line.
                let is_last = inner.is_empty();
                return if is_last {
                    Verdict::Cut
                } else {
                    Verdict::Wrong
                };
            };
            let (verdict, rest) = line
                .next
                .iter()
                .map(|expected| self.follow_line(expected, inner))
                .max_by_key(|(verdict, rest)| (*verdict, std::cmp::Reverse(rest.len())))
                .unwrap_or((Verdict::Wrong, &[]));
            if verdict != Verdict::Right || rest.is_empty() {
                return verdict;
            }
            frames = rest;
        }
        Verdict::Right
    }

    /// Compares the frames inside a line with those that it says follow. If these end with a function of
    /// the program, also returns the frames from there on, to be followed further.
    fn follow_line<'f, 'g>(
        &self,
        expected: &[String],
        inner: &'f [SeenFrame<'g>],
    ) -> (Verdict, &'f [SeenFrame<'g>]) {
        let mut pairs = expected.iter().zip(inner);
        let fits = pairs.all(|(function, frame)| {
            frame.function == function && frame.is_own == self.is_suspendable(function)
        });
        if !fits {
            return (Verdict::Wrong, &[]);
        }
        if inner.len() < expected.len() {
            return (Verdict::Cut, &[]);
        }
        match expected.last() {
            Some(last) if self.is_suspendable(last) => {
                (Verdict::Right, &inner[expected.len() - 1..])
            }
            _ if inner.len() == expected.len() => (Verdict::Right, &[]),
            _ => (Verdict::Wrong, &[]),
        }
    }
}

/// A frame as a snapshot shows it.
struct SeenFrame<'g> {
    function: &'g str,
    /// Whether it is a function of the program.
    is_own: bool,
    line: Option<u32>,
    via: Via,
}

/// A task in full.
struct Shown<'g>(&'g TaskGraph, TaskIdx);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(graph, at) = *self;
        let task = graph.task(at);
        match graph.name(at) {
            Some(name) => write!(f, "{:?}", name.to_string())?,
            None => f.write_str("without a name")?,
        }
        write!(
            f,
            " {} {:?} {}",
            task.id,
            task.state,
            Stack(graph, task.stack)
        )
    }
}

/// A stack, outermost frame first; of a long one both ends.
struct Stack<'g>(&'g TaskGraph, StackIdx);

/// Frames shown at either end of a stack.
const FRAMES_SHOWN: usize = 16;

impl fmt::Display for Stack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(graph, at) = *self;
        f.write_str("[")?;
        let n_frames = graph.stack(at).len();
        for (position, frame) in graph.stack(at).rev().enumerate() {
            if (FRAMES_SHOWN..n_frames.saturating_sub(FRAMES_SHOWN)).contains(&position) {
                if position == FRAMES_SHOWN {
                    write!(f, " ... {} more ...", n_frames - 2 * FRAMES_SHOWN)?;
                }
                continue;
            }
            let line = frame.line.unwrap_or(0);
            write!(f, " {}:{line}", graph.text(frame.function))?;
            if frame.via != Via::Await {
                write!(f, "({:?})", frame.via)?;
            }
        }
        f.write_str(" ]")
    }
}
