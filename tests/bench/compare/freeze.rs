//! How long a process stands still for a snapshot that stops it.

use super::peer::attach;
use super::samples::{Samples, timed};
use super::speed::{Doing, forest};
use super::support::python;
use std::io::{self, Write};
use std::time::Duration;

const SIZES: [(u32, usize); 3] = [(10_001, 21), (1_001, 51), (11, 151)];
/// More than any of them needs.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(5);

pub(crate) fn run(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n## The pause of `--freeze`\n\n\
         `forest.py`, repeated `snapshot_frozen` of one `Process`. Median (minimum) in milliseconds. *Pause*: how \
         long the process stood still, as the snapshot says itself.\n\n\
         | Python | tasks | process | rounds | pause | longest pause | snapshot | complete |\n\
         |---|--:|---|--:|--:|--:|--:|--:|"
    )?;
    let both =
        |(tasks, rounds)| [Doing::Sleeping, Doing::Running].map(|doing| (tasks, doing, rounds));
    for (tasks, doing, rounds) in SIZES.into_iter().flat_map(both) {
        for python in python::all() {
            let target = forest(python, tasks, doing);
            let mut process =
                attach(target.pid()).unwrap_or_else(|error| panic!("attach: {error}"));
            let [mut pauses, mut times] = [Samples::default(), Samples::default()];
            let mut complete = 0;
            for _ in 0..rounds {
                let (time, snapshot) = timed(|| process.snapshot_frozen(PAUSE_MAX));
                let snapshot = snapshot.unwrap_or_else(|error| panic!("snapshot: {error}"));
                pauses.push_time(snapshot.stats.paused.unwrap_or_default());
                times.push_time(time);
                complete += usize::from(snapshot.complete);
            }
            writeln!(
                out,
                "| {} | {tasks} | {} | {rounds} | {} | {} | {} | {complete} |",
                python.full_version,
                doing.title(),
                pauses.median_and_min(),
                super::samples::shown(pauses.max()),
                times.median_and_min(),
            )?;
        }
    }
    Ok(())
}
