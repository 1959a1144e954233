//! What went wrong, in words that say what to do about it, and the exit status that goes with it.

use super::exit::Exit;
#[cfg(feature = "agent")]
use crate::agent::{AgentError, SendError};
#[cfg(feature = "agent")]
use crate::config::{OtlpProtocol, OtlpReceiver};
use crate::diagnosis::advice;
use crate::graph::Snapshot;
use crate::ids::Pid;
use crate::process::{Access, ProcessError, Reader};
use crate::procfs::{ProcRoot, StopReason};
use crate::protocol::SnapshotFormatError;
use crate::sanitize::escape_start;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Characters of a message or a hint that are shown: it may quote a file.
const MESSAGE_CHARS_MAX: usize = 4_000;
/// Hints that are shown: those of an agent may be any.
const HINTS_MAX: usize = 20;
/// Characters of a problem's code that are shown: a file may hold any.
const CODE_CHARS_MAX: usize = 40;

/// What is left to somebody to whom `/proc` does not show a process.
const HIDDEN: &str = "there is such a process, but /proc does not show it (hidepid, or ProtectProc= of a service): run \
                      agentctl with sudo, or as its user";

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
        for hint in self.hints.iter().take(HINTS_MAX) {
            writeln!(f, "  hint: {}", shown(hint))?;
        }
        match self.hints.len().saturating_sub(HINTS_MAX) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more hints, which are left out"),
        }
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
    let access = match error {
        ProcessError::Denied { pid, .. } | ProcessError::OtherPidNamespace { pid } => {
            permission_hints(*pid)
        }
        ProcessError::NotFound { pid } => match zombie(*pid) {
            Some(zombie) => return vec![zombie],
            None if ProcRoot::default().hides(*pid) => vec![HIDDEN.to_owned()],
            None => Vec::new(),
        },
        _ => Vec::new(),
    };
    access.into_iter().chain(advice(error)).collect()
}

