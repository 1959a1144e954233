//! `agentctl config`: checking and showing configurations of the daemon.

use super::args::ConfigCommand;
use super::exit::Exit;
use super::explain::Stop;
use super::output;
use crate::config::{self, ConfigError, DEFAULTS, Settings, WebFile};
use crate::procfs::ProcRoot;
use crate::sanitize::escape;
use crate::targets::{doubtful_group, unknown_users, unseen_cgroup};
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

/// The configuration of the service.
const CONFIG_DEFAULT: &str = "/etc/asyncio-agent/agent.yaml";

/// The settings by which processes are looked at from here: of `file`, or else of the service's configuration, which is
/// said, or else the defaults, by which every Python with asyncio in use is watched.
///
/// # Errors
///
/// When the file is no good.
pub(super) fn rules_of(file: Option<&Path>) -> Result<Settings, ConfigError> {
    if let Some(file) = file {
        return config::load(file);
    }
    let shipped = Path::new(CONFIG_DEFAULT);
    match File::open(shipped) {
        Ok(_) => {
            output::say(&format!("agentctl: by the rules of {CONFIG_DEFAULT}\n"));
            config::load(shipped)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Settings::default()),
        Err(error) => {
            output::say(&format!(
                "agentctl: {CONFIG_DEFAULT} cannot be read ({error}), so this is not by its rules, but by 'targets: \
                 auto'\n"
            ));
            Ok(Settings::default())
        }
    }
}

/// Runs a command about configurations.
pub(super) fn config(command: &ConfigCommand) -> Result<Exit, Stop> {
    let text = match command {
        ConfigCommand::Defaults => DEFAULTS.to_owned(),
        ConfigCommand::Check { file } => match config::load_to_check(file) {
            Ok((settings, web_file)) => {
                match check_files(&settings, &web_file) {
                    Ok(None) => {}
                    Ok(Some(unchecked)) => {
                        output::say(&format!("agentctl: {}\n", escape(&unchecked)));
                    }
                    Err(why) => {
                        let file = file.to_string_lossy();
                        let (file, why) = (escape(&file), escape(&why));
                        output::say(&format!("agentctl: {file} cannot be used: {why}\n"));
                        return Ok(Exit::Usage);
                    }
                }
                for user in unknown_users(&settings.targets, &ProcRoot::default()) {
                    output::say(&format!("agentctl: {}\n", escape(&user.to_string())));
                }
                if let Some(cgroup) = unseen_cgroup(&settings.targets, &ProcRoot::default()) {
                    output::say(&format!("agentctl: {cgroup}\n"));
                }
                if let Some(group) = doubtful_group(&settings.control) {
                    output::say(&format!("agentctl: {}\n", escape(&group.to_string())));
                }
                settings.checked(file) + "\n"
            }
            Err(error) => return Ok(unusable(&error)),
        },
        ConfigCommand::Show { config } => {
            if config.is_none() {
                output::say(
                    "agentctl: the defaults; with --config FILE what that file makes of them\n",
                );
            }
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

/// What of the files that the settings name is not checked, if anything.
///
/// # Errors
///
/// What is wrong with one.
#[cfg(feature = "agent")]
fn check_files(settings: &Settings, web_file: &WebFile) -> Result<Option<String>, String> {
    let checked = crate::agent::check_files(settings, web_file);
    let unchecked = checked.map_err(|error| error.to_string())?;
    Ok(unchecked.map(|it| it.to_string()))
}

/// Nobody here knows what such files should hold.
#[cfg(not(feature = "agent"))]
#[expect(clippy::unnecessary_wraps, reason = "with the agent it may fail")]
fn check_files(_: &Settings, _: &WebFile) -> Result<Option<String>, String> {
    let unchecked =
        "the files that the configuration names are not checked by an agentctl without the agent";
    Ok(Some(unchecked.to_owned()))
}

/// Says what is wrong with a configuration.
pub(super) fn unusable(error: &ConfigError) -> Exit {
    output::say(&(error.explained("agentctl") + "\n"));
    Exit::Usage
}
