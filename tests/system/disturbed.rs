//! What happens to a service that is reloaded, hangs, is killed, or loses what it watches.

use super::*;

/// Less patience than the unit has, so that the tests need less.
fn hurry(machine: &Machine) {
    machine.write(
        "/etc/systemd/system/asyncio-agent.service.d/hurry.conf",
        "[Service]\nWatchdogSec=2s\nRestartSec=100ms\nTimeoutStopSec=2s\n",
    );
    machine.sh("systemctl daemon-reload; systemctl restart asyncio-agent");
    wait_until("all services are read", || is_everything_read(machine));
}

fn starts_of_services(machine: &Machine) -> Vec<String> {
    let services = ["shop", "pool", "ring"];
    services.map(|it| machine.main_pid(it)).to_vec()
}

#[test]
fn a_good_configuration_is_taken_and_a_bad_one_changes_nothing() {
    let machine = machine_with_agent();
    let pid = machine.main_pid(AGENT);
    let edit = |from: &str, to: &str| machine.sh(&format!("sed -i 's/{from}/{to}/' {CONFIG}"));
    let targets = || {
        let answer = machine.run(&["agentctl", "targets", "--agent"]);
        check_done(&answer);
        let mut names: Vec<_> = first_column(&answer)
            .into_iter()
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        names
    };
    edit("name: shop", "name: boutique");
    machine.sh("systemctl reload asyncio-agent");
    wait_until("the new name is there", || {
        targets() == ["boutique", "pool", "ring"]
    });

    edit("name: boutique", "nome: bazaar");
    let answer = machine.run(&["systemctl", "reload", "asyncio-agent"]);
    assert_ne!(answer.status, 0, "{answer:?}");
    assert_eq!(targets(), ["boutique", "pool", "ring"]);
    assert_eq!(machine.property(AGENT, "ActiveState"), "active");
    let log = machine.log(AGENT);
    let place = format!("{CONFIG}:");
    assert!(
        log.lines()
            .any(|line| line.contains(&place) && line.contains("nome")),
        "{log}"
    );
    // The running agent was not even asked.
    let successful = machine.series("asyncio_agent_config_last_reload_successful");
    assert_eq!(successful.as_deref(), Some("1"));

    edit("nome: bazaar", "name: bazaar");
    machine.sh("systemctl reload asyncio-agent");
    wait_until("the newest name is there", || {
        targets() == ["bazaar", "pool", "ring"]
    });
    assert_eq!(machine.main_pid(AGENT), pid, "it has run all the while");

    // A bad one is not started with either, and that is not tried again and again.
    edit("name: bazaar", "nome: bazaar");
    assert_ne!(
        machine
            .run(&["systemctl", "restart", "asyncio-agent"])
            .status,
        0
    );
    assert_eq!(machine.property(AGENT, "ActiveState"), "failed");
    assert_eq!(machine.property(AGENT, "NRestarts"), "0");
}

#[test]
fn a_configuration_with_credentials_can_be_reloaded() {
    let machine = machine_with_agent();
    machine.write("/etc/asyncio-agent/token", "Bearer secret");
    machine.write(
        "/etc/systemd/system/asyncio-agent.service.d/token.conf",
        "[Service]\nLoadCredential=token:/etc/asyncio-agent/token\n",
    );
    let otlp = "otlp: {endpoint: \"http://127.0.0.1:4317\", \
                headers_file: {authorization: /run/credentials/asyncio-agent.service/token}}";
    machine.sh(&format!(
        "chmod 600 /etc/asyncio-agent/token; sed -i 's|^  prometheus: {{}}$|  {otlp}|' {CONFIG}; grep -q otlp: {CONFIG}; \
         systemctl daemon-reload; systemctl restart asyncio-agent"
    ));
    wait_until("all services are read", || is_everything_read(&machine));
    machine.sh(&format!(
        "sed -i 's/name: shop/name: boutique/' {CONFIG}; systemctl reload asyncio-agent"
    ));
    wait_until("the new name is there", || {
        machine
            .series("asyncio_target_up{target=\"boutique\"}")
            .is_some()
    });
    machine.sh(&format!(
        "sed -i 's/name: boutique/nome: boutique/' {CONFIG}"
    ));
    let answer = machine.run(&["systemctl", "reload", "asyncio-agent"]);
    assert_ne!(answer.status, 0, "{answer:?}");
    assert!(
        machine
            .series("asyncio_target_up{target=\"boutique\"}")
            .is_some()
    );
}

