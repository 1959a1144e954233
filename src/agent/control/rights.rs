//! Who may ask for what: root and the members of the configured group for everything, anybody else for processes
//! that are theirs. By what the kernel says of the peer, never by what it says itself.
//!
//! A process is somebody's if its real, effective and saved user ids all are that user's, as the kernel's own rule
//! for reading another process has it (ptrace(2), "Ptrace access mode checking"), and those of each of its threads: the
//! kernel looks at the thread that is asked for, but the memory is that of all. Of that rule the group ids,
//! capabilities and the dumpable attribute are left out: a worker that gave up root for a user is that user's here.

use crate::agent::reads::Asker;
use crate::agent::source::ProcessSource;
use crate::diagnosis::advice;
use crate::ids::{Pid, ProcessId};
use crate::metrics::ProcessView;
use crate::process::{GIVE_AGENT_SYS_PTRACE, ProcessError};
use crate::procfs::{ForeignThread, UserIds, is_member};
use crate::protocol::ControlError;
use std::fmt;

/// Stands for every user that has no number where the agent runs (user_namespaces(7)), so for nobody in particular.
const OVERFLOW_USER: u32 = 65_534;

/// What is left to somebody whom the agent cannot help.
const DIRECT: &str = "--direct reads it as the user who runs agentctl";

/// Who is at the other end of a connection, as it was when that began (SO_PEERCRED, unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its effective user id.
    pub(super) user: u32,
    /// Its effective group id.
    pub(super) group: u32,
    /// Its process; only for the log. `None`: one that is not to be seen from here.
    pub(super) pid: Option<i32>,
}

/// What somebody may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rights {
    /// Everything, as root.
    Root,
    /// Everything, as this user, who is a member of this group.
    Member(u32, String),
    /// Processes of this user.
    Owner(u32),
}

impl Rights {
    /// What `peer` may ask for. Blocks.
    pub(super) fn of(peer: Peer, group: Option<&str>) -> Self {
        match group {
            _ if peer.user == 0 => Self::Root,
            Some(group) if is_member(peer.user, peer.group, group) => {
                Self::Member(peer.user, group.to_owned())
            }
            _ => Self::Owner(peer.user),
        }
    }

    /// For whom processes are read.
    pub(super) fn asker(&self, source: &dyn ProcessSource) -> Asker {
        match self {
            Self::Root => Asker::Root,
            Self::Member(user, _) => Asker::Member(*user),
            Self::Owner(user) => Asker::Owner(source.person(*user)),
        }
    }

    /// Whether that is everything.
    pub(super) fn are_unbounded(&self) -> bool {
        !matches!(self, Self::Owner(_))
    }

    /// Whether processes with these user ids are among it.
    fn include(&self, users: UserIds) -> bool {
        match self {
            Self::Root | Self::Member(..) => true,
            Self::Owner(user) => *user != OVERFLOW_USER && users == UserIds::all(*user),
        }
    }

    /// Why a process with these user ids is not among it, if it is not.
    fn objection(
        &self,
        source: &dyn ProcessSource,
        id: ProcessId,
        users: UserIds,
    ) -> Option<Objection> {
        let Self::Owner(user) = self else {
            return None;
        };
        let (user, users) = (*user, users);
        if !self.include(users) {
            return Some(Objection::NotYours { user, users });
        }
        let thread = source.foreign_thread(id, users)?;
        Some(Objection::ThreadNotYours { user, thread })
    }

    /// Whether this process, and not one that has its id since, is among it.
    pub(super) fn include_process(&self, source: &dyn ProcessSource, id: ProcessId) -> bool {
        let is_it = |(now, users)| now == id && self.objection(source, id, users).is_none();
        self.are_unbounded() || source.owner(id.pid).is_ok_and(is_it)
    }

    /// Whether what was read of a process was read while it was among it. A process that was root's and has given that
    /// up keeps from its user what was read of it before.
    pub(super) fn include_view(&self, process: &ProcessView) -> bool {
        let is_unread = process.latest.is_none() && process.failure.is_none();
        let was = process.owner.map(UserIds::all);
        self.are_unbounded() || is_unread || was.is_some_and(|users| self.include(users))
    }

