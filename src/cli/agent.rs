//! Asking the running agent, by its socket.

use super::args::AgentArgs;
use super::exit::Exit;
use super::explain::{Failure, Stop, zombie};
use super::namespaces;
use super::output;
use crate::graph::Snapshot;
use crate::ids::Pid;
use crate::procfs::ProcRoot;
use crate::protocol::{
    self, ControlError, FrameError, FrameKind, PROTOCOL_VERSION, Request, SOCKET_DEFAULT,
};
use crate::sanitize::escape;
use std::env;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Names another socket than the usual one; empty: no agent is asked.
const SOCKET_VARIABLE: &str = "ASYNCIO_AGENT_SOCKET";

/// Time to connect. The kernel connects us; only an agent that does not work keeps us waiting.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Time between two parts of the answer. An agent gives up before that.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// Time after which it is said that there is no answer yet. An agent lets nobody wait for more than three seconds behind a read that
/// hangs, which needs no word.
const SAY_AFTER: Duration = Duration::from_secs(4);

/// What is left to somebody from whom the agent hides a process that they can see.
const HERE: &str = "there is such a process here; --direct tries to read it as you";

/// Where an agent that cannot be reached is looked for.
const IS_IT_THERE: &str = "'systemctl status asyncio-agent' tells whether it runs; control.socket in its configuration is \
                           where it listens";

/// A connection to the agent.
#[derive(Debug)]
pub(super) struct Agent {
    stream: UnixStream,
    path: PathBuf,
    /// It was asked for by `--agent`.
    is_asked_for: bool,
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
                    Ok(stream) => Ok(Some(Self {
                        stream,
                        path,
                        is_asked_for: false,
                    })),
                    Err(error) if error.kind() == ErrorKind::TimedOut => {
                        Err(unreachable_agent(&path, &error, false))
                    }
                    Err(_) => Ok(None),
                }
            }
        }
    }

    /// The agent that is to be asked for the process `pid`, likewise. One that knows processes by other ids is not asked:
    /// it would answer for another.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find), and when such a one was asked for.
    pub(super) fn find_for(
        pid: Pid,
        args: &AgentArgs,
        is_direct: bool,
    ) -> Result<Option<Self>, Stop> {
        let Some(agent) = Self::find(args, is_direct)? else {
            return Ok(None);
        };
        let Some(elsewhere) = namespaces::of_agent(&agent.stream) else {
            return Ok(Some(agent));
        };
        let about = format!(
            "the agent at {} {}",
            agent.path.display(),
            elsewhere.about()
        );
        if agent.is_asked_for {
            return Err(Stop::Failed(Failure {
                exit: Exit::AgentUnreachable,
                message: format!("cannot ask for process {pid}: {about}"),
                hints: vec![elsewhere.fix().to_owned()],
            }));
        }
        output::say(&format!(
            "agentctl: {}, so it is not asked; process {pid} is read from here\n",
            escape(&about)
        ));
        Ok(None)
    }

    /// Says so if the ids in what it tells are not those of processes here.
    pub(super) fn note_elsewhere(&self) {
        if let Some(elsewhere) = namespaces::of_agent(&self.stream) {
            let path = self.path.display().to_string();
            output::say(&format!(
                "agentctl: the agent at {} {}\n",
                escape(&path),
                elsewhere.about()
            ));
        }
    }

    /// The agent, which has to be there.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub(super) fn reach(args: &AgentArgs) -> Result<Self, Stop> {
        let is_asked_for = args.agent.is_some();
        let given = args.agent.clone().flatten();
        let path = given.or_else(usual_path);
        let path = path.unwrap_or_else(|| SOCKET_DEFAULT.into());
        match connect(&path) {
            Ok(stream) => Ok(Self {
                stream,
                path,
                is_asked_for,
            }),
            Err(error) => Err(unreachable_agent(&path, &error, is_asked_for)),
        }
    }

    /// The tasks of a process, read by the agent; which stops it for that if `freeze` says for how long at most.
    pub(super) fn snapshot(self, pid: Pid, freeze: Option<Duration>) -> Result<Snapshot, Stop> {
        let path = self.path.clone();
        let json = self.ask(Request::Snapshot { pid, freeze })?;
        protocol::read_snapshot(&json).map_err(|error| bad_answer(&path, &error.to_string()))
    }

    /// The answer to a request, as JSON.
    pub(super) fn ask(mut self, request: Request) -> Result<Vec<u8>, Stop> {
        let path = self.path.clone();
        let is_asked_for = self.is_asked_for;
        let failed = |error: FrameError| match error {
            FrameError::Io(error) => unreachable_agent(&path, &error, is_asked_for),
            FrameError::Version { found } => other_version(&path, found),
            error => bad_answer(&path, &error.to_string()),
        };
        let waiting = Waiting::begin(&path, request.pid().is_some());
        // If it does not want to hear all of it, it says why.
        let asked = protocol::write_frame(FrameKind::Request, &request.to_json(), &mut self.stream);
        let kinds = [FrameKind::Answer, FrameKind::Error];
        let header = protocol::read_header(&mut self.stream, &kinds);
        let header = match (asked, header) {
            (Err(error), Err(FrameError::Io(_))) => return Err(failed(error)),
            (_, header) => header.map_err(failed)?,
        };
        drop(waiting);
        let json = protocol::read_payload(header, &mut self.stream);
        let json = json.map_err(|error| match error {
            FrameError::Io(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                given_up(&path)
            }
            error => failed(error),
        })?;
        if header.kind == FrameKind::Answer {
            return Ok(json);
        }
        let error = ControlError::from_json(&json);
        let error = error.map_err(|error| bad_answer(&path, &error.to_string()))?;
        let mut hints = error.hints;
        let is_told = hints.iter().any(|hint| hint.contains("--direct"));
        let missing = request.pid().filter(|_| error.code == "process_not_found");
        if let Some(zombie) = missing.and_then(zombie) {
            hints = vec![zombie];
        } else if !is_told && missing.is_some_and(is_here) {
            hints.push(HERE.to_owned());
        }
        Err(Stop::Failed(Failure {
            exit: Exit::of_code(&error.code),
            message: error.message,
            hints,
        }))
    }

    /// Where it was asked.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Says that the agent has not answered yet, in a while; unless this is dropped before.
