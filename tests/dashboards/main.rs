//! The dashboards of `dashboards/`: held against the rules of Grafana's dashboard-linter and against Grafana's own
//! types, and run on a real Prometheus that scrapes a real agent.
#![cfg(feature = "agent")]

#[path = "../support/mod.rs"]
mod support;

mod expression;
mod lint;
mod live;
mod metrics;
mod types;

use serde_json::Value;
use std::fs;
use std::path::Path;

/// A dashboard.
struct Dashboard {
    name: &'static str,
    text: String,
    json: Value,
}

/// A query of a panel.
#[derive(Debug, Clone)]
struct Query {
    /// Dashboard, panel and letter, for messages.
    at: String,
    panel: String,
    expression: String,
    /// The value now, rather than its course.
    is_instant: bool,
}

impl Dashboard {
    fn load(name: &'static str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
        let path = folder.join(format!("{name}.json"));
        let text = fs::read_to_string(path).expect("our own file");
        let json = serde_json::from_str(&text).expect("JSON");
        Self { name, text, json }
    }

    fn all() -> [Self; 2] {
        ["overview", "target"].map(Self::load)
    }

    /// The panels, headings left out.
    fn panels(&self) -> impl Iterator<Item = &Value> {
        let panels = list(&self.json["panels"]).iter();
        panels.filter(|panel| panel["type"] != "row")
    }

    fn queries(&self) -> Vec<Query> {
        let queries = self.panels().flat_map(|panel| {
            let title = text(&panel["title"]);
            list(&panel["targets"]).iter().map(move |query| Query {
                at: format!("{}, {title}, {}", self.name, text(&query["refId"])),
                panel: title.to_owned(),
                expression: text(&query["expr"]).to_owned(),
                is_instant: query["instant"] == true,
            })
        });
        queries.collect()
    }

    fn variables(&self) -> &[Value] {
        list(&self.json["templating"]["list"])
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
