//! The agent under a service manager: what it tells systemd, by the socket of sd_notify(3), and the unit that is
//! delivered.
#![cfg(feature = "agent")]
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::agent::Agent;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

const GOOD: &str = "web: {listen: 127.0.0.1:0}\ntargets: []\n";

/// What stands in place of systemd.
struct Manager {
    socket: UnixDatagram,
    path: String,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            path: path.to_str().unwrap().to_owned(),
            _folder: folder,
        }
    }

    /// The lines of the next message.
    fn next(&self) -> Vec<String> {
        let mut message = [0; 4_096];
        let len = self.socket.recv(&mut message).expect("a message");
        let text = String::from_utf8_lossy(&message[..len]).into_owned();
        text.lines().map(str::to_owned).collect()
    }

    /// The next message that has such a line.
    fn wait_for(&self, line: &str) -> Vec<String> {
        loop {
            let message = self.next();
            if message.iter().any(|it| it == line) {
                return message;
            }
        }
    }
}

#[test]
fn the_service_manager_is_told_what_the_agent_does() {
    let manager = Manager::new();
    // It wants to hear something within two fifths of a second.
    let environment = [
        ("NOTIFY_SOCKET", &*manager.path),
        ("WATCHDOG_USEC", "400000"),
    ];
    let agent = Agent::start_with(GOOD, &environment);
    manager.wait_for("READY=1");
    // Until it has looked for processes the first time, it says that it does.
    let status = |beat: &[String]| {
        beat.iter()
            .find(|line| line.starts_with("STATUS="))
            .cloned()
    };
    let mut beat = manager.wait_for("WATCHDOG=1");
    while status(&beat).as_deref() == Some("STATUS=looking for processes") {
        beat = manager.wait_for("WATCHDOG=1");
    }
    for _ in 0..3 {
        let figures = "STATUS=0 processes watched, 0 await cycles, 0 stuck tasks";
        assert_eq!(status(&beat).as_deref(), Some(figures), "{beat:?}");
        beat = manager.wait_for("WATCHDOG=1");
    }
    // A reload ends with being ready, whether it was a good one or not.
    for config in [GOOD, "targets: {broken}\n"] {
        agent.rewrite(config);
        agent.signal("HUP");
        let reloading = manager.wait_for("RELOADING=1");
        let has_time = |line: &String| line.starts_with("MONOTONIC_USEC=");
        assert!(reloading.iter().any(has_time), "{reloading:?}");
        manager.wait_for("READY=1");
    }
    let (status, log) = agent.end_with("TERM");
    assert!(status.success(), "{log}");
    manager.wait_for("STOPPING=1");
}

#[test]
fn nobody_is_told_without_a_service_manager() {
    let agent = Agent::start(GOOD);
    let (status, log) = agent.end_with("TERM");
    assert!(status.success());
    assert!(!log.contains("service manager"), "{log}");
}

/// Whoever starts it without the capability finds out by the log, and not by figures that stay away.
#[test]
fn an_agent_without_its_capability_says_so_once() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("asyncio-agent");
    fs::copy(env!("CARGO_BIN_EXE_asyncio-agent"), &copy).unwrap();
    let for_all = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    for_all(folder.path());
    let start = |setpriv: &[&str]| {
        let agent = Agent::start_command(GOOD, |config| {
            for_all(config.parent().unwrap());
            let mut command = Command::new("setpriv");
            command.args(setpriv).arg(&copy).arg("--config").arg(config);
            command.current_dir("/");
            command
        });
        agent.end_with("TERM").1
    };
    let told = |log: &str| {
        let lines = log.lines();
        let about = lines.filter(|line| line.contains("without CAP_SYS_PTRACE"));
        about.map(str::to_owned).collect::<Vec<_>>()
    };
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut without = vec![&["--inh-caps=-all"][..]];
    if is_root {
        without = vec![
            &["--reuid=65534", "--regid=65534", "--clear-groups"],
            // Root is not enough.
            &["--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"],
        ];
    }
    for setpriv in without {
        let log = start(setpriv);
        let [line] = &told(&log)[..] else {
            panic!("{setpriv:?}: {log}")
        };
        for part in ["level=warn", "own user", "AmbientCapabilities="] {
            assert!(line.contains(part), "{line}");
        }
    }
    if is_root {
        let log = start(&["--inh-caps=+sys_ptrace"]);
        assert_eq!(told(&log), [""; 0], "{log}");
    }
}

/// However large cores may be, and whoever takes them: it would hold what was read of others. systemd ends what hangs by this signal.
#[test]
fn no_core_is_made_of_it() {
    let config = "web: {listen: 127.0.0.1:0}\ncontrol: {socket: none}\ntargets: []\n";
    let folder = tempfile::tempdir().unwrap();
    let cores = folder.path().to_owned();
    let agent = Agent::start_command(config, |config| {
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"])
            .arg(env!("CARGO_BIN_EXE_asyncio-agent"))
            .arg("--config")
            .arg(config)
            .current_dir(&cores);
        command
    });
    let (status, _) = agent.end_with("ABRT");
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The systemd-analyze that `tests/systemd.sh` brings.
fn systemd_analyze() -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/systemd/bin/systemd-analyze");
    assert!(path.exists(), "{} is missing: make systemd", path.display());
    Command::new(path)
}

fn unit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd/asyncio-agent.service")
}

#[test]
fn the_unit_exposes_as_little_as_it_can() {
    let output = systemd_analyze()
        .args(["security", "--offline=true", "--threshold=16"])
        .arg(unit())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
}

#[test]
fn systemd_understands_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/systemd/unpacked/root");
    let make = |path: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    // What the unit starts must be there, and the units that it names.
    for program in ["usr/bin/asyncio-agent", "bin/sh"] {
        fs::copy("/bin/true", make(program)).unwrap();
    }
    let units = make("usr/lib/systemd/system/asyncio-agent.service");
    fs::copy(unit(), &units).unwrap();
    for name in unpacked.join("usr/lib/systemd/system").read_dir().unwrap() {
        let name = name.unwrap();
        if name.file_type().unwrap().is_file() {
            fs::copy(name.path(), units.with_file_name(name.file_name())).unwrap();
        }
    }
    let drop_in = make("usr/lib/systemd/system/asyncio-agent.service.d/freeze.conf");
    fs::copy(unit().with_file_name("freeze.conf"), drop_in).unwrap();
    let output = systemd_analyze()
        .args(["verify", "--man=no"])
        .arg(format!("--root={}", folder.path().display()))
        .arg("asyncio-agent.service")
        .output()
        .unwrap();
    // What it does not understand it ignores, and says so.
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{told}");
}
