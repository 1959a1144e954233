//! What spans cost: making and sending those of a large tree, and the agent's processor time with them.

use super::agent::{cpu_seconds, end, fleet, parents};
use super::samples::{Samples, shown, timed};
use super::speed::{Doing, forest};
use super::support::agent::Agent;
use super::support::churn::attach;
use super::support::python;
use super::support::rotel::{Ports, Receiver};
use super::support::target::wait_until;
use asyncio_agent::analysis::TaskTimes;
use asyncio_agent::export::otlp::span_data;
use asyncio_agent::graph::find_cycles;
use asyncio_agent::spans::{Facts, SpanLimits, Traces, traces_of};
use asyncio_agent::time::Timestamp;
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    Compression, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
};
use opentelemetry_sdk::trace::SpanExporter as _;
use std::io::{self, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;

const TASKS: u32 = 10_001;
const ROUNDS: usize = 15;
/// Spans in one request, as the agent sends them.
const REQUEST_SPANS: usize = 2_000;
/// Longer than a request takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// For so long agents are watched that watch so many processes, with so many tasks each, so often.
const WATCHED: Duration = Duration::from_secs(60);
const PROCESSES: u32 = 100;
const TASKS_EACH: u32 = 100;
const INTERVAL: Duration = Duration::from_secs(5);

pub(crate) fn run(out: &mut impl Write) -> io::Result<()> {
    run_trees(out)?;
    run_agents(out)
}

fn run_trees(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n## Spans\n\n\
         The tree of `forest.py` with {TASKS} tasks, in one trace: as much of it as `spans_per_trace` allows by \
         default, and all. *Made*: `traces_of` the graph. *Sent*: from there on, by the SDK's exporter to rotel in \
         requests of {REQUEST_SPANS} spans, until it has answered. Median (minimum) of {ROUNDS}, in milliseconds. *KiB*: what went over the \
         connection.\n\n\
         | Python | spans | made | protocol | compression | sent | KiB | bytes a span |\n\
         |---|--:|--:|---|---|--:|--:|--:|"
    )?;
    let python = &python::all()[0];
    let target = forest(python, TASKS, Doing::Sleeping);
    let snapshot = attach(&target).snapshot().expect("it lives");
    let cycles = find_cycles(&snapshot.graph, 64);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = Timestamp::new(now.expect("after 1970"));
    let age = (
        Duration::from_secs(30),
        vec![(usize::MAX, Duration::from_secs(20))],
    );
    let times = TaskTimes::new(now, vec![age; snapshot.graph.tasks().len()]);
    let facts = Facts::new((&snapshot.graph, true), &cycles, [], &times);
    let runtime = Runtime::new()?;
    for spans_per_trace in [2_000, usize::MAX] {
        let limits = SpanLimits::alike(1, usize::MAX, spans_per_trace);
        let mut made = Samples::default();
        let mut traces = Traces::default();
        for seed in 0..ROUNDS {
            let (time, new) = timed(|| traces_of(&facts, &limits, seed as u128 + 1));
            made.push_time(time);
            traces = new;
        }
        for (protocol, compression) in [
            ("grpc", None),
            ("grpc", Some(Compression::Gzip)),
            ("http/protobuf", None),
            ("http/protobuf", Some(Compression::Gzip)),
        ] {
            let (sent, bytes) = send(&runtime, &traces, protocol, compression)?;
            writeln!(
                out,
                "| {} | {} | {} | {protocol} | {} | **{}** | {} | {} |",
                python.full_version,
                traces.n_spans(),
                made.median_and_min(),
                compression.map_or("none", |_| "gzip"),
                sent.median_and_min(),
                bytes / 1024,
                bytes / traces.n_spans() as u64,
            )?;
            out.flush()?;
        }
    }
    Ok(())
}

/// How long sending takes, and how many bytes it is.
fn send(
    runtime: &Runtime,
    traces: &Traces,
    protocol: &str,
    compression: Option<Compression>,
) -> io::Result<(Samples, u64)> {
    let ports = Ports::free();
    let _receiver = Receiver::start_quiet(ports);
    wait_until("rotel listens", || {
        TcpStream::connect(("127.0.0.1", ports.of(protocol))).is_ok()
    });
    let counter = Counter::start(ports.of(protocol))?;
    let exporter = exporter(runtime, counter.port, protocol, compression);
    let mut times = Samples::default();
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let before = counter.bytes.load(Ordering::Acquire);
        let (time, result) = timed(|| {
            let spans: Vec<_> = traces
                .traces
                .iter()
                .flat_map(|trace| span_data(trace, 0))
                .collect();
            let mut requests = spans.chunks(REQUEST_SPANS);
            requests.try_for_each(|spans| runtime.block_on(exporter.export(spans.to_vec())))
        });
        result.map_err(io::Error::other)?;
        times.push_time(time);
        bytes = counter.bytes.load(Ordering::Acquire) - before;
    }
    Ok((times, bytes))
}

