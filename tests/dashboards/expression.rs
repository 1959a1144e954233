//! As much of PromQL as the rules about queries need: which series an expression selects, and what is made of
//! them. Whether it is PromQL at all Prometheus says, in `live.rs`.

/// A selector of series.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Selector {
    pub(super) metric: String,
    /// What stands between its braces.
    pub(super) matchers: String,
    /// What stands between the brackets behind it.
    pub(super) range: Option<String>,
    /// The function that is called with it, and nothing before it.
    pub(super) function: String,
}

/// The selectors of an expression. Names are those of metrics if braces follow, or if they begin like ours.
pub(super) fn selectors(expression: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = expression;
    let mut function = String::new();
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        if first == '"' {
            rest = after.split_once('"').map_or("", |(_, after)| after);
            continue;
        }
        let end = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
        if end == 0 {
            if !matches!(first, '(' | ' ') {
                function.clear();
            }
            rest = after;
            continue;
        }
        let (name, after) = rest.split_at(end);
        rest = after;
        if after.starts_with('(') {
            function = name.to_owned();
            continue;
        }
        let is_ours = name.starts_with("asyncio_") || name.starts_with("process_");
        if !after.starts_with('{') && !is_ours {
            function.clear();
            continue;
        }
        let (matchers, after) = enclosed(after, '{', '}');
        let (range, after) = enclosed(after, '[', ']');
        found.push(Selector {
            metric: name.to_owned(),
            matchers: matchers.unwrap_or_default(),
            range,
            function: std::mem::take(&mut function),
        });
        rest = after;
    }
    found
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '$')
}

/// What the text begins with between these two, quotes heeded, and what follows.
fn enclosed(text: &str, open: char, close: char) -> (Option<String>, &str) {
    let Some(inner) = text.strip_prefix(open) else {
        return (None, text);
    };
    let mut is_quoted = false;
    for (at, c) in inner.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            c if c == close && !is_quoted => {
                return (Some(inner[..at].to_owned()), &inner[at + 1..]);
            }
            _ => {}
        }
    }
    (Some(inner.to_owned()), "")
}

#[test]
fn selectors_are_found() {
    let of = |metric: &str, matchers: &str, range: Option<&str>, function: &str| Selector {
        metric: metric.to_owned(),
        matchers: matchers.to_owned(),
        range: range.map(str::to_owned),
        function: function.to_owned(),
    };
    let expression =
        "sum by (job) (rate(a_total{x=\"}\"}[5m])) / on (job) up{} + asyncio_b and c{y=~\"(\"}";
    let expected = [
        of("a_total", "x=\"}\"", Some("5m"), "rate"),
        of("up", "", None, ""),
        of("asyncio_b", "", None, ""),
        of("c", "y=~\"(\"", None, ""),
    ];
    assert_eq!(selectors(expression), expected);
    assert_eq!(selectors("sum(a{})")[0].function, "sum");
    assert_eq!(selectors("1 - max(2 * a{})")[0].function, "");
}
