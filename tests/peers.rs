//! What those are told who ask a running agent too often, and what the log says of who asked, over the socket and over HTTP.
#![cfg(all(feature = "agent", feature = "cli"))]

mod support;

use asyncio_agent::protocol::{FrameKind, Request, write_frame};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use support::agent::Agent;
use support::agentctl::Answer;
use support::place::{Place, check_done};
use support::python;
use support::target::{Target, wait_until};
use support::zoo::own_user;

/// Requests that somebody may make at once.
const AT_ONCE_MAX: u64 = 100;
/// More than that, and than come to be free while a slow machine makes them.
const MANY: u64 = 1_000;

/// A user that this machine has no name for.
const STRANGER: u32 = 61_235;

/// An agent that watches one Python.
fn watching(place: &Place, target: &Target) -> Agent {
    let pid = target.pid_text();
    let targets = format!("[{{name: music, match: {{pid: {pid}}}, interval: 50ms}}]");
    Agent::start(&place.config("", &targets))
}

/// Asks often as another user, if that can be; then tells how many requests were answered and refused, and what was said.
const ASK_OFTEN: &str = r#"
import json, os, socket, sys, time
path, frame, many, user = sys.argv[1], bytes.fromhex(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
told = {}
began = time.monotonic()
for _ in range(many):
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(path)
        answer = b""
        try:
            asking.sendall(frame)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            while part := asking.recv(1 << 16):
                answer += part
        except ConnectionResetError:
            pass
    message = json.loads(answer[12:]).get("message", "")
    told[message] = told.get(message, 0) + 1
print(json.dumps({"told": told, "seconds": int(time.monotonic() - began) + 1}))
"#;

#[test]
fn who_asks_too_often_is_told_and_is_one_line_in_the_log() {
    let place = Place::new();
    let target = Target::start(python::all()[0].program("music"));
    let mut agent = watching(&place, &target);
    let pid = target.pid_text();
    let path = format!("/api/v1/targets/{pid}/ps");
    wait_until("it is watched", || agent.get(&path).0.contains(" 200 "));

    let mut frame = Vec::new();
    write_frame(FrameKind::Request, &Request::Targets.to_json(), &mut frame).unwrap();
    let frame: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut often = python::all()[0].command();
    often.args(["-c", ASK_OFTEN]).arg(&place.socket).args([
        &*frame,
        &MANY.to_string(),
        &STRANGER.to_string(),
    ]);
    let answer = Answer::of(often);
    let told: Value = serde_json::from_str(&answer.stdout).unwrap();
    let n_of = |message: &str| told["told"][message].as_u64().unwrap_or(0);
    let n_refused = n_of("too many requests: a user may make 20 a second");
    let n_answered = n_of("");
    let n_may = AT_ONCE_MAX + 20 * told["seconds"].as_u64().unwrap();
    assert!((AT_ONCE_MAX..=n_may).contains(&n_answered), "{told}");
    assert_eq!(n_answered + n_refused, MANY, "{told}");

    let answers: Vec<_> = (0..MANY).map(|_| agent.get(&path)).collect();
    let n_refused_over_http = answers
        .iter()
        .filter(|it| it.0.contains(" 429 ") && it.1 == "an address may have 20 a second\n");
    let n_refused_over_http = n_refused_over_http.count();
    let n_read = answers.iter().filter(|it| it.0.contains(" 200 ")).count();
    assert!(n_refused_over_http > 0 && n_read + n_refused_over_http == answers.len());

    // Others are answered all the while, and what was refused is told together.
    check_done(&place.ask(&["ps", &pid]));
    let user = if own_user() == 0 {
        STRANGER
    } else {
        own_user()
    };
    let of_user = format!("uid={user} requests={n_refused} allowed=false");
    let n_told = |log: &str| {
        let over_http = log
            .lines()
            .filter(|line| line.contains("too many on-demand requests over HTTP"));
        let refused = over_http.filter_map(|line| {
            assert!(
                line.contains("address=127.0.0.1") && line.contains("allowed=false"),
                "{line}"
            );
            let n = line.split("requests=").nth(1)?.split(' ').next()?;
            n.parse::<usize>().ok()
        });
        refused.sum::<usize>()
    };
    wait_until("they are told", || {
        let log = agent.log();
        log.matches(&of_user).count() == 1 && n_told(&log) == n_refused_over_http
    });
}

#[test]
fn who_has_processes_read_over_http_is_in_the_log() {
    let place = Place::new();
    let target = Target::start(python::all()[0].program("music"));
    let pid = target.pid_text();
    let hash = bcrypt::hash("secret", 4).unwrap();
    let users = place.folder.path().join("web.yaml");
    fs::write(&users, format!("basic_auth_users: {{ann: '{hash}'}}\n")).unwrap();
    let config = place.config(
        "",
        &format!("[{{name: music, match: {{pid: {pid}}}, interval: 50ms}}]"),
    );
    let config = config.replace(
        "127.0.0.1:0}",
        &format!("127.0.0.1:0, config_file: '{}'}}", users.display()),
    );
    let mut agent = Agent::start(&config);
    let get = |agent: &Agent, path: &str, password: &str| {
        let credentials = BASE64_STANDARD.encode(format!("ann:{password}"));
        let mut stream = TcpStream::connect(agent.address()).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap().to_owned()
    };
    let path = |shape: &str| format!("/api/v1/targets/{pid}/{shape}");
    wait_until("it is watched", || {
        get(&agent, &path("ps"), "secret").contains(" 200 ")
    });
    for shape in ["pstree", "snapshot"] {
        assert!(get(&agent, &path(shape), "secret").contains(" 200 "));
    }
    // Who is not let in, and what is not read, is no request.
    assert!(get(&agent, &path("pstree"), "wrong").contains(" 401 "));
    assert!(get(&agent, "/api/v1/targets/1/pstree", "secret").contains(" 404 "));
    let log = agent.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("on-demand request over HTTP"))
        .collect();
    for shape in ["ps", "pstree", "snapshot"] {
        let says = format!(
            "address=127.0.0.1 user=\"ann\" asks=\"{shape}\" pid={pid} allowed=true result=\"ok\" bytes="
        );
        let n = lines.iter().filter(|line| line.contains(&says)).count();
        assert_eq!(n, 1, "{says} in\n{log}");
    }
    assert_eq!(lines.len(), 3, "{log}");
}
