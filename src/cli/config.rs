//! `agentctl config`: checking and showing configurations of the daemon.

use super::args::ConfigCommand;
use super::exit::Exit;
use super::explain::Stop;
use super::output;
use crate::config::{self, ConfigError, DEFAULTS, Settings};

/// Runs a command about configurations.
pub(super) fn config(command: &ConfigCommand) -> Result<Exit, Stop> {
    let text = match command {
        ConfigCommand::Defaults => DEFAULTS.to_owned(),
        ConfigCommand::Check { file } => match config::load_with_web_file(file) {
            Ok((settings, _)) => settings.checked(file) + "\n",
            Err(error) => return Ok(unusable(&error)),
        },
        ConfigCommand::Show { config } => {
            let settings = config.as_deref().map(config::load).transpose();
            match settings {
                Ok(settings) => config::show(&settings.unwrap_or_else(Settings::default)),
                Err(error) => return Ok(unusable(&error)),
            }
        }
    };
    output::to_stdout(|out| out.write_all(text.as_bytes()))?;
    Ok(Exit::Done)
}

/// Says what is wrong with a configuration.
pub(super) fn unusable(error: &ConfigError) -> Exit {
    output::say(&(error.explained("agentctl") + "\n"));
    Exit::Usage
}
