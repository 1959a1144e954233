//! Settings written down as YAML: every option with the value that is in effect. Reading that gives the
//! same settings, secrets apart, which are not shown.

use super::hidden::{HIDDEN, is_named_like_file, without_secrets};
use super::settings::{
    Compression, ControlSocket, Glob, MatchSettings, Matching, OtlpReceiver, OtlpSettings, Secret,
    Settings, TargetName, TargetSettings, Temporality, UserId, WebDetails,
};
use super::units::{show_duration, show_size};
use serde_yaml::{Mapping, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The settings as YAML.
pub fn show(settings: &Settings) -> String {
    let value = map([
        ("web", web(settings)),
        ("control", control(settings)),
        (
            "discovery",
            map([("interval", duration(settings.discovery.interval))]),
        ),
        ("targets", settings.targets.iter().map(target).collect()),
        ("analysis", analysis(settings)),
        ("limits", limits(settings)),
        (
            "exporters",
            map([
                ("prometheus", map([])),
                ("otlp", optional(settings.exporters.otlp.as_ref().map(otlp))),
            ]),
        ),
    ]);
    serde_yaml::to_string(&value).expect("maps, lists and texts can be written as YAML")
}

fn web(settings: &Settings) -> Value {
    let web = &settings.web;
    let listen = web.listen.iter().map(|it| text(&it.to_string()));
    let details = match web.details {
        WebDetails::Loopback => "loopback",
        WebDetails::Users => "users",
    };
    map([
        ("listen", Value::Sequence(listen.collect())),
        (
            "config_file",
            optional(web.config_file.as_deref().map(path)),
        ),
        ("details", text(details)),
        ("reload", web.reload.into()),
    ])
}

fn control(settings: &Settings) -> Value {
    let control = &settings.control;
    let socket = match &control.socket {
        ControlSocket::Auto => text("auto"),
        ControlSocket::None => text("none"),
        ControlSocket::Path(socket) => text(&socket.to_string_lossy()),
    };
    map([
        ("socket", socket),
        ("group", optional(control.group.as_deref().map(text))),
        (
            "freeze",
            control.freeze.map_or_else(|| text("none"), duration),
        ),
    ])
}

fn analysis(settings: &Settings) -> Value {
    let analysis = &settings.analysis;
    map([
        (
            "cycles",
            map([("confirmations", analysis.cycles.confirmations.into())]),
        ),
        (
            "stuck",
            map([
                ("after", duration(analysis.stuck.after)),
                ("include", analysis.stuck.include.iter().map(glob).collect()),
                ("exclude", analysis.stuck.exclude.iter().map(glob).collect()),
                ("idle", analysis.stuck.idle.iter().map(glob).collect()),
                (
                    "never_idle",
                    analysis.stuck.never_idle.iter().map(glob).collect(),
                ),
            ]),
        ),
        (
            "top",
            map([
                ("coroutines", analysis.top.coroutines.into()),
                ("waits", analysis.top.waits.into()),
                ("stuck", analysis.top.stuck.into()),
            ]),
        ),
    ])
}

fn limits(settings: &Settings) -> Value {
    let limits = &settings.limits;
    map([
        ("rounds", limits.rounds.into()),
        ("tasks_per_process", limits.tasks_per_process.into()),
        ("tasks", limits.tasks.into()),
        ("scan_time", duration(limits.scan_time)),
        ("scan_bytes", text(&show_size(limits.scan_bytes))),
        ("cpu_share", limits.cpu_share.into()),
        ("processes", limits.processes.into()),
        ("series", limits.series.into()),
        ("target_names", limits.target_names.into()),
    ])
}

fn target(target: &TargetSettings) -> Value {
    let name = match &target.name {
        TargetName::Program => None,
        // A template escapes by itself what is no reference.
        TargetName::Text(template) => Some(Value::String(template.to_string())),
    };
    let matches = match &target.matches {
        Matching::Auto => text("auto"),
        Matching::Any(alternatives) => alternatives.iter().map(conditions).collect(),
    };
    let labels = target
        .labels
        .iter()
        .map(|(name, value)| (&**name, text(value)));
    let exclude = (!target.exclude.is_empty()).then(|| target.exclude.iter().map(conditions));
    let ratio = target
        .spans_ratio
        .map(|ratio| map([("ratio", ratio.into())]));
    map([
        ("name", optional(name)),
        ("match", matches),
        ("exclude", optional(exclude.map(Iterator::collect))),
        ("interval", duration(target.interval)),
        ("labels", map(labels)),
        ("per_process", target.per_process.into()),
        ("spans", optional(ratio)),
    ])
}

fn conditions(conditions: &MatchSettings) -> Value {
    let user = conditions.user.as_ref().map(|user| match user {
        UserId::Number(number) => (*number).into(),
        UserId::Name(name) => text(name),
    });
    let given = [
        ("executable", conditions.executable.as_ref().map(glob)),
        (
            "command",
            conditions.command.as_ref().map(|it| text(it.as_str())),
        ),
        ("user", user),
        ("systemd_unit", conditions.systemd_unit.as_ref().map(glob)),
        ("cgroup", conditions.cgroup.as_ref().map(glob)),
        ("container_id", conditions.container_id.as_deref().map(text)),
        ("parent", conditions.parent.as_deref().map(self::conditions)),
        ("pid", conditions.pid.map(|pid| pid.as_raw().into())),
    ];
    map(given
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?))))
}

