//! Who gets what by `agentctl` on a machine with several users, and what is in the log of it; and what the agent does
//! that was given less than it needs.

use super::*;

const DONE: i32 = 0;
const CYCLE: i32 = 1;
const NO_SUCH_PROCESS: i32 = 3;
const NOT_ALLOWED: i32 = 4;

/// alice and bob own services, carol joins the group, mallory is nobody.
fn add_people(machine: &Machine) {
    machine.sh(&format!(
        "useradd --system carol; useradd --system mallory; usermod -aG {GROUP} carol"
    ));
}

#[test]
fn each_user_gets_what_is_theirs() {
    let machine = machine_with_agent();
    add_people(&machine);
    let (shop, ring, pool) = (
        machine.main_pid("shop"),
        machine.main_pid("ring"),
        machine.sh("pgrep -P $(systemctl show --value -p MainPID pool) || cut -d' ' -f1 /proc/$(systemctl show --value -p MainPID pool)/task/*/children"),
    );
    let pool = pool.split_whitespace().next().unwrap();
    // Who asks for a process of whom, and whether they get it.
    for (user, pid, status) in [
        ("root", &*shop, DONE),
        ("root", pool, DONE),
        ("carol", &*shop, DONE),
        ("carol", pool, DONE),
        ("carol", &*ring, CYCLE),
        ("alice", &*shop, DONE),
        ("alice", &*ring, CYCLE),
        ("alice", pool, NOT_ALLOWED),
        ("bob", pool, DONE),
        ("bob", &*shop, NOT_ALLOWED),
        ("mallory", &*shop, NOT_ALLOWED),
        ("mallory", pool, NOT_ALLOWED),
        ("mallory", "1", NOT_ALLOWED),
    ] {
        for command in ["ps", "pstree"] {
            let answer = machine.run_as(user, &["agentctl", command, pid]);
            assert_eq!(answer.status, status, "{user} {command} {pid}: {answer:?}");
            let is_refused = status == NOT_ALLOWED;
            assert_eq!(answer.stdout.is_empty(), is_refused, "{user} {answer:?}");
            assert_eq!(
                answer.stderr.contains(GROUP),
                is_refused,
                "{user} {answer:?}"
            );
        }
    }
    for (user, targets, findings) in [
        (
            "root",
            &["shop", "pool", "pool", "pool", "ring"][..],
            &["ring"][..],
        ),
        (
            "carol",
            &["shop", "pool", "pool", "pool", "ring"],
            &["ring"],
        ),
        ("alice", &["shop", "ring"], &["ring"]),
        ("bob", &["pool", "pool", "pool"], &[]),
        ("mallory", &[], &[]),
    ] {
        let answer = machine.run_as(user, &["agentctl", "targets", "--agent"]);
        assert_eq!(answer.status, DONE, "{user}: {answer:?}");
        assert_eq!(first_column(&answer), targets, "{user}: {answer:?}");
        let answer = machine.run_as(user, &["agentctl", "findings"]);
        assert_eq!(first_column(&answer), findings, "{user}: {answer:?}");
    }
    // Without the agent, a process of one's own can be read, and nobody else's.
    let answer = machine.run_as("alice", &["agentctl", "ps", "--direct", &ring]);
    assert_eq!(answer.status, CYCLE, "{answer:?}");
    let answer = machine.run_as("carol", &["agentctl", "ps", "--direct", &ring]);
    assert_eq!(answer.status, NOT_ALLOWED, "{answer:?}");

    let log = machine.log(AGENT);
    let mallory = machine.done(&["id", "-u", "mallory"]);
    let line = |fields: &[String]| {
        let is_it = |line: &&str| fields.iter().all(|field| line.contains(&**field));
        log.lines().find(is_it).map(str::to_owned)
    };
    let of_mallory = [
        "on-demand request".to_owned(),
        format!("uid={}", mallory.trim()),
        format!("pid={shop}"),
        "allowed=false".to_owned(),
    ];
    assert!(line(&of_mallory).is_some(), "{of_mallory:?} in\n{log}");
    let of_carol = [
        "allowed=true".to_owned(),
        format!("why=\"member of {GROUP}\""),
    ];
    assert!(line(&of_carol).is_some(), "{of_carol:?} in\n{log}");
    // Who leaves the group has no more rights at once.
    machine.done(&["gpasswd", "-d", "carol", GROUP]);
    let answer = machine.run_as("carol", &["agentctl", "ps", &shop]);
    assert_eq!(answer.status, NOT_ALLOWED, "{answer:?}");
}

