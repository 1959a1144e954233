//! How many files the agent may have open: connections must not take what rounds need.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// More are not asked for: what goes through all of them, as programs that are started do, would take long.
const FILES_MAX: u64 = 65_536;

/// Raises the limit that counts to the one that the system allows (getrlimit(2)): 1 024, which is usual for the sake of
/// select(2), is less than clients of two addresses may have. What cannot be raised stays.
pub(super) fn allow() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(FILES_MAX).max(soft);
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    }
}
