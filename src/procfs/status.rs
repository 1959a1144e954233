//! `/proc/PID/status`: one line for each field, of which few are used (proc(5)).

use super::UserIds;
use crate::ids::Pid;

/// What is used of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The command name (`Name`); a line feed in it stands there as `\n`.
    pub name: String,
    /// The process that the thread belongs to (`Tgid`).
    pub process: Pid,
    /// The thread that traces it by ptrace(2) (`TracerPid`). `None` also for a tracer that our pid
    /// namespace does not show.
    pub tracer: Option<Pid>,
    /// The user that it runs as: its effective user id (`Uid`, second number).
    pub user: Option<u32>,
    /// All its user ids but that for files (`Uid`).
    pub users: Option<UserIds>,
    /// Its parent (`PPid`). `None`: it has none, or one that our pid namespace does not show.
    pub parent: Option<Pid>,
}

impl Status {
    /// Parses the file's text.
    pub fn parse(status: &[u8]) -> Option<Self> {
        let status = String::from_utf8_lossy(status);
        let field = |name| field(&status, name);
        let users = field("Uid").and_then(ids_of);
        let users = users.map(|[real, effective, saved]| UserIds {
            real,
            effective,
            saved,
        });
        Some(Self {
            name: field("Name")?.to_owned(),
            process: field("Tgid")?.parse().ok()?,
            tracer: Pid::new(field("TracerPid")?.parse().ok()?),
            user: users.map(|users| users.effective),
            users,
            parent: field("PPid").and_then(|parent| parent.parse().ok()),
        })
    }
}

/// The value of a field.
pub(super) fn field<'s>(status: &'s str, name: &str) -> Option<&'s str> {
    let mut lines = status.lines();
    lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// The real, effective and saved id in the value of `Uid` or `Gid`.
pub(super) fn ids_of(text: &str) -> Option<[u32; 3]> {
    let mut ids = text.split_ascii_whitespace().map(str::parse);
    let mut next = || ids.next()?.ok();
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traced_thread() {
        let text = b"Name:\tTracerPid:\\n5\nUmask:\t0022\nState:\tt (tracing stop)\nTgid:\t41\n\
                     Ngid:\t0\nPid:\t42\nPPid:\t1\nTracerPid:\t7\nUid:\t1000\t33\t0\t0\n";
        let status = Status::parse(text).unwrap();
        assert_eq!(status.name, "TracerPid:\\n5");
        assert_eq!(status.process.as_raw(), 41);
        assert_eq!(status.tracer, Pid::new(7));
        assert_eq!((status.user, status.parent), (Some(33), Pid::new(1)));
        let ids = status.users.map(|ids| (ids.real, ids.effective, ids.saved));
        assert_eq!(ids, Some((1000, 33, 0)));
        let text = b"Name:\ta\xffb\nTgid:\t41\nTracerPid:\t0\n";
        let status = Status::parse(text).unwrap();
        assert_eq!((status.name.as_str(), status.tracer), ("a\u{fffd}b", None));
    }

    #[test]
    fn what_is_no_status() {
        for text in [
            &b""[..],
            b"Name:\tx\n",
            b"Name:\tx\nTgid:\t0\nTracerPid:\t0\n",
        ] {
            assert_eq!(Status::parse(text), None);
        }
    }
}
