//! Programs whose tasks come and go at three speeds, with one loop and with threads that end, each read a
//! few hundred times. Nothing that a snapshot says of them may be wrong; what it leaves out it admits.

mod support;

use support::churn::{Churn, Truth, attach};
use support::judge::Judge;
use support::python;

/// Snapshots of a program on one version of Python.
const SNAPSHOTS: u64 = 200;

fn stress(program: &'static str, rate: &'static str) {
    let churn = Churn { program, rate };
    // Until then the program has replaced all its tasks several times.
    let tasks_min = match rate {
        "hundreds" => 500,
        "thousands" => 4_000,
        _ => 20_000,
    };
    for python in python::all() {
        let what = format!("{churn} on Python {}", python.full_version);
        let target = churn.start(python);
        let mut process = attach(&target);
        let mut judge = Judge::new(Truth::of(&target));
        let mut first = 0;
        while judge.counts.scans < SNAPSHOTS || judge.counts.highest_number < first + tasks_min {
            let snapshot = process.snapshot();
            judge.judge(&snapshot.unwrap_or_else(|error| panic!("{what}: {error}")));
            if first == 0 {
                first = judge.counts.highest_number;
            }
        }
        assert!(
            judge.counts.wrong() == 0,
            "{what}: {:#?}\n{}",
            judge.counts,
            judge.findings.join("\n")
        );
        // The lasting tasks alone give some tens of edges to every snapshot.
        let edges_min = 40 * SNAPSHOTS;
        assert!(
            judge.counts.edges >= edges_min,
            "{what}: {:#?}",
            judge.counts
        );
        assert!(
            judge.counts.stacks >= edges_min,
            "{what}: {:#?}",
            judge.counts
        );
        assert!(target.end().success(), "{what}: it did not end well");
    }
}

#[test]
fn hundreds() {
    stress("churn", "hundreds");
}

#[test]
fn thousands() {
    stress("churn", "thousands");
}

#[test]
fn tens_of_thousands() {
    stress("churn", "tens-of-thousands");
}

#[test]
fn hundreds_in_threads() {
    stress("churn_threads", "hundreds");
}

#[test]
fn thousands_in_threads() {
    stress("churn_threads", "thousands");
}

#[test]
fn tens_of_thousands_in_threads() {
    stress("churn_threads", "tens-of-thousands");
}

#[test]
fn hundreds_in_python() {
    stress("churn_python", "hundreds");
}

#[test]
fn thousands_in_python() {
    stress("churn_python", "thousands");
}

#[test]
fn tens_of_thousands_in_python() {
    stress("churn_python", "tens-of-thousands");
}
