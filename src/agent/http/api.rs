//! `/api/v1/…`: the targets and their processes, what was found, and the tasks of a process, read now.

use super::rules::WebRules;
use super::site::{Answer, JSON, Kind, Site, TEXT, made, response, text};
use crate::agent::answers::{findings, targets};
use crate::agent::reads::{Asker, NotRead, ReadLimits};
use crate::agent::turnstile::A_SECOND_MAX;
use crate::graph::Snapshot;
use crate::ids::{Pid, ProcessId};
use crate::limits::Stop;
use crate::metrics::{AgentView, ProcessView};
use crate::process::ProcessError;
use crate::protocol::{answer_to_json, write_snapshot};
use crate::render::{self, Style, View};
use crate::sanitize::{escape, escape_start};
use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use std::net::IpAddr;
use std::sync::Arc;

/// Lines of a table or a tree.
const LINES_MAX: u64 = 100_000;
/// Targets that are named to who asks for one that there is not.
const NAMES_MAX: usize = 20;
/// Characters of each.
const NAME_CHARS: usize = 100;

/// How the tasks of a process are shown.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Snapshot,
    Ps,
    Pstree,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Ps => "ps",
            Self::Pstree => "pstree",
        }
    }
}

/// Who asks.
pub(super) struct Client {
    /// Stands for all addresses that they have.
    pub(super) address: IpAddr,
    /// Whose password was good, if one is needed.
    pub(super) user: Option<String>,
}

/// The answer for what follows `/api/v1/`.
pub(super) async fn answer(
    site: &Site,
    rules: &WebRules,
    client: &Client,
    what: &str,
    query: Option<&str>,
) -> Answer {
    let parts: Vec<&str> = what.split('/').collect();
    let target = match (target_in(query.unwrap_or_default()), &parts[..]) {
        (Ok(target), ["targets" | "findings"]) => target,
        (Ok(None), _) => None,
        (Err(()), ["targets" | "findings"]) => {
            return text(
                StatusCode::BAD_REQUEST,
                "the only parameter here is target=NAME\n",
            );
        }
        _ => return text(StatusCode::BAD_REQUEST, "no parameters are known here\n"),
    };
    match parts[..] {
        ["targets"] | ["findings"] => match unknown(&site.store.latest(), target.as_deref()) {
            Some(why) => text(StatusCode::NOT_FOUND, &why),
            None => told(site, parts[0] == "targets", target).await,
        },
        ["targets", pid, shape] => {
            let shape = match shape {
                "snapshot" => Shape::Snapshot,
                "ps" => Shape::Ps,
                "pstree" => Shape::Pstree,
                _ => return not_found(),
            };
            let view = site.store.latest();
            let is_it = |process: &&ProcessView| process.id.pid.to_string() == pid;
            let mut processes = view.targets.iter().flat_map(|target| &target.processes);
            match processes.find(is_it) {
                Some(process) => {
                    let tell = {
                        let address = client.address;
                        move |n_refused| tell_refused(address, n_refused)
                    };
                    if !site.turnstile.pass(client.address, tell) {
                        let why = format!("an address may have {A_SECOND_MAX} a second\n");
                        return text(StatusCode::TOO_MANY_REQUESTS, &why);
                    }
                    read(site, rules, client, process.id, shape).await
                }
                None => text(
                    StatusCode::NOT_FOUND,
                    "no such process is watched; see /api/v1/targets\n",
                ),
            }
        }
        _ => not_found(),
    }
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
        let view = store.latest();
        let is_asked_for = |name: &str| target.as_deref().is_none_or(|target| target == name);
        if is_targets {
            let mut answer = targets(&view);
            answer.targets.retain(|it| is_asked_for(&it.name));
            return made(JSON, answer_to_json(&answer));
        }
        let mut answer = findings(&view);
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

/// Reads the process now, and says in the log who asked for it.
async fn read(
    site: &Site,
    rules: &WebRules,
    client: &Client,
    id: ProcessId,
    shape: Shape,
) -> Answer {
    let answer = read_now(site, rules, id, shape).await;
    let result = match answer.status() {
        StatusCode::OK => "ok",
        StatusCode::NOT_FOUND => "process_not_found",
        StatusCode::SERVICE_UNAVAILABLE => "busy",
        StatusCode::GATEWAY_TIMEOUT => "timed_out",
        _ => "failed",
    };
    let (address, user) = (client.address, client.user.as_deref());
    let (asks, pid, bytes) = (shape.name(), id.pid.as_raw(), answer.body().len());
    let allowed = true;
    tracing::info!(%address, user, asks, pid, allowed, result, bytes, "on-demand request over HTTP");
    answer
}

async fn read_now(site: &Site, rules: &WebRules, id: ProcessId, shape: Shape) -> Answer {
    let source = Arc::clone(&site.source);
    let limits = ReadLimits::default();
    let limits = ReadLimits {
        scan_max: rules.scan_time.min(limits.scan_max),
        ..limits
    };
    let user = source.facts().user_and_parent(id);
    let asker = Asker::Web(user.and_then(|(user, _)| Some(source.person(user?).id)));
    let work = move |stop: &Stop| {
        let snapshot = source.attach(id)?.snapshot(stop)?;
        Ok::<_, ProcessError>(show(&snapshot, id.pid, shape))
    };
    match site.reads.read(asker, limits, work).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let status = match error {
                ProcessError::NotFound { .. } | ProcessError::Gone { .. } => StatusCode::NOT_FOUND,
                _ => StatusCode::BAD_GATEWAY,
            };
            text(status, &format!("{}\n", escape(&error.to_string())))
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

fn show(snapshot: &Snapshot, pid: Pid, shape: Shape) -> Answer {
    let view = View {
        matches: None,
        depth: None,
        lines_max: Some(LINES_MAX),
        awaiters_max: Some(render::AWAITERS_MAX),
        color: false,
        raw_names: false,
    };
    let (mut out, mut notes) = (String::new(), String::new());
    let graph = &snapshot.graph;
    let shown = match shape {
        Shape::Snapshot => {
            let mut body = Vec::new();
            let written = write_snapshot(snapshot, None, &mut body);
            return match written {
                Ok(()) => json(body),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            };
        }
        Shape::Ps => render::ps(graph, Style::Agent, &view, &mut out, &mut notes),
        Shape::Pstree => render::pstree(graph, Style::Agent, &view, &mut out, &mut notes),
    };
    if shown.is_err() {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "cannot write text\n");
    }
    out.push_str(&notes);
    if !snapshot.complete {
        let n = snapshot.stats.problems;
        out.push_str(&format!(
            "process {pid}: the picture is not complete: {n} problems; see snapshot\n"
        ));
    }
    response(StatusCode::OK, TEXT, out)
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
