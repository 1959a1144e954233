//! The agent in process, watching made-up processes, asked over real sockets.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its end")]
#![cfg(feature = "agent")]
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod support;

use asyncio_agent::config::WebFile;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use support::zoo::{self, Act, Running, Zoo, header, status};
use tokio::runtime::Runtime;

fn of(points: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let points = points.iter();
    points
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

#[test]
fn what_processes_do_is_served() {
    let zoo = Zoo::with(&[
        (10, "python3 -m web --port 1", Act::Chain(5)),
        (11, "python3 -m web --port 2", Act::Ring(3)),
        (12, "sh -c python3 -m web", Act::NotPython),
        (20, "python3 -m secret", Act::Denied),
        (30, "python3 -m bug", Act::Panics),
    ]);
    let agent = Running::start(
        &zoo,
        "- {name: one, match: {pid: 10, command: web}, interval: 20ms}
- {name: web, match: {command: 'python3 -m web'}, interval: 20ms}
- {name: secret, match: {command: secret}, interval: 20ms}
- {name: bug, match: {command: bug}, interval: 20ms}
- {name: none, match: {pid: 99}, interval: 20ms}
",
    );
    agent.eventually("ready", |agent| status(&agent.get("/-/ready")) == 200);
    let up = [
        ("bug", 0.0),
        ("none", 0.0),
        ("one", 1.0),
        ("secret", 0.0),
        ("web", 1.0),
    ];
    assert_eq!(agent.metric("asyncio_target_up"), of(&up));
    let processes = [
        ("bug", 1.0),
        ("none", 0.0),
        ("one", 1.0),
        ("secret", 1.0),
        ("web", 2.0),
    ];
    assert_eq!(agent.metric("asyncio_target_processes"), of(&processes));
    let tasks = [("one", 5.0), ("web", 3.0)];
    assert_eq!(agent.metric("asyncio_pending_tasks"), of(&tasks));
    let depth = [("one", 5.0), ("web", 1.0)];
    assert_eq!(agent.metric("asyncio_await_depth_max"), of(&depth));
    // It counts from its second round on.
    let cycles = of(&[("one", 0.0), ("web", 1.0)]);
    agent.eventually("the cycle counts", |agent| {
        agent.metric("asyncio_await_cycles") == cycles
    });
    let text = agent.get("/metrics");
    for (code, is_met) in [
        ("permission_denied", true),
        ("panicked", true),
        ("limit_hit", false),
    ] {
        let series = format!("asyncio_agent_scan_problems_total{{code=\"{code}\"}} ");
        assert!(text.contains(&series), "{code}");
        assert_eq!(!text.contains(&format!("{series}0\n")), is_met, "{code}");
    }
    assert!(text.contains("asyncio_agent_build_info{version=\""));
}

#[test]
fn processes_come_go_and_change() {
    let zoo = Zoo::default();
    let agent = Running::start(&zoo, "- {name: a, match: {command: a}, interval: 20ms}\n");
    agent.eventually("ready", |agent| status(&agent.get("/-/ready")) == 200);
    assert_eq!(agent.metric("asyncio_pending_tasks"), of(&[]));
    zoo.set(1, "a", Act::Chain(2));
    agent.eventually("one process", |agent| {
        agent.metric("asyncio_pending_tasks") == of(&[("a", 2.0)])
    });
    zoo.set(2, "a", Act::Chain(7));
    agent.eventually("two processes", |agent| {
        agent.metric("asyncio_pending_tasks") == of(&[("a", 9.0)])
    });
    zoo.set(1, "a", Act::Denied);
    agent.eventually("one fails", |agent| {
        agent.metric("asyncio_pending_tasks") == of(&[("a", 7.0)])
            && agent.metric("asyncio_target_up") == of(&[("a", 0.0)])
    });
    zoo.set(1, "a", Act::Chain(1));
    agent.eventually("it can be read again", |agent| {
        agent.metric("asyncio_pending_tasks") == of(&[("a", 8.0)])
            && agent.metric("asyncio_target_up") == of(&[("a", 1.0)])
    });
    zoo.remove(1);
    zoo.remove(2);
    agent.eventually("all are gone", |agent| {
        agent.metric("asyncio_pending_tasks") == of(&[])
            && agent.metric("asyncio_target_up") == of(&[("a", 0.0)])
            && agent.metric("asyncio_target_processes") == of(&[("a", 0.0)])
    });
}

#[test]
fn a_process_that_hangs_is_told_and_delays_nobody() {
    let log = Log::start();
    let zoo = Zoo::with(&[(1, "stuck", Act::Hangs), (2, "fine", Act::Chain(1))]);
    // So many that they would take all places if they could.
    for pid in 100..200 {
        zoo.set(pid, "stuck", Act::Hangs);
    }
    zoo.set(3, "late", Act::Chain(1));
    let agent = Running::start(
        &zoo,
        "- {name: stuck, match: {command: stuck}, interval: 20ms}
- {name: fine, match: {command: fine}, interval: 20ms}
- {name: late, match: {command: late}, interval: 20ms}
",
    );
    agent.eventually("the others are read", |agent| {
        agent.metric("asyncio_target_up") == of(&[("fine", 1.0), ("late", 1.0), ("stuck", 0.0)])
    });
    // Not everything has been looked at.
    assert_eq!(status(&agent.get("/-/ready")), 503);
    assert_eq!(status(&agent.get("/-/healthy")), 200);
    zoo.set(3, "late", Act::Hangs);
    zoo.set(2, "fine", Act::Chain(4));
    agent.eventually("again and again", |agent| {
        agent.metric("asyncio_pending_tasks") == of(&[("fine", 4.0), ("late", 1.0)])
    });
    // A round that hangs counts as a look, and makes its target's numbers old.
    agent.eventually("a hanging round is told", |agent| {
        agent.metric("asyncio_target_up") == of(&[("fine", 1.0), ("late", 0.0), ("stuck", 0.0)])
    });
    agent.eventually("ready", |agent| status(&agent.get("/-/ready")) == 200);
    // Its numbers are old before it counts as hanging.
    agent.eventually("it hangs", |agent| {
        agent.metric("asyncio_agent_scans_hanging")["late"] == 1.0
    });
    assert!(agent.metric("asyncio_agent_scans_hanging")["stuck"] >= 1.0);
    assert_eq!(
        log.count("reading the process hangs target=\"late\" pid=3 "),
        1
    );
    assert_eq!(log.count("hangs no more"), 0);
    zoo.set(3, "late", Act::Chain(2));
    agent.eventually("it hangs no more", |agent| {
        agent.metric("asyncio_target_up")["late"] == 1.0
            && agent.metric("asyncio_pending_tasks")["late"] == 2.0
            && agent.metric("asyncio_agent_scans_hanging")["late"] == 0.0
    });
    assert_eq!(log.count("hangs no more target=\"late\" pid=3 took_s="), 1);
    for pid in (100..200).chain([1]) {
        zoo.remove(pid);
    }
}

#[test]
fn places_that_hanging_rounds_take_from_others_are_counted() {
    let zoo = Zoo::default();
    for pid in 100..140 {
        zoo.set(pid, "stuck", Act::Hangs);
    }
    let agent = Running::start(
        &zoo,
        "- {name: stuck, match: {command: stuck}, interval: 20ms}\nlimits: {rounds: 64}\n",
    );
    // One target has half of the 64 places.
    agent.eventually("the others are counted", |agent| {
        let text = agent.get("/metrics");
        text.contains("asyncio_agent_limit_hits_total{limit=\"rounds_hanging\"} 8\n")
            && agent.metric("asyncio_agent_scans_hanging")["stuck"] == 32.0
    });
    for pid in 100..140 {
        zoo.remove(pid);
    }
}

/// What is logged from now on, by all tests.
#[derive(Clone)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> Self {
        let log = Self(Arc::default());
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .init();
        log
    }

    fn count(&self, text: &str) -> usize {
        let log = self.0.lock().unwrap();
        String::from_utf8_lossy(&log).matches(text).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn paths_and_methods() {
    let agent = Running::start(&Zoo::default(), "");
    let metrics = agent.get("/metrics?name[]=up");
    assert_eq!(status(&metrics), 200);
    let content_type = header(&metrics, "content-type");
    assert_eq!(
        content_type,
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    // Before the first look it does not say which rules no process belongs to.
    agent.eventually("it has looked", |agent| {
        status(&agent.get("/-/ready")) == 200
    });
    let page = agent.get("/");
    assert_eq!(status(&page), 200);
    assert_eq!(
        header(&page, "content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.contains("href=\"/metrics\"") && page.contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(status(&agent.get("/-/healthy")), 200);
    for path in ["/metrics/", "/etc/passwd", "//", "/%2e%2e/", "/-/nothing"] {
        assert_eq!(status(&agent.get(path)), 404, "{path}");
    }
    let runbooks = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards/runbooks");
    for file in std::fs::read_dir(runbooks).unwrap() {
        let file = file.unwrap().path();
        let path = format!("/runbooks/{}", file.file_stem().unwrap().to_str().unwrap());
        let answer = agent.get(&path);
        assert_eq!(status(&answer), 200, "{path}");
        let content_type = header(&answer, "content-type");
        assert_eq!(content_type, Some("text/plain; charset=utf-8"));
        let written = std::fs::read_to_string(&file).unwrap();
        assert!(answer.ends_with(&format!("\r\n\r\n{written}")), "{path}");
        assert!(page.contains(&format!("href=\"{path}\"")), "{path}");
    }
    for path in [
        "/runbooks",
        "/runbooks/",
        "/runbooks/No",
        "/runbooks/../Cargo.toml",
    ] {
        assert_eq!(status(&agent.get(path)), 404, "{path}");
    }
    for path in ["/api/v1/findings?target=x", "/api/v1/targets?target=x"] {
        let answer = agent.get(path);
        assert_eq!(status(&answer), 404, "{path}");
        let why = "no target is called x now; there is none now; see /api/v1/targets\n";
        assert!(answer.ends_with(why), "{answer}");
    }
    for path in ["/api/v1/findings?pid=1", "/api/v1/targets/1/ps?target=x"] {
        assert_eq!(status(&agent.get(path)), 400, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let request =
            format!("{method} /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = agent.exchange(&request);
        assert_eq!(status(&answer), 405, "{method}");
        assert_eq!(header(&answer, "allow"), Some("GET, HEAD"), "{method}");
    }
    let head = agent.exchange("HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&head), 200);
    assert_eq!(
        header(&head, "content-length"),
        header(&page, "content-length")
    );
    assert!(head.ends_with("\r\n\r\n"), "a HEAD answer with a body");
}

#[test]
fn odd_clients() {
    let agent = Running::start(&Zoo::default(), "");
    // HTTP/1.0, no headers at all.
    assert_eq!(
        status(&agent.exchange("GET /metrics HTTP/1.0\r\n\r\n")),
        200
    );
    // A body that is announced and never read.
    let request = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\
                   Connection: close\r\n\r\nhello";
    assert_eq!(status(&agent.exchange(request)), 200);
    let mut stream = TcpStream::connect(agent.address).unwrap();
    let huge = "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n";
    stream.write_all(huge.as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 405");
    // No HTTP.
    let answer = agent.exchange("\u{16}\u{3}\u{1}hello\r\n\r\n");
    assert_eq!(status(&answer), 400);
    // Two requests in one go, on one connection.
    let pair = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n\
                GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = agent.exchange(pair);
    assert!(answer.contains("healthy\n") && answer.contains("404"));
    // Clients that say nothing, or nothing more, while others are served.
    let silent: Vec<_> = (0..300)
        .map(|n| {
            let mut stream = TcpStream::connect(agent.address).unwrap();
            if n % 2 == 0 {
                let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHo");
            }
            stream
        })
        .collect();
    assert_eq!(status(&agent.get("/metrics")), 200);
    drop(silent);
}

#[test]
fn targets_named_by_captures_come_and_go() {
    let zoo = Zoo::with(&[
        (1, "celery -Q mail", Act::Chain(3)),
        (2, "celery -Q mail", Act::Chain(4)),
        (3, "celery -Q pay\u{1b}", Act::Chain(5)),
        (4, "python3 x/shop.py", Act::Ring(2)),
        (5, "python3 x/cart.py", Act::NotPython),
    ]);
    let agent = Running::start(
        &zoo,
        "- {name: 'q-${q}', match: {command: '-Q (?P<q>.+)'}, interval: 20ms}\n\
         - {name: idle, match: {command: nothing}}\n- {match: auto, interval: 20ms}\n",
    );
    let pending = |agent: &Running| agent.metric("asyncio_pending_tasks");
    let expected = [("q-mail", 7.0), ("q-pay\\\\x1b", 5.0), ("shop.py", 2.0)];
    let expected: BTreeMap<_, _> = expected.map(|(name, n)| (name.to_owned(), n)).into();
    agent.eventually("each name is a target", |agent| pending(agent) == expected);
    let processes = agent.metric("asyncio_target_processes");
    assert_eq!(processes["q-mail"], 2.0);
    // A target of the configuration is there without processes, one of a process goes with it.
    assert_eq!(processes["idle"], 0.0);
    assert_eq!(processes.len(), 4);
    zoo.remove(3);
    zoo.remove(4);
    zoo.set(6, "celery -Q new", Act::Chain(1));
    agent.eventually("a place is used again", |agent| {
        let names: Vec<_> = agent.metric("asyncio_target_up").into_keys().collect();
        names == ["idle", "q-mail", "q-new"]
    });
    agent.eventually("and read", |agent| {
        pending(agent).get("q-new") == Some(&1.0)
    });
}

#[test]
fn limits_of_processes_and_names_hold() {
    let zoo = Zoo::with(&[
        (1, "-Q a", Act::Chain(1)),
        (2, "-Q b", Act::Chain(2)),
        (3, "-Q c", Act::Chain(4)),
        (4, "-Q d", Act::Chain(8)),
        (5, "-Q e", Act::Chain(16)),
    ]);
    let agent = Running::start(
        &zoo,
        "- {name: '${q}', match: {command: '-Q (?P<q>.)'}, interval: 20ms}\n\
         limits: {processes: 4, target_names: 2}\n",
    );
    let expected = [("a", 1.0), ("b", 2.0), ("other", 12.0)];
    let expected: BTreeMap<_, _> = expected.map(|(name, n)| (name.to_owned(), n)).into();
    agent.eventually("the oldest have names, the youngest is left out", |agent| {
        agent.metric("asyncio_pending_tasks") == expected
    });
}

#[test]
fn one_address_that_is_taken_stops_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = format!("web: {{listen: [127.0.0.1:0, '{address}']}}\n");
    let runtime = Runtime::new().unwrap();
    let files = zoo::Files::new(&text, &WebFile::default());
    let started = runtime.block_on(zoo::start(Arc::new(Zoo::default()), &files));
    let message = started.map(|_| ()).unwrap_err().to_string();
    assert!(
        message.starts_with(&format!("cannot listen on {address}: ")),
        "{message}"
    );
}
