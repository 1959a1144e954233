//! Where an agent listens for `agentctl`, and everybody can ask it: as whoever runs the test, or as another user.

use super::agentctl::Answer;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A folder that everybody may enter, with an `agentctl` that everybody may run, and the path of a socket in it.
pub struct Place {
    pub folder: TempDir,
    pub socket: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let copy = folder.path().join("agentctl");
        fs::copy(env!("CARGO_BIN_EXE_agentctl"), &copy).expect("a program that can be copied");
        for path in [folder.path(), &copy] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).expect("our own file");
        }
        let socket = folder.path().join("agent.sock");
        Self { folder, socket }
    }

    /// The configuration of an agent that listens here.
    pub fn config(&self, group: &str, rest: &str) -> String {
        let socket = self.socket.display();
        format!(
            "web: {{listen: 127.0.0.1:0}}\ncontrol: {{socket: '{socket}', group: {group}}}\n\
             discovery: {{interval: 20ms}}\ntargets: {rest}\n"
        )
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.folder.path().join("agentctl"));
        command
            .env("ASYNCIO_AGENT_SOCKET", &self.socket)
            .current_dir("/")
            .args(arguments);
        command
    }

    /// Asks as whoever runs the test.
    pub fn ask(&self, arguments: &[&str]) -> Answer {
        Answer::of(self.command(arguments))
    }

    /// Asks as another user, which takes root.
    pub fn ask_as(&self, user: u32, group: u32, arguments: &[&str]) -> Answer {
        let mut command = self.command(arguments);
        command.uid(user).gid(group);
        Answer::of(command)
    }

    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("the agent listens");
        let patience = Some(Duration::from_secs(60));
        stream
            .set_read_timeout(patience)
            .expect("a socket has timeouts");
        stream
    }
}

/// It did what was asked, and had nothing to say.
pub fn check_done(answer: &Answer) {
    assert_eq!((answer.status, &*answer.stderr), (0, ""), "{answer:?}");
}

pub fn check_refused(answer: &Answer, status: i32, says: &[&str]) {
    assert_eq!((answer.status, &*answer.stdout), (status, ""), "{answer:?}");
    for text in says {
        assert!(answer.stderr.contains(text), "no {text:?} in {answer:?}");
    }
}

/// A group of this machine that is not root's.
pub fn a_group() -> (String, u32) {
    let groups = fs::read_to_string("/etc/group").expect("every machine has one");
    let mut groups = groups.lines().filter_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        let id = parts.nth(1)?.parse().ok()?;
        (id != 0).then(|| (name.to_owned(), id))
    });
    groups.next().expect("every machine has one")
}