/// Says of a process that has ended, and that other tools still show, who has to clear it up.
pub(super) fn zombie(pid: Pid) -> Option<String> {
    let root = ProcRoot::default();
    let parent = root
        .status(pid)
        .ok()
        .filter(|status| status.process == pid)?
        .parent;
    root.stat(pid).ok().filter(|stat| stat.has_ended)?;
    let parent = parent.map_or_else(String::new, |parent| format!(" (process {parent})"));
    Some(format!(
        "it has ended, and its parent{parent} has not waited for it yet: a zombie, of which nothing is left to be read"
    ))
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
        SendError::Refused {
            pause: Some(pause), ..
        } => vec![format!(
            "it asks for a pause of {pause:?} before it is sent anything again"
        )],
        SendError::Refused { why, .. } => refused(why, receiver).into_iter().collect(),
        // It has said what it does not like.
        SendError::Partly { .. } => Vec::new(),
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

/// Where our own certificate comes from.
#[cfg(feature = "agent")]
const CLIENT_FILES: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY name the files of one \
                            and its key, or tls.cert_file and tls.key_file in a configuration given by --config";

/// What may be wrong if somebody listens and does not take what is sent; `None` if what it says tells it.
#[cfg(feature = "agent")]
fn refused(why: &str, receiver: &OtlpReceiver) -> Option<String> {
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if says(&[
        "code: 401",
        "code: 403",
        "Unauthenticated",
        "PermissionDenied",
    ]) {
        let hint = "it wants credentials: OTEL_EXPORTER_OTLP_HEADERS has them, or headers_file in a configuration \
                    given by --config";
        return Some(hint.to_owned());
    }
    if let Some(hint) = own_certificate(why, receiver) {
        return Some(hint);
    }
    let hint = if says(&["certificate expired", "certificate: Expired"]) {
        "the receiver's certificate has expired, if the clock of this machine is right: it has to be renewed there"
    } else if says(&["elapsed", "timed out", "Cancelled", "DeadlineExceeded"]) {
        "it did not answer in time; --timeout, OTEL_EXPORTER_OTLP_TIMEOUT, or timeout in a configuration give it more"
    } else if says(&["InvalidContentType"]) {
        "it does not speak TLS: give the endpoint with http://"
    } else if says(&["certificate"]) {
        "OTEL_EXPORTER_OTLP_CERTIFICATE names the file with the authority of its certificate, if this machine does not \
         know it"
    } else {
        return expects_other_protocol(why).then(|| {
            let (spoken, other) = match receiver.protocol {
                OtlpProtocol::Grpc => (OtlpProtocol::Grpc, OtlpProtocol::Http),
                OtlpProtocol::Http => (OtlpProtocol::Http, OtlpProtocol::Grpc),
            };
            let (spoken, other) = (spoken.as_str(), other.as_str());
            format!("it was spoken to by {spoken}; if it expects the other: --protocol {other}")
        });
    };
    Some(hint.to_owned())
}

/// What is wrong with the certificate that we show.
#[cfg(feature = "agent")]
fn own_certificate(why: &str, receiver: &OtlpReceiver) -> Option<String> {
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    let is_tls = receiver.endpoint.starts_with("https://");
    let what = if says(&["CertificateRequired", "certificate required"]) {
        "it wants a certificate of ours"
    } else if says(&["received fatal alert"]) {
        "it does not accept our certificate"
    } else if is_tls && says(&["connection closed", "broken pipe", "onnection reset"]) {
        // What the other side gave as the reason may be lost.
        "it ended the connection, as one does that does not accept our certificate, or wants one"
    } else {
        return None;
    };
    Some(format!("{what}: {CLIENT_FILES}"))
}

/// Whether this is what is heard where gRPC meets a server of HTTP/1.1, or the other way round: an answer that is none,
/// or one of somebody who knows no such place. A receiver that says why it refuses has understood.
#[cfg(feature = "agent")]
fn expects_other_protocol(why: &str) -> bool {
    const SIGNS: [&str; 11] = [
        // hyper and h2: the first bytes of the answer are of the other protocol, or there are none.
        "invalid HTTP",
        "unexpected message",
        "frame with invalid size",
        "connection error detected",
        "requires HTTP/1.1",
        "preface",
        "connection closed",
        "broken pipe",
        "onnection reset",
        // tonic: the answer is no message of gRPC, or no such service is there.
        "invalid compression flag",
        "Unimplemented",
    ];
    // No such path or method, not this kind of content, another version of HTTP.
    const STATUS: [u16; 6] = [404, 405, 415, 426, 501, 505];
    let is_status = |status: &u16| {
        // As the exporters over HTTP and over gRPC have it.
        why.contains(&format!("code: {status}"))
            || why.contains(&format!("HTTP status code {status}"))
    };
    // Without a word of why, or from somebody who does not know gRPC.
    let is_bad_request = why.ends_with("code: 400") || why.contains("HTTP status code 400");
    is_bad_request || STATUS.iter().any(is_status) || SIGNS.iter().any(|sign| why.contains(sign))
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
    let is_down = super::agent::left_behind().map(|path| {
        let path = path.display();
        format!("the agent, which may be able to read it, is down: nobody listens on {path}")
    });
    let access = Access::look(&ProcRoot::default(), pid, Reader::Agentctl);
    let hints = access.map(|access| access.hints()).unwrap_or_default();
    is_down.into_iter().chain(hints).collect()
}

/// What to say about a process that was to be stopped for its snapshot, for no longer than `limit`.
pub(super) fn pause(snapshot: &Snapshot, pid: Pid, limit: Duration) -> String {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
    let cut = snapshot
        .problems
        .iter()
        .find(|problem| problem.code == "pause_limit");
    // An agent may say anything.
    let why = cut.map(|problem| shown(&problem.message));
    let Some(paused) = snapshot.stats.paused else {
        let why = why.unwrap_or_default();
        return format!("agentctl: process {pid} was not stopped: {why}\n");
    };
    if paused.is_zero() {
        return format!("agentctl: process {pid} slept while it was read and was not stopped\n");
    }
    let why = why.map_or(String::new(), |why| format!("; {why}"));
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
            format!(
                "agentctl: process {pid} is held by a debugger or another tracer (--freeze is one)\n"
            )
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
    // Which limit left no more room than that, is what helps.
    let mut of_limits = snapshot.problems.iter().filter(|it| it.code == "limit_hit");
    let counted = of_limits
        .find(|_| snapshot.stats.tasks_counted > 0)
        .map_or_else(String::new, |problem| {
            format!("; {}", shown(&problem.message))
        });
    let of = subject(snapshot, name);
    Some(format!(
        "agentctl: snapshot of {of} is partial: {what}{codes}{counted}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::pause;
    use crate::graph::{GraphBuilder, ProcessInfo, ReadStats, Snapshot};
    use crate::ids::Pid;
    use std::time::Duration;

    #[test]
    fn a_pause_that_was_too_long_is_said_to_be() {
        let mut snapshot = Snapshot {
            process: ProcessInfo::default(),
            graph: GraphBuilder::new().finish().into(),
            problems: Vec::new(),
            stats: ReadStats::default(),
            complete: true,
        };
        let mut said = |microseconds| {
            let [paused, limit] = [microseconds, 1_000].map(Duration::from_micros);
            snapshot.stats.paused = Some(paused);
            pause(&snapshot, Pid::new(7).unwrap(), limit)
        };
        assert_eq!(said(900), "agentctl: process 7 stood still for 0.9 ms\n");
        assert_eq!(
            said(4_300),
            "agentctl: process 7 stood still for 4.3 ms, 3.3 ms longer than asked\n"
        );
        assert!(said(0).contains("was not stopped"));
    }

    #[cfg(feature = "agent")]
    #[test]
    fn the_other_protocol_is_named_where_it_may_be_expected_only() {
        use super::{OtlpProtocol, OtlpReceiver, refused};
        let hint = |protocol, why: &str| {
            let receiver = OtlpReceiver {
                protocol,
                ..OtlpReceiver::default()
            };
            refused(why, &receiver).unwrap_or_default()
        };
        let (grpc, http) = (OtlpProtocol::Grpc, OtlpProtocol::Http);
        for (protocol, why) in [
            (http, "HTTP status code: 404: no such page"),
            (http, "HTTP status code: 415"),
            (
                http,
                "client error (Canceled): operation was canceled: received unexpected message from connection",
            ),
            (http, "HTTP status code: 400"),
            (
                http,
                "network error: client error (SendRequest): invalid HTTP version parsed",
            ),
            (
                http,
                "network error: connection closed before message completed",
            ),
            (
                grpc,
                "gRPC code: Unknown: http2 error: connection error detected: frame with invalid size",
            ),
            (
                grpc,
                "gRPC code: Unimplemented: grpc-status header missing, mapped from HTTP status code 404",
            ),
            (
                grpc,
                "gRPC code: Internal: grpc-status header missing, mapped from HTTP status code 400",
            ),
        ] {
            let other = if protocol == grpc { http } else { grpc };
            let expected = format!("--protocol {}", other.as_str());
            assert!(hint(protocol, why).ends_with(&expected), "{why}");
        }
        for (protocol, why) in [
            (http, "HTTP status code: 400: spans without a name"),
            (http, "HTTP status code: 408"),
            (http, "HTTP status code: 413"),
            (http, "HTTP status code: 429"),
            (http, "HTTP status code: 503: starting"),
            (grpc, "gRPC code: ResourceExhausted: too large"),
            (grpc, "gRPC code: InvalidArgument: spans without a name"),
            (
                grpc,
                "gRPC code: Unavailable: grpc-status header missing, mapped from HTTP status code 503",
            ),
        ] {
            assert_eq!(hint(protocol, why), "", "{why}");
        }
        let expired = "client error (Connect): invalid peer certificate: certificate expired: verification time 9 (UNIX)";
        assert!(hint(http, expired).contains("has expired"));
        let unknown = "client error (Connect): invalid peer certificate: UnknownIssuer";
        assert!(hint(http, unknown).contains("OTEL_EXPORTER_OTLP_CERTIFICATE"));
    }
}
