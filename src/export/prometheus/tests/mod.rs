//! What the classic format looks like, as golden texts.

mod bounds;

use super::*;
use crate::analysis::{Observation, Summary};
use crate::ids::{Pid, ProcessId, StartTime};
use crate::metrics::{BuildInfo, ProcessView, RoundOutcome, Scan, ScanCounts, TargetView, Top};
use crate::time::Timestamp;
use expect_test::expect;
use std::time::Duration;

fn text(targets: Vec<TargetView>, problems: &[(&str, u64)]) -> String {
    let (version, revision) = ("1.2.3", "abc");
    let (tasks, waits, stuck) = (2, 1, 1);
    let problems = problems.iter();
    let problems = problems.map(|(code, count)| ((*code).to_owned(), *count));
    let view = Arc::new(AgentView {
        build: BuildInfo { version, revision },
        targets,
        problems: problems.collect(),
        top: Top {
            tasks,
            waits,
            stuck,
        },
        ..AgentView::default()
    });
    let exporter = PrometheusExporter::new(move || Arc::clone(&view));
    exporter.unwrap().scrape().unwrap()
}

fn process(pid: i32, latest: Option<Scan>) -> ProcessView {
    let (pid, start) = (Pid::new(pid).unwrap(), StartTime(1));
    ProcessView {
        latest,
        ..ProcessView::new(ProcessId { pid, start })
    }
}

fn scan(at: u64, outcome: RoundOutcome, figures: Option<[u64; 3]>) -> Option<Scan> {
    Some(Scan {
        at: Timestamp::new(Duration::from_secs(at)),
        took: Duration::from_millis(at),
        outcome,
        summary: figures.map(
            |[n_pending_tasks, await_depth_max, n_await_cycles]| Summary {
                n_pending_tasks,
                await_depth_max,
                n_await_cycles,
                ..Summary::default()
            },
        ),
        observation: figures.map(|[_, _, n_cycles]| {
            Arc::new(Observation {
                n_cycles,
                ..Observation::default()
            })
        }),
        ..Scan::default()
    })
}

fn target(name: &str, processes: Vec<ProcessView>) -> TargetView {
    let mut scans = ScanCounts::default();
    for scan in processes.iter().filter_map(|it| it.latest.as_ref()) {
        scans.add(scan.outcome);
    }
    TargetView {
        name: name.into(),
        processes: processes.into_iter().map(Arc::new).collect(),
        scans,
        ..TargetView::default()
    }
}

/// The text without the series of problems that were not met, and of requests that were not made.
fn without_unmet(text: &str) -> String {
    let is_any = |line: &str| ["{code=", "{signal="].iter().any(|it| line.contains(it));
    let is_unmet = |line: &&str| is_any(line) && line.ends_with("\"} 0");
    let lines = text.lines().filter(|line| !is_unmet(line));
    lines.map(|line| format!("{line}\n")).collect()
}

fn without_comments(text: &str) -> String {
    let text = without_unmet(text);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "they are those of one text")]
