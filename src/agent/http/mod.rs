//! The HTTP server: connections here, what is answered in [`site`].
//!
//! A client can hold up nobody but itself: a connection has a bounded life, there is a cap on how
//! many are open, and above it one is closed of the client that has the most ([`places`]). So it is with the bytes of
//! answers that are being sent ([`outbox`]), and with passwords that have to be checked ([`turns`]). Requests have
//! no use for a body; it is never read.
//!
//! Who may ask for what is looked up for each request, in the rules that hold then. What only the beginning
//! of a connection shows, a certificate or that there is none, does not outlive the rules: connections are
//! closed when those are replaced.

mod api;
mod audit;
mod auth;
mod host;
mod outbox;
mod page;
mod payload;
mod peer;
mod places;
mod rules;
mod runbooks;
mod shared;
mod site;
mod tls;
mod turns;

pub(super) use audit::Audit;
pub(super) use outbox::{Holder, Outbox};
pub use rules::WebError;
pub(super) use rules::WebRules;
pub(super) use shared::Shared;
pub(super) use site::Site;
pub use tls::TlsError;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use payload::Payload;
use peer::Peer;
use places::{Places, Used};
use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

/// What one client, and all together, may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct HttpLimits {
    /// Open connections to each address that is listened on.
    connections_max: usize,
    /// Time for the header of a request to come in, waiting for its first byte included.
    header_read_max: Duration,
    /// Time after which a connection is asked to end.
    connection_life: Duration,
    /// Time that it has to do so.
    connection_end_max: Duration,
    /// Time that a client certainly has to take an answer; after twice as long it is not sent any more.
    sending_max: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            header_read_max: Duration::from_secs(30),
            connection_life: Duration::from_secs(5 * 60),
            connection_end_max: Duration::from_secs(1),
            sending_max: Duration::from_secs(30),
        }
    }
}

/// Bytes of all answers together that are being sent, small ones and those of large reads left out.
pub(super) const SENDING_BYTES_MAX: usize = 48 << 20;