struct Waiting {
    _answered: mpsc::Sender<()>,
}

impl Waiting {
    /// `has_way_out` tells that others than an agent know the answer.
    fn begin(path: &Path, has_way_out: bool) -> Self {
        let (answered, is_answered) = mpsc::channel::<()>();
        let path = escape(&path.display().to_string()).into_owned();
        thread::spawn(move || {
            if is_answered.recv_timeout(SAY_AFTER) == Err(RecvTimeoutError::Timeout) {
                let way_out = if has_way_out {
                    "; --direct asks no agent"
                } else {
                    ""
                };
                output::say(&format!(
                    "agentctl: the agent at {path} has not answered yet{way_out}\n"
                ));
            }
        });
        Self {
            _answered: answered,
        }
    }
}

/// Whether whoever calls us can see a process with this id.
fn is_here(pid: Pid) -> bool {
    ProcRoot::default().owner(pid).is_ok()
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

fn unreachable_agent(path: &Path, error: &io::Error, is_asked_for: bool) -> Stop {
    let why = match error.kind() {
        // What a read says that has waited for too long.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "it does not answer".to_owned(),
        ErrorKind::UnexpectedEof => "it ended the connection without an answer".to_owned(),
        _ => error.to_string(),
    };
    let how = match is_asked_for {
        true => "with --direct in place of --agent",
        false => "with --direct",
    };
    Stop::Failed(Failure {
        exit: Exit::AgentUnreachable,
        message: format!("cannot reach the agent at {}: {why}", path.display()),
        hints: vec![format!(
            "{IS_IT_THERE}; {how} a process is read by agentctl itself"
        )],
    })
}

/// It has ended the connection in the middle of the answer.
fn given_up(path: &Path) -> Stop {
    Stop::Failed(Failure {
        exit: Exit::of_code("busy"),
        message: format!(
            "the agent at {} gave up sending: the answer was taken too slowly, or others needed the room",
            path.display()
        ),
        hints: vec!["ask again; --direct asks no agent".to_owned()],
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
