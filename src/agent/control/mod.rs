//! The socket on which `agentctl` asks the agent: one request a connection, one answer, and a line in the log of
//! who asked for what and got it or not, for what is allowed also one before it is read ([`line`]).
//!
//! `frame` and `request` of `protocol` say what is on the wire, `rights` who may ask for what, `desk` answers. Here
//! are the connections. A client holds up nobody but itself: connections have a bound for each user (`places`), all
//! waiting has one, and the bytes of answers count with those that are sent over HTTP.

mod desk;
mod explanation;
mod line;
mod members;
mod pauses;
mod places;
mod rights;
mod socket;

pub(super) use desk::{DECISIONS_MAX, Desk};
pub(super) use socket::{SocketFile, listen, path_of};

use super::http::{Holder, Outbox};
use super::reads::ReadLimits;
use super::turnstile::{A_SECOND_MAX, Turnstile};
use crate::config::{ControlSettings, Settings};
use crate::process::is_kept_from_tracing;
use crate::protocol::{
    ControlError, FrameError, FrameKind, HEADER_BYTES, Header, PROTOCOL_VERSION, Request,
};
use crate::sanitize::escape;
use crate::targets::{DoubtfulGroup, doubtful_group};
use desk::{Answer, Failure, Outcome};
use explanation::WatchRules;
use hyper::body::Bytes;
use line::Line;
use places::{Kind, Place, Places};
use rights::{KEPT_FROM_TRACING, Peer, Rights};
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
    /// For how long at most a process is stopped on demand; `None`: not at all.
    freeze: Option<Duration>,
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
            freeze: settings.control.freeze,
            scan_time: settings.limits.scan_time,
            watch: WatchRules::new(settings),
        }
    }
}

/// Says in the log what is doubtful about these settings, if anything is: the group that they name, and whether processes can be
/// stopped.
pub(super) fn note_doubts(settings: &ControlSettings) {
    if settings.freeze.is_some() && is_kept_from_tracing() {
        tracing::warn!("control.freeze: no process can be stopped: {KEPT_FROM_TRACING}");
    }
    match doubtful_group(settings) {
        Some(DoubtfulGroup::Unknown { name }) => {
            let group = escape(name);
            tracing::warn!(%group, "control.group: this machine has no such group: nobody may ask by way of it");
        }
        Some(doubt @ DoubtfulGroup::OfUnit) => tracing::warn!("{doubt}"),
        None => {}
    }
}

/// How long a client may take, and is kept waiting. `agentctl` waits for longer than all of it together.
#[derive(Debug, Clone, Copy)]
pub(super) struct ControlLimits {
    /// For its request to come in.
    request_max: Duration,
    /// For its turn when others are being answered, and for a process to be read, whatever the configuration allows.
    reads: ReadLimits,
    /// The same for what it may ask for to be found out.
    decisions: ReadLimits,
    /// For the answer to be taken.
    sending_max: Duration,
}

/// What came of sending an answer.
struct Sent {
    /// Otherwise the client has gone, was too slow, or had to make room.
    is_taken: bool,
    bytes: usize,
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
            holder: Holder::Person(person.id),
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
    /// Who is sent the answer.
    holder: Holder,
    outbox: Arc<Outbox>,
    limits: ControlLimits,
}

impl Connection {
    async fn serve(mut self, desk: Desk, _place: Place) {
        let peer = self.peer;
        let request = match timeout(self.limits.request_max, self.read_request()).await {
            Ok(Ok(request)) => request,
            Ok(Err(None)) => return,
            Ok(Err(Some(error))) => {
                self.end(Line::new(peer, None), None, Err(error.into()))
                    .await;
                return;
            }
            Err(_) => {
                let hint = "a request is sent at once";
                let error = desk::error("timed_out", "the request did not come in time", hint);
                self.end(Line::new(peer, None), None, Err(error.into()))
                    .await;
                return;
            }
        };
        let line = Line::new(peer, Some(request));
        let allow = |rights: &Rights| line.begin(rights);
        let Outcome { rights, answer } = desk.ask(peer, request, self.limits, allow).await;
        self.end(line, rights, answer).await;
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
    async fn end(mut self, line: Line, rights: Option<Rights>, answer: Result<Answer, Failure>) {
        let (result, denial, kind, answer) = match answer {
            Ok(answer) => ("ok".to_owned(), None, FrameKind::Answer, answer),
            Err(Failure { error, denial }) => {
                let json = error.to_json();
                // Before anything is known of rights, that is all there is to be said.
                let denial = denial.or_else(|| rights.is_none().then_some(error.message));
                (error.code, denial, FrameKind::Error, json.into())
            }
        };
        let Sent { is_taken, bytes } = self.send(kind, answer).await;
        let result = match is_taken {
            true => result,
            false => format!("{result}, not taken"),
        };
        line.end(rights.as_ref(), denial, &result, bytes);
    }

    async fn send(&mut self, kind: FrameKind, Answer { json, place }: Answer) -> Sent {
        let Ok(header) = Header::of(kind, &json) else {
            return Sent {
                is_taken: false,
                bytes: 0,
            };
        };
        let give_up = Arc::new(Notify::new());
        let bytes = Bytes::from(json);
        let bytes = match place {
            Some(place) => place.send(bytes, &give_up),
            None => self.outbox.post(bytes, self.holder, &give_up),
        };
        let mut n_sent = 0;
        let writing = async {
            self.stream.write_all(&header.to_bytes()).await?;
            while n_sent < bytes.len() {
                match self.stream.write(&bytes[n_sent..]).await? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    n => n_sent += n,
                }
            }
            self.stream.shutdown().await
        };
        let is_taken = tokio::select! {
            // What was given up no longer counts, so no more of it may be held.
            biased;
            () = give_up.notified() => false,
            written = writing => written.is_ok(),
            () = sleep(self.limits.sending_max) => false,
        };
        let bytes = n_sent;
        Sent { is_taken, bytes }
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
