//! What is left out when there would be too many series.

use super::{process, scan, target};
use crate::export::prometheus::PrometheusExporter;
use crate::metrics::{AgentView, ProcessView, RoundOutcome, TargetView};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A target with processes that have series of their own, and two whose processes have not.
fn three_targets() -> Vec<TargetView> {
    let processes = |pids: std::ops::Range<i32>| {
        let program = crate::metrics::ProgramView::default();
        let with_program = |pid| ProcessView {
            program: Some(Arc::new(program.clone())),
            ..process(pid, scan(9, RoundOutcome::Ok, Some([3, 1, 1])))
        };
        pids.map(with_program).collect()
    };
    let mut pool = target("pool", processes(1..21));
    pool.per_process = true;
    let (a, b) = (processes(21..22), processes(22..23));
    vec![pool, target("a", a), target("b", b)]
}

#[test]
fn too_many_series_are_left_out_by_what_matters_least() {
    let targets = three_targets();
    let series = |series_max| {
        let targets = targets.clone();
        let lines = without_comments_of(AgentView {
            targets,
            series_max,
            ..AgentView::default()
        });
        (lines.len(), lines)
    };
    let has = |lines: &[String], what: &str| lines.iter().any(|line| line.contains(what));
    let what = |lines: &[String]| {
        let marks = ["coroutine=", "_bucket", "asyncio_process_info", "pid="];
        marks.map(|mark| has(lines, mark))
    };
    let (all, lines) = series(0);
    assert_eq!(what(&lines), [true; 4]);
    let (n, lines) = series(all - 1);
    assert_eq!(what(&lines), [false, true, true, true]);
    let (n, lines) = series(n - 1);
    assert_eq!(what(&lines), [false, false, false, true]);
    let (n, lines) = series(n - 1);
    assert_eq!(what(&lines), [false; 4]);
    // The last target loses what matters least, and no more than it has to.
    let (n, lines) = series(n - 1);
    assert!(!has(
        &lines,
        "asyncio_agent_folded_coroutines{target=\"b\"}"
    ));
    assert!(has(&lines, "asyncio_agent_folded_coroutines{target=\"a\"}"));
    assert!(has(&lines, "asyncio_await_edges{target=\"b\"}"));
    let n_of = |lines: &[String], part: &str| lines.iter().filter(|it| it.contains(part)).count();
    let folded = lines
        .iter()
        .find_map(|line| line.strip_prefix("asyncio_agent_folded_series "));
    assert_eq!(folded, Some((all - n).to_string().as_str()));
    // Whatever the limit, of every target there is what matters most.
    let (n, lines) = series(1);
    for target in ["pool", "a", "b"] {
        for name in [
            "asyncio_await_cycle_detections_total",
            "asyncio_await_cycles",
            "asyncio_stuck_tasks",
            "asyncio_target_processes",
            "asyncio_target_unreadable_processes",
            "asyncio_target_up",
        ] {
            let series = format!("{name}{{target=\"{target}\"}}");
            assert!(has(&lines, &series), "{series}");
        }
    }
    assert_eq!(n_of(&lines, "target=\""), 3 * 6);
    // A limit between those two is kept to.
    for max in n..all {
        assert!(series(max).0 <= max, "{max}");
    }
}

#[test]
fn series_of_the_agents_own_process_count_too() {
    let shown = |series_max| {
        let view = Arc::new(AgentView {
            targets: three_targets(),
            series_max,
            ..AgentView::default()
        });
        let exporter = PrometheusExporter::new(move || Arc::clone(&view)).unwrap();
        exporter.show_process().unwrap();
        let text = exporter.scrape().unwrap();
        let shown = text.lines().filter(|line| !line.starts_with('#')).count();
        let is_cut = !text.contains("\nasyncio_agent_folded_series 0\n");
        assert_eq!(exporter.n_cut().load(Ordering::Relaxed), u64::from(is_cut));
        shown
    };
    let all = shown(0);
    for max in [all, all - 1, all - 20] {
        assert!(shown(max) <= max, "{max}");
    }
    assert_eq!(shown(all), all);
}

fn without_comments_of(view: AgentView) -> Vec<String> {
    let view = Arc::new(view);
    let exporter = PrometheusExporter::new(move || Arc::clone(&view)).unwrap();
    let text = exporter.scrape().unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}
