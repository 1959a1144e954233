//! Rounds that hang, on purpose, and who is read nevertheless.

use super::*;

const PLACES: usize = 64;

/// A scheduler, and processes whose rounds hang while the others' end at once.
struct Crowd {
    scheduler: Scheduler,
    now: u64,
    found: Vec<Found>,
    stuck: BTreeSet<ProcessId>,
    /// Rounds that run.
    running: BTreeSet<ProcessId>,
    /// Processes that were said to have no place.
    crowded_out: BTreeSet<ProcessId>,
}

impl Crowd {
    fn new() -> Self {
        let settings = SchedulerSettings {
            rounds_hanging_max: PLACES,
            ..settings(8)
        };
        Self {
            scheduler: Scheduler::new(settings),
            now: 0,
            found: Vec::new(),
            stuck: BTreeSet::new(),
            running: BTreeSet::new(),
            crowded_out: BTreeSet::new(),
        }
    }

    /// Adds processes, each of a target of its own.
    fn add(&mut self, numbers: std::ops::Range<i32>, user_of: impl Fn(i32) -> u32) {
        let found = numbers.map(|n| Found {
            process: process(n),
            target: TargetIdx(usize::try_from(n).unwrap()),
            user: Some(user_of(n)),
            interval: Duration::from_secs(1),
        });
        self.found.extend(found);
    }

    fn hang(&mut self, numbers: std::ops::Range<i32>) {
        self.stuck.extend(numbers.map(process));
    }

    /// Has minutes pass; returns the processes that were read in the last of them.
    fn pass(&mut self) -> BTreeSet<ProcessId> {
        let mut read = BTreeSet::new();
        for second in 0..200 {
            self.now += 1_000;
            if second == 140 {
                read.clear();
            }
            self.tell(Event::Wake, &mut read);
        }
        read
    }

    /// Tells the scheduler of an event, and does what it wants.
    fn tell(&mut self, event: Event, read: &mut BTreeSet<ProcessId>) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.scheduler.on(event, at(self.now)) {
                match effect {
                    Effect::Discover => {
                        events.push(Event::Discovered(Some(self.found.clone())));
                    }
                    Effect::BeginRound { process } if self.stuck.contains(&process) => {
                        self.running.insert(process);
                    }
                    Effect::BeginRound { process } => {
                        read.insert(process);
                        events.push(read_now(process));
                    }
                    Effect::CrowdedOut { process } => {
                        assert!(self.crowded_out.insert(process), "told twice");
                    }
                    _ => {}
                }
            }
        }
    }

    /// From now on nothing hangs.
    fn go_on(&mut self) {
        self.stuck.clear();
        for process in std::mem::take(&mut self.running) {
            self.tell(read_now(process), &mut BTreeSet::new());
        }
    }

    fn n_stuck(&self) -> usize {
        self.running.len()
    }
}

fn read_now(process: ProcessId) -> Event {
    Event::RoundEnded {
        process,
        end: RoundEnd::Read,
        used: Duration::ZERO,
    }
}

fn processes(numbers: std::ops::Range<i32>) -> BTreeSet<ProcessId> {
    numbers.map(process).collect()
}

#[test]
fn one_user_leaves_places_to_others_and_to_those_who_were_read_all_the_time() {
    let mut crowd = Crowd::new();
    crowd.add(0..20, |n| u32::from(n < 10));
    assert_eq!(crowd.pass(), processes(0..20));
    // Processes of user 1, each with a name that makes it a target.
    crowd.hang(100..300);
    crowd.add(100..300, |_| 1);
    assert_eq!(crowd.pass(), processes(0..20), "both users' processes");
    assert!(crowd.n_stuck() <= PLACES * 2 / 3 + 1, "{}", crowd.n_stuck());
    assert!(crowd.crowded_out.is_subset(&processes(100..300)));
    assert!(!crowd.crowded_out.is_empty());
    crowd.add(400..410, |_| 0);
    let read = crowd.pass();
    assert!(
        processes(400..410).is_subset(&read),
        "new ones of the other user"
    );
}

#[test]
fn processes_that_were_read_and_then_hang_leave_a_quarter() {
    let mut crowd = Crowd::new();
    crowd.add(0..100, |_| 1);
    crowd.add(100..105, |_| 2);
    assert_eq!(crowd.pass(), processes(0..105));
    crowd.hang(0..100);
    crowd.add(200..205, |_| 3);
    let expected = &processes(100..105) | &processes(200..205);
    assert_eq!(crowd.pass(), expected);
    assert_eq!(crowd.n_stuck(), PLACES * 3 / 4);
}

#[test]
fn new_processes_of_however_many_users_leave_a_quarter_to_the_known_ones() {
    let mut crowd = Crowd::new();
    crowd.add(0..20, |_| 0);
    assert_eq!(crowd.pass(), processes(0..20));
    crowd.hang(100..300);
    crowd.add(100..300, |n| u32::try_from(n).unwrap());
    assert_eq!(crowd.pass(), processes(0..20));
    assert_eq!(crowd.n_stuck(), PLACES * 3 / 4);
    crowd.go_on();
    let all = &processes(0..20) | &processes(100..300);
    assert_eq!(crowd.pass(), all);
    assert!(crowd.scheduler.places.are_free());
}
