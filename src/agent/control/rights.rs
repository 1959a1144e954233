//! Who may ask for what: root and the members of the configured group for everything, anybody else for processes
//! that are theirs. By what the kernel says of the peer, never by what it says itself.
//!
//! A process is somebody's if its real, effective and saved user ids all are that user's, as the kernel's own rule
//! for reading another process has it (ptrace(2), "Ptrace access mode checking"), and those of each of its threads: the
//! kernel looks at the thread that is asked for, but the memory is that of all. And it must be dumpable, as that rule has it
//! too: a child of root's that has taken on a user's ids, and is about to execute a program of that user, holds all that root's
//! has in memory, and the user can stop it there. The kernel makes those not dumpable, too, that have a group or capabilities by
//! the file that they execute. Of the rule is left out that its group ids are the user's, that it has no capabilities that the
//! user has not (as by `AmbientCapabilities=`), and that its user namespace is the user's (`PrivateUsers=`).

use super::pauses;
use crate::agent::looks::{Looks, LooksEnded};
use crate::agent::reads::Asker;
use crate::agent::source::ProcessSource;
use crate::diagnosis::advice;
use crate::ids::{Pid, ProcessId};
use crate::limits::Stop;
use crate::metrics::ProcessView;
use crate::process::{ProcessError, is_kept_from_tracing};
use crate::procfs::{ForeignThread, Owner, UserIds, is_member};
use crate::protocol::ControlError;
use std::fmt;
use std::io;
use std::time::Duration;

/// Stands for every user that has no number where the agent runs (user_namespaces(7)), so for nobody in particular.
const OVERFLOW_USER: u32 = 65_534;

/// Threads that are looked at for a request, those of all processes together: twice as many as one process may have that
/// is somebody's. More would keep others waiting who ask meanwhile.
const THREADS_MAX: u32 = 8_192;

