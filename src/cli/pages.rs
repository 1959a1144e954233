//! The pages that need no process: the schema, shell completions, manual pages.

use super::args::Cli;
use super::exit::Exit;
use super::explain::{Failure, Stop};
use super::output;
use crate::protocol::SNAPSHOT_SCHEMA;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

/// The other program.
const DAEMON: &str = "asyncio-agent";

/// Prints the JSON Schema of snapshots.
pub(super) fn schema() -> Result<Exit, Stop> {
    output::to_stdout(|out| out.write_all(SNAPSHOT_SCHEMA.as_bytes()))?;
    Ok(Exit::Done)
}

/// Prints the completion script for `shell`, of `program`.
pub(super) fn completions(shell: Shell, program: &str) -> Result<Exit, Stop> {
    let mut command = match program {
        DAEMON => daemon()?,
        _ => Cli::command(),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, program, &mut script);
    output::to_stdout(|out| out.write_all(&script))?;
    Ok(Exit::Done)
}

/// Prints the manual page of `agentctl`, of one of its commands, or of the daemon.
pub(super) fn man(command: Option<&str>) -> Result<Exit, Stop> {
    // What `help` says is in these pages.
    let whole = Cli::command()
        .disable_help_subcommand(true)
        .mut_subcommands(|command| command.disable_help_subcommand(true));
    let page = match command {
        None => Man::new(whole),
        Some(DAEMON) => Man::new(daemon()?).section("8"),
        Some(name) => Man::new(page_of(&whole, name)?),
    };
    output::to_stdout(|mut out| page.render(&mut out))?;
    Ok(Exit::Done)
}

#[cfg(feature = "agent")]
fn daemon() -> Result<Command, Stop> {
    Ok(crate::agent::command())
}

#[cfg(not(feature = "agent"))]
fn daemon() -> Result<Command, Stop> {
    Err(Stop::Failed(Failure {
        exit: Exit::Usage,
        message: format!("this agentctl was built without {DAEMON}"),
        hints: Vec::new(),
    }))
}

fn page_of(whole: &Command, name: &str) -> Result<Command, Stop> {
    let mut parts = name.split('-');
    let found = parts.try_fold(whole, |command, part| command.find_subcommand(part));
    let found = found.ok_or_else(|| {
        let mut names: Vec<_> = whole.get_subcommands().map(Command::get_name).collect();
        names.push(DAEMON);
        Stop::Failed(Failure {
            exit: Exit::Usage,
            message: format!("no command {name:?}"),
            hints: vec![format!("one of {}", names.join(", "))],
        })
    })?;
    Ok(found
        .clone()
        .display_name(format!("agentctl-{name}"))
        .bin_name(format!("agentctl {}", name.replace('-', " "))))
}
