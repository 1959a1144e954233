//! What is known of processes: where it comes from, and that it is read once.

use crate::ids::{Pid, ProcessId};
use crate::procfs::{ProcRoot, ProcfsError, user_id};
use std::cell::OnceCell;
use std::collections::HashMap;

/// Reads facts about processes. What cannot be found out is `None`.
pub trait ReadFacts {
    /// The path of its executable.
    fn executable(&self, process: ProcessId) -> Option<Vec<u8>>;
    /// Whether it has an executable whose path may not be read.
    fn hides_executable(&self, process: ProcessId) -> bool {
        let _ = process;
        false
    }
    /// Its arguments, each ended by a NUL byte.
    fn command_line(&self, process: ProcessId) -> Option<Vec<u8>>;
    /// The user that it runs as, and its parent.
    fn user_and_parent(&self, process: ProcessId) -> Option<(Option<u32>, Option<Pid>)>;
    /// The paths of its control groups.
    fn cgroups(&self, process: ProcessId) -> Option<Vec<Vec<u8>>>;
    /// The user id of a name.
    fn user_id(&self, name: &str) -> Option<u32>;
    /// Whether paths of control groups are shown relative to our own, not to that of the machine.
    fn is_in_cgroup_namespace(&self) -> bool {
        false
    }
}

/// The facts that `/proc` has. A process whose first thread has ended tells some by another one.
impl ReadFacts for ProcRoot {
    fn is_in_cgroup_namespace(&self) -> bool {
        self.is_in_cgroup_namespace()
    }

    fn executable(&self, process: ProcessId) -> Option<Vec<u8>> {
        let by = |thread| self.executable(thread).ok();
        by(process.pid).or_else(|| by(self.living_thread(process.pid).ok()??))
    }

    fn hides_executable(&self, process: ProcessId) -> bool {
        // The kernel asks for the right to look before it looks whether there is anything (fs/proc/base.c,
        // proc_pid_readlink), so that a kernel thread seems to hide one too. It has no command line.
        let is_denied = |thread| matches!(self.executable(thread), Err(ProcfsError::Denied { .. }));
        is_denied(process.pid) && ReadFacts::command_line(self, process).is_some()
    }

    fn command_line(&self, process: ProcessId) -> Option<Vec<u8>> {
        let by = |thread| {
            self.command_line(thread)
                .ok()
                .filter(|line| !line.is_empty())
        };
        by(process.pid).or_else(|| by(self.living_thread(process.pid).ok()??))
    }

    fn user_and_parent(&self, process: ProcessId) -> Option<(Option<u32>, Option<Pid>)> {
        let status = self.status(process.pid).ok()?;
        Some((status.user, status.parent))
    }

    fn cgroups(&self, process: ProcessId) -> Option<Vec<Vec<u8>>> {
        self.cgroups(process.pid).ok()
    }

    fn user_id(&self, name: &str) -> Option<u32> {
        user_id(name)
    }
}

/// The facts of one process, each read when it is first asked for.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) process: ProcessId,
    executable: OnceCell<Option<Vec<u8>>>,
    arguments: OnceCell<Option<Vec<u8>>>,
    /// The arguments joined by spaces.
    command: OnceCell<Option<Vec<u8>>>,
    user_and_parent: OnceCell<Option<(Option<u32>, Option<Pid>)>>,
    cgroups: OnceCell<Option<Vec<Vec<u8>>>>,
    uses_asyncio: OnceCell<Option<bool>>,
}

impl Facts {
    pub(super) fn new(process: ProcessId) -> Self {
        Self {
            process,
            executable: OnceCell::new(),
            arguments: OnceCell::new(),
            command: OnceCell::new(),
            user_and_parent: OnceCell::new(),
            cgroups: OnceCell::new(),
            uses_asyncio: OnceCell::new(),
        }
    }

    pub(super) fn executable(&self, reader: &dyn ReadFacts) -> Option<&[u8]> {
        let read = || reader.executable(self.process);
        self.executable.get_or_init(read).as_deref()
    }

    /// Its arguments; `None` also for a kernel thread, which has none.
    pub(super) fn arguments(&self, reader: &dyn ReadFacts) -> Option<&[u8]> {
        let read = || {
            let arguments = reader.command_line(self.process)?;
            (!arguments.is_empty()).then_some(arguments)
        };
        self.arguments.get_or_init(read).as_deref()
    }

    /// Its arguments, joined by spaces.
    pub(super) fn command(&self, reader: &dyn ReadFacts) -> Option<&[u8]> {
        let read = || Some(joined_by_spaces(self.arguments(reader)?.to_vec()));
        let command = self.command.get_or_init(read).as_deref();
        command.filter(|command| !command.is_empty())
    }

