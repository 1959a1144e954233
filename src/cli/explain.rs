//! What went wrong, in words that say what to do about it, and the exit status that goes with it.

use super::exit::Exit;
#[cfg(feature = "agent")]
use crate::agent::{AgentError, SendError};
#[cfg(feature = "agent")]
use crate::config::{OtlpProtocol, OtlpReceiver};
use crate::graph::Snapshot;
use crate::ids::Pid;
use crate::process::ProcessError;
use crate::procfs::StopReason;
use crate::protocol::SnapshotFormatError;
use crate::sanitize::escape_start;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// Characters of a message or a hint that are shown: it may quote a file.
const MESSAGE_CHARS_MAX: usize = 4_000;
/// Characters of a problem's code that are shown: a file may hold any.
const CODE_CHARS_MAX: usize = 40;

/// What is left to somebody who may not stop a process.
const WITHOUT_FREEZE: &str =
    "without --freeze it is read while it runs, which needs no more than the right to read it";

/// Why a command ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Whoever read the output has gone. Nothing to say about that.
    ReaderGone,
    /// Something failed.
    Failed(Failure),
}

/// Something failed. `Display` gives what is printed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The exit status.
    pub(super) exit: Exit,
    /// What failed.
    pub(super) message: String,
    /// What can be done about it.
    pub(super) hints: Vec<String>,
}

impl Failure {
    /// A failure for which there is no advice.
    pub(super) fn other(message: String) -> Self {
        Self {
            exit: Exit::Failed,
            message,
            hints: Vec::new(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "agentctl: {}", shown(&self.message))?;
        for hint in &self.hints {
            writeln!(f, "  hint: {}", shown(hint))?;
        }
        Ok(())
    }
}

/// The text as it may go to a terminal.
fn shown(text: &str) -> Cow<'_, str> {
    escape_start(text, MESSAGE_CHARS_MAX)
}

/// A snapshot file that cannot be used.
pub(super) fn bad_file(name: &str, error: &SnapshotFormatError) -> Stop {
    let position = match error.position() {
        Some((line, column)) => format!(":{line}:{column}"),
        None => String::new(),
    };
    Stop::Failed(Failure {
        exit: Exit::Failed,
        message: format!("{name}{position}: {error}"),
        hints: match error {
            SnapshotFormatError::Json { .. } | SnapshotFormatError::Empty => {
                vec!["'agentctl schema' prints the form of a snapshot file".to_owned()]
            }
            _ => Vec::new(),
        },
    })
}

/// A process that cannot be read.
pub(super) fn unreadable(error: &ProcessError) -> Stop {
    Stop::Failed(Failure {
        exit: error.into(),
        message: error.to_string(),
        hints: hints(error),
    })
}

fn hints(error: &ProcessError) -> Vec<String> {
    let hint = match error {
        ProcessError::NotFound { .. } => {
            "'pgrep -af python' lists the Python processes; inside a container they have other \
             ids than on its host"
        }
        ProcessError::Gone { .. } => "if it was restarted it has a new id: 'pgrep -af python'",
        ProcessError::Denied { pid, .. } => {
            return permission_hints(*pid);
        }
        ProcessError::Traced { tracer, name, .. } => {
            let hint = match name.as_deref() {
                Some("agentctl") => "another agentctl stops it at the moment: try again".to_owned(),
                _ => format!("a process has one tracer at a time; see 'ps -fp {tracer}'"),
            };
            return vec![hint, WITHOUT_FREEZE.to_owned()];
        }
        ProcessError::FreezeDenied { .. } => {
            let hint = "it may be read, so what refuses is a seccomp filter, a security module, \
                        or a tracer that cannot be seen from here; in a container try it on the \
                        host";
            return vec![hint.to_owned(), WITHOUT_FREEZE.to_owned()];
        }
        ProcessError::NotPython { pid, .. } => {
            return vec![format!(
                "if it starts Python as a child (a shell script, uv run, a supervisor), give the \
                 id of that child: 'pgrep -a -P {pid}'"
            )];
        }
        ProcessError::Unsupported { supported, .. } => {
            return vec![format!(
                "run the program with a final release of one of these versions: {supported}"
            )];
        }
        ProcessError::NotStarted { .. } => "try again in a moment",
        ProcessError::NoAsyncio { pid, .. } => {
            return vec![format!(
                "if it has only just started, try again; if it leaves the work to children, give \
                 the id of one of them: 'pgrep -a -P {pid}'"
            )];
        }
        ProcessError::BadOffsets { .. } => {
            "a modified or damaged Python; with one from python.org or a distribution this is a \
             defect of agentctl: report it with the message above"
        }
        ProcessError::Failed { .. } => "try again; if it stays, report it with the message above",
    };
    vec![hint.to_owned()]
}

