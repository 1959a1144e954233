//! What the service manager is told (sd_notify(3)): that the agent is ready, reads its configuration again, ends, and
//! that it works (systemd.service(5), `Type=notify` and `WatchdogSec=`). Nothing is said unless one has started us.

use sd_notify::NotifyState;
use std::env;
use std::time::Duration;

/// The service manager that started the agent, if one did.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServiceManager {
    is_there: bool,
    /// It wants to hear within this time that the agent works.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that the environment names.
    pub(super) fn of_environment() -> Self {
        Self {
            is_there: env::var_os("NOTIFY_SOCKET").is_some(),
            watchdog: sd_notify::watchdog_enabled(),
        }
    }

    /// How often it is to hear that the agent works: twice in the time that it waits. `None`: never.
    pub(super) fn beat_every(self) -> Option<Duration> {
        self.watchdog.filter(|_| self.is_there).map(|time| time / 2)
    }

    /// The agent serves metrics from now on, and goes by a configuration that it has read.
    pub(super) fn ready(self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The configuration is being read again, until [`Self::ready`].
    pub(super) fn reloading(self) {
        if !self.is_there {
            return;
        }
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// The agent ends.
    pub(super) fn stopping(self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// The agent works, and this is how its targets are doing.
    pub(super) fn beat(self, status: &str) {
        self.tell(&[NotifyState::Watchdog, NotifyState::Status(status)]);
    }

    fn tell(self, states: &[NotifyState<'_>]) {
        if self.is_there
            && let Err(error) = sd_notify::notify(states)
        {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}
