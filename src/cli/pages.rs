//! The pages that need no process: the schema, shell completions, manual pages.

use super::args::Cli;
use super::exit::Exit;
use super::explain::{Failure, Stop};
use super::output;
use crate::protocol::SNAPSHOT_SCHEMA;
use clap::{Command, CommandFactory};
use clap_complete::Shell;

/// Prints the JSON Schema of snapshots.
pub(super) fn schema() -> Result<Exit, Stop> {
    output::to_stdout(|out| out.write_all(SNAPSHOT_SCHEMA.as_bytes()))?;
    Ok(Exit::Done)
}

/// Prints the completion script for `shell`.
pub(super) fn completions(shell: Shell) -> Result<Exit, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "agentctl", &mut script);
    output::to_stdout(|out| out.write_all(&script))?;
    Ok(Exit::Done)
}

/// Prints the manual page of `agentctl`, or of one of its commands.
pub(super) fn man(command: Option<&str>) -> Result<Exit, Stop> {
    let whole = Cli::command().disable_help_subcommand(true);
    let page = match command {
        None => clap_mangen::Man::new(whole),
        Some(name) => clap_mangen::Man::new(page_of(&whole, name)?),
    };
    output::to_stdout(|mut out| page.render(&mut out))?;
    Ok(Exit::Done)
}

fn page_of(whole: &Command, name: &str) -> Result<Command, Stop> {
    let found = whole.find_subcommand(name).ok_or_else(|| {
        let names: Vec<_> = whole.get_subcommands().map(Command::get_name).collect();
        Stop::Failed(Failure {
            exit: Exit::Usage,
            message: format!("no command {name:?}"),
            hints: vec![format!("one of {}", names.join(", "))],
        })
    })?;
    Ok(found
        .clone()
        .display_name(format!("agentctl-{name}"))
        .bin_name(format!("agentctl {name}")))
}
