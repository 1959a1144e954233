//! Sends requests with metrics, over gRPC or HTTP (opentelemetry-proto, `docs/specification.md`), and hears what is said
//! to them. The SDK's exporter sends only what the SDK has collected.

use super::answer::{Ear, Failure, Taken};
use super::transport::{Client, chain};
use flate2::write::GzEncoder;
use hyper::Uri;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use opentelemetry_http::{Bytes, HttpClient as _, Request};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use prost::Message as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

/// Who sends.
pub(super) const AGENT: &str = concat!("asyncio-agent/", env!("CARGO_PKG_VERSION"));

/// What sends metrics.
#[derive(Debug)]
pub(super) struct MetricsClient {
    way: Way,
    ear: Ear,
    /// After so long a request is not sent again.
    timeout: Duration,
}

/// How it sends them.
#[derive(Debug)]
pub(super) enum Way {
    Grpc {
        service: MetricsServiceClient<Channel>,
        headers: MetadataMap,
    },
    Http {
        client: Arc<Client>,
        uri: Uri,
        compresses: bool,
    },
}

impl MetricsClient {
    pub(super) fn new(way: Way, ear: Ear, timeout: Duration) -> Self {
        Self { way, ear, timeout }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends a request once.
    pub(super) async fn send(
        &self,
        request: &ExportMetricsServiceRequest,
    ) -> Result<Taken, Failure> {
        match &self.way {
            Way::Grpc { service, headers } => {
                let mut request = tonic::Request::new(request.clone());
                *request.metadata_mut() = headers.clone();
                self.ear
                    .hear(self.over_grpc(service.clone(), request))
                    .await
            }
            Way::Http {
                client,
                uri,
                compresses,
            } => {
                let sending = self.over_http(client, uri, *compresses, request);
                self.ear.hear(sending).await
            }
        }
    }

    async fn over_grpc(
        &self,
        mut service: MetricsServiceClient<Channel>,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> OTelSdkResult {
        match service.export(request).await {
            Ok(response) => {
                self.note_partial(&response.into_inner());
                Ok(())
            }
            Err(status) => {
                let mut error = format!("gRPC code: {:?}", status.code());
                if let Some(cause) = std::error::Error::source(&status) {
                    error = format!("{error}: {}", chain(cause));
                }
                self.ear.note_grpc(&status);
                Err(OTelSdkError::InternalFailure(error))
            }
        }
    }

    async fn over_http(
        &self,
        client: &Client,
        uri: &Uri,
        compresses: bool,
        request: &ExportMetricsServiceRequest,
    ) -> OTelSdkResult {
        let failed = |error: String| OTelSdkError::InternalFailure(error);
        let mut body = request.encode_to_vec();
        if compresses {
            body = gzip(&body).map_err(|error| failed(error.to_string()))?;
        }
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = uri.clone();
        let mut set = |name, value| {
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static(value))
        };
        set(CONTENT_TYPE, "application/x-protobuf");
        set(USER_AGENT, AGENT);
        if compresses {
            set(CONTENT_ENCODING, "gzip");
        }
        // What the answer means is heard by the client.
        let answer = client.send_bytes(request).await;
        let answer = answer.map_err(|_| failed("HTTP: network error".to_owned()))?;
        if !answer.status().is_success() {
            return Err(failed(format!(
                "HTTP status code: {}",
                answer.status().as_u16()
            )));
        }
        // One that says something else has taken it all the same.
        if let Ok(response) = ExportMetricsServiceResponse::decode(&**answer.body()) {
            self.note_partial(&response);
        }
        Ok(())
    }

    fn note_partial(&self, response: &ExportMetricsServiceResponse) {
        if let Some(partial) = &response.partial_success {
            self.ear
                .note_partial(partial.rejected_data_points, &partial.error_message);
        }
    }
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body)?;
    encoder.finish()
}
