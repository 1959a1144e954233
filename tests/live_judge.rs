//! The machine judge itself: it finds no fault where there is none, and every fault that there is.

mod support;

use asyncio_agent::graph::TaskState;
use support::churn::{Churn, Truth, attach};
use support::judge::{Counts, Judge};
use support::plain::{PlainTask, snapshot_of, tasks_of};
use support::python;

/// Most stops for one picture: as many as `--freeze` makes.
const STOPS_MAX: u32 = 3;

/// Of a process that is stopped everything must be right: where this fails, the judge is wrong. A process is
/// stopped anywhere, now and then between the two writes that link a task into its list, or while a
/// coroutine returns to the one that awaits it; what is read then has a hole or ends early, but nothing
/// wrong in it, and another stop gives the whole.
#[test]
fn nothing_is_wrong_with_a_stopped_process() {
    for (at, churn) in Churn::all().into_iter().enumerate() {
        let python = &python::all()[at % python::all().len()];
        let what = format!("{churn} on Python {}", python.full_version);
        let target = churn.start(python);
        let mut process = attach(&target);
        let mut judge = Judge::new(Truth::of(&target));
        let mut n_whole = 0;
        for _ in 0..15 {
            for _ in 0..STOPS_MAX {
                let n_cut = judge.counts.stacks_cut;
                target.stop();
                let snapshot = process.snapshot();
                target.go_on();
                let snapshot = snapshot.unwrap_or_else(|error| panic!("{what}: {error}"));
                judge.judge(&snapshot);
                if snapshot.complete && judge.counts.stacks_cut == n_cut {
                    n_whole += 1;
                    break;
                }
                let codes: Vec<_> = snapshot.problems.iter().map(|it| it.code.clone()).collect();
                let may_be = if snapshot.complete {
                    vec![]
                } else {
                    vec!["list_torn"]
                };
                assert_eq!(codes, may_be, "{what}: {:?}", snapshot.problems);
            }
        }
        let counts = &judge.counts;
        assert_eq!(
            (counts.wrong(), n_whole),
            (0, 15),
            "{what}: {counts:#?}\n{}",
            judge.findings.join("\n")
        );
        assert!(counts.edges > 15 * 40, "{what}: {counts:#?}");
    }
}

/// The tasks of a stopped process, and the judge's opinion of them after a change.
struct Case {
    truth: Truth,
    tasks: Vec<PlainTask>,
}

impl Case {
    fn new() -> Self {
        let (program, rate) = ("churn_threads", "thousands");
        let target = Churn { program, rate }.start(&python::all()[0]);
        let truth = Truth::of(&target);
        target.stop();
        let snapshot = attach(&target).snapshot().expect("a snapshot");
        let tasks = tasks_of(&snapshot.graph);
        Self { truth, tasks }
    }

    /// The first waiting and awaited task with more than `frames` frames whose name contains `part`.
    fn find(&self, part: &str, frames: usize) -> usize {
        let fits = |task: &PlainTask| {
            task.state == TaskState::Suspended
                && !task.awaiters.is_empty()
                && task.frames.len() > frames
                && task.name.contains(part)
        };
        let found = self.tasks.iter().position(fits);
        found.unwrap_or_else(|| panic!("no task {part} at all"))
    }

    fn judged(&self, change: impl Fn(&mut Vec<PlainTask>)) -> Counts {
        let mut tasks = self.tasks.clone();
        change(&mut tasks);
        let mut judge = Judge::new(self.truth.clone());
        judge.judge(&snapshot_of(&tasks, true));
        assert_eq!(judge.findings.is_empty(), judge.counts.wrong() == 0);
        judge.counts
    }

    /// Judges a change of one task, which must be found to be wrong in one way only.
    fn found(&self, at: usize, change: impl Fn(&mut PlainTask)) -> &'static str {
        let counts = self.judged(|tasks| change(&mut tasks[at]));
        let found = [
            ("edge", counts.wrong_edges),
            ("stack", counts.wrong_stacks),
            ("name", counts.wrong_names),
            ("thread", counts.wrong_threads),
            ("missing", counts.missing),
        ];
        let mut found = found.into_iter().filter(|(_, n)| *n > 0);
        let what = found.next().map_or("nothing", |(what, _)| what);
        assert!(found.next().is_none(), "{what} and more: {counts:#?}");
        what
    }
}

#[test]
fn wrong_awaiters_are_found() {
    let case = Case::new();
    assert_eq!(case.judged(|_| {}).wrong(), 0);
    let leaf = case.find("~leaf<", 0);
    let another = case.tasks[case.find("~shares_", 0)].id;
    let [right, itself] = [case.tasks[leaf].awaiters[0], case.tasks[leaf].id];
    // In no list, although the only one who may await the task is in one.
    let unlisted = 0x1000;
    for awaiters in [
        vec![another],
        vec![itself],
        vec![unlisted],
        vec![right, another],
        vec![right; 2],
    ] {
        let found = case.found(leaf, |task| task.awaiters.clone_from(&awaiters));
        assert_eq!(found, "edge", "{awaiters:?}");
    }
}

#[test]
fn wrong_stacks_are_found() {
    let case = Case::new();
    let (waiting, deep) = (case.find("~in_wait<", 0), case.find("~deep*", 5));
    let group = case.tasks[case.find("~in_group<", 0)].frames.clone();
    assert_eq!(
        case.found(waiting, |task| task.frames.clone_from(&group)),
        "stack"
    );
    let without_second = |task: &mut PlainTask| drop(task.frames.remove(1));
    assert_eq!(case.found(waiting, without_second), "stack");
    assert_eq!(case.found(deep, without_second), "stack");
    let at_another_line = |task: &mut PlainTask| {
        task.frames.last_mut().expect("a frame").line = Some(1);
    };
    assert_eq!(case.found(waiting, at_another_line), "stack");
    assert_eq!(case.found(waiting, |task| task.frames.clear()), "stack");
    let cut = case.judged(|tasks| drop(tasks[waiting].frames.remove(0)));
    assert_eq!((cut.wrong(), cut.stacks_cut), (0, 1));
}

#[test]
fn wrong_names_threads_and_gaps_are_found() {
    let case = Case::new();
    let leaf = case.find("~leaf<", 0);
    let another = &case.tasks[case.find("~leaf<", 0) + 1..];
    let another = another.iter().find(|task| task.name.contains("~leaf<"));
    let another = &another.expect("a second leaf").name;
    assert_eq!(case.found(leaf, |task| task.name.truncate(7)), "name");
    assert!(
        case.judged(|tasks| tasks[leaf].name.clone_from(another))
            .wrong_names
            > 0
    );
    assert_eq!(case.found(leaf, |task| task.tid += 1), "thread");
    let without_main = |tasks: &mut Vec<PlainTask>| {
        tasks.retain(|task| !task.name.contains("~main@"));
    };
    assert!(case.judged(without_main).missing > 0);
}
