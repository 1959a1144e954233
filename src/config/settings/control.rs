//! The socket on which `agentctl` asks the agent, and who may ask for everything there.

use std::path::PathBuf;
use std::time::Duration;

/// The socket on which `agentctl` asks the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ControlSettings {
    /// Where it is.
    pub socket: ControlSocket,
    /// Its members may ask for everything, as root may. `None`: root only.
    pub group: Option<String>,
    /// For how long at most a process is stopped for a snapshot when somebody asks for that who may ask for the process,
    /// within [`PAUSE_LIMITS`](crate::limits::PAUSE_LIMITS). `None`: none is stopped.
    pub freeze: Option<Duration>,
}

/// Where the socket is on which `agentctl` asks the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ControlSocket {
    /// In the folder that systemd made for the agent (`RuntimeDirectory=`, systemd.exec(5)); nowhere if it made
    /// none. So an agent that is started by hand needs no folder that it may write to.
    #[default]
    Auto,
    /// Nowhere.
    None,
    /// At this path.
    Path(PathBuf),
}
