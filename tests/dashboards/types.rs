//! The dashboards have the types that Grafana says dashboards have (`@grafana/schema`). TypeScript refuses keys that
//! it does not know, so a slip of the pen is found that Grafana would silently ignore.

use super::support::typescript::compile;
use super::{Dashboard, text};
use std::fmt::Write as _;

/// Kinds of panels, the name of the file with their types, and whether that has one for `custom`.
const PANELS: &[(&str, &str, bool)] = &[
    ("heatmap", "HeatmapPanelCfg", true),
    ("stat", "StatPanelCfg", false),
    ("table", "TablePanelCfg", true),
    ("timeseries", "TimeSeriesPanelCfg", true),
];

/// The types are of a program's values, where a choice is a member of an enumeration; in JSON it is its text.
const PLAIN: &str = "type Plain<T> = T extends string ? `${T}`
  : T extends readonly (infer E)[] ? Plain<E>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;
";

/// A module that compiles if the dashboard is well typed.
fn module_of(dashboard: &Dashboard) -> String {
    let mut module = "import type { Dashboard } from '@grafana/schema';\n".to_owned();
    for (kind, file, has_custom) in PANELS {
        let path =
            format!("@grafana/schema/dist/esm/raw/composable/{kind}/panelcfg/x/{file}_types.gen");
        writeln!(module, "import type {{ Options as {kind} }} from '{path}';").expect("a String");
        if *has_custom {
            writeln!(
                module,
                "import type {{ FieldConfig as {kind}_custom }} from '{path}';"
            )
            .expect("a String");
        }
    }
    module.push_str(PLAIN);
    let mut add = |value: &str, of: &str| {
        writeln!(module, "({value}) satisfies Plain<{of}>;").expect("a String");
    };
    add(dashboard.text.trim_end(), "Dashboard");
    for panel in dashboard.panels() {
        let kind = text(&panel["type"]);
        let row = PANELS.iter().find(|(it, _, _)| *it == kind);
        let (_, _, has_custom) = row.unwrap_or_else(|| panic!("the types of {kind} are not known"));
        add(&panel["options"].to_string(), &format!("Partial<{kind}>"));
        let custom = panel["fieldConfig"]["defaults"].get("custom");
        if let Some(custom) = custom.filter(|_| *has_custom) {
            add(&custom.to_string(), &format!("Partial<{kind}_custom>"));
        }
    }
    module
}

#[test]
fn dashboards_are_what_grafana_takes_for_one() {
    let dashboards = Dashboard::all();
    let modules = dashboards.iter().map(|it| (it.name, module_of(it)));
    let (is_good, told) = compile(&modules.collect::<Vec<_>>());
    assert!(is_good, "{told}");
}
