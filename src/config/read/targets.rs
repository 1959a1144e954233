//! `targets`: what is watched.

use super::super::document::Value;
use super::super::problem::quote;
use super::super::section::{Item, Located, Reader, Section};
use super::super::settings::{
    MatchSettings, Matching, NameError, NameTemplate, Star, TargetName, TargetSettings, UserId,
};
use super::INTERVALS;
use crate::ids::Pid;
use std::collections::{BTreeMap, HashSet};

const KEYS: [&str; 7] = [
    "name",
    "match",
    "exclude",
    "interval",
    "labels",
    "per_process",
    "spans",
];
const CONDITIONS: [&str; 8] = [
    "executable",
    "command",
    "user",
    "systemd_unit",
    "cgroup",
    "container_id",
    "parent",
    "pid",
];
/// The same of what is above a process.
const CONDITIONS_ABOVE: [&str; 7] = [
    "executable",
    "command",
    "user",
    "systemd_unit",
    "cgroup",
    "container_id",
    "pid",
];
const MATCH_EXPECTED: &str = "expected `auto`, or a map with one or more of these conditions, or a list of such maps: \
     executable, command, user, systemd_unit, cgroup, container_id, parent, pid";
/// The word that stands for every Python with asyncio in use.
const AUTO: &str = "auto";
/// The target of processes whose names are one too many.
const NAME_RESERVED: &str = "other";
/// Characters that a name or the value of a label may have.
const CHARS_MAX: usize = 200;
/// Labels a target may have.
const LABELS_MAX: usize = 20;
/// Labels that the agent's metrics have themselves, or that Prometheus gives a meaning.
const LABELS_TAKEN: [&str; 12] = [
    "target",
    "pid",
    "coroutine",
    "result",
    "code",
    "limit",
    "le",
    "quantile",
    "python_version",
    "executable",
    "version",
    "revision",
];

pub(super) fn read(top: &Section<'_>, reader: &mut Reader<'_>) -> Vec<TargetSettings> {
    let Some(item) = top.get("targets") else {
        return vec![TargetSettings::auto()];
    };
    if matches!(&item.node.value, Value::Text(text) if text == AUTO) {
        return vec![TargetSettings::auto()];
    }
    let Some(items) = item.list() else {
        item.unexpected("`auto` or a list of targets", reader);
        return Vec::new();
    };
    let mut names = HashSet::new();
    let targets = items
        .iter()
        .filter_map(|item| target(item, &mut names, reader));
    targets.collect()
}

fn target(
    item: &Item<'_>,
    names: &mut HashSet<String>,
    reader: &mut Reader<'_>,
) -> Option<TargetSettings> {
    let section = item.section(&KEYS, reader)?;
    let given = section.get("match");
    if given.is_none() {
        section.missing("match", MATCH_EXPECTED, reader);
    }
    let matches = given.and_then(|item| matching(item, reader));
    let name = name(&section, matches.as_ref(), names, reader);
    let exclude = section.get("exclude");
    let target = TargetSettings {
        name: TargetName::Program,
        matches: Matching::Auto,
        exclude: exclude.map_or_else(Vec::new, |item| alternatives(item, reader)),
        interval: section.duration(
            "interval",
            INTERVALS,
            TargetSettings::INTERVAL_DEFAULT,
            reader,
        ),
        labels: labels(&section, reader),
        per_process: section.flag("per_process", false, reader),
        spans_ratio: spans_ratio(&section, reader),
    };
    Some(TargetSettings {
        name: name?,
        matches: matches?,
        ..target
    })
}

/// `spans`: what is another one than in `exporters.otlp.spans`.
fn spans_ratio(section: &Section<'_>, reader: &mut Reader<'_>) -> Option<f64> {
    let spans = section.section("spans", &["ratio"], reader)?;
    spans.get("ratio")?;
    Some(spans.number("ratio", 0.0..=1.0, 0.0, reader))
}

