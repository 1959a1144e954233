//! Whether we may read a process, by the rule of the kernel, and what would have to change.
//!
//! The rule is that of `__ptrace_may_access()` (kernel/ptrace.c; ptrace(2), "Ptrace access mode checking"), which
//! process_vm_readv(2) asks with `PTRACE_MODE_ATTACH_REALCREDS` and `/proc/PID/maps` with `PTRACE_MODE_READ_FSCREDS`:
//! either our user and group are all of its real, effective and saved ones, it is dumpable, has no capability that we lack
//! (cap_ptrace_access_check() of security/commoncap.c) and Yama allows it; or we have `CAP_SYS_PTRACE` in its user
//! namespace. Yama's 3 and other security modules refuse all the same.
//!
//! Each part of the rule is a [`Check`]. What counts is the trial at the end: if it works, nothing stands in the way;
//! if it fails and no part says why, something does that cannot be seen from here.

mod fix;
#[cfg(test)]
mod tests;

use crate::ids::Pid;
use crate::memory::{ProcessVm, ReadErrorKind, ReadMemory as _, RemoteAddr};
use crate::procfs::{Credentials, ProcRoot, ProcfsError, UserIds};
use std::fmt;

/// The bit of `CAP_SYS_PTRACE` (include/uapi/linux/capability.h).
const SYS_PTRACE: u32 = 19;
/// Stands for every id that has no number in our user namespace (user_namespaces(7)).
const OVERFLOW_ID: u32 = 65_534;
/// Processes above one another that are looked at.
const ABOVE_MAX: usize = 1_000;
/// Where nothing is mapped (`vm.mmap_min_addr`), so that it can be asked for and nothing be read.
const NOWHERE: RemoteAddr = RemoteAddr::new(0x1000);

/// Names of capabilities by their bits, without `CAP_` (capabilities(7)).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Which of our two programs reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// `agentctl`, as whoever runs it.
    Agentctl,
    /// The agent.
    Agent,
}

impl Reader {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agentctl => "agentctl",
            Self::Agent => "asyncio-agent",
        }
    }
}

/// A part of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// Whether user and group are the same.
    User,
    /// Whether it has capabilities that we lack.
    Capabilities,
    /// Whether it is dumpable.
    Dumpable,
    /// What Yama says.
    PtraceScope,
    /// Whether it is in our user namespace.
    UserNamespace,
    /// In which pid namespace it is.
    PidNamespace,
    /// Whether we have `CAP_SYS_PTRACE`, and whether that counts.
    SysPtrace,
    /// Whether we may make the system call.
    Seccomp,
    /// What a security module calls us and it.
    SecurityModule,
    /// What comes of an attempt.
    Trial,
}

impl Aspect {
    /// Its stable snake_case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Capabilities => "capabilities",
            Self::Dumpable => "dumpable",
            Self::PtraceScope => "ptrace_scope",
            Self::UserNamespace => "user_namespace",
            Self::PidNamespace => "pid_namespace",
            Self::SysPtrace => "cap_sys_ptrace",
            Self::Seccomp => "seccomp",
            Self::SecurityModule => "security_module",
            Self::Trial => "trial",
        }
    }
}

/// What a part of the rule comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing stands in the way here, or something does that `CAP_SYS_PTRACE` makes up for.
    Fine,
    /// This stands in the way.
    Blocks,
    /// It cannot be found out.
    Unknown,
}

impl Verdict {
    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Blocks => "blocks",
            Self::Unknown => "unknown",
        }
    }
}

/// A part of the rule, and what it comes to for this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which part.
    pub aspect: Aspect,
    /// What was found, in words. May quote names of a security module: any text.
    pub finding: String,
    /// What it comes to.
    pub verdict: Verdict,
    /// What to do about it, if it stands in the way.
    pub fix: Option<String>,
}

/// Whether we may read a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The parts of the rule.
    pub checks: Vec<Check>,
    /// An attempt worked.
    pub is_granted: bool,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Trial {
    Works,
    Denied,
    /// There is no such system call, or a filter says so.
    Unavailable,
    Gone,
    /// With another error number.
    Failed(i32),
    #[default]
    Unknown,
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::Denied => f.write_str("is refused (EPERM)"),
            Self::Unavailable => f.write_str("is not available (ENOSYS)"),
            Self::Gone => f.write_str("finds nothing (a kernel thread, or it has ended)"),
            Self::Failed(number) => write!(f, "fails with error {number} of the operating system"),
            Self::Unknown => f.write_str("fails"),
        }
    }
}

