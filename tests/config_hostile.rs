//! Configurations meant to do harm by the messages about them: escapes, very long texts, very many
//! problems.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its end")]
#![cfg(feature = "agent")]

use asyncio_agent::config;
use expect_test::{Expect, expect};
use std::time::Duration;

fn bad(text: &str, expected: &Expect) {
    let error = config::parse("agent.yaml", text).expect_err("it was accepted");
    expected.assert_eq(&format!("{error}\n"));
}

#[test]
fn nothing_of_the_file_reaches_the_terminal_raw() {
    bad(
        "\"\\e[31m\\u202e\\n\": 1
web: {listen: \"\\e[31m\\u202e\"} # \u{202e}
targets:
- name: \"\\e]0;x\\a\"
  match: {command: \"(\\u202e\\e[31m\\r\"}
- name: \"\\e]0;x\\a\"
  match: {command: \"\\n(a\"}
- \"\\e[31m\": !tag 1
",
        &expect![[r#"
            agent.yaml:8:13: not valid YAML: tags (a word after !) have no meaning here
                - <hidden>
                  ^
        "#]],
    );
    bad(
        "\"\\e[31m\\u202e\\n\": 1
web: {listen: \"\\e[31m\\u202e\"} # \u{202e}
targets:
- name: \"\\e]0;x\\a\"
  match: {command: \"(\\u202e\\e[31m\\r\"}
- name: \"\\e]0;x\\a\"
  match: {command: \"\\n(a\"}
",
        &expect![[r#"
            agent.yaml:1:1: \x1b[31m\u202e\n: unknown key, expected one of: web, control, discovery, targets, analysis, limits, exporters
                <hidden>
                ^
            agent.yaml:2:15: web.listen: <hidden> is not an address to listen on, expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'
                web: {listen: <hidden>
                              ^
            agent.yaml:5:20: targets[0].match.command: unclosed character class, expected a regular expression
                  match: {command: "(\u202e\e[31m\r"}
                                   ^
                  (��[31m
                     ^
            agent.yaml:6:9: targets[1].name: another target is named "\u{1b}]0;x\u{7}" too, expected a name of its own
                - name: "\e]0;x\a"
                        ^
            agent.yaml:7:20: targets[1].match.command: unclosed group, expected a regular expression
                  match: {command: "\n(a"}
                                   ^
              ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
              1: 
              2: (a
                 ^
              ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
        "#]],
    );
    let error = config::parse("agent\u{1b}.yaml", "a: 1").unwrap_err();
    assert!(error.to_string().starts_with("agent\\x1b.yaml:1:1: "));
    let path = std::path::Path::new("no\u{1b}[31m");
    let error = config::load(path).unwrap_err();
    assert!(error.to_string().starts_with("no\\x1b[31m: "));
}

#[test]
fn of_very_many_problems_the_first_are_shown() {
    let keys: Vec<_> = (0..4_000).map(|n| format!("key{n}: {{}}\n")).collect();
    let error = config::parse("agent.yaml", &keys.concat()).unwrap_err();
    let lines = error.problems().iter().map(|problem| problem.line);
    assert!(lines.eq(1..=50));
    let shown = error.to_string();
    assert!(
        shown.ends_with("\nagent.yaml: 3950 more problems"),
        "{shown}"
    );
    let error = config::parse("agent.yaml", &keys[..51].concat()).unwrap_err();
    assert!(error.to_string().ends_with(": 1 more problem"));
    let error = config::parse("agent.yaml", &keys[..50].concat()).unwrap_err();
    assert!(!error.to_string().contains("more problem"));
    // The order is that of the text, not that in which they are found.
    let late = format!("web: {{listen: x}}\n{}", keys.concat());
    let error = config::parse("agent.yaml", &late).unwrap_err();
    assert_eq!(error.problems()[0].path, "web.listen");
}

#[test]
fn very_many_problems_take_time_in_proportion() {
    // Those that are shown stand at the end, and are of all kinds; one is told at an alias.
    let good = "- {name: 'N', match: {pid: 1}}\n";
    let good: String = (0..12_000)
        .map(|at| good.replace('N', &format!("t{at}")))
        .collect();
    let bad = "- {match: &a {pid: x}}\n- {name: [a], match: *a}\n- x\n- \n  - y\n- {}\n";
    let bad: String = (0..10).map(|_| bad).collect();
    let text = format!("targets:\n{good}{bad}");
    // The clock of the processor alone: tests run side by side.
    let (took_good, _) = read(&format!("targets:\n{good}"));
    let (took, told) = read(&text);
    assert!(told.contains("\nagent.yaml: 30 more problems"), "{told}");
    assert!(took < 8 * took_good, "{took:?}, {took_good:?}");
    // All of them in one line, with what is hidden.
    let line = "{token: x, match: {pid: xx}}, ".repeat(12_000);
    let (took, told) = read(&format!("targets: [{line}]"));
    assert!(told.contains("token: <hidden>"), "{told}");
    assert!(took < 20 * took_good, "{took:?}, {took_good:?}");
}

#[test]
fn long_texts_are_cut() {
    let long = "x".repeat(200_000);
    for text in [
        format!("{long}: 1"),
        format!("targets: [{{name: a, match: {{command: '{long}('}}}}]"),
        format!("targets: [{{name: a, match: {{command: '({long}'}}}}]"),
        format!(
            "targets: [{{name: a, match: {{command: \"{}\"}}}}]",
            "(\\n".repeat(50_000)
        ),
        format!("targets: [{{name: a, match: {{pid: '{long}'}}}}]"),
        format!("targets: [{{name: a, match: {{pid: 1}}, interval: '{long}'}}]"),
        format!(
            "targets: [{{name: a, match: {{pid: 1}}, interval: '{}'}}]",
            "1".repeat(200_000)
        ),
        format!("targets: [{{{long}: !x 1}}]"),
        format!("web: {{listen: '{long}'}}"),
        format!("web: '{long}'"),
    ] {
        let error = config::parse("agent.yaml", &text).unwrap_err();
        let shown = error.to_string();
        assert!(shown.len() < 4_000, "{}: {}", shown.len(), &shown[..4_000]);
    }
    let marked = format!("targets: [{{name: a, match: {{command: '{long}[z-a]{long}'}}}}]");
    let shown = config::parse("agent.yaml", &marked)
        .unwrap_err()
        .to_string();
    let mut lines = shown.lines().skip_while(|line| !line.contains("[z-a]"));
    let (pattern, marks) = (lines.next().unwrap(), lines.next().unwrap());
    assert_eq!(pattern.find("z-a"), marks.find("^^^"), "{shown}");
}

#[test]
fn aliases_do_not_blow_up() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        text += &format!("a{level}: &a{level} [{before}]\n");
    }
    let error = config::parse("agent.yaml", &text).unwrap_err();
    assert_eq!(error.problems().len(), 1);
}

/// The largest file that is read.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Processor time that reading a text takes.
fn read(text: &str) -> (Duration, String) {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    let taken = || Duration::from(clock.now().unwrap());
    let before = taken();
    let read = config::parse("agent.yaml", text);
    let error = read.map_or_else(|error| error.to_string(), |_| String::new());
    (taken() - before, error)
}

#[test]
fn what_is_nested_deeply_is_refused_before_it_is_parsed() {
    for level in ["[", "{a: ", "[\n", "targets: [{match: ", "['[', "] {
        let text = level.repeat(FILE_BYTES_MAX / level.len());
        let (_, error) = read(&text);
        let what = "not valid YAML: more than 100 lists and maps within one another";
        assert!(error.contains(what), "{level}: {error}");
    }
    bad(
        &"- {a:\n".repeat(101).replace("- ", ""),
        &expect![[r#"
            agent.yaml:101:1: not valid YAML: more than 100 lists and maps within one another
                {<hidden>
                ^
        "#]],
    );
}

#[test]
fn what_is_nested_as_deeply_as_allowed_takes_time_in_proportion() {
    let level = "[".repeat(99) + &"]".repeat(99);
    let of = |bytes: usize| read(&format!("- {level}\n").repeat(bytes / level.len()));
    let (half, error) = of(FILE_BYTES_MAX / 2);
    assert!(error.contains("more than 200000 keys"), "{error}");
    let (whole, _) = of(FILE_BYTES_MAX);
    assert!(whole < 3 * half, "{whole:?} and {half:?}");
}

#[test]
fn patterns_take_a_bounded_amount_of_memory() {
    let config = |n: usize, pattern: &str| {
        let targets =
            (0..n).map(|n| format!("- {{name: a{n}, match: {{command: '{pattern}{n}'}}}}\n"));
        format!("targets:\n{}", targets.collect::<String>())
    };
    // Room for many ordinary ones.
    assert!(config::parse("agent.yaml", &config(300, r"uvicorn checkout\.main:app ")).is_ok());
    bad(
        &config(1, r"a{1000}{1000}"),
        &expect![[r#"
            agent.yaml:2:31: targets[0].match.command: takes too much memory, expected at most 8 MiB for one pattern and 64 MiB for those of all targets
                - {name: a0, match: {command: 'a{1000}{1000}0'}}
                                              ^
        "#]],
    );
    let error = config::parse("agent.yaml", &config(12, r"a{1000}{100}")).unwrap_err();
    let first = &error.problems()[0];
    assert!(
        first.line > 8 && first.what.starts_with("takes too much memory"),
        "{first:?}"
    );
}

#[test]
fn tags_are_refused_wherever_they_stand() {
    for (text, line, column) in [
        ("targets: !foo []\n", 1, 10),
        ("targets: !!python/object:os.system []\n", 1, 10),
        (
            "web:\n  listen: !!python/object/apply:os.system ['id']\n",
            2,
            11,
        ),
        (
            "web: {listen: !<tag:example.com,2000:x> '127.0.0.1:1'}\n",
            1,
            15,
        ),
        ("web: {listen: !<foo> '127.0.0.1:1'}\n", 1, 15),
        ("targets:\n- !!set {name: a}\n", 2, 3),
        ("? !!binary targets\n: []\n", 1, 3),
        (
            "%TAG ! tag:example.com,2000:\n---\ntargets: !foo []\n",
            1,
            1,
        ),
    ] {
        let error = config::parse("agent.yaml", text).unwrap_err();
        let problem = &error.problems()[0];
        let what = "tags (a word after !) have no meaning here";
        assert!(problem.what.contains(what), "{text}\n{error}");
        assert_eq!((problem.line, problem.column), (line, column), "{error}");
    }
    // What is no tag, and what only says what a value is anyway.
    for text in [
        "web: {listen: !!str 127.0.0.1:1} # !!python/object\n",
        "targets: [{name: '!!python/object', match: {command: \"a !<b> !!c\"}}]\n",
        "targets:\n- name: a\n  match:\n    command: |\n      !!python/object\n",
    ] {
        config::parse("agent.yaml", text).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_reference_without_braces_is_no_name() {
    let read = |name: &str| {
        let text = format!("targets: [{{name: '{name}', match: {{command: '(x)(?P<q>y)$'}}}}]\n");
        config::parse("agent.yaml", &text)
    };
    for (name, expected) in [
        ("w-$1", "\"$1\" has no braces, expected ${1} for a capture"),
        ("$q.$1", "\"$q\" has no braces, expected ${q} for a capture"),
        ("${1}$HOME-x", "\"$HOME\" has no braces, expected ${HOME}"),
    ] {
        let error = read(name).unwrap_err();
        let problem = &error.problems()[0];
        assert_eq!(problem.path, "targets[0].name");
        assert!(problem.what.starts_with(expected), "{error}");
        assert!(problem.what.ends_with("or $$ for $ itself"), "{error}");
    }
    for (name, filled) in [
        ("w-$$1", "w-$1"),
        ("$$$1 $ $$ $-$", "$$1 $ $$ $-$"),
        ("${1}$${q}$$q", "<1>${q}$q"),
    ] {
        let settings = read(name).unwrap();
        let config::TargetName::Text(template) = &settings.targets[0].name else {
            panic!("{settings:?}")
        };
        assert_eq!(template.fill(|group| Some(format!("<{group}>"))), filled);
        // What is shown is read again as the same.
        let again = read(&template.to_string()).unwrap();
        assert_eq!(again.targets, settings.targets);
    }
}
