//! What those are told who ask a running agent too often, and what the log says of who asked, over the socket and over HTTP.
#![cfg(all(feature = "agent", feature = "cli"))]
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

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

/// Requests that are refused one after the other.
const N_REFUSED: usize = 300;

/// An agent that watches one Python and is asked with passwords.
fn watching_with_users(place: &Place, pid: &str) -> Agent {
    let hash = bcrypt::hash("secret", 4).unwrap();
    let users = place.folder.path().join("web.yaml");
    fs::write(&users, format!("basic_auth_users: {{ann: '{hash}'}}\n")).unwrap();
    let config = place.config(
        "",
        &format!("[{{name: music, match: {{pid: {pid}}}, interval: 50ms}}]"),
    );
    let agent = Agent::start(&config.replace(
        "127.0.0.1:0}",
        &format!("127.0.0.1:0, config_file: '{}'}}", users.display()),
    ));
    // Of that there is no line in the log.
    wait_until("it is watched", || {
        let metrics = ask(&agent, "/metrics", "secret");
        metrics.contains("asyncio_target_up{target=\"music\"} 1")
    });
    agent
}

/// What ann is answered with this password.
fn ask(agent: &Agent, path: &str, password: &str) -> String {
    let credentials = BASE64_STANDARD.encode(format!("ann:{password}"));
    let mut stream = TcpStream::connect(agent.address()).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks, and sees that the answer has this status.
fn check_status(agent: &Agent, path: &str, password: &str, status: &str) {
    let answer = ask(agent, path, password);
    assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
}

/// How many requests over HTTP have a line of their own that says this.
fn n_lines(log: &str, says: &str) -> usize {
    let lines = log.lines();
    let lines = lines.filter(|line| line.contains("msg=\"on-demand request over HTTP\""));
    lines.filter(|line| line.contains(says)).count()
}

#[test]
fn who_asks_over_http_is_in_the_log() {
    let place = Place::new();
    let target = Target::start(python::all()[0].program("music"));
    let pid = target.pid_text();
    let mut agent = watching_with_users(&place, &pid);
    for shape in ["ps", "pstree", "snapshot"] {
        let path = format!("/api/v1/targets/{pid}/{shape}");
        check_status(&agent, &path, "secret", "200");
    }
    check_status(&agent, "/api/v1/findings", "secret", "200");
    check_status(&agent, "/api/v1/targets/1/pstree", "secret", "404");
    check_status(&agent, "/api/v1/targets/1/rm%0a", "secret", "404");
    let of_process = format!("pid={pid} ");
    let says = |asks: &str, of: &str| {
        format!(
            "address=127.0.0.1 user=\"ann\" asks=\"{asks}\" {of}allowed=true why=\"user\" result=\"ok\" bytes="
        )
    };
    let lines = [
        says("ps", &of_process),
        says("pstree", &of_process),
        says("snapshot", &of_process),
        says("findings", ""),
        "user=\"ann\" asks=\"pstree\" pid=1 allowed=false why=\"no such process is watched; see /api/v1/targets\" \
         result=\"process_not_found\""
            .to_owned(),
        "address=127.0.0.1 user=\"ann\" allowed=false why=\"not found; there are".to_owned(),
    ];
    wait_until("all are told", || n_lines(&agent.log(), "") == lines.len());
    let log = agent.log();
    for line in lines {
        assert_eq!(n_lines(&log, &line), 1, "{line} in\n{log}");
    }
}

#[test]
fn what_is_not_taken_over_http_is_told_as_that() {
    let place = Place::new();
    let target = Target::start(python::all()[0].with_long_names(12_000));
    let pid = target.pid_text();
    let mut agent = watching_with_users(&place, &pid);
    let credentials = BASE64_STANDARD.encode("ann:secret");
    let mut stream = TcpStream::connect(agent.address()).unwrap();
    write!(
        stream,
        "GET /api/v1/targets/{pid}/snapshot HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\r\n"
    )
    .unwrap();
    let mut begun = [0; 1_000];
    stream.read_exact(&mut begun).unwrap();
    assert!(begun.starts_with(b"HTTP/1.1 200 "));
    // It was in the log before it was read, and is not over yet.
    let begins = "msg=\"on-demand request over HTTP begins\" request=1 address=127.0.0.1 user=\"ann\" asks=\"snapshot\"";
    assert!(agent.log().contains(begins), "{}", agent.log());
    assert_eq!(n_lines(&agent.log(), ""), 0);
    drop(stream);
    let says = "result=\"ok, not taken\" bytes=";
    wait_until("its end is told", || n_lines(&agent.log(), says) == 1);
    let log = agent.log();
    let line = log.lines().find(|line| line.contains(says)).unwrap();
    let bytes: usize = line.rsplit('=').next().unwrap().parse().unwrap();
    assert!((1_000..12_000_000).contains(&bytes), "{line}");
}

#[test]
fn whoever_is_refused_over_http_is_in_the_log_and_does_not_fill_it() {
    let place = Place::new();
    let target = Target::start(python::all()[0].program("music"));
    let pid = target.pid_text();
    let mut agent = watching_with_users(&place, &pid);
    let path = format!("/api/v1/targets/{pid}/pstree");
    for _ in 0..N_REFUSED {
        check_status(&agent, &path, "wrong", "401");
    }
    // It hides nobody who is answered.
    check_status(&agent, "/api/v1/findings", "secret", "200");
    let mut log = String::new();
    let n_told = |log: &str| {
        let mut lines = log.lines();
        let more = lines.find(|line| line.contains("more on-demand requests over HTTP"))?;
        let says = ["address=127.0.0.1", "allowed=false"];
        assert!(says.iter().all(|it| more.contains(it)), "{more}");
        let n = more.split("requests=").nth(1)?.split(' ').next()?;
        n.parse::<usize>().ok()
    };
    wait_until("they are told", || {
        log = agent.log();
        n_told(&log).is_some()
    });
    // Whoever has no password is not called by the name that they give.
    let refused = format!(
        "address=127.0.0.1 asks=\"pstree\" pid={pid} allowed=false why=\"a user and a password are needed\" \
         result=\"not_allowed\""
    );
    let n_refused = n_lines(&log, &refused);
    assert!((90..250).contains(&n_refused), "{n_refused}");
    assert_eq!(n_refused + n_told(&log).unwrap(), N_REFUSED, "{log}");
    assert_eq!(n_lines(&log, "asks=\"findings\" allowed=true"), 1, "{log}");
}
