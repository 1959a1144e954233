//! The command line of the daemon, and how its end becomes an exit status.

use super::{AgentConfig, AgentError, allocator, check_files, run, telemetry};
use crate::config::{self, Settings, WebFile};
use crate::procfs::ProcRoot;
use crate::sanitize::escape;
use crate::targets::{doubtful_group, unknown_users, unseen_cgroup};
use clap::{Command, CommandFactory, Parser, ValueEnum};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Exit status: the command line or the configuration is wrong, or names a place that is of no use. The unit is not started
/// again then.
const EXIT_USAGE: u8 = 2;
/// Exit status: anything else.
pub(super) const EXIT_FAILURE: u8 = 7;

const HELP: &str = "\
Exit status:
  0  ended by SIGTERM or SIGINT; with --check: the configuration is good
  2  the command line or the configuration is wrong, or names a place that is of no use: trying again
     does not help
  7  anything else, such as an address on which something else listens

Signals:
  SIGHUP           the configuration is read again; if it is not good, the old one stays in effect
  SIGTERM, SIGINT  the agent ends

Files:
  /etc/asyncio-agent/agent.yaml  the configuration of the service
  /run/asyncio-agent/agent.sock  where the service answers agentctl; see control.socket

See also: agentctl(1); 'agentctl config defaults' prints a configuration with every option.";

/// Watches the asyncio tasks of running Python processes and serves what it sees to Prometheus.
#[derive(Debug, Parser)]
#[command(name = "asyncio-agent", version, after_long_help = HELP)]
struct Args {
    /// The configuration, a YAML file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Check the configuration and end
    #[arg(long)]
    check: bool,

    /// How much to log, to stderr
    #[arg(
        long,
        visible_alias = "log.level",
        value_name = "LEVEL",
        default_value = "info"
    )]
    log_level: LogLevel,

    /// How the log is written: fields as name=value, or each line an object of JSON
    #[arg(
        long,
        visible_alias = "log.format",
        value_name = "FORMAT",
        default_value = "logfmt"
    )]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Logfmt,
    Json,
}

/// The command line, for the manual page and the completions of shells.
pub fn command() -> Command {
    Args::command()
}

/// Runs the daemon as the arguments `args` say, the first of which is the program's name.
pub fn run_from_args(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // `--help` and `--version` come here too; clap knows where to print and what to return.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let path = args.config.clone();
    let is_check = args.check;
    let load = move || match is_check {
        true => config::load_to_check(&path),
        false => config::load_with_web_file(&path),
    };
    let log_format = if args.check {
        LogFormat::Logfmt
    } else {
        args.log_format
    };
    let log = !args.check;
    let _log = log.then(|| telemetry::start(args.log_level, log_format));
    let (settings, web_file) = match load() {
        Ok(loaded) => loaded,
        Err(error) => {
            if log_format == LogFormat::Json {
                let error = error.without_lines().to_string();
                tracing::error!(error, "the configuration cannot be used");
            } else {
                complain(&error.explained("asyncio-agent"));
            }
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if args.check {
        return check(&settings, &web_file, &args.config);
    }
    allocator::set();
    super::open_files::allow();
    super::cores::forbid();
    let config = AgentConfig {
        settings,
        web_file,
        load: Arc::new(load),
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error, log_format);
            ExitCode::from(match error.is_lasting() {
                true => EXIT_USAGE,
                false => EXIT_FAILURE,
            })
        }
    }
}

/// Says why the agent cannot run.
fn tell(error: &AgentError, log_format: LogFormat) {
    let hint = hint(error);
    if log_format == LogFormat::Json {
        tracing::error!(%error, hint, "the agent cannot run");
        return;
    }
    complain(&format!("asyncio-agent: {error}"));
    if let Some(hint) = hint {
        complain(&format!("  hint: {hint}"));
    }
}

/// Says whether a start with these settings would do, and what they come to.
fn check(settings: &Settings, web_file: &WebFile, path: &Path) -> ExitCode {
    match check_files(settings, web_file) {
        Ok(None) => {}
        Ok(Some(unchecked)) => {
            complain(&format!(
                "asyncio-agent: {}",
                escape(&unchecked.to_string())
            ));
        }
        Err(error) => {
            let (file, error) = (path.to_string_lossy(), error.to_string());
            let (file, error) = (escape(&file), escape(&error));
            complain(&format!("asyncio-agent: {file} cannot be used: {error}"));
            return ExitCode::from(EXIT_USAGE);
        }
    }
    for user in unknown_users(&settings.targets, &ProcRoot::default()) {
        complain(&format!("asyncio-agent: {}", escape(&user.to_string())));
    }
    if let Some(cgroup) = unseen_cgroup(&settings.targets, &ProcRoot::default()) {
        complain(&format!("asyncio-agent: {cgroup}"));
    }
    if let Some(group) = doubtful_group(&settings.control) {
        complain(&format!("asyncio-agent: {}", escape(&group.to_string())));
    }
    let _ = writeln!(io::stdout(), "{}", settings.checked(path));
    ExitCode::SUCCESS
}

pub(super) fn complain(text: &dyn fmt::Display) {
    // There is nobody to tell when stderr is closed.
    let _ = writeln!(io::stderr(), "{text}");
}

fn hint(error: &AgentError) -> Option<&'static str> {
    let source = match error {
        AgentError::Listen { source, .. } => source,
        AgentError::Socket { source, .. } => return socket_hint(source),
        _ => return None,
    };
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            Some("another program listens there; stop it, or set another address in web.listen")
        }
        io::ErrorKind::AddrNotAvailable => Some("web.listen must be an address of this machine"),
        io::ErrorKind::PermissionDenied => Some("ports below 1024 need CAP_NET_BIND_SERVICE"),
        _ => None,
    }
}

fn socket_hint(source: &io::Error) -> Option<&'static str> {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            Some("another agent listens there; stop it, or set another path in control.socket")
        }
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Some(
            "its folder must be there and writable for the agent's user, as RuntimeDirectory= of systemd makes \
             one; with control.socket: none there is no socket",
        ),
        _ => None,
    }
}
