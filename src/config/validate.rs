//! From the configuration as written to [`Settings`]: what the texts mean, and rules between them.

use super::problem::{Problems, quote};
use super::raw::{Located, RawConfig, RawMatch, RawTarget, RawWeb};
use super::settings::{
    CommandPattern, DiscoverySettings, MatchSettings, Settings, TargetSettings, WebSettings,
};
use super::units::{DURATION_FORM, parse_duration};
use crate::ids::Pid;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

/// The shortest and the longest interval that may be set.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Memory that the patterns of all targets may take. An ordinary one needs a few KiB; a repeated class of
/// Unicode needs megabytes, and a file has room for thousands of them.
const PATTERNS_BYTES_MAX: usize = 64 << 20;
/// How much memory is tried for one pattern.
const PATTERN_BYTES: [usize; 4] = [8 << 10, 128 << 10, 1 << 20, PATTERN_BYTES_MAX];
/// Memory that one pattern may take.
const PATTERN_BYTES_MAX: usize = 8 << 20;

/// What all targets share.
struct Shared {
    names: HashSet<String>,
    /// What is left of [`PATTERNS_BYTES_MAX`].
    pattern_bytes: usize,
}

/// Makes settings of `raw`. They are of use only if `problems` stays empty.
pub(super) fn validate(raw: RawConfig, problems: &mut Problems) -> Settings {
    let defaults = DiscoverySettings::default();
    let mut shared = Shared {
        names: HashSet::new(),
        pattern_bytes: PATTERNS_BYTES_MAX,
    };
    Settings {
        web: web(raw.web, problems),
        discovery: DiscoverySettings {
            interval: interval(raw.discovery.interval, defaults.interval, problems),
        },
        targets: raw
            .targets
            .into_iter()
            .filter_map(|target| self::target(target, &mut shared, problems))
            .collect(),
    }
}

fn web(raw: RawWeb, problems: &mut Problems) -> WebSettings {
    let Some(texts) = raw.listen else {
        return WebSettings::default();
    };
    let mut listen: Vec<SocketAddr> = Vec::new();
    let mut seen = HashSet::new();
    for text in texts {
        match text.value.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 && !seen.insert(address) => {
                let what = format!("{address} is listed twice, expected each address once");
                problems.add(text.spot, &text.path, what);
            }
            Ok(address) => listen.push(address),
            Err(_) => {
                let what = format!(
                    "{} is not an address to listen on, \
                     expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'",
                    quote(&text.value)
                );
                problems.add(text.spot, &text.path, what);
            }
        }
    }
    WebSettings { listen }
}

fn interval(text: Option<Located<String>>, default: Duration, problems: &mut Problems) -> Duration {
    let Some(text) = text else {
        return default;
    };
    let why = match parse_duration(&text.value) {
        Ok(value) if (INTERVAL_MIN..=INTERVAL_MAX).contains(&value) => return value,
        Ok(_) => {
            let what = format!(
                "{} is out of range, expected 10ms to 24h",
                quote(&text.value)
            );
            problems.add(text.spot, &text.path, what);
            return default;
        }
        Err(why) => why,
    };
    let what = format!("{why}, expected {DURATION_FORM}");
    problems.add(text.spot, &text.path, what);
    default
}

fn target(raw: RawTarget, shared: &mut Shared, problems: &mut Problems) -> Option<TargetSettings> {
    let name = raw.name.and_then(|name| {
        if name.value.is_empty() {
            let what = "empty, expected the name of the target";
            problems.add(name.spot, &name.path, what);
            return None;
        }
        if !shared.names.insert(name.value.clone()) {
            let what = format!(
                "another target is named {} too, expected a name of its own",
                quote(&name.value)
            );
            problems.add(name.spot, &name.path, what);
        }
        Some(name.value)
    });
    let matches = raw.matches.map(|raw| conditions(raw, shared, problems));
    let interval = interval(raw.interval, TargetSettings::INTERVAL_DEFAULT, problems);
    Some(TargetSettings {
        name: name?,
        matches: matches?,
        interval,
    })
}

fn conditions(raw: RawMatch, shared: &mut Shared, problems: &mut Problems) -> MatchSettings {
    let pid = raw.pid.and_then(|text| {
        let pid = text.value.parse::<Pid>();
        if pid.is_err() {
            let what = format!(
                "{} is not a process id, expected a whole number from 1 to {}",
                quote(&text.value),
                i32::MAX
            );
            problems.add(text.spot, &text.path, what);
        }
        pid.ok()
    });
    let command = raw.command.and_then(|text| {
        if text.value.is_empty() {
            let what = "empty, expected a regular expression to look for in the command line";
            problems.add(text.spot, &text.path, what);
            return None;
        }
        match pattern(&text.value, &mut shared.pattern_bytes) {
            Ok(pattern) => Some(pattern),
            Err(regex::Error::CompiledTooBig(_)) => {
                let what = format!(
                    "takes too much memory, expected at most {} MiB for one pattern \
                     and {} MiB for those of all targets",
                    PATTERN_BYTES_MAX >> 20,
                    PATTERNS_BYTES_MAX >> 20
                );
                problems.add(text.spot, &text.path, what);
                None
            }
            Err(error) => {
                let (what, detail) = explain_pattern(&error.to_string());
                problems.add_with_detail(text.spot, &text.path, what, detail);
                None
            }
        }
    });
    MatchSettings { pid, command }
}

/// Compiles an expression. What is tried is taken from `bytes_left`, also in vain: it takes time.
fn pattern(expression: &str, bytes_left: &mut usize) -> Result<CommandPattern, regex::Error> {
    let mut result = Err(regex::Error::CompiledTooBig(0));
    for bytes in PATTERN_BYTES {
        let Some(left) = bytes_left.checked_sub(bytes) else {
            break;
        };
        *bytes_left = left;
        result = CommandPattern::new(expression, bytes);
        if !matches!(result, Err(regex::Error::CompiledTooBig(_))) {
            break;
        }
    }
    result
}

/// The reason in a regex error's last line, and the lines that show the place.
fn explain_pattern(message: &str) -> (String, String) {
    let mut lines: Vec<&str> = message.lines().collect();
    let reason = lines.pop().unwrap_or_default();
    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
    let reason = reason.trim_end_matches('.');
    let what = format!("{reason}, expected a regular expression");
    let place = lines.get(1..).unwrap_or_default().join("\n");
    (what, place)
}
