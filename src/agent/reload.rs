//! Takes over a changed configuration while the agent runs: it is read whole, and only if all of it is good
//! does anything change.

use super::control::{ControlRules, note_doubts};
use super::http::{WebError, WebRules};
use super::otlp::{FileContents, OtlpError, Prepared};
use super::service::ServiceManager;
use super::supervisor::Command;
use crate::config::{ConfigError, Settings, WebFile, diff};
use crate::sanitize::escape;
use std::fmt;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// Reads the configuration anew. Blocks.
pub type LoadConfig = dyn Fn() -> Result<(Settings, WebFile), ConfigError> + Send + Sync;

/// A wish to have the configuration read again.
pub(super) enum ReloadRequest {
    /// From a signal.
    Signal,
    /// From somebody who is to be told what came of it: what changed, or all that is wrong.
    Tell(oneshot::Sender<Result<String, String>>),
}

/// Reads the configuration when asked to.
pub(super) struct Reloader {
    pub(super) load: Arc<LoadConfig>,
    /// The settings in effect.
    pub(super) current: Arc<Settings>,
    /// What stood in the files of `exporters.otlp`.
    pub(super) otlp_files: Option<FileContents>,
    pub(super) supervisor: mpsc::Sender<Command>,
    pub(super) web: watch::Sender<Arc<WebRules>>,
    pub(super) control: watch::Sender<Arc<ControlRules>>,
    pub(super) service: ServiceManager,
}

/// Why a configuration was refused.
enum Refused {
    Config(ConfigError),
    Web(WebError),
    Otlp(OtlpError),
    Panicked,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => f.write_str(&error.explained("asyncio-agent")),
            Self::Web(error) => write!(f, "web.config_file: {}", escape(&error.to_string())),
            Self::Otlp(error) => f.write_str(&escape(&error.to_string())),
            Self::Panicked => f.write_str("a defect of the agent"),
        }
    }
}

impl Reloader {
    /// Answers requests until nobody is left who could make any.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<ReloadRequest>) {
        while let Some(request) = requests.recv().await {
            self.service.reloading();
            let result = self.reload().await;
            // Also if it was refused: the old configuration is in effect.
            self.service.ready();
            if let ReloadRequest::Tell(tell) = request {
                // Whoever asked may be gone.
                let _ = tell.send(result);
            }
        }
    }

    async fn reload(&mut self) -> Result<String, String> {
        let load = Arc::clone(&self.load);
        let loaded = tokio::task::spawn_blocking(move || {
            let (settings, web_file) = load()
                // The answer and the log are for more eyes than the file.
                .map_err(|error| Refused::Config(error.without_lines()))?;
            let rules = WebRules::new(&settings, &web_file).map_err(Refused::Web)?;
            let otlp = Prepared::new(&settings).map_err(Refused::Otlp)?;
            note_doubts(&settings.control);
            Ok((settings, rules, otlp))
        });
        match loaded.await.unwrap_or(Err(Refused::Panicked)) {
            Ok((settings, rules, otlp)) => Ok(self.take_over(settings, rules, otlp).await),
            Err(why) => {
                let why = why.to_string();
                tracing::error!("the configuration is not good; the old one stays in effect");
                for problem in why.lines() {
                    tracing::error!(problem, "in the configuration");
                }
                let _ = self.supervisor.send(Command::RefuseConfig).await;
                Err(why)
            }
        }
    }

    async fn take_over(
        &mut self,
        mut settings: Settings,
        mut rules: WebRules,
        otlp: Option<Prepared>,
    ) -> String {
        // What waits to be sent goes on waiting if nothing of this has changed.
        let files = otlp.as_ref().map(Prepared::files);
        let mut change = diff(&self.current, &settings);
        let other_settings = self.current.exporters.otlp != settings.exporters.otlp;
        let other_files = self.otlp_files != files;
        if other_files && !other_settings {
            change.live.push("files of exporters.otlp".to_owned());
        }
        let of_web_file = rules.changes_of_file(&self.web.borrow());
        change
            .live
            .extend(of_web_file.into_iter().map(str::to_owned));
        let otlp = (other_settings || other_files).then(|| otlp.map(Box::new));
        self.otlp_files = files;
        let mut told = match change.live[..] {
            [] => "the configuration was read again; nothing changed".to_owned(),
            _ => format!(
                "the configuration was read again; changed: {}",
                change.live.join(", ")
            ),
        };
        if !change.needs_restart.is_empty() {
            let needs_restart = change.needs_restart.join(", ");
            tracing::warn!(%needs_restart, "changes that take a restart of the agent");
            told.push_str(&format!("; takes a restart: {needs_restart}"));
        }
        match change.live[..] {
            [] => tracing::info!("the configuration was read again; nothing changed"),
            _ => {
                let changed = change.live.join(", ");
                tracing::info!(changed, "the configuration was read again");
            }
        }
        // What it listens on stays.
        settings.web.listen.clone_from(&self.current.web.listen);
        let socket = &self.current.control.socket;
        settings.control.socket.clone_from(socket);
        let control = Arc::new(ControlRules::new(&settings));
        self.control.send_replace(control);
        self.current = Arc::new(settings);
        rules.keep_known_of(&self.web.borrow());
        self.web.send_replace(Arc::new(rules));
        let command = Command::Reconfigure(Arc::clone(&self.current), otlp);
        let _ = self.supervisor.send(command).await;
        told
    }
}
