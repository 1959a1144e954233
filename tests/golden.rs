//! Every `golden/graphs/*.graph` printed in every style and compared with the texts in
//! `golden/expect`. `UPDATE_EXPECT=1` rewrites them; read the difference before you keep it.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its end")]

use asyncio_agent::graph::{TaskGraph, text};
use asyncio_agent::render::{Style, View, ps, ps_csv, pstree};
use expect_test::expect_file;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn graph(name: &str) -> TaskGraph {
    let path = folder().join("graphs").join(name).with_extension("graph");
    let text = std::fs::read_to_string(&path).unwrap();
    text::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn names() -> Vec<String> {
    let files = std::fs::read_dir(folder().join("graphs")).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "graph"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// Output, error output and answer of a view as one text.
fn shown(print: impl FnOnce(&mut String, &mut String) -> bool) -> String {
    let (mut out, mut err) = (String::new(), String::new());
    let has_cycle = print(&mut out, &mut err);
    if !err.is_empty() {
        out.push_str("--- stderr\n");
        out.push_str(&err);
    }
    if has_cycle {
        out.push_str("--- await cycle\n");
    }
    out
}

#[test]
fn views_of_all_graphs() {
    let names = names();
    assert!(names.len() >= 10);
    let view = View {
        raw_names: true,
        ..View::default()
    };
    for name in &names {
        let graph = graph(name);
        let check = |kind: &str, text: String| {
            expect_file![folder().join("expect").join(format!("{name}.{kind}"))].assert_eq(&text);
        };
        for (style, mark) in [
            (Style::Agent, ""),
            (Style::Cpython, "cpython-"),
            (Style::Classic, "classic-"),
        ] {
            let table = shown(|out, err| ps(&graph, style, &view, out, err).unwrap());
            check(&format!("{mark}ps.txt"), table);
            let tree = shown(|out, err| pstree(&graph, style, &view, out, err).unwrap());
            check(&format!("{mark}pstree.txt"), tree);
        }
        check("csv", shown(|out, _| ps_csv(&graph, &view, out).unwrap()));
    }
}

#[test]
fn printed_graphs_read_back() {
    for name in names() {
        let printed = text::print(&graph(&name));
        assert_eq!(text::print(&text::parse(&printed).unwrap()), printed);
    }
}
