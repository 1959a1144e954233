//! The daemon as a program: its command line, its exit statuses, its log, its end.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its end")]
#![cfg(feature = "agent")]
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asyncio-agent"));
    command.stdin(Stdio::null());
    command
}

struct Config {
    dir: tempfile::TempDir,
}

impl Config {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("agent.yaml"), text).unwrap();
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("agent.yaml")
    }

    fn run(&self, more: &[&str]) -> Output {
        command()
            .arg("--config")
            .arg(self.path())
            .args(more)
            .output()
            .unwrap()
    }

    /// The text with the folder left out.
    fn plain(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

/// A running daemon. Killed if the test forgets it.
struct Daemon {
    child: Child,
    log: BufReader<ChildStderr>,
    seen: String,
    _config: Config,
}

impl Daemon {
    fn start(text: &str) -> Self {
        Self::start_with(text, |_| ())
    }

    fn start_with(text: &str, change: impl FnOnce(&mut Command)) -> Self {
        let config = Config::new(text);
        let mut command = command();
        command
            .arg("--config")
            .arg(config.path())
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            log,
            seen: String::new(),
            _config: config,
        }
    }

    /// Reads the log up to a line with `text` in it; returns what follows it there.
    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            let n = self.log.read_line(&mut line).unwrap();
            assert_ne!(n, 0, "the log ended without {text:?}:\n{}", self.seen);
            self.seen += &line;
            if let Some((_, rest)) = line.split_once(text) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Sends the signal, such as `TERM`; returns the exit status and the whole log.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let kill = format!("kill -{signal} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(status.success());
        let mut seen = std::mem::take(&mut self.seen);
        self.log.read_to_string(&mut seen).unwrap();
        (self.child.wait().unwrap().code(), seen)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status line of `/-/ready` at this port, if somebody answers.
fn readiness(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = "GET /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line)
}

#[test]
fn a_log_that_nobody_can_write_or_reads_stops_nothing() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    // As much as a pipe holds (pipe(7)).
    writer.write_all(&[b'x'; 65_536]).unwrap();
    for stderr in [Stdio::from(full), Stdio::from(writer)] {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = Config::new(&format!(
            "web: {{listen: '127.0.0.1:{port}'}}\ntargets: []\n"
        ));
        let mut command = command();
        command.arg("--config").arg(config.path()).stderr(stderr);
        let mut child = command.spawn().unwrap();
        while !readiness(port).is_some_and(|line| line.contains(" 200 ")) {
            assert_eq!(child.try_wait().unwrap(), None, "it goes on");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let kill = format!("kill -TERM {}", child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    drop(reader);
}

#[test]
fn lines_of_the_log_that_nobody_takes_are_counted() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'x'; 65_535]).unwrap();
    writer.write_all(b"\n").unwrap();
    let config = Config::new("web: {listen: 127.0.0.1:0}\n");
    let socket = config.path().with_extension("sock");
    let text = |n: usize| {
        let target = |at: usize| format!("- {{name: t{at}, match: {{user: nobody-{at}}}}}\n");
        let targets: String = (0..n).map(target).collect();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        (
            port,
            format!(
                "web: {{listen: '127.0.0.1:{port}'}}\ncontrol: {{socket: {}}}\ntargets:\n{targets}",
                socket.display()
            ),
        )
    };
    // A line for each user that there is not: more than wait to be written.
    let (port, text) = text(11_000);
    std::fs::write(config.path(), text).unwrap();
    let mut command = command();
    command.arg("--config").arg(config.path()).stderr(writer);
    let mut agent = command.spawn().unwrap();
    drop(command);
    wait_for_lost_lines(&mut agent, port);
    // That is told as soon as somebody takes lines again.
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    let told = lines.find(|line| line.contains("msg=\"lines of the log were lost"));
    let told = told.unwrap();
    let n_lost: u64 = told.rsplit_once(" lines=").unwrap().1.parse().unwrap();
    assert!((1..=11_100).contains(&n_lost), "{told}");
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[test]
fn lines_of_the_log_that_cannot_be_written_are_counted() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let config = Config::new(&format!("web: {{listen: '127.0.0.1:{port}'}}\n"));
    let mut command = command();
    command.arg("--config").arg(config.path());
    command.stderr(full.unwrap());
    let mut agent = command.spawn().unwrap();
    wait_for_lost_lines(&mut agent, port);
    agent.kill().unwrap();
    agent.wait().unwrap();
}

/// Waits until the agent says on this port that lines of its log were lost.
fn wait_for_lost_lines(agent: &mut Child, port: u16) {
    let lost = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let prefix = "asyncio_agent_log_lines_lost_total ";
        let lost = lines.find_map(|line| line.strip_prefix(prefix)?.parse::<f64>().ok());
        lost.filter(|lost| *lost > 0.0)
    };
    while lost().is_none() {
        assert_eq!(agent.try_wait().unwrap(), None, "it goes on");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn it_serves_until_it_is_told_to_stop() {
    for signal in ["TERM", "INT"] {
        let mut daemon = Daemon::start(
            "web: {listen: 127.0.0.1:0}\n\
             targets: [{name: \"a \\\"b\\\"\", match: {pid: 1}, interval: 50ms}]\n",
        );
        let address = daemon.wait_for("listening\" address=");
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.contains("asyncio_target_up{target=\"a \\\"b\\\"\"} 0\n"),
            "{answer}"
        );
        // Connections that wait for something do not keep it.
        let idle = TcpStream::connect(&address).unwrap();
        let (status, log) = daemon.end(signal);
        assert_eq!(status, Some(0), "{log}");
        assert!(
            log.contains(&format!("stopping\" signal=\"SIG{signal}\"")),
            "{log}"
        );
        drop(idle);
    }
}

#[test]
fn it_has_the_allocator_give_memory_back() {
    let config = "web: {listen: 127.0.0.1:0}\ntargets: []\n";
    for given in [None, Some("7")] {
        let mut daemon = Daemon::start_with(config, |command| {
            let _ = match given {
                Some(arenas) => command.env("MALLOC_ARENA_MAX", arenas),
                None => command.env_remove("MALLOC_ARENA_MAX"),
            };
        });
        daemon.wait_for("listening\" address=");
        let proc = |file: &str| {
            let path = format!("/proc/{}/{file}", daemon.child.id());
            String::from_utf8(std::fs::read(path).unwrap()).unwrap()
        };
        let environment = proc("environ");
        let expected = format!("MALLOC_ARENA_MAX={}", given.unwrap_or("2"));
        for setting in [&*expected, "MALLOC_MMAP_THRESHOLD_=1048576"] {
            assert!(environment.split('\0').any(|it| it == setting), "{setting}");
        }
        // It goes by its name, not by the file it was executed from.
        assert_eq!(proc("comm"), "asyncio-agent\n");
        assert!(proc("cmdline").contains("\0--config\0"));
    }
}

#[test]
fn a_round_is_no_news() {
    let mut daemon = Daemon::start(
        "web: {listen: 127.0.0.1:0}\ndiscovery: {interval: 10ms}\n\
         targets: [{name: one, match: {pid: 1}, interval: 10ms}]\n",
    );
    let address = daemon.wait_for("listening\" address=");
    // Some rounds of whatever process 1 is here; it cannot be a Python that comes and goes.
    loop {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let rounds = answer.lines().filter_map(|line| {
            let (_, count) = line
                .strip_prefix("asyncio_agent_scans_total{target=\"one\",")?
                .split_once(' ')?;
            count.parse::<u64>().ok()
        });
        if rounds.sum::<u64>() >= 4 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let (_, log) = daemon.end("TERM");
    assert!(log.lines().count() <= 8, "{log}");
}

#[test]
fn a_bad_configuration_is_refused() {
    let config = Config::new("web: {listen: nowhere}\ntargets: [{name: a}]\n");
    let expected = expect_test::expect![[r#"
        agent.yaml:1:15: web.listen: <hidden> is not an address to listen on, expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'
            web: {listen: <hidden>
                          ^
        agent.yaml:2:11: targets[0].match: missing, expected `auto`, or a map with one or more of these conditions, or a list of such maps: executable, command, user, systemd_unit, cgroup, container_id, parent, pid
            targets: [{name: a}]
                      ^
        asyncio-agent: agent.yaml cannot be used: 2 problems
    "#]];
    for more in [&[][..], &["--check"]] {
        let output = config.run(more);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(output.stdout, b"");
        expected.assert_eq(&config.plain(&output.stderr));
    }
}

#[test]
fn very_many_problems_are_counted() {
    let keys: Vec<_> = (0..60).map(|n| format!("key{n}: {{}}\n")).collect();
    let output = Config::new(&keys.concat()).run(&[]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("agent.yaml: 10 more problems\n"),
        "{stderr}"
    );
    assert!(
        stderr.ends_with("agent.yaml cannot be used: 60 problems\n"),
        "{stderr}"
    );
}

#[test]
fn a_good_configuration_is_checked() {
    let config = Config::new("targets: [{name: a, match: {pid: 1}}]\n");
    let output = config.run(&["--check"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(config.plain(&output.stdout), "agent.yaml: ok, 1 target\n");
    assert_eq!(output.stderr, b"");
}

#[test]
fn the_web_file_is_checked_but_not_ignored() {
    let config = Config::new("web: {listen: 127.0.0.1:0, config_file: web.yaml}\n");
    let web_file = config.dir.path().join("web.yaml");
    std::fs::write(&web_file, "basic_auth_users: {a: b}\n").unwrap();
    let output = config.run(&["--check"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = config.plain(&output.stderr);
    assert!(
        stderr.starts_with("web.yaml:1:23: basic_auth_users.a: not a bcrypt"),
        "{stderr}"
    );
    // A file that is named to keep others out, and keeps nobody out.
    for (text, told) in [
        ("", "web.yaml:1:1: nothing, expected tls_server_config or"),
        ("# users\n", "web.yaml:2:1: nothing, expected"),
        ("{}\n", "web.yaml:1:1: neither TLS nor users, expected"),
        (
            "basic_auth_users:\n",
            "web.yaml:1:1: neither TLS nor users, expected",
        ),
        (
            "basic_auth_users: {}\n",
            "web.yaml:1:19: basic_auth_users: no users, expected at least one",
        ),
    ] {
        std::fs::write(&web_file, text).unwrap();
        for args in [&["--check"][..], &["--log-level", "error"]] {
            let output = config.run(args);
            assert_eq!(output.status.code(), Some(2), "{text:?}");
            let stderr = config.plain(&output.stderr);
            assert!(stderr.starts_with(told), "{text:?}: {stderr}");
        }
    }
    let hash = "$2y$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234";
    std::fs::write(&web_file, format!("basic_auth_users: {{a: {hash}}}\n")).unwrap();
    assert_eq!(config.run(&["--check"]).status.code(), Some(0));
    // To serve without what is asked for there would be worse than not to serve.
    let tls = "tls_server_config: {cert_file: none.pem, key_file: none.key}\n";
    std::fs::write(&web_file, tls).unwrap();
    let output = config.run(&["--check"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = config.plain(&output.stderr);
    let told = "web.yaml:1:32: tls_server_config.cert_file: \"none.pem\": No such file";
    assert!(stderr.starts_with(told), "{stderr}");
    let output = config.run(&["--log-level", "error"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = config.plain(&output.stderr);
    assert!(stderr.starts_with(told), "{stderr}");
}

#[test]
fn a_user_that_there_is_not_is_told_in_the_log() {
    let config =
        "web: {listen: 127.0.0.1:0}\ntargets: [{name: a, match: {user: nobody-has-this-name}}]\n";
    let told = Daemon::start(config).wait_for("no such user on this machine");
    assert!(told.contains("user=nobody-has-this-name"), "{told}");
}

#[test]
fn a_missing_configuration_is_told() {
    let config = Config::new("");
    std::fs::remove_file(config.path()).unwrap();
    let output = config.run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        config.plain(&output.stderr),
        "asyncio-agent: cannot read agent.yaml: No such file or directory (os error 2)\n"
    );
}

#[test]
fn an_address_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = Config::new(&format!("web: {{listen: '{address}'}}\n"));
    let output = config.run(&["--log-level", "error"]);
    assert_eq!(output.status.code(), Some(7));
    let stderr = config.plain(&output.stderr);
    assert_eq!(
        stderr,
        format!(
            "asyncio-agent: cannot listen on {address}: Address already in use (os error 98)\n  \
             hint: another program listens there; stop it, or set another address in web.listen\n"
        )
    );
}

/// What trying again does not mend ends with a status after which systemd does not try again.
#[test]
fn a_socket_that_can_never_be_is_told_as_a_bad_configuration() {
    let config = Config::new("");
    let folder = std::path::Path::new(&config.path())
        .parent()
        .unwrap()
        .to_owned();
    let file = folder.join("file");
    std::fs::write(&file, "precious").unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    for socket in [at("no/agent.sock"), at("file/agent.sock"), at("file")] {
        let text = format!("web: {{listen: 127.0.0.1:0}}\ncontrol: {{socket: '{socket}'}}\n");
        std::fs::write(config.path(), text).unwrap();
        let output = config.run(&["--log-level", "error"]);
        let told = config.plain(&output.stderr);
        assert!(told.contains("control.socket: cannot listen on "), "{told}");
        assert_eq!(output.status.code(), Some(2), "{told}");
    }
    // The agent that listens there may end.
    let socket = at("agent.sock");
    let _taken = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let text = format!("web: {{listen: 127.0.0.1:0}}\ncontrol: {{socket: '{socket}'}}\n");
    std::fs::write(config.path(), text).unwrap();
    assert_eq!(config.run(&[]).status.code(), Some(7));
}

/// The lines of a log in JSON, each an object.
fn json_lines(log: &str) -> Vec<serde_json::Value> {
    let lines = log.lines().map(|line| match serde_json::from_str(line) {
        Ok(line @ serde_json::Value::Object(_)) => line,
        other => panic!("{line}: {other:?}"),
    });
    lines.collect()
}

#[test]
fn the_log_can_be_json() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = Config::new(&format!("web: {{listen: '{address}'}}\n"));
    // What it says before it has begun, and why it ends, are lines like all others.
    let output = config.run(&["--log.format", "json", "--log.level=warn"]);
    assert_eq!(output.status.code(), Some(7));
    let lines = json_lines(&config.plain(&output.stderr));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["level"], "error");
    assert_eq!(lines[0]["msg"], "the agent cannot run");
    let error = lines[0]["error"].as_str().unwrap();
    assert!(error.contains("Address already in use"), "{error}");
    assert!(lines[0]["hint"].is_string() && lines[0]["time"].is_string());

    let config = Config::new("web: {listen: secret-token, nonsense: 1}\n");
    let output = config.run(&["--log-format=json"]);
    assert_eq!(output.status.code(), Some(2));
    let lines = json_lines(&config.plain(&output.stderr));
    assert_eq!(lines.len(), 1, "{lines:?}");
    let error = lines[0]["error"].as_str().unwrap();
    assert!(error.contains("web.nonsense: unknown key"), "{error}");
    // A line of the configuration may hold secrets.
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn usage() {
    for (arguments, status) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&[], 2),
        (&["--config"], 2),
        (&["--config", "a", "--nonsense"], 2),
        (&["--config", "a", "b"], 2),
        (&["--config", "a", "--log-format", "xml"], 2),
        (&["--config", "a", "--log-level", "loud"], 2),
    ] {
        let output = command().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert_eq!(output.stdout.is_empty(), status != 0, "{arguments:?}");
    }
}
