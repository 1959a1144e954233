//! Processes with very many mappings: reading them takes the agent little memory, however long the paths are, and what
//! is too much is told.
#![allow(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use support::agent::Agent;
use support::place::Place;
use support::python;
use support::target::Target;

/// What the agent may have at most, in KiB. It was more than 130 MiB for each of these processes when everything
/// was kept that `/proc/PID/maps` says.
const MEMORY_MAX: u64 = 64 << 10;
/// Folders above the file, each with a name of 250 bytes that are no UTF-8.
const FOLDERS: usize = 4;

/// Maps a page of one file again and again; every other one has another place in the file, so that the kernel does not
/// join them.
const PROGRAM: &str = "
import asyncio, mmap, os, sys
folder, n_folders, n_mappings, writable = sys.argv[1], *map(int, sys.argv[2:])
os.chdir(folder)
for _ in range(n_folders):
    os.makedirs(b'\\xff' * 250, exist_ok=True)
    os.chdir(b'\\xff' * 250)
fd = os.open('file', os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 20)
protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
kept = [
    mmap.mmap(fd, 4096, mmap.MAP_PRIVATE, protection, offset=n % 2 * 32768, trackfd=False)
    for n in range(n_mappings)
]
async def main():
    print('{}', flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
asyncio.run(main())
";

fn start(folder: &Path, n_mappings: usize, is_writable: bool) -> Target {
    let mut command: Command = python::all()[0].command();
    command.args(["-c", PROGRAM]).arg(folder);
    let numbers = [FOLDERS, n_mappings, usize::from(is_writable)];
    command.args(numbers.map(|number| number.to_string()));
    let target = Target::start(command);
    let maps = fs::read(format!("/proc/{}/maps", target.pid())).unwrap();
    let n_bytes = FOLDERS * 250 * n_mappings;
    assert!(maps.len() > n_bytes, "it has all these mappings");
    target
}

/// The most memory that a process has had so far, in KiB.
fn most_memory_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    most.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[test]
fn very_many_mappings_take_little_memory_and_too_many_are_told() {
    let place = Place::new();
    let many = start(place.folder.path(), 30_000, false);
    let too_many = start(place.folder.path(), 40_000, true);
    let agent = Agent::start(&place.config("", "auto"));
    for _ in 0..3 {
        let (read, refused) = thread::scope(|scope| {
            let read = scope.spawn(|| place.ask(&["ps", "--agent", &many.pid_text()]));
            let refused = place.ask(&["ps", "--agent", &too_many.pid_text()]);
            (read.join().unwrap(), refused)
        });
        assert_eq!(read.status, 0, "{read:?}");
        assert!(read.stdout.contains("Task-1"), "{read:?}");
        let says = format!(
            "/proc/{}/maps: more than 32768 mappings with data of files, too much to be read",
            too_many.pid()
        );
        assert_ne!(refused.status, 0, "{refused:?}");
        assert!(refused.stderr.contains(&says), "{refused:?}");
        let explained = place.ask(&["explain", "--agent", &too_many.pid_text()]);
        assert!(explained.stdout.contains(&says), "{explained:?}");
    }
    let most = most_memory_of(agent.pid());
    assert!(most < MEMORY_MAX, "{most} KiB");
    let (status, log) = agent.end_with("TERM");
    assert!(
        status.success() && log.contains("msg=\"process is read\""),
        "{log}"
    );
}
