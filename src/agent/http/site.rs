//! What is answered to a request.

use super::audit::{Audit, Client, ON_DEMAND};
use super::outbox::Outbox;
use super::payload::Payload;
use super::peer::Peer;
use super::rules::WebRules;
use super::shared::{Made, Shared};
use super::{api, host, page, runbooks};
use crate::agent::reads::Reads;
use crate::agent::reload::ReloadRequest;
use crate::agent::source::ProcessSource;
use crate::agent::store::Store;
use crate::agent::turnstile::Turnstile;
use crate::export::openmetrics::{OPENMETRICS_CONTENT_TYPE, prefers_openmetrics};
use crate::export::prometheus::{CONTENT_TYPE, PrometheusExporter};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, HeaderMap, HeaderValue};
use hyper::header::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const JSON: &str = "application/json";

/// Answers that are the same for all who ask for them at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::agent) enum Kind {
    Metrics,
    OpenMetrics,
    Page {
        /// With names and files of programs.
        details: bool,
    },
    /// `/api/v1/targets`, of one target or all.
    Targets(Option<String>),
    /// `/api/v1/findings` likewise.
    Findings(Option<String>),
}

pub(super) fn made(content_type: &'static str, body: impl Into<Vec<u8>>) -> Result<Made, String> {
    let mut body: Vec<u8> = body.into();
    // It may be held for a while.
    body.shrink_to_fit();
    Ok(Made {
        content_type,
        body: body.into(),
    })
}

pub(super) type Answer = Response<Payload>;
/// What whoever may not ask for something is told.
pub(super) type Refusal = Box<Answer>;

/// What is served.
#[derive(Clone)]
pub(in crate::agent) struct Site {
    pub(in crate::agent) store: Arc<Store>,
    pub(in crate::agent) exporter: Arc<PrometheusExporter>,
    pub(in crate::agent) source: Arc<dyn ProcessSource>,
    pub(in crate::agent) rules: watch::Receiver<Arc<WebRules>>,
    pub(in crate::agent) reloads: mpsc::Sender<ReloadRequest>,
    /// The processes that are read because somebody asks for them.
    pub(in crate::agent) reads: Reads,
    /// How often an address may have a process read.
    pub(in crate::agent) turnstile: Turnstile<IpAddr>,
    /// The lines in the log of who asked for what.
    pub(in crate::agent) audit: Audit,
    /// The answers that are being made.
    pub(in crate::agent) shared: Shared<Kind>,
    /// The answers that are being sent.
    pub(in crate::agent) outbox: Arc<Outbox>,
    /// Only programs of this machine can reach the address.
    pub(in crate::agent) is_local: bool,
}

impl Site {
    /// The answer to a request of this peer on a connection that was accepted by these rules.
    pub(super) async fn respond(
        &self,
        request: &Request<Incoming>,
        accepted_by: &WebRules,
        peer: &Peer,
    ) -> Answer {
        let rules = Arc::clone(&self.rules.borrow());
        let refused = match rules.keep_connections_of(accepted_by) {
            true => self.refusal(request, &rules, peer).await,
            false => Some(outdated()),
        };
        let Some(what) = request.uri().path().strip_prefix(ON_DEMAND) else {
            return match refused {
                Some(refused) => refused,
                None => self.answer(request, &rules).await,
            };
        };
        let user = rules.users.name(request.headers());
        let client = Client {
            address: peer.address,
            user: user.filter(|_| refused.is_none()),
            right: rules.right(),
        };
        let wanted = match refused {
            Some(refused) => Err(Box::new(refused)),
            None => self.on_demand(request, &rules, &client, what),
        };
        match wanted {
            Err(refused) => {
                self.audit.refuse(&client, what, &refused);
                *refused
            }
            Ok(wanted) => {
                let mut noted = self.audit.allow(&client, what);
                let mut answer = api::answer(self, &rules, wanted).await;
                noted.answer(&answer, *request.method() == Method::HEAD);
                answer.body_mut().noted = Some(noted);
                answer
            }
        }
    }

    /// What whoever asks is told who is not answered, whatever they ask for.
    async fn refusal(
        &self,
        request: &Request<Incoming>,
        rules: &WebRules,
        peer: &Peer,
    ) -> Option<Answer> {
        // Whether it runs is for everybody, whoever they are and whatever they call this machine: what asks may be a probe.
        if matches!(request.uri().path(), "/-/healthy" | "/-/ready") {
            return None;
        }
        if !rules.users.let_in(request.headers(), peer).await {
            return Some(unauthorized());
        }
        let must_be_ours = self.is_local && !rules.knows_clients();
        let is_theirs = || !host::is_ours(request.uri(), request.headers(), &rules.listen);
        (must_be_ours && is_theirs()).then(|| {
            forbidden(
                "this is shown to those only who ask for a loopback address or for localhost, and the Host \
                 header has another name; to have it under any name, set users in web.config_file\n",
            )
        })
    }

