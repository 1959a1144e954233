//! Processes of a user without any rights that make whoever reads them hang.

use super::*;

/// More than the agent looks at once of one user's.
const N_HANGING: usize = 6;

/// Starts them, as a service of mallory; they hang from the start.
fn add_hanging(machine: &Machine) {
    machine.sh("id mallory >/dev/null 2>&1 || useradd --system mallory");
    machine.sh("mkdir -p /tmp/hanging; chown mallory /tmp/hanging; chmod 666 /dev/fuse");
    machine.write(
        "/etc/systemd/system/hanging.service",
        &format!(
            "[Service]\nUser=mallory\nTimeoutStopSec=1s\nExecStart=/usr/bin/unshare --user --map-root-user --mount \
             {PYTHON} {PROGRAMS}/hanging.py /tmp/hanging {N_HANGING}\n"
        ),
    );
    machine.sh("systemctl daemon-reload; systemctl start hanging");
    wait_until("they hang", || {
        let pids = machine.log("hanging");
        pids.lines()
            .filter(|line| line.parse::<u32>().is_ok())
            .count()
            == N_HANGING
    });
}

#[test]
fn processes_that_hang_hold_up_nobody() {
    let machine = machine_with_agent();
    add_hanging(&machine);
    // All that use asyncio, of whomever.
    machine.sh(&format!(
        "sed -i 's/^targets: .*$/targets: [{{match: auto, interval: 200ms}}]/' {CONFIG}; systemctl restart asyncio-agent"
    ));
    let is_counted = || {
        let counted = machine.series("asyncio_agent_limit_hits_total{limit=\"probes_hanging\"}");
        counted.is_some_and(|it| it != "0")
    };
    wait_until("they are counted", is_counted);
    let (shop, ring) = (machine.main_pid("shop"), machine.main_pid("ring"));
    let is_watched = |pid: &str| {
        let answer = machine.run(&["agentctl", "targets"]);
        answer.stdout.split_whitespace().any(|word| word == pid)
    };
    wait_until("others are found", || {
        is_watched(&shop) && is_watched(&ring)
    });
    // Their owner can make one read of its own hang, and no other.
    let log = machine.log("hanging");
    let hanging: Vec<_> = log
        .lines()
        .filter(|line| line.parse::<u32>().is_ok())
        .collect();
    std::thread::scope(|scope| {
        let ask = |pid| {
            let machine = &machine;
            scope.spawn(move || machine.run_as("mallory", &["agentctl", "ps", pid]))
        };
        let asked = [ask(hanging[0]), ask(hanging[1])];
        for _ in 0..3 {
            check_done(&machine.run(&["agentctl", "ps", &shop]));
            check_done(&machine.run_as("alice", &["agentctl", "ps", &shop]));
        }
        for asked in asked {
            let answer = asked.join().unwrap();
            assert_ne!(answer.status, 0, "{answer:?}");
        }
    });
    // What starts meanwhile is found, and the configuration is taken.
    machine.sh("systemctl restart shop");
    let shop = machine.main_pid("shop");
    wait_until("a new one is found", || is_watched(&shop));
    machine.sh("systemctl reload asyncio-agent");
    let successful = machine.series("asyncio_agent_config_last_reload_successful");
    assert_eq!(successful.as_deref(), Some("1"));
    assert!(is_watched(&ring));
    assert_eq!(machine.property(AGENT, "NRestarts"), "0");
    let told = "it cannot be found out whether these processes use asyncio";
    assert_eq!(machine.log(AGENT).matches(told).count(), 1);
}

/// A service of a user id without an account.
fn add_of(machine: &Machine, user: u32, runs: &str) {
    machine.write(
        &format!("/etc/systemd/system/of-{user}.service"),
        &format!(
            "[Service]\nTimeoutStopSec=1s\nNotifyAccess=all\nExecStart=/usr/bin/setpriv --reuid={user} --regid=65534 \
             --clear-groups {runs}\n"
        ),
    );
}

#[test]
fn a_user_with_many_user_ids_is_one_of_many() {
    let machine = machine_with_agent();
    machine.sh(
        "useradd --system mallory; chmod 666 /dev/fuse; echo mallory:200000:65536 >>/etc/subuid",
    );
    let hangs =
        format!("/usr/bin/unshare --user --map-root-user --mount {PYTHON} {PROGRAMS}/hanging.py");
    add_of(&machine, 200_001, &format!("{hangs} /tmp/1 1"));
    add_of(&machine, 265_535, &format!("{hangs} /tmp/2 1"));
    add_of(
        &machine,
        400_001,
        &format!("{PYTHON} {PROGRAMS}/service.py shop"),
    );
    machine.sh("systemctl daemon-reload; systemctl start of-200001 of-265535 of-400001");
    // systemd logs as well for them.
    let told = |user: u32| {
        let log = machine.log(&format!("of-{user}"));
        let pid = log.lines().find(|line| line.parse::<u32>().is_ok());
        pid.map(str::to_owned)
    };
    let hanging = |user| {
        wait_until("it hangs", || told(user).is_some());
        told(user).unwrap()
    };
    let (one, other, loner) = (
        hanging(200_001),
        hanging(265_535),
        machine.main_pid("of-400001"),
    );
    let ask = |user: u32, pid: &str| {
        let user = format!("--reuid={user}");
        machine.run(&[
            "setpriv",
            &user,
            "--regid=65534",
            "--clear-groups",
            "agentctl",
            "ps",
            pid,
        ])
    };
    // Whom /etc/subuid names is looked up with the list of processes, so before what begins now is read.
    machine.sh("systemctl restart shop");
    wait_until("it is read again", || is_everything_read(&machine));
    let shop = machine.main_pid("shop");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ask(200_001, &one));
        // Of the two at once, one gets its turn first and hangs.
        let second = scope.spawn(|| ask(265_535, &other));
        wait_until("those without an account are served", || {
            ask(400_001, &loner).status == 0
        });
        for _ in 0..3 {
            check_done(&ask(400_001, &loner));
            check_done(&machine.run_as("alice", &["agentctl", "ps", &shop]));
        }
        let answers = [first, second].map(|asked| asked.join().unwrap().stderr);
        let refused = answers
            .iter()
            .filter(|it| it.contains("that you asked for hang"));
        assert_eq!(refused.count(), 1, "{answers:?}");
    });
}
