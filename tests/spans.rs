//! Await trees as spans: whatever the graph, the traces are sound and nothing is left out without a word.

#[path = "graphs/mod.rs"]
mod graphs;

use asyncio_agent::analysis::{FindingKind, Fingerprint, Mark, TaskTimes};
use asyncio_agent::graph::text::parse;
use asyncio_agent::graph::{TaskGraph, TaskIdx, find_cycles};
use asyncio_agent::render;
use asyncio_agent::spans::{
    Attribute, AttributeValue, Facts, Span, SpanId, SpanLimits, Trace, Traces, traces_of,
};
use asyncio_agent::time::Timestamp;
use graphs::{Kinds, graphs};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const ALL: SpanLimits = SpanLimits::alike(usize::MAX, usize::MAX, usize::MAX);
const NOW: Timestamp = Timestamp::new(Duration::from_secs(1_000_000));

fn number(attributes: &[Attribute], key: &str) -> Option<i64> {
    let attribute = attributes.iter().find(|it| it.key == key)?;
    match attribute.value {
        AttributeValue::Number(number) => Some(number),
        _ => None,
    }
}

fn text<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|it| it.key == key)?;
    match &attribute.value {
        AttributeValue::Text(text) => Some(text),
        _ => None,
    }
}

fn flag(attributes: &[Attribute], key: &str) -> bool {
    let mut all = attributes.iter();
    all.any(|it| it.key == key && it.value == AttributeValue::Flag(true))
}

/// The spans of tasks, by the id of the task.
fn tasks(traces: &Traces) -> BTreeMap<String, (&Trace, &Span)> {
    let all = traces.traces.iter();
    let spans = all.flat_map(|trace| trace.spans.iter().map(move |span| (trace, span)));
    spans
        .filter_map(|(trace, span)| {
            let id = text(&span.attributes, "asyncio.task.id")?;
            Some((id.to_owned(), (trace, span)))
        })
        .collect()
}

fn canonical(graph: &TaskGraph) -> Vec<TaskIdx> {
    graph
        .indices()
        .filter(|at| graph.entry(*at) == *at)
        .collect()
}

/// What must hold of all traces.
fn check(traces: &Traces, limits: SpanLimits) -> Result<(), TestCaseError> {
    prop_assert!(traces.traces.len() <= limits.traces);
    prop_assert!(traces.n_spans() <= limits.spans);
    let mut ids: BTreeSet<SpanId> = BTreeSet::new();
    let mut trace_ids = BTreeSet::new();
    for trace in &traces.traces {
        prop_assert!(trace.id.0 != 0 && trace_ids.insert(trace.id));
        prop_assert!(trace.spans.len() <= limits.spans_per_trace);
        prop_assert!(!trace.spans.is_empty());
        let mut starts: BTreeMap<SpanId, Timestamp> = BTreeMap::new();
        for (position, span) in trace.spans.iter().enumerate() {
            prop_assert!(span.id.0 != 0 && ids.insert(span.id));
            prop_assert!(span.start <= span.end && span.end == NOW);
            match span.parent {
                None => prop_assert_eq!(position, 0),
                Some(parent) => {
                    let start = starts.get(&parent);
                    prop_assert!(start.is_some_and(|start| *start <= span.start));
                }
            }
            starts.insert(span.id, span.start);
            prop_assert!(!span.name.contains(char::is_control));
        }
        // What is not there is counted.
        let root = &trace.spans[0].attributes;
        let of_tasks = trace.spans.iter();
        let n_tasks = of_tasks.filter(|it| text(&it.attributes, "asyncio.task.id").is_some());
        let n_tasks = i64::try_from(n_tasks.count()).expect("few");
        let omitted = trace.spans.iter();
        let omitted: i64 = omitted
            .filter_map(|it| number(&it.attributes, "asyncio.tasks.omitted"))
            .sum();
        prop_assert_eq!(number(root, "asyncio.tree.tasks"), Some(n_tasks + omitted));
    }
    // Links lead to spans of this snapshot.
    for trace in &traces.traces {
        for link in trace.spans.iter().flat_map(|span| &span.links) {
            prop_assert!(trace_ids.contains(&link.trace) && ids.contains(&link.span));
        }
    }
    Ok(())
}

fn printed(traces: &Traces) -> String {
    let mut text = String::new();
    render::traces(traces, false, &mut text).expect("writing to a String does not fail");
    text
}

