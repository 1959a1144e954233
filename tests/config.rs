//! The configuration: text in, settings or problems out.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its end")]
#![cfg(feature = "agent")]
#![expect(
    clippy::too_many_lines,
    reason = "most of them are the texts compared with"
)]

use asyncio_agent::config::{
    self, MatchSettings, Matching, OtlpSettings, Settings, TargetSettings,
};
use asyncio_agent::ids::Pid;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::time::Duration;

const DEFAULTS: &str = include_str!("../config/agent.yaml");

fn good(text: &str) -> Settings {
    config::parse("agent.yaml", text).unwrap_or_else(|error| panic!("{error}"))
}

fn bad(text: &str, expected: &Expect) {
    let error = config::parse("agent.yaml", text).expect_err("it was accepted");
    expected.assert_eq(&format!("{error}\n"));
}

#[test]
fn the_shipped_file_says_the_defaults() {
    assert_eq!(good(DEFAULTS), Settings::default());
}

#[test]
fn the_example_in_the_shipped_file_is_good() {
    let (_, example) = DEFAULTS.split_once("targets: auto\n").unwrap();
    let (example, _) = example.split_once("\n\n").unwrap();
    let lines = example.lines().map(|line| {
        let line = line.strip_prefix("# ").unwrap();
        format!("{line}\n")
    });
    let example: String = lines.collect();
    let settings = good(&example.replace("# pid:", "pid:"));
    let [target] = &settings.targets[..] else {
        panic!("{settings:?}")
    };
    assert_eq!(target.name.as_fixed(), Some("checkout-api"));
    assert_eq!(target.interval, TargetSettings::INTERVAL_DEFAULT);
    let [matches] = alternatives(target) else {
        panic!("{target:?}")
    };
    assert_eq!(matches.pid, Pid::new(4242));
    let command = matches.command.as_ref().unwrap();
    assert!(command.is_match(b"/usr/bin/python3.14 -m checkout_api --port 80"));
    assert!(matches.parent.is_some() && matches.container_id.is_some());
}

#[test]
fn the_section_for_otlp_in_the_shipped_file_says_the_defaults() {
    let (_, section) = DEFAULTS.split_once("# otlp:\n").unwrap();
    let lines = section.lines().map(|line| {
        let line = line.strip_prefix("  # ").unwrap();
        format!("  {line}\n")
    });
    let section: String = lines.collect();
    let settings = good(&format!("exporters:\n  otlp:\n{section}"));
    assert_eq!(settings.exporters.otlp, Some(OtlpSettings::default()));
    let switched_off = section.replacen("true", "false", 1);
    let settings = good(&format!("exporters:\n  otlp:\n{switched_off}"));
    assert_eq!(settings.exporters.otlp, None);
}

fn alternatives(target: &TargetSettings) -> &[MatchSettings] {
    match &target.matches {
        Matching::Any(alternatives) => alternatives,
        Matching::Auto => panic!("{target:?}"),
    }
}

#[test]
fn nothing_means_the_defaults() {
    for text in [
        "",
        "\n",
        "# only a comment\n",
        "---\n",
        "{}",
        "null",
        "web:\ndiscovery:\ntargets:\n",
        "web: {listen: }",
    ] {
        assert_eq!(good(text), Settings::default(), "{text:?}");
    }
}

#[test]
fn everything_can_be_set() {
    let settings = good(
        "web: {listen: ['127.0.0.1:1', '[::1]:0', '[::1]:0']}
discovery: {interval: 2s}
targets:
  - {name: a, match: {pid: 4242}, interval: 500ms}
  - name: \"b \\\"c\\\" \\n 中文\"
    match: &both
      pid: '7'
      command: ^python3 -m app( |$)
  - {name: c, match: *both}
",
    );
    let addresses = settings.web.listen.iter().map(ToString::to_string);
    assert!(addresses.eq(["127.0.0.1:1", "[::1]:0", "[::1]:0"]));
    assert_eq!(settings.discovery.interval, Duration::from_secs(2));
    let [a, b, c] = &settings.targets[..] else {
        panic!("{settings:?}")
    };
    assert_eq!(a.interval, Duration::from_millis(500));
    assert_eq!(alternatives(a)[0].command, None);
    assert_eq!(b.name.as_fixed(), Some("b \"c\" \n 中文"));
    assert_eq!(alternatives(b)[0].pid, Pid::new(7));
    assert_eq!(b.matches, c.matches);
}

