//! The signals that the agent obeys.

use std::io;
use tokio::signal::unix::{self, SignalKind};

/// What a signal asks for.
pub(super) enum Signal {
    /// To end; with the signal's name.
    End(&'static str),
    /// To read the configuration again.
    Reload,
}

/// SIGTERM, SIGINT and SIGHUP, caught from the moment this exists.
pub(super) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
        })
    }

    /// What the next one asks for.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::End("SIGTERM"),
            _ = self.interrupt.recv() => Signal::End("SIGINT"),
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}