/// The text has a line for each span and no more than it must, and nothing in it moves the cursor.
fn check_printed(traces: &Traces) -> Result<(), TestCaseError> {
    let text = printed(traces);
    let lines: Vec<&str> = text.lines().collect();
    let n = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    let spans: Vec<&Span> = traces.traces.iter().flat_map(|it| &it.spans).collect();
    let is_task = |span: &&&Span| crate::text(&span.attributes, "asyncio.task.id").is_some();
    prop_assert_eq!(n("── (T) "), spans.iter().filter(is_task).count());
    let is_bad = |span: &&&Span| span.error.is_some();
    prop_assert_eq!(n("   error: "), spans.iter().filter(is_bad).count());
    let n_parts = n("… goes on at [");
    prop_assert_eq!(n("] below "), n_parts);
    prop_assert_eq!(n("── ") - n_parts, spans.len());
    let bad = |c: char| c != '\n' && c.is_control();
    prop_assert!(!text.contains(bad));
    Ok(())
}

fn times(graph: &TaskGraph, ages: &[(u64, u64)]) -> TaskTimes {
    let age = |at: usize| ages.get(at % ages.len().max(1)).copied().unwrap_or((0, 0));
    let seconds = Duration::from_secs;
    let ages = (0..graph.tasks().len()).map(|at| {
        let (task, frame) = age(at);
        let frames = vec![(1, seconds(frame)), (3, seconds(frame / 2))];
        (seconds(task), frames)
    });
    TaskTimes::new(NOW, ages.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn traces_of_any_graph_are_sound(
        graph in graphs(Kinds { tasks_max: 40, names: false }),
        ages in prop::collection::vec((0_u64..1_000, 0_u64..2_000), 1..8),
        marked in prop::collection::vec(0_usize..40, 0..4),
        limits in (1_usize..6, 1_usize..60, 1_usize..30),
        seed: u128,
    ) {
        let cycles = find_cycles(&graph, 64);
        let times = times(&graph, &ages);
        let all = canonical(&graph);
        let mark = Mark { kind: FindingKind::StuckTask, fingerprint: Fingerprint(7) };
        let marks = marked.iter().filter_map(|at| Some((*all.get(*at)?, mark)));
        let facts = Facts::new((&graph, true), &cycles, marks, &times);
        let traces = traces_of(&facts, &ALL, seed);
        check(&traces, ALL)?;
        prop_assert_eq!(traces.n_roots_omitted, 0);
        check_printed(&traces)?;

        // Each task once, and each await: below the awaiter, or as a link.
        let tasks = tasks(&traces);
        prop_assert_eq!(tasks.len(), all.len());
        for at in &all {
            let (_, span) = tasks[&graph.task(*at).id.to_string()];
            let below = usize::from(span.parent.is_some());
            let omitted = number(&span.attributes, "asyncio.awaiters.omitted").unwrap_or(0);
            let awaiters = span.links.iter().filter(|it| text(&it.attributes, "asyncio.link") == Some("awaiter"));
            let omitted = usize::try_from(omitted).expect("few") + span.n_links_omitted;
            let told = below + awaiters.count() + omitted;
            // Of a task that is listed twice, edges are noted with either entry.
            if all.len() == graph.tasks().len() {
                prop_assert_eq!(told, graph.awaiters(*at).len());
            }
            let awaiters = span.links.iter().filter(|it| text(&it.attributes, "asyncio.link") == Some("awaiter"));
            for link in awaiters {
                let closes = flag(&link.attributes, "asyncio.link.closes_cycle");
                let awaiter = all.iter().find(|it| {
                    tasks[&graph.task(**it).id.to_string()].1.id == link.span
                });
                prop_assert!(awaiter.is_some_and(|awaiter| cycles.closes(*awaiter, *at) == closes));
            }
        }

        let (traces, spans, spans_per_trace) = limits;
        let limits = SpanLimits::alike(traces, spans, spans_per_trace);
        let cut = traces_of(&facts, &limits, seed);
        check(&cut, limits)?;
        check_printed(&cut)?;
        prop_assert_eq!(cut.traces.len() + cut.n_roots_omitted, cycles.entries().len());
    }
}

/// A tree as indented lines: name, its age in seconds, and what is special about it.
fn shown(trace: &Trace) -> String {
    let mut depths: BTreeMap<SpanId, usize> = BTreeMap::new();
    let mut out = String::new();
    for span in &trace.spans {
        let depth = span.parent.map_or(0, |parent| depths[&parent] + 1);
        depths.insert(span.id, depth);
        let age = span.end.since(span.start).as_secs();
        out += &format!("{}{} {age}s", "  ".repeat(depth), span.name);
        if let Some(name) = text(&span.attributes, "asyncio.task.name") {
            out += &format!(" task={name}");
        }
        for (key, short) in [
            ("asyncio.tasks.omitted", "omitted"),
            ("asyncio.frames.omitted", "frames"),
            ("asyncio.awaiters.omitted", "unknown awaiters"),
        ] {
            if let Some(number) = number(&span.attributes, key) {
                out += &format!(" {short}={number}");
            }
        }
        if let Some(awaiting) = text(&span.attributes, "asyncio.awaiting") {
            out += &format!(" awaiting={awaiting}");
        }
        if let Some(awaited) = text(&span.attributes, "asyncio.awaited.task.name") {
            out += &format!(" awaits={awaited}");
        }
        for link in &span.links {
            let closes = flag(&link.attributes, "asyncio.link.closes_cycle");
            out += match (text(&link.attributes, "asyncio.link"), closes) {
                (Some("awaiter"), true) => " <-closes",
                (Some("awaiter"), false) => " <-link",
                (_, true) => " ->closes",
                (_, false) => " ->link",
            };
        }
        if let Some(error) = &span.error {
            out += &format!(" ERROR {error}");
        }
        out.push('\n');
    }
    out
}

fn graph(text: &str) -> TaskGraph {
    parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn named(graph: &TaskGraph, name: &str) -> TaskIdx {
    let is_it = |at: &TaskIdx| graph.name(*at).is_some_and(|it| it.to_string() == name);
    canonical(graph)
        .into_iter()
        .find(is_it)
        .expect("it is there")
}

fn traces(graph: &TaskGraph, marks: &[(TaskIdx, Mark)], limits: SpanLimits) -> Traces {
    let cycles = find_cycles(graph, 64);
    let times = times(graph, &[(100, 40)]);
    let facts = Facts::new((graph, true), &cycles, marks.iter().copied(), &times);
    traces_of(&facts, &limits, 1)
}

#[test]
fn a_cycle_is_told_by_the_link_that_closes_it_and_by_its_members() {
    let graph = graph(
        "thread 7
         Task-1 suspended @ __aexit__ taskgroups.py:72, main app.py:30
         cyc-a suspended waits Task @ wait_for_other app.py:11
           <- Task-1
         cyc-b suspended waits Task @ wait_for_other app.py:12
           <- cyc-a
           <- Task-1
         cyc-a <- cyc-b
         other suspended waits Future @ sleep tasks.py:716, work app.py:20
           <- #0xdead :",
    );
    let mark = Mark {
        kind: FindingKind::AwaitCycle,
        fingerprint: Fingerprint(0xabc),
    };
    let marks = [
        (named(&graph, "cyc-a"), mark),
        (named(&graph, "cyc-b"), mark),
    ];
    let traces = traces(&graph, &marks, ALL);
    let shown: Vec<String> = traces.traces.iter().map(shown).collect();
    expect_test::expect![[r#"
        task main 100s task=Task-1
          main 40s
            __aexit__ 20s
              task wait_for_other 20s task=cyc-a <-closes ERROR in await cycle 0000000000000abc: awaits cyc-b, and can never go on
                wait_for_other 20s awaiting=Task awaits=cyc-b ->link
              task wait_for_other 20s task=cyc-b <-link ERROR in await cycle 0000000000000abc: awaits cyc-a, and can never go on
                wait_for_other 20s awaiting=Task awaits=cyc-a ->closes
        --
        task work 100s task=other unknown awaiters=1
          work 40s
            sleep 20s awaiting=Future
    "#]].assert_eq(&shown.join("--\n"));
}

#[test]
fn a_tree_that_is_too_large_keeps_what_leads_to_findings() {
    let mut text = String::from("thread 1\nroot @ main app.py:1\n");
    for child in 0..50 {
        text += &format!("child-{child} @ work app.py:2\n  <- root\n");
    }
    text += "deep @ lock app.py:3\n  <- child-49\n";
    let graph = graph(&text);
    let mark = Mark {
        kind: FindingKind::StuckTask,
        fingerprint: Fingerprint(0xabc),
    };
    let limits = SpanLimits::alike(5, 100, 12);
    let traces = traces(&graph, &[(named(&graph, "deep"), mark)], limits);
    expect_test::expect![[r#"
        task main 100s task=root
          main 40s
            (tasks left out) 40s omitted=47
            task work 40s task=child-0
              work 40s
            task work 40s task=child-1
              work 40s
            task work 40s task=child-49
              work 40s
                task lock 40s task=deep ERROR stuck (0000000000000abc): it has not moved for too long
                  lock 40s
    "#]]
    .assert_eq(&shown(&traces.traces[0]));
}

#[test]
fn traces_are_printed_with_what_a_view_of_them_would_list() {
    let mut text = String::from(
        "thread 7
         Task-1 suspended @ __aexit__ taskgroups.py:72, main app.py:30
         'a name' suspended waits Task @ wait_for_other app.py:11
           <- Task-1
         cyc-b suspended waits Task @ wait_for_other app.py:12
           <- 'a name'
           <- Task-1
         'a name' <- cyc-b
         work running @ work app.py:20
           <- #0xdead :\n",
    );
    text = text.replace('\'', "\"");
    for other in 0..3 {
        text += &format!("root-{other} @ serve app.py:2\n");
    }
    let graph = graph(&text);
    let mark = Mark {
        kind: FindingKind::AwaitCycle,
        fingerprint: Fingerprint(0xabc),
    };
    let marks = [
        (named(&graph, "a name"), mark),
        (named(&graph, "cyc-b"), mark),
    ];
    let limits = SpanLimits::alike(3, 100, 100);
    let traces = traces(&graph, &marks, limits);
    expect_test::expect![[r#"
        trace 0000000000000000beeb8da1658eec67: 7 spans, 3 tasks
        └── (T) task main  1m40s  name=Task-1  id=0x1000  state=suspended
            └── main app.py:30  40.0s
                └── __aexit__ taskgroups.py:72  20.0s
                    ├── (T) task wait_for_other  20.0s  name="a name"  id=0x1010  state=suspended  seen for 1m40s
                    │   │   error: in await cycle 0000000000000abc: awaits cyc-b, and can never go on
                    │   │   link: also awaited by cyc-b (0x1020)  ↻ closes an await cycle
                    │   └── wait_for_other app.py:11  20.0s  awaiting=Task
                    │           link: awaits cyc-b (0x1020)
                    └── (T) task wait_for_other  20.0s  name=cyc-b  id=0x1020  state=suspended  seen for 1m40s
                        │   error: in await cycle 0000000000000abc: awaits a name, and can never go on
                        │   link: also awaited by "a name" (0x1010)
                        └── wait_for_other app.py:12  20.0s  awaiting=Task
                                link: awaits "a name" (0x1010)  ↻ closes an await cycle
        trace 0000000000000000c34d0bff90150280: 2 spans, 1 task
        └── (T) task serve  1m40s  name=root-0  id=0x1040  state=pending
            └── serve app.py:2  40.0s
        trace 000000000000000085e7bb0f12278575: 2 spans, 1 task
        └── (T) task serve  1m40s  name=root-1  id=0x1050  state=pending
            └── serve app.py:2  40.0s
        … 2 more root tasks, left out with all below them
    "#]].assert_eq(&printed(&traces));
    let nothing = Traces::default();
    assert_eq!(printed(&nothing), "(no tasks)\n");
}

#[test]
fn what_is_awaited_is_told_where_the_link_to_it_is_gone() {
    let mut text = String::from("thread 7\nroot-0 @ serve app.py:1\nroot-1 @ serve app.py:2\n");
    text += "shared @ work app.py:3\n  <- root-0\n  <- root-1\n";
    let graph = graph(&text);
    let linked = printed(&traces(&graph, &[], ALL));
    assert!(linked.contains("link: awaits shared ("), "{linked}");
    assert!(!linked.contains("without a link"), "{linked}");
    let mut cut = traces(&graph, &[], ALL);
    for span in cut.traces.iter_mut().flat_map(|trace| &mut trace.spans) {
        span.links.clear();
    }
    let cut = printed(&cut);
    let told = cut
        .matches("awaits shared (0x1020), without a link to it")
        .count();
    assert_eq!(told, 1, "{cut}");
}

#[test]
fn a_long_chain_does_not_go_to_the_right_for_ever() {
    let mut text = String::from("thread 1\ntask-0 @ f app.py:1\n");
    for at in 1..200 {
        text += &format!("task-{at} @ f app.py:1\n  <- task-{}\n", at - 1);
    }
    let graph = graph(&text);
    let text = printed(&traces(&graph, &[], ALL));
    let longest = text.lines().map(|line| line.chars().count()).max();
    assert!(longest.is_some_and(|n| n < 300), "{longest:?}");
    assert!(text.contains("… goes on at [12]"), "{text}");
    assert_eq!(text.matches("(T) ").count(), 200);
}

#[test]
fn of_a_deep_stack_both_ends_are_shown() {
    let frames: Vec<String> = (0..200)
        .map(|at| format!("f{at} app.py:{}", at + 1))
        .collect();
    let graph = graph(&format!("thread 1\ndeep @ {}\n", frames.join(", ")));
    let traces = traces(&graph, &[], ALL);
    let lines = shown(&traces.traces[0]);
    let lines: Vec<&str> = lines.lines().map(str::trim).collect();
    assert_eq!(lines.len(), 66);
    assert_eq!((lines[1], lines[65]), ("f199 40s", "f0 0s"));
    assert_eq!(lines[33], "(frames left out) 0s frames=136");
}

/// A chain of tasks, the root first; of each two frames.
fn chain(n_tasks: usize) -> TaskGraph {
    let mut text = String::from("thread 1\ntask-0 @ f app.py:1, main app.py:2\n");
    for at in 1..n_tasks {
        let above = at - 1;
        text += &format!("task-{at} @ f app.py:1, g app.py:2\n  <- task-{above}\n");
    }
    graph(&text)
}

fn is_cut(traces: &Traces) -> bool {
    let mut spans = traces.traces.iter().flat_map(|it| &it.spans);
    traces.n_roots_omitted > 0
        || spans.any(|span| number(&span.attributes, "asyncio.tasks.omitted").is_some())
}

#[test]
fn what_fits_is_not_cut() {
    let graph = chain(600);
    for (room, fits) in [(1_800, true), (1_799, false)] {
        let traces = traces(&graph, &[], SpanLimits::alike(1, room, room));
        assert_eq!(is_cut(&traces), !fits);
        assert!(traces.n_spans() <= room && traces.n_spans() > room - 5);
    }
}

#[test]
fn a_root_that_is_too_large_is_cut_and_hides_nothing() {
    let frames: Vec<String> = (0..100)
        .map(|at| format!("f{at} app.py:{}", at + 1))
        .collect();
    let graph = graph(&format!(
        "thread 1\nsmall @ main app.py:1\nlarge @ {}\nworker @ f app.py:1\n  <- large\n",
        frames.join(", ")
    ));
    // As little as the configuration allows, and more.
    for spans_per_trace in [10, 11, 29, 100] {
        let limits = SpanLimits::alike(10, 1_000, spans_per_trace);
        let traces = traces(&graph, &[], limits);
        check(&traces, limits).expect("it is sound");
        assert_eq!((traces.traces.len(), traces.n_roots_omitted), (2, 0));
        let large = &traces.traces[1];
        assert!(large.spans.len() <= spans_per_trace && large.spans.len() >= 4);
        let count = |key| {
            large
                .spans
                .iter()
                .filter_map(|it| number(&it.attributes, key))
                .sum::<i64>()
        };
        let n_frames = large
            .spans
            .iter()
            .filter(|it| it.name.starts_with('f'))
            .count();
        // The other task has one frame, if it is there.
        let n_tasks = large
            .spans
            .iter()
            .filter(|it| it.name.starts_with("task "))
            .count();
        let all =
            n_frames + usize::try_from(count("asyncio.frames.omitted")).expect("not negative");
        assert_eq!(all, 100 + n_tasks - 1);
        assert_eq!(
            count("asyncio.tasks.omitted"),
            i64::try_from(2 - n_tasks).expect("one at most")
        );
    }
}

#[test]
fn of_the_way_to_a_finding_the_middle_is_left_out() {
    let graph = chain(1_000);
    let mark = Mark {
        kind: FindingKind::StuckTask,
        fingerprint: Fingerprint(0xabc),
    };
    let deepest = named(&graph, "task-999");
    for room in [10, 20, 200, 2_000] {
        let traces = traces(&graph, &[(deepest, mark)], SpanLimits::alike(1, room, room));
        check(&traces, SpanLimits::alike(1, room, room)).expect("it is sound");
        let trace = &traces.traces[0];
        assert!(trace.findings.contains(&mark.fingerprint), "{room}");
        let tasks = tasks(&traces);
        let (_, span) = tasks[&graph.task(deepest).id.to_string()];
        assert_eq!(
            text(&span.attributes, "asyncio.finding.fingerprint"),
            Some("0000000000000abc")
        );
        // What is next to both ends is there, and one span stands for the rest.
        let gaps = trace
            .spans
            .iter()
            .filter(|it| it.name == "(tasks left out)");
        assert_eq!(gaps.count(), 1);
        assert!(trace.spans.len() > room / 2 || room < 20);
    }
    let small = traces(&graph, &[(deepest, mark)], SpanLimits::alike(1, 20, 20));
    expect_test::expect![[r#"
        task main 100s task=task-0
          main 40s
            f 20s
              task g 20s task=task-1
                g 20s
                  f 20s
                    task g 20s task=task-2
                      g 20s
                        f 20s
                          (tasks left out) 20s omitted=994
                            task g 20s task=task-997
                              g 20s
                                f 20s
                                  task g 20s task=task-998
                                    g 20s
                                      f 20s
                                        task g 20s task=task-999 ERROR stuck (0000000000000abc): it has not moved for too long
                                          g 20s
                                            f 20s
    "#]].assert_eq(&shown(&small.traces[0]));
}

#[test]
fn who_also_awaits_a_task_says_which() {
    let graph = graph(
        "thread 7
         a @ main app.py:1
         shared @ work app.py:2
           <- a
         b waits Task @ wait app.py:3
         shared <- b",
    );
    let traces = traces(&graph, &[], ALL);
    let shown: Vec<String> = traces.traces.iter().map(shown).collect();
    expect_test::expect![[r#"
        task main 100s task=a
          main 40s
            task work 40s task=shared <-link
              work 40s
        --
        task wait 100s task=b
          wait 40s awaiting=Task awaits=shared ->link
    "#]]
    .assert_eq(&shown.join("--\n"));
}

#[test]
fn links_without_room_are_counted_and_not_called_unknown() {
    let mut text = String::from("thread 1\nshared @ work app.py:1\n");
    for at in 0..140 {
        text += &format!("w-{at} @ wait app.py:2\nshared <- w-{at}\n");
    }
    let graph = graph(&text);
    let traces = traces(&graph, &[], ALL);
    let tasks = tasks(&traces);
    let (_, shared) = tasks[&graph.task(named(&graph, "shared")).id.to_string()];
    assert_eq!((shared.links.len(), shared.n_links_omitted), (128, 11));
    assert_eq!(number(&shared.attributes, "asyncio.awaiters.omitted"), None);
    let printed = printed(&traces);
    assert!(printed.contains("links that there is no room for: 11"));
    assert!(!printed.contains("stands in no trace"));
}

#[test]
fn other_roots_are_sent_each_time() {
    let mut text = String::from("thread 1\n");
    for at in 0..20 {
        text += &format!("root-{at} @ serve app.py:2\n");
    }
    let graph = graph(&text);
    let cycles = find_cycles(&graph, 64);
    let times = times(&graph, &[(1, 1)]);
    let facts = Facts::new((&graph, true), &cycles, [], &times);
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let traces = traces_of(&facts, &SpanLimits::alike(2, 100, 100), seed);
        assert!(traces.cut_by.traces && !traces.cut_by.spans);
        seen.extend(tasks(&traces).into_keys());
    }
    assert_eq!(seen.len(), 20);
}

#[test]
fn what_is_to_be_told_has_room_that_other_trees_do_not_have() {
    let graph = graph("thread 1\na @ f a.py:1\nb @ f a.py:1\nc @ f a.py:1\nd @ f a.py:1\n");
    let cycles = find_cycles(&graph, 64);
    let times = times(&graph, &[(1, 1)]);
    let mark = |it| Mark {
        kind: FindingKind::StuckTask,
        fingerprint: Fingerprint(it),
    };
    let marks = [(named(&graph, "c"), mark(1)), (named(&graph, "d"), mark(2))];
    let facts = Facts::new((&graph, true), &cycles, marks, &times);
    let facts = facts.telling([Fingerprint(2)].into());
    let mut limits = SpanLimits::alike(3, 100, 100);
    limits.ordinary.traces = 0;
    let sent = traces_of(&facts, &limits, 1);
    assert_eq!(sent.traces.len(), 1);
    assert!(sent.traces[0].findings.contains(&Fingerprint(2)));
    limits.ordinary.traces = 3;
    assert_eq!(traces_of(&facts, &limits, 1).traces.len(), 3);
}