    pub(super) fn user(&self, reader: &dyn ReadFacts) -> Option<u32> {
        self.user_and_parent(reader)?.0
    }

    pub(super) fn parent(&self, reader: &dyn ReadFacts) -> Option<Pid> {
        self.user_and_parent(reader)?.1
    }

    fn user_and_parent(&self, reader: &dyn ReadFacts) -> Option<(Option<u32>, Option<Pid>)> {
        let read = || reader.user_and_parent(self.process);
        *self.user_and_parent.get_or_init(read)
    }

    pub(super) fn cgroups(&self, reader: &dyn ReadFacts) -> &[Vec<u8>] {
        let read = || reader.cgroups(self.process);
        self.cgroups
            .get_or_init(read)
            .as_deref()
            .unwrap_or_default()
    }

    /// Whether it uses asyncio; `None` if it may not be looked at.
    pub(super) fn uses_asyncio(&self, ask: &dyn Fn(ProcessId) -> Option<bool>) -> Option<bool> {
        *self.uses_asyncio.get_or_init(|| ask(self.process))
    }
}

/// The arguments of a command line, which end in NUL bytes, with spaces between them.
fn joined_by_spaces(mut command: Vec<u8>) -> Vec<u8> {
    while command.last() == Some(&0) {
        command.pop();
    }
    for byte in &mut command {
        if *byte == 0 {
            *byte = b' ';
        }
    }
    command
}

/// Suffixes of the names of systemd's units that are control groups (systemd.unit(5)).
const UNIT_SUFFIXES: [&[u8]; 3] = [b".service", b".scope", b".slice"];

/// The names of the units on the path of a control group.
pub(super) fn units_in(cgroup: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = cgroup.split(|byte| *byte == b'/');
    // systemd puts an underscore in front of names that the kernel's own files might have.
    let names = parts.map(|part| part.strip_prefix(b"_").unwrap_or(part));
    names.filter(|name| UNIT_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)))
}

/// The names of the units on these paths, those of one path from the outermost inwards.
pub fn units_of(cgroups: &[Vec<u8>]) -> impl Iterator<Item = &str> {
    let units = cgroups.iter().flat_map(|path| units_in(path));
    units.filter_map(|unit| std::str::from_utf8(unit).ok())
}

/// The id of the innermost container that a control group belongs to: 64 hexadecimal digits, alone or
/// within a name such as `docker-….scope` or `cri-containerd-….scope`.
pub(super) fn container_in(cgroup: &[u8]) -> Option<&[u8]> {
    const DIGITS: usize = 64;
    let parts = cgroup.rsplit(|byte| *byte == b'/');
    let runs = parts.flat_map(|part| part.split(|byte| !byte.is_ascii_hexdigit()));
    let mut ids = runs.filter(|run| run.len() == DIGITS);
    ids.next()
}

/// The position and the process of each pid.
pub(super) fn positions(all: &[Facts]) -> HashMap<Pid, usize> {
    let all = all.iter().enumerate();
    all.map(|(at, facts)| (facts.process.pid, at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_joined_by_spaces() {
        for (raw, joined) in [
            (&b""[..], &b""[..]),
            (b"\0", b""),
            (b"python3\0-m\0app\0", b"python3 -m app"),
            (b"a\0\0b", b"a  b"),
            (b"title: worker 1", b"title: worker 1"),
        ] {
            assert_eq!(joined_by_spaces(raw.to_vec()), joined);
        }
    }

    #[test]
    fn units_are_on_the_path() {
        let path = b"/user.slice/user-7.slice/user@7.service/app.slice/_a.service/b/c.scopes";
        let units: Vec<_> = units_in(path).map(String::from_utf8_lossy).collect();
        let expected = [
            "user.slice",
            "user-7.slice",
            "user@7.service",
            "app.slice",
            "a.service",
        ];
        assert_eq!(units, expected);
        assert_eq!(units_in(b"/").count(), 0);
    }

    #[test]
    fn containers_are_known_by_their_ids() {
        let (a, b) = ("0a".repeat(32), "1b".repeat(32));
        for (path, id) in [
            (format!("/docker/{a}"), Some(&a)),
            (format!("/system.slice/docker-{a}.scope"), Some(&a)),
            (
                format!("/kubepods.slice/pod1_2.slice/cri-containerd-{a}.scope/x"),
                Some(&a),
            ),
            (format!("/docker/{a}/docker/{b}"), Some(&b)),
            (format!("/{a}0"), None),
            (format!("/{}", &a[1..]), None),
            ("/".to_owned(), None),
        ] {
            assert_eq!(
                container_in(path.as_bytes()),
                id.map(|id| id.as_bytes()),
                "{path}"
            );
        }
    }
}
