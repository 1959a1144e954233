//! Connections to the socket with short limits: who is too slow, says nothing that is understood, or goes away.

use super::*;
use crate::agent::reads::Reads;
use crate::agent::shifting::Shifting;
use crate::agent::source::{AttachedProcess, ProcessSource};
use crate::agent::store::Store;
use crate::agent::{HostProcesses, Looks};
use crate::ids::{Pid, ProcessId, StartTime};
use crate::metrics::{AgentView, ProcessView, TargetView};
use crate::process::ProcessError;
use crate::procfs::{ForeignThread, Owner, ProcRoot, ProcfsError, UserIds};
use crate::protocol::{read_header, read_payload, write_frame};
use crate::targets::ReadFacts;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream as Client;
use std::path::Path;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// A socket that is served; its folder, what is being sent, and who can stop it.
struct Served {
    folder: TempDir,
    outbox: Arc<Outbox>,
    _stop: watch::Sender<bool>,
}

impl Served {
    async fn start(limits: ControlLimits, bytes_max: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (listener, file) = listen(folder.path().join("s")).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let source: Arc<dyn ProcessSource> = Arc::new(HostProcesses::default());
        let store = Arc::new(Store::new(Arc::clone(&source)));
        let target = |n: usize| TargetView {
            name: format!("{n}{}", "x".repeat(50_000)).into(),
            ..TargetView::default()
        };
        // Everybody who runs these tests may ask for all of it, and it is more than a socket holds.
        store.publish(AgentView {
            targets: (0..100).map(target).collect(),
            ..AgentView::default()
        });
        let desk = desk(store, source);
        let outbox = Arc::new(Outbox::new(bytes_max));
        let server = serve(listener, file, desk, Arc::clone(&outbox), limits, stopped);
        tokio::spawn(server);
        Self {
            folder,
            outbox,
            _stop: stop,
        }
    }

