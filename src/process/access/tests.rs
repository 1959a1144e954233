//! The rule on made-up circumstances: with and without the capability, as another user, and all else that may stand in the
//! way, each with what is said about it.

use super::*;

const PID: i32 = 7;

/// A reader and a process that are the same user's, on a machine without Yama: nothing stands in the way.
fn same_user() -> Circumstances {
    let credentials = |status: &str| Credentials {
        users: Some(UserIds::all(1000)),
        groups: Some([1000; 3]),
        permitted: Some(0),
        effective: Some(0),
        bounding: Some(u64::MAX),
        no_new_privileges: Some(false),
        seccomp: Some(0),
        pids: vec![PID],
        is_dumpable: Some(true),
        user_map: Some(status.to_owned()),
        ..Credentials::default()
    };
    let own = Credentials {
        user_namespace: namespace(true),
        ..credentials("0 0 4294967295")
    };
    Circumstances {
        own,
        its: credentials("0 0 4294967295"),
        trial_on_us: Trial::Works,
        trial_of_maps: Trial::Works,
        trial_of_memory: Trial::Works,
        ..Circumstances::default()
    }
}

/// The same, but the kernel refuses.
fn refused(change: impl FnOnce(&mut Circumstances)) -> Circumstances {
    let mut circumstances = Circumstances {
        trial_of_maps: Trial::Denied,
        trial_of_memory: Trial::Denied,
        ..same_user()
    };
    change(&mut circumstances);
    circumstances
}

fn judge(circumstances: &Circumstances, reader: Reader) -> Access {
    circumstances.judge(Pid::new(PID).unwrap(), reader)
}

/// The parts that stand in the way, the trial left out.
fn blocking(access: &Access) -> Vec<&'static str> {
    let blocking = access
        .checks
        .iter()
        .filter(|it| it.verdict == Verdict::Blocks);
    let names = blocking.map(|check| check.aspect.as_str());
    names.filter(|name| *name != "trial").collect()
}

fn set_capable(circumstances: &mut Circumstances) {
    circumstances.own.permitted = Some(1 << SYS_PTRACE);
    circumstances.own.effective = Some(1 << SYS_PTRACE);
}

#[test]
fn nothing_stands_in_the_way_of_what_works() {
    let access = judge(&same_user(), Reader::Agent);
    assert!(access.is_granted && access.fixes().is_empty() && access.hints().is_empty());
    assert_eq!(access.checks.len(), 10);
    assert!(access.checks.iter().all(|it| it.verdict == Verdict::Fine));
    // Yama has exceptions that cannot be seen from here.
    let mut excepted = same_user();
    excepted.ptrace_scope = Some(1);
    let access = judge(&excepted, Reader::Agent);
    assert!(access.is_granted && blocking(&access).is_empty() && access.fixes().is_empty());
    let mut kernel_thread = same_user();
    kernel_thread.trial_of_memory = Trial::Gone;
    assert!(judge(&kernel_thread, Reader::Agent).is_granted);
}

/// A change, the parts that it puts in the way, what is said of it, and what to do.
type Case = (
    fn(&mut Circumstances),
    &'static [&'static str],
    &'static str,
    &'static str,
);

/// Each alone, where nothing else is in the way.
fn check_cases(cases: &[Case]) {
    for (change, expected, finding, fix) in cases {
        let access = judge(&refused(change), Reader::Agentctl);
        assert!(!access.is_granted);
        assert_eq!(blocking(&access), *expected, "{access:#?}");
        let [hint] = &access.hints()[..] else {
            panic!("{:?}", access.hints());
        };
        for text in [finding, fix] {
            assert!(hint.contains(text), "no {text} in {hint}");
        }
        assert_eq!(access.fixes().len(), 1);
    }
}