#[test]
fn where_processes_are_hidden_strangers_learn_of_none() {
    let machine = machine_with_agent();
    add_people(&machine);
    machine.sh("mount -o remount,hidepid=2 /proc");
    let shop = machine.main_pid("shop");
    let hidden = machine.run_as("mallory", &["ls", &format!("/proc/{shop}")]);
    assert_ne!(hidden.status, 0, "{hidden:?}");
    for command in ["ps", "pstree", "snapshot", "explain"] {
        let told = |pid: &str| {
            let answer = machine.run_as("mallory", &["agentctl", command, "--agent", pid]);
            assert_eq!(answer.status, NO_SUCH_PROCESS, "{command} {answer:?}");
            assert_eq!(answer.stdout, "");
            answer.stderr.replace(pid, "PID")
        };
        // As one that does not exist.
        assert_eq!(told(&shop), told("4194304"), "{command}");
        for user in ["root", "carol", "alice"] {
            let answer = machine.run_as(user, &["agentctl", command, "--agent", &shop]);
            assert_eq!(answer.status, DONE, "{user} {command} {answer:?}");
        }
    }
    // The log says what it was.
    let log = machine.log(AGENT);
    let alice = machine.done(&["id", "-u", "alice"]);
    let denied = format!(
        "pid={shop} allowed=false why=\"process {shop} belongs to user {}, ",
        alice.trim()
    );
    assert_eq!(log.matches(&denied).count(), 4, "{denied} in\n{log}");
}

#[test]
fn without_an_agent_the_configuration_of_the_service_is_gone_by() {
    let machine = machine_with_agent();
    let by_rules = format!("agentctl: by the rules of {CONFIG}\n");
    let with_agent = machine.run(&["agentctl", "targets"]);
    assert!(!with_agent.stderr.contains(&by_rules), "{with_agent:?}");
    let check = |answer: Answer, names: &[&str]| {
        assert_eq!(answer.status, DONE, "{answer:?}");
        assert!(answer.stderr.starts_with(&by_rules), "{answer:?}");
        let mut found = first_column(&answer);
        found.dedup();
        assert_eq!(found, names, "{answer:?}");
    };
    check(
        machine.run(&["agentctl", "targets", "--direct"]),
        &["shop", "pool", "ring"],
    );
    machine.sh("systemctl stop asyncio-agent");
    check(
        machine.run(&["agentctl", "targets"]),
        &["shop", "pool", "ring"],
    );
    machine.sh(&format!("sed -i 's/name: shop/name: boutique/' {CONFIG}"));
    check(
        machine.run(&["agentctl", "targets"]),
        &["boutique", "pool", "ring"],
    );
    // One that is named comes first, and one that cannot be used is told.
    machine
        .sh("echo 'targets: [{name: only, match: {systemd_unit: ring.service}}]' >/tmp/own.yaml");
    let answer = machine.run(&["agentctl", "targets", "--config", "/tmp/own.yaml"]);
    assert_eq!(
        (answer.status, first_column(&answer)),
        (DONE, vec!["only"]),
        "{answer:?}"
    );
    machine.sh(&format!("echo 'nonsense: 1' >>{CONFIG}"));
    let answer = machine.run(&["agentctl", "targets"]);
    assert_eq!((answer.status, &*answer.stdout), (2, ""), "{answer:?}");
    assert!(
        answer.stderr.contains("nonsense: unknown key"),
        "{answer:?}"
    );
    // Without one, everything that uses asyncio is listed.
    machine.sh(&format!("mv {CONFIG} /tmp/away.yaml"));
    let answer = machine.run(&["agentctl", "targets"]);
    assert_eq!(answer.status, DONE, "{answer:?}");
    assert!(
        !answer.stderr.contains(&by_rules) && answer.stdout.contains("service.py"),
        "{answer:?}"
    );
}