    fn connect(&self) -> Client {
        let stream = Client::connect(self.folder.path().join("s")).unwrap();
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).unwrap();
        stream
    }

    /// A client that has seen the beginning of an answer, and takes no more of it for now.
    fn begin(&self) -> (Client, Header) {
        let mut client = self.connect();
        let json = Request::Targets.to_json();
        write_frame(FrameKind::Request, &json, &mut client).unwrap();
        let header = read_header(&mut client, &[FrameKind::Answer]).unwrap();
        assert!(header.length > 5_000_000, "too little to tell");
        (client, header)
    }

    /// Waits until nothing is being sent.
    async fn idle(&self) {
        while self.outbox.bytes() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The name of the group that this test runs as.
fn own_group() -> String {
    let group = nix::unistd::Group::from_gid(nix::unistd::Gid::effective());
    group.unwrap().unwrap().name
}

fn error_of(client: &mut Client) -> ControlError {
    let header = read_header(&mut *client, &[FrameKind::Error]).unwrap();
    let json = read_payload(header, client).unwrap();
    ControlError::from_json(&json).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_is_not_waited_for() {
    let limits = ControlLimits {
        request_max: Duration::from_millis(50),
        ..ControlLimits::default()
    };
    let served = Served::start(limits, usize::MAX).await;
    let mut whole = Vec::new();
    write_frame(FrameKind::Request, &Request::Targets.to_json(), &mut whole).unwrap();
    for n in [0, 1, HEADER_BYTES, whole.len() - 1] {
        let mut client = served.connect();
        client.write_all(&whole[..n]).unwrap();
        assert_eq!(error_of(&mut client).code, "timed_out", "{n} bytes");
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "the connection ends");
    }
    assert!(Path::new(&served.folder.path().join("s")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused() {
    let served = Served::start(ControlLimits::default(), usize::MAX).await;
    let header = Header {
        kind: FrameKind::Request,
        length: 0,
    };
    let mut too_long = header.to_bytes();
    too_long[8..].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut of_the_future = header.to_bytes();
    of_the_future[5] += 1;
    let mut no_json = Vec::new();
    write_frame(FrameKind::Request, b"\xff{}", &mut no_json).unwrap();
    let http = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (bytes, code) in [
        (&http[..], "bad_request"),
        (&too_long, "too_long"),
        (&of_the_future, "unsupported_version"),
        (&no_json, "bad_request"),
    ] {
        let mut client = served.connect();
        client.write_all(bytes).unwrap();
        let error = error_of(&mut client);
        assert_eq!(error.code, code, "{error}");
        assert!(!error.hints.is_empty());
    }
    // What goes away before it has asked is nobody's business.
    for n in [0, 5] {
        served.connect().write_all(&too_long[..n]).unwrap();
    }
    let (client, header) = served.begin();
    assert_eq!(read_payload(header, client).unwrap().last(), Some(&b'\n'));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_no_answer_makes_room_for_others() {
    let served = Served::start(ControlLimits::default(), 12_000_000).await;
    // Their lengths differ: each tells the time.
    let begun = [served.begin(), served.begin(), served.begin()];
    let is_whole = begun.map(|(client, header)| read_payload(header, client).is_ok());
    assert_eq!(is_whole, [false, true, true]);
    served.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_taken_is_given_up() {
    let limits = ControlLimits {
        sending_max: Duration::from_millis(50),
        ..ControlLimits::default()
    };
    let served = Served::start(limits, usize::MAX).await;
    let (slow, header) = served.begin();
    let (vanishing, _) = served.begin();
    drop(vanishing);
    served.idle().await;
    assert!(read_payload(header, slow).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_are_told_so() {
    let served = Served::start(ControlLimits::default(), usize::MAX).await;
    let is_root = nix::unistd::Uid::effective().is_root();
    let places = if is_root {
        places::OF_ROOT_MAX
    } else {
        places::OF_PERSON_MAX
    };
    let held: Vec<_> = (0..places).map(|_| served.connect()).collect();
    assert_eq!(error_of(&mut served.connect()).code, "busy");
    drop(held);
    // Their ends are noticed one after the other.
    loop {
        let mut client = served.connect();
        // It may be refused before this is sent.
        let _ = write_frame(FrameKind::Request, &Request::Targets.to_json(), &mut client);
        let kinds = [FrameKind::Answer, FrameKind::Error];
        if read_header(&mut client, &kinds).is_ok_and(|it| it.kind == FrameKind::Answer) {
            break;
        }
    }
}

/// Processes that belong to the user who is their id divided by 100, and the looks at their threads.
#[derive(Default)]
struct Made {
    facts: ProcRoot,
    /// Whose processes were looked at, one after the other.
    looked: Mutex<Vec<u32>>,
    /// How many threads each process of user 7 has; looking at 20 takes a millisecond.
    n_threads: u32,
    /// Looking at a process of user 7 takes until this is no more so.
    is_held: AtomicBool,
    /// A process becomes root's when it is read, and cannot be read then.
    becomes_root: bool,
    is_root: AtomicBool,
}

impl ProcessSource for Made {
    fn processes(&self) -> Result<Vec<ProcessId>, ProcfsError> {
        Ok(Vec::new())
    }

    fn facts(&self) -> &dyn ReadFacts {
        &self.facts
    }

    fn owner(&self, pid: Pid) -> Result<Owner, ProcessError> {
        let start = StartTime(1);
        let user = match self.is_root.load(Ordering::Relaxed) {
            true => 0,
            false => u32::try_from(pid.as_raw()).unwrap() / 100,
        };
        Ok(Owner {
            id: ProcessId { pid, start },
            users: UserIds::all(user),
            is_dumpable: true,
            faults: None,
        })
    }

    fn foreign_thread(
        &self,
        _id: ProcessId,
        users: UserIds,
        looks: &mut Looks,
    ) -> Result<Option<ForeignThread>, ProcessError> {
        self.looked.lock().unwrap().push(users.real);
        let pause = || std::thread::sleep(Duration::from_millis(1));
        while users.real == 7 && self.is_held.load(Ordering::Relaxed) {
            pause();
        }
        for n in 0..self.n_threads {
            if !looks.take() {
                return Ok(Some(ForeignThread::Unknown));
            }
            if n % 20 == 0 {
                pause();
            }
        }
        Ok(None)
    }

    fn probe(&self, id: ProcessId) -> Result<(), ProcessError> {
        self.attach(id).map(drop)
    }

    fn attach(&self, id: ProcessId) -> Result<Box<dyn AttachedProcess>, ProcessError> {
        self.is_root.store(self.becomes_root, Ordering::Relaxed);
        let what = "/srv/secret".to_owned();
        Err(ProcessError::Denied { pid: id.pid, what })
    }
}

/// A desk at which the members of our own group may ask for everything.
fn desk(store: Arc<Store>, source: Arc<dyn ProcessSource>) -> Desk {
    let rules = ControlRules {
        group: Some(own_group()),
        freeze: Some(Duration::from_secs(1)),
        scan_time: Duration::from_secs(1),
        watch: WatchRules::new(&Settings::default()),
    };
    let rules = watch::channel(Arc::new(rules)).1;
    Desk::new(store, source, rules, Reads::default())
}

/// A desk at which processes of the users 7 and 8 can be asked for.
fn desk_of(made: &Arc<Made>) -> Desk {
    let source = Arc::<Made>::clone(made) as Arc<dyn ProcessSource>;
    let store = Arc::new(Store::new(Arc::clone(&source)));
    let process = |pid| {
        let pid = Pid::new(pid).unwrap();
        let start = StartTime(1);
        Arc::new(ProcessView::new(ProcessId { pid, start }))
    };
    store.publish(AgentView {
        targets: vec![TargetView {
            processes: [700, 701, 702, 703, 704, 800].map(process).into(),
            ..TargetView::default()
        }],
        ..AgentView::default()
    });
    desk(store, source)
}

fn peer(user: u32) -> Peer {
    Peer {
        user,
        group: 4_000_000_001,
        pid: None,
    }
}

type Asking = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Somebody who has asked for the targets, and waits.
async fn waits(desk: &Desk, user: u32) -> Asking {
    let desk = desk.clone();
    let limits = ControlLimits::default();
    let mut asking: Asking =
        Box::pin(async move { desk.ask(peer(user), Request::Targets, limits, |_| {}).await });
    tokio::select! {
        biased;
        _ = &mut asking => panic!("user {user} need not wait"),
        () = std::future::ready(()) => asking,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_many_threads_keeps_nobody_from_being_answered() {
    let made = Arc::new(Made {
        is_held: true.into(),
        ..Made::default()
    });
    let desk = desk_of(&made);
    let looked = || made.looked.lock().unwrap().clone();
    let mut asking = Vec::new();
    for _ in 0..8 {
        asking.push(tokio::spawn(waits(&desk, 7).await));
    }
    while looked().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    // Neither root nor a member has to wait for that.
    desk.members
        .note(9, &Rights::Member(9, "the group".to_owned()));
    for user in [0, 9] {
        let limits = ControlLimits::default();
        let answer = desk
            .ask(peer(user), Request::Targets, limits, |_| {})
            .await
            .answer;
        assert!(answer.is_ok(), "{user}: {:?}", answer.err());
    }
    // Another user waits for one request only.
    asking.push(tokio::spawn(waits(&desk, 8).await));
    made.looked.lock().unwrap().retain(|user| *user == 7);
    made.is_held.store(false, Ordering::Relaxed);
    for asking in asking {
        assert!(asking.await.unwrap().answer.is_ok());
    }
    let looked = looked();
    assert_eq!(looked.len(), 8 * 5 + 1);
    assert_eq!(looked.iter().position(|user| *user == 8), Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn looks_at_threads_have_an_end() {
    for (n_threads, scan_max, code) in [
        (2_000, Duration::from_secs(60), "too_many_threads"),
        (1, Duration::from_secs(60), ""),
        (2_000, Duration::from_millis(50), "timed_out"),
    ] {
        let limits = ControlLimits {
            decisions: ReadLimits {
                scan_max,
                ..ReadLimits::default()
            },
            ..ControlLimits::default()
        };
        let made = Arc::new(Made {
            n_threads,
            ..Made::default()
        });
        let desk = desk_of(&made);
        let answer = desk
            .ask(peer(7), Request::Targets, limits, |_| {})
            .await
            .answer;
        let failed = answer.err();
        let failed_with = failed.as_ref().map_or("", |it| &it.error.code);
        assert_eq!(failed_with, code, "{failed:?}");
        if let Some(failure) = failed {
            // It does not say that these are somebody's.
            assert_eq!(failure.denial, Some(failure.error.message));
            assert!(!failure.error.hints.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_process_cannot_be_read_is_told_to_those_only_whose_it_is() {
    let pid = Pid::new(700).unwrap();
    for (becomes_root, code) in [(false, "permission_denied"), (true, "not_allowed")] {
        for request in [
            Request::Snapshot { pid, freeze: None },
            Request::Explain(pid),
        ] {
            let made = Arc::new(Made {
                becomes_root,
                ..Made::default()
            });
            let limits = ControlLimits::default();
            let outcome = desk_of(&made).ask(peer(7), request, limits, |_| {}).await;
            let Err(failure) = outcome.answer else {
                assert!(!becomes_root && matches!(request, Request::Explain(_)));
                continue;
            };
            assert_eq!(failure.error.code, code, "{failure:?}");
            assert_eq!(failure.denial.is_some(), becomes_root, "{failure:?}");
            let tells = failure.error.message.contains("secret");
            assert_eq!(tells, !becomes_root, "{failure:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_told_only_of_the_program_that_was_found_to_be_theirs() {
    let pid = Pid::new(700).unwrap();
    for (user, shifts, tells, told) in [
        (7, 0, true, Some("program 0")),
        (7, 1, true, Some("program 2")),
        (7, 2, true, Some("program 4")),
        (7, 3, true, None),
        (7, 0, false, None),
        // Who may ask for everything may ask for that, too.
        (0, 3, true, Some("program 1")),
        (0, 0, false, Some("program 0")),
    ] {
        for request in [
            Request::Snapshot { pid, freeze: None },
            Request::Explain(pid),
        ] {
            let source: Arc<dyn ProcessSource> = Arc::new(Shifting::new(shifts, tells));
            let store = Arc::new(Store::new(Arc::clone(&source)));
            let limits = ControlLimits::default();
            let desk = desk(store, source);
            let outcome = desk.ask(peer(user), request, limits, |_| {}).await;
            let answer = outcome.answer.map(|it| it.json);
            let context = format!("{user} {shifts} {tells} {request:?}: {answer:?}");
            match (answer, told) {
                (Ok(json), Some(told)) => {
                    let json = String::from_utf8(json).unwrap();
                    assert!(json.contains(told), "{context}");
                }
                (Err(failure), None) => {
                    assert_eq!(failure.error.code, "read_failed", "{context}");
                    assert!(!failure.error.message.contains("program 1"), "{context}");
                }
                _ => panic!("{context}"),
            }
        }
    }
}

/// What is to be stopped is read once: a second read would stop it for longer than was asked.
#[tokio::test(flavor = "multi_thread")]
async fn what_executes_other_programs_is_not_stopped_once_more() {
    let pid = Pid::new(700).unwrap();
    let freeze = |seconds| Some(Duration::from_secs(seconds));
    for (shifts, seconds, code) in [
        (0, 1, ""),
        (1, 1, "read_failed"),
        (0, 2, "freeze_not_allowed"),
    ] {
        let source: Arc<dyn ProcessSource> = Arc::new(Shifting::new(shifts, true));
        let store = Arc::new(Store::new(Arc::clone(&source)));
        let request = Request::Snapshot {
            pid,
            freeze: freeze(seconds),
        };
        let limits = ControlLimits::default();
        let outcome = desk(store, source)
            .ask(peer(7), request, limits, |_| {})
            .await;
        let failure = outcome.answer.err();
        let failed_with = failure.as_ref().map_or("", |it| &it.error.code);
        assert_eq!(failed_with, code, "{shifts} {seconds}: {failure:?}");
        let denial = failure.and_then(|it| it.denial);
        assert_eq!(denial.is_some(), code == "freeze_not_allowed", "{denial:?}");
    }
}
