//! Secrets in what is told of a configuration: in messages, and in lines of it that are shown. What stands for them is
//! [`HIDDEN`], as in `show`.
//!
//! Nobody can tell how a secret looks. So a line is shown as it stands only where it should hold none: in the sections
//! `targets`, `analysis`, `limits`, `discovery` and `control`. Of any other line (`exporters`, `web`, keys that nobody knows, the
//! file that `web.config_file` names) only its beginning is shown, as far as it is known to be harmless: keys of the schema,
//! brackets, and values of a kind that holds no secret (numbers, durations, addresses, words of a list). Where the text is not
//! YAML, no line after the first such one is shown as it stands.
//!
//! Messages tell values only by [`quote`](super::problem::quote), and keys only in paths of settings; all of them pass
//! [`without_secrets`] once more when they are done, as do lines that are shown: that knows some secrets by their looks.

use super::problem::Place;
use regex::Regex;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

/// What stands for a secret.
pub(super) const HIDDEN: &str = "<hidden>";

/// The sections whose lines are shown as they stand.
const WITHOUT_SECRETS: [&str; 5] = ["targets", "analysis", "control", "discovery", "limits"];

/// Keys whose values are of a kind that holds no secret. These constants are parts of patterns in which spaces do not count.
const PLAIN_KEYS: &str = "
    protocol | compression | timeout | enabled | interval | temporality | ratio | traces_per_minute | spans_per_minute
    | spans_per_trace | queue | queue_bytes | listen | details | reload | client_auth_type | min_version | max_version
    | after | confirmations | coroutines | waits | stuck | rounds | tasks_per_process | tasks | scan_time | scan_bytes | cpu_share
    | processes | series | target_names | per_process | pid | freeze";
/// All other keys of the main file, and of the one that `web.config_file` names.
const OTHER_KEYS: &str = "
    web | control | discovery | targets | analysis | limits | exporters | prometheus | otlp | metrics | spans | endpoint
    | headers | headers_file | tls | ca_file | cert_file | key_file | config_file | tls_server_config | basic_auth_users
    | client_ca_file | socket | group | cycles | include | exclude | idle | never_idle | top | name | match | labels
    | executable | command | user | systemd_unit | cgroup | container_id | parent";
/// How a value of such a kind may look; the name of a variable is none either.
const PLAIN_VALUE: &str = r"
    (?:\d+(?:\.\d+)?(?:[KMGT]iB|ms|[smhdB])?)+ | (?:localhost|[\d.]+|\[[\da-f:]+\]):\d+ | \$\{\w+\}(?:ms|[smhdB])?
    | true | false | auto | grpc | http/protobuf | none | gzip | cumulative | delta | lowmemory | loopback | users
    | NoClientCert | RequireAndVerifyClientCert | TLS1\d";

/// The beginning of a line, as far as it is known to hold no secret.
static HARMLESS: LazyLock<Regex> = LazyLock::new(|| {
    compiled(&format!(
        r#"(?x)^(?: [\s{{}}\[\],] | [-?:](?:\s|$) | ---
        | ["']?(?:{PLAIN_KEYS})["']?\s*:\s+["']?(?:{PLAIN_VALUE})["']?\s*(?:$|[,}}\]]|\s\#)
        | ["']?(?:{PLAIN_KEYS}|{OTHER_KEYS})["']?\s*(?::\s|:?$) )*"#
    ))
});
/// A whole value that holds no secret.
static HARMLESS_VALUE: LazyLock<Regex> =
    LazyLock::new(|| compiled(&format!("(?x)^(?:{PLAIN_VALUE})$")));
/// A line that opens a section without secrets in a text that is not YAML.
static OPENS: LazyLock<Regex> = LazyLock::new(|| {
    let sections = WITHOUT_SECRETS.join("|");
    compiled(&format!(r#"^["']?(?:{sections})["']?\s*:(?:\s|$)"#))
});
/// A key that belongs elsewhere: its line, and those that follow, may hold secrets wherever it stands.
static ELSEWHERE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r#"(?:exporters|otlp|\w*headers?|headers_file|endpoint|basic_auth\w*|tls\w*|config_file)["']?\s*(?:[:=]|$)"#,
    )
});
/// A single secret behind a key that sounds like one.
static KEYED: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r"(?i)(?:authorization|passw|secret|token|api[-_]?key|cookie|credential|private[-_]?key)",
        r#"[\w-]*["']?\s*:\s+(\S.*)$"#
    ))
});
/// The same, each recognised by itself.
static SECRETS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"://(\S*)@",
        r#"[?&][^\s=&?"']*=([^\s&"']+)"#,
        r"(?i)(?:authorization|passw|secret|token|api[-_]?key)\w*=([^\s&]+)",
        r#"(?i)\b(?:Bearer|Basic)\s+([^\s"]+)"#,
        r"(\$2[a-z]?\$\S+)",
        r#"-----BEGIN [^-"]*-----([^")][^"]*)"#,
    ]
    .map(compiled)
    .to_vec()
});

