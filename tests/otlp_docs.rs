//! `docs/opentelemetry.md` names what is sent, all of it and nothing else.
#![cfg(feature = "agent")]

use asyncio_agent::metrics::CATALOG;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The table of metrics, made from the catalogue.
fn metrics() -> String {
    let lines = CATALOG.iter().map(|def| {
        let (name, unit) = def.in_opentelemetry();
        format!("| `{name}` | `{unit}` | `{}` |\n", def.name)
    });
    lines.collect::<String>().replace("| `` |", "| |")
}

#[test]
fn every_metric_stands_under_both_names() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/opentelemetry.md");
    let text = read("docs/opentelemetry.md");
    let heading = "| OpenTelemetry | unit | Prometheus |\n|---|---|---|\n";
    let (before, table) = text.split_once(heading).expect("the table");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let renewed = format!("{before}{heading}{}", metrics());
        fs::write(page, renewed).expect("our own file");
        return;
    }
    assert_eq!(table, metrics(), "UPDATE_EXPECT=1 renews the table");
}

/// Texts in `quotes` of a file that name an attribute.
fn names(text: &str, quote: char) -> BTreeSet<String> {
    let is_name = |it: &&str| {
        let starts = [
            "asyncio.", "code.", "process.", "thread.", "service.", "host.",
        ];
        let is_part = |c: char| c.is_ascii_lowercase() || "._".contains(c);
        starts.iter().any(|start| it.starts_with(start)) && it.chars().all(is_part)
    };
    let parts = text.split(quote).filter(is_name);
    parts.map(str::to_owned).collect()
}

#[test]
fn every_attribute_is_told_and_no_other() {
    let page = read("docs/opentelemetry.md");
    let (traces, _) = page.split_once("\n## Metrics\n").expect("two parts");
    let told = names(traces, '`');
    let mut sent = names(&read("src/spans/build.rs"), '"');
    let resource = read("src/export/otlp/spans.rs");
    sent.extend(names(&resource, '"'));
    let (missing, unknown): (Vec<_>, Vec<_>) = (
        sent.difference(&told).collect(),
        told.difference(&sent).collect(),
    );
    assert!(sent.len() > 30, "{sent:?}");
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not told: {missing:?}; not sent: {unknown:?}"
    );
}

#[test]
fn the_readme_leads_there() {
    assert!(read("README.md").contains("(docs/opentelemetry.md)"));
}
