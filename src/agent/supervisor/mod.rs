//! The one loop: takes events, asks the scheduler, does what it says, publishes what became known.

mod notes;

use super::allotment::{Claim, Room};
use super::allowance::Allowance;
use super::clock::Clock;
use super::discovery::{Discovery, DiscoveryError, Look};
use super::otlp::{Otlp, Prepared, Subject};
use super::roster::Roster;
use super::rules::rules;
use super::sampler::{Job, RoundReport, RoundRules, SpanJob, run_round};
use super::scan_time::stop_after;
use super::schedule::{Effect, Event, Found, RoundEnd, Scheduler, SchedulerSettings};
use super::service::ServiceManager;
use super::source::ProcessSource;
use super::store::Store;
use super::telemetry::lines_lost;
use super::told::Teller;
use super::watched::Watched;
use crate::analysis::Rules;
use crate::config::{Settings, TargetSettings, TopSettings};
use crate::ids::ProcessId;
use crate::limits::{Limits, Stop};
use crate::metrics::{
    AgentView, BuildInfo, ConfigView, Exemplar, RoundOutcome, TargetView, Top, limit_label,
};
use crate::time::Monotonic;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Rounds at once, those included that hang in the kernel.
pub(super) const ROUNDS_HANGING_MAX: usize = 64;
/// A round that takes longer hangs.
const HANGS_AFTER: Duration = Duration::from_secs(5);
/// The longest time between two rounds over a process that cannot be read.
const RETRY_MAX: Duration = Duration::from_secs(5 * 60);
/// A look at the list of processes that takes longer will not end.
const DISCOVERY_HANGS_AFTER: Duration = Duration::from_secs(5 * 60);
/// Kinds of problems that are counted one by one; further ones are counted together.
const PROBLEM_CODES_MAX: usize = 100;

/// What ran on another thread and has ended.
enum Done {
    /// Of which generation of settings it was, and what was found.
    Discovery(u64, Result<Look, DiscoveryError>),
    Round(Box<RoundReport>),
}

/// What the supervisor is told from outside.
pub(super) enum Command {
    /// From now on these settings hold. What is sent over OTLP has changed: to this.
    Reconfigure(Arc<Settings>, Option<Option<Box<Prepared>>>),
    /// There were others, but they are not good.
    RefuseConfig,
}

pub(super) struct Supervisor {
    clock: Clock,
    source: Arc<dyn ProcessSource>,
    store: Arc<Store>,
    scheduler: Scheduler,
    targets: Arc<[TargetSettings]>,
    rules: Arc<Rules>,
    /// The longest time that a scan may take.
    scan_time: Duration,
    /// Tasks that are read of all processes together.
    tasks_max: u64,
    /// Those that they had as of the last publication.
    n_tasks: u64,
    /// Used by one look at a time.
    discovery: Arc<Mutex<Discovery>>,
    /// What the next look at the processes is to go by.
    new_settings: Option<Arc<Settings>>,
    /// How often the settings were replaced.
    generation: u64,
    roster: Roster,
    work: JoinSet<Done>,
    wake_at: Option<Monotonic>,
    /// The processes that are watched.
    watched: BTreeMap<ProcessId, Watched>,
    /// The view as of the last publication, without its processes.
    totals: AgentView,
    discovery_fails: bool,
    discovered_once: bool,
    /// Processes that the latest discovery left out, and those it put into `other`.
    n_over_limits: (usize, usize),
    /// The most processes that were told to be hidden, since there were none.
    n_hidden_told: usize,
    /// Rounds hang or are overdue since the last publication.
    has_news: bool,
    /// It was said that too many rounds hang; none of them has ended since.
    is_crowded: bool,
    otlp: Otlp,
    log: Teller,
    service: ServiceManager,
    /// When the service manager is to hear that the agent works.
    beat_at: Option<Monotonic>,
    /// When the last look at the list of processes ended, and when another one must have since.
    discovered_at: Monotonic,
    discovery_hangs_after: Duration,
}

