//! A process to look at: started, waited for until it stands, and ended again, by its pid.

use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Longer than any program here takes on a machine with better things to do.
const START_MAX: Duration = Duration::from_secs(120);

/// A running program that has said what it is.
#[derive(Debug)]
pub struct Target {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Its pid as seen from here; not the child's when something stands between.
    pid: u32,
    /// The line it printed when it stood.
    pub truth: Value,
}

impl Target {
    /// Starts a program and waits for its line of truth.
    pub fn start(mut command: Command) -> Self {
        let mut errors = tempfile::tempfile().expect("a temporary file");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone().expect("a second handle"))
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout is piped");
        let pid = child.id();
        // From here on Drop ends the child, whatever happens.
        let mut target = Self {
            child,
            stdin,
            pid,
            truth: Value::Null,
        };
        let (send, line) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            // Nobody listens any more if the test has given up.
            let _ = send.send(read.map(|_| line));
        });
        let line = match line.recv_timeout(START_MAX) {
            Ok(Ok(line)) if !line.is_empty() => line,
            other => panic!(
                "{command:?} did not stand: {other:?}\n{}",
                text_of(&mut errors)
            ),
        };
        target.truth = serde_json::from_str(&line).expect("the line of truth is JSON");
        target
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The pid as an argument.
    pub fn pid_text(&self) -> String {
        self.pid.to_string()
    }

    /// Looks at the child's only child from now on: for programs started by way of another one.
    pub fn look_at_child(&mut self) {
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(&path).expect("the kernel lists children");
        self.pid = children
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{path}: {children:?}"));
    }

    /// Writes to the program's standard input.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("open until the end");
        stdin.write_all(bytes).expect("the program reads");
    }

    /// Stops the program, all its threads; returns when they stand.
    pub fn stop(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.pid);
        wait_until("the process is stopped", || {
            let threads = std::fs::read_dir(&tasks).expect("the process lives");
            threads.flatten().all(|thread| {
                let stat = std::fs::read_to_string(thread.path().join("stat"));
                stat.is_ok_and(|text| text.contains(") T "))
            })
        });
    }

    /// Lets a stopped program go on.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.args(["-s", name, &self.pid_text()]);
        assert!(
            kill.status().is_ok_and(|status| status.success()),
            "{kill:?}"
        );
    }

    /// Ends the program by closing its standard input.
    pub fn end(mut self) -> ExitStatus {
        self.stdin.take();
        self.child.wait().expect("our own child can be waited for")
    }

    /// Kills the program and leaves it as a zombie.
    pub fn kill_without_wait(&mut self) {
        self.child.kill().expect("our own child can be killed");
        // It is a zombie as soon as the other end of its pipes is closed.
        let stat = format!("/proc/{}/stat", self.child.id());
        let is_zombie = || std::fs::read_to_string(&stat).is_ok_and(|text| text.contains(") Z "));
        wait_until("the process is a zombie", is_zombie);
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Both fail only for a child that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that nothing announces; fails after half a minute.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    // The first looks come quickly: what is waited for has mostly happened by then.
    for round in 0..700 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(if round < 100 { 1 } else { 50 }));
    }
    panic!("waited in vain: {what}");
}

/// What was written to a file that is still open.
pub fn text_of(file: &mut File) -> String {
    let mut text = Vec::new();
    file.rewind().expect("a regular file");
    file.read_to_end(&mut text).expect("a regular file");
    String::from_utf8_lossy(&text).into_owned()
}
