//! `/proc/PID/stat`: one line whose second field, the command name, may hold anything, parentheses
//! and spaces included; fields are therefore counted from the last `)`.

use crate::ids::StartTime;
use crate::memory::RemoteAddr;

/// `PF_EXITING` of the task flags (include/linux/sched.h).
const EXITING: u64 = 0x4;
/// `PF_IO_WORKER`.
const IO_WORKER: u64 = 0x10;

/// Why a thread stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// A signal has stopped it: SIGSTOP, or one of the terminal's.
    Signal,
    /// Its tracer holds it.
    Tracer,
}

/// What is used of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// When the process started (field 22).
    pub start_time: StartTime,
    /// It is a zombie or dead (field 3), or on its way there (field 9): it has no memory any more, or
    /// soon will not.
    pub has_ended: bool,
    /// Page faults that it and its threads have had, also those that have ended (fields 10 and 12); not set back when it
    /// executes another program. `None`: that is not told.
    pub faults: Option<u64>,
    /// Bytes that it has mapped (field 23).
    pub mapped_bytes: u64,
    /// Where the stack began that its program was started with (field 28); null: that is not told.
    pub stack_start: RemoteAddr,
    /// It stands still (field 3), and who sees to that.
    pub stop: Option<StopReason>,
    /// It is a thread that the kernel keeps in the process for io_uring (field 9). It executes none of
    /// the process's code.
    pub is_io_worker: bool,
}

impl Stat {
    /// Parses the file's text.
    pub fn parse(stat: &[u8]) -> Option<Self> {
        let flags: u64 = field(stat, 9)?.parse().ok()?;
        let state = field(stat, 3)?;
        // A stat that was cut here says nothing of them.
        let number = |at| field(stat, at).and_then(|it| it.parse().ok()).unwrap_or(0);
        Some(Self {
            start_time: StartTime(field(stat, 22)?.parse().ok()?),
            faults: faults(stat),
            mapped_bytes: number(23),
            stack_start: RemoteAddr::new(number(28)),
            has_ended: matches!(state, "Z" | "X" | "x") || flags & EXITING != 0,
            stop: match state {
                "T" => Some(StopReason::Signal),
                "t" => Some(StopReason::Tracer),
                _ => None,
            },
            is_io_worker: flags & IO_WORKER != 0,
        })
    }
}

fn faults(stat: &[u8]) -> Option<u64> {
    let count = |at| field(stat, at)?.parse::<u64>().ok();
    count(10)?.checked_add(count(12)?)
}

fn field(stat: &[u8], number: usize) -> Option<&str> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_may_hold_anything() {
        let stat =
            b"42 (a) R (b\xff) S 1 42 42 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 987654 4096 1";
        let start_time = StartTime(987_654);
        let parsed = |has_ended, mapped_bytes| {
            Some(Stat {
                start_time,
                has_ended,
                faults: Some(1),
                mapped_bytes,
                stack_start: RemoteAddr::NULL,
                stop: None,
                is_io_worker: false,
            })
        };
        assert_eq!(Stat::parse(stat), parsed(false, 4096));
        let whole = [stat, &b" 426 1 2 140732365629856 0"[..]].concat();
        let stack_start = Stat::parse(&whole).unwrap().stack_start;
        assert_eq!(stack_start, RemoteAddr::new(140_732_365_629_856));
        let exiting = b"42 (x) R 1 42 42 0 -1 4194564 1 0 0 0 1 2 0 0 20 0 1 0 987654";
        assert_eq!(Stat::parse(exiting), parsed(true, 0));
        let zombie = b"42 (x) Z 1 42 42 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 987654";
        assert_eq!(Stat::parse(zombie), parsed(true, 0));
        let worker = b"42 (iou-sqp-41) S 1 42 42 0 -1 4210768 1 0 0 0 1 2 0 0 20 0 1 0 987654";
        assert!(Stat::parse(worker).is_some_and(|stat| stat.is_io_worker));
        let stop = |state: &str| {
            let stat = format!("42 (x) {state} 1 42 42 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 9");
            Stat::parse(stat.as_bytes()).unwrap().stop
        };
        assert_eq!(stop("T"), Some(StopReason::Signal));
        assert_eq!(stop("t"), Some(StopReason::Tracer));
        assert_eq!(stop("D"), None);
        assert_eq!(Stat::parse(b"42 (x) S 1"), None);
        assert_eq!(Stat::parse(b""), None);
    }
}