    /// Which process has the id `pid`, and whose it is, if it is among it.
    ///
    /// # Errors
    ///
    /// When it is not, or there is none.
    pub(super) fn pin(
        &self,
        source: &dyn ProcessSource,
        pid: Pid,
    ) -> Result<(ProcessId, UserIds), Refusal> {
        let owner = source.owner(pid);
        let (id, users) = owner.map_err(|error| Refusal::of(source, error))?;
        match self.objection(source, id, users) {
            Some(objection) => Err(Refusal::NotAllowed { pid, objection }),
            None => Ok((id, users)),
        }
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Member(_, group) => write!(f, "member of {group}"),
            Self::Owner(_) => f.write_str("owner"),
        }
    }
}

/// Why a process is not somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objection {
    /// Not all of its user ids are.
    NotYours { user: u32, users: UserIds },
    /// Not all of a thread's user ids are.
    ThreadNotYours { user: u32, thread: ForeignThread },
}

impl Objection {
    /// In words.
    fn told_of(self, pid: Pid) -> String {
        match self {
            Self::NotYours { user, users } => not_yours(pid, user, users),
            Self::ThreadNotYours { user, thread } => thread_not_yours(pid, user, thread),
        }
    }
}

/// Why somebody gets no process.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is not theirs.
    NotAllowed { pid: Pid, objection: Objection },
    /// There is none that the agent sees, and there is one.
    Hidden { pid: Pid },
    /// It cannot be read.
    Process {
        error: ProcessError,
        /// What stands in the way of the agent.
        hints: Vec<String>,
    },
}

impl From<ProcessError> for Refusal {
    fn from(error: ProcessError) -> Self {
        Self::Process {
            error,
            hints: Vec::new(),
        }
    }
}

impl Refusal {
    /// Why `source` cannot read a process, and what helps.
    pub(super) fn of(source: &dyn ProcessSource, error: ProcessError) -> Self {
        match error {
            ProcessError::NotFound { pid } if source.hides(pid) => Self::Hidden { pid },
            ProcessError::Denied { pid, .. } => Self::Process {
                hints: source.access(pid).map_or_else(Vec::new, |it| it.hints()),
                error,
            },
            error => error.into(),
        }
    }

    /// What is not allowed, in words.
    pub(super) fn denial(&self) -> Option<String> {
        match self {
            Self::NotAllowed { pid, objection } => Some(objection.told_of(*pid)),
            Self::Hidden { .. } | Self::Process { .. } => None,
        }
    }

    /// The same for somebody from whom processes of others are hidden (proc(5), `hidepid`).
    pub(super) fn hidden(self) -> Self {
        match self {
            Self::NotAllowed { pid, .. }
            | Self::Hidden { pid }
            | Self::Process {
                error: ProcessError::Thread { pid, .. },
                ..
            } => ProcessError::NotFound { pid }.into(),
            other => other,
        }
    }

    /// In words. `group` is the one whose members may ask for everything.
    pub(super) fn into_error(self, group: Option<&str>) -> ControlError {
        match self {
            Self::NotAllowed { pid, objection } => ControlError {
                code: "not_allowed".to_owned(),
                message: objection.told_of(pid),
                hints: vec![match group {
                    Some(group) => format!(
                        "root and the members of the group {group} may ask for every process"
                    ),
                    None => {
                        "root may ask for every process, and so may the members of the group that \
                             control.group names in the agent's configuration"
                            .to_owned()
                    }
                }],
            },
            Self::Hidden { pid } => {
                let error = ProcessError::NotFound { pid };
                ControlError {
                    code: error.code().to_owned(),
                    message: error.to_string(),
                    hints: vec![
                        format!(
                            "there is such a process, but the agent does not see it (ProtectProc= of its unit, or \
                             hidepid): {GIVE_AGENT_SYS_PTRACE}"
                        ),
                        DIRECT.to_owned(),
                    ],
                }
            }
            Self::Process { error, mut hints } => {
                hints.extend(advice(&error));
                if matches!(error, ProcessError::Denied { .. }) {
                    hints.push(DIRECT.to_owned());
                }
                ControlError {
                    code: error.code().to_owned(),
                    message: error.to_string(),
                    hints,
                }
            }
        }
    }
}

