//! `/api/v1/…`: the targets and their processes, what was found, and the tasks of a process, read now.

use super::audit::Client;
use super::rules::WebRules;
use super::site::{Answer, JSON, Kind, Refusal, Site, TEXT, made, response, text};
use crate::agent::allowance::Size;
use crate::agent::answers::{findings, progress, targets};
use crate::agent::bounded::Bounded;
use crate::agent::reads::{Asker, Made, NotRead, ReadLimits};
use crate::agent::turnstile::A_SECOND_MAX;
use crate::graph::Snapshot;
use crate::ids::{Pid, ProcessId};
use crate::limits::Stop;
use crate::metrics::AgentView;
use crate::process::ProcessError;
use crate::protocol::{answer_to_json, write_snapshot};
use crate::render::{self, Style, View};
use crate::sanitize::{escape, escape_start};
use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

/// Lines of a table or a tree.
const LINES_MAX: u64 = 100_000;
/// Bytes of it. What it is made of takes as many again.
const TEXT_BYTES_MAX: usize = 48 << 20;
/// Targets that are named to who asks for one that there is not.
const NAMES_MAX: usize = 20;
/// Characters of each.
const NAME_CHARS: usize = 100;

/// What may be asked for.
#[derive(Debug)]
pub(super) enum Wanted {
    /// The targets, of which one may be named.
    Targets(Option<String>),
    /// What was found, likewise.
    Findings(Option<String>),
    /// The tasks of a process.
    Process(ProcessId, Shape),
}

/// How the tasks of a process are shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Snapshot,
    Ps,
    Pstree,
}

/// What the path after `/api/v1/` and the query ask for, if whoever asks may have it.
///
/// # Errors
///
/// What they are told otherwise.
pub(super) fn wanted(
    site: &Site,
    client: &Client,
    what: &str,
    query: Option<&str>,
) -> Result<Wanted, Refusal> {
    let parts: Vec<&str> = what.split('/').collect();
    let bad_query = |why| Err(Box::new(text(StatusCode::BAD_REQUEST, why)));
    let target = match (target_in(query.unwrap_or_default()), &parts[..]) {
        (Ok(target), ["targets" | "findings"]) => target,
        (Ok(None), _) => None,
        (Err(()), ["targets" | "findings"]) => {
            return bad_query("the only parameter here is target=NAME\n");
        }
        _ => return bad_query("no parameters are known here\n"),
    };
    let process = |pid, shape| Ok(Wanted::Process(process(site, client, pid)?, shape));
    match parts[..] {
        ["targets"] => Ok(Wanted::Targets(target)),
        ["findings"] => Ok(Wanted::Findings(target)),
        ["targets", pid, "snapshot"] => process(pid, Shape::Snapshot),
        ["targets", pid, "ps"] => process(pid, Shape::Ps),
        ["targets", pid, "pstree"] => process(pid, Shape::Pstree),
        _ => Err(Box::new(not_found())),
    }
}

/// The answer to it.
pub(super) async fn answer(site: &Site, rules: &WebRules, wanted: Wanted) -> Answer {
    let (is_targets, target) = match wanted {
        Wanted::Process(id, shape) => return read(site, rules, id, shape).await,
        Wanted::Targets(target) => (true, target),
        Wanted::Findings(target) => (false, target),
    };
    match unknown(&site.store.latest(), target.as_deref()) {
        Some(why) => text(StatusCode::NOT_FOUND, &why),
        None => told(site, is_targets, target).await,
    }
}

/// The process, if it is one that is watched, and it is not one request too many.
fn process(site: &Site, client: &Client, pid: &str) -> Result<ProcessId, Refusal> {
    let view = site.store.latest();
    let mut processes = view.targets.iter().flat_map(|target| &target.processes);
    let Some(process) = processes.find(|it| it.id.pid.to_string() == pid) else {
        let why = "no such process is watched; see /api/v1/targets\n";
        return Err(Box::new(text(StatusCode::NOT_FOUND, why)));
    };
    let address = client.address;
    let tell = move |n_refused| tell_refused(address, n_refused);
    if !site.turnstile.pass(address, tell) {
        let why = format!("an address may have {A_SECOND_MAX} a second\n");
        return Err(Box::new(text(StatusCode::TOO_MANY_REQUESTS, &why)));
    }
    Ok(process.id)
}