/// What files are named like that hold what belongs into the files of a configuration.
const ENDINGS: [&str; 16] = [
    "cer", "cert", "cfg", "chain", "conf", "crt", "hdr", "header", "json", "key", "pem", "secret",
    "token", "txt", "yaml", "yml",
];

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("it is written here, and tested")
}

/// Whether a text, where none belongs, may be a secret: in the sections that have any, and in place of a whole file.
pub(super) fn may_be_secret(path: &str) -> bool {
    let first = path.split(['.', '[']).next();
    !first.is_some_and(|key| WITHOUT_SECRETS.contains(&key))
}

/// Whether a value is of a kind that holds no secret, wherever it stands.
pub(super) fn is_harmless(value: &str) -> bool {
    HARMLESS_VALUE.is_match(value)
}

/// A key as it is told: what belongs behind it and was written into it may be a secret.
pub(super) fn shown_key(key: &str) -> Cow<'_, str> {
    let end = key.find(|c: char| c == ':' || c == '=' || c.is_whitespace());
    let end = end.and_then(|end| Some(end + key[end..].chars().next()?.len_utf8()));
    match end.filter(|end| *end < key.len()) {
        Some(end) => Cow::Owned(format!("{}{HIDDEN}", &key[..end])),
        None => without_secrets(key),
    }
}

/// Whether what a file is called looks like the name of one, rather than like what belongs into it.
pub(super) fn is_named_like_file(path: &std::path::Path) -> bool {
    path.file_name()
        .is_some_and(|name| looks_like_path(&name.to_string_lossy()))
}

/// Whether the value of a setting looks like the path of a file, rather than like what belongs into it.
pub(super) fn looks_like_path(text: &str) -> bool {
    let is_usual = |c: char| c.is_alphanumeric() || "._-/@~".contains(c);
    if !text.chars().all(is_usual) || text.contains("//") {
        return false;
    }
    let path = std::path::Path::new(text);
    let is_within = text.starts_with('/') && path.components().count() > 2;
    let is_beside = text.starts_with("./") || text.starts_with("../");
    // A file may be called `token` as well as `agent.token`.
    let ending = text.rsplit(['.', '/']).next();
    is_within || is_beside || ending.is_some_and(|it| ENDINGS.contains(&it))
}

/// A text without what is a secret by itself.
pub(super) fn without_secrets(text: &str) -> Cow<'_, str> {
    let parts = secrets_in(text, SECRETS.iter());
    if parts.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut shown, mut shown_to) = (String::new(), 0);
    for part in merged(parts) {
        shown.push_str(&text[shown_to..part.start]);
        shown.push_str(HIDDEN);
        shown_to = part.end;
    }
    shown.push_str(&text[shown_to..]);
    Cow::Owned(shown)
}

/// Parts that overlap or meet as one, by where they begin.
fn merged(mut parts: Vec<Range<usize>>) -> Vec<Range<usize>> {
    parts.sort_unstable_by_key(|part| part.start);
    parts.dedup_by(|next, part| {
        let is_one = next.start <= part.end;
        if is_one {
            part.end = part.end.max(next.end);
        }
        is_one
    });
    parts
}

/// Where secrets of these kinds are.
fn secrets_in<'r>(text: &str, kinds: impl Iterator<Item = &'r Regex>) -> Vec<Range<usize>> {
    let of_kind = |kind: &'r Regex| kind.captures_iter(text);
    let found = kinds.flat_map(of_kind);
    found
        .filter_map(|found| Some(found.get(1)?.range()))
        .filter(|part| !part.is_empty() && &text[part.clone()] != HIDDEN)
        .collect()
}

/// The keys of the outermost map of a text, with their places, in the order in which they stand.
pub(super) type TopKeys<'k> = Vec<(Place, &'k str)>;

/// Which lines of a text are shown as they stand.
pub(super) struct HiddenParts {
    /// By their number from 0.
    are_plain: Vec<bool>,
    /// The parts of the line that was shown last, with its number: a long line may have many problems.
    latest: Option<(usize, Vec<Range<usize>>)>,
}

impl HiddenParts {
    /// Those of a text with these keys; `None`: it is not YAML.
    pub(super) fn of(text: &str, keys: Option<&TopKeys<'_>>) -> Self {
        let are_plain = match keys {
            Some(keys) => plain_lines(text, keys),
            None => plain_beginning(text),
        };
        Self {
            are_plain,
            latest: None,
        }
    }

    /// Those of a text of which no line is shown as it stands.
    pub(super) fn everywhere() -> Self {
        Self {
            are_plain: Vec::new(),
            latest: None,
        }
    }

