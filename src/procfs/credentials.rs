//! What decides who may read whom, as far as `/proc` tells: user and group ids, capabilities, namespaces, seccomp, whether
//! a process is dumpable, and what Yama says (credentials(7), proc_pid_status(5), namespaces(7)).

use super::owner::UserIds;
use super::status::{field, ids_of};
use super::{ProcRoot, ProcfsError};
use crate::ids::Pid;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Characters of a label of a security module that are kept.
const LABEL_CHARS_MAX: usize = 200;
/// Bytes of a file that are looked at; each of these has a few lines.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// The inode of the first user namespace (`PROC_USER_INIT_INO`, include/linux/proc_ns.h).
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
/// The inode of the first pid namespace (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// With what rights a process runs. What cannot be found out is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// Its user ids (`Uid`).
    pub users: Option<UserIds>,
    /// Its real, effective and saved group id (`Gid`).
    pub groups: Option<[u32; 3]>,
    /// The capabilities that it can have (`CapPrm`), one a bit (capabilities(7)).
    pub permitted: Option<u64>,
    /// Those that are in effect (`CapEff`).
    pub effective: Option<u64>,
    /// Those that it, and what it executes, can ever get (`CapBnd`).
    pub bounding: Option<u64>,
    /// What it executes gets no more rights than it has (`NoNewPrivs`).
    pub no_new_privileges: Option<bool>,
    /// Its seccomp mode (`Seccomp`): 0 none, 1 strict, 2 by filters.
    pub seccomp: Option<u32>,
    /// Its ids in our pid namespace and in those within, innermost last (`NSpid`).
    pub pids: Vec<i32>,
    /// Its user namespace. Only told to who may read the process.
    pub user_namespace: Option<Namespace>,
    /// Its pid namespace. Only told to who may read the process.
    pub pid_namespace: Option<Namespace>,
    /// Which of our user ids its own ones are (`uid_map`, user_namespaces(7)).
    pub user_map: Option<String>,
    /// What a security module calls it (`attr/current`), such as `docker-default (enforce)`. Any text.
    pub label: Option<String>,
    /// Whether it is dumpable (prctl(2), `PR_SET_DUMPABLE`): then its files below `/proc` are its user's and group's, as
    /// its folder always is, else root's (task_dump_owner() of fs/proc/base.c). Of root's processes that does not tell.
    pub is_dumpable: Option<bool>,
}

/// A namespace, by its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace(u64);

impl Namespace {
    /// Whether it is the one that all others are within.
    pub fn is_first(self) -> bool {
        [FIRST_USER_NAMESPACE, FIRST_PID_NAMESPACE].contains(&self.0)
    }

    /// From the target of a link such as `user:[4026531837]`.
    fn parse(link: &str) -> Option<Self> {
        let (_, inode) = link.strip_suffix(']')?.split_once(":[")?;
        inode.parse().ok().map(Self)
    }
}

impl ProcRoot {
    /// With what rights the process `pid` runs.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn credentials(&self, pid: Pid) -> Result<Credentials, ProcfsError> {
        // The files of a first thread that has ended tell nothing.
        let thread = self.living_thread(pid)?;
        let status = self.read(thread.unwrap_or(pid), "status")?;
        let folder = self.at.join(thread.unwrap_or(pid).to_string());
        Ok(self.look(|| Credentials::of(&status, &folder)))
    }

    /// With what rights we run; what cannot be found out is left out.
    pub fn own_credentials(&self) -> Credentials {
        let folder = self.at.join("self");
        let status = fs::read(folder.join("status")).unwrap_or_default();
        Credentials::of(&status, &folder)
    }

    /// The user namespace of the first process; `None` if that may not be looked at.
    pub fn user_namespace_of_first(&self) -> Option<Namespace> {
        let link = fs::read_link(self.at.join("1/ns/user")).ok()?;
        Namespace::parse(link.to_str()?)
    }

    /// Yama's `ptrace_scope` (Documentation/admin-guide/LSM/Yama.rst): 0 to 3; `None` without Yama.
    pub fn ptrace_scope(&self) -> Option<u32> {
        let path = self.at.join("sys/kernel/yama/ptrace_scope");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    /// Whether the machine's own `/proc`, as its first process has it, shows users no processes but their own (proc(5),
    /// `hidepid`). Ours says nothing of that: a unit with `ProtectProc=` has one of its own.
    pub fn hides_from_strangers(&self) -> bool {
        let mounts = |of: &str| {
            let mounts = File::open(self.at.join(of).join("mountinfo")).ok()?;
            // Line by line: users may mount file systems of their own, at long paths.
            for mount in BufReader::new(mounts).split(b'\n') {
                if has_hidepid(&String::from_utf8_lossy(&mount.ok()?)) {
                    return Some(true);
                }
            }
            Some(false)
        };
        // Whoever may not look at the first process goes by its own mount: in a unit that hides processes, so that nobody
        // is told too much. If there is nothing to go by, they are hidden.
        mounts("1").or_else(|| mounts("self")).unwrap_or(true)
    }

    /// Whether `pid` is a process, though `/proc` does not show it to us (proc(5), `hidepid`).
    pub fn hides(&self, pid: Pid) -> bool {
        use nix::errno::Errno;
        use nix::sys::signal::kill;
        if self.at != Path::new("/proc") || self.path(pid, "stat").exists() {
            return false;
        }
        // No signal is sent: it is only found out whether one could be.
        let found = kill(nix::unistd::Pid::from_raw(pid.as_raw()), None);
        matches!(found, Ok(()) | Err(Errno::EPERM)) && !self.path(pid, "stat").exists()
    }
}

