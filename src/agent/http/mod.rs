//! The HTTP server: connections here, what is answered in [`site`].
//!
//! A client can hold up nobody but itself: a connection has a bounded life, there is a cap on how
//! many are open, and above it the oldest one is closed. Requests have no use for a body; it is never
//! read.

mod api;
mod auth;
mod host;
mod page;
mod rules;
mod site;
mod tls;

pub use rules::WebError;
pub(super) use rules::WebRules;
pub(super) use site::{SNAPSHOTS_MAX, Site};
pub use tls::TlsError;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// What one client, and all together, may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct HttpLimits {
    /// Open connections per address.
    connections_max: usize,
    /// Time for the header of a request to come in, waiting for its first byte included.
    header_read_max: Duration,
    /// Time after which a connection is asked to end.
    connection_life: Duration,
    /// Time that it has to do so.
    connection_end_max: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 128,
            header_read_max: Duration::from_secs(30),
            connection_life: Duration::from_secs(5 * 60),
            connection_end_max: Duration::from_secs(1),
        }
    }
}

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
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                by_age.retain(|connection| !connection.is_finished());
                if by_age.len() >= limits.connections_max
                    && let Some(oldest) = by_age.pop_front()
                {
                    oldest.abort();
                }
                let connection = serve_connection(stream, site.clone(), limits, stopped.clone());
                by_age.push_back(connections.spawn(connection));
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

async fn serve_connection(
    stream: TcpStream,
    site: Site,
    limits: HttpLimits,
    stopped: watch::Receiver<bool>,
) {
    let tls = site.tls();
    let Some(tls) = tls else {
        return serve_stream(stream, site, limits, stopped).await;
    };
    // Whoever does not shake hands in time, or speaks no TLS, is not answered.
    if let Ok(Ok(stream)) = timeout(limits.header_read_max, tls.accept(stream)).await {
        serve_stream(stream, site, limits, stopped).await;
    }
}

async fn serve_stream(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    site: Site,
    limits: HttpLimits,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(|request| {
        let site = site.clone();
        async move { Ok::<_, Infallible>(site.respond(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_max)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // A broken connection is its client's business.
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = sleep(limits.connection_life) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits.connection_end_max, connection).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream as Client};

    async fn start(limits: HttpLimits) -> (SocketAddr, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let site = Site::for_tests();
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
    async fn the_oldest_connection_makes_room_for_a_new_one() {
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
}