fn not_yours(pid: Pid, user: u32, users: UserIds) -> String {
    let UserIds {
        real,
        effective,
        saved,
    } = users;
    let whose = if users == UserIds::all(real) {
        format!("process {pid} belongs to user {real}")
    } else {
        format!(
            "process {pid} has the user ids {real}, {effective} and {saved} (real, effective and saved)"
        )
    };
    if user == OVERFLOW_USER {
        return format!("{whose}, and user {user} stands for users without a number here");
    }
    format!("{whose}, and user {user} may ask for its own processes only")
}

fn thread_not_yours(pid: Pid, user: u32, thread: ForeignThread) -> String {
    let why = match thread {
        ForeignThread::Has(thread, users) => {
            let UserIds {
                real,
                effective,
                saved,
            } = users;
            format!(
                "thread {thread} of process {pid} has the user ids {real}, {effective} and {saved} (real, effective and \
                 saved)"
            )
        }
        ForeignThread::Unknown => {
            format!("it cannot be found out whose all threads of process {pid} are")
        }
    };
    format!("{why}, and user {user} may ask for processes only of which every thread is its own")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(user: u32) -> Peer {
        Peer {
            user,
            group: 4_000_000_001,
            pid: None,
        }
    }

    #[test]
    fn root_and_members_may_ask_for_everything() {
        assert_eq!(Rights::of(peer(0), None), Rights::Root);
        assert_eq!(Rights::of(peer(7), None), Rights::Owner(7));
        let nobody_is_in = Some("no such group");
        assert_eq!(Rights::of(peer(7), nobody_is_in), Rights::Owner(7));
        let member = Peer {
            group: 0,
            ..peer(7)
        };
        let rights = Rights::of(member, Some("root"));
        assert_eq!(rights, Rights::Member(7, "root".to_owned()));
        for rights in [Rights::Root, rights] {
            assert!(rights.include(UserIds::all(0)) && rights.include(UserIds::all(8)));
        }
    }

    #[test]
    fn a_process_is_somebodys_if_all_its_user_ids_are() {
        let ids = |real, effective, saved| UserIds {
            real,
            effective,
            saved,
        };
        let rights = Rights::Owner(7);
        assert!(rights.include(ids(7, 7, 7)));
        for other in [
            ids(0, 7, 7),
            ids(7, 0, 7),
            ids(7, 7, 0),
            ids(7, 0, 0),
            ids(0, 0, 0),
            ids(8, 8, 8),
        ] {
            assert!(!rights.include(other), "{other:?}");
        }
        let nobody = Rights::Owner(OVERFLOW_USER);
        assert!(!nobody.include(UserIds::all(OVERFLOW_USER)));
    }

    #[test]
    fn denials_say_why() {
        let pid = Pid::new(42).unwrap();
        let refusal = |users| Refusal::NotAllowed {
            pid,
            objection: Objection::NotYours { user: 7, users },
        };
        let error = refusal(UserIds::all(0)).into_error(Some("staff"));
        assert_eq!(error.code, "not_allowed");
        assert_eq!(
            error.message,
            "process 42 belongs to user 0, and user 7 may ask for its own processes only"
        );
        assert!(error.hints[0].contains("the group staff"));
        let mixed = UserIds {
            saved: 0,
            ..UserIds::all(7)
        };
        let error = refusal(mixed).into_error(None);
        assert!(error.message.contains("user ids 7, 7 and 0"), "{error}");
        assert!(error.hints[0].contains("control.group"));
        let error = Refusal::Hidden { pid }.into_error(None);
        assert_eq!(error.code, "process_not_found");
        assert_eq!(error.message, "no process 42");
        assert!(error.hints[0].contains("CAP_SYS_PTRACE"), "{error}");
        // Where processes are hidden, one of somebody else is as one that does not exist.
        let missing = Refusal::from(ProcessError::NotFound { pid }).into_error(None);
        for hidden in [refusal(UserIds::all(0)), Refusal::Hidden { pid }] {
            assert_eq!(hidden.hidden().into_error(None), missing);
        }
        let denial = refusal(UserIds::all(0)).denial();
        assert!(denial.is_some_and(|it| it.contains("belongs to user 0")));
    }
}