impl Credentials {
    fn of(status: &[u8], folder: &Path) -> Self {
        let link = |name: &str| {
            let link = fs::read_link(folder.join("ns").join(name)).ok()?;
            Namespace::parse(link.to_str()?)
        };
        let text = |path: PathBuf| {
            let bytes = fs::read(path).ok()?;
            let bytes = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
            Some(String::from_utf8_lossy(bytes).into_owned())
        };
        let label = text(folder.join("attr/current"));
        let label = label.map(|label| label.trim_matches(['\0', '\n', ' ']).to_owned());
        let label = label.filter(|label| !label.is_empty());
        let map = text(folder.join("uid_map"));
        let one_space = |map: String| map.split_whitespace().collect::<Vec<_>>().join(" ");
        Self {
            user_namespace: link("user"),
            pid_namespace: link("pid"),
            user_map: map.map(one_space),
            label: label.map(|label| label.chars().take(LABEL_CHARS_MAX).collect()),
            is_dumpable: is_dumpable(folder),
            ..Self::parse(status)
        }
    }

    /// What is in the text of `/proc/PID/status`.
    fn parse(status: &[u8]) -> Self {
        let status = String::from_utf8_lossy(status);
        let mask = |name| u64::from_str_radix(field(&status, name)?, 16).ok();
        let number = |name| field(&status, name)?.parse::<u32>().ok();
        let pids = field(&status, "NSpid").unwrap_or_default();
        let users = field(&status, "Uid").and_then(ids_of);
        Self {
            users: users.map(|[real, effective, saved]| UserIds {
                real,
                effective,
                saved,
            }),
            groups: field(&status, "Gid").and_then(ids_of),
            permitted: mask("CapPrm"),
            effective: mask("CapEff"),
            bounding: mask("CapBnd"),
            no_new_privileges: number("NoNewPrivs").map(|flag| flag != 0),
            seccomp: number("Seccomp"),
            pids: pids
                .split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect(),
            ..Self::default()
        }
    }
}

/// Whether a mount of procfs at `/proc` hides processes: lines of
/// `id parent device root mount-point options - type source super-options` (proc_pid_mountinfo(5)).
fn has_hidepid(mountinfo: &str) -> bool {
    mountinfo.lines().any(|line| {
        let Some((mount, system)) = line.split_once(" - ") else {
            return false;
        };
        let is_proc = mount.split(' ').nth(4) == Some("/proc");
        let mut system = system.split(' ');
        let (kind, options) = (system.next(), system.nth(1));
        let mut options = options.unwrap_or_default().split(',');
        let hides = |option: &str| {
            let value = option.strip_prefix("hidepid=");
            value.is_some_and(|value| !["0", "off"].contains(&value))
        };
        is_proc && kind == Some("proc") && options.any(hides)
    })
}