#[test]
fn all_problems_are_told_at_once() {
    bad(
        "web:
  listen: localhost:9849
  listem: 1
discovery:
  interval: 5
targets:
  - name: ''
    match: {pid: 0}
  - match: {}
    interval: 15 s
    interval: 5s
  - name: web
    match: {command: 'a(b'}
    interval: 1ms
  - name: web
    match: {cmd: x}
  - 7
extra: {a: b}
",
        &expect![[r#"
            agent.yaml:2:11: web.listen: "localhost:9849" is not an address to listen on, expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'
                  listen: localhost:9849
                          ^
            agent.yaml:3:3: web.listem: unknown key, expected one of: listen, config_file, details, reload
                  <hidden>
                  ^
            agent.yaml:5:13: discovery.interval: "5" has no unit: write 5s for seconds, 5ms for milliseconds, expected a duration such as 15s, 500ms or 1m30s
                  interval: 5
                            ^
            agent.yaml:7:11: targets[0].name: empty, expected the name of the target
                  - name: ''
                          ^
            agent.yaml:8:18: targets[0].match.pid: "0" is not a process id, expected a whole number from 1 to 2147483647
                    match: {pid: 0}
                                 ^
            agent.yaml:9:5: targets[1].name: missing, expected the name of the target
                  - match: {}
                    ^
            agent.yaml:9:12: targets[1].match: no condition is given, expected one or more of: executable, command, user, systemd_unit, cgroup, container_id, parent, pid
                  - match: {}
                           ^
            agent.yaml:10:15: targets[1].interval: "15 s" is not a duration: the units are d, h, m, s and ms, expected a duration such as 15s, 500ms or 1m30s
                    interval: 15 s
                              ^
            agent.yaml:11:5: targets[1].interval: duplicate key, expected it once
                    interval: 5s
                    ^
            agent.yaml:13:22: targets[2].match.command: unclosed group, expected a regular expression
                    match: {command: 'a(b'}
                                     ^
                  a(b
                   ^
            agent.yaml:14:15: targets[2].interval: "1ms" is out of range, expected 10ms to 1d
                    interval: 1ms
                              ^
            agent.yaml:15:11: targets[3].name: another target is named "web" too, expected a name of its own
                  - name: web
                          ^
            agent.yaml:16:13: targets[3].match.cmd: unknown key, expected one of: executable, command, user, systemd_unit, cgroup, container_id, parent, pid
                    match: {cmd: x}
                            ^
            agent.yaml:17:5: targets[4]: the number 7, expected a map with the keys name, match, exclude, interval, labels, per_process, spans
                  - 7
                    ^
            agent.yaml:18:1: extra: unknown key, expected one of: web, control, discovery, targets, analysis, limits, exporters
                <hidden>
                ^
        "#]],
    );
}

#[test]
fn shapes_that_do_not_fit() {
    bad(
        "7",
        &expect![[r#"
            agent.yaml:1:1: a number, expected a map with the keys web, control, discovery, targets, analysis, limits, exporters
                <hidden>
                ^
        "#]],
    );
    bad(
        "- web\n",
        &expect![[r#"
            agent.yaml:1:1: a list, expected a map with the keys web, control, discovery, targets, analysis, limits, exporters
                - web
                ^
        "#]],
    );
    bad(
        "web: yes\ndiscovery: []\ntargets: {a: b}\n",
        &expect![[r#"
            agent.yaml:1:6: web: a text, expected a map with the keys listen, config_file, details, reload
                web: <hidden>
                     ^
            agent.yaml:2:12: discovery: a list, expected a map with the keys interval
                discovery: []
                           ^
            agent.yaml:3:10: targets: a map, expected `auto` or a list of targets
                targets: {a: b}
                         ^
        "#]],
    );
    bad(
        "web: {listen: [9849, {a: b}, '', '127.0.0.1', ':9849', 1.2.3.4:99999]}",
        &expect![[r#"
            agent.yaml:1:16: web.listen[0]: "9849" is not an address to listen on, expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'
                web: {listen: [<hidden>
                               ^
            agent.yaml:1:22: web.listen[1]: a map, expected a text
                web: {listen: [<hidden>
                               ^
            agent.yaml:1:30: web.listen[2]: <hidden> is not an address to listen on, expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'
                web: {listen: [<hidden>
                               ^
            agent.yaml:1:34: web.listen[3]: <hidden> is not an address to listen on, expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'
                web: {listen: [<hidden>
                               ^
            agent.yaml:1:47: web.listen[4]: <hidden> is not an address to listen on, expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'
                web: {listen: [<hidden>
                               ^
            agent.yaml:1:56: web.listen[5]: "1.2.3.4:99999" is not an address to listen on, expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'
                web: {listen: [<hidden>
                               ^
        "#]],
    );
    bad(
        "web: {listen: []}\n",
        &expect![[r#"
        agent.yaml:1:15: web.listen: the list is empty, expected at least one address
            web: {listen: []}
                          ^
    "#]],
    );
    bad(
        "web: {listen: ['127.0.0.1:80', '127.0.0.1:80']}\n",
        &expect![[r#"
            agent.yaml:1:32: web.listen[1]: 127.0.0.1:80 is listed twice, expected each address once
                web: {listen: [<hidden>
                               ^
        "#]],
    );
    bad(
        "targets:\n- name: 12\n  match: {pid: abc, command: true}\n- name: [a]\n  match: x\n- {}\n",
        &expect![[r#"
            agent.yaml:2:9: targets[0].name: the number 12, expected a text: put it in quotes
                - name: 12
                        ^
            agent.yaml:3:16: targets[0].match.pid: "abc" is not a process id, expected a whole number from 1 to 2147483647
                  match: {pid: abc, command: true}
                               ^
            agent.yaml:3:30: targets[0].match.command: the truth value true, expected a text: put it in quotes
                  match: {pid: abc, command: true}
                                             ^
            agent.yaml:4:9: targets[1].name: a list, expected a text
                - name: [a]
                        ^
            agent.yaml:5:10: targets[1].match: the text "x", expected `auto`, or a map with one or more of these conditions, or a list of such maps: executable, command, user, systemd_unit, cgroup, container_id, parent, pid
                  match: x
                         ^
            agent.yaml:6:3: targets[2].match: missing, expected `auto`, or a map with one or more of these conditions, or a list of such maps: executable, command, user, systemd_unit, cgroup, container_id, parent, pid
                - {}
                  ^
            agent.yaml:6:3: targets[2].name: missing, expected the name of the target
                - {}
                  ^
        "#]],
    );
    bad(
        "targets:\n- {name: a, match: {command: ''}}\n- {name: b, match: {pid: 99999999999}}\n",
        &expect![[r#"
            agent.yaml:2:30: targets[0].match.command: empty, expected a regular expression to look for in the command line
                - {name: a, match: {command: ''}}
                                             ^
            agent.yaml:3:26: targets[1].match.pid: "99999999999" is not a process id, expected a whole number from 1 to 2147483647
                - {name: b, match: {pid: 99999999999}}
                                         ^
        "#]],
    );
}

#[test]
fn duplicate_and_odd_keys() {
    bad(
        "web: {listen: '127.0.0.1:1'}\nweb: {listen: '127.0.0.1:2'}\n",
        &expect![[r#"
            agent.yaml:2:1: web: duplicate key, expected it once
                web: {listen: '127.0.0.1:2'}
                ^
        "#]],
    );
    bad(
        "1: a\n? [x]\n: b\n~: c\n",
        &expect![[r#"
            agent.yaml:1:1: a key is a number, expected a text
                <hidden>
                ^
            agent.yaml:2:3: a key is a list, expected a text
                ? [<hidden>
                  ^
            agent.yaml:4:1: a key is nothing, expected a text
                <hidden>
                ^
        "#]],
    );
    bad(
        "base: &b {interval: 1s}\ndiscovery:\n  <<: *b\n",
        &expect![[r#"
            agent.yaml:1:1: base: unknown key, expected one of: web, control, discovery, targets, analysis, limits, exporters
                <hidden>
                ^
            agent.yaml:3:3: discovery.<<: unknown key, expected one of: interval
                  <<: *b
                  ^
        "#]],
    );
}

#[test]
fn durations() {
    bad(
        "targets:
- {name: a, match: {pid: 1}, interval: 15}
- {name: b, match: {pid: 1}, interval: '15'}
- {name: c, match: {pid: 1}, interval: 1.5s}
- {name: d, match: {pid: 1}, interval: 5 minutes}
- {name: e, match: {pid: 1}, interval: 0s}
- {name: f, match: {pid: 1}, interval: 25h}
- {name: g, match: {pid: 1}, interval: ''}
- {name: h, match: {pid: 1}, interval: -5s}
- {name: i, match: {pid: 1}, interval: 1s1m}
- {name: j, match: {pid: 1}, interval: true}
",
        &expect![[r#"
            agent.yaml:2:40: targets[0].interval: "15" has no unit: write 15s for seconds, 15ms for milliseconds, expected a duration such as 15s, 500ms or 1m30s
                - {name: a, match: {pid: 1}, interval: 15}
                                                       ^
            agent.yaml:3:40: targets[1].interval: "15" has no unit: write 15s for seconds, 15ms for milliseconds, expected a duration such as 15s, 500ms or 1m30s
                - {name: b, match: {pid: 1}, interval: '15'}
                                                       ^
            agent.yaml:4:40: targets[2].interval: "1.5s" is not a duration: the units are d, h, m, s and ms, expected a duration such as 15s, 500ms or 1m30s
                - {name: c, match: {pid: 1}, interval: 1.5s}
                                                       ^
            agent.yaml:5:40: targets[3].interval: "5 minutes" is not a duration: the units are d, h, m, s and ms, expected a duration such as 15s, 500ms or 1m30s
                - {name: d, match: {pid: 1}, interval: 5 minutes}
                                                       ^
            agent.yaml:6:40: targets[4].interval: "0s" is out of range, expected 10ms to 1d
                - {name: e, match: {pid: 1}, interval: 0s}
                                                       ^
            agent.yaml:7:40: targets[5].interval: "25h" is out of range, expected 10ms to 1d
                - {name: f, match: {pid: 1}, interval: 25h}
                                                       ^
            agent.yaml:8:40: targets[6].interval: it is empty, expected a duration such as 15s, 500ms or 1m30s
                - {name: g, match: {pid: 1}, interval: ''}
                                                       ^
            agent.yaml:9:40: targets[7].interval: "-5s" is not a duration, expected a duration such as 15s, 500ms or 1m30s
                - {name: h, match: {pid: 1}, interval: -5s}
                                                       ^
            agent.yaml:10:40: targets[8].interval: "1s1m" is not a duration: each unit once, largest first, expected a duration such as 15s, 500ms or 1m30s
                - {name: i, match: {pid: 1}, interval: 1s1m}
                                                       ^
            agent.yaml:11:40: targets[9].interval: "true" is not a duration, expected a duration such as 15s, 500ms or 1m30s
                - {name: j, match: {pid: 1}, interval: true}
                                                       ^
        "#]],
    );
}

#[test]
fn patterns() {
    bad(
        "targets:
- name: a
  match: {command: 'python(.*'}
- name: b
  match:
    command: \"[z-a]\"
- name: c
  match: {command: '\\p{Nope}'}
- name: d
  match: {command: 'a{1000}{1000}{1000}'}
",
        &expect![[r#"
            agent.yaml:3:20: targets[0].match.command: unclosed group, expected a regular expression
                  match: {command: 'python(.*'}
                                   ^
                  python(.*
                        ^
            agent.yaml:6:14: targets[1].match.command: invalid character class range, the start must be <= the end, expected a regular expression
                    command: "[z-a]"
                             ^
                  [z-a]
                   ^^^
            agent.yaml:8:20: targets[2].match.command: Unicode property not found, expected a regular expression
                  match: {command: '\p{Nope}'}
                                   ^
                  \p{Nope}
                  ^^^^^^^^
            agent.yaml:10:20: targets[3].match.command: takes too much memory, expected at most 8 MiB for one pattern and 64 MiB for those of all targets
                  match: {command: 'a{1000}{1000}{1000}'}
                                   ^
        "#]],
    );
}

#[test]
fn the_second_document_is_found() {
    for (text, line) in [
        ("web: {}\n---\nweb: {}\n", 2),
        ("%YAML 1.1\n# a\n---\nweb: {}\n--- # b\nweb: {}\n", 5),
        ("---\n---\n", 2),
        ("web: {}\n...\n\n# c\nweb: {}\n", 5),
        ("web: {listen: '---\n ---'}\n--- {}\n", 3),
    ] {
        let error = config::parse("agent.yaml", text).unwrap_err();
        let [problem] = error.problems() else {
            panic!("{error}")
        };
        assert!(problem.what.contains("more than one document"), "{error}");
        assert_eq!((problem.line, problem.column), (line, 1), "{text:?}");
    }
}

#[test]
fn text_that_is_not_yaml() {
    bad(
        "web: [\n",
        &expect![[r#"
            agent.yaml:2:1: not valid YAML: did not find expected node content, while parsing a flow node
        "#]],
    );
    bad(
        "web: {listen: a\ndiscovery: 7\n",
        &expect![[r#"
            agent.yaml:2:10: not valid YAML: did not find expected ',' or '}', while parsing a flow mapping at line 1 column 6
                discovery: <hidden>
                         ^
        "#]],
    );
    bad(
        "web:\n\tlisten: a\n",
        &expect![[r#"
            agent.yaml:2:1: not valid YAML: found character that cannot start any token, while scanning for the next token
                	listen: <hidden>
                ^
        "#]],
    );
    bad(
        "a: b: c\n",
        &expect![[r#"
            agent.yaml:1:5: not valid YAML: mapping values are not allowed in this context
                <hidden>
                ^
        "#]],
    );
    bad(
        "web: *nowhere\n",
        &expect![[r#"
            agent.yaml:1:6: not valid YAML: unknown anchor
                web: <hidden>
                     ^
        "#]],
    );
    bad(
        "web: !secret x\n",
        &expect![[r#"
            agent.yaml:1:6: not valid YAML: tags (a word after !) have no meaning here
                web: <hidden>
                     ^
        "#]],
    );
    bad(
        "web: {}\n---\nweb: {}\n",
        &expect![[r#"
            agent.yaml:2:1: not valid YAML: deserializing from YAML containing more than one document is not supported
                ---
                ^
        "#]],
    );
    bad(
        "a: \u{1}\n",
        &expect![[r#"
            agent.yaml:1:4: not valid YAML: control characters are not allowed
                <hidden>
                ^
        "#]],
    );
    bad(
        &"[".repeat(10_000),
        &expect![[r#"
            agent.yaml:1:101: not valid YAML: more than 100 lists and maps within one another
                [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[
                                                                                                                    ^
        "#]],
    );
}

#[test]
fn the_place_is_found_in_long_and_wide_lines() {
    let long = format!("web: {{{}listen: bad}}\n", " ".repeat(300));
    bad(
        &long,
        &expect![[r#"
            agent.yaml:1:315: web.listen: <hidden> is not an address to listen on, expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'
                                                                                                            listen: <hidden>
                                                                                                                    ^
        "#]],
    );
    bad(
        "targets:\n- {name: 中文, match: {pid: 1}, interval: 5}\n",
        &expect![[r#"
            agent.yaml:2:41: targets[0].interval: "5" has no unit: write 5s for seconds, 5ms for milliseconds, expected a duration such as 15s, 500ms or 1m30s
                - {name: 中文, match: {pid: 1}, interval: 5}
                                                        ^
        "#]],
    );
    bad(
        "\u{feff}# a\u{2028}b\u{85}c\n'中\u{2029}文\u{85}': 1\n🎵: 2\n",
        &expect![[r#"
            agent.yaml:2:7: not valid YAML: mapping values are not allowed in this context
                <hidden>
                ^
        "#]],
    );
    let windows = "web:\r\n  listen: bad\r\n";
    bad(
        windows,
        &expect![[r#"
            agent.yaml:2:11: web.listen: <hidden> is not an address to listen on, expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'
                  listen: <hidden>
                          ^
        "#]],
    );
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.yaml");
    let message = |error: config::ConfigError| {
        let shown = error.to_string();
        shown.replace(&path.display().to_string(), "agent.yaml")
    };
    let missing = message(config::load(&path).unwrap_err());
    expect!["agent.yaml: No such file or directory (os error 2)"].assert_eq(&missing);
    std::fs::write(&path, b"web:\n  listen: \xff\n").unwrap();
    let latin = message(config::load(&path).unwrap_err());
    expect![[r#"
        agent.yaml:2:11: the byte 0xff is not UTF-8 text, expected a file in UTF-8
              listen: <hidden>
                      ^"#]]
    .assert_eq(&latin);
    std::fs::write(&path, b"\xef\xbb\xbf# \xc3\xa9\xe9\n").unwrap();
    let late = message(config::load(&path).unwrap_err());
    expect![[r#"
        agent.yaml:1:4: the byte 0xe9 is not UTF-8 text, expected a file in UTF-8
            <hidden>
            ^"#]]
    .assert_eq(&late);
    std::fs::write(&path, b"\xff\xfew\0e\0b\0").unwrap();
    let wide = message(config::load(&path).unwrap_err());
    expect![[r#"
        agent.yaml:1:1: the byte 0xff is not UTF-8 text, expected a file in UTF-8
            <hidden>
            ^"#]]
    .assert_eq(&wide);
    // So is a file that the first one names.
    std::fs::write(&path, "web: {config_file: web.yaml}\n").unwrap();
    std::fs::write(dir.path().join("web.yaml"), b"# \x80\n").unwrap();
    let error = config::load_with_web_file(&path).unwrap_err().to_string();
    let shown = error.replace(&dir.path().display().to_string(), "");
    expect![[r#"
        /web.yaml:1:3: the byte 0x80 is not UTF-8 text, expected a file in UTF-8
            <hidden>
            ^"#]]
    .assert_eq(&shown);
    std::fs::write(&path, "#".repeat(5 << 20)).unwrap();
    assert!(config::load(&path).is_err());
    assert!(config::load(dir.path()).is_err());
    std::fs::write(&path, "web: {listen: 127.0.0.1:0}").unwrap();
    assert_eq!(config::load(&path).unwrap().web.listen[0].port(), 0);
}

/// Whatever comes in: settings, or problems that point into the text.
fn check_any(text: &str) {
    if let Err(error) = config::parse("f", text) {
        assert!(!error.problems().is_empty());
        for problem in error.problems() {
            assert!(problem.line >= 1 && problem.column >= 1);
            let line = text.split('\n').nth(problem.line - 1);
            let n_chars = line.map(|line| line.chars().count());
            assert!(n_chars.is_some_and(|n| problem.column <= n + 1), "{error}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        check_any(&text);
    }

    #[test]
    fn any_pieces_of_yaml_are_answered(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("web:"), Just("targets:"), Just("- "), Just("name: "), Just("match: "),
                Just("listen: "), Just("interval: "), Just("pid: "), Just("command: "),
                Just("limits:"), Just("analysis: {stuck: {exclude: "), Just("exporters: {otlp: {"),
                Just("match: auto"), Just("parent: {"), Just("exclude: "), Just("labels: {"),
                Just("${"), Just("${A}"), Just("${q:-x}"), Just("headers: {"), Just("endpoint: "),
                Just("{"), Just("}"), Just("["), Just("]"), Just(", "), Just("\n"), Just("\n  "),
                Just("\n    "), Just("5s"), Just("x"), Just("'"), Just("\""), Just("&a "),
                Just("*a"), Just("? "), Just("!t "), Just("~"), Just("| "), Just("# "), Just("%"),
            ],
            0..40,
        )
    ) {
        check_any(&pieces.concat());
    }

    #[test]
    fn the_shipped_file_with_a_fault_is_answered(
        at in any::<prop::sample::Index>(), cut in 0_usize..20, put in "\\PC{0,3}"
    ) {
        let text = DEFAULTS.replace("# targets:", "targets:").replace("\n# ", "\n");
        let chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        let mut damaged: String = chars[..at].iter().collect();
        damaged += &put;
        damaged.extend(&chars[(at + cut).min(chars.len())..]);
        check_any(&damaged);
    }
}
