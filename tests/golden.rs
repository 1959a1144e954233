//! Every `golden/graphs/*.graph` printed in every style and compared with the texts in
//! `golden/expect`. `UPDATE_EXPECT=1` rewrites them; read the difference before you keep it.
#![allow(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

use asyncio_agent::graph::{TaskGraph, text};
use asyncio_agent::render::{Style, View, ps, ps_csv, pstree};
use expect_test::{expect, expect_file};
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

/// The tree that the project's first issue gives for the example program.
#[test]
fn the_example_in_the_classic_style() {
    let graph = graph("music");
    let tree =
        shown(|out, err| pstree(&graph, Style::Classic, &View::default(), out, err).unwrap());
    let expected = "\
└── (T) Task-1
    └──  main
        └──  __aexit__
            └──  _aexit
                ├── (T) Sundowning
                │   └──  album
                │       └──  __aexit__
                │           └──  _aexit
                │               ├── (T) TNDNBTG
                │               └── (T) Levitate
                └── (T) TMBTE
                    └──  album
                        └──  __aexit__
                            └──  _aexit
                                ├── (T) DYWTYLM
                                └── (T) Aqua Regia
";
    assert_eq!(tree, expected);
}

#[test]
fn a_filter_keeps_what_matches_and_what_awaits_it() {
    let view = View {
        matches: Some(&|name| name == "DYWTYLM"),
        ..View::default()
    };
    let music = graph("music");
    let tree = |style| shown(|out, err| pstree(&music, style, &view, out, err).unwrap());
    expect![[r#"
        └── (T) Task-1
            └──  main music.py:13
                └──  TaskGroup.__aexit__ /usr/lib/python3.14/asyncio/taskgroups.py:72
                    └──  TaskGroup._aexit /usr/lib/python3.14/asyncio/taskgroups.py:121
                        └── (T) TMBTE
                            └──  album music.py:8
                                └──  TaskGroup.__aexit__ /usr/lib/python3.14/asyncio/taskgroups.py:72
                                    └──  TaskGroup._aexit /usr/lib/python3.14/asyncio/taskgroups.py:121
                                        └── (T) DYWTYLM
                                            └──  play music.py:4
                                                └──  sleep /usr/lib/python3.14/asyncio/tasks.py:716
    "#]]
    .assert_eq(&tree(Style::Agent));
    assert_eq!(tree(Style::Agent), tree(Style::Cpython));
    // A cycle is told even when no task of it is shown.
    let cyclic = graph("cycle_of_two");
    let bystander = View {
        matches: Some(&|name| name == "bystander"),
        ..View::default()
    };
    expect![[r#"
        └── (T) Task-1
            └──  main app.py:30
                └── (T) bystander
                    └──  work app.py:20
                        └──  sleep /usr/lib/python3.14/asyncio/tasks.py:716
        --- stderr
        the await graph has a cycle: these tasks wait for one another
        cycle: cyc-a → cyc-b → cyc-a
        --- await cycle
    "#]]
    .assert_eq(&shown(|out, err| {
        pstree(&cyclic, Style::Agent, &bystander, out, err).unwrap()
    }));
}

#[test]
fn depth_and_limits_are_told() {
    let graph = graph("diamond");
    let view = View {
        depth: Some(2),
        ..View::default()
    };
    let tree =
        |view: &View<'_>, style| shown(|out, err| pstree(&graph, style, view, out, err).unwrap());
    expect![[r#"
        └── (T) top
            └──  main app.py:1
                ├── (T) a1  … awaits 2 tasks not shown (depth limit)
                └── (T) b1  … awaits 2 tasks not shown (depth limit)
    "#]]
    .assert_eq(&tree(&view, Style::Agent));
    expect![[r#"
        └── (T) top
            └──  main app.py:1
                ├── (T) a1
                └── (T) b1
        --- stderr
        … the tree is cut: not all of it is shown
    "#]]
    .assert_eq(&tree(&view, Style::Cpython));
    let view = View {
        lines_max: Some(3),
        ..View::default()
    };
    expect![[r#"
        └── (T) top
            └──  main app.py:1
                ├── (T) a1
        … 21 more lines with 7 tasks not shown
    "#]]
    .assert_eq(&tree(&view, Style::Agent));
}

#[test]
fn terminals_get_escapes_in_every_style() {
    let graph = graph("unicode");
    let view = View::default();
    for style in [Style::Agent, Style::Cpython, Style::Classic] {
        let tree = shown(|out, err| pstree(&graph, style, &view, out, err).unwrap());
        assert!(
            tree.contains("(T) evil\\x1b[31m\\nname\\u202etxt\n"),
            "{tree}"
        );
    }
}

#[test]
fn printed_graphs_read_back() {
    for name in names() {
        let printed = text::print(&graph(&name));
        assert_eq!(text::print(&text::parse(&printed).unwrap()), printed);
    }
}
