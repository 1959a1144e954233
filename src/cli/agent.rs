//! Asking the running agent, by its socket.

use super::args::AgentArgs;
use super::exit::Exit;
use super::explain::{Failure, Stop};
use crate::graph::Snapshot;
use crate::ids::Pid;
use crate::protocol::{
    self, ControlError, FrameError, FrameKind, PROTOCOL_VERSION, Request, SOCKET_DEFAULT,
};
use std::env;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Names another socket than the usual one; empty: no agent is asked.
const SOCKET_VARIABLE: &str = "ASYNCIO_AGENT_SOCKET";

/// Time to connect. The kernel connects us; only an agent that does not work keeps us waiting.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Time between two parts of the answer. An agent gives up before that.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Where an agent that cannot be reached is looked for.
const IS_IT_THERE: &str = "'systemctl status asyncio-agent' tells whether it runs; control.socket in its configuration is \
                           where it listens";

/// A connection to the agent.
#[derive(Debug)]
pub(super) struct Agent {
    stream: UnixStream,
    path: PathBuf,
}

impl Agent {
    /// The agent that is to be asked; `None` if there is none, and none has to be.
    ///
    /// # Errors
    ///
    /// When it is there, or was asked for, and cannot be reached.
    pub(super) fn find(args: &AgentArgs, is_direct: bool) -> Result<Option<Self>, Stop> {
        match &args.agent {
            Some(_) => Self::reach(args).map(Some),
            None if is_direct => Ok(None),
            None => {
                let Some(path) = usual_path() else {
                    return Ok(None);
                };
                match connect(&path) {
                    Ok(stream) => Ok(Some(Self { stream, path })),
                    Err(error) if error.kind() == ErrorKind::TimedOut => {
                        Err(unreachable_agent(&path, &error))
                    }
                    Err(_) => Ok(None),
                }
            }
        }
    }

    /// The agent, which has to be there.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub(super) fn reach(args: &AgentArgs) -> Result<Self, Stop> {
        let given = args.agent.clone().flatten();
        let path = given.or_else(usual_path);
        let path = path.unwrap_or_else(|| SOCKET_DEFAULT.into());
        match connect(&path) {
            Ok(stream) => Ok(Self { stream, path }),
            Err(error) => Err(unreachable_agent(&path, &error)),
        }
    }

    /// The tasks of a process, read by the agent.
    pub(super) fn snapshot(self, pid: Pid) -> Result<Snapshot, Stop> {
        let path = self.path.clone();
        let json = self.ask(Request::Snapshot(pid))?;
        protocol::read_snapshot(&json).map_err(|error| bad_answer(&path, &error.to_string()))
    }

    /// The answer to a request, as JSON.
    pub(super) fn ask(mut self, request: Request) -> Result<Vec<u8>, Stop> {
        let path = self.path.clone();
        let failed = |error: FrameError| match error {
            FrameError::Io(error) => unreachable_agent(&path, &error),
            FrameError::Version { found } => other_version(&path, found),
            error => bad_answer(&path, &error.to_string()),
        };
        // If it does not want to hear all of it, it says why.
        let asked = protocol::write_frame(FrameKind::Request, &request.to_json(), &mut self.stream);
        let kinds = [FrameKind::Answer, FrameKind::Error];
        let header = protocol::read_header(&mut self.stream, &kinds);
        let header = match (asked, header) {
            (Err(error), Err(FrameError::Io(_))) => return Err(failed(error)),
            (_, header) => header.map_err(failed)?,
        };
        let json = protocol::read_payload(header, &mut self.stream).map_err(failed)?;
        if header.kind == FrameKind::Answer {
            return Ok(json);
        }
        let error = ControlError::from_json(&json);
        let error = error.map_err(|error| bad_answer(&path, &error.to_string()))?;
        Err(Stop::Failed(Failure {
            exit: Exit::of_code(&error.code),
            message: error.message,
            hints: error.hints,
        }))
    }

    /// Where it was asked.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The socket that an agent has left behind which ended without clearing up, and which may start again soon.
pub(super) fn left_behind() -> Option<PathBuf> {
    let path = usual_path()?;
    let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    connect(&path).is_err_and(refused).then_some(path)
}

/// Where an agent is looked for, if anywhere.
fn usual_path() -> Option<PathBuf> {
    match env::var_os(SOCKET_VARIABLE) {
        None => Some(SOCKET_DEFAULT.into()),
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path.into()),
    }
}

/// Connects, on a thread that can be left waiting.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let (tell, told) = mpsc::channel();
    let path = path.to_owned();
    thread::spawn(move || tell.send(UnixStream::connect(path)));
    let stream = told.recv_timeout(CONNECT_MAX);
    let stream = stream.map_err(|_| io::Error::from(ErrorKind::TimedOut))??;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    Ok(stream)
}

fn unreachable_agent(path: &Path, error: &io::Error) -> Stop {
    let why = match error.kind() {
        // What a read says that has waited for too long.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "it does not answer".to_owned(),
        ErrorKind::UnexpectedEof => "it ended the connection without an answer".to_owned(),
        _ => error.to_string(),
    };
    Stop::Failed(Failure {
        exit: Exit::AgentUnreachable,
        message: format!("cannot reach the agent at {}: {why}", path.display()),
        hints: vec![format!(
            "{IS_IT_THERE}; without --agent a process is read by agentctl itself"
        )],
    })
}

/// The same for what only an agent knows: nothing else can be asked.
pub(super) fn known_to_agent_only(stop: Stop, why: &str) -> Stop {
    match stop {
        Stop::Failed(failure) if failure.exit == Exit::AgentUnreachable => Stop::Failed(Failure {
            hints: vec![format!("{IS_IT_THERE}; {why}")],
            ..failure
        }),
        other => other,
    }
}

fn other_version(path: &Path, found: u16) -> Stop {
    Stop::Failed(Failure {
        exit: Exit::AgentUnreachable,
        message: format!(
            "the agent at {} speaks version {found} of the protocol, agentctl version {PROTOCOL_VERSION}",
            path.display()
        ),
        hints: vec!["use the agentctl that came with it; --direct asks no agent".to_owned()],
    })
}

/// The answer is not what was asked for.
pub(super) fn bad_answer(path: &Path, why: &str) -> Stop {
    Stop::Failed(Failure {
        exit: Exit::Failed,
        message: format!(
            "the answer of the agent at {} cannot be used: {why}",
            path.display()
        ),
        hints: vec!["use the agentctl that came with it; --direct asks no agent".to_owned()],
    })
}
