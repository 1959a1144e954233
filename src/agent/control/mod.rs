//! The socket on which `agentctl` asks the agent: one request a connection, one answer, and a line in the log of
//! who asked for what and got it or not.
//!
//! `frame` and `request` of `protocol` say what is on the wire, `rights` who may ask for what, `desk` answers. Here
//! are the connections. A client holds up nobody but itself: connections have a bound for each user (`places`), all
//! waiting has one, and the bytes of answers count with those that are sent over HTTP.

mod desk;
mod explanation;
mod members;
mod places;
mod rights;
mod socket;

pub(super) use desk::{DECISIONS_MAX, Desk};
pub(super) use socket::{SocketFile, listen, path_of};

use super::http::Outbox;
use super::reads::ReadLimits;
use super::turnstile::{A_SECOND_MAX, Turnstile};
use crate::config::{ControlSettings, Settings};
use crate::protocol::{
    ControlError, FrameError, FrameKind, HEADER_BYTES, Header, PROTOCOL_VERSION, Request,
};
use crate::sanitize::escape;
use crate::targets::{UnknownGroup, unknown_group};
use desk::{Failure, Outcome};
use explanation::WatchRules;
use hyper::body::Bytes;
use places::{Kind, Place, Places};
use rights::{Peer, Rights};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Pause after a connection could not be accepted, which usually is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What of the configuration requests are answered by. Replaced as a whole when that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ControlRules {
    /// Its members may ask for everything.
    group: Option<String>,
    /// The longest time that a scan may take.
    scan_time: Duration,
    /// Which processes are watched.
    watch: WatchRules,
}

impl ControlRules {
    /// What the settings say.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            group: settings.control.group.clone(),
            scan_time: settings.limits.scan_time,
            watch: WatchRules::new(settings),
        }
    }
}

/// Says in the log that there is no such group as the settings name, if there is none.
pub(super) fn note_unknown_group(settings: &ControlSettings) {
    if let Some(UnknownGroup { name }) = unknown_group(settings) {
        let group = escape(name);
        tracing::warn!(%group, "control.group: this machine has no such group: nobody may ask by way of it");
    }
}

/// How long a client may take, and is kept waiting. `agentctl` waits for longer than all of it together.
#[derive(Debug, Clone, Copy)]
pub(super) struct ControlLimits {
    /// For its request to come in.
    request_max: Duration,
    /// For its turn when others are being answered, and for a process to be read, whatever the configuration allows.
    reads: ReadLimits,
    /// For what it may ask for to be found out.
    decision_max: Duration,
    /// For the answer to be taken.
    sending_max: Duration,
}

/// What came of sending an answer.
enum Sent {
    Taken,
    /// The client has gone, or was too slow.
    NotTaken,
}

/// Answers on `listener` until `stopped` becomes true and the connections have ended.
pub(super) async fn serve(
    mut listener: UnixListener,
    mut file: SocketFile,
    desk: Desk,
    outbox: Arc<Outbox>,
    limits: ControlLimits,
    mut stopped: watch::Receiver<bool>,
) {
    let (places, turnstile) = (Places::default(), Turnstile::new());
    let mut connections = JoinSet::new();
    let mut rules = desk.rules.clone();
    rules.mark_changed();
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => continue,
            Ok(()) = rules.changed() => None,
            accepted = listener.accept() => Some(accepted),
        };
        let Some(accepted) = accepted else {
            let group = rules.borrow_and_update().group.clone();
            let members = desk.members.clone();
            // Nobody waits for it: whoever is not known as a member yet has the places of others.
            tokio::task::spawn_blocking(move || members.look_up(group.as_deref()));
            if !file.is_there() {
                (listener, file) = listen_again(listener, file).await;
            }
            continue;
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Without a name there is nothing that may be asked for.
        let Ok(peer) = peer_of(&stream) else {
            continue;
        };
        let person = desk.source.person(peer.user);
        let tell = move |n_refused| tell_refused(person.id, n_refused);
        if peer.user != 0 && !turnstile.pass(person.id, tell) {
            let message = format!("too many requests: a user may make {A_SECOND_MAX} a second");
            refuse(&stream, &message);
            continue;
        }
        let kind = match peer.user {
            0 => Kind::Root,
            user if desk.members.include(user) => Kind::Member,
            _ if person.has_account => Kind::WithAccount,
            _ => Kind::WithoutAccount,
        };
        let Some(place) = places.take(person.id, kind) else {
            turnstile.refuse(person.id, tell);
            refuse(&stream, "too many connections to the agent");
            continue;
        };
        let connection = Connection {
            stream,
            peer,
            outbox: Arc::clone(&outbox),
            limits,
        };
        connections.spawn(connection.serve(desk.clone(), place));
    }
    // In this order: as long as it is listened on, no other file can be taken for it.
    drop(file);
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Makes the socket anew that somebody has removed, if that can be done.
async fn listen_again(listener: UnixListener, file: SocketFile) -> (UnixListener, SocketFile) {
    let path = file.path().display().to_string();
    match listen(file.path().to_owned()).await {
        Ok(anew) => {
            tracing::warn!(socket = path, "the socket was gone and was made anew");
            anew
        }
        Err(error) => {
            tracing::error!(socket = path, %error, "the socket is gone and cannot be made anew");
            (listener, file)
        }
    }
}

