//! Who may have the agent read which process: root, members of its group, owners, strangers.
//!
//! As root, whoever asks is another user: a child with another user id. Anybody else is the owner of its own
//! processes and a stranger to root's.
#![cfg(all(feature = "agent", feature = "cli"))]

mod support;

use std::fs;
use std::os::unix::process::CommandExt as _;
use support::agent::Agent;
use support::agentctl::Answer;
use support::place::{Place, a_group, check_done, check_refused};
use support::python;
use support::target::{Target, wait_until};
use support::zoo::own_user;

const NO_SUCH_PROCESS: i32 = 3;
const NOT_ALLOWED: i32 = 4;

/// Users that this machine has no names for.
const OWNER: u32 = 61_234;
const STRANGER: u32 = 61_235;

fn is_root() -> bool {
    own_user() == 0
}

/// A Python of this user, or of root if `saved` is 0. It was root's before; `dumpable` says whether it says itself that it keeps
/// nothing of that.
fn python_of(user: u32, saved: u32, dumpable: u8) -> Target {
    let mut command = python::all()[0].command();
    command.arg("-c").arg(format!(
        "import asyncio, ctypes, os\n\
         async def main():\n\
         \x20   os.write(1, b'{{}}\\n')\n\
         \x20   await asyncio.sleep(1000)\n\
         os.setgroups([])\n\
         os.setresgid({user}, {user}, {user})\n\
         os.setresuid({user}, {user}, {saved})\n\
         PR_SET_DUMPABLE = 4\n\
         assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, {dumpable}, 0, 0, 0) == 0\n\
         asyncio.run(main())"
    ));
    Target::start(command)
}

#[test]
fn who_may_read_which_process() {
    let place = Place::new();
    let (group, id) = a_group();
    let agent = Agent::start(&place.config(&group, "[]"));
    let mut log = String::new();
    if is_root() {
        let of_root = Target::start(python::all()[0].program("music"));
        let owned = python_of(OWNER, OWNER, 1);
        let half = python_of(OWNER, 0, 1);
        let changed = python_of(OWNER, OWNER, 0);
        let [root_pid, own_pid, half_pid] = [&of_root, &owned, &half].map(Target::pid_text);
        let changed_pid = changed.pid_text();
        for command in ["ps", "pstree", "snapshot", "explain"] {
            for pid in [&root_pid, &own_pid, &half_pid] {
                check_done(&place.ask(&[command, pid]));
                check_done(&place.ask_as(STRANGER, id, &[command, pid]));
                let answer = place.ask_as(STRANGER, STRANGER, &[command, pid]);
                let says = [
                    &**pid,
                    "user 61235 may ask for its own processes only",
                    "hint:",
                ];
                check_refused(&answer, NOT_ALLOWED, &says);
            }
            check_done(&place.ask_as(OWNER, OWNER, &[command, &own_pid]));
            let answer = place.ask_as(OWNER, OWNER, &[command, &root_pid]);
            check_refused(&answer, NOT_ALLOWED, &["belongs to user 0"]);
            let answer = place.ask_as(OWNER, OWNER, &[command, &half_pid]);
            check_refused(&answer, NOT_ALLOWED, &["61234, 61234 and 0 (real"]);
            // It has all that root had in memory.
            check_done(&place.ask_as(STRANGER, id, &[command, &changed_pid]));
            let answer = place.ask_as(OWNER, OWNER, &[command, &changed_pid]);
            check_refused(&answer, NOT_ALLOWED, &[&changed_pid, "is not dumpable"]);
        }
        // It is not the number that counts.
        drop(owned);
        let answer = place.ask_as(OWNER, OWNER, &["ps", &own_pid]);
        check_refused(&answer, NO_SUCH_PROCESS, &[&own_pid]);
        log.push_str(&format!(
            "uid=61235 gid={id} .* asks=\"snapshot\" pid={root_pid} allowed=true why=\"member of {group}\" result=\"ok\"\n\
             uid=61235 gid=61235 .* asks=\"snapshot\" pid={root_pid} allowed=false why=\"process {root_pid} belongs to \
             user 0, and user 61235 may ask for its own processes only\" result=\"not_allowed\"\n\
             uid=61234 gid=61234 .* asks=\"snapshot\" pid={own_pid} allowed=true why=\"owner\" result=\"ok\"\n\
             uid=61234 gid=61234 .* asks=\"explain\" pid={own_pid} allowed=true why=\"owner\" result=\"ok\"\n\
             uid=61235 gid=61235 .* asks=\"explain\" pid={own_pid} allowed=false\n\
             uid=61234 gid=61234 .* asks=\"snapshot\" pid={own_pid} allowed=false why=\"no process {own_pid}\" \
             result=\"process_not_found\"\n\
             uid=0 gid=0 .* asks=\"snapshot\" pid={half_pid} allowed=true why=\"root\" result=\"ok\"\n"
        ));
    } else {
        let own = Target::start(python::all()[0].program("music"));
        check_done(&place.ask(&["ps", &own.pid_text()]));
        check_refused(
            &place.ask(&["ps", "1"]),
            NOT_ALLOWED,
            &["belongs to user 0"],
        );
        let user = own_user();
        log.push_str(&format!(
            "uid={user} .* asks=\"snapshot\" pid=1 allowed=false\n"
        ));
    }
    let (status, told) = agent.end_with("TERM");
    assert!(status.success() && !place.socket.exists());
    for expected in log.lines() {
        let mut parts = expected.split(" .* ");
        let (who, what) = (parts.next().unwrap(), parts.next().unwrap());
        let is_it = |line: &str| line.contains(who) && line.contains(what);
        assert!(told.lines().any(is_it), "no {expected} in\n{told}");
    }
}