fn nothing_but_the_agent_without_targets() {
    expect![[r##"
        # HELP asyncio_agent_build_info The agent's version; always 1.
        # TYPE asyncio_agent_build_info gauge
        asyncio_agent_build_info{version="1.2.3",revision="abc"} 1
        # HELP asyncio_agent_bytes_read_total Bytes copied from the memory of processes.
        # TYPE asyncio_agent_bytes_read_total counter
        asyncio_agent_bytes_read_total 0
        # HELP asyncio_agent_config_last_reload_success_timestamp_seconds When the configuration was loaded that the agent runs with, in seconds since 1970.
        # TYPE asyncio_agent_config_last_reload_success_timestamp_seconds gauge
        asyncio_agent_config_last_reload_success_timestamp_seconds 0
        # HELP asyncio_agent_config_last_reload_successful 1 if the latest attempt to load the configuration succeeded, 0 if the agent goes on with the one before.
        # TYPE asyncio_agent_config_last_reload_successful gauge
        asyncio_agent_config_last_reload_successful 1
        # HELP asyncio_agent_folded_series Series that are left out now because there would be more than limits.series: by coroutine first, then depths by size and infos, then by process, then what matters least of the last targets; never cycles, stuck tasks and whether a target can be read.
        # TYPE asyncio_agent_folded_series gauge
        asyncio_agent_folded_series 0
        # HELP asyncio_agent_hidden_processes Processes of which it cannot be found out whether they belong to a target, because the agent may not look at them: a rule depends on their executable, or on whether they use asyncio. As of the latest look at the list of processes.
        # TYPE asyncio_agent_hidden_processes gauge
        asyncio_agent_hidden_processes 0
        # HELP asyncio_agent_limit_hits_total How often a limit was reached: something was left out, put off or added up. traces_per_minute and spans_per_minute are keys of exporters.otlp.spans in the configuration, the others without _max keys of limits; probes_hanging, rounds_hanging and those with _max are built in, threads is what the system allows the agent. series counts answers.
        # TYPE asyncio_agent_limit_hits_total counter
        asyncio_agent_limit_hits_total{limit="awaiters_per_task_max"} 0
        asyncio_agent_limit_hits_total{limit="cpu_share"} 0
        asyncio_agent_limit_hits_total{limit="decoded_bytes_max"} 0
        asyncio_agent_limit_hits_total{limit="frames_per_task_max"} 0
        asyncio_agent_limit_hits_total{limit="interpreters_max"} 0
        asyncio_agent_limit_hits_total{limit="probes_hanging"} 0
        asyncio_agent_limit_hits_total{limit="processes"} 0
        asyncio_agent_limit_hits_total{limit="rounds_hanging"} 0
        asyncio_agent_limit_hits_total{limit="scan_bytes"} 0
        asyncio_agent_limit_hits_total{limit="scan_time"} 0
        asyncio_agent_limit_hits_total{limit="series"} 0
        asyncio_agent_limit_hits_total{limit="set_slots_max"} 0
        asyncio_agent_limit_hits_total{limit="spans_per_minute"} 0
        asyncio_agent_limit_hits_total{limit="target_names"} 0
        asyncio_agent_limit_hits_total{limit="tasks"} 0
        asyncio_agent_limit_hits_total{limit="tasks_per_process"} 0
        asyncio_agent_limit_hits_total{limit="threads"} 0
        asyncio_agent_limit_hits_total{limit="threads_max"} 0
        asyncio_agent_limit_hits_total{limit="traces_per_minute"} 0
        asyncio_agent_limit_hits_total{limit="work_max"} 0
        # HELP asyncio_agent_log_lines_lost_total Lines of the agent's log that were lost, because whoever takes them did not take them in time or they could not be written, as of the latest round.
        # TYPE asyncio_agent_log_lines_lost_total counter
        asyncio_agent_log_lines_lost_total 0
        # HELP asyncio_agent_otlp_dropped_spans_total Spans that the receiver of OTLP has not got: too many waited (queue_full), or they took too much memory (queue_bytes), it refused them for good (refused), or they were left when the agent ended (failed).
        # TYPE asyncio_agent_otlp_dropped_spans_total counter
        asyncio_agent_otlp_dropped_spans_total{reason="failed"} 0
        asyncio_agent_otlp_dropped_spans_total{reason="queue_bytes"} 0
        asyncio_agent_otlp_dropped_spans_total{reason="queue_full"} 0
        asyncio_agent_otlp_dropped_spans_total{reason="refused"} 0
        # HELP asyncio_agent_otlp_exports_total Requests over OTLP, as of the latest round: what was sent, and whether the receiver took it, or a part of it.
        # TYPE asyncio_agent_otlp_exports_total counter
        asyncio_agent_otlp_exports_total{signal="metrics",result="failed"} 0
        asyncio_agent_otlp_exports_total{signal="metrics",result="ok"} 0
        asyncio_agent_otlp_exports_total{signal="metrics",result="partial"} 0
        asyncio_agent_otlp_exports_total{signal="traces",result="failed"} 0
        asyncio_agent_otlp_exports_total{signal="traces",result="ok"} 0
        asyncio_agent_otlp_exports_total{signal="traces",result="partial"} 0
        # HELP asyncio_agent_otlp_spans_total Spans that the receiver of OTLP took, as of the latest round.
        # TYPE asyncio_agent_otlp_spans_total counter
        asyncio_agent_otlp_spans_total 0
        # HELP asyncio_agent_privileged Whether the agent can read processes of all users: it has CAP_SYS_PTRACE, which counts for all processes that it sees. Others may be missing among the targets and say nothing of it. As of the start of the agent.
        # TYPE asyncio_agent_privileged gauge
        asyncio_agent_privileged 1
        # HELP asyncio_agent_scan_problems_total Problems met in rounds: parts of a snapshot that could not be read, and rounds that failed.
        # TYPE asyncio_agent_scan_problems_total counter
        asyncio_agent_scan_problems_total{code="already_traced"} 0
        asyncio_agent_scan_problems_total{code="awaiter_unreadable"} 0
        asyncio_agent_scan_problems_total{code="bad_offsets"} 0
        asyncio_agent_scan_problems_total{code="edge_unsettled"} 0
        asyncio_agent_scan_problems_total{code="field_out_of_bounds"} 0
        asyncio_agent_scan_problems_total{code="freeze_denied"} 0
        asyncio_agent_scan_problems_total{code="implausible_value"} 0
        asyncio_agent_scan_problems_total{code="limit_hit"} 0
        asyncio_agent_scan_problems_total{code="list_torn"} 0
        asyncio_agent_scan_problems_total{code="memory_unmapped"} 0
        asyncio_agent_scan_problems_total{code="no_asyncio"} 0
        asyncio_agent_scan_problems_total{code="not_python"} 0
        asyncio_agent_scan_problems_total{code="not_started"} 0
        asyncio_agent_scan_problems_total{code="other"} 0
        asyncio_agent_scan_problems_total{code="other_pid_namespace"} 0
        asyncio_agent_scan_problems_total{code="panicked"} 0
        asyncio_agent_scan_problems_total{code="pause_limit"} 0
        asyncio_agent_scan_problems_total{code="permission_denied"} 0
        asyncio_agent_scan_problems_total{code="process_gone"} 0
        asyncio_agent_scan_problems_total{code="process_not_found"} 0
        asyncio_agent_scan_problems_total{code="read_failed"} 0
        asyncio_agent_scan_problems_total{code="stack_unsettled"} 0
        asyncio_agent_scan_problems_total{code="unsupported_python"} 0
    "##]]
    .assert_eq(&text(vec![], &[]));
}

#[test]
fn a_target_without_processes_is_down_and_has_no_tasks() {
    let text = text(vec![target("idle", vec![])], &[]);
    expect![[r#"
        asyncio_agent_build_info{version="1.2.3",revision="abc"} 1
        asyncio_agent_bytes_read_total 0
        asyncio_agent_config_last_reload_success_timestamp_seconds 0
        asyncio_agent_config_last_reload_successful 1
        asyncio_agent_folded_coroutines{target="idle"} 0
        asyncio_agent_folded_series 0
        asyncio_agent_hidden_processes 0
        asyncio_agent_limit_hits_total{limit="awaiters_per_task_max"} 0
        asyncio_agent_limit_hits_total{limit="cpu_share"} 0
        asyncio_agent_limit_hits_total{limit="decoded_bytes_max"} 0
        asyncio_agent_limit_hits_total{limit="frames_per_task_max"} 0
        asyncio_agent_limit_hits_total{limit="interpreters_max"} 0
        asyncio_agent_limit_hits_total{limit="probes_hanging"} 0
        asyncio_agent_limit_hits_total{limit="processes"} 0
        asyncio_agent_limit_hits_total{limit="rounds_hanging"} 0
        asyncio_agent_limit_hits_total{limit="scan_bytes"} 0
        asyncio_agent_limit_hits_total{limit="scan_time"} 0
        asyncio_agent_limit_hits_total{limit="series"} 0
        asyncio_agent_limit_hits_total{limit="set_slots_max"} 0
        asyncio_agent_limit_hits_total{limit="spans_per_minute"} 0
        asyncio_agent_limit_hits_total{limit="target_names"} 0
        asyncio_agent_limit_hits_total{limit="tasks"} 0
        asyncio_agent_limit_hits_total{limit="tasks_per_process"} 0
        asyncio_agent_limit_hits_total{limit="threads"} 0
        asyncio_agent_limit_hits_total{limit="threads_max"} 0
        asyncio_agent_limit_hits_total{limit="traces_per_minute"} 0
        asyncio_agent_limit_hits_total{limit="work_max"} 0
        asyncio_agent_log_lines_lost_total 0
        asyncio_agent_otlp_dropped_spans_total{reason="failed"} 0
        asyncio_agent_otlp_dropped_spans_total{reason="queue_bytes"} 0
        asyncio_agent_otlp_dropped_spans_total{reason="queue_full"} 0
        asyncio_agent_otlp_dropped_spans_total{reason="refused"} 0
        asyncio_agent_otlp_spans_total 0
        asyncio_agent_privileged 1
        asyncio_agent_scans_hanging{target="idle"} 0
        asyncio_agent_scans_total{target="idle",result="failed"} 0
        asyncio_agent_scans_total{target="idle",result="gone"} 0
        asyncio_agent_scans_total{target="idle",result="ok"} 0
        asyncio_agent_scans_total{target="idle",result="panicked"} 0
        asyncio_agent_scans_total{target="idle",result="partial"} 0
        asyncio_agent_scans_total{target="idle",result="unsuitable"} 0
        asyncio_await_cycle_detections_total{target="idle"} 0
        asyncio_target_processes{target="idle"} 0
        asyncio_target_unreadable_processes{target="idle"} 0
        asyncio_target_up{target="idle"} 0
        asyncio_tasks_finished_total{target="idle"} 0
        asyncio_tasks_started_total{target="idle"} 0
    "#]]
    .assert_eq(&without_comments(&text));
}

#[test]
#[expect(clippy::too_many_lines, reason = "most are the text compared with")]
fn processes_of_a_target_are_added_up() {
    let web = target(
        "web",
        vec![
            process(1, scan(100, RoundOutcome::Ok, Some([5, 3, 0]))),
            process(2, scan(90, RoundOutcome::Partial, Some([7, 2, 1]))),
            process(3, scan(110, RoundOutcome::Unsuitable, None)),
            process(4, None),
        ],
    );
    let failing = target(
        "failing",
        vec![
            process(5, scan(100, RoundOutcome::Ok, Some([1, 1, 0]))),
            process(6, scan(100, RoundOutcome::Failed, None)),
        ],
    );
    let problems = [("permission_denied", 1), ("stack_unsettled", 2)];
    let text = text(vec![web, failing], &problems);
    expect![[r##"
        # HELP asyncio_agent_build_info The agent's version; always 1.
        # TYPE asyncio_agent_build_info gauge
        asyncio_agent_build_info{version="1.2.3",revision="abc"} 1
        # HELP asyncio_agent_bytes_read_total Bytes copied from the memory of processes.
        # TYPE asyncio_agent_bytes_read_total counter
        asyncio_agent_bytes_read_total 0
        # HELP asyncio_agent_config_last_reload_success_timestamp_seconds When the configuration was loaded that the agent runs with, in seconds since 1970.
        # TYPE asyncio_agent_config_last_reload_success_timestamp_seconds gauge
        asyncio_agent_config_last_reload_success_timestamp_seconds 0
        # HELP asyncio_agent_config_last_reload_successful 1 if the latest attempt to load the configuration succeeded, 0 if the agent goes on with the one before.
        # TYPE asyncio_agent_config_last_reload_successful gauge
        asyncio_agent_config_last_reload_successful 1
        # HELP asyncio_agent_folded_coroutines Coroutines of the target that have no series of their own in asyncio_tasks_by_coroutine but are counted as other, as of the latest rounds.
        # TYPE asyncio_agent_folded_coroutines gauge
        asyncio_agent_folded_coroutines{target="failing"} 0
        asyncio_agent_folded_coroutines{target="web"} 0
        # HELP asyncio_agent_folded_series Series that are left out now because there would be more than limits.series: by coroutine first, then depths by size and infos, then by process, then what matters least of the last targets; never cycles, stuck tasks and whether a target can be read.
        # TYPE asyncio_agent_folded_series gauge
        asyncio_agent_folded_series 0
        # HELP asyncio_agent_hidden_processes Processes of which it cannot be found out whether they belong to a target, because the agent may not look at them: a rule depends on their executable, or on whether they use asyncio. As of the latest look at the list of processes.
        # TYPE asyncio_agent_hidden_processes gauge
        asyncio_agent_hidden_processes 0
        # HELP asyncio_agent_limit_hits_total How often a limit was reached: something was left out, put off or added up. traces_per_minute and spans_per_minute are keys of exporters.otlp.spans in the configuration, the others without _max keys of limits; probes_hanging, rounds_hanging and those with _max are built in, threads is what the system allows the agent. series counts answers.
        # TYPE asyncio_agent_limit_hits_total counter
        asyncio_agent_limit_hits_total{limit="awaiters_per_task_max"} 0
        asyncio_agent_limit_hits_total{limit="cpu_share"} 0
        asyncio_agent_limit_hits_total{limit="decoded_bytes_max"} 0
        asyncio_agent_limit_hits_total{limit="frames_per_task_max"} 0
        asyncio_agent_limit_hits_total{limit="interpreters_max"} 0
        asyncio_agent_limit_hits_total{limit="probes_hanging"} 0
        asyncio_agent_limit_hits_total{limit="processes"} 0
        asyncio_agent_limit_hits_total{limit="rounds_hanging"} 0
        asyncio_agent_limit_hits_total{limit="scan_bytes"} 0
        asyncio_agent_limit_hits_total{limit="scan_time"} 0
        asyncio_agent_limit_hits_total{limit="series"} 0
        asyncio_agent_limit_hits_total{limit="set_slots_max"} 0
        asyncio_agent_limit_hits_total{limit="spans_per_minute"} 0
        asyncio_agent_limit_hits_total{limit="target_names"} 0
        asyncio_agent_limit_hits_total{limit="tasks"} 0
        asyncio_agent_limit_hits_total{limit="tasks_per_process"} 0
        asyncio_agent_limit_hits_total{limit="threads"} 0
        asyncio_agent_limit_hits_total{limit="threads_max"} 0
        asyncio_agent_limit_hits_total{limit="traces_per_minute"} 0
        asyncio_agent_limit_hits_total{limit="work_max"} 0
        # HELP asyncio_agent_log_lines_lost_total Lines of the agent's log that were lost, because whoever takes them did not take them in time or they could not be written, as of the latest round.
        # TYPE asyncio_agent_log_lines_lost_total counter
        asyncio_agent_log_lines_lost_total 0
        # HELP asyncio_agent_otlp_dropped_spans_total Spans that the receiver of OTLP has not got: too many waited (queue_full), or they took too much memory (queue_bytes), it refused them for good (refused), or they were left when the agent ended (failed).
        # TYPE asyncio_agent_otlp_dropped_spans_total counter
        asyncio_agent_otlp_dropped_spans_total{reason="failed"} 0
        asyncio_agent_otlp_dropped_spans_total{reason="queue_bytes"} 0
        asyncio_agent_otlp_dropped_spans_total{reason="queue_full"} 0
        asyncio_agent_otlp_dropped_spans_total{reason="refused"} 0
        # HELP asyncio_agent_otlp_exports_total Requests over OTLP, as of the latest round: what was sent, and whether the receiver took it, or a part of it.
        # TYPE asyncio_agent_otlp_exports_total counter
        # HELP asyncio_agent_otlp_spans_total Spans that the receiver of OTLP took, as of the latest round.
        # TYPE asyncio_agent_otlp_spans_total counter
        asyncio_agent_otlp_spans_total 0
        # HELP asyncio_agent_privileged Whether the agent can read processes of all users: it has CAP_SYS_PTRACE, which counts for all processes that it sees. Others may be missing among the targets and say nothing of it. As of the start of the agent.
        # TYPE asyncio_agent_privileged gauge
        asyncio_agent_privileged 1
        # HELP asyncio_agent_scan_duration_seconds Time that the latest round took over the slowest process of the target.
        # TYPE asyncio_agent_scan_duration_seconds gauge
        asyncio_agent_scan_duration_seconds{target="failing"} 0.1
        asyncio_agent_scan_duration_seconds{target="web"} 0.11
        # HELP asyncio_agent_scan_problems_total Problems met in rounds: parts of a snapshot that could not be read, and rounds that failed.
        # TYPE asyncio_agent_scan_problems_total counter
        asyncio_agent_scan_problems_total{code="permission_denied"} 1
        asyncio_agent_scan_problems_total{code="stack_unsettled"} 2
        # HELP asyncio_agent_scans_hanging Rounds over processes of the target that hang: they run, for more than 5 seconds already.
        # TYPE asyncio_agent_scans_hanging gauge
        asyncio_agent_scans_hanging{target="failing"} 0
        asyncio_agent_scans_hanging{target="web"} 0
        # HELP asyncio_agent_scans_total Rounds over processes of the target, by result: ok (all was read), partial (read with problems), unsuitable (no Python with asyncio in it), failed, gone (the process ended) or panicked.
        # TYPE asyncio_agent_scans_total counter
        asyncio_agent_scans_total{target="failing",result="failed"} 1
        asyncio_agent_scans_total{target="failing",result="gone"} 0
        asyncio_agent_scans_total{target="failing",result="ok"} 1
        asyncio_agent_scans_total{target="failing",result="panicked"} 0
        asyncio_agent_scans_total{target="failing",result="partial"} 0
        asyncio_agent_scans_total{target="failing",result="unsuitable"} 0
        asyncio_agent_scans_total{target="web",result="failed"} 0
        asyncio_agent_scans_total{target="web",result="gone"} 0
        asyncio_agent_scans_total{target="web",result="ok"} 1
        asyncio_agent_scans_total{target="web",result="panicked"} 0
        asyncio_agent_scans_total{target="web",result="partial"} 1
        asyncio_agent_scans_total{target="web",result="unsuitable"} 1
        # HELP asyncio_await_cycle_detections_total Await cycles that were confirmed since the agent started: seen in as many snapshots in a row as the configuration wants.
        # TYPE asyncio_await_cycle_detections_total counter
        asyncio_await_cycle_detections_total{target="failing"} 0
        asyncio_await_cycle_detections_total{target="web"} 0
        # HELP asyncio_await_cycle_tasks Tasks on confirmed await cycles, as the latest round over each process of the target saw them; absent while no process can be read.
        # TYPE asyncio_await_cycle_tasks gauge
        asyncio_await_cycle_tasks{target="failing"} 0
        asyncio_await_cycle_tasks{target="web"} 0
        # HELP asyncio_await_cycles Confirmed cycles of tasks that await each other and can never go on, as the latest round over each process of the target saw them, at most 64 of each process; one that a partial snapshot lacks counts until a complete one does. Absent while no process can be read.
        # TYPE asyncio_await_cycles gauge
        asyncio_await_cycles{target="failing"} 0
        asyncio_await_cycles{target="web"} 1
        # HELP asyncio_await_depth Tasks by their depth now, as the latest round over each process saw them: the number of tasks on the longest chain of awaiters that ends with the task, itself included.
        # TYPE asyncio_await_depth histogram
        asyncio_await_depth_bucket{target="failing",le="1"} 0
        asyncio_await_depth_bucket{target="failing",le="2"} 0
        asyncio_await_depth_bucket{target="failing",le="3"} 0
        asyncio_await_depth_bucket{target="failing",le="4"} 0
        asyncio_await_depth_bucket{target="failing",le="5"} 0
        asyncio_await_depth_bucket{target="failing",le="7"} 0
        asyncio_await_depth_bucket{target="failing",le="10"} 0
        asyncio_await_depth_bucket{target="failing",le="15"} 0
        asyncio_await_depth_bucket{target="failing",le="25"} 0
        asyncio_await_depth_bucket{target="failing",le="50"} 0
        asyncio_await_depth_bucket{target="failing",le="100"} 0
        asyncio_await_depth_bucket{target="failing",le="1000"} 0
        asyncio_await_depth_bucket{target="failing",le="+Inf"} 0
        asyncio_await_depth_sum{target="failing"} 0
        asyncio_await_depth_count{target="failing"} 0
        asyncio_await_depth_bucket{target="web",le="1"} 0
        asyncio_await_depth_bucket{target="web",le="2"} 0
        asyncio_await_depth_bucket{target="web",le="3"} 0
        asyncio_await_depth_bucket{target="web",le="4"} 0
        asyncio_await_depth_bucket{target="web",le="5"} 0
        asyncio_await_depth_bucket{target="web",le="7"} 0
        asyncio_await_depth_bucket{target="web",le="10"} 0
        asyncio_await_depth_bucket{target="web",le="15"} 0
        asyncio_await_depth_bucket{target="web",le="25"} 0
        asyncio_await_depth_bucket{target="web",le="50"} 0
        asyncio_await_depth_bucket{target="web",le="100"} 0
        asyncio_await_depth_bucket{target="web",le="1000"} 0
        asyncio_await_depth_bucket{target="web",le="+Inf"} 0
        asyncio_await_depth_sum{target="web"} 0
        asyncio_await_depth_count{target="web"} 0
        # HELP asyncio_await_depth_max Tasks on the longest chain of tasks that await each other (members of a cycle count as one), as the latest round over each process of the target saw them; absent while no process can be read.
        # TYPE asyncio_await_depth_max gauge
        asyncio_await_depth_max{target="failing"} 1
        asyncio_await_depth_max{target="web"} 3
        # HELP asyncio_await_edges Edges from a task to one that awaits it, as the latest round over each process saw them; absent while no process can be read.
        # TYPE asyncio_await_edges gauge
        asyncio_await_edges{target="failing"} 0
        asyncio_await_edges{target="web"} 0
        # HELP asyncio_event_loops Threads that run an event loop or have tasks, as the latest round over each process saw them; absent while no process can be read.
        # TYPE asyncio_event_loops gauge
        asyncio_event_loops{target="failing"} 0
        asyncio_event_loops{target="web"} 0
        # HELP asyncio_idle_tasks Tasks that have waited at the same place for longer than analysis.stuck.after and are not stuck, because they wait where analysis.stuck.idle or exclude says that this may take long, or the program has set a timer that ends the wait; as of the latest rounds, absent while no process can be read.
        # TYPE asyncio_idle_tasks gauge
        asyncio_idle_tasks{target="failing"} 0
        asyncio_idle_tasks{target="web"} 0
        # HELP asyncio_pending_tasks Tasks that are not done, in all processes of the target together, as the latest round over each saw them, those included for which limits.tasks_per_process or limits.tasks leaves no room; absent while no process can be read.
        # TYPE asyncio_pending_tasks gauge
        asyncio_pending_tasks{target="failing"} 1
        asyncio_pending_tasks{target="web"} 12
        # HELP asyncio_root_tasks Tasks that no other task awaits, as the latest round over each process saw them; absent while no process can be read.
        # TYPE asyncio_root_tasks gauge
        asyncio_root_tasks{target="failing"} 0
        asyncio_root_tasks{target="web"} 0
        # HELP asyncio_running_tasks Tasks that were being executed at the moment of the latest round over their process; absent while no process can be read.
        # TYPE asyncio_running_tasks gauge
        asyncio_running_tasks{target="failing"} 0
        asyncio_running_tasks{target="web"} 0
        # HELP asyncio_snapshot_coverage_ratio Of the tasks of the processes that could be read, the share that the latest rounds did read; 1 if none is known to be missing. Those for which a limit left no room or time are counted and missing. If a list of tasks, of threads or of interpreters could not be followed to its end, by a limit or otherwise, nobody knows how many are missing: as many of that process count as were read, so that it is 0.5 at most. Tasks that ended meanwhile are not counted.
        # TYPE asyncio_snapshot_coverage_ratio gauge
        asyncio_snapshot_coverage_ratio{target="failing"} 1
        asyncio_snapshot_coverage_ratio{target="web"} 1
        # HELP asyncio_snapshot_timestamp_seconds When the oldest of the snapshots was taken that the numbers of the target rest on, in seconds since 1970.
        # TYPE asyncio_snapshot_timestamp_seconds gauge
        asyncio_snapshot_timestamp_seconds{target="failing"} 100
        asyncio_snapshot_timestamp_seconds{target="web"} 90
        # HELP asyncio_stuck_tasks Tasks that have waited at the same place for longer than analysis.stuck.after, those left out that await other tasks, sleep, have no thread any more, or are idle (asyncio_idle_tasks); as of the latest rounds (one that a partial snapshot lacks counts until a complete one does), absent while no process can be read.
        # TYPE asyncio_stuck_tasks gauge
        asyncio_stuck_tasks{target="failing"} 0
        asyncio_stuck_tasks{target="web"} 0
        # HELP asyncio_stuck_tasks_by_coroutine Stuck tasks by the qualified name of their coroutine function, as of the latest rounds; other: those of all further ones.
        # TYPE asyncio_stuck_tasks_by_coroutine gauge
        asyncio_stuck_tasks_by_coroutine{target="failing",coroutine="other"} 0
        asyncio_stuck_tasks_by_coroutine{target="web",coroutine="other"} 0
        # HELP asyncio_target_processes Processes of the target that are watched: those that match it, without those for which limits.processes leaves no room. As of the latest look at the list of processes.
        # TYPE asyncio_target_processes gauge
        asyncio_target_processes{target="failing"} 2
        asyncio_target_processes{target="web"} 4
        # HELP asyncio_target_unreadable_processes Processes of the target that should be read and are not: the latest round failed on them, or a round hangs (runs for more than 5 seconds) or is overdue by more than 2 intervals (at least 5 seconds). Those without Python or without asyncio are not counted.
        # TYPE asyncio_target_unreadable_processes gauge
        asyncio_target_unreadable_processes{target="failing"} 1
        asyncio_target_unreadable_processes{target="web"} 0
        # HELP asyncio_target_up 1 if the latest round could read at least one process of the target and asyncio_target_unreadable_processes is 0, otherwise 0: also if it has no process, or none with Python and asyncio in it.
        # TYPE asyncio_target_up gauge
        asyncio_target_up{target="failing"} 0
        asyncio_target_up{target="web"} 1
        # HELP asyncio_task_wait_seconds_max The longest time for which a task has been seen waiting at the same place, members of a cycle that none of them can leave included, those left out that await other tasks otherwise, sleep, have no thread any more, or have reason to wait (analysis.stuck.idle, exclude); as of the latest rounds, absent while no process can be read.
        # TYPE asyncio_task_wait_seconds_max gauge
        asyncio_task_wait_seconds_max{target="failing"} 0
        asyncio_task_wait_seconds_max{target="web"} 0
        # HELP asyncio_task_wait_seconds_max_by_coroutine The longest time for which a task of the coroutine function has been seen waiting at the same place, of the tasks that count in asyncio_task_wait_seconds_max, as of the latest rounds; other: a task of any further function.
        # TYPE asyncio_task_wait_seconds_max_by_coroutine gauge
        asyncio_task_wait_seconds_max_by_coroutine{target="failing",coroutine="other"} 0
        asyncio_task_wait_seconds_max_by_coroutine{target="web",coroutine="other"} 0
        # HELP asyncio_tasks_by_coroutine Tasks that are not done by the qualified name of their coroutine function, as of the latest rounds; other: those of all further ones.
        # TYPE asyncio_tasks_by_coroutine gauge
        asyncio_tasks_by_coroutine{target="failing",coroutine="other"} 0
        asyncio_tasks_by_coroutine{target="web",coroutine="other"} 0
        # HELP asyncio_tasks_finished_total Tasks that were in one snapshot and not in the next, since the agent started. Those that began and ended between two rounds were never seen.
        # TYPE asyncio_tasks_finished_total counter
        asyncio_tasks_finished_total{target="failing"} 0
        asyncio_tasks_finished_total{target="web"} 0
        # HELP asyncio_tasks_started_total Tasks that were not in the snapshot before, since the agent started. Those that began and ended between two rounds were never seen.
        # TYPE asyncio_tasks_started_total counter
        asyncio_tasks_started_total{target="failing"} 0
        asyncio_tasks_started_total{target="web"} 0
    "##]].assert_eq(&without_unmet(&text));
}

#[test]
fn a_target_with_a_process_that_is_late_is_down() {
    let read = || process(1, scan(100, RoundOutcome::Ok, Some([5, 3, 0])));
    let hanging = ProcessView {
        hangs: true,
        ..process(2, scan(90, RoundOutcome::Ok, Some([1, 1, 0])))
    };
    let overdue = ProcessView {
        is_overdue: true,
        failure: None,
        ..process(3, scan(90, RoundOutcome::Ok, Some([1, 1, 0])))
    };
    let targets = vec![
        target("fine", vec![read()]),
        target("hanging", vec![read(), hanging]),
        target("overdue", vec![read(), overdue]),
    ];
    let text = text(targets, &[]);
    let shown = text.lines().filter(|line| {
        line.starts_with("asyncio_target_up") || line.starts_with("asyncio_agent_scans_hanging")
    });
    let shown: Vec<&str> = shown.collect();
    expect![[r#"
        asyncio_agent_scans_hanging{target="fine"} 0
        asyncio_agent_scans_hanging{target="hanging"} 1
        asyncio_agent_scans_hanging{target="overdue"} 0
        asyncio_target_up{target="fine"} 1
        asyncio_target_up{target="hanging"} 0
        asyncio_target_up{target="overdue"} 0"#]]
    .assert_eq(&shown.join("\n"));
}

#[test]
fn every_code_of_the_tables_is_shown_before_it_is_met() {
    let document = include_str!("../../../../ARCHITECTURE.md");
    let (_, codes) = document.split_once("\n## Codes\n").unwrap();
    let (codes, _) = codes.split_once("\n## ").unwrap();
    let cells = codes.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: Vec<&str> = cells
        .flat_map(|line| line.split('|').next().unwrap().split(','))
        .map(|code| code.trim_matches([' ', '`']))
        .collect();
    assert!(documented.contains(&"limit_hit") && documented.contains(&"panicked"));
    let text = text(vec![], &[("list_torn", 3), ("unheard_of", 1)]);
    let value = |code: &str| {
        let series = format!("asyncio_agent_scan_problems_total{{code=\"{code}\"}} ");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&series));
        (lines.next().map(str::to_owned), lines.count())
    };
    for code in documented {
        let expected = if code == "list_torn" { "3" } else { "0" };
        assert_eq!(value(code), (Some(expected.to_owned()), 0), "{code}");
    }
    assert_eq!(value("unheard_of"), (Some("1".to_owned()), 0));
    assert!(crate::metrics::PROBLEM_CODES.is_sorted());
}

#[test]
fn names_are_escaped() {
    let names = ["\"", "\\", "a\nb", "中文 🎵", "{x=\"y\"} 1\n# HELP"];
    let targets = names.iter().map(|name| target(name, vec![])).collect();
    let text = text(targets, &[]);
    let up = text
        .lines()
        .filter(|line| line.starts_with("asyncio_target_up"));
    let up: Vec<&str> = up.collect();
    expect![[r#"
        asyncio_target_up{target="\""} 0
        asyncio_target_up{target="\\"} 0
        asyncio_target_up{target="a\nb"} 0
        asyncio_target_up{target="{x=\"y\"} 1\n# HELP"} 0
        asyncio_target_up{target="中文 🎵"} 0"#]]
    .assert_eq(&up.join("\n"));
}

#[test]
fn tasks_that_are_missing_lower_the_coverage() {
    let of = |unreadable: u64, is_cut: bool, n_tasks: u64| {
        let mut scan = scan(9, RoundOutcome::Partial, Some([n_tasks, 1, 0])).unwrap();
        (scan.tasks_unreadable, scan.is_cut) = (unreadable, is_cut);
        process(1, Some(scan))
    };
    let coverage = |processes: Vec<ProcessView>| {
        let text = text(vec![target("web", processes)], &[]);
        let series = "asyncio_snapshot_coverage_ratio{target=\"web\"} ";
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value.map(|value| value.parse::<f64>().unwrap())
    };
    assert_eq!(coverage(vec![of(0, false, 30)]), Some(1.0));
    assert_eq!(coverage(vec![of(10, false, 30)]), Some(0.75));
    // Nobody knows how many more there are.
    assert_eq!(coverage(vec![of(0, true, 30)]), Some(0.5));
    assert_eq!(coverage(vec![of(20, true, 30)]), Some(0.375));
    assert_eq!(
        coverage(vec![of(0, true, 30), of(0, false, 60)]),
        Some(0.75)
    );
    // It was cut before the first task.
    assert_eq!(coverage(vec![of(0, true, 0)]), Some(0.0));
}

#[test]
fn only_what_should_be_read_is_unreadable() {
    let of = |outcomes: &[RoundOutcome]| {
        let processes = outcomes.iter().map(|it| process(1, scan(9, *it, None)));
        let target = target("web", processes.collect());
        (target.is_up(), target.n_unreadable())
    };
    use RoundOutcome::{Failed, Ok, Panicked, Partial, Unsuitable};
    // No Python, or no asyncio in it: nothing is wrong, and nothing is known.
    assert_eq!(of(&[]), (false, 0));
    assert_eq!(of(&[Unsuitable, Unsuitable]), (false, 0));
    assert_eq!(of(&[Ok, Unsuitable, Partial]), (true, 0));
    assert_eq!(of(&[Ok, Failed, Panicked]), (false, 2));
    let mut late = process(1, scan(9, Unsuitable, None));
    late.is_overdue = true;
    let mut hangs = process(2, None);
    hangs.hangs = true;
    let target = target("web", vec![late, hangs, process(3, None)]);
    assert_eq!((target.is_up(), target.n_unreadable()), (false, 2));
}

#[test]
fn the_catalogue_is_in_order_and_follows_the_rules_of_prometheus() {
    assert!(CATALOG.is_sorted_by(|a, b| a.name < b.name));
    for def in CATALOG {
        assert!(def.name.starts_with("asyncio_"), "{}", def.name);
        let is_counter = def.kind == Kind::Counter;
        assert_eq!(def.name.ends_with("_total"), is_counter, "{}", def.name);
        assert!(def.help.ends_with('.'), "{}", def.name);
    }
    let shown = crate::metrics::collect(&AgentView::default());
    let names = shown.iter().map(|family| family.def.name);
    assert!(names.eq(CATALOG.iter().map(|def| def.name)));
}

#[test]
fn labels_from_a_process_hold_no_control_characters() {
    let mut target = TargetView {
        name: "a".into(),
        processes: vec![process(7, scan(1, RoundOutcome::Ok, Some([4, 1, 0]))).into()],
        ..TargetView::default()
    };
    let figures = crate::analysis::CoroutineFigures {
        n_tasks: 2,
        ..Default::default()
    };
    let names = ["f\x1b[31m\0", "f\\x1b[31m\\x00"].map(|name| (name.into(), figures));
    let process = Arc::make_mut(&mut target.processes[0]);
    process.latest.as_mut().unwrap().observation = Some(Arc::new(Observation {
        coroutines: crate::analysis::Coroutines {
            by_name: names.to_vec(),
            ..Default::default()
        },
        ..Observation::default()
    }));
    process.program = Some(Arc::new(crate::metrics::ProgramView {
        python_version: "3.14".to_owned(),
        executable: "/\x07python".to_owned(),
    }));
    let text = text(vec![target], &[]);
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'));
    // Two names that look the same are one series.
    let line = r#"asyncio_tasks_by_coroutine{target="a",coroutine="f\\x1b[31m\\x00"} 4"#;
    let escaped = r#"executable="/\\x07python""#;
    assert!(text.contains(line) && text.contains(escaped), "{text}");
}