/// All that the rule is about.
#[derive(Debug, Clone, Default)]
struct Circumstances {
    own: Credentials,
    its: Credentials,
    ptrace_scope: Option<u32>,
    /// `/proc` is that of another pid namespace than ours: what the kernel reads for us is none of what is told there.
    is_elsewhere: bool,
    /// We are among the processes above it.
    is_below_us: bool,
    /// Reading our own memory: the kernel asks nobody about that.
    trial_on_us: Trial,
    /// Opening its list of mappings.
    trial_of_maps: Trial,
    /// Reading its memory.
    trial_of_memory: Trial,
}

/// What we, the agent, lack to read processes of all users, as advice: `CAP_SYS_PTRACE`, a user namespace in which it counts
/// for all processes that are seen here, or the pid namespace in which these have their ids. `None`: nothing, or that cannot be found out.
pub fn what_agent_lacks(root: &ProcRoot) -> Option<String> {
    let own = root.own_credentials();
    if own.effective.is_some() && !has(own.effective, SYS_PTRACE) {
        return Some(fix::GIVE_AGENT_SYS_PTRACE.to_owned());
    }
    if root.is_of_our_pid_namespace() == Some(false) {
        return Some(fix::pid_namespace_of_proc(Reader::Agent));
    }
    let namespace = own.user_namespace.filter(|it| !it.is_first())?;
    // In a container all of which is in one user namespace, nothing is missing.
    let of_first_process = root.user_namespace_of_first();
    (of_first_process != Some(namespace)).then(|| fix::first_namespace(Reader::Agent))
}

impl Access {
    /// Looks at the process `pid`, and tries to read it: where nothing is mapped, so that nothing is copied.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn look(root: &ProcRoot, pid: Pid, reader: Reader) -> Result<Self, ProcfsError> {
        let circumstances = Circumstances::look(root, pid)?;
        Ok(circumstances.judge(pid, reader))
    }

    /// What stands in the way and what to do about it, as hints: a sentence each.
    pub fn hints(&self) -> Vec<String> {
        let hint = |fix: String| {
            let checks = self.checks.iter();
            let reasons = checks.filter(|check| check.fix.as_ref() == Some(&fix));
            let reasons: Vec<_> = reasons.map(|check| check.finding.as_str()).collect();
            format!("{}: {fix}", reasons.join("; "))
        };
        self.fixes().into_iter().map(hint).collect()
    }

    /// What to do, each thing once.
    pub fn fixes(&self) -> Vec<String> {
        let mut fixes: Vec<String> = Vec::new();
        for fix in self.checks.iter().filter_map(|check| check.fix.as_ref()) {
            if !fixes.contains(fix) {
                fixes.push(fix.clone());
            }
        }
        fixes
    }
}

impl Circumstances {
    fn look(root: &ProcRoot, pid: Pid) -> Result<Self, ProcfsError> {
        let its = root.credentials(pid)?;
        let thread = root.living_thread(pid)?.unwrap_or(pid);
        let own_pid = Pid::new(nix::unistd::getpid().as_raw());
        let memory = |pid| match ProcessVm::new(pid).read_exact(NOWHERE, &mut [0]) {
            Ok(()) => Trial::Works,
            Err(error) => match error.kind {
                ReadErrorKind::Unmapped | ReadErrorKind::Limit(_) => Trial::Works,
                ReadErrorKind::Denied => Trial::Denied,
                ReadErrorKind::Unavailable => Trial::Unavailable,
                ReadErrorKind::ProcessGone | ReadErrorKind::OtherProgram => Trial::Gone,
                ReadErrorKind::Os(number) => Trial::Failed(number),
            },
        };
        Ok(Self {
            own: root.own_credentials(),
            its,
            ptrace_scope: root.ptrace_scope(),
            is_elsewhere: root.is_of_our_pid_namespace() == Some(false),
            is_below_us: own_pid.is_some_and(|own| is_below(root, pid, own)),
            trial_on_us: own_pid.map_or(Trial::Unknown, memory),
            trial_of_maps: match root.try_maps(thread) {
                Ok(()) => Trial::Works,
                Err(ProcfsError::Denied { .. }) => Trial::Denied,
                Err(ProcfsError::NoProcess { .. }) => Trial::Gone,
                Err(_) => Trial::Unknown,
            },
            trial_of_memory: memory(thread),
        })
    }

    fn has_sys_ptrace(&self) -> bool {
        has(self.own.effective, SYS_PTRACE)
    }