/// A Python of which either the first thread or another one has become this user, the others are root's; it tells the
/// id of the other thread.
fn python_of_two_users(user: u32, who: &str) -> Target {
    let mut command = python::all()[0].command();
    command.arg("-c").arg(format!(
        "import asyncio, ctypes, json, os, threading, time\n\
         libc = ctypes.CDLL(None)\n\
         told = threading.Event()\n\
         # Not by way of the C library, which changes all threads.\n\
         PR_SET_DUMPABLE = 4\n\
         def become():\n\
         \x20   libc.syscall({number}, {user}, {user}, {user})\n\
         \x20   libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)\n\
         def other():\n\
         \x20   if {who:?} == 'other': become()\n\
         \x20   told.set()\n\
         \x20   time.sleep(1000)\n\
         thread = threading.Thread(target=other, daemon=True)\n\
         thread.start()\n\
         told.wait()\n\
         async def main():\n\
         \x20   if {who:?} == 'first': become()\n\
         \x20   os.write(1, json.dumps({{'thread': thread.native_id}}).encode() + b'\\n')\n\
         \x20   await asyncio.sleep(1000)\n\
         asyncio.run(main())",
        number = nix::libc::SYS_setresuid,
    ));
    Target::start(command)
}

#[test]
fn a_process_is_its_owners_with_all_its_threads() {
    let place = Place::new();
    let agent = Agent::start(&place.config("", "[]"));
    for who in ["first", "other"] {
        if !is_root() {
            break;
        }
        let target = python_of_two_users(OWNER, who);
        let (pid, thread) = (target.pid_text(), target.truth["thread"].to_string());
        for command in ["ps", "pstree", "snapshot", "explain"] {
            let answer = place.ask_as(OWNER, OWNER, &[command, &pid]);
            check_refused(&answer, NOT_ALLOWED, &[&pid, "user 61234"]);
            check_done(&place.ask(&[command, &pid]));
        }
        let answer = place.ask_as(OWNER, OWNER, &["ps", &pid]);
        let says = match who {
            "first" => format!("thread {thread} of process {pid} has the user ids 0, 0 and 0"),
            _ => format!("process {pid} belongs to user 0"),
        };
        check_refused(&answer, NOT_ALLOWED, &[&says]);
    }
    // A thread is no process, whoever asks.
    let target = Target::start(python::all()[0].program("threads"));
    let pid = target.pid_text();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = threads.map(|it| it.unwrap().file_name().into_string().unwrap());
    let thread = names.into_iter().find(|it| *it != pid).unwrap();
    let says = format!("no process {thread}: it is a thread of process {pid}");
    for command in ["ps", "pstree", "snapshot", "explain"] {
        let answer = place.ask(&[command, &thread]);
        check_refused(&answer, NO_SUCH_PROCESS, &[&says]);
        let answer = place.ask(&[command, "--direct", &thread]);
        check_refused(&answer, NO_SUCH_PROCESS, &[&says]);
    }
    let answer = place.ask(&["trace", "--print", &thread]);
    check_refused(&answer, NO_SUCH_PROCESS, &[&says]);
    if is_root() {
        let answer = place.ask_as(OWNER, OWNER, &["ps", &thread]);
        check_refused(&answer, NO_SUCH_PROCESS, &[&says]);
    }
    let (status, log) = agent.end_with("TERM");
    assert!(status.success());
    // Whoever may ask for everything may ask for what is none; to others none of it is allowed.
    let of_thread = format!("pid={thread} allowed=");
    let allowed = format!("{of_thread}true why=\"root\" result=\"process_not_found\"");
    let refused = format!("{of_thread}false why=\"{says}\" result=\"process_not_found\"");
    let expected = if is_root() {
        &[allowed, refused][..]
    } else {
        &[refused]
    };
    for line in expected {
        assert!(log.contains(line), "no {line} in\n{log}");
    }
}

/// A Python of this user (or of whoever runs the test) that never sleeps, so that it has to be stopped for an exact picture.
fn busy_python_of(user: u32) -> Target {
    let mut command = python::all()[0].command();
    command.arg("-c").arg(
        "import asyncio, os\n\
         async def main():\n\
         \x20   os.write(1, b'{}\\n')\n\
         \x20   while True:\n\
         \x20       await asyncio.sleep(0)\n\
         asyncio.run(main())",
    );
    if is_root() {
        command.uid(user).gid(user);
    }
    Target::start(command)
}