/// Traces that have not arrived.
#[cfg(feature = "agent")]
pub(super) fn unsent(error: &SendError, receiver: &OtlpReceiver) -> Stop {
    let hints = match error {
        SendError::Connect { .. } => {
            let default = receiver.protocol.endpoint_default();
            vec![format!(
                "is a receiver of OpenTelemetry running there? on this machine it would be {default} for \
                 {}; --otlp and OTEL_EXPORTER_OTLP_ENDPOINT take others",
                receiver.protocol.as_str()
            )]
        }
        SendError::Refused { why, .. } => vec![refused(why, receiver)],
    };
    Stop::Failed(Failure {
        exit: Exit::Failed,
        message: error.to_string(),
        hints,
    })
}

/// A file of certificates or headers that is of no use.
#[cfg(feature = "agent")]
pub(super) fn unusable_receiver(error: &AgentError) -> Stop {
    Stop::Failed(Failure {
        exit: Exit::Usage,
        message: error.to_string(),
        hints: Vec::new(),
    })
}

/// What may be wrong if somebody listens and does not take what is sent.
#[cfg(feature = "agent")]
fn refused(why: &str, receiver: &OtlpReceiver) -> String {
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if says(&[
        "code: 401",
        "code: 403",
        "Unauthenticated",
        "PermissionDenied",
    ]) {
        return "it wants credentials: OTEL_EXPORTER_OTLP_HEADERS has them, or headers_file in a \
                configuration given by --config"
            .to_owned();
    }
    if says(&["elapsed", "timed out", "Cancelled", "DeadlineExceeded"]) {
        return "it did not answer in time; --timeout, OTEL_EXPORTER_OTLP_TIMEOUT, or timeout in a configuration \
                give it more"
            .to_owned();
    }
    if says(&["InvalidContentType"]) {
        return "it does not speak TLS: give the endpoint with http://".to_owned();
    }
    if says(&["certificate"]) {
        return "OTEL_EXPORTER_OTLP_CERTIFICATE names the file with the authority of its certificate, if this \
                machine does not know it"
            .to_owned();
    }
    let (spoken, other) = match receiver.protocol {
        OtlpProtocol::Grpc => (OtlpProtocol::Grpc, OtlpProtocol::Http),
        OtlpProtocol::Http => (OtlpProtocol::Http, OtlpProtocol::Grpc),
    };
    let (spoken, other) = (spoken.as_str(), other.as_str());
    format!("it was spoken to by {spoken}; if it expects the other: --protocol {other}")
}

/// There is nothing in this program that could send.
#[cfg(not(feature = "agent"))]
pub(super) fn no_exporter() -> Stop {
    Stop::Failed(Failure {
        exit: Exit::Failed,
        message: "an agentctl without the agent sends nothing".to_owned(),
        hints: vec![
            "--print shows what would be sent; build it with the feature agent to send it"
                .to_owned(),
        ],
    })
}

/// What helps when this process may not be read.
pub(super) fn permission_hints(pid: Pid) -> Vec<String> {
    Surroundings::look(pid).permission_hints(pid)
}

/// What the system says about who may read whom. Whatever cannot be found out is left out.
#[derive(Debug, Default)]
struct Surroundings {
    own_uid: Option<u32>,
    owner_uid: Option<u32>,
    /// The process is not dumpable: then its files below `/proc` are not its user's, though its folder
    /// is (task_dump_owner() of fs/proc/base.c).
    is_undumpable: bool,
    ptrace_scope: Option<String>,
}

impl Surroundings {
    fn look(pid: Pid) -> Self {
        let uid = |path: &str| std::fs::metadata(path).ok().map(|found| found.uid());
        let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
        let owner_uid = uid(&format!("/proc/{pid}"));
        let uid_of_file = uid(&format!("/proc/{pid}/maps"));
        Self {
            own_uid: uid("/proc/self"),
            owner_uid,
            is_undumpable: uid_of_file.is_some() && uid_of_file != owner_uid,
            ptrace_scope: scope.ok().map(|scope| scope.trim().to_owned()),
        }
    }

