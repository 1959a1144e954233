//! What is known of the tasks of one process from round to round: since when each stands where it stands,
//! which cycles last, what began and ended in between.
//!
//! A task is the same as before if its address, its name and its coroutine function are. It waits since
//! the round that first saw it at its place: all frames at the same lines, on the same objects
//! ([`Task::footing`](crate::graph::Task::footing)). So a wait is at least as long as is said, unless
//! the task ran in between and came back to the same place on the same addresses. `waiting` sees to it that no
//! task counts as stuck because of that.
//!
//! Whose wait counts: tasks that await no other task (of the others, what they await is the reason), or
//! that are in a cycle which nobody can leave; not those that sleep, which wait for nothing but time, and whose place can look the
//! same again and again; not those that nobody executes any more, because their thread has ended (they lie about
//! until they are collected); and not those that the rules leave out. Only those that await no other task can
//! be stuck: a cycle is a finding of its own.
//!
//! Tasks whose wait would be too long, but that the rules leave out, or that have a reason to wait, are idle.

use super::coroutines::{Coroutines, Group};
use super::facts::{Facts, TaskKey, hash_of};
use super::finding::{Finding, FindingKind, Fingerprint, Mark, tasks_of};
use super::held_up::{HeldUp, Speaker};
use super::lines::Lines;
use super::look::{Look, Moment};
use super::sight::Sight;
use super::standing::Standing;
use super::times::{TaskTimes, Tracks};
use super::waiting::{Activity, Seen, Waits};
use crate::graph::{Cycles, LongWait, TaskGraph, TaskIdx, TaskState, find_deadlocks};
use crate::ids::{TaskId, Tid};
use crate::time::Monotonic;
use rustc_hash::{FxHashMap, FxHashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Cycles of one process that are followed.
pub const CYCLES_MAX: usize = 64;
/// Stuck tasks of one process that are findings of their own; all are counted.
const STUCK_FINDINGS_MAX: usize = 64;
/// What so many partial snapshots in a row lack, looks in between left out, may still be there.
const MISSES_MAX: u32 = 8;
/// So may whatever all of them lack since the latest complete one, for so long: one that was cut short, because
/// the agent stood still or the machine is busy, says nothing about what it lacks.
const PARTIAL_MAX: Duration = Duration::from_secs(10 * 60);
/// So many tasks may be remembered at least.
const MISSING_MAX: usize = 10_000;

/// Which functions' waits count. The first two are asked for each function of a stack, the others for those in which a
/// task waits: the innermost one of the program's own, and those of libraries that it has called.
pub trait FunctionRules: fmt::Debug + Send + Sync {
    /// Whether tasks inside this function count.
    fn includes(&self, function: &str) -> bool;
    /// Whether tasks inside this function do not count.
    fn excludes(&self, function: &str) -> bool;
    /// Whether nothing is wrong with who waits in this function, for however long. Asked also about
    /// `run_in_executor`, for who waits for a thread or another process, and `run_until_complete`, for the task that an
    /// event loop was started for, if that waits for a future in a function of the program's own.
    fn is_idle(&self, function: &str) -> bool;
    /// Whether there is something wrong with it all the same.
    fn is_never_idle(&self, function: &str) -> bool;
}

/// When something is a finding.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Consecutive snapshots in which a cycle must stand; at least 1.
    pub cycle_confirmations: u32,
    /// For how long a task must wait at the same place.
    pub stuck_after: Duration,
    /// Whose waits count.
    pub functions: Arc<dyn FunctionRules>,
    /// Whether [`History::times`] is to know since when. That takes memory for each task.
    pub follow_frames: bool,
}