#[test]
fn without_its_capability_it_says_what_is_missing() {
    let machine = machine_with_agent();
    machine.write(
        "/etc/systemd/system/asyncio-agent.service.d/less.conf",
        "[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=\n",
    );
    machine.sh("systemctl daemon-reload; systemctl restart asyncio-agent");
    // What it may not read is hidden from it altogether (ProtectProc=).
    let is = |series: &str, value: &str| machine.series(series).as_deref() == Some(value);
    wait_until("it sees nothing", || {
        is("asyncio_target_up{target=\"shop\"}", "0")
            && is("asyncio_target_processes{target=\"shop\"}", "0")
    });
    let answer = machine.run(&["agentctl", "ps", "--agent", &machine.main_pid("shop")]);
    assert_eq!(answer.status, NO_SUCH_PROCESS, "{answer:?}");
    assert!(answer.stderr.contains("ProtectProc="), "{answer:?}");
    assert!(answer.stderr.contains("CAP_SYS_PTRACE"), "{answer:?}");
    // What is not there is not said to be.
    let answer = machine.run(&["agentctl", "ps", "--agent", "4194304"]);
    assert_eq!(answer.status, NO_SUCH_PROCESS, "{answer:?}");
    assert!(!answer.stderr.contains("ProtectProc="), "{answer:?}");
    let told = "without CAP_SYS_PTRACE only processes of the agent's own user can be read";
    assert_eq!(machine.log(AGENT).matches(told).count(), 1);
    machine.write(
        "/etc/systemd/system/asyncio-agent.service.d/more.conf",
        "[Service]\nProtectProc=default\n",
    );
    machine.sh("systemctl daemon-reload; systemctl restart asyncio-agent");
    let unreadable = "asyncio_target_unreadable_processes{target=\"shop\"}";
    wait_until("it sees what it cannot read", || is(unreadable, "1"));
    let answer = machine.run(&["agentctl", "targets", "--agent"]);
    assert!(answer.stdout.contains("permission denied"), "{answer:?}");
    let answer = machine.run(&["agentctl", "ps", "--agent", &machine.main_pid("shop")]);
    assert_eq!(
        (answer.status, &*answer.stdout),
        (NOT_ALLOWED, ""),
        "{answer:?}"
    );
    assert!(answer.stderr.contains("CAP_SYS_PTRACE"), "{answer:?}");
    // The agent is well all the while, and reads as soon as it may.
    assert_eq!(machine.property(AGENT, "ActiveState"), "active");
    machine.sh(
        "rm -r /etc/systemd/system/asyncio-agent.service.d; systemctl daemon-reload; \
         systemctl restart asyncio-agent",
    );
    wait_until("it reads again", || is_everything_read(&machine));
}