    fn permission_hints(&self, pid: Pid) -> Vec<String> {
        let mut hints = Vec::new();
        match (self.own_uid, self.owner_uid) {
            (Some(0), _) => hints.push(
                "already root, so the capability is missing: a container needs CAP_SYS_PTRACE \
                 (docker run --cap-add=SYS_PTRACE), or run agentctl on the host"
                    .to_owned(),
            ),
            _ if self.is_undumpable => hints.push(format!(
                "process {pid} is not dumpable (prctl(2), PR_SET_DUMPABLE; also after a change of \
                 user): not even the same user may read it, only CAP_SYS_PTRACE helps; run agentctl \
                 with sudo"
            )),
            (Some(own), Some(owner)) if own != owner => hints.push(format!(
                "process {pid} belongs to user {owner} and agentctl runs as user {own}: run it as \
                 the same user, or with sudo"
            )),
            _ => hints.push(
                "run agentctl as the same user as the process, or with sudo; in a container it \
                 needs CAP_SYS_PTRACE (docker run --cap-add=SYS_PTRACE)"
                    .to_owned(),
            ),
        }
        match self.ptrace_scope.as_deref() {
            Some("3") => hints.push(
                "kernel.yama.ptrace_scope is 3: nobody may read other processes until the machine \
                 is restarted with another value"
                    .to_owned(),
            ),
            Some(scope @ ("1" | "2")) if self.own_uid != Some(0) => hints.push(format!(
                "kernel.yama.ptrace_scope is {scope}: even the same user needs sudo or \
                 CAP_SYS_PTRACE (setcap cap_sys_ptrace+ep on the agentctl file)"
            )),
            _ => {}
        }
        hints
    }
}

/// What to say about a process that was to be stopped for its snapshot, for no longer than `limit`.
pub(super) fn pause(snapshot: &Snapshot, pid: Pid, paused: Duration, limit: Duration) -> String {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
    if paused.is_zero() {
        return format!("agentctl: process {pid} slept while it was read and was not stopped\n");
    }
    let cut = snapshot
        .problems
        .iter()
        .find(|problem| problem.code == "pause_limit");
    let why = cut.map_or(String::new(), |problem| format!("; {}", problem.message));
    // Letting go takes a moment too, and the system has to give us a processor for it.
    let over = milliseconds(paused.saturating_sub(limit));
    let over = if over >= 0.1 {
        format!(", {over:.1} ms longer than asked")
    } else {
        String::new()
    };
    let paused = milliseconds(paused);
    format!("agentctl: process {pid} stood still for {paused:.1} ms{over}{why}\n")
}

/// What to say about a process that stands still, whoever reads it: its tasks wait for that first of all.
pub(super) fn stopped(pid: Pid, stop: StopReason) -> String {
    match stop {
        StopReason::Signal => format!(
            "agentctl: process {pid} is stopped, as by SIGSTOP or Ctrl-Z; 'kill -CONT {pid}' lets it go on\n"
        ),
        StopReason::Tracer => {
            format!("agentctl: process {pid} is held by a debugger or another tracer\n")
        }
    }
}

/// What to say about tasks and awaits that are not shown because they ended; a snapshot without them is
/// not partial.
/// `name` is what was asked for: a pid or a file.
pub(super) fn ended(snapshot: &Snapshot, name: &str) -> Option<String> {
    let counted = |n: u64, one: &str| match n {
        0 => None,
        1 => Some(format!("1 {one}")),
        many => Some(format!("{many} {one}s")),
    };
    let stats = &snapshot.stats;
    let tasks = counted(stats.tasks_ended, "task");
    let awaits = counted(stats.edges_ended, "await");
    let ended: Vec<String> = tasks.into_iter().chain(awaits).collect();
    if ended.is_empty() {
        return None;
    }
    let (ended, of) = (ended.join(" and "), subject(snapshot, name));
    Some(format!(
        "agentctl: {ended} of {of} ended while it was read\n"
    ))
}