impl Supervisor {
    pub(super) fn new(
        settings: &Settings,
        source: Arc<dyn ProcessSource>,
        store: Arc<Store>,
        otlp: Option<Prepared>,
    ) -> Self {
        let mut roster = Roster::default();
        roster.fix(&settings.targets);
        let clock = Clock::start();
        let service = ServiceManager::of_environment();
        let mut supervisor = Self {
            clock,
            discovery: Arc::new(Mutex::new(Discovery::new(settings, Arc::clone(&source)))),
            source,
            scheduler: Scheduler::new(scheduler_settings(settings)),
            scan_time: settings.limits.scan_time,
            tasks_max: settings.limits.tasks.into(),
            n_tasks: 0,
            new_settings: None,
            generation: 0,
            targets: settings.targets.clone().into(),
            work: JoinSet::new(),
            wake_at: Some(Monotonic::default()),
            watched: BTreeMap::new(),
            rules: rules(settings),
            totals: AgentView {
                build: BuildInfo::default(),
                since: clock.timestamp(),
                top: top(&settings.analysis.top),
                series_max: series_max(settings),
                lacks: store.lacks().map(Arc::from),
                config: ConfigView {
                    last_reload_failed: false,
                    loaded_at: clock.timestamp(),
                },
                ..AgentView::default()
            },
            roster,
            discovery_fails: false,
            discovered_once: false,
            n_over_limits: (0, 0),
            n_hidden_told: 0,
            has_news: false,
            is_crowded: false,
            otlp: Otlp::new(clock, &store),
            log: Teller::new(),
            store,
            service,
            beat_at: service.beat_every().map(|_| clock.now()),
            discovered_at: clock.now(),
            discovery_hangs_after: discovery_hangs_after(settings),
        };
        supervisor.otlp.replace(otlp);
        supervisor.name_targets();
        supervisor.label_fixed_targets();
        supervisor.publish();
        supervisor
    }

