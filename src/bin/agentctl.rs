//! The command line tool `agentctl`. Everything it does is in the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    asyncio_agent::cli::run(std::env::args_os()).into()
}