    /// The parts of the line with this number that are hidden, by where they begin.
    fn parts(&mut self, number: usize, line: &str) -> &[Range<usize>] {
        if self.latest.as_ref().is_none_or(|(of, _)| *of != number) {
            let mut parts = secrets_in(line, SECRETS.iter().chain([&*KEYED]));
            if !self.are_plain.get(number).is_some_and(|it| *it) {
                let shown_to = HARMLESS.find(line).map_or(0, |found| found.end());
                parts.push(shown_to..line.trim_end().len());
            }
            parts.retain(|part| !part.is_empty());
            self.latest = Some((number, merged(parts)));
        }
        self.latest.as_ref().map_or(&[], |(_, parts)| parts)
    }

    /// The line with this number without its secrets, and where in it the character is that had the number `column`.
    pub(super) fn hide(&mut self, number: usize, line: &str, column: usize) -> (String, usize) {
        let at = line
            .char_indices()
            .nth(column)
            .map_or(line.len(), |(at, _)| at);
        let (mut shown, mut shown_to, mut column) = (String::new(), 0, column);
        for Range { start, end } in self.parts(number, line) {
            shown.push_str(&line[shown_to..*start]);
            if at >= *end {
                let n_chars = line[*start..*end].chars().count();
                column = (column + HIDDEN.len()).saturating_sub(n_chars);
            } else if at > *start {
                column = shown.chars().count();
            }
            shown.push_str(HIDDEN);
            shown_to = *end;
        }
        shown.push_str(&line[shown_to..]);
        (shown, column)
    }
}

/// Which lines of a text with these keys are shown as they stand: what is in them belongs to sections without secrets.
fn plain_lines(text: &str, keys: &TopKeys<'_>) -> Vec<bool> {
    let mut keys = keys.iter().peekable();
    let mut is_plain = false;
    let lines = text.lines().enumerate().map(|(number, line)| {
        let mut is_first = true;
        while let Some((place, key)) = keys.next_if(|(place, _)| place.line <= number + 1) {
            let begins = line.chars().take(place.column - 1).all(char::is_whitespace);
            // Of several on a line each counts, and so does what the line before left open.
            let counts = if is_first && begins { true } else { is_plain };
            is_plain = counts && WITHOUT_SECRETS.contains(key);
            is_first = false;
        }
        is_plain = is_plain && !ELSEWHERE.is_match(line);
        is_plain && !line.trim_start().starts_with('#')
    });
    lines.collect()
}