/// Bytes of a request's header.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Pause after a connection could not be accepted, which usually is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `site` on `listener` until `stopped` becomes true and the connections have ended.
pub(super) async fn serve(
    listener: TcpListener,
    site: Site,
    limits: HttpLimits,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut places = Places::new(limits.connections_max);
    let mut looks = interval(limits.sending_max);
    let mut first_since_look = 0;
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => continue,
            _ = looks.tick() => {
                site.outbox.give_up_before(first_since_look);
                first_since_look = site.outbox.next();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let from = From {
                    peer: Arc::new(Peer::new(address.ip())),
                    used: places.begin(),
                };
                let connection =
                    serve_connection(stream, from.clone(), site.clone(), limits, stopped.clone());
                places.take(from.peer.address, connections.spawn(connection), from.used);
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Where a connection is from.
#[derive(Debug, Clone)]
struct From {
    peer: Arc<Peer>,
    used: Used,
}

async fn serve_connection(
    stream: TcpStream,
    from: From,
    site: Site,
    limits: HttpLimits,
    stopped: watch::Receiver<bool>,
) {
    let accepted_by = Arc::clone(&site.rules.borrow());
    let Some(tls) = accepted_by.tls.clone() else {
        return serve_stream(stream, from, site, accepted_by, limits, stopped).await;
    };
    // Whoever does not shake hands in time, or speaks no TLS, is not answered.
    if let Ok(Ok(stream)) = timeout(limits.header_read_max, tls.accept(stream)).await {
        serve_stream(stream, from, site, accepted_by, limits, stopped).await;
    }
}

async fn serve_stream(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    from: From,
    site: Site,
    accepted_by: Arc<WebRules>,
    limits: HttpLimits,
    mut stopped: watch::Receiver<bool>,
) {
    let mut rules = site.rules.clone();
    let give_up = Arc::new(Notify::new());
    let service = service_fn(|request| {
        let (site, accepted_by) = (site.clone(), Arc::clone(&accepted_by));
        let give_up = Arc::clone(&give_up);
        let asked = from.used.ask();
        let peer = Arc::clone(&from.peer);
        let holder = Holder::Address(peer.address);
        async move {
            let answer = site.respond(&request, &accepted_by, &peer).await;
            let post = |body: Payload| body.post(&site.outbox, holder, &give_up, asked);
            Ok::<_, Infallible>(answer.map(post))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_max)
        .max_buf_size(HEADER_BYTES_MAX)
        // Who has asked may say that no more will come.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut life = pin!(sleep(limits.connection_life));
    let mut is_outdated = false;
    loop {
        tokio::select! {
            // A broken connection is its client's business.
            _ = connection.as_mut() => return,
            () = give_up.notified() => return,
            () = outdated(&mut rules, &accepted_by), if !is_outdated => {
                // What was asked for before is still answered.
                is_outdated = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = stopped.wait_for(|stopped| *stopped) => break,
            () = life.as_mut() => break,
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits.connection_end_max, connection).await;
}

/// Waits for rules by which a connection of old rules may not go on.
async fn outdated(rules: &mut watch::Receiver<Arc<WebRules>>, accepted_by: &WebRules) {
    let replaced = rules.wait_for(|rules| !rules.keep_connections_of(accepted_by));
    if replaced.await.is_err() {
        // Nobody is left who could replace them.
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{AgentView, TargetView};
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream as Client};
    use tokio::net::TcpSocket;

    async fn start(limits: HttpLimits) -> (SocketAddr, watch::Sender<bool>) {
        start_site(Site::for_tests(), limits).await
    }

    async fn start_site(site: Site, limits: HttpLimits) -> (SocketAddr, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(serve(listener, site, limits, stopped));
        (address, stop)
    }

    /// What the server sends until it closes the connection.
    fn until_closed(stream: &mut Client) -> String {
        let mut answer = Vec::new();
        // A reset is a way of closing too.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_header_that_does_not_end_is_not_waited_for() {
        let limits = HttpLimits {
            header_read_max: Duration::from_millis(50),
            ..HttpLimits::default()
        };
        let (address, _stop) = start(limits).await;
        for begun in ["", "GET /metr", "GET / HTTP/1.1\r\nHost: a\r\nX: "] {
            let mut stream = Client::connect(address).unwrap();
            stream.write_all(begun.as_bytes()).unwrap();
            assert!(!until_closed(&mut stream).contains("200"));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_endless_header_is_refused() {
        let (address, _stop) = start(HttpLimits::default()).await;
        let mut stream = Client::connect(address).unwrap();
        let header = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(64 << 10));
        let _ = stream.write_all(header.as_bytes());
        assert!(!until_closed(&mut stream).contains("200"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_ends_at_the_end_of_its_life() {
        let limits = HttpLimits {
            connection_life: Duration::from_millis(50),
            connection_end_max: Duration::from_millis(50),
            ..HttpLimits::default()
        };
        let (address, _stop) = start(limits).await;
        let mut stream = Client::connect(address).unwrap();
        let request = "GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        assert!(until_closed(&mut stream).ends_with("healthy\n"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_old_connection_makes_room_for_a_new_one() {
        let limits = HttpLimits {
            connections_max: 2,
            ..HttpLimits::default()
        };
        let (address, _stop) = start(limits).await;
        let mut oldest = Client::connect(address).unwrap();
        let _second = Client::connect(address).unwrap();
        let mut newest = Client::connect(address).unwrap();
        let request = "GET /-/healthy HTTP/1.0\r\n\r\n";
        newest.write_all(request.as_bytes()).unwrap();
        assert!(until_closed(&mut newest).ends_with("healthy\n"));
        assert_eq!(until_closed(&mut oldest), "");
    }

    /// Asks on a connection that stays open.
    fn is_healthy(stream: &mut Client) -> bool {
        let request = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"healthy\n") {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1) => answer.extend(byte),
                _ => return false,
            }
        }
        true
    }

    /// A site whose metrics are more than sockets hold.
    fn site_of_many_bytes(bytes_max: usize) -> Site {
        let site = Site {
            outbox: Arc::new(Outbox::new(bytes_max)),
            ..Site::for_tests()
        };
        let target = |n: usize| TargetView {
            name: format!("{n}{}", "x".repeat(50_000)).into(),
            ..TargetView::default()
        };
        site.store.publish(AgentView {
            targets: (0..30).map(target).collect(),
            ..AgentView::default()
        });
        site
    }

    /// A client that has seen the beginning of the metrics, and takes no more of them for now.
    fn begin_metrics(address: SocketAddr) -> Client {
        let mut stream = Client::connect(address).unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        stream
    }

    /// Whether all that was announced comes.
    fn is_whole(stream: &mut Client) -> bool {
        let answer = until_closed(stream);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let announced = head.split_once("content-length: ").unwrap().1;
        let announced = announced.split("\r\n").next().unwrap();
        assert!(
            announced.parse::<usize>().unwrap() > 17_000_000,
            "too little to tell"
        );
        body.len().to_string() == announced
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn clients_that_connect_again_and_again_take_nobody_elses_place() {
        let limits = HttpLimits {
            connections_max: 4,
            ..HttpLimits::default()
        };
        let site = site_of_many_bytes(usize::MAX);
        let (address, _stop) = start_site(site, limits).await;
        let mut scrape = begin_metrics(address);
        let mut others = Vec::new();
        for n in 0..20 {
            // Whoever is on this machine has very many addresses.
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 1, n], 0).into()).unwrap();
            let stream = socket.connect(address).await.unwrap();
            let mut stream = stream.into_std().unwrap();
            stream.set_nonblocking(false).unwrap();
            assert!(is_healthy(&mut stream));
            others.push(stream);
        }
        assert!(is_whole(&mut scrape));
        assert!(!is_healthy(&mut others[0]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_takes_no_answer_makes_room_for_others() {
        let site = site_of_many_bytes(50_000_000);
        let outbox = Arc::clone(&site.outbox);
        let (address, _stop) = start_site(site, HttpLimits::default()).await;
        let mut first = begin_metrics(address);
        let mut second = begin_metrics(address);
        let mut third = begin_metrics(address);
        assert!(!is_whole(&mut first));
        assert!(is_whole(&mut third));
        assert!(is_whole(&mut second));
        assert_eq!(outbox.bytes(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_that_is_not_taken_in_time_is_given_up() {
        let limits = HttpLimits {
            sending_max: Duration::from_millis(50),
            ..HttpLimits::default()
        };
        let site = site_of_many_bytes(usize::MAX);
        let outbox = Arc::clone(&site.outbox);
        let (address, _stop) = start_site(site, limits).await;
        let mut stream = begin_metrics(address);
        while outbox.bytes() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(!is_whole(&mut stream));
    }
}