#[test]
fn it_holds_one_privilege_and_nothing_else() {
    let machine = machine_with_agent();
    let status = machine.sh(&format!("cat /proc/{}/status", machine.main_pid(AGENT)));
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    // CAP_SYS_PTRACE is 19 (capability.h).
    let only_ptrace = format!("{:016x}", 1_u64 << 19);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), only_ptrace, "{set}");
    }
    assert_eq!(
        (field("NoNewPrivs:"), field("Seccomp:")),
        ("1".to_owned(), "2".to_owned())
    );
    // The range of DynamicUser= (systemd.exec(5)).
    let uid: u32 = field("Uid:").parse().unwrap();
    assert!((61_184..=65_519).contains(&uid), "{uid}");
    let limits = machine.sh(&format!("cat /proc/{}/limits", machine.main_pid(AGENT)));
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    assert!(core.unwrap().contains("0                    0"), "{core:?}");
    // Where it could leave anything, as itself and without its capability, in what it sees of the machine.
    let writable = machine.sh(&format!(
        "nsenter --target {pid} --mount --setuid {uid} --setgid {uid} -- sh -c 'cut -d\" \" -f 5 /proc/self/mountinfo | sort -u | \
         while read -r path; do touch \"$path/x\" 2>/dev/null && rm \"$path/x\" && echo \"$path\"; done; true'",
        pid = machine.main_pid(AGENT)
    ));
    assert_eq!(writable, "/run/asyncio-agent\n/tmp\n/var/tmp\n");
    let exposure = machine
        .sh("systemd-analyze security --no-pager --threshold=16 asyncio-agent.service | tail -n 1");
    assert!(exposure.contains("OK"), "{exposure}");
}

#[test]
fn it_stops_a_process_only_with_the_drop_in_for_that() {
    let machine = machine_with_agent();
    add_people(&machine);
    add_service(&machine, "busy", "bob", "");
    machine.sh("systemctl daemon-reload; systemctl start busy");
    let busy = machine.main_pid("busy");
    let freeze = ["agentctl", "ps", "--agent", "--freeze=2s", &*busy];
    let refused = |user: &str, says: &str| {
        let answer = machine.run_as(user, &freeze);
        assert_eq!(answer.status, NOT_ALLOWED, "{user}: {answer:?}");
        assert!(answer.stderr.contains(says), "no {says:?} in {answer:?}");
        assert_eq!(answer.stdout, "", "{answer:?}");
    };
    refused("carol", "the agent stops no process (control.freeze)");
    machine.sh(&format!(
        "sed -i 's/^  freeze: none$/  freeze: 2s/' {CONFIG}; systemctl reload asyncio-agent"
    ));
    let drop_in = "the drop-in freeze.conf allows it";
    refused("carol", drop_in);
    assert!(machine.log(AGENT).contains(drop_in));
    machine.sh(
        "install -D -m 644 /usr/share/asyncio-agent/freeze.conf /etc/systemd/system/asyncio-agent.service.d/freeze.conf; \
         systemd-analyze verify asyncio-agent.service; systemctl daemon-reload; systemctl restart asyncio-agent",
    );
    assert_eq!(machine.property(AGENT, "CPUQuotaPerSecUSec"), "infinity");
    wait_until("it answers", || {
        machine
            .run_as("carol", &["agentctl", "ps", "--agent", &busy])
            .status
            == DONE
    });
    let answer = machine.run_as("carol", &freeze);
    assert_eq!(answer.status, DONE, "{answer:?}");
    let stood_still = format!("agentctl: process {busy} stood still for ");
    assert!(answer.stderr.starts_with(&stood_still), "{answer:?}");
    refused("alice", "may ask for its own processes only");
    // As its owner, when it has had time for its work.
    wait_until("it is stopped for its owner", || {
        let answer = machine.run_as("bob", &freeze);
        assert!(
            answer.status == DONE || answer.stderr.contains("twentieth"),
            "{answer:?}"
        );
        answer.status == DONE
    });
    let log = machine.log(AGENT);
    let stopped = format!("a process was stopped on demand\" pid={busy} seconds=0.");
    assert_eq!(log.matches(&stopped).count(), 2, "{log}");
    // It is no other privilege.
    let status = machine.sh(&format!("cat /proc/{}/status", machine.main_pid(AGENT)));
    assert!(status.contains("CapPrm:\t0000000000080000\n"), "{status}");
}