/// A Python with a single task, which sleeps.
fn python_of_one_task() -> Target {
    let mut command = python::all()[0].command();
    command.arg("-c").arg(
        "import asyncio, os\n\
         async def main():\n\
         \x20   os.write(1, b'{}\\n')\n\
         \x20   await asyncio.sleep(1000)\n\
         asyncio.run(main())",
    );
    Target::start(command)
}

/// What is asked with `--freeze` by the agent, and what that says.
fn check_stopped(answer: &Answer, pid: &str) {
    assert_eq!(answer.status, 0, "{answer:?}");
    let said = format!("agentctl: process {pid} stood still for ");
    assert!(answer.stderr.starts_with(&said), "{answer:?}");
    assert!(answer.stderr.ends_with(" ms\n"), "{answer:?}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    assert!(status.contains("TracerPid:\t0\n"), "{status}");
}

#[test]
fn an_agent_stops_a_process_only_if_it_is_told_to() {
    let place = Place::new();
    let (group, id) = a_group();
    let target = busy_python_of(OWNER);
    let pid = target.pid_text();
    let freeze = ["ps", "--agent", "--freeze=10s", &pid];
    let plain = place.config(&group, "[]");
    let mut agent = Agent::start(&plain);
    let denied = [
        &*pid,
        "the agent stops no process (control.freeze)",
        "hint:",
    ];
    check_refused(&place.ask(&freeze), NOT_ALLOWED, &denied);
    let allowing = |limit: &str| {
        plain.replace(
            &format!("group: {group}"),
            &format!("group: {group}, freeze: {limit}"),
        )
    };
    agent.reload(&allowing("1s"));
    let too_long = ["for 1000 ms at most", "--freeze=1000ms"];
    check_refused(&place.ask(&freeze), NOT_ALLOWED, &too_long);
    agent.reload(&format!("{}limits: {{scan_time: 10s}}\n", allowing("10s")));
    let mut expected = vec![format!(
        "asks=\"snapshot\" pid={pid} freeze_ms=10000 allowed=false why=\"the agent stops a process for 1000 ms at most \
         (control.freeze, limits.scan_time)\" result=\"freeze_not_allowed\""
    )];
    if is_root() {
        let answer = place.ask_as(STRANGER, STRANGER, &freeze);
        check_refused(&answer, NOT_ALLOWED, &["belongs to user 61234"]);
        check_stopped(&place.ask_as(OWNER, OWNER, &freeze), &pid);
        expected.push(format!(
            "uid=61234 gid=61234 .*pid={pid} freeze_ms=10000 allowed=true why=\"owner\" result=\"ok\""
        ));
    } else {
        check_stopped(&place.ask(&freeze), &pid);
    }
    // Whoever asks: it has to get on with its work.
    let answer = place.ask(&freeze);
    check_refused(&answer, 7, &[&pid, "twentieth", "try again in"]);
    // Looking at it does not stop it.
    check_done(&place.ask(&["ps", "--agent", &pid]));
    wait_until("it may be stopped again", || {
        let answer = match is_root() {
            true => place.ask_as(STRANGER, id, &freeze),
            false => place.ask(&freeze),
        };
        assert!(
            answer.status == 0 || answer.stderr.contains("twentieth"),
            "{answer:?}"
        );
        answer.status == 0
    });
    expected.push(format!(
        "a process was stopped on demand\" pid={pid} seconds=0."
    ));
    let (_, told) = agent.end_with("TERM");
    for expected in expected {
        let is_it = |line: &str| expected.split(" .*").all(|part| line.contains(part));
        assert!(told.lines().any(is_it), "no {expected} in\n{told}");
    }
}

/// Nor is one that sleeps, or cannot be read: each may be asked for as often as one likes, and the log tells of no stop.
#[test]
fn what_is_not_stopped_is_not_left_in_peace() {
    let place = Place::new();
    let config = place.config("", "[]").replace("group: ", "freeze: 1s");
    let agent = Agent::start(&config);
    let music = Target::start(python::all()[0].program("music"));
    let one = python_of_one_task();
    for target in [&music, &one] {
        let pid = target.pid_text();
        for _ in 0..3 {
            let answer = place.ask(&["ps", "--agent", "--freeze", &pid]);
            let said =
                format!("agentctl: process {pid} slept while it was read and was not stopped\n");
            assert_eq!((answer.status, &*answer.stderr), (0, &*said), "{answer:?}");
        }
    }
    let own = std::process::id().to_string();
    for _ in 0..3 {
        let answer = place.ask(&["ps", "--agent", "--freeze", &own]);
        check_refused(&answer, 5, &["does not run CPython"]);
    }
    let (_, told) = agent.end_with("TERM");
    assert!(!told.contains("stopped on demand"), "{told}");
}
