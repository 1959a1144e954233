//! What the package brings, what stays when it is upgraded, and what is left when it is removed.

use super::*;
use std::fs;
use std::process::Command;

/// Everything that is on the disk of the machine, apart from what it writes anyway: logs, random seeds, the backups that
/// dpkg and the tools for users make.
fn everything(machine: &Machine) -> Vec<String> {
    let all = machine.sh(
        "find / -xdev -path /tmp -prune -o -path /var/tmp -prune -o -path /var/log -prune -o -path /run -prune \
         -o -path /opt -prune -o -path /root -prune -o -print; ls -d /run/*asyncio* 2>/dev/null || true",
    );
    let is_noise = |path: &str| {
        path.starts_with("/var/lib/systemd/random-seed")
            || path.starts_with("/var/lib/dpkg/") && path.ends_with("-old")
            || path.starts_with("/etc/") && path.ends_with('-')
    };
    let mut all: Vec<_> = all.lines().map(str::to_owned).collect();
    all.retain(|path| !is_noise(path));
    all.sort();
    all
}

/// The package once more, as version 9, with one line more in its configuration.
fn next_version(folder: &Path) -> PathBuf {
    let (tree, next) = (folder.join("tree"), folder.join("next.deb"));
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    run(Command::new("dpkg-deb").arg("-R").arg(package()).arg(&tree));
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let text = text.lines().map(|line| match line.starts_with("Version:") {
        true => "Version: 9".to_owned(),
        false => line.to_owned(),
    });
    fs::write(&control, text.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    let config = tree.join("etc/asyncio-agent/agent.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, format!("{text}# What is new in version 9.\n")).unwrap();
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Znone", "-b"])
        .arg(&tree)
        .arg(&next));
    next
}

/// Commands that show what the package brings, and what is in that.
const BROUGHT: &[(&str, &str)] = &[
    ("asyncio-agent --version", "asyncio-agent 0."),
    ("agentctl --version", "agentctl 0."),
    (
        "agentctl config check /etc/asyncio-agent/agent.yaml",
        "agent.yaml: ok",
    ),
    ("getent group asyncio-agent-users", "asyncio-agent-users:"),
    (
        "zcat /usr/share/man/man1/agentctl-pstree.1.gz",
        ".TH agentctl-pstree 1",
    ),
    (
        "zcat /usr/share/man/man1/agentctl-config-check.1.gz",
        ".TH agentctl-config-check 1",
    ),
    (
        "zcat /usr/share/man/man8/asyncio-agent.8.gz",
        ".TH asyncio-agent 8",
    ),
    (
        "cat /usr/share/bash-completion/completions/agentctl",
        "pstree",
    ),
    (
        "cat /usr/share/zsh/vendor-completions/_asyncio-agent",
        "#compdef asyncio-agent",
    ),
    (
        "cat /usr/share/fish/vendor_completions.d/agentctl.fish",
        "complete -c agentctl",
    ),
    (
        "cat /usr/share/asyncio-agent/dashboards/overview.json",
        "asyncio-agent: overview",
    ),
    (
        "cat /usr/share/asyncio-agent/rules.yaml",
        "AsyncioAwaitCycle",
    ),
    (
        "cat /usr/share/asyncio-agent/freeze.conf",
        "SystemCallFilter=ptrace",
    ),
    (
        "cat /usr/share/asyncio-agent/runbooks/AsyncioAwaitCycle.md",
        "cycle",
    ),
    (
        "cat /usr/share/doc/asyncio-agent/deploy/install.md",
        "CAP_SYS_PTRACE",
    ),
    ("cat /usr/share/doc/asyncio-agent/copyright", "Apache"),
    (
        "cat /usr/share/doc/asyncio-agent/copyright",
        "the maintainers of asyncio-agent",
    ),
    (
        "grep -A 400 'ISC License, for ring' /usr/share/doc/asyncio-agent/third-party-licences",
        "Permission to use, copy, modify, and/or distribute this software",
    ),
];

#[test]
fn installing_brings_everything_and_starts_nothing() {
    let machine = Machine::boot();
    install(&machine, &package());
    assert_eq!(machine.property(AGENT, "ActiveState"), "inactive");
    assert_eq!(machine.property(AGENT, "UnitFileState"), "disabled");
    for (line, says) in BROUGHT {
        let told = machine.sh(line);
        assert!(told.contains(says), "{line}: {told}");
    }
    // Nobody but root may change what it installs.
    let writable = "dpkg -L asyncio-agent | xargs -d '\\n' stat -c '%U %A %n' | grep -v '^root .[r-][w-].[r-]-.[r-]-. ' || true";
    assert_eq!(machine.sh(writable), "");
    // The completions are shell scripts that a shell understands.
    machine.sh("bash -n /usr/share/bash-completion/completions/*agent*");
}

#[test]
fn an_upgrade_keeps_the_configuration_and_restarts_what_runs() {
    let machine = machine_with_agent();
    let (edited, before) = (
        machine.sh(&format!("cat {CONFIG}")),
        machine.main_pid(AGENT),
    );
    let shop = machine.main_pid("shop");
    let folder = tempfile::tempdir().unwrap();
    let next = next_version(folder.path());
    install(&machine, &next);
    let version = machine.done(&["dpkg-query", "-W", "-f=${Version}", "asyncio-agent"]);
    assert_eq!(version, "9");
    assert_eq!(machine.sh(&format!("cat {CONFIG}")), edited);
    let new = machine.sh(&format!("cat {CONFIG}.dpkg-dist"));
    assert!(new.ends_with("# What is new in version 9.\n"), "{new}");
    assert_ne!(machine.main_pid(AGENT), before);
    assert_eq!(machine.property(AGENT, "UnitFileState"), "enabled");
    wait_until("it reads on", || is_everything_read(&machine));
    assert_eq!(machine.main_pid("shop"), shop, "no service was disturbed");

    // One that does not run is not started.
    machine.sh("systemctl disable --now asyncio-agent");
    install(&machine, &package());
    assert_eq!(machine.property(AGENT, "ActiveState"), "inactive");
    assert_eq!(machine.property(AGENT, "UnitFileState"), "disabled");
    assert_eq!(machine.sh(&format!("cat {CONFIG}")), edited);
}

#[test]
fn what_is_removed_can_come_back_and_what_is_purged_leaves_nothing() {
    let machine = Machine::boot();
    add_services(&machine);
    let before = everything(&machine);
    install(&machine, &package());
    edit_config(&machine, &["shop", "pool", "ring"]);
    machine.sh("usermod -aG asyncio-agent-users bob; echo secret >/etc/asyncio-agent/token");
    machine.sh("systemctl enable --now asyncio-agent");
    wait_until("all services are read", || is_everything_read(&machine));
    let edited = machine.sh(&format!("cat {CONFIG}"));

    machine.done(&["dpkg", "--remove", "asyncio-agent"]);
    assert_eq!(machine.property(AGENT, "ActiveState"), "inactive");
    assert_eq!(machine.sh(&format!("cat {CONFIG}")), edited);
    assert_ne!(machine.run(&["test", "-e", "/usr/bin/agentctl"]).status, 0);
    install(&machine, &package());
    assert_eq!(machine.sh(&format!("cat {CONFIG}")), edited);
    // It was enabled when it was removed.
    assert_eq!(machine.property(AGENT, "UnitFileState"), "enabled");
    // As install.md has it made.
    machine.sh(
        "install -D -m 644 /usr/share/asyncio-agent/freeze.conf /etc/systemd/system/asyncio-agent.service.d/freeze.conf; \
         systemctl daemon-reload; systemctl start asyncio-agent",
    );
    wait_until("all services are read again", || {
        is_everything_read(&machine)
    });

    machine.done(&["dpkg", "--purge", "asyncio-agent"]);
    assert_eq!(machine.property(AGENT, "LoadState"), "not-found");
    let mut left = everything(&machine);
    left.retain(|path| !before.contains(path));
    assert_eq!(left, [""; 0]);
    let group = machine.run(&["getent", "group", GROUP]);
    assert_ne!(group.status, 0, "{group:?}");
    for service in ["shop", "pool", "ring"] {
        assert_eq!(machine.property(service, "ActiveState"), "active");
    }
}
