//! What a receiver said to a request: taken, taken in part, or refused, for now or for good.
//!
//! Of spans, the SDK tells only whether a request failed. The rest it logs: events that this module catches while a
//! request is on its way. What an answer means is said by OpenTelemetry's specification (opentelemetry-proto,
//! `docs/specification.md`: "Failures", "Partial Success").

use crate::sanitize::escape_start;
use hyper::StatusCode;
use hyper::header::{DATE, HeaderMap, RETRY_AFTER};
use opentelemetry_http::{Bytes, Response};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use prost::Message as _;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic_types::pb::{RetryInfo, Status};
use tracing::field::{Field, Visit};
use tracing::instrument::WithSubscriber as _;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// Characters of what a receiver says that are told.
const CHARS_MAX: usize = 300;
/// Longer pauses are not made, whoever asks for them.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Shorter values of headers are no secrets that could be told from other text.
const SECRET_CHARS_MIN: usize = 4;

/// A request was taken.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// So many of the spans, or data points, were not.
    pub(super) n_refused: usize,
    /// What the receiver said about it; may be empty. Escaped.
    pub(super) why: String,
}

/// A request was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Why, escaped.
    pub(super) why: String,
    /// The same request will never be taken.
    pub(super) is_final: bool,
    /// The receiver asks for so long a pause.
    pub(super) pause: Option<Duration>,
}

impl Failure {
    /// The pause that is kept: no receiver may ask for silence for ever.
    pub(super) fn kept_pause(&self) -> Option<Duration> {
        self.pause.map(|pause| pause.min(PAUSE_MAX))
    }
}

/// Hears what is said to the requests of an exporter, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Ear {
    heard: Heard,
    listener: Dispatch,
    /// Values that are not to be told, though the receiver may repeat them.
    secrets: Arc<[String]>,
    /// A request has ended by then: twice the time that the SDK gives it, which begins to count when there is a
    /// connection.
    time_max: Duration,
}

impl Ear {
    pub(super) fn new<'s>(
        secrets: impl IntoIterator<Item = &'s String>,
        timeout: Duration,
    ) -> Self {
        let heard = Heard::default();
        let listener = Listener {
            heard: heard.clone(),
            log: tracing::dispatcher::get_default(Dispatch::clone),
        };
        let secrets = secrets.into_iter();
        let secrets = secrets.filter(|it| it.chars().nth(SECRET_CHARS_MIN - 1).is_some());
        Self {
            heard,
            listener: Dispatch::new(listener),
            secrets: secrets.cloned().collect(),
            time_max: timeout.saturating_mul(2),
        }
    }

    /// Takes notice of an answer over HTTP.
    pub(super) fn note_http<E: fmt::Display>(&self, answer: Result<&Response<Bytes>, E>) {
        self.heard.with(|said| {
            said.http = Some(match answer {
                Ok(answer) => Http::Status {
                    status: answer.status(),
                    pause: retry_after(answer.headers()),
                    text: text_of_body(answer.body()),
                },
                Err(error) => Http::NoAnswer(error.to_string()),
            });
        });
    }

    /// Takes notice of a refusal over gRPC.
    pub(super) fn note_grpc(&self, status: &tonic::Status) {
        let grpc = Grpc {
            code: format!("{:?}", status.code()),
            message: status.message().to_owned(),
            pause: pause_of_details(status.details()),
        };
        self.heard.with(|said| said.grpc = Some(grpc));
    }

    /// So much of a request was not taken.
    pub(super) fn note_partial(&self, n_refused: i64, why: &str) {
        self.heard.with(|said| {
            said.n_refused = usize::try_from(n_refused).unwrap_or(0);
            why.clone_into(&mut said.refusal);
        });
    }

    /// Sends a request, and tells what was said to it.
    pub(super) async fn hear(
        &self,
        request: impl Future<Output = OTelSdkResult>,
    ) -> Result<Taken, Failure> {
        self.heard.with(std::mem::take);
        let request = request.with_subscriber(self.listener.clone());
        let result = tokio::time::timeout(self.time_max, request).await;
        let said = self.heard.with(std::mem::take);
        let result = result.unwrap_or_else(|_| {
            let no_answer = format!("timed out: no answer within {:?}", self.time_max);
            Err(OTelSdkError::InternalFailure(no_answer))
        });
        match result {
            Ok(()) => Ok(Taken {
                n_refused: said.n_refused,
                why: self.shown(&said.refusal),
            }),
            Err(error) => Err(self.failure(&error.to_string(), said)),
        }
    }

    fn failure(&self, error: &str, said: Said) -> Failure {
        let (is_final, pause, text) = match (said.http, said.grpc) {
            (
                Some(Http::Status {
                    status,
                    pause,
                    text,
                }),
                _,
            ) => (!can_pass(status), pause, text),
            (Some(Http::NoAnswer(why)), _) => (false, None, why),
            (None, Some(grpc)) => {
                let is_final = grpc.is_final(error);
                (is_final, grpc.pause, grpc.message)
            }
            (None, None) => (false, None, String::new()),
        };
        let shown = self.shown(&text);
        let error = escape_start(told_once(error), CHARS_MAX);
        Failure {
            why: match shown.is_empty() || error.contains(&shown) {
                true => error.into_owned(),
                false => format!("{error}: {shown}"),
            },
            is_final,
            pause,
        }
    }

    /// What a receiver said, without what is nobody's business.
    fn shown(&self, text: &str) -> String {
        let mut text = text.trim().to_owned();
        for secret in &*self.secrets {
            text = text.replace(&**secret, "<hidden>");
        }
        escape_start(&text, CHARS_MAX).into_owned()
    }
}

