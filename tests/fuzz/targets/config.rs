//! Configuration files: good ones give settings that hold what they promise, others a message that is
//! short and safe for a terminal.

use asyncio_agent::config::{
    Matching, Settings, Surroundings, parse, parse_in, parse_web_file, show,
};
use std::collections::HashSet;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // The other form of file is read by the same parts.
    let _ = parse_web_file(Surroundings::NONE, "web.yaml", text);
    let variables = |name: &str| (name != "UNSET").then(|| format!("{name} {{}}: \u{202e}[*"));
    let surroundings = Surroundings {
        variables: &variables,
        base: None,
        files: None,
    };
    if let Ok(settings) = parse_in(surroundings, "agent.yaml", text) {
        check(&settings);
    }
    match parse("agent.yaml", text) {
        Ok(settings) => {
            check(&settings);
            let has_secrets = settings.exporters.otlp.as_ref();
            let has_none = |otlp: &asyncio_agent::config::OtlpSettings| {
                let own = [&otlp.metrics.receiver, &otlp.spans.receiver];
                let all = own.into_iter().flatten().chain([&otlp.receiver]);
                all.into_iter().all(|receiver| receiver.headers.is_empty())
            };
            if has_secrets.is_none_or(has_none) {
                assert_eq!(parse("shown", &show(&settings)), Ok(settings));
            }
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(!error.problems().is_empty());
            assert!(shown.len() < 200_000, "{} bytes", shown.len());
            let is_bad = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
            assert!(!shown.contains(is_bad), "{shown:?}");
            let n_lines = text.lines().count().max(1);
            for problem in error.problems() {
                assert!((1..=n_lines + 1).contains(&problem.line), "{problem:?}");
                assert!(problem.column >= 1);
            }
        }
    }
}

fn check(settings: &Settings) {
    assert!(!settings.web.listen.is_empty());
    assert!(!settings.discovery.interval.is_zero());
    let mut names = HashSet::new();
    for target in &settings.targets {
        if let Some(name) = target.name.as_fixed() {
            assert!(!name.is_empty());
            assert!(names.insert(name));
        }
        assert!(!target.interval.is_zero());
        let Matching::Any(alternatives) = &target.matches else {
            continue;
        };
        assert!(!alternatives.is_empty());
        for conditions in alternatives.iter().chain(&target.exclude) {
            assert_ne!(*conditions, Default::default());
            for command in conditions.commands() {
                let _ = command.is_match(b"python -m app --worker \xff 1");
            }
            for glob in conditions.executable.iter().chain(&conditions.cgroup) {
                let _ = glob.is_match(b"/usr/bin/python \xff");
            }
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        text(include_str!("../../../config/agent.yaml")),
        text(
            "web: {listen: '[::1]:9849'}\ntargets:\n- name: a\n  match: {pid: 1}\n  interval: 5s\n\
             - &b {name: \"\\x1b\", match: {command: 'uvicorn (x|y)+$', pid: 7}}\n- *b\n",
        ),
        text(
            "web: {config_file: web.yaml, reload: true}\ntargets:\n- name: 'w-${q}-${HOME:-x}'\n  \
             match:\n  - {command: '-Q (?P<q>\\w+)', user: celery, cgroup: '/a/**', systemd_unit: 'x@*'}\n  \
             - {parent: {command: '(?P<q>a)', executable: 'p[!y]*'}, container_id: 'abcdef012345'}\n  \
             exclude: {user: 0}\n  labels: {team: a}\n  per_process: true\n- match: auto\n",
        ),
        text(
            "analysis: {cycles: {confirmations: 3}, stuck: {after: 1m30s, include: [a], exclude: []}}\n\
             limits: {scan_bytes: 64MiB, cpu_share: 0.5, rounds: 4}\nexporters:\n  prometheus: {}\n  \
             otlp: {endpoint: 'https://[::1]:4318/a', protocol: http/protobuf, headers: {a: b},\n    \
             headers_file: {c: /d}, tls: {ca_file: /e}, spans: {ratio: 0.1}}\n",
        ),
        text(
            "tls_server_config: {cert_file: a, key_file: b}\nbasic_auth_users: \
             {u: $2y$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234}\n",
        ),
        text("a: &a [x, *b]\n--- |\n  %\n...\n- !tag {? x : 1.5e3, ~: 0x7f}\n"),
    ]
}