/// What a snapshot means, given the earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observation {
    /// Tasks that were not in the snapshot before; of the first snapshot none. Where fewer are missing than before,
    /// as many of them may be those.
    pub n_started: u64,
    /// Tasks that are in it no more.
    pub n_finished: u64,
    /// Cycles that nobody can leave, stand now and have been confirmed.
    pub n_cycles: u64,
    /// Tasks on them.
    pub n_cycle_tasks: u64,
    /// Tasks that are stuck.
    pub n_stuck: u64,
    /// Tasks that would be, but wait where that may take long.
    pub n_idle: u64,
    /// The longest wait of a task whose wait counts.
    pub wait_max: Duration,
    /// Figures by coroutine function.
    pub coroutines: Coroutines,
    /// What somebody should be told, as long as it lasts.
    pub findings: Vec<Arc<Finding>>,
    /// Those of them that are new.
    pub opened: Vec<Fingerprint>,
    /// Findings of earlier rounds that ended.
    pub closed: Vec<Arc<Finding>>,
    /// A task may be stuck, and takes further looks to be sure of, at irregular times: so much time between two
    /// of them, on average.
    pub look_within: Option<Duration>,
    /// Tasks that may be stuck: why do they wait? See [`History::note_long_waits`].
    pub asked: Vec<TaskId>,
}

/// A cycle that was seen.
#[derive(Debug)]
struct SeenCycle {
    first_seen: Moment,
    /// Consecutive snapshots with it, as far as they confirm it.
    n_seen: u32,
    /// Partial snapshots in a row in which it is missing.
    n_missing: u32,
    /// As it was seen last, once it is confirmed.
    finding: Option<Arc<Finding>>,
}

/// A stuck task that is a finding.
#[derive(Debug)]
struct StuckTask {
    key: TaskKey,
    since: Monotonic,
    finding: Arc<Finding>,
}

/// What is known of one process from earlier snapshots.
#[derive(Debug)]
pub struct History {
    rules: Arc<Rules>,
    /// Makes the fingerprints of two processes differ.
    seed: u64,
    tasks: FxHashMap<TaskKey, Seen>,
    /// Since when their frames stand; none unless frames are followed.
    tracks: Tracks<TaskKey>,
    cycles: FxHashMap<Fingerprint, SeenCycle>,
    stuck: FxHashMap<Fingerprint, StuckTask>,
    /// Tasks that were missing in the latest snapshot; `None` before the first one.
    n_missing: Option<u64>,
    held_up: HeldUp,
    /// What the latest snapshot came to, if nothing was missing in it.
    standing: Option<Standing>,
    /// Since when all snapshots are partial.
    partial_since: Option<Monotonic>,
    /// When the latest complete one was taken, and how many tasks it has.
    complete_at: Option<Monotonic>,
    n_complete: usize,
    /// When the latest look was.
    latest: Option<Monotonic>,
    /// Since which look the process sleeps.
    asleep_since: Option<Monotonic>,
    /// How often each thread had run at the latest look.
    runs: FxHashMap<Tid, u64>,
    /// Of which tasks it was asked at the latest look why they wait.
    asked: Vec<TaskKey>,
    /// Where tasks go on.
    lines: Lines,
    /// Bytes that are left for further findings.
    room: usize,
}

impl History {
    /// Of a process of which nothing is known yet. `seed` is a number that other processes do not have.
    pub fn new(rules: Arc<Rules>, seed: u64) -> Self {
        Self {
            rules,
            seed,
            tasks: FxHashMap::default(),
            tracks: Tracks::default(),
            cycles: FxHashMap::default(),
            stuck: FxHashMap::default(),
            n_missing: None,
            held_up: HeldUp::default(),
            standing: None,
            partial_since: None,
            complete_at: None,
            n_complete: 0,
            latest: None,
            asleep_since: None,
            runs: FxHashMap::default(),
            asked: Vec::new(),
            lines: Lines::default(),
            room: 0,
        }
    }