/// The same of a text that is not YAML: those up to the first that may be of another section.
fn plain_beginning(text: &str) -> Vec<bool> {
    let mut is_open = false;
    let lines = text.lines().map_while(|line| {
        if line.trim_start().starts_with('#') {
            return Some(false);
        }
        is_open |= OPENS.is_match(line);
        let is_within = line.is_empty() || line.starts_with([' ', '\t', '-']);
        let goes_on =
            OPENS.is_match(line) || is_open && is_within || line.is_empty() || line == "---";
        (goes_on && !ELSEWHERE.is_match(line)).then_some(is_open)
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How the lines of a text are shown whose keys are these, by their lines.
    fn shown(text: &str, keys: Option<&[(usize, &str)]>) -> String {
        let place = |line: usize| Place { line, column: 1 };
        let keys = keys.map(|keys| {
            keys.iter()
                .map(|(line, key)| (place(*line), *key))
                .collect()
        });
        let mut hidden = HiddenParts::of(text, keys.as_ref());
        let lines = text.lines().enumerate();
        lines
            .map(|(number, line)| hidden.hide(number, line, 0).0 + "\n")
            .collect()
    }

    #[test]
    fn lines_are_shown_as_they_stand_only_in_sections_without_secrets() {
        let text = "limits: {rounds: x y}\n# s\n  a: s\nother: s\nexporters:\n  s\ntargets:\n- a\n  otlp: s\n  s\ncontrol: a\n";
        let plain = "limits: {rounds: x y}\n<hidden>\n  a: s\n<hidden>\nexporters:\n  <hidden>\n";
        let keys = [
            (1, "limits"),
            (4, "other"),
            (5, "exporters"),
            (7, "targets"),
            (11, "control"),
        ];
        assert_eq!(
            shown(text, Some(&keys)),
            format!("{plain}targets:\n- a\n  otlp: <hidden>\n  <hidden>\ncontrol: a\n")
        );
        assert_eq!(
            shown(text, None),
            format!(
                "{plain}targets:\n- <hidden>\n  otlp: <hidden>\n  <hidden>\ncontrol: <hidden>\n"
            )
        );
        // Two keys in a line.
        let keys = [(1, "exporters"), (1, "limits")];
        assert_eq!(
            shown("{exporters: s, limits: s}\ns", Some(&keys)),
            "{exporters: <hidden>\n<hidden>\n"
        );
        assert_eq!(shown("s", Some(&[])), "<hidden>\n");
    }

    #[test]
    fn of_other_lines_only_what_is_harmless_is_shown() {
        for (line, told) in [
            (
                "  otlp: {protocol: grpc, timeout: 1m30s, headers: {a: s}}",
                "  otlp: {protocol: grpc, timeout: 1m30s, headers: {<hidden>",
            ),
            (
                "web: {listen: '[::1]:98', reload: true}",
                "web: {listen: '[::1]:98', reload: true}",
            ),
            ("listen: [127.0.0.1:98]", "listen: [<hidden>"),
            (
                "  queue_bytes: 64MiB # s",
                "  queue_bytes: 64MiB # <hidden>",
            ),
            ("timeout: ${A}s", "timeout: ${A}s"),
            ("timeout: ${A:-s}s", "timeout: <hidden>"),
            ("timeout: 4711 s", "timeout: <hidden>"),
            ("protocol: s", "protocol: <hidden>"),
            ("headers", "headers"),
            ("headers: 4711", "headers: <hidden>"),
            ("headers = {a: s}", "<hidden>"),
            ("hedaers: s", "<hidden>"),
            ("\t x: s", "\t <hidden>"),
            ("? headers", "? headers"),
            (": {k: [s]}", ": {<hidden>"),
            ("\"head\\x65rs\": s", "<hidden>"),
            ("\"eva:s\": x", "<hidden>"),
            ("web: {auth: s}", "web: {<hidden>"),
            ("tls: {key: s}", "tls: {<hidden>"),
            ("endpoint: http://h", "endpoint: <hidden>"),
            ("root:$y$s:1:::", "<hidden>"),
            ("# s", "<hidden>"),
        ] {
            assert_eq!(shown(line, None), format!("{told}\n"));
        }
    }

    #[test]
    fn all_keys_of_the_schema_are_known() {
        let known = compiled(&format!("(?x)^(?:{PLAIN_KEYS}|{OTHER_KEYS})$"));
        let key = compiled(r"^#?[\s-]*([a-z_]+):(?:\s|$)");
        let keys = crate::config::DEFAULTS
            .lines()
            .filter_map(|line| key.captures(line)?.get(1));
        let unknown: Vec<_> = keys
            .map(|key| key.as_str())
            .filter(|it| !known.is_match(it))
            .collect();
        assert_eq!(unknown, [""; 0]);
    }

    #[test]
    fn the_place_stays_or_is_where_hidden_text_begins() {
        let line = "limits: é http://ü:secret@host: x";
        let mut hidden = HiddenParts::of(line, None);
        for (before, after) in [(0, 0), (17, 17), (19, 17), (24, 17), (25, 25), (32, 32)] {
            assert_eq!(hidden.hide(0, line, before).1, after, "{before}");
        }
        let mut hidden = HiddenParts::of("limits: a://s@b", None);
        for (before, after) in [(12, 12), (13, 20), (14, 21), (15, 22)] {
            assert_eq!(
                hidden.hide(0, "limits: a://s@b", before).1,
                after,
                "{before}"
            );
        }
    }

    #[test]
    fn texts_and_keys_are_told_without_secrets() {
        for (text, told) in [
            ("/etc/x: no such file", "/etc/x: no such file"),
            ("\"http://u:p@h\" and", "\"http://<hidden>@h\" and"),
            ("\"Bearer s\", expected", "\"Bearer <hidden>\", expected"),
            (
                "\"Authorization=Basic s\"",
                "\"Authorization=<hidden> <hidden>\"",
            ),
            (
                "\"-----BEGIN X KEY-----\\ns\\n\": a",
                "\"-----BEGIN X KEY-----<hidden>\": a",
            ),
            (
                "Bearer <hidden> http://<hidden>@h",
                "Bearer <hidden> http://<hidden>@h",
            ),
        ] {
            assert_eq!(without_secrets(text), told);
        }
        for (key, told) in [
            ("x-key", "x-key"),
            ("eva:s", "eva:<hidden>"),
            ("A=s t", "A=<hidden>"),
            ("é s", "é <hidden>"),
            ("s\n", "s\n"),
            ("$2y$10$s", "<hidden>"),
        ] {
            assert_eq!(shown_key(key), told);
        }
        for path in [
            "/etc/x",
            "a.pem",
            "./a",
            "../a",
            "a/b-c.token",
            "/run/x@y/z_1",
        ] {
            assert!(looks_like_path(path), "{path}");
        }
        for secret in [
            "s",
            "",
            "Bearer a.pem",
            "ab/cd",
            "/x",
            "a=/b.pem",
            "http://a/b.pem",
            "eyJh.eyJz.x",
        ] {
            assert!(!looks_like_path(secret), "{secret}");
        }
    }
}