/// What a snapshot is of: a pid, or a file that tells none.
fn subject(snapshot: &Snapshot, name: &str) -> String {
    let of = match snapshot.process.pid {
        Some(pid) => pid.to_string(),
        None => name.to_owned(),
    };
    shown(&of).into_owned()
}

/// What to say about a snapshot that is partial. `name` is what was asked for: a pid or a file.
pub(super) fn partial(snapshot: &Snapshot, name: &str) -> Option<String> {
    const CODES_MAX: usize = 5;
    if snapshot.complete {
        return None;
    }
    let unreadable = snapshot.stats.tasks_unreadable;
    let n_listed = snapshot.problems.len() as u64;
    let what = if unreadable > 0 {
        let all = (snapshot.graph.tasks().len() as u64).saturating_add(unreadable);
        format!("{unreadable} of {all} tasks unreadable")
    } else {
        match snapshot.stats.problems.max(n_listed) {
            0 => "it does not say why".to_owned(),
            1 => "1 problem".to_owned(),
            many => format!("{many} problems"),
        }
    };
    let mut by_code: BTreeMap<&str, u64> = BTreeMap::new();
    for problem in &snapshot.problems {
        *by_code.entry(&problem.code).or_default() += 1;
    }
    let mut by_code: Vec<_> = by_code.into_iter().collect();
    by_code.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut codes: Vec<_> = by_code
        .iter()
        .take(CODES_MAX)
        .map(|(code, count)| format!("{} {count}", escape_start(code, CODE_CHARS_MAX)))
        .collect();
    if by_code.len() > CODES_MAX {
        codes.push("...".to_owned());
    }
    let codes = if codes.is_empty() {
        String::new()
    } else {
        format!(" ({})", codes.join(", "))
    };
    let of = subject(snapshot, name);
    Some(format!(
        "agentctl: snapshot of {of} is partial: {what}{codes}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::{Surroundings, pause};
    use crate::graph::{GraphBuilder, ProcessInfo, ReadStats, Snapshot};
    use crate::ids::Pid;
    use std::time::Duration;

    fn hints(own_uid: u32, owner_uid: u32, scope: &str) -> String {
        Surroundings {
            own_uid: Some(own_uid),
            owner_uid: Some(owner_uid),
            is_undumpable: false,
            ptrace_scope: Some(scope.to_owned()),
        }
        .permission_hints(Pid::new(7).unwrap())
        .join("\n")
    }

    #[test]
    fn a_pause_that_was_too_long_is_said_to_be() {
        let snapshot = Snapshot {
            process: ProcessInfo::default(),
            graph: GraphBuilder::new().finish().into(),
            problems: Vec::new(),
            stats: ReadStats::default(),
            complete: true,
        };
        let said = |microseconds| {
            let [paused, limit] = [microseconds, 1_000].map(Duration::from_micros);
            pause(&snapshot, Pid::new(7).unwrap(), paused, limit)
        };
        assert_eq!(said(900), "agentctl: process 7 stood still for 0.9 ms\n");
        assert_eq!(
            said(4_300),
            "agentctl: process 7 stood still for 4.3 ms, 3.3 ms longer than asked\n"
        );
        assert!(said(0).contains("was not stopped"));
    }

    #[test]
    fn permission_hints_name_what_stands_in_the_way() {
        let other_user = hints(1000, 0, "0");
        assert!(other_user.contains("belongs to user 0 and agentctl runs as user 1000"));
        assert!(!other_user.contains("ptrace_scope"));
        let same_user = hints(1000, 1000, "1");
        assert!(same_user.contains("ptrace_scope is 1"));
        let root = hints(0, 0, "1");
        assert!(root.contains("--cap-add=SYS_PTRACE") && !root.contains("sudo"));
        assert!(hints(0, 0, "3").contains("ptrace_scope is 3"));
        let undumpable = Surroundings {
            own_uid: Some(1000),
            owner_uid: Some(1000),
            is_undumpable: true,
            ptrace_scope: None,
        };
        let undumpable = undumpable.permission_hints(Pid::new(7).unwrap());
        assert_eq!(undumpable.len(), 1);
        assert!(undumpable[0].contains("not dumpable") && undumpable[0].contains("CAP_SYS_PTRACE"));
        let unknown = Surroundings::default().permission_hints(Pid::new(7).unwrap());
        assert!(unknown[0].contains("same user") && unknown[0].contains("sudo"));
    }
}
