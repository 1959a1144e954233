//! `agentctl config`: checking and showing configurations of the daemon.

use super::args::ConfigCommand;
use super::exit::Exit;
use super::explain::Stop;
use super::output;
use crate::config::{self, ConfigError, DEFAULTS, Settings, WebFile};
use crate::procfs::ProcRoot;
use crate::sanitize::escape;
use crate::targets::{unknown_group, unknown_users};

/// Runs a command about configurations.
pub(super) fn config(command: &ConfigCommand) -> Result<Exit, Stop> {
    let text = match command {
        ConfigCommand::Defaults => DEFAULTS.to_owned(),
        ConfigCommand::Check { file } => match config::load_with_web_file(file) {
            Ok((settings, web_file)) => {
                if let Some(why) = unusable_file(&settings, &web_file) {
                    let file = file.to_string_lossy();
                    let (file, why) = (escape(&file), escape(&why));
                    output::say(&format!("agentctl: {file} cannot be used: {why}\n"));
                    return Ok(Exit::Usage);
                }
                for user in unknown_users(&settings.targets, &ProcRoot::default()) {
                    output::say(&format!("agentctl: {}\n", escape(&user.to_string())));
                }
                if let Some(group) = unknown_group(&settings.control) {
                    output::say(&format!("agentctl: {}\n", escape(&group.to_string())));
                }
                settings.checked(file) + "\n"
            }
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

/// What is wrong with a file that the settings name.
#[cfg(feature = "agent")]
fn unusable_file(settings: &Settings, web_file: &WebFile) -> Option<String> {
    let checked = crate::agent::check_files(settings, web_file);
    checked.err().map(|error| error.to_string())
}

/// Nobody here knows what such files should hold.
#[cfg(not(feature = "agent"))]
fn unusable_file(_: &Settings, _: &WebFile) -> Option<String> {
    let unchecked =
        "the files that the configuration names are not checked by an agentctl without the agent";
    output::say(&format!("agentctl: {unchecked}\n"));
    None
}

/// Says what is wrong with a configuration.
pub(super) fn unusable(error: &ConfigError) -> Exit {
    output::say(&(error.explained("agentctl") + "\n"));
    Exit::Usage
}