#[test]
fn a_bad_credential_is_told_and_quoted_nowhere() {
    let machine = machine_with_agent();
    machine.write(
        "/etc/systemd/system/asyncio-agent.service.d/token.conf",
        "[Service]\nLoadCredential=token:/etc/asyncio-agent/token\n",
    );
    let path = "/run/credentials/asyncio-agent.service/token";
    let otlp = format!(
        "otlp: {{endpoint: \"http://127.0.0.1:4317\", headers_file: {{authorization: {path}}}}}"
    );
    machine.sh(&format!(
        "sed -i 's|^  prometheus: {{}}$|  {otlp}|' {CONFIG}; grep -q otlp: {CONFIG}; systemctl daemon-reload"
    ));
    for (write, why) in [
        (":", "it is empty"),
        (
            "printf 'Bearer s3cr\\377t'",
            "it has characters that no header may have",
        ),
        (
            "printf 'Bearer s3cret\\nX-Other: 1'",
            "it has characters that no header may have",
        ),
        (
            "head -c 20000 /dev/zero | tr '\\0' s",
            "it has more than 16 KiB",
        ),
    ] {
        machine.sh(&format!("({write}) >/etc/asyncio-agent/token"));
        let answer = machine.run(&["systemctl", "restart", "asyncio-agent"]);
        assert_ne!(answer.status, 0, "{write}: {answer:?}");
        let log = machine.log(AGENT);
        let told =
            format!("exporters.otlp.headers_file.authorization: \"{path}\": {why}, expected");
        assert!(log.contains(&told), "no {told} in {log}");
        assert!(!log.contains("s3cr") && !log.contains("ssssss"), "{log}");
        // Trying again mends nothing, and is not tried.
        assert_eq!(machine.property(AGENT, "NRestarts"), "0");
        machine.sh("systemctl reset-failed asyncio-agent");
    }
    machine.sh("echo Bearer s3cret >/etc/asyncio-agent/token; systemctl restart asyncio-agent");
    wait_until("all services are read", || is_everything_read(&machine));
    assert!(!machine.log(AGENT).contains("s3cr"));
}

#[test]
fn an_agent_that_hangs_is_restarted() {
    let machine = machine_with_agent();
    hurry(&machine);
    let services = starts_of_services(&machine);
    let pid = machine.main_pid(AGENT);
    machine.sh(&format!("kill -STOP {pid}"));
    machine.wait_for_property(AGENT, "NRestarts", "1");
    wait_until("it reads again", || is_everything_read(&machine));
    assert_ne!(machine.main_pid(AGENT), pid);
    assert!(
        machine.log(AGENT).contains("Watchdog timeout"),
        "{}",
        machine.log(AGENT)
    );
    assert_eq!(starts_of_services(&machine), services);
}

#[test]
fn an_agent_that_is_killed_is_restarted_and_nobody_else_notices() {
    let machine = machine_with_agent();
    hurry(&machine);
    let services = starts_of_services(&machine);
    let pid = machine.main_pid(AGENT);
    machine.sh(&format!("kill -KILL {pid}"));
    machine.wait_for_property(AGENT, "NRestarts", "1");
    wait_until("it reads again", || is_everything_read(&machine));
    assert_ne!(machine.main_pid(AGENT), pid);
    check_done(&machine.run(&["agentctl", "ps", "--agent", &machine.main_pid("shop")]));
    assert_eq!(starts_of_services(&machine), services);
    for service in ["shop", "pool", "ring"] {
        assert_eq!(machine.property(service, "NRestarts"), "0");
    }
}

#[test]
fn a_service_that_is_restarted_is_watched_again() {
    let machine = machine_with_agent();
    let before = machine.main_pid("shop");
    machine.sh("systemctl restart shop");
    let after = machine.main_pid("shop");
    assert_ne!(after, before);
    let is_shown = |pid: &str| {
        let start = format!("asyncio_process_info{{target=\"shop\",pid=\"{pid}\"");
        machine.series(&start).is_some()
    };
    wait_until("it is watched again", || is_shown(&after));
    assert!(!is_shown(&before));
    wait_until("as before", || is_everything_read(&machine));
    machine.sh("systemctl stop ring");
    let cycles = "asyncio_await_cycles{target=\"ring\"}";
    wait_until("what ended is not shown", || {
        let n_processes = machine.series("asyncio_target_processes{target=\"ring\"}");
        n_processes.as_deref() == Some("0") && machine.series(cycles).is_none()
    });
}
