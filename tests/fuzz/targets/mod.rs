//! The fuzz targets as functions of bytes. Two callers run them: the binaries of this package, which
//! libFuzzer drives (`make fuzz`), and `main.rs` beside them, an ordinary test of the gate.
//!
//! A target fails by a panic: one of its own assertions, or one of the library, which never panics on
//! foreign bytes. Time and memory of one input are bounded by whoever runs it.

#[path = "../../synthetic/process.rs"]
#[allow(
    dead_code,
    reason = "made for the tests beside it, which use all of it"
)]
mod process;

mod chain;
mod codec;
mod config;
mod debug_offsets;
mod edits;
mod elf;
mod graphs;
mod image;
mod input;
mod line_table;
mod loops;
mod maps;
mod matching;
mod pages;
mod render;
mod request;
mod stat;
mod text;
mod walk;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its binary.
    pub name: &'static str,
    /// Runs it on one input.
    pub run: fn(&[u8]),
    /// Inputs to begin with, each small.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Bytes that one input may have allocated at a time.
    pub memory_max: usize,
}

const fn target(
    name: &'static str,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    memory_max: usize,
) -> Target {
    Target {
        name,
        run,
        seeds,
        memory_max,
    }
}

const MIB: usize = 1 << 20;

/// All targets.
pub const TARGETS: &[Target] = &[
    target("line_table", line_table::run, line_table::seeds, MIB),
    target("loops", loops::run, loops::seeds, MIB),
    target("maps", maps::run, maps::seeds, 4 * MIB),
    target("request", request::run, request::seeds, 4 * MIB),
    target("stat", stat::run, stat::seeds, MIB),
    target("elf", elf::run, elf::seeds, 4 * MIB),
    target(
        "debug_offsets",
        debug_offsets::run,
        debug_offsets::seeds,
        4 * MIB,
    ),
    target("config", config::run, config::seeds, 128 * MIB),
    target("matching", matching::run, matching::seeds, 4 * MIB),
    target("codec", codec::run, codec::seeds, 16 * MIB),
    target("text", text::run, text::seeds, MIB),
    target("render", render::run, render::seeds, 32 * MIB),
    target("chain", chain::run, chain::seeds, 8 * MIB),
    target("walk", walk::run, walk::seeds, 8 * MIB),
];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
