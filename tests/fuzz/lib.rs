//! What the fuzzer's binaries share: a target, run with its memory counted.
//!
//! Built by `run.sh` only, with libFuzzer and its instrumentation; the targets themselves are also an
//! ordinary test (`main.rs`).

pub mod targets;

pub use libfuzzer_sys;

use cap::Cap;
use std::alloc::System;
use std::panic;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Makes what a target makes only once, and a message about a panic possible in spite of the limit of
/// the input that caused it.
pub fn prepare(name: &str) {
    (target(name).run)(&[]);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let _ = ALLOCATOR.set_limit(usize::MAX);
        before(info);
    }));
}

/// Runs the target `name` on one input. An allocation beyond the target's limit ends the process, which
/// libFuzzer takes for what it is: a finding.
pub fn run(name: &str, data: &[u8]) {
    let target = target(name);
    let limit = ALLOCATOR.allocated().saturating_add(target.memory_max);
    let _ = ALLOCATOR.set_limit(limit);
    (target.run)(data);
    let _ = ALLOCATOR.set_limit(usize::MAX);
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
