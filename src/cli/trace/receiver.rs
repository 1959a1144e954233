//! Where traces go, and how many: from the arguments, a configuration of the agent, or the variables that
//! OpenTelemetry defines.

use crate::cli::args::TraceArgs;
use crate::cli::exit::Exit;
use crate::cli::{config, output};
use crate::config::{self as configuration, ConfigError, OtlpSettings, SpanSettings, Surroundings};
use crate::sanitize::{escape, escape_start};
use crate::spans::SpanLimits;
use std::collections::BTreeMap;

/// Where to send; `None`: nowhere. What is wrong with the settings is said.
pub(super) fn of(args: &TraceArgs) -> Result<Option<OtlpSettings>, Exit> {
    if let Some(file) = &args.config {
        let settings = configuration::load(file).map_err(|error| config::unusable(&error))?;
        let receiver = settings.exporters.otlp;
        if receiver.is_none() {
            let file = file.to_string_lossy();
            output::say(&format!(
                "agentctl: {} has no section exporters.otlp, or it is off\n",
                escape(&file)
            ));
            return Err(Exit::Usage);
        }
        if receiver.as_ref().is_some_and(|it| !it.spans.enabled) {
            let file = file.to_string_lossy();
            output::say(&format!(
                "agentctl: spans are off in {} (exporters.otlp.spans.enabled): the agent sends none; these are sent \
                 where it would send them\n",
                escape(&file)
            ));
        }
        return Ok(receiver);
    }
    let Some(endpoint) = &args.otlp else {
        return Ok(None);
    };
    let variables = |name: &str| std::env::var(name).ok();
    let mut keys = BTreeMap::new();
    if let Some(endpoint) = endpoint {
        keys.insert("endpoint", endpoint.clone());
    }
    if let Some(protocol) = &args.protocol {
        keys.insert("protocol", protocol.clone());
    } else if of_variable(&variables, "PROTOCOL").is_none() {
        let endpoint = endpoint.clone();
        let endpoint = endpoint.or_else(|| of_variable(&variables, "ENDPOINT"));
        let endpoint = endpoint.unwrap_or_default();
        // The port that only this protocol has by default.
        if endpoint.trim_end_matches('/').ends_with(":4318") {
            keys.insert("protocol", "http/protobuf".to_owned());
        }
    }
    if let Some(timeout) = &args.timeout {
        keys.insert("timeout", timeout.clone());
    }
    let surroundings = Surroundings {
        variables: &variables,
        base: None,
        files: None,
    };
    let settings = configuration::parse_otlp(surroundings, &keys);
    settings.map(Some).map_err(|error| unusable(&error))
}

/// The variable for traces, or for all signals.
fn of_variable(variables: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    let mut values = ["TRACES_", ""]
        .iter()
        .filter_map(|signal| variables(&format!("OTEL_EXPORTER_OTLP_{signal}{name}")));
    values.find(|value| !value.is_empty())
}

/// Says what is wrong with the arguments, or with the variables that hold for what they leave out.
fn unusable(error: &ConfigError) -> Exit {
    for problem in error.problems() {
        let what = match (&*problem.path, problem.path.split_once(" (from ")) {
            (_, Some((_, variable))) => variable.trim_end_matches(')').to_owned(),
            ("endpoint", None) => "--otlp".to_owned(),
            (path, None) => format!("--{path}"),
        };
        let shown = format!("{what}: {}", problem.what);
        output::say(&format!("agentctl: {}\n", escape_start(&shown, 1_000)));
    }
    Exit::Usage
}

/// How much becomes spans: what was asked for, or what the agent sends in a minute.
pub(super) fn limits(args: &TraceArgs, receiver: Option<&OtlpSettings>) -> SpanLimits {
    let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    if let Some(spans) = args.max_spans {
        let spans = if spans == 0 { usize::MAX } else { size(spans) };
        return SpanLimits::alike(usize::MAX, spans, spans);
    }
    let settings = receiver.map_or_else(SpanSettings::default, |it| it.spans.clone());
    SpanLimits::alike(
        usize::MAX,
        size(settings.spans_per_minute),
        size(settings.spans_per_trace),
    )
}