/// An error without the repetitions at its end: the SDK lists causes of which each tells the next one.
fn told_once(mut error: &str) -> &str {
    let is_repeated = |at: &usize, error: &str| {
        let (head, tail) = error.split_at(*at);
        tail.len() > 2 && head.ends_with(tail)
    };
    while let Some((at, _)) = error
        .rmatch_indices(": ")
        .find(|(at, _)| is_repeated(at, error))
    {
        error = &error[..at];
    }
    error
}

/// Whether a request that was answered with this may be taken later.
fn can_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// `Retry-After`: seconds, or a moment of the clock that `Date` is of (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let value = text(RETRY_AFTER)?;
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let from = httpdate::parse_http_date(text(DATE)?).ok()?;
    Some(until.duration_since(from).unwrap_or_default())
}

/// What the body of an answer says: a status in protobuf, or whatever text it is.
fn text_of_body(body: &[u8]) -> String {
    let start = &body[..body.len().min(4 * CHARS_MAX)];
    let is_text = !start
        .iter()
        .any(|byte| *byte < b' ' && !b"\t\r\n".contains(byte));
    match Status::decode(body) {
        Ok(status) if !is_text && !status.message.is_empty() => status.message,
        _ => String::from_utf8_lossy(start).into_owned(),
    }
}

/// What was said to the request that is on its way.
#[derive(Debug, Default)]
struct Said {
    http: Option<Http>,
    grpc: Option<Grpc>,
    n_refused: usize,
    refusal: String,
}

#[derive(Debug)]
enum Http {
    Status {
        status: StatusCode,
        pause: Option<Duration>,
        text: String,
    },
    NoAnswer(String),
}

#[derive(Debug, Default)]
struct Grpc {
    /// As Rust's enum has it.
    code: String,
    message: String,
    pause: Option<Duration>,
}

