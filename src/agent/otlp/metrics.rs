//! Metrics over OTLP: a provider of the SDK that asks for our families every interval.

use super::health::{Health, Signal};
use crate::export::otlp::{Families, Instruments, depth_histograms};
use crate::metrics::{AgentView, collect};
use opentelemetry::KeyValue;
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use std::sync::Arc;
use std::time::Duration;

/// What sends metrics.
#[derive(Debug)]
pub(super) struct MetricsPusher {
    provider: SdkMeterProvider,
}

impl MetricsPusher {
    /// Begins to send what `latest` gives, every `interval`.
    pub(super) fn start(
        exporter: MetricExporter,
        interval: Duration,
        host: &str,
        latest: Arc<dyn Fn() -> Arc<AgentView> + Send + Sync>,
        health: Arc<Health>,
    ) -> Self {
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "asyncio-agent"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", host.to_owned()),
                KeyValue::new("host.name", host.to_owned()),
            ])
            .build();
        let families = Families::new(move || collect(&latest()));
        let exporter = Watched {
            exporter,
            resource: resource.clone(),
            families: families.clone(),
            health,
        };
        let reader = PeriodicReader::builder(exporter)
            .with_interval(interval)
            .build();
        let provider = SdkMeterProvider::builder()
            .with_resource(resource)
            .with_reader(reader)
            .build();
        Instruments::register(&provider, &families);
        Self { provider }
    }

    /// Sends metrics once more, and ends; takes at most so long.
    pub(super) async fn stop(self, at_most: Duration) {
        let provider = self.provider;
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(at_most));
        // It has told the log.
        let _ = tokio::time::timeout(at_most, ended).await;
    }
}

/// An exporter that sends histograms too, and whose failures are noted.
#[derive(Debug)]
struct Watched {
    exporter: MetricExporter,
    resource: Resource,
    families: Families,
    health: Arc<Health>,
}

impl PushMetricExporter for Watched {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let histograms = depth_histograms(self.resource.clone(), &self.families.latest())?;
        let mut result = self.exporter.export(metrics).await;
        if result.is_ok() {
            result = self.exporter.export(&histograms).await;
        }
        let told = result.as_ref().copied().map_err(ToString::to_string);
        self.health.note_export(Signal::Metrics, told);
        // It was told; the SDK would tell it each time.
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
