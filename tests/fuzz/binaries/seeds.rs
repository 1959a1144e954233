//! Writes the seeds of a target into a folder: `seeds TARGET FOLDER`. Without arguments, the names of all
//! targets to standard output.

use asyncio_agent_fuzz::targets;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let (Some(name), Some(folder)) = (arguments.next(), arguments.next()) else {
        let names: Vec<&str> = targets::TARGETS.iter().map(|target| target.name).collect();
        println!("{}", names.join("\n"));
        return Ok(());
    };
    let target = targets::find(&name).ok_or(io::ErrorKind::NotFound)?;
    let folder = PathBuf::from(folder);
    for (number, seed) in (target.seeds)().iter().enumerate() {
        fs::write(folder.join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}