#[test]
fn what_the_process_is_may_stand_in_the_way() {
    check_cases(&[
        (
            |it| it.its.users = Some(UserIds::all(33)),
            &["user", "cap_sys_ptrace"],
            "process 7 belongs to user 33, and agentctl runs as user 1000",
            "run agentctl as that user (33), or run agentctl with sudo",
        ),
        (
            |it| {
                it.its.users = Some(UserIds {
                    saved: 0,
                    ..UserIds::all(1000)
                })
            },
            &["user", "cap_sys_ptrace"],
            "process 7 has the user ids 1000, 1000 and 0 (real, effective and saved)",
            "run agentctl with sudo",
        ),
        (
            |it| it.its.groups = Some([1000, 5, 1000]),
            &["user", "cap_sys_ptrace"],
            "process 7 has the group ids 1000, 5 and 1000",
            "sudo",
        ),
        (
            |it| it.its.groups = Some([5; 3]),
            &["user", "cap_sys_ptrace"],
            "process 7 has the group ids 5, 5 and 5",
            "run agentctl with that group id (5; setpriv --regid, sg), or run agentctl with sudo, which gives it CAP_SYS_PTRACE, or ask \
             a running asyncio-agent (agentctl ps, pstree, snapshot or explain with --agent), which reads your own processes for you",
        ),
        (
            |it| it.its.permitted = Some(1 << 10),
            &["capabilities", "cap_sys_ptrace"],
            "process 7 has capabilities that agentctl lacks (CAP_NET_BIND_SERVICE)",
            "run agentctl with sudo",
        ),
        (
            |it| it.its.is_dumpable = Some(false),
            &["dumpable", "cap_sys_ptrace"],
            "process 7 is not dumpable",
            "run agentctl with sudo",
        ),
    ]);
}

#[test]
fn the_system_may_stand_in_the_way() {
    check_cases(&[
        (
            |it| it.ptrace_scope = Some(1),
            &["ptrace_scope", "cap_sys_ptrace"],
            "kernel.yama.ptrace_scope is 1",
            "run agentctl with sudo",
        ),
        (
            |it| it.is_elsewhere = true,
            &["pid_namespace"],
            "/proc is that of another one",
            "run agentctl in the pid namespace that /proc is of",
        ),
        (
            |it| it.ptrace_scope = Some(3),
            &["ptrace_scope"],
            "kernel.yama.ptrace_scope is 3: nobody",
            "restart the machine",
        ),
        (
            |it| {
                it.own.seccomp = Some(2);
                it.trial_on_us = Trial::Failed(38);
            },
            &["seccomp"],
            "process_vm_readv fails with error 38 of the operating system even for its own memory",
            "allow process_vm_readv in that filter",
        ),
        (
            |it| it.own.label = Some("docker-default (enforce)".to_owned()),
            &["security_module"],
            "agentctl is labelled docker-default (enforce), the process nothing",
            "apparmor=unconfined",
        ),
        (
            |it| it.its.user_map = Some("0 100000 65536".to_owned()),
            &["user_namespace", "cap_sys_ptrace"],
            "process 7 is in one within that of agentctl",
            "run agentctl with sudo",
        ),
    ]);
}

#[test]
fn the_capability_makes_up_for_all_but_yamas_last_word() {
    let capable = refused(|it| {
        set_capable(it);
        it.its.users = Some(UserIds::all(0));
        it.its.permitted = Some(u64::MAX);
        it.its.is_dumpable = Some(false);
        it.ptrace_scope = Some(2);
        it.own.user_namespace = namespace(true);
    });
    // The kernel refuses all the same, so something does that is not known.
    let access = judge(&capable, Reader::Agent);
    assert_eq!(blocking(&access), ["security_module"], "{access:#?}");
    let scope = Circumstances {
        ptrace_scope: Some(3),
        ..capable
    };
    assert_eq!(blocking(&judge(&scope, Reader::Agent)), ["ptrace_scope"]);
}

/// This process's own namespace stands for any; the first one has a number of its own.
fn namespace(is_first: bool) -> Option<crate::procfs::Namespace> {
    let folder = tempfile::tempdir().unwrap();
    let number = if is_first { 4_026_531_837_u64 } else { 7 };
    let own = folder.path().join("self/ns");
    std::fs::create_dir_all(&own).unwrap();
    std::os::unix::fs::symlink(format!("user:[{number}]"), own.join("user")).unwrap();
    ProcRoot::at(folder.path()).own_credentials().user_namespace
}

#[test]
fn the_capability_counts_in_its_own_user_namespace_and_those_within() {
    let of_root = |is_first| {
        refused(|it| {
            set_capable(it);
            it.own.user_namespace = namespace(is_first);
            it.its.user_map = Some("0 100000 65536".to_owned());
            it.its.users = Some(UserIds::all(100_000));
        })
    };
    assert_eq!(of_root(true).counts(), Some(true));
    // Whether one is within the other is not told.
    let within = of_root(false);
    assert_eq!(within.counts(), None);
    let access = judge(&within, Reader::Agent);
    assert!(blocking(&access).is_empty(), "{access:#?}");
    assert_eq!(access.fixes().len(), 1);
    assert!(access.fixes()[0].contains("no PrivateUsers= in its unit"));
    // A user without a number here belongs to one outside.
    let mut outside = within;
    outside.its.users = Some(UserIds::all(OVERFLOW_ID));
    assert_eq!(outside.counts(), Some(false));
    let access = judge(&outside, Reader::Agentctl);
    assert!(blocking(&access).contains(&"cap_sys_ptrace"));
    assert!(access.hints()[0].contains("run agentctl on the host"));
}

