//! What a snapshot costs whatever the machine: system calls and bytes; and the time that no reader can
//! fall below, which is that of copying the same memory by the same system call.

use super::peer::attach;
use super::samples::{Samples, shown, timed};
use super::speed::{Doing, forest};
use super::support::python;
use asyncio_agent::graph::ReadStats;
use asyncio_agent::memory::RemoteAddr;
use asyncio_agent::process::Process;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use std::io::{self, IoSliceMut, Write};

const SIZES: [(u32, usize); 3] = [(10_001, 21), (1_001, 101), (11, 301)];
/// What stays in a core's second cache while it is written again and again.
const SMALL_BUFFER: usize = 384 << 10;
/// Ranges that one system call may name (`IOV_MAX`, process_vm_readv(2)).
const RANGES_PER_CALL: usize = 1024;
const PAGE_BYTES: usize = 4096;

pub(crate) fn run_calls(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n## System calls and bytes\n\n\
         As each snapshot counts them itself, for 1 000 tasks of `forest.py` (altogether for 11). *Needed*: the \
         sizes, as the interpreter gives them, of the objects that say who awaits whom and where: each task, \
         its name, its coroutines with their frames, the iterator at their bottom and the head of its \
         future; each function's code, line table and names once. Reading anything else around them, or \
         something twice (as one must of a process that runs), is what makes the factor.\n\n\
         | Python | tasks | process | snapshot | system calls | KiB read | KiB needed | factor |\n\
         |---|--:|---|---|--:|--:|--:|--:|"
    )?;
    let both = |(tasks, _)| [(tasks, Doing::Sleeping), (tasks, Doing::Running)];
    for (tasks, doing) in SIZES.into_iter().flat_map(both) {
        for python in python::all() {
            let target = forest(python, tasks, doing);
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
                    "| {} | {tasks} | {} | {title} | {} | {} | {} | {} |",
                    python.full_version,
                    doing.title(),
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
         *Copying*: the very ranges that the snapshot before touched, each once, by `process_vm_readv` and \
         nothing else, into memory that is already there: with up to {RANGES_PER_CALL} ranges in a call into \
         one buffer for all, or in calls of up to {} KiB into one buffer that stays in the cache. Median \
         (minimum) in milliseconds; a round measures all three, one after the other. *By copying*: the \
         snapshot by the faster way.\n\n\
         | Python | tasks | rounds | ranges | KiB | copying, one buffer | copying, small buffer | repeated snapshot | by copying |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|",
        SMALL_BUFFER / 1024
    )?;
    for (tasks, rounds) in SIZES {
        for python in python::all() {
            let target = forest(python, tasks, Doing::Sleeping);
            let mut process = open(target.pid());
            stats_of(&mut process);
            let [mut at_once, mut in_parts, mut snapshots] =
                [Samples::default(), Samples::default(), Samples::default()];
            let mut floor = Floor::new(target.pid());
            for _ in 0..rounds {
                let (time, _) = timed(|| stats_of(&mut process));
                snapshots.push_time(time);
                floor.take_ranges(&process);
                for (buffer, samples) in [(usize::MAX, &mut at_once), (SMALL_BUFFER, &mut in_parts)]
                {
                    floor.warm(buffer);
                    let (time, copied) = timed(|| floor.copy(buffer));
                    assert_eq!(copied, floor.bytes());
                    samples.push_time(time);
                }
            }
            let faster = |of: fn(&Samples) -> f64| of(&at_once).min(of(&in_parts));
            writeln!(
                out,
                "| {} | {tasks} | {rounds} | {} | {} | {} | {} | {} | **{}** ({}) |",
                python.full_version,
                floor.ranges.len(),
                floor.bytes() / 1024,
                at_once.median_and_min(),
                in_parts.median_and_min(),
                snapshots.median_and_min(),
                shown(snapshots.median() / faster(Samples::median)),
                shown(snapshots.min() / faster(Samples::min)),
            )?;
        }
    }
    Ok(())
}

fn open(pid: u32) -> Process {
    attach(pid).unwrap_or_else(|error| panic!("attach: {error}"))
}

fn stats_of(process: &mut Process) -> ReadStats {
    process.forget_last();
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
    /// Bytes of the buffer before its first page. The kernel copies much slower to an address that is not a
    /// multiple of 64.
    skipped: usize,
}

impl Floor {
    fn new(pid: u32) -> Self {
        Self {
            pid: Pid::from_raw(i32::try_from(pid).expect("a pid fits")),
            ranges: Vec::new(),
            buffer: Vec::new(),
            skipped: 0,
        }
    }

    /// The ranges that the last snapshot touched.
    fn take_ranges(&mut self, process: &Process) {
        let as_range = |(at, len): (RemoteAddr, usize)| RemoteIoVec {
            base: usize::try_from(at.as_u64()).expect("64 bits"),
            len,
        };
        self.ranges = process.touched().into_iter().map(as_range).collect();
    }

    fn bytes(&self) -> usize {
        self.ranges.iter().map(|range| range.len).sum()
    }

    /// Writes to the buffer, so that no page of it is missing when it is measured.
    fn warm(&mut self, at_most: usize) {
        let len = self.bytes().min(at_most);
        self.buffer.clear();
        self.buffer.resize(len + PAGE_BYTES, 1);
        self.skipped = self.buffer.as_ptr().align_offset(PAGE_BYTES);
    }

    /// Copies everything, in as few calls as the buffer allows; returns how much.
    fn copy(&mut self, at_most: usize) -> usize {
        let mut copied = 0;
        let mut rest = &self.ranges[..];
        while !rest.is_empty() {
            let mut len = 0;
            let fits = rest.iter().take(RANGES_PER_CALL).take_while(|range| {
                len += range.len;
                len <= at_most
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            rest = later;
            let start = if at_most == usize::MAX { copied } else { 0 };
            let wanted: usize = now.iter().map(|range| range.len).sum();
            let into = &mut self.buffer[self.skipped + start..][..wanted];
            match process_vm_readv(self.pid, &mut [IoSliceMut::new(into)], now) {
                Ok(n) => copied += n,
                Err(error) => panic!("process_vm_readv: {error}"),
            }
        }
        copied
    }
}