    /// Takes up why those tasks wait that were asked about, before what the next snapshot shows. `clock` is the time
    /// `now` by the clock of event loops (`CLOCK_MONOTONIC`). Of one that is not told of, nothing is known.
    pub fn note_long_waits(&mut self, waits: &[LongWait], clock: Duration, now: Moment) {
        let by_id: FxHashMap<TaskId, &LongWait> = waits.iter().map(|it| (it.task, it)).collect();
        for key in std::mem::take(&mut self.asked) {
            if let (Some(wait), Some(seen)) = (by_id.get(&key.id), self.tasks.get_mut(&key)) {
                seen.note(wait, clock, now);
                self.held_up.note(key, wait, clock, now);
                self.standing = None;
            }
        }
    }

    /// Takes other rules, which count from the next snapshot on. What was seen stays.
    pub fn set_rules(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
    }

    /// Takes up a snapshot.
    pub fn observe(&mut self, graph: &TaskGraph, cycles: &Cycles, look: Look) -> Observation {
        let now = look.now;
        self.note_look(now.at, look.slept);
        self.room = look.finding_bytes_max;
        let mut waits = Waits::at(now, self.rules.stuck_after, self.asleep_since);
        let mut observation = Observation::default();
        let deadlocks = find_deadlocks(graph, cycles, CYCLES_MAX);
        let mut facts = Facts::of(graph, &self.rules);
        let mut sight =
            self.see_tasks(&mut facts, deadlocks.as_ref(), &mut waits, &mut observation);
        self.note_completeness(look, sight.present.len());
        observation.n_finished = self.drop_missing(&sight.present, look);
        let activities = self.activities(graph, &sight.moved, observation.n_finished > 0);
        let mut stuck: Vec<(Moment, TaskKey, TaskIdx)> = Vec::new();
        for (key, at) in std::mem::take(&mut sight.candidates) {
            let Some(seen) = self.tasks.get_mut(&key) else {
                continue;
            };
            let task = graph.task(at);
            let line = self.lines.of(seen, self.rules.stuck_after);
            let line = line.filter(|_| task.state != TaskState::Running);
            if !seen.is_stuck && waits.is_in_line((key, seen), line, task.has_turn) {
                observation.n_idle += u64::from(waits.is_long(seen));
                continue;
            }
            let activity = activities.get(&graph.thread_of(at).tid).copied();
            let activity = activity.filter(|_| !task.has_turn);
            if waits.is_stuck((key, seen), activity.unwrap_or(Activity::None)) {
                stuck.push((seen.since, key, at));
                let coroutine = facts.stack(task.stack).coroutine;
                sight.groups.entry(coroutine).or_default().figures.n_stuck += 1;
                observation.n_stuck += 1;
            }
        }
        self.see_held_up(
            &mut sight,
            &mut facts,
            &mut waits,
            &mut stuck,
            &mut observation,
        );
        observation.n_started = self.count_started(observation.n_started, look);
        let named = sight.groups.into_iter().map(|(name, group)| Group {
            name: name.map_or("", |name| graph.text(name)),
            ..group
        });
        let mut groups: Vec<Group<'_>> = named.collect();
        observation.coroutines = Coroutines::of(&mut groups);
        self.tracks.retain(|key| self.tasks.contains_key(key));
        self.follow_cycles(&mut facts, deadlocks.as_ref(), look, &mut observation);
        self.follow_stuck(graph, stuck, &sight.present, now, &mut observation);
        observation.look_within = waits.look_within;
        observation.asked = waits.asked.iter().map(|key| key.id).collect();
        self.asked = std::mem::take(&mut waits.asked);
        self.standing = (look.is_complete && waits.look_within.is_none())
            .then(|| Standing::of(&self.rules, &groups, waits.next, &observation))
            .flatten();
        observation
    }

