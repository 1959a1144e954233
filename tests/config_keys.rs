//! The settings beyond those of `config.rs`, each way in which they can be wrong, and settings written
//! down again.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its end")]
#![cfg(feature = "agent")]
#![expect(
    clippy::too_many_lines,
    reason = "most of them are the texts compared with"
)]

use asyncio_agent::config::{
    self, Compression, ConfigError, ControlSocket, Matching, OtlpProtocol, Secret, Settings,
    Surroundings, TargetName, Temporality, UserId, WebDetails,
};
use expect_test::{Expect, expect};
use std::path::Path;
use std::time::Duration;

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "PORT" => "8080",
        "EMPTY" => "",
        "TEAM" => "payments",
        "LINES" => "a\nb",
        "SECRET" => "hunter2",
        _ => return None,
    };
    Some(value.to_owned())
}

fn parse(text: &str) -> Result<Settings, ConfigError> {
    let surroundings = Surroundings {
        variables: &variables,
        base: Some(Path::new("/etc/agent")),
        files: None,
    };
    config::parse_in(surroundings, "agent.yaml", text)
}

fn good(text: &str) -> Settings {
    parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn bad(text: &str, expected: &Expect) {
    let error = parse(text).expect_err("it was accepted");
    expected.assert_eq(&format!("{error}\n"));
}

const ALL: &str = r#"
web: {listen: '127.0.0.1:${PORT}', config_file: web.yaml, details: users, reload: true}
control: {socket: agent.sock, group: staff, freeze: 1s500ms}
targets:
  - name: checkout-api
    match: {systemd_unit: "checkout-api@*.service"}
    interval: 15s
    labels: {team: "${TEAM}"}
  - name: "worker-${queue}"
    match: {command: 'celery .*-Q (?P<queue>\w+)', user: celery}
    per_process: true
    spans: {ratio: 0.75}
  - name: "${TEAM}-${1:-none}"
    match:
      - {command: '-n (\S+)', user: 1000, executable: 'python3*', cgroup: /a/**}
      - {container_id: 0123456789ab, parent: {command: gunicorn, user: www-data}}
    exclude: [{pid: 7}, {executable: 'x$${'}]
  - {match: auto, exclude: {user: root}}
  - {match: auto, name: rest}
analysis:
  cycles: {confirmations: 3}
  stuck: {after: 2m, include: 'app.*', exclude: [], idle: 'wait_*', never_idle: []}
  top: {coroutines: 5, waits: 0, stuck: 1}
limits:
  {rounds: 2, tasks_per_process: 5000, scan_time: 500ms, scan_bytes: 64MiB, cpu_share: 0.25,
   processes: 10, series: 1000, target_names: 20}
exporters:
  prometheus: {}
  otlp:
    endpoint: https://otel.example:4318/x
    protocol: http/protobuf
    headers: {X-Tenant: a}
    headers_file: {Authorization: token, y: /run/y.txt}
    tls: {ca_file: ca.pem, cert_file: a.pem, key_file: b.pem}
    compression: gzip
    timeout: 3s
    metrics: {enabled: false, interval: 30s, temporality: delta, endpoint: 'http://vm/metrics', timeout: 1s}
    spans: {ratio: 0.5, traces_per_minute: 1, spans_per_minute: 2, spans_per_trace: 30, queue: 4, queue_bytes: 2MiB, protocol: grpc, endpoint: 'http://tempo:4317'}
"#;

#[test]
fn everything_can_be_set() {
    let settings = good(ALL);
    assert_eq!(settings.web.listen[0].port(), 8080);
    assert_eq!(settings.web.config_file, Some("/etc/agent/web.yaml".into()));
    assert_eq!(settings.web.details, WebDetails::Users);
    assert!(settings.web.reload);
    let socket = ControlSocket::Path("/etc/agent/agent.sock".into());
    assert_eq!(settings.control.socket, socket);
    assert_eq!(settings.control.group.as_deref(), Some("staff"));
    assert_eq!(settings.control.freeze, Some(Duration::from_millis(1500)));
    let [api, worker, both, auto, rest] = &settings.targets[..] else {
        panic!("{settings:?}")
    };
    assert_eq!(api.labels["team"], "payments");
    assert!(!api.per_process && worker.per_process);
    assert_eq!((api.spans_ratio, worker.spans_ratio), (None, Some(0.75)));
    assert_eq!(worker.name.as_fixed(), None);
    let Matching::Any(alternatives) = &both.matches else {
        panic!("{both:?}")
    };
    assert_eq!(alternatives[0].user, Some(UserId::Number(1000)));
    let parent = alternatives[1].parent.as_ref().unwrap();
    assert_eq!(parent.user, Some(UserId::Name("www-data".to_owned())));
    assert_eq!(both.exclude[1].executable.as_ref().unwrap().as_str(), "x${");
    assert_eq!(auto.name, TargetName::Program);
    assert_eq!(rest.name.as_fixed(), Some("rest"));
    assert_eq!(settings.analysis.cycles.confirmations, 3);
    assert_eq!(settings.analysis.stuck.after, Duration::from_secs(120));
    let stuck = &settings.analysis.stuck;
    assert!(stuck.exclude.is_empty() && stuck.never_idle.is_empty());
    assert_eq!(stuck.idle.len(), 1);
    assert!(stuck.idle[0].is_match(b"wait_for_jobs"));
    assert_eq!(settings.analysis.top.waits, 0);
    assert_eq!(settings.limits.scan_bytes, 64 << 20);
    assert_eq!(settings.limits.cpu_share, 0.25);
    let otlp = settings.exporters.otlp.unwrap();
    let all = &otlp.receiver;
    assert_eq!(all.protocol, OtlpProtocol::Http);
    assert_eq!(all.compression, Compression::Gzip);
    assert_eq!(otlp.metrics.temporality, Temporality::Delta);
    assert_eq!(all.headers["x-tenant"], Secret::Inline("a".to_owned()));
    let token = Secret::File("/etc/agent/token".into());
    assert_eq!(all.headers["authorization"], token);
    assert_eq!(all.tls.key_file, Some("/etc/agent/b.pem".into()));
}

#[test]
fn a_list_of_patterns_may_keep_those_of_the_default() {
    let stuck = |text: &str| {
        good(&format!("analysis: {{stuck: {{{text}}}}}"))
            .analysis
            .stuck
    };
    let default = stuck("");
    let kept = stuck("idle: ['...', my_worker], never_idle: [Pool.borrow, '...'], exclude: '...'");
    let (last, first) = kept.idle.split_last().unwrap();
    assert_eq!((last.as_str(), first), ("my_worker", &*default.idle));
    let (first, last) = kept.never_idle.split_first().unwrap();
    assert_eq!(
        (first.as_str(), last),
        ("Pool.borrow", &*default.never_idle)
    );
    assert_eq!(kept.exclude, default.exclude);
}

#[test]
fn what_is_shown_says_the_same() {
    let without_secret = ALL.replace("headers: {X-Tenant: a}", "headers: {}");
    for text in [
        "",
        "targets: []",
        "control: {socket: none}",
        &without_secret,
    ] {
        let settings = good(text);
        let shown = config::show(&settings);
        let again = config::parse("shown", &shown);
        assert_eq!(again.as_ref(), Ok(&settings), "{shown}");
    }
    let shown = config::show(&good(&ALL.replace("X-Tenant: a", "X-Tenant: '${SECRET}'")));
    assert!(shown.contains("x-tenant: <hidden>"), "{shown}");
    assert!(!shown.contains("hunter2"));
    assert!(
        !format!(
            "{:?}",
            good("exporters: {otlp: {headers: {a: '${SECRET}'}}}")
        )
        .contains("hunter2")
    );
}

#[test]
fn bad_targets() {
    bad(
        r#"
targets:
- {name: 'a-${queue}', match: {command: 'x'}}
- {name: 'a-${q}', match: [{command: '(?P<q>x)'}, {command: 'y'}]}
- {name: 'a-${', match: {command: x}}
- {name: 'a-${LINES}', match: {command: x}}
- {name: '${EMPTY}', match: {command: x}}
- {name: other, match: {command: x}}
- {name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, match: auto}
- {match: {pid: 1}}
- {name: b, match: []}
- {name: c, match: [7, {}, {pid: 1, pid: 2}]}
- {name: d, match: {parent: {parent: {pid: 1}}}}
- {name: e, match: {parent: {}}}
- {name: f, match: {user: 'a b', container_id: xyz, executable: '[', systemd_unit: '', cgroup: '[z-a]'}}
- {name: g, match: {user: -1, container_id: 123456}}
- {name: h, match: {pid: 1}, labels: {1a: x, __x: y, target: z, ok: '', a: 1, b: [], 'é': x}}
- {name: i, match: {pid: 1}, labels: [], per_process: maybe, exclude: {}, spans: {ratio: 2, queue: 1}}
- {name: j, match: auto, exclude: auto}
"#,
        &expect![[r#"
            agent.yaml:3:10: targets[0].name: no pattern of the target captures queue, and the environment variable queue is not set, expected it or a default: ${queue:-...}
                - {name: 'a-${queue}', match: {command: 'x'}}
                         ^
            agent.yaml:4:10: targets[1].name: not every map of `match` captures q, expected that, or a default: ${q:-...}
                - {name: 'a-${q}', match: [{command: '(?P<q>x)'}, {command: 'y'}]}
                         ^
            agent.yaml:5:10: targets[2].name: `${` without a `}`, expected ${GROUP} for a capture of a pattern of this target, ${NAME} for an environment variable, $${ for ${ itself
                - {name: 'a-${', match: {command: x}}
                         ^
            agent.yaml:6:10: targets[3].name: no pattern of the target captures LINES, and the environment variable LINES has a line end or another control character, expected one line
                - {name: 'a-${LINES}', match: {command: x}}
                         ^
            agent.yaml:7:10: targets[4].name: empty without its variables, expected the name of the target
                - {name: '${EMPTY}', match: {command: x}}
                         ^
            agent.yaml:8:10: targets[5].name: "other" is the target of processes beyond limits.target_names, expected another name
                - {name: other, match: {command: x}}
                         ^
            agent.yaml:9:10: targets[6].name: too long, expected at most 200 characters
                - {name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
                         ^
            agent.yaml:10:3: targets[7].name: missing, expected the name of the target
                - {match: {pid: 1}}
                  ^
            agent.yaml:11:20: targets[8].match: the list is empty, expected at least one map of conditions
                - {name: b, match: []}
                                   ^
            agent.yaml:12:21: targets[9].match[0]: the number 7, expected a map with the keys executable, command, user, systemd_unit, cgroup, container_id, parent, pid
                - {name: c, match: [7, {}, {pid: 1, pid: 2}]}
                                    ^
            agent.yaml:12:24: targets[9].match[1]: no condition is given, expected one or more of: executable, command, user, systemd_unit, cgroup, container_id, parent, pid
                - {name: c, match: [7, {}, {pid: 1, pid: 2}]}
                                       ^
            agent.yaml:12:37: targets[9].match[2].pid: duplicate key, expected it once
                - {name: c, match: [7, {}, {pid: 1, pid: 2}]}
                                                    ^
            agent.yaml:13:30: targets[10].match.parent.parent: unknown key, expected one of: executable, command, user, systemd_unit, cgroup, container_id, pid
                - {name: d, match: {parent: {parent: {pid: 1}}}}
                                             ^
            agent.yaml:14:29: targets[11].match.parent: no condition is given, expected one or more of: executable, command, user, systemd_unit, cgroup, container_id, pid
                - {name: e, match: {parent: {}}}
                                            ^
            agent.yaml:15:27: targets[12].match.user: "a b" is no user, expected a name such as www-data or a user id
                - {name: f, match: {user: 'a b', container_id: xyz, executable: '[', systemd_unit: '', cgroup: '[z-a]'}}
                                          ^
            agent.yaml:15:48: targets[12].match.container_id: "xyz" is not the id of a container, expected 12 to 64 of the digits 0-9 and a-f (in quotes, if they are digits only)
                - {name: f, match: {user: 'a b', container_id: xyz, executable: '[', systemd_unit: '', cgroup: '[z-a]'}}
                                                               ^
            agent.yaml:15:65: targets[12].match.executable: `[` without a `]`, expected a pattern such as web-*
                - {name: f, match: {user: 'a b', container_id: xyz, executable: '[', systemd_unit: '', cgroup: '[z-a]'}}
                                                                                ^
            agent.yaml:15:84: targets[12].match.systemd_unit: empty, expected a pattern such as web-*
                - {name: f, match: {user: 'a b', container_id: xyz, executable: '[', systemd_unit: '', cgroup: '[z-a]'}}
                                                                                                   ^
            agent.yaml:15:96: targets[12].match.cgroup: what is in [] is no set of characters, expected a pattern such as web-*
                - {name: f, match: {user: 'a b', container_id: xyz, executable: '[', systemd_unit: '', cgroup: '[z-a]'}}
                                                                                                               ^
            agent.yaml:16:27: targets[13].match.user: "-1" is no user, expected a name such as www-data or a user id
                - {name: g, match: {user: -1, container_id: 123456}}
                                          ^
            agent.yaml:16:45: targets[13].match.container_id: "123456" is not the id of a container, expected 12 to 64 of the digits 0-9 and a-f (in quotes, if they are digits only)
                - {name: g, match: {user: -1, container_id: 123456}}
                                                            ^
            agent.yaml:17:39: targets[14].labels.1a: no name of a label, expected letters, digits and _, no digit first
                - {name: h, match: {pid: 1}, labels: {1a: x, __x: y, target: z, ok: '', a: 1, b: [], 'é': x}}
                                                      ^
            agent.yaml:17:46: targets[14].labels.__x: names with __ in front are Prometheus's, expected another one
                - {name: h, match: {pid: 1}, labels: {1a: x, __x: y, target: z, ok: '', a: 1, b: [], 'é': x}}
                                                             ^
            agent.yaml:17:54: targets[14].labels.target: a label of the agent's own metrics, expected another name
                - {name: h, match: {pid: 1}, labels: {1a: x, __x: y, target: z, ok: '', a: 1, b: [], 'é': x}}
                                                                     ^
            agent.yaml:17:69: targets[14].labels.ok: empty, which is the same as no label, expected a text
                - {name: h, match: {pid: 1}, labels: {1a: x, __x: y, target: z, ok: '', a: 1, b: [], 'é': x}}
                                                                                    ^
            agent.yaml:17:76: targets[14].labels.a: the number 1, expected a text: put it in quotes
                - {name: h, match: {pid: 1}, labels: {1a: x, __x: y, target: z, ok: '', a: 1, b: [], 'é': x}}
                                                                                           ^
            agent.yaml:17:82: targets[14].labels.b: a list, expected a text
                - {name: h, match: {pid: 1}, labels: {1a: x, __x: y, target: z, ok: '', a: 1, b: [], 'é': x}}
                                                                                                 ^
            agent.yaml:17:86: targets[14].labels.é: no name of a label, expected letters, digits and _, no digit first
                - {name: h, match: {pid: 1}, labels: {1a: x, __x: y, target: z, ok: '', a: 1, b: [], 'é': x}}
                                                                                                     ^
            agent.yaml:18:38: targets[15].labels: a list, expected a map from the names of labels to texts
                - {name: i, match: {pid: 1}, labels: [], per_process: maybe, exclude: {}, spans: {ratio: 2, queue: 1}}
                                                     ^
            agent.yaml:18:55: targets[15].per_process: "maybe", expected true or false
                - {name: i, match: {pid: 1}, labels: [], per_process: maybe, exclude: {}, spans: {ratio: 2, queue: 1}}
                                                                      ^
            agent.yaml:18:71: targets[15].exclude: no condition is given, expected one or more of: executable, command, user, systemd_unit, cgroup, container_id, parent, pid
                - {name: i, match: {pid: 1}, labels: [], per_process: maybe, exclude: {}, spans: {ratio: 2, queue: 1}}
                                                                                      ^
            agent.yaml:18:90: targets[15].spans.ratio: "2", expected a number from 0 to 1
                - {name: i, match: {pid: 1}, labels: [], per_process: maybe, exclude: {}, spans: {ratio: 2, queue: 1}}
                                                                                                         ^
            agent.yaml:18:93: targets[15].spans.queue: unknown key, expected one of: ratio
                - {name: i, match: {pid: 1}, labels: [], per_process: maybe, exclude: {}, spans: {ratio: 2, queue: 1}}
                                                                                                            ^
            agent.yaml:19:35: targets[16].exclude: the text "auto", expected a map with the keys executable, command, user, systemd_unit, cgroup, container_id, parent, pid
                - {name: j, match: auto, exclude: auto}
                                                  ^
        "#]],
    );
}

#[test]
fn bad_variables() {
    bad(
        "web: {listen: '127.0.0.1:${NO_PORT}', config_file: '${LINES}'}
discovery: {interval: '${'}
limits: {rounds: '${EMPTY}', processes: '${1 2}'}
analysis: {stuck: {after: '${EMPTY:-soon}'}}
${TEAM}: 1
",
        &expect![[r#"
            agent.yaml:1:15: web.listen: the environment variable NO_PORT is not set, expected it or a default: ${NO_PORT:-...}
                web: {listen: <hidden>
                              ^
            agent.yaml:1:52: web.config_file: the environment variable LINES has a line end or another control character, expected one line
                web: {listen: <hidden>
                              ^
            agent.yaml:2:23: discovery.interval: `${` without a `}`, expected ${NAME} or ${NAME:-default} for an environment variable, $${ for ${ itself
                discovery: {interval: '${'}
                                      ^
            agent.yaml:3:18: limits.rounds: what "${EMPTY}" stands for, expected a whole number from 1 to 64
                limits: {rounds: '${EMPTY}', processes: '${1 2}'}
                                 ^
            agent.yaml:3:41: limits.processes: `${` without a name made of letters, digits and _, expected ${NAME} or ${NAME:-default} for an environment variable, $${ for ${ itself
                limits: {rounds: '${EMPTY}', processes: '${1 2}'}
                                                        ^
            agent.yaml:4:27: analysis.stuck.after: what "${EMPTY:-soon}" stands for is not a duration, expected a duration such as 15s, 500ms or 1m30s
                analysis: {stuck: {after: '${EMPTY:-soon}'}}
                                          ^
            agent.yaml:5:1: ${TEAM}: unknown key, expected one of: web, control, discovery, targets, analysis, limits, exporters
                <hidden>
                ^
        "#]],
    );
}

#[test]
fn bad_control() {
    let long = format!("control: {{socket: '{}'}}\n", "x".repeat(200));
    let error = parse(&long).expect_err("it was accepted").to_string();
    assert!(error.contains("control.socket: too long, expected a path of 107 bytes"));
    bad(
        "control: {socket: '', group: 7, mode: 1}\n",
        &expect![[r#"
            agent.yaml:1:19: control.socket: no path, expected that of a file
                control: {socket: '', group: 7, mode: 1}
                                  ^
            agent.yaml:1:30: control.group: "7", expected the name of a group, no number
                control: {socket: '', group: 7, mode: 1}
                                             ^
            agent.yaml:1:33: control.mode: unknown key, expected one of: socket, group, freeze
                control: {socket: '', group: 7, mode: 1}
                                                ^
        "#]],
    );
    bad(
        "control: {socket: [a], group: 'a b'}\n",
        &expect![[r#"
        agent.yaml:1:19: control.socket: a list, expected a text
            control: {socket: [a], group: 'a b'}
                              ^
        agent.yaml:1:31: control.group: "a b", expected the name of a group, no number
            control: {socket: [a], group: 'a b'}
                                          ^
    "#]],
    );
    bad(
        "control: {freeze: 0s}\n",
        &expect![[r#"
        agent.yaml:1:19: control.freeze: "0s" is out of range, expected 1ms to 10s
            control: {freeze: 0s}
                              ^
    "#]],
    );
    bad(
        "control: {freeze: yes}\n",
        &expect![[r#"
        agent.yaml:1:19: control.freeze: "yes" is not a duration, expected a duration such as 15s, 500ms or 1m30s
            control: {freeze: yes}
                              ^
    "#]],
    );
    for none in ["control: {freeze: none}", "control: {freeze: }"] {
        assert_eq!(good(none).control.freeze, None, "{none}");
    }
}

#[test]
fn bad_numbers() {
    bad(
        "web: {reload: 'on', config_file: '', details: nobody}
analysis:
  cycles: {confirmations: 0}
  stuck: {after: 10ms, include: [], exclude: ['[', 7, '']}
  top: {coroutines: -1, waits: 1.5, stuck: many}
limits:
  rounds: 65
  tasks_per_process: 1_000
  scan_time: 5
  scan_bytes: 1024
  cpu_share: .nan
  processes: +5
  series: 1e30
  target_names: 0
",
        &expect![[r#"
            agent.yaml:1:15: web.reload: <hidden>, expected true or false
                web: {reload: <hidden>
                              ^
            agent.yaml:1:34: web.config_file: no path, expected that of a file
                web: {reload: <hidden>
                              ^
            agent.yaml:1:47: web.details: <hidden>, expected loopback or users
                web: {reload: <hidden>
                              ^
            agent.yaml:3:27: analysis.cycles.confirmations: "0", expected a whole number from 1 to 1000
                  cycles: {confirmations: 0}
                                          ^
            agent.yaml:4:18: analysis.stuck.after: "10ms" is out of range, expected 1s to 30d
                  stuck: {after: 10ms, include: [], exclude: ['[', 7, '']}
                                 ^
            agent.yaml:4:33: analysis.stuck.include: the list is empty, expected at least one pattern
                  stuck: {after: 10ms, include: [], exclude: ['[', 7, '']}
                                                ^
            agent.yaml:4:47: analysis.stuck.exclude[0]: `[` without a `]`, expected a pattern such as web-*
                  stuck: {after: 10ms, include: [], exclude: ['[', 7, '']}
                                                              ^
            agent.yaml:4:52: analysis.stuck.exclude[1]: the number 7, expected a text: put it in quotes
                  stuck: {after: 10ms, include: [], exclude: ['[', 7, '']}
                                                                   ^
            agent.yaml:4:55: analysis.stuck.exclude[2]: empty, expected a pattern such as web-*
                  stuck: {after: 10ms, include: [], exclude: ['[', 7, '']}
                                                                      ^
            agent.yaml:5:21: analysis.top.coroutines: "-1", expected a whole number from 0 to 1000
                  top: {coroutines: -1, waits: 1.5, stuck: many}
                                    ^
            agent.yaml:5:32: analysis.top.waits: "1.5", expected a whole number from 0 to 1000
                  top: {coroutines: -1, waits: 1.5, stuck: many}
                                               ^
            agent.yaml:5:44: analysis.top.stuck: "many", expected a whole number from 0 to 1000
                  top: {coroutines: -1, waits: 1.5, stuck: many}
                                                           ^
            agent.yaml:7:11: limits.rounds: "65", expected a whole number from 1 to 64
                  rounds: 65
                          ^
            agent.yaml:8:22: limits.tasks_per_process: "1_000", expected a whole number from 1 to 100000000
                  tasks_per_process: 1_000
                                     ^
            agent.yaml:9:14: limits.scan_time: "5" has no unit: write 5s for seconds, 5ms for milliseconds, expected a duration such as 15s, 500ms or 1m30s
                  scan_time: 5
                             ^
            agent.yaml:10:15: limits.scan_bytes: "1024" has no unit: write 1024B for bytes, expected a size such as 64MiB, 1GiB or 500kB
                  scan_bytes: 1024
                              ^
            agent.yaml:11:14: limits.cpu_share: "NaN", expected a number from 0.001 to 64
                  cpu_share: .nan
                             ^
            agent.yaml:13:11: limits.series: "1000000000000000000000000000000", expected a whole number from 100 to 10000000
                  series: 1e30
                          ^
            agent.yaml:14:17: limits.target_names: "0", expected a whole number from 1 to 100000
                  target_names: 0
                                ^
        "#]],
    );
    bad(
        "analysis: 1
limits:
  rounds: 65
  scan_bytes: 1KiB
  cpu_share: inf
  processes: +5
  target_names: [5]
  more: 1
",
        &expect![[r#"
            agent.yaml:1:11: analysis: the number 1, expected a map with the keys cycles, stuck, top
                analysis: 1
                          ^
            agent.yaml:3:11: limits.rounds: "65", expected a whole number from 1 to 64
                  rounds: 65
                          ^
            agent.yaml:4:15: limits.scan_bytes: "1KiB" is out of range, expected 1MiB to 1TiB
                  scan_bytes: 1KiB
                              ^
            agent.yaml:5:14: limits.cpu_share: "inf", expected a number from 0.001 to 64
                  cpu_share: inf
                             ^
            agent.yaml:7:17: limits.target_names: a list, expected a text
                  target_names: [5]
                                ^
            agent.yaml:8:3: limits.more: unknown key, expected one of: rounds, tasks_per_process, tasks, scan_time, scan_bytes, cpu_share, processes, series, target_names
                  more: 1
                  ^
        "#]],
    );
}

#[test]
fn bad_exporters() {
    bad(
        "exporters:
  prometheus: {port: 1}
  statsd: {}
  otlp:
    endpoint: localhost:4317
    protocol: http
    headers: {'a b': x, A: 1, c: \"é\", d: y}
    headers_file: {D: /x, e: ''}
    tls: {cert_file: a, verify: false}
    compression: zstd
    timeout: 10
    metrics: {interval: 0s, temporality: both}
    spans: {ratio: 2, spans_per_trace: 1}
",
        &expect![[r#"
            agent.yaml:2:16: exporters.prometheus.port: unknown key, expected none
                  prometheus: {<hidden>
                               ^
            agent.yaml:3:3: exporters.statsd: unknown key, expected one of: prometheus, otlp
                  <hidden>
                  ^
            agent.yaml:5:15: exporters.otlp.endpoint: no http:// or https:// in front, expected one such as http://localhost:4317
                    endpoint: <hidden>
                              ^
            agent.yaml:6:15: exporters.otlp.protocol: <hidden>, expected grpc or http/protobuf
                    protocol: <hidden>
                              ^
            agent.yaml:7:15: exporters.otlp.headers.a <hidden>: no name of a header, expected one such as authorization
                    headers: {<hidden>
                              ^
            agent.yaml:7:28: exporters.otlp.headers.A: a number, expected a text: put it in quotes
                    headers: {<hidden>
                              ^
            agent.yaml:7:34: exporters.otlp.headers.c: has characters that no header may have, expected ASCII
                    headers: {<hidden>
                              ^
            agent.yaml:8:20: exporters.otlp.headers_file.D: the header is given twice, expected it once
                    headers_file: {<hidden>
                                   ^
            agent.yaml:8:30: exporters.otlp.headers_file.e: no path, expected that of a file
                    headers_file: {<hidden>
                                   ^
            agent.yaml:9:10: exporters.otlp.tls: cert_file and key_file belong together, expected both or none
                    tls: {cert_file: <hidden>
                         ^
            agent.yaml:9:25: exporters.otlp.tls.verify: unknown key, expected one of: ca_file, cert_file, key_file
                    tls: {cert_file: <hidden>
                                     ^
            agent.yaml:10:18: exporters.otlp.compression: <hidden>, expected none or gzip
                    compression: <hidden>
                                 ^
            agent.yaml:11:14: exporters.otlp.timeout: "10" has no unit: write 10s for seconds, 10ms for milliseconds, expected a duration such as 15s, 500ms or 1m30s
                    timeout: 10
                             ^
            agent.yaml:12:25: exporters.otlp.metrics.interval: "0s" is out of range, expected 10ms to 1d
                    metrics: {interval: 0s, temporality: <hidden>
                                        ^
            agent.yaml:12:42: exporters.otlp.metrics.temporality: <hidden>, expected cumulative or delta or lowmemory
                    metrics: {interval: 0s, temporality: <hidden>
                                                         ^
            agent.yaml:13:20: exporters.otlp.spans.ratio: "2", expected a number from 0 to 1
                    spans: {ratio: 2, spans_per_trace: 1}
                                   ^
            agent.yaml:13:40: exporters.otlp.spans.spans_per_trace: "1", expected a whole number from 10 to 1000000
                    spans: {ratio: 2, spans_per_trace: 1}
                                                       ^
        "#]],
    );
    for endpoint in [
        "http://",
        "http://:4317",
        "http://a:b",
        "http://a:0",
        "http://a:99999",
        "http://[::1",
        "http://[zz]:1",
        "http://a b",
        "http://a/x",
        "http://a?x",
        "http://me:hunter2@a",
        "ftp://a",
        "//a",
    ] {
        let error = parse(&format!("exporters: {{otlp: {{endpoint: '{endpoint}'}}}}")).unwrap_err();
        let [problem] = error.problems() else {
            panic!("{error}")
        };
        assert!(problem.what.contains("expected one such as"), "{problem:?}");
        assert!(!problem.what.contains("hunter2"));
    }
    for endpoint in [
        "http://a",
        "https://a.b-c_d:1/",
        "http://[::1]:4317",
        "http://1.2.3.4:5",
    ] {
        good(&format!("exporters: {{otlp: {{endpoint: '{endpoint}'}}}}"));
    }
}

#[test]
fn lines_can_be_left_out() {
    let error = parse("exporters: {otlp: {headers: {a: hunter2, a: b}}}").unwrap_err();
    assert!(error.to_string().contains("exporters: {"));
    let short = error.without_lines().to_string();
    expect!["agent.yaml:1:42: exporters.otlp.headers.a: duplicate key, expected it once"]
        .assert_eq(&short);
}

#[test]
fn secrets_are_not_shown() {
    bad(
        "exporters:
  otlp:
    endpoint: http://eva:hunter2@host:4317
    header: {authorization: hunter2}
    headers:
      authorization: Bearer hünter2
      x-key: 12345
      x-list: [hunter2]
    protocol: ${SECRET}
    timeout: ${SECRET}s
targets:
- {name: a, match: {command: '(${SECRET}', user: '${SECRET} x'}, interval: '${PORT}'}
",
        &expect![[r#"
            agent.yaml:3:15: exporters.otlp.endpoint: has a user in it, expected one such as http://localhost:4317 and `headers_file` for credentials
                    endpoint: <hidden>
                              ^
            agent.yaml:4:5: exporters.otlp.header: unknown key, expected one of: endpoint, protocol, headers, headers_file, tls, compression, timeout, metrics, spans, enabled
                    <hidden>
                    ^
            agent.yaml:6:22: exporters.otlp.headers.authorization: has characters that no header may have, expected ASCII
                      <hidden>
                      ^
            agent.yaml:7:14: exporters.otlp.headers.x-key: a number, expected a text: put it in quotes
                      <hidden>
                      ^
            agent.yaml:8:15: exporters.otlp.headers.x-list: a list, expected a text
                      <hidden>
                      ^
            agent.yaml:9:15: exporters.otlp.protocol: what "${SECRET}" stands for, expected grpc or http/protobuf
                    protocol: ${SECRET}
                              ^
            agent.yaml:10:14: exporters.otlp.timeout: what "${SECRET}s" stands for is not a duration, expected a duration such as 15s, 500ms or 1m30s
                    timeout: ${SECRET}s
                             ^
            agent.yaml:12:30: targets[0].match.command: unclosed group, expected a regular expression
                - {name: a, match: {command: '(${SECRET}', user: '${SECRET} x'}, interval: '${PORT}'}
                                             ^
            agent.yaml:12:50: targets[0].match.user: what "${SECRET} x" stands for is no user, expected a name such as www-data or a user id
                - {name: a, match: {command: '(${SECRET}', user: '${SECRET} x'}, interval: '${PORT}'}
                                                                 ^
            agent.yaml:12:76: targets[0].interval: what "${PORT}" stands for has no unit: write ${PORT}s for seconds, ${PORT}ms for milliseconds, expected a duration such as 15s, 500ms or 1m30s
                - {name: a, match: {command: '(${SECRET}', user: '${SECRET} x'}, interval: '${PORT}'}
                                                                                           ^
        "#]],
    );
    bad(
        "exporters: {otlp: {headers: hunter2}}",
        &expect![[r#"
        agent.yaml:1:29: exporters.otlp.headers: a text, expected a map from the names of headers to texts
            exporters: {otlp: {headers: <hidden>
                                        ^
    "#]],
    );
    // Nobody can tell where a text ends that is not YAML.
    bad(
        "exporters:\n  otlp:\n    headers:\n      a: 'hunter2\n      b: hunter2\n    protocol: grpc\n: [",
        &expect![[r#"
            agent.yaml:7:4: not valid YAML: found unexpected end of stream, while scanning a quoted scalar at line 4 column 10
                : [
                   ^
        "#]],
    );
}