/// One line for all requests of an address that were refused in a while because there were too many.
fn tell_refused(address: IpAddr, n_refused: u64) {
    let (requests, allowed) = (n_refused, false);
    tracing::warn!(%address, requests, allowed, "too many on-demand requests over HTTP");
}

/// What there is instead, if there is no target with this name.
fn unknown(view: &AgentView, target: Option<&str>) -> Option<String> {
    let target = target?;
    if view.targets.iter().any(|it| &*it.name == target) {
        return None;
    }
    let shown = |name: &str| escape_start(name, NAME_CHARS).into_owned();
    let names = view.targets.iter().take(NAMES_MAX);
    let names: Vec<String> = names.map(|it| shown(&it.name)).collect();
    let known = match (
        names.join(", "),
        view.targets.len().saturating_sub(NAMES_MAX),
    ) {
        (names, _) if names.is_empty() => "there is none now".to_owned(),
        (names, 0) => format!("there are: {names}"),
        (names, n_more) => format!("there are: {names}, and {n_more} more"),
    };
    let target = shown(target);
    Some(format!(
        "no target is called {target} now; {known}; see /api/v1/targets\n"
    ))
}

/// The targets, or what was found: of one target, or all.
async fn told(site: &Site, is_targets: bool, target: Option<String>) -> Answer {
    let store = Arc::clone(&site.store);
    let kind = match is_targets {
        true => Kind::Targets(target.clone()),
        false => Kind::Findings(target.clone()),
    };
    let make = move || {
        let progress = progress(&store);
        let view = store.latest();
        let is_asked_for = |name: &str| target.as_deref().is_none_or(|target| target == name);
        if is_targets {
            let mut answer = targets(&view, progress);
            answer.targets.retain(|it| is_asked_for(&it.name));
            return made(JSON, answer_to_json(&answer));
        }
        let mut answer = findings(&view, progress);
        answer.findings.retain(|it| is_asked_for(&it.target));
        answer.omitted.retain(|it| is_asked_for(&it.target));
        made(JSON, answer_to_json(&answer))
    };
    site.shared.answer(kind, make).await
}

/// The target that a query asks for, if it asks for one; an error if it asks for anything else.
fn target_in(query: &str) -> Result<Option<String>, ()> {
    if query.is_empty() {
        return Ok(None);
    }
    let name = query.strip_prefix("target=").ok_or(())?;
    if name.contains('&') {
        return Err(());
    }
    // As forms are encoded (WHATWG URL, 5.1), which is what templates of Prometheus write with `urlquery`.
    let name = name.replace('+', " ");
    let name = percent_decode_str(&name).decode_utf8().map_err(|_| ())?;
    Ok(Some(name.into_owned()))
}

fn not_found() -> Answer {
    text(
        StatusCode::NOT_FOUND,
        "not found; there are /api/v1/targets, /api/v1/findings, and \
         /api/v1/targets/PID/snapshot, ps and pstree\n",
    )
}

fn json(body: Vec<u8>) -> Answer {
    response(StatusCode::OK, JSON, body)
}

/// Reads the process now.
async fn read(site: &Site, rules: &WebRules, id: ProcessId, shape: Shape) -> Answer {
    let source = Arc::clone(&site.source);
    let limits = ReadLimits::default();
    let limits = ReadLimits {
        scan_max: rules.scan_time.min(limits.scan_max),
        ..limits
    };
    let user = source.facts().user_and_parent(id);
    let asker = Asker::Web(user.and_then(|(user, _)| Some(source.person(user?).id)));
    let work = move |stop: &Stop, size: Size| {
        let read = source.attach(id).and_then(|mut attached| {
            attached.allow(size.allowance());
            attached.snapshot(stop)
        });
        match read {
            Ok(snapshot) => match show(&snapshot, id.pid, shape, size) {
                Some(answer) => (answer, Size::has_cut(&snapshot)),
                None => (too_large(size), true),
            },
            Err(error) => (unread(&error), false),
        }
    };
    match site.reads.read_as_needed(asker, limits, work).await {
        Ok(Made { what, place, .. }) => {
            let mut answer = what;
            answer.body_mut().place = place;
            answer
        }
        Err(NotRead::Busy) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "other processes are being read for somebody; try again\n",
        ),
        Err(NotRead::OthersHang) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "reading other processes of the same user, or of too many users, hangs\n",
        ),
        Err(NotRead::TimedOut) => text(
            StatusCode::GATEWAY_TIMEOUT,
            "it took too long, and was given up\n",
        ),
        Err(NotRead::Panicked) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "a defect of the agent\n")
        }
    }
}

