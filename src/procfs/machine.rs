//! What `/proc` says of the machine.

use super::ProcRoot;
use crate::time::Timestamp;
use std::fs;
use std::time::Duration;

impl ProcRoot {
    /// When the machine was started (`btime` of `/proc/stat`, proc_stat(5)).
    pub fn boot_time(&self) -> Option<Timestamp> {
        let stat = fs::read_to_string(self.at.join("stat")).ok()?;
        let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
        let seconds = line.trim().parse().ok()?;
        Some(Timestamp::new(Duration::from_secs(seconds)))
    }

    /// The name of the machine (`/proc/sys/kernel/hostname`, proc_sys_kernel(5)).
    pub fn host_name(&self) -> Option<String> {
        let name = fs::read_to_string(self.at.join("sys/kernel/hostname")).ok()?;
        Some(name.trim().to_owned())
    }
}