/// What keeps the agent from stopping any process.
pub(super) const KEPT_FROM_TRACING: &str = "the agent may not call ptrace(2), which SystemCallFilter= of its unit refuses, or a \
                                            seccomp profile; the drop-in freeze.conf allows it (deploy/install.md)";

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
    ///
    /// # Errors
    ///
    /// When that cannot be found out now.
    pub(super) fn of(peer: Peer, group: Option<&str>) -> io::Result<Self> {
        Ok(match group {
            _ if peer.user == 0 => Self::Root,
            Some(group) if is_member(peer.user, peer.group, group)? => {
                Self::Member(peer.user, group.to_owned())
            }
            _ => Self::Owner(peer.user),
        })
    }

    /// For whom processes are read.
    pub(super) fn asker(&self, source: &dyn ProcessSource) -> Asker {
        match self {
            Self::Root => Asker::Root,
            Self::Member(user, _) => Asker::Member(source.person(*user).id),
            Self::Owner(user) => Asker::Owner(source.person(*user)),
        }
    }

    /// The looks at threads that a request has, until `stop` says so.
    pub(super) fn looks(stop: &Stop) -> Looks {
        Looks::new(THREADS_MAX, stop)
    }

    /// Whether that is everything.
    pub(super) fn are_unbounded(&self) -> bool {
        !matches!(self, Self::Owner(_))
    }

    /// The user whose processes alone may be asked for.
    pub(super) fn owner(&self) -> Option<u32> {
        match self {
            Self::Root | Self::Member(..) => None,
            Self::Owner(user) => Some(*user),
        }
    }

    /// Whether whoever asked stands for several users, of whom nobody knows which it is.
    fn are_unknown(&self) -> bool {
        matches!(self, Self::Owner(OVERFLOW_USER))
    }

    /// Whether processes with these user ids are among it.
    fn include(&self, users: UserIds) -> bool {
        match self {
            Self::Root | Self::Member(..) => true,
            Self::Owner(user) => !self.are_unknown() && users == UserIds::all(*user),
        }
    }

    /// Why a process with this owner is not among it, if it is not.
    fn objection(
        &self,
        source: &dyn ProcessSource,
        owner: Owner,
        looks: &mut Looks,
    ) -> Result<Option<Objection>, Refusal> {
        let Self::Owner(user) = self else {
            return Ok(None);
        };
        let (user, users) = (*user, owner.users);
        if !self.include(users) {
            return Ok(Some(Objection::NotYours { user, users }));
        }
        if !owner.is_dumpable {
            return Ok(Some(Objection::NotDumpable { user }));
        }
        let thread = source.foreign_thread(owner.id, users, looks);
        let thread = thread.map_err(|error| Refusal::unsettled(source, error))?;
        if looks.ended().is_some() {
            return Err(Refusal::given_up(looks));
        }
        Ok(thread.map(|thread| Objection::ThreadNotYours { user, thread }))
    }

    /// Whether this process, and not one that has its id since, is among it. One that the agent may not look at is not.
    ///
    /// # Errors
    ///
    /// When it cannot be told whose it is, which says nothing of whose it is.
    pub(super) fn include_process(
        &self,
        source: &dyn ProcessSource,
        id: ProcessId,
        looks: &mut Looks,
    ) -> Result<bool, Refusal> {
        if self.are_unbounded() {
            return Ok(true);
        }
        if !looks.go_on() {
            return Err(Refusal::given_up(looks));
        }
        match self.pin(source, id.pid, looks) {
            Ok((now, _)) => Ok(now == id),
            Err(
                refusal @ (Refusal::GivenUp(_)
                | Refusal::Unsettled {
                    error: ProcessError::Failed { .. },
                    ..
                }),
            ) => Err(refusal),
            Err(_) => Ok(false),
        }
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
    /// When it is not, there is none, or it cannot be told whose it is.
    pub(super) fn pin(
        &self,
        source: &dyn ProcessSource,
        pid: Pid,
        looks: &mut Looks,
    ) -> Result<(ProcessId, UserIds), Refusal> {
        let owner = source.owner(pid);
        let owner = owner.map_err(|error| Refusal::unsettled(source, error))?;
        match self.objection(source, owner, looks)? {
            Some(objection) => Err(Refusal::NotAllowed {
                pid,
                objection,
                lacks: self.are_unknown().then(|| source.lacks()).flatten(),
            }),
            None => Ok((owner.id, owner.users)),
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
    /// Its memory may hold what was another user's.
    NotDumpable { user: u32 },
    /// Not all of a thread's user ids are.
    ThreadNotYours { user: u32, thread: ForeignThread },
}

impl Objection {
    /// In words.
    fn told_of(self, pid: Pid) -> String {
        match self {
            Self::NotYours { user, users } => not_yours(pid, user, users),
            Self::NotDumpable { user } => format!(
                "process {pid} is not dumpable: it took on the ids of user {user} when it was already running, has capabilities \
                 or a group by its file, is root in a user namespace, or hides its memory, which may hold what is not this user's"
            ),
            Self::ThreadNotYours { user, thread } => thread_not_yours(pid, user, thread),
        }
    }
}

/// Why somebody gets no process.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is not theirs.
    NotAllowed {
        pid: Pid,
        objection: Objection,
        /// What the agent lacks, if whoever asked may not be known for want of that.
        lacks: Option<String>,
    },
    /// There is none that the agent sees, and there is one.
    Hidden {
        pid: Pid,
        /// What the agent lacks, if that is known.
        lacks: Option<String>,
    },
    /// It cannot be told whose it is: there is none, or that cannot be read.
    Unsettled {
        error: ProcessError,
        /// What stands in the way of the agent.
        hints: Vec<String>,
    },
    /// It is not known whose it is, and no further looks are taken.
    GivenUp(LooksEnded),
    /// It may not be stopped for so long on demand.
    NoFreeze {
        pid: Pid,
        /// For how long any may be; zero: none may be stopped.
        allowed: Duration,
    },
    /// It is stopped for another request, or was a while ago.
    Rests {
        pid: Pid,
        /// For how long it is left in peace still.
        rest: Duration,
    },
    /// It is not certain that all that was read of it is of programs that are theirs.
    Uncertain { pid: Pid },
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
            ProcessError::NotFound { pid } if source.hides(pid) => Self::Hidden {
                pid,
                lacks: source.lacks(),
            },
            ProcessError::Denied { pid, .. } | ProcessError::OtherPidNamespace { pid } => {
                Self::Process {
                    hints: source.access(pid).map_or_else(Vec::new, |it| it.hints()),
                    error,
                }
            }
            error => error.into(),
        }
    }

    /// That `looks` have ended.
    fn given_up(looks: &Looks) -> Self {
        Self::GivenUp(looks.ended().unwrap_or(LooksEnded::Stopped))
    }

    /// The same as [`Self::of`] if it cannot be told whose it is.
    fn unsettled(source: &dyn ProcessSource, error: ProcessError) -> Self {
        match Self::of(source, error) {
            Self::Process { error, hints } => Self::Unsettled { error, hints },
            other => other,
        }
    }

    /// Why this is not allowed, in words for the log. To whoever may ask for their own processes only (`is_stranger`) nothing
    /// is allowed that is not theirs, or was not found to be. `None`: it was, and could not be read.
    pub(super) fn denial(&self, is_stranger: bool) -> Option<String> {
        match self {
            Self::NoFreeze { allowed, .. } => Some(pauses::denial(*allowed)),
            _ if !is_stranger => None,
            Self::NotAllowed { pid, objection, .. } => Some(objection.told_of(*pid)),
            Self::Hidden { pid, .. } => Some(format!("process {pid} is hidden from the agent")),
            Self::Unsettled { error, .. } => Some(error.to_string()),
            Self::GivenUp(why) => Some(given_up(*why).to_owned()),
            Self::Rests { .. } | Self::Uncertain { .. } | Self::Process { .. } => None,
        }
    }

    /// The same for somebody from whom processes of others are hidden (proc(5), `hidepid`).
    pub(super) fn hidden(self) -> Self {
        match self {
            Self::NotAllowed { pid, .. }
            | Self::Hidden { pid, .. }
            | Self::Unsettled {
                error: ProcessError::Thread { pid, .. },
                ..
            } => ProcessError::NotFound { pid }.into(),
            // The number of its tracer is in what its owner sees of it, the name is not.
            Self::Process {
                error: ProcessError::Traced { pid, tracer, .. },
                hints,
            } => Self::Process {
                error: ProcessError::Traced {
                    pid,
                    tracer,
                    name: None,
                },
                hints,
            },
            other => other,
        }
    }

    /// In words. `group` is the one whose members may ask for everything.
    pub(super) fn into_error(self, group: Option<&str>) -> ControlError {
        match self {
            Self::NotAllowed {
                pid,
                objection,
                lacks,
            } => ControlError {
                code: "not_allowed".to_owned(),
                message: objection.told_of(pid),
                hints: who_may(objection, lacks, group),
            },
            Self::Hidden { pid, lacks } => {
                let error = ProcessError::NotFound { pid };
                let advice = lacks.map_or_else(String::new, |advice| format!(": {advice}"));
                ControlError {
                    code: error.code().to_owned(),
                    message: error.to_string(),
                    hints: vec![
                        format!(
                            "there is such a process, but the agent does not see it (ProtectProc= of its unit, or \
                             hidepid){advice}"
                        ),
                        DIRECT.to_owned(),
                    ],
                }
            }
            Self::GivenUp(why) => ControlError {
                code: match why {
                    LooksEnded::TooMany => "too_many_threads".to_owned(),
                    LooksEnded::Stopped => "timed_out".to_owned(),
                },
                message: given_up(why).to_owned(),
                hints: vec![match why {
                    LooksEnded::TooMany => "ask for one process by its id; root and members of the agent's group may ask \
                                            for all"
                        .to_owned(),
                    LooksEnded::Stopped => "try again; --direct asks no agent".to_owned(),
                }],
            },
            Self::NoFreeze { pid, allowed } => pauses::not_allowed(pid, allowed),
            Self::Rests { pid, rest } => pauses::rests(pid, rest),
            Self::Uncertain { pid } => uncertain(pid, group),
            Self::Unsettled { error, mut hints } | Self::Process { error, mut hints } => {
                match error {
                    ProcessError::FreezeDenied { .. } if is_kept_from_tracing() => {
                        let without = "without --freeze it is read while it runs";
                        hints.extend([KEPT_FROM_TRACING, without].map(str::to_owned));
                    }
                    _ => hints.extend(advice(&error)),
                }
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

/// It is told to those only who may ask for everything.
fn uncertain(pid: Pid, group: Option<&str>) -> ControlError {
    let who = group.map_or_else(String::new, |group| {
        format!(" and the members of the group {group}")
    });
    let why = "it executes other programs while it is read, or its memory changes too fast to be certain that it does not";
    ControlError {
        code: "read_failed".to_owned(),
        message: format!("cannot read process {pid} for its owner: {why}"),
        hints: vec![
            format!("try again; for root{who} it is read all the same"),
            DIRECT.to_owned(),
        ],
    }
}

/// What is left to whoever may not ask for a process.
fn who_may(objection: Objection, lacks: Option<String>, group: Option<&str>) -> Vec<String> {
    let all = match group {
        Some(group) => {
            format!("root and the members of the group {group} may ask for every process")
        }
        None => "root may ask for every process, and so may the members of the group that control.group names in the \
                 agent's configuration"
            .to_owned(),
    };
    let unknown = UserIds::all(OVERFLOW_USER);
    let may_be_own = matches!(objection, Objection::NotYours { user, users } if user == OVERFLOW_USER && users == unknown);
    match lacks {
        // So may not even root: it has no number there either.
        Some(lacks) => vec![lacks, DIRECT.to_owned()],
        None if may_be_own => vec![all, DIRECT.to_owned()],
        None => vec![all],
    }
}

fn given_up(why: LooksEnded) -> &'static str {
    match why {
        LooksEnded::TooMany => {
            "your watched processes have too many threads together (more than 8192) for it to be found out whether each \
             is yours"
        }
        LooksEnded::Stopped => "it took too long to find out which processes are yours",
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
    use crate::agent::HostProcesses;
    use crate::limits::Limits;
    use crate::procfs::ProcRoot;
    use nix::unistd::Uid;

    fn peer(user: u32) -> Peer {
        Peer {
            user,
            group: 4_000_000_001,
            pid: None,
        }
    }

    #[test]
    fn root_and_members_may_ask_for_everything() {
        let rights_of = |peer, group| Rights::of(peer, group).unwrap();
        assert_eq!(rights_of(peer(0), None), Rights::Root);
        assert_eq!(rights_of(peer(7), None), Rights::Owner(7));
        let nobody_is_in = Some("no such group");
        assert_eq!(rights_of(peer(7), nobody_is_in), Rights::Owner(7));
        let member = Peer {
            group: 0,
            ..peer(7)
        };
        let rights = rights_of(member, Some("root"));
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
    fn that_it_cannot_be_told_whose_a_process_is_is_no_denial() {
        let folder = tempfile::tempdir().unwrap();
        let source = HostProcesses::at(ProcRoot::at(folder.path()), Limits::default());
        let own = folder.path().join("42");
        std::fs::create_dir_all(own.join("task/42")).unwrap();
        // The file of its memory is ours, so it is, too.
        let (us, other) = (Uid::effective().as_raw(), 7_007);
        let status = format!("Name:\ta\nTgid:\t42\nTracerPid:\t0\nUid:\t{us}\t{us}\t{us}\t{us}\n");
        std::fs::write(own.join("status"), status).unwrap();
        std::fs::write(own.join("maps"), "").unwrap();
        let stat = format!("42 (a) S 1 {}42 0 0\n", "0 ".repeat(17));
        std::fs::write(own.join("stat"), stat).unwrap();
        let pid = Pid::new(42).unwrap();
        let rights = Rights::Owner(us);
        let looks = || Rights::looks(&Stop::default());
        let (id, _) = rights.pin(&source, pid, &mut looks()).unwrap();
        assert!(rights.include_process(&source, id, &mut looks()).unwrap());
        assert!(
            !Rights::Owner(other)
                .include_process(&source, id, &mut looks())
                .unwrap()
        );
        // Neither the process nor its threads can be read, as when there are no file descriptors left.
        for (name, kept) in [("status", "kept"), ("task", "kept")] {
            let at = |name: &str| own.join(name);
            std::fs::rename(at(name), at(kept)).unwrap();
            match name {
                "task" => std::fs::write(at(name), "").unwrap(),
                _ => std::fs::create_dir(at(name)).unwrap(),
            }
            let refusals = [
                rights.pin(&source, pid, &mut looks()).unwrap_err(),
                rights
                    .include_process(&source, id, &mut looks())
                    .unwrap_err(),
            ];
            for refusal in refusals {
                let denial = refusal.denial(true).unwrap();
                assert!(denial.starts_with("cannot read process 42: cannot tell whose it is: "));
                let error = refusal.hidden().into_error(None);
                let says = "cannot read process 42: cannot tell whose it is: ";
                assert!(error.message.starts_with(says), "{error}");
                assert!(error.hints[0].starts_with("try again"), "{error}");
            }
            match name {
                "task" => std::fs::remove_file(at(name)).unwrap(),
                _ => std::fs::remove_dir(at(name)).unwrap(),
            }
            std::fs::rename(at(kept), at(name)).unwrap();
        }
        std::fs::remove_dir_all(&own).unwrap();
        assert!(
            !rights.include_process(&source, id, &mut looks()).unwrap(),
            "it has ended"
        );
    }

    #[test]
    fn denials_say_why() {
        let pid = Pid::new(42).unwrap();
        let refusal = |users| Refusal::NotAllowed {
            pid,
            objection: Objection::NotYours { user: 7, users },
            lacks: None,
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
        let error = Refusal::NotAllowed {
            pid,
            objection: Objection::NotDumpable { user: 7 },
            lacks: None,
        };
        let error = error.into_error(None);
        assert!(error.message.contains("42 is not dumpable"), "{error}");
        for (lacks, hint) in [
            (None, "root and"),
            (Some("use another unit"), "use another"),
        ] {
            let error = Refusal::NotAllowed {
                pid,
                objection: Objection::NotYours {
                    user: OVERFLOW_USER,
                    users: UserIds::all(OVERFLOW_USER),
                },
                lacks: lacks.map(str::to_owned),
            };
            let hints = error.into_error(Some("staff")).hints;
            assert!(
                hints[0].starts_with(hint) && hints[1] == DIRECT,
                "{hints:?}"
            );
        }
        let hidden = || Refusal::Hidden {
            pid,
            lacks: Some("give it CAP_SYS_PTRACE".to_owned()),
        };
        let error = hidden().into_error(None);
        assert_eq!(error.code, "process_not_found");
        assert_eq!(error.message, "no process 42");
        assert!(error.hints[0].contains("CAP_SYS_PTRACE"), "{error}");
        // Where processes are hidden, one of somebody else is as one that does not exist.
        let missing = Refusal::from(ProcessError::NotFound { pid }).into_error(None);
        for hidden in [refusal(UserIds::all(0)), hidden()] {
            assert_eq!(hidden.hidden().into_error(None), missing);
        }
        let denial = refusal(UserIds::all(0)).denial(true);
        assert!(denial.is_some_and(|it| it.contains("belongs to user 0")));
    }
}
