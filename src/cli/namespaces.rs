//! Whether the agent that is asked knows processes by other ids than we do: it then is in another pid namespace
//! (pid_namespaces(7)), as when one of us is in a container and the other is not. The number that somebody gives us is one
//! of ours, and would be another process there, or none.

use crate::ids::Pid;
use crate::procfs::ProcRoot;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use std::os::unix::net::UnixStream;

/// Where an agent is that knows processes by other ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// In a namespace above ours, or beside it: it has no id here.
    Outside,
    /// In one within ours, such as that of a container on this host.
    Within,
}

impl Elsewhere {
    /// What that means for whoever gives ids of processes.
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Outside => {
                "is outside of the pid namespace (container) that agentctl is in: processes have other ids there"
            }
            Self::Within => {
                "is in a pid namespace (container) of its own: processes have other ids there"
            }
        }
    }

    /// How it can be asked all the same.
    pub(super) fn fix(self) -> &'static str {
        match self {
            Self::Outside => {
                "to ask it, run agentctl on its host, with the id that the process has there; without --agent the process \
                 is read from here"
            }
            Self::Within => {
                "to ask it, run agentctl in its container, with the id that the process has there; without --agent the \
                 process is read from here"
            }
        }
    }
}

/// Where the agent at the other end is, if it is elsewhere for all that can be told.
pub(super) fn of_agent(stream: &UnixStream) -> Option<Elsewhere> {
    // Of who listens, as of when it began to (unix(7), SO_PEERCRED).
    let peer = getsockopt(stream, PeerCredentials).ok()?;
    let root = ProcRoot::default();
    // Otherwise what people see in /proc is not of our namespace, and may be of the agent's.
    if root.is_of_our_pid_namespace() != Some(true) {
        return None;
    }
    match Pid::new(peer.pid()) {
        None => Some(Elsewhere::Outside),
        Some(agent) => root
            .is_in_pid_namespace_within(agent)?
            .then_some(Elsewhere::Within),
    }
}