    async fn answer(&self, request: &Request<Incoming>, rules: &WebRules) -> Answer {
        let is_get = is_get(request.method());
        let is_post = matches!(*request.method(), Method::POST | Method::PUT);
        match request.uri().path() {
            "/-/reload" if is_post && host::is_of_page(request.headers()) => {
                forbidden("this is not for web pages\n")
            }
            "/-/reload" if is_post => self.reload(rules).await,
            "/-/reload" => refuse_method("POST, PUT"),
            "/metrics" | "/" | "/-/healthy" | "/-/ready" if !is_get => refuse_method("GET, HEAD"),
            "/metrics" => self.metrics(request.headers()).await,
            "/" => self.page(rules.show_details(self.is_local)).await,
            "/-/healthy" => text(StatusCode::OK, "healthy\n"),
            "/-/ready" => self.ready(),
            path => match path.strip_prefix("/runbooks/") {
                Some(_) if !is_get => refuse_method("GET, HEAD"),
                Some(name) => runbooks::answer(name),
                None => text(StatusCode::NOT_FOUND, "not found; see /\n"),
            },
        }
    }

    /// What is asked for, if it may be.
    fn on_demand(
        &self,
        request: &Request<Incoming>,
        rules: &WebRules,
        client: &Client,
        what: &str,
    ) -> Result<api::Wanted, Refusal> {
        if !is_get(request.method()) {
            return Err(Box::new(refuse_method("GET, HEAD")));
        }
        if !rules.show_details(self.is_local) {
            return Err(Box::new(forbidden(rules.why_no_details())));
        }
        api::wanted(self, client, what, request.uri().query())
    }

    async fn metrics(&self, headers: &HeaderMap) -> Answer {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let exporter = Arc::clone(&self.exporter);
        if accept.is_some_and(prefers_openmetrics) {
            let make = move || made(OPENMETRICS_CONTENT_TYPE, exporter.scrape_openmetrics());
            return self.shared.answer(Kind::OpenMetrics, make).await;
        }
        let make = move || match exporter.scrape() {
            Ok(text) => made(CONTENT_TYPE, text),
            Err(error) => {
                tracing::error!(%error, "cannot write metrics");
                Err(format!("cannot write metrics: {error}"))
            }
        };
        self.shared.answer(Kind::Metrics, make).await
    }

    async fn page(&self, details: bool) -> Answer {
        let store = Arc::clone(&self.store);
        let make = move || made(HTML, page::page(&store.latest(), details));
        self.shared.answer(Kind::Page { details }, make).await
    }

    fn ready(&self) -> Answer {
        match self.store.is_ready() {
            true => text(StatusCode::OK, "ready\n"),
            false => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: the first rounds are running\n",
            ),
        }
    }

    async fn reload(&self, rules: &WebRules) -> Answer {
        if !rules.reload {
            return forbidden("this is off; to have it, set web.reload: true\n");
        }
        let (tell, told) = oneshot::channel();
        // What cannot be sent is dropped, and then nothing is told.
        let _ = self.reloads.try_send(ReloadRequest::Tell(tell));
        match told.await {
            Ok(Ok(what)) => text(StatusCode::OK, &format!("{what}\n")),
            Ok(Err(why)) => text(StatusCode::BAD_REQUEST, &format!("{why}\n")),
            Err(_) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the configuration is being read already\n",
            ),
        }
    }
}

/// What a request gets that came between a change of the rules and the end of its connection.
fn outdated() -> Answer {
    let mut refused = text(
        StatusCode::SERVICE_UNAVAILABLE,
        "the configuration was read again; connect again\n",
    );
    let close = HeaderValue::from_static("close");
    refused.headers_mut().insert(CONNECTION, close);
    refused
}

fn unauthorized() -> Answer {
    let mut refused = text(
        StatusCode::UNAUTHORIZED,
        "a user and a password are needed\n",
    );
    let challenge = HeaderValue::from_static("Basic realm=\"asyncio-agent\", charset=\"UTF-8\"");
    refused.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    refused
}

fn forbidden(why: &str) -> Answer {
    text(StatusCode::FORBIDDEN, why)
}

fn is_get(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn refuse_method(allowed: &'static str) -> Answer {
    let message = format!("only {allowed} are answered here\n");
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, &message);
    let allowed = HeaderValue::from_static(allowed);
    refused.headers_mut().insert(ALLOW, allowed);
    refused
}

pub(super) fn text(status: StatusCode, text: &str) -> Answer {
    response(status, TEXT, text.to_owned())
}

pub(super) fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut response = Response::new(Payload::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, content_type),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        // The page has no scripts, and one style of its own.
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; form-action 'none'",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
impl Site {
    /// Of an agent without targets.
    pub(super) fn for_tests() -> Self {
        use crate::agent::HostProcesses;
        use crate::config::{WebFile, parse};
        let source: Arc<dyn ProcessSource> = Arc::new(HostProcesses::default());
        let store = Arc::new(Store::new(Arc::clone(&source)));
        let latest = Arc::clone(&store);
        let settings = parse("a", "").unwrap();
        let rules = WebRules::new(&settings, &WebFile::default()).unwrap();
        Self {
            store,
            exporter: Arc::new(PrometheusExporter::new(move || latest.latest()).unwrap()),
            source,
            rules: watch::channel(Arc::new(rules)).1,
            reloads: mpsc::channel(1).0,
            reads: Reads::default(),
            turnstile: Turnstile::new(),
            audit: Audit::default(),
            shared: Shared::default(),
            outbox: Arc::new(Outbox::new(super::SENDING_BYTES_MAX)),
            is_local: true,
        }
    }
}