    /// Whether the process is in our user namespace; `None` if that is not told.
    fn is_in_our_namespace(&self) -> Option<bool> {
        match (self.own.user_namespace, self.its.user_namespace) {
            (Some(own), Some(its)) => Some(own == its),
            // Two namespaces may map users in the same way, so equal maps prove nothing.
            _ => match (&self.own.user_map, &self.its.user_map) {
                (Some(own), Some(its)) if own != its => Some(false),
                _ => None,
            },
        }
    }

    /// Whether our `CAP_SYS_PTRACE` counts for it: in our user namespace, and in those within.
    fn counts(&self) -> Option<bool> {
        if !self.has_sys_ptrace() {
            return Some(false);
        }
        let is_first = self.own.user_namespace.is_some_and(|it| it.is_first());
        match self.is_in_our_namespace() {
            _ if is_first => Some(true),
            Some(true) => Some(true),
            // Users of a namespace within ours all have a number in ours.
            Some(false) if self.its.users == Some(UserIds::all(OVERFLOW_ID)) => Some(false),
            _ => None,
        }
    }

    /// Judges all parts.
    fn judge(&self, pid: Pid, reader: Reader) -> Access {
        // A kernel thread has no memory, which is no refusal.
        let is_allowed = |trial| matches!(trial, Trial::Works | Trial::Gone);
        let works = is_allowed(self.trial_of_maps) && is_allowed(self.trial_of_memory);
        let is_granted = works && !self.is_elsewhere;
        let mut checks = vec![
            self.user(pid, reader),
            self.capabilities(pid, reader),
            self.dumpable(pid),
            self.scope(),
            self.user_namespace(pid, reader),
            self.pid_namespace(),
        ];
        checks.push(self.sys_ptrace(reader, &checks));
        checks.push(self.seccomp(reader));
        let is_explained = checks.iter().any(|check| check.verdict != Verdict::Fine);
        checks.push(self.security_module(reader, is_granted, is_explained));
        checks.push(self.trial(works));
        if is_granted {
            // Such as by Yama's exceptions, which cannot be seen from here.
            for check in &mut checks {
                check.verdict = Verdict::Fine;
            }
        }
        self.add_fixes(&mut checks, reader);
        Access { checks, is_granted }
    }

    /// What a part that is not as it should be comes to: `CAP_SYS_PTRACE` makes up for it.
    fn unless_capable(&self) -> Verdict {
        match self.counts() {
            Some(true) => Verdict::Fine,
            Some(false) => Verdict::Blocks,
            None => Verdict::Unknown,
        }
    }

    fn user(&self, pid: Pid, reader: Reader) -> Check {
        let name = reader.name();
        let (own, its) = (&self.own, &self.its);
        let (Some(own_users), Some(users)) = (own.users, its.users) else {
            return check(Aspect::User, "not told", Verdict::Unknown);
        };
        let (own_user, own_group) = (own_users.real, own.groups.map(|[real, ..]| real));
        let one = |ids: [u32; 3]| ids.iter().all(|id| *id == ids[0]).then_some(ids[0]);
        let users = [users.real, users.effective, users.saved];
        let groups = its.groups;
        if users != [own_user; 3] {
            let finding = match one(users) {
                Some(user) => {
                    format!(
                        "process {pid} belongs to user {user}, and {name} runs as user {own_user}"
                    )
                }
                None => format!(
                    "process {pid} has the user ids {} (real, effective and saved), and {name} runs as user {own_user}",
                    listed(users)
                ),
            };
            return check(Aspect::User, finding, self.unless_capable());
        }
        if let (Some(groups), Some(own_group)) = (groups, own_group)
            && groups != [own_group; 3]
        {
            let finding = format!(
                "process {pid} has the group ids {} (real, effective and saved), and {name} runs with group {own_group}",
                listed(groups)
            );
            return check(Aspect::User, finding, self.unless_capable());
        }
        let finding = format!("process {pid} and {name} both run as user {own_user}");
        check(Aspect::User, finding, Verdict::Fine)
    }

    fn capabilities(&self, pid: Pid, reader: Reader) -> Check {
        let (own, its) = (&self.own, &self.its);
        let (Some(permitted), Some(effective), Some(of_process)) =
            (own.permitted, own.effective, its.permitted)
        else {
            return check(Aspect::Capabilities, "not told", Verdict::Unknown);
        };
        if self.is_in_our_namespace() == Some(false) {
            let finding = format!("those of process {pid} count in its own user namespace only");
            return check(Aspect::Capabilities, finding, Verdict::Fine);
        }
        let missing = of_process & !(permitted & effective);
        if missing == 0 {
            let finding = format!("process {pid} has none that {} lacks", reader.name());
            return check(Aspect::Capabilities, finding, Verdict::Fine);
        }
        let finding = format!(
            "process {pid} has capabilities that {} lacks ({})",
            reader.name(),
            names_of(missing)
        );
        check(Aspect::Capabilities, finding, self.unless_capable())
    }