fn exporter(
    runtime: &Runtime,
    port: u16,
    protocol: &str,
    compression: Option<Compression>,
) -> SpanExporter {
    let _in_runtime = runtime.enter();
    let built = if protocol == "grpc" {
        let mut builder = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(format!("http://127.0.0.1:{port}"))
            .with_timeout(TIMEOUT);
        if let Some(compression) = compression {
            builder = builder.with_compression(compression);
        }
        builder.build()
    } else {
        let client = HyperClient::new(HttpConnector::new(), TIMEOUT, None);
        let mut builder = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("http://127.0.0.1:{port}/v1/traces"))
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client)
            .with_timeout(TIMEOUT);
        if let Some(compression) = compression {
            builder = builder.with_compression(compression);
        }
        builder.build()
    };
    built.expect("these settings are good")
}

/// Passes connections on, and counts what goes there.
struct Counter {
    port: u16,
    bytes: Arc<AtomicU64>,
}

impl Counter {
    fn start(to: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                let server = TcpStream::connect(("127.0.0.1", to)).expect("rotel listens");
                for stream in [&client, &server] {
                    stream.set_nodelay(true).expect("it is open");
                }
                let [mut from, mut back] =
                    [&client, &server].map(|it| it.try_clone().expect("a handle"));
                thread::spawn(move || io::copy(&mut back, &mut &client));
                thread::spawn(move || {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(n @ 1..) = from.read(&mut buffer) {
                        counted.fetch_add(n as u64, Ordering::AcqRel);
                        if (&server).write_all(&buffer[..n]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Ok(Self { port, bytes })
    }
}

fn run_agents(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n### The agent with spans\n\n\
         Three agents watch the same {PROCESSES} processes of `fleet.py` with {TASKS_EACH} tasks each, every \
         {INTERVAL:?}, at the same time, for {WATCHED:?} after three rounds. They send to rotel over gRPC, without \
         metrics; all other settings are the defaults, with at most 60 traces and 20 000 spans in a minute. *CPU*: user \
         and system.\n\n\
         | spans | rounds | spans sent | ms of CPU a round | CPU, % of a core |\n\
         |---|--:|--:|--:|--:|"
    )?;
    let ports = Ports::free();
    let _receiver = Receiver::start_quiet(ports);
    let fleet = fleet(PROCESSES, TASKS_EACH);
    let otlp = format!(
        "endpoint: 'http://127.0.0.1:{}', metrics: {{enabled: false}}",
        ports.grpc
    );
    let kinds = [
        ("off", "enabled: false".to_owned()),
        ("on", otlp.clone()),
        ("on, `ratio: 1`", format!("{otlp}, spans: {{ratio: 1}}")),
    ];
    let agents: Vec<Agent> = kinds
        .iter()
        .map(|(_, otlp)| {
            Agent::start(&format!(
                "web: {{listen: 127.0.0.1:0}}\nexporters: {{otlp: {{{otlp}}}}}\n\
                 targets: [{{name: fleet, match: {}, exclude: {}, interval: {}s}}]\n",
                parents(&fleet, |pid| format!("{{parent: {{pid: {pid}}}}}")),
                parents(&fleet, |pid| format!("{{pid: {pid}}}")),
                INTERVAL.as_secs(),
            ))
        })
        .collect();
    thread::sleep(3 * INTERVAL);
    let value = |agent: &Agent, name: &str| agent.value(name).unwrap_or(0.0);
    let rounds = |agent: &Agent| {
        let ok = "asyncio_agent_scans_total{target=\"fleet\",result=\"ok\"}";
        let partial = "asyncio_agent_scans_total{target=\"fleet\",result=\"partial\"}";
        value(agent, ok) + value(agent, partial)
    };
    let spans = |agent: &Agent| value(agent, "asyncio_agent_otlp_spans_total");
    let measure = |agent: &Agent| (cpu_seconds(agent.pid()), rounds(agent), spans(agent));
    let before: Vec<_> = agents.iter().map(measure).collect();
    let begin = Instant::now();
    thread::sleep(WATCHED);
    let took = begin.elapsed().as_secs_f64();
    for (((name, _), agent), before) in kinds.iter().zip(&agents).zip(before) {
        let after = measure(agent);
        let cpu = after.0 - before.0;
        let n_rounds = after.1 - before.1;
        writeln!(
            out,
            "| {name} | {n_rounds} | {} | {} | **{}** |",
            after.2 - before.2,
            shown(1e3 * cpu / n_rounds),
            shown(1e2 * cpu / took),
        )?;
    }
    drop(agents);
    end(fleet);
    Ok(())
}