fn peer_of(stream: &UnixStream) -> io::Result<Peer> {
    let peer = stream.peer_cred()?;
    Ok(Peer {
        user: peer.uid(),
        group: peer.gid(),
        pid: peer.pid(),
    })
}

/// Tells a client why it is not answered, if it has room for that: nobody waits for it.
fn refuse(stream: &UnixStream, message: &str) {
    let json = desk::busy(message).to_json();
    if let Ok(header) = Header::of(FrameKind::Error, &json) {
        let _ = stream.try_write(&[&header.to_bytes()[..], &json].concat());
    }
}

/// One line for all requests of a user that were refused in a while because there were too many.
fn tell_refused(user: u32, n_refused: u64) {
    tracing::warn!(
        uid = user,
        requests = n_refused,
        allowed = false,
        "too many on-demand requests or connections"
    );
}

/// A client.
struct Connection {
    stream: UnixStream,
    peer: Peer,
    outbox: Arc<Outbox>,
    limits: ControlLimits,
}

impl Connection {
    async fn serve(mut self, desk: Desk, _place: Place) {
        let request = match timeout(self.limits.request_max, self.read_request()).await {
            Ok(Ok(request)) => request,
            Ok(Err(None)) => return,
            Ok(Err(Some(error))) => {
                self.end(None, None, Err(error.into())).await;
                return;
            }
            Err(_) => {
                let hint = "a request is sent at once";
                let error = desk::error("timed_out", "the request did not come in time", hint);
                self.end(None, None, Err(error.into())).await;
                return;
            }
        };
        let Outcome { rights, answer } = desk.ask(self.peer, request, self.limits).await;
        self.end(Some(request), rights, answer).await;
    }

    /// Reads a request.
    ///
    /// # Errors
    ///
    /// Why it is none; nothing if the client went before it had asked.
    async fn read_request(&mut self) -> Result<Request, Option<ControlError>> {
        let mut header = [0; HEADER_BYTES];
        self.stream
            .read_exact(&mut header)
            .await
            .map_err(|_| None)?;
        let header =
            Header::parse(header, &[FrameKind::Request]).map_err(|error| Some(refused(&error)))?;
        let mut json = Vec::new();
        let mut rest = (&mut self.stream).take(u64::from(header.length));
        rest.read_to_end(&mut json).await.map_err(|_| None)?;
        if u32::try_from(json.len()) != Ok(header.length) {
            return Err(None);
        }
        Request::from_json(&json).map_err(|error| {
            let hint = "use an agentctl of the agent's version";
            Some(desk::error("bad_request", &error.to_string(), hint))
        })
    }

    /// Sends the answer, and says in the log what came of the request.
    async fn end(
        mut self,
        request: Option<Request>,
        rights: Option<Rights>,
        answer: Result<Vec<u8>, Failure>,
    ) {
        let (result, denial, kind, bytes) = match answer {
            Ok(answer) => ("ok".to_owned(), None, FrameKind::Answer, answer),
            Err(Failure { error, denial }) => {
                let json = error.to_json();
                (error.code, denial, FrameKind::Error, json)
            }
        };
        let n_bytes = bytes.len();
        let result = match self.send(kind, bytes).await {
            Sent::Taken => result,
            Sent::NotTaken => format!("{result}, not taken"),
        };
        let Peer { user, group, pid } = self.peer;
        let asks = request.map(Request::name);
        let of = request.and_then(Request::pid).map(|pid| pid.as_raw());
        let allowed = rights.is_some() && denial.is_none();
        let why = denial.or_else(|| rights.map(|rights| rights.to_string()));
        tracing::info!(
            uid = user,
            gid = group,
            client = pid,
            asks,
            pid = of,
            allowed,
            why,
            result,
            bytes = n_bytes,
            "on-demand request"
        );
    }

    async fn send(&mut self, kind: FrameKind, bytes: Vec<u8>) -> Sent {
        let Ok(header) = Header::of(kind, &bytes) else {
            return Sent::NotTaken;
        };
        let give_up = Arc::new(Notify::new());
        let bytes = self.outbox.post(Bytes::from(bytes), &give_up);
        let writing = async {
            self.stream.write_all(&header.to_bytes()).await?;
            self.stream.write_all(&bytes).await?;
            self.stream.shutdown().await
        };
        tokio::select! {
            written = writing => match written {
                Ok(()) => Sent::Taken,
                Err(_) => Sent::NotTaken,
            },
            () = give_up.notified() => Sent::NotTaken,
            () = sleep(self.limits.sending_max) => Sent::NotTaken,
        }
    }
}

/// What whoever sent bytes that are no request is told.
fn refused(error: &FrameError) -> ControlError {
    let hint = match error {
        FrameError::Version { .. } => {
            format!(
                "the agent speaks version {PROTOCOL_VERSION}: use an agentctl of the agent's version"
            )
        }
        _ => "only agentctl is answered here".to_owned(),
    };
    desk::error(error.code(), &error.to_string(), &hint)
}

#[cfg(test)]
mod tests;