/// Why a process could not be read.
fn unread(error: &ProcessError) -> Answer {
    let status = match error {
        ProcessError::NotFound { .. } | ProcessError::Gone { .. } => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_GATEWAY,
    };
    text(status, &format!("{}\n", escape(&error.to_string())))
}

fn too_large(size: Size) -> Answer {
    match size {
        Size::Small => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "there is room for one large answer at a time, and others have it; try again\n",
        ),
        Size::Large => {
            let why = "the answer is too large to be sent; agentctl --direct has no such bound\n";
            text(StatusCode::BAD_GATEWAY, why)
        }
    }
}

/// `None` if it does not fit into an answer.
fn show(snapshot: &Snapshot, pid: Pid, shape: Shape, size: Size) -> Option<Answer> {
    let view = View {
        matches: None,
        depth: None,
        lines_max: Some(LINES_MAX),
        awaiters_max: Some(render::AWAITERS_MAX),
        color: false,
        raw_names: false,
    };
    let bytes_max = match shape {
        Shape::Snapshot => size.answer_max(),
        Shape::Ps | Shape::Pstree => size.answer_max().min(TEXT_BYTES_MAX),
    };
    let mut out = Bounded::new(bytes_max);
    // They are few.
    let mut notes = Bounded::new(Size::Small.answer_max());
    let graph = &snapshot.graph;
    let shown = match shape {
        Shape::Snapshot => {
            let written = write_snapshot(snapshot, None, &mut out);
            return written.ok().map(|()| json(out.into_bytes()));
        }
        Shape::Ps => render::ps(graph, Style::Agent, &view, &mut out, &mut notes),
        Shape::Pstree => render::pstree(graph, Style::Agent, &view, &mut out, &mut notes),
    };
    shown.ok()?;
    out.write_all(&notes.into_bytes()).ok()?;
    if !snapshot.complete {
        let n = snapshot.stats.problems;
        writeln!(
            out,
            "process {pid}: the picture is not complete: {n} problems; see snapshot"
        )
        .ok()?;
    }
    Some(response(StatusCode::OK, TEXT, out.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{target_in, unknown};
    use crate::metrics::{AgentView, TargetView};

    #[test]
    fn who_asks_for_a_target_that_there_is_not_is_told_which_there_are() {
        let view = |n: usize| AgentView {
            targets: (0..n)
                .map(|at| TargetView {
                    name: format!("t{at}\n").into(),
                    ..TargetView::default()
                })
                .collect(),
            ..AgentView::default()
        };
        assert_eq!(unknown(&view(2), None), None);
        assert_eq!(unknown(&view(2), Some("t1\n")), None);
        let why = unknown(&view(2), Some("\x1b")).unwrap();
        assert_eq!(
            why,
            "no target is called \\x1b now; there are: t0\\n, t1\\n; see /api/v1/targets\n"
        );
        let why = unknown(&view(2_000), Some(&"x".repeat(5_000))).unwrap();
        assert!(
            why.contains("t19\\n, and 1980 more; see") && why.len() < 1_000,
            "{why}"
        );
    }

    #[test]
    fn a_query_may_ask_for_a_target() {
        let named = |name: &str| Ok(Some(name.to_owned()));
        for (query, expected) in [
            ("", Ok(None)),
            ("target=web", named("web")),
            ("target=a+b%26c%2B%C3%A4", named("a b&c+ä")),
            ("target=", named("")),
            ("target=100%", named("100%")),
            ("target=%ff", Err(())),
            ("target=a&x=b", Err(())),
            ("pid=7", Err(())),
        ] {
            assert_eq!(target_in(query), expected, "{query}");
        }
    }
}
