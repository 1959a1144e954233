//! The package as an administrator has it: installed with dpkg on a Debian with systemd, started, asked, reloaded,
//! disturbed, upgraded, and removed. What it watches are services of other users.
//!
//! It takes root, so it is run by `make test-system`, and by `make test` if that is root.
#![cfg(all(feature = "agent", feature = "cli"))]
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod disturbed;
mod hanging;
mod machine;
mod package;
mod rights;

use machine::{Machine, PROGRAMS, PYTHON, brought};
use std::env;
use std::path::{Path, PathBuf};
use support::agentctl::Answer;
use support::target::wait_until;

const AGENT: &str = "asyncio-agent.service";
const CONFIG: &str = "/etc/asyncio-agent/agent.yaml";
const GROUP: &str = "asyncio-agent-users";

/// The package: what ASYNCIO_AGENT_DEB names, or what `deploy/deb.sh test` has made.
fn package() -> PathBuf {
    if let Some(path) = env::var_os("ASYNCIO_AGENT_DEB") {
        return path.into();
    }
    let folder = brought("target/package-test", "make test-system");
    let mut packages = folder.read_dir().unwrap().map(|it| it.unwrap().path());
    let is_package = |path: &PathBuf| path.extension().is_some_and(|it| it == "deb");
    packages.find(is_package).expect("make test-system")
}

/// Installs or upgrades as `apt-get` does when nobody is there to ask.
fn install(machine: &Machine, package: &Path) -> String {
    let path = machine.bring(package);
    machine.sh(&format!(
        "DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold --install {path} 2>&1"
    ))
}

/// A service of `user` that runs a mode of `programs/service.py`.
fn add_service(machine: &Machine, name: &str, user: &str, more: &str) {
    let exists = machine.run(&["id", user]).status == 0;
    if !exists {
        machine.done(&["useradd", "--system", user]);
    }
    let unit = format!(
        "[Service]\nType=notify\nNotifyAccess=all\nUser={user}\nExecStart={PYTHON} {PROGRAMS}/service.py {name}\n{more}\n"
    );
    machine.write(&format!("/etc/systemd/system/{name}.service"), &unit);
}

/// The services, three users: the first is sandboxed, the second has two processes.
fn add_services(machine: &Machine) {
    let sandbox = "NoNewPrivileges=yes\nPrivateTmp=yes\nPrivateDevices=yes\nPrivateUsers=yes\nPrivateNetwork=yes\n\
                   ProtectSystem=strict\nProtectHome=yes\nProtectProc=invisible\nSystemCallFilter=@system-service\n\
                   RestrictNamespaces=yes\nCapabilityBoundingSet=\n";
    add_service(machine, "shop", "alice", sandbox);
    add_service(machine, "pool", "bob", "");
    add_service(machine, "ring", "alice", "");
    machine.sh("systemctl daemon-reload; systemctl start shop pool ring");
}

/// Edits the configuration as it was installed: `group` is filled in, and looks are as frequent as a test needs.
fn edit_config(machine: &Machine, names: &[&str]) {
    let targets = names.iter().map(|name| {
        format!("{{name: {name}, interval: 200ms, match: {{systemd_unit: {name}.service}}}}")
    });
    let targets = targets.collect::<Vec<_>>().join(", ");
    machine.sh(&format!(
        "sed -i -e 's/^  group:$/  group: {GROUP}/' -e 's/^  interval: 10s$/  interval: 200ms/' \
         -e 's/^targets: .*$/targets: [{targets}]/' {CONFIG}"
    ));
}

/// A machine with the services, on which the package is installed, configured and started.
fn machine_with_agent() -> Machine {
    let machine = Machine::boot();
    add_services(&machine);
    install(&machine, &package());
    edit_config(&machine, &["shop", "pool", "ring"]);
    machine.sh("systemctl enable --now asyncio-agent");
    wait_until("all services are read", || is_everything_read(&machine));
    machine
}

/// Processes of two users, and what is wrong with one of them.
fn is_everything_read(machine: &Machine) -> bool {
    let is = |series: &str, value: &str| machine.series(series).as_deref() == Some(value);
    is("asyncio_pending_tasks{target=\"shop\"}", "3")
        && is("asyncio_pending_tasks{target=\"pool\"}", "4")
        && is("asyncio_target_processes{target=\"pool\"}", "3")
        && is("asyncio_await_cycles{target=\"ring\"}", "1")
}

/// The first column of a table, its head apart.
fn first_column(answer: &Answer) -> Vec<&str> {
    let rows = answer.stdout.lines().skip(1);
    rows.filter_map(|row| row.split_whitespace().next())
        .collect()
}

/// It did what was asked, and had nothing to say.
fn check_done(answer: &Answer) {
    assert_eq!((answer.status, &*answer.stderr), (0, ""), "{answer:?}");
}
