//! What being read costs a server: latency and throughput of an echo server under load, scanned ten times a
//! second and left alone, in alternating blocks.

use super::peer::{Peer, attach, ourselves};
use super::samples::{Samples, shown, timed};
use super::support::python::{self, Python};
use super::support::target::Target;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 32;
/// Tasks of the server that only wait: something to be read.
const WAITING_TASKS: u32 = 1_000;
const BLOCK: Duration = Duration::from_millis(2_000);
/// Groups of four blocks: alone, scanned, scanned, alone.
const GROUPS: usize = 6;
const SCAN_EVERY: Duration = Duration::from_millis(100);
const MESSAGE: &[u8; 64] = b"ping ping ping ping ping ping ping ping ping ping ping ping pin\n";

/// The argument that makes this program the load.
pub(crate) const LOAD: &str = "--as-load";

/// One block, as the load saw it.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Milliseconds.
    p50: f64,
    p99: f64,
    /// Answers a second.
    rate: f64,
}

type Measure = (&'static str, fn(&Block) -> f64);

const MEASURES: [Measure; 3] = [
    ("p50, ms", |block| block.p50),
    ("p99, ms", |block| block.p99),
    ("answers/s", |block| block.rate),
];

pub(crate) fn run(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n## A server under load\n\n\
         `echo_server.py` (asyncio streams) with {WAITING_TASKS} waiting tasks more. The load is a process of its \
         own: {CONNECTIONS} connections, each of which sends {} bytes and waits for them, as fast as it goes. \
         Blocks of {BLOCK:?}, {GROUPS} times alone, scanned, scanned, alone (A B B A, so that a drift cancels \
         out), after one that does not count. *Scanned*: one snapshot every {SCAN_EVERY:?} by one attached \
         `Process`. *Difference*: the mean over all A-B neighbours of a group of B by A, with the 95 % \
         confidence interval (Student's t). *Noise*: the same of A blocks that follow each other, and the \
         standard deviation of all A blocks: what is measured where nothing differs.\n\n\
         | Python | measure | alone, median (min–max) | scanned, median (min–max) | difference | noise, A by A | deviation of A | ms per scan |\n\
         |---|---|--:|--:|--:|--:|--:|--:|",
        MESSAGE.len()
    )?;
    for python in python::all() {
        let (alone, scanned, scans) = measure(python);
        for (title, of) in MEASURES {
            let values = |blocks: &[Block]| -> Vec<f64> { blocks.iter().map(of).collect() };
            let (alone, scanned) = (values(&alone), values(&scanned));
            let mut difference = Samples::default();
            for (a, b) in alone.iter().zip(&scanned) {
                difference.push(100.0 * (b / a - 1.0));
            }
            let mut noise = Samples::default();
            // The last block of a group and the first of the next.
            for pair in alone.get(1..).unwrap_or_default().chunks_exact(2) {
                noise.push(100.0 * (pair[1] / pair[0] - 1.0));
            }
            let (a, b) = (samples(&alone), samples(&scanned));
            writeln!(
                out,
                "| {} | {title} | {} | {} | **{:+.2} % ± {:.2}** | {:+.2} % ± {:.2} | {:.2} % | {} |",
                python.full_version,
                with_range(&a),
                with_range(&b),
                difference.mean(),
                difference.half_width(),
                noise.mean(),
                noise.half_width(),
                100.0 * a.deviation() / a.mean(),
                scans.median_and_min(),
            )?;
        }
    }
    Ok(())
}

fn samples(values: &[f64]) -> Samples {
    let mut samples = Samples::default();
    values.iter().for_each(|value| samples.push(*value));
    samples
}

fn with_range(samples: &Samples) -> String {
    let [median, min, max] = [samples.median(), samples.min(), samples.max()].map(shown);
    format!("{median} ({min}–{max})")
}

/// All blocks alone, all that were scanned (in order), and the times of the scans.
fn measure(python: &Python) -> (Vec<Block>, Vec<Block>, Samples) {
    let mut command = python.script("tests/bench/programs/echo_server.py");
    command.arg(WAITING_TASKS.to_string());
    let server = Target::start(command);
    let port = server.truth["port"].as_u64().expect("a port");
    let mut command = ourselves();
    command.args([LOAD, &port.to_string()]);
    let mut load = Peer::start(command);
    block(&mut load);
    let [mut alone, mut scanned] = [Vec::new(), Vec::new()];
    let mut scans = Samples::default();
    for _ in 0..GROUPS {
        for is_scanned in [false, true, true, false] {
            if is_scanned {
                scanned.push(scanned_block(&mut load, &server, &mut scans));
            } else {
                alone.push(block(&mut load));
            }
        }
    }
    (alone, scanned, scans)
}

fn block(load: &mut Peer) -> Block {
    let answer = load.ask(&BLOCK.as_millis().to_string());
    let number = |name: &str| answer[name].as_f64().expect("a number");
    Block {
        p50: number("p50_ms"),
        p99: number("p99_ms"),
        rate: number("rate"),
    }
}

/// A block during which another thread takes snapshots.
fn scanned_block(load: &mut Peer, server: &Target, times: &mut Samples) -> Block {
    let is_over = AtomicBool::new(false);
    let pid = server.pid();
    let scan = || {
        let mut process = attach(pid).unwrap_or_else(|error| panic!("attach: {error}"));
        let mut found = Vec::new();
        let mut next = Instant::now();
        while !is_over.load(Ordering::Relaxed) {
            let (time, snapshot) = timed(|| process.snapshot());
            let snapshot = snapshot.unwrap_or_else(|error| panic!("snapshot: {error}"));
            assert!(snapshot.graph.tasks().len() > WAITING_TASKS as usize);
            found.push(time);
            next += SCAN_EVERY;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        found
    };
    thread::scope(|scope| {
        let scanner = scope.spawn(scan);
        let block = block(load);
        is_over.store(true, Ordering::Relaxed);
        let found = scanner.join().expect("the scanner does not panic");
        found.into_iter().for_each(|time| times.push_time(time));
        block
    })
}

/// The load: for each line, a number of milliseconds, a block of that length and its figures.
pub(crate) fn load(port: u16) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let connect = || async {
        let mut streams = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        io::Result::Ok(streams)
    };
    let mut streams = runtime.block_on(connect())?;
    for line in io::stdin().lines() {
        let time = Duration::from_millis(line?.parse().map_err(io::Error::other)?);
        let answer;
        (answer, streams) = runtime.block_on(run_block(streams, time))?;
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

async fn run_block(streams: Vec<TcpStream>, time: Duration) -> io::Result<(Value, Vec<TcpStream>)> {
    let begin = Instant::now();
    let until = begin + time;
    let conversations = streams
        .into_iter()
        .map(|stream| tokio::spawn(converse(stream, until)));
    let mut latencies = Vec::new();
    let mut streams = Vec::new();
    for conversation in conversations.collect::<Vec<_>>() {
        let (found, stream) = conversation.await.map_err(io::Error::other)??;
        latencies.extend(found);
        streams.push(stream);
    }
    let seconds = begin.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let quantile = |share: usize| {
        let at = latencies.len() * share / 100;
        let found = latencies
            .get(at)
            .or_else(|| latencies.last())
            .copied()
            .unwrap_or_default();
        1e3 * found.as_secs_f64()
    };
    let answer = json!({
        "p50_ms": quantile(50),
        "p99_ms": quantile(99),
        "rate": latencies.len() as f64 / seconds,
    });
    Ok((answer, streams))
}

/// Sends and waits for the answer, again and again; returns how long each answer took.
async fn converse(stream: TcpStream, until: Instant) -> io::Result<(Vec<Duration>, TcpStream)> {
    let mut latencies = Vec::new();
    let mut answer = [0; MESSAGE.len()];
    while Instant::now() < until {
        let begin = Instant::now();
        let mut sent = 0;
        while sent < MESSAGE.len() {
            stream.writable().await?;
            match stream.try_write(&MESSAGE[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let mut received = 0;
        while received < answer.len() {
            stream.readable().await?;
            match stream.try_read(&mut answer[received..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => received += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        latencies.push(begin.elapsed());
    }
    Ok((latencies, stream))
}