    /// Sees where all tasks stand now.
    fn see_tasks<'g>(
        &mut self,
        facts: &mut Facts<'g>,
        deadlocks: Option<&Cycles>,
        waits: &mut Waits,
        observation: &mut Observation,
    ) -> Sight<'g> {
        let (graph, now) = (facts.graph, waits.now);
        let rules = Arc::clone(&self.rules);
        let before = self.complete_at.unwrap_or_default();
        let mut sight = Sight::default();
        sight.present.reserve(graph.tasks().len());
        for at in graph.indices().filter(|at| graph.entry(*at) == *at) {
            let key = facts.key(at);
            sight.present.insert(key);
            let stack = facts.stack(graph.task(at).stack);
            let awaits_none = waits_for_no_task(graph, deadlocks, at);
            let task = graph.task(at);
            let holds_up = task.state == TaskState::Running && task.has_turn;
            let place = match holds_up {
                // Whatever it does meanwhile.
                true => hash_of((task.state, task.footing)),
                false => hash_of((
                    stack.hash,
                    task.footing,
                    task.state,
                    task.awaiting.is_some(),
                    awaits_none,
                )),
            };
            let mut is_new = false;
            let seen = self.tasks.entry(key).or_insert_with(|| {
                is_new = true;
                Seen::new(place, stack.line, before, now)
            });
            let went_on = !seen.was_at(place);
            if went_on {
                self.lines.leave(seen, now.at);
            }
            seen.see(place, stack.line, before, now);
            let thread = graph.thread_of(at);
            let tid = thread.tid;
            if is_new || went_on {
                sight.moved.insert(tid);
            }
            if self.rules.follow_frames {
                self.tracks.see(key, &stack.words, went_on, now.at);
            }
            observation.n_started += u64::from(is_new);
            let (is_running, sleeps) = (task.state == TaskState::Running, stack.sleeps);
            sight.note_speaker(tid, Speaker { key, at, sleeps }, is_running);
            let group = sight.groups.entry(stack.coroutine).or_default();
            group.figures.n_tasks += 1;
            let counts = match task.state {
                TaskState::Running => stack.counts_running,
                _ => stack.counts,
            };
            if !awaits_none || tid == Tid(0) || sleeps {
                continue;
            }
            let line = self.lines.of(seen, rules.stuck_after);
            let is_explained = !is_running
                && waits.is_explained((key, seen), line, &*rules.functions, stack.is_bare);
            // Some programs run their event loop now and then.
            let is_paused = !thread.runs_loop && !is_running && !seen.is_stuck;
            if !counts || is_explained || is_paused {
                observation.n_idle += u64::from(waits.is_long(seen));
                continue;
            }
            group.add_wait(seen.since.at, now.at);
            observation.wait_max = observation.wait_max.max(now.at.since(seen.since.at));
            // Those on a cycle are told of as such.
            if !awaits_tasks(graph, at) {
                sight.candidates.push((key, at));
            }
        }
        sight
    }

    /// Sees which event loops are held up by something that is no task, and takes one task of each for stuck.
    fn see_held_up(
        &mut self,
        sight: &mut Sight<'_>,
        facts: &mut Facts<'_>,
        waits: &mut Waits,
        stuck: &mut Vec<(Moment, TaskKey, TaskIdx)>,
        observation: &mut Observation,
    ) {
        let (told, asked) = self
            .held_up
            .look(&sight.speakers, &sight.moved, &self.runs, waits);
        for key in asked {
            if let Some(seen) = self.tasks.get_mut(&key) {
                waits.ask(key, seen);
            }
        }
        for (since, Speaker { key, at, .. }) in told {
            let stack = facts.stack(facts.graph.task(at).stack);
            if !stack.counts_running || stuck.iter().any(|(_, told, _)| *told == key) {
                continue;
            }
            stuck.push((since, key, at));
            let coroutine = stack.coroutine;
            sight.groups.entry(coroutine).or_default().figures.n_stuck += 1;
            observation.n_stuck += 1;
        }
    }

    /// What the threads have done since the look before. A task that has ended may have been any thread's.
    fn activities(
        &mut self,
        graph: &TaskGraph,
        moved: &FxHashSet<Tid>,
        any_ended: bool,
    ) -> FxHashMap<Tid, Activity> {
        let before = std::mem::take(&mut self.runs);
        let mut activities = FxHashMap::default();
        for thread in graph.threads() {
            let Some(runs) = thread.runs else {
                continue;
            };
            let has_run = before
                .get(&thread.tid)
                .is_some_and(|before| *before != runs);
            let is_seen = any_ended || moved.contains(&thread.tid);
            let activity = match (has_run, is_seen) {
                (false, _) => Activity::None,
                (true, true) => Activity::Seen,
                (true, false) => Activity::Unseen,
            };
            activities.insert(thread.tid, activity);
            self.runs.insert(thread.tid, runs);
        }
        activities
    }

    fn note_look(&mut self, now: Monotonic, slept: bool) {
        self.asleep_since = match slept {
            true => self.asleep_since.or(self.latest),
            false => None,
        };
        self.latest = Some(now);
    }

    /// Takes up a snapshot that shows what the latest one showed, because the process slept. The same as
    /// [`observe`](Self::observe), but without looking at every task. `None`: that takes a look at them.
    pub fn observe_again(&mut self, now: Moment, confirms: bool) -> Option<Observation> {
        let confirms = u32::from(confirms);
        let confirmations = self.rules.cycle_confirmations.max(1);
        let is_next = |it: &SeenCycle| {
            it.finding.is_none() && it.n_seen.saturating_add(confirms) >= confirmations
        };
        let standing = self.standing.as_ref()?;
        if !standing.holds_at(&self.rules, now.at) || self.cycles.values().any(is_next) {
            return None;
        }
        let mut observation = standing.observation_at(now.at);
        self.note_look(now.at, true);
        for seen in self.cycles.values_mut() {
            seen.n_seen = seen.n_seen.saturating_add(confirms);
            if let Some(finding) = &mut seen.finding {
                *finding = Arc::new(finding.aged(now.at.since(seen.first_seen.at)));
                observation.findings.push(Arc::clone(finding));
            }
        }
        for StuckTask { since, finding, .. } in self.stuck.values_mut() {
            *finding = Arc::new(finding.aged(now.at.since(*since)));
            observation.findings.push(Arc::clone(finding));
        }
        Some(observation)
    }

    /// How many of `n_new` tasks that were not there before have started since.
    fn count_started(&mut self, n_new: u64, look: Look) -> u64 {
        match self.n_missing.replace(look.n_missing) {
            // Nobody knows how many of them were there.
            None | Some(u64::MAX) => 0,
            Some(before) => n_new.saturating_sub(before.saturating_sub(look.n_missing)),
        }
    }

    fn note_completeness(&mut self, look: Look, n_tasks: usize) {
        self.partial_since = match look.is_complete {
            true => None,
            false => self.partial_since.or(Some(look.now.at)),
        };
        if look.is_complete {
            self.complete_at = Some(look.now.at);
            self.n_complete = n_tasks;
        }
    }

    /// Partial snapshots in a row in which something may be missing at `look` without having ended.
    fn misses_max(&self, look: Look) -> u32 {
        match self.partial_since {
            None => 0,
            Some(since) if look.now.at.since(since) < PARTIAL_MAX => u32::MAX,
            Some(_) => MISSES_MAX,
        }
    }

    /// Forgets tasks that are gone; says how many.
    fn drop_missing(&mut self, present: &FxHashSet<TaskKey>, look: Look) -> u64 {
        let (before, mut n_finished) = (self.tasks.len(), 0_u64);
        let misses_max = self.misses_max(look);
        let found: FxHashSet<TaskKey> = self.stuck.values().map(|it| it.key).collect();
        // A process in which nothing ever is complete must not make this grow.
        let n_max = present.len().max(self.n_complete).saturating_mul(2);
        let is_roomy = before <= n_max.max(MISSING_MAX);
        let lines = &mut self.lines;
        self.tasks.retain(|key, seen| {
            if present.contains(key) {
                return true;
            }
            seen.n_missing = seen.n_missing.saturating_add(u32::from(look.confirms));
            let may_be_there = !look.is_complete && seen.n_missing <= misses_max;
            let stays = may_be_there && (is_roomy || found.contains(key));
            if !stays {
                lines.leave(seen, look.now.at);
                // What there is no room for has not ended.
                n_finished += u64::from(!may_be_there);
            }
            stays
        });
        lines.forget(look.now.at, self.rules.stuck_after);
        // As many of them as are missing may be those.
        n_finished.saturating_sub(look.n_missing)
    }

    fn follow_cycles(
        &mut self,
        facts: &mut Facts<'_>,
        deadlocks: Option<&Cycles>,
        look: Look,
        observation: &mut Observation,
    ) {
        let (now, misses_max) = (look.now, self.misses_max(look));
        let graph = facts.graph;
        let confirmations = self.rules.cycle_confirmations.max(1);
        let mut tasks_on_cycles: FxHashSet<TaskIdx> = FxHashSet::default();
        let mut present: FxHashSet<Fingerprint> = FxHashSet::default();
        for cycle in deadlocks.into_iter().flat_map(|it| &it.cycles) {
            let keys = facts.keys_of(cycle);
            let fingerprint = self.fingerprint_of_cycle(keys);
            // Two ways round the same tasks are one cycle.
            if !present.insert(fingerprint) {
                continue;
            }
            let seen = self.cycles.entry(fingerprint).or_insert_with(|| SeenCycle {
                first_seen: now,
                n_seen: 0,
                n_missing: 0,
                finding: None,
            });
            seen.n_seen = seen.n_seen.saturating_add(u32::from(look.confirms));
            seen.n_missing = 0;
            // One that was found stays found, also if more confirmations are asked for since.
            if seen.finding.is_none() {
                if seen.n_seen < confirmations {
                    continue;
                }
                observation.opened.push(fingerprint);
            }
            observation.n_cycles += 1;
            tasks_on_cycles.extend(&cycle.tasks);
            let (tasks, tasks_omitted) = tasks_of(graph, &cycle.tasks, &mut self.room);
            let finding = Arc::new(Finding {
                kind: FindingKind::AwaitCycle,
                fingerprint,
                first_seen: seen.first_seen.wall,
                age: now.at.since(seen.first_seen.at),
                tasks,
                tasks_omitted,
            });
            seen.finding = Some(Arc::clone(&finding));
            observation.findings.push(finding);
        }
        observation.n_cycle_tasks = u64::try_from(tasks_on_cycles.len()).unwrap_or(u64::MAX);
        self.cycles.retain(|fingerprint, seen| {
            if present.contains(fingerprint) {
                return true;
            }
            seen.n_missing = seen.n_missing.saturating_add(u32::from(look.confirms));
            if look.is_complete || seen.n_missing > misses_max {
                observation.closed.extend(seen.finding.take());
            }
            // It has not been seen to end, so it counts on.
            let Some(finding) = &seen.finding else {
                return false;
            };
            observation.n_cycles += 1;
            observation.n_cycle_tasks += finding.n_tasks();
            observation.findings.push(Arc::clone(finding));
            true
        });
    }

    fn follow_stuck(
        &mut self,
        graph: &TaskGraph,
        mut stuck: Vec<(Moment, TaskKey, TaskIdx)>,
        present: &FxHashSet<TaskKey>,
        now: Moment,
        observation: &mut Observation,
    ) {
        let mut before = std::mem::take(&mut self.stuck);
        // Those that were found before, and those that wait longest.
        stuck.sort_by_cached_key(|(since, key, _)| {
            let is_new = !before.contains_key(&self.fingerprint_of_task(*key, *since));
            (is_new, since.at, *key)
        });
        for (since, key, at) in stuck.into_iter().take(STUCK_FINDINGS_MAX) {
            let fingerprint = self.fingerprint_of_task(key, since);
            if before.remove(&fingerprint).is_none() {
                observation.opened.push(fingerprint);
            }
            let (tasks, tasks_omitted) = tasks_of(graph, &[at], &mut self.room);
            let finding = Arc::new(Finding {
                kind: FindingKind::StuckTask,
                fingerprint,
                first_seen: since.wall,
                age: now.at.since(since.at),
                tasks,
                tasks_omitted,
            });
            observation.findings.push(Arc::clone(&finding));
            let task = StuckTask {
                key,
                since: since.at,
                finding,
            };
            self.stuck.insert(fingerprint, task);
        }
        for (fingerprint, task) in before {
            // One that a partial snapshot lacks has not been seen to go on, so it counts on.
            if !present.contains(&task.key) && self.tasks.contains_key(&task.key) {
                let of_task = task.finding.tasks.first();
                let coroutine = of_task.map_or("", |task| task.coroutine.as_str());
                observation.coroutines.add_stuck(coroutine);
                observation.n_stuck += 1;
                observation.findings.push(Arc::clone(&task.finding));
                self.stuck.insert(fingerprint, task);
            } else {
                observation.closed.push(task.finding);
            }
        }
    }

    /// Since when the tasks of the snapshot that was taken up last, and their frames, have been seen.
    pub fn times(&self, graph: &TaskGraph, now: Moment) -> TaskTimes {
        let mut facts = Facts::of(graph, &self.rules);
        let keys = graph.indices().map(|at| facts.key(graph.entry(at)));
        self.tracks.times(keys, now)
    }

    /// The tasks of the snapshot that was taken up last that are part of findings.
    pub fn marks(&self, graph: &TaskGraph, cycles: &Cycles) -> Vec<(TaskIdx, Mark)> {
        let mut facts = Facts::of(graph, &self.rules);
        let mut marks = Vec::new();
        let deadlocks = find_deadlocks(graph, cycles, CYCLES_MAX);
        for cycle in deadlocks.iter().flat_map(|it| &it.cycles) {
            let fingerprint = self.fingerprint_of_cycle(facts.keys_of(cycle));
            let seen = self.cycles.get(&fingerprint);
            if seen.is_some_and(|seen| seen.finding.is_some()) {
                let kind = FindingKind::AwaitCycle;
                let mark = Mark { kind, fingerprint };
                marks.extend(cycle.tasks.iter().map(|at| (*at, mark)));
            }
        }
        for (fingerprint, StuckTask { finding, .. }) in &self.stuck {
            let (kind, fingerprint) = (finding.kind, *fingerprint);
            let tasks = finding.tasks.iter().filter_map(|task| graph.find(task.id));
            marks.extend(tasks.map(|at| (at, Mark { kind, fingerprint })));
        }
        marks
    }

    fn fingerprint_of_cycle(&self, keys: Vec<TaskKey>) -> Fingerprint {
        self.mixed((FindingKind::AwaitCycle, keys))
    }

    fn fingerprint_of_task(&self, key: TaskKey, since: Moment) -> Fingerprint {
        self.mixed((FindingKind::StuckTask, key, since.at))
    }

    fn mixed(&self, what: impl Hash) -> Fingerprint {
        let mut hasher = std::hash::DefaultHasher::new();
        (self.seed, what).hash(&mut hasher);
        Fingerprint(hasher.finish())
    }
}

/// Whether a task waits for tasks, also if it does so round a cycle.
fn awaits_tasks(graph: &TaskGraph, at: TaskIdx) -> bool {
    graph.awaited(at).len() > 0 && !graph.task(at).waits_elsewhere
}

/// Whether nothing that a task waits for is another task; or only itself, round a cycle that nobody can leave.
fn waits_for_no_task(graph: &TaskGraph, deadlocks: Option<&Cycles>, at: TaskIdx) -> bool {
    if graph.task(at).waits_elsewhere {
        return true;
    }
    let mut awaited = graph.awaited(at);
    match deadlocks {
        None => awaited.len() == 0,
        Some(cycles) => {
            let component = cycles.component_of(graph, at);
            awaited.all(|edge| cycles.component_of(graph, edge.awaited) == component)
        }
    }
}
