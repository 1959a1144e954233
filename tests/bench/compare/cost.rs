//! What a snapshot costs whatever the machine: system calls and bytes; and the time that no reader can
//! fall below, which is that of copying the same memory by the same system call.

use super::peer::attach;
use super::samples::{Samples, shown, timed};
use super::speed::forest;
use super::support::python;
use asyncio_agent::graph::ReadStats;
use asyncio_agent::process::Process;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use std::io::{self, IoSliceMut, Write};

const SIZES: [(u32, usize); 3] = [(10_001, 21), (1_001, 101), (11, 301)];
/// Ranges that one system call may name (`IOV_MAX`, process_vm_readv(2)).
const RANGES_PER_CALL: usize = 1024;

pub(crate) fn run_calls(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n## System calls and bytes\n\n\
         As each snapshot counts them itself, for 1 000 tasks of `forest.py` (altogether for 11). *Needed*: the \
         sizes, as the interpreter gives them, of the objects that say who awaits whom and where: each task, \
         its name, its coroutines with their frames, the iterator at their bottom and the head of its \
         future; each function's code, line table and names once. Reading anything else around them, or \
         something twice, is what makes the factor.\n\n\
         | Python | tasks | snapshot | system calls | KiB read | KiB needed | factor |\n\
         |---|--:|---|--:|--:|--:|--:|"
    )?;
    for (tasks, _) in SIZES {
        for python in python::all() {
            let target = forest(python, tasks);
            let needed = target.truth["needed"]
                .as_f64()
                .expect("the sum of the sizes");
            let per = if tasks < 1_000 {
                1.0
            } else {
                f64::from(tasks) / 1e3
            };
            let mut process = open(target.pid());
            for title in ["first", "repeated"] {
                let stats = stats_of(&mut process);
                let read = stats.bytes_read as f64;
                writeln!(
                    out,
                    "| {} | {tasks} | {title} | {} | {} | {} | {} |",
                    python.full_version,
                    shown(stats.syscalls as f64 / per),
                    shown(read / per / 1024.0),
                    shown(needed / per / 1024.0),
                    shown(read / needed),
                )?;
            }
        }
    }
    Ok(())
}

pub(crate) fn run_floor(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n## The floor\n\n\
         *Copying*: the very ranges that the snapshot before touched, each once, by `process_vm_readv` with up \
         to {RANGES_PER_CALL} ranges in a call, into memory that is already there, and nothing else. Median \
         (minimum) in milliseconds; a round measures both, one after the other.\n\n\
         | Python | tasks | rounds | ranges | KiB | copying | repeated snapshot | by copying |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|"
    )?;
    for (tasks, rounds) in SIZES {
        for python in python::all() {
            let target = forest(python, tasks);
            let mut process = open(target.pid());
            stats_of(&mut process);
            let [mut copying, mut snapshots] = [Samples::default(), Samples::default()];
            let mut floor = Floor::of(target.pid(), &process);
            for _ in 0..rounds {
                let (time, _) = timed(|| stats_of(&mut process));
                snapshots.push_time(time);
                floor = floor.again(&process);
                let (time, copied) = timed(|| floor.copy());
                assert_eq!(copied, floor.bytes());
                copying.push_time(time);
            }
            writeln!(
                out,
                "| {} | {tasks} | {rounds} | {} | {} | {} | {} | **{}** ({}) |",
                python.full_version,
                floor.ranges.len(),
                floor.bytes() / 1024,
                copying.median_and_min(),
                snapshots.median_and_min(),
                shown(snapshots.median() / copying.median()),
                shown(snapshots.min() / copying.min()),
            )?;
        }
    }
    Ok(())
}

fn open(pid: u32) -> Process {
    attach(pid).unwrap_or_else(|error| panic!("attach: {error}"))
}

fn stats_of(process: &mut Process) -> ReadStats {
    let snapshot = process.snapshot();
    snapshot
        .unwrap_or_else(|error| panic!("snapshot: {error}"))
        .stats
}

/// Ranges of a process's memory, and where they are copied to.
struct Floor {
    pid: Pid,
    ranges: Vec<RemoteIoVec>,
    buffer: Vec<u8>,
}

impl Floor {
    /// The ranges that the last snapshot touched.
    fn of(pid: u32, process: &Process) -> Self {
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid fits"));
        let empty = Self {
            pid,
            ranges: Vec::new(),
            buffer: Vec::new(),
        };
        empty.again(process)
    }

    fn again(mut self, process: &Process) -> Self {
        let as_range = |(at, len): (asyncio_agent::memory::RemoteAddr, usize)| RemoteIoVec {
            base: usize::try_from(at.as_u64()).expect("64 bits"),
            len,
        };
        self.ranges = process.touched().into_iter().map(as_range).collect();
        // Written to, so that no page of it is missing when it is measured.
        self.buffer.clear();
        self.buffer.resize(self.bytes(), 1);
        self
    }

    fn bytes(&self) -> usize {
        self.ranges.iter().map(|range| range.len).sum()
    }

    /// Copies everything, in as few calls as possible; returns how much.
    fn copy(&mut self) -> usize {
        let mut copied = 0;
        for ranges in self.ranges.chunks(RANGES_PER_CALL) {
            let into = self.buffer.get_mut(copied..).unwrap_or_default();
            let len = ranges
                .iter()
                .map(|range| range.len)
                .sum::<usize>()
                .min(into.len());
            let mut into = [IoSliceMut::new(&mut into[..len])];
            match process_vm_readv(self.pid, &mut into, ranges) {
                Ok(n) => copied += n,
                Err(error) => panic!("process_vm_readv: {error}"),
            }
        }
        copied
    }
}