fn is_dumpable(folder: &Path) -> Option<bool> {
    let owner = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.uid(), found.gid()))
    };
    let (own, of_file) = (owner(folder)?, owner(&folder.join("maps"))?);
    match own == of_file {
        true if own == (0, 0) => None,
        is_same => Some(is_same),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nNSpid:\t70\t7\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n\
        CapInh:\t0000000000000000\nCapPrm:\t0000000000080400\nCapEff:\t0000000000000400\n\
        CapBnd:\t000001ffffffffff\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t4\n";

    #[test]
    fn a_status_tells_the_rights_of_a_process() {
        let found = Credentials::parse(STATUS.as_bytes());
        let users = found.users.map(|it| (it.real, it.effective, it.saved));
        assert_eq!((users, found.groups), (Some((1, 2, 3)), Some([5, 6, 7])));
        let masks = (found.permitted, found.effective, found.bounding);
        assert_eq!(masks, (Some(0x8_0400), Some(0x400), Some(0x1ff_ffff_ffff)));
        assert_eq!(found.no_new_privileges, Some(true));
        assert_eq!((found.seccomp, &found.pids[..]), (Some(2), &[70, 7][..]));
        let nothing = Credentials::parse(b"\xff\nUid:\t1\nCapPrm:\tx\nNSpid:\tx\n");
        assert_eq!(nothing, Credentials::default());
    }

    #[test]
    fn namespaces_are_known_by_their_inodes() {
        assert_eq!(Namespace::parse("user:[12]"), Some(Namespace(12)));
        for link in ["", "user:12", "user:[x]", "user:[12"] {
            assert_eq!(Namespace::parse(link), None, "{link}");
        }
        assert!(Namespace(4_026_531_837).is_first() && Namespace(4_026_531_836).is_first());
        assert!(!Namespace(4_026_531_838).is_first());
    }

    #[test]
    fn this_process_is_known_both_ways() {
        let root = ProcRoot::default();
        let pid = Pid::new(i32::try_from(std::process::id()).unwrap()).unwrap();
        let (own, by_pid) = (root.own_credentials(), root.credentials(pid).unwrap());
        assert_eq!(own, by_pid);
        assert!(own.users.is_some() && own.permitted.is_some() && own.user_namespace.is_some());
        assert_eq!(own.pids.last(), Some(&pid.as_raw()));
        assert!(!root.hides(pid));
        assert!(!root.hides(Pid::new(i32::MAX).unwrap()));
    }

    #[test]
    fn mounts_tell_whether_processes_are_hidden() {
        let line = |at: &str, options: &str| {
            format!(
                "22 1 0:20 / / rw - ext4 /dev/a rw\n30 22 0:21 / {at} rw,nosuid shared:5 - proc proc {options}\n"
            )
        };
        for hides in [
            "rw,hidepid=2",
            "rw,hidepid=invisible,gid=4",
            "hidepid=1",
            "rw,hidepid=ptraceable",
        ] {
            assert!(has_hidepid(&line("/proc", hides)), "{hides}");
            assert!(!has_hidepid(&line("/elsewhere", hides)), "{hides}");
        }
        for shows in ["rw", "rw,hidepid=0", "rw,hidepid=off", "", "rw,subset=pid"] {
            assert!(!has_hidepid(&line("/proc", shows)), "{shows}");
        }
        assert!(!has_hidepid(" - \n-\n"));
    }

    #[test]
    fn a_root_elsewhere_has_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = ProcRoot::at(folder.path());
        assert_eq!(root.ptrace_scope(), None);
        assert!(root.hides_from_strangers(), "nothing is known of it");
        let yama = folder.path().join("sys/kernel/yama");
        fs::create_dir_all(&yama).unwrap();
        fs::write(yama.join("ptrace_scope"), "2\n").unwrap();
        assert_eq!(root.ptrace_scope(), Some(2));
        let own = folder.path().join("self");
        fs::create_dir_all(own.join("attr")).unwrap();
        fs::write(own.join("status"), STATUS).unwrap();
        fs::write(own.join("uid_map"), "         0     100000      65536\n").unwrap();
        fs::write(own.join("attr/current"), "docker-default (enforce)\n\0").unwrap();
        let mounts = |of: &str, options: &str| {
            let folder = folder.path().join(of);
            fs::create_dir_all(&folder).unwrap();
            let line = format!("30 22 0:21 / /proc rw,nosuid shared:5 - proc proc {options}\n");
            fs::write(folder.join("mountinfo"), line).unwrap();
            root.hides_from_strangers()
        };
        assert!(!mounts("self", "rw"));
        assert!(mounts("self", "rw,hidepid=invisible"));
        assert!(!mounts("1", "rw"), "the machine's own says it");
        assert!(mounts("1", "rw,hidepid=2"));
        let found = root.own_credentials();
        assert_eq!(found.user_map.as_deref(), Some("0 100000 65536"));
        assert_eq!(found.label.as_deref(), Some("docker-default (enforce)"));
        assert_eq!((found.user_namespace, found.seccomp), (None, Some(2)));
    }
}
