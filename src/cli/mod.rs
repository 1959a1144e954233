//! The command line tool: arguments in, text and an exit status out.
//!
//! It only connects: reading is `process`, or the agent's by its socket, text is `render`, JSON is `protocol`. What it owns is the
//! help text, the messages and hints, the exit status, and the files and streams it was pointed at.

mod agent;
mod args;
mod columns;
mod config;
mod diagnosis;
mod exit;
mod explain;
mod links;
mod namespaces;
mod output;
mod pages;
mod source;
mod targets;
mod trace;
mod views;
mod watched;

pub use exit::Exit;

use args::{Cli, Command};
use clap::Parser;
use explain::Stop;
use std::ffi::OsString;

/// Runs `agentctl` with these arguments, the first of which is its own name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    let command = match Cli::try_parse_from(&args) {
        Ok(cli) => cli.command,
        Err(error) => return usage(&error, &args),
    };
    let result = match &command {
        Command::Ps(args) => views::ps(args),
        Command::Pstree(args) => views::pstree(args),
        Command::Snapshot(args) => views::snapshot(args),
        Command::Trace(args) => trace::trace(args),
        Command::Explain(args) => diagnosis::explain(args),
        Command::Targets(args) => targets::targets(args),
        Command::Findings(args) => watched::findings(args),
        Command::Config(command) => config::config(command),
        Command::Schema => pages::schema(),
        Command::Completions { shell, program } => pages::completions(*shell, program),
        Command::Man { command } => pages::man(command.as_deref()),
    };
    match result {
        Ok(exit) => exit,
        Err(Stop::ReaderGone) => Exit::Done,
        Err(Stop::Failed(failure)) => {
            output::say(&failure.to_string());
            failure.exit
        }
    }
}

/// Prints what `clap` has to say: the help that was asked for, or what is wrong with the arguments.
fn usage(error: &clap::Error, args: &[OsString]) -> Exit {
    // Nobody is left to tell when this cannot be printed.
    let _ = error.print();
    if error.use_stderr() {
        if let Some(limit) = args::limit_apart(args) {
            output::say(&format!("\n  hint: a limit is written --freeze={limit}\n"));
        }
        Exit::Usage
    } else {
        Exit::Done
    }
}
