//! Configuration files: good ones give settings that hold what they promise, others a message that is
//! short and safe for a terminal.

use asyncio_agent::config::{Settings, parse};
use std::collections::HashSet;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match parse("agent.yaml", text) {
        Ok(settings) => check(&settings),
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
        assert!(!target.name.is_empty());
        assert!(names.insert(&target.name));
        assert!(!target.interval.is_zero());
        assert!(target.matches.pid.is_some() || target.matches.command.is_some());
        if let Some(command) = &target.matches.command {
            let _ = command.is_match(b"python -m app --worker \xff 1");
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
        text("a: &a [x, *b]\n--- |\n  %\n...\n- !tag {? x : 1.5e3, ~: 0x7f}\n"),
    ]
}