#[test]
fn who_lacks_the_capability_is_told_how_to_get_it() {
    let other = |change: fn(&mut Circumstances)| {
        refused(|it| {
            it.its.users = Some(UserIds::all(0));
            change(it);
        })
    };
    let fix = |circumstances: &Circumstances, reader| {
        let access = judge(circumstances, reader);
        access.fixes().join("\n")
    };
    let agent = fix(&other(|_| {}), Reader::Agent);
    assert!(agent.contains("AmbientCapabilities=CAP_SYS_PTRACE") && !agent.contains("sudo"));
    let root = fix(
        &other(|it| {
            it.own.users = Some(UserIds::all(0));
            it.its.permitted = Some(1 << SYS_PTRACE);
        }),
        Reader::Agentctl,
    );
    assert!(
        root.contains("--cap-add=SYS_PTRACE") && !root.contains("sudo"),
        "{root}"
    );
    let kept = fix(&other(|it| it.own.bounding = Some(0)), Reader::Agentctl);
    assert!(
        kept.contains("on the host") && !kept.contains("sudo"),
        "{kept}"
    );
    let no_more = fix(
        &other(|it| it.own.no_new_privileges = Some(true)),
        Reader::Agentctl,
    );
    assert!(no_more.contains("no_new_privs"), "{no_more}");
    let dormant = other(|it| it.own.permitted = Some(1 << SYS_PTRACE));
    let access = judge(&dormant, Reader::Agent);
    let sys_ptrace = access
        .checks
        .iter()
        .find(|it| it.aspect == Aspect::SysPtrace);
    assert!(
        sys_ptrace
            .unwrap()
            .finding
            .contains("has not put it into effect")
    );
}

#[test]
fn where_nothing_is_told_nothing_is_claimed() {
    let access = judge(&Circumstances::default(), Reader::Agentctl);
    assert!(!access.is_granted);
    let parts: Vec<_> = access.checks.iter().map(|it| it.aspect.as_str()).collect();
    let mut different = parts.clone();
    different.dedup();
    assert_eq!(parts, different);
    assert!(!blocking(&access).contains(&"user"), "{access:#?}");
}

#[test]
fn capabilities_have_their_names() {
    assert_eq!(names_of(1), "CAP_CHOWN");
    assert_eq!(
        names_of(1 << 40 | 1 << 63),
        "CAP_CHECKPOINT_RESTORE, number 63"
    );
    assert_eq!(
        names_of(0x7f),
        "CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, and 2 more"
    );
}

#[test]
fn this_process_may_read_itself() {
    let pid = Pid::new(i32::try_from(std::process::id()).unwrap()).unwrap();
    let access = Access::look(&ProcRoot::default(), pid, Reader::Agentctl).unwrap();
    assert!(access.is_granted, "{access:#?}");
    let nobody = Pid::new(i32::MAX).unwrap();
    let missing = Access::look(&ProcRoot::default(), nobody, Reader::Agentctl);
    assert!(matches!(missing, Err(ProcfsError::NoProcess { .. })));
}

#[test]
fn what_an_agent_lacks_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let root = ProcRoot::at(folder.path());
    // Nothing is known.
    assert_eq!(what_agent_lacks(&root), None);
    for process in ["self", "1"] {
        std::fs::create_dir_all(folder.path().join(process).join("ns")).unwrap();
    }
    let is_in = |process: &str, namespace: u64| {
        let link = folder.path().join(process).join("ns/user");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(format!("user:[{namespace}]"), link).unwrap();
    };
    let has_capabilities = |mask: u64| {
        let status = format!("Name:\tx\nCapEff:\t{mask:016x}\n");
        std::fs::write(folder.path().join("self/status"), status).unwrap();
    };
    let lacks = || what_agent_lacks(&root).unwrap_or_default();
    has_capabilities(0);
    assert!(lacks().contains("CAP_SYS_PTRACE"));
    has_capabilities(1 << SYS_PTRACE);
    assert_eq!(lacks(), "");
    // The first user namespace; one within, of which the first process is not.
    is_in("self", 0xefff_fffd);
    assert_eq!(lacks(), "");
    is_in("self", 4_026_532_000);
    assert!(lacks().contains("PrivateUsers="));
    is_in("1", 0xefff_fffd);
    assert!(lacks().contains("PrivateUsers="));
    // A container that is a machine of its own.
    is_in("1", 4_026_532_000);
    assert_eq!(lacks(), "");
}