impl Grpc {
    /// Whether the same request will never be taken. `error` is what the SDK says: behind the code of a failure
    /// that happened on our side it names the cause, and then the receiver has said nothing.
    fn is_final(&self, error: &str) -> bool {
        let (_, cause) = error
            .split_once(&format!("gRPC code: {}", self.code))
            .unwrap_or_default();
        if cause.starts_with(": ") {
            return false;
        }
        match &*self.code {
            "Cancelled" | "DeadlineExceeded" | "Aborted" | "OutOfRange" | "Unavailable"
            | "DataLoss" => false,
            "ResourceExhausted" => self.pause.is_none(),
            _ => true,
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Said>>);

impl Heard {
    fn with<R>(&self, change: impl FnOnce(&mut Said) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes the events of the SDK; all others go where they would go without it.
struct Listener {
    heard: Heard,
    log: Dispatch,
}

/// Who speaks in the events that are heard.
const SDK: &str = "opentelemetry-otlp";

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match metadata.target() {
            SDK => metadata.is_event(),
            _ => metadata.is_event() && self.log.enabled(metadata),
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        if metadata.target() != SDK {
            self.log.event(event);
            return;
        }
        if metadata.name().ends_with(".PartialSuccess") {
            self.heard.with(|said| event.record(&mut Partial(said)));
        } else if metadata.name().ends_with(".ExportFailed") {
            let mut grpc = Grpc::default();
            event.record(&mut grpc);
            self.heard.with(|said| said.grpc = Some(grpc));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Partial<'s>(&'s mut Said);

impl Visit for Partial<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name().starts_with("rejected_") {
            self.0.n_refused = usize::try_from(value).unwrap_or(0);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "error_message" {
            value.clone_into(&mut self.0.refusal);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl Visit for Grpc {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "grpc_code" => value.clone_into(&mut self.code),
            "grpc_message" => value.clone_into(&mut self.message),
            "grpc_details" => self.pause = pause_of_details(&listed(value)),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The pause that a receiver asks for in the details of a status of gRPC.
fn pause_of_details(details: &[u8]) -> Option<Duration> {
    let status = Status::decode(details).ok()?;
    let info = status
        .details
        .iter()
        .find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay?;
    let seconds = u64::try_from(delay.seconds).ok()?;
    let nanoseconds = u32::try_from(delay.nanos).ok()?;
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanoseconds.into())))
}

/// The bytes of a list such as `[8, 14]`, which is how the SDK logs them.
fn listed(list: &str) -> Vec<u8> {
    let inner = list.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let numbers = inner.unwrap_or_default().split(", ");
    numbers.map_while(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn bytes_are_read_as_they_are_logged() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(listed(&format!("{:?}", &*bytes)), bytes);
        assert_eq!(listed("[]"), b"");
        assert_eq!(listed("no list"), b"");
    }

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_as_a_moment() {
        let said = |value: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_static(date));
            }
            retry_after(&headers)
        };
        let seconds = |n| Some(Duration::from_secs(n));
        let date = Some("Sun, 06 Nov 1994 08:49:30 GMT");
        assert_eq!(said(" 7 ", None), seconds(7));
        assert_eq!(said("Sun, 06 Nov 1994 08:49:37 GMT", date), seconds(7));
        assert_eq!(said("Sun, 06 Nov 1994 08:49:20 GMT", date), seconds(0));
        assert_eq!(said("Sun, 06 Nov 1994 08:49:37 GMT", None), None);
        assert_eq!(said("soon", date), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        assert_eq!(
            told_once("code: failed: a: b: a: b: a: b"),
            "code: failed: a: b"
        );
        for error in ["", ": ", "abort: t", "a: b: a", "one: two: three"] {
            assert_eq!(told_once(error), error);
        }
        let failure = Ear::new([], Duration::from_secs(1)).failure("x: no: no", Said::default());
        assert_eq!(failure.why, "x: no");
    }

    #[test]
    fn details_of_a_status_ask_for_a_pause() {
        let mut info = RetryInfo {
            retry_delay: Some(Default::default()),
        };
        if let Some(delay) = &mut info.retry_delay {
            (delay.seconds, delay.nanos) = (3, 500_000_000);
        }
        let mut status = Status {
            details: vec![Default::default()],
            ..Status::default()
        };
        status.details[0].type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
        status.details[0].value = info.encode_to_vec();
        let logged = format!("{:?}", &*status.encode_to_vec());
        let pause = pause_of_details(&listed(&logged));
        assert_eq!(pause, Some(Duration::from_millis(3_500)));
    }

    #[test]
    fn what_can_pass_is_not_final() {
        let grpc = |code: &str| Grpc {
            code: code.to_owned(),
            ..Grpc::default()
        };
        let said = |code: &str, cause: &str| {
            let error = format!("TonicTracesClient export failed with gRPC code: {code}{cause}");
            grpc(code).is_final(&error)
        };
        assert!(!said("Unavailable", "") && !said("DeadlineExceeded", ""));
        assert!(said("InvalidArgument", "") && said("Unauthenticated", "") && said("Internal", ""));
        assert!(said("ResourceExhausted", ""));
        let pause = Grpc {
            pause: Some(Duration::ZERO),
            ..grpc("ResourceExhausted")
        };
        assert!(!pause.is_final("gRPC code: ResourceExhausted"));
        // It broke on our side.
        assert!(!said("Unknown", ": transport error: broken pipe"));
        for (status, passes) in [
            (429, true),
            (502, true),
            (503, true),
            (504, true),
            (400, false),
            (401, false),
            (403, false),
            (404, false),
            (413, false),
            (500, false),
        ] {
            assert_eq!(
                can_pass(StatusCode::from_u16(status).unwrap()),
                passes,
                "{status}"
            );
        }
    }

    #[test]
    fn what_a_receiver_says_is_told_without_secrets() {
        let ear = Ear::new([&"hunter2".to_owned()], Duration::from_secs(1));
        let said = Said {
            http: Some(Http::Status {
                status: StatusCode::UNAUTHORIZED,
                pause: Some(Duration::from_secs(100_000)),
                text: text_of_body(b"no token hunter2\x1b[2J, sorry"),
            }),
            ..Said::default()
        };
        let failure = ear.failure("status code: 401", said);
        assert_eq!(
            failure.why,
            "status code: 401: no token <hidden>\\x1b[2J, sorry"
        );
        assert_eq!(
            (failure.is_final, failure.kept_pause()),
            (true, Some(PAUSE_MAX))
        );
        let status = Status {
            code: 3,
            message: "spans are bad".to_owned(),
            details: Vec::new(),
        };
        assert_eq!(text_of_body(&status.encode_to_vec()), "spans are bad");
    }
}
