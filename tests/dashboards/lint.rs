//! The rules of Grafana's dashboard-linter (github.com/grafana/dashboard-linter, `docs/rules`), which is no package
//! of Debian or npm, and a few of our own. Those about queries are below those about what is around them.

use super::expression::selectors;
use super::{Dashboard, list, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

fn assert_none(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn a_dashboard_can_be_imported_and_provisioned_anywhere() {
    let mut uids = BTreeSet::new();
    for dashboard in Dashboard::all() {
        let json = &dashboard.json;
        // An id or a version is of one Grafana; inputs are asked for by one way of importing only.
        assert_eq!(json["id"], Value::Null);
        for key in ["version", "__inputs", "__requires", "__elements"] {
            assert!(json.get(key).is_none(), "{}: {key}", dashboard.name);
        }
        assert_eq!(json["schemaVersion"], 42, "{}", dashboard.name);
        assert_eq!(json["editable"], false, "{}", dashboard.name);
        assert_ne!(text(&json["title"]), "", "{}", dashboard.name);
        assert!(uids.insert(text(&json["uid"]).to_owned()));
    }
    for dashboard in Dashboard::all() {
        let links = dashboard.text.split("\"/d/").skip(1);
        let links: Vec<&str> = links
            .filter_map(|link| link.split(['?', '"']).next())
            .collect();
        assert!(!links.is_empty(), "{}: no link", dashboard.name);
        for link in links {
            assert!(uids.contains(link), "{}: /d/{link}", dashboard.name);
        }
    }
}

#[test]
fn the_variables_are_those_that_users_know_from_others() {
    for dashboard in Dashboard::all() {
        let name = dashboard.name;
        let variables = dashboard.variables();
        let of_kind = |kind: &str| variables.iter().filter(|it| it["type"] == kind).count();
        assert_eq!(of_kind("datasource"), 1, "{name}");
        let variable = |name: &str| {
            let mut variables = variables.iter();
            variables.find(|it| it["name"] == name).expect(name)
        };
        let source = variable("datasource");
        assert_eq!(source["label"], "Data Source", "{name}");
        assert_eq!(source["query"], "prometheus", "{name}");
        for (variable_name, label) in [("job", "Job"), ("instance", "Instance")] {
            let it = variable(variable_name);
            assert_eq!(it["label"], label, "{name}");
            assert_eq!(it["multi"], true, "{name}");
            assert_eq!(it["includeAll"], true, "{name}");
            assert_eq!(it["allValue"], ".+", "{name}");
        }
        assert_eq!(variable("target")["label"], "Target", "{name}");
        for it in variables.iter().filter(|it| it["name"] != "datasource") {
            assert_eq!(it["type"], "query", "{name}");
            assert_eq!(it["refresh"], 2, "{name}: anew when the time changes");
            assert_eq!(it["datasource"]["uid"], "${datasource}", "{name}");
        }
    }
}

#[test]
fn panels_say_what_they_show_and_in_which_unit() {
    let mut offences = Vec::new();
    for dashboard in Dashboard::all() {
        let mut ids = BTreeSet::new();
        for panel in list(&dashboard.json["panels"]) {
            let at = format!("{}, {}", dashboard.name, text(&panel["title"]));
            if !ids.insert(panel["id"].as_u64()) {
                offences.push(format!("{at}: another panel has its id"));
            }
            if text(&panel["title"]).is_empty() {
                offences.push(format!("{at}: no title"));
            }
            if panel["type"] == "row" {
                continue;
            }
            if text(&panel["description"]).is_empty() {
                offences.push(format!("{at}: no description"));
            }
            if panel["datasource"] != json!({"type": "prometheus", "uid": "${datasource}"}) {
                offences.push(format!("{at}: not the chosen data source"));
            }
            if list(&panel["targets"]).is_empty() {
                offences.push(format!("{at}: no query"));
            }
            if text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty() {
                offences.push(format!("{at}: no unit"));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn panels_stand_beside_each_other() {
    let mut offences = Vec::new();
    for dashboard in Dashboard::all() {
        let mut taken = BTreeSet::new();
        for panel in list(&dashboard.json["panels"]) {
            let of = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
            for x in of("x")..of("x") + of("w") {
                for y in of("y")..of("y") + of("h") {
                    if x >= 24 || !taken.insert((x, y)) {
                        let title = text(&panel["title"]);
                        offences.push(format!("{}, {title}: at {x}, {y}", dashboard.name));
                    }
                }
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn what_texts_refer_to_exists() {
    let runbooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let mut offences = Vec::new();
    for dashboard in Dashboard::all() {
        for page in dashboard.text.split("/runbooks/").skip(1) {
            let end = page.find(|c: char| !c.is_ascii_alphanumeric());
            let page = &page[..end.unwrap_or(page.len())];
            let page = format!("runbooks/{page}.md");
            if !runbooks.join(&page).exists() {
                offences.push(format!("{}: {page}", dashboard.name));
            }
        }
        // Whoever reads a text has no files of ours, but an agent that serves them.
        if dashboard.text.matches("runbooks/").count()
            != dashboard.text.matches("/runbooks/").count()
        {
            offences.push(format!("{}: a runbook without its path", dashboard.name));
        }
        let known: Vec<&str> = dashboard
            .variables()
            .iter()
            .map(|variable| text(&variable["name"]))
            .collect();
        for used in dashboard.text.split('$').skip(1) {
            let used = used.trim_start_matches('{');
            let end = used.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let used = &used[..end.unwrap_or(used.len())];
            // Those are Grafana's own.
            if !used.starts_with("__") && !known.contains(&used) {
                offences.push(format!("{}: ${used}", dashboard.name));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn queries_are_of_what_was_chosen_and_rates_of_counters() {
    let mut offences = Vec::new();
    for dashboard in Dashboard::all() {
        for query in dashboard.queries() {
            let mut offend = |what: String| offences.push(format!("{}: {what}", query.at));
            let selectors = selectors(&query.expression);
            if selectors.is_empty() {
                offend("selects nothing".to_owned());
            }
            for selector in selectors {
                for matcher in ["job=~\"$job\"", "instance=~\"$instance\""] {
                    if !selector.matchers.contains(matcher) {
                        offend(format!("{} without {matcher}", selector.metric));
                    }
                }
                let is_rate = ["rate", "irate", "increase"].contains(&&*selector.function);
                if selector.metric.ends_with("_total") != is_rate {
                    offend(format!(
                        "a rate of {}, which is no counter, or none of a counter",
                        selector.metric
                    ));
                }
                if is_rate && selector.range.as_deref() != Some("$__rate_interval") {
                    offend(format!("{} without $__rate_interval", selector.metric));
                }
            }
        }
    }
    assert_none(&offences);
}