/// The name. It may be left out where processes are named after what they run.
fn name(
    section: &Section<'_>,
    matches: Option<&Matching>,
    names: &mut HashSet<String>,
    reader: &mut Reader<'_>,
) -> Option<TargetName> {
    let Some(item) = section.get("name") else {
        if matches == Some(&Matching::Auto) {
            return Some(TargetName::Program);
        }
        section.missing("name", "expected the name of the target", reader);
        return None;
    };
    let text = item.plain_text(reader)?;
    if text.value.is_empty() {
        text.problem("empty, expected the name of the target", reader);
        return None;
    }
    if text.value.chars().nth(CHARS_MAX).is_some() {
        let what = format!("too long, expected at most {CHARS_MAX} characters");
        text.problem(what, reader);
        return None;
    }
    let none = Vec::new();
    let alternatives = match matches {
        Some(Matching::Any(alternatives)) => alternatives,
        _ => &none,
    };
    let captures = |alternative: &MatchSettings, group: &str| {
        alternative
            .commands()
            .any(|command| command.has_group(group))
    };
    let is_group = |group: &str| alternatives.iter().any(|it| captures(it, group));
    let template = match NameTemplate::parse(&text.value, is_group, reader.variables) {
        Ok(template) => template,
        // What captures the names a target has is not known if its conditions are wrong.
        Err(_) if matches.is_none() => return None,
        Err(NameError(why)) => {
            text.problem(why, reader);
            return None;
        }
    };
    for reference in template.references().filter(|it| it.default.is_none()) {
        let group = &reference.group;
        if !alternatives.iter().all(|it| captures(it, group)) {
            let what = format!(
                "not every map of `match` captures {group}, expected that, \
                 or a default: ${{{group}:-...}}"
            );
            text.problem(what, reader);
        }
    }
    if let Some(fixed) = template.as_fixed() {
        check_fixed_name(&text, fixed, names, reader);
    }
    Some(TargetName::Text(template))
}

fn check_fixed_name(
    text: &Located,
    fixed: &str,
    names: &mut HashSet<String>,
    reader: &mut Reader<'_>,
) {
    if fixed.is_empty() {
        text.problem(
            "empty without its variables, expected the name of the target",
            reader,
        );
    } else if fixed.chars().nth(CHARS_MAX).is_some() {
        let what = format!("too long, expected at most {CHARS_MAX} characters");
        text.problem(what, reader);
    } else if fixed == NAME_RESERVED {
        let what = format!(
            "{NAME_RESERVED:?} is the target of processes beyond limits.target_names, \
             expected another name"
        );
        text.problem(what, reader);
    } else if !names.insert(fixed.to_owned()) {
        let what = format!(
            "another target is named {} too, expected a name of its own",
            quote(fixed)
        );
        text.problem(what, reader);
    }
}

/// `match`: `auto`, a map, or a list of maps.
fn matching(item: Item<'_>, reader: &mut Reader<'_>) -> Option<Matching> {
    match &item.node.value {
        Value::Text(text) if text == AUTO => return Some(Matching::Auto),
        Value::List(_) | Value::Map(_) => {}
        _ => {
            let what = format!("{}, {MATCH_EXPECTED}", item.node.value.describe());
            item.problem(what, reader);
            return None;
        }
    }
    let n_problems = reader.problems.len();
    let alternatives = alternatives(item, reader);
    (reader.problems.len() == n_problems).then_some(Matching::Any(alternatives))
}

/// A map of conditions, or a list of such maps.
fn alternatives(item: Item<'_>, reader: &mut Reader<'_>) -> Vec<MatchSettings> {
    let items = super::one_or_more(item, "map of conditions", reader);
    let maps = items.iter().filter_map(|item| {
        let section = item.section(&CONDITIONS, reader)?;
        Some(conditions(&section, &CONDITIONS, reader))
    });
    maps.collect()
}