    fn dumpable(&self, pid: Pid) -> Check {
        let finding = match self.its.is_dumpable {
            Some(true) => format!("process {pid} is dumpable"),
            Some(false) => format!(
                "process {pid} is not dumpable (prctl(2), PR_SET_DUMPABLE; also after a change of user, or if its \
                 program may not be read)"
            ),
            None => "not told of processes of root".to_owned(),
        };
        let verdict = match self.its.is_dumpable {
            Some(true) => Verdict::Fine,
            Some(false) => self.unless_capable(),
            None => match self.unless_capable() {
                Verdict::Fine => Verdict::Fine,
                _ => Verdict::Unknown,
            },
        };
        check(Aspect::Dumpable, finding, verdict)
    }

    fn scope(&self) -> Check {
        let (finding, verdict) = match self.ptrace_scope {
            None => ("Yama is not in use".to_owned(), Verdict::Fine),
            Some(0) => (
                "kernel.yama.ptrace_scope is 0: no further restriction".to_owned(),
                Verdict::Fine,
            ),
            Some(1) if self.is_below_us => (
                "kernel.yama.ptrace_scope is 1: only processes below the reader, as this one is".to_owned(),
                Verdict::Fine,
            ),
            Some(1) => (
                "kernel.yama.ptrace_scope is 1: even the same user may not read it without CAP_SYS_PTRACE"
                    .to_owned(),
                self.unless_capable(),
            ),
            Some(2) => (
                "kernel.yama.ptrace_scope is 2: nobody may read without CAP_SYS_PTRACE".to_owned(),
                self.unless_capable(),
            ),
            Some(scope) => (
                format!("kernel.yama.ptrace_scope is {scope}: nobody may read other processes"),
                Verdict::Blocks,
            ),
        };
        check(Aspect::PtraceScope, finding, verdict)
    }

    fn user_namespace(&self, pid: Pid, reader: Reader) -> Check {
        let name = reader.name();
        let is_first = self.own.user_namespace.is_some_and(|it| it.is_first());
        let (finding, verdict) = match self.is_in_our_namespace() {
            Some(true) => (
                format!("{name} and process {pid} are in the same"),
                Verdict::Fine,
            ),
            Some(false) if is_first => (
                format!("process {pid} is in one within that of {name}"),
                // Being the same user is not enough: capabilities are compared within one only.
                self.unless_capable(),
            ),
            Some(false) => (
                format!(
                    "process {pid} is in another user namespace than {name}, whose capabilities count in its own and those within"
                ),
                self.unless_capable(),
            ),
            None if is_first => (
                format!(
                    "that of {name} is the first, in which its capabilities count for all processes"
                ),
                Verdict::Fine,
            ),
            None => (
                format!(
                    "that of {name} is not the first: outside of it its capabilities do not count"
                ),
                match self.unless_capable() {
                    Verdict::Blocks => Verdict::Unknown,
                    verdict => verdict,
                },
            ),
        };
        check(Aspect::UserNamespace, finding, verdict)
    }

    fn pid_namespace(&self) -> Check {
        if self.is_elsewhere {
            let finding = "/proc is that of another one, in which processes have other ids";
            return check(Aspect::PidNamespace, finding, Verdict::Blocks);
        }
        let finding = match &self.its.pids[..] {
            [_, .., inner] => format!("one within: the process has the id {inner} there"),
            _ => "the process is seen by its id".to_owned(),
        };
        check(Aspect::PidNamespace, finding, Verdict::Fine)
    }

    /// `before` are the parts that it can make up for.
    fn sys_ptrace(&self, reader: Reader, before: &[Check]) -> Check {
        let name = reader.name();
        // Yama's last word holds for those who have it, too.
        let would_do = |check: &&Check| match check.aspect {
            Aspect::PtraceScope => self.ptrace_scope.is_none_or(|scope| scope < 3),
            aspect => aspect != Aspect::PidNamespace,
        };
        let blocks = |check: &Check| check.verdict == Verdict::Blocks;
        let is_needed = before.iter().filter(would_do).any(blocks);
        let (finding, verdict) = match (self.has_sys_ptrace(), self.counts()) {
            (true, Some(true)) => (format!("{name} has CAP_SYS_PTRACE"), Verdict::Fine),
            (true, Some(false)) => (
                format!(
                    "{name} has CAP_SYS_PTRACE, but it does not count in the user namespace of the process"
                ),
                Verdict::Blocks,
            ),
            (true, None) => (
                format!(
                    "{name} has CAP_SYS_PTRACE; whether it counts in the user namespace of the process is not told"
                ),
                Verdict::Unknown,
            ),
            (false, _) if has(self.own.permitted, SYS_PTRACE) => (
                format!("{name} may have CAP_SYS_PTRACE, but has not put it into effect"),
                if is_needed {
                    Verdict::Blocks
                } else {
                    Verdict::Fine
                },
            ),
            (false, _) if is_needed => (
                format!("{name} does not have CAP_SYS_PTRACE"),
                Verdict::Blocks,
            ),
            (false, _) => (
                format!(
                    "{name} does not have CAP_SYS_PTRACE, and does not need it for this process"
                ),
                Verdict::Fine,
            ),
        };
        check(Aspect::SysPtrace, finding, verdict)
    }

