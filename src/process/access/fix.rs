//! What to do about what stands in the way of reading a process. The one source of such advice, for both programs.

use super::{Aspect, Check, Circumstances, Reader, SYS_PTRACE, Trial, Verdict, has};
use crate::procfs::UserIds;

/// How the agent gets `CAP_SYS_PTRACE`.
pub(super) const GIVE_AGENT_SYS_PTRACE: &str = "give asyncio-agent CAP_SYS_PTRACE (AmbientCapabilities=CAP_SYS_PTRACE in its \
                                         unit; docker run --cap-add=SYS_PTRACE; in Kubernetes \
                                         securityContext.capabilities.add: [SYS_PTRACE])";

impl Circumstances {
    /// Says of each part that stands in the way what to do about it. If none does for sure, of those that might.
    pub(super) fn add_fixes(&self, checks: &mut [Check], reader: Reader) {
        let blocks = |check: &Check| {
            check.verdict == Verdict::Blocks
                && !matches!(check.aspect, Aspect::Trial | Aspect::SysPtrace)
        };
        let sought = match checks.iter().any(blocks) {
            true => Verdict::Blocks,
            false => Verdict::Unknown,
        };
        let is_sought = |check: &Check| check.verdict == sought && check.verdict != Verdict::Fine;
        let reasons = checks.iter().filter(|check| is_sought(check));
        let reasons: Vec<Aspect> = reasons
            .map(|check| check.aspect)
            .filter(|aspect| !matches!(aspect, Aspect::Trial | Aspect::SysPtrace))
            .collect();
        let is_granted = checks.iter().all(|check| check.verdict == Verdict::Fine);
        if is_granted {
            return;
        }
        for check in checks
            .iter_mut()
            .filter(|check| reasons.contains(&check.aspect))
        {
            check.fix = Some(match check.aspect {
                Aspect::PtraceScope if self.ptrace_scope > Some(2) => {
                    "set it to 2 or less (sysctl.d(5)) and restart the machine: until then 3 cannot be changed".to_owned()
                }
                Aspect::Seccomp if self.trial_on_us == Trial::Unavailable && self.own.seccomp == Some(0) => {
                    "use a kernel with CONFIG_CROSS_MEMORY_ATTACH, without which there is no process_vm_readv".to_owned()
                }
                Aspect::Seccomp => {
                    "allow process_vm_readv in that filter (systemd: SystemCallFilter=process_vm_readv; containers: the default \
                     profile of a current runtime, or one of your own)"
                        .to_owned()
                }
                Aspect::SecurityModule => unconfined(reader),
                Aspect::PidNamespace => pid_namespace_of_proc(reader),
                Aspect::User if reasons[..] == [Aspect::User] => self.as_user(reader),
                _ if self.has_sys_ptrace() => first_namespace(reader),
                _ => self.grant(reader),
            });
        }
    }

    /// How a process is read that only belongs to somebody else.
    fn as_user(&self, reader: Reader) -> String {
        let grant = match self.has_sys_ptrace() {
            true => first_namespace(reader),
            false => self.grant(reader),
        };
        let one_user = self
            .its
            .users
            .filter(|users| *users == UserIds::all(users.real));
        let [group, others @ ..] = self.its.groups.unwrap_or_default();
        let is_one_group = self.its.groups.is_some() && others.iter().all(|it| *it == group);
        let other_group = is_one_group && self.own.groups != self.its.groups;
        let name = reader.name();
        match one_user {
            // Only the group is another one.
            Some(users) if self.own.users == Some(users) => match is_one_group {
                true => format!(
                    "run {name} with that group id ({group}; setpriv --regid, sg), or {grant}"
                ),
                false => grant,
            },
            Some(UserIds {
                real: user @ 1.., ..
            }) if other_group => {
                format!("run {name} as that user ({user}, with group {group}), or {grant}")
            }
            Some(UserIds {
                real: user @ 1.., ..
            }) => format!("run {name} as that user ({user}), or {grant}"),
            _ => grant,
        }
    }

    /// Whether a running agent reads it for whoever runs `agentctl`, as its owner.
    fn is_theirs(&self) -> bool {
        let own = self.own.users.map(|users| UserIds::all(users.effective));
        own.is_some() && own == self.its.users && self.its.is_dumpable == Some(true)
    }

    /// How the reader gets `CAP_SYS_PTRACE`.
    fn grant(&self, reader: Reader) -> String {
        let is_root = self.own.users.is_some_and(|users| users.effective == 0);
        let is_kept = self.own.bounding.is_some() && !has(self.own.bounding, SYS_PTRACE);
        let agent = match self.is_theirs() {
            true => {
                "ask a running asyncio-agent (agentctl ps, pstree, snapshot or explain with --agent), which reads your own processes for \
                 you"
            }
            false => {
                "ask a running asyncio-agent (agentctl ps, pstree, snapshot or explain with --agent) as a member of the group that \
                 its control.group names"
            }
        };
        let text = match reader {
            Reader::Agent => GIVE_AGENT_SYS_PTRACE,
            Reader::Agentctl if is_root || is_kept => {
                "the capability is missing even for root here: a container needs CAP_SYS_PTRACE (docker run \
                 --cap-add=SYS_PTRACE; in Kubernetes securityContext.capabilities.add: [SYS_PTRACE]), or run agentctl \
                 on the host"
            }
            Reader::Agentctl if self.own.no_new_privileges == Some(true) => {
                return format!(
                    "{agent}, or run agentctl as root from elsewhere: here nothing gets more rights (no_new_privs), sudo included"
                );
            }
            Reader::Agentctl => {
                return format!(
                    "run agentctl with sudo, which gives it CAP_SYS_PTRACE, or {agent}"
                );
            }
        };
        text.to_owned()
    }
}

/// Where capabilities count for all processes.
pub(super) fn first_namespace(reader: Reader) -> String {
    match reader {
        Reader::Agentctl => {
            "run agentctl on the host, outside of the user namespace of a container or sandbox".to_owned()
        }
        Reader::Agent => "run asyncio-agent in the first user namespace (no PrivateUsers= in its unit; docker run \
                          --userns=host; in Kubernetes hostUsers: true)"
            .to_owned(),
    }
}

/// Where processes have the ids that `/proc` tells.
pub(super) fn pid_namespace_of_proc(reader: Reader) -> String {
    format!(
        "run {} in the pid namespace that /proc is of (docker run --pid=host; in Kubernetes hostPID: true), or with a /proc of \
         its own",
        reader.name()
    )
}

fn unconfined(reader: Reader) -> String {
    format!(
        "the kernel's log says what refused (journalctl -k, apparmor=\"DENIED\" or avc: denied); let the profile of {} \
         trace other processes, or run it without one (docker run --security-opt apparmor=unconfined; in Kubernetes \
         appArmorProfile: {{type: Unconfined}})",
        reader.name()
    )
}