fn conditions(section: &Section<'_>, known: &[&str], reader: &mut Reader<'_>) -> MatchSettings {
    // A key that is misspelt has been told already.
    if !section.has_values() {
        let what = format!(
            "no condition is given, expected one or more of: {}",
            known.join(", ")
        );
        section.problem(what, reader);
    }
    let has_parent = known.contains(&"parent");
    let parent = has_parent.then(|| section.section("parent", &CONDITIONS_ABOVE, reader));
    let parent = parent.flatten();
    let parent = parent.map(|parent| conditions(&parent, &CONDITIONS_ABOVE, reader));
    let command = section.get("command").and_then(|item| item.text(reader));
    let container = section
        .get("container_id")
        .and_then(|item| item.scalar(reader));
    let pid = section.get("pid").and_then(|item| item.scalar(reader));
    MatchSettings {
        executable: section.glob("executable", Star::WithinPart, reader),
        command: command.and_then(|text| text.command_pattern(reader)),
        user: section.get("user").and_then(|item| user(&item, reader)),
        systemd_unit: section.glob("systemd_unit", Star::Anything, reader),
        cgroup: section.glob("cgroup", Star::WithinPart, reader),
        container_id: container.and_then(|text| container_id(text, reader)),
        parent: parent.map(Box::new),
        pid: pid.and_then(|text| process_id(&text, reader)),
    }
}

fn process_id(text: &Located, reader: &mut Reader<'_>) -> Option<Pid> {
    let pid = text.value.parse().ok();
    if pid.is_none() {
        let what = format!(
            "{} is not a process id, expected a whole number from 1 to {}",
            quote(&text.value),
            i32::MAX
        );
        text.problem(what, reader);
    }
    pid
}

/// A number is a user id; what begins with anything else is a name, which is looked up when processes
/// are looked for.
fn user(item: &Item<'_>, reader: &mut Reader<'_>) -> Option<UserId> {
    let text = item.scalar(reader)?;
    if let Ok(number) = text.value.parse() {
        return Some(UserId::Number(number));
    }
    let is_name = |name: &str| {
        let is_part = |c: char| !c.is_control() && !c.is_whitespace() && c != ':' && c != '/';
        !name.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+')
            && !name.is_empty()
            && name.len() <= 256
            && name.chars().all(is_part)
    };
    if !is_name(&text.value) {
        let what = format!(
            "{} is no user, expected a name such as www-data or a user id",
            quote(&text.value)
        );
        text.problem(what, reader);
        return None;
    }
    Some(UserId::Name(text.value))
}

fn container_id(text: Located, reader: &mut Reader<'_>) -> Option<String> {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if !(12..=64).contains(&text.value.len()) || !text.value.chars().all(is_hex) {
        let what = format!(
            "{} is not the id of a container, expected 12 to 64 of the digits 0-9 and a-f \
             (in quotes, if they are digits only)",
            quote(&text.value)
        );
        text.problem(what, reader);
        return None;
    }
    Some(text.value)
}

/// Labels by the rules of Prometheus (prometheus/docs, `concepts/data_model.md`).
fn labels(section: &Section<'_>, reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(item) = section.get("labels") else {
        return labels;
    };
    for (name, value) in item.entries("a map from the names of labels to texts", reader) {
        let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let is_part = |c: char| is_first(c) || c.is_ascii_digit();
        if !name.value.starts_with(is_first) || !name.value.chars().all(is_part) {
            let what = "no name of a label, expected letters, digits and _, no digit first";
            name.problem(what, reader);
        } else if name.value.starts_with("__") {
            name.problem(
                "names with __ in front are Prometheus's, expected another one",
                reader,
            );
        } else if LABELS_TAKEN.contains(&name.value.as_str()) {
            let what = "a label of the agent's own metrics, expected another name";
            name.problem(what, reader);
        }
        let Some(value) = value.text(reader) else {
            continue;
        };
        if value.value.is_empty() {
            let what = "empty, which is the same as no label, expected a text";
            value.problem(what, reader);
        } else if value.value.chars().nth(CHARS_MAX).is_some() {
            let what = format!("too long, expected at most {CHARS_MAX} characters");
            value.problem(what, reader);
        }
        labels.insert(name.value, value.value);
    }
    if labels.len() > LABELS_MAX {
        item.problem(
            format!("{} labels, expected at most {LABELS_MAX}", labels.len()),
            reader,
        );
    }
    labels
}
