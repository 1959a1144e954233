//! How the allocator of the C library is to keep memory that is free.
//!
//! glibc gives each of many threads an arena of its own, and keeps blocks of up to 32 MiB once one of that size
//! was freed: what a burst of rounds or of large answers took would never be given back. With few arenas, and
//! large blocks that are mappings of their own, it is (mallopt(3), `M_ARENA_MAX` and `M_MMAP_THRESHOLD`).
//! glibc reads these settings once, when a program starts, so the agent executes itself again. Other C libraries
//! ignore them.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

const SETTINGS: [(&str, &str); 2] = [
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_MMAP_THRESHOLD_", "1048576"),
];
/// Says that the settings were made, whatever became of them: they are taken from programs with file
/// capabilities.
const MADE: &str = "ASYNCIO_AGENT_ALLOCATOR_SET";

/// Executes this program again, with the settings in its environment that are not there yet. Returns if there is
/// nothing to set, or if that is not possible; then the program works as well, with more memory.
pub(super) fn set() {
    let missing = SETTINGS
        .into_iter()
        .filter(|(name, _)| env::var_os(name).is_none());
    let missing: Vec<_> = missing.collect();
    let mut args = env::args_os();
    let (Some(name), Ok(program)) = (args.next(), env::current_exe()) else {
        return;
    };
    if missing.is_empty() || env::var_os(MADE).is_some() {
        return;
    }
    let mut again = Command::new(program);
    let _ = again
        .arg0(name)
        .args(args)
        .envs(missing)
        .env(MADE, "1")
        .exec();
}
