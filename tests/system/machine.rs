//! A Debian with systemd that is booted for a test: the one that `tests/machine.sh` brings, by systemd-nspawn. What it
//! writes is in memory and gone when it ends. It has no network but its own loopback device.

use crate::support::agentctl::Answer;
use crate::support::target::{text_of, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a message of systemd-nspawn is waited for, and how often: longer than booting takes.
const MOMENT: Duration = Duration::from_millis(200);
const MOMENTS_MAX: usize = 600;

/// Where the machine sees what is bound into it.
pub(crate) const PYTHON: &str = "/opt/interpreters/bin/python3.14";
pub(crate) const PROGRAMS: &str = "/opt/programs";

/// A machine that runs.
pub(crate) struct Machine {
    nspawn: Child,
    /// Its init, as seen from here.
    init: u32,
    /// What is shared with it, at /opt/test.
    folder: tempfile::TempDir,
    console: File,
}

impl Machine {
    /// Boots one and waits until it stands.
    pub(crate) fn boot() -> Self {
        assert!(
            nix::unistd::Uid::effective().is_root(),
            "booting a machine takes root: sudo make test-system"
        );
        let system = brought("target/machine/system", "make machine");
        let nspawn = brought("target/systemd/bin/systemd-nspawn", "make systemd");
        let interpreters = brought("target/interpreters", "make interpreters");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let notify = folder.path().join("notify");
        let manager = UnixDatagram::bind(&notify).expect("a socket");
        let console = tempfile::tempfile().expect("a temporary file");
        let output = || console.try_clone().expect("a second handle");
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/programs");
        let bound = |from: &Path, to: &str| format!("--bind-ro={}:{to}", from.display());
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("asyncio-agent-test-{}-{count}", std::process::id());
        // If this process is killed, the machine ends as well.
        let nspawn = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(nspawn)
            .args(["--quiet", "--boot", "--register=no", "--keep-unit"])
            .args([
                "--private-network",
                "--volatile=overlay",
                "--notify-ready=yes",
            ])
            .args(["--console=pipe"])
            .arg(format!("--machine={name}"))
            .arg(format!("--directory={}", system.display()))
            .arg(bound(&interpreters, "/opt/interpreters"))
            .arg(bound(&programs, PROGRAMS))
            .arg(bound(folder.path(), "/opt/test"))
            .env("NOTIFY_SOCKET", &notify)
            // Several tests boot the same files, and none writes to them.
            .env("SYSTEMD_NSPAWN_LOCK", "0")
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .spawn()
            .expect("setpriv of util-linux");
        let mut machine = Self {
            nspawn,
            init: 0,
            folder,
            console: output(),
        };
        machine.wait_for_boot(&manager);
        machine
    }

    /// systemd-nspawn tells who is init of what it boots, and when that stands.
    fn wait_for_boot(&mut self, manager: &UnixDatagram) {
        manager
            .set_read_timeout(Some(MOMENT))
            .expect("a time limit");
        let mut message = [0; 4_096];
        for _ in 0..MOMENTS_MAX {
            if !matches!(self.nspawn.try_wait(), Ok(None)) {
                break;
            }
            let Ok(len) = manager.recv(&mut message) else {
                continue;
            };
            let text = String::from_utf8_lossy(&message[..len]).into_owned();
            for line in text.lines() {
                if let Some(pid) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                    self.init = pid.parse().expect("a process id");
                } else if line == "READY=1" && self.init != 0 {
                    return;
                }
            }
        }
        let console = text_of(&mut self.console);
        panic!("the machine did not boot:\n{console}");
    }

    /// A command that is to run in it, as root.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init))
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"])
            .args(["--root", "--wdns=/", "--"])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a command in it as root.
    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        Answer::of(self.command(arguments))
    }

    /// Runs a command as another user, with the groups of it.
    pub(crate) fn run_as(&self, user: &str, arguments: &[&str]) -> Answer {
        let mut all = vec!["runuser", "-u", user, "--"];
        all.extend(arguments);
        self.run(&all)
    }

    /// What a command prints that must succeed.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let answer = self.run(arguments);
        assert_eq!(answer.status, 0, "{arguments:?}: {answer:?}");
        answer.stdout
    }

    /// What a line of the shell prints that must succeed.
    pub(crate) fn sh(&self, line: &str) -> String {
        self.done(&["sh", "-ec", line])
    }

    /// Writes a file in it.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let here = self.folder.path().join("written");
        fs::write(here, text).expect("a temporary file");
        self.sh(&format!(
            "mkdir -p $(dirname {path}); cat /opt/test/written >{path}"
        ));
    }

    /// Brings a file from here into it, and tells where it is there.
    pub(crate) fn bring(&self, path: &Path) -> String {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("a file with a name");
        fs::copy(path, self.folder.path().join(name)).expect("a file that can be copied");
        format!("/opt/test/{name}")
    }

    /// A property of a unit, as `systemctl show` tells it.
    pub(crate) fn property(&self, unit: &str, property: &str) -> String {
        let value = self.done(&["systemctl", "show", "--value", "--property", property, unit]);
        value.trim().to_owned()
    }

    /// The main process of a unit, as it is numbered in there.
    pub(crate) fn main_pid(&self, unit: &str) -> String {
        self.property(unit, "MainPID")
    }

    pub(crate) fn wait_for_property(&self, unit: &str, property: &str, value: &str) {
        wait_until(&format!("{property} of {unit} is {value}"), || {
            self.property(unit, property) == value
        });
    }

    /// What a unit has logged.
    pub(crate) fn log(&self, unit: &str) -> String {
        self.done(&["journalctl", "--sync"]);
        self.done(&["journalctl", "--quiet", "--output=cat", "--unit", unit])
    }

    /// What is answered to GET on port 9849 of it, with the head.
    pub(crate) fn get(&self, path: &str) -> Answer {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/9849; printf 'GET {path} HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3; cat <&3"
        );
        self.run(&["bash", "-c", &script])
    }

    /// The value of a series of /metrics, such as `asyncio_tasks{target="shop"}`; the start of it is enough.
    pub(crate) fn series(&self, start: &str) -> Option<String> {
        let answer = self.get("/metrics");
        let line = answer.stdout.lines().find(|line| line.starts_with(start))?;
        line.rsplit(' ').next().map(str::to_owned)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With its init everything in it ends, and systemd-nspawn, which then clears up; unlike when it is killed.
        let ended = match i32::try_from(self.init) {
            Ok(init @ 1..) => kill(Pid::from_raw(init), Signal::SIGKILL).is_ok(),
            _ => false,
        };
        if !ended {
            let _ = self.nspawn.kill();
        }
        let _ = self.nspawn.wait();
    }
}

/// What a script under `tests/` has brought.
pub(crate) fn brought(path: &str, how: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    assert!(path.exists(), "{} is missing: {how}", path.display());
    path
}
