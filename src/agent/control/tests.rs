//! Connections to the socket with short limits: who is too slow, says nothing that is understood, or goes away.

use super::*;
use crate::agent::HostProcesses;
use crate::agent::reads::Reads;
use crate::agent::source::ProcessSource;
use crate::agent::store::Store;
use crate::metrics::{AgentView, TargetView};
use crate::protocol::{read_header, read_payload, write_frame};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream as Client;
use std::path::Path;
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
        let rules = ControlRules {
            group: Some(own_group()),
            scan_time: Duration::from_secs(1),
            watch: WatchRules::new(&Settings::default()),
        };
        let rules = watch::channel(Arc::new(rules)).1;
        let desk = Desk::new(store, source, rules, Reads::default());
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
    let (first, header) = served.begin();
    let (second, _) = served.begin();
    let (third, _) = served.begin();
    assert!(read_payload(header, first).is_err());
    assert!(read_payload(header, second).is_ok());
    assert!(read_payload(header, third).is_ok());
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
