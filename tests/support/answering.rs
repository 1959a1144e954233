//! A receiver of OpenTelemetry that answers what it is told to: over HTTP and gRPC.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What it answers.
#[derive(Debug, Clone)]
pub enum Answer {
    Take,
    /// The same, after so long.
    TakeAfter(Duration),
    /// All but so many, and why not.
    TakeAllBut(u8, &'static str),
    /// For good: a status of HTTP, a code of gRPC, and why.
    Refuse(u16, u8, &'static str),
    /// For now: come back in so many seconds.
    Later(u8),
}

/// It, with what it was asked: when, and for which path.
#[derive(Clone)]
pub struct Answering {
    pub port: u16,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<(Instant, String)>>>,
    /// The headers of the latest one, `name: value` each, in lower case.
    headers: Arc<Mutex<Vec<String>>>,
}

impl Answering {
    pub fn start(protocol: &str, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let it = Self {
            port: listener.local_addr().expect("an address").port(),
            answer: Arc::new(Mutex::new(answer)),
            requests: Arc::default(),
            headers: Arc::default(),
        };
        let (this, is_grpc) = (it.clone(), protocol == "grpc");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let this = this.clone();
                thread::spawn(move || match is_grpc {
                    true => this.serve_grpc(stream),
                    false => this.serve_http(&stream),
                });
            }
        });
        it
    }

    pub fn set(&self, answer: Answer) {
        *self.answer.lock().expect("no panic") = answer;
    }

    /// The headers of the latest request, `name: value` each, in lower case.
    pub fn headers(&self) -> Vec<String> {
        self.headers.lock().expect("no panic").clone()
    }

    /// When it was asked to take something of a signal.
    pub fn asked(&self, signal: &str) -> Vec<Instant> {
        let requests = self.requests.lock().expect("no panic");
        let of_signal = requests.iter().filter(|(_, path)| path.contains(signal));
        of_signal.map(|(at, _)| *at).collect()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a receiver has a clock of its own"
    )]
    fn note(&self, path: &str, headers: Vec<String>) -> Answer {
        *self.headers.lock().expect("no panic") = headers;
        let request = (Instant::now(), path.to_lowercase());
        self.requests.lock().expect("no panic").push(request);
        self.answer.lock().expect("no panic").clone()
    }

    fn serve_http(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        loop {
            let (mut path, mut length, mut headers) = (String::new(), 0, Vec::new());
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                let line = line.trim().to_lowercase();
                if path.is_empty() {
                    path = line;
                    continue;
                }
                headers.push(line.clone());
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                } else if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let (head, body) = match self.note(&path, headers) {
                Answer::Take => ("200 OK".to_owned(), Vec::new()),
                Answer::TakeAfter(pause) => {
                    thread::sleep(pause);
                    ("200 OK".to_owned(), Vec::new())
                }
                Answer::TakeAllBut(n, why) => ("200 OK".to_owned(), partial(n, why)),
                Answer::Refuse(status, _, why) => (format!("{status} No"), why.into()),
                Answer::Later(pause) => {
                    let head = format!("503 Later\r\nRetry-After: {pause}");
                    (head, Vec::new())
                }
            };
            let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
            let mut stream = stream;
            if stream
                .write_all(&[head.as_bytes(), &body].concat())
                .is_err()
            {
                return;
            }
        }
    }

    fn serve_grpc(&self, stream: TcpStream) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        stream.set_nonblocking(true).expect("it can be set");
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).expect("a socket");
            let Ok(mut connection) = h2::server::handshake(stream).await else {
                return;
            };
            while let Some(Ok((request, respond))) = connection.accept().await {
                let this = self.clone();
                tokio::spawn(async move { this.answer_grpc(request, respond).await });
            }
        });
    }

    async fn answer_grpc(
        &self,
        request: hyper::Request<h2::RecvStream>,
        mut respond: h2::server::SendResponse<hyper::body::Bytes>,
    ) {
        let (head, mut body) = request.into_parts();
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
        }
        let headers = head.headers.iter();
        let headers =
            headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("")));
        let answer = self.note(head.uri.path(), headers.collect());
        let response = hyper::Response::builder().header("content-type", "application/grpc");
        let message = match answer {
            Answer::Take => Vec::new(),
            Answer::TakeAfter(pause) => {
                tokio::time::sleep(pause).await;
                Vec::new()
            }
            Answer::TakeAllBut(n, why) => partial(n, why),
            Answer::Refuse(_, code, why) => {
                let response = response
                    .header("grpc-status", u16::from(code))
                    .header("grpc-message", why);
                let _ = respond.send_response(response.body(()).expect("it is one"), true);
                return;
            }
            Answer::Later(pause) => {
                use base64::Engine as _;
                let details = retry_info(pause);
                let details = base64::engine::general_purpose::STANDARD_NO_PAD.encode(details);
                let response = response
                    .header("grpc-status", 14_u16)
                    .header("grpc-message", "later")
                    .header("grpc-status-details-bin", details);
                let _ = respond.send_response(response.body(()).expect("it is one"), true);
                return;
            }
        };
        let Ok(mut stream) = respond.send_response(response.body(()).expect("it is one"), false)
        else {
            return;
        };
        let length = u32::try_from(message.len()).expect("short");
        let framed = [&[0][..], &length.to_be_bytes(), &message].concat();
        let _ = stream.send_data(framed.into(), false);
        let mut trailers = hyper::HeaderMap::new();
        trailers.insert("grpc-status", hyper::header::HeaderValue::from_static("0"));
        let _ = stream.send_trailers(trailers);
    }
}

/// `Export…ServiceResponse`, with so many rejected (protobuf).
fn partial(n: u8, why: &str) -> Vec<u8> {
    let inner = [&[0x08, n][..], &field(0x12, why.as_bytes())].concat();
    field(0x0a, &inner)
}

/// `google.rpc.Status` with a `google.rpc.RetryInfo` of so many seconds.
fn retry_info(seconds: u8) -> Vec<u8> {
    let info = field(0x0a, &[0x08, seconds]);
    let name = field(0x0a, b"type.googleapis.com/google.rpc.RetryInfo");
    let any = [name, field(0x12, &info)].concat();
    [&[0x08, 14][..], &field(0x1a, &any)].concat()
}

fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("short");
    assert!(length < 0x80, "one byte");
    [&[tag, length][..], content].concat()
}