    /// Runs until `stopped` becomes true. Rounds that run then are left to end by themselves.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut stopped: watch::Receiver<bool>,
    ) {
        loop {
            let (wake_at, beat_at) = (self.wake_at, self.beat_at);
            let clock = self.clock;
            let first = tokio::select! {
                // An error means that nobody is left who could say stop.
                _ = stopped.wait_for(|stopped| *stopped) => break,
                Some(command) = commands.recv() => {
                    self.obey(command);
                    self.publish();
                    continue;
                }
                () = async { clock.sleep_until(beat_at.unwrap_or_default()).await },
                    if beat_at.is_some() => {
                    self.beat();
                    continue;
                }
                Some(done) = self.work.join_next() => Some(done),
                () = async { clock.sleep_until(wake_at.unwrap_or_default()).await },
                    if wake_at.is_some() => None,
            };
            let Some(first) = first else {
                self.wake_at = None;
                self.ask_scheduler(Event::Wake);
                if self.has_news {
                    self.publish();
                }
                continue;
            };
            let mut next = Some(first);
            while let Some(done) = next {
                match done {
                    Ok(Done::Discovery(generation, result)) => {
                        self.end_discovery(generation, result);
                    }
                    Ok(Done::Round(report)) => self.end_round(*report),
                    // Panics are caught before they get here, and nobody aborts this work.
                    Err(error) => tracing::error!(%error, "work was lost"),
                }
                next = self.work.try_join_next();
            }
            self.publish();
        }
        self.work.detach_all();
        self.log.stop();
        self.otlp.stop().await;
    }

    /// Tells the service manager that the agent works, if it does. Rounds may hang for reasons of their processes; but
    /// the list of processes is always there to be looked at.
    fn beat(&mut self) {
        let now = self.clock.now();
        self.beat_at = self.service.beat_every().map(|time| now.after(time));
        if now.since(self.discovered_at) > self.discovery_hangs_after {
            tracing::error!("no list of processes for a long time: the agent does not work");
            return;
        }
        let latest = self
            .watched
            .values()
            .filter_map(|it| it.view().latest.as_ref());
        let observations = latest.filter_map(|scan| scan.observation.as_deref());
        let (mut n_cycles, mut n_stuck) = (0_u64, 0_u64);
        for observation in observations {
            n_cycles = n_cycles.saturating_add(observation.n_cycles);
            n_stuck = n_stuck.saturating_add(observation.n_stuck);
        }
        if !self.discovered_once {
            self.service.beat("looking for processes");
            return;
        }
        let n_processes = self.watched.len();
        self.service.beat(&format!(
            "{n_processes} processes watched, {n_cycles} await cycles, {n_stuck} stuck tasks"
        ));
    }

    fn ask_scheduler(&mut self, event: Event) {
        for effect in self.scheduler.on(event, self.clock.now()) {
            match effect {
                Effect::WakeAt(at) => self.wake_at = Some(at),
                Effect::Discover => self.begin_discovery(),
                Effect::BeginRound { process } => self.begin_round(process),
                Effect::Hangs { process } => self.note_hanging(process),
                Effect::Overdue { process } => self.note_overdue(process),
                Effect::CrowdedOut { process } => self.note_crowded_out(process),
                Effect::Postponed { process } => self.note_postponed(process),
                Effect::Forget { process } => self.forget(process),
            }
        }
    }

    fn begin_discovery(&mut self) {
        let discovery = Arc::clone(&self.discovery);
        let (generation, new_settings) = (self.generation, self.new_settings.take());
        self.work.spawn_blocking(move || {
            // Panics are caught within, and leave nothing behind that could be wrong.
            let mut discovery = discovery.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(settings) = new_settings {
                discovery.set_settings(&settings);
            }
            Done::Discovery(generation, discovery.look())
        });
    }

    fn end_discovery(&mut self, generation: u64, result: Result<Look, DiscoveryError>) {
        self.discovered_at = self.clock.now();
        if generation != self.generation {
            // It went by settings that hold no more. The next one follows at once.
            self.ask_scheduler(Event::Discovered(None));
            return;
        }
        let look = match result {
            Ok(look) => look,
            Err(error) => {
                if !self.discovery_fails {
                    tracing::error!(%error, "cannot list processes");
                }
                self.discovery_fails = true;
                self.ask_scheduler(Event::Discovered(None));
                return;
            }
        };
        if self.discovery_fails {
            tracing::info!("processes can be listed again");
        }
        self.discovery_fails = false;
        self.discovered_once = true;
        self.note_over_limits((look.n_left_out, look.n_others));
        self.note_hidden(&look.hidden);
        self.note_unprobed(look.unprobed);
        self.note_unstarted(look.unstarted);
        self.totals.n_idle_rules = look.idle_rules.n;
        self.totals.idle_rules = look.idle_rules.first.into();
        let mut settings_of: BTreeMap<usize, usize> = BTreeMap::new();
        let found: Vec<Found> = look
            .found
            .into_iter()
            .zip(look.users)
            .map(|(assignment, user)| {
                let target = self.roster.position_of(&assignment.name);
                settings_of.insert(target.0, assignment.target);
                Found {
                    process: assignment.process,
                    target,
                    user,
                    interval: self.targets[assignment.target].interval,
                }
            })
            .collect();
        self.name_targets();
        for (at, target) in settings_of {
            set_labels(&mut self.totals.targets[at], &self.targets[target]);
        }
        for Found {
            process,
            target,
            interval,
            user,
        } in &found
        {
            let is_new = !self.watched.contains_key(process);
            let new = || Watched::new(*process, self.clock.timestamp());
            let watched = self.watched.entry(*process).or_insert_with(new);
            watched.target = target.0;
            watched.interval = *interval;
            // One that ends just now has none.
            watched.person = user.or(watched.person);
            if is_new {
                let target = &self.totals.targets[target.0].name;
                self.log.process_found(&watched.about(*process, target));
            }
        }
        self.ask_scheduler(Event::Discovered(Some(found)));
        let used: BTreeSet<usize> = self.watched.values().map(|it| it.target).collect();
        for dropped in self.roster.drop_unused(|at| used.contains(&at)) {
            self.totals.targets[dropped] = TargetView::default();
        }
    }

    /// Gives targets with a fixed name their labels before a process is found.
    fn label_fixed_targets(&mut self) {
        for settings in self.targets.iter() {
            let name = settings.name.as_fixed();
            let target = name.and_then(|name| {
                let mut targets = self.totals.targets.iter_mut();
                targets.find(|target| &*target.name == name)
            });
            if let Some(target) = target {
                set_labels(target, settings);
            }
        }
    }

    /// Makes a view for each target on the roster; those without a name are at no place there.
    fn name_targets(&mut self) {
        for (name, at) in self.roster.names() {
            let targets = &mut self.totals.targets;
            if targets.len() <= at {
                targets.resize_with(at + 1, TargetView::default);
            }
            if targets[at].name.is_empty() {
                targets[at].name = name.into();
                targets[at].since = self.clock.timestamp();
            }
        }
    }

    fn begin_round(&mut self, process: ProcessId) {
        let now = self.clock.now();
        let watched = self.watched.get_mut(&process);
        let kept =
            watched.map(|watched| (watched.confirms(now), std::mem::take(&mut watched.kept)));
        let (confirms, kept) = kept.unwrap_or_default();
        let tasks_max = self.tasks_max_of(process);
        let allowance = Allowance::of_round(tasks_max, self.watched.len());
        if let Some(watched) = self.watched.get_mut(&process) {
            watched.allowed = tasks_max;
        }
        let source = Arc::clone(&self.source);
        let rules = RoundRules {
            rules: Arc::clone(&self.rules),
            confirms,
            finding_bytes_max: allowance.finding_bytes(),
        };
        let clock = self.clock;
        let (stop, scan_time) = (Stop::default(), self.scan_time);
        let spans = self.otlp.sink().map(|sink| {
            let watched = self.watched.get_mut(&process);
            let (target, untold) = watched
                .map(|it| (&self.totals.targets[it.target], it.take_untold(now)))
                .unzip();
            let subject = target.map(|target| Subject {
                target: Arc::clone(&target.name),
                labels: Arc::clone(&target.labels),
                ratio: target.spans_ratio,
            });
            SpanJob {
                sink,
                subject: subject.unwrap_or_default(),
                untold: untold.unwrap_or_default(),
            }
        });
        let timer = stop.clone();
        let timer = tokio::spawn(async move {
            stop_after(scan_time, &timer).await;
        });
        self.work.spawn_blocking(move || {
            let job = Job {
                process,
                rules,
                allowance,
                stop,
                clock,
                spans,
            };
            let report = run_round(&*source, kept, &job);
            timer.abort();
            Done::Round(Box::new(report))
        });
    }

    /// How many tasks of a process may be read.
    fn tasks_max_of(&self, process: ProcessId) -> u32 {
        let own = self.watched.get(&process).map_or(0, Watched::n_tasks);
        let claims = self.watched.iter().map(|(process, watched)| Claim {
            process: *process,
            since: watched.view().since,
            person: watched.view().owner.map(|user| self.source.person(user).id),
            n_tasks: watched.n_tasks(),
        });
        let room = Room {
            total: self.tasks_max,
            n_tasks: self.n_tasks,
        };
        room.tasks_max(process, own, claims)
    }

    fn obey(&mut self, command: Command) {
        let (settings, otlp) = match command {
            Command::Reconfigure(settings, otlp) => (settings, otlp),
            Command::RefuseConfig => {
                self.totals.config.last_reload_failed = true;
                return;
            }
        };
        self.generation += 1;
        self.targets = settings.targets.clone().into();
        self.rules = rules(&settings);
        if let Some(otlp) = otlp {
            self.otlp.replace(otlp.map(|prepared| *prepared));
        }
        self.scan_time = settings.limits.scan_time;
        self.tasks_max = settings.limits.tasks.into();
        self.discovery_hangs_after = discovery_hangs_after(&settings);
        self.source.set_limits(scan_limits(&settings));
        self.totals.top = top(&settings.analysis.top);
        self.totals.series_max = series_max(&settings);
        self.totals.config = ConfigView {
            last_reload_failed: false,
            loaded_at: self.clock.timestamp(),
        };
        self.roster.fix(&settings.targets);
        self.name_targets();
        self.label_fixed_targets();
        let event = Event::Reconfigured(scheduler_settings(&settings));
        self.new_settings = Some(settings);
        self.ask_scheduler(event);
    }

    fn end_round(&mut self, report: RoundReport) {
        let RoundReport {
            process,
            kept,
            scan,
            program,
            failure,
            problems,
            used,
            look_again,
            sent,
        } = report;
        let outcome = scan.outcome;
        let is_over_limit = scan.limit_hits.is_costly();
        let is_not_yet = kept.without_asyncio.is_some();
        let limits_of_spans = sent.limit_hits.clone();
        if let Some(watched) = self.watched.get_mut(&process) {
            let target = &mut self.totals.targets[watched.target];
            let about = watched.about(process, &target.name);
            target.scans.add(outcome);
            let before = watched.view().latest.as_ref().map(|scan| scan.outcome);
            if std::mem::take(&mut watched.view_mut().hangs) {
                self.is_crowded = false;
                self.log.hangs_no_more(&about, scan.took.as_secs());
            }
            watched.view_mut().failure = failure.as_ref().map(|(_, error)| error.as_str().into());
            self.log.change(&about, before, outcome, failure);
            let latest = watched.view().latest.as_ref();
            self.log.limits(&about, latest, &scan);
            watched.view_mut().is_overdue = false;
            watched.note_owner(kept.owner, outcome);
            watched.kept = kept;
            if let Some(observation) = &scan.observation {
                target.totals.add(observation);
                watched.view_mut().totals.add(observation);
                self.log.findings(&about, observation, &sent);
                if let Some(trace) = watched.new_trace_of_cycle(observation, &sent.told) {
                    let (trace, at) = (trace.0, scan.at);
                    let exemplar = Some(Exemplar { trace, at });
                    target.totals.cycle_exemplar = exemplar;
                    watched.view_mut().totals.cycle_exemplar = exemplar;
                }
                watched.note_sent(observation, sent, self.clock.now());
            }
            if let Some(program) = program
                && watched.view().program.as_deref() != Some(&program)
            {
                watched.view_mut().program = Some(Arc::new(program));
            }
            self.totals.bytes_read = self.totals.bytes_read.saturating_add(scan.bytes_read);
            let of_scan = scan.limit_hits.names().map(limit_label);
            for limit in of_scan.into_iter().chain(limits_of_spans) {
                count_limit(&mut self.totals.limit_hits, limit, 1);
            }
            // What was known of one that has ended is told as ended with it.
            if outcome != RoundOutcome::Gone {
                watched.view_mut().latest = Some(scan);
            }
        }
        self.count_problems(problems);
        self.ask_scheduler(Event::RoundEnded {
            process,
            used,
            end: round_end(outcome, is_over_limit, is_not_yet, look_again),
        });
    }

    fn forget(&mut self, process: ProcessId) {
        if let Some(watched) = self.watched.remove(&process) {
            let about = watched.about(process, &self.totals.targets[watched.target].name);
            self.log.process_gone(&about);
            let latest = watched.view().latest.as_ref();
            let latest = latest.and_then(|scan| scan.observation.as_ref());
            let findings = latest.into_iter().flat_map(|it| &it.findings);
            self.log.ended(&about, findings);
        }
    }

    fn count_problems(&mut self, problems: BTreeMap<String, u64>) {
        let totals = &mut self.totals.problems;
        for (code, count) in problems {
            let is_full = totals.len() >= PROBLEM_CODES_MAX && !totals.contains_key(&code);
            let code = if is_full { "other".to_owned() } else { code };
            let total = totals.entry(code).or_insert(0);
            *total = total.saturating_add(count);
        }
    }

    /// Nothing leads to traces that have not arrived.
    fn forget_lost_traces(&mut self) {
        for (process, trace) in self.otlp.take_lost() {
            for target in &mut self.totals.targets {
                target.totals.forget_trace(trace.0);
            }
            if let Some(watched) = self.watched.get_mut(&process) {
                watched.note_lost(trace);
            }
        }
    }

    fn publish(&mut self) {
        self.has_news = false;
        self.forget_lost_traces();
        self.n_tasks = 0;
        let mut view = self.totals.clone();
        for watched in self.watched.values() {
            self.n_tasks = self.n_tasks.saturating_add(watched.n_tasks());
            let target = &mut view.targets[watched.target];
            target.processes.push(Arc::clone(watched.view()));
        }
        view.otlp = self.otlp.counts();
        view.log_lines_lost = lines_lost();
        count_limit(&mut view.limit_hits, "series", self.store.n_cut());
        view.targets.retain(|target| !target.name.is_empty());
        self.store.publish(view);
        if self.discovered_once && !self.store.is_ready() {
            let mut views = self.watched.values().map(Watched::view);
            if views.all(|it| it.latest.is_some() || it.hangs || it.is_overdue) {
                self.store.set_ready();
            }
        }
    }
}