fn otlp(otlp: &OtlpSettings) -> Value {
    let temporality = match otlp.metrics.temporality {
        Temporality::Cumulative => "cumulative",
        Temporality::Delta => "delta",
        Temporality::LowMemory => "lowmemory",
    };
    let own = |receiver: &Option<OtlpReceiver>| receiver.iter().flat_map(receiver_keys).collect();
    let mut metrics: Vec<_> = own(&otlp.metrics.receiver);
    metrics.extend([
        ("enabled", otlp.metrics.enabled.into()),
        ("interval", duration(otlp.metrics.interval)),
        ("temporality", text(temporality)),
    ]);
    let mut spans: Vec<_> = own(&otlp.spans.receiver);
    spans.extend([
        ("enabled", otlp.spans.enabled.into()),
        ("ratio", otlp.spans.ratio.into()),
        ("traces_per_minute", otlp.spans.traces_per_minute.into()),
        ("spans_per_minute", otlp.spans.spans_per_minute.into()),
        ("spans_per_trace", otlp.spans.spans_per_trace.into()),
        ("queue", otlp.spans.queue.into()),
        ("queue_bytes", text(&show_size(otlp.spans.queue_bytes))),
    ]);
    let signals = [("metrics", map(metrics)), ("spans", map(spans))];
    map(receiver_keys(&otlp.receiver).into_iter().chain(signals))
}

fn receiver_keys(receiver: &OtlpReceiver) -> [(&'static str, Value); 7] {
    let inline = |secret: &Secret| matches!(secret, Secret::Inline(_)).then(|| text(HIDDEN));
    let file = |secret: &Secret| match secret {
        Secret::Inline(_) => None,
        Secret::File(file) => Some(path(file)),
    };
    let compression = match receiver.compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
    };
    let tls = &receiver.tls;
    [
        ("endpoint", text(&without_secrets(&receiver.endpoint))),
        ("protocol", text(receiver.protocol.as_str())),
        ("headers", headers(&receiver.headers, inline)),
        ("headers_file", headers(&receiver.headers, file)),
        (
            "tls",
            map([
                ("ca_file", optional(tls.ca_file.as_deref().map(path))),
                ("cert_file", optional(tls.cert_file.as_deref().map(path))),
                ("key_file", optional(tls.key_file.as_deref().map(path))),
            ]),
        ),
        ("compression", text(compression)),
        ("timeout", duration(receiver.timeout)),
    ]
}

fn headers(headers: &BTreeMap<String, Secret>, shown: impl Fn(&Secret) -> Option<Value>) -> Value {
    map(headers
        .iter()
        .filter_map(|(name, secret)| Some((&**name, shown(secret)?))))
}

fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Value)>) -> Value {
    let entries = entries.into_iter().map(|(key, value)| (key.into(), value));
    Value::Mapping(entries.collect::<Mapping>())
}

/// A text, so written that it is not taken for one with variables.
fn text(text: &str) -> Value {
    Value::String(text.replace("${", "$${"))
}

/// The path of a file, unless it may be what belongs into the file: then there is none.
fn path(path: &Path) -> Value {
    match path.exists() || is_named_like_file(path) {
        true => text(&path.to_string_lossy()),
        false => text(HIDDEN),
    }
}

fn glob(glob: &Glob) -> Value {
    text(glob.as_str())
}

fn duration(duration: Duration) -> Value {
    text(&show_duration(duration))
}

fn optional(value: Option<Value>) -> Value {
    value.unwrap_or(Value::Null)
}
