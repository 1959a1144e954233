//! What the fuzzer's binaries share: a target, run with its memory and its processor time counted.
//!
//! Built by `run.sh` only, with libFuzzer and its instrumentation; the targets themselves are also an
//! ordinary test (`main.rs`).

pub mod targets;

pub use libfuzzer_sys;

use cap::Cap;
use nix::time::{ClockId, clock_gettime};
use std::alloc::System;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{panic, process, thread};

/// Processor time that one input may take. libFuzzer counts the time on the clock, in which a busy
/// machine may do nothing for us at all.
const INPUT_TIME_MAX: Duration = Duration::from_secs(5);

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// How many inputs were begun, and how many ended: between two inputs libFuzzer works for itself.
static N_BEGUN: AtomicU64 = AtomicU64::new(0);
static N_ENDED: AtomicU64 = AtomicU64::new(0);

/// Makes what a target makes only once, and a message about a panic possible in spite of the limit of
/// the input that caused it; begins to look at the time.
pub fn prepare(name: &str) {
    (target(name).run)(&[]);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let _ = ALLOCATOR.set_limit(usize::MAX);
        before(info);
    }));
    thread::spawn(watch);
}

/// Runs the target `name` on one input. An allocation beyond the target's limit ends the process, which
/// libFuzzer takes for what it is: a finding.
pub fn run(name: &str, data: &[u8]) {
    let target = target(name);
    N_BEGUN.fetch_add(1, Ordering::Relaxed);
    let limit = ALLOCATOR.allocated().saturating_add(target.memory_max);
    let _ = ALLOCATOR.set_limit(limit);
    (target.run)(data);
    let _ = ALLOCATOR.set_limit(usize::MAX);
    N_ENDED.fetch_add(1, Ordering::Relaxed);
}

/// Ends the process when an input takes too long. Also that is a finding for libFuzzer, which then
/// keeps the input.
fn watch() {
    let (mut watched, mut begun) = (0, Duration::ZERO);
    loop {
        thread::sleep(Duration::from_secs(1));
        let (input, now) = (N_BEGUN.load(Ordering::Relaxed), processor_time());
        if input != watched || N_ENDED.load(Ordering::Relaxed) == input {
            (watched, begun) = (input, now);
        } else if now.saturating_sub(begun) > INPUT_TIME_MAX {
            eprintln!("ERROR: an input takes more than {INPUT_TIME_MAX:?} of processor time");
            process::abort();
        }
    }
}

/// What this process has used so far.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .expect("every Linux has this clock")
        .into()
}

fn target(name: &str) -> &'static targets::Target {
    targets::find(name).expect("a target of this name")
}

/// The binary of a target.
#[macro_export]
macro_rules! fuzz {
    ($name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(init: $crate::prepare($name), |data: &[u8]| {
            $crate::run($name, data)
        });
    };
}
