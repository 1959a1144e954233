//! From the tree of a file to [`Settings`]: one file for each section. Whatever is wrong is a problem,
//! and reading goes on with the default.

mod control;
mod exporters;
mod receiver;
mod targets;
mod web;
mod web_file;

pub(super) use exporters::read_otlp;
pub(super) use web_file::read as read_web_file;

use super::document::{Node, Value};
use super::section::{Reader, Section};
use super::settings::{
    AnalysisSettings, CycleSettings, DiscoverySettings, Glob, LimitSettings, Settings, Star,
    StuckSettings, TopSettings,
};
use super::value::one_or_more;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The shortest and the longest interval that may be set.
const INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(24 * 60 * 60);

/// Takes the document apart. The settings are of use only if no problem was found.
pub(super) fn read(document: &Node, reader: &mut Reader<'_>) -> Settings {
    let keys = [
        "web",
        "control",
        "discovery",
        "targets",
        "analysis",
        "limits",
        "exporters",
    ];
    if matches!(document.value, Value::Null) {
        return Settings::default();
    }
    let Some(top) = Section::open(document, "", &keys, reader) else {
        return Settings::default();
    };
    Settings {
        web: web::read(&top, reader),
        control: control::read(&top, reader),
        discovery: discovery(&top, reader),
        targets: targets::read(&top, reader),
        analysis: analysis(&top, reader),
        limits: limits(&top, reader),
        exporters: exporters::read(&top, reader),
    }
}

fn discovery(top: &Section<'_>, reader: &mut Reader<'_>) -> DiscoverySettings {
    let default = DiscoverySettings::default();
    let Some(discovery) = top.section("discovery", &["interval"], reader) else {
        return default;
    };
    DiscoverySettings {
        interval: discovery.duration("interval", INTERVALS, default.interval, reader),
    }
}

fn analysis(top: &Section<'_>, reader: &mut Reader<'_>) -> AnalysisSettings {
    let Some(analysis) = top.section("analysis", &["cycles", "stuck", "top"], reader) else {
        return AnalysisSettings::default();
    };
    AnalysisSettings {
        cycles: cycles(&analysis, reader),
        stuck: stuck(&analysis, reader),
        top: top_sizes(&analysis, reader),
    }
}

fn cycles(analysis: &Section<'_>, reader: &mut Reader<'_>) -> CycleSettings {
    let default = CycleSettings::default();
    let Some(cycles) = analysis.section("cycles", &["confirmations"], reader) else {
        return default;
    };
    CycleSettings {
        confirmations: cycles.number("confirmations", 1..=1_000, default.confirmations, reader),
    }
}

fn stuck(analysis: &Section<'_>, reader: &mut Reader<'_>) -> StuckSettings {
    let default = StuckSettings::default();
    let keys = ["after", "include", "exclude", "idle", "never_idle"];
    let Some(stuck) = analysis.section("stuck", &keys, reader) else {
        return default;
    };
    let longest = Duration::from_secs(30 * 24 * 60 * 60);
    let after = Duration::from_secs(1)..=longest;
    StuckSettings {
        after: stuck.duration("after", after, default.after, reader),
        include: match stuck.get("include") {
            Some(item) => {
                let items = one_or_more(item, "pattern", reader);
                names(items, reader)
            }
            None => default.include,
        },
        exclude: patterns(&stuck, "exclude", default.exclude, reader),
        idle: patterns(&stuck, "idle", default.idle, reader),
        never_idle: patterns(&stuck, "never_idle", default.never_idle, reader),
    }
}

/// An element of a list of patterns that stands for those of the default.
const DEFAULTS: &str = "...";

/// A list of patterns, which may be empty.
fn patterns(
    section: &Section<'_>,
    key: &str,
    default: Vec<Glob>,
    reader: &mut Reader<'_>,
) -> Vec<Glob> {
    let Some(item) = section.get(key) else {
        return default;
    };
    let items = item.list().unwrap_or_else(|| vec![item]);
    let patterns =
        names(items, reader)
            .into_iter()
            .flat_map(|pattern| match pattern.as_str() == DEFAULTS {
                true => default.clone(),
                false => vec![pattern],
            });
    patterns.collect()
}

/// Patterns on the names of coroutines.
fn names(items: Vec<super::section::Item<'_>>, reader: &mut Reader<'_>) -> Vec<Glob> {
    let globs = items.into_iter().filter_map(|item| {
        let text = item.text(reader)?;
        text.glob(Star::Anything, reader)
    });
    globs.collect()
}

fn top_sizes(analysis: &Section<'_>, reader: &mut Reader<'_>) -> TopSettings {
    let default = TopSettings::default();
    let Some(top) = analysis.section("top", &["coroutines", "waits", "stuck"], reader) else {
        return default;
    };
    TopSettings {
        coroutines: top.number("coroutines", 0..=1_000, default.coroutines, reader),
        waits: top.number("waits", 0..=1_000, default.waits, reader),
        stuck: top.number("stuck", 0..=1_000, default.stuck, reader),
    }
}

fn limits(top: &Section<'_>, reader: &mut Reader<'_>) -> LimitSettings {
    let default = LimitSettings::default();
    let keys = [
        "rounds",
        "tasks_per_process",
        "tasks",
        "scan_time",
        "scan_bytes",
        "cpu_share",
        "processes",
        "series",
        "target_names",
    ];
    let Some(limits) = top.section("limits", &keys, reader) else {
        return default;
    };
    let times = Duration::from_millis(10)..=Duration::from_secs(10 * 60);
    let bytes = 1 << 20..=1 << 40;
    LimitSettings {
        rounds: limits.number("rounds", 1..=64, default.rounds, reader),
        tasks_per_process: limits.number(
            "tasks_per_process",
            1..=100_000_000,
            default.tasks_per_process,
            reader,
        ),
        tasks: limits.number("tasks", 1_000..=1_000_000_000, default.tasks, reader),
        scan_time: limits.duration("scan_time", times, default.scan_time, reader),
        scan_bytes: limits.size("scan_bytes", bytes, default.scan_bytes, reader),
        cpu_share: limits.number("cpu_share", 0.001..=64.0, default.cpu_share, reader),
        processes: limits.number("processes", 1..=1_000_000, default.processes, reader),
        series: limits.number("series", 100..=10_000_000, default.series, reader),
        target_names: limits.number("target_names", 1..=100_000, default.target_names, reader),
    }
}
