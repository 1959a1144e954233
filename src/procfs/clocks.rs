//! By how much the monotonic clock of a process is ahead of ours, in time namespaces (time_namespaces(7)).

use super::ProcRoot;
use crate::ids::Pid;
use nix::time::ClockId;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// By how much a clock is ahead of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockShift {
    nanoseconds: i128,
}

impl ClockShift {
    /// It is ours, or shows the same.
    pub const NONE: Self = Self { nanoseconds: 0 };

    /// The time by our clock when that clock shows `time`; `None` if ours never showed it.
    pub fn to_ours(self, time: Duration) -> Option<Duration> {
        let time = i128::try_from(time.as_nanos()).ok()?;
        let ours = u64::try_from(time.checked_sub(self.nanoseconds)?).ok()?;
        Some(Duration::from_nanos(ours))
    }

    /// What that clock shows now; `None` if it has not begun.
    pub fn now(self) -> Option<Duration> {
        let ours = Duration::from(ClockId::CLOCK_MONOTONIC.now().ok()?);
        let ours = i128::try_from(ours.as_nanos()).ok()?;
        let its = u64::try_from(ours.checked_add(self.nanoseconds)?).ok()?;
        Some(Duration::from_nanos(its))
    }
}

impl ProcRoot {
    /// By how much `CLOCK_MONOTONIC` of the process, or thread, `pid` is ahead of ours; `None` if that cannot be found
    /// out.
    pub fn clock_shift(&self, pid: Pid) -> Option<ClockShift> {
        let (ours, its) = (self.at.join("self"), self.at.join(pid.to_string()));
        let namespace = |folder: &Path, name| fs::read_link(folder.join("ns").join(name));
        let of_us = match namespace(&ours, "time") {
            Ok(of_us) => of_us,
            // A kernel without time namespaces has one clock for all.
            Err(error) if error.kind() == ErrorKind::NotFound => return Some(ClockShift::NONE),
            Err(_) => return None,
        };
        let of_it = namespace(&its, "time").ok()?;
        if of_it == of_us {
            return Some(ClockShift::NONE);
        }
        // The file tells the offsets of the namespace that children will be in (fs/proc/base.c,
        // proc_timens_show_offsets), which is another one after unshare(2).
        let offset = |folder: &Path, of| {
            let of_children = namespace(folder, "time_for_children").ok()?;
            let text = fs::read_to_string(folder.join("timens_offsets")).ok()?;
            (of_children == of).then(|| monotonic_offset(&text))?
        };
        Some(ClockShift {
            nanoseconds: offset(&its, of_it)? - offset(&ours, of_us)?,
        })
    }
}

/// The offset of the monotonic clock, in nanoseconds.
fn monotonic_offset(text: &str) -> Option<i128> {
    let offset = text.lines().find_map(|it| it.strip_prefix("monotonic "))?;
    let mut numbers = offset.split_whitespace().map(str::parse::<i64>);
    let (seconds, nanoseconds) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// What is found of a process in the namespace `time:[2]`, where we are in `time:[1]`.
    fn shift(of_children: &str, offsets: Option<&str>) -> Option<ClockShift> {
        let folder = tempfile::tempdir().unwrap();
        let own = ("self", "time:[1]", "time:[1]", Some("monotonic -5 0\n"));
        for (name, of_it, of_children, offsets) in [own, ("7", "time:[2]", of_children, offsets)] {
            let folder = folder.path().join(name);
            fs::create_dir_all(folder.join("ns")).unwrap();
            symlink(of_it, folder.join("ns/time")).unwrap();
            symlink(of_children, folder.join("ns/time_for_children")).unwrap();
            if let Some(offsets) = offsets {
                fs::write(folder.join("timens_offsets"), offsets).unwrap();
            }
        }
        ProcRoot::at(folder.path()).clock_shift(Pid::new(7).unwrap())
    }

    #[test]
    fn a_clock_is_told_by_its_namespace() {
        let found = shift("time:[2]", Some("monotonic  90 500\nboottime 7 0\n")).unwrap();
        let time = Duration::from_secs(100);
        let ours = Duration::from_nanos(4_999_999_500);
        assert_eq!(found.to_ours(time), Some(ours));
        assert_eq!(found.to_ours(Duration::from_secs(95)), None);
        let behind = shift("time:[2]", Some("monotonic -15 0\n")).unwrap();
        assert_eq!(behind.to_ours(time), Some(Duration::from_secs(110)));
        // Offsets of another namespace, none, and what is no offset.
        assert_eq!(shift("time:[3]", Some("monotonic 9 0\n")), None);
        assert_eq!(shift("time:[2]", None), None);
        assert_eq!(shift("time:[2]", Some("monotonic x 0\n")), None);
        // Here all is as the kernel has it.
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = ProcRoot::default().clock_shift(Pid::new(pid).unwrap());
        assert_eq!(own, Some(ClockShift::NONE));
        assert_eq!(ClockShift::NONE.to_ours(time), Some(time));
        let (ours, its) = (ClockShift::NONE.now().unwrap(), found.now().unwrap());
        assert_eq!(its.checked_sub(ours).map(|it| it.as_secs()), Some(95));
        // Without time namespaces there is one clock.
        let nothing = tempfile::tempdir().unwrap();
        let of = ProcRoot::at(nothing.path()).clock_shift(Pid::new(7).unwrap());
        assert_eq!(of, Some(ClockShift::NONE));
    }
}
