//! Sending traces: the exporter is the agent's.

use crate::agent::{TraceSender, TracedProcess};
use crate::cli::args::TraceArgs;
use crate::cli::explain::{self, Stop};
use crate::cli::output;
use crate::config::OtlpReceiver;
use crate::graph::Snapshot;
use crate::ids::ProcessId;
use crate::procfs::ProcRoot;
use crate::sanitize::{escape, escape_start};
use crate::spans::Traces;
use crate::targets::{ReadFacts, program_name};

/// Traces whose ids are told when they were sent.
const TRACES_TOLD: usize = 20;
/// Characters of a name of a service.
const SERVICE_CHARS_MAX: usize = 200;

/// What sends to this receiver.
pub(super) fn sender(receiver: &OtlpReceiver) -> Result<TraceSender, Stop> {
    TraceSender::new(receiver).map_err(|error| explain::unusable_receiver(&error))
}

/// Sends the traces, and says what was sent where.
pub(super) fn send(
    args: &TraceArgs,
    (receiver, sender): (&OtlpReceiver, TraceSender),
    process: ProcessId,
    snapshot: &Snapshot,
    traces: &Traces,
) -> Result<(), Stop> {
    let root = ProcRoot::default();
    let executable = ReadFacts::executable(&root, process).unwrap_or_default();
    let traced = TracedProcess {
        service: service(args, &root, process),
        process,
        executable: escape(&String::from_utf8_lossy(&executable)).into_owned(),
        python_version: snapshot.process.python_version.clone().unwrap_or_default(),
    };
    let service = traced.service.clone();
    let sent_all = sender.send(traced, traces);
    sent_all.map_err(|error| explain::unsent(&error, receiver))?;
    output::text_to_stdout(|out| sent(traces, &service, receiver, out))
}

/// What the service is called: as was asked for, or as the agent calls it without a configuration.
fn service(args: &TraceArgs, root: &ProcRoot, process: ProcessId) -> String {
    let arguments = || ReadFacts::command_line(root, process).unwrap_or_default();
    let asked = args.service.clone();
    let name = asked.or_else(|| program_name(&arguments()));
    let name = name.unwrap_or_else(|| "python".to_owned());
    escape_start(&name, SERVICE_CHARS_MAX).into_owned()
}

/// Says what was sent: by their ids traces can be found.
fn sent(
    traces: &Traces,
    service: &str,
    receiver: &OtlpReceiver,
    out: &mut dyn std::fmt::Write,
) -> std::fmt::Result {
    let all = &traces.traces;
    for trace in all.iter().take(TRACES_TOLD) {
        let root = trace.spans.first().map_or("", |root| &*root.name);
        let n_spans = trace.spans.len();
        writeln!(out, "sent trace {}: {root}, spans: {n_spans}", trace.id)?;
    }
    let not_told = all.len().saturating_sub(TRACES_TOLD);
    if not_told > 0 {
        writeln!(out, "… and {not_told} more")?;
    }
    let (n_traces, n_spans) = (all.len(), traces.n_spans());
    let (endpoint, protocol) = (&receiver.endpoint, receiver.protocol.as_str());
    writeln!(
        out,
        "sent to {}, {protocol}, as service {service}: traces: {n_traces}, spans: {n_spans}",
        escape(endpoint)
    )?;
    match traces.n_roots_omitted {
        0 => Ok(()),
        n => writeln!(out, "left out: {n} root tasks, and all below them"),
    }
}
