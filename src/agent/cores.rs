//! That no core of the agent is ever made: it would hold what was read of others.
//!
//! A limit on the size of cores (`RLIMIT_CORE`) does not do that: it does not hold for a program that takes cores by a pipe
//! (core(5)), which is usual, and systemd ends a service that hangs with a signal that makes one.

use nix::sys::prctl;

/// From now on no core is made of this process, until it executes another program (prctl(2), `PR_SET_DUMPABLE`; do_coredump() of
/// fs/coredump.c, Linux 6.18). Nor may anybody but root trace it or read its memory.
pub(super) fn forbid() {
    // Only an argument that is none is refused.
    let _ = prctl::set_dumpable(false);
}