    fn seccomp(&self, reader: Reader) -> Check {
        let name = reader.name();
        let mode = match self.own.seccomp {
            Some(0) => format!("no filter restricts {name}"),
            Some(_) => format!("a filter restricts {name}"),
            None => format!("whether a filter restricts {name} is not told"),
        };
        let (finding, verdict) = match self.trial_on_us {
            Trial::Works => (
                format!("{mode}; process_vm_readv is allowed"),
                Verdict::Fine,
            ),
            Trial::Unknown => (mode, Verdict::Unknown),
            // The kernel asks nobody about our own memory.
            trial => (
                format!("{mode}; process_vm_readv {trial} even for its own memory"),
                Verdict::Blocks,
            ),
        };
        check(Aspect::Seccomp, finding, verdict)
    }

    fn security_module(&self, reader: Reader, is_granted: bool, is_explained: bool) -> Check {
        let name = reader.name();
        let label = |it: &Credentials| it.label.clone().unwrap_or_else(|| "nothing".to_owned());
        let labels = format!(
            "{name} is labelled {}, the process {}",
            label(&self.own),
            label(&self.its)
        );
        let is_labelled = self.own.label.is_some() || self.its.label.is_some();
        let (finding, verdict) = match (is_granted, is_explained) {
            (true, _) | (false, true) if !is_labelled => {
                ("none labels processes".to_owned(), Verdict::Fine)
            }
            (true, _) => (labels, Verdict::Fine),
            (false, true) => (labels, Verdict::Unknown),
            (false, false) => (
                format!(
                    "nothing else stands in the way, so a security module refuses (AppArmor, SELinux, Landlock), or \
                     something that cannot be seen from here; {labels}"
                ),
                Verdict::Blocks,
            ),
        };
        check(Aspect::SecurityModule, finding, verdict)
    }

    fn trial(&self, works: bool) -> Check {
        let finding = format!(
            "opening its list of mappings {}, process_vm_readv {}",
            self.trial_of_maps, self.trial_of_memory
        );
        let verdict = match works {
            true => Verdict::Fine,
            false => Verdict::Blocks,
        };
        check(Aspect::Trial, finding, verdict)
    }
}

fn check(aspect: Aspect, finding: impl Into<String>, verdict: Verdict) -> Check {
    Check {
        aspect,
        finding: finding.into(),
        verdict,
        fix: None,
    }
}

/// Whether `above` is among the processes above `pid`.
fn is_below(root: &ProcRoot, pid: Pid, above: Pid) -> bool {
    let parent = |pid: &Pid| root.status(*pid).ok()?.parent;
    let mut all = std::iter::successors(parent(&pid), parent).take(ABOVE_MAX);
    all.any(|it| it == above)
}

fn has(mask: Option<u64>, bit: u32) -> bool {
    mask.is_some_and(|mask| mask & (1 << bit) != 0)
}

fn listed([real, effective, saved]: [u32; 3]) -> String {
    format!("{real}, {effective} and {saved}")
}

/// The names of these capabilities.
fn names_of(mask: u64) -> String {
    const NAMES_MAX: usize = 5;
    let bits = (0..u64::BITS).filter(|bit| mask & (1 << bit) != 0);
    let name = |bit: u32| {
        let name = usize::try_from(bit)
            .ok()
            .and_then(|bit| CAPABILITIES.get(bit));
        name.map_or_else(|| format!("number {bit}"), |name| format!("CAP_{name}"))
    };
    let mut names: Vec<_> = bits.map(name).collect();
    let n_more = names.len().saturating_sub(NAMES_MAX);
    if n_more > 0 {
        names.truncate(NAMES_MAX);
        names.push(format!("and {n_more} more"));
    }
    names.join(", ")
}
