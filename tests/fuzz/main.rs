//! The fuzz targets as an ordinary test: each over its seeds, and over a thousand damaged ones that are the
//! same in every run. It keeps the targets from rotting, and finds what is easy to find. `make fuzz`
//! gives libFuzzer the same functions, and hours.
#![cfg(feature = "edges")]
#![allow(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

pub mod targets;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use targets::Target;

/// Damaged inputs for each target.
const CASES: u32 = 1_000;
const EDITS_MAX: usize = 8;
const BYTES_MAX: usize = 4_096;

/// A change of an input; places are taken modulo its length.
#[derive(Debug, Clone)]
enum Change {
    Put(usize, Vec<u8>),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Flip(usize, u8),
    /// A part of another seed, put over it.
    Splice(usize, usize, usize),
}

impl Change {
    fn apply(&self, data: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let place = |at: usize| at % (data.len() + 1);
        match self {
            Self::Put(at, bytes) => put(data, place(*at), bytes),
            Self::Insert(at, bytes) => {
                let at = place(*at);
                data.splice(at..at, bytes.iter().copied());
            }
            Self::Remove(at, n) => {
                let at = place(*at);
                data.drain(at..(at + n).min(data.len()));
            }
            Self::Flip(at, bit) => {
                let at = place(*at);
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Splice(at, seed, from) => {
                let seed = &seeds[seed % seeds.len()];
                let from = from % (seed.len() + 1);
                put(data, place(*at), &seed[from..(from + 64).min(seed.len())]);
            }
        }
        data.truncate(BYTES_MAX);
    }
}

fn put(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = (at + bytes.len()).min(data.len());
    data.splice(at..end, bytes.iter().copied());
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<u16>().prop_map(usize::from);
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..24),
        prop_oneof![
            Just(0),
            Just(1),
            Just(u64::MAX),
            Just(1 << 31),
            Just(1 << 63),
            0..300_u64
        ]
        .prop_map(|number| number.to_le_bytes().to_vec()),
        (any::<u8>(), 1_usize..64).prop_map(|(byte, n)| vec![byte; n]),
    ];
    prop_oneof![
        3 => (at.clone(), bytes.clone()).prop_map(|(at, bytes)| Change::Put(at, bytes)),
        2 => (at.clone(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (at.clone(), 1_usize..64).prop_map(|(at, n)| Change::Remove(at, n)),
        3 => (at.clone(), any::<u8>()).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => (at.clone(), at.clone(), at).prop_map(|(at, seed, from)| Change::Splice(at, seed, from)),
    ]
}

/// Runs a target over its seeds and what becomes of them.
fn smoke(name: &str) {
    let target: &Target = targets::find(name).unwrap();
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    (target.run)(&[]);
    for seed in &seeds {
        (target.run)(seed);
    }
    let config = Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..Config::default()
    };
    let inputs = (
        0..seeds.len(),
        prop::collection::vec(change(), 1..=EDITS_MAX),
    );
    let mut runner = TestRunner::new(config);
    let result = runner.run(&inputs, |(seed, changes)| {
        let mut data = seeds[seed].clone();
        for change in &changes {
            change.apply(&mut data, &seeds);
        }
        (target.run)(&data);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

macro_rules! smoke_tests {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                smoke(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_run() {
            let names: Vec<&str> = targets::TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

smoke_tests!(
    line_table,
    loops,
    maps,
    request,
    stat,
    elf,
    debug_offsets,
    config,
    matching,
    codec,
    text,
    render,
    chain,
    walk,
);
