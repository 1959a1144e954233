//! The daemon's entry point.

use std::process::ExitCode;

fn main() -> ExitCode {
    asyncio_agent::agent::run_from_args(std::env::args_os())
}