/// How a round ended, as far as the next one depends on it.
fn round_end(
    outcome: RoundOutcome,
    is_over_limit: bool,
    is_not_yet: bool,
    look_again: Option<Duration>,
) -> RoundEnd {
    match outcome {
        RoundOutcome::Ok | RoundOutcome::Partial if is_over_limit => RoundEnd::OverLimit,
        RoundOutcome::Ok | RoundOutcome::Partial => {
            look_again.map_or(RoundEnd::Read, RoundEnd::ReadAgain)
        }
        RoundOutcome::Gone => RoundEnd::Gone,
        RoundOutcome::Unsuitable if is_not_yet => RoundEnd::NotYet,
        RoundOutcome::Unsuitable | RoundOutcome::Failed | RoundOutcome::Panicked => {
            RoundEnd::Failed
        }
    }
}

fn count_limit(limit_hits: &mut BTreeMap<String, u64>, limit: &str, more: u64) {
    if more > 0 {
        let hits = limit_hits.entry(limit.to_owned()).or_insert(0);
        *hits = hits.saturating_add(more);
    }
}

fn set_labels(target: &mut TargetView, settings: &TargetSettings) {
    target.labels = settings.labels.clone().into_iter().collect();
    target.per_process = settings.per_process;
    target.interval = Some(settings.interval);
    target.spans_ratio = settings.spans_ratio;
}

fn scheduler_settings(settings: &Settings) -> SchedulerSettings {
    SchedulerSettings {
        discovery_interval: settings.discovery.interval,
        rounds_max: usize::try_from(settings.limits.rounds).unwrap_or(1),
        rounds_hanging_max: ROUNDS_HANGING_MAX,
        hangs_after: HANGS_AFTER,
        retry_max: RETRY_MAX,
        cpu_share: settings.limits.cpu_share,
    }
}

/// The caps of a scan.
pub(super) fn scan_limits(settings: &Settings) -> Limits {
    Limits {
        tasks_max: settings.limits.tasks_per_process,
        bytes_read_max: settings.limits.scan_bytes,
        ..Limits::default()
    }
}

fn series_max(settings: &Settings) -> usize {
    usize::try_from(settings.limits.series).unwrap_or(usize::MAX)
}

/// After which time the list of processes is known not to come any more.
fn discovery_hangs_after(settings: &Settings) -> Duration {
    DISCOVERY_HANGS_AFTER.saturating_add(settings.discovery.interval)
}

fn top(settings: &TopSettings) -> Top {
    let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    Top {
        tasks: size(settings.coroutines),
        waits: size(settings.waits),
        stuck: size(settings.stuck),
    }
}
